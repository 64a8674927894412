"""DPM2 and its ancestral form, against k-diffusion's algorithm and exact laws."""

import math
from functools import partial
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, strategies as st

import schedulers as sc
from kit import (
    SCHEDULES,
    bounded_denoiser,
    expectation_order,
    law_order,
    relative_error,
    seeds,
    sigma_grids,
)
from schedulers.testing import scheduler_case
from schedulers.testing.laws import accuracy

VE = sc.VESchedule()


def normal_of(seed, shape=(3, 2)):
    generator = np.random.default_rng(seed)
    return generator.standard_normal(shape), generator


def written_out(denoise, x, sigmas, eta, normal):
    """The ancestral midpoint step on y, as its users write it; without eta, DPM2."""
    for s, s_next in pairwise(sigmas):
        up = eta * math.sqrt(s_next**2 * (s**2 - s_next**2) / s**2)
        down = math.sqrt(s_next**2 - up**2)
        d = (x - denoise(x, s)) / s
        if down == 0.0:
            x = x + (down - s) * d
            continue
        middle = math.exp(0.5 * (math.log(s) + math.log(down)))
        x_2 = x + (middle - s) * d
        x = x + (down - s) * (x_2 - denoise(x_2, middle)) / middle
        if eta:
            x = x + up * normal()
    return x


@pytest.mark.parametrize("eta", [0.0, 0.5, 1.0])
@given(sigmas=sigma_grids(), seed=seeds)
def test_it_is_the_midpoint_step_in_log_sigma(eta, sigmas, seed):
    x, generator = normal_of(seed)
    expected = written_out(
        bounded_denoiser, sigmas[0] * x, sigmas, eta, lambda: generator.standard_normal(x.shape)
    )
    x, generator = normal_of(seed)
    make = partial(sc.DPM2Ancestral, eta=eta) if eta else sc.DPM2
    got = make(VE, prediction_type="sample").sample(
        bounded_denoiser, sigmas[0] * x, sigmas=sigmas, rng=generator
    )
    assert relative_error(got, expected) < 1e-11


@pytest.mark.slow
@pytest.mark.parametrize("schedule", ["ve", "vp", "discrete", "flow"])
def test_samples_converge_in_second_order_on_any_grid(schedule):
    for make in (sc.DPM2, partial(sc.DPM2Ancestral, eta=0.0)):
        case = scheduler_case(make(SCHEDULES[schedule]), order=2, uneven_order=2)
        accuracy.check_order(case)
        accuracy.check_order_nonlinear(case)
        accuracy.check_order_uneven(case)


@pytest.mark.parametrize("schedule", ["ve", "vp", "discrete", "flow"])
@pytest.mark.parametrize(
    "make",
    [
        sc.DPM2Ancestral,
        partial(sc.DPM2Ancestral, eta=0.5),
        partial(sc.DPM2, s_churn=8.0),
        partial(sc.DPM2, s_churn=20.0, s_tmax=4.0),
    ],
)
def test_with_noise_the_law_converges_in_second_order(make, schedule):
    scheduler = make(SCHEDULES[schedule], prediction_type="sample")
    assert law_order(scheduler) == pytest.approx(2.0, abs=0.1)


@pytest.mark.parametrize("eta", [0.5, 1.0])
def test_so_do_expectations_where_the_data_is_not_gaussian(eta):
    assert expectation_order(sc.DPM2Ancestral(VE, eta=eta)) == pytest.approx(2.0, abs=0.3)


def test_the_middle_of_a_step_with_all_the_noise_is_its_end():
    rows = sc.DPM2Ancestral(VE).tableau(sigmas=[8.0, 4.0, 1.0]).stages
    assert [row.level.karras for row in rows] == pytest.approx([8.0, 4.0, 4.0, 1.0])


@given(eta=st.floats(0.0, 1.0), low=st.sampled_from([0.0100005, 0.0101]))
def test_no_middle_is_below_what_the_model_knows(eta, low):
    scheduler = sc.DPM2Ancestral(SCHEDULES["discrete"], eta=eta)
    rows = scheduler.tableau(sigmas=[100.0, low, 0.0]).stages
    assert min(row.level.t for row in rows) >= 0.0


def test_s_noise_scales_what_is_added():
    plain, scaled = (sc.DPM2Ancestral(VE, s_noise=k).tableau(sigmas=[4.0, 2.0]) for k in (1.0, 1.5))
    assert scaled.stages[1].c == pytest.approx(1.5 * plain.stages[1].c)


@pytest.mark.parametrize("make", [sc.DPM2, sc.DPM2Ancestral])
def test_it_evaluates_twice_a_step_and_cannot_begin_without_signal(make):
    assert make(VE).tableau(10).nfe == 19
    with pytest.raises(ValueError, match=r"DPM2's step from alpha = 0 is infinite: begin at"):
        make(SCHEDULES["flow"], prediction_type="flow").tableau(4)
