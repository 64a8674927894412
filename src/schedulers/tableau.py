"""The tableau: a scheduler as a table of weights, and the engine that runs it.

At the level (alpha, sigma) of a *stage*, a model evaluation gives the denoised estimate D and the
noise estimate e, with x = alpha D + sigma e. A stage's row is the weighted sum that comes next,

    x_next = sum_k a[k] D[-k] + sum_k b[k] e[-k] + c z,      z ~ N(0, I),

where D[-k] and e[-k] are those of k evaluations ago. The weights depend on levels alone.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from schedulers import _checks
from schedulers.noise_schedules import Level
from schedulers.parameterization import (
    DynamicThreshold,
    StaticThreshold,
    coefficients,
)

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
            if not all(map(math.isfinite, (*stage.a, *stage.b, stage.c))):
                raise ValueError(f"stages must have finite weights, got {stage!r} in row {row}")
            if any(stage.a[row + 1 :]) or any(stage.b[row + 1 :]):
                raise ValueError(
                    f"stages must weigh estimates that there are, got a weight in row {row} for an "
                    f"evaluation before the first"
                )
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

    @property
    def draws_noise(self) -> bool:
        """Whether some row weighs fresh noise, or the entry does."""
        return self.entry[1] > 0.0 or any(stage.c for stage in self.stages)

    @cached_property
    def _last_uses(self) -> list[list[int]]:
        """Index of the last row that weighs each evaluation's D, and the same for e."""
        uses = [[0] * self.nfe, [0] * self.nfe]
        for row, stage in enumerate(self.stages):
            for last, weights in zip(uses, (stage.a, stage.b), strict=True):
                for back, weight in enumerate(weights[: row + 1]):
                    if weight:
                        last[row - back] = row
        return uses

    def __str__(self) -> str:
        return _table(self)


@dataclass(frozen=True, eq=False, repr=False)
class State:
    """All that a run knows between two model evaluations. Immutable; pickles.

    Attributes
    ----------
    x : array
        The sample at the model's own scale, in the dtype of the run's first sample.
    t : int or float
        The model's time for `x`: where the model is to be evaluated next.
    denoised : array or None
        D of the last evaluation, which was at ``tableau.stages[index - 1].level``, a step before
        `t`; None before the first.
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
    carried_denoised: Array | None = None
    # (D, e) of one evaluation ago, two ago, ...; None for what no later row weighs.
    history: History = ()
    # Whether the first level has been raised, where it is to be.
    entered: bool = True

    @property
    def x(self) -> Array:
        """The sample."""
        self.check_entered()
        return cast(self.carried, self.dtype)

    @property
    def denoised(self) -> Array | None:
        """D of the last evaluation."""
        return None if self.carried_denoised is None else cast(self.carried_denoised, self.dtype)

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


def advance(
    state: State,
    output: Array,
    prediction_type: str,
    threshold: StaticThreshold | DynamicThreshold | None,
    noise: tuple[Any, Array] | None,
    keep_denoised: bool,
) -> State:
    """Take one row: the engine.

    `output` is the model's, checked and in the run's precision; `noise` is c and z, or None.
    """
    index, x = state.index, state.carried
    stage = state.tableau.stages[index]
    last_d, last_e = state.tableau._last_uses
    k = coefficients(prediction_type, stage.level.alpha, stage.level.sigma)
    a, b = stage.a[0], stage.b[0]
    d = e = None
    if keep_denoised or last_d[index] > index or threshold is not None:
        d = weighted_sum([(k.denoised_x, x), (k.denoised_output, output)])
    if threshold is None:
        terms = [
            (a * k.denoised_x + b * k.noise_x, x),
            (a * k.denoised_output + b * k.noise_output, output),
        ]
    else:
        d = threshold(d)
        if threshold.rederive_noise:
            k, output = coefficients("sample", stage.level.alpha, stage.level.sigma), d
        terms = [(a, d), (b * k.noise_x, x), (b * k.noise_output, output)]
    if last_e[index] > index:
        e = weighted_sum([(k.noise_x, x), (k.noise_output, output)])
    for back, (past_d, past_e) in enumerate(state.history, start=1):
        terms += [(_weight(stage.a, back), past_d), (_weight(stage.b, back), past_e)]
    if noise is not None:
        terms.append(noise)
    return State(
        tableau=state.tableau,
        index=index + 1,
        carried=weighted_sum(terms),
        dtype=state.dtype,
        carried_denoised=d if keep_denoised else None,
        history=_still_needed(((d, e), *state.history), state),
    )


def weighted_sum(terms: Iterable[tuple[Any, Array]]) -> Array:
    """Sum of weight * array, a new array of the arrays' own kind; terms of weight 0 are left out.

    A weight is a number, or an ndarray where a model has learned it. Numbers go in as Python
    floats, which take on the arrays' precision; an array is only ever scaled and added.
    """
    total = None
    for weight, array in terms:
        if not isinstance(weight, np.ndarray):
            weight = float(weight)
            if weight == 0.0:
                continue
        if total is None:
            total = array * weight
        else:
            total += array * weight
    return np.asarray(total) if isinstance(total, np.generic) else total


def _still_needed(history: History, state: State) -> History:
    """Drop the estimates that no row after this one weighs."""
    last_d, last_e = state.tableau._last_uses
    kept = []
    for back, (d, e) in enumerate(history):
        made, now = state.index - back, state.index
        kept.append((d if last_d[made] > now else None, e if last_e[made] > now else None))
    while kept and kept[-1][0] is None and kept[-1][1] is None:
        kept.pop()
    return tuple(kept)


def cast(array: Array, dtype: Any) -> Array:
    """Return the array in a dtype, itself where it has that."""
    return array if array.dtype == dtype else array.astype(dtype)


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
