"""What the schedulers of this interface share: tables, steps on the engine, outputs."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import numpy as np

from schedulers import _checks
from schedulers.compat.diffusers import tables
from schedulers.compat.diffusers.config import Configured
from schedulers.compat.diffusers.grids import SPACINGS
from schedulers.compat.diffusers.runs import Grids
from schedulers.engine import arrays
from schedulers.engine.parameterization import check_defined
from schedulers.engine.state import State, advance
from schedulers.engine.tableau import Stage, Tableau
from schedulers.engine.thresholds import DynamicThreshold, StaticThreshold
from schedulers.schedules.base import Level

if TYPE_CHECKING:
    from numpy.typing import NDArray

Array = Any
Threshold = StaticThreshold | DynamicThreshold | None

CLEAN = Level(-1, 1.0, 0.0)


class SchedulerOutput(dict[str, Any]):
    """What a step returns: by attribute, by name, or by position."""

    prev_sample: Array
    pred_original_sample: Array

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError:
            raise AttributeError(f"the output has no {name!r}, but {list(self)}") from None

    def __getitem__(self, key: Any) -> Any:
        return super().__getitem__(key) if isinstance(key, str) else self.to_tuple()[key]

    def to_tuple(self) -> tuple[Any, ...]:
        """Return the values."""
        return tuple(self.values())


class SchedulerBase(Configured):
    """A noise schedule from a configuration, and steps of one model evaluation each."""

    order = 1
    _beta_schedules: tuple[str, ...] = ("linear", "scaled_linear", "squaredcos_cap_v2")
    _prediction_types: tuple[str, ...] = ("epsilon", "sample", "v_prediction")

    #: The timesteps of a run, from the noisiest.
    timesteps: Any
    num_inference_steps: int | None = None

    def _set_up(self) -> None:
        """Check the configuration, and make what does not depend on the number of steps."""
        config = self.config
        _checks.choice("prediction_type", config.prediction_type, self._prediction_types)
        _checks.choice("timestep_spacing", config.get("timestep_spacing", "linspace"), SPACINGS)
        _checks.integer("steps_offset", config.get("steps_offset", 0), at_least=0)
        self.betas = tables.betas(config, self._beta_schedules)
        self.alphas: NDArray[np.float32] = 1 - self.betas
        self.alphas_cumprod = tables.alphas_cumprod(self.betas)
        self._begin_steps()
        self._threshold()

    def _begin_steps(self) -> None:
        """Begin with no step made."""
        self._steps_made: dict[Any, Any] = {}
        self._grids = Grids()

    def __len__(self) -> int:
        return int(self.config.num_train_timesteps)

    def __bool__(self) -> bool:
        return True

    def _set_times(self, times: Any, device: Any) -> None:
        """Keep a run's times; as a tensor where a device of PyTorch's is asked for."""
        self._times = np.asarray(times)
        self._steps_made = {}
        torch = sys.modules.get("torch")
        as_tensor = torch is not None and isinstance(device, (str, int, torch.device))
        self.timesteps = self._times
        if as_tensor:
            self.timesteps = torch.from_numpy(self._times.copy()).to(device)  # type: ignore[union-attr]

    def _check_steps(self, steps: object, at_most: float) -> int:
        number = _checks.integer("num_inference_steps", steps, at_least=1)
        if number > at_most:
            raise ValueError(
                f"num_inference_steps must be at most {at_most:g}, the number of timesteps that "
                f"the model was trained at, got {number}"
            )
        return number

    def _threshold(self, rederive_noise: bool = True) -> Threshold:
        """Return what the configuration does to the denoised estimate."""
        config = self.config
        if config.get("thresholding"):
            return CappedThreshold(
                config.dynamic_thresholding_ratio, 1.0, rederive_noise, config.sample_max_value
            )
        if config.get("clip_sample"):
            return StaticThreshold(config.clip_sample_range, rederive_noise)
        return None

    def _begun(self, tableau: Tableau, sample: Array) -> State:
        """State of a run that begins at this sample."""
        carried, dtype = arrays.sample("sample", sample)
        return State(tableau, 0, carried, dtype)

    def _one_step(self, now: Level, then: Level, stage: Stage) -> Tableau:
        """Tableau of one row, between levels at which the model's output says something of x_0."""
        check_defined(self._predicts, now)
        return Tableau(type(self).__name__, (now, then), (stage,))

    def _take(
        self, state: State, output: Array, threshold: Threshold = None, noise: Any = None
    ) -> State:
        """Take a row on the engine."""
        x = state.carried
        output = arrays.matching("model_output", output, x, tuple(x.shape), state.t)
        return advance(state, self._read(output, state), self._predicts, threshold, noise)

    def _read(self, output: Array, state: State) -> Array:
        """Return what the model returned, now in the run's precision, as the engine reads it."""
        return output

    @property
    def _predicts(self) -> str:
        """What the model returns, in the core's words."""
        kind: str = self.config.prediction_type
        return "sample" if kind == "original_sample" else kind

    def _returned(self, state: State, denoised: bool = True) -> SchedulerOutput:
        values = {"prev_sample": state.carried}
        if denoised:
            values["pred_original_sample"] = state.carried_denoised
        return in_dtype_of(state, values)

    def _note(self, result: SchedulerOutput, t: float) -> None:
        """Note of which grid a run is that is not over."""
        if t != self._times[-1]:
            self._grids.note(result.prev_sample, self._times)

    def _mixed(
        self,
        x: Array,
        noise: Array,
        scales: tuple[NDArray[np.float64], NDArray[np.float64]],
        name: str = "sample",
    ) -> Array:
        """Sum of data and noise by weights that each sample has its own of, in the data's dtype."""
        data, noise = arrays.raised(name, x), arrays.raised("noise", noise)
        if isinstance(x, np.ndarray) != isinstance(noise, np.ndarray):
            raise TypeError(
                f"noise must be of the library of {name}, {type(x).__name__}, "
                f"got {type(noise).__name__}"
            )
        if tuple(data.shape) != tuple(noise.shape):
            raise ValueError(
                f"noise must have the shape of the samples, {tuple(data.shape)}, "
                f"got {tuple(noise.shape)}"
            )
        a, b = (arrays.per_sample(scale, data) for scale in scales)
        return arrays.lowered(f"{name} with noise", a * data + b * noise, x.dtype)

    def _rescaled(self, sample: Array, scale: float) -> Array:
        """Return a sample times a number, in its own dtype."""
        return arrays.lowered("sample", arrays.raised("sample", sample) * scale, sample.dtype)

    def _told_number(self, value: float) -> Any:
        """Return a number of the run; a tensor where its times are one."""
        torch = sys.modules.get("torch")
        if torch is None or not isinstance(self.timesteps, torch.Tensor):
            return value
        return torch.tensor(value, dtype=torch.float32)


class Indexed(SchedulerBase):
    """Those that say where in `timesteps` a run is."""

    _begin: int | None = None
    _step_index: int | None = None

    @property
    def begin_index(self) -> int | None:
        """What `set_begin_index` set."""
        return self._begin

    @property
    def step_index(self) -> int | None:
        """Index in `timesteps` after that of the last step; None before the first."""
        return self._step_index

    def set_begin_index(self, begin_index: int = 0) -> None:
        """Say where in `timesteps` the next run begins, as image-to-image pipelines do."""
        begin = _checks.integer("begin_index", begin_index, at_least=0)
        if begin >= len(self._times):
            raise ValueError(f"begin_index must be below {len(self._times)}, got {begin}")
        self._begin = begin


class CappedThreshold(DynamicThreshold):
    """Dynamic thresholding whose quantile counts up to `most` only."""

    def __init__(self, quantile: float, limit: float, rederive_noise: bool, most: float) -> None:
        super().__init__(quantile, limit, rederive_noise)
        object.__setattr__(self, "most", _checks.real("sample_max_value", most, above=0.0))

    def __call__(self, denoised: Any) -> Any:
        """Return D thresholded, a new array."""
        if len(denoised.shape) < 2:
            raise ValueError(
                f"thresholding needs samples along axis 0 and their elements along others, got "
                f"shape {tuple(denoised.shape)}"
            )
        if 0 in denoised.shape:
            return denoised * 1.0
        flat = abs(denoised.reshape(denoised.shape[0], -1))
        if hasattr(flat, "quantile"):
            s = flat.quantile(self.quantile, dim=1).tolist()
        else:
            s = np.quantile(np.asarray(flat), self.quantile, axis=1)
        most: float = vars(self)["most"]
        column = arrays.per_sample(np.minimum(np.maximum(s, self.limit), most), denoised)
        return denoised.clip(-column, column) * (self.limit / column)


def in_dtype_of(state: State, values: dict[str, Array]) -> SchedulerOutput:
    """Return the arrays of a step, in the dtype of its sample."""
    return SchedulerOutput(
        {name: arrays.lowered(name, value, state.dtype) for name, value in values.items()}
    )


def number(name: str, value: Any) -> float | int:
    """Return a timestep, a number or an array of one, as a Python number."""
    given = value
    if hasattr(value, "item"):
        try:
            value = value.item()
        except (ValueError, RuntimeError, TypeError):
            raise ValueError(f"{name} must be one number, got {_checks.shown(given)}") from None
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    return _checks.real(name, value)


def no_index(timestep: Any) -> float:
    """Return the timestep of a step; an integer, which may be meant as an index, is an error."""
    given = number("timestep", timestep)
    if isinstance(given, int):
        raise ValueError(
            f"timestep must be one of the scheduler's timesteps, which are floats, and no "
            f"integer, such as an index, got {_checks.shown(timestep)}"
        )
    return given


def numbers(name: str, values: Any, count: int) -> NDArray[np.float64]:
    """Return timesteps, one for all samples or one for each, as an array of one dimension."""
    times = _checks.array(name, values.tolist() if hasattr(values, "tolist") else values)
    times = np.atleast_1d(times)
    if times.ndim != 1 or len(times) not in (1, count):
        raise ValueError(
            f"{name} must be one, or one for each of the {count} samples, got shape {times.shape}"
        )
    return times
