"""A network in ONNX, without a framework
======================================

Handwritten digits of the classes you choose, from a network in ONNX, without a framework.

The network of train_digits.py predicts the noise in an 8 x 8 image, told a class or none, and
onnxruntime runs it. Classifier-free guidance (Ho & Salimans 2022) makes the images more like their
class. The loop is written twice, as it is for diffusers and with a scheduler that runs it, and both
draw the same images. A classifier that has seen only real digits then says how many of the drawn
ones it takes for what they should be.

    python examples/onnx_loop.py [--digits 0123456789] [--guidance 2] [--steps 20] [FILE.png]
"""

import argparse
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
import onnxruntime
from sklearn.datasets import load_digits
from sklearn.svm import SVC

import schedulers
from schedulers.compat.diffusers import DDIMScheduler
from schedulers.denoisers import Guided, per_sample

NO_CLASS = 10  # the network's label of no particular class
EACH = 100  # images of each class

# The gallery runs this file in its folder, and by no name.
here = Path(__file__).parent if "__file__" in globals() else Path()
session = onnxruntime.InferenceSession(here / "digits.onnx")


def network(x, t, label):
    """Return the noise estimate for images x (n, 1, 8, 8), times t (n,), classes label (n,)."""
    (noise,) = session.run(None, {"x": x, "t": t, "label": label})
    return noise


def as_diffusers_has_it(x, labels, guidance, steps):
    """Draw images with a loop of the kind that is written for diffusers."""
    scheduler = DDIMScheduler(
        num_train_timesteps=1000,
        beta_schedule="linear",
        beta_start=1e-4,
        beta_end=0.02,
        clip_sample=False,
        timestep_spacing="trailing",
    )
    scheduler.set_timesteps(steps)
    nothing = np.full_like(labels, NO_CLASS)
    for t in scheduler.timesteps:
        x_in = scheduler.scale_model_input(x, t)
        times = np.full(len(x), t, dtype=np.float32)
        noise, noise_of_any = network(x_in, times, labels), network(x_in, times, nothing)
        output = noise_of_any + guidance * (noise - noise_of_any)
        x = scheduler.step(output, t, x).prev_sample
    return x


def as_the_core_has_it(x, labels, guidance, steps):
    """Draw images with a scheduler that runs the loop itself."""
    scheduler = schedulers.DDIM(schedulers.DiscreteSchedule(schedulers.linear_betas(1000)))
    nothing = np.full_like(labels, NO_CLASS)
    denoiser = Guided(
        lambda x, t: network(x, per_sample(t, x), labels),
        lambda x, t: network(x, per_sample(t, x), nothing),
        scale=guidance,
    )
    return scheduler.sample(denoiser, x, steps=steps)


def recognized(images, labels):
    """Share of each class's images that a classifier of the real digits takes for that class."""
    digits = load_digits()
    classifier = SVC(gamma=0.001).fit(digits.data, digits.target)
    pixels = 8.0 * (images.clip(-1.0, 1.0) + 1.0)
    taken_for = classifier.predict(pixels.reshape(len(images), -1))
    return {int(label): np.mean(taken_for[labels == label] == label) for label in np.unique(labels)}


def draw(images, labels, file):
    drawn = list(dict.fromkeys(labels.tolist()))
    figure, axes = plt.subplots(
        8, len(drawn), figsize=(0.6 * len(drawn), 4.8), layout="constrained", squeeze=False
    )
    for label, column in zip(drawn, axes.T, strict=True):
        column[0].set_title(label)
        for image, axis in zip(images[labels == label], column, strict=False):
            axis.imshow(image[0], cmap="gray_r", vmin=-1.0, vmax=1.0)
            axis.set_axis_off()
    figure.savefig(file, dpi=120)
    print(f"wrote {file}")


def classes(text):
    """Return the classes that a string of digits names, each once."""
    if not (text.isascii() and text.isdigit()):
        raise argparse.ArgumentTypeError(f"must be digits, such as 427, got {text!r}")
    return [int(digit) for digit in dict.fromkeys(text)]


def main():
    parser = argparse.ArgumentParser(description="Handwritten digits from a network in ONNX.")
    parser.add_argument("--digits", default="0123456789", type=classes, help="the classes to draw")
    parser.add_argument("--guidance", type=float, default=2.0, help="1 is none")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("file", nargs="?", default="onnx_loop.png")
    given = parser.parse_args()
    labels = np.repeat(given.digits, EACH)
    x_T = np.random.default_rng(given.seed).standard_normal((len(labels), 1, 8, 8), np.float32)

    images = as_the_core_has_it(x_T, labels, given.guidance, given.steps)
    same = as_diffusers_has_it(x_T, labels, given.guidance, given.steps)
    print(f"largest difference between the two loops: {np.abs(images - same).max():.1e}")
    shares = recognized(images, labels)
    print("recognized:", ", ".join(f"{label}: {share:.0%}" for label, share in shares.items()))
    draw(images, labels, given.file)


if __name__ == "__main__":
    main()
