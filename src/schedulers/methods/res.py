"""RES: exponential integrators for the denoised estimate that keep every order condition."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

from schedulers import _checks
from schedulers.engine.tableau import Stage
from schedulers.methods.dpm_solver_pp import multistep_rows
from schedulers.methods.multistep import from_start, log_snr_step, slope_integral
from schedulers.scheduler import Scheduler
from schedulers.schedules.base import Level, LevelAt


def res_rows(levels: tuple[Level, ...], order: int, level_at: LevelAt) -> Iterator[Stage]:
    """Rows of singlestep `RES`; from infinite sigma and to the clean level it has order 1."""
    for now, then in pairwise(levels):
        h = log_snr_step(now, then)
        if math.isinf(h):
            yield Stage(now, a=(then.alpha,), b=(then.sigma,))
            continue
        middle = level_at(math.sqrt(now.karras * then.karras))
        slope = slope_integral(h)
        yield Stage(now, a=(middle.alpha,), b=(middle.sigma,), ends_step=False)
        if order == 2:
            yield Stage(middle, *from_start(then, 2.0 * slope))
            continue
        towards = 4.0 * slope_integral(0.5 * h) + 2.0 * slope
        yield Stage(middle, *from_start(then, towards), ends_step=False)
        yield Stage(then, *from_start(then, slope / 3.0, 4.0 / 3.0 * slope))


@dataclass(frozen=True, kw_only=True)
class RES(Scheduler):
    """Refined exponential solver (Zhang et al. 2024), on the denoised estimate.

    With lambda = log(alpha / sigma) and h a step's length in it, y = x / sigma has
    dy/dlambda = exp(lambda) D. Multistep (the default), a step integrates the polynomial in lambda
    through the last `order` denoised estimates exactly, at one evaluation a step: "RES 2M" and
    "RES 3M" (also "res_multistep"). They are `DPMSolverPP` with solver_type "heun".

    Singlestep, a step of order 2 goes to its middle in lambda and takes D as linear from there
    ("RES 2S"); one of order 3 goes on to its end as well ("RES 3S"). With E(h) = 1 - exp(-h) and
    H(h) = h phi_2(-h) = 1 - E(h) / h, and each D found at the x above it:

        x_1 = (sigma_1 / sigma) x + alpha_1 E(h / 2) D,
        x_2 = (sigma' / sigma) x + alpha' (E(h) D + (4 H(h / 2) + 2 H(h)) (D_1 - D)),
        2S:  x' = (sigma' / sigma) x + alpha' (E(h) D + 2 H(h) (D_1 - D)),
        3S:  x' = (sigma' / sigma) x + alpha' (E(h) D + 4/3 H(h) (D_1 - D) + 1/3 H(h) (D_2 - D)).

    These are the paper's methods with c_2 = 1/2 and c_3 = 1, so that gamma = 4. DPM-Solver++(2S)
    has E(h) where 2S has 2 H(h), which is equal up to h**2 only. A step from alpha = 0 or to the
    clean level has order 1. Deterministic.

    Parameters
    ----------
    schedule, prediction_type, spacing, threshold
        As for `Scheduler`.
    order : int
        2 or 3. In a multistep run the first steps have lower orders.
    singlestep : bool
        Whether each step stands alone, with `order` evaluations.

    Raises
    ------
    TypeError, ValueError
        If a parameter has the wrong type or is out of range.

    References
    ----------
    Zhang, Song, Chen: Improved Order Analysis and Design of Exponential Integrator for Diffusion
    Models Sampling, 2023 (arXiv:2308.02157). The singlestep methods are those of Hochbruck,
    Ostermann: Explicit Exponential Runge-Kutta Methods for Semilinear Parabolic Problems, SIAM J.
    Numer. Anal. 43, 2005.

    Examples
    --------
    >>> from schedulers import RES, VESchedule
    >>> print(RES(VESchedule(), singlestep=True).tableau(sigmas=[4.0, 1.0, 0.0]))
    RES: 2 steps, 3 model evaluations
    step NFE t alpha sigma D       D[-1]    e e[-1] z
       1   1 4     1     4 1       0        2 0     0
           2 2     1     2 0.91798 0.082021 0 1     0
       2   3 1     1     1 1       0        0 0     0
    ends at  0     1     0
    """

    order: int = 2
    singlestep: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        _checks.between("order", self.order, 2, 3)
        _checks.boolean("singlestep", self.singlestep)

    def stages(self, levels: tuple[Level, ...]) -> Iterator[Stage]:
        """Rows of the tableau."""
        if self.singlestep:
            return res_rows(levels, self.order, self.schedule.level)
        return multistep_rows(levels, self.order, "heun")
