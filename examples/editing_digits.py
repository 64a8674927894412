"""
Editing: inversion, other halves, and second drafts
===================================================

A model that was trained to draw digits, and for nothing else, also edits them. A deterministic
scheduler goes from an image to its noise as well as back (Song et al. 2020, section 5.4). Where a
part of an image is known, the rest is made to fit (Song et al. 2021, appendix I.2). And an image
that is noised a little and denoised again keeps what is coarse (SDEdit; Meng et al. 2022).
"""

import sys
from pathlib import Path

import numpy as np
import onnxruntime
from matplotlib import pyplot as plt
from sklearn.datasets import load_digits
from sklearn.svm import SVC

from schedulers import DDIM, DDPM, DiscreteSchedule, Heun, VPSchedule, linear_betas
from schedulers.analytic import Gaussian
from schedulers.denoisers import per_sample
from schedulers.editing import image_to_image, inpaint

plt.rcParams.update({"font.size": 11, "axes.spines.top": False, "axes.spines.right": False})

here = Path(__file__).parent if "__file__" in globals() else Path()
session = onnxruntime.InferenceSession(here / "digits.onnx")
scheduler = DDPM(DiscreteSchedule(linear_betas(1000)))
digits = load_digits()
images = (digits.images[:, None] / 8.0 - 1.0).astype(np.float32)
classifier = SVC(gamma=0.001).fit(images.reshape(-1, 64), digits.target)


def denoiser(x, t):
    no_class = np.full(len(x), 10)
    return session.run(None, {"x": x, "t": per_sample(t, x), "label": no_class})[0]


def still(made):
    """Return the share of images that are taken for the digit that they were made from."""
    return np.mean(classifier.predict(made.reshape(-1, 64)) == digits.target[: len(made)])


# %%
# There and back the error falls with the steps: at first order for DDIM, and at third for Heun's
# method, whose second-order errors cancel on the way back. The data is a Gaussian fitted to the
# digits.

fitted, path = Gaussian.fit(images[:, 0]), VPSchedule()
x_0, exact = fitted.sample(20, rng=0), fitted.denoiser(path)
counts = (10, 20, 40, 80, 160, 320)
errors = {}
print("round trip, error of x_0     " + "".join(f"{n:>9d} steps" for n in counts) + "   slope")
for method in (DDIM(path, spacing="karras"), Heun(path, spacing="karras")):
    sigmas = [method.tableau(n).sigmas[:-1] for n in counts]
    begun = x_0 * path.alpha(path.timestep(sigmas[0][-1]))
    back = [method.sample(exact, method.invert(exact, begun, sigmas=s), sigmas=s) for s in sigmas]
    name = type(method).__name__
    errors[name] = [np.sqrt(np.mean((made - begun) ** 2)) for made in back]
    slope = np.log2(errors[name][-2] / errors[name][-1])
    print(f"{name:29s}" + "".join(f"{e:15.1e}" for e in errors[name]) + f"{slope:8.2f}")

# %%
# The upper half is known, of 200 digits. Then as many are noised a part of the way and denoised.

mask = np.zeros((8, 8), np.float32)
mask[:4] = 1.0
known = images[:200]
noise = scheduler.initial_noise(known.shape, steps=50, rng=0, dtype=np.float32)
halves = inpaint(scheduler, denoiser, noise, known, mask, steps=50, rng=1)
print(f"\nthe same digit, of its upper half: {still(halves):.0%}")
drafts = {}
for strength in (0.1, 0.2, 0.3, 0.5):
    drafts[strength] = image_to_image(
        scheduler, denoiser, known, steps=50, strength=strength, rng=2
    )
    print(f"the same digit, at strength {strength}: {still(drafts[strength]):.0%}")

# %%

figure, (left, middle, right) = plt.subplots(
    1, 3, figsize=(11, 4.2), layout="constrained", width_ratios=(1.2, 0.65, 1)
)
left.loglog(counts, errors["DDIM"], "o-", color="#0072B2", label="DDIM")
left.loglog(counts, errors["Heun"], "s-", color="#009E73", label="Heun")
left.set(xlabel="steps each way", ylabel="error of the image", title="To its noise and back")
left.xaxis.set_major_locator(plt.FixedLocator(counts))
left.xaxis.set_minor_locator(plt.NullLocator())
left.xaxis.set_major_formatter("{x:g}")
left.legend(frameon=False)


def show(axes, columns, labels, title):
    """Draw columns of images with a label below each."""
    rows = zip(*columns, strict=True)
    cells = [[np.pad(image[0], 1, constant_values=-1.0) for image in row] for row in rows]
    axes.imshow(np.block(cells), cmap="gray_r", vmin=-1.0, vmax=1.0)
    axes.set(
        yticks=[], xticks=10.0 * np.arange(len(columns)) + 4.5, xticklabels=labels, title=title
    )
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)


given = np.where(mask == 1.0, known, -0.6)
show(middle, [given[:6], halves[:6], known[:6]], ["given", "made", "real"], "Lower halves")
columns = [known[:6], *(draft[:6] for draft in drafts.values())]
show(right, columns, ["real", *drafts], "Second drafts, by strength")

if len(sys.argv) > 1:
    figure.savefig(sys.argv[1], dpi=120)
else:
    plt.show()
