"""azula, on a path with alpha = 1 and sigma = t, so that times are the kit's sigmas."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from peers.base import Peer, never_clean, peer

MULTISTEP = ("zABSampler", "vABSampler", "zEABSampler", "xEABSampler", "REABSampler")
OPTIONS: dict[str, tuple[float, bool, dict[str, Any]]] = {
    "DDPMSampler": (1, True, {}),
    "DDIMSampler": (1, False, {}),
    "DDIMSampler, eta=0.5": (1, True, {"eta": 0.5}),
    "DDIMSampler, eta=1": (1, True, {"eta": 1.0}),
    "EulerSampler": (1, False, {}),
    "HeunSampler": (2, False, {}),
    "ItoSampler": (1, True, {}),
    "ItoSampler, eta=0": (1, False, {"eta": 0.0}),
    "ItoSampler, eta=0.5": (1, True, {"eta": 0.5}),
    **{
        f"{name}, order={order}": (min(order, 2), False, {"order": order})
        for name in MULTISTEP
        for order in (1, 2, 3, 4)
    },
    "PCSampler": (1, True, {}),
    "PCSampler, corrections=2": (1, True, {"corrections": 2}),
}


def azula() -> Iterator[Peer]:
    """Every sampler, with every order."""
    from azula import sample

    for name, (order, stochastic, extra) in OPTIONS.items():
        run = sampler(getattr(sample, name.partition(",")[0]), extra)
        uses_time = name.startswith("vAB")  # that of a straight path from data of unit scale
        claims = {"stochastic": stochastic, "grid": never_clean, "uses_time": uses_time}
        yield peer("azula", name, run, order, **claims)


def sampler(make: Callable, extra: dict[str, Any]) -> Callable:
    """Make a sampler of a class."""
    import torch
    from azula.denoise import Denoiser, DiracPosterior

    def run(denoiser: Callable, x: Any, sigmas: Any, noise: Callable) -> Any:
        class Model(Denoiser):
            def schedule(self, t: Any) -> Any:
                return torch.ones_like(t), t

            def forward(self, y: Any, t: Any, **kwargs: Any) -> Any:
                return DiracPosterior(denoiser(y, t))

        class Run(make):  # type: ignore[misc, valid-type]
            timesteps = sigmas

        return Run(Model(), silent=True, **extra)(x)

    return run
