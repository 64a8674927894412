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
    """Levels evenly spaced in sigma**(1 / rho) (Karras et al. 2022, eq. 5).

    Parameters
    ----------
    n : int
        Number of levels above 0, at least 1. If it is 1, the level is `sigma_max`.
    sigma_min, sigma_max : float
        Last level above 0, and first level; 0 < sigma_min < sigma_max.
    rho : float
        Positive. A larger `rho` puts more levels near `sigma_min`; 1 is evenly spaced in sigma.

    Returns
    -------
    ndarray of float64, shape (n + 1,)
        Strictly decreasing from `sigma_max`; the last is 0.

    Raises
    ------
    TypeError, ValueError
        If an argument has the wrong type or is out of range, or if float64 cannot tell the levels
        apart.

    Examples
    --------
    >>> karras_sigmas(3, 1.0, 9.0, rho=2.0)
    array([9., 4., 1., 0.])
    """
    rho = _checks.real("rho", rho, above=0.0)
    return ramp(n, sigma_min, sigma_max, lambda u, lo, hi: power_ramp(hi, lo, rho, u))


def exponential_sigmas(n: int, sigma_min: float, sigma_max: float) -> Floats:
    """Levels evenly spaced in log(sigma): a geometric sequence.

    The same grid has two more names: "log_snr", since log-SNR is -2 log(sigma) (Lu et al. 2022,
    DPM-Solver, section 3), and "ve", the VE discretization of Karras et al. 2022, Table 1.

    Parameters, returns and errors as for `karras_sigmas`.

    Examples
    --------
    >>> exponential_sigmas(3, 1.0, 100.0).round(6)
    array([100.,  10.,   1.,   0.])
    """
    return polyexponential_sigmas(n, sigma_min, sigma_max)


def polyexponential_sigmas(n: int, sigma_min: float, sigma_max: float, rho: float = 1.0) -> Floats:
    """Levels whose log(sigma) falls as the power `rho` of a linear ramp (k-diffusion).

    sigma = sigma_min (sigma_max / sigma_min)**(u**rho) for u from 1 to 0. With `rho` = 1 this is
    `exponential_sigmas`; a larger `rho` puts more levels near `sigma_min`.

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
    """Levels evenly spaced in the time of a VP diffusion (Karras et al. 2022, Table 1, "VP").

    sigma(t)**2 = exp(beta_d t**2 / 2 + beta_min t) - 1, for t evenly spaced from the time of
    `sigma_max` to that of `sigma_min`. The table's times, 1 and 1e-3, have sigma 152.17 and
    0.010486.

    Parameters
    ----------
    n, sigma_min, sigma_max
        As for `karras_sigmas`.
    beta_d, beta_min : float
        Slope of the diffusion's rate, at least 0, and the rate at t = 0, positive.

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
    beta_d = _checks.real("beta_d", beta_d, at_least=0.0, at_most=1e100)
    beta_min = _checks.real("beta_min", beta_min, above=0.0, at_most=1e100)
    path = VPSchedule(beta_min, beta_min + beta_d)

    def sigma(u: Floats, lo: float, hi: float) -> Floats:
        first, last = path._time(np.array([hi, lo]))
        alpha, sigma = path._path(first + u * (last - first))
        return sigma / alpha

    return ramp(n, sigma_min, sigma_max, sigma)


def beta_sigmas(
    n: int, sigma_min: float, sigma_max: float, alpha: float = 0.6, beta: float = 0.6
) -> Floats:
    """Levels at evenly spaced quantiles of a Beta distribution (after Lee et al. 2024).

    sigma = sigma_min + (sigma_max - sigma_min) F^-1(u) for u from 1 to 0, where F is the cumulative
    distribution function of Beta(alpha, beta). If both are below 1, the levels are dense at both
    ends. The paper uses the quantiles as times; diffusers uses them as sigmas, and so does this.

    Parameters
    ----------
    n, sigma_min, sigma_max
        As for `karras_sigmas`.
    alpha, beta : float
        Shape of the distribution, positive. If both are 1, the levels are evenly spaced in sigma.

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
    """Return the levels sigma(u) for u from 0 to 1, with exact ends, and a last 0."""
    n = _checks.count("n", n)
    low = _checks.real("sigma_min", sigma_min, above=0.0)
    high = _checks.real("sigma_max", sigma_max, above=0.0, finite=not infinite)
    if low > high or (low == high and n > 1):
        raise ValueError(f"sigma_min must be below sigma_max, got {low:g} and {high:g}")
    inner = sigma(np.linspace(0.0, 1.0, n)[1:-1], low, high)
    levels = np.concatenate([[high], inner, [low] if n > 1 else [], [0.0]])
    if not np.all(levels[1:] < levels[:-1]):
        raise ValueError(
            f"n={n} levels from sigma_max={high:g} to sigma_min={low:g} must be strictly "
            f"decreasing in float64: use fewer levels, other ends, or other shape parameters"
        )
    return levels
