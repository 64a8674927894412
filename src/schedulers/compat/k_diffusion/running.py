"""The loop that takes the rows of a tableau, and the noise that it asks for."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from itertools import pairwise
from typing import Any

from schedulers import _checks
from schedulers.compat.k_diffusion.arguments import Array, Call, NoiseSampler
from schedulers.engine import arrays
from schedulers.engine.arrays import SILENT, cast, weighted_sum
from schedulers.engine.noise import START, Noise
from schedulers.engine.state import State, advance
from schedulers.engine.tableau import Tableau


def run(tableau: Tableau | None, call: Call, sigmas: Array) -> Array:
    """Take the rows of a tableau."""
    carried, dtype = call.begin()
    if tableau is None:
        return cast(carried, dtype)
    sampler = sampler_for(call, carried, tableau.draws_noise)
    noises = _noises(tableau, carried, sigmas, sampler, call.s_noise)
    scale, c = tableau.entry
    with without_gradients(call.x):
        if tableau.entry != (1.0, 0.0):
            carried = weighted_sum([(scale, carried), (c, next(noises))])
        state = State(tableau, 0, carried, dtype)
        for step in progress(range(tableau.steps), call.disable):
            report, ended = call.callback, False
            while not ended:
                stage, output = tableau.stages[state.index], call.evaluate(state)
                if report is not None:
                    report(_info(sigmas, step, state, output))
                    report = None
                fresh = (stage.c, next(noises)) if stage.c else None
                state = SILENT.copy().run(advance, state, output, "sample", None, fresh, False)
                ended = stage.ends_step
    return state.x


def _info(sigmas: Array, step: int, state: State, denoised: Array) -> dict[str, Any]:
    """Return what the callback gets in a step."""
    sigma = sigmas[step]
    return {
        "x": state.x,
        "i": step,
        "sigma": sigma,
        "sigma_hat": sigma * (state.t / state.tableau.levels[step].t),
        "denoised": cast(denoised, state.dtype),
    }


def _noises(
    tableau: Tableau, x: Array, sigmas: Array, sampler: NoiseSampler, s_noise: float
) -> Iterator[Array]:
    """Noise of the rows that need some, in order; what is asked for between them is left."""
    asked = list(_asked(tableau, sigmas))
    while asked and not asked[-1][0]:
        asked.pop()
    for needed, sigma, sigma_next in asked:
        z = draw(sampler, sigma, sigma_next, x)
        if needed:
            yield z * s_noise


def _asked(tableau: Tableau, sigmas: Array) -> Iterator[tuple[bool, Any, Any]]:
    """Yield whether noise is needed, and its two sigmas, in the order in which it is asked for.

    Noise is asked for once a step; and on the way to a step's middle, if there is some anywhere.
    """
    steps = list(_by_step(tableau))
    within = any(stage.c for rows in steps for stage in rows[:-1])
    # Churn's noise comes before a step, in the tableau in the row before; other noise ends a row.
    raised = [rows[0].level != level for rows, level in zip(steps, tableau.levels, strict=False)]
    for step, (rows, pair) in enumerate(zip(steps, pairwise(sigmas), strict=True)):
        if any(raised):
            yield raised[step], *pair
            continue
        sigma, begin = pair[0], rows[0].level.sigma
        for stage, to in pairwise(rows) if within else ():
            yield bool(stage.c), sigma, sigma * (to.level.sigma / begin)
        yield bool(rows[-1].c), *pair


def _by_step(tableau: Tableau) -> Iterator[list[Any]]:
    rows = []
    for stage in tableau.stages:
        rows.append(stage)
        if stage.ends_step:
            yield rows
            rows = []


def draw(sampler: NoiseSampler, sigma: Any, sigma_next: Any, x: Array) -> Array:
    """Return a noise sampler's noise, checked."""
    name = "the noise that noise_sampler returned"
    return arrays.matching(name, sampler(sigma, sigma_next), x, tuple(x.shape))


def sampler_for(call: Call, x: Array, needed: bool) -> Any:
    """Return what gives the noise of a run; None if nothing is given and none is needed."""
    return call.noise_sampler or (default_noise_sampler(x) if needed else None)


def default_noise_sampler(x: Array) -> NoiseSampler:
    """Return a sampler of standard normal noise, for questions in the order of a run.

    It is that of one Brownian path W(1 / sigma**2): the noise from sigma to sigma_next contains
    that to any sigma in between which was asked for just before.
    """
    fresh = _fresh(x)
    last: tuple[float, float, Array] | None = None

    def noise_sampler(sigma: Any, sigma_next: Any) -> Array:
        nonlocal last
        s, end, z = float(sigma), float(sigma_next), fresh()
        if last is not None and last[0] == s and 0.0 < end < s:
            _, middle, part = last
            r = min((middle**-2 - s**-2) / (end**-2 - s**-2), 1.0)
            z = weighted_sum([(math.sqrt(r), part), (math.sqrt(1.0 - r), z)])
        last = s, end, z
        return z

    return noise_sampler


def _fresh(x: Array) -> Callable[[], Array]:
    if _is_tensor(x):
        return lambda: sys.modules["torch"].randn_like(x)
    try:
        noise = Noise.bind(None, x)
    except TypeError:
        raise TypeError(
            f"noise_sampler must be given for an array of dtype {x.dtype!r}: by default noise is "
            f"drawn for NumPy arrays, PyTorch's tensors and arrays of the array API"
        ) from None
    return lambda: noise.draw(START)


def _is_tensor(x: Array) -> bool:
    torch = sys.modules.get("torch")  # loaded where x is one
    return torch is not None and isinstance(x, torch.Tensor)


def without_gradients(x: Array) -> AbstractContextManager[Any]:
    """Return a context in which PyTorch records nothing."""
    return sys.modules["torch"].no_grad() if _is_tensor(x) else nullcontext()


def progress(steps: Iterable[int], disable: bool | None) -> Iterable[int]:
    """Return the steps, with a bar if it is asked for."""
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
