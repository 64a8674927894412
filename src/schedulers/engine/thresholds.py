"""Thresholds: functions that limit the denoised estimate D of an evaluation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from schedulers import _checks
from schedulers.engine import arrays


@dataclass(frozen=True)
class StaticThreshold:
    """Clip D to [-limit, limit] (Ho et al. 2020; "static thresholding" in Saharia et al. 2022).

    Parameters
    ----------
    limit : float
        Largest magnitude of the data, positive.
    rederive_noise : bool
        True makes e anew from the clipped D, so that x = alpha D + sigma e still holds. False keeps
        the e that the model gave, beside the clipped D. Then the later rows of a step of Heun or
        Runge-Kutta begin from alpha D + sigma e, not from x.

    Raises
    ------
    TypeError, ValueError
        If an argument has the wrong type or is out of range.

    Examples
    --------
    >>> StaticThreshold(1.0)(np.array([-3.0, 0.5]))
    array([-1. ,  0.5])
    """

    limit: float = 1.0
    rederive_noise: bool = True

    def __post_init__(self) -> None:
        _checks.settle(self, "limit", above=0.0)
        _checks.boolean("rederive_noise", self.rederive_noise)

    def __call__(self, denoised: Any) -> Any:
        """Return the clipped D, a new array."""
        arrays.check_floats("denoised", denoised)
        return denoised.clip(-self.limit, self.limit)


@dataclass(frozen=True)
class DynamicThreshold:
    """Clip each sample's D to a quantile of its own magnitudes and scale it back (Imagen).

    Saharia et al. 2022, section 2.3: s is the `quantile` of |D| over a sample, but at least
    `limit`. D is clipped to [-s, s] and multiplied by limit / s. Axis 0 counts the samples.

    Parameters
    ----------
    quantile : float
        Which quantile of the magnitudes of D, in (0, 1].
    limit : float
        Largest magnitude of the data, positive.
    rederive_noise : bool
        As for `StaticThreshold`.

    Raises
    ------
    TypeError, ValueError
        If an argument has the wrong type or is out of range.

    Examples
    --------
    >>> DynamicThreshold(0.5)(np.array([[-4.0, 2.0, 1.0], [-0.5, 0.25, 0.5]]))
    array([[-1.  ,  1.  ,  0.5 ],
           [-0.5 ,  0.25,  0.5 ]])
    """

    quantile: float = 0.995
    limit: float = 1.0
    rederive_noise: bool = True

    def __post_init__(self) -> None:
        _checks.settle(self, "quantile", above=0.0, at_most=1.0)
        _checks.settle(self, "limit", above=0.0)
        _checks.boolean("rederive_noise", self.rederive_noise)

    def __call__(self, denoised: Any) -> Any:
        """Return the clipped and scaled D, a new array."""
        self.check("denoised", denoised)
        if denoised.size == 0:
            return denoised.copy()
        samples = denoised.reshape(denoised.shape[0] if denoised.ndim else 1, -1)
        with np.errstate(invalid="ignore"):  # infinity, where a run has overflowed
            s = np.quantile(np.abs(samples), self.quantile, axis=1, keepdims=True)
            s = np.maximum(s, self.limit).astype(denoised.dtype)
            return (samples.clip(-s, s) * (self.limit / s)).reshape(denoised.shape)

    @staticmethod
    def check(name: str, x: Any) -> None:
        """Raise TypeError unless `x` is a NumPy array of floats."""
        if not isinstance(x, np.ndarray):
            raise TypeError(
                f"{name} must be NumPy's: dynamic thresholding takes NumPy arrays, "
                f"got {type(x).__name__}"
            )
        arrays.check_floats(name, x)
