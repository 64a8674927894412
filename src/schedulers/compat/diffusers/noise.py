"""Fresh noise for a step, from what `generator` and `variance_noise` may be."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np

from schedulers import _checks
from schedulers.engine import arrays
from schedulers.engine.noise import Noise, Place, stage_place
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
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(like, torch.Tensor):
        generators = generator if isinstance(generator, (list, tuple)) else [generator]
        if all(one is None or isinstance(one, torch.Generator) for one in generators):
            return _of_torch(torch, generators, like, state.dtype)
    try:
        return Noise.bind(generator, like).draw(place)
    except (TypeError, ValueError):
        raise TypeError(
            f"generator must be None, an int, a numpy.random.Generator or another kind of rng, or "
            f"a torch.Generator for torch tensors; got {_checks.shown(generator)}"
        ) from None


def step_place(index: int, now: Level, then: Level) -> Place:
    """Return the place of noise for a step between two levels."""
    return stage_place(index, (then.flow_time, now.flow_time))


def _of_torch(torch: Any, generators: Any, like: Array, dtype: Any) -> Array:
    """Noise from PyTorch's generators, one for the batch or one for each sample."""
    if len(generators) not in (1, like.shape[0]):
        raise ValueError(
            f"generator must be one, or one for each of the {like.shape[0]} samples, "
            f"got {len(generators)}"
        )
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
