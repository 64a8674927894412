"""The tableau: a scheduler as a table of weights, and the engine that runs it.

At the level (alpha, sigma) of a *stage*, a model evaluation gives the denoised estimate D and the
noise estimate e, with x = alpha D + sigma e. A stage's row is the weighted sum that comes next,

    x_next = sum_k a[k] D[-k] + sum_k b[k] e[-k] + c z,      z ~ N(0, I),

where D[-k] and e[-k] are those of k evaluations ago. The weights depend on levels alone.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from functools import cached_property
from itertools import accumulate
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from schedulers import _checks
from schedulers.engine.arrays import cast, total, weighted_sum
from schedulers.engine.parameterization import coefficients
from schedulers.engine.thresholds import DynamicThreshold, StaticThreshold
from schedulers.schedules.base import Level

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = Any
    History = tuple[tuple[Array | None, Array | None], ...]


@dataclass(frozen=True, slots=True)
class Stage:
    """One model evaluation and the weighted sum that follows it: a row of a tableau.

    Parameters
    ----------
    level : Level
        Where the model is evaluated.
    a, b : tuple of float
        Weights of D and of e; position k is that of k evaluations ago.
    c : float
        Weight of fresh noise.
    c_range : (float, float), optional
        Where a model that learned its variance chooses the weight: between these two. `c` then only
        tells whether there is any noise.
    ends_step : bool
        Whether the scheduler's step is over after this row.
    """

    level: Level
    a: tuple[float, ...]
    b: tuple[float, ...]
    c: float = 0.0
    c_range: tuple[float, float] | None = None
    ends_step: bool = True


@dataclass(frozen=True)
class Tableau:
    """The rows that a run takes. Printing it shows them.

    Parameters
    ----------
    method : str
        Name of the scheduler's class.
    levels : tuple of Level
        The grid: where each step begins, and where the last one ends.
    stages : tuple of Stage
        The rows, one per model evaluation.
    entry : (float, float)
        Weights of the given sample and of fresh noise in the one that the first stage sees.

    Attributes
    ----------
    steps, nfe : int
        Number of steps, and of model evaluations.
    draws_noise : bool
        Whether a run draws fresh noise.
    timesteps : list of float
        Model time at which each step begins.
    sigmas : ndarray of float64, shape (steps + 1,)
        Karras's sigma at each of `levels`.

    Examples
    --------
    >>> from schedulers import Heun, VESchedule
    >>> print(Heun(VESchedule()).tableau(sigmas=[4.0, 2.0, 0.0]))
    Heun: 2 steps, 3 model evaluations
    step NFE t alpha sigma D       e e[-1] z
       1   1 4     1     4 1       2       0 0
           2 2     1     2 1       1       1 0
       2   3 2     1     2 1       0       0 0
    ends at 0     1     0
    """

    method: str
    levels: tuple[Level, ...]
    stages: tuple[Stage, ...]
    entry: tuple[float, float] = (1.0, 0.0)

    def __post_init__(self) -> None:
        for row, stage in enumerate(self.stages):
            if not isinstance(stage, Stage):
                raise TypeError(f"stages must be Stages, got {_checks.shown(stage)} in row {row}")
            if not (stage.a and stage.b):
                raise ValueError(
                    f"stages must weigh the D and the e of their own evaluation, if by 0, "
                    f"got {stage!r} in row {row}"
                )
            if not all(map(math.isfinite, (*stage.a, *stage.b, stage.c))):
                raise ValueError(f"stages must have finite weights, got {stage!r} in row {row}")
            if any(stage.a[row + 1 :]) or any(stage.b[row + 1 :]):
                raise ValueError(
                    f"stages must weigh estimates that there are, got a weight in row {row} for an "
                    f"evaluation before the first"
                )
        if not all(map(math.isfinite, self.entry)):
            raise ValueError(f"entry must be two finite weights, got {self.entry!r}")
        ends = [stage.ends_step for stage in self.stages]
        if sum(ends) != self.steps or not ends[-1]:
            raise ValueError(
                f"stages must end {self.steps} steps, the last stage the last of them, got "
                f"{sum(ends)} that end one"
            )

    @property
    def steps(self) -> int:
        """Number of steps."""
        return len(self.levels) - 1

    @property
    def nfe(self) -> int:
        """Number of model evaluations."""
        return len(self.stages)

    @property
    def timesteps(self) -> list[float]:
        """Model time at which each step begins."""
        return [level.t for level in self.levels[:-1]]

    @property
    def sigmas(self) -> NDArray[np.float64]:
        """Karras's sigma at each of `levels`."""
        return np.array([level.karras for level in self.levels])

    @cached_property
    def draws_noise(self) -> bool:
        """Whether some row weighs fresh noise, or the entry does."""
        return bool(self.entry[1]) or any(stage.c for stage in self.stages)

    @cached_property
    def spans(self) -> list[tuple[float, float]]:
        """Part of [0, 1] that a `BrownianPath` has for each row's noise.

        A step's is between the s / (1 + s) of its two ends, s being Karras's sigma, and is shared
        alike by those of its rows that weigh noise.
        """
        ends = [1.0 if math.isinf(s) else s / (1.0 + s) for s in self.sigmas.tolist()]
        noisy = [0] * self.steps
        for step, stage in zip(self._steps_of_rows, self.stages, strict=True):
            noisy[step] += bool(stage.c)
        spans, drawn = [], [0] * self.steps
        for step, stage in zip(self._steps_of_rows, self.stages, strict=True):
            width = (ends[step] - ends[step + 1]) / max(noisy[step], 1)
            top = ends[step] - drawn[step] * width
            spans.append((top - width, top))
            drawn[step] += bool(stage.c)
        return spans

    @property
    def _steps_of_rows(self) -> list[int]:
        """Index of the step that each row belongs to."""
        return list(accumulate((stage.ends_step for stage in self.stages[:-1]), initial=0))

    def row(self, index: int, prediction_type: str, dtype: np.dtype[Any] | None) -> Row:
        """Return a row for what a model predicts and NumPy's dtype, if it is one; made once."""
        row = self._rows.get((index, prediction_type, dtype))
        if row is None:
            row = self._folded(index, prediction_type, dtype)
            self._rows[index, prediction_type, dtype] = row
        return row

    def _folded(self, index: int, prediction_type: str, dtype: np.dtype[Any] | None) -> Row:
        """Fold a stage's weights of D and e into weights of x and of the model's output."""

        def number(weight: float) -> Any:
            # An array is scaled by an array of no dimensions in 0.6 of the time of a Python float.
            return np.array(weight, dtype) if dtype and weight else float(weight)

        stage = self.stages[index]
        a, b = stage.a[0], stage.b[0]
        k = coefficients(prediction_type, stage.level.alpha, stage.level.sigma)
        before = range(1, min(self._reach, index + 1))
        past = [
            (number(weight), back - 1, estimate)
            for back in before
            for estimate, weights in enumerate((stage.a, stage.b))
            if (weight := _weight(weights, back))
        ]
        last_d, last_e = self._last_uses
        kept = [
            (last_d[index - back] > index, last_e[index - back] > index) for back in (0, *before)
        ]
        while kept and kept[-1] == (False, False):
            kept.pop()
        return Row(
            number(a * k.denoised_x + b * k.noise_x),
            number(a * k.denoised_output + b * k.noise_output),
            (number(k.denoised_x), number(k.denoised_output)),
            (number(k.noise_x), number(k.noise_output)),
            tuple(past),
            tuple(kept),
        )

    @cached_property
    def _rows(self) -> dict[tuple[int, str, np.dtype[Any] | None], Row]:
        return {}

    @cached_property
    def _reach(self) -> int:
        """Number of evaluations, at most, that a row weighs."""
        return max(max(len(stage.a), len(stage.b)) for stage in self.stages)

    @cached_property
    def _last_uses(self) -> tuple[list[int], list[int]]:
        """Index of the last row that weighs each evaluation's D, and the same for e."""
        uses = [0] * self.nfe, [0] * self.nfe
        for row, stage in enumerate(self.stages):
            for last, weights in zip(uses, (stage.a, stage.b), strict=True):
                for back, weight in enumerate(weights[: row + 1]):
                    if weight:
                        last[row - back] = row
        return uses

    def __getstate__(self) -> dict[str, Any]:
        """All but what is made again when it is needed."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    def __str__(self) -> str:
        return _table(self)


class Row(NamedTuple):
    """A stage in terms of x and the model's output: x_next = x_weight x + output_weight out + ...

    `denoised` and `noise` are the weights of x and of the output in D and in e. `past` holds
    weights of earlier estimates, each with its place in the history: how many evaluations ago, less
    one, and 0 for D or 1 for e. `kept` says of this evaluation's D and e, and of the history's,
    whether a later row weighs them.
    """

    x_weight: Any
    output_weight: Any
    denoised: tuple[Any, Any]
    noise: tuple[Any, Any]
    past: tuple[tuple[Any, int, int], ...]
    kept: tuple[tuple[bool, bool], ...]


class Deferred(NamedTuple):
    """An estimate that is made of x and the model's output when somebody asks for it."""

    weights: tuple[Any, Any]
    x: Array
    output: Array
    total: float  # of the output with x, by which the two are known to be as they were

    def made(self) -> Array:
        """Return the estimate."""
        if total(self.output, self.x) != self.total:
            raise ValueError(
                "denoised must be asked for before the model's output that it is made of is "
                "overwritten: that array has other values now"
            )
        return weighted_sum(zip(self.weights, (self.x, self.output), strict=True))


@dataclass(frozen=True, eq=False, repr=False)
class State:
    """All that a run knows between two model evaluations. Immutable; pickles.

    Attributes
    ----------
    x : array
        The sample at the model's own scale, in the dtype of the run's first sample; read-only where
        it is NumPy's.
    t : int or float
        The model's time for `x`: where the model is to be evaluated next.
    denoised : array or None
        D of the last evaluation, which was at ``tableau.stages[index - 1].level``, a step before
        `t`; None before the first. After `Scheduler.update` it is made when it is asked for, from
        the output that was given; a ValueError where that array has been overwritten since.
    done : bool
        Whether the run is over.
    tableau : Tableau
        The rows of the run.
    index : int
        The row that comes next, which is the number of evaluations so far.
    """

    tableau: Tableau
    index: int
    # The sample in the precision that the run steps in, float32 where the caller's is less.
    carried: Array
    dtype: Any
    carried_denoised: Array | Deferred | None = None
    # (D, e) of one evaluation ago, two ago, ...; None for what no later row weighs.
    history: History = ()
    # Whether the first level has been raised, where it is to be.
    entered: bool = True

    @classmethod
    def first(cls, tableau: Tableau, carried: Array, dtype: Any) -> State:
        """State before the first row."""
        return cls(tableau, 0, carried, dtype, entered=tableau.entry == (1.0, 0.0))

    @property
    def x(self) -> Array:
        """The sample."""
        self.check_entered()
        return _read_only(cast(self.carried, self.dtype))

    @property
    def denoised(self) -> Array | None:
        """D of the last evaluation."""
        d = self.carried_denoised
        if d is None:
            return None
        return _read_only(cast(d.made() if isinstance(d, Deferred) else d, self.dtype))

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

    def next(self, x: Array, denoised: Array | Deferred | None, history: History) -> State:
        """State after a row."""
        state = object.__new__(State)
        fields = {
            "tableau": self.tableau,
            "index": self.index + 1,
            "carried": x,
            "dtype": self.dtype,
            "carried_denoised": denoised,
            "history": history,
            "entered": True,
        }
        # A frozen dataclass's own __init__ takes four times as long, a fifth of a small step.
        object.__setattr__(state, "__dict__", fields)
        return state

    def check_entered(self) -> None:
        """Refuse a state whose first level is still to be raised."""
        if not self.entered:
            raise ValueError(
                "rng must be given to init where churn raises the first level, before a model can "
                "be evaluated there: init(x_T, ..., rng=rng)"
            )

    def __repr__(self) -> str:
        return (
            f"State({self.tableau.method}, {self.index} of {self.tableau.nfe} evaluations, "
            f"t={self.t:.6g}, shape={tuple(self.carried.shape)})"
        )


def _read_only(array: Array) -> Array:
    """Return a view that cannot be written to, for a state to stay what it is."""
    if not isinstance(array, np.ndarray):
        return array
    view = array.view()
    view.flags.writeable = False
    return view


def advance(
    state: State,
    output: Array,
    prediction_type: str,
    threshold: StaticThreshold | DynamicThreshold | None,
    noise: tuple[Any, Array] | None,
    keep_denoised: bool,
    output_total: float | None = None,
) -> State:
    """Take one row: the engine.

    `output` is the model's, checked and in the run's precision; `noise` is c and z, or None, and z
    is overwritten. D is kept where that is asked for; with the output's total, as it was when it
    came, D need not be made before somebody wants it.
    """
    index, x = state.index, state.carried
    dtype = x.dtype if isinstance(x, np.ndarray) else None
    row = state.tableau.row(index, prediction_type, dtype)
    keeps_d, keeps_e = row.kept[0] if row.kept else (False, False)
    d = e = None
    given = output
    if keeps_d or threshold is not None or (keep_denoised and output_total is None):
        d = weighted_sum(zip(row.denoised, (x, output), strict=True))
    noise_weights = row.noise
    if threshold is None:
        terms = [(row.x_weight, x), (row.output_weight, output)]
    else:
        stage, d = state.tableau.stages[index], threshold(d)
        if threshold.rederive_noise:
            k, output = coefficients("sample", stage.level.alpha, stage.level.sigma), d
            noise_weights = k.noise_x, k.noise_output
        b_x, b_output = (float(stage.b[0] * weight) for weight in noise_weights)
        terms = [(stage.a[0], d), (b_x, x), (b_output, output)]
    if keeps_e:
        e = weighted_sum(zip(noise_weights, (x, output), strict=True))
    if row.past:
        terms += [(weight, state.history[back][which]) for weight, back, which in row.past]
    into = None
    if noise is not None:
        terms.append(noise)
        into = noise[1]
    denoised: Array | Deferred | None = None
    if keep_denoised:
        denoised = d
        if d is None and output_total is not None:
            denoised = Deferred(row.denoised, x, given, output_total)
    history = _still_needed(((d, e), *state.history), row.kept) if row.kept else ()
    return state.next(weighted_sum(terms, into), denoised, history)


def _still_needed(history: History, kept: tuple[tuple[bool, bool], ...]) -> History:
    """Drop the estimates that no later row weighs."""
    return tuple(
        (d if keeps_d else None, e if keeps_e else None)
        for (d, e), (keeps_d, keeps_e) in zip(history, kept, strict=False)
    )


def _table(tableau: Tableau) -> str:
    """Text of the rows, a column for every weight that some row has."""
    reach = {name: max((len(w) for w in _weights(tableau, name)), default=1) for name in "ab"}
    columns = [("D", "a", back) for back in range(reach["a"])]
    columns += [("e", "b", back) for back in range(reach["b"])]
    columns = [
        (f"{estimate}[-{back}]" if back else estimate, name, back)
        for estimate, name, back in columns
        if back == 0 or any(_weight(weights, back) for weights in _weights(tableau, name))
    ]
    lines = [["step", "NFE", "t", "alpha", "sigma", *(label for label, _, _ in columns), "z"]]
    step, begins = 1, True
    for nfe, stage in enumerate(tableau.stages, start=1):
        weights = [_weight(getattr(stage, name), back) for _, name, back in columns]
        z = " .. ".join(f"{c:.5g}" for c in stage.c_range or (stage.c,))
        numbers = [f"{value:.5g}" for value in (*stage.level, *weights)]
        lines.append([str(step) if begins else "", str(nfe), *numbers, z])
        step, begins = step + stage.ends_step, stage.ends_step
    lines.append(["ends", "at", *(f"{value:.5g}" for value in tableau.levels[-1])])
    widths = [max(len(line[i]) for line in lines if i < len(line)) for i in range(len(lines[0]))]
    text = [
        f"{tableau.method}: {tableau.steps} step{'s' * (tableau.steps > 1)}, "
        f"{tableau.nfe} model evaluation{'s' * (tableau.nfe > 1)}"
    ]
    if tableau.entry != (1.0, 0.0):
        text.append("entry: the first x is {:.5g} x + {:.5g} z".format(*tableau.entry))
    text += ["  ".join(map(str.rjust, line, widths[: len(line)])) for line in lines]
    return "\n".join(text)


def _weights(tableau: Tableau, name: str) -> list[tuple[float, ...]]:
    return [getattr(stage, name) for stage in tableau.stages]


def _weight(weights: tuple[float, ...], back: int) -> float:
    return weights[back] if back < len(weights) else 0.0
