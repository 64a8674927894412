"""Grids: which noise levels a run visits.

Functions of (n, sigma_min, sigma_max) return Karras sigmas for a scheduler's `sigmas=`: n levels
and a last 0. Functions of (schedule, steps) return model times for `timesteps=`, one per step, and
the clean level follows. `SPACINGS` names them all for a scheduler's `spacing=`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from schedulers import _checks
from schedulers.discrete_schedule import DiscreteSchedule
from schedulers.noise_schedules import NoiseSchedule, VPSchedule

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Spacing = Callable[[NoiseSchedule, int], Floats]


def karras_sigmas(n: int, sigma_min: float, sigma_max: float, rho: float = 7.0) -> Floats:
    """Levels uniform in sigma**(1 / rho) (Karras et al. 2022, eq. 5).

    Parameters
    ----------
    n : int
        Number of levels above 0, at least 1. A single one is `sigma_max`.
    sigma_min, sigma_max : float
        Last level above 0 and first level, 0 < sigma_min < sigma_max.
    rho : float
        Larger puts more levels near `sigma_min`; 1 is uniform in sigma. Positive.

    Returns
    -------
    ndarray of float64, shape (n + 1,)
        Strictly decreasing from `sigma_max`; the last is 0.

    Raises
    ------
    TypeError, ValueError
        If an argument is no such number, or if the levels are too near to tell apart in float64.

    Examples
    --------
    >>> karras_sigmas(3, 1.0, 9.0, rho=2.0)
    array([9., 4., 1., 0.])
    """
    rho = _checks.real("rho", rho, above=0.0)
    return _sigmas(n, sigma_min, sigma_max, lambda u, lo, hi: _power(hi, lo, rho, u))


def exponential_sigmas(n: int, sigma_min: float, sigma_max: float) -> Floats:
    """Levels uniform in log(sigma): a geometric sequence.

    The same grid has two more names: it is uniform in log-SNR, which is -2 log(sigma) (Lu et al.
    2022, DPM-Solver, section 3), and it is the VE discretization of Karras et al. 2022, Table 1.

    Parameters, returns and errors as for `karras_sigmas`.

    Examples
    --------
    >>> exponential_sigmas(3, 1.0, 100.0).round(6)
    array([100.,  10.,   1.,   0.])
    """
    return polyexponential_sigmas(n, sigma_min, sigma_max)


def polyexponential_sigmas(n: int, sigma_min: float, sigma_max: float, rho: float = 1.0) -> Floats:
    """Levels whose log(sigma) falls as the power `rho` of a uniform ramp.

    sigma = sigma_min (sigma_max / sigma_min)**(u**rho) for u from 1 to 0; a name and a grid of
    k-diffusion's. `rho` of 1 is exponential, a larger one puts more levels near `sigma_min`.

    Parameters, returns and errors as for `karras_sigmas`.

    Examples
    --------
    >>> polyexponential_sigmas(3, 1.0, 16.0, rho=2.0).round(6)
    array([16.,  2.,  1.,  0.])
    """
    rho = _checks.real("rho", rho, above=0.0)
    return _sigmas(n, sigma_min, sigma_max, lambda u, lo, hi: lo * (hi / lo) ** ((1.0 - u) ** rho))


def vp_sigmas(
    n: int, sigma_min: float, sigma_max: float, beta_d: float = 19.9, beta_min: float = 0.1
) -> Floats:
    """Levels uniform in the time of a VP diffusion (Karras et al. 2022, Table 1, "VP").

    sigma(t)**2 = exp(beta_d t**2 / 2 + beta_min t) - 1, at t uniform between the times that
    `sigma_max` and `sigma_min` have; the table's, 1 and 1e-3, are those of 152.17 and 0.010486.

    Parameters
    ----------
    n, sigma_min, sigma_max
        As for `karras_sigmas`.
    beta_d, beta_min : float
        Slope of the diffusion's rate, at least 0, and its start, positive.

    Returns
    -------
    ndarray of float64, shape (n + 1,)
        Strictly decreasing from `sigma_max`; the last is 0.

    Raises
    ------
    TypeError, ValueError
        As for `karras_sigmas`.

    Examples
    --------
    >>> vp_sigmas(3, 0.01048, 152.17).round(2)
    array([1.5217e+02, 3.4200e+00, 1.0000e-02, 0.0000e+00])
    """
    beta_d = _checks.real("beta_d", beta_d, at_least=0.0)
    path = VPSchedule(beta_min, _checks.real("beta_min", beta_min, above=0.0) + beta_d)

    def sigma(u: Floats, lo: float, hi: float) -> Floats:
        first, last = path._time(np.array([hi, lo]))
        alpha, sigma = path._path(first + u * (last - first))
        return sigma / alpha

    return _sigmas(n, sigma_min, sigma_max, sigma)


def beta_sigmas(
    n: int, sigma_min: float, sigma_max: float, alpha: float = 0.6, beta: float = 0.6
) -> Floats:
    """Levels at uniform quantiles of a Beta distribution (after Lee et al. 2024, Beta sampling).

    sigma = sigma_min + (sigma_max - sigma_min) F^-1(u) for u from 1 to 0, F the distribution
    function of Beta(alpha, beta). With both below 1 levels gather at the two ends. The paper takes
    the quantiles for times; to take them for sigma is diffusers' reading.

    Parameters
    ----------
    n, sigma_min, sigma_max
        As for `karras_sigmas`.
    alpha, beta : float
        Shape of the distribution, positive; both 1 is uniform in sigma.

    Returns
    -------
    ndarray of float64, shape (n + 1,)
        Strictly decreasing from `sigma_max`; the last is 0.

    Raises
    ------
    TypeError, ValueError
        As for `karras_sigmas`.

    Examples
    --------
    >>> beta_sigmas(3, 1.0, 9.0).round(6)
    array([9., 5., 1., 0.])
    """
    alpha = _checks.real("alpha", alpha, above=0.0)
    beta = _checks.real("beta", beta, above=0.0)

    def sigma(u: Floats, lo: float, hi: float) -> Floats:
        from scipy.special import betaincinv

        quantiles: Floats = betaincinv(alpha, beta, 1.0 - u)
        return lo + (hi - lo) * quantiles

    return _sigmas(n, sigma_min, sigma_max, sigma)


def _power(start: float, end: float, rho: float, u: Floats) -> Floats:
    """Go from start down to end so that the power 1 / rho is linear in u."""
    # start (1 + u (q - 1))**rho, q = (end / start)**(1 / rho), sound for the smallest rho and the
    # largest; for u below 1, where q may be 0 in float64.
    return start * np.exp(rho * np.log1p(u * math.expm1((math.log(end) - math.log(start)) / rho)))


def _sigmas(
    n: int,
    sigma_min: float,
    sigma_max: float,
    sigma: Callable[[Floats, float, float], Floats],
) -> Floats:
    """Levels sigma(u) for u from 0 to 1, their ends exact, and a last 0."""
    n = _checks.integer("n", n, at_least=1)
    low = _checks.real("sigma_min", sigma_min, above=0.0)
    high = _checks.real("sigma_max", sigma_max, above=0.0)
    if low > high or (low == high and n > 1):
        raise ValueError(f"sigma_min must be below sigma_max, got {low:g} and {high:g}")
    inner = sigma(np.linspace(0.0, 1.0, n)[1:-1], low, high)
    levels = np.concatenate([[high], inner, [low] if n > 1 else [], [0.0]])
    if not np.all(levels[1:] < levels[:-1]):
        raise ValueError(
            f"n={n} levels from sigma_max={high:g} to sigma_min={low:g} do not fall strictly on "
            f"this grid: take fewer, other ends, or a milder shape"
        )
    return levels


def trailing(schedule: NoiseSchedule, steps: int) -> Floats:
    """Times uniform from the noisiest to one spacing from the clean level (Lin et al. 2024).

    Training index round(N - i N / steps) - 1 for i = 0 .. steps - 1 (Table 2, "trailing");
    t_max (1 - i / steps) where time is continuous.

    Parameters
    ----------
    schedule : NoiseSchedule
        What the model was trained with.
    steps : int
        Number of times, at least 1 and, where time is discrete, at most N.

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
    >>> trailing(DiscreteSchedule(linear_betas(1000)), 4)
    array([999., 749., 499., 249.])
    """
    n = _training_levels(schedule, steps)
    i = np.arange(steps)
    if n is None:
        return schedule.t_max * (1.0 - i / steps)
    return np.rint(n * (steps - i) / steps) - 1.0


def leading(schedule: NoiseSchedule, steps: int, offset: int = 0) -> Floats:
    """Times uniform from one spacing below the noisiest to the least noisy.

    Training index floor(i N / steps) + offset for i = steps - 1 .. 0 (Song et al. 2021, DDIM,
    appendix D.2, "linear"); where time is continuous, t_min + (t_max - t_min) i / steps. The ratio
    is not rounded first, as it is in Lin et al. 2024, Table 2: where `steps` does not divide N,
    that begins far below the noisiest level.

    Parameters
    ----------
    schedule, steps
        As for `trailing`.
    offset : int
        Added to every index; Stable Diffusion has 1. Only where time is discrete.

    Returns
    -------
    ndarray of float64, shape (steps,)
        Strictly decreasing model times.

    Raises
    ------
    TypeError, ValueError
        As for `trailing`, and if an index with the offset is outside the schedule.

    Examples
    --------
    >>> from schedulers import DiscreteSchedule, linear_betas
    >>> leading(DiscreteSchedule(linear_betas(1000)), 4, offset=1)
    array([751., 501., 251.,   1.])
    """
    n = _training_levels(schedule, steps)
    offset = _checks.integer("offset", offset, at_least=0)
    i = np.arange(steps)[::-1]
    if n is None:
        if offset:
            raise ValueError(f"offset counts training levels, which {schedule!r} has none of")
        return schedule.t_min + (schedule.t_max - schedule.t_min) * (i / steps)
    times = (i * n // steps + offset).astype(np.float64)
    if times[0] > schedule.t_max:
        raise ValueError(
            f"offset must be at most {int(schedule.t_max - times[0] + offset)} with {steps} steps "
            f"of {n} training levels, got {offset}"
        )
    return times


def linspace(schedule: NoiseSchedule, steps: int) -> Floats:
    """Times uniform from the noisiest to the least noisy, both included (Lin et al., Table 2).

    Training index round((N - 1) (1 - i / (steps - 1))); a single step begins at the noisiest.

    Parameters, returns and errors as for `trailing`.

    Examples
    --------
    >>> from schedulers import DiscreteSchedule, linear_betas
    >>> linspace(DiscreteSchedule(linear_betas(1000)), 4)
    array([999., 666., 333.,   0.])
    """
    n = _training_levels(schedule, steps)
    if steps == 1:
        return np.array([float(schedule.t_max)])
    left = np.arange(steps)[::-1]
    if n is None:
        return schedule.t_min + (schedule.t_max - schedule.t_min) * (left / (steps - 1))
    return np.rint((n - 1) * left / (steps - 1))


def quadratic(schedule: NoiseSchedule, steps: int) -> Floats:
    """Times whose square roots are uniform, dense near the data (DDIM, appendix D.2).

    Training index floor(c i**2) for i = steps - 1 .. 0, c such that the first is N - 1. Where that
    would repeat an index, the index one above the next lower time's is taken instead.

    Parameters, returns and errors as for `trailing`.

    Examples
    --------
    >>> from schedulers import DiscreteSchedule, linear_betas
    >>> quadratic(DiscreteSchedule(linear_betas(1000)), 4)
    array([999., 444., 111.,   0.])
    """
    n = _training_levels(schedule, steps)
    i = np.arange(steps)
    if steps == 1:
        return np.array([float(schedule.t_max)])
    if n is None:
        inner = _power(schedule.t_max, schedule.t_min, 2.0, i[1:-1] / (steps - 1))
        return np.concatenate([[schedule.t_max], inner, [schedule.t_min]])
    # The square keeps its gaps growing, so lifting repeats never lifts the last above N - 1.
    times = (n - 1) * i**2 // (steps - 1) ** 2
    return (np.maximum.accumulate(times - i) + i)[::-1].astype(np.float64)


def _training_levels(schedule: NoiseSchedule, steps: int) -> int | None:
    """Check both arguments; return N, or None where time is continuous."""
    steps = _check_arguments(schedule, steps)
    if not isinstance(schedule, DiscreteSchedule):
        return None
    n = schedule.num_train_timesteps
    if steps > n:
        raise ValueError(f"steps must be at most {n}, the number of training levels, got {steps}")
    return n


def _check_arguments(schedule: NoiseSchedule, steps: int) -> int:
    if not isinstance(schedule, NoiseSchedule):
        raise TypeError(f"schedule must be a NoiseSchedule, got {_checks.shown(schedule)}")
    return _checks.integer("steps", steps, at_least=1)


def _spacing(name: str, sigmas: Callable[[int, float, float], Floats]) -> Spacing:
    """Make a spacing of a grid of sigmas, from end to end of the schedule."""

    def times(schedule: NoiseSchedule, steps: int) -> Floats:
        steps = _check_arguments(schedule, steps)
        high, low = schedule.karras_sigma([schedule.t_max, schedule.t_min])
        if high == math.inf:
            raise ValueError(
                f"spacing {name!r} needs a finite largest sigma, and {schedule!r} begins at "
                f"alpha = 0: use spacing 'trailing', or pass sigmas="
            )
        levels: Floats = schedule.timestep(sigmas(steps, low, high)[:-1])
        levels[-1], levels[0] = schedule.t_min, schedule.t_max  # not by way of sigma and back
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
