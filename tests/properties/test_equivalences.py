"""Different schedulers that are one method, and one scheduler in different coordinates."""

import numpy as np
import pytest
from hypothesis import given, strategies as st

import schedulers as sc
from kit import (
    ALL,
    DISCRETE,
    NEED_SIGNAL,
    SCHEDULES,
    as_prediction,
    bounded_denoiser,
    names,
    predictions,
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


@pytest.mark.parametrize("pair", PAIRS)
@given(steps=st.integers(1, 60), seed=seeds, eta=st.floats(0.0, 1.0))
def test_they_are_one_method_on_the_default_grid_of_a_trained_schedule(pair, steps, seed, eta):
    one, other = (
        make(DISCRETE, eta).sample(bounded_denoiser, noise(seed), steps=steps, rng=seed)
        for make in PAIRS[pair]
    )
    assert relative_error(one, other) < EXACT


@given(sigmas=sigma_grids(), seed=seeds, name=names, schedule=schedules, prediction=predictions)
def test_the_parameterization_does_not_matter(sigmas, seed, name, schedule, prediction):
    schedule = SCHEDULES[schedule]
    x = start(schedule, sigmas, seed)
    got, expected = (
        ALL[name](schedule, prediction_type=p).sample(
            as_prediction(schedule, bounded_denoiser, p), x, sigmas=sigmas, rng=seed
        )
        for p in (prediction, "sample")
    )
    assert relative_error(got, expected) < EXACT


@pytest.mark.parametrize("name", sorted(set(ALL) - {"DDIM-sigma"}))
@given(sigmas=sigma_grids(), seed=seeds, schedule=schedules, prediction=predictions)
def test_a_model_and_its_ve_equivalent_give_the_same_samples_up_to_alpha(
    name, sigmas, seed, schedule, prediction
):
    # sigma= are standard deviations in one schedule's own coordinates.
    schedule, ve = SCHEDULES[schedule], sc.VESchedule()
    x = sigmas[0] * noise(seed)
    alpha = schedule.alpha(schedule.timestep(float(sigmas[0])))
    alpha_end = schedule.alpha(schedule.timestep(float(sigmas[-1]))) if sigmas[-1] else 1.0
    got = ALL[name](schedule, prediction_type=prediction).sample(
        as_prediction(schedule, bounded_denoiser, prediction), alpha * x, sigmas=sigmas, rng=seed
    )
    expected = ALL[name](ve, prediction_type="sample").sample(
        bounded_denoiser, x, sigmas=sigmas, rng=seed
    )
    assert relative_error(got / alpha_end, expected) < EXACT


@given(times=st.sets(st.integers(0, 999), min_size=1, max_size=12), seed=seeds, name=names)
def test_timesteps_and_their_sigmas_are_one_grid(times, seed, name):
    times = sorted(times, reverse=True)
    scheduler = ALL[name](DISCRETE)
    sigmas = np.append(DISCRETE.sigmas[times], 0.0)
    assert scheduler.tableau(timesteps=times) == scheduler.tableau(sigmas=sigmas)


@pytest.mark.parametrize("prediction", ["v_prediction", "flow"])
@pytest.mark.parametrize("name", sorted(set(ALL) - NEED_SIGNAL))
def test_at_alpha_0_too_the_parameterization_does_not_matter(name, prediction):
    schedule = SCHEDULES["flow"]
    x = noise(3)

    def model(prediction_type):
        def output(x, t):
            alpha, sigma = 1.0 - t, t
            denoised = np.tanh(x)
            e = (x - alpha * denoised) / sigma
            v = alpha * e - sigma * denoised
            return {"sample": denoised, "v_prediction": v, "flow": e - denoised}[prediction_type]

        return output

    got, expected = (
        ALL[name](schedule, prediction_type=p).sample(model(p), x, steps=7, rng=1)
        for p in (prediction, "sample")
    )
    assert relative_error(got, expected) < EXACT
