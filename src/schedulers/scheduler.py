"""The `Scheduler` base: everything that schedulers share, which is all but their weights."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import KW_ONLY, dataclass, replace
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
    alike,
    check_drawable,
    check_seeds,
    checked_noise,
    draw,
    normal,
    stage_place,
)
from schedulers.engine.parameterization import PREDICTION_TYPES, UNDEFINED_AT_ALPHA_0
from schedulers.engine.tableau import Stage, State, Tableau, advance
from schedulers.engine.thresholds import DynamicThreshold, StaticThreshold
from schedulers.grids import SPACINGS
from schedulers.grids.run import run_levels
from schedulers.schedules.base import Level, NoiseSchedule

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, DTypeLike

    from schedulers.engine.noise import Noise
    from schedulers.grids import Spacing

    Array = Any
    Denoiser = Callable[[Array, float], Array]

# Tableaus that a scheduler keeps.
_KEPT_TABLEAUS = 32


@dataclass(frozen=True)
class Scheduler(ABC):
    """What all schedulers share. A scheduler is immutable and holds nothing of any run.

    A scheduler of one's own subclasses this and writes `stages`. Where it has parameters, they are
    the fields of a dataclass, ``@dataclass(frozen=True, kw_only=True)``, so that two schedulers are
    equal only if their parameters are.

    Parameters
    ----------
    schedule : NoiseSchedule
        What the model was trained with.
    prediction_type : str
        What the model returns: "epsilon", "sample", "v_prediction", "score" or "flow".
    spacing : str or callable
        Which levels `steps=` visits: "trailing" (default), "leading", "linspace", "quadratic",
        uniform in the model's time in some way, or "karras", "exponential", "polyexponential",
        "vp", "ve", "log_snr", "beta", by Karras's sigma; see `schedulers.grids`. Or a function
        ``(schedule, steps)`` that returns the decreasing model times of the steps, such as
        ``functools.partial(schedulers.grids.leading, offset=1)``.
    threshold : StaticThreshold or DynamicThreshold, optional
        What is done to the denoised estimate of every evaluation.

    Notes
    -----
    `rng`, wherever it is an argument, is the source of fresh noise:

    - None is seeded by the system, anew each time.
    - A `numpy.random.Generator` draws in order.
    - An int or a `numpy.random.SeedSequence` names noise: the start and each stage have their own,
      a function of the seed and the stage. So the same one is passed every time, and it makes no
      difference who draws when.
    - A sequence of those, one for each sample along axis 0, gives each sample the noise that it has
      as a batch of one under its own seed, in whatever company.
    - A `BrownianPath` is the same path however many steps there are.
    - A function ``noise(like)`` returns standard normal noise of the shape and kind of the array
      `like`, such as ``torch.randn_like``.

    Noise for a PyTorch tensor or an array of the array API is NumPy's, converted. It is drawn in
    float32 for samples of at most that precision, else in float64.
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
            _checks.choice("spacing", self.spacing, SPACINGS)
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
            Where each step begins, and where the last one ends; at least two, sigma falling.

        Returns
        -------
        iterable of Stage
            One per model evaluation, in order.
        """

    def entry(self, levels: tuple[Level, ...]) -> tuple[float, float]:
        """Weights of the given sample and of fresh noise in what the first stage sees."""
        return 1.0, 0.0

    def tableau(
        self,
        steps: int | None = None,
        *,
        timesteps: ArrayLike | None = None,
        sigmas: ArrayLike | None = None,
    ) -> Tableau:
        """Rows that a run takes; exactly one of the arguments is given.

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
            If not exactly one is given, if it is none such or outside the schedule, or if the
            method cannot take these levels.

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
        key = _key(steps, timesteps, sigmas)
        made = self._tableaus.get(key)
        if made is None:
            made = self._made_tableau(steps, timesteps, sigmas)
            if key is not None:
                while len(self._tableaus) >= _KEPT_TABLEAUS:
                    self._tableaus.pop(next(iter(self._tableaus)), None)
                self._tableaus[key] = made
        return made

    def _made_tableau(
        self, steps: int | None, timesteps: ArrayLike | None, sigmas: ArrayLike | None
    ) -> Tableau:
        levels = run_levels(self.schedule, self.spacing, steps, timesteps, sigmas)
        if levels[0].alpha == 0.0 and self.prediction_type in UNDEFINED_AT_ALPHA_0:
            raise ValueError(
                f"prediction_type must be 'v_prediction', 'sample' or 'flow' where the run begins "
                f"at alpha = 0, at which a model's noise says nothing of x_0; "
                f"got {self.prediction_type!r}"
            )
        return Tableau(self._method, levels, tuple(self.stages(levels)), self.entry(levels))

    def init(
        self,
        x_T: Array,
        steps: int | None = None,
        *,
        timesteps: ArrayLike | None = None,
        sigmas: ArrayLike | None = None,
        rng: Noise = None,
    ) -> State:
        """State at the start of a run, for `step` or `update`.

        Parameters
        ----------
        x_T : array of floats
            The sample at the first level, at the model's own scale; copied. For image-to-image it
            is a partly noised one, and the levels begin lower.
        steps, timesteps, sigmas
            As for `tableau`.
        rng : source of noise
            Of that which raises the first level, where there is churn; else unused. Without it
            `step` raises that level, with its own rng, and ``state.x`` is refused until then.

        Returns
        -------
        State

        Raises
        ------
        TypeError, ValueError
            If `x_T` is no array of finite floats, and as for `tableau`.

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
        return self._init(x_T, steps, timesteps, sigmas, checked_noise(rng))

    def _init(
        self,
        x_T: Array,
        steps: int | None,
        timesteps: ArrayLike | None,
        sigmas: ArrayLike | None,
        source: Any,
    ) -> State:
        carried, dtype = self._sample("x_T", x_T)
        tableau = self.tableau(steps, timesteps=timesteps, sigmas=sigmas)
        check_seeds(source, carried.shape)
        state = State.first(tableau, carried, dtype)
        return state if state.entered or source is None else self._enter(state, source)

    def update(self, output: Array, state: State, rng: Noise = None) -> State:
        """Take the row of one model evaluation that the caller made at ``state.x, state.t``.

        Parameters
        ----------
        output : array, shape of ``state.x``
            What the model returned. Twice the channels on axis 1 where it learned its variance.
        state : State
            Of a run of this scheduler that is not done.
        rng : source of noise
            As in the notes on `Scheduler`.

        Returns
        -------
        State

        Raises
        ------
        TypeError, ValueError
            If the output has another shape than the sample, is not floats or not finite, or if
            `state` or `rng` is none such.

        Examples
        --------
        See `init`.
        """
        self._check_state(state)
        state.check_entered()
        source = checked_noise(rng)
        check_seeds(source, state.carried.shape)
        return self._update(output, state, source, keep_denoised=True, deferred=True)

    def step(self, denoiser: Denoiser, state: State, rng: Noise = None) -> State:
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
            If `denoiser` is no callable, and as for `update`.

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
        source = checked_noise(rng)
        check_seeds(source, state.carried.shape)
        return self._step(denoiser, state, source, keep_denoised=True)

    def iterate(
        self,
        denoiser: Denoiser,
        x_T: Array,
        steps: int | None = None,
        *,
        timesteps: ArrayLike | None = None,
        sigmas: ArrayLike | None = None,
        rng: Noise = None,
    ) -> Iterator[State]:
        """Run, and give the state after every step.

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
        state, source = self._begin(x_T, steps, timesteps, sigmas, rng)
        return self._iterate(denoiser, state, source, keep_denoised=True)

    def sample(
        self,
        denoiser: Denoiser,
        x_T: Array,
        steps: int | None = None,
        *,
        timesteps: ArrayLike | None = None,
        sigmas: ArrayLike | None = None,
        rng: Noise = None,
        callback: Callable[[State], object] | None = None,
        progress: bool = False,
    ) -> Array:
        """Run from the first level to the last.

        Parameters
        ----------
        denoiser, x_T, steps, timesteps, sigmas, rng
            As for `iterate`.
        callback : callable, optional
            ``callback(state)`` is called after every step; what it returns is ignored.
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
            If `progress` is asked for and tqdm is not installed.

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
        bar = _progress_bar() if _checks.boolean("progress", progress) else None
        state, source = self._begin(x_T, steps, timesteps, sigmas, rng)
        states = self._iterate(denoiser, state, source, keep_denoised=callback is not None)
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

        The probability-flow ODE is solved upwards by this scheduler's own rows on the levels of
        `sample` in rising order. Sampling from the result gives `x_0` back with an error of the
        scheduler's order. At the clean level no model tells the noise; the step from there,
        y' = y + s' e with y = x / alpha and Karras's sigma s, takes e at (y, s'). A `threshold`
        is better left out: what it clips is lost.

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
            If the run draws noise, if the method's last step up is infinite, and as for `sample`.

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
        carried, dtype = self._sample("x_0", x_0)
        state = State.first(rising(falling, self.stages), carried, dtype)
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
        rng: Noise = None,
        dtype: DTypeLike = np.float64,
    ) -> Array:
        """Draw noise at the scale of a run's first level, sigma z: the sample to begin with.

        Parameters
        ----------
        shape : int or sequence of int
            Of the sample.
        steps, timesteps, sigmas
            As for `tableau`.
        rng : source of noise, but no function
            As in the notes on `Scheduler`; the same seed gives a run's stages other noise.
        dtype : dtype
            Of the sample; floating.

        Returns
        -------
        ndarray

        Raises
        ------
        TypeError, ValueError
            If `shape`, `rng` or `dtype` is none such, and as for `tableau`.

        Examples
        --------
        >>> from schedulers import Euler, VESchedule
        >>> scheduler = Euler(VESchedule(sigma_max=80.0))
        >>> x = scheduler.initial_noise((10_000,), steps=10, rng=0)
        >>> print(f"{x.std():.0f}")
        80
        """
        source = checked_noise(rng)
        if callable(source):
            raise TypeError(
                f"rng must be no function where there is no sample to be like, got {rng!r}"
            )
        dimensions = tuple(shape) if isinstance(shape, (tuple, list)) else (shape,)
        dimensions = tuple(_checks.integer("shape", n, at_least=0) for n in dimensions)
        try:
            arrays.check_floating("dtype", np.dtype(dtype))
        except TypeError:
            raise TypeError(
                f"dtype must be a floating one, such as float32, got {dtype!r}"
            ) from None
        first = run_levels(self.schedule, self.spacing, steps, timesteps, sigmas)[0]
        check_seeds(source, dimensions)
        stepped = arrays.stepping(np.dtype(dtype))
        z = normal(source, START, dimensions, stepped)
        return np.asarray(first.sigma * z).astype(dtype, copy=False)

    def add_noise(
        self, x_0: Array, t: ArrayLike, *, noise: Array | None = None, rng: Noise = None
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
            As in the notes on `Scheduler`, where `noise` is not given.

        Returns
        -------
        array, shape and dtype of `x_0`

        Raises
        ------
        TypeError, ValueError
            If an argument is none such, if `t` is outside the schedule, or if both `noise` and
            `rng` are given.

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
            noise = draw(checked_noise(rng), ADDED, carried)
        elif rng is not None:
            raise ValueError(f"noise and rng must not both be given, got rng={rng!r}")
        else:
            noise, _ = arrays.sample("noise", noise)
            if noise.shape != carried.shape:
                raise ValueError(f"noise must have shape {carried.shape}, got {noise.shape}")
        scales: list[Any] = [alpha, sigma]
        if np.ndim(alpha):
            column = (-1,) + (1,) * (len(carried.shape) - 1)
            scales = [alike(scale.reshape(column), carried) for scale in scales]
        return cast(weighted_sum(zip(scales, (carried, noise), strict=True)), dtype)

    @cached_property
    def _tableaus(self) -> dict[tuple[object, ...] | None, Tableau]:
        return {}

    def __getstate__(self) -> dict[str, Any]:
        """All but the tableaus, which are made again."""
        return {name: value for name, value in vars(self).items() if name != "_tableaus"}

    def _sample(self, name: str, x: Array) -> tuple[Array, Any]:
        """Check a sample that a run begins with; return a copy to step, and its dtype."""
        carried, dtype = arrays.sample(name, x)
        self._output_shape(carried.shape)
        if isinstance(self.threshold, DynamicThreshold):
            self.threshold.check(carried)
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

    def _begin(
        self,
        x_T: Array,
        steps: int | None,
        timesteps: ArrayLike | None,
        sigmas: ArrayLike | None,
        rng: Noise,
    ) -> tuple[State, Any]:
        """State at the start of a whole run, and its one source of noise."""
        source = checked_noise(rng)
        state = self._init(x_T, steps, timesteps, sigmas, source)
        if state.tableau.draws_noise:
            check_drawable(source, state.carried)
            source = np.random.default_rng() if source is None else source
        return state, source

    def _iterate(
        self, denoiser: Denoiser, state: State, source: Any, keep_denoised: bool
    ) -> Iterator[State]:
        while not state.done:
            state = self._step(denoiser, state, source, keep_denoised)
            yield state

    def _step(self, denoiser: Denoiser, state: State, source: Any, keep_denoised: bool) -> State:
        if not state.entered:
            state = self._enter(state, source)
        ended = False
        while not ended:
            ended = state.tableau.stages[state.index].ends_step
            output = denoiser(_lent(state), state.t)
            state = self._update(output, state, source, keep_denoised)
        return state

    def _enter(self, state: State, source: Any) -> State:
        """Raise the first level."""
        scale, c = state.tableau.entry
        terms = [(scale, state.carried)]
        if c:
            terms.append((c, draw(source, ENTRY, state.carried)))
        return replace(state, carried=weighted_sum(terms), entered=True)

    def _update(
        self, output: Array, state: State, source: Any, keep_denoised: bool, deferred: bool = False
    ) -> State:
        """Take a row; D is not made before it is asked for where it may be `deferred`."""
        index, x = state.index, state.carried
        stage = state.tableau.stages[index]
        shape = self._output_shape(tuple(x.shape))
        given, total = arrays.like("the model's output", output, x, shape, stage.level.t)
        output, c = self._read(given, stage)
        fresh = None
        if stage.c:
            fresh = c, draw(source, stage_place(index, state.tableau.spans[index]), x)
        # What D is made of later has to be known by its total. Arrays that are not NumPy's, or a
        # part of the output, have none; and one that is not finite, or 0, tells nothing.
        deferred = deferred and output is given and isinstance(x, np.ndarray)
        deferred = deferred and math.isfinite(total) and total != 0.0
        return advance(
            state,
            output,
            self.prediction_type,
            self.threshold,
            fresh,
            keep_denoised,
            total if deferred else None,
        )

    @property
    def _method(self) -> str:
        """Name that a tableau goes by, for nobody to run it with another scheduler."""
        return type(self).__name__

    def _output_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Shape that the model's output has for a sample of this shape."""
        return shape

    def _read(self, output: Array, stage: Stage) -> tuple[Array, Any]:
        """Return the model's output proper, and the weight of fresh noise."""
        return output, stage.c


def _key(
    steps: int | None, timesteps: ArrayLike | None, sigmas: ArrayLike | None
) -> tuple[object, ...] | None:
    """Return what a tableau is kept under; None where it is not worth it, or no levels at all."""
    if timesteps is None and sigmas is None:
        return ("steps", steps) if type(steps) is int else None
    if steps is not None or (timesteps is not None and sigmas is not None):
        return None
    name, given = ("timesteps", timesteps) if sigmas is None else ("sigmas", sigmas)
    if isinstance(given, np.ndarray) and given.dtype == np.float64 and given.ndim == 1:
        return name, given.tobytes()
    if isinstance(given, (list, tuple)) and all(type(value) in (int, float) for value in given):
        return name, *given
    return None


def _lent(state: State) -> Array:
    """Return x for a denoiser: a copy, so that one that writes to its argument harms no state."""
    if state.carried.dtype != state.dtype:
        return cast(state.carried, state.dtype)
    return state.carried.copy() if isinstance(state.carried, np.ndarray) else state.carried * 1.0


def _progress_bar() -> Any:
    try:
        from tqdm import tqdm
    except ImportError:
        raise ImportError("progress=True needs the package tqdm: pip install tqdm") from None
    return tqdm
