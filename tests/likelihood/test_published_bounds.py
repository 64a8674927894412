"""The bound's terms against the formulas of the papers, in their own notation and arrays.

Ho, Jain, Abbeel 2020 ("DDPM"), and Nichol, Dhariwal 2021 ("IDDPM"), on all T training levels.
Position t - 1 of an array is their t.
"""

import math

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from scipy import special

import schedulers as sc
from kit import seeds
from schedulers.likelihood import variational_bound

T = 7
BETAS = {
    "linear": np.linspace(0.01, 0.6, T),
    "cosine": sc.cosine_betas(T),
    "published": sc.linear_betas(T) * 20.0,
}


def network(x, t, out):
    """Epsilon, and v of up to 1.5 on each side: nothing keeps a network's v in its range."""
    eps = np.tanh(x) + 0.1 * np.cos(3.0 * x + t)
    return np.concatenate([eps, 1.5 * np.sin(5.0 * x + t)], axis=1) if out == 2 else eps


def normal_kl(mean_1, variance_1, mean_2, variance_2):
    ratio = variance_1 / variance_2
    return 0.5 * (ratio - 1.0 - np.log(ratio) + (mean_1 - mean_2) ** 2 / variance_2)


def discretized(x_0, mean, std):
    """Log of eq. 13 of DDPM: the integral from delta_- to delta_+, of data on 256 values."""
    upper = np.where(x_0 > 0.999, np.inf, (x_0 + 1.0 / 255.0 - mean) / std)
    lower = np.where(x_0 < -0.999, -np.inf, (x_0 - 1.0 / 255.0 - mean) / std)
    flipped = lower > 0.0
    lower, upper = np.where(flipped, -upper, lower), np.where(flipped, -lower, upper)
    return np.log(special.ndtr(upper) - special.ndtr(lower))


def reference(betas, x_0, noises, variance, clip, bins, decoder):
    """L_T, L_{T-1}, ..., L_0 of each sample, in nats."""
    alphas = 1.0 - betas
    bars = np.cumprod(alphas)
    before = np.append(1.0, bars[:-1])
    tildes = (1.0 - before) / (1.0 - bars) * betas  # DDPM eq. 7, IDDPM eq. 10
    axes = (1, 2, 3)
    prior = normal_kl(math.sqrt(bars[-1]) * x_0, 1.0 - bars[-1], 0.0, 1.0 - bars[-1])
    terms = [prior.sum(axes)]
    for i, noise in zip(reversed(range(len(betas))), noises, strict=True):
        x_t = math.sqrt(bars[i]) * x_0 + math.sqrt(1.0 - bars[i]) * noise
        out = network(x_t, i, 2 if variance == "learned_range" or variance == "learned" else 1)
        eps, v = out[:, : x_0.shape[1]], out[:, x_0.shape[1] :]
        if clip:
            x_hat = (x_t - math.sqrt(1.0 - bars[i]) * eps) / math.sqrt(bars[i])  # DDPM eq. 15
            eps = (x_t - math.sqrt(bars[i]) * x_hat.clip(-1.0, 1.0)) / math.sqrt(1.0 - bars[i])
        # DDPM eq. 11 and 7
        mean = (x_t - betas[i] / math.sqrt(1.0 - bars[i]) * eps) / math.sqrt(alphas[i])
        true = (
            math.sqrt(before[i]) * betas[i] * x_0 + math.sqrt(alphas[i]) * (1.0 - before[i]) * x_t
        ) / (1.0 - bars[i])
        tilde = tildes[i] if i else tildes[1]  # IDDPM: at t = 1 that of t = 2
        chosen = {
            "fixed_large": betas[i],
            "fixed_small": tilde,
            "learned": np.exp(v),
            "learned_range": betas[i] ** (0.5 * (v + 1.0)) * tilde ** (0.5 * (1.0 - v)),  # eq. 15
        }[variance]
        if i:
            terms.append(normal_kl(true, tildes[i], mean, chosen).sum(axes))
            continue
        if variance.startswith("fixed"):
            chosen = betas[0] if decoder == "text" else tildes[1]
        std = np.sqrt(chosen)
        if bins:
            terms.append(-discretized(x_0, mean, std).sum(axes))
        else:
            z = (x_0 - mean) / std
            terms.append((0.5 * z**2 + np.log(std) + 0.5 * math.log(2.0 * math.pi)).sum(axes))
    return np.array(terms)


def data(seed):
    """Images of 256 values that are near to what the network says of a little noise."""
    values = np.random.default_rng(seed).integers(0, 256, (3, 2, 2, 2))
    values[0, 0, 0] = 0, 255
    return values / 127.5 - 1.0


@settings(max_examples=30)
@given(
    st.sampled_from(sorted(BETAS)),
    st.sampled_from(["fixed_large", "fixed_small", "learned", "learned_range"]),
    st.booleans(),
    st.sampled_from([None, 256]),
    st.sampled_from(["text", "code"]),
    seeds,
)
def test_the_terms_are_those_of_the_papers(name, variance, clip, bins, decoder, seed):
    betas, x_0, noises = BETAS[name], data(seed), []

    def noise(like):
        noises.append(0.5 * np.random.default_rng([seed, len(noises)]).normal(size=like.shape))
        return noises[-1]

    schedule = sc.DiscreteSchedule(betas)
    threshold = sc.StaticThreshold(1.0) if clip else None
    scheduler = sc.DDPM(schedule, variance=variance, threshold=threshold)
    std = None
    if variance.startswith("fixed") and decoder == "code":
        std = sc.DDPM(schedule).tableau(T).stages[-2].c
    got = variational_bound(
        scheduler,
        lambda x, t: network(x, t, 1 + scheduler.learns_variance),
        x_0,
        steps=T,
        rng=noise,
        bins=bins,
        decoder_std=std,
    )
    want = reference(betas, x_0, noises, variance, clip, bins, decoder)
    held = np.isfinite(want)  # the reference's difference of probabilities is 0 in far tails
    np.testing.assert_allclose(got.terms[held], want[held], rtol=1e-10, atol=1e-10)
    assert held[:-1].all()


def test_the_papers_prior_costs_next_to_nothing_more():
    bar = np.prod(1.0 - sc.linear_betas(1000))
    x_0 = np.linspace(-1.0, 1.0, 21)
    ours = normal_kl(math.sqrt(bar) * x_0, 1.0 - bar, 0.0, 1.0 - bar)
    theirs = normal_kl(math.sqrt(bar) * x_0, 1.0 - bar, 0.0, 1.0)
    assert np.abs(ours - theirs).max() <= bar**2 / 4.0 * (1.0 + 1e-3)
    assert bar**2 / 4.0 < 1e-9


@pytest.mark.parametrize("variance", ["learned", "learned_range"])
def test_a_decoder_that_is_given_is_taken_in_place_of_the_models(variance):
    schedule, x_0 = sc.DiscreteSchedule(BETAS["linear"]), data(0)
    made = [
        variational_bound(
            sc.DDPM(schedule, variance=kind),
            lambda x, t, out=out: network(x, t, out),
            x_0,
            steps=T,
            rng=0,
            bins=256,
            decoder_std=0.2,
        ).terms[-1]
        for kind, out in ((variance, 2), ("fixed_small", 1))
    ]
    np.testing.assert_array_equal(*made)


def test_a_run_of_one_step_has_a_decoder_of_beta():
    schedule, x_0 = sc.DiscreteSchedule(BETAS["linear"]), data(0)
    learned, fixed = (
        variational_bound(
            sc.DDPM(schedule, variance=kind),
            lambda x, t, out=out: network(x, t, out),
            x_0,
            timesteps=[3],
            rng=0,
        )
        for kind, out in (("learned_range", 2), ("fixed_large", 1))
    )
    np.testing.assert_allclose(learned.terms, fixed.terms, rtol=1e-12)
