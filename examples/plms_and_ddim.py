"""
PLMS against DDIM: evaluations to equal error
=============================================

PNDM's claim is that its multistep method makes better images in 50 steps than DDIM in 1000, a
speed-up of 20 (Liu et al. 2022, abstract). Both cost one model evaluation a step: DDIM uses the
noise estimate of that evaluation alone, PLMS extrapolates from the last four, here with the
paper's constant weights (eq. 12).

Here both run on the paper's schedule, 1000 linear betas, for Gaussian data with the spectrum of
natural images, for which the distance of their output from the data is known exactly.
"""

import sys

import numpy as np
from matplotlib import pyplot as plt

from schedulers import DDIM, PLMS, DiscreteSchedule, linear_betas
from schedulers.analysis import compare, power_law

plt.rcParams.update({"font.size": 11, "axes.spines.top": False, "axes.spines.right": False})

schedule = DiscreteSchedule(linear_betas(1000))
steps = (5, 8, 10, 20, 25, 40, 50, 100, 125, 200, 250, 500, 1000)  # they divide 1000: even grids
schedulers = [DDIM(schedule), PLMS(schedule, weights="constant")]
errors = compare(schedulers, power_law(32), steps).to_dict()
ddim, plms = ({n: errors[name][n]["error"] for n in steps} for name in ("DDIM", "PLMS"))

# %%
# The speed-up is the number of steps that DDIM needs for PLMS's error, in units of PLMS's steps;
# between the computed steps it is read off on logarithmic axes. It grows with the steps, since the
# two errors fall at different orders: from 2 at 5 steps to what the paper says at 50. After that,
# the last step, from the lowest training level to the clean one, is most of PLMS's error.

print("PLMS   error   DDIM needs   speed-up")
speed_ups = {}
for n in (5, 10, 20, 25, 40):
    needed = np.exp(np.interp(-np.log(plms[n]), -np.log([*ddim.values()]), np.log(steps)))
    speed_ups[n] = needed / n
    print(f"{n:4d}{plms[n]:8.3f}{needed:13.0f}{speed_ups[n]:11.1f}")
print(f"PLMS in 50 steps: {plms[50]:.4f}; DDIM in 1000 steps: {ddim[1000]:.4f}")

figure, axes = plt.subplots(figsize=(7.5, 4.6), layout="constrained")
axes.loglog(steps, ddim.values(), "o-", color="#0072B2", markersize=5)
axes.loglog(steps, plms.values(), "s-", color="#A6417E", markersize=5)
axes.text(52, 1.1, "DDIM", color="#0072B2", fontweight="bold")
axes.text(110, 0.011, "PLMS", color="#A6417E", fontweight="bold", ha="right")
arrow = {"arrowstyle": "->", "color": "0.5"}
for n in (10, 20, 50):
    end = 1000 if n == 50 else n * speed_ups[n]
    axes.annotate("", (end, plms[n]), (1.07 * n, plms[n]), arrowprops=arrow)
    text = "more than 20 times" if n == 50 else f"{speed_ups[n]:.0f} times"
    axes.text(np.sqrt(n * end), 1.08 * plms[n], text, ha="center", color="0.3")
axes.set(
    xlabel="model evaluations",
    ylabel="2-Wasserstein distance to the data",
    title="DDIM needs ever more steps for the error of PLMS",
)
for axis, ticks in (
    (axes.xaxis, (5, 10, 20, 50, 100, 200, 500, 1000)),
    (axes.yaxis, (0.01, 0.1, 1)),
):
    axis.set_major_locator(plt.FixedLocator(ticks))
    axis.set_major_formatter("{x:g}")

if len(sys.argv) > 1:
    figure.savefig(sys.argv[1], dpi=120)
else:
    plt.show()
