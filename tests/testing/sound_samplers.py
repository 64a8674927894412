"""Samplers of many kinds without a fault, each a few lines: no check may reject one of them."""

import math
from itertools import pairwise

import numpy as np


def slope(denoiser, x, s):
    return (x - denoiser(x, s)) / s


def named(name, sampler):
    sampler.__name__ = name
    return sampler


def one_step(step):
    """Make a sampler of ``step(denoiser, x, s, s_next)``; a step that ends clean is Euler's."""

    def sampler(denoiser, x, sigmas, noise):
        for s, s_next in pairwise(sigmas.tolist()):
            x = step(denoiser, x, s, s_next) if s_next else denoiser(x, s)
        return x

    return named(step.__name__, sampler)


@one_step
def euler(denoiser, x, s, s_next):
    return x + (s_next - s) * slope(denoiser, x, s)


@one_step
def heun(denoiser, x, s, s_next):
    d = slope(denoiser, x, s)
    return x + (s_next - s) * 0.5 * (d + slope(denoiser, x + (s_next - s) * d, s_next))


@one_step
def runge_kutta_4(denoiser, x, s, s_next):
    h, middle = s_next - s, 0.5 * (s + s_next)
    k_1 = slope(denoiser, x, s)
    k_2 = slope(denoiser, x + 0.5 * h * k_1, middle)
    k_3 = slope(denoiser, x + 0.5 * h * k_2, middle)
    k_4 = slope(denoiser, x + h * k_3, s_next)
    return x + h / 6.0 * (k_1 + 2.0 * k_2 + 2.0 * k_3 + k_4)


@one_step
def dpm_solver_pp_2s(denoiser, x, s, s_next):
    middle = math.sqrt(s * s_next)
    u = middle / s * x + (1.0 - middle / s) * denoiser(x, s)
    return s_next / s * x + (1.0 - s_next / s) * denoiser(u, middle)


@one_step
def implicit_euler(denoiser, x, s, s_next):
    # The fixed point of x' = (s'/s) x + (1 - s'/s) D(x', s'), by iteration.
    ratio = s_next / s
    y = ratio * x + (1.0 - ratio) * denoiser(x, s)
    for _ in range(8):
        y = ratio * x + (1.0 - ratio) * denoiser(y, s_next)
    return y


@one_step
def implicit_midpoint(denoiser, x, s, s_next):
    # y = x + h ((x + y) / 2 - D) / middle, solved for y; D is found by iteration.
    middle, r = 0.5 * (s + s_next), 0.5 * (s_next - s) / (0.5 * (s + s_next))
    y = x
    for _ in range(6):
        y = ((1.0 + r) * x - 2.0 * r * denoiser(0.5 * (x + y), middle)) / (1.0 - r)
    return y


@one_step
def trapezoid(denoiser, x, s, s_next):
    h, d = s_next - s, slope(denoiser, x, s)
    y = x + h * d
    for _ in range(6):
        y = x + 0.5 * h * (d + slope(denoiser, y, s_next))
    return y


@one_step
def predict_evaluate_correct_3(denoiser, x, s, s_next):
    h, d = s_next - s, slope(denoiser, x, s)
    y = x + h * d
    for _ in range(3):
        y = x + 0.5 * h * (d + slope(denoiser, y, s_next))
    return y


@one_step
def richardson(denoiser, x, s, s_next):
    middle = 0.5 * (s + s_next)
    d = slope(denoiser, x, s)
    half = x + (middle - s) * d
    two = half + (s_next - middle) * slope(denoiser, half, middle)
    return 2.0 * two - (x + (s_next - s) * d)


def dpm_solver_pp_2m(denoiser, x, sigmas, noise, ratio=lambda h, h_old: h / h_old):
    old = h_old = None
    for s, s_next in pairwise(sigmas.tolist()):
        d, h = denoiser(x, s), math.log(s / s_next) if s_next else math.inf
        first = old is None or s_next == 0.0
        towards = d if first else d + 0.5 * ratio(h, h_old) * (d - old)
        x = s_next / s * x + (1.0 - s_next / s) * towards
        old, h_old = d, h
    return x


def dpm_solver_pp_3m(denoiser, x, sigmas, noise):
    """Exponential Adams: the polynomial through three estimates, integrated in -log sigma."""
    past = []
    for s, s_next in pairwise(sigmas.tolist()):
        past = [(-math.log(s), denoiser(x, s)), *past[:2]]
        h = math.log(s / s_next) if s_next else math.inf
        if math.isinf(h):
            x = past[0][1]
            continue
        nodes = np.array([time - past[0][0] for time, _ in past])
        # Moments of e**(u - h) over [0, h]: 1 - e**-h, then by parts.
        moments = [-math.expm1(-h)]
        for k in range(1, len(past)):
            moments.append(h**k - k * moments[-1])
        weights = np.linalg.solve(nodes ** np.arange(len(past))[:, None], np.array(moments))
        x = s_next / s * x
        for w, (_, d) in zip(weights.tolist(), past, strict=True):
            x = x + w * d
    return x


def lms(denoiser, x, sigmas, noise):
    """Adams and Bashforth on any grid, up to order 4: the polynomial of slopes is integrated."""
    past = []
    for s, s_next in pairwise(sigmas.tolist()):
        past = [(s, slope(denoiser, x, s)), *past[:3]]
        j, h = np.arange(len(past)), s_next - s
        nodes = np.array([(then - s) / h for then, _ in past])
        weights = np.linalg.solve(nodes ** j[:, None], 1.0 / (j + 1.0))
        for w, (_, d) in zip(weights.tolist(), past, strict=True):
            x = x + h * w * d
    return x


def picard(denoiser, x, sigmas, noise, window=4):
    """Euler's steps four at once, over and over, until each has had its turn."""
    levels = sigmas.tolist()
    for first in range(0, len(levels) - 1, window):
        part = levels[first : first + window + 1]
        path = [x for _ in part]
        for _ in part[1:]:
            slopes = [slope(denoiser, y, s) for y, s in zip(path, part[:-1], strict=False)]
            path = [x]
            for d, (s, s_next) in zip(slopes, pairwise(part), strict=True):
                path.append(path[-1] + (s_next - s) * d)
        x = path[-1]
    return x


def split(s, s_next):
    """Karras's sigmas of an ancestral step: down by Euler, up by noise."""
    return s_next**2 / s, s_next * math.sqrt(1.0 - (s_next / s) ** 2)


def ancestral(denoiser, x, sigmas, noise):
    for s, s_next in pairwise(sigmas.tolist()):
        down, up = split(s, s_next)
        x = x + (down - s) * slope(denoiser, x, s)
        if s_next > 0.0:
            x = x + up * noise(x)
    return x


def dpm_solver_pp_sde(denoiser, x, sigmas, noise):
    """The SDE form of DPM-Solver++ of first order."""
    for s, s_next in pairwise(sigmas.tolist()):
        kept = (s_next / s) ** 2
        x = kept * x + (1.0 - kept) * denoiser(x, s)
        if s_next > 0.0:
            x = x + s_next * math.sqrt(1.0 - kept) * noise(x)
    return x


def dpm_solver_pp_2m_sde(denoiser, x, sigmas, noise):
    old = h_old = None
    for s, s_next in pairwise(sigmas.tolist()):
        d, h = denoiser(x, s), math.log(s / s_next) if s_next else math.inf
        kept = (s_next / s) ** 2
        towards = d if old is None or not s_next else d + 0.5 * h / h_old * (d - old)
        x = kept * x + (1.0 - kept) * towards
        if s_next > 0.0:
            x = x + s_next * math.sqrt(1.0 - kept) * noise(x)
        old, h_old = d, h
    return x


def restart(denoiser, x, sigmas, noise):
    """Heun's steps; after the third of them, back up once, and down again."""
    levels = sigmas.tolist()
    for i, (s, s_next) in enumerate(pairwise(levels)):
        x = heun(denoiser, x, np.array([s, s_next]), noise)
        if i == 3 and s_next > 0.0:
            up = levels[i - 1]
            x = x + math.sqrt(up**2 - s_next**2) * noise(x)
            x = heun(denoiser, x, np.array(levels[i - 1 : i + 2]), noise)
    return x


def churn(denoiser, x, sigmas, noise, amount=4.0, s_noise=1.0):
    n = len(sigmas) - 1
    for s, s_next in pairwise(sigmas.tolist()):
        raised = s * (1.0 + min(amount / n, 0.4))
        x = x + s_noise * math.sqrt(raised**2 - s**2) * noise(x)
        x = x + (s_next - raised) * slope(denoiser, x, raised)
    return x


def louder_churn(denoiser, x, sigmas, noise):
    return churn(denoiser, x, sigmas, noise, s_noise=1.01)


def told_a_vector(denoiser, x, sigmas, noise):
    """Euler's method, which tells the denoiser a sigma for each sample."""
    ones = np.ones(len(x), x.dtype)
    return euler(lambda y, s: denoiser(y, s * ones), x, sigmas, noise)


def adaptive(denoiser, x, sigmas, noise, tolerance=1e-5):
    """Heun's and Euler's methods beside each other, in steps as long as their difference allows."""
    s, end, h = float(sigmas[0]), float(sigmas[-1]), -0.1 * float(sigmas[0])
    stop = max(end, 1e-3 * float(sigmas[-2]))
    while s > stop:
        h = max(h, stop - s)
        d = slope(denoiser, x, s)
        d_next = slope(denoiser, x + h * d, s + h)
        scale = 1e-3 * tolerance + tolerance * np.sqrt(np.mean(x**2)) if x.size else 1.0
        error = np.sqrt(np.mean((0.5 * h * (d_next - d)) ** 2)) / scale if x.size else 0.0
        if error <= 1.0:
            x, s = x + 0.5 * h * (d + d_next), s + h
        h *= min(4.0, max(0.2, 0.9 / math.sqrt(max(float(error), 1e-12))))
    return denoiser(x, s) if end == 0.0 else x


# name: (sampler, what is claimed of it)
SOUND = {
    "euler": (euler, {"order": 1}),
    "heun": (heun, {"order": 2, "uneven_order": 2}),
    "RK4": (runge_kutta_4, {"order": 4, "uneven_order": 4}),
    "DPM-Solver++ 2S": (dpm_solver_pp_2s, {"order": 2, "uneven_order": 2}),
    "DPM-Solver++ 2M": (dpm_solver_pp_2m, {"order": 2, "uneven_order": 2}),
    "DPM-Solver++ 3M": (dpm_solver_pp_3m, {"order": 2, "uneven_order": 2}),
    "LMS": (lms, {"order": 2, "uneven_order": 2}),
    "implicit Euler": (implicit_euler, {"order": 1}),
    "implicit midpoint": (implicit_midpoint, {"order": 2, "uneven_order": 2}),
    "trapezoid": (trapezoid, {"order": 2, "uneven_order": 2}),
    "P(EC)^3": (predict_evaluate_correct_3, {"order": 2, "uneven_order": 2}),
    "Richardson": (richardson, {"order": 2, "uneven_order": 2}),
    "Picard": (picard, {"order": 1}),
    "told a vector": (told_a_vector, {"order": 1}),
    "ancestral": (ancestral, {"order": 1, "stochastic": True}),
    "DPM-Solver++ SDE": (dpm_solver_pp_sde, {"order": 1, "stochastic": True}),
    "DPM-Solver++ 2M SDE": (dpm_solver_pp_2m_sde, {"order": 1, "stochastic": True}),
    "restart": (restart, {"order": 2, "stochastic": True}),
    "churn": (churn, {"order": 1, "stochastic": True}),
    "churn, s_noise": (louder_churn, {"order": 1, "stochastic": True, "s_noise": 1.01}),
    "adaptive": (adaptive, {"order": 2, "tolerance": 1e-3}),
}
