"""The exact density along the probability flow."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from schedulers import _checks
from schedulers.analytic import Gaussian
from schedulers.analytic.distribution import scales
from schedulers.engine import arrays
from schedulers.engine.noise import Noise, Place
from schedulers.engine.parameterization import PREDICTION_TYPES, check_defined, coefficients
from schedulers.likelihood.samples import checked, difference, per_sample
from schedulers.schedules.base import Level, NoiseSchedule

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from schedulers.engine.noise import RandomSource

    Array = Any
    Denoiser = Callable[[Array, float], Array]
    Floats = NDArray[np.float64]

# Steps of the flow's solver resolve positions on the scale of the first level's noise, but no finer
# than this part of the last one's.
_FINEST = 1e-3
# Time of the straight path below which no first step from the clean level is tried.
_FIRST = 1e-9
# float64 holds squares of errors in units of the tolerance.
FINEST_TOLERANCE = 1e-30
# Most rates of change that a flow is followed by. A smooth one takes some hundreds; thousands are
# taken where the tolerance is below what rounding leaves of the divergence.
_MOST = 10_000


@dataclass(frozen=True, eq=False)
class FlowLikelihood:
    """Log density of n samples along the probability flow.

    Attributes
    ----------
    log_prob : ndarray of float64, shape (n,)
        In nats, of the sample at its own scale.
    latent : ndarray of float64, shape ``(n, *event_shape)``
        x_T: where the flow takes the sample at the noisiest level.
    nfe : int
        Number of calls of the model, and of `jvp`, each with a whole batch.
    """

    log_prob: Floats
    latent: Floats
    nfe: int

    @property
    def bits_per_dimension(self) -> Floats:
        """Negative log density in bits per dimension, shape (n,)."""
        return np.asarray(-self.log_prob / (self.latent[0].size * math.log(2.0)))

    def __str__(self) -> str:
        n, dimensions = len(self.log_prob), self.latent[0].size
        return (
            f"log p = {self.log_prob.mean():.6g} nats, {self.bits_per_dimension.mean():.6g} "
            f"bits/dim{' on average' * (n > 1)}; {n} sample{'s' * (n > 1)} in {dimensions} "
            f"dimension{'s' * (dimensions > 1)}, {self.nfe} model evaluations"
        )


def log_likelihood(
    schedule: NoiseSchedule,
    denoiser: Denoiser,
    x: Array,
    t_from: float | None = None,
    t_to: float | None = None,
    *,
    prediction_type: str = "epsilon",
    probes: int | None = None,
    jvp: Callable[[Array, float, Array], Array] | None = None,
    rng: RandomSource = None,
    tolerance: float | None = None,
) -> FlowLikelihood:
    """Exact log density of samples under the probability flow from N(0, sigma**2 I) at `t_to`.

    Along the flow the log density changes by the divergence (Song et al. 2021, eq. 39). Here it
    runs in w = x / (alpha + sigma) with u = sigma / (alpha + sigma), in which every path is the
    straight one, w = (1 - u) x_0 + u eps, and the ODE is

        dw/du = e - D,      d log p(w)/du = -div (e - D).

    Both are finite at alpha = 0 and at sigma = 0. The scale has its own determinant,
    log p(x) = log p(w) - d log(alpha + sigma). The solver is SciPy's DOP853, of order 8 with steps
    of its own choice.

    The divergence is the sum of the model's derivatives along the d axes, two evaluations each: a
    central difference over cbrt(eps) sigma to each side, which in float64 tells a derivative to
    about 1e-10 of its size, and to less where x is much larger than sigma; or one call of `jvp`.
    With `probes` it is Hutchinson's estimator, the mean of v . J v over that many v of independent
    signs, which stay the same all along: then the log density is right on average over `rng`, not
    for a single one.

    Parameters
    ----------
    schedule : NoiseSchedule
        The path that the model is for.
    denoiser : callable
        ``denoiser(x, t)`` returns the model's output, as for `Scheduler.step`; each sample's
        depends on that sample alone.
    x : array of float32 or float64, shape ``(n, *event_shape)``
        Samples at time `t_from`, at the model's own scale. For a PyTorch tensor or an array of the
        array API, the model and `jvp` are called with such, on its device; the result is NumPy's.
    t_from : float, optional
        Time of the samples: the density is that of data with the noise of this level. By default it
        is the clean level, for schedules that go down to it and data that has a density.
    t_to : float, optional
        Time at which the density is N(0, sigma**2 I), as `Scheduler.initial_noise` begins; by
        default the schedule's `t_max`. A `DiscreteSchedule` with zero terminal SNR has no path
        between its last two training levels: there it is the last but one.
    prediction_type : str
        What the model returns: "epsilon", "sample", "v_prediction", "score" or "flow".
    probes : int, optional
        Number of probes of Hutchinson's estimator; by default the divergence is exact.
    jvp : callable, optional
        ``jvp(x, t, v)`` returns the derivative of the model's output along v, of the shape of x, by
        automatic differentiation for instance; by default it is a difference quotient.
    rng : source of noise
        Source of the probes, as in the notes on `Scheduler`.
    tolerance : float, optional
        Error of a solver's step: in nats, and for positions in units of the noise at `t_from`. By
        default 1e-8 in float64, and 1e-3 in float32.

    Returns
    -------
    FlowLikelihood

    Raises
    ------
    TypeError, ValueError
        If an argument is not as described; if what the model or `jvp` returns has another shape
        than x or is not finite.
    RuntimeError
        If the solver's steps become too small for float64, or too many, as happens if there is no
        density, or if rounding hides the divergence, where x is much larger than sigma.

    References
    ----------
    Song, Sohl-Dickstein, Kingma, Kumar, Ermon, Poole: Score-Based Generative Modeling through
    Stochastic Differential Equations, ICLR 2021. Grathwohl, Chen, Bettencourt, Sutskever, Duvenaud:
    FFJORD, ICLR 2019, for Hutchinson's estimator.

    Examples
    --------
    >>> from schedulers import FlowSchedule
    >>> from schedulers.analytic import GaussianMixture
    >>> data, schedule = GaussianMixture([[-1.0, 0.0], [1.0, 0.5]], std=0.2), FlowSchedule()
    >>> x_0 = data.sample(3, rng=0)
    >>> denoiser = data.denoiser(schedule, prediction_type="flow")
    >>> likelihood = log_likelihood(schedule, denoiser, x_0, None, prediction_type="flow")
    >>> print(likelihood)
    log p = 0.100965 nats, -0.072831 bits/dim on average; 3 samples in 2 dimensions, 2225 model
    evaluations
    >>> bool(np.abs(likelihood.log_prob - data.log_prob(x_0)).max() < 1e-6)
    True
    """
    if not isinstance(schedule, NoiseSchedule):
        raise TypeError(f"schedule must be a NoiseSchedule, got {_checks.shown(schedule)}")
    _checks.function("denoiser", denoiser, "(x, t)")
    _checks.choice("prediction_type", prediction_type, PREDICTION_TYPES)
    like = None if isinstance(x, np.ndarray) or arrays.converter(x) is None else x
    if like is not None and not str(x.dtype).endswith(("float32", "float64")):
        raise TypeError(f"x must have dtype float32 or float64, got {x.dtype}")
    carried, dtype = checked("x", x if like is None else arrays.as_numpy(x))
    if np.dtype(dtype).itemsize < carried.dtype.itemsize:
        raise TypeError(f"x must have dtype float32 or float64, got {dtype}")
    if tolerance is None:
        tolerance = 1e-8 if carried.dtype == np.float64 else 1e-3
    tolerance = _checks.real("tolerance", tolerance, at_least=FINEST_TOLERANCE)
    if jvp is not None:
        _checks.function("jvp", jvp, "(x, t, v)")
    low, high = _ends(schedule, t_from, t_to)
    check_defined(prediction_type, high)
    if low.sigma == 0.0 and prediction_type == "sample":
        raise ValueError(
            "t_from must be above the clean level where prediction_type is 'sample': near it the "
            "noise estimate, (x - alpha D) / sigma, is rounding alone"
        )
    flow = _Flow(schedule, denoiser, prediction_type, jvp, _probes(carried, probes, rng), like)
    w, divergence = flow.integrate(carried, low, high, tolerance)
    x_T = (high.alpha + high.sigma) * w
    log_prior = Gaussian(np.zeros(x_T.shape[1:]), high.sigma**2).log_prob(x_T)
    grown = math.log(high.alpha + high.sigma) - math.log(low.alpha + low.sigma)
    return FlowLikelihood(log_prior + divergence + carried[0].size * grown, x_T, flow.nfe)


@dataclass
class _Flow:
    """The probability flow in w and u, and its divergence."""

    schedule: NoiseSchedule
    denoiser: Denoiser
    prediction_type: str
    jvp: Callable[[Array, float, Array], Array] | None
    probes: list[Array] | None
    like: Array | None  # what the model is called with the kind of, if not NumPy's arrays
    nfe: int = 0

    def integrate(
        self, x: Array, low: Level, high: Level, tolerance: float
    ) -> tuple[Floats, Floats]:
        """Return w at the upper level, and the integral of the divergence for each sample."""
        from scipy.integrate import DOP853

        start, end = low.flow_time, high.flow_time

        rates = 0

        def rate(u: float, state: Any) -> Floats:
            nonlocal rates
            rates += 1
            if rates > _MOST:
                raise _not_followed(self._level(min(max(u, start), end)).t)
            if start == 0.0 < u < _FIRST:  # a step so small that none would do
                raise _not_followed(0.0)
            level = low if u <= start else high if u >= end else self._level(u)
            scaled = (level.alpha + level.sigma) * state[: x.size].reshape(x.shape)
            if not np.isfinite(scaled).all():
                raise _not_followed(level.t)
            velocity, divergence = self._rates(scaled.astype(x.dtype), level)
            return np.append(velocity, divergence)

        # The solver's norm is a root mean square over all elements, in which one sample's error
        # would be lost among many samples.
        scale = np.full(x.size + len(x), tolerance / math.sqrt(x.size + len(x)))
        scale[: x.size] *= max(start, _FINEST * end)
        state = np.append(x / (low.alpha + low.sigma), np.zeros(len(x)))
        with np.errstate(over="ignore", invalid="ignore"):  # then no step is small enough
            solver = DOP853(rate, start, state, end, rtol=np.maximum(scale, 1e-13), atol=scale)
        while solver.status == "running":
            with np.errstate(over="ignore", invalid="ignore"):
                solver.step()
        if solver.status == "failed":
            raise _not_followed(self._level(solver.t).t)
        w, divergence = np.split(solver.y, [x.size])
        return w.reshape(x.shape), divergence

    def _level(self, u: float) -> Level:
        return self.schedule.level(u / (1.0 - u))

    def _rates(self, x: Array, level: Level) -> tuple[Floats, Floats]:
        """Return dw/du and its divergence in w."""
        size = x[0].size
        if level.sigma == 0.0:  # w = x, D = x and e = 0
            return -x.astype(np.float64), np.full(len(x), -float(size))
        k = coefficients(self.prediction_type, level.alpha, level.sigma)
        gain_x, gain_output = k.noise_x - k.denoised_x, k.noise_output - k.denoised_output
        output = self._called("the model's output", self.denoiser, x, level.t)
        velocity = gain_x * x.astype(np.float64) + gain_output * output
        divergence = gain_x * size + gain_output * self._trace(x, level)
        return velocity, (level.alpha + level.sigma) * divergence

    def _trace(self, x: Array, level: Level) -> Floats:
        """Trace of the derivative of the model's output, or an estimate of it."""
        if self.probes is None:
            return np.asarray(sum(self._along(x, level, v) for v in _axes(x)))
        return np.asarray(np.mean([self._along(x, level, v) for v in self.probes], axis=0))

    def _along(self, x: Array, level: Level, v: Array) -> Floats:
        """V . J v for each sample, J the derivative of the model's output."""
        if self.jvp is not None:
            moved = self._called("what jvp returned", self.jvp, x, level.t, v)
            return per_sample(np.sum, v * moved)
        h = x.dtype.type(np.cbrt(np.finfo(x.dtype).eps) * level.sigma)
        ends = x + h * v, x - h * v
        # 2 h, as it is after rounding where x is much larger.
        apart = per_sample(np.sum, v * difference(*ends)) / per_sample(np.sum, v * v)
        if not np.all(apart):
            raise _not_followed(level.t)
        ahead, behind = (
            self._called("the model's output", self.denoiser, x, level.t) for x in ends
        )
        return per_sample(np.sum, v * (ahead - behind)) / apart

    def _called(
        self, name: str, function: Callable[..., Array], x: Array, t: float, *more: Array
    ) -> Floats:
        self.nfe += 1
        x, others = self._of_the_kind(x), map(self._of_the_kind, more)
        value = arrays.matching(name, function(x, t, *others), x, tuple(x.shape), t)
        value = value if self.like is None else arrays.as_numpy(value)
        return np.array(value, dtype=np.float64)  # the next call may write over it

    def _of_the_kind(self, array: Array) -> Array:
        """Return a copy, which the model may write to."""
        return array.copy() if self.like is None else arrays.of_the_kind(array.copy(), self.like)


def _not_followed(t: float) -> RuntimeError:
    return RuntimeError(
        f"the flow cannot be followed from t={t:g} on, where the density changes too fast for the "
        f"tolerance, or there is none: begin at a higher noise level, t_from, or raise tolerance"
    )


def _axes(x: Array) -> Iterator[Array]:
    """Unit vectors along each axis, broadcast to the batch."""
    for i in range(x[0].size):
        v = np.zeros(x.shape[1:], x.dtype)
        v.reshape(-1)[i] = 1.0
        yield np.broadcast_to(v, x.shape)


def _probes(x: Array, number: int | None, rng: RandomSource) -> list[Array] | None:
    """Draw vectors of independent signs, of the shape of x."""
    noise = Noise.bind(rng, x)
    if number is None:
        return None
    number = _checks.count("probes", number)
    one = x.dtype.type(1.0)
    return [np.copysign(one, noise.draw(Place("probe", i))) for i in range(number)]


def _level(schedule: NoiseSchedule, name: str, t: float) -> Level:
    time = _checks.real(name, t)
    scales(schedule, time, name)
    (level,) = schedule.levels([time])
    return level


def _ends(schedule: NoiseSchedule, t_from: float | None, t_to: float | None) -> tuple[Level, Level]:
    """Return the levels between which the flow runs."""
    if t_from is None:
        low = schedule.clean
        if schedule._karras_range()[0] > 0.0:
            raise ValueError(
                f"t_from must be a time of the schedule where that does not go down to the clean "
                f"level, got None for {schedule!r}"
            )
    else:
        low = _level(schedule, "t_from", t_from)
    high = _level(schedule, "t_to", schedule.t_max if t_to is None else t_to)
    end = schedule._karras_range()[1]
    if high.karras > end:  # zero terminal SNR of training levels
        last = schedule.level(end)
        if t_to is not None:
            raise ValueError(
                f"t_to must be at most {last.t:g}, as there is no path between the last two "
                f"training levels of a schedule with zero terminal SNR, got {t_to!r}"
            )
        high = last
    if not low.flow_time < high.flow_time:
        raise ValueError(
            f"t_from must be at a lower noise level than t_to, got t_from={t_from!r} and "
            f"t_to={high.t!r}"
        )
    return low, high
