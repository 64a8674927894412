"""Six schedulers, one noise
=========================

Six schedulers turn the same noise into handwritten digits, at the same number of evaluations.

The model is the exact denoiser of scikit-learn's 1797 digits, so every difference between the rows
is the schedulers' own. The deterministic ones follow one trajectory and arrive at the same digits;
the stochastic ones take fresh noise on the way and arrive at others.

    python examples/quickstart.py [FILE.png]
"""

import sys

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from sklearn.datasets import load_digits

import schedulers
from schedulers.analytic import Empirical

NFE = 21  # model evaluations for each scheduler
COLUMNS = 12

schedule = schedulers.DiscreteSchedule(schedulers.linear_betas(1000))
digits = load_digits().images / 8.0 - 1.0  # 8 x 8 pixels in [-1, 1]
denoiser = Empirical(digits).denoiser(schedule, prediction_type="epsilon")

SCHEDULERS = {
    "DDPM": schedulers.DDPM(schedule),
    "DDIM": schedulers.DDIM(schedule),
    "Euler": schedulers.Euler(schedule),
    "Euler ancestral": schedulers.EulerAncestral(schedule),
    "Heun": schedulers.Heun(schedule),
    "PLMS": schedulers.PLMS(schedule),
}


def draw(file: str) -> None:
    x_T = SCHEDULERS["DDIM"].initial_noise((COLUMNS, 8, 8), steps=NFE, rng=3)
    rows = {"starting noise": x_T}
    for name, scheduler in SCHEDULERS.items():
        steps = (NFE + 1) // 2 if name == "Heun" else NFE  # Heun evaluates twice a step
        assert scheduler.tableau(steps).nfe == NFE
        print(f"{name}, {steps} steps:", file=sys.stderr, flush=True)
        rows[name] = scheduler.sample(denoiser, x_T, steps=steps, rng=0, progress=True)

    figure, axes = plt.subplots(len(rows), COLUMNS, figsize=(9.6, 6.0), layout="constrained")
    for (name, images), line in zip(rows.items(), axes, strict=True):
        limit = 3.0 if images is x_T else 1.0
        for image, axis in zip(images, line, strict=True):
            axis.imshow(image, cmap="gray_r", vmin=-limit, vmax=limit)
            axis.set(xticks=[], yticks=[])
            for spine in axis.spines.values():
                spine.set_color("0.8")
        line[0].set_ylabel(name, rotation=0, ha="right", va="center", labelpad=8)
    figure.suptitle(f"Six schedulers, the same starting noise, {NFE} model evaluations each")
    figure.savefig(file, dpi=120)
    print(f"wrote {file}")


if __name__ == "__main__":
    draw(sys.argv[1] if len(sys.argv) > 1 else "quickstart.png")
