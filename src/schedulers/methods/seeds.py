"""SEEDS: stochastic exponential solvers whose stages share the noise of a step."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

from schedulers import _checks
from schedulers.engine.tableau import Stage
from schedulers.methods.multistep import slope_integral
from schedulers.scheduler import Scheduler
from schedulers.schedules.base import Level, LevelAt

# Where the stages of a step are, as parts of its length in log sigma, by order.
STAGES: tuple[tuple[float, ...], ...] = ((), (1 / 2,), (1 / 3, 2 / 3))


def seeds_rows(levels: tuple[Level, ...], level_at: LevelAt, order: int = 2) -> Iterator[Stage]:
    """Rows of `SEEDS`. From infinite s and to s' = 0 all orders have one limit, that of order 1."""
    for now, then in pairwise(levels):
        s, end = now.karras, then.karras
        if order == 1 or math.isinf(s) or end == 0.0:
            yield onward(now, then, (0.0,))
            continue
        nodes = STAGES[order - 1]
        middles = [level_at(s ** (1.0 - r) * end**r) for r in nodes]
        yield onward(now, middles[0], (0.0,), ends_step=False)
        if order == 2:
            yield onward(middles[0], then, (-math.expm1(-2.0 * math.log(s / end)),))
            continue
        towards = nodes[1] / nodes[0] * slope_weight(s, middles[1].karras)
        yield onward(middles[0], middles[1], (towards,), ends_step=False)
        taken_back = -towards * (end / middles[1].karras) ** 2
        yield onward(middles[1], then, (slope_weight(s, end) / nodes[1], taken_back))


def onward(at: Level, to: Level, weights: tuple[float, ...], ends_step: bool = True) -> Stage:
    """Row from the estimates D and e at a stage of Karras's sigma s on to sigma s'.

    With y = D + s e, q = s'**2 / s**2 and D_0 the estimate that the step began with,

        y' = q y + (1 - q) D_0 + sum_k weights[k] (D[-k] - D_0) + s' sqrt(1 - q) z:

    the noise so far is in y, and the rest is fresh.
    """
    ratio = to.karras / at.karras
    q = ratio**2
    a = [*weights, -sum(weights)] if any(weights) else [0.0]
    a[0] += q
    a[-1] += 1.0 - q
    fresh = to.sigma * math.sqrt((1.0 - ratio) * (1.0 + ratio))
    return Stage(at, [to.alpha * w for w in a], (to.sigma * ratio,), fresh, ends_step)


def slope_weight(s: float, end: float) -> float:
    """Return H phi_2(-H) = 1 - (1 - exp(-H)) / H with H = 2 log(s / s')."""
    return slope_integral(2.0 * math.log(s / end))


@dataclass(frozen=True, kw_only=True)
class SEEDS(Scheduler):
    """Stochastic explicit exponential derivative-free solvers (Gonzalez et al. 2023), on D.

    With s Karras's sigma, y = x / alpha and H = 2 log(s / s'), the reverse SDE has the solution

        y' = exp(-H) y + (integral of exp(-G) D dG, from G = 0 at s' to H at s) + noise,

    where the noise has variance s'**2 (1 - exp(-H)). Order 1 takes D as constant and is
    `EulerAncestral`. Order 2 takes D at sqrt(s s'), the middle of the step in log s. Order 3 has
    stages at 1/3 and 2/3 and takes D as linear:

        y_1 = exp(-H_1) y + (1 - exp(-H_1)) D + n_1,
        y_2 = exp(-H_2) y + (1 - exp(-H_2)) D + 2 H_2 phi_2(-H_2) (D_1 - D) + n_2,
        y'  = exp(-H) y + (1 - exp(-H)) D + (3/2) H phi_2(-H) (D_2 - D) + n,

    with H phi_2(-H) = 1 - (1 - exp(-H)) / H and H_i the part of H up to stage i. The noises of a
    step are those of one Brownian path: n_2 = (s_2 / s_1)**2 n_1 + fresh noise of variance
    s_2**2 - s_2**4 / s_1**2, and so on. With independent noise in their place the method is of
    first order only.

    This is the paper's data prediction. `order` evaluations a step, one where it ends clean or
    begins at alpha = 0. For Gaussian data the law of the samples converges in order 1, 2 and 2.

    Parameters
    ----------
    schedule, prediction_type, spacing, threshold
        As for `Scheduler`.
    order : int
        Number of stages, 1 to 3.

    Raises
    ------
    TypeError, ValueError
        If a parameter has the wrong type or is out of range.

    References
    ----------
    Gonzalez, Fernandez, Tran, Gherbi, Hajri, Masmoudi: SEEDS: Exponential SDE Solvers for Fast
    High-Quality Sampling from Diffusion Models, NeurIPS 2023.

    Examples
    --------
    >>> from schedulers import SEEDS, VESchedule
    >>> print(SEEDS(VESchedule()).tableau(sigmas=[4.0, 1.0, 0.0]))
    SEEDS: 2 steps, 3 model evaluations
    step NFE t alpha sigma D      D[-1]   e   z
       1   1 4     1     4 1      0       1   1.7321
           2 2     1     2 1.1875 -0.1875 0.5 0.86603
       2   3 1     1     1 1      0       0   0
    ends at  0     1     0
    """

    order: int = 2

    def __post_init__(self) -> None:
        super().__post_init__()
        _checks.between("order", self.order, 1, len(STAGES))

    def stages(self, levels: tuple[Level, ...]) -> Iterator[Stage]:
        """Rows of the tableau."""
        return seeds_rows(levels, self.schedule.level, self.order)
