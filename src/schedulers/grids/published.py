"""Grids as published: optimal for a Gaussian, and optimized for networks (Align Your Steps)."""

from __future__ import annotations

import math
from functools import cache
from typing import TYPE_CHECKING

import numpy as np

from schedulers import _checks
from schedulers.grids.sigmas import ramp
from schedulers.schedules.betas import scaled_linear_betas
from schedulers.schedules.discrete import DiscreteSchedule
from schedulers.schedules.elementary import exp, log, tan

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

# 10 steps of Stable Diffusion, in training indices. The last is where the tenth step would end
# before the clean level takes its place.
_TIMES = {
    "sd15": (999, 850, 736, 645, 545, 455, 343, 233, 124, 24, 0),
    "sdxl": (999, 845, 730, 587, 443, 310, 193, 116, 53, 13, 0),
}
# 10 steps of Stable Video Diffusion, in Karras's sigma.
_SIGMAS = {"svd": (700.0, 54.5, 15.886, 7.977, 4.248, 1.789, 0.981, 0.403, 0.173, 0.034, 0.002)}


def kl_optimal(n: int, sigma_min: float, sigma_max: float, data_std: float = 1.0) -> Floats:
    """Levels uniform in arctan(sigma / data_std) (Sabour et al. 2024, on Gaussian data).

    sigma(u) = c tan(u arctan(sigma_min / c) + (1 - u) arctan(sigma_max / c)) for u from 0 to 1,
    with c = `data_std`. As spacing "kl_optimal" it has c = 1, as in ComfyUI.

    For data N(m, c**2) no other levels between the two ends bring the output of Euler's method
    nearer to the data: with sigma = c tan(theta) a step from theta to theta' leaves the deviation
    cos(theta - theta') times what it should be, and equal angles make the product largest.

    Parameters
    ----------
    n : int
        Number of levels above 0, at least 1. A single one is `sigma_max`.
    sigma_min, sigma_max : float
        Last level above 0 and first level, 0 < sigma_min < sigma_max. The first may be infinite:
        alpha = 0, where a flow begins.
    data_std : float
        Standard deviation of one element of the data, positive.

    Returns
    -------
    ndarray of float64, shape (n + 1,)
        Strictly decreasing from `sigma_max`; the last is 0.

    Raises
    ------
    TypeError, ValueError
        As for `karras_sigmas`, and if `data_std` is not a positive number.

    Examples
    --------
    >>> kl_optimal(3, 1.0, np.inf).round(6)
    array([     inf, 2.414214, 1.      , 0.      ])
    """
    c = _checks.real("data_std", data_std, above=0.0)

    def sigma(u: Floats, lo: float, hi: float) -> Floats:
        first, last = math.atan(hi / c), math.atan(lo / c)
        return c * tan(first + u * (last - first))

    return ramp(n, sigma_min, sigma_max, sigma, infinite=True)


def align_your_steps(n: int, model: str = "sd15") -> Floats:
    """Levels that were optimized for one network, in 10 steps (Sabour et al. 2024).

    The figures are those of the authors' page, Align Your Steps. Where `n` is not 10 the log of
    sigma is interpolated linearly over the steps, as the authors advise. As there, the last level
    of the table is replaced by 0, the clean level.

    Parameters
    ----------
    n : int
        Number of levels above 0, at least 1.
    model : str
        "sd15" for Stable Diffusion 1.5, "sdxl" for Stable Diffusion XL, "svd" for Stable Video
        Diffusion. The first two are levels of ``DiscreteSchedule(scaled_linear_betas(1000))``;
        the third begins at sigma = 700.

    Returns
    -------
    ndarray of float64, shape (n + 1,)
        Strictly decreasing; the last is 0.

    Raises
    ------
    TypeError, ValueError
        If `n` is not such an integer, or `model` is none of the three.

    Examples
    --------
    >>> align_your_steps(10, "sdxl").round(3)
    array([14.615,  6.318,  3.768,  2.181,  1.341,  0.862,  0.555,  0.38 , 0.233,  0.111,  0.   ])
    >>> from schedulers import DDIM, DiscreteSchedule, scaled_linear_betas
    >>> scheduler = DDIM(DiscreteSchedule(scaled_linear_betas(1000)))
    >>> scheduler.tableau(sigmas=align_your_steps(10, "sdxl")).timesteps
    [999, 845, 730, 587, 443, 310, 193, 116, 53, 13]
    """
    n = _checks.count("n", n)
    table = _table(_checks.choice("model", model, (*_TIMES, *_SIGMAS)))
    numerator = np.arange(n) * (len(table) - 1)
    node, part = numerator // n, (numerator % n) / n
    inner = table[node] * exp(part * (log(table[node + 1]) - log(table[node])))
    return np.append(inner, 0.0)


@cache
def _table(model: str) -> Floats:
    if model in _SIGMAS:
        return np.array(_SIGMAS[model])
    trained = DiscreteSchedule(scaled_linear_betas(1000))
    return trained.sigmas[list(_TIMES[model])]
