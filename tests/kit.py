"""What the tests share: schedules, schedulers by name, and strategies that draw them."""

import math
from dataclasses import replace
from functools import partial
from itertools import pairwise, product, zip_longest

import numpy as np
from hypothesis import strategies as st

import schedulers as sc
from schedulers.analysis import output_law
from schedulers.analytic import Gaussian
from schedulers.testing.models import Mixture

DISCRETE = sc.DiscreteSchedule(sc.linear_betas(1000))
STABLE_DIFFUSION = sc.DiscreteSchedule(sc.scaled_linear_betas(1000))
ZERO_SNR = sc.DiscreteSchedule(sc.rescale_zero_terminal_snr(sc.linear_betas(1000)))

SCHEDULES = {
    "discrete": DISCRETE,
    "stable_diffusion": STABLE_DIFFUSION,
    "cosine_betas": sc.DiscreteSchedule(sc.cosine_betas(1000)),
    "zero_snr": ZERO_SNR,
    "vp": sc.VPSchedule(),
    "ve": sc.VESchedule(),
    "flow": sc.FlowSchedule(),
    "cosine": sc.CosineSchedule(),
}


def half_of_the_noise(now, then):
    """Return DDIM's sigma for a step that replaces a quarter of the noise's variance."""
    return 0.5 * then.sigma


# Every scheduler as (schedule, **options) -> Scheduler.
DETERMINISTIC = {
    "DDIM": sc.DDIM,
    "Euler": sc.Euler,
    "EulerAncestral0": partial(sc.EulerAncestral, eta=0.0),
    "Heun": sc.Heun,
    "DPM2": sc.DPM2,
    "GradientEstimation": sc.GradientEstimation,
    "ERSDE3-ode": partial(sc.ERSDE, order=3, noise="ode"),
    "PLMS4": sc.PLMS,
    "PLMS4v-runge_kutta": partial(sc.PLMS, startup="runge_kutta"),
    **{
        f"PLMS{order}-{startup}": partial(sc.PLMS, order=order, startup=startup, weights="constant")
        for order in (1, 2, 3, 4)
        for startup in ("lower_order", "heun", "runge_kutta")
    },
    "LMS4": sc.LMS,
    "DPMSolver2": sc.DPMSolver,
    "DPMSolver3S": partial(sc.DPMSolver, order=3, singlestep=True),
    "DPMSolverPP2": sc.DPMSolverPP,
    "DPMSolverPP3": partial(sc.DPMSolverPP, order=3),
    "DPMSolverPP2S": partial(sc.DPMSolverPP, singlestep=True),
    "RES3": partial(sc.RES, order=3),
    "RES2S": partial(sc.RES, singlestep=True),
    "RES3S": partial(sc.RES, order=3, singlestep=True),
    "UniPC2": sc.UniPC,
    "UniPC2-noise": partial(sc.UniPC, predicts="noise"),
    "SASolver33-0": partial(sc.SASolver, predictor_order=3, corrector_order=3, tau=0.0),
    "UniPC3": partial(sc.UniPC, order=3, lower_order_final=False),
}
STOCHASTIC = {
    "DDPM": sc.DDPM,
    "DDPM-large": partial(sc.DDPM, variance="fixed_large"),
    "DDIM1": partial(sc.DDIM, eta=1.0),
    "DDIM.3": partial(sc.DDIM, eta=0.3),
    "DDIM-sigma": partial(sc.DDIM, sigma=half_of_the_noise),
    "EulerAncestral": sc.EulerAncestral,
    "EulerAncestral.6": partial(sc.EulerAncestral, eta=0.6, s_noise=1.01),
    "Euler-churn": partial(sc.Euler, s_churn=8.0, s_tmax=8.0, s_noise=1.003),
    "Heun-churn": partial(sc.Heun, s_churn=8.0, s_tmin=0.3, s_tmax=4.0),
    "DPMSolverPP2-SDE": partial(sc.DPMSolverPP, eta=1.0),
    "DPMSolverPP2S-ancestral": partial(sc.DPMSolverPP, singlestep=True, eta=1.0),
    "DPMSolverPP2-SDE2": partial(sc.DPMSolverPP, singlestep=True, eta=0.7, sde=True),
    "DPM2Ancestral": sc.DPM2Ancestral,
    "SEEDS2": partial(sc.SEEDS, order=2),
    "SASolver22": sc.SASolver,
    "SASolver34": partial(sc.SASolver, predictor_order=3, corrector_order=4, tau=0.6),
    "ERSDE3": partial(sc.ERSDE, order=3),
    "FlowAncestral": sc.FlowAncestral,
    "LCM": partial(sc.LCM, timestep_scaling=None),
    "TCD": sc.TCD,
    "Restart": partial(sc.Restart, restarts=[(0.3, 1.0, 3, 2), (2.0, 6.0, 2, 1)]),
}
ALL = {**DETERMINISTIC, **STOCHASTIC}
# Those whose first step is infinite from alpha = 0.
NEED_SIGNAL = {
    name
    for name in ALL
    if name.startswith(("Heun", "DPM2", "Restart")) or name.endswith(("-heun", "-runge_kutta"))
}
NEED_SIGNAL |= {"DPMSolver3S"}
NEED_SIGNAL -= {"PLMS1-heun", "PLMS1-runge_kutta"}

PREDICTIONS = ("epsilon", "sample", "v_prediction", "score", "flow")

seeds = st.integers(0, 2**32 - 1)
# The many kinds of PLMS are to be drawn no more often than the others.
_plms = st.sampled_from([name for name in DETERMINISTIC if name.startswith("PLMS")])
_others = st.sampled_from([name for name in DETERMINISTIC if not name.startswith("PLMS")])
deterministic = _others | _plms
names = deterministic | st.sampled_from(sorted(STOCHASTIC))
predictions = st.sampled_from(PREDICTIONS)
schedules = st.sampled_from(sorted(SCHEDULES))


@st.composite
def sigma_grids(draw, low=0.05, high=12.0, max_steps=8, clean=None):
    """Draw an uneven, strictly decreasing grid of Karras sigmas, ending clean or not."""
    steps = draw(st.integers(1, max_steps))
    gaps = np.array(draw(st.lists(st.floats(0.1, 1.0), min_size=steps, max_size=steps)))
    logs = np.concatenate([[0.0], np.cumsum(gaps)]) / gaps.sum()
    sigmas = high * (low / high) ** logs
    if clean or (clean is None and draw(st.booleans())):
        sigmas[-1] = 0.0
    return sigmas


def bounded_denoiser(x, t):
    """Return a nonlinear function of each element alone: any model will do for an identity."""
    return np.tanh(x) + 0.1 * np.cos(3.0 * x)


def as_prediction(schedule, denoise, prediction_type):
    """Make denoise(y, s), on y = x / alpha and Karras's s, a model of a schedule."""

    def model(x, t):
        alpha, sigma = schedule.alpha(t), schedule.sigma(t)
        denoised = denoise(x / alpha, sigma / alpha)
        noise = (x - alpha * denoised) / sigma
        return {
            "epsilon": lambda: noise,
            "sample": lambda: denoised,
            "v_prediction": lambda: alpha * noise - sigma * denoised,
            "score": lambda: -noise / sigma,
            "flow": lambda: noise - denoised,
        }[prediction_type]()

    return model


def law_error(scheduler, sigmas, variance=0.5):
    """Relative error of the variance of a run on N(0, variance) that begins with its exact law."""
    alpha, end = (scheduler.schedule.level(float(s)).alpha for s in (sigmas[0], sigmas[-1]))
    start = Gaussian(0.0, alpha**2 * (variance + sigmas[0] ** 2))
    law = output_law(scheduler, Gaussian(0.0, variance), sigmas=sigmas, initial=start)
    return float(law.cov / (end**2 * (variance + sigmas[-1] ** 2)) - 1.0)


def law_order(scheduler, n=160, grid=lambda n: np.geomspace(10.0, 0.3, n + 1)):
    """Order at which that error falls, from n and 2 n steps."""
    coarse, fine = (law_error(scheduler, grid(steps)) for steps in (n, 2 * n))
    return math.log2(abs(coarse / fine))


def flow_order(scheduler, n=40):
    """Order at which a run's error falls on a mixture, on a VE schedule, from n and 2 n steps.

    The grid's first steps are shorter, so that a multistep method's start-up, of lower order, does
    not limit it.
    """
    data, x, method = (
        Mixture(),
        np.linspace(-6.0, 6.0, 25),
        replace(scheduler, prediction_type="sample"),
    )
    exact = data.flow(x, 3.4, 0.4)

    def error(n):
        sigmas = 0.4 + 3.0 * (1.0 - np.linspace(0.0, 1.0, n + 1) ** 3)
        return np.abs(method.sample(data.denoiser, x, sigmas=sigmas) - exact).max()

    return math.log2(error(n) / error(2 * n))


def expectation_order(scheduler, n=8):
    """Order at which the error of E tanh(y) falls on a mixture, from n and 2 n steps.

    For a scheduler on a VE schedule whose steps weigh no estimate of the step before.
    """
    data, y = Mixture(), np.linspace(-14.0, 14.0, 5601)
    density = sum(np.exp(-0.5 * (y - m) ** 2 / (data.variance + 0.25)) for m in data.means)
    exact = float(density @ np.tanh(y) / density.sum())
    coarse, fine = (abs(_expectation(scheduler, data, steps) - exact) for steps in (n, 2 * n))
    return math.log2(coarse / fine)


def _expectation(scheduler, data, n):
    """E tanh(y) at the end of runs from 2 to 0.5, backwards: by quadrature of each noise.

    No sample is drawn, so that the error is that of the steps alone.
    """
    from scipy.interpolate import CubicSpline

    nodes, weights = np.polynomial.hermite_e.hermegauss(12)
    y, values = np.linspace(-14.0, 14.0, 561), np.tanh
    rows = scheduler.tableau(sigmas=np.geomspace(2.0, 0.5, n + 1)).stages
    ends = [i for i, row in enumerate(rows, start=1) if row.ends_step]
    for begin, end in reversed(list(zip([0, *ends], ends, strict=False))):
        step, mean = rows[begin:end], 0.0
        for draws in product(*(range(12 if row.c else 1) for row in step)):
            x, history = y, []
            for row, draw in zip(step, draws, strict=True):
                d = data.denoiser(x, row.level.sigma)
                history.insert(0, (d, (x - d) / row.level.sigma))
                terms = zip(zip_longest(row.a, row.b, fillvalue=0.0), history, strict=False)
                x = row.c * nodes[draw] + sum(a * d + b * e for (a, b), (d, e) in terms)
            chances = (weights[draw] for row, draw in zip(step, draws, strict=True) if row.c)
            mean = mean + math.prod(chances) * values(x)
        values = CubicSpline(y, mean / weights.sum() ** sum(row.c > 0.0 for row in step))
    density = sum(np.exp(-0.5 * (y - m) ** 2 / (data.variance + 4.0)) for m in data.means)
    return float(density @ values(y) / density.sum())


def path_gaps(make):
    """Root mean squares of the differences between runs of n and 2 n steps on one path."""
    ve = sc.VESchedule(sigma_min=0.1, sigma_max=10.0)
    denoiser = Gaussian(0.0, 1.0).denoiser(ve, prediction_type="sample")
    x, path = 10.0 * np.random.default_rng(0).standard_normal(500), sc.BrownianPath(1)
    runs = [
        make(ve, prediction_type="sample").sample(
            denoiser, x, sigmas=sc.karras_sigmas(n, 0.1, 10.0)[:-1], rng=path
        )
        for n in (17, 33, 65, 129, 257)
    ]
    return np.array([np.sqrt(np.mean((a - b) ** 2)) for a, b in pairwise(runs)])


def run(scheduler, denoiser, x, rng=0, **levels):
    return scheduler.sample(denoiser, x, rng=rng, **levels)


def relative_error(actual, expected):
    """Largest difference, in units of the largest magnitude expected."""
    return np.max(np.abs(actual - expected), initial=0.0) / np.max(np.abs(expected), initial=1e-300)
