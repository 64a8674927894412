"""Samplers and schedulers with one fault each, and the check that must say so.

Each is a mistake that somebody has made. The check named must fail, and its message must contain
the word that points at the mistake.
"""

import math
from dataclasses import dataclass
from functools import partial
from itertools import pairwise

import numpy as np
import pytest

import schedulers as sc
from schedulers.testing import CheckFailed, SamplerCase, checks_for, scheduler_case
from testing.sound_samplers import dpm_solver_pp_2m, euler, named, slope, split

FAULTS = {}


def fault(check, word, *, order=1, uneven_order=1, stochastic=False, grid=None):
    """Register a sampler with a fault, the check that must find it, and a word of the message."""

    def register(sampler):
        case = SamplerCase(
            sampler, order=order, uneven_order=uneven_order, stochastic=stochastic, grid=grid
        )
        FAULTS[sampler.__name__] = case, check, word
        return sampler

    return register


def scheduler_fault(check, word, *, order=1, schedule=None, **options):
    """Register a scheduler with a fault, likewise."""

    def register(make):
        scheduler = make(schedule or sc.VPSchedule(), **options)
        name = make.__name__
        FAULTS[name] = scheduler_case(scheduler, order=order, name=name), check, word
        return make

    return register


# ---------------------------------------------------------------- deterministic samplers


@fault("check_point_mass", "sum is 1")
def a_sign(denoiser, x, sigmas, noise):
    for s, s_next in pairwise(sigmas.tolist()):
        x = x - (s_next - s) * slope(denoiser, x, s)
    return x


@fault("check_order", "leads elsewhere")
def half_the_slope(denoiser, x, sigmas, noise):
    for s, s_next in pairwise(sigmas.tolist()):
        x = x + 0.5 * (s_next - s) * slope(denoiser, x, s)
    return x


@fault("check_point_mass", "NaN or infinity")
def a_slope_by_the_next_sigma(denoiser, x, sigmas, noise):
    for s, s_next in pairwise(sigmas.tolist()):
        x = x + (s_next - s) * (x - denoiser(x, s)) / s_next
    return x


def heun(weights=(0.5, 0.5), second_level=lambda s, s_next: s_next, ends=lambda s_next: s_next > 0):
    def sampler(denoiser, x, sigmas, noise):
        for s, s_next in pairwise(sigmas.tolist()):
            d, h = slope(denoiser, x, s), s_next - s
            if ends(s_next):
                d_next = slope(denoiser, x + h * d, second_level(s, s_next))
                d = weights[0] * d + weights[1] * d_next
            x = x + h * d
        return x

    return sampler


fault("check_order", "beyond first order", order=2)(
    named("a_heun_that_averages_wrongly", heun(weights=(0.25, 0.75)))
)
fault("check_point_mass", "sum is 1", order=2)(
    named("a_heun_that_does_not_average", heun(weights=(1.0, 1.0)))
)
fault("check_point_mass", "sum is 1", order=2)(
    named("a_heun_whose_second_evaluation_is_at_the_first_level", heun(second_level=lambda s, _: s))
)
fault("check_steps", "ends clean", order=2)(
    named("a_heun_that_evaluates_at_sigma_0", heun(ends=lambda s_next: True))
)
fault("check_order", "beyond first order", order=2)(
    named("a_heun_that_never_corrects", heun(ends=lambda s_next: s_next > 1e9))
)


@fault("check_order", "beyond first order", order=2)
def a_midpoint_method_that_goes_on_from_the_middle(denoiser, x, sigmas, noise):
    for s, s_next in pairwise(sigmas.tolist()):
        middle = 0.5 * (s + s_next)
        x_middle = x + (middle - s) * slope(denoiser, x, s)
        x = x_middle + (s_next - middle) * slope(denoiser, x_middle, middle)
    return x


def multistep(weights, back=lambda past, k: past[k]):
    """Adams and Bashforth's method; weights by order, past estimates the latest first."""

    def sampler(denoiser, x, sigmas, noise):
        past = []
        for s, s_next in pairwise(sigmas.tolist()):
            past.insert(0, slope(denoiser, x, s))
            row = weights[min(len(past), len(weights)) - 1]
            x = x + (s_next - s) * sum(w * back(past, k) for k, w in enumerate(row))
        return x

    return sampler


ONE, TWO, THREE = (1.0,), (3 / 2, -1 / 2), (23 / 12, -16 / 12, 5 / 12)


def uniform(steps):
    return np.linspace(3.0, 0.5, steps + 1)


fault("check_point_mass", "noise estimates", order=2)(
    named(
        "an_adams_bashforth_weight_off_by_one",
        multistep([ONE, TWO, THREE, (55 / 24, -58 / 24, 37 / 24, -9 / 24)]),
    )
)
fault("check_order", "beyond first order", order=2)(
    named("adams_bashforth_weights_that_add_up_and_are_wrong", multistep([ONE, (1.6, -0.6)]))
)
fault("check_order", "beyond first order", order=2, grid=uniform)(
    named("adams_bashforth_weights_in_the_wrong_order", multistep([ONE, (-1 / 2, 3 / 2)]))
)
fault("check_order", "earlier estimate", order=2)(
    named(
        "a_stale_history",
        multistep([ONE, TWO], back=lambda past, k: past[min(2 * k, len(past) - 1)]),
    )
)
fault("check_steps", "IndexError", order=2)(
    named("a_history_that_is_taken_for_granted", multistep([TWO]))
)


fault("check_order_uneven", "steps alternate in length", order=2, uneven_order=2)(
    named("a_ratio_of_steps_left_out", partial(dpm_solver_pp_2m, ratio=lambda h, h_old: 1.0))
)


@fault("check_point_mass", "last sigma")
def the_last_step_left_out(denoiser, x, sigmas, noise):
    for s, s_next in pairwise(sigmas.tolist()[:-1]):
        x = x + (s_next - s) * slope(denoiser, x, s)
    return x


@fault("check_point_mass", "noise of the start")
def the_first_step_left_out(denoiser, x, sigmas, noise):
    for s, s_next in pairwise(sigmas.tolist()[1:]):
        x = x + (s_next - s) * slope(denoiser, x, s)
    return x


@fault("check_point_mass", "last sigma")
def a_grid_that_repeats_levels(denoiser, x, sigmas, noise):
    for s, s_next in pairwise(np.round(sigmas, 1).tolist()):
        if s > 0.0:
            x = x + (s_next - s) * slope(denoiser, x, s)
    return x


@fault("check_order", "leads elsewhere")
def one_level_for_every_evaluation(denoiser, x, sigmas, noise):
    for s, s_next in pairwise(sigmas.tolist()):
        x = x + (s_next - s) * (x - denoiser(x, float(sigmas[0]))) / s
    return x


# ---------------------------------------------------------------- memory of samplers


PAST = []


@fault("check_deterministic", "state kept between calls")
def a_history_in_the_module(denoiser, x, sigmas, noise):
    for s, s_next in pairwise(sigmas.tolist()):
        d = slope(denoiser, x, s)
        same = PAST and PAST[-1].shape == d.shape
        x = x + (s_next - s) * (1.5 * d - 0.5 * PAST[-1] if same else d)
        PAST.append(d)
    return x


@fault("check_no_state", "mutable defaults")
def a_mutable_default(denoiser, x, sigmas, noise, first={}):  # noqa: B006
    for s, s_next in pairwise(sigmas.tolist()):
        d = first.setdefault((s, x.shape), slope(denoiser, x, s))
        x = x + (s_next - s) * (slope(denoiser, x, s) if s < sigmas[0] else d)
    return x


CURRENT = {}


@fault("check_reentrant", "must belong to one run", order=2)
def a_history_that_each_run_clears(denoiser, x, sigmas, noise):
    CURRENT["past"] = None
    for s, s_next in pairwise(sigmas.tolist()):
        d = slope(denoiser, x, s)
        past = CURRENT["past"]
        x = x + (s_next - s) * (
            d if past is None or past.shape != d.shape else 1.5 * d - 0.5 * past
        )
        CURRENT["past"] = d
    return x


@fault("check_untouched", "x left as it was")
def x_written_to(denoiser, x, sigmas, noise):
    for s, s_next in pairwise(sigmas.tolist()):
        x += (s_next - s) * slope(denoiser, x, s)
    return x


@fault("check_untouched", "denoiser's output")
def the_denoisers_output_written_to(denoiser, x, sigmas, noise):
    for s, s_next in pairwise(sigmas.tolist()):
        d = denoiser(x, s)
        np.subtract(x, d, out=d)
        x = x + (s_next - s) / s * d
    return x


@fault("check_untouched", "sigmas left as it was")
def the_levels_written_to(denoiser, x, sigmas, noise):
    x = euler(denoiser, x, sigmas, noise)
    sigmas[-1] = 0.0
    sigmas *= 1.0 + 1e-6
    return x


@fault("check_deterministic", "not drawn by `noise`")
def randomness_of_its_own(denoiser, x, sigmas, noise):
    return euler(denoiser, x, sigmas, noise) + 1e-9 * np.random.default_rng().normal(size=x.shape)


# ---------------------------------------------------------------- arrays and symmetry


@fault("check_dtype", "Python floats")
def float64_weights(denoiser, x, sigmas, noise):
    for s, s_next in pairwise(sigmas):
        x = x + (s_next - s) * slope(denoiser, x, float(s))
    return x


@fault("check_point_mass", "last sigma")
def float32_weights(denoiser, x, sigmas, noise):
    for s, s_next in pairwise(sigmas.astype(np.float32).tolist()):
        x = x + (s_next - s) * slope(denoiser, x, s)
    return x


@fault("check_point_mass", "the point")
def half_precision_on_the_way(denoiser, x, sigmas, noise):
    return euler(lambda y, s: denoiser(y, s).astype(np.float16), x, sigmas, noise).astype(x.dtype)


@fault("check_shapes", "shape")
def an_axis_too_few(denoiser, x, sigmas, noise):
    return euler(denoiser, x, sigmas, noise).reshape(len(x), -1)


@fault("check_batch", "axis 0")
def statistics_of_the_batch(denoiser, x, sigmas, noise):
    def guided(y, s):
        d = denoiser(y, s)
        return d + 0.1 * (d - d.mean(axis=0)) * s / (1.0 + s)

    return euler(guided, x, sigmas, noise)


@fault("check_rigid_motion", "singly")
def a_denoised_estimate_that_is_clipped(denoiser, x, sigmas, noise):
    return euler(lambda y, s: np.clip(denoiser(y, s), -1.0, 1.0), x, sigmas, noise)


@fault("check_scale", "unit")
def an_epsilon_in_the_denominator(denoiser, x, sigmas, noise):
    for s, s_next in pairwise(sigmas.tolist()):
        x = x + (s_next - s) * (x - denoiser(x, s)) / (s + 1e-6)
    return x


# ---------------------------------------------------------------- stochastic samplers


def ancestral(step_noise, split=split):
    def sampler(denoiser, x, sigmas, noise):
        draw = step_noise(noise, x)
        for s, s_next in pairwise(sigmas.tolist()):
            down, up = split(s, s_next)
            x = x + (down - s) * slope(denoiser, x, s)
            if s_next > 0.0:
                x = x + up * draw(x)
        return x

    return sampler


def stochastic(check, word, name, sampler):
    fault(check, word, stochastic=True)(named(name, sampler))


def once(noise, x):
    z = noise(x)
    return lambda like: z


stochastic(
    "check_noise", "no draw", "noise_that_is_not_drawn", ancestral(lambda noise, x: np.zeros_like)
)
stochastic(
    "check_noise",
    "not added",
    "noise_that_is_not_used",
    ancestral(lambda noise, x: lambda like: 0.0 * noise(like)),
)


@fault("check_noise", "not added", stochastic=True)
def noise_that_is_not_used_at_low_levels(denoiser, x, sigmas, noise):
    for s, s_next in pairwise(sigmas.tolist()):
        x = x + (s_next - s) * slope(denoiser, x, s)
        if s < 0.05:
            x = x + 0.0 * noise(x)
    return x


stochastic("check_point_mass_variance", "used once", "noise_used_in_every_step", ancestral(once))
stochastic(
    "check_point_mass_variance",
    "weight of fresh noise",
    "a_variance_for_a_standard_deviation",
    ancestral(lambda noise, x: noise, lambda s, n: (split(s, n)[0], split(s, n)[1] ** 2)),
)
stochastic(
    "check_point_mass_variance",
    "what of the old noise is kept",
    "noise_that_nothing_makes_room_for",
    ancestral(lambda noise, x: noise, lambda s, n: (n, split(s, n)[1])),
)
stochastic(
    "check_marginals",
    "weight of fresh noise",
    "too_little_noise",
    ancestral(lambda noise, x: noise, lambda s, n: (split(s, n)[0], 0.5 * split(s, n)[1])),
)
stochastic(
    "check_marginals",
    "weight of fresh noise",
    "fresh_and_old_noise_swapped",
    ancestral(lambda noise, x: noise, lambda s, n: split(s, n)[::-1]),
)
stochastic(
    "check_batch",
    "company",
    "one_noise_for_the_whole_batch",
    ancestral(lambda noise, x: lambda like: np.repeat(noise(like[:1])[:1], len(like), axis=0)),
)


@fault("check_point_mass", "adds no noise", stochastic=True)
def noise_in_the_step_that_ends_clean(denoiser, x, sigmas, noise):
    for s, s_next in pairwise(sigmas.tolist()):
        down, up = split(s, s_next)
        x = x + (down - s) * slope(denoiser, x, s) + (up + 1e-3) * noise(x)
    return x


@fault("check_point_mass_variance", "what of the old noise is kept", stochastic=True)
def churn_that_does_not_raise_the_level(denoiser, x, sigmas, noise):
    n = len(sigmas) - 1
    for s, s_next in pairwise(sigmas.tolist()):
        raised = s * (1.0 + min(4.0 / n, 0.4))
        x = x + math.sqrt(raised**2 - s**2) * noise(x)
        x = x + (s_next - s) * slope(denoiser, x, s)
    return x


# ---------------------------------------------------------------- schedulers


@scheduler_fault("check_point_mass", "weights of D")
@dataclass(frozen=True, kw_only=True)
class AlphaAndSigmaSwapped(sc.Scheduler):
    def stages(self, levels):
        for now, then in pairwise(levels):
            yield sc.Stage(now, a=(then.sigma,), b=(then.alpha,))


@scheduler_fault("check_coordinates", "alpha and sigma")
@dataclass(frozen=True, kw_only=True)
class KarrasSigmaForSigma(sc.Scheduler):
    def stages(self, levels):
        for now, then in pairwise(levels):
            yield sc.Stage(now, a=(then.alpha,), b=(then.karras,))


@scheduler_fault("check_point_mass", "weights of D")
@dataclass(frozen=True, kw_only=True)
class OffByOneLevel(sc.Scheduler):
    def stages(self, levels):
        for now in levels[:-1]:
            yield sc.Stage(now, a=(now.alpha,), b=(now.sigma,))


@scheduler_fault("check_point_mass_from_the_top", "weights of D")
@dataclass(frozen=True, kw_only=True)
class TimeOfTheNextLevel(sc.Scheduler):
    def stages(self, levels):
        for now, then in pairwise(levels):
            level = now._replace(t=then.t or now.t)
            yield sc.Stage(level, a=(then.alpha,), b=(then.sigma,))


@scheduler_fault("check_order", "beyond first order", order=2)
@dataclass(frozen=True, kw_only=True)
class HeunWithAForgottenHalf(sc.Scheduler):
    def stages(self, levels):
        for now, then in pairwise(levels):
            h = then.karras - now.karras
            if then.sigma == 0.0:
                yield sc.Stage(now, a=(then.alpha,), b=(then.sigma,))
                continue
            yield sc.Stage(now, a=(then.alpha,), b=(then.sigma,), ends_step=False)
            yield sc.Stage(
                then, a=(then.alpha,), b=(then.alpha * (then.karras + h), -then.alpha * h)
            )


@scheduler_fault("check_point_mass", "adds no noise")
@dataclass(frozen=True, kw_only=True)
class DDPMThatNeverStops(sc.DDPM):
    def stages(self, levels):
        for stage in super().stages(levels):
            yield sc.Stage(stage.level, a=stage.a, b=stage.b, c=stage.c or 1e-3)


@scheduler_fault("check_point_mass_variance", "weight of fresh noise")
@dataclass(frozen=True, kw_only=True)
class DDPMWithBetaInsteadOfBetaTilde(sc.DDPM):
    def stages(self, levels):
        for stage, then in zip(super().stages(levels), levels[1:], strict=True):
            beta = stage.level.sigma**2 - (stage.level.alpha / then.alpha * then.sigma) ** 2
            yield sc.Stage(stage.level, a=stage.a, b=stage.b, c=math.sqrt(beta) if stage.c else 0.0)


CALLS = []


@scheduler_fault("check_tableau", "what `stages` reads")
@dataclass(frozen=True, kw_only=True)
class RowsThatDependOnThePast(sc.Scheduler):
    def stages(self, levels):
        CALLS.append(levels)
        for now, then in pairwise(levels):
            yield sc.Stage(now, a=(then.alpha,), b=(then.sigma * (1.0 + 1e-6 * len(CALLS)),))


@scheduler_fault(
    "check_tableau", "strictly decreasing", spacing=lambda schedule, n: np.full(n, 0.5)
)
@dataclass(frozen=True, kw_only=True)
class SpacingThatRepeatsALevel(sc.DDIM):
    pass


@scheduler_fault("check_tableau", "stages must end")
@dataclass(frozen=True, kw_only=True)
class StepsThatDoNotEnd(sc.Scheduler):
    def stages(self, levels):
        for now, then in pairwise(levels):
            yield sc.Stage(now, a=(then.alpha,), b=(then.sigma,), ends_step=then.sigma == 0.0)


@scheduler_fault("check_loops", "all of it must be in the State")
@dataclass(frozen=True, kw_only=True)
class SampleThatRescalesAtTheEnd(sc.DDIM):
    def sample(self, *args, **kwargs):
        return super().sample(*args, **kwargs) * (1.0 + 1e-15)


@scheduler_fault("check_interleaved", "all of it must be in the State")
@dataclass(frozen=True, kw_only=True)
class StateInTheScheduler(sc.DDIM):
    def _take(self, output, state, noise, keep_denoised):
        if state.index and hasattr(self, "past") and self.past.shape == output.shape:
            output = 0.5 * (output + self.past)
        object.__setattr__(self, "past", output)
        return super()._take(output, state, noise, keep_denoised)


@scheduler_fault("check_value", "unhashable", weights=[1.0])
@dataclass(frozen=True, kw_only=True)
class AParameterThatIsMutable(sc.DDIM):
    weights: list


@scheduler_fault("check_value", "dataclass")
@dataclass(frozen=True, kw_only=True, eq=False)
class EqualToNothing(sc.DDIM):
    def __eq__(self, other):
        return self is other

    def __hash__(self):
        return id(self)


@scheduler_fault("check_parameterization", "D and e")
@dataclass(frozen=True, kw_only=True)
class EpsilonWhateverTheModelPredicts(sc.DDIM):
    def _take(self, output, state, noise, keep_denoised):
        if self.prediction_type == "v_prediction":
            output = output * state.level.alpha
        return super()._take(output, state, noise, keep_denoised)


@scheduler_fault("check_errors", "x_T")
@dataclass(frozen=True, kw_only=True)
class ListsTakenForArrays(sc.DDIM):
    def sample(self, denoiser, x_T, *args, **kwargs):
        return super().sample(denoiser, np.asarray(x_T), *args, **kwargs)


@scheduler_fault("check_own_memory", "without a copy", prediction_type="sample")
@dataclass(frozen=True, kw_only=True)
class OutputsWrittenTo(sc.DDIM):
    def _take(self, output, state, noise, keep_denoised):
        if isinstance(output, np.ndarray) and output.flags.writeable:
            output *= 1.0 + 1e-3
        return super()._take(output, state, noise, keep_denoised)


# ---------------------------------------------------------------- what must be found


@pytest.mark.parametrize("name", FAULTS)
def test_the_check_for_it_finds_the_fault_and_points_at_it(name):
    case, expected, word = FAULTS[name]
    (check,) = (check for check in checks_for(case) if check.name == expected)
    with pytest.raises(CheckFailed) as caught:
        check(case)
    assert word in str(caught.value), str(caught.value)
    assert expected in str(caught.value)


def test_there_are_many_faults():
    assert len(FAULTS) >= 25
