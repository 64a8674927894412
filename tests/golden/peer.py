"""diffusers, run over the golden space with the space's own noise."""

import importlib
import pkgutil
from contextlib import ExitStack, contextmanager
from types import SimpleNamespace
from unittest import mock

import diffusers
import numpy as np
import torch

from golden import space

diffusers.logging.set_verbosity_error()
_MODULES = [
    importlib.import_module(f"diffusers.schedulers.{found.name}")
    for found in pkgutil.iter_modules(diffusers.schedulers.__path__)
    if found.name.startswith("scheduling_") and not found.name.endswith("_flax")
]


class _Torch(SimpleNamespace):
    """torch, but that float32 there is float64."""

    float32 = torch.float64

    def __getattr__(self, name):
        return getattr(torch, name)


@contextmanager
def _patched(**replaced):
    with ExitStack() as stack:
        for module in _MODULES:
            for name, value in replaced.items():
                if hasattr(module, name):
                    stack.enter_context(mock.patch.object(module, name, value))
        yield


def _path(noise, dtype):
    """A Brownian path's class whose increments are the space's own noise."""
    return lambda *_, **__: lambda *_: torch.from_numpy(next(noise)).to(dtype)


def _rounded(function):
    return lambda x: function(x.double()).to(x.dtype)


def _power(x, exponent):
    return torch.pow(torch.where(x > -1e-15, x.abs(), x) if exponent == 0.5 else x, exponent)


def run(case):
    """The scheduler, and the last sample, of diffusers' own run, in float32."""
    noise = space.waves()
    with _patched(
        randn_tensor=lambda *_, **__: torch.from_numpy(next(noise)),
        BrownianTreeNoiseSampler=_path(noise, torch.float32),
    ):
        scheduler = getattr(diffusers, case["scheduler"])(**space.arguments(case))
        x, _ = space.run(scheduler, case, torch.from_numpy, {})
    return scheduler, np.asarray(x)


def run64(case):
    """The scheduler, and the last sample, of diffusers' own run, its arithmetic in float64.

    The training's tables are those of float32, and so are the levels and times that the run visits:
    they say what is computed. Everything that is computed from them is in float64. The square roots
    and logistic functions in the tables are rounded correctly, which PyTorch's own need not be; and
    the root of what rounding has left below 0 is 0.
    """
    noise = space.waves()
    with (
        mock.patch.object(torch.Tensor, "sqrt", _rounded(torch.Tensor.sqrt)),
        mock.patch.object(torch, "sigmoid", _rounded(torch.sigmoid)),
    ):
        scheduler = getattr(diffusers, case["scheduler"])(**space.arguments(case))
    for name, value in vars(scheduler).items():
        if isinstance(value, torch.Tensor) and value.dtype == torch.float32:
            setattr(scheduler, name, value.double())
    set_timesteps = scheduler.set_timesteps

    def set_rounded(steps, **more):
        set_timesteps(steps, **more)
        for name in ("timesteps", "sigmas"):
            value = getattr(scheduler, name, None)
            if isinstance(value, torch.Tensor) and value.is_floating_point():
                setattr(scheduler, name, value.float().double())

    scheduler.set_timesteps = set_rounded
    default = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        with (
            mock.patch.object(torch.Tensor, "__pow__", _power),
            _patched(
                torch=_Torch(),
                randn_tensor=lambda *_, **__: torch.from_numpy(next(noise)).double(),
                BrownianTreeNoiseSampler=_path(noise, torch.float64),
            ),
        ):
            x, _ = space.run(scheduler, case, lambda a: torch.from_numpy(a).double(), {})
    finally:
        torch.set_default_dtype(default)
    assert x.dtype == torch.float64
    return scheduler, np.asarray(x)
