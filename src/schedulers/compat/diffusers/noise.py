"""Fresh noise for a step, from what `generator` and `variance_noise` may be."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np

from schedulers import _checks
from schedulers.engine import arrays
from schedulers.engine.noise import Noise, Place, noise_dtype, normal, stage_place
from schedulers.engine.state import State
from schedulers.schedules.base import Level

Array = Any


def fresh(generator: Any, given: Any, state: State, place: Place) -> Array:
    """Return the noise that was given, or noise for the sample at a place."""
    like = state.carried
    if given is not None:
        if generator is not None:
            raise ValueError("generator and variance_noise must not both be given")
        given = arrays.matching("variance_noise", given, like, tuple(like.shape))
        return np.array(given) if isinstance(given, np.ndarray) else given
    generators = list(generator) if isinstance(generator, (list, tuple)) else [generator]
    torch = sys.modules.get("torch")
    if (
        torch is not None
        and isinstance(like, torch.Tensor)
        and all(one is None or isinstance(one, torch.Generator) for one in generators)
    ):
        _check_count(generators, like)
        return _of_torch(torch, generators, like, state.dtype)
    if all(map(_is_numpy_s, generators)):
        _check_count(generators, like)
        return _of_numpy(generators, like, place)
    try:
        return Noise.bind(generator, like).draw(place)
    except (TypeError, ValueError):
        raise TypeError(
            f"generator must be None, an int, a numpy.random.Generator or RandomState, the module "
            f"numpy.random, another kind of rng, or a list of one for each sample (a "
            f"torch.Generator is for torch tensors), got {_checks.shown(generator)}"
        ) from None


def step_place(index: int, now: Level, then: Level) -> Place:
    """Return the place of noise for a step between two levels."""
    return stage_place(index, (then.flow_time, now.flow_time))


def _check_count(generators: list[Any], like: Array) -> None:
    if len(generators) not in (1, *like.shape[:1]):
        raise ValueError(
            f"generator must be one, or one for each sample along axis 0 of a batch of shape "
            f"{tuple(like.shape)}, got {len(generators)}"
        )


def _is_numpy_s(generator: Any) -> bool:
    """Whether NumPy's own draws are meant, in order: a generator, a legacy one, or the module."""
    return generator is np.random or isinstance(
        generator, (np.random.Generator, np.random.RandomState)
    )


def _of_numpy(generators: list[Any], like: Array, place: Place) -> Array:
    """Noise from NumPy's generators, one for the batch or one for each sample."""
    dtype = like.dtype if isinstance(like, np.ndarray) else noise_dtype(like)
    shape = tuple(like.shape) if len(generators) == 1 else (1, *like.shape[1:])
    parts = [_drawn(one, place, shape, dtype) for one in generators]
    return arrays.of_the_kind(parts[0] if len(parts) == 1 else np.concatenate(parts), like)


def _drawn(generator: Any, place: Place, shape: tuple[int, ...], dtype: Any) -> Any:
    if isinstance(generator, np.random.Generator):
        return normal(generator, place, shape, dtype)
    return np.asarray(generator.standard_normal(shape)).astype(dtype)


def _of_torch(torch: Any, generators: Any, like: Array, dtype: Any) -> Array:
    """Noise from PyTorch's generators, one for the batch or one for each sample."""
    shape = like.shape if len(generators) == 1 else (1, *like.shape[1:])
    parts = [
        torch.randn(
            shape,
            generator=one,
            device=like.device if one is None else one.device,
            dtype=dtype,
        )
        for one in generators
    ]
    return torch.cat(parts).to(like.device, like.dtype)
