"""Nonlinear least squares for levels and weights: the method of Levenberg and Marquardt."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

# How often the damping is raised in a round.
_TRIALS = 8
# By how much the logarithm of a sigma moves in a round, at most.
_LONGEST = 0.7


@dataclass(frozen=True)
class Space:
    """Vectors that begin with the logarithms of falling sigmas.

    Attributes
    ----------
    steps : int
        How many of the numbers are logarithms.
    low, high : float
        Between which they lie.
    gap : float
        By how much each is below the one before, at least.
    """

    steps: int
    low: float
    high: float
    gap: float

    @classmethod
    def around(cls, logs: Floats, low: float, high: float) -> Space:
        """Return the space for levels that move from these.

        Two levels that meet would make a difference quotient of what a model says at one level. The
        gap keeps a twentieth of the mean distance between them, or what there is to begin with.
        """
        finite = logs[np.isfinite(logs)]
        mean = (min([high, *finite[:1]]) - low) / len(logs)
        return cls(len(logs), low, high, min(0.05 * mean, *-np.diff(finite), 1.0))

    def has(self, vector: Floats) -> bool:
        """Whether the levels fall by the gap at least."""
        logs = vector[: self.steps]
        return bool(np.all(logs[:-1] - logs[1:] >= self.gap * (1.0 - 1e-9)))

    def clipped(self, vector: Floats) -> Floats:
        """Return the numbers with the levels moved to where they lie between the bounds."""
        logs = vector[: self.steps]
        inside = np.where(np.isfinite(logs), np.clip(logs, self.low, self.high), logs)
        return np.concatenate([inside, vector[self.steps :]])

    def moved(self, vector: Floats, i: int, move: float) -> tuple[Floats, float]:
        """Return the numbers with one of them moved, and its move: downwards, or else upwards."""
        for way in (-move, move):
            tried = vector.copy()
            tried[i] += way
            if i >= self.steps or np.array_equal(self.clipped(tried), tried):
                break
        return tried, way

    def blocked(self, vector: Floats, slope: Floats) -> NDArray[np.bool_]:
        """Say which numbers lie at a bound, where the error falls only beyond it."""
        at_low = (vector <= self.low) & (slope > 0.0)
        at_high = (vector >= self.high) & (slope < 0.0)
        return (at_low | at_high) & (np.arange(vector.size) < self.steps)


def descend(
    space: Space,
    vector: Floats,
    rounds: int,
    least_gain: float,
    error: Callable[[Floats], float],
    normal_equations: Callable[[Floats], tuple[Floats, Floats]],
) -> Floats:
    """Return the numbers after some rounds, each with a smaller error.

    `normal_equations` returns the products of the derivatives of the residuals with one another,
    and their products with the residuals. A number whose derivative is 0 stays. A round that gains
    less than the part `least_gain` of the error is the last.
    """
    damping, least = 1e-3, error(vector)
    for _ in range(rounds):
        normal, slope = normal_equations(vector)
        moving = (np.diag(normal) > 0.0) & ~space.blocked(vector, slope)
        if not moving.any():
            break
        for _ in range(_TRIALS):
            damped = normal + damping * np.diag(np.diag(normal))
            step = np.zeros_like(vector)
            step[moving] = np.linalg.solve(damped[np.ix_(moving, moving)], slope[moving])
            step /= max(1.0, *np.abs(step[: space.steps]) / _LONGEST)
            tried = space.clipped(vector - step)
            found = error(tried) if space.has(tried) else np.inf
            if found < least:
                break
            damping *= 5.0
        else:
            break
        gain, vector, least, damping = 1.0 - found / least, tried, found, damping / 4.0
        if gain < least_gain:
            break
    return vector
