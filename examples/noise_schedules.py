"""
Noise schedules side by side
============================

A noise schedule says how much of an image is left at each time, and at which levels steps that are
even in time will be. Two papers' claims about them can be computed. Linear betas destroy images too
early, so that up to a fifth of the steps may be skipped with little harm, which cosine betas mend
(Nichol & Dhariwal 2021, section 3.2). And the schedule that Stable Diffusion was trained with does
not end in noise: what is left of the image at the last step is a leak (Lin et al. 2024).

How much is left is measured on the spectrum of natural images: the share of the variance that not
even the exact denoiser can tell from x_t.
"""

import sys

import numpy as np
from matplotlib import pyplot as plt
from sklearn.datasets import load_digits

import schedulers
from schedulers import DDIM, CosineSchedule, DiscreteSchedule, FlowSchedule
from schedulers.analysis import error_budget, power_law

plt.rcParams.update({"font.size": 11, "axes.spines.top": False, "axes.spines.right": False})

schedules = {
    "linear betas": DiscreteSchedule(schedulers.linear_betas(1000)),
    "scaled-linear betas": DiscreteSchedule(schedulers.scaled_linear_betas(1000)),
    "sigmoid betas": DiscreteSchedule(schedulers.sigmoid_betas(1000)),
    "cosine": CosineSchedule(),
    "flow matching": FlowSchedule(),
}
colors = ("#0072B2", "#D55E00", "#E69F00", "#009E73", "#A6417E")
data = power_law(64)


def lost(sigma):
    """Return the share of the data's variance that the exact denoiser cannot tell at a level."""
    part = 1.0 / (1.0 + (np.sqrt(data.cov) / sigma) ** 2)  # the posterior's of each axis
    return (data.cov * part).sum() / data.cov.sum()


def times(schedule, number):
    """Return times of a schedule, evenly from its first to its last."""
    if isinstance(schedule, DiscreteSchedule):
        return np.linspace(schedule.t_min, schedule.t_max, number).round()
    return np.linspace(schedule.t_min, schedule.t_max, number)


# %%
# The last columns are the distance from the data of what DDIM makes in 25 steps, even in time, from
# pure noise; how much of that is due to the start, which is not the noisiest x_t where alpha is not
# 0 there; and the distance where the first 5 steps are skipped. That costs a few per cent with
# linear betas, and much with cosine ones. To a sampler a schedule is nothing else than such a grid:
# with levels that are chosen by hand, all of them give the same.

print(f"{'':21s}alpha_T   lost over 90 %   error   by the start   5 steps less")
curves = {}
for name, schedule in schedules.items():
    t = times(schedule, 1000)
    with np.errstate(divide="ignore"):
        karras = schedule.sigma(t) / schedule.alpha(t)
    curves[name] = np.array([lost(s) for s in karras])
    scheduler = DDIM(schedule, prediction_type="v_prediction")
    grid = scheduler.tableau(25).timesteps
    whole, less = (error_budget(scheduler, data, timesteps=grid[k:]) for k in (0, 5))
    print(
        f"{name:21s}{schedule.alpha(t[-1]):7.4f}{(curves[name] > 0.9).mean():17.0%}"
        f"{whole.total:8.2f}{whole.initialization:15.2f}{less.total:15.2f}"
    )

# %%

digit = load_digits().images[0] / 8.0 - 1.0
noise = np.random.default_rng(0).standard_normal(digit.shape)
figure = plt.figure(figsize=(10, 4.4), layout="constrained")
left, right = figure.subfigures(1, 2, width_ratios=(1, 1.15))
axes = left.subplots()
for (name, curve), color in zip(curves.items(), colors, strict=True):
    axes.plot(np.linspace(0.0, 1.0, 1000), curve, color=color, label=name, linewidth=2)
axes.axhline(0.9, color="0.6", linestyle=":")
axes.legend(frameon=False)
axes.set(xlabel="time, of the whole", ylabel="share of the image that is lost", ylim=(0.0, 1.02))
gap = np.full((8, 1), np.nan)
panels = right.subplots(len(schedules))
for (name, schedule), color, panel in zip(schedules.items(), colors, panels, strict=True):
    strip = [
        np.hstack([schedule.alpha(t) * digit + schedule.sigma(t) * noise, gap])
        for t in times(schedule, 9)
    ]
    panel.imshow(np.hstack(strip), cmap="gray_r", vmin=-2.0, vmax=2.0)
    panel.set_axis_off()
    panel.set_title(name, color=color, loc="left", fontsize=11)

if len(sys.argv) > 1:
    figure.savefig(sys.argv[1], dpi=120)
else:
    plt.show()
