"""Laws of what comes out: on a point, on Gaussian data, and on data that is not Gaussian."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from schedulers.analytic import Gaussian
from schedulers.testing.black_box import black_box_law
from schedulers.testing.cases import zeros
from schedulers.testing.failures import Check, expect_close, shown
from schedulers.testing.laws.orders import STEPS, expect_order
from schedulers.testing.models import VE, Mixture, exact

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from schedulers.testing.cases import SamplerCase

    Floats = NDArray[np.float64]

# Numbers of steps at which what holds in a few steps must hold as well.
LONG = (33, 150)


@Check
def check_point_mass(case: SamplerCase) -> None:
    """Where the data is one point, D is that point at once, and a run ends where it should.

    Without noise, x - x_0 falls in proportion to sigma, in any number of steps: along the exact
    flow the noise estimate is constant (Karras et al. 2022, eq. 3, with D constant). A run that
    ends clean ends at the point, with fresh noise too. A failure means weights that do not add up:
    those of D to 1, those of the noise estimates to the next sigma.
    """
    rng = case.rng("point")
    look_at = "the weights of D (their sum is 1) and of the noise estimates (it is the next sigma)"
    for steps in (*range(case.min_steps, case.min_steps + 8), *LONG):
        # The end that says most: of noise that is still added, or of what is left of the start's.
        sigmas = case.sigmas(rng, steps, clean=case.stochastic if steps in LONG else None)
        point, eps = rng.normal(size=4), rng.normal(size=(2, 4))
        x, model = point + sigmas[0] * eps, exact(Gaussian(point, 0.0))
        where = f"in {steps} step{'s' * (steps > 1)} of {shown(sigmas)}"
        got, tolerance = case.bounded(model, x, sigmas)
        if not case.stochastic:
            what = "the point plus the last sigma times the noise of the start"
            expected = point + sigmas[-1] * eps
            expect_close(got, expected, tolerance, what=what, where=where, look_at=look_at)
            continue
        if sigmas[-1] == 0.0:
            expect_close(
                got,
                point,
                tolerance,
                what="at the clean level, the point",
                where=where,
                look_at="the last step, to sigma = 0, which adds no noise and has no weight of e",
            )
        start = np.broadcast_to(point, x.shape).copy()
        got = case.run(model, start, sigmas, zeros)
        what = "from the point itself and with no noise, the point"
        expect_close(got, point, tolerance, what=what, where=where, look_at=look_at)


@Check
def check_point_mass_variance(case: SamplerCase) -> None:
    """Where the data is one point, a stochastic run ends with the variance of its last level.

    Each step takes N(x_0, sigma**2) to N(x_0, sigma'**2) exactly (Ho et al. 2020, eq. 7, the
    posterior of the path; Song et al. 2021, lemma 1). A failure means that the fresh noise and what
    is kept of the old do not add up, kept**2 + fresh**2 = sigma'**2, or that the fresh noise is not
    fresh.
    """
    rng = case.rng("point variance")
    for steps in (*range(case.min_steps, case.min_steps + 6), *LONG):
        sigmas = case.sigmas(rng, steps, clean=False)
        data, s = Gaussian([0.7], 0.0), float(sigmas[-1])
        law = black_box_law(case.with_noise_of_the_path(), data, sigmas, precision=case.precision)
        off = case.rounding(exact(data), np.full((16, 1), float(sigmas[0])), sigmas)
        expect_close(
            law.cov,
            s**2,
            off * (2.0 * s + off),
            what="a variance of the last sigma squared",
            where=f"in {steps} step{'s' * (steps > 1)} of {shown(sigmas)}",
            look_at="the weight of fresh noise, what of the old noise is kept beside it, and that "
            "each draw is used once",
        )


@Check
def check_order(case: SamplerCase) -> None:
    """On Gaussian data, samples converge to the exact probability flow in the order claimed.

    The flow of a Gaussian is known in closed form (`Gaussian.flow`). The error at 20 to 320 steps,
    and at more where the order still moves, must fall as steps**-order. An order of 0 means another
    limit: a wrong equation. One below the claim means a wrong higher-order term: its weights, the
    estimates that they go with, or the levels at which the model was evaluated.
    """
    rng = case.rng("order")
    root = rng.normal(size=(5, 5)) * np.array([0.2, 0.5, 1.0, 2.0, 4.0])
    data = Gaussian(rng.normal(size=5), root @ root.T + 0.05 * np.eye(5))
    noise = rng.normal(size=(4, 5))

    def error(sigmas: Floats) -> float:
        x = data.mean + noise * math.hypot(1.0, sigmas[0])
        return _off(case.run(exact(data), x, sigmas), _limit(data, x, sigmas))

    expect_order(case, error, "the exact probability flow of a Gaussian", case.fine_sigmas)


@Check
def check_order_nonlinear(case: SamplerCase) -> None:
    """On data that is not Gaussian, too, samples converge to the exact flow in the order claimed.

    On a line the flow keeps the distribution function, F'(x') = F(x), here of a mixture of two
    normal distributions. The run begins in the middle, where its first steps make errors as large
    as the others'. A failure where `check_order` passes means a method that is of its order for
    linear equations alone, or first steps of a lower order.
    """
    data, rng = Mixture(), case.rng("nonlinear")
    starts = rng.uniform(-1.5, 1.5, 6)

    def error(sigmas: Floats) -> float:
        x = starts * math.hypot(1.0, sigmas[0])
        got = case.run(data.denoiser, x[:, None], sigmas)[:, 0]
        return _off(got, _mixture_limit(data, x, sigmas))

    expect_order(case, error, "the exact probability flow of a mixture", case.middle_sigmas)


@Check
def check_order_uneven(case: SamplerCase) -> None:
    """On grids whose steps alternate in length, samples converge in the order claimed for those.

    Every method converges there, in first order at least. A failure means weights that are those of
    even steps. Nothing can be seen of that on a smooth grid, where the ratio of two steps tends
    to 1.
    """
    rng = case.rng("uneven")
    data = Gaussian(rng.normal(size=4), np.array([0.1, 0.4, 1.0, 3.0]))
    noise = rng.normal(size=(4, 4))

    def error(sigmas: Floats) -> float:
        x = data.mean + noise * math.hypot(1.0, sigmas[0])
        return _off(case.run(exact(data), x, sigmas), _limit(data, x, sigmas))

    limit = "the exact probability flow of a Gaussian"
    uneven = replace(case, order=case.uneven_order)
    expect_order(uneven, error, limit, case.uneven_sigmas, STEPS[:-1])


@Check
def check_marginals(case: SamplerCase) -> None:
    """On Gaussian data, the samples' distribution converges to the data's in the order claimed.

    The mean and the covariance of the output are exact (`black_box_law`), from a start that has the
    distribution of the first level. Their errors at 20 to 160 steps must fall as steps**-order. An
    order of 0 means another limit: the wrong amount of fresh noise, or noise that is used twice.
    """
    rng = case.rng("marginals")
    variances = np.array([0.05, 0.5])  # where the steps' own errors hide no wrong limit
    basis, _ = np.linalg.qr(rng.normal(size=(2, 2)))
    mean = rng.normal(size=2)
    data = Gaussian(mean, (basis * variances) @ basis.T)
    sampler = case.with_noise_of_the_path()

    def error(sigmas: Floats) -> float:
        start = Gaussian(mean, data.cov + sigmas[0] ** 2 * np.eye(2))
        law = black_box_law(sampler, data, sigmas, initial=start, precision=case.precision)
        clean = sigmas[-1] == 0.0
        total = variances + (sigmas[-2] if clean else sigmas[-1]) ** 2
        target = variances**2 / total if clean else total
        scale = basis / np.sqrt(target)
        off = scale.T @ law.cov @ scale - np.eye(2)
        return _rms(np.append(off, (law.mean - mean) @ scale))

    limit = "the distribution of the data at the last level"
    expect_order(case, error, limit, case.fine_sigmas, STEPS[:-1])


def _limit(data: Gaussian, x: Floats, sigmas: Floats) -> Floats:
    """Where infinitely many steps lead; to the clean level, D of the last level above it."""
    clean = sigmas[-1] == 0.0
    s = float(sigmas[-2] if clean else sigmas[-1])
    end = data.flow(VE, x, float(sigmas[0]), s)
    return np.asarray(exact(data)(end, s) if clean else end)


def _mixture_limit(data: Mixture, x: Floats, sigmas: Floats) -> Floats:
    clean = sigmas[-1] == 0.0
    s = float(sigmas[-2] if clean else sigmas[-1])
    end = data.flow(x, float(sigmas[0]), s)
    return np.asarray(data.denoiser(end, s) if clean else end)


def _off(got: Floats, limit: Floats) -> float:
    """How far off, in units of the samples."""
    return _rms(got - limit) / _rms(limit)


def _rms(values: Floats) -> float:
    return float(np.sqrt(np.mean(values**2)))
