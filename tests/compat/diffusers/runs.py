"""Our run of a golden case, and its agreement with a peer's.

The criterion. A peer's result in float32 is its formulas' and its rounding's, and the rounding is
at times the larger: 1 - alpha_t / alpha_prev loses digits in small steps, x - D at large sigmas,
and so on. So the peer is run in float64, too, from the same float32 tables and at the same levels.
Then

1. ours in float64 is that result, to RTOL64: the formulas are the same;
2. ours in float32 is the peer's in float32 to RTOL, or it is no farther from the result in float64
   than the peer's is, or than float32's spacing at the sample that the run begins with (which is as
   large as sigma is there, up to thousands): the rounding is not ours;
3. the times and the first sigma are those of the run in float64, to float32's rounding.

In the middle of DPM2's steps the peer has levels and times of logarithms in float32, in both of its
runs: there both tolerances are 2 RTOL.

Distances are relative to the largest element of the sample, or to the unit noise that it was made
of where that is larger.
"""

import inspect

import numpy as np

from golden import space
from schedulers.compat import diffusers as ours

RTOL = 1e-5
# Twice the root of float64's rounding: at eta=1 a peer takes the root of a difference that is 0.
RTOL64 = 2 * np.finfo(float).eps ** 0.5
ROUNDING = 2.0**-23


def run(case, dtype=np.float32):
    """The scheduler and the last sample, by the peer's own steps where those are an option."""
    name, arguments = case["scheduler"], space.arguments(case)
    if name in ("DDPMScheduler", "DDIMScheduler"):
        arguments["diffusers_steps"] = True
    scheduler = getattr(ours, name)(**arguments)
    noise = space.waves()
    more = {}
    if "generator" in inspect.signature(scheduler.step).parameters:
        more["generator"] = lambda like: next(noise).astype(like.dtype)
    x, _ = space.run(scheduler, case, lambda array: np.asarray(array, dtype), more)
    assert x.dtype == dtype
    return scheduler, x


def check(case, sample, sample64, timesteps, init_noise_sigma):
    """Assert that our run of a case ends at a peer's sample, and visits its timesteps."""
    scheduler, x = run(case)
    _, x64 = run(case, np.float64)
    own = getattr(scheduler, "init_noise_sigma", 1.0)
    np.testing.assert_allclose(own, init_noise_sigma, rtol=ROUNDING)
    times = scheduler.timesteps
    if len(timesteps) == 3:
        times = times[[0, len(times) // 2, -1]]
    between = 8 if case["scheduler"].startswith("KDPM2") else 1
    np.testing.assert_allclose(
        times, timesteps, rtol=between * ROUNDING, atol=1e-5 if between > 1 else ROUNDING
    )
    scale = max(1.0, np.abs(sample64).max())

    def distance(a, b):
        return np.abs(np.asarray(a, np.float64) - b).max() / scale

    assert distance(x64, sample64) <= (RTOL64 if between == 1 else 2 * RTOL)
    spacing = ROUNDING * np.abs(space.wave(0)).max() * init_noise_sigma / scale
    close = RTOL if between == 1 else 2 * RTOL
    assert distance(x, sample) <= close or distance(x, sample64) <= max(
        distance(sample, sample64), spacing
    )
