import math

import numpy as np
import pytest
from hypothesis import given, strategies as st

import schedulers as sc
from kit import SCHEDULES, STABLE_DIFFUSION
from schedulers.analysis import compare, output_law, wasserstein2
from schedulers.analytic import Gaussian
from schedulers.grids import SPACINGS, align_your_steps, kl_optimal

# The authors' figures, in Karras's sigma. Those of Stable Diffusion are given as training indices
# there; with ten decimals they are these.
PUBLISHED = {
    "sd15": "14.6146412293 6.4745760956 3.8636745985 2.6946151520 1.8841921177 1.3943805092 "
    "0.9642583904 0.6523686016 0.3977456272 0.1515232662 0.0291671582",
    "sdxl": "14.6146412293 6.3184485287 3.7681790315 2.1811480769 1.3405244945 0.8620721141 "
    "0.5550693289 0.3798540708 0.2332364134 0.1114188177 0.0291671582",
    "svd": "700.00 54.5 15.886 7.977 4.248 1.789 0.981 0.403 0.173 0.034 0.002",
}
TIMES = {
    "sd15": [999, 850, 736, 645, 545, 455, 343, 233, 124, 24],
    "sdxl": [999, 845, 730, 587, 443, 310, 193, 116, 53, 13],
}
MODELS = sorted(PUBLISHED)


def digits(model):
    return PUBLISHED[model].split()


def formatted(sigmas, texts):
    return [
        f"{sigma:.{len(text.partition('.')[2])}f}"
        for sigma, text in zip(sigmas, texts, strict=True)
    ]


@pytest.mark.parametrize("model", MODELS)
def test_ten_steps_are_the_published_figures_to_the_last_digit(model):
    sigmas = align_your_steps(10, model)
    assert formatted(sigmas[:-1], digits(model)[:-1]) == digits(model)[:-1]
    assert sigmas[-1] == 0.0


@pytest.mark.parametrize("model", TIMES)
def test_ten_steps_of_stable_diffusion_are_the_published_integer_times(model):
    scheduler = sc.DDIM(STABLE_DIFFUSION)
    times = scheduler.tableau(sigmas=align_your_steps(10, model)).timesteps
    assert times == TIMES[model]
    assert all(type(t) is int for t in times)


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("n", [20, 30, 100])
def test_interpolation_goes_through_every_published_level(model, n):
    every = n // 10
    sigmas = align_your_steps(n, model)
    np.testing.assert_array_equal(sigmas[:-1:every], align_your_steps(10, model)[:-1])


@pytest.mark.parametrize("model", MODELS)
@given(n=st.integers(1, 400))
def test_other_numbers_of_steps_interpolate_the_log_of_sigma_over_the_steps(model, n):
    table = np.array(digits(model), dtype=float)
    expected = np.interp(np.arange(n) * 10 / n, np.arange(11), np.log(table))
    sigmas = align_your_steps(n, model)
    np.testing.assert_allclose(np.log(sigmas[:-1]), expected, rtol=1e-9, atol=1e-8)
    assert sigmas.shape == (n + 1,)
    assert sigmas.dtype == np.float64
    assert np.all(np.diff(sigmas) < 0.0)
    assert sigmas[-1] == 0.0


def test_the_table_of_a_caller_is_its_own():
    align_your_steps(10, "svd")[:] = -1.0
    assert align_your_steps(10, "svd")[0] == 700.0


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ((0,), ValueError, "n must be at least 1, got 0"),
        ((10.0,), TypeError, "n must be an integer, got 10.0"),
        ((10, "sd3"), ValueError, "model must be one of 'sd15', 'sdxl', 'svd', got 'sd3'"),
        ((10, None), TypeError, "model must be one of 'sd15', 'sdxl', 'svd', got None"),
    ],
)
def test_arguments_of_align_your_steps_are_checked(arguments, error, message):
    with pytest.raises(error, match=message):
        align_your_steps(*arguments)


@given(
    n=st.integers(1, 200),
    low=st.floats(1e-3, 0.9),
    high=st.floats(1.0, 200.0) | st.just(math.inf),
    c=st.floats(0.05, 20.0),
)
def test_kl_optimal_levels_are_uniform_in_angle_between_exact_ends(n, low, high, c):
    sigmas = kl_optimal(n, low, high, data_std=c)
    assert sigmas.shape == (n + 1,)
    assert np.all(sigmas[1:] < sigmas[:-1])
    assert (sigmas[0], sigmas[-1]) == (high, 0.0)
    if n > 1:
        assert sigmas[-2] == low
        angles = np.arctan(sigmas[:-1] / c)
        np.testing.assert_allclose(angles, np.linspace(angles[0], angles[-1], n), rtol=1e-11)


@given(n=st.integers(1, 50), scale=st.floats(0.1, 10.0))
def test_kl_optimal_levels_scale_with_the_data(n, scale):
    scaled = kl_optimal(n, scale * 0.01, scale * 80.0, data_std=scale)
    np.testing.assert_allclose(scaled, scale * kl_optimal(n, 0.01, 80.0), rtol=1e-12)


def std(scheduler, c, **levels):
    return math.sqrt(output_law(scheduler, Gaussian(0.0, c**2), initial="marginal", **levels).cov)


@pytest.mark.parametrize("make", [sc.DDIM, sc.Euler])
@pytest.mark.parametrize("c", [0.5, 1.0, 3.0])
@pytest.mark.parametrize("schedule", [sc.VESchedule(), sc.FlowSchedule(), STABLE_DIFFUSION])
def test_the_error_on_a_gaussian_is_a_product_of_cosines(make, c, schedule):
    scheduler = make(schedule, prediction_type="v_prediction")
    low, high = schedule.karras_sigma([schedule.t_min, schedule.t_max])
    sigmas = kl_optimal(7, low, high, data_std=c)
    angle = (math.atan(high / c) - math.atan(low / c)) / 6
    expected = c * math.cos(angle) ** 6 * math.cos(math.atan(low / c))
    assert std(scheduler, c, sigmas=sigmas) == pytest.approx(expected, rel=1e-12)


@given(
    inner=st.lists(st.floats(0.05, 30.0), min_size=4, max_size=4, unique=True),
    c=st.floats(0.3, 3.0),
)
def test_no_other_levels_bring_a_gaussian_nearer_to_the_data(inner, c):
    scheduler = sc.DDIM(sc.VESchedule())
    other = [40.0, *sorted(inner, reverse=True), 0.02, 0.0]
    best = std(scheduler, c, sigmas=kl_optimal(6, 0.02, 40.0, data_std=c))
    assert std(scheduler, c, sigmas=other) <= best * (1 + 1e-12)
    assert best < c


@pytest.mark.parametrize("name", ["flow", "cosine", "zero_snr"])
def test_the_spacing_begins_at_alpha_0(name):
    schedule = SCHEDULES[name]
    for steps in (1, 2, 5, 30):
        times = SPACINGS["kl_optimal"](schedule, steps)
        assert times[0] == schedule.t_max
        assert np.all(np.diff(times) < 0.0)
        assert steps == 1 or times[-1] == schedule.t_min
    scheduler = sc.DDIM(schedule, prediction_type="v_prediction", spacing="kl_optimal")
    errors = compare([scheduler], Gaussian(0.0, 1.0), steps=(5, 10, 20, 40)).errors[0]
    ratios = np.array(errors[:-1]) / np.array(errors[1:])
    assert np.all((ratios > 1.7) & (ratios < 2.3))


def test_the_scale_of_the_data_is_checked():
    with pytest.raises(ValueError, match="data_std must be above 0 and finite, got 0.0"):
        kl_optimal(3, 0.1, 1.0, data_std=0.0)
    with pytest.raises(TypeError, match="data_std must be a real number, got None"):
        kl_optimal(3, 0.1, 1.0, data_std=None)


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("make", [sc.DDIM, sc.Euler, sc.Heun])
def test_runs_come_nearer_to_the_data_with_every_doubling_of_the_steps(make, model):
    data = Gaussian(np.array([1.0, -0.5]), np.array([1.0, 0.04]))
    scheduler = make(STABLE_DIFFUSION if model in TIMES else sc.VESchedule())
    errors = [
        wasserstein2(output_law(scheduler, data, sigmas=sigmas, initial="marginal"), data)
        for sigmas in (align_your_steps(n, model) for n in (10, 20, 40, 80))
    ]
    assert np.all(np.diff(errors) < 0.0)
    assert errors[-1] < 0.03
