"""Distributions of data whose denoiser is known in closed form.

If x_0 has one of these distributions, so has x_t = alpha x_0 + sigma eps (its *marginal*), and the
exact posterior mean E[x_0 | x_t], which a perfect model would learn, is a formula. Each is computed
in float64 and returned in the dtype of `x`.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from schedulers import _checks
from schedulers.noise import checked_rng
from schedulers.noise_schedules import NoiseSchedule
from schedulers.parameterization import PREDICTION_TYPES, UNDEFINED_AT_ALPHA_0, to_output

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from schedulers.noise import RNG

    Floats = NDArray[np.float64]


class Distribution(ABC):
    """What the distributions share. `event_shape` is the shape of one x_0."""

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
        """Exact model for this distribution as data.

        Parameters
        ----------
        schedule : NoiseSchedule
            The path that the model is for.
        prediction_type : str
            What it returns: "epsilon", "sample", "v_prediction", "score" or "flow".

        Returns
        -------
        callable
            ``denoiser(x, t)``, for x of shape ``(..., *event_shape)`` at the time t of the
            schedule. It returns the exact output, in the shape and dtype of x.

        Raises
        ------
        TypeError, ValueError
            If an argument is none such; by the denoiser, if x has another event shape, if t is
            outside the schedule or not above the clean level.

        Examples
        --------
        >>> from schedulers import VESchedule
        >>> denoiser = Gaussian(mean=1.0, cov=4.0).denoiser(VESchedule(), prediction_type="sample")
        >>> denoiser(np.array([11.0]), 1.0)
        array([9.])
        """
        _check_schedule(schedule)
        _checks.choice("prediction_type", prediction_type, PREDICTION_TYPES)

        def model(x: Any, t: float) -> Any:
            alpha, sigma = _scales(schedule, t)
            if sigma == 0.0 or (alpha == 0.0 and prediction_type in UNDEFINED_AT_ALPHA_0):
                raise ValueError(
                    f"t must be above the clean level, and where alpha is 0 prediction_type must "
                    f"not be 'epsilon' or 'score', got t={t!r} and {prediction_type!r}"
                )
            values = self._values(x)
            denoised, noise = self._posterior(values, alpha, sigma)
            output = to_output(prediction_type, denoised, noise, alpha, sigma)
            return np.asarray(output).astype(x.dtype)

        return model

    def marginal(self, schedule: NoiseSchedule, t: float) -> Distribution:
        """Distribution of x_t = alpha(t) x_0 + sigma(t) eps.

        Parameters
        ----------
        schedule : NoiseSchedule
            The path.
        t : float
            Its time.

        Returns
        -------
        Gaussian or GaussianMixture

        Raises
        ------
        TypeError, ValueError
            If `schedule` is none or `t` is outside it.

        Examples
        --------
        >>> from schedulers import VESchedule
        >>> Gaussian(mean=1.0, cov=4.0).marginal(VESchedule(), 3.0)
        Gaussian(event_shape=(), cov='scalar')
        """
        _check_schedule(schedule)
        return self._at(*_scales(schedule, t))

    def log_prob(self, x: Any) -> Any:
        """Log of the probability density.

        Parameters
        ----------
        x : ndarray of floats, shape ``(..., *event_shape)``
            Where.

        Returns
        -------
        ndarray of float64, shape (...)

        Raises
        ------
        TypeError, ValueError
            If `x` is none such, or if the distribution has no density (some variance is 0; its
            marginals above the clean level have one).

        Examples
        --------
        >>> print(Gaussian(mean=np.zeros(2), cov=1.0).log_prob(np.zeros((3, 2))).round(4))
        [-1.8379 -1.8379 -1.8379]
        """
        return self._log_prob(self._values(x))

    def score(self, x: Any) -> Any:
        """Gradient of the log density, in the shape and dtype of `x`; else as for `log_prob`.

        Examples
        --------
        >>> Gaussian(mean=1.0, cov=4.0).score(np.array([3.0]))
        array([-0.5])
        """
        return np.asarray(self._score(self._values(x))).astype(x.dtype)

    def sample(self, n: int, rng: RNG = None) -> Floats:
        """Draw from the distribution.

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
            If `n` or `rng` is none such.

        Examples
        --------
        >>> Gaussian(mean=np.zeros((2, 3)), cov=1.0).sample(5, rng=0).shape
        (5, 2, 3)
        """
        generator = np.random.default_rng(checked_rng(rng))
        return self._sample(_checks.integer("n", n, at_least=0), generator)

    def _density_variances(self) -> Floats:
        if np.any(self._variances == 0.0):
            raise ValueError(
                f"{self!r} has a variance of 0 and so no density; marginal(schedule, t) has one"
            )
        return self._variances

    def _values(self, x: Any) -> Floats:
        if not isinstance(x, np.ndarray) or (x.dtype.kind != "f" and x.dtype.name != "bfloat16"):
            raise TypeError(f"x must be an ndarray of floats, got {_checks.shown(x)}")
        n = len(self.event_shape)
        if x.ndim < n or x.shape[x.ndim - n :] != self.event_shape:
            event = ", ".join(map(str, self.event_shape))
            raise ValueError(f"x must have shape (..., {event}), got {x.shape}")
        return x.astype(np.float64)


class Gaussian(Distribution):
    """Normal distribution with a scalar, diagonal or full covariance.

    Parameters
    ----------
    mean : float or array_like, shape event_shape
        Mean. A scalar goes with any shape: every element of x is then a distribution of its own,
        unless `cov` says how many there are.
    cov : float or array_like
        Covariance, positive semidefinite: a scalar (the same variance for all elements), an array
        of event_shape (a variance for each), or a matrix of shape (d, d), d the number of elements
        of the event, in C order. A variance of 0 makes a point.

    Raises
    ------
    TypeError, ValueError
        If the arguments are none such.

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
                f"cov must be a scalar, of the mean's shape {centre.shape}, or a matrix of shape "
                f"{(centre.size, centre.size)}, got shape {spread.shape}"
            )
        self.event_shape = centre.shape
        self._mean = centre
        self._basis: Floats | None = None
        self._variances = spread
        if full:
            if not np.allclose(spread, spread.T, rtol=1e-10, atol=1e-12 * np.abs(spread).max()):
                raise ValueError(f"cov must be symmetric, got {cov!r}")
            self._variances, self._basis = np.linalg.eigh(spread)
            # Where an eigenvalue is 0, eigh leaves rounding of either sign.
            largest = self._variances.max(initial=0.0)
            rounding = np.finfo(np.float64).eps * centre.size * largest
            self._variances[np.abs(self._variances) <= rounding] = 0.0
            self._variances[(self._variances < 0.0) & (self._variances >= -1e-10 * largest)] = 0.0
        if self._variances.min(initial=0.0) < 0.0:
            raise ValueError(
                f"cov must be positive semidefinite, got a variance of {self._variances.min():g}"
            )

    @classmethod
    def fit(cls, samples: ArrayLike, shrinkage: float | None = None) -> Gaussian:
        """Normal distribution with the mean and the covariance of data.

        The sample covariance S = sum_k (x_k - m)(x_k - m)^T / n is singular where there are no more
        samples than dimensions, and poor long before. So it is shrunk towards a multiple of the
        identity, to (1 - r) S + r mu I with mu = tr(S) / d. By default r is Ledoit and Wolf's: the
        one with the least expected squared error, estimated by b**2 / d**2 of their Lemma 3.2 to
        3.4, which tends to 0 as the samples grow in number.

        Parameters
        ----------
        samples : array_like, shape ``(n, *event_shape)``
            Data; n is at least 2.
        shrinkage : float, optional
            r itself, in [0, 1]; 0 is maximum likelihood.

        Returns
        -------
        Gaussian
            With a full covariance.

        Raises
        ------
        TypeError, ValueError
            If an argument is none such.

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
        """Covariance, in the form that it was given in; a copy."""
        if self._basis is None:
            return self._variances.copy()
        return np.asarray((self._basis * self._variances) @ self._basis.T)

    def flow(self, schedule: NoiseSchedule, x: Any, t_from: float, t_to: float | None) -> Any:
        """Exact map of the probability-flow ODE between two times.

        Along the flow a Gaussian's marginals are carried into one another by
        x -> alpha' m + S'**(1/2) S**(-1/2) (x - alpha m), S = alpha**2 cov + sigma**2 I: the
        solution of Song et al. 2021, eq. 13, for a normal distribution.

        Parameters
        ----------
        schedule : NoiseSchedule
            The path.
        x : ndarray of floats, shape ``(..., *event_shape)``
            Sample at time `t_from`.
        t_from, t_to : float
            Times of the schedule, in any order; None is the clean level.

        Returns
        -------
        ndarray, shape and dtype of `x`

        Raises
        ------
        TypeError, ValueError
            If an argument is none such, or if `x` lies where the distribution has no density.

        Examples
        --------
        >>> from schedulers import VESchedule
        >>> Gaussian(mean=0.0, cov=9.0).flow(VESchedule(), np.array([5.0]), 4.0, 0.0)
        array([3.])
        """
        _check_schedule(schedule)
        alpha, sigma = _scales(schedule, t_from, "t_from")
        alpha_to, sigma_to = (1.0, 0.0) if t_to is None else _scales(schedule, t_to, "t_to")
        before = self._at(alpha, sigma)
        after = self._at(alpha_to, sigma_to)
        if np.any(before._variances == 0.0):
            raise ValueError(
                f"t_from must be above the clean level for a distribution with a variance of 0, "
                f"got {t_from!r}"
            )
        gain = np.sqrt(after._variances / before._variances)
        moved = after._mean + self._scaled(gain, self._values(x) - before._mean)
        return np.asarray(moved).astype(x.dtype)

    def _scaled(self, gain: Floats, x: Floats) -> Floats:
        """Multiply the components of x along the covariance's axes."""
        if self._basis is None:
            return gain * x
        rows = x.reshape(*x.shape[: x.ndim - len(self.event_shape)], self._mean.size)
        return np.asarray(((rows @ self._basis) * gain) @ self._basis.T).reshape(x.shape)

    def _at(self, alpha: float, sigma: float) -> Gaussian:
        return self._with(alpha * self._mean, alpha**2 * self._variances + sigma**2)

    def _with(self, mean: Floats, variances: Floats) -> Gaussian:
        """Normal distribution of the same event shape and axes."""
        other = object.__new__(Gaussian)
        other.event_shape = self.event_shape
        other._mean, other._basis, other._variances = mean, self._basis, variances
        return other

    def _posterior(self, x: Floats, alpha: float, sigma: float) -> tuple[Floats, Floats]:
        total = alpha**2 * self._variances + sigma**2
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


def _shrinkage(off: Floats, spread: Floats, average: float) -> float:
    """Ledoit and Wolf's weight of the identity, for centred samples and their covariance."""
    from_identity = np.sum(spread**2) - len(spread) * average**2  # |S - mu I|**2
    if from_identity <= 0.0:
        return 0.0
    # The mean of |x x^T - S|**2 over the samples, divided by their number.
    error = (np.mean(np.sum(off**2, axis=1) ** 2) - np.sum(spread**2)) / len(off)
    return float(min(max(error / from_identity, 0.0), 1.0))  # each bound met but for rounding


class GaussianMixture(Distribution):
    """Mixture of isotropic normal distributions.

    Parameters
    ----------
    means : array_like, shape ``(k, *event_shape)``
        Means of the k components; axis 0 counts them.
    std : float or array_like, shape (k,)
        Standard deviations of the components, at least 0; 0 makes points.
    weights : array_like, shape (k,), optional
        Probabilities of the components, positive, with the sum 1; equal by default.

    Raises
    ------
    TypeError, ValueError
        If the arguments are none such.

    Examples
    --------
    >>> GaussianMixture(means=[[-1.0], [1.0]], std=0.1)
    GaussianMixture(2 components, event_shape=(1,))
    """

    def __init__(self, means: ArrayLike, std: ArrayLike, weights: ArrayLike | None = None) -> None:
        centres, stds = _many("means", means), _checks.array("std", std)
        k = len(centres)
        if stds.shape not in ((), (k,)) or stds.min() < 0.0:
            raise ValueError(f"std must be one number, or {k}, and at least 0, got {std!r}")
        shares = np.full(k, 1.0 / k)
        if weights is not None:
            shares = _checks.array("weights", weights)
            if shares.shape != (k,) or shares.min() <= 0.0 or abs(shares.sum() - 1.0) > 1e-6:
                raise ValueError(
                    f"weights must be {k} positive numbers with the sum 1, got {weights!r}"
                )
        self.event_shape = centres.shape[1:]
        self._means = centres.reshape(k, -1)
        self._variances = np.broadcast_to(stds**2, (k,)).copy()
        self._weights: Floats = shares / shares.sum()

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}({len(self._means)} components, event_shape={self.event_shape})"
        )

    @property
    def means(self) -> Floats:
        """Means of the components, shape ``(k, *event_shape)``; a copy."""
        return np.array(self._means.reshape(-1, *self.event_shape))

    @property
    def std(self) -> Floats:
        """Standard deviations of the components, shape (k,)."""
        return np.asarray(np.sqrt(self._variances))

    @property
    def weights(self) -> Floats:
        """Probabilities of the components, shape (k,); a copy."""
        return self._weights.copy()

    @property
    def mean(self) -> Floats:
        """Mean of the mixture, of the event's shape."""
        return np.asarray((self._weights @ self._means).reshape(self.event_shape))

    @property
    def cov(self) -> Floats:
        """Covariance of the mixture, shape (d, d), d the number of elements of the event."""
        off = self._means - self._weights @ self._means
        within = self._weights @ self._variances * np.eye(off.shape[1])
        return np.asarray((off.T * self._weights) @ off + within)

    def _at(self, alpha: float, sigma: float) -> GaussianMixture:
        means = (alpha * self._means).reshape(-1, *self.event_shape)
        std = np.sqrt(alpha**2 * self._variances + sigma**2)
        return GaussianMixture(means, std, self._weights)

    def _log_joint(self, rows: Floats, alpha: float, variances: Floats) -> Floats:
        """Log of weight times density of each component at each row, shape (rows, k)."""
        from scipy.spatial.distance import cdist

        # Differences first, then squares: exact where a component is near, at every noise level.
        squares = cdist(rows, alpha * self._means, "sqeuclidean")
        log_det = rows.shape[1] * np.log(2.0 * math.pi * variances)
        return np.asarray(np.log(self._weights) - 0.5 * (squares / variances + log_det))

    def _shares(self, rows: Floats, alpha: float, variances: Floats) -> Floats:
        """Probability of each component given each row, shape (rows, k)."""
        from scipy.special import softmax

        return np.asarray(softmax(self._log_joint(rows, alpha, variances), axis=1))

    def _pull(self, rows: Floats, alpha: float, weights: Floats) -> Floats:
        """Sum over components of weight * (row - alpha * mean)."""
        total: Floats = weights.sum(axis=1, keepdims=True)
        return total * rows - alpha * (weights @ self._means)

    def _rows(self, x: Floats) -> Floats:
        return x.reshape(-1, self._means.shape[1])

    def _posterior(self, x: Floats, alpha: float, sigma: float) -> tuple[Floats, Floats]:
        rows, total = self._rows(x), alpha**2 * self._variances + sigma**2
        shares = self._shares(rows, alpha, total)
        denoised = shares @ self._means
        denoised += alpha * self._pull(rows, alpha, shares * (self._variances / total))
        noise = sigma * self._pull(rows, alpha, shares / total)
        return denoised.reshape(x.shape), noise.reshape(x.shape)

    def _log_prob(self, x: Floats) -> Floats:
        from scipy.special import logsumexp

        joint = self._log_joint(self._rows(x), 1.0, self._density_variances())
        shape = x.shape[: x.ndim - len(self.event_shape)]
        return np.asarray(logsumexp(joint, axis=1)).reshape(shape)

    def _score(self, x: Floats) -> Floats:
        rows, variances = self._rows(x), self._density_variances()
        shares = self._shares(rows, 1.0, variances)
        return -self._pull(rows, 1.0, shares / variances).reshape(x.shape)

    def _sample(self, n: int, rng: np.random.Generator) -> Floats:
        which = rng.choice(len(self._means), size=n, p=self._weights)
        z = rng.standard_normal((n, self._means.shape[1]))
        rows = self._means[which] + np.sqrt(self._variances[which, None]) * z
        return rows.reshape(n, *self.event_shape)


class Empirical(GaussianMixture):
    """Uniform distribution over the points of a data set.

    Its denoiser is what a model that learned the data set by heart would be: the mean of the
    points, weighted by how likely each is to have become x. It generates the points themselves.

    Parameters
    ----------
    points : array_like, shape ``(k, *event_shape)``
        The data set; axis 0 counts it.

    Raises
    ------
    TypeError, ValueError
        If `points` is none such.

    Examples
    --------
    >>> from schedulers import DDIM, VESchedule
    >>> data, schedule = Empirical([[-1.0], [2.0]]), VESchedule()
    >>> scheduler = DDIM(schedule, spacing="karras")
    >>> scheduler.sample(data.denoiser(schedule), np.array([[-50.0], [70.0]]), steps=20).round(6)
    array([[-1.],
           [ 2.]])
    """

    def __init__(self, points: ArrayLike) -> None:
        super().__init__(_many("points", points), std=0.0)


def _many(name: str, values: ArrayLike) -> Floats:
    array = _checks.array(name, values)
    if array.ndim == 0 or array.size == 0:
        raise ValueError(f"{name} must have at least one on axis 0, got shape {array.shape}")
    return array


def _check_schedule(schedule: NoiseSchedule) -> None:
    if not isinstance(schedule, NoiseSchedule):
        raise TypeError(f"schedule must be a NoiseSchedule, got {schedule!r}")


def _scales(schedule: NoiseSchedule, t: float, name: str = "t") -> tuple[float, float]:
    time = schedule._checked(t, name)
    if time.ndim:
        raise ValueError(f"{name} must be a single time, got shape {time.shape}")
    alpha, sigma = schedule._path(time)
    return float(alpha), float(sigma)
