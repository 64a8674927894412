"""The exact flow of a model, in fine steps, and what it says of levels and weights.

Along the flow of the model x = alpha D + sigma e is known on a fine grid. From there, how far a row
misses the flow at its end is a quadratic form of the inner products of D and e on the grid: so
levels are tried by the thousand without the model.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from schedulers.engine import arrays
from schedulers.engine.tableau import Tableau
from schedulers.grids.sigmas import karras_sigmas
from schedulers.methods.dpm_solver_pp import DPMSolverPP
from schedulers.schedules.base import NoiseSchedule

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

# Karras's sigma from which fine steps are laid where the schedule begins at infinity.
_HIGH = 100.0
# Elements of a batch, at most, that inner products are taken of.
_ELEMENTS = 2**17
# Least squares are made this much stiffer than they are, relatively.
_RIDGE = 1e-5


def fine_tableau(schedule: NoiseSchedule, prediction_type: str, steps: int) -> Tableau:
    """Return the rows of the flow in fine steps: DPM-Solver++(3M) on Karras's grid."""
    low = schedule.karras_sigma(schedule.t_min)
    top = schedule.karras_sigma(schedule.t_max)
    if np.isfinite(top):
        sigmas = karras_sigmas(steps, low, top)
    else:
        high = min(_HIGH, schedule.max_karras_sigma)
        sigmas = np.concatenate([[np.inf], karras_sigmas(steps - 1, low, high)])
    return DPMSolverPP(schedule, order=3, prediction_type=prediction_type).tableau(sigmas=sigmas)


class Flow:
    """What a model's flow says of levels, from inner products of D and e on the fine grid.

    Parameters
    ----------
    tableau : Tableau
        The fine grid.
    reach : int
        How many evaluations a row weighs, at most.
    """

    def __init__(self, tableau: Tableau, reach: int) -> None:
        self.levels, self.reach = tableau.levels[:-1], reach
        self.size = len(self.levels)
        self._products = np.zeros((2 * self.size + 2, 2 * self.size + 2))
        self._misses: dict[tuple[int | None, tuple[int, ...]], float] = {}

    def add(self, estimates: Sequence[tuple[Any, Any]], x_0: Any, x_T: Any, rows: Any) -> None:
        """Add a batch: D and e on the grid, where the flow ends, and where it begins."""
        kept = [d for d, _ in estimates] + [e for _, e in estimates] + [x_0, x_T]
        stride = -(-flat(x_0, rows).size // _ELEMENTS)
        vectors = np.stack([flat(array, rows)[::stride] for array in kept])
        self._products += vectors @ vectors.T

    def best(self, steps: int, count: int) -> list[list[int]]:
        """Return the places on the grid of the levels that miss the flow least, the best first.

        Each is a local minimum: it is begun from evenly bent grids, and one level after another is
        moved until no move helps.
        """
        found = {}
        for begun in _begun(self.size, steps):
            places, miss = self._descend(begun)
            found[tuple(places)] = miss
        return [list(places) for places in sorted(found, key=lambda places: found[places])[:count]]

    def _descend(self, places: list[int]) -> tuple[list[int], float]:
        miss, moved = self._total(places), True
        while moved:
            moved = False
            for i in range(len(places)):
                least = places[i - 1] + 1 if i else 0
                most = places[i + 1] if i + 1 < len(places) else self.size
                for place in range(least, most):
                    tried = [*places[:i], place, *places[i + 1 :]]
                    total = self._total(tried)
                    if total < miss * (1.0 - 1e-9):
                        places, miss, moved = tried, total, True
        return places, miss

    def _total(self, places: list[int]) -> float:
        """Return by how much a table on these levels misses the flow, summed over its rows."""
        ends: list[int | None] = [*places[1:], None]
        rows = (
            self._miss(end, tuple(places[max(i + 1 - self.reach, 0) : i + 1][::-1]))
            for i, end in enumerate(ends)
        )
        return self._begin(places[0]) + sum(rows)

    def _begin(self, place: int) -> float:
        """Return by how much noise of the level's scale misses the flow there."""
        target, scale = self._target(place)
        target[-1] = -self.levels[place].sigma / self.levels[0].sigma
        return max(float(target @ self._products @ target), 0.0) / scale

    def _miss(self, end: int | None, evaluated: tuple[int, ...]) -> float:
        """Return by how much the best row, from flow to flow, misses its end.

        `end` is the place of its end, and `evaluated` are those of its evaluations, its own first.
        """
        if (end, evaluated) not in self._misses:
            now, *past = evaluated
            target, scale = self._target(end)
            then = (1.0, 0.0) if end is None else self.levels[end][1:]
            target[now] -= then[0]
            target[self.size + now] -= then[1]
            differences = np.zeros((len(past), target.size))
            differences[:, self.size + now] = -1.0
            differences[range(len(past)), [self.size + place for place in past]] = 1.0
            self._misses[end, evaluated] = _residual(self._products, target, differences) / scale
        return self._misses[end, evaluated]

    def _target(self, place: int | None) -> tuple[Floats, float]:
        """Return the flow at a place as a sum of what is kept, and its mean square there."""
        target, square = np.zeros(2 * self.size + 2), self._products[-2, -2]
        if place is None:
            target[-2] = 1.0
            return target, square
        _, alpha, sigma = self.levels[place]
        target[place], target[self.size + place] = alpha, sigma
        return target, alpha**2 * square + sigma**2 * self._products[-1, -1] / self.levels[
            0
        ].sigma ** 2


def flat(array: Any, rows: Any) -> Floats:
    """Return these samples of an array as one vector of NumPy's."""
    values: Floats = arrays.as_numpy(array)[rows].astype(np.float64).reshape(-1)
    return values


def _residual(products: Floats, target: Floats, columns: Floats) -> float:
    """Return the square of what least squares leave of the target."""
    left = products @ target
    if not len(columns):
        return max(float(target @ left), 0.0)
    normal = columns @ products @ columns.T
    normal += _RIDGE * np.trace(normal) / len(normal) * np.eye(len(normal))
    weights = np.linalg.lstsq(normal, columns @ left)[0]
    rest = target - weights @ columns
    return max(float(rest @ products @ rest), 0.0)  # which rounding can make negative


def _begun(size: int, steps: int) -> Iterator[list[int]]:
    """Yield places to begin a search from, with several first levels and densities."""
    for first in (0, size // 10, size // 5, size // 3):
        for bend in (0.6, 0.8, 1.0, 1.3):
            places = first + (size - 1 - first) * (np.arange(steps) / steps) ** bend
            whole = np.unique(places.round().astype(int)).tolist()
            if len(whole) == steps:
                yield whole
