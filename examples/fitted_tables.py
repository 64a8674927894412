"""
Tables fitted to two networks
=============================

A scheduler is a table of weights, so the best table for a network can be found: levels and weights
with which few evaluations end where fine steps end (Frankel et al. 2025 fit theirs by gradients
through the network; `schedulers.fitting.fit` only calls it). One network here knows handwritten
digits, from epsilon, and the other patches of photographs, as a flow. digits_tables.json and
patches_tables.json hold what ``fit`` found with 64 samples of noise.

Above: how far runs end from the network's exact flow, each a root mean square over the pixels, and
these averaged over noise that was not fitted on. The methods of the books are grey, the fitted
tables coloured. Below: samples at five evaluations, under those
of the exact flow from the same noise.
"""

import sys
from functools import partial
from pathlib import Path

import numpy as np
import onnxruntime
from matplotlib import pyplot as plt

import schedulers as sc

here = Path(__file__).parent if "__file__" in globals() else Path.cwd()
digits_net = onnxruntime.InferenceSession(here / "digits.onnx")
patches_net = onnxruntime.InferenceSession(here / "patches.onnx")


def digits(x, t):
    label = np.full(len(x), 10)  # of no class
    return digits_net.run(None, {"x": x, "t": np.full(len(x), t, np.float32), "label": label})[0]


def patches(x, t):
    return patches_net.run(None, {"x": x, "t": np.full(len(x), t, np.float32)})[0]


books = {
    "DDIM": sc.DDIM,
    "PLMS": sc.PLMS,
    "gradient estimation": sc.GradientEstimation,
    "DEIS": sc.DEIS,
    "DPM++ 2M": sc.DPMSolverPP,
    "DPM++ 3M": partial(sc.DPMSolverPP, order=3),
    "UniPC": sc.UniPC,
    "SA-Solver": partial(sc.SASolver, tau=0.0),
}
shifted = partial(sc.grids.shifted, shift=3.0)
networks = {
    "digits": (digits, (100, 1, 8, 8), ("trailing", "karras", "log_snr")),
    "patches": (patches, (40, 3, 16, 16), ("trailing", shifted, "flow_karras")),
}

# %%
# Every sample begins with the same noise for all of them, so that they can be compared one by one.


def runs(scheduler, denoiser, x_T, exact, counts):
    """Return the mean over the samples of their distances to the exact flow, and the samples."""
    samples = [scheduler.sample(denoiser, x_T, steps=count) for count in counts]
    each = [np.sqrt(np.mean((x - exact) ** 2, axis=(1, 2, 3))) for x in samples]
    return [float(np.mean(distances)) for distances in each], samples


def best_of_books(fitted, denoiser, x_T, exact, counts, grids, plot):
    """Draw every method on every grid; return the least error, its method and samples."""
    best = {}
    for name, make in books.items():
        for grid in grids:
            book = make(fitted.schedule, prediction_type=fitted.prediction_type, spacing=grid)
            found, samples = runs(book, denoiser, x_T, exact, counts)
            plot.semilogy(counts, found, color="0.8", linewidth=1.0)
            for count, error, x in zip(counts, found, samples, strict=True):
                if count not in best or error < best[count][0]:
                    best[count] = error, name, x
    return best


def shown(images, rows):
    """Draw the first samples of each, a row each."""
    apart = ((0, 0), (1, 1), (1, 1), (0, 0))  # a white frame around each image
    framed = [np.pad(x[:8].transpose(0, 2, 3, 1), apart, constant_values=1.0) for x in rows]
    picture = np.vstack([np.hstack(list(x)) for x in framed])
    images.imshow(np.clip(0.5 + 0.5 * picture, 0.0, 1.0), cmap="gray")


measured = {}
figure = plt.figure(figsize=(10.0, 6.4), layout="constrained")
axes = figure.subplots(2, 2, height_ratios=(1.6, 1.0))
for (name, (denoiser, shape, grids)), (plot, images) in zip(networks.items(), axes.T, strict=True):
    fitted = sc.FittedScheduler.load(here / f"{name}_tables.json")
    print(fitted.report)
    counts = [table.steps for table in fitted.tables]
    fine = sc.DPMSolverPP(
        fitted.schedule,
        order=3,
        prediction_type=fitted.prediction_type,
        spacing="karras" if name == "digits" else "flow_karras",
    )
    noise = fine.initial_noise(shape, steps=1, rng=99, dtype=np.float32)
    exact = fine.sample(denoiser, noise, steps=100)
    best = best_of_books(fitted, denoiser, noise, exact, counts, grids, plot)
    found, samples = runs(fitted, denoiser, noise, exact, counts)
    least = [best[count][0] for count in counts]
    plot.semilogy(counts, least, "o-", color="0.3", label="best of the books")
    plot.semilogy(counts, found, "o-", color="#0072B2", label="fitted tables")
    plot.set(title=name, xlabel="model evaluations", xticks=counts)
    plot.set(ylabel="mean distance to the exact flow")
    plot.spines[["top", "right"]].set_visible(False)
    for count, error in zip(counts, found, strict=True):
        least, book, _ = best[count]
        measured[name, count] = error, least
        print(f"{name}, {count} evaluations: {error:.3f}, of the books {least:.3f}, {book}")
    shown(images, [exact, samples[counts.index(5)], best[5][2]])
    height = shape[2] + 2
    labels = ["exact flow", "fitted, 5", f"{best[5][1]}, 5"]
    images.set(xticks=[], yticks=[height * (i + 0.5) for i in range(3)], yticklabels=labels)
    images.tick_params(length=0)
    images.spines[:].set_visible(False)
axes[0, 0].legend(frameon=False)
if len(sys.argv) > 1:
    figure.savefig(sys.argv[1], dpi=120)
else:
    plt.show()
