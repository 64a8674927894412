"""Euler, Euler-ancestral and Heun: samples at the scale x_0 + sigma eps, with sigma Karras's.

The model wants its own scale, so `scale_model_input` divides by sqrt(sigma**2 + 1). In the core's
terms the levels have alpha = 1. What a model of v_prediction returns is at its own scale, too, and
is multiplied by the same root to be v of these levels, eps - sigma x_0.
"""

from __future__ import annotations

import math
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from schedulers import _checks
from schedulers.compat.diffusers.base import (
    WithSigmas,
    check_churn,
    handed,
    no_index,
    number,
    numbers,
    samples_of,
    single,
)
from schedulers.compat.diffusers.config import configured
from schedulers.compat.diffusers.grids import custom, remapped, remapping, spaced, times_of
from schedulers.compat.diffusers.multistage import SigmaRuns
from schedulers.compat.diffusers.noise import fresh, step_place
from schedulers.engine.state import State
from schedulers.engine.tableau import Stage, Tableau
from schedulers.methods.euler import euler_ancestral_rows, euler_rows
from schedulers.methods.heun import heun_rows
from schedulers.schedules import tables
from schedulers.schedules.base import Level
from schedulers.schedules.elementary import exp, log

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

Array = Any


class VarianceExploding(WithSigmas):
    """Schedulers whose levels are Karras sigmas, and whose times need not be integers."""

    _ends_finite = True

    def _set_up(self) -> None:
        remapping(self.config)
        super()._set_up()
        if self.config.get("rescale_betas_zero_snr"):
            self._products[-1] = tables.TINY
        if self._products[-1] == 0.0:
            raise ValueError("trained_betas must end below 1: sigma is infinite there")

    @property
    def init_noise_sigma(self) -> Any:
        """Standard deviation of the sample to begin with; a tensor where `timesteps` is one."""
        top = float(self.sigmas.max())
        leading = self.config.timestep_spacing == "leading"
        return self._told_number(math.hypot(top, 1.0) if leading else top)

    def scale_model_input(self, sample: Array, timestep: Any) -> Array:
        """Return the sample at the model's own scale, divided by sqrt(sigma**2 + 1)."""
        sigma = self._sigma(self.index_for_timestep(timestep))
        return self._rescaled(sample, 1.0 / math.hypot(sigma, 1.0))

    def add_noise(self, original_samples: Array, noise: Array, timesteps: Any) -> Array:
        """Noise data to one of `timesteps` for each sample: x_0 + sigma noise."""
        sigma = self._sigmas_at(timesteps, samples_of("original_samples", original_samples))
        return self._mixed(
            original_samples, noise, (np.ones_like(sigma), sigma), "original_samples"
        )

    def index_for_timestep(self, timestep: Any) -> int:
        """Return the index of a timestep, the start of a step."""
        (places,) = np.nonzero(self._times == np.float32(number("timestep", timestep)))
        if not places.size:
            raise ValueError(
                f"timestep must be one of the scheduler's timesteps, from {self._times[0]:g} to "
                f"{self._times[-1]:g}, got {number('timestep', timestep)!r}"
            )
        return int(places[-1])  # the second of Heun's two is where a step begins

    def _index(self, timestep: Any) -> int:
        return self.index_for_timestep(no_index(timestep))

    def _sigmas_at(self, timesteps: Any, count: int) -> Floats:
        times = numbers("timesteps", timesteps, count)
        return np.array([self._sigma(self.index_for_timestep(float(t))) for t in times])

    def _spaced(self, steps: int, n_train: int | None = None) -> Floats:
        config = self.config
        n = n_train or len(self)
        return spaced(config.timestep_spacing, n, steps, config.steps_offset).astype(np.float32)

    def _at(self, times: Floats) -> Floats:
        """Karras sigmas at times, linear between training levels."""
        return self._interpolated(times)

    def _remap(self, times: Floats, sigmas: Floats) -> tuple[Floats, Floats]:
        """Times and sigmas where an option spaces them by sigma; else these."""
        option = remapping(self.config)
        if option is None:
            return times, sigmas
        sigmas = remapped(option, self.config, sigmas, len(times))
        return times_of(sigmas, self._training), sigmas

    def _steps_from(self, num_inference_steps: int | None, timesteps: Any) -> Floats:
        """Times of the steps, those given or spaced."""
        if timesteps is None:
            return self._spaced(self._check_steps(num_inference_steps))
        if remapping(self.config):
            raise ValueError(f"timesteps must not be given with {remapping(self.config)}=True")
        return custom(timesteps, len(self)).astype(np.float32)

    def _read(self, output: Array, state: State) -> Array:
        if self._predicts == "v_prediction":
            return output * math.hypot(1.0, state.level.sigma)
        return output


class SingleStage(VarianceExploding):
    """Those whose step is one model evaluation, and whose timesteps tell steps apart."""

    def _set_sigmas(self, times: Floats, sigmas: Floats, device: Any) -> None:
        times = times.astype(np.float32)
        repeated = times[1:][times[1:] == times[:-1]]
        if repeated.size:
            raise ValueError(
                f"timesteps must differ, since they identify the steps, got {repeated[0]:g} twice: "
                f"take fewer steps, or sigmas that the model was trained at"
            )
        self._sigmas = sigmas.astype(np.float32)
        self._set_times(times, device)
        self._begin = self._step_index = None

    def _levels_of(self, index: int) -> tuple[Level, Level]:
        place = index + self._before()
        now, then = (float(sigma) for sigma in self._sigmas[place : place + 2])
        t = float(self._times[index])
        return Level(t, 1.0, now), Level(t, 1.0, then)

    def _step(
        self, model_output: Array, index: int, sample: Array, stage: Stage, generator: Any
    ) -> Any:
        self._grids.check(sample, self._times)
        levels = self._levels_of(index)
        key = index, stage
        if key not in self._steps_made:
            self._steps_made[key] = self._one_step(*levels, stage)
        state = self._begun(self._steps_made[key], sample)
        noise = None
        if stage.c:
            noise = stage.c, fresh(generator, None, state, step_place(index, *levels))
        result = self._returned(self._take(state, model_output, noise=noise))
        self._note(result, levels[0].t)
        self._step_index = index + 1
        return result


class EulerDiscreteScheduler(SingleStage):
    """Euler's method in diffusers' interface: `schedulers.Euler` on its grids.

    Parameters as in diffusers' `EulerDiscreteScheduler`.

    Examples
    --------
    >>> scheduler = EulerDiscreteScheduler(use_karras_sigmas=True)
    >>> scheduler.set_timesteps(3)
    >>> scheduler.sigmas.astype(int)
    array([157,   5,   0,   0])
    >>> x = scheduler.init_noise_sigma * np.array([[1.0, -2.0]])
    >>> for t in scheduler.timesteps:
    ...     noise_pred = 0.5 * scheduler.scale_model_input(x, t)  # your network
    ...     x = scheduler.step(noise_pred, t, x).prev_sample
    """

    _prediction_types = ("epsilon", "sample", "v_prediction", "original_sample")

    @configured
    def __init__(
        self,
        num_train_timesteps: int = 1000,
        beta_start: float = 0.0001,
        beta_end: float = 0.02,
        beta_schedule: str = "linear",
        trained_betas: Any = None,
        prediction_type: str = "epsilon",
        interpolation_type: str = "linear",
        use_karras_sigmas: bool | None = False,
        use_exponential_sigmas: bool | None = False,
        use_beta_sigmas: bool | None = False,
        sigma_min: float | None = None,
        sigma_max: float | None = None,
        timestep_spacing: str = "linspace",
        timestep_type: str = "discrete",
        steps_offset: int = 0,
        rescale_betas_zero_snr: bool = False,
        final_sigmas_type: str = "zero",
    ) -> None:
        _checks.choice("interpolation_type", interpolation_type, ("linear", "log_linear"))
        _checks.choice("timestep_type", timestep_type, ("discrete", "continuous"))
        _checks.choice("final_sigmas_type", final_sigmas_type, ("zero", "sigma_min"))
        self._set_up()
        sigmas = np.append(self._training[::-1], 0.0)
        times = np.arange(len(self._training), dtype=np.float64)[::-1]
        self._set_sigmas(self._told(times, sigmas), sigmas, None)

    def _told(self, times: Floats, sigmas: Floats) -> Floats:
        """Return the times that the model gets: log(sigma) / 4, as in EDM, if configured."""
        config = self.config
        if config.timestep_type == "continuous" and self._predicts == "v_prediction":
            return 0.25 * log(sigmas[:-1])
        return times

    def set_timesteps(
        self,
        num_inference_steps: int | None = None,
        device: Any = None,
        timesteps: Any = None,
        sigmas: Any = None,
    ) -> None:
        """Set the times of a run: a number of steps, the times, or the sigmas themselves.

        Parameters
        ----------
        num_inference_steps : int, optional
            Number of steps.
        device : optional
            Where PyTorch is loaded, `timesteps` becomes a tensor there.
        timesteps : sequence of float, optional
            Falling times instead, which the final sigma follows.
        sigmas : sequence of float, optional
            Falling Karras sigmas instead, that of the run's end included.
        """
        given = [value is not None for value in (num_inference_steps, timesteps, sigmas)]
        if sum(given) != 1:
            raise ValueError(
                "exactly one of num_inference_steps, timesteps and sigmas must be given"
            )
        if sigmas is not None:
            values = _checks.vector("sigmas", sigmas)
            _checks.decreasing("sigmas", values[:-1])
            if len(values) < 2 or not 0.0 <= values[-1] <= values[-2]:
                raise ValueError(
                    f"sigmas must be at least two, the last no more than the one before and none "
                    f"below 0, got {values.tolist()}"
                )
            times = times_of(values[:-1], self._training)
        else:
            times = self._steps_from(num_inference_steps, timesteps)
            steps = len(times)
            values = self._at(times)
            if self.config.interpolation_type == "log_linear":
                last, first = log(self._training[[0, -1]]).tolist()
                values = exp(np.linspace(first, last, steps + 1))
            times, values = self._remap(times, values)
            end = self._training[0] if self.config.final_sigmas_type == "sigma_min" else 0.0
            values = np.append(values, end)
        times = self._told(times, values)
        self.num_inference_steps = len(times)
        self._set_sigmas(times, values, device)

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
    ) -> Any:
        """Take the step that begins at a timestep.

        Parameters
        ----------
        model_output : array
            What the model returned for ``scale_model_input(sample, timestep)``.
        timestep : float, or an array of one
            One of `timesteps`.
        sample : array
            The sample, of the same shape.
        s_churn, s_tmin, s_tmax, s_noise : float
            As for `schedulers.Euler`, with one difference: in this interface the model is evaluated
            before the level is raised. `pred_original_sample` is the estimate from there.
        generator, return_dict
            As for `DDIMScheduler.step`.

        Returns
        -------
        SchedulerOutput or tuple
            `prev_sample` and `pred_original_sample`.
        """
        _checks.boolean("return_dict", return_dict)
        s_churn, s_noise = check_churn(s_churn, s_tmin, s_tmax, s_noise)
        index = self._index(timestep)
        now, then = self._levels_of(index)
        intervals = len(self.sigmas) - 1  # one more than there are steps where "log_linear"
        gamma = min(s_churn / intervals, 2**0.5 - 1)
        if gamma and s_tmin <= now.sigma <= s_tmax:
            stage = self._churned(now, then, gamma, s_noise)
        else:
            (stage,) = euler_rows((now, then))
        result = self._step(model_output, index, sample, stage, generator)
        return handed(result, return_dict)

    def _churned(self, now: Level, then: Level, gamma: float, s_noise: float) -> Stage:
        """Row of a step from a raised sample, x + c z, by an output from before the raise."""
        s, s_hat, s_next = now.sigma, now.sigma * (1.0 + gamma), then.sigma
        c, left = s_noise * math.sqrt(s_hat**2 - s**2), s_next / s_hat
        match self._predicts:
            case "epsilon":  # x + c z + (s_next - s_hat) e
                return Stage(now, a=(1.0,), b=(s + s_next - s_hat,), c=c)
            case "sample":  # D + left (x + c z - D)
                return Stage(now, a=(1.0,), b=(left * s,), c=left * c)
        # The same, D having taken up c z / (s**2 + 1)
        return Stage(now, a=(1.0,), b=(left * s,), c=c * (left + (1.0 - left) / (s * s + 1.0)))

    def get_velocity(self, sample: Array, noise: Array, timesteps: Any) -> Array:
        """Return what a model of v_prediction is trained on, alpha noise - sigma x_0.

        alpha and sigma are those of the timesteps. (In diffusers they are those of the timesteps'
        places in `timesteps`.)
        """
        karras = self._sigmas_at(timesteps, samples_of("sample", sample))
        alpha = 1.0 / np.hypot(1.0, karras)
        return self._mixed(sample, noise, (-karras * alpha, alpha))


class EulerAncestralDiscreteScheduler(SingleStage):
    """Euler-ancestral sampling in diffusers' interface: `schedulers.EulerAncestral` on its grids.

    Parameters as in diffusers' `EulerAncestralDiscreteScheduler`.
    """

    @configured
    def __init__(
        self,
        num_train_timesteps: int = 1000,
        beta_start: float = 0.0001,
        beta_end: float = 0.02,
        beta_schedule: str = "linear",
        trained_betas: Any = None,
        prediction_type: str = "epsilon",
        timestep_spacing: str = "linspace",
        steps_offset: int = 0,
        rescale_betas_zero_snr: bool = False,
    ) -> None:
        self._set_up()
        times = np.arange(len(self._training), dtype=np.float64)[::-1]
        self._set_sigmas(times, np.append(self._training[::-1], 0.0), None)

    def set_timesteps(self, num_inference_steps: int, device: Any = None) -> None:
        """Set the times of a run, as `EulerDiscreteScheduler` does by their number."""
        times = self._steps_from(num_inference_steps, None)
        sigmas = np.append(self._at(times), 0.0)
        _check_falling(sigmas)
        self.num_inference_steps = len(times)
        self._set_sigmas(times, sigmas, device)

    def step(
        self,
        model_output: Array,
        timestep: Any,
        sample: Array,
        generator: Any = None,
        return_dict: bool = True,
    ) -> Any:
        """Take the step that begins at a timestep; as `EulerDiscreteScheduler.step`."""
        _checks.boolean("return_dict", return_dict)
        index = self._index(timestep)
        levels = self._levels_of(index)
        _check_falling([level.sigma for level in levels])
        (stage,) = euler_ancestral_rows(levels)
        result = self._step(model_output, index, sample, stage, generator)
        return handed(result, return_dict)


def _check_falling(sigmas: Any) -> None:
    """Refuse a step to a noisier level, which has no part for fresh noise."""
    for now, then in pairwise(np.asarray(sigmas).tolist()):
        if now < then:
            raise ValueError(
                f"sigmas must not rise, as they do here from {now:g} to {then:g}: with "
                f"rescale_betas_zero_snr the last one is cut to be finite, and the ones before it "
                f"may be larger; take fewer steps"
            )


class HeunDiscreteScheduler(SigmaRuns, VarianceExploding):
    """Heun's method in diffusers' interface: `schedulers.Heun` on its grids.

    Parameters as in diffusers' `HeunDiscreteScheduler`. The second evaluation of a step goes on
    from the first one's.
    """

    order = 2
    _beta_schedules = ("linear", "scaled_linear", "squaredcos_cap_v2", "exp")

    @configured
    def __init__(
        self,
        num_train_timesteps: int = 1000,
        beta_start: float = 0.00085,
        beta_end: float = 0.012,
        beta_schedule: str = "linear",
        trained_betas: Any = None,
        prediction_type: str = "epsilon",
        use_karras_sigmas: bool = False,
        use_exponential_sigmas: bool = False,
        use_beta_sigmas: bool = False,
        clip_sample: bool = False,
        clip_sample_range: float = 1.0,
        timestep_spacing: str = "linspace",
        steps_offset: int = 0,
    ) -> None:
        self._set_up()
        times = np.arange(len(self._training), dtype=np.float64)[::-1]
        self._set_steps(times, self._training[::-1], None)

    def set_timesteps(
        self,
        num_inference_steps: int | None = None,
        device: Any = None,
        num_train_timesteps: int | None = None,
        timesteps: Any = None,
    ) -> None:
        """Set the times of a run, two for each step but the last.

        Parameters
        ----------
        num_inference_steps : int, optional
            Number of steps.
        device : optional
            Where PyTorch is loaded, `timesteps` becomes a tensor there.
        num_train_timesteps : int, optional
            Number of training times that the steps are spaced over, where not all.
        timesteps : sequence of float, optional
            Falling times of the steps instead, which the clean level follows.
        """
        if (num_inference_steps is None) == (timesteps is None):
            raise ValueError("exactly one of num_inference_steps and timesteps must be given")
        if timesteps is None and num_train_timesteps is not None:
            n = _checks.count("num_train_timesteps", num_train_timesteps)
            times = self._spaced(self._check_steps(num_inference_steps), n)
        else:
            times = self._steps_from(num_inference_steps, timesteps)
        self._set_steps(*self._remap(times, self._at(times)), device)

    def _set_steps(self, times: Floats, sigmas: Floats, device: Any) -> None:
        told = times.astype(np.float32).tolist()
        values = [*sigmas.astype(np.float32).tolist(), 0.0]
        if len(set(told)) < len(told):
            raise ValueError(
                f"timesteps must differ, since they identify the steps, got {_checks.shown(told)}: "
                f"take fewer steps, or sigmas that the model was trained at"
            )
        self._sigmas = np.array(
            [values[0], *np.repeat(values[1:-1], 2), values[-1]], dtype=np.float32
        )
        self._set_levels(self._levels_at(told, values), device, np.float32)

    def _tableau(self, first: int) -> Tableau:
        levels = self._levels[first:]
        return Tableau(type(self).__name__, levels, tuple(heun_rows(levels)))

    def step(
        self, model_output: Array, timestep: Any, sample: Array, return_dict: bool = True
    ) -> Any:
        """Take one evaluation, half a step; arguments and result as for Euler's `step`."""
        t = single(timestep)
        return self._advance(model_output, t, sample, return_dict, self._threshold())
