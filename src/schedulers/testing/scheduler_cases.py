"""A `Scheduler` as a case: on its own schedule, seen in Karras's convention."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from schedulers import _checks
from schedulers.engine.parameterization import predicted
from schedulers.fitting.fitted import FittedScheduler
from schedulers.grids.run import run_levels
from schedulers.scheduler import Scheduler
from schedulers.schedules.discrete import DiscreteSchedule
from schedulers.testing.cases import SamplerCase

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from schedulers.schedules.base import NoiseSchedule
    from schedulers.testing.cases import Grid, Noise, Sampler
    from schedulers.testing.models import Denoiser

    Floats = NDArray[np.float64]

# Steps that some checks take.
_LEAST = 8


@dataclass(frozen=True, kw_only=True)
class SchedulerCase(SamplerCase):
    """A scheduler, and what is claimed of it; made by `scheduler_case`."""

    scheduler: Scheduler

    @property
    def title(self) -> str:
        """What a failure calls it."""
        return self.name or repr(self.scheduler)

    def step_counts(self, *counts: int) -> list[int]:
        """Those of the numbers of steps that the spacing has training levels for.

        A fitted scheduler has its own numbers.
        """
        if isinstance(self.scheduler, FittedScheduler):
            return [table.steps for table in self.scheduler.tables]
        most = _most_steps(self.scheduler)
        return [count for count in counts if count <= most]

    def levels(self, steps: int) -> dict[str, Any]:
        """Keywords for a run of its own spacing; by sigmas, if that begins at alpha = 0.

        And by sigmas, if it is a fitted scheduler, which has no rows for most numbers of steps.
        """
        scheduler = self.scheduler
        if not isinstance(scheduler, FittedScheduler):
            first = run_levels(scheduler.schedule, scheduler.spacing, steps, None, None)[0]
            if first.alpha:
                return {"steps": steps}
        return {"sigmas": np.append(np.geomspace(self.sigma_max, self.sigma_min, steps), 0.0)}


def scheduler_case(
    scheduler: Scheduler,
    *,
    order: float = 1.0,
    uneven_order: float = 1.0,
    grid: Grid | None = None,
    uses_time: bool = False,
    seed: int = 0,
    name: str = "",
) -> SchedulerCase:
    """Make a case of a scheduler; what is claimed is as for `SamplerCase`.

    Its `s_noise`, if it has one, is what the case claims; and that it copies what it keeps. Of
    training levels there must be enough for 8 steps.
    """
    if not isinstance(scheduler, Scheduler):
        raise TypeError(f"scheduler must be a Scheduler, got {_checks.shown(scheduler)}")
    if scheduler.threshold is not None:
        scheduler = replace(scheduler, threshold=None)
    most = _most_steps(scheduler)
    if most < _LEAST and not isinstance(scheduler, FittedScheduler):
        raise ValueError(
            f"scheduler must have training levels for {_LEAST} steps, which checks take, "
            f"got {most:g}"
        )
    low, high = sigma_range(scheduler.schedule)
    return SchedulerCase(
        sampler=as_sampler(scheduler),
        order=order,
        uneven_order=uneven_order,
        stochastic=_draws_noise(scheduler, np.geomspace(high, low, 321)),
        grid=grid,
        sigma_min=low,
        sigma_max=high,
        uses_time=uses_time,
        s_noise=getattr(scheduler, "s_noise", 1.0),
        reused_output=True,
        seed=seed,
        name=name,
        scheduler=scheduler,
    )


def _most_steps(scheduler: Scheduler) -> float:
    """Return how many training levels its spacing has; "ddim_uniform" leaves the first out."""
    if not isinstance(scheduler.schedule, DiscreteSchedule):
        return math.inf
    return len(scheduler.schedule.betas) - (scheduler.spacing == "ddim_uniform")


def _draws_noise(scheduler: Scheduler, sigmas: Floats) -> bool:
    try:
        return scheduler.tableau(sigmas=sigmas).draws_noise
    except Exception:  # what cannot be run fails its checks, and they say why
        return False


def sigma_range(schedule: NoiseSchedule) -> tuple[float, float]:
    """Sigmas within a schedule's range, with room above for churn, and within what models see."""
    low, high = schedule._karras_range()
    return max(0.02, 1.01 * low), min(80.0, high / 1.5)


def as_sampler(scheduler: Scheduler) -> Sampler:
    """A scheduler as ``sampler(denoiser, x, sigmas, noise)``, in Karras's convention.

    The run is on the scheduler's own schedule and with its own prediction type; the sample and the
    denoiser are translated, x_t = alpha_t x.
    """

    def sampler(denoiser: Denoiser, x: Any, sigmas: Floats, noise: Noise) -> Any:
        schedule = scheduler.schedule
        model = as_model(denoiser, schedule, scheduler.prediction_type)
        begin, end = (_alpha(schedule, s) for s in (sigmas[0], sigmas[-1]))
        return scheduler.sample(model, begin * x, sigmas=sigmas, rng=noise) / end

    return sampler


def as_model(denoiser: Denoiser, schedule: NoiseSchedule, prediction_type: str) -> Denoiser:
    """Make ``denoiser(y, s)``, in Karras's convention, a model of a schedule."""

    def model(x: Any, t: float) -> Any:
        ((_, alpha, sigma),) = schedule.levels([t])
        denoised = denoiser(x / alpha, sigma / alpha)
        noise = (x - alpha * denoised) / sigma
        p, q = predicted(prediction_type, alpha, sigma)
        return p * denoised + q * noise

    return model


def _alpha(schedule: NoiseSchedule, sigma: float) -> float:
    return schedule.alpha(schedule.timestep(float(sigma))) if sigma else 1.0
