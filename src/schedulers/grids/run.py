"""The levels of a run, from the `steps`, `timesteps` or `sigmas` that the caller gave."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from schedulers import _checks
from schedulers.grids.spacings import spaced
from schedulers.schedules.base import Level, NoiseSchedule

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from schedulers.grids.spacings import Spacing

    Floats = NDArray[np.float64]


def run_levels(
    schedule: NoiseSchedule,
    spacing: str | Spacing,
    steps: int | None,
    timesteps: ArrayLike | None,
    sigmas: ArrayLike | None,
) -> tuple[Level, ...]:
    """Return the level where each step begins, and the level where the last step ends.

    Exactly one of `steps`, `timesteps` and `sigmas` must be given. The clean level is added to
    `timesteps` that end above it and to the times of a spacing, but not to `sigmas`.
    """
    values = {"steps": steps, "timesteps": timesteps, "sigmas": sigmas}
    given = [name for name, value in values.items() if value is not None]
    if len(given) != 1:
        raise ValueError(
            f"exactly one of steps, timesteps and sigmas must be given, "
            f"got {' and '.join(given) or 'none'}"
        )
    if sigmas is not None:
        levels = _of_sigmas(schedule, sigmas)
    else:
        times = timesteps
        if times is None:
            steps = _checks.count("steps", steps)
            times = spaced(schedule, spacing, steps)
        levels = _of_times(schedule, times)
        if steps is not None and len(levels) != steps + 1:
            raise ValueError(
                f"spacing must return {steps} timesteps above the clean level, "
                f"got {_checks.shown(times)}"
            )
    karras = [level.karras for level in levels]
    if not all(later < earlier for earlier, later in pairwise(karras)):
        raise ValueError(
            f"{given[0]} must give levels far enough apart to differ in the schedule's time in "
            f"float64, got sigmas {_checks.shown(karras)}"
        )
    return levels


def _of_times(schedule: NoiseSchedule, timesteps: ArrayLike) -> tuple[Level, ...]:
    times = _checks.vector("timesteps", timesteps)
    _checks.decreasing("timesteps", times)
    levels = schedule.levels(times)
    if levels[0].sigma == 0.0:
        raise ValueError(
            f"timesteps must begin above the clean level, got {_checks.shown(times.tolist())}"
        )
    return levels if levels[-1].sigma == 0.0 else (*levels, schedule.clean)


def _of_sigmas(schedule: NoiseSchedule, sigmas: ArrayLike) -> tuple[Level, ...]:
    values = _checks.vector("sigmas", sigmas, infinite=True)
    _checks.decreasing("sigmas", values)
    if values.size < 2:
        raise ValueError(
            f"sigmas must be at least two levels, one where the first step begins and one where "
            f"the last step ends, got {_checks.shown(values.tolist())}"
        )
    ends_clean = values[-1] == 0.0
    noisy = values[:-1] if ends_clean else values
    levels = schedule.levels(schedule.timestep(noisy))
    return (*levels, schedule.clean) if ends_clean else levels
