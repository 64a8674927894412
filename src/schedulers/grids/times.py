"""Grids by the model's own time: functions of (schedule, steps), for `timesteps=`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from schedulers import _checks
from schedulers.grids.sigmas import power_ramp
from schedulers.schedules.base import NoiseSchedule
from schedulers.schedules.discrete import DiscreteSchedule

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]


def trailing(schedule: NoiseSchedule, steps: int) -> Floats:
    """Times evenly spaced from the noisiest to one spacing above the clean level (Lin et al. 2024).

    Training index round(N - i N / steps) - 1 for i = 0 .. steps - 1 (Table 2, "trailing"), or
    t_max (1 - i / steps) if time is continuous.

    Parameters
    ----------
    schedule : NoiseSchedule
        What the model was trained with.
    steps : int
        Number of times, at least 1. If time is discrete, at most N.

    Returns
    -------
    ndarray of float64, shape (steps,)
        Strictly decreasing model times.

    Raises
    ------
    TypeError, ValueError
        If `schedule` is not a NoiseSchedule, or if `steps` is not an integer in this range.

    Examples
    --------
    >>> from schedulers import DiscreteSchedule, linear_betas
    >>> trailing(DiscreteSchedule(linear_betas(1000)), 4)
    array([999., 749., 499., 249.])
    """
    n = training_levels(schedule, steps)
    i = np.arange(steps)
    if n is None:
        return schedule.t_max * (1.0 - i / steps)
    return np.rint(n * (steps - i) / steps) - 1.0


def leading(schedule: NoiseSchedule, steps: int, offset: int = 0) -> Floats:
    """Times evenly spaced from one spacing below the noisiest to the least noisy.

    Training index floor(i N / steps) + offset for i = steps - 1 .. 0 (Song et al. 2021, DDIM,
    appendix D.2, "linear"), or t_min + (t_max - t_min) i / steps if time is continuous. Lin et al.
    2024, Table 2, round N / steps down first. This function does not: if `steps` does not divide N,
    the rounding makes the grid begin far below the noisiest level.

    Parameters
    ----------
    schedule, steps
        As for `trailing`.
    offset : int
        Added to every index; Stable Diffusion uses 1. Only for discrete time.

    Returns
    -------
    ndarray of float64, shape (steps,)
        Strictly decreasing model times.

    Raises
    ------
    TypeError, ValueError
        As for `trailing`; also if the offset moves an index out of the schedule, or if time is
        continuous and the offset is not 0.

    Examples
    --------
    >>> from schedulers import DiscreteSchedule, linear_betas
    >>> leading(DiscreteSchedule(linear_betas(1000)), 4, offset=1)
    array([751., 501., 251.,   1.])
    """
    n = training_levels(schedule, steps)
    offset = _checks.count("offset", offset, at_least=0)
    i = np.arange(steps)[::-1]
    if n is None:
        if offset:
            raise ValueError(
                f"offset must be 0 for {schedule!r}, which has no training levels, got {offset}"
            )
        return schedule.t_min + (schedule.t_max - schedule.t_min) * (i / steps)
    times = (i * n // steps + offset).astype(np.float64)
    if times[0] > schedule.t_max:
        raise ValueError(
            f"offset must be at most {int(schedule.t_max - times[0] + offset)} with {steps} steps "
            f"of {n} training levels, got {offset}"
        )
    return times


def linspace(schedule: NoiseSchedule, steps: int) -> Floats:
    """Times evenly spaced from the noisiest to the least noisy, both included (Lin et al. 2024).

    Training index round((N - 1) (1 - i / (steps - 1))) (Table 2, "linspace"). A single step begins
    at the noisiest time.

    Parameters, returns and errors as for `trailing`.

    Examples
    --------
    >>> from schedulers import DiscreteSchedule, linear_betas
    >>> linspace(DiscreteSchedule(linear_betas(1000)), 4)
    array([999., 666., 333.,   0.])
    """
    n = training_levels(schedule, steps)
    if steps == 1:
        return np.array([float(schedule.t_max)])
    left = np.arange(steps)[::-1]
    if n is None:
        return schedule.t_min + (schedule.t_max - schedule.t_min) * (left / (steps - 1))
    return np.rint((n - 1) * left / (steps - 1))


def quadratic(schedule: NoiseSchedule, steps: int) -> Floats:
    """Times whose square roots are evenly spaced, dense near the data (DDIM, appendix D.2).

    Training index floor(c i**2) for i = steps - 1 .. 0, with c such that the first is N - 1. An
    index that would repeat is raised to one above the next lower index.

    Parameters, returns and errors as for `trailing`.

    Examples
    --------
    >>> from schedulers import DiscreteSchedule, linear_betas
    >>> quadratic(DiscreteSchedule(linear_betas(1000)), 4)
    array([999., 444., 111.,   0.])
    """
    n = training_levels(schedule, steps)
    i = np.arange(steps)
    if steps == 1:
        return np.array([float(schedule.t_max)])
    if n is None:
        inner = power_ramp(schedule.t_max, schedule.t_min, 2.0, i[1:-1] / (steps - 1))
        return np.concatenate([[schedule.t_max], inner, [schedule.t_min]])
    # The gaps between squares grow, so raising repeats never raises the largest above N - 1.
    times = (n - 1) * i**2 // (steps - 1) ** 2
    return (np.maximum.accumulate(times - i) + i)[::-1].astype(np.float64)


def training_levels(schedule: NoiseSchedule, steps: int) -> int | None:
    """Check both arguments; return N, or None if time is continuous."""
    steps = check_arguments(schedule, steps)
    if not isinstance(schedule, DiscreteSchedule):
        return None
    n = schedule.num_train_timesteps
    if steps > n:
        raise ValueError(f"steps must be at most {n}, the number of training levels, got {steps}")
    return n


def check_arguments(schedule: NoiseSchedule, steps: int) -> int:
    """Check the arguments of a spacing; return the number of steps."""
    if not isinstance(schedule, NoiseSchedule):
        raise TypeError(f"schedule must be a NoiseSchedule, got {_checks.shown(schedule)}")
    return _checks.count("steps", steps)
