"""Where errors come from, exactly
===============================

Where six schedulers' errors come from on the spectrum of natural images, without a sample.

    python examples/exact_errors.py [exact-analysis.png]

For Gaussian data the distance of a scheduler's output from the data is known exactly. On the left
it is drawn against the number of model evaluations. On the right Heun's error is split into its
causes, against the level at which the run ends.
"""

import math
import sys

import matplotlib as mpl

mpl.use("Agg")

import numpy as np
from matplotlib import pyplot as plt

import schedulers as sc
from schedulers.analysis import compare, convergence_order, error_budget, power_law

STEPS = [5, 8, 12, 18, 25, 40, 70, 120, 250, 500]


def main(path: str) -> None:
    schedule, data = sc.VESchedule(sigma_min=0.002, sigma_max=80.0), power_law(32)
    methods = (sc.DDPM, sc.EulerAncestral, sc.DDIM, sc.Euler, sc.Heun, sc.PLMS)
    makes = {make.__name__: make(schedule, spacing="karras") for make in methods}
    found = compare(makes, data, STEPS)
    print(found)

    print("\norder of convergence, on grids that end at sigma = 0.4")
    for name, scheduler in makes.items():
        print(f"{name:15s}{convergence_order(scheduler, data).order:6.2f}")

    lasts = np.geomspace(0.002, 1.0, 25)
    grids = [sc.karras_sigmas(61, last, 80.0)[:-1] for last in lasts]
    budgets = [error_budget(makes["Heun"], data, sigmas=grid) for grid in grids]
    best = min(budgets, key=lambda budget: budget.total)
    last = lasts[budgets.index(best)]
    print(f"\nHeun, 60 steps to a last level: the least error is {best.total:.4f}, at {last:.3f}")

    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.4), layout="constrained")
    found.plot(left)
    for name in ("DDPM", "DDIM"):  # drawn above their twins
        left.lines[list(makes).index(name)].set(linestyle="--", zorder=5, markerfacecolor="white")
    scale = math.sqrt(data.cov.sum())
    left.set(title=f"Natural images' spectrum, 1024 pixels; the data's own size is {scale:.0f}")
    for name, style in (
        ("total", "k-"),
        ("initialization", "C0-"),
        ("discretization", "C1-"),
        ("truncation", "C2-"),
    ):
        errors = [getattr(budget, name) for budget in budgets]
        right.loglog(lasts, errors, style, label=name, linewidth=3 if name == "total" else 1.5)
    right.set(
        xlabel="Karras's sigma at the last level",
        ylabel="2-Wasserstein distance",
        title="Heun, 60 steps from 80 to the last level",
    )
    right.spines[["top", "right"]].set_visible(False)
    right.legend(frameon=False)
    figure.savefig(path, dpi=110)


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "exact-analysis.png")
