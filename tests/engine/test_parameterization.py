import math

import numpy as np
import pytest
from hypothesis import given, strategies as st

import schedulers as sc
from kit import PREDICTIONS, as_prediction, bounded_denoiser
from schedulers.engine.parameterization import coefficients, predicted

scales = st.floats(1e-3, 1.0)
rng = np.random.default_rng(0)
D, E = rng.standard_normal((2, 5))


def to_output(prediction_type, denoised, noise, alpha, sigma):
    p, q = predicted(prediction_type, alpha, sigma)
    return p * denoised + q * noise


def to_denoised_and_noise(prediction_type, x, output, alpha, sigma):
    k = coefficients(prediction_type, alpha, sigma)
    return (
        k.denoised_x * x + k.denoised_output * output,
        k.noise_x * x + k.noise_output * output,
    )


def test_outputs_are_what_their_names_mean():
    alpha, sigma = 0.8, 0.6
    np.testing.assert_array_equal(to_output("epsilon", D, E, alpha, sigma), E)
    np.testing.assert_array_equal(to_output("sample", D, E, alpha, sigma), D)
    np.testing.assert_allclose(to_output("v_prediction", D, E, alpha, sigma), 0.8 * E - 0.6 * D)
    np.testing.assert_allclose(to_output("score", D, E, alpha, sigma), -E / 0.6)
    np.testing.assert_array_equal(to_output("flow", D, E, alpha, sigma), E - D)


def test_v_and_flow_are_the_velocities_of_their_paths():
    # v = dx/dphi on alpha = cos(phi), sigma = sin(phi); flow = dx/dt on alpha = 1 - t, sigma = t.
    phi, t, h = 0.7, 0.3, 1e-6
    x = [math.cos(p) * D + math.sin(p) * E for p in (phi - h, phi + h)]
    v = to_output("v_prediction", D, E, math.cos(phi), math.sin(phi))
    np.testing.assert_allclose((x[1] - x[0]) / (2 * h), v, atol=1e-9)
    x = [(1.0 - u) * D + u * E for u in (t - h, t + h)]
    flow = to_output("flow", D, E, 1.0 - t, t)
    np.testing.assert_allclose((x[1] - x[0]) / (2 * h), flow, atol=1e-9)


@pytest.mark.parametrize("prediction_type", PREDICTIONS)
@given(alpha=scales, sigma=scales)
def test_there_and_back_is_the_identity(prediction_type, alpha, sigma):
    x = alpha * D + sigma * E
    output = to_output(prediction_type, D, E, alpha, sigma)
    denoised, noise = to_denoised_and_noise(prediction_type, x, output, alpha, sigma)
    np.testing.assert_allclose(denoised, D, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(noise, E, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(alpha * denoised + sigma * noise, x, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("prediction_type", ["sample", "v_prediction", "flow"])
def test_where_alpha_is_0_x_is_the_noise_and_the_output_tells_the_data(prediction_type):
    output = to_output(prediction_type, D, E, 0.0, 1.0)
    denoised, noise = to_denoised_and_noise(prediction_type, E, output, 0.0, 1.0)
    np.testing.assert_allclose(denoised, D, rtol=1e-14, atol=1e-15)
    np.testing.assert_allclose(noise, E, rtol=1e-14)


@pytest.mark.parametrize("call", [coefficients, lambda p, a, s: to_output(p, D, E, a, s)])
def test_an_unknown_prediction_type_is_refused(call):
    with pytest.raises(ValueError, match="prediction_type must be one of 'epsilon', .*got 'eps'"):
        call("eps", 0.5, 0.5)


def test_noise_is_made_anew_by_default():
    assert sc.StaticThreshold().rederive_noise is True
    assert sc.DynamicThreshold().rederive_noise is True
    assert sc.DynamicThreshold(limit=1e-4).limit == 1e-4


def test_static_threshold_clips():
    d = np.array([-2.0, -0.5, 0.25, 7.0])
    np.testing.assert_array_equal(sc.StaticThreshold(0.5)(d), [-0.5, -0.5, 0.25, 0.5])
    np.testing.assert_array_equal(d, [-2.0, -0.5, 0.25, 7.0])


@given(
    quantile=st.floats(0.01, 1.0),
    limit=st.floats(0.1, 3.0),
    shape=st.sampled_from([(4,), (3, 7), (2, 3, 4), (1, 1), (0, 3), (3, 0), ()]),
)
def test_dynamic_threshold_is_imagens_sample_by_sample(quantile, limit, shape):
    d = np.asarray(np.random.default_rng(1).normal(0.0, 2.0, shape))
    got = sc.DynamicThreshold(quantile, limit)(d)
    assert got.shape == shape
    assert not np.shares_memory(got, d)
    for one, out in zip(np.atleast_1d(d), np.atleast_1d(got), strict=True):
        if one.size:
            s = max(float(np.quantile(np.abs(one), quantile)), limit)
            np.testing.assert_allclose(out, np.clip(one, -s, s) * limit / s, rtol=1e-12)


def test_dynamic_threshold_keeps_float32():
    d = np.linspace(-3.0, 3.0, 12, dtype=np.float32).reshape(2, 6)
    assert sc.DynamicThreshold(0.9)(d).dtype == np.float32


@pytest.mark.parametrize("prediction_type", PREDICTIONS)
@pytest.mark.parametrize("threshold", [sc.StaticThreshold, sc.DynamicThreshold])
@pytest.mark.parametrize("rederive", [True, False])
def test_a_thresholded_step_uses_the_new_d_and_the_noise_that_was_asked_for(
    prediction_type, threshold, rederive
):
    schedule = sc.VPSchedule()
    limit = threshold(limit=0.4, rederive_noise=rederive)
    scheduler = sc.DDIM(schedule, prediction_type=prediction_type, threshold=limit)
    x = np.random.default_rng(3).normal(size=(3, 8))
    (state, *_) = scheduler.iterate(
        as_prediction(schedule, bounded_denoiser, prediction_type), x, timesteps=[0.6, 0.3]
    )
    alpha, sigma = schedule.alpha(0.6), schedule.sigma(0.6)
    raw = bounded_denoiser(x / alpha, sigma / alpha)
    denoised = limit(raw)
    assert np.abs(raw).max() > 0.4
    noise = (x - alpha * (denoised if rederive else raw)) / sigma
    np.testing.assert_allclose(state.denoised, denoised, rtol=1e-12)
    expected = schedule.alpha(0.3) * denoised + schedule.sigma(0.3) * noise
    np.testing.assert_allclose(state.x, expected, rtol=1e-12)


@pytest.mark.parametrize("rederive", [True, False])
def test_the_history_holds_the_noise_of_the_thresholded_estimate(rederive):
    schedule, x = sc.VPSchedule(), np.random.default_rng(4).normal(size=(2, 6))
    limit = sc.StaticThreshold(0.4, rederive_noise=rederive)
    scheduler = sc.PLMS(schedule, order=2, weights="constant", threshold=limit)
    model = as_prediction(schedule, bounded_denoiser, "epsilon")
    got = scheduler.sample(model, x, timesteps=[0.7, 0.4])
    noises = []
    for t, t_next in [(0.7, 0.4), (0.4, 0.0)]:
        alpha, sigma = schedule.alpha(t), schedule.sigma(t)
        raw = model(x, t)
        d = limit((x - sigma * raw) / alpha)
        noises.insert(0, (x - alpha * d) / sigma if rederive else raw)
        s, s_next = sigma / alpha, schedule.karras_sigma(t_next)
        e = noises[0] if len(noises) == 1 else 1.5 * noises[0] - 0.5 * noises[1]
        now = noises[0]
        x = schedule.alpha(t_next) * (d + s * now + (s_next - s) * e)
    np.testing.assert_allclose(got, x, rtol=1e-12)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: sc.StaticThreshold(0.0), ValueError, "limit must be above 0 and finite, got 0.0"),
        (lambda: sc.StaticThreshold("1"), TypeError, "limit must be a real number, got '1'"),
        (
            lambda: sc.StaticThreshold(1.0, rederive_noise=1),
            TypeError,
            "rederive_noise must be True or False, got 1",
        ),
        (lambda: sc.DynamicThreshold(0.0), ValueError, "quantile must be above 0 and at most 1"),
        (lambda: sc.DynamicThreshold(1.1), ValueError, "quantile must be .* got 1.1"),
        (lambda: sc.DynamicThreshold(limit=0.0), ValueError, "limit must be above 0"),
        (lambda: sc.DynamicThreshold(limit=math.nan), ValueError, "limit must be .* got nan"),
        (lambda: sc.DynamicThreshold(rederive_noise=None), TypeError, "rederive_noise must be"),
    ],
)
def test_thresholds_check_their_parameters(call, error, message):
    with pytest.raises(error, match=message):
        call()
