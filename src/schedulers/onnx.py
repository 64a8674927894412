"""A denoiser made from an ONNX file, for onnxruntime."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from schedulers import _checks
from schedulers.denoisers import per_sample
from schedulers.engine import arrays

if TYPE_CHECKING:
    Array = Any

_DTYPES = {
    "tensor(float16)": np.float16,
    "tensor(float)": np.float32,
    "tensor(double)": np.float64,
    "tensor(int32)": np.int32,
    "tensor(int64)": np.int64,
    "tensor(bool)": np.bool_,
}
_SAMPLE_NAMES = ("x", "sample", "x_t", "latents", "latent", "latent_sample", "noisy", "input")
_TIME_NAMES = ("t", "timestep", "timesteps", "time", "time_step", "sigma", "sigmas", "c_noise")


class Input(NamedTuple):
    """What a session takes under a name; an axis of any length is None."""

    name: str
    dtype: np.dtype[Any]
    shape: tuple[int | None, ...]

    def __str__(self) -> str:
        axes = ", ".join("any" if n is None else str(n) for n in self.shape)
        return f"{self.name} ({self.dtype}, shape ({axes}))"


class OnnxDenoiser:
    """Denoiser that runs an ONNX file with onnxruntime.

    The names and dtypes of the inputs are found in the file. The sample and the time are known by
    their usual names ("x" or "sample", "t" or "timestep", ...), or as the only ones that fit. Every
    other input is a condition, such as a class, and is given by its name. It can be pickled: each
    process opens its own session, once for each file.

    Parameters
    ----------
    path : str or path
        The ONNX file.
    providers : sequence of str, optional
        onnxruntime's execution providers; by default all that it has.
    time_scale : float
        What the model is told is `time_scale` times the scheduler's time: 1000 for most published
        flows.
    **conditions : number or array
        The other inputs: one number, or one array for a single sample, which is repeated; or an
        array with an entry for each sample along axis 0.

    Attributes
    ----------
    shape : tuple of (int or None)
        Shape of one sample; None for an axis of any length.
    dtype : dtype
        dtype of the samples that the model takes; others are cast to it.

    Raises
    ------
    ImportError
        If onnxruntime is not installed.
    OSError, ValueError
        If there is no such file, if it is no model, if the sample or the time is not found among
        its inputs, or if a condition is missing or unknown: the message lists the inputs. By the
        call, if a condition has another number of samples than x, or if the model takes whole times
        and t is not one.

    Examples
    --------
    >>> from schedulers import DDIM, DiscreteSchedule, linear_betas
    >>> from schedulers.onnx import OnnxDenoiser
    >>> denoiser = OnnxDenoiser("examples/digits.onnx", label=3)  # doctest: +SKIP
    >>> scheduler = DDIM(DiscreteSchedule(linear_betas(1000)))
    >>> x_T = scheduler.initial_noise((4, 1, 8, 8), steps=20, rng=0, dtype="float32")
    >>> x_0 = scheduler.sample(denoiser, x_T, steps=20)  # doctest: +SKIP
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        providers: Sequence[str] | None = None,
        time_scale: float = 1.0,
        **conditions: Any,
    ) -> None:
        self.path = str(_existing(path))
        self.providers = None if providers is None else tuple(providers)
        self.time_scale = _checks.real("time_scale", time_scale)
        sample, self._time, *wanted = inputs_of(self.path, self.providers)
        self._name, self.shape, self.dtype = sample.name, sample.shape[1:], sample.dtype
        if {each.name for each in wanted} != set(conditions):
            raise ValueError(
                f"conditions must be given for {_listed(wanted) or 'no input'}, got "
                f"{', '.join(conditions) or 'none'}; the sample is the model's {sample}, and the "
                f"time {self._time}"
            )
        self._wanted = {each.name: each for each in wanted}
        self._conditions: dict[str, Array] = {}
        self._conditions = self._with(conditions)

    def _with(self, conditions: dict[str, Any]) -> dict[str, Array]:
        """Return all conditions, with these in place of what was given before."""
        unknown = sorted(set(conditions) - set(self._wanted))
        if unknown:
            raise ValueError(
                f"conditions must be for {_listed(list(self._wanted.values())) or 'no input'}, got "
                f"{', '.join(unknown)}"
            )
        given = {name: _condition(self._wanted[name], conditions[name]) for name in conditions}
        return {**self._conditions, **given}

    def _times(self, t: Any, x: Array) -> Array:
        """Return what the model is told: a time for each sample."""
        if np.ndim(t) == 0:
            return per_sample(self.time_scale * t, x, self._time.dtype)
        times = self.time_scale * _checks.array("t", t)
        if times.shape != x.shape[:1]:
            raise ValueError(
                f"t must be one time, or one for each of the {len(x)} samples, got {times.shape}"
            )
        if self._time.shape in ((), (1,)) and len(times) > 1:
            raise ValueError("t must be one time for a model that is told one, got several")
        told = times.astype(self._time.dtype)
        if self._time.dtype.kind == "i" and not np.array_equal(told, times):
            raise ValueError(f"t must be whole times for {self._time}, got {_checks.shown(t)}")
        return told

    def __call__(self, x: Array, t: Any, **conditions: Any) -> Array:
        """Return the model's first output for a sample and its time.

        `t` may also be an array with a time for each sample, as `Batch.t` is. Conditions that are
        given here take the place of those that were given before.
        """
        arrays.check_floats("x", x)
        if not isinstance(x, np.ndarray):
            raise TypeError(f"x must be a NumPy array, got {_checks.shown(x)}")
        given = {self._name: np.ascontiguousarray(x, self.dtype)}
        for name, value in self._with(conditions).items():
            if value.shape[0] not in (1, len(x)):
                raise ValueError(
                    f"{name} must have one entry, or one for each of the {len(x)} samples, "
                    f"got {value.shape[0]}"
                )
            given[name] = np.broadcast_to(value, (len(x), *value.shape[1:]))
        times = self._times(t, x)
        of_one = self._time.shape in ((), (1,))
        given[self._time.name] = times[:1].reshape(self._time.shape) if of_one else times
        return _session(self.path, self.providers).run(None, given)[0]


def inputs_of(
    path: str | os.PathLike[str], providers: tuple[str, ...] | None = None
) -> tuple[Input, ...]:
    """Return what a model takes: its sample, its time, and its conditions."""
    session = _session(str(_existing(path)), providers)
    inputs = [_input(found) for found in session.get_inputs()]
    sample = _found("sample", _SAMPLE_NAMES, inputs, _may_be_sample)
    left = [each for each in inputs if each != sample]
    time = _found("time", _TIME_NAMES, left, _may_be_time)
    return (sample, time, *(each for each in left if each != time))


@cache
def _session(path: str, providers: tuple[str, ...] | None) -> Any:
    """Open a model, once in each process."""
    try:
        import onnxruntime
    except ImportError:
        raise ImportError(
            "an ONNX file needs the package onnxruntime: pip install onnxruntime"
        ) from None
    chosen = onnxruntime.get_available_providers() if providers is None else list(providers)
    try:
        return onnxruntime.InferenceSession(path, providers=chosen)
    except Exception as error:  # onnxruntime's own classes, derived from Exception alone
        raise ValueError(f"path must be an ONNX model, got {path!r}: {error}") from None


def _existing(path: str | os.PathLike[str]) -> Path:
    try:
        place = Path(path)
    except TypeError:
        raise TypeError(f"path must be a str or a path, got {_checks.shown(path)}") from None
    if not place.is_file():
        raise FileNotFoundError(f"path must be an ONNX file, got {str(place)!r}: there is none")
    return place.resolve()


def _input(found: Any) -> Input:
    if found.type not in _DTYPES:
        raise ValueError(
            f"inputs of the model must be tensors of numbers, got {found.name} of {found.type}"
        )
    axes = tuple(n if isinstance(n, int) else None for n in found.shape)
    return Input(found.name, np.dtype(_DTYPES[found.type]), axes)


def _may_be_sample(each: Input) -> bool:
    return each.dtype.kind == "f" and len(each.shape) > 1


def _may_be_time(each: Input) -> bool:
    return each.dtype.kind in "fi" and len(each.shape) < 2


def _found(
    what: str, names: Sequence[str], inputs: Sequence[Input], fits: Callable[[Input], bool]
) -> Input:
    """Return the input of a usual name, or the only one that fits."""
    fitting = [each for each in inputs if fits(each)]
    named = [each for name in names for each in fitting if each.name.lower() == name]
    if named or len(fitting) == 1:
        return (named or fitting)[0]
    raise ValueError(
        f"the model must have an input for the {what}, named {', '.join(names[:3])}, or one alone "
        f"that fits, got {_listed(inputs) or 'none'}"
    )


def _listed(inputs: Sequence[Input]) -> str:
    return "; ".join(map(str, inputs))


def _condition(wanted: Input, value: Any) -> Array:
    """Return a condition with its samples along axis 0, in the dtype of the model."""
    given = np.asarray(value)
    if given.dtype.kind not in "fiub" or not np.can_cast(given.dtype, wanted.dtype, "same_kind"):
        raise TypeError(f"{wanted.name} must be of {wanted.dtype}, got {_checks.shown(value)}")
    rank = max(len(wanted.shape), 1)
    if given.ndim == rank - 1:
        given = given[None]
    if given.ndim != rank:
        raise ValueError(f"{wanted} must be given in that shape, got {given.shape}")
    made = given.astype(wanted.dtype)
    if not np.array_equal(made, given):
        raise ValueError(f"{wanted.name} must be numbers of {wanted.dtype}, got {given}")
    return made
