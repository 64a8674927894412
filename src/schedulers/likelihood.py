"""How likely data is under a model: DDPM's variational bound, and the flow's exact density.

The chain that `DDPM` samples from is a latent-variable model. `variational_bound` gives the terms
of the bound on its likelihood, which are the bits that progressive coding sends, and
`progressive_decoding` what the receiver has decoded on the way. The probability flow is a change of
variables, under which the likelihood is known: `log_likelihood` integrates its divergence.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from schedulers import _checks, arrays
from schedulers.analytic import Gaussian
from schedulers.arrays import weighted_sum
from schedulers.ddpm import DDPM
from schedulers.noise import check_seeds, checked_noise, draw, probe_place, term_place
from schedulers.noise_schedules import Level, NoiseSchedule
from schedulers.parameterization import PREDICTION_TYPES, UNDEFINED_AT_ALPHA_0, coefficients
from schedulers.tableau import State, Tableau, advance

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from schedulers.noise import Noise

    Array = Any
    Denoiser = Callable[[Array, float], Array]
    Floats = NDArray[np.float64]

# Steps of the flow's solver resolve positions on the scale of the first level's noise, but no finer
# than this part of the last one's.
_FINEST = 1e-3
# Time of the straight path below which no first step from the clean level is tried.
_FIRST = 1e-9


@dataclass(frozen=True, eq=False)
class VariationalBound:
    """Terms of the bound on the negative log-likelihood, for each of n samples.

    Attributes
    ----------
    timesteps : tuple of float
        Model time at which each step begins, as `Tableau.timesteps`.
    terms : ndarray of float64, shape (k, n)
        In nats. The first is L_T and the last L_0; between them is L_{t-1} of each step, but for a
        step that ends clean, which is L_0's.
    squared_error : ndarray of float64, shape (steps, n)
        Mean square over the elements of x_0 - D, at the start of each step.
    dimensions : int
        Number of elements of a sample.
    """

    timesteps: tuple[float, ...]
    terms: Floats
    squared_error: Floats
    dimensions: int

    @property
    def total(self) -> Floats:
        """The bound: the sum of the terms in nats, shape (n,)."""
        return np.asarray(self.terms.sum(axis=0))

    @property
    def bits(self) -> Floats:
        """The terms in bits per dimension, shape (k, n)."""
        return self.terms / (self.dimensions * math.log(2.0))

    @property
    def bits_per_dimension(self) -> Floats:
        """The bound in bits per dimension, shape (n,)."""
        return np.asarray(self.bits.sum(axis=0))

    @property
    def rate(self) -> Floats:
        """Bits per dimension that tell x_t, at the start of each step: L_T + ... + L_t.

        Shape (steps, n). What is left of the bound at the last is L_0 (Ho et al. 2020, section
        4.3, where it counts as distortion).
        """
        return np.asarray(np.cumsum(self.bits, axis=0)[: len(self.timesteps)])

    @property
    def distortion(self) -> Floats:
        """Root of `squared_error`: the distance of D, which x_t tells, from x_0."""
        return np.asarray(np.sqrt(self.squared_error))

    def __str__(self) -> str:
        inner = self.terms[1:-1].sum(axis=0)
        rows = {"L_T": self.terms[0], "L_t": inner, "L_0": self.terms[-1], "bound": self.total}
        steps, n = self.squared_error.shape
        lines = [
            f"{steps} step{'s' * (steps > 1)}, {n} sample{'s' * (n > 1)} in {self.dimensions} "
            f"dimension{'s' * (self.dimensions > 1)}{'; means' * (n > 1)}",
            f"{'':5s}{'nats':>12s}{'bits/dim':>12s}",
        ]
        for name, nats in rows.items():
            mean = nats.mean()
            bits = mean / (self.dimensions * math.log(2.0))
            lines.append(f"{name:5s}{mean:12.4f}{bits:12.4f}")
        return "\n".join(lines)


def variational_bound(
    scheduler: DDPM,
    denoiser: Denoiser,
    x_0: Array,
    steps: int | None = None,
    *,
    timesteps: ArrayLike | None = None,
    sigmas: ArrayLike | None = None,
    rng: Noise = None,
    draws: int = 1,
    decoder_std: float | None = None,
    bins: int | None = None,
) -> VariationalBound:
    """Bound on the negative log-likelihood of data under the chain that a scheduler samples from.

    With x_T, ..., x_1 the samples at the levels of a run, and p the chain from N(0, sigma_T**2 I),
    which is where `Scheduler.initial_noise` begins, -log p(x_0) is on average over the terms' noise
    at most (Ho et al. 2020, eq. 5)

        L_T       KL of q(x_T | x_0) = N(alpha_T x_0, sigma_T**2 I) from p(x_T),
        L_{t-1}   KL of q(x_{t-1} | x_t, x_0) from p(x_{t-1} | x_t), for every step but the last,
        L_0       -log p(x_0 | x_1),

    each at a fresh x_t = alpha x_0 + sigma eps. Both Gaussians of L_{t-1} have the mean of the
    tableau's row: that of p with the model's D and e, that of q with x_0 and eps (eq. 7 and 8).

    The row that ends clean has no variance, so that p(x_0 | x_1) is a decoder: N(D, std**2 I). Of
    continuous data L_0 is its density. Of data on a grid in [-1, 1] it is the probability of x_0's
    bin, the outermost of which have no end (eq. 13).

    A run that ends at a noise level has a last x_n, and all steps have their L_{t-1}. L_0 is then
    the entropy of q(x_n | x_0), and the sum is a bound on -log p(x_n), averaged over x_n as well.

    Parameters
    ----------
    scheduler : DDPM
        Any of its variances, on any schedule.
    denoiser : callable
        As for `Scheduler.step`.
    x_0 : ndarray of floats, shape ``(n, *event_shape)``
        Data.
    steps, timesteps, sigmas
        As for `Scheduler.tableau`.
    rng : source of noise
        As in the notes on `Scheduler`; a seed gives every term and draw its own noise, and a
        Generator draws in the order of the terms.
    draws : int
        Number of x_t that every term is averaged over; as many model evaluations for each step.
    decoder_std : float, optional
        Standard deviation of the decoder. By default sigma / sqrt(alpha**2 + sigma**2) at the last
        step's start, which is exact for data ~ N(0, I).
    bins : int, optional
        Number of values that an element may have, evenly spaced from -1 to 1, such as 256. By
        default the data is continuous.

    Returns
    -------
    VariationalBound

    Raises
    ------
    TypeError, ValueError
        If an argument is none such, if there is a decoder for a run that does not end clean, if
        `x_0` is not on the grid of `bins`; for the model's output, as for `Scheduler.update`.

    References
    ----------
    Ho, Jain, Abbeel: Denoising Diffusion Probabilistic Models, NeurIPS 2020.

    Examples
    --------
    >>> from schedulers import DDPM, DiscreteSchedule, linear_betas
    >>> from schedulers.analytic import Gaussian
    >>> data, schedule = Gaussian(np.zeros(4), cov=0.25), DiscreteSchedule(linear_betas(1000))
    >>> scheduler, x_0 = DDPM(schedule, variance="fixed_large"), data.sample(5000, rng=0)
    >>> bound = variational_bound(scheduler, data.denoiser(schedule), x_0, steps=100, rng=1)
    >>> print(bound)
    100 steps, 5000 samples in 4 dimensions; means
                 nats    bits/dim
    L_T        0.0000      0.0000
    L_t        9.7768      3.5262
    L_0       -6.8560     -2.4728
    bound      2.9208      1.0535
    >>> print(f"-log p(x_0) is {-data.log_prob(x_0).mean():.4f} nats")
    -log p(x_0) is 2.8874 nats
    """
    _check_scheduler(scheduler)
    _checks.function("denoiser", denoiser, "(x, t)")
    carried, dtype = _samples("x_0", x_0)
    scheduler._output_shape(carried.shape)
    source = checked_noise(rng)
    check_seeds(source, carried.shape)
    source = np.random.default_rng() if source is None else source
    draws = _checks.integer("draws", draws, at_least=1)
    tableau = scheduler.tableau(steps, timesteps=timesteps, sigmas=sigmas)
    sender = _sender(scheduler).tableau(steps, timesteps=timesteps, sigmas=sigmas)
    last_term = _last_term(tableau, carried, decoder_std, bins)

    first = tableau.levels[0]
    terms = [_kl(first.alpha * carried, first.sigma, 0.0 * carried, first.sigma)]
    errors = []
    for row, (stage, then) in enumerate(zip(sender.stages, tableau.levels[1:], strict=True)):
        now, nats, squares = stage.level, [], []
        for k in range(draws):
            z = draw(source, term_place(row, k), carried)
            x = weighted_sum(((now.alpha, carried), (now.sigma, z)))
            mean, std, denoised = _reverse(scheduler, denoiser, State(tableau, row, x, dtype))
            if then.sigma:
                true = advance(State(sender, row, x, dtype), carried, "sample", None, None, False)
                nats.append(_kl(true.carried, stage.c, mean, std))
            else:
                nats.append(last_term(mean))
            squares.append(_per_sample(np.mean, np.square(_difference(carried, denoised))))
        terms.append(np.mean(nats, axis=0))
        errors.append(np.mean(squares, axis=0))
    if tableau.levels[-1].sigma:
        terms.append(last_term(carried))
    return VariationalBound(
        tuple(tableau.timesteps), np.array(terms), np.array(errors), carried[0].size
    )


def progressive_decoding(
    scheduler: DDPM,
    denoiser: Denoiser,
    x_0: Array,
    steps: int | None = None,
    *,
    timesteps: ArrayLike | None = None,
    sigmas: ArrayLike | None = None,
    rng: Noise = None,
) -> Floats:
    """Estimates of x_0 that a receiver has, who is sent x_T, ..., x_1 (Ho et al. 2020, Alg. 3, 4).

    The sender knows x_0 and draws x_T from q(x_T | x_0), then every x_{t-1} from
    q(x_{t-1} | x_t, x_0), which takes the bits of `VariationalBound.rate`. It is a run of DDPM with
    a model that says x_0. The receiver's estimate is the model's D at x_t (eq. 15).

    Parameters
    ----------
    scheduler, denoiser, x_0, steps, timesteps, sigmas
        As for `variational_bound`.
    rng : source of noise, but no function
        As in the notes on `Scheduler`.

    Returns
    -------
    ndarray of float64, shape ``(steps, *x_0.shape)``
        At the start of each step.

    Raises
    ------
    TypeError, ValueError
        If an argument is none such; for the model's output, as for `Scheduler.update`.

    Examples
    --------
    >>> from schedulers import DDPM, VESchedule
    >>> from schedulers.analytic import Empirical
    >>> data, x_0 = Empirical([-1.0, 0.0, 2.0]), np.array([2.0])
    >>> denoiser = data.denoiser(VESchedule())
    >>> sigmas = [80.0, 8.0, 2.0, 0.5, 0.0]
    >>> estimates = progressive_decoding(DDPM(VESchedule()), denoiser, x_0, sigmas=sigmas, rng=0)
    >>> estimates[:, 0].round(2)
    array([0.32, 0.37, 0.77, 2.  ])
    """
    _check_scheduler(scheduler)
    _checks.function("denoiser", denoiser, "(x, t)")
    carried, dtype = _samples("x_0", x_0)
    scheduler._output_shape(carried.shape)
    tableau = scheduler.tableau(steps, timesteps=timesteps, sigmas=sigmas)
    levels: dict[str, Any] = {"steps": steps, "timesteps": timesteps, "sigmas": sigmas}
    sender = _sender(scheduler)
    noise = sender.initial_noise(carried.shape, rng=rng, dtype=carried.dtype, **levels)
    x_T = tableau.levels[0].alpha * carried + noise
    sent = [x_T, *(s.x for s in sender.iterate(lambda x, t: carried, x_T, rng=rng, **levels))]
    received = (
        _reverse(scheduler, denoiser, State(tableau, row, x, dtype))
        for row, x in enumerate(sent[:-1])
    )
    return np.array([denoised for _, _, denoised in received], dtype=np.float64)


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
    t_from: float | None,
    t_to: float | None = None,
    *,
    prediction_type: str = "epsilon",
    probes: int | None = None,
    jvp: Callable[[Array, float, Array], Array] | None = None,
    rng: Noise = None,
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
    x : ndarray of float32 or float64, shape ``(n, *event_shape)``
        Samples at time `t_from`, at the model's own scale.
    t_from : float or None
        Time that the density is of: that of data with the noise of this level. None is the clean
        level, on schedules that go down to it, for data that has a density; there D = x and e = 0.
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
        Of the probes, as in the notes on `Scheduler`.
    tolerance : float, optional
        Error of a solver's step: in nats, and for positions in units of the noise at `t_from`. By
        default 1e-8 in float64, and 1e-3 in float32.

    Returns
    -------
    FlowLikelihood

    Raises
    ------
    TypeError, ValueError
        If an argument is none such; if what the model or `jvp` returns has another shape than x or
        is not finite.
    RuntimeError
        If the solver's steps become too small to tell in float64, as where there is no density.

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
    carried, dtype = _samples("x", x)
    if np.dtype(dtype).itemsize < carried.dtype.itemsize:
        raise TypeError(f"x must have dtype float32 or float64, got {dtype}")
    if tolerance is None:
        tolerance = 1e-8 if carried.dtype == np.float64 else 1e-3
    tolerance = _checks.real("tolerance", tolerance, above=0.0)
    if jvp is not None:
        _checks.function("jvp", jvp, "(x, t, v)")
    low, high = _ends(schedule, t_from, t_to)
    if high.alpha == 0.0 and prediction_type in UNDEFINED_AT_ALPHA_0:
        raise ValueError(
            f"prediction_type must be 'v_prediction', 'sample' or 'flow' where t_to is at "
            f"alpha = 0, got {prediction_type!r}"
        )
    if low.sigma == 0.0 and prediction_type == "sample":
        raise ValueError(
            "t_from must be above the clean level where prediction_type is 'sample': near it the "
            "noise estimate, (x - alpha D) / sigma, is rounding alone"
        )
    flow = _Flow(schedule, denoiser, prediction_type, jvp, _probes(carried, probes, rng))
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
    nfe: int = 0

    def integrate(
        self, x: Array, low: Level, high: Level, tolerance: float
    ) -> tuple[Floats, Floats]:
        """Return w at the upper level, and the integral of the divergence for each sample."""
        from scipy.integrate import DOP853

        start, end = _u(low), _u(high)

        def rate(u: float, state: Any) -> Floats:
            if start == 0.0 < u < _FIRST:  # a step so small that none would do
                raise _not_followed(0.0)
            level = low if u <= start else high if u >= end else self._level(u)
            scaled = (level.alpha + level.sigma) * state[: x.size].reshape(x.shape)
            velocity, divergence = self._rates(scaled.astype(x.dtype), level)
            return np.append(velocity, divergence)

        # The solver's norm is a root mean square over all elements, in which one sample's error
        # would be lost among many samples.
        scale = np.full(x.size + len(x), tolerance / math.sqrt(x.size + len(x)))
        scale[: x.size] *= max(start, _FINEST * end)
        state = np.append(x / (low.alpha + low.sigma), np.zeros(len(x)))
        solver = DOP853(rate, start, state, end, rtol=np.maximum(scale, 1e-13), atol=scale)
        while solver.status == "running":
            solver.step()
        if solver.status == "failed":
            raise _not_followed(self._level(solver.t).t)
        w, divergence = np.split(solver.y, [x.size])
        return w.reshape(x.shape), divergence

    def _level(self, u: float) -> Level:
        return self.schedule.levels([self.schedule.timestep(u / (1.0 - u))])[0]

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
            moved = self._called("what jvp returned", self.jvp, x, level.t, v.copy())
            return _per_sample(np.sum, v * moved)
        h = x.dtype.type(np.cbrt(np.finfo(x.dtype).eps) * level.sigma)
        ends = x + h * v, x - h * v
        # 2 h, as it is after rounding where x is much larger.
        apart = _per_sample(np.sum, v * _difference(*ends)) / _per_sample(np.sum, v * v)
        ahead, behind = (
            self._called("the model's output", self.denoiser, x, level.t) for x in ends
        )
        return _per_sample(np.sum, v * (ahead - behind)) / apart

    def _called(
        self, name: str, function: Callable[..., Array], x: Array, t: float, *more: Array
    ) -> Floats:
        self.nfe += 1
        value, _ = arrays.like(name, function(x.copy(), t, *more), x, x.shape, t)
        return np.asarray(value, dtype=np.float64)


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


def _probes(x: Array, number: int | None, rng: Noise) -> list[Array] | None:
    """Draw vectors of independent signs, of the shape of x."""
    source = checked_noise(rng)
    check_seeds(source, x.shape)
    if number is None:
        return None
    number = _checks.integer("probes", number, at_least=1)
    return [np.copysign(x.dtype.type(1.0), draw(source, probe_place(i), x)) for i in range(number)]


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
        (low,) = schedule.levels([_checks.real("t_from", t_from)])
    (high,) = schedule.levels([_checks.real("t_to", schedule.t_max if t_to is None else t_to)])
    end = schedule._karras_range()[1]
    if high.karras > end:  # zero terminal SNR of training levels
        (last,) = schedule.levels([schedule.timestep(end)])
        if t_to is not None:
            raise ValueError(
                f"t_to must be at most {last.t:g}, as there is no path between the last two "
                f"training levels of a schedule with zero terminal SNR, got {t_to!r}"
            )
        high = last
    if not _u(low) < _u(high):
        raise ValueError(
            f"t_from must be at a lower noise level than t_to, got t_from={t_from!r} and "
            f"t_to={high.t!r}"
        )
    return low, high


def _u(level: Level) -> float:
    """Time of the straight path that has the level's signal-to-noise ratio."""
    return level.sigma / (level.alpha + level.sigma)


def _check_scheduler(scheduler: object) -> None:
    if not isinstance(scheduler, DDPM):
        raise TypeError(f"scheduler must be a DDPM, got {_checks.shown(scheduler)}")


def _samples(name: str, x: Array) -> tuple[Array, Any]:
    """Check a batch; return a copy in the precision to work in, and its own dtype."""
    if not isinstance(x, np.ndarray):
        raise TypeError(f"{name} must be an ndarray of floats, got {_checks.shown(x)}")
    if x.ndim == 0 or x.size == 0:
        raise ValueError(
            f"{name} must have shape (n, *event_shape) and an element, got shape {x.shape}"
        )
    if x.dtype.itemsize > 8:
        raise TypeError(f"{name} must have a dtype of at most float64, got {x.dtype}")
    return arrays.sample(name, x)


def _sender(scheduler: DDPM) -> DDPM:
    """Chain of q(x_{t-1} | x_t, x_0): DDPM's with the posterior's variance, for a model of x_0."""
    return DDPM(scheduler.schedule, prediction_type="sample", spacing=scheduler.spacing)


def _reverse(scheduler: DDPM, denoiser: Denoiser, state: State) -> tuple[Array, Any, Array]:
    """Mean and standard deviation of p(x_{t-1} | x_t), and D."""
    x, stage = state.carried, state.tableau.stages[state.index]
    shape, t = scheduler._output_shape(tuple(x.shape)), stage.level.t
    given = denoiser(x.astype(state.dtype), t)
    output, std = scheduler._read(arrays.like("the model's output", given, x, shape, t)[0], stage)
    after = advance(state, output, scheduler.prediction_type, scheduler.threshold, None, True)
    return after.carried, std, after.carried_denoised


def _last_term(
    tableau: Tableau, x_0: Array, decoder_std: float | None, bins: int | None
) -> Callable[[Array], Floats]:
    """L_0 as a function of the decoder's mean."""
    last, end = tableau.stages[-1].level, tableau.levels[-1]
    if end.sigma:
        for name, value in (("decoder_std", decoder_std), ("bins", bins)):
            if value is not None:
                raise ValueError(
                    f"{name} must not be given for a run that ends at a noise level, of "
                    f"sigma = {end.sigma:g}: there is no decoder; got {value!r}"
                )
        entropy = x_0[0].size * (0.5 * math.log(2.0 * math.pi * math.e) + math.log(end.sigma))
        return lambda mean: np.full(len(x_0), entropy)
    if decoder_std is None:
        decoder_std = last.sigma / math.hypot(last.alpha, last.sigma)
    std = _checks.real("decoder_std", decoder_std, above=0.0)
    if bins is None:
        off = Gaussian(np.zeros(x_0.shape[1:]), std**2)
        return lambda mean: -off.log_prob(_difference(x_0, mean))
    lower, upper = _edges(x_0, _checks.integer("bins", bins, at_least=2))
    return lambda mean: (
        -_per_sample(np.sum, _log_interval((lower - mean) / std, (upper - mean) / std))
    )


def _edges(x_0: Array, bins: int) -> tuple[Floats, Floats]:
    """Ends of the bin that each element lies in (Ho et al. 2020, eq. 13)."""
    place = (x_0.astype(np.float64) + 1.0) * (0.5 * (bins - 1))
    number = np.rint(place)
    # A twentieth of a step, as float16 rounds by up to 0.03 of one in 256.
    off = ~((np.abs(place - number) <= 0.05) & (number >= 0) & (number < bins))
    if off.any():
        raise ValueError(
            f"x_0 must be on the grid of {bins} values from -1 to 1 that bins={bins} says, got "
            f"{float(x_0[off][0])!r}"
        )
    lower = (2.0 * number - 1.0) / (bins - 1) - 1.0
    upper = (2.0 * number + 1.0) / (bins - 1) - 1.0
    lower[number == 0] = -math.inf
    upper[number == bins - 1] = math.inf
    return lower, upper


def _log_interval(a: Floats, b: Floats) -> Floats:
    """Log of the standard normal probability of [a, b], in whichever tail."""
    from scipy.special import log_ndtr

    mirrored = a > 0.0
    a, b = np.where(mirrored, -b, a), np.where(mirrored, -a, b)
    log_a, log_b = log_ndtr(a), log_ndtr(b)
    return np.asarray(log_b + np.log(-np.expm1(log_a - log_b)))


def _kl(mean: Array, std: float, other_mean: Array, other_std: Any) -> Floats:
    """KL divergence of N(mean, std**2) from the other, summed over each sample's elements."""
    other_std = np.asarray(other_std, dtype=np.float64)
    if not other_std.all():
        raise ValueError(
            "the model's variance must be above 0, got one that is 0 in the precision of x_0: no "
            "code has the length of what it rules out"
        )
    ratio = std / other_std
    excess = (ratio - 1.0) * (ratio + 1.0)
    with np.errstate(divide="ignore"):  # the excess of ratios below 1e-8 is -1 to rounding
        wide = np.where(np.abs(excess) < 0.5, np.log1p(excess), 2.0 * np.log(ratio))
    apart = np.square(_difference(mean, other_mean) / other_std)
    return _per_sample(np.sum, 0.5 * (apart + (excess - wide)))


def _difference(x: Array, y: Array) -> Floats:
    return np.asarray(x.astype(np.float64) - y)


def _per_sample(reduce: Callable[..., Any], values: Floats) -> Floats:
    """Reduce over all axes but the first."""
    return np.asarray(reduce(values.reshape(len(values), -1), axis=1))
