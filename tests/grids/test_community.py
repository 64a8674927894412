import math

import numpy as np
import pytest
from hypothesis import given, strategies as st
from scipy.stats import beta as beta_distribution

import schedulers as sc
from kit import DISCRETE, SCHEDULES, STABLE_DIFFUSION
from schedulers import grids
from schedulers.analysis import output_law, wasserstein2
from schedulers.analytic import Gaussian

NAMES = ["simple", "normal", "sgm_uniform", "ddim_uniform", "beta_times"]
CONTINUOUS = ["vp", "ve", "flow", "cosine"]


@pytest.mark.parametrize("steps", [1, 2, 3, 7, 9, 27, 300, 640, 999])
def test_the_grids_of_training_levels_follow_their_formulas(steps):
    i = range(steps)
    simple = [999 - math.floor(k * 1000 / steps) for k in i]
    np.testing.assert_array_equal(grids.simple(DISCRETE, steps), simple)
    uniform = [1 + k * (1000 // steps) for k in reversed(i)]
    np.testing.assert_array_equal(grids.ddim_uniform(DISCRETE, steps), uniform)
    sgm = [999 * (1 - k / steps) for k in i]
    np.testing.assert_allclose(grids.sgm_uniform(DISCRETE, steps), sgm, rtol=1e-13)
    normal = [999 * (1 - k / max(steps - 1, 1)) for k in i]
    np.testing.assert_allclose(grids.normal(DISCRETE, steps), normal, rtol=1e-13, atol=1e-12)


def test_known_times():
    # Lin et al. 2024, Table 2, "leading", for 10 steps of 1000: 901 ... 1 of 1000, and one more.
    assert grids.ddim_uniform(DISCRETE, 10).tolist() == list(range(901, 0, -100))
    assert grids.simple(DISCRETE, 10).tolist() == list(range(999, 0, -100))
    assert grids.sgm_uniform(DISCRETE, 9).tolist() == list(range(999, 0, -111))
    assert grids.normal(DISCRETE, 10).tolist() == list(range(999, -1, -111))


@pytest.mark.parametrize("steps", [1, 2, 4, 5, 10, 20, 50, 100, 500, 1000])
def test_simple_and_trailing_agree_where_the_steps_divide_the_levels(steps):
    np.testing.assert_array_equal(grids.simple(DISCRETE, steps), grids.trailing(DISCRETE, steps))


@given(steps=st.integers(1, 300))
def test_sgm_uniform_is_normal_of_one_more_step_without_its_last(steps):
    for name in ("discrete", *CONTINUOUS):
        more = grids.normal(SCHEDULES[name], steps + 1)[:-1]
        np.testing.assert_allclose(grids.sgm_uniform(SCHEDULES[name], steps), more, rtol=1e-14)


@pytest.mark.parametrize("name", CONTINUOUS)
@given(steps=st.integers(1, 300))
def test_where_time_is_continuous_they_are_grids_that_there_are(name, steps):
    schedule = SCHEDULES[name]
    np.testing.assert_array_equal(grids.simple(schedule, steps), grids.trailing(schedule, steps))
    np.testing.assert_array_equal(
        grids.ddim_uniform(schedule, steps), grids.leading(schedule, steps)
    )
    np.testing.assert_allclose(
        grids.normal(schedule, steps), grids.linspace(schedule, steps), rtol=1e-13
    )


@pytest.mark.parametrize("name", CONTINUOUS)
@pytest.mark.parametrize("spacing", NAMES)
@given(steps=st.integers(1, 400))
def test_they_fall_and_stay_between_the_ends(name, spacing, steps):
    schedule = SCHEDULES[name]
    times = grids.SPACINGS[spacing](schedule, steps)
    assert times.shape == (steps,)
    assert times.dtype == np.float64
    assert np.all(np.diff(times) < 0.0)
    assert times[-1] > 0.0
    assert times[0] == schedule.t_max or (spacing == "ddim_uniform" and times[0] < schedule.t_max)


@pytest.mark.parametrize(("alpha", "beta"), [(0.6, 0.6), (1.0, 1.0), (2.0, 0.5)])
@pytest.mark.parametrize("steps", [1, 2, 5, 20])
def test_beta_times_are_quantiles_of_time(alpha, beta, steps):
    u = 1.0 - np.arange(steps) / steps
    quantiles = beta_distribution.ppf(u, alpha, beta)
    times = grids.beta_times(DISCRETE, steps, alpha=alpha, beta=beta)
    assert times[0] == 999.0
    # Rounded, and moved by one at most for a neighbour's sake.
    assert np.all(np.abs(times - 999.0 * quantiles) <= 1.5)
    np.testing.assert_allclose(
        grids.beta_times(sc.FlowSchedule(), steps, alpha=alpha, beta=beta),
        1e-3 + 0.999 * quantiles,
        rtol=1e-9,
    )


def test_beta_times_without_repeats_are_rounded_and_uniform_is_trailing():
    quantiles = beta_distribution.ppf(np.arange(12, 0, -1) / 12, 0.6, 0.6)
    np.testing.assert_array_equal(grids.beta_times(DISCRETE, 12), np.rint(999 * quantiles))
    u = np.arange(12, 0, -1) / 12
    np.testing.assert_array_equal(
        grids.beta_times(DISCRETE, 12, alpha=1.0, beta=1.0), np.rint(999 * u)
    )


def test_beta_times_and_beta_are_two_grids():
    # By time the noisy half of Stable Diffusion's levels has half of the steps; by sigma, from 14.6
    # to 0.03, levels above 7.3 do.
    by_time = STABLE_DIFFUSION.karras_sigma(grids.beta_times(STABLE_DIFFUSION, 20))
    by_sigma = STABLE_DIFFUSION.karras_sigma(grids.SPACINGS["beta"](STABLE_DIFFUSION, 20))
    assert np.sum(by_time > 7.3) < 6
    assert np.sum(by_sigma > 7.3) == 10


@given(n=st.integers(1, 400), data=st.data())
def test_beta_times_are_distinct_indices_for_any_number_of_steps(n, data):
    schedule = sc.DiscreteSchedule(sc.linear_betas(n))
    steps = data.draw(st.integers(1, n), label="steps")
    a, b = data.draw(st.floats(0.05, 5.0)), data.draw(st.floats(0.05, 5.0))
    times = grids.beta_times(schedule, steps, alpha=a, beta=b)
    assert times.shape == (steps,)
    assert np.all(np.diff(times) <= -1.0)
    assert times[0] == n - 1
    assert times[-1] >= 0.0
    np.testing.assert_array_equal(times, np.rint(times))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: grids.ddim_uniform(DISCRETE, 1000),
            "steps must be at most 999, as the first of 1000 .* got 1000",
        ),
        (lambda: grids.simple(DISCRETE, 1001), "steps must be at most 1000, .* got 1001"),
        (lambda: grids.normal(DISCRETE, 1001), "steps must be at most 1000, .* got 1001"),
        (lambda: grids.sgm_uniform(DISCRETE, 1001), "steps must be at most 1000, .* got 1001"),
        (lambda: grids.beta_times(DISCRETE, 5, alpha=0.0), "alpha must be above 0 .*got 0.0"),
        (lambda: grids.beta_times(DISCRETE, 5, beta=-1.0), "beta must be above 0 .*got -1.0"),
    ],
)
def test_arguments_are_checked(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize("spacing", NAMES)
@pytest.mark.parametrize("name", ["discrete", "stable_diffusion", "vp", "flow"])
@pytest.mark.parametrize("make", [sc.Euler, sc.DDIM])
def test_runs_come_nearer_to_the_data_with_every_doubling_of_the_steps(spacing, name, make):
    data = Gaussian(np.array([1.0, -0.5]), np.array([1.0, 0.04]))
    scheduler = make(SCHEDULES[name], prediction_type="v_prediction", spacing=spacing)
    errors = [
        wasserstein2(output_law(scheduler, data, steps=n, initial="marginal"), data)
        for n in (8, 16, 32, 64, 128)
    ]
    assert np.all(np.diff(errors) < 0.0)
    assert errors[-1] < 0.06
