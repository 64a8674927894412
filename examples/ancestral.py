"""
Ancestral sampling: when an image is decided
============================================

A deterministic scheduler has all of an image in its starting noise. An ancestral one, such as DDPM,
draws fresh noise at every level, and each level decides another part: DDPM's authors show that runs
which share x_t share large-scale attributes when t is large, and all but fine details when it is
small (Ho et al. 2020, section 4.3 and figure 7).

On Gaussian data this is exact. Down to the level sigma, a run knows E[x_0 | x_sigma], whose
variance is the share v / (v + sigma**2) of a component's variance v: half is decided above
sigma = sqrt(v), the component's own size, and half below. With the spectrum of natural images, v
falls as 1/f**2, so that coarse shapes are decided first and details last.
"""

import sys

import numpy as np
from matplotlib import pyplot as plt
from scipy.spatial.distance import cdist
from sklearn.datasets import load_digits

from schedulers import DDIM, DDPM, VESchedule, karras_sigmas
from schedulers.analysis import power_law, transfer_function
from schedulers.analytic import Empirical

plt.rcParams.update({"font.size": 11, "axes.spines.top": False, "axes.spines.right": False})

schedule = VESchedule()
levels = karras_sigmas(500, 0.002, 80.0)
spectrum = np.sort(power_law(64).cov)[::-1]
variances = spectrum[[0, 40, 400, 4095]]  # of natural images of 64 x 64 pixels
gains = transfer_function(DDPM(schedule), variances, sigmas=levels)
share = np.append(gains.start[None] ** 2 * 80.0**2, gains.stages**2, axis=0)
share /= share.sum(axis=0)
decided = np.cumsum(share, axis=0)  # from x_T and the noises down to each level

print("size of component   half of it is decided at   of it in x_T: DDPM       DDIM")
alone = transfer_function(DDIM(schedule), variances, sigmas=levels)
for k, v in enumerate(variances):
    half = np.exp(np.interp(0.5, decided[:-1, k], np.log(levels[:-1])))
    in_start = alone.start[k] ** 2 / (alone.start[k] ** 2 + alone.noise_variance[k])
    print(f"{np.sqrt(v):17.3f}{half:27.3f}{share[0, k]:24.5f}{in_start:11.0f}")

# %%
# The digits, with their exact denoiser. In each row, six runs share all noise down to a level and
# each goes on with its own. Agreement is measured on 200 such rows: the share of pairs that end as
# the same kind of digit, and the correlation of their pixels.

digits = load_digits()
images = digits.images / 8.0 - 1.0
denoiser = Empirical(images).denoiser(schedule)
scheduler, grid = DDPM(schedule), karras_sigmas(40, 0.02, 80.0)
ROWS, COLUMNS = 200, 6


def siblings(shared):
    """Return runs, shape (ROWS, COLUMNS, 8, 8), that part below the level of number `shared`."""
    x = scheduler.initial_noise((ROWS, 8, 8), sigmas=grid, rng=0)
    if shared:
        x = scheduler.sample(denoiser, x, sigmas=grid[: shared + 1], rng=1)
    x = np.repeat(x, COLUMNS, axis=0)
    x = scheduler.sample(denoiser, x, sigmas=grid[shared:], rng=2)
    return x.reshape(ROWS, COLUMNS, 8, 8)


def agreement(made):
    """Return the share of pairs of one class, and the mean correlation of pairs."""
    pixels = made.reshape(ROWS, COLUMNS, 64)
    nearest = cdist(pixels.reshape(-1, 64), images.reshape(-1, 64)).argmin(axis=1)
    kinds = digits.target[nearest].reshape(ROWS, COLUMNS)
    first, second = np.triu_indices(COLUMNS, 1)
    same = (kinds[:, first] == kinds[:, second]).mean()
    centered = pixels - images.mean(axis=0).reshape(64)
    unit = centered / np.linalg.norm(centered, axis=2, keepdims=True)
    return same, (unit[:, first] * unit[:, second]).sum(axis=2).mean()


print("\nshared down to   same digit   correlation")
rows = {}
for level in (80.0, 3.0, 1.5, 0.75, 0.3):
    shared = int(np.abs(np.log(grid[:-1] / level)).argmin())
    rows[level] = siblings(shared)
    same, correlation = agreement(rows[level])
    print(f"{grid[shared]:14.2f}{same:13.0%}{correlation:14.2f}")

# %%

figure = plt.figure(figsize=(10, 4.8), layout="constrained")
left, right = figure.subfigures(1, 2, width_ratios=(1.1, 1))
axes = left.subplots()
colors = plt.get_cmap("viridis")(np.linspace(0.0, 0.85, len(variances)))
for k, (v, color) in enumerate(zip(variances, colors, strict=True)):
    axes.semilogx(levels[:-1], decided[:-1, k], color=color, linewidth=2.5)
    axes.plot(np.sqrt(v), 0.5, "o", color=color, markersize=8)
    axes.text(1.25 * np.sqrt(v), 0.5, f"{np.sqrt(v):.2g}", color=color, ha="right", va="center")
axes.set(
    xlim=(80.0, 0.002),
    xlabel="sigma, from noise to image",
    ylabel="share of the variance decided so far",
    title="Half of each component at its own size",
)
axes.xaxis.set_major_formatter("{x:g}")
panels = right.subplots(len(rows), COLUMNS)
for (level, made), line in zip(rows.items(), panels, strict=True):
    for image, panel in zip(made[3], line, strict=True):
        panel.imshow(image, cmap="gray_r", vmin=-1.0, vmax=1.0)
        panel.set(xticks=[], yticks=[])
        panel.spines[:].set_visible(False)
    line[0].set_ylabel(f"{level:g}  ", rotation=0, ha="right", va="center")
right.suptitle("Six runs that share all noise down to a sigma", fontsize=12)

if len(sys.argv) > 1:
    figure.savefig(sys.argv[1], dpi=120)
else:
    plt.show()
