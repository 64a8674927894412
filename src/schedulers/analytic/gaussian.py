"""Normal distributions."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from schedulers import _checks
from schedulers.analytic.distribution import Distribution, check_schedule, returned, scales

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from schedulers.schedules.base import NoiseSchedule

    Floats = NDArray[np.float64]

# Least variance: float64 holds its inverse, and products of it with the scales of a level.
_SMALLEST = 1e-300


class Gaussian(Distribution):
    """Normal distribution with a scalar, diagonal or full covariance.

    Parameters
    ----------
    mean : float or array_like, shape event_shape
        Mean. If it is a scalar and `cov` is an array, all elements have this mean. If both are
        scalars, the event is a single number, and each element of x is a sample of its own.
    cov : float or array_like
        Covariance, positive semidefinite: a scalar (the same variance for all elements), an array
        of event_shape (one variance per element), or a matrix of shape (d, d), where d is the
        number of elements of the event, in C order. A variance may be 0. A matrix holds no variance
        along a slanted axis that is below some 1e-16 of the largest: such a one counts as 0.

    Raises
    ------
    TypeError, ValueError
        If an argument has the wrong type, shape or values.

    Examples
    --------
    >>> Gaussian(mean=[1.0, 2.0], cov=[[2.0, 1.0], [1.0, 2.0]])
    Gaussian(event_shape=(2,), cov='full')
    """

    def __init__(self, mean: ArrayLike, cov: ArrayLike) -> None:
        centre, spread = _checks.array("mean", mean), _checks.array("cov", cov)
        if centre.size == 0 or spread.size == 0:
            raise ValueError(
                f"mean and cov must not be empty, got shapes {centre.shape} and {spread.shape}"
            )
        if centre.ndim == 0 and spread.ndim in (1, 2):
            centre = np.full(spread.shape[:1], centre)
        full = spread.shape == (centre.size, centre.size) != centre.shape
        if not (spread.ndim == 0 or spread.shape == centre.shape or full):
            raise ValueError(
                f"cov must be a scalar, an array of the mean's shape {centre.shape}, or a matrix "
                f"of shape {(centre.size, centre.size)}, got shape {spread.shape}"
            )
        self.event_shape = centre.shape
        self._mean = centre
        self._basis: Floats | None = None
        self._variances = spread
        if full:
            if not np.allclose(spread, spread.T, rtol=1e-10, atol=1e-12 * np.abs(spread).max()):
                raise ValueError(f"cov must be symmetric, got {_checks.shown(cov)}")
            self._variances, self._basis = _axes(spread)
        least = self._variances.min(initial=0.0)
        if least < 0.0:
            raise ValueError(f"cov must be positive semidefinite, got a variance of {least:g}")
        outside = (self._variances < _SMALLEST) & (self._variances > 0.0)
        if outside.any() or self._variances.max() > 1.0 / _SMALLEST:
            raise ValueError(
                f"cov must have variances of 0 or from {_SMALLEST:g} to {1.0 / _SMALLEST:g}, got "
                f"one of {(self._variances[outside] if outside.any() else self._variances).max():g}"
            )

    @classmethod
    def fit(cls, samples: ArrayLike, shrinkage: float | None = None) -> Gaussian:
        """Fit the normal distribution with the mean and the covariance of data.

        The sample covariance S = sum_k (x_k - m)(x_k - m)^T / n is singular if there are no more
        samples than dimensions, and inaccurate if there are few. So it is shrunk towards a multiple
        of the identity, to (1 - r) S + r mu I with mu = tr(S) / d. By default r is Ledoit and
        Wolf's estimate of the value with the least expected squared error: b**2 / d**2 in their
        Lemmas 3.2 to 3.4. It tends to 0 as the number of samples grows.

        Parameters
        ----------
        samples : array_like, shape ``(n, *event_shape)``
            Data. n is at least 2.
        shrinkage : float, optional
            Value of r, in [0, 1]; 0 is maximum likelihood.

        Returns
        -------
        Gaussian
            With a full covariance.

        Raises
        ------
        TypeError, ValueError
            If an argument has the wrong type, shape or values.

        References
        ----------
        Ledoit, Wolf: A well-conditioned estimator for large-dimensional covariance matrices,
        Journal of Multivariate Analysis 88, 2004.

        Examples
        --------
        >>> data = Gaussian([1.0, 2.0], [[2.0, 1.0], [1.0, 2.0]]).sample(100_000, rng=0)
        >>> Gaussian.fit(data).cov.round(1)
        array([[2., 1.],
               [1., 2.]])
        """
        data = _checks.array("samples", samples)
        if data.ndim < 2 or len(data) < 2 or data[0].size == 0:
            raise ValueError(
                f"samples must have shape (n, *event_shape), n at least 2, got shape {data.shape}"
            )
        mean = data.mean(axis=0)
        off = (data - mean).reshape(len(data), -1)
        spread = off.T @ off / len(data)
        average = np.trace(spread) / len(spread)
        if shrinkage is None:
            shrinkage = _shrinkage(off, spread, average)
        r = _checks.real("shrinkage", shrinkage, at_least=0.0, at_most=1.0)
        return cls(mean, (1.0 - r) * spread + r * average * np.eye(len(spread)))

    def __repr__(self) -> str:
        kind = (
            "full" if self._basis is not None else "diagonal" if self._variances.ndim else "scalar"
        )
        return f"Gaussian(event_shape={self.event_shape}, cov={kind!r})"

    @property
    def mean(self) -> Floats:
        """Mean, of the event's shape; a copy."""
        return self._mean.copy()

    @property
    def cov(self) -> Floats:
        """Covariance, in the form in which it was given; a copy."""
        if self._basis is None:
            return self._variances.copy()
        return np.asarray((self._basis * self._variances) @ self._basis.T)

    def flow(self, schedule: NoiseSchedule, x: Any, t_from: float, t_to: float | None) -> Any:
        """Exact solution of the probability-flow ODE from one time to another.

        For a normal distribution, the ODE (Song et al. 2021, eq. 13) takes x at `t_from` to
        alpha' m + S'**(1/2) S**(-1/2) (x - alpha m) at `t_to`, with S = alpha**2 cov + sigma**2 I.
        A prime marks the values at `t_to`.

        Parameters
        ----------
        schedule : NoiseSchedule
            Noise schedule.
        x : ndarray of floats, shape ``(..., *event_shape)``
            Sample at time `t_from`.
        t_from, t_to : float
            Times of the schedule, in any order. `t_to` may be None, the clean level.

        Returns
        -------
        ndarray, shape and dtype of `x`

        Raises
        ------
        TypeError, ValueError
            If an argument has the wrong type, shape or values, or if a variance of the
            marginal at `t_from` is 0.

        Examples
        --------
        >>> from schedulers import VESchedule
        >>> Gaussian(mean=0.0, cov=9.0).flow(VESchedule(), np.array([5.0]), 4.0, 0.0)
        array([3.])
        """
        check_schedule(schedule)
        alpha, sigma = scales(schedule, t_from, "t_from")
        alpha_to, sigma_to = (1.0, 0.0) if t_to is None else scales(schedule, t_to, "t_to")
        before = self._at(alpha, sigma)
        after = self._at(alpha_to, sigma_to)
        if np.any(before._variances == 0.0):
            raise ValueError(
                f"t_from must be above the clean level for a distribution with a variance of 0, "
                f"got {_checks.shown(t_from)}"
            )
        gain = np.sqrt(after._variances / before._variances)
        return returned(lambda: after._mean + self._scaled(gain, self._values(x) - before._mean), x)

    def _scaled(self, gain: Floats, x: Floats) -> Floats:
        """Multiply the components of x along the covariance's axes."""
        if self._basis is None:
            return gain * x
        rows = x.reshape(*x.shape[: x.ndim - len(self.event_shape)], self._mean.size)
        return np.asarray(((rows @ self._basis) * gain) @ self._basis.T).reshape(x.shape)

    def _at(self, alpha: float, sigma: float) -> Gaussian:
        return self._with(alpha * self._mean, alpha**2 * self._variances + sigma * sigma)

    def _with(self, mean: Floats, variances: Floats) -> Gaussian:
        """Return a normal distribution with the same event shape and axes."""
        other = object.__new__(Gaussian)
        other.event_shape = self.event_shape
        other._mean, other._basis, other._variances = mean, self._basis, variances
        return other

    def _posterior(self, x: Floats, alpha: float, sigma: float) -> tuple[Floats, Floats]:
        total = alpha**2 * self._variances + sigma * sigma
        off = x - alpha * self._mean
        denoised = self._mean + self._scaled(alpha * self._variances / total, off)
        return denoised, self._scaled(sigma / total, off)

    def _log_prob(self, x: Floats) -> Floats:
        variances = self._density_variances()
        off = x - self._mean
        n = len(self.event_shape)
        square = np.sum(off * self._scaled(1.0 / variances, off), axis=tuple(range(-n, 0)))
        size = self._mean.size
        log_det = np.sum(np.log(variances)) * (size if variances.ndim == 0 else 1)
        return np.asarray(-0.5 * (square + log_det + size * math.log(2.0 * math.pi)))

    def _score(self, x: Floats) -> Floats:
        return -self._scaled(1.0 / self._density_variances(), x - self._mean)

    def _sample(self, n: int, rng: np.random.Generator) -> Floats:
        z = rng.standard_normal((n, *self.event_shape))
        return self._mean + self._scaled(np.sqrt(self._variances), z)


def _axes(spread: Floats) -> tuple[Floats, Floats]:
    """Return the variances along the axes of a covariance, and the axes.

    `eigh` tells a variance to the rounding of the largest one. How many are 0 is seen where that
    is not in the way: the correlations, whose elements are of one scale, have the same rank. Where
    others are as small, the one-sided Jacobi method tells them by their own size (Drmač and
    Veselić 2008), from a root of the covariance.
    """
    variances, basis = np.linalg.eigh(spread)
    rounding = np.finfo(np.float64).eps * len(spread)
    deviations = np.sqrt(np.maximum(np.diag(spread), 0.0))
    scale = np.where(deviations > 0.0, deviations, 1.0)
    shares, directions = np.linalg.eigh(spread / scale[:, None] / scale)
    nonzero = shares > rounding * shares.max(initial=0.0)
    zeros = np.count_nonzero(~nonzero)
    if variances[0] < -1e-10 * variances[-1] or shares[0] < -1e-10 * shares[-1]:
        return np.append(min(variances[0], shares[0]), variances[1:]), basis
    variances[:zeros] = 0.0
    if zeros < len(spread) and variances[zeros] <= rounding * variances[-1]:
        from scipy.linalg.lapack import dgejsv

        root = scale[:, None] * directions[:, nonzero] * np.sqrt(shares[nonzero])
        sizes, basis, _, work, _, _ = dgejsv(root, joba=2, jobu=1, jobv=3, jobr=0, jobt=0, jobp=0)
        with np.errstate(over="ignore"):
            variances[zeros:] = (sizes[::-1] * (work[0] / work[1])) ** 2
        basis = basis[:, ::-1]
    return variances, basis


def _shrinkage(off: Floats, spread: Floats, average: float) -> float:
    """Return Ledoit and Wolf's r, for centred samples and their covariance."""
    from_identity = np.sum(spread**2) - len(spread) * average**2  # |S - mu I|**2
    if from_identity <= 0.0:
        return 0.0
    # Mean of |x x^T - S|**2 over the samples, divided by the number of samples.
    error = (np.mean(np.sum(off**2, axis=1) ** 2) - np.sum(spread**2)) / len(off)
    return float(min(max(error / from_identity, 0.0), 1.0))  # outside only by rounding
