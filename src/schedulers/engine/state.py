"""The state of a run, and the engine that takes a row of its tableau."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np

from schedulers.engine.arrays import SILENT, cast, is_finite, weighted_sum
from schedulers.engine.noise import stage_place
from schedulers.engine.parameterization import coefficients
from schedulers.engine.tableau import Row, Tableau
from schedulers.engine.thresholds import DynamicThreshold, StaticThreshold

if TYPE_CHECKING:
    from schedulers.engine.noise import Place
    from schedulers.schedules.base import Level

    Array = Any
    History = tuple[tuple[Array | None, Array | None], ...]


class Draws(Protocol):
    """Where a row's noise comes from."""

    def draw(self, place: Place) -> Array:
        """Return standard normal noise for a place."""


class Reading(NamedTuple):
    """How a run reads what the model returns.

    `variance` says what the second half of the channels means, where a model learned its variance.
    """

    prediction_type: str
    threshold: StaticThreshold | DynamicThreshold | None = None
    variance: str | None = None


@dataclass(frozen=True, eq=False, repr=False)
class State:
    """All that a run knows between two model evaluations. Immutable; can be pickled.

    Attributes
    ----------
    x : array
        The sample at the model's own scale, in the dtype of the run's first sample; read-only if
        it is a NumPy array.
    t : int or float
        The model's time for `x`: evaluate the model there next.
    denoised : array or None
        D of the last evaluation, which was at ``tableau.stages[index - 1].level``, before the step
        to `t`. None before the first evaluation, and after ``update(..., keep_denoised=False)``.
    log_prob : array, shape (n,), or None
        Log-probability of `x` in the row that made it, after ``update(..., log_prob=True)``; see
        `Scheduler.log_prob`.
    done : bool
        Whether the run is over.
    tableau : Tableau
        The rows of the run.
    index : int
        The row that comes next, which is the number of evaluations so far.
    """

    tableau: Tableau
    index: int
    # The sample in the precision that the run steps in: float32 for a dtype of less precision.
    carried: Array
    dtype: Any
    carried_denoised: Array | None = None
    # (D, e) of one evaluation ago, two ago, ...; None for what no later row weighs.
    history: History = ()
    # False until the noise of the tableau's entry has been added.
    entered: bool = True
    log_prob: Array | None = None
    # For a `Batch`, which knows no scheduler.
    reading: Reading | None = None

    @classmethod
    def first(
        cls, tableau: Tableau, carried: Array, dtype: Any, reading: Reading | None = None
    ) -> State:
        """State before the first row."""
        entered = tableau.entry == (1.0, 0.0)
        return cls(tableau, 0, carried, dtype, entered=entered, reading=reading)

    @property
    def x(self) -> Array:
        """The sample."""
        self.check_entered()
        return _read_only(cast(self.carried, self.dtype))

    @property
    def denoised(self) -> Array | None:
        """D of the last evaluation."""
        if self.carried_denoised is None:
            return None
        return _read_only(cast(self.carried_denoised, self.dtype))

    @property
    def done(self) -> bool:
        """Whether the run is over."""
        return self.index == len(self.tableau.stages)

    @property
    def level(self) -> Level:
        """The noise level of `x`."""
        return self.tableau.levels[-1] if self.done else self.tableau.stages[self.index].level

    @property
    def t(self) -> float:
        """The model's time for `x`."""
        return self.level.t

    def check_entered(self) -> None:
        """Refuse a state whose first level churn has still to raise."""
        if not self.entered:
            raise ValueError(
                "rng must be given to init where churn raises the first level, before a model can "
                "be evaluated there: init(x_T, ..., rng=rng)"
            )

    def check_finite(self) -> None:
        """Refuse a sample that has grown beyond what its dtype holds."""
        if not is_finite(cast(self.carried, self.dtype)):
            raise ValueError(
                f"the sample at t={self.t:g} must be finite in the dtype of the run, "
                f"{self.dtype}, got NaN or infinity in it"
            )

    def __repr__(self) -> str:
        return (
            f"State({self.tableau.method}, {self.index} of {self.tableau.nfe} evaluations, "
            f"t={self.t:.6g}, shape={tuple(self.carried.shape)})"
        )


def lent(state: State) -> Array:
    """Return a copy of x, so that a denoiser that writes to its argument harms no state."""
    if state.carried.dtype != state.dtype:
        return cast(state.carried, state.dtype)
    return state.carried.copy() if isinstance(state.carried, np.ndarray) else state.carried * 1.0


def take(
    state: State,
    reading: Reading,
    output: Array,
    deviation: Any,
    noise: Draws | None,
    keep_denoised: bool,
) -> State:
    """Take one row, with what the model returned for it, and the deviation of its noise."""
    index, fresh = state.index, None
    if state.tableau.stages[index].c:
        assert noise is not None
        z = noise.draw(stage_place(index, state.tableau.spans[index]))
        fresh = (deviation, z) if isinstance(deviation, float) else (1.0, deviation * z)
    return SILENT.copy().run(
        advance, state, output, reading.prediction_type, reading.threshold, fresh, keep_denoised
    )


def advance(
    state: State,
    output: Array,
    prediction_type: str,
    threshold: StaticThreshold | DynamicThreshold | None = None,
    noise: tuple[float, Array] | None = None,
    keep_denoised: bool = True,
) -> State:
    """Take one row: the engine. A last sample that is not finite is refused.

    `output` is what the model returned, already checked and in the run's precision. `noise` is c
    and z, or None. D is kept in the state if `keep_denoised` says so.
    """
    x, row = state.carried, state.tableau.row(state.index, prediction_type)
    keeps_d, keeps_e = row.kept[0] if row.kept else (False, False)
    d = e = None
    if keep_denoised or keeps_d or threshold is not None:
        d = weighted_sum(((row.denoised[0], x), (row.denoised[1], output)))
    noise_weights = row.noise
    terms = [(row.x_weight, x), (row.output_weight, output)]
    if threshold is not None:
        d, stage = threshold(d), state.tableau.stages[state.index]
        if threshold.rederive_noise:
            k, output = coefficients("sample", stage.level.alpha, stage.level.sigma), d
            noise_weights = k.noise_x, k.noise_output
        b_x, b_output = (stage.b[0] * weight for weight in noise_weights)
        terms = [(stage.a[0], d), (b_x, x), (b_output, output)]
    if keeps_e:
        e = weighted_sum(((noise_weights[0], x), (noise_weights[1], output)))
    terms += [(weight, state.history[place][which]) for weight, place, which in row.past]
    if noise is not None:
        terms.append(noise)
    kept_denoised = d if keep_denoised else None
    return after_row(state, row, weighted_sum(terms), kept_denoised, (d, e))


def after_row(
    state: State, row: Row, carried: Array, denoised: Array | None, estimates: tuple[Any, Any]
) -> State:
    """Return the state after a row, which made this sample from these D and e."""
    after = State(
        state.tableau,
        state.index + 1,
        carried,
        state.dtype,
        denoised,
        _still_needed((estimates, *state.history), row.kept) if row.kept else (),
        reading=state.reading,
    )
    if after.index == len(after.tableau.stages):
        after.check_finite()
    return after


def _still_needed(history: History, kept: tuple[tuple[bool, bool], ...]) -> History:
    """Drop the estimates that no later row weighs."""
    return tuple(
        (d if keeps_d else None, e if keeps_e else None)
        for (d, e), (keeps_d, keeps_e) in zip(history, kept, strict=False)
    )


def _read_only(array: Array) -> Array:
    """Return a view that cannot be written to, so that the state stays what it is."""
    if not isinstance(array, np.ndarray):
        return array
    view = array.view()
    view.flags.writeable = False
    return view
