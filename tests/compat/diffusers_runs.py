"""Our run of a golden case, and its agreement with a peer's."""

import numpy as np

from golden import space
from schedulers.compat import diffusers as ours

RTOL = 1e-5
STOCHASTIC = ("DDPMScheduler", "DDIMScheduler", "EulerDiscreteScheduler")


def run(case):
    """The scheduler and the last sample, by the peer's own steps where those are an option."""
    name, arguments = case["scheduler"], space.arguments(case)
    if name in ("DDPMScheduler", "DDIMScheduler"):
        arguments["diffusers_steps"] = True
    scheduler = getattr(ours, name)(**arguments)
    noise = space.waves()
    more = {}
    if name in (*STOCHASTIC, "EulerAncestralDiscreteScheduler"):
        more["generator"] = lambda like: next(noise)
    x, _ = space.run(scheduler, case, np.asarray, more)
    assert x.dtype == np.float32
    return scheduler, x


def check(case, sample, timesteps, init_noise_sigma):
    """Assert that our run of a case ends at a peer's sample, and visits its timesteps."""
    scheduler, x = run(case)
    np.testing.assert_allclose(scheduler.init_noise_sigma, init_noise_sigma, rtol=1e-6)
    times = scheduler.timesteps
    if len(timesteps) == 3:
        times = times[[0, len(times) // 2, -1]]
    np.testing.assert_allclose(times, timesteps, rtol=2e-6, atol=5e-4)
    # Relative to the sample, or to the unit noise that it was made of where that is larger.
    scale = max(1.0, np.abs(sample).max())
    np.testing.assert_allclose(x, sample, rtol=0.0, atol=RTOL * scale)
