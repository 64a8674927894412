"""Mixtures of isotropic normal distributions."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from schedulers import _checks
from schedulers.analytic.distribution import Distribution

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    Floats = NDArray[np.float64]

# Standard deviations whose squares float64 holds, with all of their digits.
_SMALLEST = 1e-150


class GaussianMixture(Distribution):
    """Mixture of isotropic normal distributions.

    Parameters
    ----------
    means : array_like, shape ``(k, *event_shape)``
        Means of the k components; axis 0 counts them.
    std : float or array_like, shape (k,)
        Standard deviations of the components, at least 0. A component with 0 is a point.
    weights : array_like, shape (k,), optional
        Probabilities of the components, positive, with sum 1. Equal by default.

    Raises
    ------
    TypeError, ValueError
        If an argument has the wrong type, shape or values.

    Examples
    --------
    >>> GaussianMixture(means=[[-1.0], [1.0]], std=0.1)
    GaussianMixture(2 components, event_shape=(1,))
    """

    def __init__(self, means: ArrayLike, std: ArrayLike, weights: ArrayLike | None = None) -> None:
        centres, stds = many("means", means), _checks.array("std", std)
        k = len(centres)
        if stds.shape not in ((), (k,)) or not all(
            low == 0.0 or _SMALLEST <= low <= 1.0 / _SMALLEST for low in stds.ravel()
        ):
            raise ValueError(
                f"std must be one number or {k} numbers whose squares float64 holds, "
                f"at least 0, got {_checks.shown(std)}"
            )
        shares = np.full(k, 1.0 / k)
        if weights is not None:
            shares = _checks.array("weights", weights)
            if (
                shares.shape != (k,)
                or not (shares.min() > 0.0 and shares.max() <= 1.0 + 1e-6)
                or abs(shares.sum() - 1.0) > 1e-6
            ):
                raise ValueError(
                    f"weights must be {k} positive numbers with sum 1, one for each of means, "
                    f"got {_checks.shown(weights)}"
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
        """Covariance of the mixture, shape (d, d), for an event of d elements."""
        off = self._means - self._weights @ self._means
        within = self._weights @ self._variances * np.eye(off.shape[1])
        return np.asarray((off.T * self._weights) @ off + within)

    def _at(self, alpha: float, sigma: float) -> GaussianMixture:
        means = (alpha * self._means).reshape(-1, *self.event_shape)
        std = np.sqrt(alpha**2 * self._variances + sigma**2)
        return GaussianMixture(means, std, self._weights)

    def _log_joint(self, rows: Floats, alpha: float, variances: Floats) -> Floats:
        """Return log(weight * density) of each component at each row, shape (rows, k)."""
        from scipy.spatial.distance import cdist

        # cdist subtracts before it squares: accurate near a component at every noise level.
        squares = cdist(rows, alpha * self._means, "sqeuclidean")
        log_det = rows.shape[1] * np.log(2.0 * math.pi * variances)
        return np.asarray(np.log(self._weights) - 0.5 * (squares / variances + log_det))

    def _shares(self, rows: Floats, alpha: float, variances: Floats) -> Floats:
        """Return the probability of each component given each row, shape (rows, k)."""
        from scipy.special import softmax

        return np.asarray(softmax(self._log_joint(rows, alpha, variances), axis=1))

    def _pull(self, rows: Floats, alpha: float, weights: Floats) -> Floats:
        """Return the sum over components of weight * (row - alpha * mean)."""
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


def many(name: str, values: ArrayLike) -> Floats:
    """Return a non-empty array of at least one axis, as float64."""
    array = _checks.array(name, values)
    if array.ndim == 0 or array.size == 0:
        raise ValueError(
            f"{name} must be a non-empty array of shape (k, *event_shape), got shape {array.shape}"
        )
    return array
