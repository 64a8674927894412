"""Steps that weigh earlier evaluations: what Heun's method and PNDM share."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

from schedulers.compat.diffusers.base import SchedulerBase
from schedulers.compat.diffusers.noise import fresh
from schedulers.compat.diffusers.runs import Runs
from schedulers.engine.noise import stage_place
from schedulers.engine.state import State
from schedulers.engine.tableau import Tableau
from schedulers.schedules.base import Level

Array = Any


class Multistage(SchedulerBase):
    """Schedulers whose steps belong to a run, which goes on with the sample that it gave."""

    _levels: tuple[Level, ...] = ()
    _begin: int | None = None
    # Whether a row of weight 0 for noise draws it, too, so that a generator's draws come in the
    # order that diffusers has.
    _always_draws = False
    # Index in `timesteps` of the last row that was taken.
    _row_taken: int

    def _begin_steps(self) -> None:
        super()._begin_steps()
        self._runs = Runs()

    def _set_levels(self, levels: tuple[Level, ...], device: Any, dtype: Any) -> None:
        """Set the grid: where each step begins, and where the last one ends."""
        self._levels = levels
        whole = self._tableau(0)
        times = [stage.level.t for stage in whole.stages]
        self.num_inference_steps = whole.steps
        self._set_times(dtype(times), device)
        self._steps_made = {0: whole}
        self._begin = None
        self._runs.new_epoch()

    @abstractmethod
    def _tableau(self, first: int) -> Tableau:
        """Rows of a run that begins with this step of the grid."""

    def _run(self, sample: Array, t: float) -> tuple[Any, State]:
        """Return the run that a sample belongs to, None for a new one, and its state."""
        run = self._runs.find(sample, t)
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
        first = self._first_index(t)
        if first not in self._steps_made:
            self._steps_made[first] = self._tableau(first)
        return None, self._begun(self._steps_made[first], sample)

    def _first_index(self, t: float) -> int:
        """Return the first step that begins at a time."""
        for step, level in enumerate(self._levels[:-1]):
            if level.t == t:
                return step
        raise ValueError(f"timestep must be one of the timesteps that set_timesteps set, got {t:g}")

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
        run, state = self._run(sample, t)
        stage, noise = state.tableau.stages[state.index], None
        if stage.c or self._always_draws:
            place = stage_place(state.index, state.tableau.spans[state.index])
            noise = s_noise * stage.c, fresh(generator, variance_noise, state, place)
        after = self._take(state, output, threshold, noise)
        self._row_taken = len(self._times) - state.tableau.nfe + state.index
        result = self._returned(after, denoised)
        # By the sample that the caller gets the run is known again.
        self._runs.keep(run, after, result.prev_sample)
        return result if return_dict else result.to_tuple()
