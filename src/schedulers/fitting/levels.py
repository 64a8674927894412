"""The levels at which a scheduler's exact output is nearest to Gaussian data."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from schedulers import _checks
from schedulers.analysis.law import along_axes, transfer_function
from schedulers.analytic import Gaussian
from schedulers.grids.run import run_levels
from schedulers.grids.spacings import SPACINGS
from schedulers.scheduler import Scheduler

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

CRITERIA = ("w2", "flow")
# Axes of the covariance that are told apart while levels move.
_AXES = 256
# Part of the range of levels that is shared out evenly between them, so that no two meet.
_EVEN = 0.05
_EVALUATIONS = 100


def levels(scheduler: Scheduler, data: Gaussian, steps: int, *, nearest: str = "w2") -> Floats:
    """Find the Karras sigmas for which a scheduler's exact output is nearest to the data.

    The output of a run for Gaussian data is known exactly, see `schedulers.analysis.output_law`. So
    no model and no sample is needed: only the scheduler and the data's mean and covariance. The
    first level may be below the schedule's noisiest: begin a run with
    ``scheduler.initial_noise(shape, sigmas=sigmas)``.

    Parameters
    ----------
    scheduler : Scheduler
        Without a threshold and without a learned variance.
    data : Gaussian
        The data, such as ``Gaussian.fit(samples)``.
    steps : int
        Number of steps.
    nearest : str
        What is made small: "w2", the 2-Wasserstein distance between output and data; or "flow",
        the root-mean-square distance to the end of the exact flow from the same noise, which
        begins at the schedule's noisiest level, for a scheduler that draws no noise.

    Returns
    -------
    ndarray of float64, shape (steps + 1,)
        Sigmas for ``scheduler.sample(..., sigmas=sigmas)``, with a last 0. Never worse than the
        best of the named spacings that the scheduler can take. The same at every call.

    Raises
    ------
    TypeError, ValueError
        If an argument is not as described, or if the scheduler can take no named spacing.

    Examples
    --------
    >>> from schedulers import DDIM, VESchedule
    >>> from schedulers.analysis import output_law, wasserstein2
    >>> scheduler, data = DDIM(VESchedule()), Gaussian(mean=[0.0, 0.0], cov=[1.0, 0.01])
    >>> sigmas = levels(scheduler, data, steps=5)
    >>> found = wasserstein2(output_law(scheduler, data, sigmas=sigmas), data)
    >>> named = wasserstein2(output_law(scheduler, data, steps=5), data)
    >>> bool(found < 0.3 * named)
    True
    """
    if not isinstance(scheduler, Scheduler):
        raise TypeError(f"scheduler must be a Scheduler, got {_checks.shown(scheduler)}")
    if not isinstance(data, Gaussian):
        raise TypeError(f"data must be a Gaussian, got {_checks.shown(data)}")
    _checks.integer("steps", steps, at_least=1)
    flow = _checks.choice("nearest", nearest, CRITERIA) == "flow"
    if scheduler.tableau(steps).draws_noise and flow:
        raise ValueError(
            f"scheduler must draw no noise for nearest='flow', got {_checks.shown(scheduler)}"
        )
    axes = _Axes.of(data)
    misses, coarse = (_Misses(scheduler, each, flow) for each in (axes, axes.merged(_AXES)))
    named = sorted(_named(scheduler, steps), key=misses.error)
    found = [coarse.least(logs) for logs in (_between(coarse, steps), *named[:2])]
    return np.append(np.exp(min([*found, *named], key=misses.error)), 0.0)


class _Axes(NamedTuple):
    """Axes of the data's covariance: variances, components of the mean, and how often each is."""

    variances: Floats
    mean: Floats
    counts: Floats

    @classmethod
    def of(cls, data: Gaussian) -> _Axes:
        mean = data.mean.reshape(-1)
        along = mean if data._basis is None else data._basis.T @ mean
        variances = along_axes(data, data._variances)
        return cls(variances, along, np.ones_like(variances))

    def merged(self, most: int) -> _Axes:
        """Return no more axes than `most`, each for neighbours in the order of variances."""
        groups = np.array_split(np.argsort(self.variances), min(most, self.variances.size))
        return _Axes(
            np.array([self.variances[group].mean() for group in groups]),
            np.array([np.sqrt(np.mean(self.mean[group] ** 2)) for group in groups]),
            np.array([float(len(group)) for group in groups]),
        )


class _Misses:
    """What a run on given levels misses, along every axis."""

    def __init__(self, scheduler: Scheduler, axes: _Axes, flow: bool) -> None:
        self.scheduler, self.axes, self.flow = scheduler, axes, flow
        schedule, widest = scheduler.schedule, math.sqrt(axes.variances.max()) or 1.0
        (self.top,) = schedule.levels([schedule.t_max])
        top = self.top.karras
        self.low = math.log(schedule.karras_sigma(schedule.t_min))
        self.high = math.log(
            top if math.isfinite(top) else min(1e3 * widest, schedule.max_karras_sigma)
        )

    def vector(self, logs: Floats) -> Floats:
        """Return what a run on these levels misses: of the scales, and of the mean."""
        variances, mean, counts = self.axes
        sigmas = np.append(np.exp(logs), 0.0)
        gains = transfer_function(self.scheduler, variances, sigmas=sigmas)
        first = self.scheduler.schedule.level(float(sigmas[0]))
        start, shift = first.sigma * gains.start, first.alpha * gains.start
        if self.flow:
            top = self.top
            exact = np.sqrt(variances / (top.alpha**2 * variances + top.sigma**2))
            scales, shift = start - top.sigma * exact, shift - top.alpha * exact
        else:
            scales = np.sqrt(start**2 + gains.noise_variance) - np.sqrt(variances)
        weights = np.sqrt(counts)
        return np.concatenate([weights * scales, weights * shift * mean])

    def error(self, logs: Floats) -> float:
        """Return the sum of squares."""
        vector = self.vector(logs)
        return float(vector @ vector)

    def least(self, logs: Floats) -> Floats:
        """Return the levels after least squares from these.

        What moves are the logarithms of the shares of the range that lie above, between and below
        the levels: so levels fall and stay in the range, whatever the numbers are.
        """
        from scipy.optimize import least_squares

        finite = np.clip(logs, self.low, self.high)
        edges = np.concatenate([[self.high], finite, [self.low]])
        shares = np.maximum(-np.diff(edges) / (self.high - self.low), 1e-2)
        found = least_squares(
            lambda numbers: self.vector(self._logs(numbers)), np.log(shares), max_nfev=_EVALUATIONS
        )
        return self._logs(found.x)

    def _logs(self, numbers: Floats) -> Floats:
        shares = np.exp(numbers - numbers.max())
        even = np.full(shares.size, 1.0 / (shares.size - 2) if shares.size > 2 else 0.0)
        even[[0, -1]] = 0.0
        shares = (1.0 - _EVEN) * shares / shares.sum() + _EVEN * even
        return np.asarray(
            self.high - (self.high - self.low) * np.cumsum(shares / shares.sum())[:-1]
        )


def _between(misses: _Misses, steps: int) -> Floats:
    """Return even logarithms, from above the data's widest axis to below the narrowest."""
    scales = np.sqrt(misses.axes.variances[misses.axes.variances > 0.0])
    high, low = misses.high, misses.low
    if scales.size:
        high = min(high, math.log(10.0 * scales.max()))
        low = min(max(low, math.log(0.5 * scales.min())), high - 1e-3)
    return np.linspace(high, low, steps)


def _named(scheduler: Scheduler, steps: int) -> Iterator[Floats]:
    """Yield the logarithms of the levels of the spacings that the scheduler can take."""
    for spacing in (scheduler.spacing, *SPACINGS):
        try:
            levels = run_levels(scheduler.schedule, spacing, steps, None, None)
            sigmas = np.array([level.karras for level in levels])
            scheduler.tableau(sigmas=sigmas)
        except ValueError:
            continue
        yield np.log(sigmas[:-1])
