"""What the `sample_*` functions are given, checked."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from schedulers import _checks
from schedulers.denoisers import Guided, Preconditioned, Trained, per_sample
from schedulers.engine import arrays
from schedulers.engine.state import State, lent
from schedulers.engine.tableau import Stage, Tableau
from schedulers.methods.churn import Raise, raises
from schedulers.schedules.base import Level

Array = Any
Levels = tuple[Level, ...]
Model = Callable[..., Array]
NoiseSampler = Callable[[Any, Any], Array]
Callback = Callable[[dict[str, Any]], object]
Rows = Callable[..., Iterable[Stage]]
Raises = Callable[[Levels], tuple[Raise, ...]]


@dataclass(frozen=True)
class Call:
    """The arguments that every sampler has."""

    model: Model
    x: Array
    extra_args: Mapping[str, Any] | None
    callback: Callback | None
    disable: bool | None
    s_noise: float = 1.0
    noise_sampler: NoiseSampler | None = None

    def __post_init__(self) -> None:
        _checks.function("model", self.model, "(x, sigma, **extra_args)")
        if self.callback is not None:
            _checks.function("callback", self.callback, "(info)")
        if not isinstance(self.extra_args, (Mapping, type(None))):
            raise TypeError(
                f"extra_args must be a dict or None, got {_checks.shown(self.extra_args)}"
            )
        if not all(isinstance(name, str) for name in self.extra_args or ()):
            raise TypeError(
                f"extra_args must have keys that are strings, got {_checks.shown(self.extra_args)}"
            )
        _checks.settle(self, "s_noise", at_least=0.0, at_most=1e30)
        if self.noise_sampler is not None:
            _checks.function("noise_sampler", self.noise_sampler, "(sigma, sigma_next)")

    def begin(self) -> tuple[Array, Any]:
        """Return a copy of x in the precision to step in, and its own dtype."""
        carried, dtype = arrays.sample("x", self.x)
        if not carried.shape:
            raise ValueError("x must have its samples along axis 0, got a single number")
        return carried, dtype

    def evaluate(self, state: State) -> Array:
        """Return what the model makes of a state's sample, checked."""
        seen = lent(state)
        output = self.model(seen, per_sample(state.t, seen), **(self.extra_args or {}))
        shape = tuple(state.carried.shape)
        return arrays.matching("the model's output", output, state.carried, shape, state.t)


def level(sigma: float) -> Level:
    """Return the level at a sigma, where the time is sigma itself."""
    return Level(sigma, 1.0, sigma)


def floats(sigmas: Array) -> list[float]:
    """Check levels and return them as Python floats."""
    levels: list[float] = _checks.vector("sigmas", arrays.as_lists(sigmas)).tolist()
    if max(levels) > 1e150:
        raise ValueError(f"sigmas must be at most 1e150, got {_checks.shown(levels)}")
    if min(levels[:-1], default=1.0) <= 0.0 or levels[-1] < 0.0:
        raise ValueError(
            f"sigmas must be positive (only the last may be 0), got {_checks.shown(levels)}"
        )
    return levels


def falling(sigmas: Array) -> Array:
    """Refuse levels that rise, and return them."""
    levels = floats(sigmas)
    if any(later > earlier for earlier, later in pairwise(levels)):
        raise ValueError(f"sigmas must not rise where noise is added, got {_checks.shown(levels)}")
    return sigmas


def distinct(sigmas: Array, order: int) -> Array:
    """Refuse levels of which one comes back within a polynomial's `order` levels."""
    begins = floats(sigmas)[:-1]
    for step, sigma in enumerate(begins):
        if sigma in begins[max(step - order + 1, 0) : step]:
            raise ValueError(
                f"sigmas must not repeat within {order} levels, through which a polynomial goes, "
                f"got {sigma!r} again"
            )
    return sigmas


def churn(model: Model, sigmas: Array, s_churn: float, s_tmin: float, s_tmax: float) -> Raises:
    """Return what raises levels: churn's arguments, checked and bound.

    As in the core, no level is raised above the largest that the model was trained at.
    """
    most = _trained_to(model)
    s_churn = _checks.real("s_churn", s_churn, at_least=0.0)
    s_tmin = _checks.real("s_tmin", _bound("s_tmin", s_tmin, sigmas), at_least=0.0, finite=False)
    s_tmax = _checks.real("s_tmax", _bound("s_tmax", s_tmax, sigmas), at_least=s_tmin, finite=False)

    def level_at(sigma: float) -> Level:
        return level(min(sigma, most))

    return lambda levels: raises(levels, level_at, s_churn, s_tmin, s_tmax)


def _trained_to(model: Model) -> float:
    """Return the largest sigma that a model knows, where it says."""
    if isinstance(model, Guided):
        return min(_trained_to(model.conditional), _trained_to(model.unconditional))
    if isinstance(model, Preconditioned) and isinstance(model.scales, Trained):
        return model.scales.schedule.max_karras_sigma
    return math.inf


def _bound(name: str, value: float, sigmas: Array) -> float:
    """Return a bound of churn in the precision of the levels that it is compared with."""
    bound = _checks.real(name, value, finite=False)
    single = "float32" in str(getattr(sigmas, "dtype", ""))
    return float(np.float32(bound)) if single else bound


def tableau(
    method: str, rows: Rows, sigmas: Array, churned: Raises | None = None
) -> Tableau | None:
    """Return the tableau of a run at the given levels, in whatever order they are."""
    levels = tuple(map(level, floats(sigmas)))
    if len(levels) == 1:
        return None  # a run of no steps
    if churned is None:
        return Tableau(method, levels, tuple(rows(levels)))
    ups = churned(levels)
    return Tableau(method, levels, tuple(rows(levels, ups)), (ups[0].scale, ups[0].c))


def ends(sigma_min: float, sigma_max: float) -> tuple[float, float]:
    """Check the ends of a run that chooses its own levels; return the first and the last."""
    return (
        _checks.real("sigma_max", sigma_max, at_least=1e-150, at_most=1e150),
        _checks.real("sigma_min", sigma_min, at_least=1e-150, at_most=1e150),
    )


def amount(eta: float, sigmas: tuple[float, float] | None = None) -> float:
    """Check eta; `sigmas` are the ends of a run that may rise, where no noise can be added."""
    eta = _checks.real("eta", eta, at_least=0.0, at_most=1e100)
    if eta and sigmas is not None and sigmas[1] > sigmas[0]:
        raise ValueError(
            f"eta must be 0 where sigma_min is above sigma_max, so that the run rises, got {eta!r}"
        )
    return eta
