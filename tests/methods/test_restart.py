"""Restart: its rows are Heun's and noise, its law converges, and errors contract."""

import math
from itertools import pairwise

import numpy as np
import pytest

import schedulers as sc
from kit import SCHEDULES, bounded_denoiser, law_error, relative_error
from schedulers.analysis import transfer_function

VE = sc.VESchedule()


def heun(denoise, x, sigmas):
    for s, s_next in pairwise(sigmas):
        e = (x - denoise(x, s)) / s
        end = x + (s_next - s) * e
        if s_next:
            end = x + 0.5 * (s_next - s) * (e + (end - denoise(end, s_next)) / s_next)
        x = end
    return x


def test_it_is_the_algorithm_of_its_paper():
    sigmas, seed = [20.0, 9.0, 4.0, 1.0, 0.4, 0.0], 5
    intervals = [(0.5, 2.0, 3, 2), (3.0, 12.0, 1, 1)]
    generator = np.random.default_rng(seed)
    start = y = 20.0 * generator.standard_normal((3, 2))

    def again(y, foot, down):
        up = math.sqrt(down[0] ** 2 - foot**2)
        return heun(bounded_denoiser, y + 0.9 * up * generator.standard_normal(y.shape), down)

    y = again(heun(bounded_denoiser, y, sigmas[:3]), 4.0, [12.0, 4.0])
    y = heun(bounded_denoiser, y, sigmas[2:5])
    for _ in range(2):
        y = again(y, 0.4, sc.karras_sigmas(4, 0.4, 2.0)[:-1].tolist())
    y = heun(bounded_denoiser, y, sigmas[4:])
    generator = np.random.default_rng(seed)
    generator.standard_normal((3, 2))
    scheduler = sc.Restart(VE, prediction_type="sample", restarts=intervals, s_noise=0.9)
    got = scheduler.sample(bounded_denoiser, start, sigmas=sigmas, rng=generator)
    assert relative_error(got, y) < 1e-12


def test_the_levels_fall_and_a_step_holds_the_ways_of_its_end():
    tableau = sc.Restart(VE, restarts=[(1.0, 3.0, 2, 3)]).tableau(sigmas=[4.0, 2.0, 0.9, 0.0])
    assert tableau.steps == 3
    assert tableau.nfe == 2 + (2 + 3 * 4) + 1
    assert [row.ends_step for row in tableau.stages].index(True) == 1
    assert sum(row.c > 0.0 for row in tableau.stages) == 3


@pytest.mark.parametrize("schedule", ["ve", "vp", "discrete", "flow"])
def test_the_law_converges_in_second_order_where_all_steps_get_shorter(schedule):
    off = []
    for n in (16, 32, 64):
        scheduler = sc.Restart(
            SCHEDULES[schedule],
            prediction_type="sample",
            restarts=[(0.3, 1.0, n // 2, 2), (2.0, 6.0, n // 2, 1)],
        )
        off.append(abs(law_error(scheduler, np.geomspace(10.0, 0.3, n + 1))))
    orders = np.log2(np.array(off[:-1]) / off[1:])
    assert orders == pytest.approx(2.0, abs=0.3)


def test_the_noise_of_a_point_is_that_of_its_level():
    scheduler = sc.Restart(VE, restarts=[(0.5, 2.0, 2, 3)])
    assert abs(law_error(scheduler, np.array([8.0, 2.0, 0.5, 0.3]), variance=0.0)) < 1e-13


def test_each_way_up_and_down_contracts_what_went_wrong_before():
    gains = []
    for times in (1, 2, 3):
        scheduler = sc.Restart(VE, restarts=[(0.5, 5.0, 8, times)])
        gains.append(
            float(transfer_function(scheduler, 0.25, sigmas=[8.0, 4.0, 2.0, 1.0, 0.5]).start)
        )
    contraction = np.array(gains[1:]) / gains[:-1]
    # The flow from 5 to 0.5 scales by sqrt((v + 0.5**2) / (v + 5**2)).
    assert contraction == pytest.approx(math.sqrt(0.5 / 25.25), rel=0.05)


@pytest.mark.parametrize(
    ("intervals", "sigmas"),
    [
        ([(0.1, 2.0, 1, 1)], [4.0, 0.0]),  # nothing to restart from but the clean level
        ([(0.1, 0.5, 1, 1)], [4.0, 2.0, 0.0]),  # the nearest level is above the interval
        ([(0.1, 2.0 * (1.0 + 1e-15), 5, 1)], [4.0, 2.0, 0.0]),  # and by rounding
        ([], [4.0, 2.0, 0.0]),
    ],
)
def test_an_interval_that_no_step_ends_near_is_left_out(intervals, sigmas):
    got = sc.Restart(VE, restarts=intervals).tableau(sigmas=sigmas)
    assert got.stages == sc.Heun(VE).tableau(sigmas=sigmas).stages


@pytest.mark.parametrize(
    ("interval", "error", "message"),
    [
        ((0.5, 1.0, 2), TypeError, r"restarts must be \(t_min, t_max, steps, times\) each"),
        (0.5, TypeError, r"restarts must be \(t_min, t_max, steps, times\) each"),
        ((0.0, 1.0, 2, 1), ValueError, "t_min of restarts must be above 0"),
        ((0.5, 0.5, 2, 1), ValueError, "t_max of restarts must be above 0.5"),
        ((0.5, 500.0, 2, 1), ValueError, "t_max of restarts must be above 0.5 and at most 157"),
        ((0.5, 1.0, 0, 1), ValueError, "steps of restarts must be at least 1"),
        ((0.5, 1.0, 1, 1.5), TypeError, "times of restarts must be an integer"),
    ],
)
def test_bad_intervals_are_refused(interval, error, message):
    with pytest.raises(error, match=message):
        sc.Restart(SCHEDULES["discrete"], restarts=[interval])


def test_restarts_are_a_sequence_kept_as_tuples():
    with pytest.raises(TypeError, match="restarts must be a sequence of"):
        sc.Restart(VE, restarts=None)
    assert sc.Restart(VE, restarts=[[0.5, 1, 2, 1]]) == sc.Restart(VE, restarts=((0.5, 1.0, 2, 1),))
    assert hash(sc.Restart(VE, restarts=[[0.5, 1, 2, 1]]))
