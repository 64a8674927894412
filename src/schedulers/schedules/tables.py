"""The levels that a configuration of diffusers names: tables in float32.

A model has seen the noise of its training's own tables, and there betas, 1 - betas and their
product are each rounded to float32. The least noisy sigma differs from that of exact betas by up to
1e-4 of itself; so the tables are made as they are there, and the arithmetic on them is in float64.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from schedulers import _checks, _files
from schedulers.schedules.betas import cosine_betas
from schedulers.schedules.elementary import exp

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float32]

FILE = "scheduler_config.json"
KINDS = ("linear", "scaled_linear", "squaredcos_cap_v2", "sigmoid", "laplace", "exp")
# alphas_cumprod that stands for 0 where sigma has to be finite: half precision's least number.
TINY = 2.0**-24


def betas(config: Mapping[str, Any], kinds: Sequence[str] = KINDS) -> Floats:
    """Variances that a configuration names, of one of these kinds."""
    n = _checks.count("num_train_timesteps", config.get("num_train_timesteps", 1000))
    if config.get("trained_betas") is not None:
        # Of another number than the training's times, too: then those that there are can be used.
        with np.errstate(over="ignore"):
            trained = _checks.vector("trained_betas", config["trained_betas"])
            table, names = trained.astype(np.float32), "trained_betas"
    else:
        kind = _checks.choice("beta_schedule", config.get("beta_schedule"), kinds)
        ends = [_end(config, kind, name) for name in ("beta_start", "beta_end")]
        table, names = _of_kind(kind, n, *ends), "beta_start and beta_end"
    if config.get("rescale_betas_zero_snr"):
        table = _rescaled(table)
    if not (table > 0.0).all() or not (table[:-1] < 1.0).all() or not table[-1] <= 1.0:
        raise ValueError(
            f"{names} must give betas between 0 and 1 in float32 (only the last may be 1), got "
            f"betas from {table.min():g} to {table.max():g}"
        )
    return table


def _end(config: Mapping[str, Any], kind: str, name: str) -> float:
    """Return the first or the last of betas, which only some kinds have."""
    if config.get(name) is None and kind in ("squaredcos_cap_v2", "laplace", "exp"):
        return 0.0
    return _checks.real(name, config.get(name), at_least=0.0, at_most=1.0)


def configuration(config: Mapping[str, Any] | str | os.PathLike[str]) -> Mapping[str, Any]:
    """Return a configuration that is given itself, as a file or as the folder of that file."""
    if not isinstance(config, (str, os.PathLike)):
        if not isinstance(config, Mapping):
            raise TypeError(
                f"config must be a mapping, or the path of a {FILE} or its folder, "
                f"got {_checks.shown(config)}"
            )
        return config
    place = Path(config)
    return _files.read_json(place / FILE if place.is_dir() else place, "a configuration", _object)


def _object(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise TypeError(f"the file must hold one object, got {_checks.shown(value)}")
    return value


def alphas_cumprod(betas: Floats) -> Floats:
    """Running product of 1 - betas."""
    return np.cumprod((1 - betas).astype(np.float64)).astype(np.float32)


def karras(alphas_cumprod: Floats) -> NDArray[np.float64]:
    """Karras's sigma at every training level."""
    products = alphas_cumprod.astype(np.float64)
    with np.errstate(divide="ignore"):  # a last level of no signal
        return np.sqrt((1.0 - products) / products)


def _of_kind(kind: str, n: int, start: float, end: float) -> Floats:
    match kind:
        case "linear":
            return _uniform(start, end, n)
        case "scaled_linear":
            return _uniform(math.sqrt(start), math.sqrt(end), n) ** 2
        case "squaredcos_cap_v2":
            return cosine_betas(n).astype(np.float32)
        case "sigmoid":
            logistic = 1.0 / (1.0 + exp(-_uniform(-6.0, 6.0, n).astype(np.float64)))
            return logistic.astype(np.float32) * np.float32(end - start) + np.float32(start)
        case "laplace":
            return _of_product(_laplace, n)
    return _of_product(lambda t: math.exp(-12.0 * t), n)  # "exp"


def _uniform(start: float, end: float, n: int) -> Floats:
    """Uniform numbers from both ends to the middle, a float32 step rounded once, as PyTorch has."""
    low, high = np.float32(start), np.float32(end)
    i = np.arange(n)
    step = np.float64((high - low) / np.float32(max(n - 1, 1)))
    return np.where(i < max(n // 2, 1), low + step * i, high - step * (n - 1 - i)).astype(
        np.float32
    )


def _of_product(product: Callable[[float], float], n: int) -> Floats:
    """Variances of a formula for alphas_cumprod over [0, 1], at most 0.999."""
    values = [product(i / n) for i in range(n + 1)]
    return np.array([min(1.0 - b / a, 0.999) for a, b in pairwise(values)], np.float32)


def _laplace(t: float) -> float:
    # Not Hang et al. 2024's, `schedulers.laplace_betas`, but what models here were trained with.
    log_snr = -0.5 * math.copysign(1.0, 0.5 - t) * math.log(1.0 - 2.0 * abs(0.5 - t) + 1e-6)
    return math.sqrt(1.0 / (1.0 + math.exp(-log_snr)))


def _rescaled(betas: Floats) -> Floats:
    """Zero terminal SNR (Lin et al. 2024, Alg. 1), each of its steps rounded to float32."""
    roots = np.sqrt(alphas_cumprod(betas))
    if len(roots) < 2 or not roots[0] > roots[-1]:
        raise ValueError("rescale_betas_zero_snr needs at least two levels that differ")
    roots = (roots - roots[-1]) * (roots[0] / (roots[0] - roots[-1]))
    products = roots**2
    with np.errstate(invalid="ignore"):  # 0 of 0: no beta, which is refused
        alphas = np.append(products[:1], products[1:] / products[:-1])
    rescaled: Floats = 1 - alphas
    return rescaled
