"""PLMS: the pseudo linear multistep method of PNDM."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

from schedulers import _checks
from schedulers.engine.tableau import Stage
from schedulers.methods.heun import heun_step
from schedulers.scheduler import Scheduler
from schedulers.schedules.base import Level

# Weights of the noise estimates of this step and of those before it, by order.
ADAMS_BASHFORTH = (
    (1.0,),
    (3 / 2, -1 / 2),
    (23 / 12, -16 / 12, 5 / 12),
    (55 / 24, -59 / 24, 37 / 24, -9 / 24),
)
STARTUPS = ("lower_order", "heun", "runge_kutta")


@dataclass(frozen=True, kw_only=True)
class PLMS(Scheduler):
    """Pseudo linear multistep method (PNDM; Liu et al. 2022, eq. 12).

    DDIM's step (the paper's transfer part, eq. 11) with a noise estimate extrapolated from the last
    few steps by the Adams-Bashforth weights w (eq. 12 has order 4). With s Karras's sigma and
    y = x / alpha,

        y' = y + (s' - s) (w[0] e + w[1] e[-1] + ...).

    One evaluation a step; deterministic. The weights are those of a grid uniform in s, where the
    order of convergence is `order`, but at most 2 with the start-up "lower_order" and at most 3
    with "heun". On any other grid they stay the same, as in the paper, and the order is 2 at most.

    Parameters
    ----------
    schedule, prediction_type, spacing, threshold
        As for `Scheduler`.
    order : int
        Number of noise estimates, 1 to 4; 1 is DDIM with eta = 0.
    startup : str
        What the first steps do, for want of earlier estimates: "lower_order" takes the orders
        1, 2, ... that there are estimates for; "heun" takes one step of Heun's method (eq. 22; two
        evaluations), then lower orders (Stable Diffusion's); "runge_kutta" takes order - 1 steps of
        the classical fourth-order Runge-Kutta method (eq. 13; four evaluations each), with the
        middle at (s + s') / 2, for which it is of fourth order, and not at the middle time. A
        start-up step that ends clean takes a lower order in any case. Only "lower_order" can begin
        at alpha = 0, and near there the others have Heun's trouble (see `Heun`).

    Raises
    ------
    TypeError, ValueError
        If a parameter is none such.

    References
    ----------
    Liu, Ren, Lin, Zhao: Pseudo Numerical Methods for Diffusion Models on Manifolds, ICLR 2022.

    Examples
    --------
    >>> from schedulers import PLMS, VESchedule
    >>> print(PLMS(VESchedule(), order=2).tableau(sigmas=[4.0, 2.0, 0.0]))
    PLMS: 2 steps, 2 model evaluations
    step NFE t alpha sigma D e  e[-1] z
       1   1 4     1     4 1  2 0     0
       2   2 2     1     2 1 -1 1     0
    ends at  0     1     0
    """

    order: int = 4
    startup: str = "lower_order"

    def __post_init__(self) -> None:
        super().__post_init__()
        if _checks.integer("order", self.order, at_least=1) > len(ADAMS_BASHFORTH):
            raise ValueError(f"order must be at most {len(ADAMS_BASHFORTH)}, got {self.order}")
        _checks.choice("startup", self.startup, STARTUPS)

    def stages(self, levels: tuple[Level, ...]) -> Iterator[Stage]:
        """Rows of the tableau."""
        begun: list[int] = []  # evaluations that were made when each step began, the latest first
        made = 0
        for now, then in pairwise(levels):
            begun = [made, *begun[: self.order - 1]]
            for stage in self._rows(now, then, [made - before for before in begun]):
                made += 1
                yield stage

    def _rows(self, now: Level, then: Level, ages: list[int]) -> Iterator[Stage]:
        """Rows of a step, given how many evaluations ago this and each earlier step began."""
        order = min(self.order, len(ages))
        if order < self.order and self.startup != "lower_order" and then.sigma > 0.0:
            if now.alpha == 0.0:
                raise ValueError(
                    f"startup must be 'lower_order' where the run begins at alpha = 0, from which "
                    f"the step of {self.startup!r} is infinite"
                )
            if self.startup == "runge_kutta":
                return self._runge_kutta(now, then)
            if len(ages) == 1:
                return heun_step(now, then, then, 0.0)
        return self._multistep(now, then, ages[:order])

    def _multistep(self, now: Level, then: Level, ages: list[int]) -> Iterator[Stage]:
        """Row of Adams and Bashforth, y = D + s e put in."""
        if len(ages) == 1:
            yield Stage(now, a=(then.alpha,), b=(then.sigma,))
            return
        h = then.karras - now.karras
        b = [0.0] * (ages[-1] + 1)
        b[0] = then.alpha * now.karras
        for age, weight in zip(ages, ADAMS_BASHFORTH[len(ages) - 1], strict=True):
            b[age] += then.alpha * h * weight
        yield Stage(now, a=(then.alpha,), b=tuple(b))

    def _runge_kutta(self, now: Level, then: Level) -> Iterator[Stage]:
        """Rows of the classical method; each begins anew from y, which the row before tells."""
        s, s_next = now.karras, then.karras
        middle = self._middle(now, then)
        s_middle = middle.karras
        h, half = s_next - s, s_middle - s
        yield Stage(now, a=(middle.alpha,), b=(middle.sigma,), ends_step=False)
        b = (s_middle + half, -half)
        yield Stage(middle, (middle.alpha,), tuple(middle.alpha * w for w in b), ends_step=False)
        b = (s_middle + h, -half)
        yield Stage(middle, (then.alpha,), tuple(then.alpha * w for w in b), ends_step=False)
        b4 = (s_next + h / 6, h / 3 - h, h / 3, h / 6)
        yield Stage(then, (then.alpha,), tuple(then.alpha * w for w in b4))

    def _middle(self, now: Level, then: Level) -> Level:
        """Level in the middle of a step of Runge and Kutta."""
        s = 0.5 * (now.karras + then.karras)
        (middle,) = self.schedule.levels(self.schedule.timestep([s]))
        return middle
