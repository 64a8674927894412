"""Wrappers that make a denoiser from a network.

A scheduler calls ``denoiser(x, t)``. A network often needs other input: its time as a vector
(`per_sample`), x at unit variance (`Preconditioned`), or guidance towards a class (`Guided`, or
`GuidedBatch` in one call). Each wrapper is a small callable for arrays of any library. You can nest
them:

>>> from schedulers import Heun, VESchedule
>>> def network(x, c_noise, label):  # a stand-in
...     return 0.1 * x + 0.01 * label
>>> scheduler = Heun(VESchedule(), prediction_type="sample")
>>> denoiser = Guided(
...     Preconditioned(lambda x, c_noise: network(x, c_noise, 7), EDM(sigma_data=0.5)),
...     Preconditioned(lambda x, c_noise: network(x, c_noise, 10), EDM(sigma_data=0.5)),
...     scale=2.0,
... )
>>> x_0 = scheduler.sample(denoiser, scheduler.initial_noise((4, 3), 18, rng=0), 18)
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from schedulers import _checks
from schedulers.engine import arrays
from schedulers.engine.parameterization import PREDICTION_TYPES, coefficients
from schedulers.engine.tableau import Tableau
from schedulers.schedules.base import NoiseSchedule
from schedulers.schedules.continuous import VESchedule

if TYPE_CHECKING:
    Array = Any
    Denoiser = Callable[[Array, float], Array]


def per_sample(t: float, x: Array, dtype: Any = None) -> Array:
    """Return t as a vector with one entry per sample, in the library and on the device of x.

    Parameters
    ----------
    t : float
        The model's time.
    x : array, shape (n, ...)
        The sample.
    dtype : dtype, optional
        dtype of the vector, such as ``np.int64`` or ``torch.long``; by default that of x. float16
        has every integer only up to 2048, and bfloat16 only up to 256.

    Returns
    -------
    array, shape (n,)

    Raises
    ------
    TypeError
        If `x` is not an array of NumPy, PyTorch or the array API.
    ValueError
        If `x` has no axis 0, or if `dtype` is an integer type and `t` is not a whole number.

    Examples
    --------
    >>> per_sample(999, np.zeros((2, 1, 8, 8), np.float32))
    array([999., 999.], dtype=float32)
    """
    if not hasattr(x, "shape"):
        raise TypeError(f"x must be an array, got {_checks.shown(x)}")
    if len(x.shape) == 0:
        raise ValueError("x must have its samples along axis 0, got a single number")
    t = _one_number(t)
    dtype = getattr(x, "dtype", None) if dtype is None else dtype
    n = (x.shape[0],)
    if isinstance(x, np.ndarray):
        dtype = _numeric(dtype)
        if dtype.kind in "iu":
            t = _whole(t, dtype)
            if not np.iinfo(dtype).min <= t <= np.iinfo(dtype).max:
                raise ValueError(f"t must be a number that dtype {dtype} holds, got {t!r}")
        result = arrays.SILENT.copy().run(np.full, n, t, dtype)
        if not np.isfinite(result).all():
            raise ValueError(f"t must be a number that dtype {dtype} holds, got {t!r}")
        return result
    if any(kind in str(dtype) for kind in ("bool", "complex")):
        raise TypeError(f"dtype, or that of x, must be of real numbers, got {dtype}")
    if "int" in str(dtype):
        t = _whole(t, dtype)
    if hasattr(x, "new_full"):  # PyTorch
        return x.new_full(n, t, dtype=dtype)
    if hasattr(x, "__array_namespace__"):
        return x.__array_namespace__().full(n, t, dtype=dtype)
    raise TypeError(
        f"x must be an array of NumPy, PyTorch or the array API, got {type(x).__name__}"
    )


@dataclass(frozen=True)
class Guided:
    """Classifier-free guidance (Ho & Salimans 2022, eq. 6).

    With w = scale - 1, the output is

        (1 + w) conditional(x, t) - w unconditional(x, t).

    It works for every prediction type and guides each in the same way, because D and the noise
    estimate are affine in the output. If the model also returns a learned variance, write your own
    callable: guide the prediction and leave the variance as it is.

    Parameters
    ----------
    conditional, unconditional : callable
        ``denoiser(x, t)`` with the condition, and with none or a negative one.
    scale : float
        1 + w, the usual "guidance scale": 0 is the unconditional model, 1 is the conditional one,
        and more is stronger guidance. At 0 and at 1 only that one model is evaluated.

    Raises
    ------
    TypeError, ValueError
        If an argument has the wrong type or value. A call raises if the two outputs differ in
        shape.

    Examples
    --------
    >>> guided = Guided(lambda x, t: 0.5 * x, lambda x, t: 0.25 * x, scale=3.0)
    >>> guided(np.array([4.0]), 1.0)
    array([4.])
    """

    conditional: Denoiser
    unconditional: Denoiser
    scale: float

    def __post_init__(self) -> None:
        _checks.function("conditional", self.conditional, "(x, t)")
        _checks.function("unconditional", self.unconditional, "(x, t)")
        _checks.settle(self, "scale")

    def __call__(self, x: Array, t: float) -> Array:
        """Return the guided output."""
        if self.scale == 1.0:
            return self.conditional(x, t)
        if self.scale == 0.0:
            return self.unconditional(x, t)
        arrays.check_floats("x", x)
        # The second network gets x as it was, and may write its output over the first one's.
        towards = self.conditional(x * 1.0, t)
        _check_floats("the conditional output", towards)
        with np.errstate(over="ignore", invalid="ignore"):
            towards = towards * self.scale
        away = self.unconditional(x, t)
        _check_output("the unconditional output", away, towards)
        with np.errstate(over="ignore", invalid="ignore"):
            return towards + away * (1.0 - self.scale)


@dataclass(frozen=True)
class GuidedBatch:
    """Classifier-free guidance by one call on a doubled batch, as exported UNets want it.

    The network gets every sample twice along axis 0: x without the condition, and then x with it,
    in the order of diffusers' pipelines. The output is that of `Guided`.

    Parameters
    ----------
    network : callable
        ``network(x, t)`` for the doubled batch: its conditions are for the samples without a
        condition first, and then for those with it.
    scale : float
        As for `Guided`. The network is called on both halves at every scale.

    Raises
    ------
    TypeError, ValueError
        If an argument has the wrong type or value. A call raises if x has no axis 0, or if the
        output has not the shape of the doubled batch.

    Examples
    --------
    >>> def network(x, t):
    ...     said = np.array([[0.25], [0.25], [0.5], [0.5]])  # for two samples: none, then the class
    ...     return said * x
    >>> GuidedBatch(network, scale=3.0)(np.array([[4.0], [8.0]]), 1.0)
    array([[4.],
           [8.]])
    """

    network: Denoiser
    scale: float

    def __post_init__(self) -> None:
        _checks.function("network", self.network, "(x, t)")
        _checks.settle(self, "scale")

    def __call__(self, x: Array, t: float) -> Array:
        """Return the guided output."""
        arrays.check_floats("x", x)
        if len(x.shape) == 0:
            raise ValueError("x must have its samples along axis 0, got a single number")
        n, doubled = x.shape[0], arrays.concatenated([x, x])
        output = self.network(doubled, t)
        _check_output("the network's output", output, doubled)
        with np.errstate(over="ignore", invalid="ignore"):
            return output[n:] * self.scale + output[:n] * (1.0 - self.scale)


@dataclass(frozen=True)
class ReversedFlow:
    """Denoiser of a flow that was trained the other way: noise at t = 0 and data at t = 1.

    Such a network is told 1 - t, and returns the velocity towards the data, x_0 - eps: the opposite
    sign of "flow" here, eps - x_0. A wrong sign or a wrong time raises no error, but the samples
    are noise. Use it with ``FlowSchedule()`` and ``prediction_type="flow"``.

    Parameters
    ----------
    network : callable
        ``network(x, t)``, with t from 0 at the noise to 1 at the data.

    Raises
    ------
    TypeError
        If `network` is not callable; by the call, if it returns no array of floats.

    Examples
    --------
    >>> from schedulers import DDIM, FlowSchedule
    >>> def network(x, t):  # the data is a point at 3, and t = 0 is noise
    ...     return (3.0 - x) / (1.0 - t)
    >>> scheduler = DDIM(FlowSchedule(), prediction_type="flow")
    >>> scheduler.sample(ReversedFlow(network), np.array([-0.5, 1.0]), steps=4)
    array([3., 3.])
    """

    network: Denoiser

    def __post_init__(self) -> None:
        _checks.function("network", self.network, "(x, t)")

    def __call__(self, x: Array, t: float) -> Array:
        """Return the velocity from data to noise."""
        arrays.check_floats("x", x)
        output = self.network(x, 1.0 - _one_number(t))
        _check_floats("the network's output", output)
        return output * -1.0


@dataclass(frozen=True)
class CFGPlusPlus:
    """Manifold-constrained guidance, CFG++ (Chung et al. 2024), for one run of a scheduler.

    The paper's step takes D from the guided output and e from the unconditional one (Algorithm 2):

        x' = a D_guided + b e_uncond,      D_guided = D_uncond + scale (D_cond - D_uncond),

    with alpha' and sigma' for a and b in DDIM. D and e of a single output have
    x = alpha D + sigma e. The output that gives the same x' is guided by `Guided` with the scale

        w = scale a / (a - b alpha / sigma),

    which is scale / (1 - s' / s) in DDIM, with s Karras's sigma. So CFG++ is classifier-free
    guidance with a scale that depends on the level, and all schedulers whose rows weigh no earlier
    estimates take it: `DDIM`, `DDPM`, `Euler` and `EulerAncestral`, `FlowAncestral`, `LCM`, `TCD`.
    `State.denoised` is D of that output, and only at the end of a run is it D_guided.

    Parameters
    ----------
    conditional, unconditional : callable
        ``denoiser(x, t)`` for the condition, and for none or a negative one.
    scale : float
        The paper's lambda: 0 is the unconditional model; about 0 to 1 is used.
    tableau : Tableau
        Rows of the run, such as ``scheduler.tableau(steps)``: the weights a and b at each time.

    Raises
    ------
    TypeError, ValueError
        If a parameter has the wrong type, or if a row weighs an earlier estimate; by the call, at a
        time that is none of the run's, or if the two outputs differ in shape.

    References
    ----------
    Chung, Kim, Park, Nam, Ye: CFG++: Manifold-Constrained Classifier Free Guidance for Diffusion
    Models, ICLR 2025.

    Examples
    --------
    >>> from schedulers import DDIM, VESchedule
    >>> scheduler = DDIM(VESchedule(), prediction_type="sample")
    >>> sigmas = [4.0, 2.0, 0.0]
    >>> guided = CFGPlusPlus(
    ...     lambda x, t: 0.5 * x, lambda x, t: 0.25 * x, 0.5, scheduler.tableau(sigmas=sigmas)
    ... )
    >>> scheduler.sample(guided, np.array([8.0]), sigmas=sigmas)  # 8 to 3 + 2 * 1.5, that to 2.25
    array([2.25])
    """

    conditional: Denoiser
    unconditional: Denoiser
    scale: float
    tableau: Tableau

    def __post_init__(self) -> None:
        _checks.function("conditional", self.conditional, "(x, t)")
        _checks.function("unconditional", self.unconditional, "(x, t)")
        _checks.settle(self, "scale")
        if not isinstance(self.tableau, Tableau):
            raise TypeError(f"tableau must be a Tableau, got {_checks.shown(self.tableau)}")
        if any(len(stage.a) > 1 or len(stage.b) > 1 for stage in self.tableau.stages):
            raise ValueError(
                f"tableau must be of a scheduler whose rows weigh no earlier estimates, such as "
                f"DDIM's, got one of {self.tableau.method}"
            )

    def __call__(self, x: Array, t: float) -> Array:
        """Return the output guided for the row at this time."""
        arrays.check_floats("x", x)
        return Guided(self.conditional, self.unconditional, self.guidance(t))(x, t)

    def guidance(self, t: float) -> float:
        """Scale of `Guided` at a time of the run.

        Parameters
        ----------
        t : float
            The model's time.

        Returns
        -------
        float

        Raises
        ------
        ValueError
            If the run does not evaluate the model at this time.

        Examples
        --------
        >>> from schedulers import DDIM, VESchedule
        >>> rows = DDIM(VESchedule()).tableau(sigmas=[4.0, 3.0, 0.0])
        >>> guided = CFGPlusPlus(lambda x, t: x, lambda x, t: -x, 0.6, rows)
        >>> [round(guided.guidance(t), 6) for t in (4.0, 3.0)]
        [2.4, 0.6]
        """
        time = _one_number(t)
        for stage in self.tableau.stages:
            if stage.level.t == time:
                (_, alpha, sigma), (a, *_), (b, *_) = stage.level, stage.a, stage.b
                return self.scale * a / (a - b * alpha / sigma)
        raise ValueError(f"t must be a time of the tableau's run, got {_checks.shown(t)}")


class Scales(NamedTuple):
    """Coefficients of a network's input and output at one noise level (Karras et al., eq. 7)."""

    c_skip: float
    c_out: float
    c_in: float
    c_noise: float


@dataclass(frozen=True)
class EDM:
    """Preconditioning of EDM (Karras et al. 2022, Table 1, last column).

    With s Karras's sigma and d = sigma_data,

        c_skip = d**2 / (s**2 + d**2),      c_out = s d / sqrt(s**2 + d**2),
        c_in = 1 / sqrt(s**2 + d**2),       c_noise = log(s) / 4.

    Parameters
    ----------
    sigma_data : float
        Standard deviation of the data, positive.

    Raises
    ------
    TypeError, ValueError
        If `sigma_data` is not a positive real number.

    Examples
    --------
    >>> [round(c, 4) for c in EDM(sigma_data=0.5)(0.5)]
    [0.5, 0.3536, 1.4142, -0.1733]
    """

    sigma_data: float = 0.5

    def __post_init__(self) -> None:
        _checks.settle(self, "sigma_data", above=0.0)

    def __call__(self, sigma: float) -> Scales:
        """Return the scales at a Karras sigma, which must be above 0."""
        _checks.real("sigma", sigma, above=0.0)
        d, norm = self.sigma_data, math.hypot(sigma, self.sigma_data)
        return Scales((d / norm) ** 2, sigma * (d / norm), 1.0 / norm, 0.25 * math.log(sigma))


@dataclass(frozen=True)
class VE:
    """Preconditioning of the VE networks of Song et al. 2021 (Karras et al. 2022, Table 1, "VE").

    c_skip = 1, c_out = s, c_in = 1, c_noise = log(s / 2), with s Karras's sigma. The network
    predicts -eps.

    Examples
    --------
    >>> VE()(2.0)
    Scales(c_skip=1.0, c_out=2.0, c_in=1.0, c_noise=0.0)
    """

    def __call__(self, sigma: float) -> Scales:
        """Return the scales at a Karras sigma, which must be above 0."""
        _checks.real("sigma", sigma, above=0.0)
        return Scales(1.0, sigma, 1.0, math.log(sigma) - math.log(2.0))


@dataclass(frozen=True)
class Trained:
    """Scales of a network that was trained on another schedule, for any prediction type.

    The network sees x at the scale of its own schedule, c_in = alpha, and the time of its own
    schedule, c_noise = t, at the level where sigma / alpha is Karras's sigma s. For "epsilon",
    c_skip = 1 and c_out = -s. On a `VPSchedule`, c_in is then 1 / sqrt(s**2 + 1), as in Karras et
    al. 2022, Table 1, "VP", where c_noise is 999 t instead.

    Parameters
    ----------
    schedule : NoiseSchedule
        Schedule that the network was trained with.
    prediction_type : str
        What it returns: "epsilon", "sample", "v_prediction", "score" or "flow".

    Raises
    ------
    TypeError, ValueError
        If an argument has the wrong type or value. A call raises if `schedule` does not reach the
        sigma.

    Examples
    --------
    >>> from schedulers import FlowSchedule
    >>> Trained(FlowSchedule(), "flow")(3.0)
    Scales(c_skip=0.25, c_out=-0.75, c_in=0.25, c_noise=0.75)
    """

    schedule: NoiseSchedule
    prediction_type: str = "epsilon"

    def __post_init__(self) -> None:
        _check_schedule(self.schedule)
        _checks.choice("prediction_type", self.prediction_type, PREDICTION_TYPES)

    def __call__(self, sigma: float) -> Scales:
        """Return the scales at one of Karras's sigmas."""
        level = self.schedule.level(sigma)
        k = coefficients(self.prediction_type, level.alpha, level.sigma)
        return Scales(k.denoised_x * level.alpha, k.denoised_output, level.alpha, level.t)


@dataclass(frozen=True)
class Preconditioned:
    """Denoiser made from a raw network F (Karras et al. 2022, eq. 7).

    With y = x / alpha and Karras's sigma s = sigma / alpha, it returns

        D = c_skip(s) y + c_out(s) F(c_in(s) y, c_noise(s)),

    so give the scheduler ``prediction_type="sample"``. t may also be a vector with the same time
    for every sample, so a `Preconditioned` is a model for `schedulers.compat.k_diffusion`, too.

    Parameters
    ----------
    network : callable
        ``network(x, c_noise)``, where c_noise is a vector with one entry per sample. Classes and
        other conditions go into the callable.
    scales : callable
        Function from Karras's sigma to `Scales`: an `EDM`, a `VE`, a `Trained` or your own.
    schedule : NoiseSchedule, optional
        Schedule of the scheduler that calls the denoiser. By default `VESchedule()`, where t is
        Karras's sigma itself.

    Raises
    ------
    TypeError, ValueError
        If a parameter has the wrong type; by the call, if t is outside the schedule or not between
        alpha = 0 and the clean level, or if the network's output has another shape than x.

    Examples
    --------
    A network that was trained on betas, run on Karras's sigmas:

    >>> from schedulers import DDIM, DiscreteSchedule, VESchedule, karras_sigmas, linear_betas
    >>> def network(x, t):
    ...     return 0.1 * x
    >>> betas = DiscreteSchedule(linear_betas(1000))
    >>> denoiser = Preconditioned(network, Trained(betas, "epsilon"))
    >>> scheduler = DDIM(VESchedule(), prediction_type="sample")
    >>> x_T = 80.0 * np.ones((1, 3))
    >>> x_0 = scheduler.sample(denoiser, x_T, sigmas=karras_sigmas(20, 0.05, 80.0))
    """

    network: Callable[[Array, Array], Array]
    scales: Callable[[float], Scales]
    schedule: NoiseSchedule = field(default_factory=VESchedule)

    def __post_init__(self) -> None:
        _checks.function("network", self.network, "(x, c_noise)")
        _checks.function("scales", self.scales, "(sigma)")
        _check_schedule(self.schedule)

    def __call__(self, x: Array, t: Array) -> Array:
        """Return D, the denoised estimate."""
        arrays.check_floats("x", x)
        t = _one_time(t)
        alpha, sigma = self.schedule.alpha(t), self.schedule.sigma(t)
        if not (alpha > 0.0 and sigma > 0.0):
            raise ValueError(
                f"t must be a time with alpha and sigma above 0, got {_checks.shown(t)} with "
                f"alpha = {alpha:g} and sigma = {sigma:g}"
            )
        scales = self.scales(sigma / alpha)
        if not (isinstance(scales, tuple) and len(scales) == len(Scales._fields)):
            raise TypeError(
                f"scales must return {', '.join(Scales._fields)} for a sigma, as EDM() does, "
                f"got {_checks.shown(scales)}"
            )
        c_skip, c_out, c_in, c_noise = scales
        with np.errstate(over="ignore", invalid="ignore"):
            scaled, kept = x * (c_in / alpha), x * (c_skip / alpha)
        output = self.network(scaled, per_sample(c_noise, x))
        _check_output("the network's output", output, x)
        with np.errstate(over="ignore", invalid="ignore"):
            return kept + output * c_out


def _one_number(t: Any) -> float:
    """Return a time as a Python number, an integer as an int."""
    if type(t) is float:
        return _checks.real("t", t)
    if isinstance(t, (int, np.integer)) and not isinstance(t, bool) and abs(int(t)) < 2**53:
        return int(t)
    if hasattr(t, "item") and getattr(t, "shape", None) == ():
        t = t.item()
    return _checks.real("t", t)


def _whole(t: float, dtype: Any) -> int:
    """Return a time as an int, or refuse it."""
    if t != int(t):
        raise ValueError(
            f"t must be a whole number for dtype {dtype}, got {t!r}: give the scheduler a spacing "
            f"of whole times, such as 'trailing' or schedulers.grids.whole, or a floating dtype"
        )
    return int(t)


def _numeric(dtype: Any) -> np.dtype[Any]:
    """Return a NumPy dtype of real numbers."""
    try:
        made: np.dtype[Any] = np.dtype(dtype)
    except Exception:  # what NumPy raises depends on what it tried
        made = np.dtype(object)
    if made.kind not in "iuf" and made.name != "bfloat16":
        raise TypeError(f"dtype, or that of x, must be of real numbers, got {_checks.shown(dtype)}")
    return made


def _one_time(t: Array) -> Any:
    if len(getattr(t, "shape", ())) != 1:
        return _one_number(t)
    times: list[float] = t.tolist()
    if len(set(times)) == 1:
        return _one_number(times[0])
    raise ValueError(
        f"t must be one time, or the same time for every sample, got {_checks.shown(times)}"
    )


def _check_schedule(schedule: object) -> None:
    if not isinstance(schedule, NoiseSchedule):
        raise TypeError(f"schedule must be a NoiseSchedule, got {_checks.shown(schedule)}")


def _check_output(name: str, array: Array, like: Array) -> None:
    if tuple(getattr(array, "shape", ())) != tuple(like.shape):
        raise ValueError(
            f"{name} must have shape {tuple(like.shape)}, "
            f"got {tuple(array.shape) if hasattr(array, 'shape') else _checks.shown(array)}"
        )
    _check_floats(name, array)


def _check_floats(name: str, array: Array) -> None:
    if not isinstance(array, np.floating):  # what NumPy makes of arrays without axes
        arrays.check_floats(name, array)
