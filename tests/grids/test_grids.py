import math
from functools import partial

import numpy as np
import pytest
from hypothesis import given, strategies as st

import schedulers as sc
from kit import DISCRETE, SCHEDULES, STABLE_DIFFUSION
from schedulers import grids

INDEX_GRIDS = ["trailing", "leading", "linspace", "quadratic", "simple", "beta_times"]
# Those that do not begin and end where the schedule does, whatever the number of steps.
END_ABOVE = {"trailing", "leading", "simple", "sgm_uniform", "ddim_uniform", "beta_times"}
END_ABOVE |= {"linear_quadratic"}
SIGMA_GRIDS = {
    "karras": sc.karras_sigmas,
    "exponential": sc.exponential_sigmas,
    "polyexponential": partial(sc.polyexponential_sigmas, rho=1.7),
    "vp": sc.vp_sigmas,
    "beta": sc.beta_sigmas,
    "kl_optimal": grids.kl_optimal,
}


@pytest.mark.parametrize("name", grids.SPACINGS)
@given(data=st.data())
def test_every_spacing_has_exactly_its_steps_falls_and_stays_inside(name, data):
    left_out = name == "ddim_uniform"  # the first training level
    n = data.draw(st.integers(1 + left_out, 1200), label="training levels")
    steps = data.draw(st.integers(1, n - left_out), label="steps")
    make = data.draw(st.sampled_from([sc.linear_betas, sc.cosine_betas, sc.laplace_betas]))
    schedule = sc.DiscreteSchedule(make(n))
    levels = sc.DDIM(schedule, spacing=name).tableau(steps).levels
    assert len(levels) == steps + 1
    assert levels[-1] == schedule.clean
    assert np.all(np.diff([level.t for level in levels]) < 0)
    assert np.all(np.diff([level.karras for level in levels]) < 0)
    assert levels[0].t <= n - 1
    if name in INDEX_GRIDS:
        assert all(type(level.t) is int for level in levels)
    if name not in ("leading", "ddim_uniform"):
        assert levels[0].t == n - 1


@pytest.mark.parametrize("name", INDEX_GRIDS)
def test_every_step_count_of_a_thousand_training_levels_works(name):
    for steps in range(1, 1001):
        times = grids.SPACINGS[name](DISCRETE, steps)
        assert times.shape == (steps,)
        assert np.all(np.diff(times) <= -1.0)
        assert times[-1] >= 0.0
        np.testing.assert_array_equal(times, np.round(times))
    np.testing.assert_array_equal(times, np.arange(999, -1, -1))


@pytest.mark.parametrize("steps", [1, 2, 3, 7, 9, 27, 300, 640, 999, 1000])
def test_the_index_grids_follow_their_formulas(steps):
    i = range(steps)
    trailing = [round(1000 - 1000 * k / steps) - 1 for k in i]
    np.testing.assert_array_equal(grids.trailing(DISCRETE, steps), trailing)
    leading = [math.floor(1000 * k / steps) for k in reversed(i)]
    np.testing.assert_array_equal(grids.leading(DISCRETE, steps), leading)
    if steps > 1:
        linspace = [round(999 * k / (steps - 1)) for k in reversed(i)]
        np.testing.assert_array_equal(grids.linspace(DISCRETE, steps), linspace)
    if steps in (2, 3, 7, 9, 27):  # where no index repeats
        quadratic = [999 * k**2 // (steps - 1) ** 2 for k in reversed(i)]
        np.testing.assert_array_equal(grids.quadratic(DISCRETE, steps), quadratic)


def test_known_index_grids():
    # Lin et al. 2024, Table 2, for 10 steps of 1000, in indices from 0.
    assert grids.trailing(DISCRETE, 10).tolist() == list(range(999, 0, -100))
    assert grids.leading(DISCRETE, 10).tolist() == list(range(900, -1, -100))
    assert grids.linspace(DISCRETE, 10).tolist() == list(range(999, -1, -111))
    assert grids.linspace(DISCRETE, 1).tolist() == [999.0]
    assert grids.quadratic(DISCRETE, 1).tolist() == [999.0]
    assert grids.quadratic(DISCRETE, 5).tolist() == [999.0, 561.0, 249.0, 62.0, 0.0]
    ten = sc.DiscreteSchedule(sc.linear_betas(10))
    assert grids.quadratic(ten, 7).tolist() == [9.0, 6.0, 4.0, 3.0, 2.0, 1.0, 0.0]


def test_leading_takes_an_offset_as_far_as_the_schedule_goes():
    assert grids.leading(DISCRETE, 4, offset=1).tolist() == [751.0, 501.0, 251.0, 1.0]
    scheduler = sc.DDIM(DISCRETE, spacing=partial(grids.leading, offset=1))
    assert scheduler.tableau(4).timesteps == [751, 501, 251, 1]
    assert grids.leading(DISCRETE, 999, offset=1)[0] == 999.0
    with pytest.raises(ValueError, match="offset must be at most 0 with 1000 steps .* got 1"):
        grids.leading(DISCRETE, 1000, offset=1)
    with pytest.raises(ValueError, match="offset must be at least 0, got -1"):
        grids.leading(DISCRETE, 4, offset=-1)
    with pytest.raises(ValueError, match="offset must be 0 for .* got 1"):
        grids.leading(sc.VPSchedule(), 4, offset=1)


@pytest.mark.parametrize("name", ["vp", "ve", "flow", "cosine"])
@pytest.mark.parametrize("steps", [1, 2, 5, 100])
def test_time_grids_in_continuous_time_are_uniform_between_their_ends(name, steps):
    schedule = SCHEDULES[name]
    low, high, i = schedule.t_min, schedule.t_max, np.arange(steps)
    expected = {
        "trailing": high * (steps - i) / steps,
        "leading": low + (high - low) * (steps - 1 - i) / steps,
    }
    if steps > 1:
        u = i / (steps - 1)
        expected["linspace"] = high + u * (low - high)
        expected["quadratic"] = (np.sqrt(high) + u * (np.sqrt(low) - np.sqrt(high))) ** 2
    for spacing, times in expected.items():
        np.testing.assert_allclose(
            grids.SPACINGS[spacing](schedule, steps), times, rtol=1e-12, atol=1e-13
        )


@pytest.mark.parametrize("make", SIGMA_GRIDS.values(), ids=SIGMA_GRIDS)
@given(n=st.integers(1, 500), low=st.floats(1e-3, 0.9), high=st.floats(1.0, 200.0))
def test_sigma_grids_fall_from_exact_end_to_exact_end_and_then_to_zero(make, n, low, high):
    sigmas = make(n, low, high)
    assert sigmas.shape == (n + 1,)
    assert sigmas.dtype == np.float64
    assert np.all(np.diff(sigmas) < 0.0)
    assert sigmas[0] == high
    assert sigmas[-1] == 0.0
    if n > 1:
        assert sigmas[-2] == low


@given(n=st.integers(3, 100), rho=st.floats(0.5, 12.0))
def test_the_sigma_grids_are_uniform_in_what_defines_them(n, rho):
    low, high = 0.02, 30.0

    def gaps(values):
        steps = np.diff(values[:-1])
        return steps / steps.mean() - 1.0

    assert np.abs(gaps(sc.karras_sigmas(n, low, high, rho=rho) ** (1.0 / rho))).max() < 1e-9
    with np.errstate(divide="ignore"):
        assert np.abs(gaps(np.log(sc.exponential_sigmas(n, low, high)))).max() < 1e-9
    times = sc.VPSchedule().timestep(sc.vp_sigmas(n, low, high)[:-1])
    assert np.abs(gaps(np.append(times, 0.0))).max() < 1e-9


def test_polyexponential_levels_are_the_powers_of_its_formula():
    got = sc.polyexponential_sigmas(5, 0.1, 10.0, rho=3.0)
    expected = [0.1 * 100.0 ** ((1.0 - k / 4) ** 3) for k in range(5)]
    np.testing.assert_allclose(got[:-1], expected, rtol=1e-13)


def test_edms_table_1_comes_out():
    # VP with beta_d 19.9, beta_min 0.1, eps_s 1e-3; VE with sigma from 0.02 to 100 (squared there).
    n = 18
    t = 1.0 + np.arange(n) / (n - 1) * (1e-3 - 1.0)
    vp = np.sqrt(np.exp(0.5 * 19.9 * t**2 + 0.1 * t) - 1.0)
    np.testing.assert_allclose(sc.vp_sigmas(n, vp[-1], vp[0])[:-1], vp, rtol=1e-10)
    squares = 100.0**2 * (0.02**2 / 100.0**2) ** (np.arange(n) / (n - 1))
    np.testing.assert_allclose(sc.exponential_sigmas(n, 0.02, 100.0)[:-1], np.sqrt(squares))
    edm = (80 ** (1 / 7) + np.arange(n) / (n - 1) * (0.002 ** (1 / 7) - 80 ** (1 / 7))) ** 7
    np.testing.assert_allclose(sc.karras_sigmas(n, 0.002, 80.0)[:-1], edm, rtol=1e-12)


def test_vp_sigmas_take_the_rates_of_another_diffusion():
    t = np.linspace(0.9, 0.1, 5)
    sigmas = np.sqrt(np.exp(0.5 * 3.0 * t**2 + 2.0 * t) - 1.0)
    got = sc.vp_sigmas(5, sigmas[-1], sigmas[0], beta_d=3.0, beta_min=2.0)
    np.testing.assert_allclose(got[:-1], sigmas, rtol=1e-12)


@pytest.mark.parametrize(("alpha", "beta"), [(0.6, 0.6), (1.0, 1.0), (2.0, 0.5)])
def test_beta_sigmas_are_quantiles(alpha, beta):
    from scipy.stats import beta as distribution

    sigmas = sc.beta_sigmas(30, 1.0, 5.0, alpha=alpha, beta=beta)[:-1]
    share = distribution.cdf((sigmas - 1.0) / 4.0, alpha, beta)
    np.testing.assert_allclose(share, np.linspace(1.0, 0.0, 30), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize(
    ("spacing", "make"),
    [
        ("karras", sc.karras_sigmas),
        ("exponential", sc.exponential_sigmas),
        ("ve", sc.exponential_sigmas),
        ("log_snr", sc.exponential_sigmas),
        ("polyexponential", sc.polyexponential_sigmas),
        ("vp", sc.vp_sigmas),
        ("beta", sc.beta_sigmas),
        ("kl_optimal", grids.kl_optimal),
    ],
)
@pytest.mark.parametrize("schedule", [STABLE_DIFFUSION, sc.VPSchedule(), sc.VESchedule()])
def test_spacings_by_sigma_go_from_end_to_end_of_the_schedule(spacing, make, schedule):
    got = sc.Euler(schedule, spacing=spacing).tableau(12).sigmas
    low, high = schedule.karras_sigma([schedule.t_min, schedule.t_max])
    np.testing.assert_allclose(got, make(12, low, high), rtol=1e-11)


@pytest.mark.parametrize("name", sorted(set(grids.SPACINGS) - END_ABOVE))
@pytest.mark.parametrize("schedule", [STABLE_DIFFUSION, sc.VPSchedule(), sc.VESchedule(1e-33)])
def test_the_ends_of_a_spacing_are_exactly_those_of_the_schedule(name, schedule):
    for steps in (1, 2, 3, 10):
        times = grids.SPACINGS[name](schedule, steps)
        assert times[0] == schedule.t_max
        assert steps == 1 or times[-1] == schedule.t_min


def test_the_mildest_shapes_are_allowed():
    assert sc.karras_sigmas(3, 1.0, 2.0, rho=1e-4)[0] == 2.0
    assert np.all(np.diff(sc.vp_sigmas(5, 0.1, 2.0, beta_d=0.0)) < 0.0)


def test_a_spacing_of_ones_own_is_taken_and_checked():
    def two(schedule, steps):
        return np.linspace(600, 100, steps)

    assert sc.DDIM(DISCRETE, spacing=two).tableau(3).timesteps == [600, 350, 100]
    with pytest.raises(ValueError, match="spacing must return 3 timesteps .* got array"):
        sc.DDIM(DISCRETE, spacing=lambda s, n: [5.0]).tableau(3)
    with pytest.raises(ValueError, match="spacing must return 3 timesteps above the clean level"):
        sc.DDIM(sc.VESchedule(), spacing=lambda s, n: [2.0, 1.0, 0.0]).tableau(3)
    with pytest.raises(ValueError, match="timesteps must be strictly decreasing"):
        sc.DDIM(DISCRETE, spacing=lambda s, n: np.full(n, 5.0)).tableau(3)
    with pytest.raises(TypeError, match="timesteps of the spacing must be real numbers"):
        sc.DDIM(DISCRETE, spacing=lambda s, n: None).tableau(3)


@pytest.mark.parametrize("spacing", ["karras", "exponential", "vp", "beta"])
@pytest.mark.parametrize("name", ["flow", "cosine", "zero_snr"])
def test_spacings_by_sigma_refuse_an_infinite_one(spacing, name):
    scheduler = sc.DDIM(SCHEDULES[name], prediction_type="flow", spacing=spacing)
    instead = "trailing" if spacing == "vp" else f"flow_{spacing}"
    with pytest.raises(ValueError, match=f"spacing '{spacing}' needs a finite .* '{instead}'"):
        scheduler.tableau(5)


@pytest.mark.parametrize("make", SIGMA_GRIDS.values(), ids=SIGMA_GRIDS)
@pytest.mark.parametrize(
    ("n", "low", "high", "error", "message"),
    [
        (0, 1.0, 2.0, ValueError, "n must be at least 1, got 0"),
        (1.5, 1.0, 2.0, TypeError, "n must be an integer, got 1.5"),
        (3, 0.0, 2.0, ValueError, "sigma_min must be above 0 and finite, got 0.0"),
        (3, math.nan, 2.0, ValueError, "sigma_min must be above 0 and finite, got nan"),
        (3, 1.0, math.nan, ValueError, "sigma_max must be above 0.*, got nan"),
        (3, 1.0, None, TypeError, "sigma_max must be a real number, got None"),
        (3, 2.0, 1.0, ValueError, "sigma_min must be below sigma_max, got 2 and 1"),
        (2, 1.0, 1.0, ValueError, "sigma_min must be below sigma_max, got 1 and 1"),
    ],
)
def test_arguments_of_sigma_grids_are_checked(make, n, low, high, error, message):
    with pytest.raises(error, match=message):
        make(n, low, high)


@pytest.mark.parametrize(
    "make", [SIGMA_GRIDS[name] for name in sorted(set(SIGMA_GRIDS) - {"kl_optimal"})]
)
def test_only_the_kl_optimal_grid_begins_at_an_infinite_sigma(make):
    with pytest.raises(ValueError, match="sigma_max must be above 0 and finite, got inf"):
        make(3, 1.0, math.inf)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: sc.karras_sigmas(3, 1.0, 2.0, rho=0.0), "rho must be above 0"),
        (lambda: sc.polyexponential_sigmas(3, 1.0, 2.0, rho=-1.0), "rho must be above 0"),
        (lambda: sc.vp_sigmas(3, 1.0, 2.0, beta_d=-1.0), "beta_d must be at least 0"),
        (lambda: sc.vp_sigmas(3, 1.0, 2.0, beta_min=0.0), "beta_min must be above 0"),
        (lambda: sc.beta_sigmas(3, 1.0, 2.0, alpha=0.0), "alpha must be above 0"),
        (lambda: sc.beta_sigmas(3, 1.0, 2.0, beta=math.inf), "beta must be .*finite"),
        (
            lambda: sc.polyexponential_sigmas(1000, 1.0, 2.0, rho=9.0),
            "n=1000 levels from sigma_max=2 to sigma_min=1 must be strictly",
        ),
    ],
)
def test_shapes_of_sigma_grids_are_checked(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize("name", grids.SPACINGS)
def test_steps_and_schedule_of_spacings_are_checked(name):
    spacing = grids.SPACINGS[name]
    with pytest.raises(ValueError, match="steps must be at least 1, got 0"):
        spacing(DISCRETE, 0)
    with pytest.raises(TypeError, match="steps must be an integer, got 2.0"):
        spacing(DISCRETE, 2.0)
    with pytest.raises(TypeError, match="schedule must be a NoiseSchedule, got None"):
        spacing(None, 3)
    if name in INDEX_GRIDS:
        with pytest.raises(ValueError, match="steps must be at most 1000, .* got 1001"):
            spacing(DISCRETE, 1001)
