"""Betas: the variances of the steps of the forward process that models are trained with.

Each function returns a float64 array of variances for `DiscreteSchedule`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from schedulers import _checks
from schedulers.schedules.elementary import cos, exp, expm1, log, log1p, softplus

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    Floats = NDArray[np.float64]


def linear_betas(
    num_train_timesteps: int, beta_start: float = 1e-4, beta_end: float = 0.02
) -> Floats:
    """Variances evenly spaced from `beta_start` to `beta_end` (Ho et al. 2020, section 4).

    Parameters
    ----------
    num_train_timesteps : int
        Number of variances, at least 1.
    beta_start, beta_end : float
        First and last variance, in (0, 1).

    Returns
    -------
    ndarray of float64, shape (num_train_timesteps,)

    Raises
    ------
    TypeError, ValueError
        If an argument has the wrong type or is out of range.

    Examples
    --------
    >>> linear_betas(3, 0.1, 0.5)
    array([0.1, 0.3, 0.5])
    """
    n, start, end = _checked_ends(num_train_timesteps, beta_start, beta_end)
    return np.linspace(start, end, n)


def scaled_linear_betas(
    num_train_timesteps: int, beta_start: float = 0.00085, beta_end: float = 0.012
) -> Floats:
    """Variances whose square roots are evenly spaced (Stable Diffusion; Rombach et al. 2022).

    Parameters, returns and errors as for `linear_betas`.

    Examples
    --------
    >>> scaled_linear_betas(3, 0.01, 0.25).round(4)
    array([0.01, 0.09, 0.25])
    """
    n, start, end = _checked_ends(num_train_timesteps, beta_start, beta_end)
    return np.linspace(math.sqrt(start), math.sqrt(end), n) ** 2


def sigmoid_betas(
    num_train_timesteps: int, beta_start: float = 1e-4, beta_end: float = 0.02
) -> Floats:
    """Variances on a logistic curve from `beta_start` to `beta_end` (GeoDiff; Xu et al. 2022).

    beta = beta_start + (beta_end - beta_start) / (1 + exp(-u)) for u evenly spaced from -6 to 6.

    Parameters, returns and errors as for `linear_betas`.

    Examples
    --------
    >>> sigmoid_betas(3, 0.1, 0.5).round(4)
    array([0.101, 0.3  , 0.499])
    """
    n, start, end = _checked_ends(num_train_timesteps, beta_start, beta_end)
    return start + (end - start) / (1.0 + exp(-np.linspace(-6.0, 6.0, n)))


def cosine_betas(num_train_timesteps: int, s: float = 0.008, max_beta: float = 0.999) -> Floats:
    """Variances of the cosine schedule (Nichol & Dhariwal 2021, eq. 17).

    alphas_cumprod is proportional to cos(((t + s) / (1 + s)) pi / 2)**2 at
    t = i / num_train_timesteps. A beta above `max_beta` is replaced by `max_beta`.

    Parameters
    ----------
    num_train_timesteps : int
        Number of variances, at least 1.
    s : float
        Offset, from 0 to 1000.
    max_beta : float
        Largest variance, in (0, 1).

    Returns
    -------
    ndarray of float64, shape (num_train_timesteps,)

    Raises
    ------
    TypeError, ValueError
        If an argument has the wrong type or is out of range.

    Examples
    --------
    >>> cosine_betas(4).round(4)
    array([0.153 , 0.417 , 0.7079, 0.999 ])
    """
    s = _checks.real("s", s, at_least=0.0, at_most=1e3)

    def log_alphas_cumprod(t: Floats) -> Floats:
        return 2.0 * log(cos((t + s) / (1.0 + s) * 0.5 * math.pi))

    return _betas_of(log_alphas_cumprod, num_train_timesteps, max_beta, "s")


def laplace_betas(
    num_train_timesteps: int, mu: float = 0.0, b: float = 0.5, max_beta: float = 0.999
) -> Floats:
    """Variances whose log-SNR follows a Laplace distribution (Hang et al. 2024, Table 1).

    log SNR(t) = mu - b sgn(0.5 - t) log(1 - 2 |t - 0.5|) at t = i / num_train_timesteps, with
    SNR = alphas_cumprod / (1 - alphas_cumprod). A beta above `max_beta` is replaced by `max_beta`.

    Parameters
    ----------
    num_train_timesteps : int
        Number of variances, at least 1.
    mu, b : float
        Location and scale of the distribution of log SNR. `b` is positive.
    max_beta : float
        Largest variance, in (0, 1).

    Returns
    -------
    ndarray of float64, shape (num_train_timesteps,)

    Raises
    ------
    TypeError, ValueError
        If an argument has the wrong type or is out of range, or if a beta is 0 in float64.

    Examples
    --------
    >>> laplace_betas(4).round(4)
    array([0.4142, 0.1464, 0.1716, 0.999 ])
    """
    mu = _checks.real("mu", mu)
    b = _checks.real("b", b, above=0.0)

    def log_alphas_cumprod(t: Floats) -> Floats:
        with np.errstate(
            divide="ignore", over="ignore", invalid="ignore"
        ):  # the ends, log SNR = +-infinity
            log_snr = mu - b * np.sign(0.5 - t) * log1p(-2.0 * np.abs(t - 0.5))
        return -softplus(-log_snr)

    return _betas_of(log_alphas_cumprod, num_train_timesteps, max_beta, "mu and b")


def rescale_zero_terminal_snr(betas: ArrayLike) -> Floats:
    """Shift and scale a schedule so that its last level has no signal (Lin et al. 2024, Alg. 1).

    sqrt(alphas_cumprod) is shifted so that it ends at 0, and scaled so that its first value stays
    the same. The last beta is then exactly 1. The model must predict "v_prediction", "sample" or
    "flow": at alpha = 0 the other predictions do not determine x_0.

    Parameters
    ----------
    betas : array_like, shape (N,)
        Variances in (0, 1). N is at least 2.

    Returns
    -------
    ndarray of float64, shape (N,)

    Raises
    ------
    TypeError, ValueError
        If `betas` has the wrong type, shape or values, or if float64 cannot tell the levels apart.

    Examples
    --------
    >>> rescale_zero_terminal_snr([0.1, 0.2, 0.3]).round(4)
    array([0.1  , 0.663, 1.   ])
    """
    given = _checks.vector("betas", betas)
    if given.size < 2 or not (given.min() > 0.0 and given.max() < 1.0):
        raise ValueError(
            f"betas must be at least two numbers between 0 and 1, got {given.size} from "
            f"{given.min():g} to {given.max():g}"
        )
    roots = np.sqrt(np.cumprod(1.0 - given))
    if not np.all(roots[1:] < roots[:-1]):
        raise ValueError(
            "betas must give alphas_cumprod that are strictly decreasing in float64, got betas "
            "that are too small or too many"
        )
    # The scale keeps the first beta, and cancels in the ratios that give the other betas.
    shifted = (roots - roots[-1]) ** 2
    return np.append(given[0], 1.0 - shifted[1:] / shifted[:-1])


def _checked_ends(n: int, start: float, end: float) -> tuple[int, float, float]:
    return (
        _checks.count("num_train_timesteps", n),
        _fraction("beta_start", start),
        _fraction("beta_end", end),
    )


def _betas_of(
    log_alphas_cumprod: Callable[[Floats], Floats], n: int, max_beta: float, names: str
) -> Floats:
    n = _checks.count("num_train_timesteps", n)
    logs = log_alphas_cumprod(np.arange(n + 1) / n)
    with np.errstate(invalid="ignore"):  # NaN where both have no signal
        falls = np.diff(logs)
    # 1 - ratio, from the logs: a small beta keeps its digits.
    betas = np.minimum(-expm1(falls), _fraction("max_beta", max_beta))
    if not betas.min() > 0.0:  # nor NaN
        raise ValueError(f"{names} must give betas above 0 in float64, got a beta of 0")
    return betas


def _fraction(name: str, value: float) -> float:
    if not 0.0 < _checks.real(name, value) < 1.0:
        raise ValueError(f"{name} must lie between 0 and 1, got {_checks.shown(value)}")
    return float(value)
