"""LCM and TCD: their papers' steps, and what they do with a model that is consistent."""

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, strategies as st

import schedulers as sc
from kit import DISCRETE, SCHEDULES, bounded_denoiser, relative_error, seeds
from schedulers.analytic import Gaussian

times = st.sets(st.integers(0, 999), min_size=1, max_size=6).map(lambda t: sorted(t)[::-1])


def start(seed):
    generator = np.random.default_rng(seed)
    return generator.standard_normal((3, 2)), generator


def scales(t):
    return (math.sqrt(DISCRETE.alphas_cumprod[t]), DISCRETE.sigma(t)) if t >= 0 else (1.0, 0.0)


@given(timesteps=times, seed=seeds, k=st.sampled_from([0.01, 1.0, 10.0]))
def test_lcm_is_algorithm_3_of_its_paper(timesteps, seed, k):
    x, generator = start(seed)
    for t, t_next in pairwise([*timesteps, -1]):
        (alpha, sigma), (alpha_next, sigma_next) = scales(t), scales(t_next)
        denoised = (x - sigma * bounded_denoiser(x, t)) / alpha
        c_skip = 0.5**2 / ((k * t) ** 2 + 0.5**2)
        c_out = k * t / math.sqrt((k * t) ** 2 + 0.5**2)
        x = alpha_next * (c_skip * x + c_out * denoised)
        if sigma_next:
            x = x + sigma_next * generator.standard_normal(x.shape)
    x_T, generator = start(seed)
    got = sc.LCM(DISCRETE, timestep_scaling=k).sample(
        bounded_denoiser, x_T, timesteps=timesteps, rng=generator
    )
    assert relative_error(got, x) < 1e-11


def test_at_time_0_the_scaled_model_is_the_sample_itself():
    row = sc.LCM(DISCRETE).tableau(timesteps=[0]).stages[0]
    assert (row.a, row.b) == ((row.level.alpha,), (row.level.sigma,))
    assert (row.c, row.ends_step) == (0.0, True)


def consistent(schedule, variance):
    """Return a model whose D is where the flow of N(0, variance) ends."""

    def model(x, t):
        alpha, sigma = schedule.alpha(t), schedule.sigma(t)
        return math.sqrt(variance / (alpha**2 * variance + sigma**2)) * x

    return model


@pytest.mark.parametrize("schedule", ["ve", "vp", "discrete", "flow", "zero_snr"])
@pytest.mark.parametrize("steps", [1, 2, 3, 7])
def test_with_an_exact_consistency_model_every_number_of_steps_is_exact(schedule, steps):
    # The output is linear in the draws, so that its variance is the sum of their squared gains.
    schedule, variance = SCHEDULES[schedule], 2.5
    scheduler = sc.LCM(schedule, prediction_type="sample", timestep_scaling=None)
    first = scheduler.tableau(steps).levels[0]
    scale = math.sqrt(first.alpha**2 * variance + first.sigma**2)
    gains = []
    for draw in range(steps):
        count = iter(range(1, steps))
        noise = lambda like: np.full_like(like, next(count) == draw)  # noqa: B023, E731
        x = np.array([scale if draw == 0 else 0.0])
        gains.append(scheduler.sample(consistent(schedule, variance), x, steps, rng=noise)[0])
    assert np.sum(np.square(gains)) == pytest.approx(variance, rel=1e-12)


@given(timesteps=times, seed=seeds, gamma=st.sampled_from([0.1, 0.5, 0.9]))
def test_tcd_is_the_step_of_its_paper(timesteps, seed, gamma):
    x, generator = start(seed)
    for t, t_next in pairwise([*timesteps, -1]):
        alpha, sigma = scales(t)
        e = bounded_denoiser(x, t)
        denoised = (x - sigma * e) / alpha
        if t_next < 0:
            x = denoised
            continue
        below = (1.0 - gamma) * t_next
        alpha_s, sigma_s = DISCRETE.alpha(below), DISCRETE.sigma(below)
        ratio = DISCRETE.alpha(t_next) / alpha_s
        x = ratio * (alpha_s * denoised + sigma_s * e)
        if t_next:
            x = x + math.sqrt(1.0 - ratio**2) * generator.standard_normal(x.shape)
    x_T, generator = start(seed)
    got = sc.TCD(DISCRETE, gamma=gamma).sample(
        bounded_denoiser, x_T, timesteps=timesteps, rng=generator
    )
    assert relative_error(got, x) < 1e-7


@pytest.mark.parametrize("schedule", ["ve", "vp", "flow", "cosine"])
def test_with_gamma_1_tcd_keeps_the_noise_of_time_0_alone(schedule):
    schedule = SCHEDULES[schedule]
    one = sc.TCD(schedule, gamma=1.0).tableau(sigmas=[8.0, 2.0, 0.5, 0.0])
    other = sc.LCM(schedule, timestep_scaling=None).tableau(sigmas=[8.0, 2.0, 0.5, 0.0])
    for mine, its in zip(one.stages, other.stages, strict=True):
        assert mine.a == its.a
        assert mine.b == pytest.approx(its.b, abs=1e-15)
        assert mine.c == pytest.approx(its.c, rel=1e-12)
    rows = sc.TCD(DISCRETE, gamma=1.0).tableau(timesteps=[900, 500]).stages
    assert rows[0].b[0] == pytest.approx(DISCRETE.alpha(500) * DISCRETE.sigmas[0])


@pytest.mark.parametrize("gamma", [0.0, 0.3, 1.0])
def test_they_can_begin_without_signal(gamma):
    data = Gaussian(3.0, 0.0)
    for scheduler in (
        sc.TCD(SCHEDULES["zero_snr"], prediction_type="v_prediction", gamma=gamma),
        sc.LCM(SCHEDULES["zero_snr"], prediction_type="v_prediction", timestep_scaling=None),
    ):
        x = scheduler.initial_noise((5,), 4, rng=0)
        denoiser = data.denoiser(SCHEDULES["zero_snr"], "v_prediction")
        np.testing.assert_allclose(scheduler.sample(denoiser, x, 4, rng=1), 3.0, rtol=1e-12)


@pytest.mark.parametrize(
    ("make", "options", "message"),
    [
        (sc.LCM, {"timestep_scaling": 0.0}, "timestep_scaling must be above 0"),
        (sc.LCM, {"sigma_data": -1.0}, "sigma_data must be above 0"),
        (sc.TCD, {"gamma": 1.5}, "gamma must be at least 0 and at most 1"),
    ],
)
def test_bad_options_are_refused(make, options, message):
    with pytest.raises(ValueError, match=message):
        make(DISCRETE, **options)
