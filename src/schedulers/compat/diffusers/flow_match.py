"""Rectified flows in diffusers' interface: x = (1 - sigma) x_0 + sigma eps, and the model's v.

The model is told sigma times num_train_timesteps, and returns eps - x_0.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from schedulers import _checks
from schedulers.compat.diffusers.base import (
    LARGEST_TIME,
    SchedulerOutput,
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
from schedulers.compat.diffusers.grids import remapped, remapping, shift_of
from schedulers.compat.diffusers.multistage import SigmaRuns
from schedulers.compat.diffusers.noise import fresh, step_place
from schedulers.engine import arrays
from schedulers.engine.state import State
from schedulers.engine.tableau import Stage, Tableau
from schedulers.methods.consistency import lcm_rows
from schedulers.methods.ddim import ddim_rows
from schedulers.methods.flow_ancestral import flow_ancestral_rows
from schedulers.schedules.base import Level

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

Array = Any


class Flow(WithSigmas):
    """Schedulers of rectified flows."""

    init_noise_sigma = 1.0
    sigma_min: float
    sigma_max: float
    # Whether sigma is the share of the data, so that it rises.
    _inverted = False

    @property
    def _predicts(self) -> str:
        return "flow"

    def _ends(self, shift: float) -> None:
        """Set sigma_min and sigma_max: the training's shifted ends."""
        n = _checks.count("num_train_timesteps", self.config.num_train_timesteps)
        low, high = shifted(np.array([1.0 / n, 1.0]), shift).astype(np.float32).tolist()
        self.sigma_min, self.sigma_max = low, high

    def _level(self, index: int) -> Level:
        sigma = self._sigma(index)
        t = float(self._times[index]) if index < len(self._times) else -1.0
        return Level(t, sigma, 1.0 - sigma) if self._inverted else Level(t, 1.0 - sigma, sigma)

    def index_for_timestep(self, timestep: Any) -> int:
        """Return the index of a timestep in `timesteps`; its second one where it is there twice."""
        given = number("timestep", timestep)
        (places,) = np.nonzero(self._times == np.float32(given))
        if not places.size:
            raise ValueError(
                f"timestep must be one of the scheduler's timesteps, from {self._times[0]:g} to "
                f"{self._times[-1]:g}, got {given!r}"
            )
        return int(places[min(1, len(places) - 1)])

    def scale_noise(self, sample: Array, timestep: Any, noise: Array) -> Array:
        """Noise data to one of `timesteps` for each sample: (1 - sigma) x_0 + sigma noise."""
        times = numbers("timestep", timestep, samples_of("sample", sample)).tolist()
        sigmas = np.array([self._sigma(self.index_for_timestep(t)) for t in times])
        return self._mixed(sample, noise, (1.0 - sigmas, sigmas))

    def _one_row(
        self, output: Array, index: int, sample: Array, stage: Stage, generator: Any
    ) -> State:
        """Take the row between two levels of the grid."""
        levels = self._level(index), self._level(index + 1)
        state = self._begun(self._one_step(*levels, stage), sample)
        if self._inverted:
            output = output * -1.0
        noise = None
        if stage.c:
            noise = stage.c, fresh(generator, None, state, step_place(index, *levels))
        after = self._take(state, output, noise=noise)
        self._step_index = index + 1
        return after


class FlowMatchEulerDiscreteScheduler(Flow):
    """Euler's method on a rectified flow in diffusers' interface: `schedulers.DDIM` on its grids.

    Parameters as in diffusers' `FlowMatchEulerDiscreteScheduler`. As there, `step` takes no notice
    of churn. `per_token_timesteps` is not there.

    Examples
    --------
    >>> scheduler = FlowMatchEulerDiscreteScheduler(shift=3.0)
    >>> scheduler.set_timesteps(3)
    >>> scheduler.sigmas
    array([1.        , 0.7511211 , 0.00892857, 0.        ], dtype=float32)
    """

    @configured
    def __init__(
        self,
        num_train_timesteps: int = 1000,
        shift: float = 1.0,
        use_dynamic_shifting: bool = False,
        base_shift: float | None = 0.5,
        max_shift: float | None = 1.15,
        base_image_seq_len: int = 256,
        max_image_seq_len: int = 4096,
        invert_sigmas: bool = False,
        shift_terminal: float | None = None,
        use_karras_sigmas: bool | None = False,
        use_exponential_sigmas: bool | None = False,
        use_beta_sigmas: bool | None = False,
        time_shift_type: str = "exponential",
        stochastic_sampling: bool = False,
    ) -> None:
        remapping(self.config)
        _checks.choice("time_shift_type", time_shift_type, ("exponential", "linear"))
        self._begin_steps()
        self._shift = _checks.real("shift", shift, at_least=1e-6, at_most=1e6)
        n = _checks.count("num_train_timesteps", num_train_timesteps)
        own = 1.0 if use_dynamic_shifting else self._shift
        self._ends(own)
        self._sigmas = shifted(np.arange(n, 0, -1) / n, own).astype(np.float32)
        self._set_times(self.sigmas * np.float32(n), None)

    def scale_noise(self, sample: Array, timestep: Any, noise: Array | None = None) -> Array:
        """Noise data to one of `timesteps` for each sample: (1 - sigma) x_0 + sigma noise."""
        if noise is None:
            raise ValueError("noise must be an array of the sample's shape, got None")
        return super().scale_noise(sample, timestep, noise)

    @property
    def shift(self) -> float:
        """The shift of the levels."""
        return self._shift

    def set_shift(self, shift: float) -> None:
        """Set the shift of the levels, from the next `set_timesteps` on."""
        self._shift = _checks.real("shift", shift, at_least=1e-6, at_most=1e6)

    def time_shift(self, mu: float, sigma: float, t: Array) -> Array:
        """Return times shifted by mu, the shift's logarithm if `time_shift_type` says so."""
        shift = shift_of(mu, self.config.time_shift_type)
        power = _checks.real("sigma", sigma, above=0.0, at_most=10.0)
        if not isinstance(t, float):
            arrays.check_floats("t", t)
        times = _checks.array("t", arrays.as_lists(t))
        if (times < 1e-30).any() or (times > 1.0).any():
            raise ValueError(f"t must lie in [1e-30, 1], got {_checks.shown(t)}")
        return _time_shifted(shift, power, t)

    def set_timesteps(
        self,
        num_inference_steps: int | None = None,
        device: Any = None,
        sigmas: Sequence[float] | None = None,
        mu: float | None = None,
        timesteps: Sequence[float] | None = None,
    ) -> None:
        """Set the times of a run.

        Parameters
        ----------
        num_inference_steps : int, optional
            Number of steps, if neither sigmas nor timesteps are given.
        device : optional
            Where PyTorch is loaded, `timesteps` becomes a tensor there.
        sigmas : sequence of float, optional
            Sigmas at which the steps begin, before they are shifted.
        mu : float, optional
            What `time_shift` shifts by; with `use_dynamic_shifting`.
        timesteps : sequence of float, optional
            Times that the model is told; without `sigmas` these are sigmas before the shift, too.
        """
        config, n = self.config, len(self)
        if config.use_dynamic_shifting and mu is None:
            raise ValueError("mu must be given where use_dynamic_shifting is True")
        if mu is not None:
            _checks.real("mu", mu)
        even = self._given(num_inference_steps, sigmas, timesteps)
        if config.use_dynamic_shifting:
            values = _time_shifted(shift_of(mu, config.time_shift_type), 1.0, even)
        else:
            values = shifted(even, self.shift)
        if config.shift_terminal:
            values = stretched(values, config.shift_terminal)
        option = remapping(config)
        if option is not None:
            values = remapped(option, config, values, len(values))
        values = values.astype(np.float32)
        times = values * np.float32(n)
        if timesteps is not None:
            times = np.asarray(timesteps, np.float32)
        self._inverted = bool(config.invert_sigmas)
        if self._inverted:
            values = np.float32(1.0) - values
            times = values * np.float32(n)
        self._sigmas = np.append(values, np.float32(self._inverted))
        self.num_inference_steps = len(values)
        self._begin = self._step_index = None
        self._set_times(times, device)

    def _given(self, steps: int | None, sigmas: Any, timesteps: Any) -> Floats:
        """Return the sigmas of the steps before their shift."""
        most = len(self) if sigmas is None else LARGEST_TIME
        lists = {"sigmas": (sigmas, 1.0), "timesteps": (timesteps, most)}
        made = {k: _up_to(k, *v) for k, v in lists.items() if v[0] is not None}
        if steps is None and not made:
            raise ValueError("one of num_inference_steps, sigmas and timesteps must be given")
        lengths = {len(values) for values in made.values()}
        lengths |= set() if steps is None else {self._check_steps(steps)}
        if len(lengths) > 1:
            raise ValueError(
                f"sigmas, timesteps and num_inference_steps must go together, got the lengths "
                f"{sorted(lengths)}"
            )
        if sigmas is not None:
            return made["sigmas"].astype(np.float32).astype(np.float64)
        if timesteps is not None:
            return made["timesteps"] / len(self)
        return np.linspace(self.sigma_max, self.sigma_min, lengths.pop())

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
        per_token_timesteps: Any = None,
        return_dict: bool = True,
    ) -> Any:
        """Take the step that begins at a timestep.

        Parameters
        ----------
        model_output, sample : array
            What the model returned for the sample, and the sample itself, of one shape.
        timestep : float, or an array of one
            One of `timesteps`.
        s_churn, s_tmin, s_tmax, s_noise : float
            Not used, as in diffusers.
        generator, return_dict
            As for `DDIMScheduler.step`; noise is drawn with `stochastic_sampling` alone.
        per_token_timesteps
            Must be None.

        Returns
        -------
        SchedulerOutput or tuple
            `prev_sample`.
        """
        check_churn(s_churn, s_tmin, s_tmax, s_noise)
        if per_token_timesteps is not None:
            raise ValueError("per_token_timesteps must be None: all elements have one level here")
        if self.num_inference_steps is None:
            raise ValueError("set_timesteps must be called before step")
        _checks.boolean("return_dict", return_dict)
        index = self.index_for_timestep(no_index(timestep))
        levels = self._level(index), self._level(index + 1)
        stochastic = self.config.stochastic_sampling
        (stage,) = lcm_rows(levels, None) if stochastic else ddim_rows(levels, 0.0)
        state = self._one_row(model_output, index, sample, stage, generator)
        result = self._returned(state, denoised=False)
        return handed(result, return_dict)


class FlowMatchHeunDiscreteScheduler(SigmaRuns, Flow):
    """Heun's method in a flow's own time in diffusers' interface.

    Parameters as in diffusers' `FlowMatchHeunDiscreteScheduler`. s_churn must be 0: noise that is
    added to a sample leaves the flow's path, unless the data's part is scaled.
    """

    order = 2

    @configured
    def __init__(self, num_train_timesteps: int = 1000, shift: float = 1.0) -> None:
        self._begin_steps()
        self._ends(_checks.real("shift", shift, at_least=1e-6, at_most=1e6))
        self.set_timesteps(num_train_timesteps)

    def set_timesteps(self, num_inference_steps: int, device: Any = None) -> None:
        """Set the times of a run, two for each step but the last."""
        n = len(self)
        steps = self._check_steps(num_inference_steps)
        even = np.linspace(self.sigma_max, self.sigma_min, steps)
        sigmas = shifted(even, self.config.shift).astype(np.float32)
        times = [*(sigmas * np.float32(n)).tolist(), -1.0]
        values = [*sigmas.tolist(), 0.0]
        self._sigmas = np.array([values[0], *np.repeat(values[1:-1], 2), 0.0], np.float32)
        self._set_levels(self._levels_at(times[:-1], values), device, np.float32)
        self._step_index = None

    def _level_at(self, t: float, sigma: float) -> Level:
        return Level(t, 1.0 - sigma, sigma)

    def _tableau(self, first: int) -> Tableau:
        levels = self._levels[first:]
        rows = [row for now, then in pairwise(levels) for row in _heun_step(now, then)]
        return Tableau(type(self).__name__, levels, tuple(rows))

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
        """Take one evaluation, half a step, as `FlowMatchEulerDiscreteScheduler.step`."""
        if check_churn(s_churn, s_tmin, s_tmax, s_noise)[0]:
            raise ValueError(f"s_churn must be 0 on a flow, got {s_churn!r}")
        t = single(timestep)
        result = self._advance(model_output, t, sample, return_dict, denoised=False)
        self._step_index = self._row_taken + 1
        return result


class LTXEulerAncestralRFScheduler(Flow):
    """Ancestral sampling of a flow in diffusers' interface: `schedulers.FlowAncestral`.

    Parameters as in diffusers' `LTXEulerAncestralRFScheduler`.
    """

    @configured
    def __init__(
        self, num_train_timesteps: int = 1000, eta: float = 1.0, s_noise: float = 1.0
    ) -> None:
        _checks.count("num_train_timesteps", num_train_timesteps)
        _checks.real("eta", eta, at_least=0.0, at_most=1.0)
        _checks.real("s_noise", s_noise, at_least=0.0)
        self._begin_steps()
        self._sigmas = np.zeros(0, np.float32)
        self._set_times(self._sigmas, None)

    def set_timesteps(
        self,
        num_inference_steps: int | None = None,
        device: Any = None,
        sigmas: Sequence[float] | None = None,
        timesteps: Sequence[float] | None = None,
        mu: float | None = None,
        **kwargs: Any,
    ) -> None:
        """Set the times of a run.

        Parameters
        ----------
        num_inference_steps : int, optional
            Number of steps, spaced as by `FlowMatchEulerDiscreteScheduler`.
        device : optional
            Where PyTorch is loaded, `timesteps` becomes a tensor there.
        sigmas, timesteps : sequence of float, optional
            Falling sigmas instead, that of the run's end included, by either name.
        mu : float, optional
            As for `FlowMatchEulerDiscreteScheduler.set_timesteps`.
        """
        given = timesteps if sigmas is None else sigmas
        if given is None:
            known = inspect.signature(FlowMatchEulerDiscreteScheduler).parameters
            config = {name: self.config[name] for name in known if name in self.config}
            base = FlowMatchEulerDiscreteScheduler(**config)
            base.set_timesteps(num_inference_steps, mu=mu)
            self._sigmas, times = base.sigmas, base.timesteps
        else:
            values = _checks.vector("sigmas", given)
            _checks.decreasing("sigmas", values)
            if len(values) < 2 or not (values[0] <= 1.0 and values[-1] >= 0.0):
                raise ValueError(
                    f"sigmas must be at least two between 0 and 1, got {_checks.shown(given)}"
                )
            self._sigmas = values.astype(np.float32)
            times = self.sigmas * np.float32(len(self))
        self.num_inference_steps = len(self.sigmas) - 1
        self._begin = self._step_index = None
        self._set_times(times, device)

    def step(
        self,
        model_output: Array,
        timestep: Any,
        sample: Array,
        generator: Any = None,
        return_dict: bool = True,
    ) -> Any:
        """Take the step that begins at a timestep, as `FlowMatchEulerDiscreteScheduler.step`.

        At the last sigma, which has a timestep of its own where sigmas were given, the sample is
        returned.
        """
        if self.num_inference_steps is None:
            raise ValueError("set_timesteps must be called before step")
        _checks.boolean("return_dict", return_dict)
        index = self.index_for_timestep(no_index(timestep))
        if index == self.num_inference_steps:
            result = SchedulerOutput(prev_sample=sample)
        else:
            levels = self._level(index), self._level(index + 1)
            (stage,) = flow_ancestral_rows(levels, self.config.eta, self.config.s_noise)
            state = self._one_row(model_output, index, sample, stage, generator)
            result = self._returned(state, denoised=False)
        return handed(result, return_dict)


def _up_to(name: str, values: Any, most: float) -> Floats:
    """Return a vector of numbers from 0 to `most`."""
    numbers = _checks.vector(name, values)
    if numbers.min() < 0.0 or numbers.max() > most:
        raise ValueError(f"{name} must lie between 0 and {most:g}, got {_checks.shown(values)}")
    return numbers


def shifted(sigmas: Floats, shift: float) -> Floats:
    """Return a flow's sigmas shifted (Esser et al. 2024, eq. 23)."""
    moved: Floats = shift * sigmas / (1.0 + (shift - 1.0) * sigmas)
    return moved


def _time_shifted(shift: float, power: float, t: Array) -> Array:
    """Return times shifted as `time_shift` says."""
    with np.errstate(divide="ignore"):  # 0 stays 0
        return shift / (shift + (1.0 / t - 1.0) ** power)


def stretched(sigmas: Floats, last: float) -> Floats:
    """Return sigmas stretched so that the last one is `last`, and 1 stays where it is."""
    if sigmas[-1] >= 1.0:
        raise ValueError("shift_terminal needs at least two steps, or sigmas that end below 1")
    moved: Floats = 1.0 - (1.0 - sigmas) * (1.0 - last) / (1.0 - sigmas[-1])
    return moved


def _heun_step(now: Level, then: Level) -> list[Stage]:
    """Rows of x' = x + (s' - s) (v + v') / 2 with v = e - D: the trapezoid in the flow's time.

    x is that of the step's first row, alpha D + sigma e. The step that ends clean is Euler's.
    """
    first = Stage(now, (then.alpha,), (then.sigma,), ends_step=then.sigma == 0.0)
    if then.sigma == 0.0:
        return [first]
    half = 0.5 * (then.sigma - now.sigma)
    return [first, Stage(then, (-half, now.alpha - half), (half, now.sigma + half))]
