"""`sample_*` of Karras et al. 2022 and k-diffusion: runs at given levels."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

from schedulers import _checks
from schedulers.compat.k_diffusion.ancestral import ancestral_rows
from schedulers.compat.k_diffusion.arguments import (
    Array,
    Call,
    Callback,
    Levels,
    Model,
    NoiseSampler,
    amount,
    churn,
    distinct,
    falling,
    level,
    tableau,
)
from schedulers.compat.k_diffusion.running import run
from schedulers.engine.tableau import Stage
from schedulers.methods.churn import Raise
from schedulers.methods.dpm2 import dpm2_rows
from schedulers.methods.euler import euler_rows
from schedulers.methods.heun import heun_rows
from schedulers.methods.lms import lms_rows


def sample_euler(
    model: Model,
    x: Array,
    sigmas: Array,
    extra_args: Mapping[str, Any] | None = None,
    callback: Callback | None = None,
    disable: bool | None = None,
    s_churn: float = 0.0,
    s_tmin: float = 0.0,
    s_tmax: float = math.inf,
    s_noise: float = 1.0,
    *,
    noise_sampler: NoiseSampler | None = None,
) -> Array:
    """Run Euler's method, with churn (Karras et al. 2022, Algorithm 2, Euler's steps): `Euler`.

    Parameters
    ----------
    model : callable
        ``model(x, sigma, **extra_args)`` returns the denoised sample; sigma has shape (n,).
    x : array of floats, shape (n, ...)
        The sample at the first level, x_0 + sigma eps.
    sigmas : array, shape (steps + 1,)
        Levels at which the steps begin, and where the last one ends: positive, the last one at
        least 0. A level may repeat; they may rise, as where a sample is taken back to its noise. A
        single one is a run of no steps.
    extra_args : dict, optional
        Further arguments of the model.
    callback : callable, optional
        Called in every step, before it is taken, with a dict of ``x``, ``i``, ``sigma``,
        ``sigma_hat`` and ``denoised``: the sample that the model saw, the step's index, its level,
        the level as raised by churn, and what the model returned.
    disable : bool, optional
        True shows no progress bar. By default there is one if tqdm is installed and stderr is a
        terminal.
    s_churn, s_tmin, s_tmax, s_noise : float
        As for `ChurnedScheduler`. The model's largest level is known where it is a `Preconditioned`
        with `Trained` scales.
    noise_sampler : callable, optional
        ``noise_sampler(sigma, sigma_next)`` returns standard normal noise of the shape and kind of
        x for the step between two of `sigmas`; called once for a step, in order. By default a
        tensor of PyTorch's gets ``torch.randn_like(x)``, which `torch.manual_seed` governs, and
        other arrays noise that the system has seeded.

    Returns
    -------
    array, shape, dtype and kind of `x`
        The sample at the last level. Gradients do not flow to it in PyTorch, as in k-diffusion;
        through ``Euler(VESchedule(), prediction_type="sample").sample`` they do.

    Raises
    ------
    TypeError, ValueError
        If an argument is not as described, or if the model returns another shape, NaN or infinity.
    ImportError
        If `disable` is False and tqdm is not installed.

    Examples
    --------
    >>> import numpy as np
    >>> from schedulers.compat.k_diffusion import get_sigmas_karras
    >>> def model(x, sigma):
    ...     return x / (1.0 + sigma[:, None] ** 2)  # the exact denoiser of N(0, 1)
    >>> x = 80.0 * np.array([[1.0, -0.5]])
    >>> sample_euler(model, x, get_sigmas_karras(200, 0.01, 80.0)).round(2)
    array([[ 0.99, -0.49]])
    """
    ups = churn(model, sigmas, s_churn, s_tmin, s_tmax)
    call = Call(model, x, extra_args, callback, disable, s_noise, noise_sampler)
    return run(tableau("Euler", euler_rows, sigmas, ups), call, sigmas)


def sample_euler_ancestral(
    model: Model,
    x: Array,
    sigmas: Array,
    extra_args: Mapping[str, Any] | None = None,
    callback: Callback | None = None,
    disable: bool | None = None,
    eta: float = 1.0,
    s_noise: float = 1.0,
    noise_sampler: NoiseSampler | None = None,
) -> Array:
    """Run Euler's method to lower levels, and noise back up: `EulerAncestral`.

    From sigma to sigma', the noise added is of standard deviation

        s_up = min(sigma', eta sigma' sqrt(1 - sigma'**2 / sigma**2)),

    and Euler's step goes to sqrt(sigma'**2 - s_up**2).

    Parameters
    ----------
    model, x, extra_args, callback, disable, noise_sampler
        As for `sample_euler`; nothing raises a level here.
    sigmas : array, shape (steps + 1,)
        As for `sample_euler`, but they do not rise.
    eta : float
        At least 0; 0 is Euler, 1 is DDPM's posterior variance, and above 1 there is more noise than
        that, up to the whole of the next level.
    s_noise : float
        Standard deviation of the noise added, in units of s_up; at least 0.

    Returns
    -------
    array, shape, dtype and kind of `x`
        As for `sample_euler`.

    Raises
    ------
    TypeError, ValueError, ImportError
        As for `sample_euler`.

    Examples
    --------
    >>> import numpy as np
    >>> from schedulers.compat.k_diffusion import get_sigmas_karras
    >>> def model(x, sigma):
    ...     return x / (1.0 + sigma[:, None] ** 2)  # the exact denoiser of N(0, 1)
    >>> rng = np.random.default_rng(0)
    >>> x = 80.0 * rng.standard_normal((10_000, 1))
    >>> sigmas = get_sigmas_karras(100, 0.01, 80.0)
    >>> noise_sampler = lambda sigma, sigma_next: rng.standard_normal(x.shape)
    >>> x_0 = sample_euler_ancestral(model, x, sigmas, noise_sampler=noise_sampler)
    >>> print(f"{x_0.std():.1f}")
    0.9
    """
    rows = partial(ancestral_rows, step=euler_rows, eta=amount(eta))
    call = Call(model, x, extra_args, callback, disable, s_noise, noise_sampler)
    return run(tableau("EulerAncestral", rows, falling(sigmas)), call, sigmas)


def sample_heun(
    model: Model,
    x: Array,
    sigmas: Array,
    extra_args: Mapping[str, Any] | None = None,
    callback: Callback | None = None,
    disable: bool | None = None,
    s_churn: float = 0.0,
    s_tmin: float = 0.0,
    s_tmax: float = math.inf,
    s_noise: float = 1.0,
    *,
    noise_sampler: NoiseSampler | None = None,
) -> Array:
    """Run Heun's method, with churn (Karras et al. 2022, Algorithm 2): `Heun`.

    Parameters, returns and errors as for `sample_euler`. The model is evaluated twice a step, once
    in one that ends clean; the callback sees the first evaluation.

    Examples
    --------
    >>> import numpy as np
    >>> from schedulers.compat.k_diffusion import get_sigmas_karras
    >>> def model(x, sigma):
    ...     return x / (1.0 + sigma[:, None] ** 2)  # the exact denoiser of N(0, 1)
    >>> x = 80.0 * np.array([[1.0, -0.5]])
    >>> sample_heun(model, x, get_sigmas_karras(50, 0.01, 80.0)).round(2)
    array([[ 1. , -0.5]])
    """
    ups = churn(model, sigmas, s_churn, s_tmin, s_tmax)
    call = Call(model, x, extra_args, callback, disable, s_noise, noise_sampler)
    return run(tableau("Heun", heun_rows, sigmas, ups), call, sigmas)


def sample_dpm_2(
    model: Model,
    x: Array,
    sigmas: Array,
    extra_args: Mapping[str, Any] | None = None,
    callback: Callback | None = None,
    disable: bool | None = None,
    s_churn: float = 0.0,
    s_tmin: float = 0.0,
    s_tmax: float = math.inf,
    s_noise: float = 1.0,
    *,
    noise_sampler: NoiseSampler | None = None,
) -> Array:
    """Run the midpoint method in log sigma, with churn: `DPM2`.

    Parameters, returns and errors as for `sample_euler`. The model is evaluated twice a step, once
    in one that ends clean; the callback sees the first evaluation.

    Examples
    --------
    >>> import numpy as np
    >>> from schedulers.compat.k_diffusion import get_sigmas_karras
    >>> def model(x, sigma):
    ...     return x / (1.0 + sigma[:, None] ** 2)  # the exact denoiser of N(0, 1)
    >>> x = 80.0 * np.array([[1.0, -0.5]])
    >>> sample_dpm_2(model, x, get_sigmas_karras(50, 0.01, 80.0)).round(2)
    array([[ 1. , -0.5]])
    """
    ups = churn(model, sigmas, s_churn, s_tmin, s_tmax)
    call = Call(model, x, extra_args, callback, disable, s_noise, noise_sampler)
    return run(tableau("DPM2", _dpm2_rows, sigmas, ups), call, sigmas)


def sample_dpm_2_ancestral(
    model: Model,
    x: Array,
    sigmas: Array,
    extra_args: Mapping[str, Any] | None = None,
    callback: Callback | None = None,
    disable: bool | None = None,
    eta: float = 1.0,
    s_noise: float = 1.0,
    noise_sampler: NoiseSampler | None = None,
) -> Array:
    """Run the midpoint method to lower levels, and noise back up: `DPM2Ancestral`.

    Parameters, returns and errors as for `sample_euler_ancestral`. The model is evaluated twice a
    step, once where the lower level is the clean one; the callback sees the first evaluation.

    Examples
    --------
    >>> import numpy as np
    >>> from schedulers.compat.k_diffusion import get_sigmas_karras
    >>> def model(x, sigma):
    ...     return x / (1.0 + sigma[:, None] ** 2)  # the exact denoiser of N(0, 1)
    >>> rng = np.random.default_rng(0)
    >>> x = 80.0 * rng.standard_normal((10_000, 1))
    >>> noise_sampler = lambda sigma, sigma_next: rng.standard_normal(x.shape)
    >>> sigmas = get_sigmas_karras(50, 0.01, 80.0)
    >>> x_0 = sample_dpm_2_ancestral(model, x, sigmas, noise_sampler=noise_sampler)
    >>> print(f"{x_0.std():.1f}")
    1.0
    """
    rows = partial(ancestral_rows, step=_dpm2_rows, eta=amount(eta))
    call = Call(model, x, extra_args, callback, disable, s_noise, noise_sampler)
    return run(tableau("DPM2Ancestral", rows, falling(sigmas)), call, sigmas)


def sample_lms(
    model: Model,
    x: Array,
    sigmas: Array,
    extra_args: Mapping[str, Any] | None = None,
    callback: Callback | None = None,
    disable: bool | None = None,
    order: int = 4,
) -> Array:
    """Run Adams and Bashforth's method with steps of any length: `LMS`.

    Parameters
    ----------
    model, x, extra_args, callback, disable
        As for `sample_euler`.
    sigmas : array, shape (steps + 1,)
        As for `sample_euler`, but none of `order` successive ones repeats another.
    order : int
        Number of noise estimates that a step weighs, at least 1; 1 is Euler's method.

    Returns
    -------
    array, shape, dtype and kind of `x`
        As for `sample_euler`.

    Raises
    ------
    TypeError, ValueError, ImportError
        As for `sample_euler`.

    Examples
    --------
    >>> import numpy as np
    >>> from schedulers.compat.k_diffusion import get_sigmas_karras
    >>> def model(x, sigma):
    ...     return x / (1.0 + sigma[:, None] ** 2)  # the exact denoiser of N(0, 1)
    >>> x = 80.0 * np.array([[1.0, -0.5]])
    >>> sample_lms(model, x, get_sigmas_karras(50, 0.01, 80.0)).round(2)
    array([[ 1. , -0.5]])
    """
    order = _checks.integer("order", order, at_least=1)
    rows = partial(lms_rows, order=order)
    call = Call(model, x, extra_args, callback, disable)
    return run(tableau("LMS", rows, distinct(sigmas, order)), call, sigmas)


def _dpm2_rows(levels: Levels, ups: tuple[Raise, ...] | None = None) -> Iterator[Stage]:
    return dpm2_rows(levels, level, ups)
