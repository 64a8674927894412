"""RES: its equations written out with phi functions, its orders, and what it shares."""

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, strategies as st

import schedulers as sc
from kit import (
    SCHEDULES,
    bounded_denoiser,
    flow_order,
    law_order,
    relative_error,
    seeds,
    sigma_grids,
)
from schedulers.analytic import Gaussian


def phi(k, z):
    """phi_k of the paper: phi_0 = exp and phi_k+1(z) = (phi_k(z) - 1 / k!) / z."""
    return math.exp(z) if k == 0 else (phi(k - 1, z) - 1.0 / math.factorial(k - 1)) / z


def singlestep(denoise, x, sigmas, order):
    """The tableaus of Hochbruck and Ostermann for dx/dh = -x + D on a VE path, h = log(s / s')."""
    for s, end in pairwise(sigmas):
        d = denoise(x, s)
        if end == 0.0:
            return d
        h = math.log(s / end)
        half = math.exp(-h / 2) * x + h / 2 * phi(1, -h / 2) * d
        d_1 = denoise(half, s * math.exp(-h / 2))
        if order == 2:
            b_2 = 2.0 * phi(2, -h)
            x = math.exp(-h) * x + h * ((phi(1, -h) - b_2) * d + b_2 * d_1)
            continue
        gamma, c_2, c_3 = 4.0, 0.5, 1.0
        a_32 = gamma * c_2 * phi(2, -c_2 * h) + c_3**2 / c_2 * phi(2, -c_3 * h)
        d_2 = denoise(
            math.exp(-c_3 * h) * x + h * ((c_3 * phi(1, -c_3 * h) - a_32) * d + a_32 * d_1), end
        )
        b_2 = gamma / (gamma * c_2 + c_3) * phi(2, -h)
        b_3 = 1.0 / (gamma * c_2 + c_3) * phi(2, -h)
        x = math.exp(-h) * x + h * ((phi(1, -h) - b_2 - b_3) * d + b_2 * d_1 + b_3 * d_2)
    return x


def multistep(denoise, x, sigmas, order):
    """The exact integral of the polynomial with the Newton differences of D, by phi functions."""
    ds, past = [], []
    for s, end in pairwise(sigmas):
        ds, past = [denoise(x, s), *ds], [s, *past]
        if end == 0.0:
            return ds[0]
        h = math.log(s / end)
        slope = curve = 0.0 * x
        if len(past) > 1:
            r_1 = math.log(past[1] / s)
            slope = (ds[0] - ds[1]) / r_1
        if len(past) > 2 and order == 3:
            r_2 = math.log(past[2] / s)
            curve = (slope - (ds[0] - ds[2]) / r_2) / (r_2 - r_1)
            slope = slope + curve * r_1
        x = math.exp(-h) * x + h * (
            phi(1, -h) * ds[0] + h * phi(2, -h) * slope + 2.0 * h**2 * phi(3, -h) * curve
        )
    return x


@pytest.mark.parametrize("order", [2, 3])
@pytest.mark.parametrize("written_out", [singlestep, multistep])
@given(sigmas=sigma_grids(max_steps=5), seed=seeds)
def test_rows_are_the_papers_equations(written_out, order, sigmas, seed):
    if min(np.diff(-np.log(np.maximum(sigmas, 1e-300)))) < 0.05:
        return  # phi's recursion loses digits there
    x = sigmas[0] * np.random.default_rng(seed).normal(size=(2, 3))
    scheduler = sc.RES(
        sc.VESchedule(),
        prediction_type="sample",
        order=order,
        singlestep=written_out is singlestep,
    )
    got = scheduler.sample(bounded_denoiser, x, sigmas=sigmas)
    assert relative_error(got, written_out(bounded_denoiser, x, sigmas, order)) < 1e-9


@given(order=st.sampled_from([2, 3]), sigmas=sigma_grids(), name=st.sampled_from(list(SCHEDULES)))
def test_multistep_it_is_dpm_solver_pp(order, sigmas, name):
    one, other = (
        make.tableau(sigmas=sigmas).stages
        for make in (
            sc.RES(SCHEDULES[name], order=order),
            sc.DPMSolverPP(SCHEDULES[name], order=order, solver_type="heun"),
        )
    )
    for row, its in zip(one, other, strict=True):
        np.testing.assert_allclose(row.a, its.a, rtol=0, atol=1e-12)
        np.testing.assert_allclose(row.b, its.b, rtol=0, atol=1e-12)


@pytest.mark.parametrize("schedule", ["ve", "vp", "flow", "discrete"])
@pytest.mark.parametrize("order", [2, 3])
def test_singlestep_it_is_of_its_order(order, schedule):
    scheduler = sc.RES(SCHEDULES[schedule], order=order, singlestep=True)
    assert law_order(scheduler, n=40) == pytest.approx(order, abs=0.15)


@pytest.mark.parametrize("order", [2, 3])
def test_it_is_where_the_data_is_not_gaussian_too(order):
    scheduler = sc.RES(sc.VESchedule(), order=order, singlestep=True)
    assert flow_order(scheduler) == pytest.approx(order, abs=0.2)


@pytest.mark.parametrize("schedule", ["flow", "cosine", "zero_snr"])
@pytest.mark.parametrize("order", [2, 3])
@pytest.mark.parametrize("singlestep", [True, False])
def test_a_run_from_alpha_0_arrives(singlestep, order, schedule):
    path, data = SCHEDULES[schedule], Gaussian([1.0, -2.0], 0.0)
    scheduler = sc.RES(path, prediction_type="flow", order=order, singlestep=singlestep)
    x = scheduler.initial_noise((3, 2), steps=6, rng=0)
    x_0 = scheduler.sample(data.denoiser(path, "flow"), x, steps=6)
    np.testing.assert_allclose(x_0, np.broadcast_to([1.0, -2.0], (3, 2)), atol=1e-12)


@pytest.mark.parametrize("order", [1, 4])
def test_orders_are_2_and_3(order):
    with pytest.raises(ValueError, match=f"order must be at .*, got {order}"):
        sc.RES(sc.VESchedule(), order=order)
