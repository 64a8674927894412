"""The stochastic step of Flow-GRPO is DDIM's with noise, in the limit of small steps.

Liu et al. 2025: x' = x - h (v + s**2 / (2 t) (x + (1 - t) v)) + s sqrt(h) z with
s = a sqrt(t / (1 - t)).
"""

import math
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, strategies as st

import schedulers as sc
from schedulers.analysis import output_law
from schedulers.analytic import Gaussian

FLOW = sc.FlowSchedule()
levels = st.floats(0.2, 1.5), st.floats(0.1, 0.95), st.floats(0.01, 0.5)


def deviation(now, then, a):
    return a * math.sqrt((now.t - then.t) * now.t / (1.0 - now.t))


@dataclass(frozen=True, kw_only=True)
class FlowGRPO(sc.Scheduler):
    """As a row: x' = (1 - t') D + (t' - c**2 / (2 t)) e + c z."""

    a: float = 0.7

    def stages(self, levels):
        for now, then in pairwise(levels):
            c = deviation(now, then, self.a)
            yield sc.Stage(now, a=(then.alpha,), b=(then.sigma - c**2 / (2.0 * now.t),), c=c)


def ddim(a):
    return sc.DDIM(FLOW, sigma=lambda now, then: deviation(now, then, a), prediction_type="flow")


def one_row(scheduler, t, h):
    grid = np.array([t, t - h])
    return scheduler.tableau(sigmas=grid / (1.0 - grid)).stages[0]


@given(*levels)
def test_the_papers_step_is_that_row(a, t, part):
    h = part * t
    x, v, z = np.random.default_rng(0).normal(size=(3, 2, 4))
    s = a * math.sqrt(t / (1.0 - t))
    want = x - h * (v + s**2 / (2.0 * t) * (x + (1.0 - t) * v)) + s * math.sqrt(h) * z
    scheduler = FlowGRPO(FLOW, a=a, prediction_type="flow")
    grid = np.array([t, t - h])
    state = scheduler.init(x, sigmas=grid / (1.0 - grid))
    got = scheduler.update(v, state, lambda like: z)
    np.testing.assert_allclose(got.x, want, rtol=1e-9, atol=1e-9)
    # And its log-probability is the paper's normal distribution's.
    mean, c = want - s * math.sqrt(h) * z, s * math.sqrt(h)
    log_p = -0.5 * ((want - mean) / c) ** 2 - math.log(c) - 0.5 * math.log(2.0 * math.pi)
    np.testing.assert_allclose(
        scheduler.log_prob(v, state, got), log_p.sum(axis=1), rtol=1e-9, atol=1e-9
    )


@pytest.mark.parametrize("a", [0.3, 0.7, 1.4])
@pytest.mark.parametrize("t", [0.2, 0.5, 0.9])
def test_ddim_with_its_noise_differs_by_the_square_of_the_step_in_e_alone(a, t):
    off = []
    for h in (2e-4 * t, 1e-4 * t):
        theirs, ours = (one_row(make, t, h) for make in (FlowGRPO(FLOW, a=a), ddim(a)))
        assert ours.a == theirs.a
        assert ours.c == pytest.approx(theirs.c, rel=1e-12)
        off.append(theirs.b[0] - ours.b[0])
        # Which keeps the marginals, and which has too much noise by how much.
        assert ours.b[0] ** 2 + ours.c**2 == pytest.approx((t - h) ** 2, rel=1e-12)
        excess = theirs.c**2 * h / t + theirs.c**4 / (4.0 * t**2)
        variance = theirs.b[0] ** 2 + theirs.c**2
        assert variance - (t - h) ** 2 == pytest.approx(excess, rel=1e-5)
    assert off[1] > 0.0
    assert math.log2(off[0] / off[1]) == pytest.approx(2.0, abs=0.01)


@pytest.mark.parametrize("t", [0.1, 0.5, 0.9])
@pytest.mark.parametrize("a", [0.3, 0.7, 1.4])
def test_its_noise_level_is_an_eta_in_small_steps(a, t):
    """Eta = a / sqrt(2) for DDIM and a**2 / 2 for FlowAncestral, at all times, to first order."""
    for made in (sc.DDIM(FLOW, eta=a / math.sqrt(2.0)), sc.FlowAncestral(FLOW, eta=a**2 / 2.0)):
        off = [
            one_row(made, t, h).c / one_row(FlowGRPO(FLOW, a=a), t, h).c - 1.0
            for h in (1e-3 * t, 5e-4 * t)
        ]
        assert abs(off[1]) < 0.01
        assert off[0] / off[1] == pytest.approx(2.0, abs=0.05)


def test_its_samples_of_a_point_are_too_noisy_by_the_step_and_ddims_are_not():
    """From t = 0.9 to 0.1, where the noise of a point's samples is 0.1."""
    point, excess = Gaussian(1.0, 0.0), []
    for steps in (200, 400, 800):
        grid = np.linspace(0.9, 0.1, steps + 1)
        sigmas = {"sigmas": grid / (1.0 - grid), "initial": "marginal"}
        theirs = output_law(FlowGRPO(FLOW), point, **sigmas)
        for ours in (ddim(0.7), sc.DDIM(FLOW, eta=0.495), sc.FlowAncestral(FLOW, eta=0.245)):
            assert float(output_law(ours, point, **sigmas).cov) == pytest.approx(0.01, rel=1e-9)
        assert float(theirs.mean) == pytest.approx(0.9, rel=1e-9)
        excess.append(float(theirs.cov) / 0.01 - 1.0)
    assert excess[-1] > 1e-3
    assert np.log2(np.divide(excess[:-1], excess[1:])) == pytest.approx(1.0, abs=0.05)
