"""What k-diffusion and its counterpart here are both run on."""

import math
from types import SimpleNamespace

import numpy as np

SHAPE = (3, 2, 4)
NOISES = 40  # at most


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
    "two_steps": [5.0, 1.5, 0.0],
    "repeated": [8.0, 3.0, 3.0, 0.7, 0.7, 0.0],
    "rising": [0.05, 0.3, 1.1, 4.0, 9.0],
    "none": [3.0],
}
# sigma_min and sigma_max of samplers that choose their levels; for sample_dpm_fast n as well.
ENDS = {"falling": (0.05, 12.0), "rising": (9.0, 0.05), "short": (2.0, 3.0)}
EVALUATIONS = {
    **{f"falling{n}": (*ENDS["falling"], n) for n in (1, 2, 3, 4, 5, 9)},
    "rising5": (*ENDS["rising"], 5),
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
SDE = {name: ANCESTRAL[name] for name in ("eta0", "eta.4", "eta1", "eta1.5")}
ADAPTIVE = {
    "default": {},
    "order2": {"order": 2},
    "close": {"rtol": 0.01, "atol": 0.001, "h_init": -0.2},
    "pid": {"pcoeff": 0.3, "icoeff": 0.4, "dcoeff": 0.1, "h_init": 2.0},
    "pid2": {"order": 2, "pcoeff": 0.2, "icoeff": 0.5, "accept_safety": 0.9, "rtol": 0.02},
    "eta.4": {"eta": 0.4, "s_noise": 1.1, "rtol": 0.5, "atol": 0.1},
    "eta1.5": {"eta": 1.5, "order": 2, "rtol": 0.5, "atol": 0.1},
}
OPTIONS = {
    "sample_euler": CHURN,
    "sample_heun": CHURN,
    "sample_dpm_2": CHURN,
    "sample_euler_ancestral": ANCESTRAL,
    "sample_dpm_2_ancestral": ANCESTRAL,
    "sample_lms": {"default": {}, **{f"order{k}": {"order": k} for k in (1, 2, 3, 5)}},
    "sample_dpm_fast": SDE,
    "sample_dpm_adaptive": ADAPTIVE,
    "sample_dpmpp_2s_ancestral": ANCESTRAL,
    "sample_dpmpp_sde": {**ANCESTRAL, "r.3": {"eta": 0.7, "r": 0.3}, "r1": {"r": 1.0}},
    "sample_dpmpp_2m": {"default": {}},
    "sample_dpmpp_2m_sde": {**SDE, "heun": {"solver_type": "heun", "eta": 0.6}},
    "sample_dpmpp_3m_sde": SDE,
}
RISING = ("sample_euler", "sample_heun", "sample_dpm_2", "sample_lms", "sample_dpmpp_2m")
MULTISTEP = ("sample_lms", "sample_dpmpp_2m", "sample_dpmpp_2m_sde", "sample_dpmpp_3m_sde")
OWN_LEVELS = {"sample_dpm_fast": EVALUATIONS, "sample_dpm_adaptive": ENDS}


def levels_of(sampler):
    """Return by name the levels that a sampler can run at, or the arguments that stand for them."""
    if sampler in OWN_LEVELS:
        return OWN_LEVELS[sampler]
    left_out = [*(["rising"] if sampler not in RISING else [])]
    left_out += ["repeated"] if sampler in MULTISTEP else []
    return {name: grid for name, grid in GRIDS.items() if name not in left_out}


def is_peers(sampler, levels, options):
    """Whether k-diffusion can run this, and by the right formula: if not, see test_differences.py.

    `levels` are as for `record`.
    """
    if sampler == "sample_dpm_2_ancestral":
        return options.get("eta", 1.0) <= 1.0
    if sampler in ("sample_dpmpp_2m_sde", "sample_dpmpp_3m_sde"):
        steps = len(levels) - 1
        inner = steps - (levels[-1] == 0.0)  # those that do not end clean
        return (inner or not steps) and (sampler == "sample_dpmpp_2m_sde" or inner < 3)
    if sampler in OWN_LEVELS:
        return not (levels[0] > levels[1] and options.get("eta"))
    return True


CASES = {
    f"{sampler.removeprefix('sample_')}-{grid}-{name}": (sampler, levels, options)
    for sampler, its in OPTIONS.items()
    for grid, levels in levels_of(sampler).items()
    for name, options in its.items()
    if is_peers(sampler, levels, options)
}
# Where k-diffusion's formula is not right: what it makes of these is kept beside the exact answer.
FINE_STARTS = {f"third_order{n}": n for n in (80, 160)}
CAPPED = ("sample_dpm_2_ancestral", [5.0, 1.5], {"eta": 4.0})
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
    """Return a sample of unit variance, and noises."""
    rng = np.random.default_rng(seed)
    return rng.standard_normal(SHAPE), rng.standard_normal((NOISES, *SHAPE))


def unit_gaussian(x, sigma):
    """Return the exact denoised estimate of N(0, 1)."""
    return x / (1.0 + sigma.reshape(-1, 1, 1) ** 2)


def fine_start(n):
    """Return levels uniform in log sigma, but for two first steps of the square of their length.

    So the start of a multistep method, of lower order, does not show.
    """
    h = math.log(10.0 / 0.3) / n
    logs = [0.0, h**2, 2.0 * h**2, *(k * h for k in range(1, n + 1))]
    return [10.0 * math.exp(-u) for u in logs]


def first_sigma(levels):
    """Return the sigma at which a run begins."""
    return levels[1] if isinstance(levels, tuple) else levels[0]


def record(sample, x, levels, options, noise_sampler=None):
    """Run a sampler; return the sample and what the callback was told, as NumPy arrays.

    `levels` are an array, or a tuple of the arguments in its place.
    """
    told, levels = [], levels if isinstance(levels, tuple) else (levels,)
    if noise_sampler is not None:
        options = {**options, "noise_sampler": noise_sampler}
    x_0 = sample(
        model, x, *levels, {"shift": 0.5}, lambda info: told.append(dict(info)), True, **options
    )
    return SimpleNamespace(
        x=_numpy(x_0),
        i=[info["i"] for info in told],
        **{
            name: np.array([_numpy(info[key]) for info in told])
            for name, key in [
                ("seen", "x"),
                ("sigma", "sigma"),
                ("sigma_hat", "sigma_hat"),
                ("denoised", "denoised"),
            ]
        },
    )


def _numpy(array):
    return array.numpy() if hasattr(array, "numpy") else np.array(array)


def in_order(noise, convert=lambda z: z):
    """Return a noise sampler that gives the noises one after the other."""
    noises = iter(noise)
    return lambda *_: convert(next(noises))


def correlated(clock, impulses):
    """Return noise that is increments of a path W(clock(sigma)), made of independent impulses."""
    part, middle = None, None

    def noise_sampler(sigma, sigma_next):
        nonlocal part, middle
        if part is None:
            part, middle = next(impulses), sigma_next
            return part
        r = (clock(middle) - clock(sigma)) / (clock(sigma_next) - clock(sigma)) if clock else 0.0
        z, part = math.sqrt(r) * part + math.sqrt(1.0 - r) * next(impulses), None
        return z

    return noise_sampler
