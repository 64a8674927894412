"""Grids of flows: the shifts of Stable Diffusion 3, FLUX and their kin."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from schedulers import _checks
from schedulers.grids.flow_time import model_times
from schedulers.grids.spacings import spaced
from schedulers.grids.times import check_arguments
from schedulers.schedules.base import NoiseSchedule

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from schedulers.grids.spacings import Spacing

    Floats = NDArray[np.float64]

# Lengths up to which float64 tells two apart.
_TOKENS = 2**53


def shifted(
    schedule: NoiseSchedule,
    steps: int,
    shift: float,
    *,
    spacing: str | Spacing = "trailing",
    shift_terminal: float | None = None,
) -> Floats:
    """Times of another grid, shifted towards the noise (Esser et al. 2024, eq. 23).

    In the time of rectified flow, t' = shift t / (1 + (shift - 1) t), which multiplies Karras's
    sigma, t / (1 - t), by `shift`. Both ends stay where they are; shifts of a and then b are one of
    a b. It is applied once, to the times of `spacing`, ends and all.

    Parameters
    ----------
    schedule : NoiseSchedule
        What the model was trained with; it begins at alpha = 0, as `FlowSchedule` does.
    steps : int
        Number of times, at least 1.
    shift : float
        Positive; above 1 puts more steps near the noise, and 1 changes nothing. Stable Diffusion 3
        has 3.
    spacing : str or callable
        The grid that is shifted, as for a `Scheduler`.
    shift_terminal : float, optional
        Flow time, in (0, 1), at which the last step is to begin: after the shift, 1 - t is
        multiplied by what brings the last time there. A single step stays where it is.

    Returns
    -------
    ndarray of float64, shape (steps,)
        Strictly decreasing model times.

    Raises
    ------
    TypeError, ValueError
        If an argument is none such.

    Examples
    --------
    >>> from functools import partial
    >>> from schedulers import Euler, FlowSchedule
    >>> shifted(FlowSchedule(), 4, 3.0)
    array([1.  , 0.9 , 0.75, 0.5 ])
    >>> sd3 = Euler(
    ...     FlowSchedule(), prediction_type="flow", spacing=partial(shifted, shift=3.0)
    ... )
    >>> sd3.tableau(4).timesteps
    [1.0, 0.9, 0.75, 0.5]
    """
    steps = check_arguments(schedule, steps)
    shift = _checks.real("shift", shift, above=0.0)
    if schedule.alpha(schedule.t_max) != 0.0:
        raise ValueError(
            f"schedule must begin at alpha = 0, as FlowSchedule does, for a shift to leave its end "
            f"where it is, got {schedule!r}"
        )
    times = spaced(schedule, spacing, steps)
    alpha, sigma = schedule.alpha(times), schedule.sigma(times)
    signal = alpha / (alpha + shift * sigma)  # 1 - t', without its cancellation
    noise = shift * sigma / (alpha + shift * sigma)
    if shift_terminal is not None:
        last = _checks.real("shift_terminal", shift_terminal, above=0.0)
        if last >= 1.0:
            raise ValueError(f"shift_terminal must be below 1, got {last}")
        if signal[-1] > 0.0:  # not a single step, from alpha = 0
            signal *= (1.0 - last) / signal[-1]
            noise = 1.0 - signal
            noise[-1] = last
    return model_times(schedule, noise, signal)


def dynamic_shift(
    schedule: NoiseSchedule,
    steps: int,
    seq_len: int,
    *,
    base_shift: float = 0.5,
    max_shift: float = 1.15,
    base_seq_len: int = 256,
    max_seq_len: int = 4096,
    time_shift: str = "exponential",
    spacing: str | Spacing = "trailing",
    shift_terminal: float | None = None,
) -> Floats:
    """Times shifted by what the size of the image says (FLUX.1's convention).

    mu is linear in the number of tokens, `base_shift` at `base_seq_len` and `max_shift` at
    `max_seq_len`, and goes on beyond both. The shift is exp(mu), or mu itself, and is applied as
    `shifted` does. The defaults are FLUX.1's.

    Parameters
    ----------
    schedule, steps
        As for `shifted`.
    seq_len : int
        Number of tokens that the transformer sees of the image. FLUX.1 has one for 16 by 16 pixels:
        4096 for an image of 1024 by 1024.
    base_shift, max_shift : float
        Values of mu at the two lengths.
    base_seq_len, max_seq_len : int
        The two lengths, 1 <= base_seq_len < max_seq_len.
    time_shift : str
        "exponential", a shift of exp(mu), or "linear", one of mu.
    spacing, shift_terminal
        As for `shifted`.

    Returns
    -------
    ndarray of float64, shape (steps,)
        Strictly decreasing model times.

    Raises
    ------
    TypeError, ValueError
        If an argument is none such, or if they give a shift that is not positive and finite.

    Examples
    --------
    >>> from schedulers import FlowSchedule
    >>> dynamic_shift(FlowSchedule(), 4, seq_len=4096).round(4)
    array([1.    , 0.9045, 0.7595, 0.5128])
    """
    length = _checks.between("seq_len", seq_len, 1, _TOKENS)
    base = _checks.between("base_seq_len", base_seq_len, 1, _TOKENS - 1)
    longest = _checks.between("max_seq_len", max_seq_len, base + 1, _TOKENS)
    low, high = _checks.real("base_shift", base_shift), _checks.real("max_shift", max_shift)
    _checks.choice("time_shift", time_shift, ("exponential", "linear"))
    mu = low + (high - low) * ((length - base) / (longest - base))
    try:
        shift = math.exp(mu) if time_shift == "exponential" else mu
    except OverflowError:
        shift = math.inf
    if not 0.0 < shift < math.inf:
        raise ValueError(
            f"base_shift and max_shift must give a positive, finite shift, got {shift:g} "
            f"({time_shift}, mu = {mu:g}) at seq_len={length}"
        )
    return shifted(schedule, steps, shift, spacing=spacing, shift_terminal=shift_terminal)
