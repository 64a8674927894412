"""Ancestral sampling of flows: the step as its users write it, and its marginals."""

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, strategies as st

import schedulers as sc
from kit import (
    SCHEDULES,
    bounded_denoiser,
    expectation_order,
    law_error,
    law_order,
    relative_error,
    seeds,
)
from schedulers.analysis import output_law
from schedulers.analytic import Gaussian

FLOW = sc.FlowSchedule()


@given(
    times=st.sets(st.floats(0.01, 1.0), min_size=1, max_size=6),
    seed=seeds,
    eta=st.sampled_from([0.3, 1.0]),
    s_noise=st.sampled_from([1.0, 0.9]),
)
def test_it_is_the_step_as_users_of_flows_write_it(times, seed, eta, s_noise):
    times = sorted(times, reverse=True)
    generator = np.random.default_rng(seed)
    start = x = generator.standard_normal((3, 2))
    for u, u_next in pairwise([*times, 0.0]):
        denoised = bounded_denoiser(x, u)
        if u_next == 0.0:
            x = denoised
            continue
        down = u_next * (1.0 + (u_next / u - 1.0) * eta)
        x = down / u * x + (1.0 - down / u) * denoised
        r = (1.0 - u_next) / (1.0 - down)
        fresh = math.sqrt(max(u_next**2 - (r * down) ** 2, 0.0))
        x = r * x + s_noise * fresh * generator.standard_normal(x.shape)
    generator = np.random.default_rng(seed)
    generator.standard_normal((3, 2))
    scheduler = sc.FlowAncestral(FLOW, prediction_type="sample", eta=eta, s_noise=s_noise)
    got = scheduler.sample(bounded_denoiser, start, timesteps=times, rng=generator)
    # The reference's difference of squares loses half of the digits where a step is short.
    assert relative_error(got, x) < 1e-7


@pytest.mark.parametrize("schedule", ["flow", "ve", "vp", "discrete"])
@pytest.mark.parametrize("eta", [0.2, 1.0])
def test_the_noise_of_a_point_is_that_of_its_level(schedule, eta):
    scheduler = sc.FlowAncestral(SCHEDULES[schedule], prediction_type="sample", eta=eta)
    for sigmas in ([8.0, 1.0], [8.0, 3.0, 1.0, 0.3]):
        assert abs(law_error(scheduler, np.array(sigmas), variance=0.0)) < 1e-13


@pytest.mark.parametrize("schedule", ["flow", "ve", "vp", "discrete"])
@pytest.mark.parametrize("eta", [0.5, 1.0])
def test_the_law_of_gaussian_data_converges_in_first_order(schedule, eta):
    scheduler = sc.FlowAncestral(SCHEDULES[schedule], prediction_type="sample", eta=eta)
    assert law_order(scheduler) == pytest.approx(1.0, abs=0.1)


def test_so_do_expectations_where_the_data_is_not_gaussian():
    scheduler = sc.FlowAncestral(SCHEDULES["ve"])
    assert expectation_order(scheduler) == pytest.approx(1.0, abs=0.3)


def test_from_noise_alone_the_law_of_the_data_comes_out():
    scheduler, data = sc.FlowAncestral(FLOW, prediction_type="flow"), Gaussian(2.0, 0.25)
    off = []
    for steps in (50, 100, 200):
        law = output_law(scheduler, data, steps)
        off.append([float(law.mean) - 2.0, float(law.cov) - 0.25])
    off = np.abs(off)
    assert np.all(off[1:] < 0.6 * off[:-1] + 1e-12)
    assert np.all(off[-1] < 0.02)


def test_in_short_steps_it_is_euler_ancestral():
    gaps = []
    for n in (100, 200):
        sigmas = np.geomspace(10.0, 0.1, n + 1)
        one, other = (
            make(FLOW, prediction_type="flow").tableau(sigmas=sigmas).stages
            for make in (sc.FlowAncestral, sc.EulerAncestral)
        )
        gaps.append(max(abs(a.c / b.c - 1.0) for a, b in zip(one, other, strict=True)))
    assert gaps[1] < 0.6 * gaps[0] < 0.06
