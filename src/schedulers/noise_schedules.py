"""Noise schedules: the Gaussian path that a model was trained on.

A schedule is a function t -> (alpha, sigma), the scales of

    x_t = alpha(t) x_0 + sigma(t) eps,      eps ~ N(0, I),

with the way back from Karras's sigma, sigma(t) / alpha(t), to the model's own time t.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, overload

import numpy as np

from schedulers import _checks

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    Floats = NDArray[np.float64]

# A Karras sigma beyond a schedule's end by float32's rounding is the end; more is an error.
_END_RTOL = 1e-6


class Level(NamedTuple):
    """A noise level: the model's time `t` and the scales `alpha` and `sigma` of the path there."""

    t: float
    alpha: float
    sigma: float

    @property
    def karras(self) -> float:
        """Karras's sigma, sigma / alpha; infinite where alpha is 0."""
        return self.sigma / self.alpha if self.alpha else math.inf


class NoiseSchedule(ABC):
    """The scales of the path x_t = alpha(t) x_0 + sigma(t) eps, as functions of the model's time.

    A schedule of one's own subclasses this, sets the four attributes, and writes `_path` and
    `_time`, both on float64 arrays that are already checked.

    Attributes
    ----------
    t_min, t_max : float
        The two ends of a grid made from a number of steps; spacing "trailing" alone takes no
        notice of `t_min`.
    t_end : float
        The last time at which the path is defined; its first is 0.
    t_clean : float
        The time that stands for the clean level, alpha = 1 and sigma = 0.
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
        """Return the times at which sigma / alpha has these finite, positive values."""

    def _karras_range(self) -> tuple[float, float]:
        """Return the least and the largest finite sigma / alpha that has a time."""
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
            If `t` is not real numbers.
        ValueError
            If a time is NaN, infinite or outside the schedule.
        """
        return _like(t, self._path(self._checked(t))[0])

    @overload
    def sigma(self, t: float) -> float: ...
    @overload
    def sigma(self, t: ArrayLike) -> Any: ...
    def sigma(self, t: ArrayLike) -> Any:
        """Scale of the noise at time t; parameters, returns and errors as for `alpha`."""
        return _like(t, self._path(self._checked(t))[1])

    @overload
    def karras_sigma(self, t: float) -> float: ...
    @overload
    def karras_sigma(self, t: ArrayLike) -> Any: ...
    def karras_sigma(self, t: ArrayLike) -> Any:
        """Karras's sigma, sigma(t) / alpha(t); parameters, returns and errors as for `alpha`."""
        alpha, sigma = self._path(self._checked(t))
        with np.errstate(divide="ignore"):
            return _like(t, sigma / alpha)

    @overload
    def log_snr(self, t: float) -> float: ...
    @overload
    def log_snr(self, t: ArrayLike) -> Any: ...
    def log_snr(self, t: ArrayLike) -> Any:
        """Natural log of the signal-to-noise ratio, log(alpha(t)**2 / sigma(t)**2).

        Parameters, returns and errors as for `alpha`; infinite at sigma = 0, and minus infinity at
        alpha = 0.
        """
        alpha, sigma = self._path(self._checked(t))
        with np.errstate(divide="ignore"):
            return _like(t, 2.0 * (np.log(alpha) - np.log(sigma)))

    @overload
    def timestep(self, sigmas: float) -> float: ...
    @overload
    def timestep(self, sigmas: ArrayLike) -> Any: ...
    def timestep(self, sigmas: ArrayLike) -> Any:
        """Time at which Karras's sigma, sigma / alpha, has the given values.

        Parameters
        ----------
        sigmas : float or array_like
            Values of sigma / alpha; infinity where the schedule reaches alpha = 0.

        Returns
        -------
        float or ndarray of float64, shape of `sigmas`

        Raises
        ------
        TypeError
            If `sigmas` is not real numbers.
        ValueError
            If a value is NaN, or outside the schedule by more than 1e-6 of itself, float32's
            rounding; within that it is taken as the schedule's end.

        Examples
        --------
        >>> FlowSchedule().timestep([3.0, 1.0, 0.0])
        array([0.75, 0.5 , 0.  ])
        """
        values = _checks.array("sigmas", sigmas, infinite=True)
        low, high = self._karras_range()
        reaches_infinity = self._path(np.array([self.t_end]))[0][0] == 0.0
        inside = (values >= low * (1 - _END_RTOL)) & (values <= high * (1 + _END_RTOL))
        outside = values[~np.where(values == math.inf, reaches_infinity, inside)]
        if outside.size:
            raise ValueError(
                f"sigmas must be finite and lie in [{low:g}, {high:g}], which is where sigma/alpha "
                f"goes for {self!r}, got {float(outside[0])!r}"
            )
        times = np.full(values.shape, float(self.t_end))
        finite = np.isfinite(values)
        if finite.any():
            times[finite] = np.minimum(self._time(np.clip(values[finite], low, high)), self.t_end)
        return _like(sigmas, times)

    def levels(self, timesteps: ArrayLike) -> tuple[Level, ...]:
        """Noise levels at a sequence of times, as Python numbers.

        Parameters
        ----------
        timesteps : array_like, shape (n,)
            Times of the model.

        Returns
        -------
        tuple of Level

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
        """Largest finite sigma / alpha that has a time; infinite where every one has."""
        return self._karras_range()[1]


def _like(given: ArrayLike, result: Floats) -> Any:
    return result if np.ndim(given) else float(result)


@dataclass(frozen=True)
class VPSchedule(NoiseSchedule):
    """Variance-preserving diffusion in continuous time (Song et al. 2021, eq. 33).

    alpha(t) = exp(-t**2 (beta_max - beta_min) / 4 - t beta_min / 2) and
    sigma(t)**2 = 1 - alpha(t)**2, for t in [0, 1].

    Parameters
    ----------
    beta_min, beta_max : float
        Rates at t = 0 and t = 1 of the diffusion; 0 < beta_min <= beta_max.
    t_min : float
        The less noisy end of a grid made from a number of steps, in (0, 1); spacing "trailing"
        takes no notice of it.

    Raises
    ------
    TypeError, ValueError
        If a parameter is no such number.

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
        _checks.settle(self, "beta_max", at_least=self.beta_min)
        _settle_t_min(self)

    def _path(self, t: Floats) -> tuple[Floats, Floats]:
        integral = 0.5 * (self.beta_max - self.beta_min) * t**2 + self.beta_min * t
        return np.exp(-0.5 * integral), np.sqrt(-np.expm1(-integral))

    def _time(self, sigmas: Floats) -> Floats:
        # log(1 + s**2) is the integral of beta; then the quadratic's root without cancellation.
        low, high = np.minimum(sigmas, 1.0), np.maximum(sigmas, 1.0)
        integral = 2.0 * np.log(high) + np.log1p((low / high) ** 2)  # s**2 may overflow
        slope = self.beta_max - self.beta_min
        return 2.0 * integral / (self.beta_min + np.sqrt(self.beta_min**2 + 2 * slope * integral))


@dataclass(frozen=True)
class VESchedule(NoiseSchedule):
    """Variance-exploding path whose time is its noise level, alpha = 1 and sigma = t (EDM).

    Karras et al. 2022, section 3: sigma(t) = t and s(t) = 1. The path is defined for every t >= 0.

    Parameters
    ----------
    sigma_min, sigma_max : float
        The two ends of a grid made from a number of steps, 0 < sigma_min < sigma_max; spacing
        "trailing" takes no notice of `sigma_min`.

    Raises
    ------
    TypeError, ValueError
        If a parameter is no such number.

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
    At t = 1 alpha is 0: the sample there is noise alone.

    Parameters
    ----------
    t_min : float
        The less noisy end of a grid made from a number of steps, in (0, 1); spacing "trailing"
        takes no notice of it.

    Raises
    ------
    TypeError, ValueError
        If `t_min` is no such number.

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
        Offset, at least 0, that keeps the noise near t = 0 from being too small; 0 gives
        alpha = cos(pi t / 2) and sigma = sin(pi t / 2).
    t_min : float
        The less noisy end of a grid made from a number of steps, in (0, 1); spacing "trailing"
        takes no notice of it.

    Raises
    ------
    TypeError, ValueError
        If a parameter is no such number.

    Examples
    --------
    >>> round(CosineSchedule(s=0.0).karras_sigma(0.5), 12)
    1.0
    """

    s: float = 0.008
    t_min: float = 1e-3
    t_max = 1.0

    def __post_init__(self) -> None:
        _checks.settle(self, "s", at_least=0.0)
        _settle_t_min(self)

    @property
    def _start(self) -> float:
        return 0.5 * math.pi * self.s / (1.0 + self.s)

    def _path(self, t: Floats) -> tuple[Floats, Floats]:
        # cos(theta) as the sine of the angle that is left, so that alpha(1) is exactly 0; and
        # cos(a)**2 - cos(b)**2 = sin(b - a) sin(b + a), so that sigma has no cancellation.
        angle = 0.5 * math.pi * t / (1.0 + self.s)
        left = 0.5 * math.pi * (1.0 - t) / (1.0 + self.s)
        scale = math.cos(self._start)
        return (
            np.sin(left) / scale,
            np.sqrt(np.sin(angle) * np.sin(angle + 2.0 * self._start)) / scale,
        )

    def _time(self, sigmas: Floats) -> Floats:
        alpha, sigma = 1.0 / np.hypot(1.0, sigmas), sigmas / np.hypot(1.0, sigmas)
        sin, cos = math.sin(self._start), math.cos(self._start)
        sin_theta = np.hypot(sin, cos * sigma)
        # theta - theta(0) by its sine and cosine, the sine written without cancellation.
        angle = np.arctan2(
            cos * sigma**2 / np.where(sigma > 0.0, sin_theta + sin * alpha, 1.0),
            cos**2 * alpha + sin * sin_theta,
        )
        return angle * (1.0 + self.s) / (0.5 * math.pi)


def _settle_t_min(schedule: NoiseSchedule) -> None:
    _checks.settle(schedule, "t_min")
    if not 0.0 < schedule.t_min < 1.0:
        raise ValueError(f"t_min must lie between 0 and 1, got {schedule.t_min!r}")
