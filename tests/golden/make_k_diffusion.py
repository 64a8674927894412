"""Write k_diffusion.npz: what k-diffusion makes of the cases of compat/k_diffusion/cases.py.

Run where k-diffusion and PyTorch are installed:

    PYTHONPATH=tests python tests/golden/make_k_diffusion.py
"""

import importlib.metadata
import sys
from pathlib import Path
from types import ModuleType
from unittest import mock

import numpy as np

from compat.k_diffusion.cases import CASES, GRIDS, SIGMAS, in_order, inputs, record


def peer():
    """Return k_diffusion.sampling; CLIP, which only its evaluation needs, may be missing."""
    try:
        import clip  # noqa: F401
    except ImportError:
        sys.modules["clip"] = ModuleType("clip")
    from k_diffusion import sampling

    return sampling


def run_peer(sampler, x, sigmas, options, noise, dtype):
    """Run a sampler of k-diffusion on given noise."""
    import torch

    dtype = getattr(torch, dtype)
    sampling, noises = peer(), in_order(noise, lambda z: torch.tensor(z, dtype=dtype))
    sample = getattr(sampling, sampler)
    x, sigmas = torch.tensor(x, dtype=dtype), torch.tensor(sigmas, dtype=dtype)
    if sampler == "sample_euler_ancestral":
        return record(sample, x, sigmas, options, noises)
    with mock.patch.object(torch, "randn_like", noises):
        return record(sample, x, sigmas, options)


def main():
    import torch

    x, noise = inputs()
    written = {"x": x, "noise": noise}
    for name, (sampler, grid, options) in CASES.items():
        sigmas = GRIDS[grid]
        result = run_peer(sampler, sigmas[0] * x, sigmas, options, noise, "float32")
        written[name] = result.x
        written[f"{name}/sigma_hat"] = result.sigma_hat
    # In float64: in float32 theirs loses digits in the last levels of get_sigmas_vp.
    torch.set_default_dtype(torch.float64)
    for name, (function, arguments) in SIGMAS.items():
        written[f"sigmas/{name}"] = getattr(peer(), function)(*arguments).numpy()
    for package in ("k-diffusion", "torch"):
        written[f"version/{package}"] = np.array(importlib.metadata.version(package))
    np.savez_compressed(Path(__file__).with_name("k_diffusion.npz"), **written)


if __name__ == "__main__":
    main()
