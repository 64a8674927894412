"""Inversion in diffusers' interface: from a sample up to the noise that it is made from."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from schedulers import _checks
from schedulers.compat.diffusers.base import (
    CLEAN,
    WithFinalLevel,
    handed,
)
from schedulers.compat.diffusers.config import configured
from schedulers.compat.diffusers.exponential import SOLVER_TYPES, Exponential, Rows, final_orders
from schedulers.compat.diffusers.grids import remapping
from schedulers.compat.diffusers.variance_preserving import VariancePreserving
from schedulers.methods.ddim import ddim_rows
from schedulers.methods.multistep import exponential_adams
from schedulers.schedules.base import Level

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

Array = Any


class DDIMInverseScheduler(WithFinalLevel, VariancePreserving):
    """DDIM inversion in diffusers' interface.

    Parameters as in diffusers' `DDIMInverseScheduler`. As there, the model is evaluated at the time
    that a step leads to, and a step begins num_train_timesteps // num_inference_steps below that.
    The core's ``DDIM.invert`` has only the first one so, and the others at their own time.

    Examples
    --------
    >>> scheduler = DDIMInverseScheduler(clip_sample=False)
    >>> scheduler.set_timesteps(4)
    >>> scheduler.timesteps
    array([  0, 250, 500, 750])
    >>> x = np.array([[1.0, -2.0]])
    >>> for t in scheduler.timesteps:
    ...     x = scheduler.step(0.1 * x, t, x).prev_sample
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
        clip_sample_range: float = 1.0,
        timestep_spacing: str = "leading",
        rescale_betas_zero_snr: bool = False,
        **kwargs: Any,
    ) -> None:
        _checks.choice("timestep_spacing", timestep_spacing, ("leading", "trailing"))
        self._set_up()

    def set_timesteps(self, num_inference_steps: int, device: Any = None) -> None:
        """Set the times of a run, as `DDIMScheduler.set_timesteps`; they rise."""
        self._set_grid(num_inference_steps, None, device)
        self._set_times(self._times[::-1].copy(), device)

    def _checked_times(self, times: Any) -> Any:
        return super()._checked_times(times[::-1])[::-1]

    @property
    def initial_alpha_cumprod(self) -> float:
        """alphas_cumprod of the level that the first step begins at; it may be assigned."""
        return self.final_alpha_cumprod

    @initial_alpha_cumprod.setter
    def initial_alpha_cumprod(self, value: Any) -> None:
        self.final_alpha_cumprod = value

    def step(
        self, model_output: Array, timestep: Any, sample: Array, return_dict: bool = True
    ) -> Any:
        """Take the step that leads to a timestep.

        Parameters
        ----------
        model_output, sample : array
            What the model returned for the sample at `timestep`, and the sample itself.
        timestep : int, or an array of one
            Where the step leads.
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
        t = self._checked_time(timestep)
        before = min(t - len(self) // self.num_inference_steps, len(self) - 1)
        now = self._level(before) if before >= 0 else self._final
        if now == CLEAN and self._predicts == "sample":
            raise ValueError(
                "set_alpha_to_one must be False for prediction_type 'sample': at the clean level "
                "the data says nothing of the noise"
            )
        (stage,) = ddim_rows((now, self._level(t)), 0.0)
        state = self._begun(self._one_step(now, self._level(t), stage), sample)
        threshold = self._threshold(rederive_noise=False)
        result = self._returned(self._take(state, model_output, threshold))
        return handed(result, return_dict)


class DPMSolverMultistepInverseScheduler(Exponential):
    """Inversion by multistep DPM-Solver(++) in diffusers' interface: its rows on rising levels.

    Parameters as in diffusers' `DPMSolverMultistepInverseScheduler`; the types that draw noise do
    not go upwards. With `use_flow_sigmas` the levels rise, too. (In diffusers they fall.)
    """

    _ends_at_last = True

    @configured
    def __init__(
        self,
        num_train_timesteps: int = 1000,
        beta_start: float = 0.0001,
        beta_end: float = 0.02,
        beta_schedule: str = "linear",
        trained_betas: Any = None,
        solver_order: int = 2,
        prediction_type: str = "epsilon",
        thresholding: bool = False,
        dynamic_thresholding_ratio: float = 0.995,
        sample_max_value: float = 1.0,
        algorithm_type: str = "dpmsolver++",
        solver_type: str = "midpoint",
        lower_order_final: bool = True,
        euler_at_final: bool = False,
        use_karras_sigmas: bool | None = False,
        use_exponential_sigmas: bool | None = False,
        use_beta_sigmas: bool | None = False,
        use_flow_sigmas: bool | None = False,
        flow_shift: float | None = 1.0,
        lambda_min_clipped: float = -math.inf,
        variance_type: str | None = None,
        timestep_spacing: str = "linspace",
        steps_offset: int = 0,
    ) -> None:
        _checks.between("solver_order", solver_order, 1, 3)
        _checks.choice("algorithm_type", algorithm_type, ("dpmsolver++", "dpmsolver", "deis"))
        _checks.choice("solver_type", solver_type, tuple(SOLVER_TYPES))
        self._set_up()

    def set_timesteps(self, num_inference_steps: int | None = None, device: Any = None) -> None:
        """Set the times of a run, as `DPMSolverMultistepScheduler.set_timesteps`; they rise."""
        self._set_run(num_inference_steps, None, device)

    def _spaced(self, steps: int, shift: float) -> tuple[Floats, Floats]:
        times, sigmas = super()._spaced(steps, shift)
        if steps == 1 and remapping(self.config):
            return np.zeros(1), self._training[:1]
        return (times, sigmas) if self._by_time() else (times[::-1], sigmas[::-1])

    def _by_times(self, steps: int) -> Floats:
        config, last = self.config, self._last_time()
        match config.timestep_spacing:
            case "linspace":
                times = np.round(np.linspace(0, last - 1, steps + 1))[:-1]
            case "leading":
                times = np.arange(steps) * float(last // (steps + 1)) + config.steps_offset
            case _:
                times = super()._by_times(steps)[::-1]
        return np.asarray(times, np.float64)

    def _end(self, sigmas: Floats) -> float:
        return float(self._training[self._last_time() - 1] if self._by_time() else sigmas[-1])

    def _rows(self, levels: tuple[Level, ...], first: int) -> Rows:
        config = self.config
        orders = final_orders(config, len(self._levels) - 1, config.euler_at_final)[first:]
        noise = config.algorithm_type == "dpmsolver"
        return exponential_adams(
            levels, orders, slope=SOLVER_TYPES[config.solver_type], noise=noise
        )

    def step(
        self,
        model_output: Array,
        timestep: Any,
        sample: Array,
        generator: Any = None,
        variance_noise: Array | None = None,
        return_dict: bool = True,
    ) -> Any:
        """Take the step that begins at a timestep, as `DPMSolverMultistepScheduler.step`."""
        return self._step(model_output, timestep, sample, return_dict)
