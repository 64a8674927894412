"""diffusers, run over the golden space with the space's own noise."""

import importlib

import diffusers
import numpy as np
import torch

from golden import space

diffusers.logging.set_verbosity_error()
_DRAWING = ["ddpm", "ddim", "euler_discrete", "euler_ancestral_discrete"]


def run(case):
    """The scheduler, and the last sample, of diffusers' own run."""
    noise = space.waves()
    for name in _DRAWING:
        module = importlib.import_module(f"diffusers.schedulers.scheduling_{name}")
        module.randn_tensor = lambda *_, **__: torch.from_numpy(next(noise))
    try:
        scheduler = getattr(diffusers, case["scheduler"])(**space.arguments(case))
        x, _ = space.run(scheduler, case, torch.from_numpy, {})
    finally:
        from diffusers.utils.torch_utils import randn_tensor

        for name in _DRAWING:
            module = importlib.import_module(f"diffusers.schedulers.scheduling_{name}")
            module.randn_tensor = randn_tensor
    return scheduler, np.asarray(x)
