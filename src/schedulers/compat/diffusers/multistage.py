"""Steps that weigh earlier evaluations: what Heun's method and PNDM share."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from schedulers import _checks
from schedulers.compat.diffusers.assigned import Refused, Unread
from schedulers.compat.diffusers.base import (
    SchedulerBase,
    WithSigmas,
    handed,
)
from schedulers.compat.diffusers.noise import fresh
from schedulers.compat.diffusers.runs import Run, Runs
from schedulers.engine import arrays
from schedulers.engine.noise import stage_place
from schedulers.engine.state import State
from schedulers.engine.tableau import Stage, Tableau
from schedulers.schedules.base import Level

Array = Any


class Multistage(SchedulerBase):
    """Schedulers whose steps belong to a run, which goes on with the sample that it gave.

    A run may begin at any of `timesteps`. Where it begins in the middle of them, a time that is
    evaluated again, or one between two steps' levels, belongs to steps that the run does not have:
    there the sample is returned as it is, until the time comes that the run goes on at.
    """

    _levels: tuple[Level, ...] = ()
    _begin: int | None = None
    # Whether a row of weight 0 for noise draws it, too, so that a generator's draws come in the
    # order that diffusers has.
    _always_draws = False
    # Index in `timesteps` of the last row that was taken.
    _row_taken: int
    # What diffusers' schedulers keep of earlier evaluations.
    model_outputs = Unread()
    lower_order_nums = Refused()
    last_sample = Refused()
    derivatives = Unread()
    prev_derivative = Refused()
    dt = Refused()
    ets = Refused()
    counter = Refused()
    cur_sample = Refused()
    cur_model_output = Refused()

    def _begin_steps(self) -> None:
        super()._begin_steps()
        self._runs = Runs()

    def _set_levels(self, levels: tuple[Level, ...], device: Any, dtype: Any) -> None:
        """Set the grid: where each step begins, and where the last one ends."""
        self._levels = levels
        whole = self._tableau(0)
        self.num_inference_steps = whole.steps
        self._set_times(dtype([stage.level.t for stage in whole.stages]), device)
        self._steps_made = {0: whole}
        self._begin = None
        self._runs.new_epoch()
        self._remember()

    @abstractmethod
    def _tableau(self, first: int) -> Tableau:
        """Rows of a run that begins with this step of the grid."""

    def _remember(self) -> None:
        """Note what the levels were made from."""
        self._made_from = self._sources()

    def _sources(self) -> tuple[bytes, ...]:
        """What levels are made from, and may be assigned or written into."""
        return (self._times.tobytes(),)

    def _renew(self) -> None:
        """Follow what was assigned: without sigmas, timesteps can be cut off at the beginning."""
        known, times = self._grid_times, self._times
        if not np.array_equal(times, known[max(len(known) - len(times), 0) :]):
            raise ValueError(
                f"timesteps must be the last ones of those that set_timesteps set, "
                f"{known.tolist()}, got {times.tolist()}"
            )

    def _settle(self) -> None:
        """Follow what was assigned, or written into, since the levels were made."""
        if self._sources() != self._made_from:
            self._renew()
            self._remember()

    def _checked_times(self, times: Any) -> Any:
        """Return timesteps that were assigned, which may repeat here."""
        return times.astype(self._times.dtype)

    def _run(self, sample: Array, t: float) -> tuple[Run | None, State]:
        """Return the run that a sample belongs to, None for a new one, and its state."""
        run = self._runs.find(sample, t, self._waits)
        if run is not None:
            state = self._begun(run.state.tableau, sample)
            state = State(
                state.tableau,
                run.state.index,
                state.carried,
                state.dtype,
                history=run.state.history,
            )
            return run, state
        self._settle()
        return None, self._begun(self._begins(t), sample)

    def _waits(self, state: State, t: float) -> bool:
        """Whether a run from the middle of the grid has nothing to do at a time."""
        last = state.tableau.stages[state.index - 1].level.t
        partial = len(state.tableau.stages) < len(self._grid_times)
        if not (partial and state.t < t <= last):
            return False
        return int((self._grid_times == t).sum()) > (t == last)

    def _begins(self, t: float) -> Tableau:
        """Rows of a run that begins at a time."""
        steps = [i for i, level in enumerate(self._levels[:-1]) if level.t == t]
        if self._begin in steps:  # as set_begin_index said, where steps are as many as times
            first = self._begin
        elif steps:
            # Of times that repeat the last, as a slice of `timesteps` may begin at any of them.
            first = 0 if steps[0] == 0 else steps[-1]
        else:
            return self._from_within(t)
        if first not in self._steps_made:
            self._steps_made[first] = self._tableau(first)
        tableau: Tableau = self._steps_made[first]
        return tableau

    def _first_index(self, t: float) -> int:
        """Return the index of a time in `timesteps`; its second one where it is there twice."""
        (places,) = np.nonzero(self._times == t)
        if not places.size:
            raise ValueError(
                f"timestep must be one of the timesteps that set_timesteps set, from "
                f"{self._times[0]:g} to {self._times[-1]:g}, got {t:g}"
            )
        return int(places[min(1, len(places) - 1)])

    def _from_within(self, t: float) -> Tableau:
        """Rows of a run that begins in the middle of a step: one that ends it, and the others."""
        self._first_index(t)
        whole, step = self._tableau(0), 0
        for stage in whole.stages:
            if stage.level.t == t:
                break
            step += stage.ends_step
        now, then = stage.level, self._levels[step + 1]
        rows = [Stage(now, (then.alpha,), (then.sigma,))]
        rest = self._levels[step + 1 :]
        if len(rest) > 1:
            rows += self._tableau(step + 1).stages
        return Tableau(type(self).__name__, (now, *rest), tuple(rows))

    def _advance(
        self,
        output: Array,
        t: float,
        sample: Array,
        return_dict: bool,
        threshold: Any = None,
        denoised: bool = True,
        generator: Any = None,
        variance_noise: Any = None,
        s_noise: float = 1.0,
    ) -> Any:
        """Take the row that comes next in the sample's run, and return what came of it."""
        _checks.boolean("return_dict", return_dict)
        arrays.check_floats("sample", sample)
        run, state = self._run(sample, t)
        if state.t != t:
            return self._waited(run, state, output, return_dict, denoised)
        stage, noise = state.tableau.stages[state.index], None
        if stage.c or self._always_draws:
            place = stage_place(state.index, state.tableau.spans[state.index])
            noise = s_noise * stage.c, fresh(generator, variance_noise, state, place)
        after = self._take(state, output, threshold, noise)
        self._row_taken = len(self._times) - state.tableau.nfe + state.index
        result = self._returned(after, denoised)
        # By the sample that the caller gets the run is known again; also one that is over, if the
        # caller may come with the last time once more.
        over = after.done and not self._waits(after, t)
        self._runs.keep(run, after, result.prev_sample, over)
        return handed(result, return_dict)

    def _waited(
        self, run: Run | None, state: State, output: Array, return_dict: bool, denoised: bool
    ) -> Any:
        """Return the sample as it is, with what the output says of it."""
        now = state.tableau.stages[-1].level if state.done else state.level
        row = self._one_step(now, now, Stage(now, (now.alpha,), (now.sigma,)))
        estimate = self._take(self._begun(row, state.carried), output).carried_denoised
        result = self._returned(replace(state, carried_denoised=estimate), denoised)
        self._row_taken = len(self._times) - state.tableau.nfe + state.index - 1
        self._runs.keep(run, state, result.prev_sample)
        return handed(result, return_dict)


class SigmaRuns(Multistage, WithSigmas):
    """Those of them whose levels are sigmas."""

    def _level_at(self, t: float, sigma: float) -> Level:
        """Return the level of a sigma."""
        return Level(t, 1.0, sigma)

    def _levels_at(self, times: Sequence[float], sigmas: Sequence[float]) -> tuple[Level, ...]:
        """Return the levels at which steps begin, and at which the last one ends."""
        return tuple(map(self._level_at, [*times, -1], sigmas))

    def _sources(self) -> tuple[bytes, ...]:
        return self._times.tobytes(), self._sigmas.tobytes()

    def _renew(self) -> None:
        """Make the levels anew from the timesteps and sigmas that were assigned."""
        times, before = self._times.tolist(), self._before()
        if before and self._sigmas.tobytes() == self._made_from[1]:
            return  # only cut off at the beginning: a run from the middle of the grid
        sigmas = self._sigmas[before:].tolist()
        pace = self.order  # a step of two evaluations has two entries
        self._levels = self._levels_at(times[::pace], [*sigmas[:-1:pace], sigmas[-1]])
        whole = self._tableau(0)
        if pace > 1:
            made = [(stage.level.t, stage.level.sigma) for stage in whole.stages]
            given = list(zip(times, sigmas, strict=False))
            if len(made) != len(times) or not np.allclose(made, given, rtol=1e-5, atol=1e-6):
                raise ValueError(
                    f"timesteps and sigmas must be those of {type(self).__name__}'s steps, of two "
                    f"evaluations each but for a last one that ends clean, at {_shown(made)}; got "
                    f"{_shown(given)}: give set_timesteps what it should set"
                )
        self._steps_made = {0: whole}


def _shown(pairs: Sequence[tuple[float, float]]) -> str:
    return ", ".join(f"({t:g}, {sigma:g})" for t, sigma in pairs[:6]) + ", ..." * (len(pairs) > 6)
