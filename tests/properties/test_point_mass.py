"""Where the data is one point, a deterministic scheduler arrives there in any number of steps."""

import numpy as np
import pytest
from hypothesis import given, strategies as st

from kit import (
    ALL,
    DETERMINISTIC,
    NEED_SIGNAL,
    SCHEDULES,
    STOCHASTIC,
    predictions,
    relative_error,
    schedules,
    seeds,
    sigma_grids,
)
from schedulers.analytic import Gaussian


@given(
    name=st.sampled_from(sorted(DETERMINISTIC)),
    schedule=schedules,
    sigmas=sigma_grids(),
    prediction=predictions,
    seed=seeds,
)
def test_a_deterministic_run_is_exact_at_every_level(name, schedule, sigmas, prediction, seed):
    schedule = SCHEDULES[schedule]
    rng = np.random.default_rng(seed)
    point, noise = rng.normal(size=4), rng.normal(size=(2, 4))
    model = Gaussian(point, 0.0).denoiser(schedule, prediction)
    (first,) = schedule.levels(schedule.timestep(sigmas[:1]))
    scheduler = DETERMINISTIC[name](schedule, prediction_type=prediction)
    x = first.alpha * point + first.sigma * noise
    for state in scheduler.iterate(model, x, sigmas=sigmas):
        expected = state.level.alpha * point + state.level.sigma * noise
        assert relative_error(state.x, expected) < 1e-11
    if sigmas[-1] == 0.0:
        np.testing.assert_allclose(state.x, np.broadcast_to(point, (2, 4)), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("steps", [1, 2, 3, 4, 5, 10, 100, 1000])
@pytest.mark.parametrize("name", DETERMINISTIC)
def test_from_the_noisiest_training_level_in_any_number_of_steps(name, steps):
    schedule = SCHEDULES["stable_diffusion"]
    point = np.array([0.3, -1.2])
    scheduler = DETERMINISTIC[name](schedule)
    x = np.array([[3.0, -2.0], [0.1, 0.2]])
    got = scheduler.sample(Gaussian(point, 0.0).denoiser(schedule), x, steps=steps)
    np.testing.assert_allclose(got, [point, point], rtol=1e-11)


@pytest.mark.parametrize("name", sorted(set(ALL) - NEED_SIGNAL))
@pytest.mark.parametrize("schedule", ["flow", "cosine", "zero_snr"])
@pytest.mark.parametrize("prediction", ["sample", "v_prediction", "flow"])
@pytest.mark.parametrize("steps", [1, 2, 7])
def test_from_alpha_0_every_scheduler_that_can_arrives(name, schedule, prediction, steps):
    schedule = SCHEDULES[schedule]
    point = np.array([0.3, -1.2])
    scheduler = ALL[name](schedule, prediction_type=prediction)
    x = scheduler.initial_noise((5, 2), steps=steps, rng=0)
    assert scheduler.tableau(steps).levels[0].alpha == 0.0
    model = Gaussian(point, 0.0).denoiser(schedule, prediction)
    states = list(scheduler.iterate(model, x, steps, rng=1))
    assert all(np.isfinite(state.x).all() for state in states)
    np.testing.assert_allclose(states[-1].x, np.broadcast_to(point, (5, 2)), rtol=1e-10)


@pytest.mark.parametrize("name", STOCHASTIC)
def test_a_stochastic_run_that_ends_clean_arrives_too(name):
    schedule = SCHEDULES["discrete"]
    model = Gaussian(np.array([2.0, 5.0]), 0.0).denoiser(schedule)
    got = STOCHASTIC[name](schedule).sample(model, np.ones((3, 2)), steps=6, rng=0)
    np.testing.assert_allclose(got, np.tile([2.0, 5.0], (3, 1)), rtol=1e-12)
