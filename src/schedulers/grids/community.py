"""Grids by the names that ComfyUI and k-diffusion give them: functions of (schedule, steps)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from schedulers import _checks
from schedulers.grids.times import leading, training_levels
from schedulers.schedules.base import NoiseSchedule

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]


def simple(schedule: NoiseSchedule, steps: int) -> Floats:
    """Every (N / steps)-th training level from the noisiest down: ComfyUI's "simple".

    Training index N - 1 - floor(i N / steps) for i = 0 .. steps - 1. `trailing` rounds where this
    one takes the floor, so that they agree where `steps` divides N, and where time is continuous.

    Parameters, returns and errors as for `trailing`.

    Examples
    --------
    >>> from schedulers import DiscreteSchedule, linear_betas
    >>> simple(DiscreteSchedule(linear_betas(1000)), 3)
    array([999., 666., 333.])
    """
    n = training_levels(schedule, steps)
    i = np.arange(steps)
    if n is None:
        return schedule.t_max * (1.0 - i / steps)
    return (n - 1 - i * n // steps).astype(np.float64)


def normal(schedule: NoiseSchedule, steps: int) -> Floats:
    """Times uniform from end to end, not rounded: k-diffusion's default, ComfyUI's "normal".

    t_max + (t_min - t_max) i / (steps - 1) for i = 0 .. steps - 1; `linspace` rounds these where
    time is discrete. A single step begins at the noisiest.

    Parameters, returns and errors as for `trailing`.

    Examples
    --------
    >>> from schedulers import DiscreteSchedule, linear_betas
    >>> normal(DiscreteSchedule(linear_betas(1000)), 3)
    array([999. , 499.5,   0. ])
    """
    training_levels(schedule, steps)
    if steps == 1:
        return np.array([float(schedule.t_max)])
    left = np.arange(steps)[::-1]
    times = schedule.t_min + (schedule.t_max - schedule.t_min) * left / (steps - 1)
    times[0] = schedule.t_max
    return times


def sgm_uniform(schedule: NoiseSchedule, steps: int) -> Floats:
    """Times uniform from end to end, the last one left out: ComfyUI's "sgm_uniform".

    The first `steps` of the `steps` + 1 times of `normal`: the last step goes from one spacing
    above t_min to the clean level. The name is that of Stability's generative-models.

    Parameters, returns and errors as for `trailing`.

    Examples
    --------
    >>> from schedulers import DiscreteSchedule, linear_betas
    >>> sgm_uniform(DiscreteSchedule(linear_betas(1000)), 3)
    array([999., 666., 333.])
    """
    training_levels(schedule, steps)
    left = np.arange(steps, 0, -1)
    times = schedule.t_min + (schedule.t_max - schedule.t_min) * left / steps
    times[0] = schedule.t_max
    return times


def ddim_uniform(schedule: NoiseSchedule, steps: int) -> Floats:
    """Every floor(N / steps)-th training level from the second up: ComfyUI's "ddim_uniform".

    Training index 1 + i floor(N / steps) for i = steps - 1 .. 0 (Lin et al. 2024, Table 2,
    "leading", whose indices begin at 1, and one more, which is Stable Diffusion's offset). Where
    `steps` does not divide N this begins below the noisiest level, by up to half of the levels;
    ComfyUI takes more steps than it was asked for there. Where time is continuous it is `leading`.

    Parameters
    ----------
    schedule : NoiseSchedule
        What the model was trained with.
    steps : int
        Number of times, at least 1 and, where time is discrete, at most N - 1.

    Returns
    -------
    ndarray of float64, shape (steps,)
        Strictly decreasing model times.

    Raises
    ------
    TypeError, ValueError
        If `schedule` or `steps` is none such.

    Examples
    --------
    >>> from schedulers import DiscreteSchedule, linear_betas
    >>> ddim_uniform(DiscreteSchedule(linear_betas(1000)), 4)
    array([751., 501., 251.,   1.])
    """
    n = training_levels(schedule, steps)
    if n is None:
        return leading(schedule, steps)
    if steps == n:
        raise ValueError(
            f"steps must be at most {n - 1}, as the first of {n} training levels is left out, "
            f"got {steps}"
        )
    return (1 + np.arange(steps)[::-1] * (n // steps)).astype(np.float64)


def beta_times(
    schedule: NoiseSchedule, steps: int, alpha: float = 0.6, beta: float = 0.6
) -> Floats:
    """Times at uniform quantiles of a Beta distribution (Lee et al. 2024): ComfyUI's "beta".

    Training index round((N - 1) F^-1(1 - i / steps)) for i = 0 .. steps - 1, F the distribution
    function of Beta(alpha, beta); where time is continuous, t_min + (t_max - t_min) F^-1. Where an
    index would repeat, a free one next to it is taken; ComfyUI takes fewer steps there. Spacing
    "beta" (`beta_sigmas`, as in diffusers) is another grid: it takes the quantiles for sigma.

    Parameters
    ----------
    schedule, steps
        As for `trailing`.
    alpha, beta : float
        Shape of the distribution, positive. Below 1, times gather at the two ends.

    Returns
    -------
    ndarray of float64, shape (steps,)
        Strictly decreasing model times.

    Raises
    ------
    TypeError, ValueError
        As for `trailing`, and if a shape is not a positive number.

    Examples
    --------
    >>> from schedulers import DiscreteSchedule, linear_betas
    >>> beta_times(DiscreteSchedule(linear_betas(1000)), 4)
    array([999., 823., 500., 176.])
    """
    from scipy.special import betaincinv

    n = training_levels(schedule, steps)
    alpha = _checks.real("alpha", alpha, above=0.0)
    beta = _checks.real("beta", beta, above=0.0)
    i = np.arange(steps)
    quantiles: Floats = betaincinv(alpha, beta, (i + 1) / steps)  # from the lowest up
    if n is None:
        times = schedule.t_min + (schedule.t_max - schedule.t_min) * quantiles
        times[-1] = schedule.t_max
        return times[::-1]
    # Lift repeats off the index below, then press them under the indices above.
    lifted = np.maximum.accumulate(np.rint((n - 1) * quantiles) - i) + i
    return np.minimum(lifted, n - steps + i)[::-1]
