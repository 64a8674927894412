"""The named grids that a scheduler's `spacing=` takes."""

from __future__ import annotations

import math
from collections.abc import Callable
from difflib import get_close_matches
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from schedulers import _checks
from schedulers.grids.community import beta_times, ddim_uniform, normal, sgm_uniform, simple
from schedulers.grids.flow_time import by_flow_time, linear_quadratic
from schedulers.grids.published import kl_optimal
from schedulers.grids.sigmas import (
    beta_sigmas,
    exponential_sigmas,
    karras_sigmas,
    polyexponential_sigmas,
    vp_sigmas,
)
from schedulers.grids.times import check_arguments, leading, linspace, quadratic, trailing
from schedulers.schedules.base import NoiseSchedule
from schedulers.schedules.discrete import DiscreteSchedule

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

Spacing = Callable[[NoiseSchedule, int], "Floats"]


def _spacing(
    name: str, sigmas: Callable[[int, float, float], Floats], *, infinite: bool = False
) -> Spacing:
    """Make a spacing from a grid of sigmas; it runs from the schedule's `t_max` to its `t_min`."""

    def times(schedule: NoiseSchedule, steps: int) -> Floats:
        steps = check_arguments(schedule, steps)
        high, low = schedule.karras_sigma([schedule.t_max, schedule.t_min])
        if high == math.inf and not infinite:
            raise ValueError(
                f"spacing {name!r} needs a finite largest sigma, but {schedule!r} begins at "
                f"alpha = 0: use spacing {_INSTEAD.get(name, 'trailing')!r}, or pass sigmas="
            )
        if steps == 1:
            return np.array([float(schedule.t_max)])
        if high == math.inf:  # a discrete schedule has no times between that and the next level
            high = schedule.max_karras_sigma
        levels: Floats = schedule.timestep(sigmas(steps, low, high)[:-1])
        levels[-1], levels[0] = schedule.t_min, schedule.t_max  # exactly, without sigma's rounding
        return levels

    return times


def spaced(schedule: NoiseSchedule, spacing: str | Spacing, steps: int) -> Floats:
    """Return the model's times on a spacing, by its name or itself."""
    grid = spacing if callable(spacing) else SPACINGS[check_name(spacing)]
    return _checks.vector("timesteps of the spacing", grid(schedule, steps))


def check_name(spacing: Any) -> str:
    """Return the name of a spacing; an unknown one is an error that says what else there is."""
    if isinstance(spacing, str) and spacing in SPACINGS:
        return spacing
    is_name = isinstance(spacing, str) and len(spacing) < 100
    near = get_close_matches(spacing, SPACINGS, 1) if is_name else []
    hint = f" (do you mean {near[0]!r}?)" if near else ""
    raise (ValueError if isinstance(spacing, str) else TypeError)(
        f"spacing must be one of {', '.join(map(repr, list(SPACINGS)[:8]))}, ..., or a "
        f"function of (schedule, steps) that returns times, got {_checks.shown(spacing)}{hint}"
    )


def whole(schedule: NoiseSchedule, steps: int, spacing: str | Spacing = "karras") -> Floats:
    """Times of another spacing, rounded to whole numbers that differ.

    For a model that takes its time as an integer: `spacing` "karras" and its like visit times such
    as 961.73. The level of a step is that of the whole time. Where two times round to the same
    number, the earlier one goes up to the next.

    Parameters
    ----------
    schedule : DiscreteSchedule
        What the model was trained with.
    steps : int
        Number of times, from 1 to the number of training levels.
    spacing : str or callable
        The spacing to round, as for `Scheduler`.

    Returns
    -------
    ndarray of float64, shape (steps,)
        Strictly decreasing model times, all whole.

    Raises
    ------
    TypeError, ValueError
        If `schedule` is not a DiscreteSchedule, and as for the spacing.

    Examples
    --------
    >>> from functools import partial
    >>> from schedulers import DDIM, DiscreteSchedule, linear_betas
    >>> schedule = DiscreteSchedule(linear_betas(1000))
    >>> whole(schedule, 5, spacing="karras")
    array([999., 843., 593., 142.,   0.])
    >>> scheduler = DDIM(schedule, spacing=partial(whole, spacing="karras"))
    """
    if not isinstance(schedule, DiscreteSchedule):
        raise TypeError(
            f"schedule must be a DiscreteSchedule, whose times are whole numbers, "
            f"got {_checks.shown(schedule)}"
        )
    steps = check_arguments(schedule, steps)
    if steps > schedule.num_train_timesteps:
        raise ValueError(
            f"steps must be at most {schedule.num_train_timesteps}, the number of whole times, "
            f"got {steps}"
        )
    rising, i = np.rint(spaced(schedule, spacing, steps)[::-1]), np.arange(steps)
    apart = np.maximum.accumulate(rising - i) + i
    times: Floats = np.minimum(apart, schedule.t_max + 1 - steps + i)[::-1]
    return times


# What the users of flows mean by these names.
_INSTEAD = {"karras": "flow_karras", "exponential": "flow_exponential", "beta": "flow_beta"}

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
    "kl_optimal": _spacing("kl_optimal", kl_optimal, infinite=True),
    "simple": simple,
    "normal": normal,
    "sgm_uniform": sgm_uniform,
    "ddim_uniform": ddim_uniform,
    "beta_times": beta_times,
    "linear_quadratic": linear_quadratic,
    "flow_karras": by_flow_time,
    "flow_exponential": partial(by_flow_time, grid=exponential_sigmas),
    "flow_beta": partial(by_flow_time, grid=beta_sigmas),
}
