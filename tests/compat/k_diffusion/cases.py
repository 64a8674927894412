"""What k-diffusion and its counterpart here are both run on."""

from types import SimpleNamespace

import numpy as np

SHAPE = (3, 2, 4)
STEPS = 8  # at most


def model(x, sigma, shift=0.0):
    """Return a nonlinear function of each element, its level and an extra argument."""
    s = sigma.reshape(-1, 1, 1)
    y = x / (1.0 + s)
    return 2.0 * y / (1.0 + abs(y)) + shift / (2.0 + s)


KARRAS = [12.0, 6.62, 3.37, 1.54, 0.6, 0.19, 0.05, 0.0]
GRIDS = {
    "clean": KARRAS,
    "noisy_end": KARRAS[:-2],
    "one_step": [5.0, 0.0],
    "repeated": [8.0, 3.0, 3.0, 0.7, 0.7, 0.0],
    "rising": [0.05, 0.3, 1.1, 4.0, 9.0],
    "none": [3.0],
}
CHURN = {
    "no_churn": {},
    "churn": {"s_churn": 2.0, "s_noise": 1.007},
    "much_churn": {"s_churn": 40.0},
    "bounded": {"s_churn": 3.0, "s_tmin": 0.19, "s_tmax": 3.37},
    "silent": {"s_churn": 3.0, "s_noise": 0.0},
}
ANCESTRAL = {
    "eta0": {"eta": 0.0},
    "eta.4": {"eta": 0.4, "s_noise": 1.1},
    "eta1": {},
    "eta1.5": {"eta": 1.5},
    "eta4": {"eta": 4.0, "s_noise": 0.9},
}
CASES = {
    **{
        f"{sampler}-{grid}-{name}": (f"sample_{sampler}", grid, options)
        for sampler in ("euler", "heun")
        for grid in GRIDS
        for name, options in CHURN.items()
    },
    **{
        f"euler_ancestral-{grid}-{name}": ("sample_euler_ancestral", grid, options)
        for grid in GRIDS
        if grid != "rising"
        for name, options in ANCESTRAL.items()
    },
}
SIGMAS = {
    "karras": ("get_sigmas_karras", (7, 0.03, 14.6)),
    "karras_rho": ("get_sigmas_karras", (5, 0.02, 80.0, 3.0)),
    "karras_one": ("get_sigmas_karras", (1, 0.02, 80.0)),
    "exponential": ("get_sigmas_exponential", (9, 0.01, 20.0)),
    "polyexponential": ("get_sigmas_polyexponential", (9, 0.01, 20.0)),
    "polyexponential_rho": ("get_sigmas_polyexponential", (6, 0.05, 40.0, 2.5)),
    "vp": ("get_sigmas_vp", (10,)),
    "vp_options": ("get_sigmas_vp", (4, 10.0, 0.3, 0.05)),
}


def inputs(seed=0):
    """Return a sample of unit variance, and noise for each step."""
    rng = np.random.default_rng(seed)
    return rng.standard_normal(SHAPE), rng.standard_normal((STEPS, *SHAPE))


def record(sample, x, sigmas, options, noise_sampler=None):
    """Run a sampler; return the sample and what the callback was told, as NumPy arrays."""
    told = []
    if noise_sampler is not None:
        options = {**options, "noise_sampler": noise_sampler}
    x_0 = sample(
        model, x, sigmas, {"shift": 0.5}, lambda info: told.append(dict(info)), True, **options
    )
    return SimpleNamespace(
        x=np.array(x_0),
        i=[info["i"] for info in told],
        **{
            name: np.array([np.array(info[key]) for info in told])
            for name, key in [
                ("seen", "x"),
                ("sigma", "sigma"),
                ("sigma_hat", "sigma_hat"),
                ("denoised", "denoised"),
            ]
        },
    )


def in_order(noise, convert=lambda z: z):
    """Return a noise sampler that gives the noises one after the other."""
    noises = iter(noise)
    return lambda *_: convert(next(noises))
