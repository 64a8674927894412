"""A run that begins in the middle of a grid is what is left of the whole one."""

import numpy as np
import pytest
from hypothesis import given, strategies as st

from kit import ALL, DISCRETE, bounded_denoiser, names, seeds


@given(times=st.sets(st.integers(0, 999), min_size=1, max_size=12), name=names)
def test_timesteps_and_their_sigmas_are_one_grid(times, name):
    times = sorted(times, reverse=True)
    scheduler = ALL[name](DISCRETE)
    sigmas = np.append(DISCRETE.sigmas[times], 0.0)
    assert scheduler.tableau(timesteps=times) == scheduler.tableau(sigmas=sigmas)


@pytest.mark.parametrize("name", ["DDIM", "Euler", "Heun"])
@given(seed=seeds, start=st.integers(0, 9))
def test_a_method_without_memory_goes_on_from_a_sample_alone(name, seed, start):
    scheduler = ALL[name](DISCRETE)
    x = np.random.default_rng(seed).standard_normal((2, 3))
    whole = list(scheduler.iterate(bounded_denoiser, x, steps=10))
    sigmas = scheduler.tableau(steps=10).sigmas[start:]
    x = x if start == 0 else whole[start - 1].x
    rest = scheduler.sample(bounded_denoiser, x, sigmas=sigmas)
    np.testing.assert_allclose(rest, whole[-1].x, rtol=1e-12, atol=1e-12)
