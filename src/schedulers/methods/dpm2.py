"""DPM2: the midpoint method in log sigma, and its ancestral form."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from schedulers import _checks
from schedulers.engine.tableau import Stage
from schedulers.methods.ancestral import ancestral_split
from schedulers.methods.churn import ChurnedScheduler, Raise
from schedulers.methods.slopes import check_finite_slope
from schedulers.scheduler import Scheduler
from schedulers.schedules.base import Level, LevelAt


def dpm2_rows(
    levels: tuple[Level, ...], level_at: LevelAt, raises: Sequence[Raise] | None = None
) -> Iterator[Stage]:
    """Rows of `DPM2`, each step's last row on to where churn raises the next level."""
    raises = raises or [Raise(level) for level in levels]
    for begin, then, up in zip(raises, levels[1:], raises[1:], strict=False):
        yield from midpoint_step(begin.level, level_at, then, then.karras, up)


def dpm2_ancestral_rows(
    levels: tuple[Level, ...], level_at: LevelAt, eta: float = 1.0, s_noise: float = 1.0
) -> Iterator[Stage]:
    """Rows of `DPM2Ancestral`: the midpoint step to s_down, and noise of s_up."""
    for now, then in pairwise(levels):
        down, up = ancestral_split(now, then, eta)
        noised = Raise(then, c=then.sigma * up * s_noise)
        yield from midpoint_step(now, level_at, then, then.karras * down, noised)


def midpoint_step(
    now: Level, level_at: LevelAt, then: Level, end: float, up: Raise
) -> Iterator[Stage]:
    """Rows of one step from `now` to Karras's sigma `end`, at the scale of `then`, then raised.

    In the estimates of the second row y = D* + s* e* - (s* - s) e. So the step is
    y' = D* + (s* + s' - s) e* + (s - s*) e.
    """
    scale = up.scale * then.alpha
    if then.sigma == 0.0:
        yield Stage(now, a=(scale,), b=(0.0,))
        return
    check_finite_slope("DPM2", now)
    s, middle = now.karras, level_at(math.sqrt(now.karras * end))
    back = s - middle.karras
    yield Stage(now, a=(middle.alpha,), b=(middle.sigma,), ends_step=False)
    yield Stage(middle, a=(scale,), b=(scale * (end - back), scale * back), c=up.c)


@dataclass(frozen=True, kw_only=True)
class DPM2(ChurnedScheduler):
    """Midpoint method in log sigma ("DPM2", "KDPM2"; sample_dpm_2 in k-diffusion).

    With s Karras's sigma, y = x / alpha and dy/ds = e (Karras et al. 2022, eq. 4), a step goes to
    the geometric mean s* of its ends, and from the start again with the noise estimate e* there:

        s* = sqrt(s s'),      y* = y + (s* - s) e,      y' = y + (s' - s) e*.

    It is their Algorithm 1 with the midpoint in place of the trapezoidal rule, placed in log sigma
    as in DPM-Solver-2 (Lu et al. 2022, Algorithm 1). The step that ends clean is Euler's. Second
    order, two evaluations a step (2 steps - 1 in a run that ends clean); deterministic unless
    `s_churn` is set. It cannot begin at alpha = 0, where s is infinite; near there a long step
    multiplies the model's errors, as `Heun`'s does.

    Parameters
    ----------
    schedule, prediction_type, spacing, threshold
        As for `Scheduler`.
    s_churn, s_tmin, s_tmax, s_noise : float
        As for `ChurnedScheduler`.

    Raises
    ------
    TypeError, ValueError
        If a parameter has the wrong type or is out of range; by a run, if it begins at alpha = 0.

    References
    ----------
    Karras, Aittala, Aila, Laine: Elucidating the Design Space of Diffusion-Based Generative
    Models, NeurIPS 2022. Lu et al.: DPM-Solver, NeurIPS 2022.

    Examples
    --------
    >>> from schedulers import DPM2, VESchedule
    >>> print(DPM2(VESchedule()).tableau(sigmas=[4.0, 1.0, 0.0]))
    DPM2: 2 steps, 3 model evaluations
    step NFE t alpha sigma D e  e[-1] z
       1   1 4     1     4 1  2     0 0
           2 2     1     2 1 -1     2 0
       2   3 1     1     1 1  0     0 0
    ends at  0     1     0
    """

    def stages(self, levels: tuple[Level, ...]) -> Iterator[Stage]:
        """Rows of the tableau."""
        return dpm2_rows(levels, self.schedule.level, self.raises(levels))


@dataclass(frozen=True, kw_only=True)
class DPM2Ancestral(Scheduler):
    """DPM2 to a lower level, and fresh noise back up ("DPM2 a", "KDPM2 ancestral").

    With s Karras's sigma, y = x / alpha, and s_down and s_up as for `EulerAncestral`, a step is

        s* = sqrt(s s_down),      y* = y + (s* - s) e,
        y' = y + (s_down - s) e* + s_up z.

    The flow takes the law of level s to that of s_down exactly, and noise takes that to the law of
    s'. So the law of the samples converges in second order, for any `eta`. With eta = 1,
    s_down = s'**2 / s and the middle s* is s' itself. Two evaluations a step (2 steps - 1 in a run
    that ends clean); stochastic unless eta is 0. It cannot begin at alpha = 0.

    Parameters
    ----------
    schedule, prediction_type, spacing, threshold
        As for `Scheduler`.
    eta : float
        In [0, 1]; 0 is DPM2, 1 draws as much noise as DDPM.
    s_noise : float
        Factor on the standard deviation of the noise that is added, at least 0.

    Raises
    ------
    TypeError, ValueError
        If a parameter has the wrong type or is out of range; by a run, if it begins at alpha = 0.

    References
    ----------
    Karras et al. 2022, as for `DPM2`; the split into s_down and s_up is k-diffusion's.

    Examples
    --------
    >>> from schedulers import DPM2Ancestral, VESchedule
    >>> print(DPM2Ancestral(VESchedule()).tableau(sigmas=[4.0, 2.0, 0.0]))
    DPM2Ancestral: 2 steps, 3 model evaluations
    step NFE t alpha sigma D e  e[-1] z
       1   1 4     1     4 1  2     0 0
           2 2     1     2 1 -1     2 1.7321
       2   3 2     1     2 1  0     0 0
    ends at  0     1     0
    """

    eta: float = 1.0
    s_noise: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        _checks.settle(self, "eta", at_least=0.0, at_most=1.0)
        _checks.settle(self, "s_noise", at_least=0.0)

    def stages(self, levels: tuple[Level, ...]) -> Iterator[Stage]:
        """Rows of the tableau."""
        return dpm2_ancestral_rows(levels, self.schedule.level, self.eta, self.s_noise)
