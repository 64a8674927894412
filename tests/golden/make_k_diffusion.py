"""Write k_diffusion.npz: what k-diffusion makes of the cases of compat/k_diffusion/cases.py.

Run where k-diffusion and PyTorch are installed:

    PYTHONPATH=tests python tests/golden/make_k_diffusion.py
"""

import importlib.metadata
import inspect
import sys
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from unittest import mock

import numpy as np

from compat.k_diffusion.cases import (
    CAPPED,
    CASES,
    FINE_STARTS,
    SIGMAS,
    fine_start,
    first_sigma,
    in_order,
    inputs,
    record,
    unit_gaussian,
)


def peer():
    """Return k_diffusion.sampling, without the rest of the package, which needs much more."""
    if "k_diffusion" not in sys.modules:
        package, utils = ModuleType("k_diffusion"), ModuleType("k_diffusion.utils")
        package.__path__ = find_spec("k_diffusion").submodule_search_locations
        utils.append_dims = lambda x, ndim: x.reshape(*x.shape, *(1,) * (ndim - x.ndim))
        package.utils = utils
        sys.modules |= {"k_diffusion": package, "k_diffusion.utils": utils}
    from k_diffusion import sampling

    return sampling


@contextmanager
def precision(dtype):
    """Let PyTorch make tensors of a dtype: k-diffusion does so of numbers, such as sigma_max."""
    import torch

    before = torch.get_default_dtype()
    torch.set_default_dtype(getattr(torch, dtype))
    try:
        yield
    finally:
        torch.set_default_dtype(before)


def run_peer(sampler, x, levels, options, noise, dtype):
    """Run a sampler of k-diffusion on given noise."""
    import torch

    sample = getattr(peer(), sampler)
    with precision(dtype):
        noises = in_order(noise, lambda z: torch.tensor(z, dtype=torch.get_default_dtype()))
        x = torch.tensor(x, dtype=torch.get_default_dtype())
        if not isinstance(levels, tuple):
            levels = torch.tensor(levels, dtype=x.dtype)
        if "noise_sampler" in inspect.signature(sample).parameters:
            return record(sample, x, levels, options, noises)
        with mock.patch.object(torch, "randn_like", noises):
            return record(sample, x, levels, options)


def main():
    import torch

    x, noise = inputs()
    written = {"x": x, "noise": noise}
    for name, (sampler, levels, options) in CASES.items():
        result = run_peer(sampler, first_sigma(levels) * x, levels, options, noise, "float64")
        written[name] = result.x
        written[f"{name}/sigma_hat"] = result.sigma_hat
    for name, n in FINE_STARTS.items():
        with precision("float64"):
            x_0 = peer().sample_dpmpp_3m_sde(
                unit_gaussian,
                torch.tensor(10.0 * x),
                torch.tensor(fine_start(n)),
                disable=True,
                eta=0.0,
            )
        written[name] = x_0.numpy()
    sampler, levels, options = CAPPED
    written["capped"] = run_peer(sampler, levels[0] * x, levels, options, noise, "float64").x
    for name, (function, arguments) in SIGMAS.items():
        with precision("float64"):
            written[f"sigmas/{name}"] = getattr(peer(), function)(*arguments).numpy()
    for package in ("k-diffusion", "torch"):
        written[f"version/{package}"] = np.array(importlib.metadata.version(package))
    np.savez_compressed(Path(__file__).with_name("k_diffusion.npz"), **written)


if __name__ == "__main__":
    main()
