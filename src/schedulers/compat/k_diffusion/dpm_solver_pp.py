"""`sample_dpmpp_*`: DPM-Solver++ at given levels."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from itertools import pairwise
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
    distinct,
    falling,
    level,
    tableau,
)
from schedulers.compat.k_diffusion.running import run
from schedulers.engine.tableau import Stage
from schedulers.methods.ancestral import ancestral_split
from schedulers.methods.dpm_solver_pp import SOLVER_TYPES, multistep_rows, singlestep_rows


def sample_dpmpp_2s_ancestral(
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
    """Run DPM-Solver++(2S) to lower levels, and noise back up: `DPMSolverPP`, singlestep.

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
    >>> x_0 = sample_dpmpp_2s_ancestral(model, x, sigmas, noise_sampler=noise_sampler)
    >>> print(f"{x_0.std():.1f}")
    1.0
    """

    def step(ends: Levels) -> Iterator[Stage]:
        return singlestep_rows(ends, 2, level)

    rows = partial(ancestral_rows, step=step, eta=amount(eta))
    call = Call(model, x, extra_args, callback, disable, s_noise, noise_sampler)
    return run(tableau("DPMSolverPP", rows, falling(sigmas)), call, sigmas)


def sample_dpmpp_sde(
    model: Model,
    x: Array,
    sigmas: Array,
    extra_args: Mapping[str, Any] | None = None,
    callback: Callback | None = None,
    disable: bool | None = None,
    eta: float = 1.0,
    s_noise: float = 1.0,
    noise_sampler: NoiseSampler | None = None,
    r: float = 0.5,
) -> Array:
    """Run "DPM++ SDE", two stages with noise in both: `DPMSolverPP` with ``sde=True``.

    A step from s to s' has its middle at s_1 = s**(1 - r) s'**r. With s_down and s_up as for
    `sample_euler_ancestral`, both from s, and q = s'_down / s,

        y_1 = D + s_1,down e + s_1,up z_1,
        y'  = q y + (1 - q) ((1 - w) D + w D_1) + s'_up z,      w = 1 / (2 r),

    with D_1 the estimate at y_1. In the exact solution z contains z_1: both are increments of one
    Brownian path W(1 / s**2), and their correlation is

        sqrt((1 / s_1**2 - 1 / s**2) / (1 / s'**2 - 1 / s**2)).

    The default noise has it. Then the law of Gaussian data converges in order 2, and with
    independent noises in order 1.

    Parameters
    ----------
    model, x, extra_args, callback, disable
        As for `sample_euler`. The model is evaluated twice a step, once in one that ends clean; the
        callback sees the first evaluation.
    sigmas : array, shape (steps + 1,)
        As for `sample_euler`, but they do not rise.
    eta, s_noise : float
        As for `sample_euler_ancestral`.
    noise_sampler : callable, optional
        As for `sample_euler`, but it is called twice a step: for z_1 with (s, s_1), then for z with
        (s, s'). Whatever it returns is used as it is. k-diffusion's BrownianTreeNoiseSampler has
        the exact solution's correlation if it is given ``transform=lambda sigma: sigma**-2``.
    r : float
        In (0, 1].

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
    >>> x = 80.0 * np.random.default_rng(0).standard_normal((100_000, 1))
    >>> x_0 = sample_dpmpp_sde(model, x, get_sigmas_karras(50, 0.01, 80.0))
    >>> print(f"{x_0.std():.1f}")
    1.0
    """
    r = _checks.real("r", r, above=0.0, at_most=1.0)
    rows = partial(_sde_rows, eta=amount(eta), r=r)
    call = Call(model, x, extra_args, callback, disable, s_noise, noise_sampler)
    return run(tableau("DPMSolverPP", rows, falling(sigmas)), call, sigmas)


def _sde_rows(levels: Levels, eta: float, r: float) -> Iterator[Stage]:
    """Rows that take both noises as they come, so that any noise sampler can say what they are."""
    for now, then in pairwise(levels):
        kept, fresh = ancestral_split(now, then, eta)
        if then.sigma == 0.0:
            yield Stage(now, a=(1.0,), b=(0.0,))
            continue
        middle = level(now.sigma * (then.sigma / now.sigma) ** r)
        kept_1, fresh_1 = ancestral_split(now, middle, eta)
        c = middle.sigma * fresh_1
        yield Stage(now, a=(1.0,), b=(middle.sigma * kept_1,), c=c, ends_step=False)
        down = kept * then.sigma
        w = (1.0 - down / now.sigma) / (2.0 * r)
        yield Stage(middle, a=(w, 1.0 - w), b=(0.0, down), c=then.sigma * fresh)


def sample_dpmpp_2m(
    model: Model,
    x: Array,
    sigmas: Array,
    extra_args: Mapping[str, Any] | None = None,
    callback: Callback | None = None,
    disable: bool | None = None,
) -> Array:
    """Run DPM-Solver++(2M): `DPMSolverPP`.

    Parameters, returns and errors as for `sample_euler`, but no level repeats the one before.

    Examples
    --------
    >>> import numpy as np
    >>> from schedulers.compat.k_diffusion import get_sigmas_karras
    >>> def model(x, sigma):
    ...     return x / (1.0 + sigma[:, None] ** 2)  # the exact denoiser of N(0, 1)
    >>> x = 80.0 * np.array([[1.0, -0.5]])
    >>> sample_dpmpp_2m(model, x, get_sigmas_karras(50, 0.01, 80.0)).round(2)
    array([[ 1. , -0.5]])
    """
    rows = partial(multistep_rows, order=2)
    call = Call(model, x, extra_args, callback, disable)
    return run(tableau("DPMSolverPP", rows, distinct(sigmas, 2)), call, sigmas)


def sample_dpmpp_2m_sde(
    model: Model,
    x: Array,
    sigmas: Array,
    extra_args: Mapping[str, Any] | None = None,
    callback: Callback | None = None,
    disable: bool | None = None,
    eta: float = 1.0,
    s_noise: float = 1.0,
    noise_sampler: NoiseSampler | None = None,
    solver_type: str = "midpoint",
) -> Array:
    """Run DPM-Solver++(2M) for the reverse SDE: `DPMSolverPP` with `eta`.

    Parameters
    ----------
    model, x, extra_args, callback, disable, noise_sampler
        As for `sample_euler`.
    sigmas : array, shape (steps + 1,)
        As for `sample_euler`, but they fall.
    eta : float
        At least 0; 0 is `sample_dpmpp_2m` ("midpoint"), and 1 is the reverse SDE.
    s_noise : float
        Factor on the standard deviation of the noise that is added, at least 0.
    solver_type : str
        "midpoint" or "heun", as for `DPMSolverPP`.

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
    >>> x = 80.0 * np.random.default_rng(0).standard_normal((100_000, 1))
    >>> x_0 = sample_dpmpp_2m_sde(model, x, get_sigmas_karras(50, 0.01, 80.0))
    >>> print(f"{x_0.std():.1f}")
    1.0
    """
    _checks.choice("solver_type", solver_type, SOLVER_TYPES)
    rows = partial(multistep_rows, order=2, solver_type=solver_type, eta=amount(eta))
    call = Call(model, x, extra_args, callback, disable, s_noise, noise_sampler)
    return run(tableau("DPMSolverPP", rows, distinct(falling(sigmas), 2)), call, sigmas)


def sample_dpmpp_3m_sde(
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
    """Run DPM-Solver++(3M) for the reverse SDE: `DPMSolverPP` of order 3 with `eta`.

    Parameters, returns and errors as for `sample_dpmpp_2m_sde`. From the third step on the samples
    are not k-diffusion's, which counts the estimates' second differences half.

    Examples
    --------
    >>> import numpy as np
    >>> from schedulers.compat.k_diffusion import get_sigmas_karras
    >>> def model(x, sigma):
    ...     return x / (1.0 + sigma[:, None] ** 2)  # the exact denoiser of N(0, 1)
    >>> x = 80.0 * np.random.default_rng(0).standard_normal((100_000, 1))
    >>> x_0 = sample_dpmpp_3m_sde(model, x, get_sigmas_karras(50, 0.01, 80.0))
    >>> print(f"{x_0.std():.1f}")
    1.0
    """
    rows = partial(multistep_rows, order=3, eta=amount(eta))
    call = Call(model, x, extra_args, callback, disable, s_noise, noise_sampler)
    return run(tableau("DPMSolverPP", rows, distinct(falling(sigmas), 3)), call, sigmas)
