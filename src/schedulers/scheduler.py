"""The `Scheduler` base: everything that schedulers share, which is all but their weights."""

from __future__ import annotations

import math
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import KW_ONLY, dataclass, fields, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from schedulers import _checks
from schedulers.engine import arrays
from schedulers.engine.arrays import cast, weighted_sum
from schedulers.engine.inversion import rising
from schedulers.engine.noise import (
    ADDED,
    ENTRY,
    START,
    Noise,
    Seeded,
    checked_source,
    noise_dtype,
    normal,
)
from schedulers.engine.parameterization import PREDICTION_TYPES, check_defined
from schedulers.engine.row_law import RowLaw
from schedulers.engine.state import Reading, State, advance, lent, take
from schedulers.engine.tableau import Stage, Tableau
from schedulers.engine.thresholds import DynamicThreshold, StaticThreshold
from schedulers.grids.run import run_levels
from schedulers.grids.spacings import check_name
from schedulers.schedules.base import Level, NoiseSchedule

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, DTypeLike

    from schedulers.engine.noise import RandomSource
    from schedulers.grids.spacings import Spacing

    Array = Any
    Denoiser = Callable[[Array, float], Array]

# Tableaus that a scheduler keeps.
_KEPT_TABLEAUS = 32
# Elements of a sample: 256 GiB in float64.
LARGEST = 2**35


@dataclass(frozen=True)
class Scheduler(ABC):
    """What all schedulers share. A scheduler is immutable and holds nothing of any run.

    To write your own scheduler, subclass this and write `stages`. If it has parameters, make them
    the fields of a dataclass, ``@dataclass(frozen=True, kw_only=True)``: then two schedulers are
    equal only if their parameters are.

    Parameters
    ----------
    schedule : NoiseSchedule
        What the model was trained with.
    prediction_type : str
        What the model returns: "epsilon", "sample", "v_prediction", "score" or "flow".
    spacing : str or callable
        Which levels `steps=` visits. By the model's time: "trailing" (default), "leading",
        "linspace", "quadratic", "simple", "normal", "sgm_uniform", "ddim_uniform", "beta_times". By
        Karras's sigma: "karras", "exponential", "polyexponential", "vp", "ve", "log_snr", "beta",
        "kl_optimal". By the time of rectified flow: "flow_karras", "flow_exponential", "flow_beta",
        "linear_quadratic". See `schedulers.grids`. Or a function ``(schedule, steps)`` that returns
        the model's times at the start of the steps, decreasing, such as
        ``functools.partial(schedulers.grids.shifted, shift=3.0)``.
    threshold : StaticThreshold or DynamicThreshold, optional
        Limits the denoised estimate of every evaluation.

    Notes
    -----
    `rng` is the source of fresh noise:

    - None: the system seeds it, anew each time.
    - A `numpy.random.Generator`: noise is drawn in order.
    - An int or a `numpy.random.SeedSequence` names noise: the start and each stage have their own,
      which depends on the seed and the stage alone. Pass the same seed to every call of a run. It
      gives the same bits on every processor and on any number of threads.
    - A sequence of those, one for each sample along axis 0: each sample gets the noise that it gets
      alone with its seed, whatever else is in the batch. There a tuple of ints is one seed, such as
      ``rng=[(7, tick)]`` for the tick of a control loop.
    - A `BrownianPath`: the same path for every number of steps.
    - A function ``noise(like)`` that returns standard normal noise of the shape and kind of the
      array `like`, such as ``torch.randn_like``.

    For a PyTorch tensor or an array of the array API, NumPy draws the noise and it is converted. It
    is drawn in float32 for samples of that precision or less, and else in float64.
    """

    schedule: NoiseSchedule
    _: KW_ONLY
    prediction_type: str = "epsilon"
    spacing: str | Spacing = "trailing"
    threshold: StaticThreshold | DynamicThreshold | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.schedule, NoiseSchedule):
            raise TypeError(
                f"schedule must be a NoiseSchedule, such as DiscreteSchedule(betas), "
                f"got {_checks.shown(self.schedule)}"
            )
        _checks.choice("prediction_type", self.prediction_type, PREDICTION_TYPES)
        if not callable(self.spacing):
            check_name(self.spacing)
        if not isinstance(self.threshold, (StaticThreshold, DynamicThreshold, type(None))):
            raise TypeError(
                f"threshold must be a StaticThreshold, a DynamicThreshold or None, "
                f"got {_checks.shown(self.threshold)}"
            )

    @abstractmethod
    def stages(self, levels: tuple[Level, ...]) -> Iterable[Stage]:
        """Rows of the tableau: the method itself.

        Parameters
        ----------
        levels : tuple of Level
            Where each step begins, and where the last one ends: at least two. Sigma falls, except
            for `invert`, which hands a deterministic method the levels of its run in rising order.

        Returns
        -------
        iterable of Stage
            One per model evaluation, in order.
        """

    def entry(self, levels: tuple[Level, ...]) -> tuple[float, float]:
        """Return the weights of the given sample and of noise in what the first stage sees."""
        return 1.0, 0.0

    def tableau(
        self,
        steps: int | None = None,
        *,
        timesteps: ArrayLike | None = None,
        sigmas: ArrayLike | None = None,
    ) -> Tableau:
        """Rows that a run takes. Give exactly one of the arguments.

        Parameters
        ----------
        steps : int
            Number of steps, on the scheduler's spacing, from the noisiest level to the clean one.
        timesteps : array_like, shape (steps,)
            The model's own time at the start of each step, strictly decreasing. The clean level
            follows the last one.
        sigmas : array_like, shape (steps + 1,)
            Karras's sigma, sigma/alpha, at the start of each step and the end of the last, strictly
            decreasing. A last 0 is the clean level.

        Returns
        -------
        Tableau

        Raises
        ------
        TypeError, ValueError
            If not exactly one argument is given, if it is not as described or outside the schedule,
            or if the method cannot take these levels.

        Examples
        --------
        >>> from schedulers import DDIM, VESchedule
        >>> print(DDIM(VESchedule(), eta=1.0).tableau(sigmas=[4.0, 2.0, 0.0]))
        DDIM: 2 steps, 2 model evaluations
        step NFE t alpha sigma D e z
           1   1 4     1     4 1 1 1.7321
           2   2 2     1     2 1 0 0
        ends at  0     1     0
        """
        counted = type(steps) is int and timesteps is None and sigmas is None
        if counted and steps in self._tableaus:
            return self._tableaus[steps]
        levels = self._levels(steps, timesteps, sigmas)
        key = steps if counted else levels
        made = self._tableaus.get(key)
        if made is None:
            check_defined(self.prediction_type, levels[0])
            made = Tableau(self._method, levels, *self._rows(levels))
            if len(self._tableaus) >= _KEPT_TABLEAUS:
                self._tableaus.clear()
            self._tableaus[key] = made
        return made

    def init(
        self,
        x_T: Array,
        steps: int | None = None,
        *,
        timesteps: ArrayLike | None = None,
        sigmas: ArrayLike | None = None,
        rng: RandomSource = None,
    ) -> State:
        """State at the start of a run, for `step` or `update`.

        Parameters
        ----------
        x_T : array of floats
            The sample at the first level, at the model's own scale; it is copied. For
            image-to-image, give a partly noised sample and levels that begin lower.
        steps, timesteps, sigmas
            As for `tableau`.
        rng : source of noise
            Source of the noise that churn adds before the first evaluation. Without churn it is not
            used. If you leave it out, `step` adds that noise from its own rng, and ``state.x``
            raises an error until then.

        Returns
        -------
        State

        Raises
        ------
        TypeError, ValueError
            If `x_T` is not an array of finite floats, and as for `tableau`.

        Examples
        --------
        >>> from schedulers import DDIM, VESchedule
        >>> scheduler = DDIM(VESchedule())
        >>> state = scheduler.init(np.array([8.0]), sigmas=[4.0, 2.0, 0.0])
        >>> while not state.done:
        ...     noise = state.x / state.t  # the model, run by the caller
        ...     state = scheduler.update(noise, state)
        >>> state.x
        array([0.])
        """
        carried, dtype = self._checked_sample("x_T", x_T)
        tableau = self.tableau(steps, timesteps=timesteps, sigmas=sigmas)
        state = State.first(tableau, carried, dtype, self._reading)
        weighs_noise = bool(state.tableau.entry[1])
        if rng is None and (state.entered or weighs_noise):
            return state
        noise = Noise.bind(rng, carried, drawn=weighs_noise)
        return state if state.entered else _enter(state, noise)

    def update(
        self,
        output: Array,
        state: State,
        rng: RandomSource = None,
        *,
        keep_denoised: bool = True,
        log_prob: bool = False,
    ) -> State:
        """Take the row of a model evaluation that you made at ``state.x, state.t``.

        Parameters
        ----------
        output : array, shape of ``state.x``
            What the model returned. Twice the channels on axis 1 if it learned its variance.
        state : State
            State of a run of this scheduler that is not done.
        rng : source of noise
            As in the notes on `Scheduler`.
        keep_denoised : bool
            Whether the new state holds `State.denoised`. Without it a step takes half the time for
            a large sample, and the state half the memory.
        log_prob : bool
            Whether the new state holds the log-probability of its sample as its ``log_prob``; for a
            row that draws noise.

        Returns
        -------
        State

        Raises
        ------
        TypeError, ValueError
            If `output` has another shape than the sample, or is not finite floats; if `state` is
            not as described; if `rng` is not a source of noise; or, for `log_prob`, if the row
            draws no noise.

        Examples
        --------
        See `init`.
        """
        self._check_state(state)
        state.check_entered()
        keep_denoised = _checks.boolean("keep_denoised", keep_denoised)
        drawn = bool(state.tableau.stages[state.index].c)
        noise = Noise.bind(rng, state.carried, drawn=drawn)
        log_prob = _checks.boolean("log_prob", log_prob)
        try:
            law = self.row_law(output, state) if log_prob else None
            after = self._take(output, state, noise, keep_denoised)
        except ValueError:
            state.check_finite()  # no model has an answer to infinity
            raise
        return after if law is None else replace(after, log_prob=law.log_prob(after))

    def log_prob(self, output: Array, state: State, x_next: Array | State) -> Array:
        """Log-probability of a row's sample under a model: the density of N(mean, c**2 I) there.

        It is what policy gradients of samplers need: ``row_law(output, state).log_prob(x_next)``.
        See `row_law` for what the mean is.

        Parameters
        ----------
        output, state
            As for `update`.
        x_next : array, shape of ``state.x``, or State
            The sample after the row. The state that `update` returned has it before it is rounded
            to float16 or bfloat16, if the run is in one of these.

        Returns
        -------
        array, shape (n,)
            For each sample, in nats, summed over all axes but the first; float64 for NumPy's and
            PyTorch's arrays. PyTorch and JAX differentiate it.

        Raises
        ------
        TypeError, ValueError
            If the row draws no noise, if `x_next` is not as described, and as for `update`.

        Examples
        --------
        >>> from schedulers import DDPM, VESchedule
        >>> scheduler = DDPM(VESchedule())
        >>> state = scheduler.init(np.array([[8.0], [0.0]]), sigmas=[4.0, 2.0, 0.0])
        >>> after = scheduler.update(state.x / state.t, state, rng=0)  # the data is a point at 0
        >>> scheduler.log_prob(state.x / state.t, state, after.x).round(4)
        array([-1.9066, -1.8372])
        """
        law = self.row_law(output, state)
        if isinstance(x_next, State) and x_next.index != state.index + 1:
            raise ValueError(f"x_next must be the state after the row of {state!r}, got {x_next!r}")
        return law.log_prob(x_next)

    def row_law(self, output: Array, state: State) -> RowLaw:
        """Law of the sample that the next row makes, given the run so far.

        Its mean is the row without noise, as `update` computes it: with the prediction type, the
        threshold, and the estimates of earlier evaluations that the state holds. Its standard
        deviation is the row's weight of noise, c, or what the model learned.

        The samples of several rows have the product of the rows' densities: add up their
        log-probabilities. In an SDE method of two stages the noise of the second row contains that
        of the first, but as estimates that the state holds. Given these the second row is normal
        with its own c.

        Parameters
        ----------
        output, state
            As for `update`.

        Returns
        -------
        schedulers.likelihood.RowLaw
            With `log_prob`, `entropy` and `kl_divergence`.

        Raises
        ------
        TypeError, ValueError
            If the row draws no noise, if the sample has no axis of samples, and as for `update`.

        Examples
        --------
        The divergence of a model from another one, such as GRPO's penalty:

        >>> from schedulers import DDPM, VESchedule
        >>> scheduler = DDPM(VESchedule())
        >>> state = scheduler.init(np.array([[8.0], [0.0]]), sigmas=[4.0, 2.0, 0.0])
        >>> law = scheduler.row_law(state.x / state.t, state)
        >>> law.kl_divergence(scheduler.row_law(0.9 * state.x / state.t, state)).round(4)
        array([0.06, 0.  ])
        """
        self._check_state(state)
        state.check_entered()
        if not state.tableau.stages[state.index].c:
            raise ValueError(
                f"state must be before a row that draws noise, which alone has a density, got "
                f"{state!r}, whose row has none"
            )
        output, std = self._read(output, state)
        return RowLaw(self._without_noise(output, state), abs(std))

    def step(self, denoiser: Denoiser, state: State, rng: RandomSource = None) -> State:
        """Take one whole step, or what is left of one.

        Parameters
        ----------
        denoiser : callable
            ``denoiser(x, t)`` returns the model's output, as `prediction_type` says, for the sample
            x at the model's own scale and time t.
        state, rng
            As for `update`.

        Returns
        -------
        State

        Raises
        ------
        TypeError, ValueError
            If `denoiser` is not callable, and as for `update`.

        Examples
        --------
        >>> from schedulers import Heun, VESchedule
        >>> scheduler = Heun(VESchedule())
        >>> state = scheduler.init(np.array([8.0]), sigmas=[4.0, 2.0, 0.0])
        >>> scheduler.step(lambda x, t: x / t, state)
        State(Heun, 2 of 3 evaluations, t=2, shape=(1,))
        """
        _checks.function("denoiser", denoiser, "(x, t)")
        self._check_state(state)
        noise = Noise.bind(rng, state.carried, drawn=state.tableau.draws_noise)
        return self._step(denoiser, state, noise, keep_denoised=True)

    def iterate(
        self,
        denoiser: Denoiser,
        x_T: Array,
        steps: int | None = None,
        *,
        timesteps: ArrayLike | None = None,
        sigmas: ArrayLike | None = None,
        rng: RandomSource = None,
    ) -> Iterator[State]:
        """Run, and yield the state after every step.

        Parameters
        ----------
        denoiser
            As for `step`.
        x_T, steps, timesteps, sigmas
            As for `init`.
        rng : source of noise
            As in the notes on `Scheduler`.

        Returns
        -------
        iterator of State

        Raises
        ------
        TypeError, ValueError
            As for `step` and `init`, at the call; as for `update`, while it runs.

        Examples
        --------
        >>> from schedulers import DDIM, VESchedule
        >>> def denoiser(x, t):
        ...     return x / t  # the data is a point at 0
        >>> for state in DDIM(VESchedule()).iterate(denoiser, np.array([8.0]), sigmas=[4, 2, 0]):
        ...     print(state.t, state.x, state.denoised)
        2.0 [4.] [0.]
        0.0 [0.] [0.]
        """
        _checks.function("denoiser", denoiser, "(x, t)")
        state = self.init(x_T, steps, timesteps=timesteps, sigmas=sigmas)
        noise = Noise.bind(rng, state.carried, drawn=state.tableau.draws_noise)
        return self._iterate(denoiser, state, noise, keep_denoised=True)

    def sample(
        self,
        denoiser: Denoiser,
        x_T: Array,
        steps: int | None = None,
        *,
        timesteps: ArrayLike | None = None,
        sigmas: ArrayLike | None = None,
        rng: RandomSource = None,
        callback: Callable[[State], object] | None = None,
        progress: bool = False,
    ) -> Array:
        """Run from the first level to the last.

        Parameters
        ----------
        denoiser, x_T, steps, timesteps, sigmas, rng
            As for `iterate`.
        callback : callable, optional
            Called after every step as ``callback(state)``; what it returns is ignored.
        progress : bool
            Whether to show a progress bar over the steps; needs tqdm.

        Returns
        -------
        array
            The sample at the last level, in the shape and dtype of `x_T`.

        Raises
        ------
        TypeError, ValueError
            As for `iterate`.
        ImportError
            If `progress` is True and tqdm is not installed.

        Examples
        --------
        >>> from schedulers import DDIM, FlowSchedule
        >>> from schedulers.analytic import Gaussian
        >>> schedule = FlowSchedule()
        >>> scheduler = DDIM(schedule, prediction_type="flow")
        >>> x_T = scheduler.initial_noise((100_000,), steps=20, rng=0)
        >>> denoiser = Gaussian(mean=5.0, cov=0.25).denoiser(schedule, prediction_type="flow")
        >>> x_0 = scheduler.sample(denoiser, x_T, steps=20)
        >>> print(f"{x_0.mean():.2f}")
        5.00
        """
        _checks.function("denoiser", denoiser, "(x, t)")
        if callback is not None:
            _checks.function("callback", callback, "(state)")
        bar = progress_bar() if _checks.boolean("progress", progress) else None
        state = self.init(x_T, steps, timesteps=timesteps, sigmas=sigmas)
        noise = Noise.bind(rng, state.carried, drawn=state.tableau.draws_noise)
        states = self._iterate(denoiser, state, noise, keep_denoised=callback is not None)
        if bar is not None:
            states = bar(states, total=state.tableau.steps)
        for state in states:
            if callback is not None:
                callback(state)
        return cast(state.carried, state.dtype)

    def invert(
        self,
        denoiser: Denoiser,
        x_0: Array,
        steps: int | None = None,
        *,
        timesteps: ArrayLike | None = None,
        sigmas: ArrayLike | None = None,
    ) -> Array:
        """Run backwards, from a sample to the noise that it is made from ("DDIM inversion").

        This scheduler's own rows, on the levels of `sample` in rising order, solve the
        probability-flow ODE upwards. Sampling from the result gives `x_0` back with an error of the
        scheduler's order. At the clean level no model tells the noise: the step from there,
        y' = y + s' e with y = x / alpha and Karras's sigma s, takes e at (y, s'). Leave `threshold`
        out: what it clips is lost.

        Parameters
        ----------
        denoiser
            As for `step`.
        x_0 : array of floats
            The sample at the last level of the run, such as data.
        steps, timesteps, sigmas
            As for `tableau`: the run to invert.

        Returns
        -------
        array
            The sample at the run's first level, in the shape and dtype of `x_0`.

        Raises
        ------
        TypeError, ValueError
            If the run draws noise, if the method cannot take rising levels, and as for `sample`.

        References
        ----------
        Song, Meng, Ermon: Denoising Diffusion Implicit Models, ICLR 2021, section 5.4 and eq. 13.

        Examples
        --------
        >>> from schedulers import Heun, VESchedule, karras_sigmas
        >>> from schedulers.analytic import Gaussian
        >>> denoiser = Gaussian(mean=1.0, cov=4.0).denoiser(VESchedule())
        >>> scheduler, x_0 = Heun(VESchedule()), np.array([-2.0, 1.0, 3.0])
        >>> sigmas = karras_sigmas(50, 0.002, 80.0)
        >>> x_T = scheduler.invert(denoiser, x_0, sigmas=sigmas)
        >>> scheduler.sample(denoiser, x_T, sigmas=sigmas).round(3)
        array([-2.001,  1.   ,  3.001])
        """
        _checks.function("denoiser", denoiser, "(x, t)")
        falling = self.tableau(steps, timesteps=timesteps, sigmas=sigmas)
        carried, dtype = self._checked_sample("x_0", x_0)
        state = State.first(rising(falling, self.stages), carried, dtype, self._reading)
        while not state.done:
            state = self._step(denoiser, state, None, keep_denoised=False)
        return cast(state.carried, dtype)

    def initial_noise(
        self,
        shape: int | Sequence[int],
        steps: int | None = None,
        *,
        timesteps: ArrayLike | None = None,
        sigmas: ArrayLike | None = None,
        rng: RandomSource = None,
        dtype: DTypeLike | None = None,
        like: Array | None = None,
        data_std: float | None = None,
    ) -> Array:
        """Draw noise at the scale of a run's first level, sigma z: the sample to begin with.

        Where a schedule ends far from alpha = 0, as one of few training levels does, the model's
        samples have a part of the data there, alpha x_0. With `data_std` the noise has their
        spread, sqrt((alpha data_std)**2 + sigma**2), though not their shape.

        Parameters
        ----------
        shape : int or sequence of int
            Shape of the sample.
        steps, timesteps, sigmas
            As for `tableau`.
        rng : source of noise, except a function
            As in the notes on `Scheduler`. You can give the same seed to the run: its stages get
            other noise.
        dtype : dtype, optional
            Floating NumPy dtype of the sample; float64 by default.
        like : array, optional
            An array of any library, such as a tensor on a GPU: the sample is of its kind, on its
            device and in its dtype. NumPy draws it, so that a seed has the same noise everywhere.
        data_std : float, optional
            Standard deviation of the data, whose mean is 0.

        Returns
        -------
        array
            NumPy's, or of the kind of `like`.

        Raises
        ------
        TypeError, ValueError
            If an argument is not as described, if both `dtype` and `like` are given, and as for
            `tableau`.

        Warns
        -----
        UserWarning
            Without `data_std`, where the schedule ends at alpha / sigma above 0.3: noise alone has
            at least 4 % less spread there than the model saw of data with variance 1.

        Examples
        --------
        >>> from schedulers import Euler, VESchedule
        >>> scheduler = Euler(VESchedule(sigma_max=80.0))
        >>> x = scheduler.initial_noise((10_000,), steps=10, rng=0)
        >>> print(f"{x.std():.0f}")
        80
        """
        source = checked_source(rng)
        if callable(source):
            raise TypeError(
                f"rng must be a seed, a Generator, a BrownianPath or None here, not a function, "
                f"which needs an array to take the shape of; got {_checks.shown(rng)}"
            )
        dimensions = tuple(shape) if isinstance(shape, (tuple, list)) else (shape,)
        dimensions = tuple(_checks.integer("shape", n, at_least=0) for n in dimensions)
        if math.prod(dimensions) > LARGEST:
            raise ValueError(
                f"shape must be of at most {LARGEST} elements, got {_checks.shown(shape)}"
            )
        stepped = _stepped_dtype(dtype, like)
        first = self._levels(steps, timesteps, sigmas)[0]
        if isinstance(source, Seeded):
            source.check_shape(dimensions)
        scale = first.sigma
        if data_std is not None:
            scale = math.hypot(
                scale, first.alpha * _checks.real("data_std", data_std, at_least=0.0)
            )
        elif _much_data(first) and _much_data(*self.schedule.levels([self.schedule.t_max])):
            warnings.warn(
                f"the schedule ends far from alpha = 0: the run begins at alpha = "
                f"{first.alpha:.2g} and sigma = {first.sigma:.2g}, where the part of data with "
                f"standard deviation 1 has {first.alpha / first.sigma:.0%} of the noise's scale, "
                f"and noise alone is no sample of that level. Give data_std, or begin with "
                f"add_noise",
                stacklevel=2,
            )
        try:
            z = normal(source, START, dimensions, stepped)
        except MemoryError as error:
            raise ValueError(f"shape must be one that memory holds: {error}") from None
        noise = np.asarray(scale * z)
        noise = cast(noise, np.dtype(dtype)) if like is None else arrays.of_the_kind(noise, like)
        arrays.check_finite(f"noise of sigma={scale:g} in dtype {noise.dtype}", noise)
        return noise

    def add_noise(
        self, x_0: Array, t: ArrayLike, *, noise: Array | None = None, rng: RandomSource = None
    ) -> Array:
        """Noise data to a time of the model: x_t = alpha(t) x_0 + sigma(t) noise.

        Parameters
        ----------
        x_0 : array of floats
            Data.
        t : float, or array_like of shape (n,)
            The model's time; or one for each of the n samples along axis 0.
        noise : array, shape of `x_0`, optional
            Standard normal noise; drawn if not given.
        rng : source of noise
            As in the notes on `Scheduler`; used if `noise` is not given.

        Returns
        -------
        array, shape and dtype of `x_0`

        Raises
        ------
        TypeError, ValueError
            If an argument is not as described, if `t` is outside the schedule, or if both `noise`
            and `rng` are given.

        Examples
        --------
        >>> from schedulers import DDIM, FlowSchedule
        >>> scheduler = DDIM(FlowSchedule())
        >>> scheduler.add_noise(np.array([4.0]), 0.25, noise=np.array([-1.0]))
        array([2.75])
        """
        carried, dtype = arrays.sample("x_0", x_0)
        alpha, sigma = self.schedule.alpha(t), self.schedule.sigma(t)
        if np.ndim(alpha) and alpha.shape != carried.shape[:1]:
            raise ValueError(
                f"t must be one time, or one for each sample along axis 0 of x_0, whose shape is "
                f"{tuple(carried.shape)}; got shape {alpha.shape}"
            )
        if noise is None:
            noise = Noise.bind(rng, carried).draw(ADDED)
        elif rng is not None:
            raise ValueError(f"noise and rng must not both be given, got rng={_checks.shown(rng)}")
        else:
            noise, _ = arrays.sample("noise", noise)
            if noise.shape != carried.shape:
                raise ValueError(f"noise must have shape {carried.shape}, got {noise.shape}")
        with np.errstate(over="ignore", invalid="ignore"):
            if np.ndim(alpha):
                alpha, sigma = (arrays.per_sample(scale, carried) for scale in (alpha, sigma))
                noised = alpha * carried + sigma * noise
            else:
                noised = weighted_sum([(alpha, carried), (sigma, noise)])
        noised = cast(noised, dtype)
        arrays.check_finite(f"x_0 at t, in its dtype, {dtype},", noised)
        return noised

    def _rows(self, levels: tuple[Level, ...]) -> tuple[tuple[Stage, ...], tuple[float, float]]:
        """Return the method's rows and its entry."""
        try:
            return tuple(self.stages(levels)), self.entry(levels)
        except ArithmeticError as error:
            options = {field.name: getattr(self, field.name) for field in fields(self)[4:]}
            raise ValueError(
                f"levels and options of {type(self).__name__} must give weights that float64 "
                f"holds, got sigmas from {levels[0].karras:g} to {levels[-1].karras:g} and "
                f"{_checks.shown(options)}: {error}"
            ) from error

    def _levels(
        self, steps: int | None, timesteps: ArrayLike | None, sigmas: ArrayLike | None
    ) -> tuple[Level, ...]:
        """Return the levels of a run, of which exactly one of the arguments is given."""
        return run_levels(self.schedule, self.spacing, steps, timesteps, sigmas)

    @cached_property
    def _tableaus(self) -> dict[int | tuple[Level, ...] | None, Tableau]:
        """Tableaus by their number of steps, where one was given, or else by their levels."""
        return {}

    def __getstate__(self) -> dict[str, Any]:
        """Return all but what is made again."""
        made = "_tableaus", "_reading"
        return {name: value for name, value in vars(self).items() if name not in made}

    def _checked_sample(self, name: str, x: Array) -> tuple[Array, Any]:
        """Check a sample that a run begins with; return a copy to step, and its dtype."""
        carried, dtype = arrays.sample(name, x)
        if isinstance(self.threshold, DynamicThreshold):
            self.threshold.check(name, carried)
        return carried, dtype

    def _check_state(self, state: State) -> None:
        if not isinstance(state, State):
            raise TypeError(f"state must be a State, from init, got {_checks.shown(state)}")
        if state.tableau.method != self._method:
            raise ValueError(
                f"state must be of a run of {self._method}, got one of {state.tableau.method}"
            )
        if state.done:
            raise ValueError(f"state must be of a run that is not done, got {state!r}")

    def _iterate(
        self, denoiser: Denoiser, state: State, noise: Noise, keep_denoised: bool
    ) -> Iterator[State]:
        while not state.done:
            state = self._step(denoiser, state, noise, keep_denoised)
            yield state

    def _step(
        self, denoiser: Denoiser, state: State, noise: Noise | None, keep_denoised: bool
    ) -> State:
        """Take the rows that are left of a step."""
        if not state.entered:
            state = _enter(state, noise)
        ended = False
        while not ended:
            ended = state.tableau.stages[state.index].ends_step
            try:
                state = self._take(denoiser(lent(state), state.t), state, noise, keep_denoised)
            except ValueError:
                state.check_finite()  # no model has an answer to infinity
                raise
        return state

    def _take(self, output: Array, state: State, noise: Noise | None, keep_denoised: bool) -> State:
        """Take one row, with what the model returned for it."""
        output, deviation = self._read(output, state)
        return take(state, self._reading, output, deviation, noise, keep_denoised)

    def _without_noise(self, output: Array, state: State) -> Array:
        """Return what a row makes with z = 0."""
        return (
            arrays.SILENT.copy()
            .run(advance, state, output, self.prediction_type, self.threshold, None, False)
            .carried
        )

    def _read(self, output: Array, state: State) -> tuple[Array, Any]:
        """Check what the model returned; return its prediction, and the deviation of the noise."""
        x, stage = state.carried, state.tableau.stages[state.index]
        shape = tuple(x.shape)
        return arrays.matching("the model's output", output, x, shape, stage.level.t), stage.c

    @cached_property
    def _reading(self) -> Reading:
        """How a run reads what the model returns."""
        return Reading(self.prediction_type, self.threshold)

    @property
    def _method(self) -> str:
        """Name that a tableau goes by, so that no other scheduler takes its rows."""
        return type(self).__name__


def _stepped_dtype(dtype: DTypeLike | None, like: Array | None) -> Any:
    """Check what a sample shall be; return the NumPy dtype in which its noise is drawn."""
    if like is not None:
        if dtype is not None:
            raise ValueError(f"dtype and like must not both be given, got {_checks.shown(dtype)}")
        arrays.check_floats("like", like)
        return arrays.stepping(like.dtype) if isinstance(like, np.ndarray) else noise_dtype(like)
    try:
        arrays.check_floating("dtype", np.dtype(dtype))
    except TypeError:
        raise TypeError(
            f"dtype must be a floating dtype, such as float32, got {_checks.shown(dtype)}"
        ) from None
    return arrays.stepping(np.dtype(dtype))


def _much_data(level: Level) -> bool:
    """Whether noise alone is a poor sample to begin with at a level."""
    return level.alpha > 0.3 * level.sigma


def _enter(state: State, noise: Noise | None) -> State:
    """Scale the given sample, and add noise, as the tableau's entry says."""
    scale, c = state.tableau.entry
    terms = [(scale, state.carried)]
    if c:
        assert noise is not None
        terms.append((c, noise.draw(ENTRY)))
    carried = arrays.SILENT.copy().run(weighted_sum, terms)
    return replace(state, carried=carried, entered=True)


def progress_bar() -> Any:
    """Return the function that shows a progress bar over an iterable."""
    try:
        from tqdm import tqdm
    except ImportError:
        raise ImportError("progress=True needs the package tqdm: pip install tqdm") from None
    return tqdm
