"""Runs at different rows, advanced together: one model evaluation for all of them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from schedulers import _checks
from schedulers.engine import arrays
from schedulers.engine.arrays import SILENT
from schedulers.engine.noise import Noise, Seeded, checked_source, stage_place
from schedulers.engine.state import State, after_row, take
from schedulers.methods.ddpm import read_with_variance

if TYPE_CHECKING:
    from schedulers.engine.noise import Place, RandomSource

    Array = Any
    Part = tuple[State, Array, "_Drawn | None"]

# Elements of a state from which on it costs less to step it by itself than to copy it.
_ALONE = 2**13
# Elements that are stepped together: more of them leave the processor's cache.
_TOGETHER = 2**16


@dataclass(frozen=True, init=False, eq=False)
class Batch:
    """Runs that share one model evaluation, wherever each of them is: "continuous batching".

    The states may be at different rows, of runs with different numbers of steps, grids and
    schedulers, as long as one model serves them. They join and leave between evaluations: make a
    new batch of the states that go on, and of new ones. Each sample is what it is alone, to the
    bit, if the model returns for it what it returns alone.

    Parameters
    ----------
    states : iterable of State
        At least one, from `Scheduler.init`, with samples of the same shape but for axis 0, of the
        same library and dtype. The schedulers may differ in all but whether the model learned its
        variance.

    Attributes
    ----------
    states : tuple of State
        The runs, in their order.
    x : array
        The samples of all states, along axis 0.
    t : array, shape (n,)
        The model's time for each sample, of the library of `x`, in the precision that it is stepped
        in: float32 or float64.

    Raises
    ------
    TypeError, ValueError
        If `states` is not as described.

    Examples
    --------
    A run of two steps, and one of one step that joins it:

    >>> from schedulers import DDIM, Batch, VESchedule
    >>> scheduler = DDIM(VESchedule())
    >>> slow = scheduler.init(np.array([8.0]), sigmas=[4.0, 2.0, 0.0])
    >>> batch = Batch([slow]).update(np.array([2.0]))
    >>> fast = scheduler.init(np.array([8.0, 9.0]), sigmas=[4.0, 0.0])
    >>> batch = Batch([*batch.states, fast])
    >>> batch.x, batch.t
    (array([4., 8., 9.]), array([2., 4., 4.]))
    >>> batch = batch.update(batch.x / batch.t)  # the model: the data is a point at 0
    >>> [state.x for state in batch.states if state.done]
    [array([0.]), array([0., 0.])]
    """

    states: tuple[State, ...]

    def __init__(self, states: Iterable[State]) -> None:
        if isinstance(states, State):
            raise TypeError(f"states must be a list of states, got {states!r}")
        try:
            given = tuple(states)
        except TypeError:
            raise TypeError(
                f"states must be a list of states, got {_checks.shown(states)}"
            ) from None
        object.__setattr__(self, "states", given)
        if not given:
            raise ValueError("states must be at least one state, got none")
        for i, state in enumerate(given):
            _check_state(f"states[{i}]", state)
        for i, state in enumerate(given[1:], 1):
            _check_alike(f"states[{i}]", state, given[0])

    @classmethod
    def _of(cls, states: tuple[State, ...]) -> Batch:
        """Make a batch of states that are known to fit."""
        made = cls.__new__(cls)
        object.__setattr__(made, "states", states)
        return made

    @property
    def x(self) -> Array:
        """The samples of all states."""
        made = arrays.concatenated([state.x for state in self.states])
        if isinstance(made, np.ndarray):
            made.flags.writeable = False
        return made

    @property
    def t(self) -> Array:
        """The model's time for each sample."""
        times = np.repeat([float(state.t) for state in self.states], self._counts)
        return arrays.of_the_kind(times, self.states[0].carried)

    def update(
        self, output: Array, rng: RandomSource = None, *, keep_denoised: bool = True
    ) -> Batch:
        """Take a row of every state, with what the model returned at ``batch.x, batch.t``.

        Parameters
        ----------
        output : array, shape of ``batch.x``
            What the model returned. Twice the channels on axis 1 if it learned its variance.
        rng : source of noise
            A sequence of seeds, one for each sample, gives each sample the noise that it has alone.
            An int gives each state the noise that it has alone with this seed. A Generator or a
            function draws for one state after another.
        keep_denoised : bool
            As for `Scheduler.update`.

        Returns
        -------
        Batch
            The states after their rows, in the same order.

        Raises
        ------
        TypeError, ValueError
            If a state is done, if `output` is not as described, or if `rng` is no source of noise
            or has another number of seeds than there are samples.
        """
        keep_denoised = _checks.boolean("keep_denoised", keep_denoised)
        for i, state in enumerate(self.states):
            if state.done:
                raise ValueError(f"states[{i}] must not be done: leave it out, got {state!r}")
        outputs, noises = self._parts(self._checked(output)), self._noises(rng)
        after = list(self.states)
        for group in self._groups():
            parts = [(self.states[i], outputs[i], noises[i]) for i in group]
            take_them = _take_together if len(group) > 1 else _take_alone
            for i, state in zip(group, take_them(parts, keep_denoised), strict=True):
                after[i] = state
        return Batch._of(tuple(after))

    @property
    def _counts(self) -> list[int]:
        return [state.carried.shape[0] for state in self.states]

    def _slices(self) -> Iterator[slice]:
        for first, end in pairwise(accumulate(self._counts, initial=0)):
            yield slice(first, end)

    def _parts(self, whole: Array) -> list[Array]:
        return [whole[part] for part in self._slices()]

    def _checked(self, output: Array) -> Array:
        """Check what the model returned for the whole batch."""
        like = self.states[0].carried
        n, rest = sum(self._counts), list(like.shape[1:])
        if self.states[0].reading.variance is not None:  # type: ignore[union-attr]
            rest[0] *= 2
        name = "the model's output"
        try:
            return arrays.matching(name, output, like, (n, *rest))
        except ValueError:
            if tuple(getattr(output, "shape", ())) != (n, *rest):
                raise
            for i, (state, part) in enumerate(zip(self.states, self._parts(output), strict=True)):
                of = f"{name} for states[{i}]"
                arrays.matching(of, part, like, tuple(part.shape), state.t)
            raise

    def _noises(self, rng: RandomSource) -> list[_Drawn | None]:
        """Draw the noise of each state that needs some, in their order."""
        drawn = [bool(state.tableau.stages[state.index].c) for state in self.states]
        source = checked_source(rng) if rng is not None or any(drawn) else None
        if not any(drawn) and not isinstance(source, Seeded):
            return [None] * len(drawn)
        sources = [source] * len(self.states)
        if isinstance(source, Seeded) and isinstance(source.seeds, tuple):
            source.check_shape((sum(self._counts),))
            sources = [replace(source, seeds=source.seeds[part]) for part in self._slices()]
        bound = zip(self.states, sources, drawn, strict=True)
        return [_drawn(state, own) if draws else None for state, own, draws in bound]

    def _groups(self) -> list[list[int]]:
        """Return the places of states whose rows weigh the same arrays: one sum for each group."""
        size = max(1, math.prod(self.states[0].carried.shape[1:]))
        groups: list[list[int]] = []
        begun: dict[str, tuple[list[int], int]] = {}
        for i, state in enumerate(self.states):
            reading, elements = state.reading, size * state.carried.shape[0]
            assert reading is not None
            if elements > _ALONE or reading.threshold is not None or reading.variance is not None:
                groups.append([i])
                continue
            pattern = state.tableau.row(state.index, reading.prediction_type).pattern
            group, so_far = begun.get(pattern, ([], _TOGETHER))
            if so_far + elements > _TOGETHER:
                group, so_far = [], 0
                groups.append(group)
            group.append(i)
            begun[pattern] = group, so_far + elements
        return groups


def _check_state(name: str, state: State) -> None:
    if not isinstance(state, State):
        raise TypeError(f"{name} must be a State, got {_checks.shown(state)}")
    if state.reading is None:
        raise ValueError(f"{name} must be from init of a scheduler, got {state!r}")
    if not state.carried.shape:
        raise ValueError(f"{name} must have its samples along axis 0, got {state!r}")
    state.check_entered()


def _check_alike(name: str, state: State, first: State) -> None:
    """Check that two states fit into one batch."""
    for what, own, others in (
        ("samples of the shape", *(tuple(each.carried.shape[1:]) for each in (state, first))),
        ("the dtype", state.dtype, first.dtype),
        ("arrays of the type", type(state.carried), type(first.carried)),
        ("a variance that the model", *(_learned(each) for each in (state, first))),
    ):
        if own != others:
            raise ValueError(f"{name} must have {what} {others}, as states[0] has, got {own}")


def _learned(state: State) -> str:
    assert state.reading is not None
    return "learned" if state.reading.variance else "did not learn"


def _take_alone(parts: Sequence[Part], keep_denoised: bool) -> list[State]:
    """Take the row of one state."""
    ((state, output, noise),) = parts
    reading, deviation = state.reading, state.tableau.stages[state.index].c
    assert reading is not None
    if reading.variance is not None:
        output, deviation = read_with_variance(output, state, reading.variance)
    return [take(state, reading, output, deviation, noise, keep_denoised)]


def _take_together(parts: Sequence[Part], keep_denoised: bool) -> list[State]:
    """Take a row of states whose rows weigh the same arrays, with a weight for each sample."""
    states = [state for state, _, _ in parts]
    rows = [s.tableau.row(s.index, s.reading.prediction_type) for s in states]  # type: ignore[union-attr]
    counts = [state.carried.shape[0] for state in states]
    x = arrays.concatenated([state.carried for state in states])
    output = arrays.concatenated([output for _, output, _ in parts])

    def summed(terms: Iterable[tuple[Sequence[float], Array]]) -> Array:
        columns = [
            (arrays.per_sample(np.repeat(weights, counts), array), array)
            for weights, array in terms
            if weights[0]
        ]
        return SILENT.copy().run(_column_sum, columns) if columns else x * 0.0

    def estimate(weights: Iterable[tuple[float, float]]) -> Array:
        return summed(zip(zip(*weights, strict=True), (x, output), strict=True))

    first = rows[0]
    keeps_d, keeps_e = first.kept[0] if first.kept else (False, False)
    d = estimate(row.denoised for row in rows) if keep_denoised or keeps_d else None
    e = estimate(row.noise for row in rows) if keeps_e else None
    terms = [([row.x_weight for row in rows], x), ([row.output_weight for row in rows], output)]
    for k, (_, place, which) in enumerate(first.past):
        earlier = arrays.concatenated([state.history[place][which] for state in states])
        terms.append(([row.past[k][0] for row in rows], earlier))
    stages = [state.tableau.stages[state.index] for state in states]
    if stages[0].c:
        noise = arrays.concatenated([drawn.z for _, _, drawn in parts if drawn is not None])
        terms.append(([stage.c for stage in stages], noise))
    after = summed(terms)
    ends = pairwise(accumulate(counts, initial=0))
    made = []
    for state, row, (begin, end) in zip(states, rows, ends, strict=True):
        own_d, own_e = (None if each is None else each[begin:end] for each in (d, e))
        denoised = own_d if keep_denoised else None
        made.append(after_row(state, row, after[begin:end], denoised, (own_d, own_e)))
    return made


class _Drawn(NamedTuple):
    """Noise that was drawn for a state's next row."""

    z: Array

    def draw(self, place: Place) -> Array:
        """Return it."""
        return self.z


def _drawn(state: State, source: Any) -> _Drawn:
    place = stage_place(state.index, state.tableau.spans[state.index])
    return _Drawn(Noise.bind(source, state.carried).draw(place))


def _column_sum(terms: Sequence[tuple[Any, Array]]) -> Array:
    (weights, array), *others = terms
    total = array * weights
    for weights, array in others:
        total += array * weights
    return total
