"""LMS, DPM2 and DPM++ SDE in diffusers' interface: on Karras's sigmas, in runs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from schedulers import _checks
from schedulers.compat.diffusers.base import single
from schedulers.compat.diffusers.config import configured
from schedulers.compat.diffusers.grids import remapping, times_of
from schedulers.compat.diffusers.multistage import SigmaRuns
from schedulers.compat.diffusers.variance_exploding import VarianceExploding
from schedulers.engine.tableau import Stage, Tableau
from schedulers.methods.dpm2 import dpm2_ancestral_rows, dpm2_rows
from schedulers.methods.dpm_sde import sde_rows
from schedulers.methods.lms import lms_rows
from schedulers.schedules.base import Level

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

Array = Any


class KSampler(SigmaRuns, VarianceExploding):
    """Schedulers that end clean, and whose rows belong to a run."""

    # Whether times of Karras's sigmas are whole.
    _rounds = False

    def _set_up(self) -> None:
        super()._set_up()
        times = np.arange(len(self._training), dtype=np.float64)[::-1]
        self._set_steps(times, self._training[::-1], None)

    def _set_by_number(self, steps: int, device: Any, n_train: int | None = None) -> None:
        count = self._check_steps(steps)
        if n_train is not None:
            n_train = _checks.count("num_train_timesteps", n_train)
        times = self._spaced(count, n_train)
        times, sigmas = self._remap(times, self._at(times))
        if self._rounds and remapping(self.config) == "use_karras_sigmas":
            times = np.round(times)
        self._set_steps(times, sigmas, device)

    def _set_steps(self, times: Floats, sigmas: Floats, device: Any) -> None:
        told = times.astype(np.float32).tolist()
        values = [*sigmas.astype(np.float32).tolist(), 0.0]
        self._sigmas = np.array(values, np.float32)
        self._set_levels(self._levels_at(told, values), device, np.float32)
        stages = self._steps_made[0].stages
        self._sigmas = np.array([*(stage.level.sigma for stage in stages), 0.0], np.float32)
        self._remember()

    def _middle(self, sigma: float) -> Level:
        """Return the level at a sigma between two of the grid, in float32 as those are."""
        sigma = float(np.float32(sigma))
        (t,) = times_of(np.array([sigma]), self._training).astype(np.float32).tolist()
        return Level(t, 1.0, sigma)

    def _tableau(self, first: int) -> Tableau:
        levels = self._levels[first:]
        return Tableau(type(self).__name__, levels, tuple(self._rows(levels)))

    def _rows(self, levels: tuple[Level, ...]) -> Iterable[Stage]:
        raise NotImplementedError

    def _step(
        self, output: Array, timestep: Any, sample: Array, return_dict: bool, **noise: Any
    ) -> Any:
        t = single(timestep)
        result = self._advance(output, t, sample, return_dict, **noise)
        self._step_index = self._row_taken + 1
        return result


class LMSDiscreteScheduler(KSampler):
    """LMS in diffusers' interface: `schedulers.LMS` on its grids.

    Parameters as in diffusers' `LMSDiscreteScheduler`.

    Examples
    --------
    >>> scheduler = LMSDiscreteScheduler()
    >>> scheduler.set_timesteps(3)
    >>> scheduler.timesteps
    array([999. , 499.5,   0. ], dtype=float32)
    >>> x = scheduler.init_noise_sigma * np.array([[1.0, -2.0]])
    >>> for t in scheduler.timesteps:
    ...     noise_pred = 0.5 * scheduler.scale_model_input(x, t)  # your network
    ...     x = scheduler.step(noise_pred, t, x).prev_sample
    """

    _order = 4

    @configured
    def __init__(
        self,
        num_train_timesteps: int = 1000,
        beta_start: float = 0.0001,
        beta_end: float = 0.02,
        beta_schedule: str = "linear",
        trained_betas: Any = None,
        use_karras_sigmas: bool | None = False,
        use_exponential_sigmas: bool | None = False,
        use_beta_sigmas: bool | None = False,
        prediction_type: str = "epsilon",
        timestep_spacing: str = "linspace",
        steps_offset: int = 0,
    ) -> None:
        self._set_up()

    def set_timesteps(self, num_inference_steps: int, device: Any = None) -> None:
        """Set the times of a run by their number."""
        self._set_by_number(num_inference_steps, device)

    def _rows(self, levels: tuple[Level, ...]) -> Iterable[Stage]:
        return lms_rows(levels, self._order)

    def step(
        self,
        model_output: Array,
        timestep: Any,
        sample: Array,
        order: int = 4,
        return_dict: bool = True,
    ) -> Any:
        """Take the step that begins at a timestep.

        Parameters
        ----------
        model_output, timestep, sample, return_dict
            As for `EulerDiscreteScheduler.step`.
        order : int
            Number of estimates that a step weighs, 1 to 4; a run keeps that of its first step.

        Returns
        -------
        SchedulerOutput or tuple
            `prev_sample` and `pred_original_sample`.
        """
        if _checks.between("order", order, 1, 4) != self._order:
            self._order, self._steps_made = order, {}
        return self._step(model_output, timestep, sample, return_dict)


class KDPM2DiscreteScheduler(KSampler):
    """DPM2 in diffusers' interface: `schedulers.DPM2` on its grids.

    Parameters as in diffusers' `KDPM2DiscreteScheduler`.
    """

    order = 2
    _rounds = True
    _prediction_types = ("epsilon", "v_prediction")

    @configured
    def __init__(
        self,
        num_train_timesteps: int = 1000,
        beta_start: float = 0.00085,
        beta_end: float = 0.012,
        beta_schedule: str = "linear",
        trained_betas: Any = None,
        use_karras_sigmas: bool | None = False,
        use_exponential_sigmas: bool | None = False,
        use_beta_sigmas: bool | None = False,
        prediction_type: str = "epsilon",
        timestep_spacing: str = "linspace",
        steps_offset: int = 0,
    ) -> None:
        self._set_up()

    def set_timesteps(
        self, num_inference_steps: int, device: Any = None, num_train_timesteps: int | None = None
    ) -> None:
        """Set the times of a run, two for each step but the last, as `HeunDiscreteScheduler`."""
        self._set_by_number(num_inference_steps, device, num_train_timesteps)

    def _rows(self, levels: tuple[Level, ...]) -> Iterable[Stage]:
        return dpm2_rows(levels, self._middle)

    def step(
        self, model_output: Array, timestep: Any, sample: Array, return_dict: bool = True
    ) -> Any:
        """Take one evaluation, half a step; arguments and result as for Euler's `step`."""
        return self._step(model_output, timestep, sample, return_dict)


class KDPM2AncestralDiscreteScheduler(KSampler):
    """Ancestral DPM2 in diffusers' interface: `schedulers.DPM2Ancestral` on its grids.

    Parameters as in diffusers' `KDPM2AncestralDiscreteScheduler`.
    """

    order = 2
    _rounds = True
    _prediction_types = ("epsilon", "v_prediction")

    @configured
    def __init__(
        self,
        num_train_timesteps: int = 1000,
        beta_start: float = 0.00085,
        beta_end: float = 0.012,
        beta_schedule: str = "linear",
        trained_betas: Any = None,
        use_karras_sigmas: bool | None = False,
        use_exponential_sigmas: bool | None = False,
        use_beta_sigmas: bool | None = False,
        prediction_type: str = "epsilon",
        timestep_spacing: str = "linspace",
        steps_offset: int = 0,
    ) -> None:
        self._set_up()

    def set_timesteps(
        self, num_inference_steps: int, device: Any = None, num_train_timesteps: int | None = None
    ) -> None:
        """Set the times of a run, two for each step but the last, as `HeunDiscreteScheduler`."""
        self._set_by_number(num_inference_steps, device, num_train_timesteps)

    def _rows(self, levels: tuple[Level, ...]) -> Iterable[Stage]:
        return dpm2_ancestral_rows(levels, self._middle)

    def step(
        self,
        model_output: Array,
        timestep: Any,
        sample: Array,
        generator: Any = None,
        return_dict: bool = True,
    ) -> Any:
        """Take one evaluation, half a step; as `EulerAncestralDiscreteScheduler.step`."""
        return self._step(model_output, timestep, sample, return_dict, generator=generator)


class DPMSolverSDEScheduler(KSampler):
    """DPM++ SDE in diffusers' interface: `schedulers.DPMSolverPP` with sde=True on its grids.

    Parameters as in diffusers' `DPMSolverSDEScheduler`. `noise_sampler_seed` names the noise of
    every step; without it the system seeds it. The two noises of a step are those of the exact
    solution, whose Brownian motion is in 1 / sigma**2. (In diffusers it is in sigma, so that they
    have another correlation.)
    """

    order = 2
    _prediction_types = ("epsilon", "v_prediction")

    @configured
    def __init__(
        self,
        num_train_timesteps: int = 1000,
        beta_start: float = 0.00085,
        beta_end: float = 0.012,
        beta_schedule: str = "linear",
        trained_betas: Any = None,
        prediction_type: str = "epsilon",
        use_karras_sigmas: bool | None = False,
        use_exponential_sigmas: bool | None = False,
        use_beta_sigmas: bool | None = False,
        noise_sampler_seed: int | Sequence[int] | None = None,
        timestep_spacing: str = "linspace",
        steps_offset: int = 0,
    ) -> None:
        self._set_up()

    def set_timesteps(
        self, num_inference_steps: int, device: Any = None, num_train_timesteps: int | None = None
    ) -> None:
        """Set the times of a run, two for each step but the last, as `HeunDiscreteScheduler`."""
        self._set_by_number(num_inference_steps, device, num_train_timesteps)

    def _rows(self, levels: tuple[Level, ...]) -> Iterable[Stage]:
        return sde_rows(levels, self._middle)

    def step(
        self,
        model_output: Array,
        timestep: Any,
        sample: Array,
        return_dict: bool = True,
        s_noise: float = 1.0,
    ) -> Any:
        """Take one evaluation, half a step.

        Parameters
        ----------
        model_output, timestep, sample, return_dict
            As for `EulerDiscreteScheduler.step`.
        s_noise : float
            Standard deviation of the noise, at least 0.

        Returns
        -------
        SchedulerOutput or tuple
            `prev_sample` and `pred_original_sample`.
        """
        s_noise = _checks.real("s_noise", s_noise, at_least=0.0)
        seed = self.config.noise_sampler_seed
        return self._step(
            model_output, timestep, sample, return_dict, generator=seed, s_noise=s_noise
        )
