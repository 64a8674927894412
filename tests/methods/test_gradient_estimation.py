"""Gradient estimation against its paper's algorithm, and its orders."""

from functools import partial
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, strategies as st

import schedulers as sc
from kit import SCHEDULES, bounded_denoiser, law_order, relative_error, seeds, sigma_grids

VE = sc.VESchedule()


@given(sigmas=sigma_grids(), seed=seeds, gamma=st.floats(1.0, 3.0))
def test_it_is_algorithm_2_of_its_paper(sigmas, seed, gamma):
    x = sigmas[0] * np.random.default_rng(seed).standard_normal((3, 2))
    got = sc.GradientEstimation(VE, prediction_type="sample", gamma=gamma).sample(
        bounded_denoiser, x, sigmas=sigmas
    )
    before = None
    for s, s_next in pairwise(sigmas):
        e = (x - bounded_denoiser(x, s)) / s
        average = e if before is None else gamma * e + (1.0 - gamma) * before
        x, before = x + (s_next - s) * average, e
    assert relative_error(got, x) < 1e-12


@pytest.mark.parametrize("schedule", ["ve", "vp", "discrete", "flow"])
@pytest.mark.parametrize(("gamma", "order"), [(1.0, 1), (1.5, 2), (2.0, 1), (2.5, 1)])
def test_its_order_is_1_but_2_for_gamma_1_5_on_a_uniform_grid(gamma, order, schedule):
    scheduler = sc.GradientEstimation(SCHEDULES[schedule], prediction_type="sample", gamma=gamma)
    measured = law_order(scheduler, grid=lambda n: np.linspace(2.0, 1.0, n + 1))
    assert measured == pytest.approx(order, abs=0.1)


def test_it_can_begin_without_signal():
    rows = sc.GradientEstimation(SCHEDULES["flow"], prediction_type="flow").tableau(3).stages
    assert rows[0].level.alpha == 0.0
    assert rows[0].b == pytest.approx((2 / 3,))
    assert sum(rows[1].b) == pytest.approx(1 / 3)


def test_bad_gamma_is_refused():
    with pytest.raises(ValueError, match=r"gamma must be at least 1"):
        partial(sc.GradientEstimation, VE)(gamma=0.5)
