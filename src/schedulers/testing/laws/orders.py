"""The order in which errors fall: measured, and judged where it has settled."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from schedulers.testing.failures import expect, shown

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from schedulers.testing.cases import SamplerCase

    Floats = NDArray[np.float64]

STEPS = (20, 40, 80, 160, 320)
# Doublings of the last number of steps, to go on with while the order has not settled.
DOUBLINGS = 2
# Below this, in units of the samples, rounding has a part of more than 1e-3 in an error.
FLOOR = 1e-10
# Orders are whole numbers. An estimate may be off by some of this where the leading term of the
# error is small, and the next one not yet smaller.
SLACK = 0.25
# An order that moves by less from one doubling to the next has settled.
STILL = 0.05


@dataclass(frozen=True)
class Errors:
    """Errors in units of the samples, by numbers of steps; the last may be rounding."""

    steps: Sequence[int]
    errors: Sequence[float]
    floor: float

    @property
    def clear(self) -> list[tuple[int, float]]:
        """Those that rounding has no part in."""
        pairs = zip(self.steps, self.errors, strict=True)
        return [(n, error) for n, error in pairs if error >= self.floor]

    @property
    def orders(self) -> list[float]:
        """The order from each number of steps to the next."""
        return [math.log(e / f) / math.log(m / n) for (n, e), (m, f) in pairwise(self.clear)]

    @property
    def settled(self) -> bool:
        """Whether the order moves less from one number of steps to the next, or hardly at all.

        Near its limit an order moves half as far with every doubling. Where it moves further each
        time, a term of another order is only beginning to show; and just after a leap, as where two
        terms cancel, it says nothing yet.
        """
        moves = [abs(after - before) for before, after in pairwise(self.orders)]
        if not moves:
            return True
        *_, before, last = math.inf, *moves
        leapt = len(moves) > 1 and before > 2.0 * SLACK
        return last <= SLACK and last <= max(STILL, before) and not leapt

    @property
    def order(self) -> float:
        """The order that they tend to, as far as it can be seen.

        If it has not settled, and falls: the latest; or, where they came to rounding, the mean on
        the way there.
        """
        orders, clear = self.orders, self.clear
        if len(orders) == 1:
            return orders[0]
        if not self.settled and orders[-1] < orders[-2]:
            if self.errors[-1] >= self.floor:
                return orders[-1]
            (n, first), (m, last) = clear[0], (self.steps[-1], max(self.errors[-1], 1e-300))
            return math.log(first / last) / math.log(m / n)
        # An order is off by O(h): two of them make one that is off by O(h**2).
        ratio = clear[-1][0] / clear[-2][0]
        return orders[-1] + (orders[-1] - orders[-2]) / (ratio - 1.0)

    def clear_of(self, claimed: float) -> bool:
        """Whether more steps would tell no more."""
        return self.settled or min(self.orders[-2:]) >= claimed + SLACK

    def __str__(self) -> str:
        pairs = zip(self.steps, self.errors, strict=True)
        table = "errors " + ", ".join(f"{error:.2e} at {n}" for n, error in pairs) + " steps"
        orders = ", ".join(f"{order:.2f}" for order in self.orders)
        if self.settled:
            return f"order {self.order:.2f}: {table} (orders {orders})"
        return (
            f"orders {orders}, which have not yet settled at {self.steps[-1]} steps, so that "
            f"order {self.order:.2f} is all that was seen: {table}"
        )


def measured(
    error: Callable[[Floats], float],
    grid: Callable[[int], Floats],
    counts: Sequence[int],
    floor: float,
    claimed: float,
) -> Errors:
    """Measure errors with more and more steps, until the order is clear.

    Which is where rounding begins, or, after the last of `counts`, where the order has settled or
    is well above the one claimed, or where the grid gives no more. The numbers of steps are those
    that the grid gives, which need not be those asked for.
    """
    steps: list[int] = []
    errors: list[float] = []
    for n in (*counts, *(counts[-1] * 2**k for k in range(1, DOUBLINGS + 1))):
        if n > counts[-1] and Errors(steps, errors, floor).clear_of(claimed):
            break
        try:
            sigmas = grid(n)
        except ValueError:
            if n <= counts[-1]:
                raise
            break
        if steps and len(sigmas) - 1 < 1.5 * steps[-1]:
            continue
        steps.append(len(sigmas) - 1)
        errors.append(error(sigmas))
        if errors[-1] < floor:
            break
    return Errors(tuple(steps), tuple(errors), floor)


def expect_order(
    case: SamplerCase,
    error: Callable[[Floats], float],
    limit: str,
    grid: Callable[[int], Floats],
    counts: Sequence[int] = STEPS,
) -> None:
    """Expect errors that fall in the order claimed, or are within the tolerance claimed."""
    where = f"on {shown(grid(STEPS[0]))}"
    if case.tolerance:
        got = error(grid(STEPS[0]))
        expect(
            got <= case.tolerance,
            f"an error of {case.tolerance:g} at most, in units of the samples, from {limit}",
            f"{got:.2e}, {where}",
            "how the length of a step is chosen, or the tolerance that is claimed",
        )
        return
    found = measured(error, grid, counts, max(FLOOR, 1e3 * case.unit), case.order)
    if len(found.clear) < 3 and found.errors[-1] < found.floor:
        return  # exact, or as good as that: rounding comes before an order is seen twice
    expect(
        found.order >= case.order - SLACK,
        f"errors that fall in order {case.order:g} to 0, the limit being {limit}",
        f"{found}, {where}",
        _look_at(case, found),
    )


def _look_at(case: SamplerCase, found: Errors) -> str:
    if found.order < 0.5:
        noise = "the weight of fresh noise, noise drawn twice or not at all"
        return "the update itself, which leads elsewhere in small steps: signs, factors, " + (
            noise if case.stochastic else "which sigma goes where, noise that is added"
        )
    return (
        "the terms beyond first order: their weights, which earlier estimate each goes with, and "
        "the first steps, for which there are none"
    )
