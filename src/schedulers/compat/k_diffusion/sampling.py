"""`sample_*`: runs at given levels."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np

from schedulers import _checks
from schedulers.denoisers import per_sample
from schedulers.engine import arrays
from schedulers.engine.arrays import cast, weighted_sum
from schedulers.engine.noise import START, Noise
from schedulers.engine.state import State, advance, lent
from schedulers.engine.tableau import Stage, Tableau
from schedulers.methods.churn import Raise, raises
from schedulers.methods.ddim import ddim_rows
from schedulers.methods.euler import euler_ancestral_rows, euler_rows
from schedulers.methods.heun import heun_rows
from schedulers.schedules.base import Level

Array = Any
Model = Callable[..., Array]
NoiseSampler = Callable[[Any, Any], Array]
Callback = Callable[[dict[str, Any]], object]
Rows = Callable[..., Iterable[Stage]]
Raises = Callable[[tuple[Level, ...]], tuple[Raise, ...]]


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
        As for `ChurnedScheduler`.
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
    >>> from schedulers.compat.k_diffusion import get_sigmas_karras
    >>> def model(x, sigma):
    ...     return x / (1.0 + sigma[:, None] ** 2)  # the exact denoiser of N(0, 1)
    >>> x = 80.0 * np.array([[1.0, -0.5]])
    >>> sample_euler(model, x, get_sigmas_karras(200, 0.01, 80.0)).round(2)
    array([[ 0.99, -0.49]])
    """
    churn = _churn(sigmas, s_churn, s_tmin, s_tmax)
    tableau = _tableau("Euler", euler_rows, sigmas, churn)
    return _run(tableau, model, x, sigmas, extra_args, callback, disable, s_noise, noise_sampler)


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
    eta = _checks.real("eta", eta, at_least=0.0)
    levels = _floats(sigmas)
    if any(later > earlier for earlier, later in pairwise(levels)):
        raise ValueError(f"sigmas must not rise where noise is added, got {_checks.shown(levels)}")

    def s_up(now: Level, then: Level) -> float:
        return then.sigma * min(1.0, eta * math.sqrt(1.0 - (then.sigma / now.sigma) ** 2))

    rows = partial(euler_ancestral_rows, eta=eta) if eta <= 1.0 else partial(ddim_rows, sigma=s_up)
    tableau = _tableau("EulerAncestral", rows, sigmas)
    return _run(tableau, model, x, sigmas, extra_args, callback, disable, s_noise, noise_sampler)


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
    >>> from schedulers.compat.k_diffusion import get_sigmas_karras
    >>> def model(x, sigma):
    ...     return x / (1.0 + sigma[:, None] ** 2)  # the exact denoiser of N(0, 1)
    >>> x = 80.0 * np.array([[1.0, -0.5]])
    >>> sample_heun(model, x, get_sigmas_karras(50, 0.01, 80.0)).round(2)
    array([[ 1. , -0.5]])
    """
    churn = _churn(sigmas, s_churn, s_tmin, s_tmax)
    tableau = _tableau("Heun", heun_rows, sigmas, churn)
    return _run(tableau, model, x, sigmas, extra_args, callback, disable, s_noise, noise_sampler)


def _floats(sigmas: Array) -> list[float]:
    """Check levels and return them as Python floats."""
    values = sigmas.tolist() if hasattr(sigmas, "tolist") else sigmas
    levels: list[float] = _checks.vector("sigmas", values).tolist()
    if min(levels[:-1], default=1.0) <= 0.0 or levels[-1] < 0.0:
        raise ValueError(
            f"sigmas must be positive (only the last may be 0), got {_checks.shown(levels)}"
        )
    return levels


def _bound(name: str, value: float, sigmas: Array) -> float:
    """Return a bound of churn in the precision of the levels that it is compared with."""
    bound = _checks.real(name, value, finite=False)
    single = "float32" in str(getattr(sigmas, "dtype", ""))
    return float(np.float32(bound)) if single else bound


def _level(sigma: float) -> Level:
    return Level(sigma, 1.0, sigma)


def _churn(sigmas: Array, s_churn: float, s_tmin: float, s_tmax: float) -> Raises:
    """Return what raises levels: churn's arguments, checked and bound."""
    s_churn = _checks.real("s_churn", s_churn, at_least=0.0)
    s_tmin = _checks.real("s_tmin", _bound("s_tmin", s_tmin, sigmas), at_least=0.0, finite=False)
    s_tmax = _checks.real("s_tmax", _bound("s_tmax", s_tmax, sigmas), at_least=s_tmin, finite=False)
    return lambda levels: raises(levels, _level, s_churn, s_tmin, s_tmax)


def _tableau(method: str, rows: Rows, sigmas: Array, churn: Raises | None = None) -> Tableau | None:
    """Return the tableau of a run at the given levels, in whatever order they are."""
    levels = tuple(map(_level, _floats(sigmas)))
    if len(levels) == 1:
        return None  # a run of no steps
    if churn is None:
        return Tableau(method, levels, tuple(rows(levels)))
    ups = churn(levels)
    return Tableau(method, levels, tuple(rows(levels, ups)), (ups[0].scale, ups[0].c))


def _run(
    tableau: Tableau | None,
    model: Model,
    x: Array,
    sigmas: Array,
    extra_args: Mapping[str, Any] | None,
    callback: Callback | None,
    disable: bool | None,
    s_noise: float,
    noise_sampler: NoiseSampler | None,
) -> Array:
    """Take the rows of a tableau."""
    _checks.function("model", model, "(x, sigma, **extra_args)")
    if callback is not None:
        _checks.function("callback", callback, "(info)")
    if not isinstance(extra_args, (Mapping, type(None))):
        raise TypeError(f"extra_args must be a dict or None, got {_checks.shown(extra_args)}")
    carried, dtype = arrays.sample("x", x)
    if not carried.shape:
        raise ValueError("x must have its samples along axis 0, got a single number")
    s_noise = _checks.real("s_noise", s_noise, at_least=0.0)
    if noise_sampler is not None:
        _checks.function("noise_sampler", noise_sampler, "(sigma, sigma_next)")
    if tableau is None:
        return cast(carried, dtype)
    if noise_sampler is None and tableau.draws_noise:
        noise_sampler = _default_noise_sampler(carried)
    noises = _noises(tableau, carried, sigmas, s_noise, noise_sampler)
    scale, c = tableau.entry
    with _without_gradients(x):
        if tableau.entry != (1.0, 0.0):
            carried = weighted_sum([(scale, carried), (c, next(noises))])
        state = State(tableau, 0, carried, dtype)
        for step in _progress(range(tableau.steps), disable):
            report, ended = callback, False
            while not ended:
                stage, seen = tableau.stages[state.index], lent(state)
                output = model(seen, per_sample(state.t, seen), **(extra_args or {}))
                if report is not None:
                    report(_info(sigmas, step, state, output))
                    report = None
                name, shape = "the model's output", tuple(carried.shape)
                output = arrays.matching(name, output, state.carried, shape, state.t)
                fresh = (stage.c, next(noises)) if stage.c else None
                state = advance(state, output, "sample", noise=fresh, keep_denoised=False)
                ended = stage.ends_step
    return state.x


def _info(sigmas: Array, step: int, state: State, denoised: Array) -> dict[str, Any]:
    """Return what the callback gets in a step."""
    sigma = sigmas[step]
    sigma_hat = sigma * (state.t / state.tableau.levels[step].t)
    return {
        "x": state.x,
        "i": step,
        "sigma": sigma,
        "sigma_hat": sigma_hat,
        "denoised": denoised,
    }


def _noises(
    tableau: Tableau,
    x: Array,
    sigmas: Array,
    s_noise: float,
    noise_sampler: NoiseSampler | None,
) -> Iterator[Array]:
    """Noise of the steps that need some, in order; that of steps between them is drawn and left."""
    ends = [row for row, stage in enumerate(tableau.stages) if stage.ends_step]
    begins = [tableau.stages[row] for row in (0, *(end + 1 for end in ends[:-1]))]
    raised = [stage.level != level for stage, level in zip(begins, tableau.levels, strict=False)]
    # Churn's noise comes before a step, in the tableau in the row before; other noise ends a step.
    needs = raised if any(raised) else [bool(stage.c) for stage in begins]
    for step in range(tableau.steps):
        if noise_sampler is None or not any(needs[step:]):
            return
        z = noise_sampler(sigmas[step], sigmas[step + 1])
        name = "the noise that noise_sampler returned"
        z = arrays.matching(name, z, x, tuple(x.shape))
        if needs[step]:
            yield z * s_noise


def _default_noise_sampler(x: Array) -> NoiseSampler:
    if _is_tensor(x):
        return lambda sigma, sigma_next: sys.modules["torch"].randn_like(x)
    try:
        noise = Noise.bind(None, x)
    except TypeError:
        raise TypeError(
            f"noise_sampler must be given for an array of dtype {x.dtype!r}: by default noise is "
            f"drawn for NumPy arrays, PyTorch's tensors and arrays of the array API"
        ) from None
    return lambda sigma, sigma_next: noise.draw(START)


def _is_tensor(x: Array) -> bool:
    torch = sys.modules.get("torch")  # loaded where x is one
    return torch is not None and isinstance(x, torch.Tensor)


def _without_gradients(x: Array) -> AbstractContextManager[Any]:
    return sys.modules["torch"].no_grad() if _is_tensor(x) else nullcontext()


def _progress(steps: range, disable: bool | None) -> Iterable[int]:
    if disable is not None and _checks.boolean("disable", disable):
        return steps
    try:
        from tqdm import tqdm
    except ImportError:
        if disable is None:
            return steps
        raise ImportError("disable=False needs the package tqdm: pip install tqdm") from None
    bar: Iterable[int] = tqdm(steps, disable=disable)
    return bar
