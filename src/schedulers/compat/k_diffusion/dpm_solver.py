"""`sample_dpm_fast` and `sample_dpm_adaptive`: DPM-Solver from one sigma to another."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import count, pairwise
from typing import Any

import numpy as np

from schedulers import _checks
from schedulers.compat.k_diffusion.ancestral import lower, noised
from schedulers.compat.k_diffusion.arguments import (
    Array,
    Call,
    Callback,
    Model,
    NoiseSampler,
    amount,
    ends,
    level,
)
from schedulers.compat.k_diffusion.running import (
    draw,
    progress,
    run,
    sampler_for,
    without_gradients,
)
from schedulers.engine.arrays import SILENT, cast, weighted_sum
from schedulers.engine.state import State, advance
from schedulers.engine.tableau import Stage, Tableau
from schedulers.methods.dpm_solver import dpm_solver_rows, second_order_step
from schedulers.methods.multistep import step_orders
from schedulers.schedules.base import Level

# Added to an error, so that the next step is finite where there is none.
_LEAST = 1e-8
# Length in log sigma that is left to the end at which an adaptive run is over.
_NEAR = 1e-5
# Steps of an adaptive run, at most.
_MOST = 10_000


def sample_dpm_fast(
    model: Model,
    x: Array,
    sigma_min: float,
    sigma_max: float,
    n: int,
    extra_args: Mapping[str, Any] | None = None,
    callback: Callback | None = None,
    disable: bool | None = None,
    eta: float = 0.0,
    s_noise: float = 1.0,
    noise_sampler: NoiseSampler | None = None,
) -> Array:
    """Run DPM-Solver-fast (Lu et al. 2022, section 3.4): `DPMSolver`, singlestep.

    There are n // 3 + 1 steps of equal length in log sigma. They are of order 3, except that the
    last two are of orders 2 and 1 if n % 3 is 0, and the last one is of order n % 3 otherwise.

    Parameters
    ----------
    model, x, extra_args, disable, noise_sampler
        As for `sample_euler`.
    sigma_min, sigma_max : float
        Where the run ends and where it begins, both positive; it may rise.
    n : int
        Number of model evaluations.
    callback : callable, optional
        As for `sample_euler`; the dict has ``t`` and ``t_up`` as well, minus the logarithms of
        ``sigma`` and ``sigma_hat``.
    eta : float
        At least 0; each step goes to the lower level of `sample_euler_ancestral`, but to no less
        than `sigma_min`, and noise is added. 0 in a run that rises.
    s_noise : float
        Factor on the standard deviation of the noise that is added, at least 0.

    Returns
    -------
    array, shape, dtype and kind of `x`
        The sample at `sigma_min`.

    Raises
    ------
    TypeError, ValueError, ImportError
        As for `sample_euler`.

    Examples
    --------
    >>> import numpy as np
    >>> def model(x, sigma):
    ...     return x / (1.0 + sigma[:, None] ** 2)  # the exact denoiser of N(0, 1)
    >>> x = 80.0 * np.array([[1.0, -0.5]])
    >>> sample_dpm_fast(model, x, 0.01, 80.0, 30).round(2)
    array([[ 1. , -0.5]])
    """
    first, last = ends(sigma_min, sigma_max)
    n, eta = _checks.count("n", n), amount(eta, (first, last))
    if callback is not None:
        _checks.function("callback", callback, "(info)")
    told = None if callback is None else lambda info: callback({**info, **_times(info)})
    call = Call(model, x, extra_args, told, disable, s_noise, noise_sampler)
    if first == last:
        return run(None, call, ())
    sigmas = np.geomspace(first, last, n // 3 + 2)
    levels, rows = tuple(map(level, sigmas.tolist())), list[Stage]()
    orders = step_orders(n // 3 + 1, 3, (n % 3,) if n % 3 else (2, 1))
    for (now, then), order in zip(pairwise(levels), orders, strict=True):
        down, up = lower(now, then, eta, last) if eta else (then, 0.0)
        rows += noised(dpm_solver_rows((now, down), order, level), up)
    return run(Tableau("DPMSolver", levels, tuple(rows)), call, sigmas)


def _times(info: dict[str, Any]) -> dict[str, float]:
    """Return the times of a step's sigmas."""
    return {"t": -math.log(info["sigma"]), "t_up": -math.log(info["sigma_hat"])}


def sample_dpm_adaptive(
    model: Model,
    x: Array,
    sigma_min: float,
    sigma_max: float,
    extra_args: Mapping[str, Any] | None = None,
    callback: Callback | None = None,
    disable: bool | None = None,
    order: int = 3,
    rtol: float = 0.05,
    atol: float = 0.0078,
    h_init: float = 0.05,
    pcoeff: float = 0.0,
    icoeff: float = 1.0,
    dcoeff: float = 0.0,
    accept_safety: float = 0.81,
    eta: float = 0.0,
    s_noise: float = 1.0,
    noise_sampler: NoiseSampler | None = None,
    return_info: bool = False,
) -> Array:
    """Run DPM-Solver-12 or -23, whose steps depend on the data (Lu et al. 2022, appendix C).

    This is the one sampler here whose levels are not known before a run, so it has no tableau. A
    step of length h in log sigma is taken in two orders, by the same evaluations. Their difference
    is the error, in units of what is allowed, as a root mean square over the whole batch:

        error = rms((x_low - x_high) / max(atol, rtol max(abs(x_low), abs(x_before)))).

    With q = 1 / error of this step, and q_1 and q_2 of the two accepted before, a PID controller
    makes h longer by

        f = 1 + atan(q**b_1 q_1**b_2 q_2**b_3 - 1),
        b_1 = (p + i + d) / k,    b_2 = -(p + 2 d) / k,    b_3 = d / k,

    with k the order. If f is less than `accept_safety`, the step is taken again. As the error is
    the batch's, a sample depends on the others in it.

    Parameters
    ----------
    model, x, extra_args, disable, noise_sampler
        As for `sample_euler`. Noise is asked for when a step is accepted.
    sigma_min, sigma_max : float
        Where the run ends and where it begins, both positive; it may rise.
    callback : callable, optional
        Called after every step, accepted or not, with a dict of ``x``, ``i``, ``sigma``,
        ``sigma_hat``, ``t``, ``t_up``, ``denoised``, ``error``, ``h``, and the entries of `info`:
        the sample and its sigma after the step, what the model first returned in it, its error, and
        the length of the next step. t is minus the logarithm of sigma.
    order : int
        Order of the sample, 2 or 3, and number of evaluations a step.
    rtol, atol : float
        Allowed error, relative to the sample, at least 0, and absolute, positive.
    h_init : float
        Length of the first step in log sigma, not 0.
    pcoeff, icoeff, dcoeff : float
        p, i and d.
    accept_safety : float
        Least f for which a step is accepted.
    eta, s_noise : float
        As for `sample_dpm_fast`. With noise k is 1.5.
    return_info : bool
        Whether to return what the run took.

    Returns
    -------
    array, shape, dtype and kind of `x`
        The sample at `sigma_min`. With `return_info` (sample, info), where info is a dict of the
        numbers ``steps``, ``nfe`` (evaluations), ``n_accept`` and ``n_reject``.

    Raises
    ------
    TypeError, ValueError, ImportError
        As for `sample_euler`.
    RuntimeError
        If the steps become too small for float64, or more than 10 000.

    References
    ----------
    Lu et al.: DPM-Solver, NeurIPS 2022. Söderlind: Digital filters in adaptive time-stepping, ACM
    Transactions on Mathematical Software 29, 2003, for the controller. Söderlind, Wang: Adaptive
    time-stepping and computational stability, Journal of Computational and Applied Mathematics 185,
    2006, for the arctangent.

    Examples
    --------
    >>> import numpy as np
    >>> def model(x, sigma):
    ...     return x / (1.0 + sigma[:, None] ** 2)  # the exact denoiser of N(0, 1)
    >>> x = 80.0 * np.array([[1.0, -0.5]])
    >>> options = {"rtol": 1e-3, "atol": 1e-4, "return_info": True}
    >>> x_0, info = sample_dpm_adaptive(model, x, 0.01, 80.0, **options)
    >>> x_0.round(2)
    array([[ 1. , -0.5]])
    >>> sorted(info)
    ['n_accept', 'n_reject', 'nfe', 'steps']
    """
    (first, last), order = ends(sigma_min, sigma_max), _checks.between("order", order, 2, 3)
    eta = amount(eta, (first, last))
    rtol = _checks.real("rtol", rtol, at_least=0.0)
    atol = _checks.real("atol", atol, above=0.0)
    control = _Controller.checked(
        h_init, pcoeff, icoeff, dcoeff, accept_safety, 1.5 if eta else float(order)
    )
    call = Call(model, x, extra_args, callback, disable, s_noise, noise_sampler)
    _checks.boolean("return_info", return_info)
    carried, dtype = call.begin()
    sampler = sampler_for(call, carried, bool(eta))
    info = {"steps": 0, "nfe": 0, "n_accept": 0, "n_reject": 0}
    now, before = level(first), carried
    with without_gradients(x):
        for step in progress(count(), disable):
            if step == _MOST:
                raise _given_up(f"are more than {_MOST}", now)
            left = math.log(now.sigma / last)
            if abs(left) <= _NEAR:
                break
            then = _next(now, last, math.copysign(control.h, left))
            down, up = lower(now, then, eta, last) if eta else (then, 0.0)
            denoised, low, high = _attempt(call, carried, dtype, now, down, order)
            error = _error(low, high, before, atol, rtol)
            accepted = control.accepts(error)
            if accepted:
                before, carried = low, high
                if up:
                    z = draw(sampler, now.sigma, then.sigma, carried)
                    carried = weighted_sum([(1.0, carried), (up * call.s_noise, z)])
                now = then
            info["steps"] += 1
            info["nfe"] += order
            info["n_accept" if accepted else "n_reject"] += 1
            if callback is not None:
                sigmas = {"sigma": now.sigma, "sigma_hat": now.sigma}
                told = {"x": cast(carried * 1.0, dtype), "i": step, **sigmas, **_times(sigmas)}
                told |= {"denoised": cast(denoised, dtype), "error": error}
                callback({**told, "h": math.copysign(control.h, left), **info})
    sample = cast(carried, dtype)
    return (sample, info) if return_info else sample


@dataclass
class _Controller:
    """Length of the next step, and what it depends on."""

    h: float
    exponents: tuple[float, float, float]
    safety: float
    past: tuple[float, float] | None = None

    @classmethod
    def checked(
        cls, h_init: float, p: float, i: float, d: float, safety: float, order: float
    ) -> _Controller:
        h = abs(_checks.real("h_init", h_init))
        if not h:
            raise ValueError(f"h_init must not be 0, got {h_init!r}")
        p, i, d = (
            _checks.real(name, given, at_least=-10.0, at_most=10.0)
            for name, given in (("pcoeff", p), ("icoeff", i), ("dcoeff", d))
        )
        exponents = (p + i + d) / order, -(p + 2.0 * d) / order, d / order
        return cls(h, exponents, _checks.real("accept_safety", safety, at_most=1.0))

    def accepts(self, error: float) -> bool:
        """Change h by the error of a step, and say whether the step is accepted."""
        q = 1.0 / (error + _LEAST)
        one, two = self.past = self.past or (q, q)
        b = self.exponents
        factor = 1.0 + math.atan(q ** b[0] * one ** b[1] * two ** b[2] - 1.0)
        self.h *= factor
        if factor < self.safety:
            return False
        self.past = q, one
        return True


def _next(now: Level, last: float, h: float) -> Level:
    """Return the level a step of length h away in log sigma, but not beyond the last."""
    if abs(h) >= abs(math.log(now.sigma / last)):
        return level(last)
    then = level(now.sigma * math.exp(-h))
    if then == now:
        raise _given_up("have become too small for float64", now)
    return then


def _given_up(steps: str, now: Level) -> RuntimeError:
    return RuntimeError(
        f"the steps {steps} at sigma={now.sigma:g}: the model's output changes too fast there for "
        f"rtol and atol"
    )


def _attempt(
    call: Call, carried: Array, dtype: Any, now: Level, then: Level, order: int
) -> tuple[Array, Array, Array]:
    """Return the first denoised estimate, and the next sample in the order below and in `order`."""
    low, high = (
        State(Tableau("DPMSolver", (now, then), tuple(rows)), 0, carried, dtype)
        for rows in _pair(now, then, order)
    )
    denoised = None
    while not high.done:
        output = call.evaluate(high)
        if denoised is None:
            denoised = output * 1.0  # the next call may write over it
        high = SILENT.copy().run(advance, high, output, "sample", None, None, False)
        if not low.done:
            low = SILENT.copy().run(advance, low, output, "sample", None, None, False)
    return denoised, low.carried, high.carried


def _pair(now: Level, then: Level, order: int) -> tuple[Iterator[Stage], Iterator[Stage]]:
    """Return the rows of a step in two orders; the first evaluations are those of both."""
    rows = dpm_solver_rows((now, then), order, level)
    if order == 2:
        return dpm_solver_rows((now, then), 1, level), rows
    third = level(now.sigma ** (2 / 3) * then.sigma ** (1 / 3))
    return second_order_step(now, third, then, 1 / 3), rows


def _error(low: Array, high: Array, before: Array, atol: float, rtol: float) -> float:
    low, high, before = map(_values, (low, high, before))
    if not low.size:
        return 0.0
    with np.errstate(over="ignore"):
        allowed = np.maximum(atol, rtol * np.maximum(abs(low), abs(before)))
        return math.sqrt(np.mean(((low - high) / allowed) ** 2))


def _values(array: Array) -> Any:
    """Return an array's numbers in float64."""
    if hasattr(array, "detach"):  # PyTorch, on any device
        array = array.detach().cpu()
    return np.asarray(array, np.float64)
