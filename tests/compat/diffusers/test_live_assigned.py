"""What people assign, on both sides: `pytest -m live`."""

import numpy as np
import pytest

from schedulers.compat import diffusers as ours

pytestmark = [pytest.mark.live, pytest.mark.filterwarnings("ignore")]

OF_PRODUCTS = [
    "DDIMScheduler",
    "DDPMScheduler",
    "PNDMScheduler",
    "EulerDiscreteScheduler",
    "HeunDiscreteScheduler",
    "LMSDiscreteScheduler",
    "DPMSolverMultistepScheduler",
    "UniPCMultistepScheduler",
    "LCMScheduler",
]
OF_SIGMAS = [
    "EulerDiscreteScheduler",
    "LMSDiscreteScheduler",
    "HeunDiscreteScheduler",
    "DPMSolverMultistepScheduler",
    "UniPCMultistepScheduler",
    "DEISMultistepScheduler",
    "EDMDPMSolverMultistepScheduler",
    "FlowMatchEulerDiscreteScheduler",
]


def shift_products(scheduler):
    products = scheduler.alphas_cumprod
    scheduler.alphas_cumprod = products / (3.0 - 2.0 * products)


def write_products(scheduler):
    scheduler.alphas_cumprod[:] = scheduler.alphas_cumprod**2


def scale_sigmas(scheduler):
    scheduler.sigmas = scheduler.sigmas * 0.9


def write_sigmas(scheduler):
    scheduler.sigmas[0] = scheduler.sigmas[0] * 0.95


def cut_both(scheduler):
    scheduler.timesteps, scheduler.sigmas = scheduler.timesteps[4:], scheduler.sigmas[4:]


CASES = [
    *((name, change, when) for name in OF_PRODUCTS for when in ("before", "after")
      for change in (shift_products, write_products)),
    *((name, change, "after") for name in OF_SIGMAS
      for change in (scale_sigmas, write_sigmas, cut_both)),
]  # fmt: skip


@pytest.mark.parametrize(("name", "change", "when"), CASES)
def test_the_same_samples(name, change, when, monkeypatch):
    diffusers = pytest.importorskip("diffusers")
    import sys

    import torch

    ends = []
    for module, array in ((diffusers, torch.from_numpy), (ours, np.asarray)):
        config = {"clip_sample": False} if name[:4] in ("DDIM", "DDPM") else {}
        config |= {"skip_prk_steps": True} if name == "PNDMScheduler" else {}
        scheduler = getattr(module, name)(**config)
        if when == "before":
            change(scheduler)
        scheduler.set_timesteps(10)
        if when == "after":
            change(scheduler)
        more = {}
        if name in ("DDPMScheduler", "LCMScheduler"):
            if module is ours:
                more["generator"] = np.zeros_like
            else:
                home = sys.modules[type(scheduler).__module__]
                monkeypatch.setattr(
                    home, "randn_tensor", lambda shape, *_, **__: torch.zeros(shape).double()
                )
        x = np.random.default_rng(0).standard_normal((2, 3, 4, 4))
        x = array(x * float(getattr(scheduler, "init_noise_sigma", 1.0)))
        for t in scheduler.timesteps:
            seen = x if name.startswith("Flow") else scheduler.scale_model_input(x, t)
            x = scheduler.step(0.3 * seen + 0.1, t, x, **more).prev_sample
        ends.append(np.asarray(x))
    np.testing.assert_allclose(ends[1], ends[0], rtol=0.0, atol=2e-6 * max(1.0, np.abs(x).max()))
