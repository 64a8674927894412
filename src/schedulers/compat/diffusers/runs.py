"""Which run a step belongs to.

The interface hands back the sample that it was given, and nothing else that tells a run. So, for
the methods whose rows weigh earlier evaluations, a run is known by that sample: the very array, or
one that equals it, at the time that comes next. A sample that nobody knows, such as one that was
blended with another, goes on with the thread's latest run that expects its time and shape. For the
other methods, whose step depends on its time and the grid alone, the sample tells whether the grid
is still its run's.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from dataclasses import dataclass
from threading import Lock, get_ident
from typing import Any

import numpy as np

from schedulers.engine.state import State

Array = Any


@dataclass(eq=False)
class Run:
    """A run that is not over: its state, and how to get the sample that the caller was given."""

    state: State
    returned: Callable[[], Array]
    epoch: int
    thread: int


class Runs:
    """The open runs of a scheduler."""

    def __init__(self) -> None:
        self._open: list[Run] = []
        # set_timesteps begins a new epoch: a sample that nobody knows is then a new run's.
        self._epoch = 0
        self._lock = Lock()

    def __reduce__(self) -> tuple[Any, ...]:
        return Runs, ()  # a copy of the scheduler has returned nothing

    def new_epoch(self) -> None:
        """Take unknown samples for new runs' from now on.

        The open runs can still go on, for as long as their callers keep their samples.
        """
        with self._lock:
            self._epoch += 1
            self._open = [run for run in self._open if not run.state.done]
            for run in self._open:
                run.returned = _weak(run.returned())

    def find(self, sample: Array, t: float, waits: Callable[[State, float], bool]) -> Run | None:
        """Return the run that a sample goes on with; an error where its own is at another time.

        `waits` says whether a run that goes on at another time has nothing to do at this one.
        """
        thread, shape = get_ident(), tuple(sample.shape)
        with self._lock:
            own = [run for run in self._open if run.returned() is sample]
            runs = self._open[::-1]
        expecting = [run for run in runs if run.state.t == t]
        for run in expecting:
            if run in own:
                return run
        if own:
            if waits(own[-1].state, t):
                return own[-1]
            raise ValueError(
                f"timestep must be {own[-1].state.t:g}, which comes next for this sample, got "
                f"{t:g}; a new run begins with set_timesteps"
            )
        mine = [run for run in expecting if run.thread == thread]
        waiting = [run for run in runs if waits(run.state, t)]
        for run in (*mine, *expecting, *waiting):
            if _equal(run.returned(), sample):
                return run
        for run in mine:
            if run.epoch == self._epoch and tuple(run.state.carried.shape) == shape:
                return run
        return None

    def keep(
        self, run: Run | None, state: State, returned: Array, over: bool | None = None
    ) -> None:
        """Note what a run, or None for a new one, has come to, and whether it is over."""
        epoch = self._epoch if run is None else run.epoch
        with self._lock:
            there = [other for other in self._open if other is not run]
            self._open = [other for other in there if other.returned() is not None]
            if not (state.done if over is None else over):
                kept = (lambda: returned) if epoch == self._epoch else _weak(returned)
                self._open.append(Run(state, kept, epoch, get_ident()))


class Grids:
    """The grids of the samples that steps returned, for as long as their callers keep them."""

    def __init__(self) -> None:
        self._of: dict[int, tuple[weakref.ref[Any], Any]] = {}

    def __reduce__(self) -> tuple[Any, ...]:
        return Grids, ()  # a copy of the scheduler has returned nothing

    def note(self, sample: Array, times: Any) -> None:
        """Note that a sample goes on by the grid of these times."""
        key = id(sample)
        self._of[key] = weakref.ref(sample, lambda _: self._of.pop(key, None)), times

    def check(self, sample: Array, times: Any) -> None:
        """Refuse to go on with a sample of another grid."""
        if id(sample) not in self._of:
            return
        known, own = self._of[id(sample)]
        if known() is sample and own is not times and not np.array_equal(own, times):
            raise ValueError(
                f"sample must go on by the {len(own)} timesteps that its run began with, and "
                f"set_timesteps has set {len(times)} others since: use a scheduler for each run, "
                f"or, to change the grid in mid-run, give a copy of the sample"
            )


def _weak(sample: Array) -> Callable[[], Array]:
    return (lambda: None) if sample is None else weakref.ref(sample)


def _equal(a: Array, b: Array) -> bool:
    if (
        a is None
        or type(a) is not type(b)
        or a.dtype != b.dtype
        or tuple(a.shape) != tuple(b.shape)
    ):
        return False
    return bool(np.array_equal(a, b) if isinstance(a, np.ndarray) else (a == b).all())
