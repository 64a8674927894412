"""
Policy gradient: reward through the log-probabilities of steps
==============================================================

A sampler that draws noise is a policy: its steps are the actions, and their log-probabilities give
the gradient of any reward of the samples, which itself need not have one (REINFORCE; Black et al.
2024, DDPO). Here the model has one weight, the mean that it believes in. Its samples are normal, so
that the expected reward and its gradient are known, and the estimate can be held against them.
"""

import sys

import numpy as np

from schedulers import DDIM, VPSchedule
from schedulers.analysis import output_law
from schedulers.analytic import Gaussian

schedule, target, n = VPSchedule(), 2.0, 4000
scheduler, levels = DDIM(schedule, eta=1.0), {"sigmas": [20.0, 5.0, 2.0, 0.8, 0.3, 0.1]}


def reward(x):
    return -((x - target) ** 2)


def policy_gradient(weight, rng):
    """Return the mean reward, the gradient's estimate, and its standard error."""
    model = Gaussian(weight, 0.25).denoiser(schedule)
    nearby = [Gaussian(weight + h, 0.25).denoiser(schedule) for h in (0.5, -0.5)]
    state, slope = scheduler.init(scheduler.initial_noise(n, rng=rng, **levels), **levels), 0.0
    while not state.done:
        after = scheduler.update(model(state.x, state.t), state, rng)
        # log_prob is quadratic in the weight: this difference is its derivative.
        slope += np.subtract(
            *(scheduler.log_prob(m(state.x, state.t), state, after) for m in nearby)
        )
        state = after
    rewards = reward(state.x)
    each = (rewards - rewards.mean()) * slope
    return rewards.mean(), each.mean(), each.std() / np.sqrt(n)


def expected_reward(weight):
    law = output_law(scheduler, Gaussian(weight, 0.25), **levels)
    return float(-((law.mean - target) ** 2) - law.cov)


def exact_gradient(weight):
    return expected_reward(weight + 0.5) - expected_reward(weight - 0.5)  # it is quadratic


# %%
# Ascent along the estimate. The exact reward of each weight is the line, the samples' the dots.


def ascend(steps=40, rate=0.1):
    rng, weight, path = np.random.default_rng(0), -1.0, []
    for _ in range(steps):
        mean, gradient, error = policy_gradient(weight, rng)
        path.append((weight, mean, gradient, error))
        weight += rate * gradient
    return np.array(path)


if __name__ == "__main__":
    from matplotlib import pyplot as plt

    plt.rcParams.update({"font.size": 11, "axes.spines.top": False, "axes.spines.right": False})
    path = ascend()
    weights, means, gradients, errors = path.T
    exact = [exact_gradient(weight) for weight in weights]
    print("step  weight   reward   gradient              exact")
    for i in (0, 5, 10, 20, 39):
        print(
            f"{i:4d}{weights[i]:8.3f}{means[i]:9.3f}"
            f"{gradients[i]:11.3f} +- {errors[i]:.3f}{exact[i]:12.3f}"
        )
    figure, (left, right) = plt.subplots(1, 2, figsize=(9.0, 4.2), layout="constrained")
    left.plot([expected_reward(weight) for weight in weights], color="#009E73", linewidth=2)
    left.plot(means, "o", color="0.3", markersize=4)
    left.set(xlabel="step of ascent", ylabel="reward", title="The reward goes up")
    right.plot(weights, exact, color="#009E73", linewidth=2)
    right.errorbar(weights, gradients, 2.0 * errors, fmt="o", color="0.3", markersize=4)
    right.set(xlabel="weight", ylabel="gradient", title="The gradient is the exact one")
    if len(sys.argv) > 1:
        figure.savefig(sys.argv[1], dpi=120)
    else:
        plt.show()
