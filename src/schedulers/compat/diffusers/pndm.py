"""PNDM: multistep steps with a start-up, in diffusers' interface."""

from __future__ import annotations

from typing import Any

import numpy as np

from schedulers.compat.diffusers.base import WithFinalLevel
from schedulers.compat.diffusers.config import configured
from schedulers.compat.diffusers.grids import spaced
from schedulers.compat.diffusers.multistage import Multistage
from schedulers.compat.diffusers.variance_preserving import VariancePreserving
from schedulers.engine.tableau import Tableau
from schedulers.methods.plms import plms_rows
from schedulers.schedules.base import Level

Array = Any


class PNDMScheduler(WithFinalLevel, Multistage, VariancePreserving):
    """PNDM in diffusers' interface: `schedulers.PLMS` between the model's own times.

    Parameters as in diffusers' `PNDMScheduler`. With skip_prk_steps the start-up is a step of
    Heun's method, without it three of Runge and Kutta's, with the middle in the model's time.

    Each step goes on from the ones before it; a run that begins in the middle of the grid has steps
    of lower order instead of a start-up, and returns the sample as it is at the start-up's times
    that are left. Noise estimates are combined, whatever the model predicts, and a step leads to
    the time that comes next in `timesteps`. (In diffusers outputs of v_prediction are combined and
    then made a noise estimate at the last level; a step leads to t - num_train_timesteps //
    num_inference_steps, which is the next time where timestep_spacing is "leading"; so does the
    first row of a Runge-Kutta step, by half of that rounded down; and a run from the middle takes a
    start-up that timesteps has no times for. There the samples differ.)
    """

    @configured
    def __init__(
        self,
        num_train_timesteps: int = 1000,
        beta_start: float = 0.0001,
        beta_end: float = 0.02,
        beta_schedule: str = "linear",
        trained_betas: Any = None,
        skip_prk_steps: bool = False,
        set_alpha_to_one: bool = False,
        prediction_type: str = "epsilon",
        timestep_spacing: str = "leading",
        steps_offset: int = 0,
    ) -> None:
        self._set_up()

    def set_timesteps(self, num_inference_steps: int, device: Any = None) -> None:
        """Set the times of a run, one for each model evaluation.

        Parameters
        ----------
        num_inference_steps : int
            Number of steps, at most the number of training times; at least 4 with Runge-Kutta.
        device : optional
            Where PyTorch is loaded, `timesteps` becomes a tensor there.
        """
        config = self.config
        steps = self._check_steps(num_inference_steps, len(self))
        if steps < 4 and not config.skip_prk_steps:
            raise ValueError(
                f"num_inference_steps must be at least 4 where skip_prk_steps is False, for three "
                f"steps of Runge and Kutta and one of PLMS, got {steps}"
            )
        times = np.round(spaced(config.timestep_spacing, len(self), steps, config.steps_offset))
        if times[0] >= len(self):
            raise ValueError(
                f"num_inference_steps={steps} with steps_offset={config.steps_offset} must not "
                f"begin beyond the last timestep, {len(self) - 1}, got {times[0]:g}"
            )
        self._half = len(self) // steps // 2
        levels = tuple(self._level(int(t)) for t in times)
        self._set_levels((*levels, self._final), device, np.int64)

    def _tableau(self, first: int) -> Tableau:
        levels = self._levels[first:]
        startup = "heun" if self.config.skip_prk_steps else "runge_kutta"
        if first or len(levels) == 2:
            startup = "lower_order"
        rows = plms_rows(levels, startup=startup, middle=self._middle)
        return Tableau(type(self).__name__, levels, tuple(rows))

    def _sources(self) -> tuple[bytes, ...]:
        return self._times.tobytes(), self._products.tobytes(), self._final_products.tobytes()

    def _renew(self) -> None:
        super()._renew()
        levels = [self._level(int(level.t)) for level in self._levels[:-1]]
        self._levels = (*levels, self._final)
        self._steps_made = {}

    @property
    def prk_timesteps(self) -> Any:
        """Those of `timesteps` at which Runge and Kutta's steps evaluate the model."""
        rows = 0 if self.config.skip_prk_steps else 12
        return self.timesteps[: max(rows - len(self._grid_times) + len(self._times), 0)]

    @property
    def plms_timesteps(self) -> Any:
        """The others of `timesteps`."""
        return self.timesteps[len(self.prk_timesteps) :]

    def _middle(self, now: Level, then: Level) -> Level:
        """Return the level of the middle time, as diffusers has it."""
        return self._level(int(then.t) + self._half)

    def step(
        self, model_output: Array, timestep: Any, sample: Array, return_dict: bool = True
    ) -> Any:
        """Take the row of one model evaluation.

        Parameters
        ----------
        model_output, sample : array
            What the model returned for the sample, and the sample itself, of one shape.
        timestep : int, or an array of one
            The one of `timesteps` that comes next.
        return_dict : bool
            Whether to return an object with names, or a tuple.

        Returns
        -------
        SchedulerOutput or tuple
            `prev_sample`.
        """
        if self.num_inference_steps is None:
            raise ValueError("set_timesteps must be called before step")
        t = self._checked_time(timestep)
        return self._advance(model_output, t, sample, return_dict, denoised=False)

    # A run knows which of the two comes next.
    step_prk = step_plms = step
