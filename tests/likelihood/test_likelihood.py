"""What data costs under a model, against what it costs at least and against closed forms.

Terms for Gaussian data are quadratic in the noise and in the data, so that means over signs, of
both, are exact expectations: no sampling, and no tolerance for it.
"""

import math
import re
from itertools import cycle, pairwise, product

import numpy as np
import pytest
from hypothesis import assume, given, settings, strategies as st

import schedulers as sc
from kit import PREDICTIONS, SCHEDULES, bounded_denoiser, predictions, schedules, sigma_grids
from schedulers.analysis import kl_divergence, output_law
from schedulers.analytic import Empirical, Gaussian, GaussianMixture
from schedulers.likelihood import log_likelihood, progressive_decoding, variational_bound

VARIANCES = ("fixed_small", "fixed_large")
means, variances = st.floats(-2.0, 2.0), st.floats(0.05, 4.0)


def signs(dimensions=1):
    """Noise that goes through all combinations of signs; and their number."""
    patterns = cycle(product((1.0, -1.0), repeat=dimensions))
    return {
        "rng": lambda like: np.broadcast_to(
            np.array(next(patterns)).reshape(like.shape[1:]), like.shape
        ).astype(like.dtype),
        "draws": 2**dimensions,
    }


def expected_bound(scheduler, data, x_0, **levels):
    model = data.denoiser(scheduler.schedule, scheduler.prediction_type)
    return variational_bound(scheduler, model, x_0, **signs(), **levels)


def typical(data):
    """Two scalars whose mean of a quadratic function is that over the data."""
    return data.mean + math.sqrt(data.cov) * np.array([1.0, -1.0])


def entropy(variance):
    return 0.5 * math.log(2.0 * math.pi * math.e * variance)


def end_of(scheduler, data, sigmas):
    """Alpha and sigma of the last level, and the variance of the data there."""
    end = scheduler.tableau(sigmas=sigmas).levels[-1]
    return end, end.alpha**2 * float(data.cov) + end.sigma**2


@given(schedules, predictions, st.sampled_from(VARIANCES), sigma_grids(), means, variances, means)
def test_each_term_is_that_of_the_gaussians_by_bayes_rule(
    name, prediction, variance, sigmas, mean, cov, x_0
):
    data = Gaussian(mean, cov)
    scheduler = sc.DDPM(SCHEDULES[name], prediction_type=prediction, variance=variance)
    got = expected_bound(scheduler, data, np.array([x_0]), sigmas=sigmas)
    levels = scheduler.tableau(sigmas=sigmas).levels
    want, errors = [0.5 * (levels[0].alpha * x_0 / levels[0].sigma) ** 2], []
    for now, then in pairwise(levels):
        # D = E[x_0 | x], by precisions: of the data, and of x as a measurement of x_0.
        precision = 1.0 / cov + (now.alpha / now.sigma) ** 2
        bias = (mean - x_0) / cov / precision
        gain = now.alpha / now.sigma / precision  # of eps in D - x_0
        errors.append(bias**2 + gain**2)
        if then.sigma == 0.0:
            std = now.sigma / math.hypot(now.alpha, now.sigma)
            want.append(0.5 * math.log(2.0 * math.pi * std**2) + 0.5 * errors[-1] / std**2)
            continue
        # x' has the prior N(alpha' x_0, sigma'**2), and x = r x' + sqrt(beta) eps measures it.
        r = now.alpha / then.alpha
        beta = now.sigma**2 - (r * then.sigma) ** 2
        small = 1.0 / (1.0 / then.sigma**2 + r**2 / beta)
        large = beta * (then.alpha**2 + then.sigma**2) / (now.alpha**2 + now.sigma**2)
        chosen = small if variance == "fixed_small" else large
        apart = (small * then.alpha / then.sigma**2) ** 2 * errors[-1]
        want.append(0.5 * (math.log(chosen / small) + (small + apart) / chosen - 1.0))
    if levels[-1].sigma:
        want.append(entropy(levels[-1].sigma ** 2))
    np.testing.assert_allclose(got.terms[:, 0], want, rtol=1e-7, atol=1e-9)
    np.testing.assert_allclose(got.squared_error[:, 0], errors, rtol=1e-7)


@given(schedules, predictions, st.sampled_from(VARIANCES), sigma_grids(), means, variances, means)
def test_no_bound_is_below_what_it_bounds(name, prediction, variance, sigmas, mean, cov, x_0):
    data = Gaussian(mean, cov)
    scheduler = sc.DDPM(SCHEDULES[name], prediction_type=prediction, variance=variance)
    end, there = end_of(scheduler, data, sigmas)
    # On average over the data: the data's entropy.
    average = expected_bound(scheduler, data, typical(data), sigmas=sigmas).total.mean()
    assert average >= entropy(there) - 1e-9
    # For each sample: its likelihood under the chain, whose law is known without the bound.
    law = output_law(scheduler, data, sigmas=sigmas)
    decoder = 0.0
    if end.sigma == 0.0:
        last = scheduler.tableau(sigmas=sigmas).levels[-2]
        decoder = last.sigma**2 / (last.alpha**2 + last.sigma**2)
    v = float(law.cov) + decoder
    apart = (end.alpha * x_0 - float(law.mean)) ** 2 + end.sigma**2
    at_least = 0.5 * (math.log(2.0 * math.pi * v) + apart / v)
    bound = expected_bound(scheduler, data, np.array([x_0]), sigmas=sigmas).total[0]
    assert bound >= at_least - 1e-9 * max(1.0, at_least)


@given(st.sampled_from(["flow", "cosine", "zero_snr"]), st.integers(1, 12))
def test_the_bound_is_the_entropy_where_every_step_is_exact(name, steps):
    """Data ~ N(0, I) with the larger variance, from alpha = 0 down: nothing is lost anywhere."""
    data = Gaussian(0.0, 1.0)
    scheduler = sc.DDPM(SCHEDULES[name], prediction_type="v_prediction", variance="fixed_large")
    bound = expected_bound(scheduler, data, typical(data), steps=steps)
    assert bound.total.mean() == pytest.approx(entropy(1.0), abs=1e-9)
    np.testing.assert_array_equal(bound.terms[0], 0.0)


@given(schedules, predictions, sigma_grids(), means)
def test_a_model_that_knows_the_point_sends_no_bits_after_the_first(
    name, prediction, sigmas, point
):
    scheduler = sc.DDPM(SCHEDULES[name], prediction_type=prediction)
    data = Empirical([point])
    model = data.denoiser(SCHEDULES[name], prediction)
    bound = variational_bound(scheduler, model, np.array([point]), sigmas=sigmas, rng=0)
    np.testing.assert_allclose(bound.terms[1:-1], 0.0, atol=1e-9)
    np.testing.assert_allclose(bound.distortion, 0.0, atol=1e-8)
    np.testing.assert_allclose(bound.rate, bound.rate[:1].repeat(len(bound.rate), 0), atol=1e-9)


@pytest.mark.slow
@pytest.mark.parametrize("variance", VARIANCES)
@pytest.mark.parametrize("cov", [0.3, 2.0])
@pytest.mark.parametrize("name", ["flow", "vp", "ve"])
def test_the_gap_closes_at_first_order(variance, cov, name):
    data = Gaussian(0.7, cov)
    scheduler = sc.DDPM(SCHEDULES[name], prediction_type="v_prediction", variance=variance)

    def gap(steps):
        sigmas = np.geomspace(50.0, 0.1, steps + 1)
        _, there = end_of(scheduler, data, sigmas)
        bound = expected_bound(scheduler, data, typical(data), sigmas=sigmas).total.mean()
        first = scheduler.tableau(sigmas=sigmas).levels[0]
        start = data.marginal(scheduler.schedule, first.t)
        # No number of steps makes up for a start at noise that is not the data's.
        return bound - entropy(there) - kl_divergence(start, Gaussian(0.0, first.sigma**2))

    gaps = [gap(steps) for steps in (200, 400, 800)]
    assert gaps[-1] > 0.0
    assert np.log2(np.divide(gaps[:-1], gaps[1:])) == pytest.approx(1.0, abs=0.03)


@pytest.mark.parametrize("ratio", [1e-3, 1e-6, 1e-7, 1e-9, 1e-12])
def test_a_variance_that_is_much_too_large_costs_its_logarithm(ratio):
    """From s = 1 to s' = r, of data N(0, 1), by the closed form."""
    scheduler = sc.DDPM(SCHEDULES["ve"], variance="fixed_large")
    x_0 = np.array([1.0, -1.0])
    bound = expected_bound(scheduler, Gaussian(0.0, 1.0), x_0, sigmas=[1.0, ratio])
    least = ratio**2 * (1.0 - ratio**2)
    chosen = (1.0 - ratio**2) * (1.0 + ratio**2) / 2.0
    apart = (1.0 - ratio**2) ** 2 / 2.0  # D = (x_0 + eps) / 2, and x_0 and eps are signs
    want = 0.5 * ((least + apart) / chosen - 1.0 - math.log(least / chosen))
    np.testing.assert_allclose(bound.terms[1], want, rtol=1e-9)


def test_a_variance_of_zero_is_no_bound():
    scheduler = sc.DDPM(VP, variance="learned")
    model = doubled(MIXTURE.denoiser(VP), lambda t: -250.0)
    with pytest.raises(ValueError, match="the model's variance must be above 0"):
        variational_bound(scheduler, model, PIXELS.astype(np.float32), sigmas=SIGMAS, rng=0)


# What a bound is made of.

VP, FLOW = SCHEDULES["vp"], SCHEDULES["flow"]
SIGMAS = [20.0, 5.0, 2.0, 0.8, 0.2, 0.0]
PIXELS = np.array([[[-1.0, 0.5], [1.0, -0.5]], [[0.0, 0.5], [0.5, 1.0]]])
MIXTURE = GaussianMixture([[[-1.0, 0.5], [1.0, -0.5]], [[0.0, 0.5], [0.5, 0.7]]], std=0.2)


def mixture_bound(x_0=PIXELS, levels=SIGMAS, rng=0, scheduler=None, **options):
    scheduler = scheduler or sc.DDPM(VP)
    model = MIXTURE.denoiser(scheduler.schedule, scheduler.prediction_type)
    return variational_bound(scheduler, model, x_0, sigmas=levels, rng=rng, **options)


@given(predictions, st.sampled_from(VARIANCES), sigma_grids(), st.integers(1, 3))
def test_sums_and_units(prediction, variance, sigmas, draws):
    scheduler = sc.DDPM(VP, prediction_type=prediction, variance=variance)
    bound = mixture_bound(levels=sigmas, scheduler=scheduler, draws=draws)
    steps = len(sigmas) - 1
    assert bound.timesteps == tuple(scheduler.tableau(sigmas=sigmas).timesteps)
    assert bound.terms.shape == (steps + 1 + bool(sigmas[-1]), 2)
    assert bound.rate.shape == bound.distortion.shape == (steps, 2)
    nats_per_bit = bound.dimensions * math.log(2.0)
    np.testing.assert_allclose(bound.bits_per_dimension * nats_per_bit, bound.total, rtol=1e-12)
    np.testing.assert_allclose(bound.bits * nats_per_bit, bound.terms, rtol=1e-12)
    rest = bound.bits[steps:].sum(axis=0)
    np.testing.assert_allclose(bound.rate[-1] + rest, bound.bits_per_dimension, rtol=1e-9)
    assert np.diff(bound.rate, axis=0, prepend=0.0).min() >= -1e-12


def test_means_over_draws_are_those_of_the_draws():
    names = [mixture_bound(rng=np.random.default_rng(7), draws=n).terms for n in (1, 3)]
    assert np.abs(names[0] - names[1]).max() > 1e-3
    rng = np.random.default_rng(8)
    steps = [(20.0, 5.0), (5.0, 2.0), (2.0, 0.8)]
    alone = [
        np.mean([mixture_bound(levels=pair, rng=rng).terms[1] for _ in range(3)], axis=0)
        for pair in steps
    ]
    together = mixture_bound(levels=[20.0, 5.0, 2.0, 0.8], rng=np.random.default_rng(8), draws=3)
    np.testing.assert_allclose(together.terms[1:-1], alone, rtol=1e-9)


@pytest.mark.parametrize("function", [variational_bound, progressive_decoding])
def test_a_seed_names_the_noise_and_a_seed_for_each_sample_that_samples(function):
    model = MIXTURE.denoiser(VP)

    def of(x_0, rng):
        result = function(sc.DDPM(VP), model, x_0, sigmas=SIGMAS, rng=rng)
        return result if isinstance(result, np.ndarray) else result.terms

    np.testing.assert_array_equal(of(PIXELS, 3), of(PIXELS, 3))
    assert np.abs(of(PIXELS, 3) - of(PIXELS, 4)).max() > 1e-3
    both = of(PIXELS, [5, 6])
    np.testing.assert_allclose(both[:, :1], of(PIXELS[:1], [5]), rtol=1e-12)
    np.testing.assert_allclose(both[:, 1:], of(PIXELS[1:], [6]), rtol=1e-12)


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_low_precision_data_stays_as_it_is_and_costs_the_same(dtype):
    seen = set()

    def model(x, t):
        seen.add(x.dtype)
        made = MIXTURE.denoiser(VP)(x.astype(np.float64), t)
        x[:] = np.nan  # a model may write to what it is given
        return made.astype(dtype)

    x_0 = PIXELS.astype(dtype)
    got = variational_bound(sc.DDPM(VP), model, x_0, sigmas=SIGMAS, rng=[1, 2])
    float32_noise = variational_bound(
        sc.DDPM(VP), MIXTURE.denoiser(VP), PIXELS.astype(np.float32), sigmas=SIGMAS, rng=[1, 2]
    )
    assert seen == {np.dtype(dtype)}
    np.testing.assert_array_equal(x_0, PIXELS.astype(dtype))
    assert got.terms.dtype == np.float64
    close = 1e-4 if dtype == np.float32 else 0.2
    np.testing.assert_allclose(got.total, float32_noise.total, atol=close)


@pytest.mark.parametrize("rederive_noise", [True, False])
def test_a_threshold_is_part_of_the_model(rederive_noise):
    threshold = sc.StaticThreshold(0.3, rederive_noise=rederive_noise)
    made = sc.DDPM(VP, threshold=threshold)
    model = MIXTURE.denoiser(VP, "sample")
    clipped = sc.DDPM(VP, prediction_type="sample")
    got = mixture_bound(scheduler=made)
    want = variational_bound(
        clipped, lambda x, t: model(x, t).clip(-0.3, 0.3), PIXELS, sigmas=SIGMAS, rng=0
    )
    np.testing.assert_allclose(got.distortion, want.distortion, rtol=1e-9)
    assert np.allclose(got.terms, want.terms, rtol=1e-9) == rederive_noise


def doubled(model, log_variance):
    return lambda x, t: np.concatenate([model(x, t), np.full_like(x, log_variance(t))], axis=1)


@pytest.mark.parametrize("variance", VARIANCES)
def test_a_learned_variance_is_the_fixed_one_where_the_model_says_so(variance):
    model, x_0 = MIXTURE.denoiser(VP), PIXELS
    fixed = sc.DDPM(VP, variance=variance)
    stages = fixed.tableau(sigmas=SIGMAS).stages
    last = stages[-1].level
    # The decoder of a range is between beta~ of the step before and beta.
    whole = last.sigma / math.hypot(last.alpha, last.sigma)
    std = stages[-2].c if variance == "fixed_small" else whole
    logs = {s.level.t: 2.0 * math.log(s.c or std) for s in stages}
    f = -1.0 if variance == "fixed_small" else 1.0
    want = variational_bound(fixed, model, x_0, sigmas=SIGMAS, rng=0, decoder_std=std)
    for learned, says in (("learned", logs.get), ("learned_range", lambda t: f)):
        scheduler = sc.DDPM(VP, variance=learned)
        got = variational_bound(scheduler, doubled(model, says), x_0, sigmas=SIGMAS, rng=0)
        np.testing.assert_allclose(got.terms, want.terms, rtol=1e-9, atol=1e-9)


# The decoder.


@given(st.integers(2, 9), st.floats(0.003, 3.0), st.floats(-3.0, 3.0))
def test_the_probabilities_of_all_values_sum_to_one(bins, std, centre):
    values = np.linspace(-1.0, 1.0, bins)
    scheduler = sc.DDPM(VP, prediction_type="sample")
    bound = variational_bound(
        scheduler,
        lambda x, t: np.full_like(x, centre),
        values,
        sigmas=[2.0, 0.0],
        rng=0,
        bins=bins,
        decoder_std=std,
    )
    assert np.isfinite(bound.terms).all()
    assert np.exp(-bound.terms[-1]).sum() == pytest.approx(1.0, abs=1e-9)


def test_narrow_bins_have_the_densitys_probability():
    bins = 2**16 + 1
    got = mixture_bound(bins=bins, decoder_std=0.1, x_0=0.5 * PIXELS).terms
    density = mixture_bound(decoder_std=0.1, x_0=0.5 * PIXELS).terms
    width = 4 * math.log(2.0 / (bins - 1))
    np.testing.assert_array_equal(got[:-1], density[:-1])
    np.testing.assert_allclose(got[-1], density[-1] - width, rtol=1e-7)


@given(st.integers(2, 6), st.integers(1, 20), st.sampled_from(VARIANCES))
def test_the_bits_of_all_values_make_a_code(bins, steps, variance):
    """Kraft's inequality: no code has sum 2**-bits above 1. Noise is drawn, but much of it."""
    values = np.linspace(-1.0, 1.0, bins)
    scheduler = sc.DDPM(FLOW, prediction_type="flow", variance=variance)
    model = Empirical(values).denoiser(FLOW, "flow")
    bound = variational_bound(
        scheduler, model, np.tile(values, 500), steps=steps, rng=0, bins=bins, decoder_std=0.1
    )
    total = bound.total.reshape(500, bins).mean(axis=0)
    assert np.exp(-total).sum() < 1.02
    # And the mean is not below the entropy of the values, which are equally likely.
    assert total.mean() > math.log(bins) - 0.02


def test_data_of_eight_bits_is_on_its_grid_in_half_precision():
    x_0 = np.linspace(-1.0, 1.0, 256).reshape(-1, 2, 2)
    half, single = (
        mixture_bound(x_0.astype(dtype), [1.0, 0.0], bins=256) for dtype in (np.float16, np.float32)
    )
    np.testing.assert_allclose(half.total, single.total, rtol=0.01)
    with pytest.raises(ValueError, match="on the grid of 256 values"):
        mixture_bound(x_0 + 0.1 / 128, [1.0, 0.0], bins=256)


def test_a_decoder_may_be_as_wide_as_it_is_told():
    for std in (0.05, 0.5):
        bound = mixture_bound(levels=[1.0, 0.0], decoder_std=std)
        size = bound.dimensions
        want = 0.5 * bound.squared_error[0] * size / std**2
        want += size * 0.5 * math.log(2.0 * math.pi * std**2)
        np.testing.assert_allclose(bound.terms[-1], want, rtol=1e-9)


# Progressive decoding.


@pytest.mark.slow
@given(schedules, predictions, sigma_grids())
def test_what_is_sent_is_the_datas_chain(name, prediction, sigmas):
    """x_T, ..., x_1 given x_0: each level's noise is s'/s of the last one's, and fresh."""
    assume(len(sigmas) > 2)
    scheduler = sc.DDPM(SCHEDULES[name], prediction_type=prediction, threshold=sc.StaticThreshold())
    seen, x_0 = [], np.linspace(-3.0, 3.0, 20_000)

    def model(x, t):
        seen.append(x)
        return 0.0 * x

    progressive_decoding(scheduler, model, x_0, sigmas=sigmas, rng=0)
    levels = scheduler.tableau(sigmas=sigmas).levels
    noises = [(x - level.alpha * x_0) / level.sigma for x, level in zip(seen, levels, strict=False)]
    assert len(noises) == len(sigmas) - 1
    for z in noises:
        assert abs(z.mean()) < 0.04
        assert z.var() == pytest.approx(1.0, abs=0.06)
        assert abs(np.corrcoef(z, x_0)[0, 1]) < 0.04
    for (z, later), (now, then) in zip(pairwise(noises), pairwise(levels), strict=False):
        assert np.corrcoef(z, later)[0, 1] == pytest.approx(then.karras / now.karras, abs=0.04)


@pytest.mark.parametrize("prediction", PREDICTIONS)
def test_what_is_decoded_is_the_posterior_mean_and_ends_near_the_data(prediction):
    data = Gaussian([1.0, -1.0], [0.5, 2.0])
    scheduler, x_0 = sc.DDPM(VP, prediction_type=prediction), data.sample(20_000, rng=0)
    model = data.denoiser(VP, prediction)
    decoded = progressive_decoding(scheduler, model, x_0, sigmas=SIGMAS, rng=1)
    assert decoded.shape == (5, 20_000, 2)
    for estimate, s in zip(decoded, SIGMAS, strict=False):
        posterior = 1.0 / (1.0 / data.cov + 1.0 / s**2)
        np.testing.assert_allclose(((estimate - x_0) ** 2).mean(axis=0), posterior, rtol=0.06)


# The flow.

FULL = np.array([[1.0, 0.6, -0.3], [0.6, 0.8, 0.1], [-0.3, 0.1, 0.3]])
GAUSSIANS = {
    "scalars": Gaussian(0.5, 0.3),
    "scalar": Gaussian([1.0, -0.5], 0.3),
    "diagonal": Gaussian([1.0, -1.0], [0.05, 4.0]),
    "full": Gaussian([1.0, 0.0, -1.0], FULL),
    "image": Gaussian(np.ones((2, 2)), np.full((2, 2), 0.5)),
}


def top(schedule, prediction):
    """Noisiest time up to which there is a path, and a model says something of the data."""
    if schedule.alpha(schedule.t_max):
        return schedule.t_max
    if isinstance(schedule, sc.DiscreteSchedule):
        return schedule.t_max - 1
    return schedule.t_max - (0.01 if prediction in ("epsilon", "score") else 0.0)


def exact_flow(data, schedule, x, t_from, t_to):
    """Where a Gaussian's flow goes, and the log density that it brings from N(0, sigma**2 I)."""
    there = data.flow(schedule, x, t_from, t_to)
    axes = np.eye(x[0].size).reshape(-1, *x.shape[1:])
    moved = [data.flow(schedule, x + v, t_from, t_to)[0] - there[0] for v in axes]
    _, log_det = np.linalg.slogdet(np.reshape(moved, (x[0].size, x[0].size)))
    prior = Gaussian(np.zeros(x.shape[1:]), schedule.sigma(t_to) ** 2)
    return there, prior.log_prob(there) + log_det


@pytest.mark.slow
@pytest.mark.parametrize("prediction", PREDICTIONS)
@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize("kind", GAUSSIANS)
def test_the_flows_density_is_exact_on_gaussians(kind, name, prediction):
    data, schedule = GAUSSIANS[kind], SCHEDULES[name]
    t_from, t_to = schedule.t_min, top(schedule, prediction)
    x = data.marginal(schedule, t_from).sample(3, rng=0)
    model = data.denoiser(schedule, prediction)
    got = log_likelihood(schedule, model, x, t_from, t_to, prediction_type=prediction)
    latent, log_prob = exact_flow(data, schedule, x, t_from, t_to)
    np.testing.assert_allclose(got.log_prob, log_prob, rtol=0, atol=1e-6)
    np.testing.assert_allclose(got.latent, latent, rtol=1e-6, atol=1e-6)
    if schedule.alpha(t_to) == 0.0:  # the prior is the marginal there
        want = data.marginal(schedule, t_from).log_prob(x)
        np.testing.assert_allclose(got.log_prob, want, rtol=0, atol=1e-6)
    bits = -got.log_prob / (x[0].size * math.log(2.0))
    np.testing.assert_allclose(got.bits_per_dimension, bits, rtol=1e-12)


@pytest.mark.slow
@pytest.mark.parametrize("prediction", sorted({*PREDICTIONS} - {"sample"}))
@pytest.mark.parametrize("name", ["vp", "ve", "flow", "cosine"])
def test_the_flows_density_is_exact_from_the_clean_level(name, prediction):
    data, schedule = GAUSSIANS["full"], SCHEDULES[name]
    t_to, x = top(schedule, prediction), data.sample(3, rng=0)
    model = data.denoiser(schedule, prediction)
    _, want = exact_flow(data, schedule, x, schedule.t_clean, t_to)
    for t_from in (None, schedule.t_clean):
        got = log_likelihood(schedule, model, x, t_from, t_to, prediction_type=prediction)
        np.testing.assert_allclose(got.log_prob, want, rtol=0, atol=1e-6)


@pytest.mark.parametrize("steps", [10, 100, 1000])
@pytest.mark.parametrize("data", [Gaussian([0.0], 1.0), Gaussian([10.0, -5.0], 30.0)])
def test_with_zero_terminal_snr_the_flow_ends_where_its_path_does(data, steps):
    """Whatever the solver's steps: none asks for a time between the last two levels."""
    schedule = sc.DiscreteSchedule(sc.rescale_zero_terminal_snr(sc.linear_betas(steps)))
    model, last = data.denoiser(schedule, "flow"), schedule.t_max - 1
    x = data.marginal(schedule, 0).sample(2, rng=0)
    got = log_likelihood(schedule, model, x, 0, prediction_type="flow")
    np.testing.assert_allclose(got.log_prob, exact_flow(data, schedule, x, 0, last)[1], atol=1e-6)
    for t_to in (schedule.t_max, last + 0.5):
        with pytest.raises(ValueError, match=f"t_to must be at most {last:g}|between the last two"):
            log_likelihood(schedule, model, x, 0, t_to, prediction_type="flow")


@pytest.mark.parametrize("far", [1.0, 1e3])
def test_a_derivative_far_from_the_origin_is_measured_by_the_way_gone(far):
    data = Gaussian([far], 1e-4)
    ve = SCHEDULES["ve"]
    x = data.marginal(ve, 0.01).sample(4, rng=0)
    got = log_likelihood(ve, data.denoiser(ve), x, 0.01)
    want = exact_flow(data, ve, x, 0.01, ve.t_max)[1]
    np.testing.assert_allclose(got.log_prob, want, rtol=1e-9, atol=1e-6)


@pytest.mark.slow
@given(st.floats(0.01, 2.0), st.floats(1e-3, 0.5), st.floats(-30.0, 30.0))
@settings(max_examples=20)
def test_a_mixtures_density_is_exact_whatever_its_scale(std, t_from, where):
    data = GaussianMixture([[where - 2.0, 0.0], [where, 1.0]], std=[std, 0.5])
    x = data.marginal(FLOW, t_from).sample(3, rng=0)
    model = data.denoiser(FLOW, "flow")
    got = log_likelihood(FLOW, model, x, t_from, prediction_type="flow").log_prob
    want = data.marginal(FLOW, t_from).log_prob(x)
    np.testing.assert_allclose(got, want, rtol=0, atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["flow", "cosine", "ve"])
def test_on_digits_the_flow_agrees_with_the_mixtures_own_density(name):
    datasets = pytest.importorskip("sklearn.datasets")
    digits = datasets.load_digits().images[:40] / 8.0 - 1.0
    data, schedule = Empirical(digits), SCHEDULES[name]
    t_from, t_to = schedule.timestep(0.3), 1e6 if name == "ve" else None
    x = data.marginal(schedule, t_from).sample(2, rng=0)
    got = log_likelihood(
        schedule,
        data.denoiser(schedule, "v_prediction"),
        x,
        t_from,
        t_to,
        prediction_type="v_prediction",
        tolerance=1e-7,
    )
    want = data.marginal(schedule, t_from).log_prob(x)
    np.testing.assert_allclose(got.log_prob, want, rtol=0, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["vp", "ve", "flow", "cosine", "discrete"])
def test_whatever_the_model_the_density_has_the_integral_one(name):
    schedule = SCHEDULES[name]
    t_from = schedule.timestep(0.4)
    t_to = schedule.timestep(6.0)
    x = np.linspace(-40.0, 40.0, 4001)
    got = log_likelihood(
        schedule, bounded_denoiser, x, t_from, t_to, prediction_type="sample", tolerance=1e-6
    )
    assert np.trapezoid(np.exp(got.log_prob), x) == pytest.approx(1.0, abs=1e-5)


@pytest.mark.slow
@given(schedules)
@settings(max_examples=8)
def test_one_path_is_another_at_a_scale(name):
    data, schedule = MIXTURE, SCHEDULES[name]
    t_from, t_to = schedule.timestep([0.3, 9.0])
    alpha = schedule.alpha(t_from)
    x = data.marginal(schedule, t_from).sample(2, rng=0)
    got = log_likelihood(schedule, data.denoiser(schedule), x, t_from, t_to).log_prob
    ve = SCHEDULES["ve"]
    want = log_likelihood(ve, data.denoiser(ve), x / alpha, 0.3, 9.0).log_prob
    np.testing.assert_allclose(got, want - 4 * math.log(alpha), rtol=0, atol=1e-6)


def test_a_sample_is_as_exact_in_a_batch_as_alone():
    data = GaussianMixture([[-1.0], [1.0]], std=0.05)
    x = np.append(np.full((200, 1), 40.0), [[0.97]], axis=0)
    model = data.denoiser(FLOW, "flow")
    together = log_likelihood(FLOW, model, x, 0.01, prediction_type="flow", tolerance=1e-5)
    want = data.marginal(FLOW, 0.01).log_prob(x[-1:])
    np.testing.assert_allclose(together.log_prob[-1:], want, rtol=0, atol=1e-4)


def test_hutchinsons_estimator_is_right_on_average():
    """The mean over all signs is no mean over samples: it is the expectation."""
    data = GAUSSIANS["full"]
    model, x = data.denoiser(VP), data.marginal(VP, 0.2).sample(4, rng=0)
    exact = log_likelihood(VP, model, x, 0.2).log_prob
    noise = signs(3)
    got = log_likelihood(VP, model, x, 0.2, probes=noise["draws"], rng=noise["rng"]).log_prob
    np.testing.assert_allclose(got, exact, rtol=0, atol=1e-7)
    one = log_likelihood(VP, model, x, 0.2, probes=1, rng=0)
    assert np.abs(one.log_prob - exact).max() > 1e-2
    # One that is a sample's own by its seed.
    alone = log_likelihood(VP, model, x[2:3], 0.2, probes=1, rng=[8]).log_prob
    batch = log_likelihood(VP, model, x, 0.2, probes=1, rng=[6, 7, 8, 9]).log_prob
    np.testing.assert_allclose(batch[2:3], alone, rtol=0, atol=1e-6)


def test_hutchinsons_probes_are_signs_that_do_not_agree():
    seen = []

    def jvp(x, t, v):
        seen.append(v)
        return np.zeros_like(x)

    x = np.zeros((50, 40))
    log_likelihood(VP, lambda x, t: 0.0 * x, x, 0.2, probes=2, jvp=jvp, rng=0)
    first, second = seen[:2]
    assert {*np.unique(first)} == {-1.0, 1.0}
    assert abs(first.mean()) < 0.1
    assert abs((first * second).mean()) < 0.1
    for i, v in enumerate(seen):
        np.testing.assert_array_equal(v, seen[i % 2])


@pytest.mark.parametrize("probes", [None, 3])
def test_a_derivative_that_is_given_is_the_one_that_is_measured(probes):
    data = Gaussian([1.0, 0.0, -1.0], FLOW_COV := FULL + 0.1 * np.eye(3))

    def jvp(x, t, v):
        alpha, sigma = VP.alpha(t), VP.sigma(t)
        return v @ np.linalg.inv(alpha**2 * FLOW_COV + sigma**2 * np.eye(3)) * sigma

    x = data.marginal(VP, 0.3).sample(3, rng=0)
    model = data.denoiser(VP)
    measured = log_likelihood(VP, model, x, 0.3, probes=probes, rng=0)
    given_ = log_likelihood(VP, model, x, 0.3, probes=probes, rng=0, jvp=jvp)
    np.testing.assert_allclose(measured.log_prob, given_.log_prob, rtol=0, atol=1e-7)
    assert given_.nfe < measured.nfe


@pytest.mark.parametrize("prediction", PREDICTIONS)
def test_in_float32_the_density_is_right_to_what_that_tells(prediction):
    data = MIXTURE
    x = data.marginal(VP, 0.1).sample(4, rng=0).astype(np.float32)
    dtypes = set()

    def model(x, t):
        dtypes.add(x.dtype)
        return data.denoiser(VP, prediction)(x, t)

    got = log_likelihood(VP, model, x, 0.1, prediction_type=prediction).log_prob
    exact = log_likelihood(
        VP, data.denoiser(VP, prediction), x.astype(np.float64), 0.1, prediction_type=prediction
    ).log_prob
    assert dtypes == {np.dtype(np.float32)}
    np.testing.assert_allclose(got, exact, rtol=0, atol=1e-2)


def torch_kind():
    torch = pytest.importorskip("torch")
    return torch.Tensor, lambda x, dtype: torch.tensor(x, dtype=getattr(torch, dtype))


def jax_kind():
    jax = pytest.importorskip("jax")
    return jax.Array, jax.numpy.asarray


@pytest.mark.parametrize(
    ("library", "dtype"),
    [(torch_kind, "float64"), (torch_kind, "float32"), (jax_kind, "float32")],
)
def test_the_density_of_other_libraries_arrays_is_numpys(library, dtype):
    """From the data's level, which is where it begins by default; and with a derivative."""
    kind, array = library()
    x, seen = MIXTURE.sample(2, rng=0).astype(dtype), []

    def of_numpy(x, t):
        return MIXTURE.denoiser(FLOW, "flow")(x.astype(np.float64), t).astype(dtype)

    def model(x, t):
        seen.append((type(x), x.dtype))
        return array(of_numpy(np.asarray(x), t), dtype)

    def jvp(x, t, v):
        ends = (of_numpy(np.asarray(x + s * 1e-3 * v), t) for s in (1.0, -1.0))
        return array(np.subtract(*ends) / 2e-3, dtype)

    options, given_ = {"prediction_type": "flow"}, array(x, dtype)
    got = log_likelihood(FLOW, model, given_, **options)
    want = log_likelihood(FLOW, of_numpy, x, None, **options)
    np.testing.assert_array_equal(got.log_prob, want.log_prob)
    np.testing.assert_array_equal(got.latent, want.latent)
    assert isinstance(got.log_prob, np.ndarray)
    assert all(issubclass(k, kind) for k, _ in seen)
    assert {d for _, d in seen} == {given_.dtype}
    close = 1e-6 if dtype == "float64" else 1e-2
    np.testing.assert_allclose(got.log_prob, MIXTURE.log_prob(x), rtol=0, atol=close)
    options |= {"t_from": 0.3, "probes": 2, "rng": 0, "tolerance": 1e-3}
    by_jvp, measured = (log_likelihood(FLOW, model, given_, jvp=j, **options) for j in (jvp, None))
    np.testing.assert_allclose(by_jvp.log_prob, measured.log_prob, rtol=0, atol=1e-2)
    assert by_jvp.nfe < measured.nfe


def test_tensors_of_less_precision_and_models_of_another_library_are_refused():
    torch = pytest.importorskip("torch")
    for dtype in (torch.float16, torch.bfloat16, torch.int64):
        with pytest.raises(TypeError, match="x must have dtype float32 or float64, got torch."):
            log_likelihood(FLOW, at_zero, torch.zeros(2, dtype=dtype), prediction_type="flow")
    with pytest.raises(TypeError, match="must be of the sample's library, Tensor, got NumPy's"):
        log_likelihood(FLOW, lambda x, t: np.zeros(2), torch.zeros(2, 1), prediction_type="flow")


def test_where_there_is_no_density_the_flow_says_so():
    data = Empirical([-1.0, 2.0])
    with pytest.raises(RuntimeError, match="from t=0 on, where the density changes too fast"):
        log_likelihood(
            FLOW, data.denoiser(FLOW, "flow"), np.array([2.0]), None, prediction_type="flow"
        )


def test_where_the_flow_ends_it_says_at_what_time():
    """dx/dt = 1 / (0.5 - t) has no way past t = 0.5."""
    with pytest.raises(RuntimeError, match="from t=0.5 on, where the density changes too fast"):
        log_likelihood(
            FLOW,
            lambda x, t: np.full_like(x, 1.0 / (0.5 - t)),
            np.ones(1),
            0.1,
            prediction_type="flow",
        )


# What is refused, and what is shown.


def at_zero(x, t):
    return 0.0 * x


def not_finite_below(limit):
    return lambda x, t: np.full_like(x, np.nan if t < limit else 0.0)


@pytest.mark.parametrize("function", [variational_bound, progressive_decoding])
@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"scheduler": sc.DDIM(VP, eta=1.0)}, TypeError, "scheduler must be a DDPM, got DDIM("),
        ({"scheduler": VP}, TypeError, "scheduler must be a DDPM, got VPSchedule"),
        ({"denoiser": 3}, TypeError, "denoiser must be a callable (x, t), got 3"),
        ({"x_0": [1.0]}, TypeError, "x_0 must be an ndarray of floats, got [1.0]"),
        ({"x_0": np.array([1])}, TypeError, "x_0 must have a floating dtype"),
        ({"x_0": np.array(1.0)}, ValueError, "x_0 must have shape (n, *event_shape)"),
        ({"x_0": np.zeros((0, 2))}, ValueError, "x_0 must have shape (n, *event_shape)"),
        ({"x_0": np.array([np.inf])}, ValueError, "x_0 must be finite"),
        (
            {"x_0": np.zeros(2, np.longdouble)},
            TypeError,
            "x_0 must have a dtype of at most float64",
        ),
        ({"sigmas": None}, ValueError, "exactly one of steps, timesteps and sigmas"),
        ({"rng": "x"}, TypeError, "rng must be"),
        ({"rng": [1, 2]}, ValueError, "rng must have one seed for each sample"),
        (
            {"denoiser": lambda x, t: x[:, :1]},
            ValueError,
            "the model's output at t=0.528614 must have shape (3, 2), got (3, 1)",
        ),
        (
            {"denoiser": not_finite_below(0.4)},
            ValueError,
            "the model's output at t=0.25896 must be finite",
        ),
    ],
)
def test_bad_arguments_are_refused(function, change, error, message):
    arguments = {
        "scheduler": sc.DDPM(VP),
        "denoiser": at_zero,
        "x_0": np.zeros((3, 2)),
        "sigmas": [4.0, 1.0, 0.0],
        "rng": 0,
    }
    with pytest.raises(error, match=re.escape(message)):
        function(**arguments | change)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"draws": 0}, ValueError, "draws must be at least 1, got 0"),
        ({"draws": 1.5}, TypeError, "draws must be an integer, got 1.5"),
        ({"decoder_std": 0.0}, ValueError, "decoder_std must be above 0"),
        ({"bins": 1}, ValueError, "bins must be at least 2, got 1"),
        ({"bins": 4}, ValueError, "x_0 must be on the grid of 4 values from -1 to 1"),
        ({"bins": 3, "x_0": np.full((3, 2), 2.0)}, ValueError, "got 2.0"),
        (
            {"bins": 3, "sigmas": [4.0, 1.0]},
            ValueError,
            "bins must not be given for a run that ends at a noise level",
        ),
        (
            {"decoder_std": 1.0, "sigmas": [4.0, 1.0]},
            ValueError,
            "decoder_std must not be given for a run that ends at a noise level",
        ),
    ],
)
def test_bad_arguments_of_the_bound_are_refused(change, error, message):
    arguments = {"x_0": np.zeros((3, 2)), "sigmas": [4.0, 1.0, 0.0], "rng": 0}
    with pytest.raises(error, match=re.escape(message)):
        variational_bound(sc.DDPM(VP), at_zero, **arguments | change)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"schedule": sc.DDPM(VP)}, TypeError, "schedule must be a NoiseSchedule, got DDPM("),
        ({"denoiser": None}, TypeError, "denoiser must be a callable (x, t), got None"),
        ({"x": [0.0]}, TypeError, "x must be an ndarray of floats, got [0.0]"),
        ({"x": np.zeros(2, np.float16)}, TypeError, "x must have dtype float32 or float64"),
        ({"x": np.full(2, np.nan)}, ValueError, "x must be finite"),
        ({"t_from": 2.0}, ValueError, "t_from must lie in [0, 1]"),
        ({"t_from": "0"}, TypeError, "t_from must be a real number, got '0'"),
        ({"t_to": 0.1}, ValueError, "t_from must be at a lower noise level than t_to"),
        ({"prediction_type": "x"}, ValueError, "prediction_type must be one of"),
        (
            {"schedule": FLOW},
            ValueError,
            "where alpha is 0, here at time 1: noise says nothing of x_0 there; got 'epsilon'",
        ),
        (
            {"schedule": SCHEDULES["discrete"], "t_from": None},
            ValueError,
            "t_from must be a time of the schedule where that does not go down to the clean level",
        ),
        (
            {"t_from": 0.0, "prediction_type": "sample"},
            ValueError,
            "t_from must be above the clean level where prediction_type is 'sample'",
        ),
        ({"probes": 0}, ValueError, "probes must be at least 1, got 0"),
        ({"probes": 1, "rng": -1}, ValueError, "rng must be at least 0"),
        ({"rng": "x"}, TypeError, "rng must be"),
        ({"x": np.zeros(2, np.longdouble)}, TypeError, "x must have a dtype of at most float64"),
        ({"jvp": 1}, TypeError, "jvp must be a callable (x, t, v), got 1"),
        ({"tolerance": 0.0}, ValueError, "tolerance must be at least 1e-30"),
        (
            {"denoiser": lambda x, t: x[:, :1]},
            ValueError,
            "the model's output at t=0.1 must have shape (3, 2), got (3, 1)",
        ),
        (
            {"denoiser": not_finite_below(0.2)},
            ValueError,
            "the model's output at t=0.1 must be finite",
        ),
        (
            {"jvp": lambda x, t, v: v[0]},
            ValueError,
            "what jvp returned at t=0.1 must have shape (3, 2), got (2,)",
        ),
    ],
)
def test_bad_arguments_of_the_flow_are_refused(change, error, message):
    arguments = {"schedule": VP, "denoiser": at_zero, "x": np.zeros((3, 2)), "t_from": 0.1}
    with pytest.raises(error, match=re.escape(message)):
        log_likelihood(**arguments | change)


def test_results_print_as_they_are():
    bound = variational_bound(
        sc.DDPM(VP), at_zero, np.zeros((1, 1)), sigmas=[2.0, 0.0], rng=0, decoder_std=1.0
    )
    lines = str(bound).splitlines()
    assert lines[0] == "1 step, 1 sample in 1 dimension"
    assert [line.split()[0] for line in lines[2:]] == ["L_T", "L_t", "L_0", "bound"]
    assert float(lines[-1].split()[1]) == pytest.approx(bound.total[0], abs=1e-4)
    assert float(lines[-1].split()[2]) == pytest.approx(bound.bits_per_dimension[0], abs=1e-4)
    flow = log_likelihood(VP, at_zero, np.zeros((2, 1)), 0.1)
    assert str(flow).startswith(f"log p = {flow.log_prob.mean():.6g} nats")
    assert str(flow).endswith(f"{flow.nfe} model evaluations")
