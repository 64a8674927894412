"""Consistency models in diffusers' interface: LCM and TCD, between the model's own times."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from schedulers import _checks
from schedulers.compat.diffusers.base import (
    CLEAN,
    Indexed,
    Threshold,
    WithFinalLevel,
    handed,
    in_dtype_of,
    number,
)
from schedulers.compat.diffusers.config import configured
from schedulers.compat.diffusers.grids import custom
from schedulers.compat.diffusers.noise import fresh, step_place
from schedulers.compat.diffusers.variance_preserving import VariancePreserving
from schedulers.engine import arrays
from schedulers.engine.arrays import weighted_sum
from schedulers.engine.tableau import Stage
from schedulers.methods.consistency import boundary, lcm_rows, tcd_rows
from schedulers.schedules.base import Level

Array = Any


class Consistency(Indexed, WithFinalLevel, VariancePreserving):
    """Schedulers whose times are some of those that a model was distilled at."""

    def _set_up(self) -> None:
        config = self.config
        _checks.integer("original_inference_steps", config.original_inference_steps, at_least=1)
        _checks.real("timestep_scaling", config.timestep_scaling, above=0.0)
        super()._set_up()

    def set_timesteps(
        self,
        num_inference_steps: int | None = None,
        device: Any = None,
        original_inference_steps: int | None = None,
        timesteps: Sequence[int] | None = None,
        strength: float = 1.0,
    ) -> None:
        """Set the times of a run: a number of steps, or the times.

        Parameters
        ----------
        num_inference_steps : int, optional
            Number of steps, at most `original_inference_steps` times `strength`.
        device : optional
            Where PyTorch is loaded, `timesteps` becomes a tensor there.
        original_inference_steps : int, optional
            Number of times that the model was distilled at; the configuration's by default.
        timesteps : sequence of int, optional
            Falling times instead.
        strength : float
            In (0, 1]: part of the times, from the clean end, as image-to-image takes it.
        """
        n, part = len(self), _checks.real("strength", strength, above=0.0, at_most=1.0)
        if (num_inference_steps is None) == (timesteps is None):
            raise ValueError("exactly one of num_inference_steps and timesteps must be given")
        distilled = self._distilled(original_inference_steps, part)
        if timesteps is not None:
            times = custom(timesteps, n)
            times = times[len(times) - int(len(times) * part) :]
        else:
            steps = self._check_steps(num_inference_steps, n)
            if steps > len(distilled):
                raise ValueError(
                    f"num_inference_steps must be at most {len(distilled)}, the number of times "
                    f"that the model was distilled at times strength, got {steps}"
                )
            places = np.floor(np.linspace(0, len(distilled), steps, endpoint=False))
            times = distilled[::-1][places.astype(int)]
        self.num_inference_steps = len(times)
        self._begin = self._step_index = None
        self._set_times(np.asarray(times, np.int64), device)

    def _distilled(self, given: int | None, part: float) -> Any:
        """Return the times that the model was distilled at, rising."""
        count = self.config.original_inference_steps if given is None else given
        count = _checks.between("original_inference_steps", count, 1, len(self))
        return np.arange(1, int(count * part) + 1) * (len(self) // count) - 1

    def _step(
        self, output: Array, sample: Array, generator: Any, then: Level, stage: Stage
    ) -> tuple[Any, Any]:
        """Take a row; return the state after it, and the noise in it with its weight."""
        if self.num_inference_steps is None:
            raise ValueError("set_timesteps must be called before step")
        t = int(stage.level.t)
        self._grids.check(sample, self._times)
        tableau, noise = self._one_step(stage.level, then, stage), None
        state = self._begun(tableau, sample)
        (place,) = np.nonzero(self._times == t)
        if stage.c:
            noise = stage.c, fresh(generator, None, state, step_place(t, *tableau.levels))
        self._step_index = int(place[0]) + 1
        return self._take(state, output, self._threshold(), noise), noise


class LCMScheduler(Consistency):
    """Latent consistency models in diffusers' interface: `schedulers.LCM`.

    Parameters as in diffusers' `LCMScheduler`.

    Examples
    --------
    >>> scheduler = LCMScheduler()
    >>> scheduler.set_timesteps(4)
    >>> scheduler.timesteps
    array([999, 759, 499, 259])
    """

    @configured
    def __init__(
        self,
        num_train_timesteps: int = 1000,
        beta_start: float = 0.00085,
        beta_end: float = 0.012,
        beta_schedule: str = "scaled_linear",
        trained_betas: Any = None,
        original_inference_steps: int = 50,
        clip_sample: bool = False,
        clip_sample_range: float = 1.0,
        set_alpha_to_one: bool = True,
        steps_offset: int = 0,
        prediction_type: str = "epsilon",
        thresholding: bool = False,
        dynamic_thresholding_ratio: float = 0.995,
        sample_max_value: float = 1.0,
        timestep_spacing: str = "leading",
        timestep_scaling: float = 10.0,
        rescale_betas_zero_snr: bool = False,
    ) -> None:
        self._set_up()

    def get_scalings_for_boundary_condition_discrete(self, timestep: int) -> tuple[float, float]:
        """Return c_skip and c_out at a time."""
        return boundary(number("timestep", timestep), self.config.timestep_scaling, 0.5)

    def step(
        self,
        model_output: Array,
        timestep: Any,
        sample: Array,
        generator: Any = None,
        return_dict: bool = True,
    ) -> Any:
        """Take the step that begins at a timestep.

        Parameters
        ----------
        model_output, timestep, sample, generator, return_dict
            As for `DDIMScheduler.step`.

        Returns
        -------
        SchedulerOutput or tuple
            `prev_sample` and `denoised`, the consistency function's value.
        """
        _checks.boolean("return_dict", return_dict)
        t = self._checked_time(timestep)
        after = self._next_time(t)
        now, then = self._level(t), CLEAN if after < 0 else self._level(after)
        (stage,) = lcm_rows((now, then), self.config.timestep_scaling)
        state, _ = self._step(model_output, sample, generator, then, stage)
        skip, out = self.get_scalings_for_boundary_condition_discrete(t)
        x, _ = arrays.sample("sample", sample)
        denoised = weighted_sum([(out, state.carried_denoised), (skip, x)])
        return _result(state, {"denoised": denoised}, return_dict)


class TCDScheduler(Consistency):
    """Trajectory consistency in diffusers' interface: `schedulers.TCD`, ending at timestep 0.

    Parameters as in diffusers' `TCDScheduler`.
    """

    @configured
    def __init__(
        self,
        num_train_timesteps: int = 1000,
        beta_start: float = 0.00085,
        beta_end: float = 0.012,
        beta_schedule: str = "scaled_linear",
        trained_betas: Any = None,
        original_inference_steps: int = 50,
        clip_sample: bool = False,
        clip_sample_range: float = 1.0,
        set_alpha_to_one: bool = True,
        steps_offset: int = 0,
        prediction_type: str = "epsilon",
        thresholding: bool = False,
        dynamic_thresholding_ratio: float = 0.995,
        sample_max_value: float = 1.0,
        timestep_spacing: str = "leading",
        timestep_scaling: float = 10.0,
        rescale_betas_zero_snr: bool = False,
    ) -> None:
        self._set_up()

    def _threshold(self, rederive_noise: bool = True) -> Threshold:
        return None  # what the configuration says of clipping is not applied, as in diffusers

    def _distilled(self, given: int | None, part: float) -> Any:
        if given is None:
            return super()._distilled(given, part)
        return np.arange(int(len(self) * part))

    def step(
        self,
        model_output: Array,
        timestep: Any,
        sample: Array,
        eta: float = 0.3,
        generator: Any = None,
        return_dict: bool = True,
    ) -> Any:
        """Take the step that begins at a timestep.

        Parameters
        ----------
        model_output, timestep, sample, generator, return_dict
            As for `DDIMScheduler.step`.
        eta : float
            In [0, 1]: gamma of the paper, the part of the way down that noise is added back for.

        Returns
        -------
        SchedulerOutput or tuple
            `prev_sample` and `pred_noised_sample`, the sample before that noise.
        """
        _checks.boolean("return_dict", return_dict)
        gamma = _checks.real("eta", eta, at_least=0.0, at_most=1.0)
        t = self._checked_time(timestep)
        now, then = self._level(t), self._level(max(self._next_time(t), 0))
        (stage,) = tcd_rows((now, then), lambda time: self._level(int(time)), gamma)
        state, noise = self._step(model_output, sample, generator, then, stage)
        c, z = noise or (0.0, state.carried)
        below = self._level(int((1.0 - gamma) * then.t))
        back = below.alpha / then.alpha if c else 1.0
        before = weighted_sum([(back, state.carried), (-back * c, z)])
        return _result(state, {"pred_noised_sample": before}, return_dict)


def _result(state: Any, more: dict[str, Array], return_dict: bool) -> Any:
    for name, value in more.items():
        arrays.check_finite(name, value)
    values = {"prev_sample": state.carried, **more}
    result = in_dtype_of(state, values)
    return handed(result, return_dict)
