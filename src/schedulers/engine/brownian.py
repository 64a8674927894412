"""A Brownian path as a source of noise: the same randomness for every number of steps."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from schedulers.engine.noise import Path, Place, checked_seeds, node_place, normal

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from schedulers.engine.noise import Seed, Seeds

    Floats = NDArray[np.float64]

# Number of times that [0, 1] is halved. The two ends of a step must not be closer than that.
_DEPTH = 30


@dataclass(frozen=True)
class BrownianPath(Path):
    """Noise for `rng` that is the same random path for every number of steps.

    Let W be a Brownian path over s / (1 + s), where s is Karras's sigma. The fresh noise of a step
    from s to s' is the increment of W between the two, scaled to unit variance. If a step is split
    into shorter ones, their increments add up to its own. So, as the number of steps grows, the
    samples of a stochastic scheduler converge: to the solution of its stochastic differential
    equation for this path. Within one grid, the noises of different steps are independent, as they
    are from any other source.

    W depends on the seed alone. It is not stored: each step computes it by halving intervals and
    drawing each midpoint given the two ends (Lévy's construction), which costs 30 to 60 draws.

    Parameters
    ----------
    seeds : int, SeedSequence, or sequence of those
        Seed of the path; or one seed for each sample of the batch, which then has its own path.

    Raises
    ------
    TypeError, ValueError
        If `seeds` has the wrong type or value. A run raises if a sequence of seeds does not have
        one for each sample, or if s / (1 + s) of two levels differs by less than 1e-9.

    References
    ----------
    Lévy: Processus stochastiques et mouvement brownien, 1948, section 1.

    Examples
    --------
    >>> from schedulers import BrownianPath, EulerAncestral, VESchedule
    >>> from schedulers.analytic import Gaussian
    >>> schedule = VESchedule()
    >>> scheduler = EulerAncestral(schedule, prediction_type="sample", spacing="karras")
    >>> denoiser = Gaussian(0.0, 1.0).denoiser(schedule, prediction_type="sample")
    >>> path, x_T = BrownianPath(0), np.array([80.0])
    >>> for steps in (50, 100, 200, 400):
    ...     print(scheduler.sample(denoiser, x_T, steps=steps, rng=path).round(2))
    [0.36]
    [0.39]
    [0.38]
    [0.39]
    """

    seeds: Seed | Seeds

    def __post_init__(self) -> None:
        right = "an int, a numpy.random.SeedSequence or a sequence of those"
        seeds = checked_seeds("seeds", self.seeds, right)
        object.__setattr__(self, "seeds", seeds)

    def increment(self, place: Place, shape: tuple[int, ...]) -> Floats:
        """Return the noise of a place: the path's over its span; if it has no span, a draw."""
        if place.span is None:
            return self._normal(place, shape)
        low, high = place.span
        node = _Node(0, 0, np.zeros(shape), self._normal(node_place(0, 0), shape))
        while node.is_right(low) == node.is_right(high):
            if node.depth == _DEPTH:
                raise ValueError(
                    f"levels must be further apart for a BrownianPath: s / (1 + s), where s is "
                    f"Karras's sigma, must differ by at least 1e-9, got {low!r} and {high!r}"
                )
            node = self._half(node, high)
        risen: Floats = self._value(node, high) - self._value(node, low)
        return risen / math.sqrt(high - low)

    def _value(self, node: _Node, point: float) -> Floats:
        """Return W at a point inside a node, by halving intervals on the way there."""
        while node.depth < _DEPTH:
            node = self._half(node, point)
        before, after = point - node.start, node.end - point
        bridge = math.sqrt(before * after / node.length) * self._normal(node.place, node.low.shape)
        line: Floats = (after * node.low + before * node.high) / node.length
        return line + bridge

    def _half(self, node: _Node, point: float) -> _Node:
        z = self._normal(node.place, node.high.shape)
        middle = 0.5 * (node.low + node.high) + 0.5 * math.sqrt(node.length) * z
        if node.is_right(point):
            return _Node(node.depth + 1, 2 * node.number + 1, middle, node.high)
        return _Node(node.depth + 1, 2 * node.number, node.low, middle)

    def _normal(self, place: Place, shape: tuple[int, ...]) -> Floats:
        drawn: Floats = normal(self.seeds, place, shape, np.dtype(np.float64))
        return drawn


class _Node(NamedTuple):
    """One of the 2**depth intervals of [0, 1], and W at its two ends."""

    depth: int
    number: int
    low: Floats
    high: Floats

    @property
    def length(self) -> float:
        return 0.5**self.depth

    @property
    def start(self) -> float:
        return self.number * self.length

    @property
    def end(self) -> float:
        return self.start + self.length

    @property
    def place(self) -> Place:
        """Place of the noise that gives W inside the interval."""
        return node_place(self.depth + 1, self.number)

    def is_right(self, point: float) -> bool:
        """Whether a point is in the right half."""
        return point > self.start + 0.5 * self.length
