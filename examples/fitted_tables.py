"""
Tables fitted to a network
==========================

A scheduler is a table of weights, so the best table for a network can be found: levels and weights
with which few evaluations end where fine steps end (Frankel et al. 2025 fit theirs by gradients
through the network; `schedulers.fitting.fit` only calls it). The network is that of digits.onnx,
without a class, and digits_tables.json holds what ``fit`` found with 64 samples of noise.

On the left, how far runs end from the network's exact flow, on noise that was not fitted on: the
methods of the books in grey, the fitted tables in colour. On the right, the first samples at five
evaluations, above the exact flow's.
"""

import sys
from functools import partial
from pathlib import Path

import numpy as np
import onnxruntime
from matplotlib import pyplot as plt

import schedulers as sc

here = Path(__file__).parent if "__file__" in globals() else Path.cwd()
session = onnxruntime.InferenceSession(here / "digits.onnx")
schedule = sc.DiscreteSchedule(sc.linear_betas(1000))


def denoiser(x, t):
    label = np.full(len(x), 10)
    return session.run(None, {"x": x, "t": np.full(len(x), t, np.float32), "label": label})[0]


books = {
    "DDIM": sc.DDIM,
    "PLMS": sc.PLMS,
    "DEIS": sc.DEIS,
    "DPM++ 2M": sc.DPMSolverPP,
    "DPM++ 3M": partial(sc.DPMSolverPP, order=3),
    "UniPC": sc.UniPC,
    "SA-Solver": partial(sc.SASolver, tau=0.0),
}
fitted = sc.FittedScheduler.load(here / "digits_tables.json")
print(fitted.report)

# %%
# Every sample begins with the same noise for all of them, so that they can be compared one by one.

noise = sc.DDIM(schedule).initial_noise((100, 1, 8, 8), steps=1, rng=99, dtype=np.float32)
fine = sc.DPMSolverPP(schedule, order=3, spacing="karras")
exact = fine.sample(denoiser, noise, steps=100)
counts = [table.steps for table in fitted.tables]


def errors(scheduler):
    """Return the root-mean-square distances to the exact flow, and the samples."""
    samples = [scheduler.sample(denoiser, noise, steps=count) for count in counts]
    return [np.sqrt(np.mean((x - exact) ** 2)) for x in samples], samples


figure = plt.figure(figsize=(10.0, 4.4), layout="constrained")
plot, images = figure.subplots(1, 2)
best = {}
for name, make in books.items():
    for spacing in ("trailing", "karras", "log_snr"):
        found, samples = errors(make(schedule, spacing=spacing))
        plot.semilogy(counts, found, color="0.75", linewidth=1.0)
        for count, error, x in zip(counts, found, samples, strict=True):
            if count not in best or error < best[count][0]:
                best[count] = error, f"{name}, {spacing}", x
found, samples = errors(fitted)
least = [best[count][0] for count in counts]
plot.semilogy(counts, least, "o-", color="0.3", label="best of the books")
plot.semilogy(counts, found, "o-", color="#0072B2", label="fitted tables")
plot.set(xlabel="model evaluations", ylabel="distance to the exact flow", xticks=counts)
plot.legend(frameon=False)
plot.spines[["top", "right"]].set_visible(False)
for count, error in zip(counts, found, strict=True):
    print(f"{count} evaluations: {error:.3f}, of the books {best[count][0]:.3f}, {best[count][1]}")

rows = {
    "exact flow": exact,
    "fitted, 5": samples[counts.index(5)],
    f"{best[5][1]}, 5": best[5][2],
}
apart = ((0, 0), (2, 2), (2, 2))  # a white frame around each image
framed = [np.pad(x[:8, 0], apart, constant_values=1.0) for x in rows.values()]
images.imshow(np.vstack([np.hstack(list(x)) for x in framed]), cmap="gray", vmin=-1.0, vmax=1.0)
images.set(xticks=[], yticks=[5.5, 17.5, 29.5], yticklabels=list(rows))
images.tick_params(length=0)
images.spines[:].set_visible(False)
if len(sys.argv) > 1:
    figure.savefig(sys.argv[1], dpi=120)
else:
    plt.show()
