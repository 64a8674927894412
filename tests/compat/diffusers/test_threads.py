"""One scheduler that serves many threads: every run has the bits that it has alone."""

import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from schedulers.compat import diffusers as ours

NAMES = [name for name in ours.__all__ if name.endswith("Scheduler")]
CONFIG = {
    "PNDMScheduler": {"skip_prk_steps": True},
    "DPMSolverSDEScheduler": {"noise_sampler_seed": 0},
}


def run(scheduler, seed, begin=0):
    more = {"generator": seed} if "generator" in scheduler.step.__code__.co_varnames else {}
    x = np.random.default_rng(seed).standard_normal((2, 3))
    for t in scheduler.timesteps[begin:]:
        seen = scheduler.scale_model_input(x, t) if hasattr(scheduler, "scale_model_input") else x
        x = scheduler.step(0.8 * seen - 0.1 * np.tanh(seen), t, x, **more).prev_sample
    return x


@pytest.fixture
def switching():
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(interval)


@pytest.mark.slow
@pytest.mark.usefixtures("switching")
@pytest.mark.parametrize("begin", [0, 1])
@pytest.mark.parametrize("name", NAMES)
def test_no_run_is_lost(name, begin):
    scheduler = getattr(ours, name)(**CONFIG.get(name, {}))
    scheduler.set_timesteps(4)
    alone = [run(scheduler, seed, begin) for seed in range(10)]
    with ThreadPoolExecutor(8) as pool:
        ends = list(pool.map(lambda k: run(scheduler, k % 10, begin), range(60)))
    for k, end in enumerate(ends):
        np.testing.assert_array_equal(end, alone[k % 10])
