"""Grids by Karras's sigma: functions of (n, sigma_min, sigma_max), for `sigmas=`."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from schedulers import _checks
from schedulers.schedules.continuous import VPSchedule
from schedulers.schedules.elementary import exp, log1p, power

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]


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
    return ramp(n, sigma_min, sigma_max, lambda u, lo, hi: power_ramp(hi, lo, rho, u))


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

    def sigma(u: Floats, lo: float, hi: float) -> Floats:
        return lo * power(hi / lo, power(1.0 - u, rho))

    return ramp(n, sigma_min, sigma_max, sigma)


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

    return ramp(n, sigma_min, sigma_max, sigma)


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

    return ramp(n, sigma_min, sigma_max, sigma)


def power_ramp(start: float, end: float, rho: float, u: Floats) -> Floats:
    """Go from start down to end so that the power 1 / rho is linear in u."""
    # start (1 + u (q - 1))**rho, q = (end / start)**(1 / rho), sound for the smallest rho and the
    # largest; for u below 1, where q may be 0 in float64.
    return start * exp(rho * log1p(u * math.expm1((math.log(end) - math.log(start)) / rho)))


def ramp(
    n: int,
    sigma_min: float,
    sigma_max: float,
    sigma: Callable[[Floats, float, float], Floats],
    *,
    infinite: bool = False,
) -> Floats:
    """Levels sigma(u) for u from 0 to 1, their ends exact, and a last 0."""
    n = _checks.integer("n", n, at_least=1)
    low = _checks.real("sigma_min", sigma_min, above=0.0)
    high = _checks.real("sigma_max", sigma_max, above=0.0, finite=not infinite)
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
