"""Prints a hash of noise, and of a seeded run of each scheduler that draws noise."""

import json
from hashlib import sha256

import numpy as np

import schedulers as sc
from kit import SCHEDULES, STOCHASTIC
from schedulers.grids import SPACINGS

VE = sc.VESchedule()
SIGMAS = [4.0, 2.0, 1.0, 0.5, 0.0]
SHAPES = {"small": (3, 5), "in chunks": (3, 2**17)}


def plain(x, t):
    """Return a denoiser's output by arithmetic that every processor rounds the same."""
    return x * np.asarray(0.25, x.dtype) - np.asarray(0.125, x.dtype)


def digest(array):
    return sha256(np.ascontiguousarray(array).tobytes()).hexdigest()[:16]


def hashes():
    found = {}
    for dtype in ("float16", "float32", "float64"):
        for name, shape in SHAPES.items():
            for rng in (17, (1, 2**70, 3)):
                noise = sc.DDPM(VE).initial_noise(shape, sigmas=SIGMAS, rng=rng, dtype=dtype)
                found[f"noise {dtype} {name} {rng}"] = digest(noise)
        path = sc.BrownianPath(5)
        for name, make in STOCHASTIC.items():
            x = sc.DDPM(VE).initial_noise((2, 40), sigmas=SIGMAS, rng=3, dtype=dtype)
            for rng in (7, path):
                x_0 = make(VE).sample(plain, x, sigmas=SIGMAS, rng=rng)
                found[f"run {dtype} {name} {rng}"] = digest(x_0)
    for schedule in SCHEDULES.values():
        for spacing in sorted(SPACINGS):
            scheduler = sc.DDPM(schedule, prediction_type="v_prediction", spacing=spacing)
            try:
                x = scheduler.initial_noise((2, 40), steps=9, rng=3)
            except ValueError:  # a spacing by sigma on a schedule that reaches alpha = 0
                continue
            found[f"run {schedule} {spacing}"] = digest(scheduler.sample(plain, x, steps=9, rng=1))
    return found


if __name__ == "__main__":
    print(json.dumps(hashes()))
