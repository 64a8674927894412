"""
Rate and distortion: the bits of an image, coarse to fine
=========================================================

The bound that a diffusion model is trained on is the length of a code: a sender who knows the image
sends x_T, then each x_{t-1}, which costs the bits of the term L_{t-1}, and the receiver has an
estimate of the image all the while. Ho et al. 2020, section 4.3, find that the distortion falls
steeply over the first bits, and that more than half of all bits describe what cannot be seen.

The network of digits.onnx and the exact denoiser send 200 of the digits, whose pixels have 17
values; the network has seen them in training.
"""

import math
import sys
from pathlib import Path

import numpy as np
import onnxruntime
from matplotlib import pyplot as plt
from sklearn.datasets import load_digits

from schedulers import DDPM, DiscreteSchedule, StaticThreshold, linear_betas
from schedulers.analytic import Empirical
from schedulers.denoisers import per_sample
from schedulers.likelihood import progressive_decoding, variational_bound

plt.rcParams.update({"font.size": 11, "axes.spines.top": False, "axes.spines.right": False})

here = Path(__file__).parent if "__file__" in globals() else Path()
session = onnxruntime.InferenceSession(here / "digits.onnx")
schedule = DiscreteSchedule(linear_betas(1000))
digits = (load_digits().images[:, None] / 8.0 - 1.0).astype(np.float32)
sent = digits[::9]
scheduler = DDPM(schedule, threshold=StaticThreshold(1.0))  # as the paper has it
STEPS = 250


def network(x, t):
    no_class = np.full(len(x), 10)
    return session.run(None, {"x": x, "t": per_sample(t, x), "label": no_class})[0]


denoisers = {"network": network, "exact denoiser": Empirical(digits).denoiser(schedule)}
bounds, decoded = {}, {}
for name, denoiser in denoisers.items():
    bounds[name] = variational_bound(scheduler, denoiser, sent, STEPS, rng=0, bins=17)
    decoded[name] = progressive_decoding(scheduler, denoiser, sent[:200:25], STEPS, rng=0)
    print(name, bounds[name], sep=": ", end="\n\n")

# %%
# The exact denoiser knows that there are 1797 digits, and tells them apart with little more than
# the bits of a number from 1 to 1797. The network was never told, and pays for every pixel.

lengths = {name: bound.total.mean() / math.log(2.0) for name, bound in bounds.items()}
for name, length in lengths.items():
    print(f"bits of an image, {name}: {length:.1f}")
print(f"bits of a number from 1 to {len(digits)}: {math.log2(len(digits)):.1f}\n")

bound = bounds["network"]
rate, distortion = bound.rate.mean(axis=1), np.sqrt(bound.squared_error.mean(axis=1))
grey = 8.0 * distortion  # in units of the steps from one of the pixels' 17 values to the next
print("share of the network's bits   root mean square error, in steps of the grey scale")
for part in (0.0, 0.1, 0.25, 0.5, 0.75):
    error = np.interp(part * bound.bits_per_dimension.mean(), rate, grey)
    print(f"{part:27.0%}{error:13.2f}")
finer = 1.0 - np.interp(-0.5, -grey, rate) / bound.bits_per_dimension.mean()
print(f"share of the bits that is sent when the error is below half a step: {finer:.0%}")

# %%

figure = plt.figure(figsize=(10, 4.4), layout="constrained")
left, right = figure.subfigures(1, 2, width_ratios=(1, 1.15))
axes = left.subplots()
for (name, bound), color in zip(bounds.items(), ("#0072B2", "#D55E00"), strict=True):
    rate, distortion = bound.rate.mean(axis=1), np.sqrt(bound.squared_error.mean(axis=1))
    axes.plot(rate, 8.0 * distortion, color=color, linewidth=2.5, label=name)
axes.axhline(0.5, color="0.6", linestyle=":")
axes.text(2.25, 0.55, "half a step", color="0.4", ha="right")
axes.legend(frameon=False)
axes.set(
    xlabel="rate: bits per pixel",
    ylabel="distortion: error in steps of the grey scale",
    ylim=(0.0, 5.0),
    xlim=(0.0, None),
    title="Steep at first, and a long tail",
)
shown = bounds["network"].rate.mean(axis=1)
rates = (0.0, 0.05, 0.15, 0.4, 0.8, 1.5)
rows = [int(np.abs(shown - r).argmin()) for r in rates]
received = decoded["network"][rows, :7, 0].swapaxes(0, 1)
cells = [[np.pad(image, 1, constant_values=-1.0) for image in line] for line in received]
panel = right.subplots()
panel.imshow(np.block(cells), cmap="gray_r", vmin=-1.0, vmax=1.0)
panel.set(xticks=10.0 * np.arange(len(rows)) + 4.5, xticklabels=[f"{shown[k]:.2f}" for k in rows])
panel.set(
    yticks=[], xlabel="bits per pixel sent so far", title="What the receiver has, by the network"
)
panel.tick_params(length=0)
panel.spines[:].set_visible(False)

if len(sys.argv) > 1:
    figure.savefig(sys.argv[1], dpi=120)
else:
    plt.show()
