"""From a sample to its noise, and back."""

import math

import numpy as np
import pytest
from hypothesis import assume, given, strategies as st

import schedulers as sc
from kit import (
    DETERMINISTIC,
    NEED_SIGNAL,
    PREDICTIONS,
    SCHEDULES,
    STOCHASTIC,
    as_prediction,
    deterministic,
    predictions,
    relative_error,
    schedules,
    seeds,
    sigma_grids,
)
from schedulers.analytic import Gaussian, GaussianMixture

GAUSSIAN = Gaussian([1.0, -0.5], [[1.0, 0.6], [0.6, 2.0]])
MIXTURE = GaussianMixture([[1.0, -2.0], [-1.5, 0.5]], std=0.5)
X_0 = np.array([[0.5, -1.0], [2.0, 1.0], [-1.0, 0.0]])
ORDERS = {"DDIM": 1, "Euler": 1, "EulerAncestral0": 1, "Heun": 2, "PLMS4-runge_kutta": 4}
# There and back, the leading errors of a method of even order cancel.
ROUND_TRIPS = {"DDIM": 1, "Euler": 1, "Heun": 3, "PLMS2-heun": 3}


def slope(errors):
    return math.log2(errors[0] / errors[1])


@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize("method", ORDERS)
def test_inversion_converges_to_the_exact_flow_at_the_schedulers_order(name, method):
    schedule = SCHEDULES[name]
    scheduler = DETERMINISTIC[method](schedule)
    model, errors = GAUSSIAN.denoiser(schedule), []
    for steps in (100, 200):
        sigmas = np.linspace(1.5, 1.0, steps + 1)
        high, low = schedule.timestep(sigmas[[0, -1]])
        x = schedule.alpha(low) * X_0
        exact = GAUSSIAN.flow(schedule, x, low, high)
        errors.append(np.abs(scheduler.invert(model, x, sigmas=sigmas) - exact).max())
    assert slope(errors) == pytest.approx(ORDERS[method], abs=0.1)


@pytest.mark.parametrize("method", ROUND_TRIPS)
@pytest.mark.parametrize("data", [GAUSSIAN, MIXTURE], ids=["gaussian", "mixture"])
def test_the_round_trip_falls_at_the_schedulers_order(method, data):
    schedule = SCHEDULES["vp"]
    scheduler = DETERMINISTIC[method](schedule)
    model, errors = data.denoiser(schedule), []
    for steps in (200, 400):
        sigmas = np.linspace(6.0, 0.5, steps + 1)
        x = schedule.alpha(schedule.timestep(0.5)) * X_0
        x_T = scheduler.invert(model, x, sigmas=sigmas)
        errors.append(np.abs(scheduler.sample(model, x_T, sigmas=sigmas) - x).max())
    assert slope(errors) == pytest.approx(ROUND_TRIPS[method], abs=0.2)


@pytest.mark.parametrize(("method", "order"), [("DDIM", 1), ("Heun", 2)])
@pytest.mark.parametrize("name", ["discrete", "vp"])
def test_the_round_trip_from_clean_data_falls_with_the_steps(method, order, name):
    schedule = SCHEDULES[name]
    scheduler = DETERMINISTIC[method](schedule)
    model, errors = GAUSSIAN.denoiser(schedule), []
    for steps in (50, 100):
        x_T = scheduler.invert(model, X_0, steps)
        errors.append(np.abs(scheduler.sample(model, x_T, steps) - X_0).max())
    assert slope(errors) > order - 0.1


@given(deterministic, schedules, predictions, sigma_grids(clean=False), seeds)
def test_on_a_point_mass_the_round_trip_is_exact(method, name, prediction, sigmas, seed):
    # The flow's lines are straight there, x / alpha = m + s e, and every method follows a line.
    schedule = SCHEDULES[name]
    rng = np.random.default_rng(seed)
    point, e = rng.normal(size=(2, 4))
    model = as_prediction(schedule, lambda y, s: np.broadcast_to(point, y.shape), prediction)
    high, low = schedule.levels(schedule.timestep(sigmas[[0, -1]]))
    x_0 = low.alpha * point + low.sigma * e
    scheduler = DETERMINISTIC[method](schedule, prediction_type=prediction)
    x_T = scheduler.invert(model, x_0, sigmas=sigmas)
    assert relative_error(x_T, high.alpha * point + high.sigma * e) < 1e-9
    assert relative_error(scheduler.sample(model, x_T, sigmas=sigmas), x_0) < 1e-8


@given(deterministic, schedules, schedules, predictions, predictions, sigma_grids())
def test_in_karras_terms_every_schedule_and_prediction_is_inverted_alike(
    method, one, other, prediction, other_prediction, sigmas
):
    def inverted(name, prediction):
        schedule = SCHEDULES[name]
        scheduler = DETERMINISTIC[method](schedule, prediction_type=prediction)
        model = as_prediction(schedule, lambda y, s: np.tanh(y) / (1.0 + s), prediction)
        low = 1.0 if sigmas[-1] == 0.0 else schedule.alpha(schedule.timestep(sigmas[-1]))
        x_T = scheduler.invert(model, low * X_0, sigmas=sigmas)
        return x_T / schedule.alpha(schedule.timestep(sigmas[0]))

    assert relative_error(inverted(one, prediction), inverted(other, other_prediction)) < 1e-8


@pytest.mark.slow
@pytest.mark.parametrize("method", DETERMINISTIC)
@given(schedules, sigma_grids(clean=True))
def test_from_the_clean_level_the_noise_is_that_of_the_first_level(method, name, sigmas):
    schedule, asked = SCHEDULES[name], []
    exact = MIXTURE.denoiser(schedule)

    def model(x, t):
        asked.append((np.array(x), t))
        return exact(x, t)

    scheduler = DETERMINISTIC[method](schedule)
    x = scheduler.invert(model, X_0, sigmas=sigmas[-2:])
    (level,) = schedule.levels([schedule.timestep(sigmas[-2])])
    (seen, t), *more = asked
    assert not more
    assert t == level.t
    assert relative_error(seen, level.alpha * X_0) < 1e-14
    assert relative_error(x, level.alpha * X_0 + level.sigma * exact(seen, t)) < 1e-13


def test_the_model_is_asked_at_the_levels_of_sample_in_rising_order():
    scheduler, times = sc.DDIM(SCHEDULES["discrete"]), []

    def model(x, t):
        times.append(t)
        return np.zeros_like(x)

    scheduler.invert(model, X_0, steps=5)
    assert times == [199, 199, 399, 599, 799]
    times.clear()
    scheduler.invert(model, X_0, timesteps=[900, 500, 20])
    assert times == [20, 20, 500]


@pytest.mark.slow
@pytest.mark.parametrize("method", sorted(set(DETERMINISTIC) - NEED_SIGNAL))
@pytest.mark.parametrize("name", ["zero_snr", "flow"])
def test_up_to_no_signal_there_is_the_noise_alone(method, name):
    schedule = SCHEDULES[name]
    scheduler = DETERMINISTIC[method](schedule, prediction_type="v_prediction")
    model = GAUSSIAN.denoiser(schedule, "v_prediction")
    errors = []
    for steps in (100, 200):
        x_T = scheduler.invert(model, X_0, steps)
        errors.append(np.abs(scheduler.sample(model, x_T, steps) - X_0).max())
    assert slope(errors) > 0.8
    with pytest.raises(ValueError, match="steps must be at least 2"):
        scheduler.invert(model, X_0, steps=1)


@pytest.mark.parametrize("method", STOCHASTIC)
def test_what_adds_noise_is_refused(method):
    scheduler = STOCHASTIC[method](SCHEDULES["ve"])
    with pytest.raises(ValueError, match="only a run along the probability flow"):
        scheduler.invert(lambda x, t: x, X_0, sigmas=[6.0, 3.0, 1.0, 0.0])


@pytest.mark.parametrize(
    "scheduler",
    [
        sc.EulerAncestral(SCHEDULES["ve"], s_noise=0.0),
        sc.Euler(SCHEDULES["ve"], s_churn=3.0, s_noise=0.0),
        sc.Euler(SCHEDULES["ve"], s_churn=3.0, s_tmin=3.5, s_noise=0.0),
    ],
)
def test_what_makes_room_for_noise_is_refused_even_where_it_adds_none(scheduler):
    with pytest.raises(ValueError, match="only a run along the probability flow"):
        scheduler.invert(lambda x, t: x, X_0, sigmas=[4.0, 3.0, 1.0])


@given(st.sampled_from([np.float16, np.float32, np.float64]), predictions, deterministic)
def test_dtype_shape_and_the_callers_array_are_kept(dtype, prediction, method):
    assume(dtype != np.float16 or prediction != "score")
    schedule = SCHEDULES["vp"]
    x_0 = np.array(X_0, dtype)
    kept = x_0.copy()
    model = GAUSSIAN.denoiser(schedule, prediction)
    scheduler = DETERMINISTIC[method](schedule, prediction_type=prediction)
    sigmas = [6.0, 3.0, 1.0, 0.3]
    x_T = scheduler.invert(lambda x, t: model(x, t).astype(x.dtype), x_0, sigmas=sigmas)
    assert x_T.dtype == dtype
    assert x_T.shape == x_0.shape
    np.testing.assert_array_equal(x_0, kept)
    exact = scheduler.invert(model, X_0, sigmas=sigmas)
    assert relative_error(x_T.astype(float), exact) < 60 * np.finfo(dtype).eps


@pytest.mark.parametrize("prediction", PREDICTIONS)
def test_each_prediction_gives_the_same_from_clean_data(prediction):
    schedule = SCHEDULES["stable_diffusion"]
    scheduler = sc.DDIM(schedule, prediction_type=prediction)
    x_T = scheduler.invert(MIXTURE.denoiser(schedule, prediction), X_0, steps=20)
    expected = sc.DDIM(schedule).invert(MIXTURE.denoiser(schedule), X_0, steps=20)
    assert relative_error(x_T, expected) < 1e-11


def test_bad_arguments_are_named():
    scheduler = sc.DDIM(SCHEDULES["vp"])
    with pytest.raises(TypeError, match="denoiser must be a callable"):
        scheduler.invert(None, X_0, steps=5)
    with pytest.raises(TypeError, match="x_0 must be an array of floats"):
        scheduler.invert(lambda x, t: x, [1.0], steps=5)
    with pytest.raises(ValueError, match="x_0 must be finite"):
        scheduler.invert(lambda x, t: x, np.array([np.nan]), steps=5)
    with pytest.raises(ValueError, match="exactly one of steps, timesteps and sigmas"):
        scheduler.invert(lambda x, t: x, X_0)
    with pytest.raises(ValueError, match=r"the model's output at t=0\.2 must have shape"):
        scheduler.invert(lambda x, t: x[0], X_0, steps=5)
