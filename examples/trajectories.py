"""
Trajectories: the same distributions by different ways
======================================================

A diffusion can be run back by a stochastic differential equation or by an ordinary one, the
probability flow, and both have the same distribution at every time (Song et al. 2021, section 4.3).
What differs is a single trajectory. The flow's is smooth and is decided by where it begins; the
stochastic one is rough and soon forgets where that was.

The data is a mixture of five Gaussians in two dimensions, whose denoiser is exact.
"""

import sys

import numpy as np
from matplotlib import pyplot as plt

from schedulers import EulerAncestral, Heun, VESchedule
from schedulers.analytic import GaussianMixture

plt.rcParams.update({"font.size": 11})

angles = 2.0 * np.pi * (np.arange(5) / 5.0 + 0.05)
means = 3.0 * np.stack([np.cos(angles), np.sin(angles)], axis=1)
data = GaussianMixture(means, std=0.4, weights=[0.3, 0.1, 0.2, 0.25, 0.15])
schedule = VESchedule()
denoiser = data.denoiser(schedule)
flow, ancestral = (make(schedule, spacing="karras") for make in (Heun, EulerAncestral))
STEPS = 120


def paths(scheduler, starts, rng=None):
    """Return the positions before and after every step, shape (steps + 1, n, 2)."""
    states = scheduler.iterate(denoiser, starts, steps=STEPS, rng=rng)
    return np.array([starts, *(state.x for state in states)])


def shares(x):
    """Return the share of samples nearest to each of the five means."""
    distance = np.linalg.norm(x[:, None] - means, axis=2)
    return np.bincount(distance.argmin(axis=1), minlength=5) / len(x)


# %%
# The share of samples that each of the five gets, of 4000: from random starts, and all from one.
# From one start the flow arrives at a single point; ancestral sampling gets the data's shares.

print("the data's weights             ", data.weights.round(2))
random = flow.initial_noise((4000, 2), steps=STEPS, rng=0)
one = np.tile([80.0, 100.0], (4000, 1))
ends = {}
for name, scheduler in (("flow", flow), ("ancestral", ancestral)):
    for start, starts in (("random starts", random), ("one start", one)):
        ends[name, start] = scheduler.sample(denoiser, starts, steps=STEPS, rng=1)
        print(f"{name + ', from ' + start:31s}", shares(ends[name, start]).round(2))

# %%

turns = np.linspace(0.0, 2.0 * np.pi, 25)[:-1]
around = 110.0 * np.stack([np.cos(turns), np.sin(turns)], axis=1)
figure, panels = plt.subplots(1, 2, figsize=(10, 5.6), layout="constrained")
axis = np.linspace(-8.0, 8.0, 400)
x, y = np.meshgrid(axis, axis)
density = np.exp(data.log_prob(np.stack([x, y], axis=-1).reshape(-1, 2))).reshape(x.shape)
for panel in panels:
    panel.contourf(x, y, np.sqrt(density), levels=12, cmap="Greys", alpha=0.7)
    panel.set(aspect="equal", xticks=[], yticks=[], xlim=(-8, 8), ylim=(-8, 8))
left, right = panels
left.plot(*paths(flow, around).transpose(2, 0, 1), color="0.35", linewidth=0.7)
for k, color in ((3, "#D55E00"), (11, "#0072B2"), (20, "#009E73")):
    smooth = paths(flow, around[k : k + 1])
    rough = paths(ancestral, np.tile(around[k], (2, 1)), rng=[k, k + 1])
    left.plot(*smooth.transpose(2, 0, 1), color=color, linewidth=2.5)
    right.plot(*rough.transpose(2, 0, 1), color=color, linewidth=1.0)
    for panel, drawn in ((left, smooth), (right, rough)):
        panel.plot(*drawn[-1].T, "o", color=color, markersize=8, markeredgecolor="white")
left.set_title("The flow: where it begins decides")
right.set_title("Ancestral: the same three starts, twice each")

if len(sys.argv) > 1:
    figure.savefig(sys.argv[1], dpi=120)
else:
    plt.show()
