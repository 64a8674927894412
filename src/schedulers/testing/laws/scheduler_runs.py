"""Laws of a `Scheduler`'s loops: whoever drives a run, in whatever pieces, it is one run."""

from __future__ import annotations

import copy
import pickle
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import FrozenInstanceError, fields, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from schedulers.engine.state import State
from schedulers.scheduler import Scheduler
from schedulers.testing.cases import Normal
from schedulers.testing.failures import Check, CheckFailed, expect, expect_same
from schedulers.testing.models import nonlinear
from schedulers.testing.scheduler_cases import SchedulerCase

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

SOURCES: dict[str, Callable[[int], Any]] = {
    "an int": lambda seed: seed,
    "a NumPy int": np.int64,
    "a SeedSequence": np.random.SeedSequence,
    "a Generator": np.random.default_rng,
    "a function": lambda seed: Normal(np.random.default_rng(seed)),
    "a seed for each sample": lambda seed: [seed, seed + 1],
}
STATE = "what a run knows: all of it must be in the State, nothing in the scheduler"


@Check
def check_value(case: SchedulerCase) -> None:
    """A scheduler is an immutable value: equal to its like, hashable, pickled as it is.

    A failure means a subclass that is not a frozen dataclass, a parameter that is not a field, or
    one that is mutable.
    """
    scheduler, look_at = case.scheduler, "the class: @dataclass(frozen=True, kw_only=True)"
    again = replace(scheduler)
    expect(again == scheduler, "a copy equal to itself", f"{again!r} != {scheduler!r}", look_at)
    expect(hash(again) == hash(scheduler), "a copy of the same hash", "another one", look_at)
    for field in fields(scheduler):
        try:
            setattr(scheduler, field.name, getattr(scheduler, field.name))
        except FrozenInstanceError:
            continue
        raise CheckFailed("no attribute to be assignable", f"{field.name} was assigned to", look_at)
    other = "sample" if scheduler.prediction_type != "sample" else "epsilon"
    expect(
        replace(scheduler, prediction_type=other) != scheduler,
        "schedulers of other parameters to be unequal",
        "two that differ in prediction_type and are equal",
        look_at,
    )
    expect(_pickled(scheduler) == scheduler, "a pickle that is equal", "another one", look_at)


@Check
def check_loops(case: SchedulerCase) -> None:
    """`sample`, `iterate`, `step` and `update` are one run, to the last bit, whatever `rng` is.

    A failure means work that is done in a loop rather than in a row of the tableau, or noise that
    depends on who draws it.
    """
    for name, make in SOURCES.items():
        seed, steps, x = _start(case, "loops " + name)
        levels = case.levels(steps)
        expected = case.scheduler.sample(nonlinear, x, **levels, rng=make(seed))
        states = list(case.scheduler.iterate(nonlinear, x, **levels, rng=make(seed)))
        rng = make(seed)
        stepped = [case.scheduler.init(x, **levels, rng=rng)]
        while not stepped[-1].done:
            stepped.append(case.scheduler.step(nonlinear, stepped[-1], rng=rng))
        rng = make(seed)
        updated = _finish(case.scheduler, case.scheduler.init(x, **levels, rng=rng), rng)
        for loop, count in (("iterate", len(states)), ("step", len(stepped) - 1)):
            expect(
                count == steps, f"{steps} states from {loop}", f"{count}", "ends_step of the rows"
            )
        where = f"in {steps} steps with {name} as rng"
        for loop, got in (
            ("iterate", states[-1].x),
            ("step", stepped[-1].x),
            ("update", updated.x),
        ):
            expect_same(got, expected, what=f"{loop} to end as sample", where=where, look_at=STATE)
        for one, other in zip(stepped[1:], states, strict=True):
            expect_same(one.x, other.x, what="step's x", where=where, look_at=STATE)
            expect_same(one.denoised, other.denoised, what="its D", where=where, look_at=STATE)
            expect(one.level == other.level, f"{other.level}", f"{one.level}", STATE)


@Check
def check_interleaved(case: SchedulerCase) -> None:
    """Runs that are interleaved, or in threads, are what each is alone.

    A failure means that a scheduler keeps something of a run.
    """
    seed, steps, x = _start(case, "interleaved")
    xs, levels = (x, x[:1] * 2.0), case.levels(steps)
    alone = [case.scheduler.sample(nonlinear, x, **levels, rng=seed + i) for i, x in enumerate(xs)]
    states = [case.scheduler.init(x, **levels, rng=seed + i) for i, x in enumerate(xs)]
    order = case.rng("order of turns").integers(0, 2, 30).tolist() + [0, 1] * states[0].tableau.nfe
    for which in order:
        state = states[which]
        if not state.done:
            output = nonlinear(state.x, state.t)
            states[which] = case.scheduler.update(output, state, rng=seed + which)
    for expected, state in zip(alone, states, strict=True):
        expect_same(state.x, expected, what="its run alone", where="in turns", look_at=STATE)
    with ThreadPoolExecutor(4) as pool:
        jobs = [0, 1] * 4
        threads = pool.map(
            lambda i: case.scheduler.sample(nonlinear, xs[i], **levels, rng=seed + i), jobs
        )
        for i, got in zip(jobs, threads, strict=True):
            expect_same(got, alone[i], what="its run alone", where="in threads", look_at=STATE)


@Check
def check_resumed(case: SchedulerCase) -> None:
    """A state can be pickled and gone on from, by an equal scheduler, and again from the same one.

    A failure means something of the run that is not in its state, or a state that is written to.
    """
    seed, steps, x = _start(case, "resumed")
    state = case.scheduler.init(x, **case.levels(steps), rng=seed)
    for _ in range(state.tableau.nfe):
        before = state.x.copy()
        expected = _finish(case.scheduler, state, seed).x
        expect_same(state.x, before, what="a state left as it was", where="", look_at=STATE)
        again, pickled = _pickled(case.scheduler), _pickled(state)
        where = f"after {state.index} evaluations of {state.tableau.nfe}"
        for what, got in (
            ("the same end a second time", _finish(case.scheduler, state, seed).x),
            ("the same end from its pickle", _finish(again, pickled, seed).x),
        ):
            expect_same(got, expected, what=what, where=where, look_at=STATE)
        state = case.scheduler.update(nonlinear(state.x, state.t), state, rng=seed)


@Check
def check_named_noise(case: SchedulerCase) -> None:
    """An int names the noise of each stage; a Generator draws in order, and only where noise is.

    A failure means noise that is drawn where the tableau has no weight for it.
    """
    seed, steps, x = _start(case, "named noise")
    levels = case.levels(steps)
    state = case.scheduler.init(x, **levels, rng=seed)
    draws = sum(1 for stage in state.tableau.stages if stage.c) + bool(state.tableau.entry[1])
    used, fresh = np.random.default_rng(seed), np.random.default_rng(seed)
    case.scheduler.sample(nonlinear, x, **levels, rng=used)
    fresh.standard_normal((draws, *x.shape))
    expect(
        used.bit_generator.state == fresh.bit_generator.state,
        f"a Generator that has given {draws} draws of x's shape",
        "another position in its stream",
        "where fresh noise is drawn: once for each row with c, and for a raised first level",
    )
    for stage in state.tableau.stages:
        output = nonlinear(state.x, state.t)
        one, other, different = (
            case.scheduler.update(output, state, rng=rng).x
            for rng in (seed, np.random.SeedSequence(seed), seed + 1)
        )
        where, look_at = f"at t={state.t:g}", "how `rng` reaches the draw"
        expect_same(
            other, one, what="the same noise of the same seed", where=where, look_at=look_at
        )
        expect(
            np.array_equal(different, one) == (stage.c == 0.0),
            "other noise of another seed, where there is noise, and only there",
            f"{'the same' if stage.c else 'another'} x {where}",
            look_at,
        )
        state = case.scheduler.update(output, state, rng=seed)


def _start(case: SchedulerCase, purpose: str) -> tuple[int, int, Floats]:
    """A seed, a number of steps and a sample."""
    rng = case.rng(purpose)
    return int(rng.integers(2**32)), int(rng.integers(1, 8)), rng.normal(size=(2, 3))


def _finish(scheduler: Scheduler, state: State, rng: Any) -> State:
    while not state.done:
        state = scheduler.update(nonlinear(state.x, state.t), state, rng=rng)
    return state


def _pickled(value: Any) -> Any:
    kind = type(value)
    if getattr(sys.modules.get(kind.__module__), kind.__qualname__, None) is not kind:
        # A class of a function or a document has no name to be found by, for nobody's fault.
        return copy.deepcopy(value)
    return pickle.loads(pickle.dumps(value))
