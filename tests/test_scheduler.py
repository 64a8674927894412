"""The Scheduler's methods, and the errors of everything that can be given to them."""

import builtins
import dataclasses
import math
import pickle
import sys
import types
import warnings
from fractions import Fraction

import numpy as np
import pytest

import schedulers as sc
from kit import ALL, DISCRETE, NEED_SIGNAL, SCHEDULES, bounded_denoiser
from schedulers.analytic import Gaussian

VE, VP = sc.VESchedule(), sc.VPSchedule()
DDIM = sc.DDIM(DISCRETE)
X = np.random.default_rng(0).standard_normal((2, 3))


def never(x, t):
    raise AssertionError("the model was evaluated")


# ---------------------------------------------------------------- what is built


def test_schedulers_are_immutable_values():
    for make in ALL.values():
        scheduler = make(VP)
        assert scheduler == make(VP)
        assert hash(scheduler) == hash(make(VP))
        with pytest.raises(dataclasses.FrozenInstanceError):
            scheduler.prediction_type = "sample"
    assert sc.DDIM(VP, eta=0.5) != sc.DDIM(VP)
    assert repr(sc.DDPM(VE)) == (
        "DDPM(schedule=VESchedule(sigma_min=0.002, sigma_max=80.0), prediction_type='epsilon', "
        "spacing='trailing', threshold=None, variance='fixed_small')"
    )


def test_an_array_of_deviations_is_kept_as_it_was_given():
    given = np.array([0.1, 0.0])
    scheduler = sc.DDIM(VE, sigma=given)
    given[0] = 7.0
    assert scheduler.sigma == (0.1, 0.0)
    assert hash(scheduler) == hash(pickle.loads(pickle.dumps(scheduler)))


@pytest.mark.parametrize("make", ALL.values(), ids=ALL)
@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"prediction_type": "eps"}, ValueError, "prediction_type must be one of .*got 'eps'"),
        ({"prediction_type": None}, TypeError, "prediction_type must be one of .*got None"),
        ({"spacing": "even"}, ValueError, "spacing must be one of 'trailing', .*got 'even'"),
        ({"spacing": 3}, TypeError, "spacing must be one of .*got 3"),
        ({"threshold": 1.0}, TypeError, "threshold must be a StaticThreshold, .*got 1.0"),
    ],
)
def test_what_all_schedulers_are_given_is_checked(make, options, error, message):
    with pytest.raises(error, match=message):
        make(VP, **options)
    with pytest.raises(TypeError, match=r"schedule must be a NoiseSchedule.*got array"):
        make(sc.linear_betas(10))


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: sc.DDIM(VP, eta=1.5), ValueError, "eta must be at least 0 and at most 1, got 1.5"),
        (lambda: sc.DDIM(VP, eta=-0.1), ValueError, "eta must be .* got -0.1"),
        (lambda: sc.DDIM(VP, eta=math.nan), ValueError, "eta must be .* got nan"),
        (lambda: sc.DDIM(VP, eta="1"), TypeError, "eta must be a real number, got '1'"),
        (lambda: sc.DDIM(VP, eta=True), TypeError, "eta must be a real number, got True"),
        (lambda: sc.DDIM(VP, eta=0.5, sigma=[0.1]), ValueError, "eta and sigma must not both"),
        (lambda: sc.DDIM(VP, sigma=[]), ValueError, "sigma must be a one-dimensional"),
        (lambda: sc.DDIM(VP, sigma=0.5), TypeError, "sigma must be a sequence .* got 0.5"),
        (lambda: sc.DDIM(VP, sigma=[[0.5], [0.5, 0.1]]), TypeError, "sigma must be real numbers"),
        (lambda: sc.DDIM(VP, sigma=[[0.5]]), ValueError, "sigma must be a one-dimensional"),
        (lambda: sc.DDIM(VP, sigma=[math.nan]), ValueError, "sigma must be finite"),
        (lambda: sc.DDIM(VP, sigma="small"), TypeError, "sigma must be a sequence .*got 'small'"),
        (lambda: sc.DDIM(VP, sigma=["small"]), TypeError, "sigma must be real numbers"),
        (lambda: sc.EulerAncestral(VP, eta=2), ValueError, "eta must be .*at most 1, got 2"),
        (lambda: sc.EulerAncestral(VP, s_noise=-1.0), ValueError, "s_noise must be at least 0"),
        (lambda: sc.DDPM(VP, variance="big"), ValueError, "variance must be one of .*got 'big'"),
        (lambda: sc.DDPM(VP, variance=1), TypeError, "variance must be one of .*got 1"),
        (lambda: sc.PLMS(VP, order=0), ValueError, "order must be at least 1, got 0"),
        (lambda: sc.PLMS(VP, order=5), ValueError, "order must be at most 4, got 5"),
        (lambda: sc.PLMS(VP, order=2.0), TypeError, "order must be an integer, got 2.0"),
        (lambda: sc.PLMS(VP, startup="rk"), ValueError, "startup must be one of .*got 'rk'"),
    ],
)
def test_what_each_scheduler_is_given_is_checked(call, error, message):
    with pytest.raises(error, match=message):
        call()


@pytest.mark.parametrize("make", [sc.Euler, sc.Heun])
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"s_churn": -1.0}, "s_churn must be at least 0 and finite, got -1.0"),
        ({"s_churn": math.inf}, "s_churn must be .*finite, got inf"),
        ({"s_tmin": -0.1}, "s_tmin must be at least 0"),
        ({"s_tmin": 2.0, "s_tmax": 1.0}, "s_tmax must be at least 2, got 1.0"),
        ({"s_tmax": math.nan}, "s_tmax must be at least 0, got nan"),
        ({"s_noise": math.nan}, "s_noise must be .*got nan"),
        ({"s_noise": -0.1}, "s_noise must be at least 0 and finite, got -0.1"),
    ],
)
def test_churn_is_checked(make, options, message):
    with pytest.raises(ValueError, match=message):
        make(VP, **options)


# ---------------------------------------------------------------- levels


BAD_LEVELS = [
    ({}, ValueError, "exactly one of steps, timesteps and sigmas must be given, got none"),
    ({"steps": 3, "sigmas": [1.0, 0.0]}, ValueError, "exactly one of .* got steps and sigmas"),
    (
        {"timesteps": [5], "sigmas": [1.0, 0.0]},
        ValueError,
        "exactly one of .* got timesteps and sigmas",
    ),
    ({"steps": 0}, ValueError, "steps must be at least 1, got 0"),
    ({"steps": -3}, ValueError, "steps must be at least 1, got -3"),
    ({"steps": 3.0}, TypeError, "steps must be an integer, got 3.0"),
    ({"steps": "3"}, TypeError, "steps must be an integer, got '3'"),
    ({"steps": True}, TypeError, "steps must be an integer, got True"),
    ({"steps": 1001}, ValueError, "steps must be at most 1000, .*got 1001"),
    ({"timesteps": []}, ValueError, r"timesteps must be a one-dimensional .*\(0,\)"),
    ({"timesteps": 5}, ValueError, r"timesteps must be a one-dimensional .*\(\)"),
    ({"timesteps": [[5, 4]]}, ValueError, r"timesteps must be a one-dimensional .*\(1, 2\)"),
    ({"timesteps": [5, 5]}, ValueError, "timesteps must be strictly decreasing, got 5.0 followed"),
    ({"timesteps": [5, 6]}, ValueError, "timesteps must be strictly decreasing"),
    ({"timesteps": [1000, 5]}, ValueError, r"timesteps must lie in \[0, 999\] for Discrete"),
    ({"timesteps": [5, -1]}, ValueError, r"timesteps must lie in \[0, 999\]"),
    ({"timesteps": [math.nan]}, ValueError, "timesteps must be finite"),
    ({"timesteps": [math.inf, 3]}, ValueError, "timesteps must be finite"),
    ({"timesteps": ["a"]}, TypeError, "timesteps must be real numbers"),
    ({"timesteps": [None]}, TypeError, "timesteps must be real numbers"),
    ({"timesteps": [True]}, TypeError, "timesteps must be real numbers"),
    ({"sigmas": []}, ValueError, "sigmas must be a one-dimensional"),
    ({"sigmas": [1.0]}, ValueError, "sigmas must be at least two levels"),
    ({"sigmas": [0.0]}, ValueError, "sigmas must be at least two levels"),
    ({"sigmas": [0.0, 0.0]}, ValueError, "sigmas must be strictly decreasing"),
    ({"sigmas": [1.0, 2.0, 0.0]}, ValueError, "sigmas must be strictly decreasing"),
    ({"sigmas": [2.0, 1.0, -1.0]}, ValueError, r"sigmas must be finite and lie in \[0.0100005, "),
    ({"sigmas": [200.0, 1.0, 0.0]}, ValueError, r"sigmas must be finite and lie in \[0.0100005, "),
    ({"sigmas": [1.0, 0.001, 0.0]}, ValueError, r"sigmas must be finite and lie in \[0.0100005, "),
    (
        {"sigmas": [math.inf, 1.0, 0.0]},
        ValueError,
        r"sigmas must be finite and lie in \[0.0100005, ",
    ),
    ({"sigmas": [1.0, math.nan]}, ValueError, "sigmas must not be NaN"),
    ({"sigmas": [1j, 0.0]}, TypeError, "sigmas must be real numbers"),
]


@pytest.mark.parametrize(("levels", "error", "message"), BAD_LEVELS)
def test_levels_are_checked_wherever_they_are_given(levels, error, message):
    for call in (
        lambda: DDIM.tableau(**levels),
        lambda: DDIM.init(X, **levels),
        lambda: DDIM.sample(never, X, **levels),
        lambda: DDIM.iterate(never, X, **levels),
        lambda: DDIM.initial_noise((2,), **levels),
    ):
        with pytest.raises(error, match=message):
            call()


def test_levels_given_in_any_form_of_numbers_are_the_same():
    expected = DDIM.tableau(timesteps=[900, 300])
    for timesteps in (
        (900, 300),
        [900.0, 300.0],
        np.array([900, 300], np.int32),
        range(900, 299, -600),
    ):
        assert DDIM.tableau(timesteps=timesteps) == expected
    assert DDIM.tableau(np.int64(4)) == DDIM.tableau(steps=4)


def test_sigmas_of_float32_may_touch_the_ends():
    sigmas = DISCRETE.sigmas[[999, 500, 0]].astype(np.float32)
    assert [level.t for level in DDIM.tableau(sigmas=sigmas).levels][::2] == [999, 0]


def test_timesteps_may_end_at_a_clean_time_and_need_not():
    scheduler = sc.DDIM(VE)
    assert scheduler.tableau(timesteps=[4.0, 0.0]) == scheduler.tableau(timesteps=[4.0])
    assert scheduler.tableau(sigmas=[4.0, 0.0]) == scheduler.tableau(timesteps=[4.0])
    with pytest.raises(ValueError, match="timesteps must begin above the clean level"):
        scheduler.tableau(timesteps=[0.0])


def test_a_first_sigma_may_be_infinite_where_the_schedule_begins_at_alpha_0():
    for name in ("flow", "cosine", "zero_snr"):
        scheduler = sc.DDIM(SCHEDULES[name], prediction_type="flow")
        tableau = scheduler.tableau(sigmas=[math.inf, 1.0, 0.0])
        assert tableau.levels[0].alpha == 0.0
        assert tableau.levels[0].t == SCHEDULES[name].t_max


# ---------------------------------------------------------------- what cannot be run


@pytest.mark.parametrize("name", sorted(ALL))
@pytest.mark.parametrize("schedule", ["flow", "cosine", "zero_snr"])
def test_what_cannot_begin_at_alpha_0_says_what_to_use(name, schedule):
    scheduler = ALL[name](SCHEDULES[schedule], prediction_type="v_prediction")
    if name in NEED_SIGNAL:
        with pytest.raises(
            ValueError, match=r"alpha = 0.*(PLMS\(startup='lower_order'\)|infinite)"
        ):
            scheduler.sample(never, X, steps=5)
        # from a level with signal it can
        scheduler.sample(bounded_denoiser, X, sigmas=[50.0, 1.0, 0.0], rng=0)
    else:
        scheduler.sample(bounded_denoiser, X, steps=5, rng=0)
    for prediction_type in ("epsilon", "score"):
        scheduler = ALL[name](SCHEDULES[schedule], prediction_type=prediction_type)
        with pytest.raises(
            ValueError,
            match="prediction_type must be 'v_prediction', 'sample' or 'flow' where alpha is 0, "
            f".*got '{prediction_type}'",
        ):
            scheduler.sample(never, X, steps=5)


@pytest.mark.parametrize(
    ("sigma", "message"),
    [
        ([0.1, 0.0], "sigma must have one entry for each of the run's 3 steps, got 2"),
        ([0.1, 0.2, 0.1], "sigma of step 3 must be at least 0 and at most 0, got 0.1"),
        ([5.0, 0.1, 0.0], "sigma of step 1 must be at least 0 and at most 2, got 5.0"),
        ([-0.1, 0.1, 0.0], "sigma of step 1 must be at least 0 and at most 2, got -0.1"),
        (lambda now, then: math.nan, "sigma of step 1 must be .*, got nan"),
    ],
)
def test_ddims_deviations_are_checked_against_the_levels(sigma, message):
    scheduler = sc.DDIM(VE, sigma=sigma)
    with pytest.raises(ValueError, match=message):
        scheduler.sample(never, X, sigmas=[4.0, 2.0, 1.0, 0.0])


def test_a_deviation_as_large_as_its_level_allows_replaces_all_noise():
    (stage,) = sc.DDIM(VE, sigma=[2.0]).tableau(sigmas=[4.0, 2.0]).stages
    assert (stage.b, stage.c) == ((0.0,), 2.0)
    (stage,) = sc.DDIM(VE, sigma=[2.0 * (1 + 1e-15)]).tableau(sigmas=[4.0, 2.0]).stages
    assert stage.b == (0.0,)


# ---------------------------------------------------------------- samples, models, states


@pytest.mark.parametrize(
    ("x", "error", "message"),
    [
        ([1.0, 2.0], TypeError, r"x_T must be an array of floats, got \[1.0, 2.0\]"),
        (1.0, TypeError, "x_T must be an array of floats, got 1.0"),
        (np.float64(1.0), TypeError, "x_T must be an array of floats"),
        (None, TypeError, "x_T must be an array of floats, got None"),
        (np.ones(3, dtype=int), TypeError, "x_T must have a floating dtype, .*got int64"),
        (np.ones(3, dtype=bool), TypeError, "x_T must have a floating dtype, .*got bool"),
        (np.ones(3, dtype=complex), TypeError, "x_T must have a floating dtype, .*got complex128"),
        (np.array(["a"]), TypeError, "x_T must have a floating dtype"),
        (np.array([1.0, math.nan]), ValueError, "x_T must be finite"),
        (np.array([1.0, math.inf]), ValueError, "x_T must be finite"),
    ],
)
def test_samples_are_checked(x, error, message):
    for call in (lambda: DDIM.sample(never, x, steps=2), lambda: DDIM.init(x, steps=2)):
        with pytest.raises(error, match=message):
            call()
    with pytest.raises(error, match=message.replace("x_T", "x_0")):
        DDIM.add_noise(x, 5)


@pytest.mark.parametrize(
    ("output", "error", "message"),
    [
        (np.ones((3, 2)), ValueError, r"output at t=999 must have shape \(2, 3\), got \(3, 2\)"),
        (np.ones((1, 3)), ValueError, r"output at t=999 must have shape \(2, 3\), got \(1, 3\)"),
        (np.ones(3), ValueError, r"output at t=999 must have shape \(2, 3\), got \(3,\)"),
        (1.0, ValueError, r"output at t=999 must have shape \(2, 3\), got \(\)"),
        (np.full((2, 3), math.nan), ValueError, "output at t=999 must be finite, got NaN"),
        (np.full((2, 3), -math.inf), ValueError, "output at t=999 must be finite"),
        (np.ones((2, 3), int), TypeError, "output at t=999 must have a floating dtype.*int64"),
        (np.ones((2, 3), complex), TypeError, "output at t=999 must have a floating dtype"),
        (None, TypeError, "output at t=999 must be an array of floats"),
        ([[1.0], [1.0, 2.0]], TypeError, "output at t=999 must be an array of floats"),
    ],
)
@pytest.mark.parametrize("name", ["DDIM", "Heun", "PLMS4-lower_order", "DDPM"])
def test_the_models_output_is_checked_where_it_is_made(name, output, error, message):
    scheduler = ALL[name](DISCRETE)
    with pytest.raises(error, match="the model's " + message):
        scheduler.sample(lambda x, t: output, X, steps=3)
    with pytest.raises(error, match="the model's " + message):
        scheduler.update(output, scheduler.init(X, steps=3))


def test_the_error_names_the_time_of_the_evaluation_that_made_it():
    def fails_late(x, t):
        return x if t > 0.3 else x * math.nan

    with pytest.raises(ValueError, match=r"the model's output at t=0.25 must be finite"):
        sc.Heun(VP).sample(fails_late, X, steps=4)


@pytest.mark.parametrize(
    "rng", [-1, 1.5, "0", True, np.random, [1, -2], [1, 2.5], {1, 2}, [[[1, 2]]]]
)
def test_rng_is_checked(rng):
    state = DDIM.init(X, steps=2)
    for call in (
        lambda: DDIM.sample(never, X, steps=2, rng=rng),
        lambda: DDIM.iterate(never, X, steps=2, rng=rng),
        lambda: DDIM.init(X, steps=2, rng=rng),
        lambda: DDIM.step(never, state, rng=rng),
        lambda: DDIM.update(X, state, rng=rng),
        lambda: DDIM.initial_noise((2,), steps=2, rng=rng),
        lambda: DDIM.add_noise(X, 5, rng=rng),
    ):
        with pytest.raises((TypeError, ValueError), match=r"^rng(\[[01]\])? must be"):
            call()


@pytest.mark.parametrize("denoiser", [None, 3, X])
def test_the_denoiser_is_checked(denoiser):
    state = DDIM.init(X, steps=2)
    for call in (
        lambda: DDIM.sample(denoiser, X, steps=2),
        lambda: DDIM.iterate(denoiser, X, steps=2),
        lambda: DDIM.step(denoiser, state),
    ):
        with pytest.raises(TypeError, match=r"denoiser must be a callable \(x, t\), got"):
            call()


def test_states_are_checked():
    state = DDIM.init(X, steps=1)
    done = DDIM.step(bounded_denoiser, state)
    for bad, error, message in [
        (done, ValueError, r"state must be of a run that is not done, got State\(DDIM, 1 of 1"),
        (X, TypeError, "state must be a State, from init, got array"),
        (None, TypeError, "state must be a State, from init, got None"),
        (
            sc.Heun(DISCRETE).init(X, steps=2),
            ValueError,
            "state must be of a run of DDIM, got one of Heun",
        ),
    ]:
        with pytest.raises(error, match=message):
            DDIM.step(never, bad)
        with pytest.raises(error, match=message):
            DDIM.update(X, bad)


def test_a_state_at_the_end_is_done_and_at_the_clean_level():
    state = DDIM.step(bounded_denoiser, DDIM.init(X, steps=1))
    assert state.done
    assert state.t == -1
    assert state.level == DISCRETE.clean
    state = sc.DDIM(VE).step(bounded_denoiser, sc.DDIM(VE).init(X, sigmas=[4.0, 1.5]))
    assert state.done
    assert state.level == (1.5, 1.0, 1.5)


def test_step_takes_what_is_left_of_a_step():
    heun = sc.Heun(VE, prediction_type="sample")
    state = heun.init(X, sigmas=[4.0, 2.0, 1.0])
    half = heun.update(bounded_denoiser(state.x, state.t), state)
    assert (half.index, half.t) == (1, 2.0)
    one, other = heun.step(bounded_denoiser, half), heun.step(bounded_denoiser, state)
    assert one.index == other.index == 2
    np.testing.assert_array_equal(one.x, other.x)


def test_the_model_gets_its_own_time():
    for schedule, kind in ((DISCRETE, int), (VP, float), (VE, float)):
        seen = []
        sc.PLMS(schedule).sample(lambda x, t: seen.append(t) or x, X, steps=5)  # noqa: B023
        assert [type(t) for t in seen] == [kind] * 5
        assert seen == sc.PLMS(schedule).tableau(5).timesteps


# ---------------------------------------------------------------- callback, progress


def test_the_callback_sees_the_state_after_every_step():
    for name in ("DDPM", "Heun", "PLMS4-runge_kutta"):
        seen, scheduler = [], ALL[name](DISCRETE)
        got = scheduler.sample(bounded_denoiser, X, steps=4, rng=0, callback=seen.append)
        states = list(scheduler.iterate(bounded_denoiser, X, steps=4, rng=0))
        assert [s.index for s in seen] == [s.index for s in states]
        for one, other in zip(seen, states, strict=True):
            np.testing.assert_array_equal(one.x, other.x)
            np.testing.assert_array_equal(one.denoised, other.denoised)
        np.testing.assert_array_equal(seen[-1].x, got)


def test_callback_and_progress_are_checked():
    with pytest.raises(TypeError, match=r"callback must be a callable \(state\), got 3"):
        DDIM.sample(never, X, steps=2, callback=3)
    with pytest.raises(TypeError, match="progress must be True or False, got 'yes'"):
        DDIM.sample(never, X, steps=2, progress="yes")


def test_progress_shows_a_bar_over_the_steps(monkeypatch):
    bars = []

    def tqdm(states, total):
        seen = list(states)
        bars.append((len(seen), total))
        return seen

    monkeypatch.setitem(sys.modules, "tqdm", types.SimpleNamespace(tqdm=tqdm))
    scheduler = sc.Heun(DISCRETE)
    got = scheduler.sample(bounded_denoiser, X, steps=7, progress=True)
    assert bars == [(7, 7)]
    np.testing.assert_array_equal(got, scheduler.sample(bounded_denoiser, X, steps=7))


def test_progress_without_tqdm_says_what_to_install(monkeypatch):
    real = builtins.__import__

    def without(name, *args, **kwargs):
        if name.startswith("tqdm"):
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ImportError, match="progress=True needs the package tqdm: pip install tqdm"):
        DDIM.sample(never, X, steps=2, progress=True)


# ---------------------------------------------------------------- noise


@pytest.mark.parametrize("schedule", SCHEDULES.values(), ids=SCHEDULES)
def test_initial_noise_has_the_scale_of_the_first_level(schedule):
    scheduler = sc.DDIM(schedule, prediction_type="flow")
    first = scheduler.tableau(steps=4).levels[0]
    x = scheduler.initial_noise((400, 50), steps=4, rng=1)
    assert x.shape == (400, 50)
    assert x.dtype == np.float64
    assert x.std() == pytest.approx(first.sigma, rel=0.02)
    low = scheduler.initial_noise((400, 50), sigmas=[0.5, 0.0], rng=1)
    expected = schedule.sigma(schedule.timestep(0.5))
    np.testing.assert_allclose(low * first.sigma, x * expected, rtol=1e-12)
    assert scheduler.initial_noise(5, steps=4, rng=0, dtype=np.float32).dtype == np.float32
    assert scheduler.initial_noise((), steps=4, rng=0).shape == ()


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.float16])
def test_initial_noise_is_like_an_array(dtype):
    found = DDIM.initial_noise((3, 2), steps=2, rng=5, like=np.empty(7, dtype))
    expected = DDIM.initial_noise((3, 2), steps=2, rng=5, dtype=dtype)
    assert found.dtype == dtype
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"shape": (2, -1)}, ValueError, "shape must be at least 0, got -1"),
        ({"shape": 2.5}, TypeError, "shape must be an integer, got 2.5"),
        ({"shape": (2, "a")}, TypeError, "shape must be an integer, got 'a'"),
        ({"shape": None}, TypeError, "shape must be an integer, got None"),
        (
            {"shape": 2, "dtype": int},
            TypeError,
            "dtype must be a floating.*got <class 'int'>",
        ),
        ({"shape": 2, "dtype": "complex64"}, TypeError, "dtype must be .*got 'complex64'"),
        ({"shape": 2, "dtype": "bf17"}, TypeError, "dtype must be .*got 'bf17'"),
        ({"shape": 2, "like": 3.0}, TypeError, "like must be an array of floats, got 3.0"),
        ({"shape": 2, "like": np.arange(3)}, TypeError, "like must have a floating dtype"),
        ({"shape": 2, "like": np.ones(2), "dtype": float}, ValueError, "must not both be given"),
    ],
)
def test_what_initial_noise_is_given_is_checked(options, error, message):
    with pytest.raises(error, match=message):
        DDIM.initial_noise(**options, steps=2)


@pytest.mark.parametrize("schedule", SCHEDULES.values(), ids=SCHEDULES)
def test_add_noise_is_the_path(schedule):
    scheduler = sc.DDIM(schedule, prediction_type="flow")
    z = np.random.default_rng(1).standard_normal(X.shape)
    t = 0.5 * schedule.t_max
    expected = schedule.alpha(t) * X + schedule.sigma(t) * z
    np.testing.assert_array_equal(scheduler.add_noise(X, t, noise=z), expected)
    # a time for each sample
    times = np.array([t, schedule.t_max])
    both = scheduler.add_noise(X, times, noise=z)
    for i, one in enumerate(times):
        np.testing.assert_array_equal(both[i], scheduler.add_noise(X[i], one, noise=z[i]))
    again = scheduler.add_noise(X, t, rng=3)
    np.testing.assert_array_equal(again, scheduler.add_noise(X, t, rng=3))
    assert not np.allclose(again, scheduler.add_noise(X, t, rng=4))
    for dtype in (np.float32, np.float16):
        assert scheduler.add_noise(X.astype(dtype), t, rng=3).dtype == dtype


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"t": 1000}, ValueError, r"t must lie in \[0, 999\]"),
        ({"t": [1, 2, 3]}, ValueError, r"t must be one time, .*\(2, 3\); got shape \(3,\)"),
        ({"t": [[1, 2]]}, ValueError, r"t must be one time.* got shape \(1, 2\)"),
        ({"t": "late"}, TypeError, "t must be real numbers"),
        ({"t": 5, "noise": X[:1]}, ValueError, r"noise must have shape \(2, 3\), got \(1, 3\)"),
        ({"t": 5, "noise": [1.0]}, TypeError, "noise must be an array of floats"),
        ({"t": 5, "noise": X * math.nan}, ValueError, "noise must be finite"),
        ({"t": 5, "noise": X, "rng": 0}, ValueError, "noise and rng must not both be given"),
    ],
)
def test_what_add_noise_is_given_is_checked(options, error, message):
    with pytest.raises(error, match=message):
        DDIM.add_noise(X, **options)


# ---------------------------------------------------------------- numbers, names, early churn


@pytest.mark.parametrize("kind", [np.float32, np.float16, np.float64, Fraction, int])
def test_numbers_of_any_kind_become_floats_that_impose_no_precision(kind):
    assert sc.DDIM(VE, eta=kind(1)).tableau(5) == sc.DDIM(VE, eta=1.0).tableau(5)
    assert type(sc.EulerAncestral(VE, eta=kind(1)).eta) is float
    x = X.astype(np.float32)
    for scheduler in (
        sc.Heun(VP, s_churn=kind(1), s_noise=kind(1), s_tmax=kind(3)),
        sc.EulerAncestral(VP, eta=kind(1), s_noise=kind(1)),
        sc.DDIM(VP, threshold=sc.StaticThreshold(kind(1))),
        sc.DDIM(VP, threshold=sc.DynamicThreshold(kind(1), kind(1))),
    ):
        state = scheduler.step(bounded_denoiser, scheduler.init(x, steps=3, rng=0), rng=0)
        assert state.carried.dtype == np.float32
    assert sc.VPSchedule(kind(1), kind(2)).alpha(0.5) == sc.VPSchedule(1.0, 2.0).alpha(0.5)
    assert sc.CosineSchedule(s=kind(1)) == sc.CosineSchedule(s=1.0)
    assert sc.VESchedule(kind(1), kind(2)).t_max == 2.0


def test_long_values_are_cut_in_messages():
    with pytest.raises(TypeError) as caught:
        DDIM.sample(never, [[1.0] * 1000] * 100, steps=2)
    assert len(str(caught.value)) < 300


def test_outputs_too_large_for_the_run_are_not_finite():
    with pytest.raises(ValueError, match="the model's output at t=999 must be finite"):
        DDIM.sample(lambda x, t: np.full(x.shape, 1e300), X.astype(np.float32), steps=2)


def test_a_learned_and_a_fixed_variance_do_not_go_on_with_each_others_states():
    x = np.ones((2, 3))
    learned, fixed = sc.DDPM(VP, variance="learned_range"), sc.DDPM(VP)
    with pytest.raises(ValueError, match=r"run of DDPM\(learned_range\), got one of DDPM"):
        learned.step(never, fixed.init(x, steps=2))
    with pytest.raises(ValueError, match=r"run of DDPM, got one of DDPM\(learned_range\)"):
        fixed.step(never, learned.init(x, steps=2))


def test_what_cannot_be_run_is_refused_before_the_first_evaluation():
    with pytest.raises(ValueError, match="x_T must have channels on axis 1 for variance 'learned'"):
        sc.DDPM(VP, variance="learned").sample(never, np.ones(3), steps=2)


@pytest.mark.parametrize("make", [sc.Euler, sc.Heun])
@pytest.mark.parametrize("s_noise", [0.0, 1.0])
def test_churn_at_the_first_level_needs_its_noise_before_the_model(make, s_noise):
    scheduler = make(VP, s_churn=40.0, s_noise=s_noise)
    levels = {"sigmas": [10.0, 1.0, 0.0]}
    expected = scheduler.sample(bounded_denoiser, X, rng=3, **levels)
    # a loop of steps raises it in the first one
    state = scheduler.init(X, **levels)
    for _ in range(2):
        state = scheduler.step(bounded_denoiser, state, rng=3)
    np.testing.assert_array_equal(state.x, expected)
    # a caller who runs the model needs it raised
    state = scheduler.init(X, **levels)
    for use in (lambda: state.x, lambda: scheduler.update(X, state, rng=3)) if s_noise else ():
        with pytest.raises(ValueError, match=r"rng must be given to init where churn raises"):
            use()
    raised = scheduler.init(X, rng=3, **levels)
    scale = raised.level.alpha / VP.alpha(VP.timestep(10.0))
    if not s_noise:  # which is no noise: a scale, that no rng is asked for
        np.testing.assert_allclose(raised.x, scale * X, rtol=1e-15)
        np.testing.assert_array_equal(state.x, raised.x)


def test_a_model_that_writes_to_its_argument_harms_no_state():
    def writes(x, t):
        x *= 0.5
        return bounded_denoiser(x, t)

    def does_not(x, t):
        return bounded_denoiser(0.5 * x, t)

    for dtype in (np.float64, np.float16):
        x = X.astype(dtype)
        for make in (sc.DDIM, sc.Heun, sc.PLMS):
            got = make(VP).sample(writes, x, steps=5)
            np.testing.assert_array_equal(got, make(VP).sample(does_not, x, steps=5))
        np.testing.assert_array_equal(x, X.astype(dtype))


def test_add_noise_takes_a_time_for_each_sample_of_any_shape():
    for shape in ((3,), (3, 2), (3, 2, 4), (3, 2, 4, 5)):
        x, z = np.random.default_rng(0).standard_normal((2, *shape))
        times = [900, 400, 20]
        noised = DDIM.add_noise(x, times, noise=z)
        for i, t in enumerate(times):
            one = DDIM.add_noise(np.asarray(x[i]), t, noise=np.asarray(z[i]))
            np.testing.assert_array_equal(noised[i], one)


def test_scalars_in_arrays_stay_arrays():
    x = DDIM.initial_noise((), steps=2, rng=0)
    for array in (x, DDIM.add_noise(x, 5, rng=0), DDIM.add_noise(x, 5, noise=x)):
        assert isinstance(array, np.ndarray)
        assert array.shape == ()


def test_a_tableau_tells_whether_a_run_draws_noise():
    assert not sc.DDIM(VE).tableau(5).draws_noise
    assert sc.DDPM(VE).tableau(5).draws_noise
    assert not sc.DDPM(VE).tableau(1).draws_noise
    for sigma in (1e-5, 0.05, 4.0):  # noise in the entry alone
        assert sc.Euler(VE, s_churn=9.0).tableau(sigmas=[sigma, 0.0]).draws_noise
    assert not sc.Euler(VE, s_churn=9.0, s_noise=0.0).tableau(5).draws_noise


@pytest.mark.parametrize(
    "scheduler", [sc.Euler(VE, s_churn=9.0, s_noise=0.0), sc.EulerAncestral(VE, s_noise=0.0)]
)
def test_noise_that_weighs_nothing_is_not_drawn(scheduler):
    rng = np.random.default_rng(0)
    scheduler.sample(bounded_denoiser, X, steps=4, rng=rng)
    assert rng.bit_generator.state == np.random.default_rng(0).bit_generator.state


def test_levels_far_above_the_noise_scale_are_told_apart_by_sigma_over_alpha():
    scheduler = sc.DDIM(SCHEDULES["cosine"], prediction_type="flow")
    tableau = scheduler.tableau(sigmas=[1e10, 1e9, 1.0, 0.0])
    assert tableau.levels[0].sigma <= tableau.levels[1].sigma  # the same, to rounding
    np.testing.assert_allclose(tableau.sigmas, [1e10, 1e9, 1.0, 0.0], rtol=1e-5)


def test_a_tableau_is_a_value():
    for make in ALL.values():
        assert hash(make(VP).tableau(5)) == hash(make(VP).tableau(5))


@pytest.mark.parametrize(
    "levels",
    [
        {"steps": 7},
        {"timesteps": [0.9, 0.5, 0.2]},
        {"timesteps": np.array([0.9, 0.5, 0.2])},
        {"sigmas": (3.0, 1.0, 0.0)},
        {"sigmas": np.array([3.0, 1.0, 0.0])},
    ],
)
def test_a_tableau_is_made_once(levels):
    scheduler = sc.DDIM(VP)
    once = scheduler.tableau(**levels)
    assert scheduler.tableau(**levels) is once
    assert scheduler.init(X, **levels).tableau is once
    assert sc.DDIM(VP).tableau(**levels) == once
    assert sc.DDIM(VP).tableau(**levels) is not once


def test_what_looks_like_a_known_number_of_steps_is_still_checked():
    scheduler = sc.DDIM(VP)
    scheduler.tableau(steps=1)
    for steps in (True, 1.0):
        with pytest.raises(TypeError, match="steps must be an integer"):
            scheduler.tableau(steps=steps)
    scheduler.tableau(timesteps=[1.0])
    with pytest.raises(TypeError, match="timesteps must be real numbers"):
        scheduler.tableau(timesteps=[True])
    with pytest.raises(ValueError, match="exactly one"):
        scheduler.tableau(steps=1, timesteps=[1.0])


def test_a_scheduler_keeps_no_more_than_a_few_tableaus():
    scheduler = sc.DDIM(VP)
    sizes = set()
    for steps in range(1, 80):
        assert scheduler.tableau(steps=steps).steps == steps
        sizes.add(len(scheduler._tableaus))
    assert max(sizes) == 32


def test_tableaus_are_no_part_of_what_a_scheduler_is():
    used, fresh = sc.DDIM(VP), sc.DDIM(VP)
    used.sample(lambda x, t: x, X, steps=500)
    assert used == fresh
    assert repr(used) == repr(fresh)
    assert pickle.dumps(used) == pickle.dumps(fresh)
    assert pickle.loads(pickle.dumps(used)).tableau(steps=3) == fresh.tableau(steps=3)
    run, unused = used.tableau(steps=500), fresh.tableau(steps=500)
    assert pickle.dumps(run) == pickle.dumps(unused)


@pytest.mark.parametrize("shape", [(3, 50_000), (2, 3, 200, 200), (1, 2**17)])
def test_large_data_is_noised_to_a_time_for_each_sample(shape):
    scheduler = sc.DDIM(DISCRETE)
    x, z = np.random.default_rng(0).standard_normal((2, *shape), np.float32)
    times = np.linspace(0, 999, shape[0]).astype(int)
    got = scheduler.add_noise(x, times, noise=z)
    for i, t in enumerate(times.tolist()):
        np.testing.assert_array_equal(got[i], scheduler.add_noise(x[i], t, noise=z[i]))


class TestStartFarFromNoise:
    """Where a schedule ends with much of the data left, as one of few training levels does."""

    @pytest.mark.parametrize("levels", [20, 50, 100])
    def test_it_warns_and_the_data_s_spread_mends_it(self, levels):
        schedule = sc.DiscreteSchedule(sc.linear_betas(levels))
        scheduler = sc.DDIM(schedule)
        with pytest.warns(UserWarning, match="ends far from alpha = 0: .*Give data_std"):
            short = scheduler.initial_noise((20_000,), steps=levels, rng=0)
        for std in (0.5, 1.0, 3.0):
            x = scheduler.initial_noise((20_000,), steps=levels, rng=0, data_std=std)
            spread = np.hypot(schedule.alpha(levels - 1) * std, schedule.sigma(levels - 1))
            np.testing.assert_allclose(x, short / schedule.sigma(levels - 1) * spread)
            exact = Gaussian(mean=0.0, cov=std**2).denoiser(schedule, prediction_type="epsilon")
            made = scheduler.sample(exact, x, steps=levels)
            assert made.std() == pytest.approx(std, rel=0.03)

    @pytest.mark.parametrize("sigma_max", [0.5, 2.0])
    def test_it_warns_of_other_schedules_that_end_low(self, sigma_max):
        with pytest.warns(UserWarning, match="ends far from alpha = 0"):
            sc.Euler(sc.VESchedule(sigma_max=sigma_max)).initial_noise((4,), steps=5, rng=0)

    @pytest.mark.parametrize("schedule", [sc.VESchedule(sigma_max=80.0), sc.FlowSchedule()])
    def test_it_does_not_elsewhere(self, schedule):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            sc.Euler(schedule).initial_noise((4,), steps=5, rng=0)
            sc.Euler(schedule).initial_noise((4,), sigmas=[1.0, 0.5], rng=0)

    def test_the_spread_is_checked(self):
        for wrong in (-1.0, np.inf, np.nan):
            with pytest.raises(ValueError, match="data_std must be"):
                sc.DDIM(sc.FlowSchedule()).initial_noise((4,), steps=5, data_std=wrong)
