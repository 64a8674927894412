"""Exponential integrators: samples at the model's own scale, at levels that are Karras sigmas.

The times of a run are integers, and may repeat where an option spaces the levels by sigma: a run is
known by its samples. Every row has an inference step of its own, also those inside a singlestep
method's step, which are at levels of the grid here.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from schedulers import _checks
from schedulers.compat.diffusers.base import (
    Threshold,
    number,
    numbers,
    samples_of,
)
from schedulers.compat.diffusers.config import configured
from schedulers.compat.diffusers.grids import custom, remapped, remapping, shift_of, times_of
from schedulers.compat.diffusers.multistage import SigmaRuns
from schedulers.compat.diffusers.variance_preserving import VariancePreserving
from schedulers.engine.tableau import Stage, Tableau
from schedulers.methods.multistep import (
    exponential_adams,
    exponential_weights,
    log_snr_step,
    windows,
)
from schedulers.schedules import tables
from schedulers.schedules.base import Level
from schedulers.schedules.elementary import log

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

Array = Any
Rows = Iterable[Stage]

FINAL_SIGMAS = ("zero", "sigma_min")
# What other solvers of diffusers' call their types, so that their configurations can be used.
SOLVER_TYPES = {"midpoint": "bh2", "heun": "exact", "logrho": "bh2", "bh1": "bh2", "bh2": "bh2"}


class Exponential(SigmaRuns, VariancePreserving):
    """Schedulers whose rows are those of an exponential integrator between the grid's levels."""

    _prediction_types = ("epsilon", "sample", "v_prediction", "flow_prediction")
    # Where a run ends whose levels are spaced by sigma: at the last one once more.
    _ends_at_last = False

    def _set_up(self) -> None:
        config = self.config
        remapping(config)
        _checks.choice("final_sigmas_type", config.get("final_sigmas_type", "zero"), FINAL_SIGMAS)
        super()._set_up()
        if config.get("rescale_betas_zero_snr"):
            self._products[-1] = tables.TINY
        self._sigmas = self._training[::-1].astype(np.float32)

    @property
    def alpha_t(self) -> Floats:
        """Alpha at each training level."""
        return np.sqrt(self._products.astype(np.float64))

    @property
    def sigma_t(self) -> Floats:
        """Sigma at each training level."""
        return np.sqrt(1.0 - self._products.astype(np.float64))

    @property
    def lambda_t(self) -> Floats:
        """Logarithm of alpha / sigma at each training level."""
        return -log(self._training)

    @property
    def _predicts(self) -> str:
        kind: str = self.config.prediction_type
        return "flow" if kind == "flow_prediction" else kind

    def index_for_timestep(self, timestep: Any) -> int:
        """Return the first index of a timestep in `timesteps`."""
        return self._first_index(number("timestep", timestep))

    def _set_run(self, steps: int | None, timesteps: Any, device: Any, mu: Any = None) -> None:
        """Set the times and levels of a run, by a number of steps or to the times given."""
        if (steps is None) == (timesteps is None):
            raise ValueError("exactly one of num_inference_steps and timesteps must be given")
        if timesteps is not None:
            if remapping(self.config) or self.config.get("use_lu_lambdas"):
                raise ValueError("timesteps must not be given where an option spaces by sigma")
            times = custom(timesteps, len(self))
            sigmas = self._between(times)
        else:
            count = self._check_steps(steps, min(len(self), len(self._products)))
            times, sigmas = self._spaced(count, self._shift(mu))
        self._sigmas = np.append(sigmas, self._end(sigmas)).astype(np.float32)
        times = times.astype(np.int64)
        self._step_index = None
        levels = self._levels_at(times.tolist(), self._sigmas.tolist())
        self._set_levels(levels, device, lambda times: np.array(times, np.int64))

    def _end(self, sigmas: Floats) -> float:
        """Return the sigma at which a run of these ends."""
        ends_clean = self.config.get("final_sigmas_type", "zero") == "zero"
        if ends_clean and not self._ends_at_last:
            return 0.0
        repeats = self._ends_at_last and not self._by_time()
        return float(sigmas[-1] if repeats else self._training[0])

    def _by_time(self) -> bool:
        """Whether the levels are spaced by the model's time."""
        config = self.config
        return not (remapping(config) or config.get("use_flow_sigmas"))

    def _level_at(self, t: float, sigma: float) -> Level:
        if self.config.get("use_flow_sigmas"):
            return Level(t, 1.0 - sigma, sigma)
        root = math.hypot(1.0, sigma)
        return Level(t, 1.0 / root, sigma / root)

    def _shift(self, mu: Any) -> float:
        """Return the shift of a flow's levels."""
        config = self.config
        if mu is None:
            return _checks.real("flow_shift", config.flow_shift, above=0.0)
        if not (config.use_dynamic_shifting and config.time_shift_type == "exponential"):
            raise ValueError(
                f"mu must be given only with use_dynamic_shifting=True and "
                f"time_shift_type='exponential', got {_checks.shown(mu)}"
            )
        return shift_of(mu, "exponential")

    def _last_time(self) -> int:
        """Return the number of training levels above lambda_min_clipped."""
        least = self.config.get("lambda_min_clipped", -math.inf)
        return int(np.sum(-log(self._training) >= least))

    def _by_times(self, steps: int) -> Floats:
        """Times of a number of steps: one fewer than of levels, as the clean end is left out."""
        config, last = self.config, self._last_time()
        match config.get("timestep_spacing", "linspace"):
            case "linspace":
                times = np.round(np.linspace(0, last - 1, steps + 1))[:0:-1]
            case "leading":
                times = np.arange(steps, 0, -1) * (last // (steps + 1)) + config.steps_offset
            case _:
                times = np.round(np.arange(last, 0, -len(self) / steps)) - 1.0
        if times[0] >= len(self):
            raise ValueError(
                f"num_inference_steps={steps} must not begin beyond the last timestep, "
                f"{len(self) - 1}, got {times[0]:g} with steps_offset={config.get('steps_offset')}"
            )
        return np.asarray(times, np.float64)

    def _between(self, times: Floats) -> Floats:
        """Karras sigmas at times, linear between training levels."""
        return self._interpolated(times)

    def _spaced(self, steps: int, shift: float) -> tuple[Floats, Floats]:
        """Return the times and the sigmas at which steps begin."""
        config, option = self.config, remapping(self.config)
        if option is None and config.get("use_lu_lambdas"):
            option = "use_exponential_sigmas"  # even in lambda
        if option is not None:
            sigmas = remapped(option, config, self._training[::-1], steps)
            times = times_of(sigmas, self._training)
            return np.round(times) if self._rounds(option) else times, sigmas
        if config.get("use_flow_sigmas"):
            even = 1.0 - np.linspace(1.0, 1.0 / len(self), steps + 1)[:0:-1]
            sigmas = shift * even / (1.0 + (shift - 1.0) * even)
            return sigmas * len(self), sigmas
        times = self._by_times(steps)
        return times, self._between(times)

    def _rounds(self, option: str) -> bool:
        """Whether times are rounded to integers, and not cut."""
        return option == "use_karras_sigmas"

    def _tableau(self, first: int) -> Tableau:
        levels = self._levels[first:]
        return Tableau(type(self).__name__, levels, tuple(self._rows(levels, first)))

    def _rows(self, levels: tuple[Level, ...], first: int) -> Rows:
        """Rows of a run that begins with the step `first` of the grid."""
        raise NotImplementedError

    def _step(
        self,
        output: Array,
        timestep: Any,
        sample: Array,
        return_dict: bool,
        generator: Any = None,
        variance_noise: Any = None,
    ) -> Any:
        if self.num_inference_steps is None:
            raise ValueError("set_timesteps must be called before step")
        t = number("timestep", timestep)
        kind = self.config.get("variance_type")
        if kind in ("learned", "learned_range") and hasattr(output, "shape"):
            output = output[:, : sample.shape[1]]
        more = {"generator": generator, "variance_noise": variance_noise}
        result = self._advance(
            output, t, sample, return_dict, self._threshold(), denoised=False, **more
        )
        self._step_index = self._row_taken + 1
        return result

    def add_noise(self, original_samples: Array, noise: Array, timesteps: Any) -> Array:
        """Noise data to a time for each sample: alpha x_0 + sigma noise."""
        if not self.config.get("use_flow_sigmas"):
            return super().add_noise(original_samples, noise, timesteps)
        count = samples_of("original_samples", original_samples)
        times = numbers("timesteps", timesteps, count)
        sigmas = np.array([self._sigma(self.index_for_timestep(t)) for t in times.tolist()])
        return self._mixed(original_samples, noise, (1.0 - sigmas, sigmas), "original_samples")


class DPMSolverMultistepScheduler(Exponential):
    """DPM-Solver and DPM-Solver++ in diffusers' interface: multistep `schedulers.DPMSolverPP`.

    Parameters as in diffusers' `DPMSolverMultistepScheduler`. With solver_order 3 a step integrates
    the parabola through three estimates exactly, as `schedulers.DPMSolverPP` does. (diffusers
    takes half of its second derivative, and is of second order.)

    Examples
    --------
    >>> scheduler = DPMSolverMultistepScheduler(use_karras_sigmas=True)
    >>> scheduler.set_timesteps(4)
    >>> scheduler.timesteps
    array([999, 775, 301,   0])
    >>> x = np.array([[1.0, -2.0]])
    >>> for t in scheduler.timesteps:
    ...     x = scheduler.step(0.5 * x, t, x).prev_sample
    """

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
        use_lu_lambdas: bool | None = False,
        use_flow_sigmas: bool | None = False,
        flow_shift: float | None = 1.0,
        final_sigmas_type: str | None = "zero",
        lambda_min_clipped: float = -math.inf,
        variance_type: str | None = None,
        timestep_spacing: str = "linspace",
        steps_offset: int = 0,
        rescale_betas_zero_snr: bool = False,
        use_dynamic_shifting: bool = False,
        time_shift_type: str = "exponential",
    ) -> None:
        algorithms = ("dpmsolver++", "dpmsolver", "sde-dpmsolver++", "sde-dpmsolver", "deis")
        _check_solver(self.config, algorithms)
        if algorithm_type == "sde-dpmsolver" and solver_order == 3:
            raise ValueError("solver_order must be 1 or 2 for algorithm_type 'sde-dpmsolver'")
        self._set_up()

    def set_timesteps(
        self,
        num_inference_steps: int | None = None,
        device: Any = None,
        mu: float | None = None,
        timesteps: Any = None,
    ) -> None:
        """Set the times of a run: a number of steps, or the times.

        Parameters
        ----------
        num_inference_steps : int, optional
            Number of steps.
        device : optional
            Where PyTorch is loaded, `timesteps` becomes a tensor there.
        mu : float, optional
            Log of the shift, with `use_flow_sigmas` and `use_dynamic_shifting`.
        timesteps : sequence of int, optional
            Falling times instead.
        """
        self._set_run(num_inference_steps, timesteps, device, mu)

    def _rounds(self, option: str) -> bool:
        by_lambda = self.config.use_lu_lambdas and not self.config.use_exponential_sigmas
        rounded = option == "use_karras_sigmas" or by_lambda
        return bool(rounded) and self.config.beta_schedule != "squaredcos_cap_v2"

    def _rows(self, levels: tuple[Level, ...], first: int) -> Rows:
        config = self.config
        ends_clean = config.final_sigmas_type == "zero"
        orders = final_orders(config, len(self._levels) - 1, ends_clean or config.euler_at_final)[
            first:
        ]
        slope = SOLVER_TYPES[config.solver_type]
        match config.algorithm_type:
            case "dpmsolver":
                return exponential_adams(levels, orders, slope=slope, noise=True)
            case "sde-dpmsolver":
                return _sde_rows_of_noise(levels, orders, slope)
        eta = float(config.algorithm_type == "sde-dpmsolver++")
        return exponential_adams(levels, orders, eta=lambda now: eta, slope=slope)

    def step(
        self,
        model_output: Array,
        timestep: Any,
        sample: Array,
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
            The one of `timesteps` that comes next.
        generator, variance_noise, return_dict
            As for `DDIMScheduler.step`.

        Returns
        -------
        SchedulerOutput or tuple
            `prev_sample`.
        """
        return self._step(model_output, timestep, sample, return_dict, generator, variance_noise)


class DPMSolverSinglestepScheduler(Exponential):
    """Singlestep DPM-Solver(++) in diffusers' interface, between the levels of the grid.

    Parameters as in diffusers' `DPMSolverSinglestepScheduler`. A step of order 2 or 3 takes that
    many inference steps; each begins anew from the sample that the first of them was given.
    """

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
        lower_order_final: bool = False,
        use_karras_sigmas: bool | None = False,
        use_exponential_sigmas: bool | None = False,
        use_beta_sigmas: bool | None = False,
        use_flow_sigmas: bool | None = False,
        flow_shift: float | None = 1.0,
        final_sigmas_type: str | None = "zero",
        lambda_min_clipped: float = -math.inf,
        variance_type: str | None = None,
        use_dynamic_shifting: bool = False,
        time_shift_type: str = "exponential",
    ) -> None:
        _check_solver(self.config, ("dpmsolver++", "dpmsolver", "sde-dpmsolver++", "deis"))
        self._set_up()

    def set_timesteps(
        self,
        num_inference_steps: int | None = None,
        device: Any = None,
        mu: float | None = None,
        timesteps: Any = None,
    ) -> None:
        """Set the times of a run, as `DPMSolverMultistepScheduler.set_timesteps`."""
        self._set_run(num_inference_steps, timesteps, device, mu)

    def get_order_list(self, num_inference_steps: int) -> list[int]:
        """Return the order of each inference step: 1, 2, ... within each step of the method."""
        config, steps = self.config, _checks.count("num_inference_steps", num_inference_steps)
        order: int = config.solver_order
        ends_clean = config.final_sigmas_type == "zero"
        group = list(range(1, order + 1))
        if not (config.lower_order_final or steps % order or ends_clean):
            return group * (steps // order)
        left = steps % order or order
        rest = {1: [1], 2: [1, 1] if order == 2 else [1, 2], 3: [1, 2, 1]}[left]
        orders = group * ((steps - left) // order) + rest
        return [*orders[:-1], 1] if ends_clean else orders

    def _rows(self, levels: tuple[Level, ...], first: int) -> Rows:
        config = self.config
        orders = self.get_order_list(len(self._levels) - 1)[first:]
        noise = config.algorithm_type == "dpmsolver"
        eta = float(config.algorithm_type == "sde-dpmsolver++")
        return _singlestep_rows(levels, orders, config.solver_type == "heun", eta, noise)

    def step(
        self,
        model_output: Array,
        timestep: Any,
        sample: Array,
        generator: Any = None,
        return_dict: bool = True,
    ) -> Any:
        """Take an inference step, as `DPMSolverMultistepScheduler.step`."""
        return self._step(model_output, timestep, sample, return_dict, generator)


class UniPCMultistepScheduler(Exponential):
    """UniPC in diffusers' interface: `schedulers.UniPC` on its grids.

    Parameters as in diffusers' `UniPCMultistepScheduler`, but that `solver_p`, another scheduler as
    the predictor, is not there.
    """

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
        predict_x0: bool = True,
        solver_type: str = "bh2",
        lower_order_final: bool = True,
        disable_corrector: Sequence[int] = [],
        solver_p: Any = None,
        use_karras_sigmas: bool | None = False,
        use_exponential_sigmas: bool | None = False,
        use_beta_sigmas: bool | None = False,
        use_flow_sigmas: bool | None = False,
        flow_shift: float | None = 1.0,
        timestep_spacing: str = "linspace",
        steps_offset: int = 0,
        final_sigmas_type: str | None = "zero",
        rescale_betas_zero_snr: bool = False,
        use_dynamic_shifting: bool = False,
        time_shift_type: str = "exponential",
        sigma_min: float | None = None,
        sigma_max: float | None = None,
        shift_terminal: float | None = None,
    ) -> None:
        _checks.between("solver_order", solver_order, 1, 4)
        _checks.choice("solver_type", solver_type, tuple(SOLVER_TYPES))
        if solver_p is not None:
            raise ValueError(f"solver_p must be None, got {_checks.shown(solver_p)}")
        self._set_up()

    def set_timesteps(
        self,
        num_inference_steps: int | None = None,
        device: Any = None,
        sigmas: Any = None,
        mu: float | None = None,
    ) -> None:
        """Set the times of a run: a number of steps, or sigmas of a flow before their shift.

        Parameters
        ----------
        num_inference_steps, device, mu
            As for `DPMSolverMultistepScheduler.set_timesteps`.
        sigmas : sequence of float, optional
            With `use_flow_sigmas`, the falling sigmas at which the steps begin.
        """
        self._given = None
        if sigmas is not None:
            if not self.config.use_flow_sigmas or remapping(self.config):
                raise ValueError("sigmas must be given only with use_flow_sigmas=True")
            self._given = _checks.vector("sigmas", sigmas)
            _checks.decreasing("sigmas", self._given)
            num_inference_steps = len(self._given)
        self._set_run(num_inference_steps, None, device, mu)

    def _spaced(self, steps: int, shift: float) -> tuple[Floats, Floats]:
        config, n = self.config, len(self)
        if not config.use_flow_sigmas:
            return super()._spaced(steps, shift)
        if remapping(config):
            _, karras = super()._spaced(steps, shift)
            return n * karras / (karras + 1.0), karras / (karras + 1.0)
        even = self._given
        if even is None:
            even = np.linspace(1.0, 1.0 / n, steps + 1)[:-1]
        sigmas = shift * even / (1.0 + (shift - 1.0) * even)
        if config.shift_terminal:
            sigmas = 1.0 - (1.0 - sigmas) * (1.0 - config.shift_terminal) / (1.0 - sigmas[-1])
        sigmas[0] = min(sigmas[0], 1.0 - 1e-6)
        return n * sigmas, sigmas

    def _end(self, sigmas: Floats) -> float:
        ends_low = self.config.final_sigmas_type == "sigma_min" and not self._by_time()
        return float(sigmas[-1]) if ends_low else super()._end(sigmas)

    def _rows(self, levels: tuple[Level, ...], first: int) -> Rows:
        config, steps = self.config, len(levels) - 1
        order = config.solver_order
        predicted = [order] * steps
        if config.lower_order_final:
            predicted = [min(order, steps - step) for step in range(steps)]
        off = {step - first for step in config.disable_corrector}
        corrected = [0 if step in off else most + 1 for step, most in enumerate(predicted)]
        slope = config.solver_type if config.solver_type in ("bh1", "bh2") else "bh2"
        noise = not config.predict_x0
        return exponential_adams(levels, predicted, corrected, slope=slope, noise=noise)

    def _threshold(self, rederive_noise: bool = True) -> Threshold:
        return super()._threshold(rederive_noise) if self.config.predict_x0 else None

    def step(
        self, model_output: Array, timestep: Any, sample: Array, return_dict: bool = True
    ) -> Any:
        """Take the step that begins at a timestep, as `DPMSolverMultistepScheduler.step`."""
        return self._step(model_output, timestep, sample, return_dict)


class DEISMultistepScheduler(Exponential):
    """DEIS in diffusers' interface: `schedulers.DEIS` in log rho on its grids.

    Parameters as in diffusers' `DEISMultistepScheduler`. A run ends at the last training level, or,
    where an option spaces by sigma, at the last level once more.
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
        algorithm_type: str = "deis",
        solver_type: str = "logrho",
        lower_order_final: bool = True,
        use_karras_sigmas: bool | None = False,
        use_exponential_sigmas: bool | None = False,
        use_beta_sigmas: bool | None = False,
        use_flow_sigmas: bool | None = False,
        flow_shift: float | None = 1.0,
        timestep_spacing: str = "linspace",
        steps_offset: int = 0,
        use_dynamic_shifting: bool = False,
        time_shift_type: str = "exponential",
    ) -> None:
        _checks.between("solver_order", solver_order, 1, 3)
        _checks.choice("algorithm_type", algorithm_type, ("deis", "dpmsolver", "dpmsolver++"))
        _checks.choice("solver_type", solver_type, tuple(SOLVER_TYPES))
        self._set_up()

    def set_timesteps(
        self, num_inference_steps: int, device: Any = None, mu: float | None = None
    ) -> None:
        """Set the times of a run, as `DPMSolverMultistepScheduler.set_timesteps`."""
        self._set_run(num_inference_steps, None, device, mu)

    def _rows(self, levels: tuple[Level, ...], first: int) -> Rows:
        orders = final_orders(self.config, len(self._levels) - 1, euler_at_final=False)[first:]
        return exponential_adams(levels, orders, noise=True)

    def step(
        self, model_output: Array, timestep: Any, sample: Array, return_dict: bool = True
    ) -> Any:
        """Take the step that begins at a timestep, as `DPMSolverMultistepScheduler.step`."""
        return self._step(model_output, timestep, sample, return_dict)


class SASolverScheduler(Exponential):
    """SA-Solver in diffusers' interface: `schedulers.SASolver` on its grids.

    Parameters as in diffusers' `SASolverScheduler`, with algorithm_type "data_prediction" alone.
    """

    _ends_at_last = True
    _always_draws = True

    @configured
    def __init__(
        self,
        num_train_timesteps: int = 1000,
        beta_start: float = 0.0001,
        beta_end: float = 0.02,
        beta_schedule: str = "linear",
        trained_betas: Any = None,
        predictor_order: int = 2,
        corrector_order: int = 2,
        prediction_type: str = "epsilon",
        tau_func: Callable[[float], float] | None = None,
        thresholding: bool = False,
        dynamic_thresholding_ratio: float = 0.995,
        sample_max_value: float = 1.0,
        algorithm_type: str = "data_prediction",
        lower_order_final: bool = True,
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
        _checks.between("predictor_order", predictor_order, 1, 4)
        _checks.between("corrector_order", corrector_order, 1, 4)
        _checks.choice("algorithm_type", algorithm_type, ("data_prediction",))
        if tau_func is not None:
            _checks.function("tau_func", tau_func, "(timestep)")
        self._set_up()

    def set_timesteps(self, num_inference_steps: int | None = None, device: Any = None) -> None:
        """Set the times of a run, as `DPMSolverMultistepScheduler.set_timesteps`."""
        self._set_run(num_inference_steps, None, device)

    def _rows(self, levels: tuple[Level, ...], first: int) -> Rows:
        config, steps = self.config, len(levels) - 1
        predicted, corrected = [config.predictor_order] * steps, [config.corrector_order] * steps
        if config.lower_order_final:
            predicted = [min(most, steps - step) for step, most in enumerate(predicted)]
            corrected = [min(most, steps - step + 1) for step, most in enumerate(corrected)]
        tau = config.tau_func or (lambda t: 200 <= t <= 800)

        def eta(now: Level) -> float:
            return float(tau(now.t)) ** 2

        return exponential_adams(levels, predicted, corrected, eta, "bh1")

    def step(
        self,
        model_output: Array,
        timestep: Any,
        sample: Array,
        generator: Any = None,
        return_dict: bool = True,
    ) -> Any:
        """Take the step that begins at a timestep, as `DPMSolverMultistepScheduler.step`."""
        return self._step(model_output, timestep, sample, return_dict, generator)


def _check_solver(config: Any, algorithms: tuple[str, ...]) -> None:
    """Check what the solvers of DPM-Solver's family are told."""
    _checks.between("solver_order", config.solver_order, 1, 3)
    _checks.choice("algorithm_type", config.algorithm_type, algorithms)
    _checks.choice("solver_type", config.solver_type, tuple(SOLVER_TYPES))
    of_noise = config.algorithm_type in ("dpmsolver", "sde-dpmsolver")
    if of_noise and config.final_sigmas_type == "zero":
        raise ValueError(
            f"final_sigmas_type must be 'sigma_min' for algorithm_type "
            f"{config.algorithm_type!r}, got 'zero'"
        )


def final_orders(config: Any, steps: int, euler_at_final: bool) -> list[int]:
    """Return the order of each step of a grid: lower ones at the end of a short one."""
    orders = [config.solver_order] * steps
    short = config.lower_order_final and steps < 15
    if short and steps > 1:
        orders[-2] = min(2, orders[-2])
    if short or euler_at_final:
        orders[-1] = 1
    return orders


def _sde_rows_of_noise(
    levels: tuple[Level, ...], orders: Sequence[int], slope: str
) -> Iterator[Stage]:
    """Rows of the reverse SDE with the noise estimate as a polynomial in lambda.

    x' = (alpha' / alpha) x - 2 sigma' int exp(h - u) P(u) du + sigma' sqrt(exp(2 h) - 1) z.
    """
    steps = zip(windows(levels, max(orders)), orders, strict=True)
    for (now, then, known), order in steps:
        turned = [(age, _exchanged(level)) for age, level in known[:order]]
        w = exponential_weights(_exchanged(now), _exchanged(then), turned, slope=slope)
        b = {age: 2.0 * then.sigma * weight for age, weight in w.items()}
        b[0] += then.alpha * now.karras
        c = then.sigma * math.sqrt(math.expm1(2.0 * log_snr_step(now, then)))
        yield Stage(now, (then.alpha,), b, c)


def _singlestep_rows(
    levels: tuple[Level, ...], orders: Sequence[int], heun: bool, eta: float, noise: bool
) -> Iterator[Stage]:
    """Rows that each begin anew where the last row of order 1 began, `order` - 1 rows ago."""
    turn = _exchanged if noise else _kept
    since = 0
    for row, (_, then) in enumerate(pairwise(levels)):
        order = min(orders[row], since + 1)
        since = order
        age = order - 1
        start, end = turn(levels[row - age]), turn(then)
        points = [(k, turn(levels[row - k])) for k in range(order)]
        if order == 3 and not heun:
            points = [points[0], points[-1]]
        slope = "bh2" if order == 2 and not heun else "exact"
        w = exponential_weights(start, end, points, 1.0 + eta, slope)
        h = log_snr_step(start, end)
        decay = math.exp(-eta * h) if eta else 1.0
        a = {k: end.alpha * weight for k, weight in w.items()}
        a[age] = a.get(age, 0.0) + end.sigma / start.sigma * decay * start.alpha
        b = {age: end.sigma * decay}
        c = end.sigma * math.sqrt(-math.expm1(-2.0 * eta * h)) if eta else 0.0
        yield Stage(levels[row], b, a, c) if noise else Stage(levels[row], a, b, c)


def _kept(level: Level) -> Level:
    return level


def _exchanged(level: Level) -> Level:
    return Level(level.t, level.sigma, level.alpha)
