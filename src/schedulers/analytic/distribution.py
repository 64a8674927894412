"""The base class of data distributions whose denoiser is a formula."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from schedulers import _checks
from schedulers.engine import arrays
from schedulers.engine.parameterization import PREDICTION_TYPES, UNDEFINED_AT_ALPHA_0, predicted
from schedulers.schedules.base import NoiseSchedule

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from schedulers.engine.noise import RNG

    Floats = NDArray[np.float64]

# Sigmas whose squares float64 holds, with all of their digits.
_SMALLEST = 1e-150
# Elements of samples: 256 GiB in float64.
_LARGEST = 2**35


class Distribution(ABC):
    """Base class of the distributions. `event_shape` is the shape of one x_0."""

    event_shape: tuple[int, ...]
    _variances: Floats

    @abstractmethod
    def _posterior(self, x: Floats, alpha: float, sigma: float) -> tuple[Floats, Floats]:
        """Return E[x_0 | x] and E[eps | x] for x of shape ``(..., *event_shape)``."""

    @abstractmethod
    def _at(self, alpha: float, sigma: float) -> Distribution:
        """Return the distribution of alpha x_0 + sigma eps."""

    @abstractmethod
    def _log_prob(self, x: Floats) -> Floats: ...

    @abstractmethod
    def _score(self, x: Floats) -> Floats: ...

    @abstractmethod
    def _sample(self, n: int, rng: np.random.Generator) -> Floats: ...

    def denoiser(
        self, schedule: NoiseSchedule, prediction_type: str = "epsilon"
    ) -> Callable[[Any, float], Any]:
        """Exact model for data of this distribution.

        Parameters
        ----------
        schedule : NoiseSchedule
            Noise schedule of the model.
        prediction_type : str
            What the model returns: "epsilon", "sample", "v_prediction", "score" or "flow".

        Returns
        -------
        callable
            ``denoiser(x, t)``, with x of shape ``(..., *event_shape)`` and t a time of the
            schedule. It returns the exact output, in the shape and dtype of x.

        Raises
        ------
        TypeError, ValueError
            If an argument has the wrong type or value. The denoiser raises if x has the wrong type
            or shape, if t is outside the schedule or at the clean level, and for "epsilon" and
            "score" if alpha is 0 at t.

        Examples
        --------
        >>> from schedulers import VESchedule
        >>> from schedulers.analytic import Gaussian
        >>> denoiser = Gaussian(mean=1.0, cov=4.0).denoiser(VESchedule(), prediction_type="sample")
        >>> denoiser(np.array([11.0]), 1.0)
        array([9.])
        """
        check_schedule(schedule)
        _checks.choice("prediction_type", prediction_type, PREDICTION_TYPES)

        return _Denoiser(self, schedule, prediction_type)

    def marginal(self, schedule: NoiseSchedule, t: float) -> Distribution:
        """Distribution of x_t = alpha(t) x_0 + sigma(t) eps.

        Parameters
        ----------
        schedule : NoiseSchedule
            Noise schedule.
        t : float
            Time of the schedule.

        Returns
        -------
        Gaussian or GaussianMixture

        Raises
        ------
        TypeError, ValueError
            If `schedule` is not a NoiseSchedule, or if `t` is not a single time of it.

        Examples
        --------
        >>> from schedulers import VESchedule
        >>> from schedulers.analytic import Gaussian
        >>> Gaussian(mean=1.0, cov=4.0).marginal(VESchedule(), 3.0)
        Gaussian(event_shape=(), cov='scalar')
        """
        check_schedule(schedule)
        return self._at(*scales(schedule, t))

    def log_prob(self, x: Any) -> Any:
        """Log of the probability density.

        Parameters
        ----------
        x : ndarray of floats, shape ``(..., *event_shape)``
            Points at which to evaluate the density.

        Returns
        -------
        ndarray of float64, shape (...)

        Raises
        ------
        TypeError, ValueError
            If `x` has the wrong type or shape, or if the distribution has no density because a
            variance is 0. Its marginals above the clean level have a density.

        Examples
        --------
        >>> from schedulers.analytic import Gaussian
        >>> print(Gaussian(mean=np.zeros(2), cov=1.0).log_prob(np.zeros((3, 2))).round(4))
        [-1.8379 -1.8379 -1.8379]
        """
        return returned(lambda: self._log_prob(self._values(x)))

    def score(self, x: Any) -> Any:
        """Gradient of the log density, in the shape and dtype of `x`.

        Parameters and errors as for `log_prob`.

        Examples
        --------
        >>> from schedulers.analytic import Gaussian
        >>> Gaussian(mean=1.0, cov=4.0).score(np.array([3.0]))
        array([-0.5])
        """
        return returned(lambda: self._score(self._values(x)), x)

    def sample(self, n: int, rng: RNG = None) -> Floats:
        """Draw samples from the distribution.

        Parameters
        ----------
        n : int
            Number of samples, at least 0.
        rng : None, int, SeedSequence or Generator
            As for `numpy.random.default_rng`.

        Returns
        -------
        ndarray of float64, shape ``(n, *event_shape)``

        Raises
        ------
        TypeError, ValueError
            If `n` or `rng` has the wrong type, or if `n` or an int `rng` is negative.

        Examples
        --------
        >>> from schedulers.analytic import Gaussian
        >>> Gaussian(mean=np.zeros((2, 3)), cov=1.0).sample(5, rng=0).shape
        (5, 2, 3)
        """
        generator = np.random.default_rng(_checked(rng))
        most = _LARGEST // max(math.prod(self.event_shape), 1)
        try:
            samples: Floats = self._sample(_checks.between("n", n, 0, most), generator)
        except MemoryError as error:
            raise ValueError(f"n must be of samples that memory holds: {error}") from None
        return samples

    def _density_variances(self) -> Floats:
        if np.any(self._variances == 0.0):
            raise ValueError(
                f"{self!r} has a variance of 0 and so no density; marginal(schedule, t) has one"
            )
        return self._variances

    def _values(self, x: Any) -> Floats:
        if not isinstance(x, np.ndarray) or (x.dtype.kind != "f" and x.dtype.name != "bfloat16"):
            raise TypeError(f"x must be an ndarray of floats, got {_checks.shown(x)}")
        arrays.check_floats("x", x)
        n = len(self.event_shape)
        if x.ndim < n or x.shape[x.ndim - n :] != self.event_shape:
            event = ", ".join(map(str, self.event_shape))
            raise ValueError(f"x must have shape (..., {event}), got {x.shape}")
        values: Floats = arrays.cast(x, np.dtype(np.float64))
        arrays.check_finite("x", values)
        return values


@dataclass(frozen=True)
class _Denoiser:
    """The exact model of a distribution; it can be pickled."""

    data: Distribution
    schedule: NoiseSchedule
    prediction_type: str

    def __call__(self, x: Any, t: float) -> Any:
        alpha, sigma = scales(self.schedule, t)
        if sigma == 0.0 or (alpha == 0.0 and self.prediction_type in UNDEFINED_AT_ALPHA_0):
            raise ValueError(
                f"t must be above the clean level, and where alpha is 0 prediction_type must "
                f"not be 'epsilon' or 'score', got t={t!r} and {self.prediction_type!r}"
            )
        values = self.data._values(x)
        p, q = predicted(self.prediction_type, alpha, sigma)

        def output() -> Floats:
            denoised, noise = self.data._posterior(values, alpha, sigma)
            return p * denoised + q * noise

        return returned(output, x)


def returned(compute: Callable[[], Any], x: Any = None) -> Any:
    """Compute what a function of x returns, in the dtype of `x` if that is given.

    What overflows for an x that is too far away is refused.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        values = np.asarray(compute())
    if x is not None:
        values = arrays.cast(values, x.dtype)
    arrays.check_finite(f"the result for x, in dtype {values.dtype},", values)
    return values


def check_schedule(schedule: NoiseSchedule) -> None:
    """Raise TypeError unless `schedule` is a NoiseSchedule."""
    if not isinstance(schedule, NoiseSchedule):
        raise TypeError(f"schedule must be a NoiseSchedule, got {_checks.shown(schedule)}")


def scales(schedule: NoiseSchedule, t: float, name: str = "t") -> tuple[float, float]:
    """Return alpha and sigma at a single time."""
    time = schedule._checked(t, name)
    if time.ndim:
        raise ValueError(f"{name} must be a single time, got shape {time.shape}")
    alpha, sigma = map(float, schedule._path(time))
    if not (sigma == 0.0 or _SMALLEST <= sigma <= 1.0 / _SMALLEST):
        raise ValueError(
            f"{name} must be a time whose sigma is 0 or from {_SMALLEST:g} to "
            f"{1.0 / _SMALLEST:g}, so that float64 holds its square, got {sigma:g}"
        )
    return alpha, sigma


def _checked(rng: RNG) -> RNG:
    """Refuse a sequence, of which `numpy.random.default_rng` would make one seed."""
    if rng is None or isinstance(rng, (np.random.Generator, np.random.SeedSequence)):
        return rng
    try:
        return _checks.integer("rng", rng, at_least=0)
    except TypeError:
        raise TypeError(
            f"rng must be None, an int, a numpy.random.SeedSequence or a numpy.random.Generator, "
            f"got {_checks.shown(rng)}"
        ) from None
