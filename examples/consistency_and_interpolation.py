"""
Consistency and interpolation
=============================

With DDIM the image is a function of the starting noise, and nearly the same function for every
number of steps. So the noise is a code of the image, and codes between two codes are images between
two images. Song et al. 2020 show it in sections 5.2 and 5.3; DDPM, with noise of its own at every
step, has neither.

The network of digits.onnx draws the digits, of no given class.
"""

import sys
from pathlib import Path

import numpy as np
import onnxruntime
from matplotlib import pyplot as plt
from scipy.spatial.distance import cdist
from sklearn.datasets import load_digits

from schedulers import DDIM, DDPM, DiscreteSchedule, interpolate, linear_betas
from schedulers.denoisers import per_sample

plt.rcParams.update({"font.size": 11})

here = Path(__file__).parent if "__file__" in globals() else Path()
session = onnxruntime.InferenceSession(here / "digits.onnx")
schedule = DiscreteSchedule(linear_betas(1000))
real = load_digits().images.reshape(-1, 64) / 8.0 - 1.0


def denoiser(x, t):
    no_class = np.full(len(x), 10)
    return session.run(None, {"x": x, "t": per_sample(t, x), "label": no_class})[0]


def draw(scheduler, noise, steps):
    return scheduler.sample(denoiser, noise, steps=steps, rng=1)


# %%
# Agreement is the correlation of pixels, off the mean digit's, with the images of 1000 steps.

NUMBER = 40
ddim, ddpm = DDIM(schedule), DDPM(schedule)
noise = ddim.initial_noise((NUMBER, 1, 8, 8), steps=1000, rng=0, dtype=np.float32)
STEPS = (5, 10, 20, 50, 1000)
made = {f"DDIM, {steps}": draw(ddim, noise, steps) for steps in STEPS}
made["DDPM, 1000"] = draw(ddpm, noise, 1000)


def agreement(some, others):
    """Return the mean correlation of pairs of images."""
    a, b = ((images.reshape(-1, 64) - real.mean(axis=0)).T for images in (some, others))
    return ((a * b).sum(0) / np.sqrt((a * a).sum(0) * (b * b).sum(0))).mean()


for name, images in made.items():
    print(
        f"{name:12s}agreement with DDIM in 1000 steps: {agreement(images, made['DDIM, 1000']):.2f}"
    )

# %%
# Between two noises the way must be along the sphere. Halfway along the straight line the noise has
# lost 29 % of its size, and the images lose variety: they come nearer to what all digits have in
# common. Of 200 pairs halfway, this is the variance between the images, over that of the ends, and
# the distance to the nearest real digit, at which mixtures of pixels fail.

first, second = np.split(ddim.initial_noise((400, 1, 8, 8), steps=50, rng=2, dtype=np.float32), 2)
ends = [draw(ddim, noise, 20) for noise in (first, second)]
halfway = {
    "spherical": draw(ddim, interpolate.spherical(first, second, 0.5), 20),
    "linear": draw(ddim, interpolate.linear(first, second, 0.5), 20),
    "of pixels": interpolate.linear(*ends, 0.5),
}
print("\nhalfway     variance   distance to the nearest real digit")
for name, images in {"at an end": ends[0], **halfway}.items():
    variance = images.var(axis=0).sum() / np.mean([end.var(axis=0).sum() for end in ends])
    nearest = cdist(images.reshape(-1, 64), real).min(axis=1).mean()
    print(f"{name:10s}{variance:10.2f}{nearest:12.2f}")

# %%


def show(axes, rows, labels):
    """Draw rows of images with a label beside each."""
    cells = [[np.pad(image[0], 1, constant_values=-1.0) for image in row] for row in rows]
    axes.imshow(np.block(cells), cmap="gray_r", vmin=-1.0, vmax=1.0)
    axes.set(xticks=[], yticks=10.0 * np.arange(len(rows)) + 4.5, yticklabels=labels)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)


figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.3), layout="constrained")
figure.get_layout_engine().set(wspace=0.08)
show(left, [images[:9] for images in made.values()], list(made))
left.set_title("One noise a column: DDIM's digits stay")
weights = np.linspace(0.0, 1.0, 9)
between = [
    draw(ddim, interpolate.spherical(a, b, weights), 50)
    for a, b in zip(first[:6], second[:6], strict=True)
]
show(right, between, [""] * 6)
right.set_title("From one digit to another, on the sphere")

if len(sys.argv) > 1:
    figure.savefig(sys.argv[1], dpi=120)
else:
    plt.show()
