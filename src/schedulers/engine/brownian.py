"""A Brownian path as a source of noise: the same randomness for every number of steps."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from schedulers.engine.noise import Place, Seeded, checked_seeds

if TYPE_CHECKING:
    from numpy.typing import DTypeLike, NDArray

    from schedulers.engine.noise import Seed, Seeds

    Floats = NDArray[np.float64]

# Number of times that [0, 1] is halved. The two ends of a step must not be closer than that.
_DEPTH = 30


@dataclass(frozen=True)
class BrownianPath(Seeded):
    """Noise for `rng` that is the same path for every number of steps.

    Let W be a Brownian path over s / (1 + s), where s is Karras's sigma. The fresh noise of a step
    from s to s' is W's increment between the two, scaled to unit variance. So if you cut a step in
    two, its noise is the sum of the two new ones. As the number of steps grows, the samples of a
    stochastic scheduler converge to the solution of its stochastic differential equation along the
    path. On any one grid the noise of the steps is independent, as that of other sources is.

    W is a function of the seed alone. It is made by halving intervals and drawing each midpoint
    given the two ends (Lévy's construction): about 60 draws a step.

    Parameters
    ----------
    seeds : int, SeedSequence, or sequence of those
        Name of the path. With one seed for each sample of a batch, each sample has its own path.

    Raises
    ------
    TypeError, ValueError
        If `seeds` is not as described; by a run, if there is not one seed for each sample, or if
        levels are closer together than 1e-9 of the path.

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
    >>> path, x_T = BrownianPath(3), np.array([80.0])
    >>> for steps in (50, 100, 200, 400):
    ...     print(scheduler.sample(denoiser, x_T, steps=steps, rng=path).round(2))
    [0.58]
    [0.71]
    [0.73]
    [0.75]
    """

    seeds: Seed | Seeds

    def __post_init__(self) -> None:
        object.__setattr__(self, "seeds", checked_seeds("seeds", self.seeds))

    def normal(self, place: Place, shape: tuple[int, ...], dtype: DTypeLike) -> Any:
        """Return the noise of a place: the path's over the place's span, if it has one."""
        if place.span is None:
            return super().normal(place, shape, dtype)
        return self._increment(place.span, shape).astype(dtype, copy=False)

    def _increment(self, span: tuple[float, float], shape: tuple[int, ...]) -> Floats:
        """Return the path's increment over a span, scaled to unit variance."""
        (low, before), (high, after) = (self._at(point, shape) for point in span)
        if low == high:
            raise ValueError(
                f"levels must be further apart for a BrownianPath, which tells them where "
                f"s / (1 + s) of Karras's sigma s differs by 1e-9; got {span[0]!r} and {span[1]!r}"
            )
        scaled: Floats = (after - before) / math.sqrt(span[1] - span[0])
        return scaled

    def _at(self, point: float, shape: tuple[int, ...]) -> tuple[int, Floats]:
        """Return W at a point, and the number of the interval that holds it at the last depth."""
        start, length, number = 0.0, 1.0, 0
        low, high = np.zeros(shape), super().normal(Place("node"), shape, np.float64)
        for depth in range(1, _DEPTH + 1):
            z = super().normal(Place("node", depth, number), shape, np.float64)
            middle = 0.5 * (low + high) + 0.5 * math.sqrt(length) * z
            length, number = 0.5 * length, 2 * number
            if point > start + length:
                low, start, number = middle, start + length, number + 1
            else:
                high = middle
        before, after = point - start, start + length - point
        z = super().normal(Place("node", _DEPTH + 1, number), shape, np.float64)
        line: Floats = (after * low + before * high) / length
        return number, line + math.sqrt(before * after / length) * z
