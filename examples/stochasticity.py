"""
Stochasticity: the optimum of churn for a denoiser that errs
============================================================

Algorithm 2 of EDM adds noise before each step, by the amount `s_churn`. The paper gives the reason
for it and against it (Karras et al. 2022, section 4): fresh noise drives the sample to the right
marginal and so corrects the errors made before, and taking it away again in steps is itself an
error. So the best amount lies between none and much, and it falls as the model gets better
(section 5 and figure 5b).

Both can be computed. The data is Gaussian with the spectrum of natural images; the denoiser is the
exact one at low noise, and at noise above about 1 that of data with too little contrast. It is
affine all the same, so that the law of the output is exact.
"""

import sys

import numpy as np
from matplotlib import pyplot as plt

from schedulers import Heun, VESchedule, karras_sigmas
from schedulers.analysis import power_law, wasserstein2
from schedulers.analytic import Gaussian
from schedulers.testing import black_box_law

plt.rcParams.update({"font.size": 11, "axes.spines.top": False, "axes.spines.right": False})

schedule, data = VESchedule(), power_law(4)
exact = data.denoiser(schedule, prediction_type="sample")
sigmas = karras_sigmas(64, 0.002, 80.0)  # 127 evaluations


def error(lost, s_churn):
    """Return the distance to the data, where the denoiser has lost a share of the contrast."""
    pale = Gaussian(data.mean, (1.0 - lost) ** 2 * data.cov).denoiser(schedule, "sample")
    scheduler = Heun(schedule, prediction_type="sample", s_churn=s_churn)

    def denoiser(x, t):
        weight = t**4 / (1.0 + t**4)
        return weight * pale(x, t) + (1.0 - weight) * exact(x, t)

    def sampler(_, x, sigmas, noise):
        return scheduler.sample(denoiser, x, sigmas=sigmas, rng=noise)

    return wasserstein2(black_box_law(sampler, data, sigmas), data)


# %%
# Without any error of the model, churn only does harm. The more contrast the model has lost, the
# more churn is best: it begins anew at low noise, where the model is right, as often as it can,
# until its own error outweighs what it corrects. Above 64 (sqrt(2) - 1) = 26.5 the paper's clamp
# lets no more noise in.

churns = np.arange(0.0, 27.0, 1.5)
losses = {0.0: "0.55", 0.05: "#63C3A5", 0.1: "#009E73", 0.2: "#00523C"}
figure, axes = plt.subplots(figsize=(7.5, 4.6), layout="constrained")
print("contrast lost   error without churn   least error   at s_churn   at the most churn")
for lost, color in losses.items():
    errors = [error(lost, s_churn) for s_churn in churns]
    best = int(np.argmin(errors))
    print(f"{lost:13.0%}{errors[0]:22.4f}{errors[best]:14.4f}{churns[best]:13g}{errors[-1]:20.4f}")
    axes.plot(churns, errors, color=color, linewidth=2)
    axes.plot(churns[best], errors[best], "o", color=color, markersize=9)
    text = f"{lost:.0%} lost" if lost else "exact denoiser"
    axes.text(26.0, errors[-1], text, color=color, fontweight="bold", va="center")
axes.set(
    xlabel="s_churn",
    ylabel="2-Wasserstein distance to the data",
    title="The more contrast the model has lost, the more churn is best",
    ylim=(0, None),
    xlim=(None, 32),
)
axes.set_xticks(range(0, 26, 5))

if len(sys.argv) > 1:
    figure.savefig(sys.argv[1], dpi=120)
else:
    plt.show()
