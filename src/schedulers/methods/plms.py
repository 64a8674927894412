"""PLMS: the pseudo linear multistep method of PNDM."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise

from schedulers import _checks
from schedulers.engine.tableau import Stage
from schedulers.methods.churn import Raise
from schedulers.methods.heun import heun_step
from schedulers.methods.lms import adams_step
from schedulers.methods.slopes import check_finite_slope, stretch
from schedulers.scheduler import Scheduler
from schedulers.schedules.base import Level

Middle = Callable[[Level, Level], Level]

# Weights of the noise estimates of this step and of those before it, by order.
ADAMS_BASHFORTH = (
    (1.0,),
    (3 / 2, -1 / 2),
    (23 / 12, -16 / 12, 5 / 12),
    (55 / 24, -59 / 24, 37 / 24, -9 / 24),
)
STARTUPS = ("lower_order", "heun", "runge_kutta")
WEIGHTS = ("variable", "constant")


def plms_rows(
    levels: tuple[Level, ...],
    order: int = 4,
    startup: str = "lower_order",
    middle: Middle | None = None,
    weights: str = "constant",
) -> Iterator[Stage]:
    """Rows of `PLMS`. For "runge_kutta", `middle` returns the level between a step's two ends."""
    begun: list[tuple[int, Level]] = []  # evaluations made when each step began, the latest first
    made = 0
    for now, then in pairwise(levels):
        begun = [(made, now), *begun[: order - 1]]
        past = [(made - before, level) for before, level in begun]
        starting_up = len(past) < order and then.sigma > 0.0
        if starting_up and startup == "runge_kutta":
            assert middle is not None
            rows = list(runge_kutta_step(now, middle(now, then), then))
        elif starting_up and startup == "heun" and len(past) == 1:
            rows = list(heun_step(now, then, Raise(then)))
        elif weights == "variable":
            finite = [(age, level) for age, level in past[1:] if level.alpha]
            rows = [adams_step(now, then, [past[0], *finite])]
        else:
            rows = [adams_bashforth_step(now, then, [age for age, _ in past])]
        made += len(rows)
        yield from rows


def adams_bashforth_step(now: Level, then: Level, ages: list[int]) -> Stage:
    """Row of y' = y + h sum_k w[k] e[-ages[k]], with y = D + s e and h = s' - s put in.

    `ages` says how many evaluations ago this step and each earlier one began.
    """
    if len(ages) == 1:
        return Stage(now, a=(then.alpha,), b=(then.sigma,))
    h = stretch(now, then)
    b = dict(zip(ages, (h * w for w in ADAMS_BASHFORTH[len(ages) - 1]), strict=True))
    b[0] += then.sigma - h
    return Stage(now, a=(then.alpha,), b=b)


def runge_kutta_step(now: Level, middle: Level, then: Level) -> Iterator[Stage]:
    """Rows of the classical method. Each begins anew from y, which the row before tells."""
    check_finite_slope("Runge and Kutta", now)
    h, half = stretch(now, then), stretch(now, middle)
    yield Stage(now, a=(middle.alpha,), b=(middle.sigma,), ends_step=False)
    yield Stage(middle, a=(middle.alpha,), b=(middle.sigma + half, -half), ends_step=False)
    back = then.alpha * (middle.karras - now.karras)
    yield Stage(middle, a=(then.alpha,), b=(then.sigma + back, -back), ends_step=False)
    yield Stage(then, a=(then.alpha,), b=(then.sigma + h / 6, h / 3 - h, h / 3, h / 6))


@dataclass(frozen=True, kw_only=True)
class PLMS(Scheduler):
    """Pseudo linear multistep method (PNDM; Liu et al. 2022, eq. 12).

    DDIM's step (the paper's transfer part, eq. 11) with a noise estimate extrapolated from the last
    few steps by Adams-Bashforth weights w (eq. 12 has order 4). With s Karras's sigma and
    y = x / alpha,

        y' = y + (s' - s) (w[0] e + w[1] e[-1] + ...).

    The paper has the constant weights of a grid uniform in s. Other grids have steps of very
    different lengths in s, and on a network those weights fail in few steps. So the default is the
    weights of the actual steps, which integrate the polynomial through the same estimates exactly:
    that is `LMS` with a choice of start-ups. On a grid uniform in s both are the same.

    One evaluation a step; deterministic. The order of convergence is `order`, but at most 2 with
    the start-up "lower_order" and at most 3 with "heun". With constant weights, on a grid that is
    not uniform in s, it is 2 at most.

    Parameters
    ----------
    schedule, prediction_type, spacing, threshold
        As for `Scheduler`.
    order : int
        Number of noise estimates, 1 to 4; 1 is DDIM with eta = 0.
    startup : str
        What the first steps do, which have no earlier estimates. "lower_order" takes the orders
        1, 2, ... in turn. "heun" takes one step of Heun's method (eq. 22; two evaluations), then
        lower orders (as Stable Diffusion does). "runge_kutta" takes order - 1 steps of the
        classical fourth-order Runge-Kutta method (eq. 13; four evaluations each), with the middle
        at (s + s') / 2, which makes it of fourth order, and not at the middle time. A start-up step
        that ends clean takes a lower order in any case. Only "lower_order" can begin at alpha = 0;
        near there the others multiply the model's errors, as `Heun` does.
    weights : str
        "variable", for steps of any length, or "constant", the paper's (PNDMScheduler's).

    Raises
    ------
    TypeError, ValueError
        If a parameter has the wrong type or is out of range.

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
    weights: str = "variable"

    def __post_init__(self) -> None:
        super().__post_init__()
        _checks.between("order", self.order, 1, len(ADAMS_BASHFORTH))
        _checks.choice("startup", self.startup, STARTUPS)
        _checks.choice("weights", self.weights, WEIGHTS)

    def stages(self, levels: tuple[Level, ...]) -> Iterator[Stage]:
        """Rows of the tableau."""
        return plms_rows(levels, self.order, self.startup, self._middle, self.weights)

    def _middle(self, now: Level, then: Level) -> Level:
        return self.schedule.level(0.5 * (now.karras + then.karras))
