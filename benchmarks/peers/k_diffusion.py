"""k-diffusion, and k-samplers, an earlier state of it."""

from __future__ import annotations

import importlib
import inspect
import sys
import types
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from peers.base import Peer, peer

# option text: (order, whether it draws noise, options)
OPTIONS: dict[str, tuple[float, bool, dict[str, Any]]] = {
    "sample_euler": (1, False, {}),
    "sample_euler, s_churn=4": (1, True, {"s_churn": 4.0}),
    "sample_euler, s_churn=4, s_noise=1.01": (1, True, {"s_churn": 4.0, "s_noise": 1.01}),
    "sample_euler_ancestral": (1, True, {}),
    "sample_euler_ancestral, eta=0": (1, False, {"eta": 0.0}),
    "sample_euler_ancestral, eta=0.5": (1, True, {"eta": 0.5}),
    "sample_euler_ancestral, s_noise=1.01": (1, True, {"s_noise": 1.01}),
    "sample_heun": (2, False, {}),
    "sample_heun, s_churn=4": (2, True, {"s_churn": 4.0}),
    "sample_heun, s_churn=4, s_noise=1.01": (2, True, {"s_churn": 4.0, "s_noise": 1.01}),
    "sample_dpm_2": (2, False, {}),
    "sample_dpm_2, s_churn=4": (2, True, {"s_churn": 4.0}),
    "sample_dpm_2_ancestral": (1, True, {}),
    "sample_dpm_2_ancestral, eta=0": (2, False, {"eta": 0.0}),
    "sample_dpm_2_ancestral, eta=0.5": (1, True, {"eta": 0.5}),
    "sample_lms, order=1": (1, False, {"order": 1}),
    "sample_lms, order=2": (2, False, {"order": 2}),
    "sample_lms, order=3": (2, False, {"order": 3}),
    "sample_lms": (2, False, {}),
    "sample_dpmpp_2s_ancestral": (1, True, {}),
    "sample_dpmpp_2s_ancestral, eta=0": (2, False, {"eta": 0.0}),
    "sample_dpmpp_2s_ancestral, eta=0.5": (1, True, {"eta": 0.5}),
    "sample_dpmpp_sde": (1, True, {}),
    "sample_dpmpp_sde, eta=0": (2, False, {"eta": 0.0}),
    "sample_dpmpp_2m": (2, False, {}),
    "sample_dpmpp_2m_sde": (1, True, {}),
    "sample_dpmpp_2m_sde, solver_type='heun'": (1, True, {"solver_type": "heun"}),
    "sample_dpmpp_2m_sde, eta=0": (2, False, {"eta": 0.0}),
    "sample_dpmpp_2m_sde, solver_type='heun', eta=0": (
        *(2, False),
        {"solver_type": "heun", "eta": 0.0},
    ),
    "sample_dpmpp_2m_sde, s_noise=1.01": (1, True, {"s_noise": 1.01}),
    "sample_dpmpp_3m_sde": (1, True, {}),
    "sample_dpmpp_3m_sde, eta=0": (2, False, {"eta": 0.0}),
    "sample_dpmpp_3m_sde, s_noise=1.01": (1, True, {"s_noise": 1.01}),
}


def k_diffusion() -> Iterator[Peer]:
    """Every sampler that takes a grid of sigmas, and DPM-fast."""
    # Its __init__ loads evaluation tools that need a part of setuptools that is gone.
    stub = types.ModuleType("pkg_resources")
    stub.packaging = importlib.import_module("packaging")  # type: ignore[attr-defined]
    importlib.import_module("packaging.version")
    sys.modules.setdefault("pkg_resources", stub)
    yield from samplers("k-diffusion", importlib.import_module("k_diffusion.sampling"))


def k_samplers() -> Iterator[Peer]:
    """The samplers that this earlier state has."""
    yield from samplers("k-samplers", importlib.import_module("k_samplers.sampling"))


def samplers(package: str, sampling: Any) -> Iterator[Peer]:
    """Return those of a module of k-diffusion's functions."""
    for name, (order, stochastic, options) in OPTIONS.items():
        function = getattr(sampling, name.partition(",")[0], None)
        if function is None or not set(options) <= set(inspect.signature(function).parameters):
            continue
        s_noise = options.get("s_noise", 1.0)
        run = sampler(function, options)
        yield peer(package, name, run, order, stochastic=stochastic, s_noise=s_noise)
    if hasattr(sampling, "sample_dpm_fast"):
        yield from dpm_solver(package, sampling)


def dpm_solver(package: str, sampling: Any) -> Iterator[Peer]:
    """Return DPM-fast and DPM-adaptive, which have levels of their own between two ends."""

    def fast(model: Callable, x: Any, sigmas: Any, disable: bool) -> Any:
        ends = float(sigmas[-1]), float(sigmas[0])
        evaluations = 3 * (len(sigmas) - 1)  # orders 3, ..., 3, 2, 1
        return sampling.sample_dpm_fast(model, x, *ends, evaluations, disable=disable)

    claims: dict[str, Any] = {
        "grid": lambda steps: np.geomspace(80.0, 0.3, steps + 1),
        "any_sigmas": False,
        "precision": "float32",  # of torch.tensor(sigma_max)
    }
    yield peer(package, "sample_dpm_fast", sampler(fast, {}), 2, **claims)

    def adaptive(model: Callable, x: Any, sigmas: Any, disable: bool) -> Any:
        if not x.numel():  # its error is NaN then, and it never ends
            raise RuntimeError("of no samples it never ends: its error is NaN")
        ends, exact = (float(sigmas[-1]), float(sigmas[0])), {"rtol": 1e-4, "atol": 1e-5}
        return sampling.sample_dpm_adaptive(model, x, *ends, disable=disable, **exact)

    yield peer(
        *(package, "sample_dpm_adaptive, rtol=1e-4, atol=1e-5", sampler(adaptive, {}), 2),
        **{**claims, "tolerance": 1e-2},
    )


def sampler(function: Callable, options: dict[str, Any]) -> Callable:
    """Make a sampler of one of its functions."""
    takes_noise = "noise_sampler" in inspect.signature(function).parameters

    def run(denoiser: Callable, x: Any, sigmas: Any, noise: Callable) -> Any:
        extra = dict(options)
        if takes_noise:
            extra["noise_sampler"] = Increments(noise, x)
        return function(denoiser, x, sigmas, disable=True, **extra)

    return run


class Increments:
    """Increments of one Brownian path, asked for forwards: k-diffusion's `noise_sampler`."""

    def __init__(self, noise: Callable, x: Any) -> None:
        self.noise, self.like = noise, x
        self.known: dict[float, Any] = {}

    def __call__(self, sigma: Any, sigma_next: Any) -> Any:
        """Return W(sigma_next) - W(sigma), of variance 1."""
        a, b = float(sigma), float(sigma_next)
        if a not in self.known:
            self.known = {a: 0.0 * self.like}
        if b not in self.known:
            last = min(self.known)
            assert b < last, "a Brownian path is gone along in one direction"
            self.known[b] = self.known[last] + float(np.sqrt(last - b)) * self.noise(self.like)
        return (self.known[b] - self.known[a]) / float(np.sqrt(a - b))
