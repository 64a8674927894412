"""Different schedulers that are one method."""

import numpy as np
import pytest
from hypothesis import given, strategies as st

import schedulers as sc
from kit import (
    DISCRETE,
    SCHEDULES,
    as_prediction,
    bounded_denoiser,
    relative_error,
    schedules,
    seeds,
    sigma_grids,
)

EXACT = 1e-12
PAIRS = {
    "DDIM(0) = Euler": (lambda s, eta: sc.DDIM(s), lambda s, eta: sc.Euler(s)),
    "DDIM(eta) = EulerAncestral(eta)": (
        lambda s, eta: sc.DDIM(s, eta=eta),
        lambda s, eta: sc.EulerAncestral(s, eta=eta),
    ),
    "DDIM(1) = DDPM(fixed_small)": (
        lambda s, eta: sc.DDIM(s, eta=1.0),
        lambda s, eta: sc.DDPM(s),
    ),
    "PLMS(1) = DDIM(0)": (lambda s, eta: sc.PLMS(s, order=1), lambda s, eta: sc.DDIM(s)),
    "PLMS = LMS": (lambda s, eta: sc.PLMS(s), lambda s, eta: sc.LMS(s)),
    "DPM2Ancestral(0) = DPM2": (
        lambda s, eta: sc.DPM2Ancestral(s, eta=0.0),
        lambda s, eta: sc.DPM2(s),
    ),
    "Restart() = Heun": (lambda s, eta: sc.Restart(s), lambda s, eta: sc.Heun(s)),
    "GradientEstimation(1) = DDIM(0)": (
        lambda s, eta: sc.GradientEstimation(s, gamma=1.0),
        lambda s, eta: sc.DDIM(s),
    ),
    "GradientEstimation(1.5) = PLMS(2)": (
        lambda s, eta: sc.GradientEstimation(s, gamma=1.5),
        lambda s, eta: sc.PLMS(s, order=2, weights="constant"),
    ),
    "SEEDS(1) = EulerAncestral": (
        lambda s, eta: sc.SEEDS(s, order=1),
        lambda s, eta: sc.EulerAncestral(s),
    ),
    "ERSDE(1, ode) = DDIM(0)": (
        lambda s, eta: sc.ERSDE(s, order=1, noise="ode"),
        lambda s, eta: sc.DDIM(s),
    ),
    "ERSDE(1, sde) = EulerAncestral": (
        lambda s, eta: sc.ERSDE(s, order=1, noise="sde"),
        lambda s, eta: sc.EulerAncestral(s),
    ),
    "FlowAncestral(0) = DDIM(0)": (
        lambda s, eta: sc.FlowAncestral(s, eta=0.0),
        lambda s, eta: sc.DDIM(s),
    ),
    "LCM, no scaling = DDIM, no e": (
        lambda s, eta: sc.LCM(s, timestep_scaling=None),
        lambda s, eta: sc.DDIM(s, sigma=lambda now, then: then.sigma),
    ),
    "TCD(0) = DDIM(0)": (lambda s, eta: sc.TCD(s, gamma=0.0), lambda s, eta: sc.DDIM(s)),
    "Euler, no churn in range = Euler": (
        lambda s, eta: sc.Euler(s, s_churn=5.0, s_tmin=500.0),
        lambda s, eta: sc.Euler(s),
    ),
    "fixed_small_log = fixed_small": (
        lambda s, eta: sc.DDPM(s, variance="fixed_small_log"),
        lambda s, eta: sc.DDPM(s),
    ),
    "fixed_large_log = fixed_large": (
        lambda s, eta: sc.DDPM(s, variance="fixed_large_log"),
        lambda s, eta: sc.DDPM(s, variance="fixed_large"),
    ),
}


def noise(seed, shape=(2, 3)):
    return np.random.default_rng(seed).standard_normal(shape)


def start(schedule, sigmas, seed):
    """Noise at the scale of the first of the sigmas, in the schedule's own coordinates."""
    return schedule.sigma(schedule.timestep(float(sigmas[0]))) * noise(seed)


@pytest.mark.parametrize("pair", PAIRS)
@given(sigmas=sigma_grids(), seed=seeds, name=schedules, eta=st.floats(0.0, 1.0))
def test_they_are_one_method_under_two_names(pair, sigmas, seed, name, eta):
    schedule = SCHEDULES[name]
    x = start(schedule, sigmas, seed)
    model = as_prediction(schedule, bounded_denoiser, "epsilon")
    one, other = (
        make(schedule, eta).sample(model, x, sigmas=sigmas, rng=seed) for make in PAIRS[pair]
    )
    assert relative_error(one, other) < EXACT


@pytest.mark.slow
@pytest.mark.parametrize("pair", PAIRS)
@given(steps=st.integers(1, 60), seed=seeds, eta=st.floats(0.0, 1.0))
def test_they_are_one_method_on_the_default_grid_of_a_trained_schedule(pair, steps, seed, eta):
    one, other = (
        make(DISCRETE, eta).sample(bounded_denoiser, noise(seed), steps=steps, rng=seed)
        for make in PAIRS[pair]
    )
    assert relative_error(one, other) < EXACT
