"""Which run a step belongs to.

The interface hands back the sample that it was given, and nothing else that tells a run. So, for
the methods whose rows weigh earlier evaluations, a run is known by that sample: the very array, or
one that equals it, at the time that comes next. For the others, whose step depends on its time and
the grid alone, the sample tells whether the grid is still its run's.
"""

from __future__ import annotations

import weakref
from dataclasses import dataclass
from typing import Any

import numpy as np

from schedulers.engine.state import State

Array = Any

# Runs that may be open at once; one more takes the place of the oldest.
_OPEN = 32


@dataclass(eq=False)
class Run:
    """A run that is not over: its state, and the sample that the caller was given."""

    state: State
    returned: Array
    epoch: int


class Runs:
    """The open runs of a scheduler."""

    def __init__(self) -> None:
        self._open: list[Run] = []
        # set_timesteps begins a new epoch: a sample that nobody knows is then a new run's.
        self.epoch = 0
        self._dropped = False

    def new_epoch(self) -> None:
        """Take unknown samples for new runs' from now on; the open ones can still go on."""
        self.epoch += 1
        self._dropped = False

    def find(self, sample: Array, t: float) -> Run | None:
        """Return the run that gave this sample; an error where it is at another time."""
        same = [run for run in self._open if run.returned is sample]
        expecting = [run for run in self._open if run.state.t == t]
        for run in reversed(expecting):
            if run.returned is sample:
                return run
        for run in reversed(expecting):
            if _equal(run.returned, sample):
                return run
        if same:
            raise ValueError(
                f"timestep must be {same[-1].state.t:g}, which comes next for this sample, got "
                f"{t:g}; a new run begins with set_timesteps"
            )
        return None

    def check_new(self, sample: Array, t: float) -> None:
        """Refuse to begin a run in mid-grid where it could be one that is open."""
        shape = tuple(sample.shape)
        like = [
            run
            for run in self._open
            if run.epoch == self.epoch and tuple(run.returned.shape) == shape
        ]
        if like or self._dropped:
            raise ValueError(
                f"sample at timestep {t:g} must be one that a step returned, as this method goes "
                f"on from earlier steps of the same run, of which several may be open: hand back "
                f"prev_sample, changed in place if it is to be changed; or, for a run that begins "
                f"here, call set_timesteps before it"
            )

    def keep(self, run: Run | None, state: State, returned: Array) -> None:
        """Note what a run, or None for a new one, has come to."""
        epoch = self.epoch if run is None else run.epoch
        rest = [other for other in self._open if other is not run]
        if not state.done:
            rest.append(Run(state, returned, epoch))
        self._dropped = self._dropped or len(rest) > _OPEN
        self._open = rest[-_OPEN:]


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


def _equal(a: Array, b: Array) -> bool:
    if type(a) is not type(b) or a.dtype != b.dtype or tuple(a.shape) != tuple(b.shape):
        return False
    return bool(np.array_equal(a, b) if isinstance(a, np.ndarray) else (a == b).all())
