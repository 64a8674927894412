import numpy as np
import pytest
from hypothesis import given, strategies as st

import schedulers as sc
from kit import bounded_denoiser
from schedulers.engine.arrays import weighted_sum


def test_a_printed_tableau_is_the_table_of_its_rows():
    scheduler = sc.PLMS(sc.VESchedule(), order=2, startup="heun", weights="constant")
    text = str(scheduler.tableau(sigmas=[8.0, 4.0, 2.0, 0.0]))
    assert text.splitlines() == [
        "PLMS: 3 steps, 4 model evaluations",
        "step  NFE  t  alpha  sigma  D   e  e[-1]  e[-2]  z",
        "   1    1  8      1      8  1   4      0      0  0",
        "        2  4      1      4  1   2      2      0  0",
        "   2    3  4      1      4  1   1      0      1  0",
        "   3    4  2      1      2  1  -1      1      0  0",
        "ends   at  0      1      0",
    ]


def test_a_printed_tableau_shows_churn():
    euler = sc.Euler(sc.VESchedule(), s_churn=0.5).tableau(sigmas=[4.0, 0.0])
    assert str(euler).splitlines()[:2] == [
        "Euler: 1 step, 1 model evaluation",
        "entry: the first x is 1 x + 4 z",
    ]


def test_a_tableau_tells_its_steps_evaluations_and_levels():
    tableau = sc.Heun(sc.VPSchedule()).tableau(timesteps=[0.9, 0.5, 0.1])
    assert (tableau.steps, tableau.nfe, tableau.method) == (3, 5, "Heun")
    assert tableau.timesteps == [0.9, 0.5, 0.1]
    expected = [*sc.VPSchedule().karras_sigma([0.9, 0.5, 0.1]), 0.0]
    np.testing.assert_allclose(tableau.sigmas, expected, rtol=1e-15)
    assert [stage.ends_step for stage in tableau.stages] == [False, True, False, True, True]


class Everything(sc.Scheduler):
    """Weighs D and e of up to three evaluations ago, skipping some, with noise in one row."""

    ROWS = (
        ((0.9,), (0.1,), 0.0, False),
        ((0.5, 0.3), (0.2, 0.0), 0.0, True),
        ((0.5,), (0.3, 0.0, -0.2), 0.7, True),
        ((0.1, 0.0, 0.4, -0.3), (0.2, 0.5), 0.0, True),
        ((1.0, 0.0, 0.0), (0.0, 0.0, 0.0, 0.6), 0.0, True),
    )

    def stages(self, levels):
        begins = [levels[0], levels[0], *levels[1:-1]]
        for level, (a, b, c, ends_step) in zip(begins, self.ROWS, strict=True):
            yield sc.Stage(level, a, b, c, ends_step=ends_step)


@pytest.mark.parametrize("prediction_type", ["epsilon", "v_prediction"])
def test_the_engine_runs_any_tableau_as_its_definition_says(prediction_type):
    schedule = sc.VPSchedule()
    scheduler = Everything(schedule, prediction_type=prediction_type)
    levels = [0.9, 0.7, 0.4, 0.2]
    x0 = np.random.default_rng(0).normal(size=(4, 3))
    got = scheduler.sample(bounded_denoiser, x0, timesteps=levels, rng=np.random.default_rng(5))

    normal, x, ds, es = np.random.default_rng(5).standard_normal, x0, [], []
    for t, (a, b, c, _) in zip([0.9, *levels], Everything.ROWS, strict=True):
        alpha, sigma, out = schedule.alpha(t), schedule.sigma(t), bounded_denoiser(x, t)
        if prediction_type == "epsilon":
            ds.insert(0, (x - sigma * out) / alpha)
            es.insert(0, out)
        else:
            ds.insert(0, alpha * x - sigma * out)
            es.insert(0, sigma * x + alpha * out)
        x = sum(w * d for w, d in zip(a, ds, strict=False))
        x = x + sum(w * e for w, e in zip(b, es, strict=False))
        x = x + (c * normal(x0.shape) if c else 0.0)
    np.testing.assert_allclose(got, x, rtol=1e-13, atol=1e-14)


def test_the_history_holds_what_later_rows_weigh_and_no_more():
    state = Everything(sc.VPSchedule()).init(np.ones(2), timesteps=[0.9, 0.7, 0.4, 0.2])
    held = []
    while not state.done:
        state = Everything(sc.VPSchedule()).update(np.ones(2), state, rng=0)
        held.append([(d is not None, e is not None) for d, e in state.history])
    # By row, (D, e) of the latest evaluation first: D of 0 and 1 lasts until row 3, e of 0 until
    # row 2, e of 1 until row 4, e of 2 until row 3.
    assert held == [
        [(True, True)],
        [(True, True), (True, True)],
        [(False, True), (True, True), (True, False)],
        [(False, False), (False, False), (False, True)],
        [],
    ]


def test_schedulers_without_history_hold_none():
    for scheduler in (
        sc.DDIM(sc.VPSchedule()),
        sc.DDPM(sc.VPSchedule()),
        sc.Euler(sc.VPSchedule()),
    ):
        states = list(scheduler.iterate(bounded_denoiser, np.ones(3), steps=4, rng=0))
        assert [state.history for state in states] == [(), (), (), ()]


@given(st.lists(st.floats(-2.0, 2.0), min_size=1, max_size=5))
def test_a_weighted_sum_is_one_and_writes_to_none_of_its_terms(weights):
    arrays = [np.full(3, float(i + 1)) for i in range(len(weights))]
    weights[0] = 1.0
    total = weighted_sum(list(zip(weights, arrays, strict=True)))
    np.testing.assert_allclose(total, sum(w * (i + 1) for i, w in enumerate(weights)) * np.ones(3))
    assert not any(np.shares_memory(total, array) for array in arrays)
    assert [array[0] for array in arrays] == [i + 1 for i in range(len(weights))]


def test_a_term_of_weight_zero_is_left_out_whatever_it_holds():
    total = weighted_sum([(1.0, np.ones(2)), (0.0, None)])
    np.testing.assert_array_equal(total, np.ones(2))


def test_a_state_shows_where_it_is():
    state = sc.Heun(sc.VESchedule()).init(np.ones((2, 3)), sigmas=[4.0, 2.0, 0.0])
    assert repr(state) == "State(Heun, 0 of 3 evaluations, t=4, shape=(2, 3))"
    assert (state.level.sigma, state.t, state.denoised, state.done) == (4.0, 4.0, None, False)


class Rows(sc.Scheduler):
    """A scheduler of a user's own whose rows may be anything."""

    def stages(self, levels):
        (now, _) = levels
        return {
            "numpy": [sc.Stage(now, (np.float64(1.0),), (np.int64(0),), np.float64(0.5))],
            "early": [sc.Stage(now, (1.0, 0.5), (0.0,))],
            "early e": [sc.Stage(now, (1.0,), (0.0, 0.5))],
            "unending": [sc.Stage(now, (1.0,), (0.0,), ends_step=False)],
            "too many": [sc.Stage(now, (1.0,), (0.0,)), sc.Stage(now, (1.0,), (0.0,))],
            "goes on": [
                sc.Stage(now, (1.0,), (0.0,)),
                sc.Stage(now, (1.0,), (0.0,), ends_step=False),
            ],
            "none": [],
            "tuple": [(now, (1.0,), (0.0,))],
            "nan": [sc.Stage(now, (1.0,), (float("nan"),))],
        }[self.spacing.__name__]


def rows(name):
    def spacing(schedule, steps):
        return [1.0]

    spacing.__name__ = name
    return Rows(sc.VESchedule(), spacing=spacing)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("early", "stages must weigh evaluations from the first one on, got a weight in row 0"),
        ("early e", "stages must weigh evaluations from the first one on, got a weight in row 0"),
        ("unending", "stages must end 1 steps, .* got 0 stages that end one"),
        ("too many", "stages must end 1 steps, .* got 2 stages that end one"),
        ("goes on", "stages must end 1 steps, and the last stage must end the last step"),
        ("none", "stages must end 1 steps, .* got 0 stages that end one"),
        ("tuple", "stages must be Stages, got .* in row 0"),
        ("nan", "stages must have finite weights, got Stage.*nan.* in row 0"),
    ],
)
def test_rows_that_cannot_be_run_are_refused(name, message):
    with pytest.raises((ValueError, TypeError), match=message):
        rows(name).tableau(1)


def test_weights_of_any_kind_of_number_impose_no_precision():
    x = np.ones(3, np.float32)
    for state in rows("numpy").iterate(bounded_denoiser, x, steps=1, rng=0):
        assert state.carried.dtype == np.float32


class Extrapolated(sc.Scheduler):
    """Weighs the last D but no last e."""

    def stages(self, levels):
        for step, now in enumerate(levels[:-1]):
            then = levels[step + 1]
            a = (1.5 * then.alpha, -0.5 * then.alpha) if step else (then.alpha,)
            yield sc.Stage(now, a, (then.sigma,))


def test_sample_keeps_the_denoised_estimates_that_rows_weigh():
    # sample itself has no use for D, which only iterate shows.
    scheduler, x = Extrapolated(sc.VPSchedule()), np.random.default_rng(0).normal(size=(2, 3))
    (*_, last) = scheduler.iterate(bounded_denoiser, x, steps=6)
    np.testing.assert_array_equal(scheduler.sample(bounded_denoiser, x, steps=6), last.x)


def test_a_printed_tableau_leaves_out_what_no_row_weighs():
    lines = str(sc.PLMS(sc.VESchedule(), order=2, startup="runge_kutta").tableau(4)).splitlines()
    assert lines[1].split() == [
        "step",
        "NFE",
        "t",
        "alpha",
        "sigma",
        "D",
        "e",
        "e[-1]",
        "e[-2]",
        "e[-3]",
        "e[-4]",
        "z",
    ]
    lines = str(sc.DDIM(sc.VESchedule()).tableau(2)).splitlines()
    assert lines[1].split() == ["step", "NFE", "t", "alpha", "sigma", "D", "e", "z"]
    lines = str(Extrapolated(sc.VESchedule()).tableau(2)).splitlines()
    assert lines[1].split() == ["step", "NFE", "t", "alpha", "sigma", "D", "D[-1]", "e", "z"]


def test_weights_are_kept_as_tuples_of_floats():
    level = sc.Level(2.0, 1.0, 2.0)
    expected = sc.Stage(level, (0.5,), (1.0, 0.0, -0.25), 0.5)
    for a, b, c in (
        ([np.float32(0.5)], np.array([1.0, 0.0, -0.25]), np.float32(0.5)),
        ({0: 0.5}, {2: -0.25, 0: 1}, np.array(0.5)),
        ((0.5,), range(1, 2), 0.5),
    ):
        stage = sc.Stage(level, a, b, c)
        assert all(type(weight) is float for weight in (*stage.a, *stage.b, stage.c))
        assert stage.a == expected.a
        assert stage.b in (expected.b, (1.0,))
        assert stage.c == expected.c
    assert sc.Stage(level, {}, {1: 2.0}).a == (0.0,)
    assert hash(sc.Stage(level, [0.5], {0: 1.0, 2: -0.25}, 0.5)) == hash(expected)


@pytest.mark.parametrize(
    ("weights", "error", "message"),
    [
        ([], ValueError, "{name} must hold the weight of its own evaluation, if only 0, got none"),
        (["1"], TypeError, r"{name}\[0\] must be a real number, got '1'"),
        ([True], TypeError, r"{name}\[0\] must be a real number, got True"),
        ([np.ones(2)], TypeError, r"{name}\[0\] must be a real number, got array"),
        (1.0, TypeError, r"{name} must be a sequence of weights or a dict of .*, got 1.0"),
        ("1", TypeError, "{name} must be a sequence of weights or a dict of .*, got '1'"),
        ({-1: 1.0}, ValueError, "each key of {name} must be at least 0, got -1"),
        ({0.0: 1.0}, TypeError, "each key of {name} must be an integer, got 0.0"),
    ],
)
@pytest.mark.parametrize("name", ["a", "b"])
def test_what_is_no_weight_is_refused(name, weights, error, message):
    given = {"a": (1.0,), "b": (1.0,), name: weights}
    with pytest.raises(error, match=message.replace("{name}", name)):
        sc.Stage(sc.Level(2.0, 1.0, 2.0), **given)


def test_the_weight_of_noise_is_a_number():
    with pytest.raises(TypeError, match="c must be a real number, got None"):
        sc.Stage(sc.Level(2.0, 1.0, 2.0), (1.0,), (1.0,), None)


def test_rows_with_a_learned_variance_hold_the_smaller_deviation():
    def deviations(variance):
        tableau = sc.DDPM(sc.VESchedule(), variance=variance).tableau(sigmas=[4.0, 2.0, 0.0])
        return [stage.c for stage in tableau.stages]

    assert deviations("learned") == deviations("learned_range") == deviations("fixed_small")
    assert deviations("learned") == pytest.approx([3.0**0.5, 0.0], rel=1e-14)
