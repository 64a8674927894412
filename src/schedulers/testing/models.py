"""Denoisers for the laws: ``denoiser(y, s)`` gives D for y = x_0 + s eps, s Karras's sigma."""

from __future__ import annotations

import math
from collections.abc import Callable
from statistics import NormalDist
from typing import TYPE_CHECKING, Any

import numpy as np

from schedulers.analytic import Gaussian
from schedulers.schedules.continuous import VESchedule

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

Denoiser = Callable[[Any, float], Any]
VE = VESchedule()


def exact(data: Gaussian) -> Denoiser:
    """Posterior mean of Gaussian data."""
    return data.denoiser(VE, "sample")


def nonlinear(y: Any, s: float) -> Any:
    """Return a bounded function of each element alone, of y and of s.

    Made of additions, products and quotients only, which IEEE 754 rounds in one way, so that an
    element comes out the same to the last bit in arrays of any shape.
    """
    return (y + 0.3) / (1.0 + 0.5 * y * y + 0.25 * s)


def level(s: Any, first: float) -> float:
    """The one sigma that is told; NaN if samples are told several; of no samples, the first."""
    try:
        told = np.asarray(s, np.float64).reshape(-1)
    except (TypeError, ValueError):
        return math.nan
    if told.size == 0:
        return first
    return float(told[0]) if np.all(told == told[0]) else math.nan


class Mixture:
    """Two normal distributions of equal weight on the line: data that is not Gaussian.

    On a line the probability flow keeps the order of samples, so it keeps the distribution
    function: F'(y') = F(y), which is solved here by bisection. No scheduler's step goes into it.
    """

    means, variance = (-1.2, 0.8), 0.3

    def denoiser(self, y: Any, s: float) -> Any:
        """Posterior mean, by the responsibilities of the two."""
        total = self.variance + s * s
        low, high = self.means
        # log-odds of the second, given y
        odds = (high - low) * (y - 0.5 * (low + high)) / total
        weight = 0.5 + 0.5 * np.tanh(0.5 * odds)
        mean = low + (high - low) * weight
        return mean + self.variance / total * (y - mean)

    def flow(self, y: Floats, s: float, s_to: float) -> Floats:
        """Exact probability flow, elementwise."""
        return np.array([self._solve(self._cdf(float(one), s), s_to) for one in y])

    def _cdf(self, y: float, s: float) -> float:
        std = math.sqrt(self.variance + s * s)
        return 0.5 * sum(NormalDist(mean, std).cdf(y) for mean in self.means)

    def _solve(self, level: float, s: float) -> float:
        reach = 40.0 * math.sqrt(self.variance + s * s)
        low, high = -reach, reach
        while low < (middle := 0.5 * (low + high)) < high:
            low, high = (middle, high) if self._cdf(middle, s) < level else (low, middle)
        return middle
