"""What the schedulers of this interface share: tables, steps on the engine, outputs."""

from __future__ import annotations

import math
import sys
from typing import TYPE_CHECKING, Any

import numpy as np

from schedulers import _checks
from schedulers.compat.diffusers import assigned
from schedulers.compat.diffusers.config import Configured
from schedulers.compat.diffusers.grids import SPACINGS
from schedulers.compat.diffusers.runs import Grids
from schedulers.engine import arrays
from schedulers.engine.parameterization import check_defined
from schedulers.engine.state import State, advance
from schedulers.engine.tableau import Stage, Tableau
from schedulers.engine.thresholds import DynamicThreshold, StaticThreshold
from schedulers.schedules import tables
from schedulers.schedules.base import Level

if TYPE_CHECKING:
    from numpy.typing import NDArray

Array = Any
Threshold = StaticThreshold | DynamicThreshold | None

# Times are compared in float32, which holds this.
LARGEST_TIME = 1e38
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

    num_inference_steps: int | None = None
    # Whether timesteps or sigmas were assigned since set_timesteps.
    _by_hand = False

    def _set_up(self) -> None:
        """Check the configuration, and make what does not depend on the number of steps."""
        config = self.config
        _checks.choice("prediction_type", config.prediction_type, self._prediction_types)
        _checks.choice("timestep_spacing", config.get("timestep_spacing", "linspace"), SPACINGS)
        _checks.integer("steps_offset", config.get("steps_offset", 0), at_least=0)
        self.betas = tables.betas(config, self._beta_schedules)
        self.alphas: NDArray[np.float32] = 1 - self.betas
        self._products: NDArray[Any] = tables.alphas_cumprod(self.betas)
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
        self._times = self._grid_times = np.array(times)
        self._steps_made = {}
        self._by_hand = False
        torch = sys.modules.get("torch")
        as_tensor = torch is not None and isinstance(device, (str, int, torch.device))
        self._timesteps: Any = self._times
        if as_tensor:
            try:
                self._timesteps = torch.from_numpy(self._times).to(device)  # type: ignore[union-attr]
            except RuntimeError as error:
                raise ValueError(
                    f"device must be one that PyTorch finds, got {_checks.shown(device)}: {error}"
                ) from None

    @property
    def timesteps(self) -> Any:
        """The timesteps of a run, from the noisiest.

        They may be assigned. Where the levels are sigmas, too, timesteps are what the model is
        told, and `sigmas` has to be assigned as well if their number changes, unless they are the
        last ones of those that were set.
        """
        return self._timesteps

    @timesteps.setter
    def timesteps(self, values: Any) -> None:
        times = self._checked_times(assigned.array("timesteps", values))
        self._keep_as_set()
        self._times = times
        self._timesteps = values if hasattr(values, "shape") else times
        self._steps_made = {}
        self._grids = Grids()

    def _keep_as_set(self) -> None:
        """Note that what follows is set by hand."""
        self._by_hand = True

    def _checked_times(self, times: Any) -> Any:
        """Check timesteps that were assigned, and return them as steps compare them."""
        times = times.astype(np.float32)
        if len(np.unique(times)) < len(times):
            raise ValueError(
                f"timesteps must differ, since they identify the steps, got {times.tolist()}"
            )
        return times

    @property
    def alphas_cumprod(self) -> NDArray[Any]:
        """Product of 1 - betas at each training level; it may be assigned, or written into."""
        return self._products

    @alphas_cumprod.setter
    def alphas_cumprod(self, values: Any) -> None:
        products = assigned.array("alphas_cumprod", values)
        if not (products.min() >= 0.0 and products.max() <= 1.0):
            raise ValueError(
                f"alphas_cumprod must lie between 0 and 1, got values from {products.min():g} to "
                f"{products.max():g}"
            )
        self._products = products
        self._steps_made = {}

    def _check_steps(self, steps: object, at_most: int | None = None) -> int:
        number = _checks.integer("num_inference_steps", steps, at_least=1)
        if at_most is not None and number > at_most:
            raise ValueError(
                f"num_inference_steps must be at most {at_most}, the number of timesteps that "
                f"the model was trained at, got {_checks.shown(number)}"
            )
        return _checks.count("num_inference_steps", number)

    def _threshold(self, rederive_noise: bool = True) -> Threshold:
        """Return what the configuration does to the denoised estimate."""
        config = self.config
        if config.get("thresholding"):
            ratio = _checks.real(
                "dynamic_thresholding_ratio",
                config.dynamic_thresholding_ratio,
                above=0.0,
                at_most=1.0,
            )
            return CappedThreshold(ratio, 1.0, rederive_noise, config.sample_max_value)
        if config.get("clip_sample"):
            limit = _checks.real("clip_sample_range", config.clip_sample_range, above=0.0)
            return StaticThreshold(limit, rederive_noise)
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
        output = self._read(output, state)
        return arrays.SILENT.copy().run(advance, state, output, self._predicts, threshold, noise)

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
        arrays.check_finite(name, data)
        arrays.check_finite("noise", noise)
        a, b = (arrays.per_sample(scale, data) for scale in scales)
        mixed = arrays.SILENT.copy().run(lambda: a * data + b * noise)
        arrays.check_finite(f"{name} with noise", mixed)
        return arrays.lowered(f"{name} with noise", mixed, x.dtype)

    def _rescaled(self, sample: Array, scale: float) -> Array:
        """Return a sample times a number, in its own dtype."""
        return arrays.lowered("sample", arrays.raised("sample", sample) * scale, sample.dtype)

    def _told_number(self, value: float) -> Any:
        """Return a number of the run; a tensor where its times are one."""
        torch = sys.modules.get("torch")
        if torch is None or not isinstance(self.timesteps, torch.Tensor):
            return value
        return torch.tensor(value, dtype=torch.float32)


class WithFinalLevel(SchedulerBase):
    """Schedulers whose last step ends at the product `final_alpha_cumprod`."""

    def _set_up(self) -> None:
        super()._set_up()
        ends_clean = self.config.get("set_alpha_to_one", True)
        # A view: what is written into alphas_cumprod counts here, too.
        self._final_products = np.ones(1) if ends_clean else self._products[:1]

    @property
    def final_alpha_cumprod(self) -> float:
        """alphas_cumprod of the level after the last step; it may be assigned."""
        return float(self._final_products[0])

    @final_alpha_cumprod.setter
    def final_alpha_cumprod(self, value: Any) -> None:
        product = number("final_alpha_cumprod", value)
        _checks.real("final_alpha_cumprod", product, above=0.0, at_most=1.0)
        self._final_products = np.array([product])
        self._steps_made = {}

    @property
    def _final(self) -> Level:
        """The level after the last step."""
        product = self.final_alpha_cumprod
        return CLEAN if product == 1.0 else Level(0, math.sqrt(product), math.sqrt(1.0 - product))


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
            raise ValueError(
                f"begin_index must be below {len(self._times)}, got {_checks.shown(begin)}"
            )
        self._begin = begin


class WithSigmas(Indexed):
    """Those whose levels are sigmas, one for each of `timesteps`, and that of the run's end."""

    # Whether the last training level, too, must have a finite sigma.
    _ends_finite = False
    _karras: tuple[bytes, NDArray[np.float64]] = (b"", np.empty(0))
    _sigmas: NDArray[Any]
    # How many more sigmas than timesteps set_timesteps set.
    _more_sigmas: int

    @property
    def sigmas(self) -> NDArray[Any]:
        """Sigma at the start of each step, and at the end of the last.

        They may be assigned, or written into, after set_timesteps, for the runs that begin then.
        """
        return self._sigmas

    @sigmas.setter
    def sigmas(self, values: Any) -> None:
        sigmas = assigned.array("sigmas", values)
        if sigmas.min() < 0.0:
            raise ValueError(f"sigmas must be at least 0, got {sigmas.min():g}")
        self._keep_as_set()
        self._sigmas = sigmas
        self._steps_made = {}

    def _keep_as_set(self) -> None:
        if not self._by_hand:
            self._more_sigmas = len(self._sigmas) - len(self._times)
        super()._keep_as_set()

    def _before(self) -> int:
        """Return how many sigmas come before that of the first timestep."""
        if not self._by_hand:
            return 0
        times, known = self._times, self._grid_times
        before = len(self._sigmas) - self._more_sigmas - len(times)
        last = known[len(known) - len(times) :] if len(times) <= len(known) else known
        if before and not (before > 0 and np.array_equal(times, last)):
            raise ValueError(
                f"timesteps and sigmas must go together: {len(times)} timesteps need "
                f"{len(times) + self._more_sigmas} sigmas, got {len(self._sigmas)}: assign both, "
                f"or give set_timesteps what it should set"
            )
        return before

    @property
    def _training(self) -> NDArray[np.float64]:
        """Karras's sigma at every training level."""
        key = self._products.tobytes()
        if self._karras[0] != key:
            finite = self._products if self._ends_finite else self._products[:-1]
            if (finite <= 0.0).any():
                raise ValueError(
                    "alphas_cumprod must be above 0, where trained_betas or beta_end make it 0: "
                    "sigma is infinite there"
                )
            self._karras = key, tables.karras(self._products)
        return self._karras[1]

    def _interpolated(self, times: NDArray[np.float64]) -> NDArray[np.float64]:
        """Karras's sigmas at times, linear between training levels."""
        training = self._training
        if len(training) < len(self) and times.max() > len(training) - 1:
            raise ValueError(
                f"trained_betas must have an entry for each time of a run, up to "
                f"{times.max():g}, got {len(training)}"
            )
        return np.interp(times, np.arange(len(training)), training)

    def _sigma(self, index: int) -> float:
        """Return the sigma at an index in `timesteps`, or after the last."""
        return float(self._sigmas[index + self._before()])


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
    number = _checks.real(name, value, at_least=-LARGEST_TIME, at_most=LARGEST_TIME)
    return value if isinstance(value, int) else number


def single(timestep: Any) -> float:
    """Return the timestep of a step as times in float32 have it."""
    return float(np.float32(number("timestep", timestep)))


def check_churn(s_churn: Any, s_tmin: Any, s_tmax: Any, s_noise: Any) -> tuple[float, float]:
    """Check what raises a level, be it used or not; return s_churn and s_noise."""
    _checks.real("s_tmin", s_tmin, finite=False)
    _checks.real("s_tmax", s_tmax, finite=False)
    churn = _checks.real("s_churn", s_churn, at_least=0.0)
    return churn, _checks.real("s_noise", s_noise, at_least=0.0)


def handed(result: SchedulerOutput, return_dict: bool) -> Any:
    """Return a step's result as the caller asked for it."""
    return result if return_dict else result.to_tuple()


def samples_of(name: str, x: Any) -> int:
    """Check that an array is a batch, and return how many samples it has."""
    arrays.check_floats(name, x)
    if not x.shape:
        raise ValueError(f"{name} must have its samples along axis 0, got shape ()")
    return int(x.shape[0])


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
    times = np.atleast_1d(_checks.array(name, arrays.as_lists(values)))
    if times.size and abs(times).max() > LARGEST_TIME:
        raise ValueError(f"{name} must be at most {LARGEST_TIME:g}, got {_checks.shown(values)}")
    if times.ndim != 1 or len(times) not in (1, count):
        raise ValueError(
            f"{name} must be one, or one for each of the {count} samples, got shape {times.shape}"
        )
    return times
