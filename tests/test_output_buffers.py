"""What a network returns may be overwritten at its next call: sessions with one bound output."""

import numpy as np
import pytest

import schedulers as sc
from schedulers import likelihood
from schedulers.compat import diffusers, k_diffusion
from schedulers.denoisers import EDM, CFGPlusPlus, Guided, Preconditioned

SCHEDULE = sc.DiscreteSchedule(sc.linear_betas(1000))
X = np.random.default_rng(0).standard_normal((2, 3))


def network(x, weight):
    return np.tanh(x) * weight + 0.1


class Bound:
    """A network that writes every output into one array."""

    def __init__(self):
        self.output = np.empty(X.shape)

    def __call__(self, x, weight):
        self.output[...] = network(x, weight)
        return self.output


class InPlace:
    """A network that writes its output over its input, and returns that."""

    def __call__(self, x, weight):
        x[...] = network(x, weight)
        return x


def fresh(x, weight):
    return network(x, weight)


def guided(call):
    denoiser = Guided(lambda x, t: call(x, 0.7), lambda x, t: call(x, 0.2), 3.0)
    return sc.DDIM(SCHEDULE).sample(denoiser, X, 5)


def guided_by_two_conditions(call):
    """Guidance of guidance: three outputs, of which the first two are combined first."""
    inner = Guided(lambda x, t: call(x, 0.7), lambda x, t: call(x, 0.4), 2.0)
    return Guided(inner, lambda x, t: call(x, 0.2), 3.0)(X.copy(), 500.0)


def guided_plus_plus(call):
    scheduler = sc.DDIM(SCHEDULE)
    rows = scheduler.tableau(5)
    denoiser = CFGPlusPlus(lambda x, t: call(x, 0.7), lambda x, t: call(x, 0.2), 0.6, rows)
    return scheduler.sample(denoiser, X, 5)


def preconditioned(call):
    parts = [Preconditioned(lambda x, c, w=w: call(x, w), EDM(0.5)) for w in (0.7, 0.2)]
    return Guided(*parts, 3.0)(X.copy(), 2.0)


def multistep(call):
    return sc.LMS(SCHEDULE).sample(lambda x, t: call(x, 0.7), X, 6)


def threshold(call):
    scheduler = sc.UniPC(SCHEDULE, threshold=sc.StaticThreshold(1.0), prediction_type="sample")
    return scheduler.sample(lambda x, t: call(x, 0.7), X, 6)


def density(call):
    found = likelihood.log_likelihood(
        sc.FlowSchedule(), lambda x, t: call(x, 0.7), X, 0.2, prediction_type="flow"
    )
    return found.log_prob


def adaptive(call):
    seen = []
    k_diffusion.sample_dpm_adaptive(
        lambda x, s: call(x, 0.7),
        X,
        0.1,
        2.0,
        disable=True,
        callback=lambda info: seen.append(np.array(info["denoised"])),
    )
    return np.array(seen)


def facade(cls):
    def run(call):
        scheduler = cls()
        scheduler.set_timesteps(6)
        x = X * scheduler.init_noise_sigma
        for t in scheduler.timesteps:
            model_input = np.array(scheduler.scale_model_input(x, t))
            x = scheduler.step(call(model_input, 0.7), t, x).prev_sample
        return x

    run.__name__ = cls.__name__
    return run


HELD = [
    guided,
    guided_by_two_conditions,
    guided_plus_plus,
    preconditioned,
    multistep,
    threshold,
    density,
    adaptive,
    facade(diffusers.PNDMScheduler),
    facade(diffusers.HeunDiscreteScheduler),
    facade(diffusers.UniPCMultistepScheduler),
    facade(diffusers.LMSDiscreteScheduler),
]


@pytest.mark.parametrize("run", HELD, ids=lambda run: run.__name__)
@pytest.mark.parametrize("kind", [Bound, InPlace])
def test_what_a_network_returns_may_be_overwritten(run, kind):
    np.testing.assert_array_equal(run(kind()), run(fresh))
