"""The calls that users are promised, as they are written."""

import numpy as np
import pytest

from schedulers import (
    DDIM,
    DiscreteSchedule,
    FlowSchedule,
    VESchedule,
    VPSchedule,
    karras_sigmas,
    scaled_linear_betas,
)
from schedulers.analytic import Empirical, Gaussian, GaussianMixture

SHAPE = (2, 3, 4, 4)


@pytest.fixture
def schedule():
    return DiscreteSchedule(scaled_linear_betas(1000))


@pytest.fixture
def denoiser(schedule):
    means = np.random.default_rng(0).normal(size=(5, 3, 4, 4))
    data = GaussianMixture(means, std=0.1, weights=None)
    return data.denoiser(schedule, prediction_type="epsilon")


def test_a_scheduler_and_its_loops(schedule, denoiser):
    assert len(schedule.betas) == len(schedule.alphas_cumprod) == len(schedule.sigmas) == 1000
    assert schedule.alpha(0) > schedule.alpha(999)
    assert schedule.sigma(0) < schedule.sigma(999)
    scheduler = DDIM(schedule, eta=0.0, prediction_type="epsilon", spacing="trailing")

    x_T = scheduler.initial_noise(SHAPE, steps=50, rng=0)
    x_0 = scheduler.sample(denoiser, x_T, steps=50, rng=0)
    assert x_0.shape == SHAPE

    for state in scheduler.iterate(denoiser, x_T, steps=50, rng=0):
        assert state.x.shape == state.denoised.shape == SHAPE
        assert isinstance(state.t, int)
    np.testing.assert_array_equal(state.x, x_0)

    rng = np.random.default_rng(0)
    state = scheduler.init(x_T, steps=50)
    while not state.done:
        state = scheduler.step(denoiser, state, rng=rng)
    np.testing.assert_array_equal(state.x, x_0)

    state = scheduler.init(x_T, steps=50)
    while not state.done:
        output = denoiser(state.x, state.t)
        state = scheduler.update(output, state, rng=rng)
    np.testing.assert_array_equal(state.x, x_0)


def test_explicit_levels(schedule, denoiser):
    scheduler = DDIM(schedule)
    x_T = scheduler.initial_noise(SHAPE, sigmas=karras_sigmas(18, 0.03, 14.0), rng=0)
    assert scheduler.sample(denoiser, x_T, sigmas=karras_sigmas(18, 0.03, 14.0)).shape == SHAPE
    assert scheduler.sample(denoiser, x_T, timesteps=[999, 749, 499, 249]).shape == SHAPE
    assert len(karras_sigmas(18, 0.03, 14.0)) == 19
    assert karras_sigmas(18, 0.03, 14.0)[-1] == 0.0
    assert scheduler.tableau(steps=50).nfe == 50
    assert "DDIM: 50 steps" in str(scheduler.tableau(steps=50))


def test_the_model_gets_its_own_time_on_every_schedule():
    seen = {}
    for schedule in (VESchedule(), VPSchedule(), FlowSchedule()):
        scheduler = DDIM(schedule, prediction_type="v_prediction")
        times = []
        scheduler.sample(lambda x, t: times.append(t) or x, np.ones(2), sigmas=[1.0, 0.5, 0.0])  # noqa: B023
        seen[type(schedule).__name__] = times
    assert seen["VESchedule"] == [1.0, 0.5]  # sigma itself
    assert seen["FlowSchedule"] == pytest.approx([1 / 2, 1 / 3])
    assert all(0.0 < t < 1.0 for t in seen["VPSchedule"])


def test_exact_data(schedule):
    x = np.random.default_rng(0).normal(size=(4, 2))
    gaussian = Gaussian([1.0, 2.0], [[1.0, 0.2], [0.2, 0.5]])
    assert gaussian.flow(schedule, x, 999, 10).shape == x.shape
    for data in (gaussian, GaussianMixture(x, std=0.1), Empirical(x)):
        for prediction_type in ("epsilon", "sample", "v_prediction", "score", "flow"):
            model = data.denoiser(schedule, prediction_type=prediction_type)
            assert model(x, 500).shape == x.shape
