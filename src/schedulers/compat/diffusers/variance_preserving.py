"""DDPM and DDIM: samples at the model's own scale, and times that are its training's integers."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np

from schedulers import _checks
from schedulers.compat.diffusers.assigned import Fixed
from schedulers.compat.diffusers.base import (
    CLEAN,
    SchedulerBase,
    WithFinalLevel,
    handed,
    number,
    numbers,
    samples_of,
)
from schedulers.compat.diffusers.config import configured
from schedulers.compat.diffusers.grids import custom, spaced
from schedulers.compat.diffusers.noise import fresh, step_place
from schedulers.engine import arrays
from schedulers.engine.tableau import Tableau
from schedulers.methods.ddim import ddim_rows
from schedulers.methods.ddpm import VARIANCES, ddpm_rows, deviation_in_range, deviations
from schedulers.schedules.base import Level

Array = Any


class VariancePreserving(SchedulerBase):
    """Schedulers whose levels are the training's own."""

    init_noise_sigma = 1.0

    def _set_up(self) -> None:
        super()._set_up()
        n = self.config.num_train_timesteps
        self._set_times(np.arange(n)[::-1], None)

    def scale_model_input(self, sample: Array, timestep: Any = None) -> Array:
        """Return the sample, which is at the model's own scale."""
        arrays.check_floats("sample", sample)
        return sample

    def _set_grid(self, num_inference_steps: int | None, timesteps: Any, device: Any) -> None:
        """Set the times by a number of steps, or to those given."""
        config = self.config
        n = config.num_train_timesteps
        if (num_inference_steps is None) == (timesteps is None):
            raise ValueError("exactly one of num_inference_steps and timesteps must be given")
        if timesteps is None:
            steps = self._check_steps(num_inference_steps, n)
            times = np.round(spaced(config.timestep_spacing, n, steps, config.steps_offset))
        else:
            times = custom(timesteps, n)
        if times[0] >= n:
            raise ValueError(
                f"num_inference_steps={num_inference_steps} with steps_offset="
                f"{config.steps_offset} must not begin beyond the last timestep, {n - 1}, got "
                f"{times[0]:g}"
            )
        if (times != np.round(times)).any():
            raise ValueError(f"timesteps must be integers, got {_checks.shown(timesteps)}")
        self.num_inference_steps = len(times)
        self._set_times(times.astype(np.int64), device)

    def _level(self, t: int) -> Level:
        if t >= len(self._products):
            raise ValueError(
                f"trained_betas must have an entry for each time of a run, such as {t}, "
                f"got {len(self._products)}"
            )
        product = float(self._products[t])
        return Level(t, math.sqrt(product), math.sqrt(1.0 - product))

    def _checked_times(self, times: Any) -> Any:
        """Check timesteps that were assigned: the model's own, falling."""
        given = custom(times, self.config.num_train_timesteps)
        if (given != np.round(given)).any():
            raise ValueError(f"timesteps must be integers, got {times.tolist()}")
        return given.astype(np.int64)

    def _kept_row(self, key: Any) -> Tableau | None:
        """Return a row that was made, unless its levels have been written into since."""
        if key not in self._steps_made:
            return None
        tableau, t, after, *products = self._steps_made[key]
        same = self._products[t] == products[0] and self._products[after] == products[1]
        return tableau if same else None

    def _keep_row(self, key: Any, t: int, after: int, tableau: Tableau) -> Tableau:
        """Keep a row from a time to the one after, and return it."""
        after = max(after, 0)
        self._steps_made[key] = tableau, t, after, self._products[t], self._products[after]
        return tableau

    def _next_time(self, t: int) -> int:
        """Return the time that the step from this one leads to; below 0 for the final level."""
        (places,) = np.nonzero(self._times == t)
        if not places.size:
            raise ValueError(
                f"timestep must be one of the timesteps that set_timesteps set, from "
                f"{self._times[0]} to {self._times[-1]}, got {t}"
            )
        later = self._times[places[0] + 1 :]
        return int(later[0]) if later.size else -1

    def _checked_time(self, timestep: Any) -> int:
        t = number("timestep", timestep)
        most = min(len(self), len(self._products)) - 1
        if t != int(t) or not 0 <= t <= most:
            raise ValueError(f"timestep must be an integer from 0 to {most}, got {t!r}")
        return int(t)

    def _scales(self, timesteps: Any, count: int) -> Any:
        times = numbers("timesteps", timesteps, count)
        most = min(len(self), len(self._products)) - 1
        wrong = times[(times != np.round(times)) | (times < 0) | (times > most)]
        if wrong.size:
            raise ValueError(f"timesteps must be integers from 0 to {most}, got {wrong[0]:g}")
        products = self._products[times.astype(int)].astype(np.float64)
        return np.sqrt(products), np.sqrt(1.0 - products)

    def add_noise(self, original_samples: Array, noise: Array, timesteps: Any) -> Array:
        """Noise data to a time for each sample: alpha x_0 + sigma noise."""
        alpha, sigma = self._scales(timesteps, samples_of("original_samples", original_samples))
        return self._mixed(original_samples, noise, (alpha, sigma), "original_samples")

    def get_velocity(self, sample: Array, noise: Array, timesteps: Any) -> Array:
        """Return what a model of v_prediction is trained on: alpha noise - sigma x_0."""
        alpha, sigma = self._scales(timesteps, samples_of("sample", sample))
        return self._mixed(sample, noise, (-sigma, alpha))


class DDIMScheduler(WithFinalLevel, VariancePreserving):
    """DDIM in diffusers' interface: `schedulers.DDIM` between the model's own times.

    Parameters as in diffusers' `DDIMScheduler`, and one of its own.

    Parameters
    ----------
    diffusers_steps : bool
        False: a step from timestep t leads to the next one in `timesteps`. True: it leads to
        t - num_train_timesteps // num_inference_steps, as in diffusers. The two are the same with
        timestep_spacing "leading". With "linspace", and with "trailing" if the number of steps does
        not divide the training's, diffusers' step leads to another time than the model gets next,
        and the samples stay away from the probability flow with any number of steps.

    Examples
    --------
    >>> scheduler = DDIMScheduler(num_train_timesteps=1000, beta_schedule="scaled_linear")
    >>> scheduler.set_timesteps(4)
    >>> scheduler.timesteps
    array([750, 500, 250,   0])
    >>> x = np.array([[1.0, -2.0]])
    >>> scheduler.step(0.1 * x, 750, x).prev_sample.shape
    (1, 2)
    """

    @configured
    def __init__(
        self,
        num_train_timesteps: int = 1000,
        beta_start: float = 0.0001,
        beta_end: float = 0.02,
        beta_schedule: str = "linear",
        trained_betas: Any = None,
        clip_sample: bool = True,
        set_alpha_to_one: bool = True,
        steps_offset: int = 0,
        prediction_type: str = "epsilon",
        thresholding: bool = False,
        dynamic_thresholding_ratio: float = 0.995,
        clip_sample_range: float = 1.0,
        sample_max_value: float = 1.0,
        timestep_spacing: str = "leading",
        rescale_betas_zero_snr: bool = False,
        *,
        diffusers_steps: bool = False,
    ) -> None:
        self._set_up()

    def set_timesteps(self, num_inference_steps: int, device: Any = None) -> None:
        """Set the times of a run.

        Parameters
        ----------
        num_inference_steps : int
            Number of steps, at most the number of training times.
        device : optional
            Where PyTorch is loaded, `timesteps` becomes a tensor there.
        """
        self._set_grid(num_inference_steps, None, device)

    def _next_time(self, t: int) -> int:
        if self.config.diffusers_steps:
            assert self.num_inference_steps is not None
            return t - len(self) // self.num_inference_steps
        return super()._next_time(t)

    def _row(self, t: int, eta: float) -> Tableau:
        key = t, eta, self.num_inference_steps
        made = self._kept_row(key)
        if made is None:
            after = self._next_time(t)
            levels = self._level(t), self._final if after < 0 else self._level(after)
            (stage,) = ddim_rows(levels, eta)
            made = self._keep_row(key, t, after, self._one_step(*levels, stage))
        return made

    def step(
        self,
        model_output: Array,
        timestep: Any,
        sample: Array,
        eta: float = 0.0,
        use_clipped_model_output: bool = False,
        generator: Any = None,
        variance_noise: Array | None = None,
        return_dict: bool = True,
    ) -> Any:
        """Take the step that begins at a timestep.

        Parameters
        ----------
        model_output, sample : array
            What the model returned for the sample, and the sample itself, of one shape.
        timestep : int, or an array of one
            Where the step begins.
        eta : float
            In [0, 1]; 0 is deterministic.
        use_clipped_model_output : bool
            Whether to compute the noise estimate again from the clipped denoised estimate.
        generator : optional
            Source of fresh noise: what a core scheduler's `rng` may be, or for PyTorch's tensors a
            torch.Generator or a list of them.
        variance_noise : array, optional
            The fresh noise itself.
        return_dict : bool
            Whether to return an object with names, or a tuple.

        Returns
        -------
        SchedulerOutput or tuple
            `prev_sample` and `pred_original_sample`.
        """
        if self.num_inference_steps is None:
            raise ValueError("set_timesteps must be called before step")
        _checks.boolean("return_dict", return_dict)
        clipped = _checks.boolean("use_clipped_model_output", use_clipped_model_output)
        eta = _checks.real("eta", eta, at_least=0.0, at_most=1.0)
        tableau = self._row(self._checked_time(timestep), eta)
        self._grids.check(sample, self._times)
        state = self._begun(tableau, sample)
        stage, noise = tableau.stages[0], None
        if stage.c:
            index = int(stage.level.t)
            place = step_place(index, *tableau.levels)
            noise = stage.c, fresh(generator, variance_noise, state, place)
        threshold = self._threshold(rederive_noise=clipped)
        result = self._returned(self._take(state, model_output, threshold, noise))
        self._note(result, stage.level.t)
        return handed(result, return_dict)


class DDPMScheduler(VariancePreserving):
    """DDPM in diffusers' interface: `schedulers.DDPM` between the model's own times.

    Parameters as in diffusers' `DDPMScheduler`, and one of its own. As there, a model of
    variance_type "learned" puts out the variance itself.

    Parameters
    ----------
    diffusers_steps : bool
        False: the last step, which ends clean, adds no noise (Ho et al. 2020, Algorithm 2). True:
        it does, as in diffusers, if it begins above timestep 0.
    """

    _beta_schedules = ("linear", "scaled_linear", "squaredcos_cap_v2", "sigmoid", "laplace")
    variance_type = Fixed()

    @configured
    def __init__(
        self,
        num_train_timesteps: int = 1000,
        beta_start: float = 0.0001,
        beta_end: float = 0.02,
        beta_schedule: str = "linear",
        trained_betas: Any = None,
        variance_type: str = "fixed_small",
        clip_sample: bool = True,
        prediction_type: str = "epsilon",
        thresholding: bool = False,
        dynamic_thresholding_ratio: float = 0.995,
        clip_sample_range: float = 1.0,
        sample_max_value: float = 1.0,
        timestep_spacing: str = "leading",
        steps_offset: int = 0,
        rescale_betas_zero_snr: bool = False,
        *,
        diffusers_steps: bool = False,
    ) -> None:
        _checks.choice("variance_type", variance_type, VARIANCES)
        self._set_up()
        self.custom_timesteps = False

    def set_timesteps(
        self, num_inference_steps: int | None = None, device: Any = None, timesteps: Any = None
    ) -> None:
        """Set the times of a run: a number of steps, or the falling times themselves.

        Parameters
        ----------
        num_inference_steps : int, optional
            Number of steps, at most the number of training times.
        device : optional
            Where PyTorch is loaded, `timesteps` becomes a tensor there.
        timesteps : sequence of int, optional
            The times instead.
        """
        self._set_grid(num_inference_steps, timesteps, device)
        self.custom_timesteps = timesteps is not None

    def previous_timestep(self, timestep: Any) -> int:
        """Return the time that the step from this one leads to; -1 is the clean level."""
        return self._next_time(self._checked_time(timestep))

    def _row(self, t: int) -> Tableau:
        made = self._kept_row(t)
        if made is None:
            after = self._next_time(t)
            levels = self._level(t), CLEAN if after < 0 else self._level(after)
            (stage,) = ddpm_rows(levels, self.variance_type)
            if self._noisy_end(levels):
                small, large = self._deviations(levels)
                c = large if self.variance_type.startswith("fixed_large") else small
                stage = replace(stage, c=c)
            made = self._keep_row(t, t, after, self._one_step(*levels, stage))
        return made

    def _noisy_end(self, levels: tuple[Level, ...]) -> bool:
        """Whether a step adds noise to the clean sample, as those of diffusers do."""
        now, then = levels
        return bool(self.config.diffusers_steps and then.sigma == 0.0 and now.t > 0)

    def _deviations(self, levels: tuple[Level, ...]) -> tuple[float, float]:
        """Return the deviations between which a model that learned its variance chooses."""
        if self._noisy_end(levels):
            return 1e-10, levels[0].sigma  # the floor of the variance there, and beta
        return deviations(*levels)

    def _noise(self, tableau: Tableau, variance: Any, z: Any) -> Any:
        """Return the weight of fresh noise, by the model where it learned it, and the noise."""
        stage = tableau.stages[0]
        if self.variance_type == "learned":
            if bool((variance < 0).any()):
                raise ValueError(
                    f"model_output at t={stage.level.t:g} must hold variances, none below 0, in "
                    f"the second half of its channels where variance_type is 'learned'"
                )
            return 1.0, variance**0.5 * z()
        if self.variance_type == "learned_range":
            return 1.0, deviation_in_range(variance, *self._deviations(tableau.levels)) * z()
        return stage.c, z()

    def step(
        self,
        model_output: Array,
        timestep: Any,
        sample: Array,
        generator: Any = None,
        return_dict: bool = True,
        variance_noise: Array | None = None,
    ) -> Any:
        """Take the step that begins at a timestep; arguments and result as for `DDIMScheduler`.

        Where the variance is learned, `model_output` has twice the sample's channels on axis 1.
        """
        _checks.boolean("return_dict", return_dict)
        tableau = self._row(self._checked_time(timestep))
        self._grids.check(sample, self._times)
        state = self._begun(tableau, sample)
        x, stage = state.carried, tableau.stages[0]
        variance: Any = None
        if self.variance_type.startswith("learned"):
            shape = (x.shape[0], 2 * x.shape[1], *x.shape[2:])
            if tuple(model_output.shape) != shape:
                raise ValueError(
                    f"model_output must have shape {shape} where variance_type is "
                    f"{self.variance_type!r}, got {tuple(model_output.shape)}"
                )
            channels = x.shape[1]
            model_output, variance = model_output[:, :channels], model_output[:, channels:]
        noise = None
        if stage.c:
            index = int(stage.level.t)
            noise = self._noise(
                tableau,
                variance,
                lambda: fresh(generator, variance_noise, state, step_place(index, *tableau.levels)),
            )
        result = self._returned(self._take(state, model_output, self._threshold(), noise))
        self._note(result, stage.level.t)
        return handed(result, return_dict)
