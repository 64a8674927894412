"""Grids in the time of rectified flow, sigma / (alpha + sigma), on any schedule."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from schedulers import _checks
from schedulers.grids.sigmas import karras_sigmas
from schedulers.grids.times import check_arguments
from schedulers.schedules.base import NoiseSchedule
from schedulers.schedules.continuous import FlowSchedule

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]


def by_flow_time(
    schedule: NoiseSchedule,
    steps: int,
    grid: Callable[[int, float, float], Floats] = karras_sigmas,
    end: float | None = None,
) -> Floats:
    """Times of a grid of sigmas whose sigma is taken for the time of rectified flow.

    The users of flows take Karras's grid, the exponential one and Beta quantiles so: what the grid
    calls sigma is the flow's t, between `end` and 1. Karras's sigma, t / (1 - t), is infinite at 1.
    On another schedule the flow's t is sigma / (alpha + sigma). Where that is discrete and begins
    at alpha = 0 the grid is laid from the level below, and its first level is then moved there.

    Parameters
    ----------
    schedule : NoiseSchedule
        What the model was trained with.
    steps : int
        Number of times, at least 1.
    grid : callable
        A function ``(n, sigma_min, sigma_max)`` that returns n decreasing levels and a last one,
        which is dropped; such as `karras_sigmas`, or a `functools.partial` of it.
    end : float, optional
        Flow time at which the last step begins, in (0, 1); that of the schedule's t_min if left
        out.

    Returns
    -------
    ndarray of float64, shape (steps,)
        Strictly decreasing model times.

    Raises
    ------
    TypeError, ValueError
        If an argument is none such, or as `grid` does.

    Examples
    --------
    >>> from schedulers import FlowSchedule
    >>> from schedulers.grids import exponential_sigmas
    >>> by_flow_time(FlowSchedule(), 3, exponential_sigmas, end=0.01).round(6)
    array([1.  , 0.1 , 0.01])
    """
    steps = check_arguments(schedule, steps)
    _checks.function("grid", grid, "(n, sigma_min, sigma_max)")
    first, last = _ends(schedule)
    if end is not None:
        last = _checks.real("end", end, above=0.0)
        if not last < first:
            raise ValueError(f"end must be below {first:g}, where the schedule begins, got {end}")
    if steps == 1:
        return np.array([float(schedule.t_max)])
    levels = _checks.vector("levels of grid", grid(steps, last, first))
    if levels.size != steps + 1:
        raise ValueError(
            f"grid must return {steps} levels and a last one, got {_checks.shown(levels.tolist())}"
        )
    times = model_times(schedule, levels[:-1], 1.0 - levels[:-1])
    times[0] = schedule.t_max
    if end is None:
        times[-1] = schedule.t_min
    return times


def linear_quadratic(
    schedule: NoiseSchedule,
    steps: int,
    threshold_noise: float = 0.025,
    linear_steps: int | None = None,
) -> Floats:
    """Flow times that fall linearly at first and then quadratically, as Mochi's and Movie Gen's.

    t = 1 - h i / L - q max(i - L, 0)**2 for i = 0 .. steps - 1, with h = `threshold_noise`,
    L = `linear_steps`, and q such that i = `steps` is the clean level. The first L steps are small
    ones near the noise; speed and place are continuous at i = L.

    Another schedule is taken in its flow time, sigma / (alpha + sigma), from its largest to its
    least in place of 1 to 0. There ComfyUI scales Karras's sigma instead.

    Parameters
    ----------
    schedule, steps
        As for `trailing`, but the schedule is stepped in continuous time. A single step begins at
        the noisiest.
    threshold_noise : float
        Part of the way, in (0, 1), that the linear steps go.
    linear_steps : int, optional
        Their number, from 1 to steps - 1; half of the steps, rounded down, if left out.

    Returns
    -------
    ndarray of float64, shape (steps,)
        Strictly decreasing model times.

    Raises
    ------
    TypeError, ValueError
        If an argument is none such, or if the linear steps go so far that the others would have to
        turn back.

    Examples
    --------
    >>> from schedulers import FlowSchedule
    >>> linear_quadratic(FlowSchedule(), 4, threshold_noise=0.1)
    array([1.  , 0.95, 0.9 , 0.65])
    """
    steps = check_arguments(schedule, steps)
    part = _checks.real("threshold_noise", threshold_noise, above=0.0)
    linear = steps // 2 if linear_steps is None else linear_steps
    linear = _checks.count("linear_steps", linear, at_least=0 if linear_steps is None else 1)
    if part >= 1.0:
        raise ValueError(f"threshold_noise must be below 1, got {part}")
    if linear_steps is not None and linear >= steps:
        raise ValueError(f"linear_steps must be at most {steps - 1}, got {linear}")
    if steps == 1:
        return np.array([float(schedule.t_max)])
    i = np.arange(steps)
    slope = part / linear
    bend = (1.0 - slope * steps) / (steps - linear) ** 2
    gone = slope * i + bend * np.maximum(i - linear, 0) ** 2
    if not gone[-1] < 1.0:
        raise ValueError(
            f"threshold_noise must be small enough for the last {steps - linear} of {steps} steps "
            f"to go on to the clean level, got {part} in {linear} linear steps"
        )
    first, last = _ends(schedule)[0], _flow_time(schedule._karras_range()[0])
    fallen = (first - last) * gone
    times = model_times(schedule, first - fallen, (1.0 - first) + fallen)
    times[0] = schedule.t_max
    return times


def _ends(schedule: NoiseSchedule) -> tuple[float, float]:
    """Return the flow times between which a grid is laid, the noisiest first."""
    first, last = schedule.levels([schedule.t_max, schedule.t_min])
    # From alpha = 0 of a discrete schedule there is a gap to the next level, which has no times.
    return first.flow_time if first.alpha else _flow_time(schedule.max_karras_sigma), last.flow_time


def _flow_time(karras: float) -> float:
    return 1.0 / (1.0 + 1.0 / karras) if karras else 0.0


def model_times(schedule: NoiseSchedule, noise: Floats, signal: Floats) -> Floats:
    """Return the model's times at which sigma and alpha are as `noise` and `signal`, of sum 1."""
    if isinstance(schedule, FlowSchedule):
        return noise
    with np.errstate(divide="ignore"):
        return schedule._timestep("sigmas of the grid", noise / signal)
