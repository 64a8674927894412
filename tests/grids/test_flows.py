import math
from functools import partial

import numpy as np
import pytest
from hypothesis import given, strategies as st

import schedulers as sc
from kit import SCHEDULES
from schedulers import grids
from schedulers.analysis import compare, output_law
from schedulers.analytic import Gaussian
from schedulers.grids import SPACINGS, by_flow_time, dynamic_shift, linear_quadratic, shifted

FLOW = sc.FlowSchedule()
shifts = st.floats(0.05, 20.0)
steps_ = st.integers(1, 60)
BEGIN_AT_0 = ["flow", "cosine"]


@pytest.mark.parametrize("spacing", ["trailing", "linspace", "flow_karras", "flow_beta"])
@given(steps=steps_, shift=shifts)
def test_a_shift_is_its_formula_and_is_applied_once(spacing, steps, shift):
    t = SPACINGS[spacing](FLOW, steps)
    times = shifted(FLOW, steps, shift, spacing=spacing)
    np.testing.assert_allclose(times, shift * t / (1 + (shift - 1) * t), rtol=1e-12)
    assert times[0] == 1.0
    assert np.all(np.diff(times) < 0.0)


@pytest.mark.parametrize("name", BEGIN_AT_0)
@given(steps=st.integers(2, 60), shift=shifts)
def test_a_shift_multiplies_karras_sigma(name, steps, shift):
    schedule = SCHEDULES[name]
    before = schedule.karras_sigma(grids.trailing(schedule, steps)[1:])
    after = schedule.karras_sigma(shifted(schedule, steps, shift)[1:])
    np.testing.assert_allclose(after, shift * before, rtol=1e-9)


@pytest.mark.parametrize("name", BEGIN_AT_0)
@given(steps=steps_, a=shifts, b=shifts)
def test_shifts_compose_and_undo_each_other(name, steps, a, b):
    schedule = SCHEDULES[name]
    twice = shifted(schedule, steps, a, spacing=partial(shifted, shift=b))
    np.testing.assert_allclose(twice, shifted(schedule, steps, a * b), rtol=1e-9)
    back = shifted(schedule, steps, 1.0 / a, spacing=partial(shifted, shift=a))
    np.testing.assert_allclose(back, grids.trailing(schedule, steps), rtol=1e-9)


@given(steps=st.integers(2, 40), shift=shifts, more=st.floats(1.01, 3.0))
def test_a_larger_shift_moves_every_time_but_the_first_towards_the_noise(steps, shift, more):
    low, high = shifted(FLOW, steps, shift), shifted(FLOW, steps, shift * more)
    assert np.all(high[1:] > low[1:])


def test_no_shift_changes_nothing():
    np.testing.assert_allclose(shifted(FLOW, 9, 1.0), grids.trailing(FLOW, 9), rtol=1e-15)


def test_known_shifts():
    # Stable Diffusion 3's 3 on 4 steps, by hand; and 20 steps of 7 from 1 to 0.001, as published
    # with diffusers' `set_shift`.
    np.testing.assert_allclose(shifted(FLOW, 4, 3.0), [1.0, 0.9, 0.75, 0.5], rtol=1e-15)
    published = [1.0, 0.9921, 0.9835, 0.9739, 0.9633, 0.9515, 0.9382, 0.9232, 0.9060, 0.8863]
    published += [0.8633, 0.8361, 0.8037, 0.7642, 0.7151, 0.6522, 0.5691, 0.4540, 0.2838, 0.0070]
    times = shifted(FLOW, 20, 7.0, spacing="linspace")
    np.testing.assert_allclose(times, published, atol=5.1e-5)


@pytest.mark.parametrize("name", BEGIN_AT_0)
@given(steps=st.integers(2, 40), shift=shifts, terminal=st.floats(0.01, 0.9))
def test_a_terminal_level_is_met_and_the_gaps_keep_their_proportions(name, steps, shift, terminal):
    schedule = SCHEDULES[name]

    def flow(times):
        return schedule.sigma(times) / (schedule.alpha(times) + schedule.sigma(times))

    before = 1.0 - flow(shifted(schedule, steps, shift))
    times = shifted(schedule, steps, shift, shift_terminal=terminal)
    after = 1.0 - flow(times)
    assert times[0] == schedule.t_max
    assert after[-1] == pytest.approx(1.0 - terminal, rel=1e-9)
    np.testing.assert_allclose(after, before * after[-1] / before[-1], rtol=1e-8, atol=1e-12)
    if name == "flow":
        assert times[-1] == terminal


@pytest.mark.parametrize("name", BEGIN_AT_0)
def test_a_single_step_stays_at_the_noise(name):
    schedule = SCHEDULES[name]
    assert shifted(schedule, 1, 3.0).tolist() == [1.0]
    assert shifted(schedule, 1, 3.0, shift_terminal=0.1).tolist() == [1.0]
    assert dynamic_shift(schedule, 1, 4096, shift_terminal=0.1).tolist() == [1.0]
    scheduler = sc.Euler(
        schedule,
        prediction_type="flow",
        spacing=partial(shifted, shift=3.0, shift_terminal=0.1),
    )
    assert np.isfinite(output_law(scheduler, Gaussian(1.0, 4.0), steps=1).mean)


@pytest.mark.parametrize(
    ("seq_len", "mu"), [(256, 0.5), (4096, 1.15), (2176, 0.825), (8192, 1.15 + 0.65 * 4096 / 3840)]
)
def test_the_dynamic_shift_is_linear_in_the_length(seq_len, mu):
    np.testing.assert_allclose(
        dynamic_shift(FLOW, 10, seq_len), shifted(FLOW, 10, math.exp(mu)), rtol=1e-12
    )
    np.testing.assert_allclose(
        dynamic_shift(FLOW, 10, seq_len, time_shift="linear"), shifted(FLOW, 10, mu), rtol=1e-12
    )


def test_the_dynamic_shift_takes_other_models_figures():
    # CogView 4: linear, 0.25 to 0.75. Qwen-Image: up to 0.9 at 8192, and a terminal level.
    got = dynamic_shift(FLOW, 6, 4096, base_shift=0.25, max_shift=0.75, time_shift="linear")
    np.testing.assert_allclose(got, shifted(FLOW, 6, 0.75), rtol=1e-14)
    got = dynamic_shift(FLOW, 6, 8192, max_shift=0.9, max_seq_len=8192, shift_terminal=0.02)
    expected = shifted(FLOW, 6, math.exp(0.9), shift_terminal=0.02)
    np.testing.assert_allclose(got, expected, rtol=1e-14)
    spaced = dynamic_shift(FLOW, 6, 4096, spacing="linspace")
    np.testing.assert_allclose(spaced, shifted(FLOW, 6, math.exp(1.15), spacing="linspace"))


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (partial(shifted, FLOW, 4, 0.0), ValueError, "shift must be above 0 and finite, got 0.0"),
        (partial(shifted, FLOW, 4, None), TypeError, "shift must be a real number, got None"),
        (partial(shifted, FLOW, 0, 3.0), ValueError, "steps must be at least 1, got 0"),
        (partial(shifted, None, 4, 3.0), TypeError, "schedule must be a NoiseSchedule, got None"),
        (
            partial(shifted, sc.VPSchedule(), 4, 3.0),
            ValueError,
            "schedule must begin at alpha = 0, .* got VPSchedule",
        ),
        (
            partial(shifted, FLOW, 4, 3.0, spacing="even"),
            ValueError,
            "spacing must be one of 'trailing', .*got 'even'",
        ),
        (
            partial(shifted, FLOW, 4, 3.0, shift_terminal=0.0),
            ValueError,
            "shift_terminal must be above 0 and finite, got 0.0",
        ),
        (
            partial(shifted, FLOW, 4, 3.0, shift_terminal=1.0),
            ValueError,
            "shift_terminal must be below 1, got 1.0",
        ),
        (
            partial(shifted, SCHEDULES["zero_snr"], 900, 9.0),
            ValueError,
            "sigmas of the grid must be finite and lie in",
        ),
        (partial(dynamic_shift, FLOW, 4, 0), ValueError, "seq_len must be at least 1, got 0"),
        (partial(dynamic_shift, FLOW, 4, 9.5), TypeError, "seq_len must be an integer, got 9.5"),
        (
            partial(dynamic_shift, FLOW, 4, 9, base_seq_len=300, max_seq_len=300),
            ValueError,
            "max_seq_len must be at least 301, got 300",
        ),
        (
            partial(dynamic_shift, FLOW, 4, 9, max_shift=math.nan),
            ValueError,
            "max_shift must be finite, got nan",
        ),
        (
            partial(dynamic_shift, FLOW, 4, 9, time_shift="cubic"),
            ValueError,
            "time_shift must be one of 'exponential', 'linear', got 'cubic'",
        ),
        (
            partial(dynamic_shift, FLOW, 4, 256, base_shift=-0.5, time_shift="linear"),
            ValueError,
            "base_shift and max_shift must give a positive, finite shift, got -0.5 .* seq_len=256",
        ),
        (
            partial(dynamic_shift, FLOW, 4, 10**9),
            ValueError,
            "must give a positive, finite shift, got inf .* seq_len=1000000000",
        ),
    ],
)
def test_arguments_of_shifts_are_checked(call, error, message):
    with pytest.raises(error, match=message):
        call()


GRIDS = {
    "flow_karras": grids.karras_sigmas,
    "flow_exponential": grids.exponential_sigmas,
    "flow_beta": grids.beta_sigmas,
}


@pytest.mark.parametrize("name", ["vp", "ve", "flow", "cosine", "stable_diffusion"])
@pytest.mark.parametrize("spacing", GRIDS)
@given(steps=st.integers(1, 50))
def test_grids_of_flow_time_are_the_grids_of_sigma_in_that_time(name, spacing, steps):
    schedule = SCHEDULES[name]
    times = SPACINGS[spacing](schedule, steps)
    first, last = (level.flow_time for level in schedule.levels([schedule.t_max, schedule.t_min]))
    flow = [level.flow_time for level in schedule.levels(times)]
    np.testing.assert_allclose(flow, GRIDS[spacing](steps, last, first)[:-1], rtol=1e-9)
    assert times[0] == schedule.t_max
    assert steps == 1 or times[-1] == schedule.t_min


def test_grids_of_flow_time_take_an_end_and_options():
    karras = partial(grids.karras_sigmas, rho=3.0)
    times = by_flow_time(FLOW, 5, karras, end=0.2)
    np.testing.assert_array_equal(times, karras(5, 0.2, 1.0)[:-1])
    assert by_flow_time(FLOW, 1, end=0.2).tolist() == [1.0]


def test_grids_of_flow_time_are_shifted_once():
    got = shifted(FLOW, 5, 3.0, spacing="flow_karras")
    t = grids.karras_sigmas(5, FLOW.t_min, 1.0)[:-1]
    np.testing.assert_allclose(got, 3.0 * t / (1.0 + 2.0 * t), rtol=1e-14)


@pytest.mark.parametrize("spacing", [*GRIDS, "linear_quadratic", "kl_optimal"])
@given(steps=st.integers(1, 900))
def test_a_discrete_schedule_that_begins_at_alpha_0_has_times_for_any_number_of_steps(
    spacing, steps
):
    schedule = SCHEDULES["zero_snr"]
    scheduler = sc.DDIM(schedule, prediction_type="v_prediction", spacing=spacing)
    levels = scheduler.tableau(steps).levels
    assert len(levels) == steps + 1
    assert levels[0].t == 999
    assert all(level.t <= 998 for level in levels[1:])


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (partial(by_flow_time, FLOW, 4, None), TypeError, r"grid must be a callable \(n, sigma_"),
        (partial(by_flow_time, FLOW, 4, end=0.0), ValueError, "end must be above 0 .*got 0.0"),
        (partial(by_flow_time, FLOW, 4, end=1.0), ValueError, "end must be below 1, .* got 1.0"),
        (
            partial(by_flow_time, FLOW, 4, lambda n, low, high: [0.5]),
            ValueError,
            r"grid must return 4 levels and a last one, got \[0.5\]",
        ),
    ],
)
def test_arguments_of_grids_of_flow_time_are_checked(call, error, message):
    with pytest.raises(error, match=message):
        call()


@given(data=st.data(), steps=st.integers(2, 100), part=st.floats(0.01, 0.3))
def test_linear_quadratic_times_are_linear_and_then_quadratic_with_one_slope(data, steps, part):
    linear = data.draw(st.integers(max(1, math.ceil(part * steps)), steps - 1), label="linear")
    t = np.append(linear_quadratic(FLOW, steps, part, linear), 0.0)
    assert t[0] == 1.0
    assert np.all(np.diff(t) < 0.0)
    np.testing.assert_allclose(t[: linear + 1], 1.0 - part * np.arange(linear + 1) / linear)
    # From there on a parabola that leaves with the slope of the line.
    i = np.arange(steps + 1 - linear)
    bend = np.polyfit(i, t[linear:] - (1.0 - part) + part / linear * i, 2) if i.size > 2 else None
    if bend is not None:
        np.testing.assert_allclose(bend[1:], 0.0, atol=1e-11)


def test_known_linear_quadratic_times():
    # 1 - 0.2 i / 2, and then 1 - 0.1 i - 0.15 (i - 2)**2.
    np.testing.assert_allclose(linear_quadratic(FLOW, 4, 0.2), [1.0, 0.9, 0.8, 0.55], rtol=1e-14)
    assert linear_quadratic(FLOW, 1).tolist() == [1.0]
    np.testing.assert_allclose(linear_quadratic(FLOW, 2), [1.0, 0.975], rtol=1e-14)


@pytest.mark.parametrize("name", ["vp", "ve", "cosine", "stable_diffusion"])
def test_linear_quadratic_times_of_other_schedules_begin_at_their_noisiest(name):
    schedule = SCHEDULES[name]
    times = linear_quadratic(schedule, 12)
    flow = np.array([level.flow_time for level in schedule.levels(times)])
    assert times[0] == schedule.t_max
    least = schedule.karras_sigma(0) if name == "stable_diffusion" else 0.0
    least /= 1.0 + least
    share = (flow - least) / (flow[0] - least)
    np.testing.assert_allclose(share, linear_quadratic(FLOW, 12), rtol=1e-9)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"threshold_noise": 0.0}, ValueError, "threshold_noise must be above 0 .*got 0.0"),
        ({"threshold_noise": 1.0}, ValueError, "threshold_noise must be below 1, got 1.0"),
        ({"linear_steps": 0}, ValueError, "linear_steps must be at least 1, got 0"),
        ({"linear_steps": 8}, ValueError, "linear_steps must be at most 7, got 8"),
        ({"linear_steps": 2.0}, TypeError, "linear_steps must be an integer, got 2.0"),
        (
            {"threshold_noise": 0.9, "linear_steps": 1},
            ValueError,
            "threshold_noise must be small enough for the last 7 of 8 steps .* got 0.9 in 1 linear",
        ),
    ],
)
def test_arguments_of_linear_quadratic_times_are_checked(options, error, message):
    with pytest.raises(error, match=message):
        linear_quadratic(FLOW, 8, **options)


ENDING = {
    "shifted": partial(shifted, shift=3.0),
    "dynamic": partial(dynamic_shift, seq_len=4096),
    "terminal": partial(shifted, shift=3.0, shift_terminal=0.05),
    **{name: name for name in ("flow_karras", "flow_exponential", "flow_beta")},
    "linear_quadratic": "linear_quadratic",
}


@pytest.mark.parametrize("spacing", ENDING)
@pytest.mark.parametrize("make", [sc.Euler, sc.DDIM])
def test_flows_come_nearer_to_the_data_with_every_doubling_of_the_steps(spacing, make):
    data = Gaussian(np.array([1.0, -0.5]), np.array([1.0, 0.04]))
    scheduler = make(FLOW, prediction_type="flow", spacing=ENDING[spacing])
    errors = compare([scheduler], data, steps=(8, 16, 32, 64, 128)).errors[0]
    if spacing == "terminal":  # its last step, from 0.05, is one step however many there are
        assert errors[-1] < errors[0] < 0.5
    else:
        assert np.all(np.diff(errors) < 0.0)
    assert errors[-1] < 0.06
