"""deepinv's solvers of the reverse SDE, on the path with scale 1 and sigma = t."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from peers.base import Peer, never_clean, peer


def deepinv() -> Iterator[Peer]:
    """Every solver, as the flow's (alpha = 0) and with the SDE's noise; it asks in float32."""
    from deepinv.sampling import sde_solver as home

    float32: dict[str, Any] = {"precision": "float32"}
    above_0 = {"grid": never_clean, "any_sigmas": False}
    for name, order, stochastic, alpha, options, claims in (
        ("EulerSolver, alpha=0", 1, False, 0.0, {}, {}),
        ("EulerSolver, alpha=0.5", 1, True, 0.5, {}, {}),
        ("EulerSolver, alpha=1", 1, True, 1.0, {}, {}),
        ("HeunSolver, alpha=0", 2, False, 0.0, {}, above_0),
        ("HeunSolver, alpha=1", 1, True, 1.0, {}, above_0),
        ("AncestralSolver, alpha=0", 1, False, 0.0, {}, {}),
        ("AncestralSolver, alpha=0.5", 1, True, 0.5, {}, {}),
        ("AncestralSolver, alpha=1", 1, True, 1.0, {}, {}),
        ("AncestralSolver, eta=0.5", 1, True, 0.0, {"eta": 0.5}, {}),
        ("DDIMSolver", 1, False, 1.0, {}, {}),
        ("DDIMSolver, eta=1", 1, True, 1.0, {"eta": 1.0}, {}),
        ("DDPMSolver", 1, True, 1.0, {}, {}),
        ("DDPMSolver, variance=large", 1, True, 1.0, {"variance": "large"}, {}),
    ):
        run = sampler_of(getattr(home, name.partition(",")[0]), alpha, options)
        yield peer("deepinv", name, run, order, stochastic=stochastic, **float32, **claims)


def sampler_of(make: Any, alpha: float, options: dict[str, Any]) -> Callable:
    """Make a sampler of one of its solvers."""
    import torch
    from deepinv.sampling import EDMDiffusionSDE

    def sampler(denoiser: Callable, x: Any, sigmas: Any, noise: Callable) -> Any:
        class Model(torch.nn.Module):
            def forward(self, y: Any, sigma: Any) -> Any:
                return denoiser(y.to(x.dtype), float(sigma))

        solver = make(timesteps=sigmas, **options)
        solver.randn_like = lambda like, seed=None: noise(like)
        sde = EDMDiffusionSDE(
            sigma_t=lambda t: t,
            sigma_prime_t=torch.ones_like,
            variance_exploding=True,
            alpha=alpha,
            denoiser=Model(),
            solver=solver,
            minus_one_one=False,
            dtype=x.dtype,
        )
        return sde.sample(x)

    return sampler
