"""The named grids that a scheduler's `spacing=` takes."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from schedulers.grids.sigmas import (
    beta_sigmas,
    exponential_sigmas,
    karras_sigmas,
    polyexponential_sigmas,
    vp_sigmas,
)
from schedulers.grids.times import check_arguments, leading, linspace, quadratic, trailing
from schedulers.schedules.base import NoiseSchedule

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

Spacing = Callable[[NoiseSchedule, int], "Floats"]


def _spacing(name: str, sigmas: Callable[[int, float, float], Floats]) -> Spacing:
    """Make a spacing from a grid of sigmas; it runs from the schedule's `t_max` to its `t_min`."""

    def times(schedule: NoiseSchedule, steps: int) -> Floats:
        steps = check_arguments(schedule, steps)
        high, low = schedule.karras_sigma([schedule.t_max, schedule.t_min])
        if high == math.inf:
            raise ValueError(
                f"spacing {name!r} needs a finite largest sigma, but {schedule!r} begins at "
                f"alpha = 0: use spacing 'trailing', or pass sigmas="
            )
        levels: Floats = schedule.timestep(sigmas(steps, low, high)[:-1])
        levels[-1], levels[0] = schedule.t_min, schedule.t_max  # exactly, without sigma's rounding
        return levels

    return times


SPACINGS: dict[str, Spacing] = {
    "trailing": trailing,
    "leading": leading,
    "linspace": linspace,
    "quadratic": quadratic,
    "karras": _spacing("karras", karras_sigmas),
    "exponential": _spacing("exponential", exponential_sigmas),
    "polyexponential": _spacing("polyexponential", polyexponential_sigmas),
    "vp": _spacing("vp", vp_sigmas),
    "ve": _spacing("ve", exponential_sigmas),
    "log_snr": _spacing("log_snr", exponential_sigmas),
    "beta": _spacing("beta", beta_sigmas),
}
