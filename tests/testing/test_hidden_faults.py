"""Faults that hide: in long runs, from the levels, far from 0, in other arrays, and in an order.

Each is a sampler that is sound where most tests look. The check named must fail, and its message
must contain the words that point at the fault.
"""

from itertools import pairwise

import numpy as np
import pytest

from schedulers.testing import CheckFailed, SamplerCase, checks_for
from testing.sound_samplers import (
    SOUND,
    dpm_solver_pp_2m,
    euler,
    named,
    slope,
    split,
)

# (name, check, words of its message, sampler, claims)
FAULTS = []


def fault(check, words, *, order=1, **claims):
    def register(sampler):
        FAULTS.append((sampler.__name__, check, words, sampler, {"order": order, **claims}))
        return sampler

    return register


# ---------------------------------------------------------------- long runs


@fault("check_point_mass", "in 33 steps")
def a_last_sigma_that_is_off_from_eleven_steps_on(denoiser, x, sigmas, noise):
    off = 1e-3 * sigmas[-1] if len(sigmas) > 11 else 0.0
    return euler(denoiser, x, np.append(sigmas[:-1], sigmas[-1] + off), noise)


@fault("check_point_mass", "in 150 steps")
def weights_for_a_hundred_steps_and_no_more(denoiser, x, sigmas, noise):
    for i, (s, s_next) in enumerate(pairwise(sigmas.tolist())):
        weight = 1.0 if i < 100 else 1.0 - 1e-6
        x = x + weight * (s_next - s) * slope(denoiser, x, s)
    return x


@fault("check_point_mass", "in 33 steps")
def a_history_that_wraps_around_after_sixteen(denoiser, x, sigmas, noise):
    kept = {}
    for i, (s, s_next) in enumerate(pairwise(sigmas.tolist())):
        kept[i % 16] = s
        x = x + (s_next - kept[i if i < 16 else 15]) * slope(denoiser, x, s)
    return x


def drawing(make):
    """Make an ancestral sampler whose i-th draw is ``make(noise, x, i, kept)``."""

    def sampler(denoiser, x, sigmas, noise):
        kept = {}
        for i, (s, s_next) in enumerate(pairwise(sigmas.tolist())):
            down, up = split(s, s_next)
            x = x + (down - s) * slope(denoiser, x, s)
            if s_next > 0.0:
                x = x + up * make(noise, x, i, kept)
        return x

    return named(make.__name__, sampler)


@fault("check_point_mass_variance", "in 33 steps", stochastic=True)
@drawing
def noise_used_twice_at_the_twelfth_step(noise, x, i, kept):
    if i != 12:
        kept["z"] = noise(x)
    return kept["z"]


@fault("check_point_mass_variance", "in 150 steps", stochastic=True)
@drawing
def a_pool_of_a_hundred_draws(noise, x, i, kept):
    if i < 100:
        kept[i] = noise(x)
    return kept[i % 100]


# ---------------------------------------------------------------- the levels that were given


@fault("check_levels", "a grid of its own")
def geometric_levels_whatever_is_given(denoiser, x, sigmas, noise):
    end = sigmas[-1] if sigmas[-1] > 0.0 else sigmas[-2]
    own = np.geomspace(sigmas[0], end, len(sigmas) - (sigmas[-1] == 0.0))
    own[0], own[-1] = sigmas[0], end
    return euler(denoiser, x, np.append(own, 0.0) if sigmas[-1] == 0.0 else own, noise)


@fault("check_levels", "left out")
def a_level_left_out(denoiser, x, sigmas, noise):
    return euler(denoiser, x, np.delete(sigmas, 4) if len(sigmas) > 6 else sigmas, noise)


KEPT = {}


@fault("check_levels", "an earlier call")
def levels_kept_by_their_number_and_ends(denoiser, x, sigmas, noise):
    key = len(sigmas), sigmas[0], sigmas[-1]
    return euler(denoiser, x, KEPT.setdefault(key, sigmas.copy()), noise)


@fault("check_levels", "float32")
def a_denoiser_that_is_told_float32(denoiser, x, sigmas, noise):
    return euler(lambda y, s: denoiser(y, float(np.float32(s))), x, sigmas, noise)


TRAINED = np.geomspace(1e-3, 1e3, 20_000)


@fault("check_levels", "rounded to levels of its own")
def the_nearest_of_its_own_levels_told(denoiser, x, sigmas, noise):
    def rounds(y, s):
        return denoiser(y, float(TRAINED[np.abs(TRAINED - s).argmin()]))

    return euler(rounds, x, sigmas, noise)


@fault("check_levels", "left out")
def levels_that_are_close_taken_for_one(denoiser, x, sigmas, noise):
    kept = [float(sigmas[0])]
    for s in sigmas[1:-1].tolist():
        if s < 0.98 * kept[-1]:
            kept.append(s)
    return euler(denoiser, x, np.array([*kept, sigmas[-1]]), noise)


# ---------------------------------------------------------------- far from 0


def clipped(bound):
    def sampler(denoiser, x, sigmas, noise):
        return euler(lambda y, s: np.clip(denoiser(y, s), -bound, bound), x, sigmas, noise)

    return named(f"an_estimate_clipped_at_{bound:g}", sampler)


for bound in (10.0, 100.0, 1000.0):
    fault("check_large", "a constant")(clipped(bound))


@fault("check_large", "a constant")
def a_sample_clipped_at_ten_thousand(denoiser, x, sigmas, noise):
    return np.clip(euler(denoiser, x, sigmas, noise), -1e4, 1e4)


@fault("check_large", "a constant", order=2, uneven_order=2)
def a_correction_clipped_at_ten(denoiser, x, sigmas, noise):
    for s, s_next in pairwise(sigmas.tolist()):
        d, h = slope(denoiser, x, s), s_next - s
        if s_next > 0.0:
            d_next = slope(denoiser, x + h * d, s_next)
            d = d + np.clip(0.5 * (d_next - d), -10.0, 10.0)
        x = x + h * d
    return x


@fault("check_large", "a constant")
def a_threshold_by_quantile_above_fifty(denoiser, x, sigmas, noise):
    def bounded(y, s):
        d = denoiser(y, s)
        if d.size == 0:
            return d
        reach = max(50.0, float(np.quantile(np.abs(d), 0.9)))
        return np.clip(d, -reach, reach) * (50.0 / reach)

    return euler(bounded, x, sigmas, noise)


# ---------------------------------------------------------------- other arrays


@fault("check_untouched", "float32")
def float32_samples_written_to(denoiser, x, sigmas, noise):
    y = x.astype(np.float32, copy=False)  # a copy of float64's, and float32's own memory
    if y is not x:
        return euler(denoiser, x, sigmas, noise)
    for s, s_next in pairwise(sigmas.tolist()):
        y += (s_next - s) * slope(denoiser, y, s)
    return y


@fault("check_untouched", "(2, 3, 4, 4)")
def images_written_to(denoiser, x, sigmas, noise):
    for s, s_next in pairwise(sigmas.tolist()):
        d = denoiser(x, s)
        d = np.subtract(x, d, out=d if x.ndim == 4 else None)
        x = x + (s_next - s) / s * d
    return x


@fault("check_batch", "of a batch of 65")
def chunks_of_eight_and_a_remainder(denoiser, x, sigmas, noise):
    def chunked(y, s):
        whole = len(y) // 8 * 8
        parts = [denoiser(y, s)[:whole], denoiser(y, s)[:1].repeat(len(y) - whole, axis=0)]
        return denoiser(y, s) if len(y) < 9 else np.concatenate(parts)

    return euler(chunked, x, sigmas, noise)


@fault("check_batch", "taken over axis 0")
def a_mean_over_sixteen_samples_or_more(denoiser, x, sigmas, noise):
    def guided(y, s):
        d = denoiser(y, s)
        return d + 1e-3 * (d - d.mean(axis=0)) * s / (1.0 + s) if len(y) >= 16 else d

    return euler(guided, x, sigmas, noise)


@fault("check_batch", "of a batch of 65", stochastic=True)
@drawing
def mirrored_noise_in_large_batches(noise, x, i, kept):
    z = noise(x)
    half = len(z) // 2
    return z if len(z) < 10 else np.concatenate([z[: len(z) - half], -z[:half]])


@fault("check_reused_output", "without a copy", order=2, reused_output=True)
def estimates_kept_without_a_copy(denoiser, x, sigmas, noise):
    return dpm_solver_pp_2m(denoiser, x, sigmas, noise)


# ---------------------------------------------------------------- an order that is not there


def adams_bashforth_3(denoiser, x, sigmas, noise):
    """Of order 3 but for its first steps, whose errors are tiny from sigma 80."""
    past = []
    for s, s_next in pairwise(sigmas.tolist()):
        past = [(s, slope(denoiser, x, s)), *past[:2]]
        j, h = np.arange(len(past)), s_next - s
        nodes = np.array([(then - s) / h for then, _ in past])
        weights = np.linalg.solve(nodes ** j[:, None], 1.0 / (j + 1.0))
        for w, (_, d) in zip(weights.tolist(), past, strict=True):
            x = x + h * w * d
    return x


fault("check_order_nonlinear", "order 2", order=3)(
    named("a_first_step_of_low_order_that_the_top_hides", adams_bashforth_3)
)


def slopes_that_do_not_quite_average(part):
    def sampler(denoiser, x, sigmas, noise):
        for s, s_next in pairwise(sigmas.tolist()):
            d, h = slope(denoiser, x, s), s_next - s
            if s_next > 0.0:
                d = (0.5 - part) * d + (0.5 + part) * slope(denoiser, x + h * d, s_next)
            x = x + h * d
        return x

    return named(f"slopes_that_average_to_{part:g}", sampler)


fault("check_order", "order 1.", order=2)(slopes_that_do_not_quite_average(5e-3))
fault("check_order", "which have not yet settled", order=2)(slopes_that_do_not_quite_average(1e-3))


# ---------------------------------------------------------------- what must be found, and what not


@pytest.mark.parametrize(
    ("check", "words", "sampler", "claims"), [f[1:] for f in FAULTS], ids=[f[0] for f in FAULTS]
)
def test_the_check_for_it_finds_the_fault_and_points_at_it(check, words, sampler, claims):
    case = SamplerCase(sampler, **claims)
    (found,) = (one for one in checks_for(case) if one.name == check)
    with pytest.raises(CheckFailed) as caught:
        found(case)
    assert words in str(caught.value), str(caught.value)


def test_there_are_many_faults():
    assert len(FAULTS) >= 24


@pytest.mark.slow
@pytest.mark.parametrize("name", SOUND)
def test_sound_samplers_pass_every_check(name):
    sampler, claims = SOUND[name]
    case = SamplerCase(sampler, **claims)
    for check in checks_for(case):
        check(case)
