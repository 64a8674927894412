"""Noise schedules: the Gaussian path that a model was trained on.

A schedule is a function t -> (alpha, sigma), the two scales in

    x_t = alpha(t) x_0 + sigma(t) eps,      eps ~ N(0, I).

It also maps Karras's sigma, sigma(t) / alpha(t), back to the model's own time t.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple, overload

import numpy as np

from schedulers import _checks
from schedulers.schedules.elementary import log

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    Floats = NDArray[np.float64]

# A Karras sigma outside the schedule by at most this, relatively, counts as its end: float32
# rounds that much. More is an error.
_END_RTOL = 1e-6


class Level(NamedTuple):
    """A noise level: the model's time `t`, and the scales `alpha` and `sigma` at that time."""

    t: float
    alpha: float
    sigma: float

    @property
    def karras(self) -> float:
        """Karras's sigma, sigma / alpha; infinity if alpha is 0."""
        return self.sigma / self.alpha if self.alpha else math.inf

    @property
    def flow_time(self) -> float:
        """Time of rectified flow with the same sigma / alpha, s / (1 + s); finite at alpha = 0."""
        return self.sigma / (self.alpha + self.sigma)


# What hands a method the level at a Karras sigma.
LevelAt = Callable[[float], Level]


class NoiseSchedule(ABC):
    """The scales of the path x_t = alpha(t) x_0 + sigma(t) eps, as functions of the model's time.

    To write your own schedule, subclass this, set the attributes, and write `_path` and `_time`.
    Both receive float64 arrays that are already checked.

    Attributes
    ----------
    t_min, t_max : float
        Least noisy and noisiest time of a grid that is made from a number of steps. Spacing
        "trailing" ignores `t_min`.
    t_end : float
        Last time at which the path is defined; 1 by default. The first is 0.
    t_clean : float
        Time that stands for the clean level, alpha = 1 and sigma = 0; 0 by default.
    """

    t_min: float
    t_max: float
    t_end: float = 1.0
    t_clean: float = 0.0

    @abstractmethod
    def _path(self, t: Floats) -> tuple[Floats, Floats]:
        """Return alpha and sigma at the times t."""

    @abstractmethod
    def _time(self, sigmas: Floats) -> Floats:
        """Return the times at which sigma / alpha has these values, finite and at least 0."""

    def _karras_range(self) -> tuple[float, float]:
        """Return the smallest and the largest finite sigma / alpha; infinity for no largest."""
        (alpha,), (sigma,) = self._path(np.array([float(self.t_end)]))
        return 0.0, float(sigma / alpha) if alpha else math.inf

    def _checked(self, t: ArrayLike, name: str = "t") -> Floats:
        times = _checks.array(name, t)
        outside = times[~((times >= 0.0) & (times <= self.t_end))]
        if outside.size:
            raise ValueError(
                f"{name} must lie in [0, {self.t_end:g}] for {self!r}, got {float(outside[0])!r}"
            )
        return times

    @overload
    def alpha(self, t: float) -> float: ...
    @overload
    def alpha(self, t: ArrayLike) -> Any: ...
    def alpha(self, t: ArrayLike) -> Any:
        """Scale of the data at time t.

        Parameters
        ----------
        t : float or array_like
            Times of the model.

        Returns
        -------
        float or ndarray of float64, shape of `t`

        Raises
        ------
        TypeError
            If `t` is not a real number or an array of real numbers.
        ValueError
            If a time is NaN, infinite or outside the schedule.
        """
        return _shaped(t, self._path(self._checked(t))[0])

    @overload
    def sigma(self, t: float) -> float: ...
    @overload
    def sigma(self, t: ArrayLike) -> Any: ...
    def sigma(self, t: ArrayLike) -> Any:
        """Scale of the noise at time t; parameters, returns and errors as for `alpha`."""
        return _shaped(t, self._path(self._checked(t))[1])

    @overload
    def karras_sigma(self, t: float) -> float: ...
    @overload
    def karras_sigma(self, t: ArrayLike) -> Any: ...
    def karras_sigma(self, t: ArrayLike) -> Any:
        """Karras's sigma, sigma(t) / alpha(t). Parameters, returns and errors as for `alpha`."""
        alpha, sigma = self._path(self._checked(t))
        with np.errstate(divide="ignore"):
            return _shaped(t, sigma / alpha)

    @overload
    def log_snr(self, t: float) -> float: ...
    @overload
    def log_snr(self, t: ArrayLike) -> Any: ...
    def log_snr(self, t: ArrayLike) -> Any:
        """Natural log of the signal-to-noise ratio, log(alpha(t)**2 / sigma(t)**2).

        It is infinity where sigma = 0, and minus infinity where alpha = 0. Parameters, returns and
        errors as for `alpha`.
        """
        alpha, sigma = self._path(self._checked(t))
        with np.errstate(divide="ignore"):
            return _shaped(t, 2.0 * (log(alpha) - log(sigma)))

    @overload
    def timestep(self, sigmas: float) -> float: ...
    @overload
    def timestep(self, sigmas: ArrayLike) -> Any: ...
    def timestep(self, sigmas: ArrayLike) -> Any:
        """Times at which Karras's sigma, sigma / alpha, has the given values.

        Parameters
        ----------
        sigmas : float or array_like
            Values of sigma / alpha. Infinity is allowed if the schedule reaches alpha = 0.

        Returns
        -------
        float or ndarray of float64, shape of `sigmas`

        Raises
        ------
        TypeError
            If `sigmas` is not a real number or an array of real numbers.
        ValueError
            If a value is NaN or outside the schedule. A value that is outside by at most 1e-6,
            relatively, counts as the schedule's end: float32 rounds that much.

        Examples
        --------
        >>> from schedulers import FlowSchedule
        >>> FlowSchedule().timestep([3.0, 1.0, 0.0])
        array([0.75, 0.5 , 0.  ])
        """
        values = _checks.array("sigmas", sigmas, infinite=True)
        return _shaped(sigmas, self._timestep("sigmas", values))

    def _timestep(self, name: str, values: Floats) -> Floats:
        low, high = self._karras_range()
        reaches_infinity = self._path(np.array([self.t_end]))[0][0] == 0.0
        inside = (values >= low * (1 - _END_RTOL)) & (values <= high * (1 + _END_RTOL))
        outside = values[~np.where(values == math.inf, reaches_infinity, inside)]
        if outside.size:
            raise ValueError(
                f"{name} must be finite and lie in [{low:g}, {high:g}] for {self!r}, "
                f"got {float(outside[0])!r}"
            )
        times = np.full(values.shape, float(self.t_end))
        finite = np.isfinite(values)
        if finite.any():
            times[finite] = np.minimum(self._time(np.clip(values[finite], low, high)), self.t_end)
        return times

    def level(self, sigma: float) -> Level:
        """Noise level at a value of Karras's sigma.

        Parameters
        ----------
        sigma : float
            Value of sigma / alpha; 0 is the clean level, and infinity is alpha = 0 if the schedule
            reaches it.

        Returns
        -------
        Level

        Raises
        ------
        TypeError, ValueError
            If `sigma` is not a real number, is NaN or negative, or is outside the schedule, as for
            `timestep`.

        Examples
        --------
        >>> from schedulers import FlowSchedule
        >>> FlowSchedule().level(3.0)
        Level(t=0.75, alpha=0.25, sigma=0.75)
        """
        value = _checks.real("sigma", sigma, at_least=0.0, finite=False)
        if value == 0.0:
            return self.clean
        (level,) = self.levels(self._timestep("sigma", np.array([value])))
        return level

    def levels(self, timesteps: ArrayLike) -> tuple[Level, ...]:
        """Noise levels at a sequence of times.

        Parameters
        ----------
        timesteps : array_like, shape (n,)
            Times of the model.

        Returns
        -------
        tuple of Level
            With Python numbers as elements.

        Raises
        ------
        TypeError, ValueError
            As for `alpha`.
        """
        times = self._checked(_checks.vector("timesteps", timesteps), "timesteps")
        alpha, sigma = self._path(times)
        return tuple(map(Level, self._python(times), alpha.tolist(), sigma.tolist()))

    def _python(self, times: Floats) -> list[float]:
        numbers: list[float] = times.tolist()
        return numbers

    @property
    def clean(self) -> Level:
        """The level without noise, alpha = 1 and sigma = 0."""
        return Level(self.t_clean, 1.0, 0.0)

    @property
    def max_karras_sigma(self) -> float:
        """Largest finite sigma / alpha of the schedule; infinity if there is no largest."""
        return self._karras_range()[1]


def _shaped(given: ArrayLike, result: Floats) -> Any:
    return result if np.ndim(given) else float(result)
