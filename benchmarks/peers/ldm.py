"""stable-diffusion-sdkit, which ships the reference code of DPM-Solver, and latent diffusion's."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import product
from typing import Any

import numpy as np

from peers.base import Peer, peer

PACKAGE = "stable-diffusion-sdkit"


def ldm() -> Iterator[Peer]:
    """DPM-Solver's multistep and singlestep methods, of every order, by noise and by data."""
    from ldm.models.diffusion.dpm_solver import dpm_solver as home

    home.tqdm = lambda found, **options: found
    for data, order, kind, method in product(
        (True, False), (1, 2, 3), ("dpm_solver", "taylor"), ("multistep", "singlestep_fixed")
    ):
        if order == 1 and kind == "taylor":
            continue
        if kind == "taylor" and order == 2 and method == "multistep" and not data:
            continue
        which = "DPM-Solver++" if data else "DPM-Solver"
        title = f"DPM_Solver, {which}, {method}, order {order}, solver_type={kind!r}"
        claimed = min(order, 2) if method == "multistep" else order
        run = sampler(home, data, order, kind, method)
        yield peer(
            *(PACKAGE, title, run, claimed),
            grid=grid(order if method == "multistep" else 1),
            any_sigmas=False,  # they are even in log sigma between two ends
            precision="float32",  # of torch.linspace, for its levels
            min_steps=order if method == "multistep" else 1,
        )


def grid(least: int) -> Callable[[int], Any]:
    """Levels that are even in log sigma, as skip_type="logSNR" has them."""
    return lambda steps: np.geomspace(30.0, 0.3, max(steps, least) + 1)


def sampler(home: Any, data: bool, order: int, kind: str, method: str) -> Callable:
    """Make a sampler of the class, on its own linear VP schedule."""
    import torch

    schedule = home.NoiseScheduleVP("linear")

    def time(s: float) -> Any:
        return schedule.inverse_lambda(-torch.log(torch.tensor([s], dtype=torch.float64)))

    def run(denoiser: Callable, x: Any, sigmas: Any, noise: Callable) -> Any:
        def model(y: Any, t: Any) -> Any:
            alpha, sigma = schedule.marginal_alpha(t), schedule.marginal_std(t)
            shape = (-1, *[1] * (y.ndim - 1))
            s = (sigma / alpha).reshape(-1)
            z = y / alpha.reshape(shape).to(y.dtype)
            return (z - denoiser(z, s[:1])) / s.reshape(shape).to(y.dtype)

        first, last = (time(float(s)) for s in (sigmas[0], sigmas[-1]))
        alpha_first, alpha_last = (float(schedule.marginal_alpha(t)) for t in (first, last))
        solver = home.DPM_Solver(model, schedule, predict_x0=data)
        steps = (len(sigmas) - 1) * (order if method == "singlestep_fixed" else 1)
        out = solver.sample(
            alpha_first * x,
            steps=steps,
            t_start=float(first),
            t_end=float(last),
            order=order,
            skip_type="logSNR",
            method=method,
            lower_order_final=False,
            solver_type=kind,
        )
        return (out / alpha_last).to(x.dtype)

    return run
