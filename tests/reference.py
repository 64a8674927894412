"""The papers' algorithms written out as they stand there, one loop each: the second route.

`normal()` draws standard normal noise; `eps(x, i)` and `denoise(x, s)` are the model.
"""

from itertools import pairwise

import numpy as np


def ddpm(eps, x, alphas_cumprod, indices, variance, normal):
    """Ho et al. 2020, Algorithm 2, on the chain of a subset of steps (i falls, the paper's t)."""
    previous = [*indices[1:], None]
    for i, j in zip(indices, previous, strict=True):
        abar, abar_prev = alphas_cumprod[i], 1.0 if j is None else alphas_cumprod[j]
        alpha = abar / abar_prev
        beta = 1.0 - alpha
        x = (x - beta / np.sqrt(1.0 - abar) * eps(x, i)) / np.sqrt(alpha)
        if j is not None:
            small = (1.0 - abar_prev) / (1.0 - abar) * beta
            x = x + np.sqrt({"fixed_small": small, "fixed_large": beta}[variance]) * normal()
    return x


def ddim(eps, x, alphas_cumprod, indices, sigmas, normal):
    """Song et al. 2020, eq. 12, its standard deviations given; its alpha is alphas_cumprod."""
    previous = [*indices[1:], None]
    for i, j, sigma in zip(indices, previous, sigmas, strict=True):
        abar, abar_prev = alphas_cumprod[i], 1.0 if j is None else alphas_cumprod[j]
        e = eps(x, i)
        predicted = (x - np.sqrt(1.0 - abar) * e) / np.sqrt(abar)
        x = np.sqrt(abar_prev) * predicted + np.sqrt(1.0 - abar_prev - sigma**2) * e
        if sigma:
            x = x + sigma * normal()
    return x


def ddim_sigmas(alphas_cumprod, indices, eta):
    """Song et al. 2020, eq. 16."""
    abar = alphas_cumprod[indices]
    abar_prev = np.append(alphas_cumprod[indices[1:]], 1.0)
    return eta * np.sqrt((1.0 - abar_prev) / (1.0 - abar)) * np.sqrt(1.0 - abar / abar_prev)


def ddpm_sigma_hat(eps, x, alphas_cumprod, indices, normal):
    """Song et al. 2020, appendix D.3: eq. 12's e with sigma(1), its noise with sigma-hat."""
    previous = [*indices[1:], None]
    for i, j, sigma in zip(
        indices, previous, ddim_sigmas(alphas_cumprod, indices, 1.0), strict=True
    ):
        abar, abar_prev = alphas_cumprod[i], 1.0 if j is None else alphas_cumprod[j]
        e = eps(x, i)
        predicted = (x - np.sqrt(1.0 - abar) * e) / np.sqrt(abar)
        x = np.sqrt(abar_prev) * predicted + np.sqrt(1.0 - abar_prev - sigma**2) * e
        if j is not None:
            x = x + np.sqrt(1.0 - abar / abar_prev) * normal()
    return x


def edm(
    denoise, x, sigmas, normal, *, second_order, s_churn=0.0, s_tmin=0.0, s_tmax=np.inf, s_noise=1.0
):
    """Karras et al. 2022, Algorithm 2 (Algorithm 1 where s_churn is 0; Euler: not lines 9-11)."""
    n = len(sigmas) - 1
    for t, t_next in pairwise(sigmas):
        gamma = min(s_churn / n, np.sqrt(2.0) - 1.0) if s_tmin <= t <= s_tmax else 0.0
        t_hat = t + gamma * t
        x_hat = x
        if gamma > 0.0:
            x_hat = x + np.sqrt(t_hat**2 - t**2) * s_noise * normal()
        d = (x_hat - denoise(x_hat, t_hat)) / t_hat
        x = x_hat + (t_next - t_hat) * d
        if second_order and t_next != 0.0:
            d_next = (x - denoise(x, t_next)) / t_next
            x = x_hat + (t_next - t_hat) * (d + d_next) / 2.0
    return x


def ancestral(denoise, x, sigmas, normal, *, eta=1.0, s_noise=1.0):
    """Euler-ancestral as k-diffusion defines it: down to s_down by Euler, up to s' by noise."""
    for s, s_next in pairwise(sigmas):
        up = min(s_next, eta * np.sqrt(s_next**2 * (s**2 - s_next**2) / s**2))
        down = np.sqrt(s_next**2 - up**2)
        d = (x - denoise(x, s)) / s
        x = x + (down - s) * d
        if up:
            x = x + up * s_noise * normal()
    return x


def transfer(x, e, abar, abar_next):
    """Liu et al. 2022, eq. 11, phi."""
    root = np.sqrt(abar) * (np.sqrt((1.0 - abar_next) * abar) + np.sqrt((1.0 - abar) * abar_next))
    return np.sqrt(abar_next / abar) * x - (abar_next - abar) / root * e


def pndm(eps, x, abars, order, startup, middle):
    """Liu et al. 2022, eq. 12 and 13; eps(x, abar), middle(abar, abar_next)."""
    weights = {
        1: [1.0],
        2: [1.5, -0.5],
        3: [23 / 12, -16 / 12, 5 / 12],
        4: [55 / 24, -59 / 24, 37 / 24, -9 / 24],
    }
    past = []
    for abar, abar_next in pairwise(abars):
        e = eps(x, abar)
        past.insert(0, e)
        now = min(order, len(past))
        starting = now < order and abar_next < 1.0
        if starting and startup == "runge_kutta":
            mid = middle(abar, abar_next)
            e2 = eps(transfer(x, e, abar, mid), mid)
            e3 = eps(transfer(x, e2, abar, mid), mid)
            e4 = eps(transfer(x, e3, abar, abar_next), abar_next)
            e = (e + 2.0 * e2 + 2.0 * e3 + e4) / 6.0
        elif starting and startup == "heun" and len(past) == 1:
            e = (e + eps(transfer(x, e, abar, abar_next), abar_next)) / 2.0
        else:
            e = sum(w * p for w, p in zip(weights[now], past, strict=False))
        x = transfer(x, e, abar, abar_next)
    return x
