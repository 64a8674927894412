"""EDM's models in diffusers' interface: outputs that its preconditioning makes estimates of x_0.

Samples are x_0 + sigma eps. With s_d the data's standard deviation, and F what the network returns
for the sample times c_in,

    D = c_skip x + c_out F,      c_skip = s_d**2 / (sigma**2 + s_d**2),
    c_out = +- sigma s_d / sqrt(sigma**2 + s_d**2),      c_in = 1 / sqrt(sigma**2 + s_d**2)

(Karras et al. 2022, Table 1), the sign + for "epsilon" and - for "v_prediction".
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from schedulers import _checks
from schedulers.compat.diffusers.base import (
    check_churn,
    handed,
    number,
    numbers,
    samples_of,
    single,
)
from schedulers.compat.diffusers.config import configured
from schedulers.compat.diffusers.exponential import FINAL_SIGMAS, SOLVER_TYPES, final_orders
from schedulers.compat.diffusers.multistage import SigmaRuns
from schedulers.compat.diffusers.noise import fresh, step_place
from schedulers.engine import arrays
from schedulers.engine.arrays import weighted_sum
from schedulers.engine.state import State
from schedulers.engine.tableau import Tableau
from schedulers.grids import exponential_sigmas, karras_sigmas
from schedulers.methods.euler import euler_rows
from schedulers.methods.multistep import exponential_adams
from schedulers.schedules.base import Level
from schedulers.schedules.elementary import log

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

Array = Any


class EDM(SigmaRuns):
    """Schedulers of EDM's models, on sigmas between the configuration's ends."""

    def _set_up(self) -> None:
        config = self.config
        _checks.choice("prediction_type", config.prediction_type, ("epsilon", "v_prediction"))
        _checks.choice("sigma_schedule", config.sigma_schedule, ("karras", "exponential"))
        _checks.choice("final_sigmas_type", config.final_sigmas_type, FINAL_SIGMAS)
        for name in ("sigma_min", "sigma_max", "sigma_data", "rho"):
            _checks.real(name, config[name], above=0.0, at_most=1e30)
        if config.sigma_min < 1e-30:  # in float32
            raise ValueError(f"sigma_min must be at least 1e-30, got {config.sigma_min}")
        if config.sigma_min >= config.sigma_max:
            raise ValueError(
                f"sigma_min must be below sigma_max={config.sigma_max}, got {config.sigma_min}"
            )
        count = _checks.count("num_train_timesteps", config.num_train_timesteps)
        self._begin_steps()
        self._set_run(self._sigmas_of(count), None)

    @property
    def init_noise_sigma(self) -> float:
        """Standard deviation of the sample to begin with."""
        return math.hypot(self.config.sigma_max, 1.0)

    def _sigmas_of(self, steps: int) -> Floats:
        config = self.config
        ends = config.sigma_min, config.sigma_max
        if config.sigma_schedule == "exponential":
            return exponential_sigmas(steps, *ends)[:-1]
        return karras_sigmas(steps, *ends, rho=config.rho)[:-1]

    def _set_run(self, sigmas: Floats, device: Any) -> None:
        ends_clean = self.config.final_sigmas_type == "zero"
        end = 0.0 if ends_clean else self._least(sigmas)
        self._sigmas = np.append(sigmas, end).astype(np.float32)
        values = self._sigmas.tolist()
        times = self._told(np.array(values[:-1])).astype(np.float32).tolist()
        self._set_levels(self._levels_at(times, values), device, np.float32)
        self._step_index = None

    def _least(self, sigmas: Floats) -> float:
        """Return where a run ends that does not end clean."""
        return float(sigmas[-1])

    def _told(self, sigmas: Floats) -> Floats:
        """Return the times that the model gets: log(sigma) / 4."""
        return 0.25 * log(sigmas)

    def _tableau(self, first: int) -> Tableau:
        levels = self._levels[first:]
        return Tableau(type(self).__name__, levels, tuple(euler_rows(levels)))

    def index_for_timestep(self, timestep: Any) -> int:
        """Return the index of a timestep in `timesteps`."""
        return self._first_index(single(timestep))

    def scale_model_input(self, sample: Array, timestep: Any) -> Array:
        """Return the sample times c_in, as the network gets it."""
        sigma = self._sigma(self.index_for_timestep(timestep))
        return self._rescaled(sample, 1.0 / math.hypot(sigma, self.config.sigma_data))

    def precondition_outputs(self, sample: Array, model_output: Array, sigma: float) -> Array:
        """Return the denoised estimate that the network's output makes at a sigma."""
        x, dtype = arrays.sample("sample", sample)
        output = arrays.matching("model_output", model_output, x, tuple(x.shape))
        level = _checks.real("sigma", number("sigma", sigma), at_least=0.0, at_most=1e30)
        return arrays.lowered("the denoised estimate", self._estimate(x, output, level), dtype)

    def _estimate(self, sample: Array, output: Array, sigma: float) -> Array:
        far = math.hypot(sigma, self.config.sigma_data)
        sign = 1.0 if self.config.prediction_type == "epsilon" else -1.0
        skip, out = (self.config.sigma_data / far) ** 2, sigma * self.config.sigma_data / far
        return weighted_sum([(skip, sample), (sign * out, output)])

    def add_noise(self, original_samples: Array, noise: Array, timesteps: Any) -> Array:
        """Noise data to one of `timesteps` for each sample: x_0 + sigma noise."""
        times = numbers("timesteps", timesteps, samples_of("original_samples", original_samples))
        sigmas = np.array([self._sigma(self.index_for_timestep(t)) for t in times.tolist()])
        return self._mixed(
            original_samples, noise, (np.ones_like(sigmas), sigmas), "original_samples"
        )

    @property
    def _predicts(self) -> str:
        return "sample"

    def _take(self, state: State, output: Array, threshold: Any = None, noise: Any = None) -> State:
        x = state.carried
        output = arrays.matching("model_output", output, x, tuple(x.shape), state.t)
        denoised = self._estimate(x, output, state.level.sigma)
        return super()._take(state, denoised, threshold, noise)


class EDMEulerScheduler(EDM):
    """Euler's method for EDM's models in diffusers' interface.

    Parameters as in diffusers' `EDMEulerScheduler`.

    Examples
    --------
    >>> scheduler = EDMEulerScheduler()
    >>> scheduler.set_timesteps(3)
    >>> scheduler.sigmas.round(3)
    array([8.000e+01, 2.515e+00, 2.000e-03, 0.000e+00], dtype=float32)
    """

    @configured
    def __init__(
        self,
        sigma_min: float = 0.002,
        sigma_max: float = 80.0,
        sigma_data: float = 0.5,
        sigma_schedule: str = "karras",
        num_train_timesteps: int = 1000,
        prediction_type: str = "epsilon",
        rho: float = 7.0,
        final_sigmas_type: str = "zero",
    ) -> None:
        self._set_up()

    def set_timesteps(
        self, num_inference_steps: int | None = None, device: Any = None, sigmas: Any = None
    ) -> None:
        """Set the times of a run.

        Parameters
        ----------
        num_inference_steps : int, optional
            Number of steps.
        device : optional
            Where PyTorch is loaded, `timesteps` becomes a tensor there.
        sigmas : sequence of float, optional
            Rising places in [0, 1] on the ramp from sigma_max to sigma_min instead, as in
            diffusers; for sigma_schedule "exponential" their number alone counts there, and it is
            an error here.
        """
        if (num_inference_steps is None) == (sigmas is None):
            raise ValueError("exactly one of num_inference_steps and sigmas must be given")
        if sigmas is None:
            steps = self._check_steps(num_inference_steps)
            self._set_run(self._sigmas_of(steps), device)
            return
        if self.config.sigma_schedule != "karras":
            raise ValueError("sigmas must not be given with sigma_schedule='exponential'")
        places = _checks.vector("sigmas", sigmas)
        rho, low, high = self.config.rho, self.config.sigma_min, self.config.sigma_max
        roots = high ** (1.0 / rho) + places * (low ** (1.0 / rho) - high ** (1.0 / rho))
        values = roots**rho
        _checks.decreasing("the sigmas on the ramp", values)
        self._set_run(values, device)

    def step(
        self,
        model_output: Array,
        timestep: Any,
        sample: Array,
        s_churn: float = 0.0,
        s_tmin: float = 0.0,
        s_tmax: float = math.inf,
        s_noise: float = 1.0,
        generator: Any = None,
        return_dict: bool = True,
        pred_original_sample: Array | None = None,
    ) -> Any:
        """Take the step that begins at a timestep.

        Parameters
        ----------
        model_output, timestep, sample, s_churn, s_tmin, s_tmax, s_noise, generator, return_dict
            As for `EulerDiscreteScheduler.step`.
        pred_original_sample : array, optional
            The denoised estimate, if you have it.

        Returns
        -------
        SchedulerOutput or tuple
            `prev_sample` and `pred_original_sample`.
        """
        if self.num_inference_steps is None:
            raise ValueError("set_timesteps must be called before step")
        _checks.boolean("return_dict", return_dict)
        s_churn, s_noise = check_churn(s_churn, s_tmin, s_tmax, s_noise)
        self._settle()
        index = self.index_for_timestep(timestep)
        place = index + len(self._levels) - 1 - len(self._times)
        now, then = self._levels[place : place + 2]
        gamma = s_churn / len(self._levels[1:])
        inside = s_tmin <= now.sigma <= s_tmax
        raised = Level(now.t, 1.0, now.sigma * (1.0 + min(gamma, 2**0.5 - 1.0) * inside))
        (stage,) = euler_rows((raised, then))
        state = self._begun(self._one_step(raised, then, stage), sample)
        x = state.carried
        if raised.sigma > now.sigma:
            c = s_noise * math.sqrt(raised.sigma**2 - now.sigma**2)
            z = fresh(generator, None, state, step_place(index, now, then))
            x = weighted_sum([(1.0, x), (c, z)])
        state = State(state.tableau, 0, x, state.dtype)
        if pred_original_sample is None:
            after = self._take(state, model_output)
        else:
            after = super(EDM, self)._take(state, pred_original_sample)
        self._step_index = index + 1
        result = self._returned(after)
        return handed(result, return_dict)


class EDMDPMSolverMultistepScheduler(EDM):
    """Multistep DPM-Solver++ for EDM's models in diffusers' interface: `schedulers.DPMSolverPP`.

    Parameters as in diffusers' `EDMDPMSolverMultistepScheduler`. For solver_order 3 see
    `DPMSolverMultistepScheduler`.
    """

    @configured
    def __init__(
        self,
        sigma_min: float = 0.002,
        sigma_max: float = 80.0,
        sigma_data: float = 0.5,
        sigma_schedule: str = "karras",
        num_train_timesteps: int = 1000,
        prediction_type: str = "epsilon",
        rho: float = 7.0,
        solver_order: int = 2,
        thresholding: bool = False,
        dynamic_thresholding_ratio: float = 0.995,
        sample_max_value: float = 1.0,
        algorithm_type: str = "dpmsolver++",
        solver_type: str = "midpoint",
        lower_order_final: bool = True,
        euler_at_final: bool = False,
        final_sigmas_type: str = "zero",
    ) -> None:
        _checks.between("solver_order", solver_order, 1, 3)
        _checks.choice("algorithm_type", algorithm_type, ("dpmsolver++", "sde-dpmsolver++", "deis"))
        _checks.choice("solver_type", solver_type, tuple(SOLVER_TYPES))
        self._set_up()

    # Whether the reverse SDE is solved.
    @property
    def _eta(self) -> float:
        return float(self.config.algorithm_type == "sde-dpmsolver++")

    def set_timesteps(self, num_inference_steps: int | None = None, device: Any = None) -> None:
        """Set the times of a run by their number."""
        steps = self._check_steps(num_inference_steps)
        self._set_run(self._sigmas_of(steps), device)

    def _least(self, sigmas: Floats) -> float:
        return float(self.config.sigma_min)

    def _tableau(self, first: int) -> Tableau:
        config, levels, eta = self.config, self._levels[first:], self._eta
        ends_clean = config.final_sigmas_type == "zero"
        steps = len(self._levels) - 1
        orders = final_orders(config, steps, ends_clean or config.euler_at_final)[first:]
        rows = exponential_adams(
            levels, orders, eta=lambda now: eta, slope=SOLVER_TYPES[config.solver_type]
        )
        return Tableau(type(self).__name__, levels, tuple(rows))

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
        model_output, sample : array
            What the network returned for ``scale_model_input(sample, timestep)``, and the sample.
        timestep : float, or an array of one
            The one of `timesteps` that comes next.
        generator, return_dict
            As for `DDIMScheduler.step`.

        Returns
        -------
        SchedulerOutput or tuple
            `prev_sample`.
        """
        if self.num_inference_steps is None:
            raise ValueError("set_timesteps must be called before step")
        t = single(timestep)
        result = self._advance(
            model_output,
            t,
            sample,
            return_dict,
            self._threshold(),
            denoised=False,
            generator=generator,
        )
        self._step_index = self._row_taken + 1
        return result


class CosineDPMSolverMultistepScheduler(EDMDPMSolverMultistepScheduler):
    """DPM++ 2M SDE for models told atan(sigma), as Stable Audio's, in diffusers' interface.

    Parameters as in diffusers' `CosineDPMSolverMultistepScheduler`. A generator that is an int
    names the noise of each step. (diffusers draws it from a Brownian path of the generator's seed.)
    """

    @configured
    def __init__(
        self,
        sigma_min: float = 0.3,
        sigma_max: float = 500,
        sigma_data: float = 1.0,
        sigma_schedule: str = "exponential",
        num_train_timesteps: int = 1000,
        solver_order: int = 2,
        prediction_type: str = "v_prediction",
        rho: float = 7.0,
        solver_type: str = "midpoint",
        lower_order_final: bool = True,
        euler_at_final: bool = False,
        final_sigmas_type: str = "zero",
    ) -> None:
        _checks.between("solver_order", solver_order, 1, 2)
        _checks.choice("solver_type", solver_type, tuple(SOLVER_TYPES))
        self._set_up()

    @property
    def _eta(self) -> float:
        return 1.0

    def _told(self, sigmas: Floats) -> Floats:
        return np.array([math.atan(sigma) / math.pi * 2.0 for sigma in sigmas.tolist()])
