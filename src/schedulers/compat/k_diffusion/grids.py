"""`get_sigmas_*`: the levels, in float32 as k-diffusion has them."""

from __future__ import annotations

from typing import Any

import numpy as np

from schedulers import _checks
from schedulers.engine.arrays import cast
from schedulers.grids.sigmas import exponential_sigmas, karras_sigmas, polyexponential_sigmas
from schedulers.schedules.continuous import VPSchedule


def get_sigmas_karras(
    n: int, sigma_min: float, sigma_max: float, rho: float = 7.0, device: Any = "cpu"
) -> Any:
    """Levels uniform in sigma**(1 / rho), and 0: `schedulers.karras_sigmas` in float32.

    Parameters
    ----------
    n : int
        Number of levels above 0.
    sigma_min, sigma_max, rho : float
        As for `schedulers.karras_sigmas`.
    device : str
        Where a NumPy array is, "cpu". x may be on another one.

    Returns
    -------
    ndarray of float32, shape (n + 1,)

    Raises
    ------
    TypeError, ValueError
        If an argument is not a number of the stated range.

    Examples
    --------
    >>> get_sigmas_karras(3, 1.0, 9.0, rho=2.0)
    array([9., 4., 1., 0.], dtype=float32)
    """
    return _float32(karras_sigmas(n, sigma_min, sigma_max, rho), device)


def get_sigmas_exponential(n: int, sigma_min: float, sigma_max: float, device: Any = "cpu") -> Any:
    """Levels uniform in log(sigma), and 0: `schedulers.exponential_sigmas` in float32.

    Parameters, returns and errors as for `get_sigmas_karras`.

    Examples
    --------
    >>> get_sigmas_exponential(3, 1.0, 16.0)
    array([16.,  4.,  1.,  0.], dtype=float32)
    """
    return _float32(exponential_sigmas(n, sigma_min, sigma_max), device)


def get_sigmas_polyexponential(
    n: int, sigma_min: float, sigma_max: float, rho: float = 1.0, device: Any = "cpu"
) -> Any:
    """Levels polynomial in log(sigma), and 0: `schedulers.polyexponential_sigmas` in float32.

    Parameters, returns and errors as for `get_sigmas_karras`.

    Examples
    --------
    >>> get_sigmas_polyexponential(3, 1.0, 16.0, rho=2.0)
    array([16.,  2.,  1.,  0.], dtype=float32)
    """
    return _float32(polyexponential_sigmas(n, sigma_min, sigma_max, rho), device)


def get_sigmas_vp(
    n: int,
    beta_d: float = 19.9,
    beta_min: float = 0.1,
    eps_s: float = 1e-3,
    device: Any = "cpu",
) -> Any:
    """Levels uniform in the time of a VP diffusion (Karras et al. 2022, Table 1, "VP"), and 0.

    sigma(t)**2 = exp(beta_d t**2 / 2 + beta_min t) - 1 for t from 1 to `eps_s`.

    Parameters
    ----------
    n : int
        Number of levels above 0.
    beta_d, beta_min : float
        Slope of the diffusion's rate, at least 0, and its start, positive.
    eps_s : float
        Time of the last level above 0, in (0, 1).
    device : str
        As for `get_sigmas_karras`.

    Returns
    -------
    ndarray of float32, shape (n + 1,)

    Raises
    ------
    TypeError, ValueError
        If an argument is not a number of the stated range.

    Examples
    --------
    >>> get_sigmas_vp(3).round(3)
    array([1.52167e+02, 3.42200e+00, 1.00000e-02, 0.00000e+00], dtype=float32)
    """
    n = _checks.count("n", n)
    beta_d = _checks.real("beta_d", beta_d, at_least=0.0, at_most=1e100)
    beta_min = _checks.real("beta_min", beta_min, above=0.0, at_most=1e100)
    eps_s = _checks.real("eps_s", eps_s, above=0.0)
    if eps_s >= 1.0:
        raise ValueError(f"eps_s must be below 1, where the levels begin, got {eps_s!r}")
    path = VPSchedule(beta_min, beta_min + beta_d)
    levels = path.karras_sigma(np.linspace(1.0, eps_s, n))
    return _float32(np.append(levels, 0.0), device, "beta_d and beta_min")


def _float32(sigmas: Any, device: Any, names: str = "sigma_max") -> Any:
    if str(device) != "cpu":
        raise ValueError(
            f"device must be 'cpu', where NumPy arrays are, got {_checks.shown(device)}; x may be "
            f"on another one"
        )
    levels = cast(sigmas, np.float32)
    if not np.isfinite(levels).all():
        raise ValueError(f"{names} must give sigmas that float32 holds, got {sigmas.max():g}")
    return levels
