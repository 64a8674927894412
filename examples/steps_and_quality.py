"""
Steps against quality, for all six
==================================

DDIM's claim is a trade: a model that is trained for 1000 steps makes good samples in 10 to 50,
where DDPM's do not (Song et al. 2020, Table 1). EDM's and PNDM's are that a second-order or a
multistep method needs fewer evaluations still (Karras et al. 2022, section 3; Liu et al. 2022,
section 4).

On the left, all six run with the exact denoiser of a Gaussian fitted to 500 handwritten digits, for
which the distance of the output's distribution from the data's is known exactly. On the right, they
make 2000 digits each with the exact denoiser of the digits themselves. The measure there is the
distance between Gaussians fitted to the pixels, of what was made and of the real digits: the
Frechet distance of the FID score, without a network. The band is that of as many digits drawn from
the real ones, a hundred times.
"""

import sys

import numpy as np
from matplotlib import pyplot as plt
from sklearn.datasets import load_digits

from schedulers import DDIM, DDPM, PLMS, DiscreteSchedule, Euler, EulerAncestral, Heun, linear_betas
from schedulers.analysis import compare, wasserstein2
from schedulers.analytic import Empirical, Gaussian

plt.rcParams.update({"font.size": 11, "axes.spines.top": False, "axes.spines.right": False})

colors = {
    "DDPM": "#D55E00",
    "EulerAncestral": "#E69F00",
    "DDIM": "#0072B2",
    "Euler": "#56B4E9",
    "Heun": "#009E73",
    "PLMS": "#A6417E",
}
schedule = DiscreteSchedule(linear_betas(1000))
schedulers = [make(schedule) for make in (DDPM, EulerAncestral, DDIM, Euler, Heun, PLMS)]
digits = load_digits().images[:500] / 8.0 - 1.0
fitted = Gaussian.fit(digits, shrinkage=0.0)

exact = compare(schedulers, fitted, (5, 10, 20, 40, 100, 200, 500, 1000))
print(exact)

# %%
# Four lines are left of six schedulers: with a model of epsilon, Euler's method is DDIM, and
# ancestral Euler is DDPM. On the left the lines fall at the methods' orders until the step that all
# share, from the lowest training level to the clean one, is most of what is left. On the right all
# come down to what real digits have, DDPM last, as DDIM's authors found.
#
# PLMS is ahead of DDIM on the left, and on the right at most numbers of evaluations. Its lead is
# smaller there: the measure takes any digit for a good one, whether or not it is the one that the
# exact flow leads to; and between separate points the flow turns at once, which helps no method
# that looks at the past.

NUMBER, STEPS = 2000, (3, 5, 8, 12, 20, 40)
denoiser = Empirical(digits).denoiser(schedule)


def frechet(images):
    return wasserstein2(Gaussian.fit(images, shrinkage=0.0), fitted)


rng = np.random.default_rng(0)
floors = [frechet(digits[rng.integers(len(digits), size=NUMBER)]) for _ in range(100)]
made = {}
for scheduler in schedulers:
    name = type(scheduler).__name__
    for steps in STEPS:
        noise = scheduler.initial_noise((NUMBER, 8, 8), steps=steps, rng=0, dtype=np.float32)
        nfe = scheduler.tableau(steps).nfe
        made[name, nfe] = frechet(scheduler.sample(denoiser, noise, steps=steps, rng=1))

print(
    f"\nFrechet distance of {NUMBER} digits; {min(floors):.3f} to {max(floors):.3f} for real ones"
)
for name in colors:
    found = {nfe: distance for (owner, nfe), distance in made.items() if owner == name}
    enough = next((nfe for nfe, distance in found.items() if distance < max(floors)), None)
    shown = "  ".join(f"{nfe:2d}: {distance:.3f}" for nfe, distance in found.items())
    print(f"{name:15s}{shown}   like real ones from: {enough}")

# %%

figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4.6), layout="constrained")
for name, color in colors.items():
    twin = name in ("DDIM", "DDPM")  # drawn dashed above the wide line that it equals
    style = {"color": color, "markersize": 5, "linewidth": 1.5 if twin else 3, "zorder": 3 + twin}
    style |= {"marker": "o", "linestyle": "--" if twin else "-"}
    cells = exact.to_dict()[name].values()
    left.loglog([cell["nfe"] for cell in cells], [cell["error"] for cell in cells], **style)
    found = [(nfe, distance) for (owner, nfe), distance in made.items() if owner == name]
    right.loglog(*zip(*found, strict=True), label=name, **style)
right.axhspan(min(floors), max(floors), color="0.85", linewidth=0)
right.text(3, min(floors), "real digits", color="0.4", va="bottom")
right.legend(frameon=False)
left.set(
    xlabel="model evaluations",
    ylabel="2-Wasserstein distance",
    title="A Gaussian like the digits, exactly",
)
right.set(xlabel="model evaluations", ylabel="Frechet distance", title="2000 digits")
for axis in (left.xaxis, right.xaxis):
    axis.set_major_formatter("{x:g}")
right.xaxis.set_major_locator(plt.FixedLocator([3, 5, 10, 20, 40, 80]))
right.yaxis.set_major_locator(plt.FixedLocator([0.2, 0.3, 0.5, 1, 2]))
right.yaxis.set_major_formatter("{x:g}")
for axis in (right.xaxis, right.yaxis):
    axis.set_minor_locator(plt.NullLocator())

if len(sys.argv) > 1:
    figure.savefig(sys.argv[1], dpi=120)
else:
    plt.show()
