"""What makes a denoiser of a network, exact where the network is."""

import math
import pickle

import numpy as np
import pytest
from hypothesis import given, strategies as st

import schedulers as sc
from kit import DISCRETE, PREDICTIONS, SCHEDULES, relative_error, schedules
from schedulers.analytic import Gaussian, GaussianMixture
from schedulers.compat.k_diffusion import sample_heun
from schedulers.denoisers import (
    EDM,
    VE,
    Guided,
    GuidedBatch,
    Preconditioned,
    ReversedFlow,
    Trained,
    per_sample,
)

DATA = GaussianMixture([[1.0, -2.0], [-1.5, 0.5]], std=0.4)
DENOISED = DATA.denoiser(sc.VESchedule(), prediction_type="sample")
sigmas = st.floats(1e-3, 1e3)


def edm_network(sigma_data):
    """Invert eq. 7 with Table 1's last column, for the exact denoiser of DATA."""

    def network(x, c_noise):
        s = math.exp(4.0 * c_noise[0])
        norm = math.sqrt(s**2 + sigma_data**2)
        y = x * norm
        c_skip, c_out = sigma_data**2 / norm**2, s * sigma_data / norm
        return (DENOISED(y, s) - c_skip * y) / c_out

    return network


def ve_network(x, c_noise):
    """Invert eq. 7 with Table 1's second column."""
    s = 2.0 * math.exp(c_noise[0])
    return (DENOISED(x, s) - x) / s


@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize("prediction", PREDICTIONS)
def test_an_exact_network_gives_exact_samples_on_every_schedule(name, prediction):
    schedule = SCHEDULES[name]
    scheduler = sc.DDIM(schedule, prediction_type="sample")
    levels = sc.karras_sigmas(12, 0.05, min(40.0, 0.99 * schedule.max_karras_sigma))
    x = scheduler.initial_noise((5, 2), sigmas=levels, rng=0)
    exact = scheduler.sample(DATA.denoiser(schedule, "sample"), x, sigmas=levels)
    trained_on = sc.VPSchedule()
    output = DATA.denoiser(trained_on, prediction)
    made = [
        Preconditioned(edm_network(0.5), EDM(sigma_data=0.5), schedule),
        Preconditioned(edm_network(1.7), EDM(sigma_data=1.7), schedule),
        Preconditioned(ve_network, VE(), schedule),
        Preconditioned(
            lambda x, t: output(x, float(t[0])), Trained(trained_on, prediction), schedule
        ),
    ]
    for denoiser in made:
        assert relative_error(scheduler.sample(denoiser, x, sigmas=levels), exact) < 1e-9


@given(sigma=sigmas, sigma_data=st.floats(0.05, 20.0))
def test_edms_scales_are_those_that_the_paper_derives(sigma, sigma_data):
    # Appendix B.6: unit variance of what goes in and of the training target, and of all such scales
    # those for which c_out, the network's errors' factor, is smallest.
    s2, d2 = sigma**2, sigma_data**2
    c = EDM(sigma_data)(sigma)

    def c_out2(c_skip):
        return (1.0 - c_skip) ** 2 * d2 + c_skip**2 * s2

    assert c.c_in**2 * (s2 + d2) == pytest.approx(1.0)
    assert c.c_out**2 == pytest.approx(c_out2(c.c_skip))
    assert all(c_out2(c.c_skip + step) > c_out2(c.c_skip) for step in (-1e-3, 1e-3))
    assert c.c_noise == math.log(sigma) / 4.0


@given(sigma=st.floats(0.02, 150.0))
def test_an_epsilon_network_has_table_1s_vp_column(sigma):
    c = Trained(sc.VPSchedule(), "epsilon")(sigma)
    beta_d, beta_min = 19.9, 0.1  # the table's inverse of sigma(t), in its own words
    t = (math.sqrt(beta_min**2 + 2.0 * beta_d * math.log1p(sigma**2)) - beta_min) / beta_d
    assert c == pytest.approx((1.0, -sigma, 1.0 / math.sqrt(sigma**2 + 1.0), t), rel=1e-9)


@given(name=schedules, scale=st.floats(-2.0, 8.0), mean=st.floats(-2.0, 2.0))
def test_guidance_is_the_same_for_whatever_is_predicted(name, scale, mean):
    schedule = SCHEDULES[name]
    t = schedule.timestep(0.8)
    one, other = Gaussian([1.0, 0.0], [0.5, 2.0]), Gaussian([mean, 1.0], 1.0)
    x = np.array([[0.3, -1.2]])
    steps = []
    for prediction in PREDICTIONS:
        guided = Guided(
            one.denoiser(schedule, prediction), other.denoiser(schedule, prediction), scale
        )
        scheduler = sc.Euler(schedule, prediction_type=prediction)
        steps.append(scheduler.sample(guided, x, timesteps=[t]))
    for step in steps:
        np.testing.assert_allclose(step, steps[0], rtol=1e-9, atol=1e-9)


def test_guidance_is_eq_6():
    w, calls = 1.5, []

    def part(value):
        return lambda x, t: calls.append(value) or value * x

    x = np.array([2.0, -1.0])
    guided = Guided(part(3.0), part(-0.5), scale=1.0 + w)
    np.testing.assert_allclose(guided(x, 0.5), (1 + w) * 3.0 * x - w * -0.5 * x)
    assert calls == [3.0, -0.5]
    for scale, value in ((1.0, 3.0), (0.0, -0.5)):
        calls.clear()
        np.testing.assert_array_equal(Guided(part(3.0), part(-0.5), scale)(x, 0.5), value * x)
        assert calls == [value]


@given(scale=st.floats(-3.0, 10.0))
def test_guidance_in_one_call_is_that_of_two(scale):
    x = np.random.default_rng(0).standard_normal((3, 2))
    labels = np.array([[1.0], [2.0], [3.0]])

    def network(x, t, label):
        return np.tanh(x + t) * label

    both = np.concatenate([0.0 * labels, labels])
    once = GuidedBatch(lambda x, t: network(x, t, both), scale)
    twice = Guided(lambda x, t: network(x, t, labels), lambda x, t: network(x, t, 0.0), scale)
    np.testing.assert_allclose(once(x, 0.3), twice(x, 0.3), rtol=1e-12, atol=1e-12)


def test_a_flow_the_other_way_round_is_the_same_flow():
    """Lipman et al. 2023: noise at 0, data at 1, and the velocity x_0 - eps."""
    data, schedule = Gaussian(0.4, 0.3), sc.FlowSchedule()
    flow = data.denoiser(schedule, prediction_type="flow")
    asked = []

    def theirs(x, t):
        asked.append(t)
        return -flow(x, 1.0 - t)

    scheduler = sc.DDIM(schedule, prediction_type="flow")
    x_T = np.random.default_rng(0).standard_normal((50, 1))
    found = scheduler.sample(ReversedFlow(theirs), x_T, steps=4)
    np.testing.assert_allclose(found, scheduler.sample(flow, x_T, steps=4), rtol=1e-12)
    assert asked == [0.0, 0.25, 0.5, 0.75]


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_wrapped_networks_keep_the_dtype(dtype):
    x, seen = np.ones((3, 2), dtype), []

    def network(x, c_noise):
        seen.append((x.dtype, c_noise.dtype, c_noise.shape))
        return 0.1 * x

    denoiser = Preconditioned(network, EDM())
    assert Guided(denoiser, denoiser, 3.0)(x, 2.0).dtype == x.dtype
    assert set(seen) == {(x.dtype, x.dtype, (3,))}


def test_times_are_vectors_of_the_dtype_asked_for():
    x = np.zeros((2, 1, 8, 8), np.float32)
    for t, dtype in ((999, None), (999, np.int64), (0.25, np.float64)):
        times = per_sample(t, x, dtype)
        assert times.dtype == (np.float32 if dtype is None else dtype)
        assert times.tolist() == [t, t]
    assert per_sample(1.0, np.zeros((0, 3))).shape == (0,)


def test_a_preconditioned_network_is_a_model_for_k_diffusions_samplers():
    denoiser, x = Preconditioned(edm_network(0.5), EDM(0.5)), 10.0 * np.ones((3, 2))
    levels = sc.karras_sigmas(8, 0.1, 10.0)
    exact = sc.Heun(sc.VESchedule(), prediction_type="sample").sample(DENOISED, x, sigmas=levels)
    assert relative_error(sample_heun(denoiser, x, levels), exact) < 1e-9


def network(x, c_noise):
    return 0.1 * x


def test_wrappers_are_values():
    denoiser = Preconditioned(network, EDM(), DISCRETE)
    assert pickle.loads(pickle.dumps(EDM(0.7))) == EDM(0.7)
    again = pickle.loads(pickle.dumps(Guided(denoiser, denoiser, 2.0)))
    x = np.ones((1, 2))
    np.testing.assert_array_equal(again(x, 500), Guided(denoiser, denoiser, 2.0)(x, 500))


X = np.ones((2, 3))
BAD = [
    (lambda: per_sample(1.0, 3.0), TypeError, "x must be an array, got 3.0"),
    (lambda: per_sample(1.0, np.array(3.0)), ValueError, "x must have its samples along axis 0"),
    (lambda: per_sample(0.5, X, np.int64), ValueError, "t must be a whole number for dtype"),
    (lambda: per_sample(0.5, np.ones((2, 3), int)), ValueError, "t must be a whole number for"),
    (lambda: EDM()(0.0), ValueError, "sigma must be above 0"),
    (lambda: VE()(-1.0), ValueError, "sigma must be above 0"),
    (lambda: per_sample(0.5, memoryview(X)), TypeError, "x must be an array of NumPy, PyTorch"),
    (lambda: EDM(0.0), ValueError, "sigma_data must be above 0"),
    (lambda: EDM("a"), TypeError, "sigma_data must be a real number"),
    (lambda: Trained(3), TypeError, "schedule must be a NoiseSchedule, got 3"),
    (lambda: Trained(DISCRETE, "eps"), ValueError, "prediction_type must be one of"),
    (lambda: Guided(network, 3, 1.0), TypeError, "unconditional must be a callable"),
    (lambda: Guided(network, network, math.nan), ValueError, "scale must be"),
    (lambda: Guided(network, lambda x, t: x[:1], 2.0)(X, 1.0), ValueError, "unconditional output"),
    (lambda: Preconditioned(3, EDM()), TypeError, "network must be a callable"),
    (lambda: Preconditioned(network, 0.5), TypeError, "scales must be a callable"),
    (lambda: Preconditioned(network, EDM(), "ve"), TypeError, "schedule must be a NoiseSchedule"),
    (lambda: Preconditioned(network, EDM())(X, 0.0), ValueError, "t must be a time with alpha and"),
    (
        lambda: Preconditioned(network, EDM(), sc.FlowSchedule())(X, 1.0),
        ValueError,
        "t must be a time with alpha and sigma above 0, got 1.0 with alpha = 0",
    ),
    (
        lambda: Preconditioned(network, EDM())(X, np.array([1.0, 2.0])),
        ValueError,
        r"t must be one time, or the same time for every sample, got \[1.0, 2.0\]",
    ),
    (
        lambda: Preconditioned(network, EDM)(X, 1.0),
        TypeError,
        "scales must return c_skip, c_out, c_in, c_noise for a sigma, as EDM",
    ),
    (
        lambda: Preconditioned(lambda x, c: [x], EDM())(X, 1.0),
        ValueError,
        r"the network's output must have shape \(2, 3\), got \[array",
    ),
    (
        lambda: Preconditioned(network, Trained(DISCRETE))(X, 500.0),
        ValueError,
        "sigma must be finite and lie in",
    ),
]


BAD += [
    (lambda: GuidedBatch(3, 1.0), TypeError, "network must be a callable"),
    (lambda: GuidedBatch(network, "a"), TypeError, "scale must be a real number"),
    (lambda: GuidedBatch(network, 2.0)(np.array(1.0), 1.0), ValueError, "samples along axis 0"),
    (lambda: GuidedBatch(lambda x, t: x[:2], 2.0)(X, 1.0), ValueError, r"shape \(4, 3\)"),
    (lambda: ReversedFlow(3), TypeError, "network must be a callable"),
    (lambda: ReversedFlow(lambda x, t: [1])(X, 0.5), TypeError, "network's output"),
    (lambda: ReversedFlow(network)(X, "a"), TypeError, "t must be a real number"),
]


@pytest.mark.parametrize(("call", "error", "message"), BAD)
def test_bad_input_is_an_error_that_names_it(call, error, message):
    with pytest.raises(error, match=message):
        call()
