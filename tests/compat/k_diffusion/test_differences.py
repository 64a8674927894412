"""Where k-diffusion's formulas are not right: both against the exact answer."""

import math
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

import schedulers as sc
from compat.k_diffusion.cases import (
    CAPPED,
    FINE_STARTS,
    correlated,
    fine_start,
    model,
    unit_gaussian,
)
from kit import relative_error
from schedulers.compat import k_diffusion as kd
from schedulers.compat.k_diffusion.running import default_noise_sampler
from schedulers.denoisers import Guided, Preconditioned, Trained

with np.load(Path(__file__).parents[2] / "golden" / "k_diffusion.npz") as file:
    GOLDEN = dict(file)


def test_3m_is_of_third_order_and_theirs_of_second():
    x = 10.0 * GOLDEN["x"]
    flow = x * math.sqrt((1.0 + 0.3**2) / (1.0 + 10.0**2))
    ours, theirs = [], []
    for name, n in FINE_STARTS.items():
        x_0 = kd.sample_dpmpp_3m_sde(unit_gaussian, x, fine_start(n), disable=True, eta=0.0)
        ours.append(relative_error(x_0, flow))
        theirs.append(relative_error(GOLDEN[name], flow))
    assert math.log2(ours[0] / ours[1]) == pytest.approx(3.0, abs=0.2)
    assert math.log2(theirs[0] / theirs[1]) == pytest.approx(2.0, abs=0.2)
    assert ours[1] < 0.2 * theirs[1]


def test_dpm_2_ancestral_adds_noise_where_eta_leaves_nothing_else():
    sampler, levels, options = CAPPED
    x, z = levels[0] * GOLDEN["x"], GOLDEN["noise"][0]
    x_1 = getattr(kd, sampler)(
        model, x, levels, {"shift": 0.5}, disable=True, noise_sampler=lambda *_: z, **options
    )
    denoised = model(x, np.full(len(x), levels[0]), 0.5)
    np.testing.assert_allclose(x_1, denoised + levels[1] * z, rtol=1e-12)
    np.testing.assert_allclose(GOLDEN["capped"], denoised, rtol=1e-12)  # at level 1.5 still


@pytest.mark.parametrize("sampler", ["sample_dpmpp_2m_sde", "sample_dpmpp_3m_sde"])
def test_a_single_step_to_the_clean_level_is_no_error(sampler):
    x = 5.0 * GOLDEN["x"]
    x_0 = getattr(kd, sampler)(model, x, [5.0, 0.0], disable=True)
    np.testing.assert_allclose(x_0, model(x, np.full(3, 5.0)), rtol=1e-12)


def sde_law_error(steps, clock, r):
    """Error of the variance in which runs on N(0, 1) end: each row is the response to a noise."""
    sigmas = np.geomspace(10.0, 0.3, steps + 1)
    x = np.zeros((2 * steps + 1, 1, 1))
    x[0] = math.hypot(10.0, 1.0)
    impulses = iter(np.eye(len(x))[1:, :, None, None])
    x_0 = kd.sample_dpmpp_sde(
        unit_gaussian, x, sigmas, disable=True, noise_sampler=correlated(clock, impulses), r=r
    )
    return abs(float((x_0**2).sum()) - (1.0 + 0.3**2))


@pytest.mark.parametrize("r", [0.5, 0.3])
def test_the_law_of_dpmpp_sde_is_of_second_order_on_one_path_and_else_of_first(r):
    exact, theirs, independent = (
        math.log2(sde_law_error(100, clock, r) / sde_law_error(200, clock, r))
        for clock in (lambda sigma: sigma**-2.0, lambda sigma: -sigma, None)
    )
    assert exact == pytest.approx(2.0, abs=0.2)
    assert theirs == pytest.approx(2.0, abs=0.2)
    assert independent == pytest.approx(1.0, abs=0.1)


def test_the_default_noise_is_of_the_path_of_the_exact_solution():
    x, levels = np.zeros((50, 2000)), [5.0, 2.0, 1.0]
    sampler = default_noise_sampler(x)
    for sigma, sigma_next in pairwise(levels):
        middle = 0.7 * sigma
        one, both = sampler(sigma, middle), sampler(sigma, sigma_next)
        expected = (middle**-2 - sigma**-2) / (sigma_next**-2 - sigma**-2)
        assert np.mean(one * both) == pytest.approx(math.sqrt(expected), abs=0.015)
        assert np.std(both) == pytest.approx(1.0, abs=0.01)
        independent = sampler(sigma_next, 0.5 * sigma_next)  # of another step
        assert np.mean(both * independent) == pytest.approx(0.0, abs=0.015)


@pytest.mark.parametrize("sampler", [kd.sample_euler, kd.sample_heun, kd.sample_dpm_2])
@pytest.mark.parametrize("guided", [False, True])
def test_churn_ends_at_the_top_of_a_trained_range(sampler, guided):
    """As in the core."""
    schedule = sc.DiscreteSchedule(sc.linear_betas(1000))
    seen = []

    def network(x, t):
        seen.append(float(t[0]))
        return 0.3 * x

    model = Preconditioned(network, Trained(schedule, "epsilon"))
    if guided:
        model = Guided(model, model, 2.0)
    top = schedule.max_karras_sigma
    sigmas = np.array([top, 0.9 * top, 1.0, 0.1, 0.0])
    x = top * np.ones((2, 3))
    sampler(model, x, sigmas, s_churn=4.0, disable=True)
    assert max(seen) == pytest.approx(999.0)
