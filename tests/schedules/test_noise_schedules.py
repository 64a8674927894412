import math
import pickle

import numpy as np
import pytest
from hypothesis import given, strategies as st

import schedulers as sc
from kit import DISCRETE, SCHEDULES, ZERO_SNR

CONTINUOUS = {k: v for k, v in SCHEDULES.items() if not isinstance(v, sc.DiscreteSchedule)}
PRESERVING = {k: v for k, v in SCHEDULES.items() if k not in ("ve", "flow")}


def times(schedule, n=401):
    last = 80.0 if math.isinf(schedule.t_end) else schedule.t_end
    if schedule is ZERO_SNR:
        return np.append(np.linspace(0.0, last - 1.0, n), last)
    return np.linspace(0.0, last, n)


@pytest.mark.parametrize("schedule", SCHEDULES.values(), ids=SCHEDULES)
def test_noise_rises_and_signal_does_not(schedule):
    t = times(schedule)
    assert np.all(np.diff(schedule.karras_sigma(t)) > 0.0)
    assert np.all(np.diff(schedule.log_snr(t)) < 0.0)
    assert np.all(np.diff(schedule.alpha(t)) <= 0.0)


@pytest.mark.parametrize("schedule", PRESERVING.values(), ids=PRESERVING)
def test_variance_is_preserved(schedule):
    t = times(schedule)
    total = schedule.alpha(t) ** 2 + schedule.sigma(t) ** 2
    np.testing.assert_allclose(total, 1.0, rtol=1e-15)


@pytest.mark.parametrize("schedule", SCHEDULES.values(), ids=SCHEDULES)
def test_karras_sigma_and_log_snr_are_what_they_are_called(schedule):
    t = times(schedule)[1:-1]
    ratio = schedule.sigma(t) / schedule.alpha(t)
    np.testing.assert_allclose(schedule.karras_sigma(t), ratio, rtol=1e-15)
    np.testing.assert_allclose(schedule.log_snr(t), -2.0 * np.log(ratio), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("schedule", SCHEDULES.values(), ids=SCHEDULES)
def test_timestep_inverts_karras_sigma(schedule):
    t = times(schedule)
    there = schedule.karras_sigma(t)
    np.testing.assert_allclose(schedule.timestep(there), t, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("schedule", CONTINUOUS.values(), ids=CONTINUOUS)
def test_the_inverse_is_precise_at_small_and_large_sigma(schedule):
    s = np.geomspace(1e-6, min(1e4, 0.999 * schedule.max_karras_sigma), 300)
    np.testing.assert_allclose(schedule.karras_sigma(schedule.timestep(s)), s, rtol=2e-12)
    small = s[s < 100.0]  # 1 - t alone loses digits above
    np.testing.assert_allclose(schedule.karras_sigma(schedule.timestep(small)), small, rtol=6e-14)


@pytest.mark.parametrize("schedule", SCHEDULES.values(), ids=SCHEDULES)
def test_scalars_give_floats_and_arrays_arrays_of_their_shape(schedule):
    for method in (schedule.alpha, schedule.sigma, schedule.karras_sigma, schedule.log_snr):
        assert type(method(0.5 * schedule.t_min + 0.1)) is float
        assert method(np.full((2, 3), schedule.t_max)).shape == (2, 3)
        assert method([]).shape == (0,)
    assert type(schedule.timestep(1.0)) is float
    assert schedule.timestep([[1.0, 2.0]]).shape == (1, 2)


@pytest.mark.parametrize("schedule", SCHEDULES.values(), ids=SCHEDULES)
def test_schedules_are_values(schedule):
    again = pickle.loads(pickle.dumps(schedule))
    assert again == schedule
    assert hash(again) == hash(schedule)
    assert repr(again) == repr(schedule)
    with pytest.raises((AttributeError, TypeError)):
        schedule.t_max = 3.0


def test_the_discrete_schedule_is_ddpms():
    betas = sc.linear_betas(1000)
    np.testing.assert_array_equal(DISCRETE.betas, betas)
    np.testing.assert_array_equal(DISCRETE.alphas_cumprod, np.cumprod(1.0 - betas))
    i = np.arange(1000)
    np.testing.assert_array_equal(DISCRETE.alpha(i), np.sqrt(DISCRETE.alphas_cumprod))
    sigma = np.sqrt(1.0 - DISCRETE.alphas_cumprod)
    np.testing.assert_allclose(DISCRETE.sigma(i), sigma, rtol=1e-12)
    np.testing.assert_array_equal(DISCRETE.karras_sigma(i), DISCRETE.sigmas)
    assert DISCRETE.num_train_timesteps == 1000


def test_the_discrete_schedule_is_log_linear_between_its_indices():
    for i, w in [(0, 0.25), (500, 0.5), (998, 0.9)]:
        log_s = (1.0 - w) * np.log(DISCRETE.sigmas[i]) + w * np.log(DISCRETE.sigmas[i + 1])
        assert math.log(DISCRETE.karras_sigma(i + w)) == pytest.approx(log_s, abs=1e-13)


def test_its_own_levels_have_integer_times_and_other_levels_do_not():
    levels = DISCRETE.levels(DISCRETE.timestep(DISCRETE.sigmas))
    assert [level.t for level in levels] == list(range(1000))
    assert all(type(level.t) is int for level in levels)
    assert [level.alpha for level in levels] == np.sqrt(DISCRETE.alphas_cumprod).tolist()
    (between,) = DISCRETE.levels(DISCRETE.timestep([1.0]))
    assert type(between.t) is float
    assert DISCRETE.sigmas[258] < 1.0 < DISCRETE.sigmas[259]
    assert 258.0 < between.t < 259.0
    # a relative 1e-9 is no rounding of float64, and no other level is taken for it
    assert DISCRETE.timestep(DISCRETE.sigmas[500] * (1.0 + 1e-9)) != 500.0


@pytest.mark.parametrize("ulps", [-8, -1, 0, 1, 8])
@pytest.mark.parametrize("name", ["discrete", "stable_diffusion", "cosine_betas"])
def test_a_level_reached_by_rounding_is_the_training_level(name, ulps):
    schedule = SCHEDULES[name]
    sigmas = schedule.sigmas * (1.0 + ulps * np.finfo(float).eps)
    np.testing.assert_array_equal(schedule.timestep(sigmas), np.arange(1000))


@pytest.mark.parametrize("name", ["discrete", "vp", "ve"])
def test_an_infinite_sigma_is_outside_where_alpha_is_never_0(name):
    with pytest.raises(ValueError, match="sigmas must be finite and lie in .*, got inf"):
        SCHEDULES[name].timestep(math.inf)


def test_arrays_of_a_discrete_schedule_are_read_only_even_after_pickling():
    given = sc.linear_betas(10)
    schedule = sc.DiscreteSchedule(given)
    given[:] = 0.5
    assert schedule.betas[0] == 1e-4
    for one in (schedule, pickle.loads(pickle.dumps(schedule))):
        for array in (one.betas, one.alphas_cumprod, one.sigmas):
            with pytest.raises(ValueError, match="read-only"):
                array[0] = 0.5


@given(st.lists(st.floats(0.01, 0.9), min_size=1, max_size=30))
def test_from_alphas_cumprod_keeps_them_and_agrees_with_betas(betas):
    products = np.cumprod(1.0 - np.array(betas))
    schedule = sc.DiscreteSchedule.from_alphas_cumprod(products)
    np.testing.assert_array_equal(schedule.alphas_cumprod, products)
    np.testing.assert_allclose(schedule.betas, betas, rtol=1e-12)
    np.testing.assert_allclose(schedule.sigmas, sc.DiscreteSchedule(betas).sigmas, rtol=1e-13)


def test_small_betas_keep_their_digits():
    # sigma**2 of the first level is its beta, and of the second nearly the sum.
    schedule = sc.DiscreteSchedule([1e-17, 2e-17, 1e-8])
    np.testing.assert_allclose(schedule.sigma([0, 1]), np.sqrt([1e-17, 3e-17]), rtol=1e-14)
    assert sc.laplace_betas(1000, b=8.0)[0] == pytest.approx(500.0**-8, rel=1e-12)


def test_rates_and_levels_may_be_as_small_as_one_likes():
    assert sc.VPSchedule(beta_min=1e-5, beta_max=1e-4).karras_sigma(1.0) < 0.01
    assert sc.VESchedule(sigma_min=1e-6, sigma_max=1e-5).t_max == 1e-5
    assert sc.VESchedule().timestep(1e-300) == 1e-300


def test_vp_is_inverted_where_the_square_of_sigma_overflows():
    schedule = sc.VPSchedule(beta_max=1500.0)
    assert schedule.timestep(schedule.karras_sigma(0.99)) == pytest.approx(0.99, rel=1e-12)


def test_schedules_differ_by_their_levels():
    assert sc.DiscreteSchedule([0.1, 0.2]) != sc.DiscreteSchedule([0.1, 0.3])
    assert sc.DiscreteSchedule([0.1, 0.2]) != sc.VPSchedule()
    assert sc.DiscreteSchedule([0.1]) != sc.DiscreteSchedule([0.1, 0.2])


def test_zero_terminal_snr_has_its_level_and_no_times_just_below():
    assert ZERO_SNR.alpha(999) == 0.0
    assert ZERO_SNR.sigma(999) == 1.0
    assert ZERO_SNR.karras_sigma(999) == math.inf
    assert ZERO_SNR.log_snr(999) == -math.inf
    assert ZERO_SNR.timestep(math.inf) == 999.0
    assert ZERO_SNR.max_karras_sigma == ZERO_SNR.sigmas[998]
    with pytest.raises(ValueError, match=r"t must not lie between .* 998 and 999"):
        ZERO_SNR.alpha(998.5)
    with pytest.raises(ValueError, match="sigmas must be finite and lie in"):
        ZERO_SNR.timestep(2.0 * ZERO_SNR.sigmas[998])
    alone = sc.DiscreteSchedule([1.0])
    assert alone.timestep(math.inf) == 0.0
    with pytest.raises(ValueError, match="sigmas must be finite and lie in"):
        alone.timestep(1.0)


def test_vp_is_the_exponential_of_the_integral_of_beta():
    schedule = sc.VPSchedule(beta_min=0.2, beta_max=15.0)
    t = np.linspace(0.0, 1.0, 2001)
    rate = 0.2 + t * 14.8
    integral = np.concatenate([[0.0], np.cumsum(0.5 * (rate[1:] + rate[:-1]) * np.diff(t))])
    np.testing.assert_allclose(schedule.alpha(t), np.exp(-0.5 * integral), rtol=1e-12)


def test_vp_is_ddpms_schedule_in_the_limit_of_many_steps():
    n = 200_000
    rates = np.linspace(0.1, 20.0, n) / n
    discrete = np.sqrt(np.cumprod(1.0 - rates))
    t = np.arange(1, n + 1) / n
    np.testing.assert_allclose(discrete, sc.VPSchedule().alpha(t), rtol=1e-3)


def test_ve_flow_and_cosine_are_what_their_definitions_say():
    t = np.linspace(0.0, 1.0, 11)
    np.testing.assert_array_equal(sc.VESchedule().alpha(t), np.ones(11))
    np.testing.assert_array_equal(sc.VESchedule().sigma(t), t)
    np.testing.assert_array_equal(sc.FlowSchedule().alpha(t), 1.0 - t)
    np.testing.assert_array_equal(sc.FlowSchedule().sigma(t), t)
    theta = (t + 0.008) / 1.008 * math.pi / 2
    f = np.cos(theta) / math.cos(0.008 / 1.008 * math.pi / 2)
    np.testing.assert_allclose(sc.CosineSchedule().alpha(t), f, atol=2e-16)
    np.testing.assert_allclose(sc.CosineSchedule(s=0.0).sigma(t), np.sin(t * math.pi / 2))
    for schedule in (sc.FlowSchedule(), sc.CosineSchedule(), sc.CosineSchedule(s=0.0)):
        assert schedule.alpha(1.0) == 0.0
        assert schedule.sigma(1.0) == pytest.approx(1.0, rel=4e-16)
        assert schedule.timestep(math.inf) == 1.0
        assert schedule.timestep(0.0) == 0.0


def test_grids_of_the_ve_schedule_go_from_sigma_max_to_sigma_min():
    schedule = sc.VESchedule(sigma_min=0.5, sigma_max=7.0)
    assert (schedule.t_min, schedule.t_max) == (0.5, 7.0)
    assert schedule.alpha(1e6) == 1.0  # the path itself has no end


def test_float32_rounding_of_an_end_is_the_end_and_more_is_an_error():
    ends = DISCRETE.sigmas[[0, -1]]
    just_outside = ends * [1.0 - 5e-7, 1.0 + 5e-7]
    np.testing.assert_array_equal(DISCRETE.timestep(just_outside), [0.0, 999.0])
    for outside in ends * [1.0 - 2e-6, 1.0 + 2e-6]:
        with pytest.raises(
            ValueError, match=r"sigmas must be finite and lie in \[0.0100005, 157.407\]"
        ):
            DISCRETE.timestep(outside)


class HalfNoise(sc.NoiseSchedule):
    """A schedule of a user's own: alpha = 1, sigma = t / 2."""

    t_min, t_max, t_end = 0.1, 4.0, math.inf

    def _path(self, t):
        return np.ones_like(t), 0.5 * t

    def _time(self, sigmas):
        return 2.0 * sigmas


def test_a_schedule_of_ones_own_works_like_the_others():
    schedule = HalfNoise()
    assert schedule.karras_sigma(3.0) == 1.5
    assert schedule.timestep(1.5) == 3.0
    assert schedule.max_karras_sigma == math.inf
    assert sc.DDIM(schedule).tableau(4).timesteps == [4.0, 3.0, 2.0, 1.0]


@pytest.mark.parametrize("schedule", SCHEDULES.values(), ids=SCHEDULES)
@pytest.mark.parametrize("method", ["alpha", "sigma", "karras_sigma", "log_snr"])
@pytest.mark.parametrize(
    ("t", "error"),
    [
        (math.nan, ValueError),
        (math.inf, ValueError),
        (-1, ValueError),
        ([0.5, -1e-9], ValueError),
        ("1", TypeError),
        (None, TypeError),
        (1j, TypeError),
        (True, TypeError),
    ],
)
def test_times_are_checked(schedule, method, t, error):
    with pytest.raises(error, match="^t must "):
        getattr(schedule, method)(t)


@pytest.mark.parametrize("name", ["discrete", "vp", "flow", "cosine"])
def test_times_above_the_last_are_outside(name):
    schedule = SCHEDULES[name]
    with pytest.raises(ValueError, match=r"t must lie in \[0, (999|1)\] for .*, got"):
        schedule.alpha(schedule.t_end + 1e-9)


@pytest.mark.parametrize("schedule", SCHEDULES.values(), ids=SCHEDULES)
@pytest.mark.parametrize(
    ("sigmas", "error"), [(-1.0, ValueError), (math.nan, ValueError), ("x", TypeError)]
)
def test_sigmas_are_checked(schedule, sigmas, error):
    with pytest.raises(error, match="^sigmas must "):
        schedule.timestep(sigmas)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: sc.DiscreteSchedule([]), ValueError, "betas must be a one-dimensional"),
        (lambda: sc.DiscreteSchedule(0.1), ValueError, r"betas must .* got shape \(\)"),
        (lambda: sc.DiscreteSchedule([[0.1]]), ValueError, r"betas must .* got shape \(1, 1\)"),
        (lambda: sc.DiscreteSchedule([0.1, 0.0]), ValueError, "betas must lie between .* from 0 "),
        (lambda: sc.DiscreteSchedule([0.1, -0.1]), ValueError, "betas must lie between"),
        (lambda: sc.DiscreteSchedule([1.0, 0.1]), ValueError, "betas must lie between .* to 1$"),
        (lambda: sc.DiscreteSchedule([0.1, 1.1]), ValueError, "betas must lie between"),
        (lambda: sc.DiscreteSchedule([0.1, math.nan]), ValueError, "betas must be finite"),
        (lambda: sc.DiscreteSchedule([0.999] * 200), ValueError, "betas must give levels that"),
        (lambda: sc.DiscreteSchedule(["a"]), TypeError, "betas must be real numbers"),
        (lambda: sc.DiscreteSchedule([[1], [2, 3]]), TypeError, "betas must be real numbers"),
        (
            lambda: sc.DiscreteSchedule.from_alphas_cumprod([0.9, 0.95]),
            ValueError,
            "alphas_cumprod must be strictly decreasing, got 0.9 followed by 0.95 at position 1",
        ),
        (
            lambda: sc.DiscreteSchedule.from_alphas_cumprod([0.9, 0.3, 0.5]),
            ValueError,
            "alphas_cumprod must be strictly decreasing, got 0.3 followed by 0.5 at position 2",
        ),
        (
            lambda: sc.DiscreteSchedule.from_alphas_cumprod([0.5, -0.5]),
            ValueError,
            "alphas_cumprod must lie between 0 and 1",
        ),
        (
            lambda: sc.DiscreteSchedule.from_alphas_cumprod([1.0, 0.5]),
            ValueError,
            "alphas_cumprod must lie between 0 and 1",
        ),
        (
            lambda: sc.DiscreteSchedule.from_alphas_cumprod([0.5, 0.0, -0.1]),
            ValueError,
            "alphas_cumprod must lie between 0 and 1",
        ),
        (lambda: sc.VPSchedule(beta_min=0.0), ValueError, "beta_min must be above 0"),
        (lambda: sc.VPSchedule(beta_max=0.01), ValueError, "beta_max must be at least 0.1"),
        (lambda: sc.VPSchedule(beta_max="20"), TypeError, "beta_max must be a real number"),
        (lambda: sc.VPSchedule(t_min=0.0), ValueError, "t_min must lie between 0 and 1, got 0.0"),
        (lambda: sc.FlowSchedule(t_min=1.0), ValueError, "t_min must lie between 0 and 1, got 1.0"),
        (lambda: sc.CosineSchedule(t_min=math.nan), ValueError, "t_min must be"),
        (lambda: sc.CosineSchedule(s=-1.0), ValueError, "s must be at least 0"),
        (lambda: sc.VESchedule(sigma_min=0.0), ValueError, "sigma_min must be above 0"),
        (lambda: sc.VESchedule(sigma_max=0.001), ValueError, "sigma_max must be above 0.002"),
        (lambda: sc.VESchedule(sigma_max=math.inf), ValueError, "sigma_max must be .*finite"),
        (lambda: DISCRETE.levels([[1, 2]]), ValueError, r"timesteps must be a one-dim.*\(1, 2\)"),
        (
            lambda: ZERO_SNR.levels([998.5]),
            ValueError,
            "timesteps must not lie between the last two",
        ),
        (lambda: sc.VPSchedule(beta_max=10**400), ValueError, "beta_max must be at least 0.1"),
        (lambda: DISCRETE.levels([1000]), ValueError, r"timesteps must lie in \[0, 999\]"),
    ],
)
def test_arguments_are_checked(call, error, message):
    with pytest.raises(error, match=message):
        call()


@pytest.mark.parametrize("name", sorted(SCHEDULES))
def test_the_level_at_a_sigma_has_it(name):
    schedule = SCHEDULES[name]
    assert schedule.level(0.0) == schedule.clean
    for sigma in (0.05, 0.5, 10.0):
        assert schedule.level(sigma).karras == pytest.approx(sigma, rel=1e-12)
    if schedule.alpha(schedule.t_max) == 0.0:
        assert schedule.level(np.inf).alpha == 0.0
    for wrong, error in ((-1.0, ValueError), (np.nan, ValueError), ("1", TypeError)):
        with pytest.raises(error, match="sigma must be"):
            schedule.level(wrong)
