"""Noise schedules in continuous time: VP, VE, flow and cosine."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from schedulers import _checks
from schedulers.schedules.base import NoiseSchedule
from schedulers.schedules.elementary import arctan2, exp, expm1, log, log1p, sin

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]


@dataclass(frozen=True)
class VPSchedule(NoiseSchedule):
    """Variance-preserving diffusion in continuous time (Song et al. 2021, eq. 33).

    alpha(t) = exp(-t**2 (beta_max - beta_min) / 4 - t beta_min / 2) and
    sigma(t)**2 = 1 - alpha(t)**2, for t in [0, 1].

    Parameters
    ----------
    beta_min, beta_max : float
        Rates of the diffusion at t = 0 and t = 1; 0 < beta_min <= beta_max.
    t_min : float
        Least noisy time of a grid that is made from a number of steps, in (0, 1). Spacing
        "trailing" ignores it.

    Raises
    ------
    TypeError, ValueError
        If an argument has the wrong type or is out of range.

    Examples
    --------
    >>> round(VPSchedule().karras_sigma(1.0), 2)
    152.17
    """

    beta_min: float = 0.1
    beta_max: float = 20.0
    t_min: float = 1e-3
    t_max = 1.0

    def __post_init__(self) -> None:
        _checks.settle(self, "beta_min", above=0.0)
        _checks.settle(self, "beta_max", at_least=self.beta_min, at_most=1e150)
        _settle_t_min(self)

    def _path(self, t: Floats) -> tuple[Floats, Floats]:
        integral = 0.5 * (self.beta_max - self.beta_min) * t**2 + self.beta_min * t
        return exp(-0.5 * integral), np.sqrt(-expm1(-integral))

    def _time(self, sigmas: Floats) -> Floats:
        # log(1 + s**2) is the integral of beta, a quadratic in t. Its root, without cancellation.
        low, high = np.minimum(sigmas, 1.0), np.maximum(sigmas, 1.0)
        integral = 2.0 * log(high) + log1p((low / high) ** 2)  # s**2 may overflow
        slope = self.beta_max - self.beta_min
        return 2.0 * integral / (self.beta_min + np.sqrt(self.beta_min**2 + 2 * slope * integral))


@dataclass(frozen=True)
class VESchedule(NoiseSchedule):
    """Variance-exploding path with the noise level as its time, alpha = 1 and sigma = t (EDM).

    Karras et al. 2022, section 3: sigma(t) = t and s(t) = 1. The path is defined for every t >= 0.

    Parameters
    ----------
    sigma_min, sigma_max : float
        Last and first level of a grid that is made from a number of steps;
        0 < sigma_min < sigma_max. Spacing "trailing" ignores `sigma_min`.

    Raises
    ------
    TypeError, ValueError
        If an argument has the wrong type or is out of range.

    Examples
    --------
    >>> VESchedule().alpha(3.0), VESchedule().sigma(3.0)
    (1.0, 3.0)
    """

    sigma_min: float = 0.002
    sigma_max: float = 80.0
    t_end = math.inf

    def __post_init__(self) -> None:
        _checks.settle(self, "sigma_min", above=0.0)
        _checks.settle(self, "sigma_max", above=self.sigma_min)

    @property
    def t_min(self) -> float:  # type: ignore[override]
        """The least noisy time of a grid, `sigma_min`."""
        return self.sigma_min

    @property
    def t_max(self) -> float:  # type: ignore[override]
        """The noisiest time of a grid, `sigma_max`."""
        return self.sigma_max

    def _path(self, t: Floats) -> tuple[Floats, Floats]:
        return np.ones_like(t), t

    def _time(self, sigmas: Floats) -> Floats:
        return sigmas


@dataclass(frozen=True)
class FlowSchedule(NoiseSchedule):
    """Straight path of rectified flow, alpha = 1 - t and sigma = t, for t in [0, 1].

    Liu et al. 2023 (rectified flow) and Lipman et al. 2023 (flow matching), with data at t = 0.
    At t = 1 alpha is 0, and the sample is pure noise.

    Parameters
    ----------
    t_min : float
        Least noisy time of a grid that is made from a number of steps, in (0, 1). Spacing
        "trailing" ignores it.

    Raises
    ------
    TypeError, ValueError
        If `t_min` is not a real number between 0 and 1.

    Examples
    --------
    >>> FlowSchedule().alpha(0.25), FlowSchedule().sigma(0.25)
    (0.75, 0.25)
    """

    t_min: float = 1e-3
    t_max = 1.0

    def __post_init__(self) -> None:
        _settle_t_min(self)

    def _path(self, t: Floats) -> tuple[Floats, Floats]:
        return 1.0 - t, t

    def _time(self, sigmas: Floats) -> Floats:
        return sigmas / (1.0 + sigmas)


@dataclass(frozen=True)
class CosineSchedule(NoiseSchedule):
    """Cosine schedule in continuous time (Nichol & Dhariwal 2021, eq. 17).

    alpha(t) = cos(theta(t)) / cos(theta(0)) with theta(t) = (t + s) / (1 + s) * pi / 2, and
    sigma(t)**2 = 1 - alpha(t)**2, for t in [0, 1]. At t = 1 alpha is 0.

    Parameters
    ----------
    s : float
        Offset, from 0 to 1000. A positive one makes the noise near t = 0 larger; 0 gives
        alpha = cos(pi t / 2) and sigma = sin(pi t / 2).
    t_min : float
        Least noisy time of a grid that is made from a number of steps, in (0, 1). Spacing
        "trailing" ignores it.

    Raises
    ------
    TypeError, ValueError
        If an argument has the wrong type or is out of range.

    Examples
    --------
    >>> round(CosineSchedule(s=0.0).karras_sigma(0.5), 12)
    1.0
    """

    s: float = 0.008
    t_min: float = 1e-3
    t_max = 1.0

    def __post_init__(self) -> None:
        _checks.settle(self, "s", at_least=0.0, at_most=1e3)
        _settle_t_min(self)

    @property
    def _start(self) -> float:
        return 0.5 * math.pi * self.s / (1.0 + self.s)

    def _path(self, t: Floats) -> tuple[Floats, Floats]:
        # cos(theta) is computed as sin(pi / 2 - theta), so that alpha(1) is exactly 0; sigma as
        # cos(a)**2 - cos(b)**2 = sin(b - a) sin(b + a), which has no cancellation.
        angle = 0.5 * math.pi * t / (1.0 + self.s)
        left = 0.5 * math.pi * (1.0 - t) / (1.0 + self.s)
        scale = math.cos(self._start)
        return (
            sin(left) / scale,
            np.sqrt(sin(angle) * sin(angle + 2.0 * self._start)) / scale,
        )

    def _time(self, sigmas: Floats) -> Floats:
        alpha, sigma = 1.0 / np.hypot(1.0, sigmas), sigmas / np.hypot(1.0, sigmas)
        sin, cos = math.sin(self._start), math.cos(self._start)
        sin_theta = np.hypot(sin, cos * sigma)
        # theta - theta(0) by its sine and cosine, the sine written without cancellation.
        angle = arctan2(
            cos * sigma**2 / np.where(sigma > 0.0, sin_theta + sin * alpha, 1.0),
            cos**2 * alpha + sin * sin_theta,
        )
        return angle * (1.0 + self.s) / (0.5 * math.pi)


def _settle_t_min(schedule: NoiseSchedule) -> None:
    _checks.settle(schedule, "t_min")
    if not 0.0 < schedule.t_min < 1.0:
        raise ValueError(f"t_min must lie between 0 and 1, got {schedule.t_min!r}")
