"""Claims that a case can make, grids that are their own, and samplers of PyTorch's tensors."""

import re
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

import schedulers as sc
from schedulers.testing import (
    CheckFailed,
    ChecksFailed,
    SamplerCase,
    check_sampler,
    check_scheduler,
    checks_for,
    from_torch,
    scheduler_case,
)
from schedulers.testing.laws.orders import Errors
from testing.sound_samplers import adaptive, ancestral, churn, dpm_solver_pp_2m, euler, heun

VP = sc.VPSchedule()


def names(case):
    return {check.name for check in checks_for(case)}


def failed(sampler, **claims):
    with pytest.raises(ChecksFailed) as caught:
        check_sampler(sampler, **claims)
    return {failure.check: str(failure) for failure in caught.value.failures}


def test_a_method_of_the_models_time_is_spared_units_and_coordinates():
    scheduler = sc.TCD(VP)
    spared = {"check_scale", "check_coordinates"}
    assert spared < names(scheduler_case(scheduler))
    assert not spared & names(scheduler_case(scheduler, uses_time=True))
    reason = {"check_marginals": "it is for consistency models"}
    check_scheduler(scheduler, uses_time=True, expected_failures=reason)


def test_a_tolerance_that_is_not_kept_is_found():
    assert "check_levels" not in names(SamplerCase(adaptive, order=2, tolerance=1e-3))
    case = SamplerCase(adaptive, order=2, tolerance=1e-9)
    (check,) = (check for check in checks_for(case) if check.name == "check_order")
    with pytest.raises(CheckFailed, match="how the length of a step is chosen"):
        check(case)


def test_noise_of_another_size_is_held_to_that_size():
    def louder(denoiser, x, sigmas, noise):
        return churn(denoiser, x, sigmas, noise, s_noise=1.02)

    check_sampler(louder, order=1, stochastic=True, s_noise=1.02)
    for wrong in (1.0, 1.01):
        found = failed(louder, order=1, stochastic=True, s_noise=wrong)
        assert "check_point_mass_variance" in found


def test_a_network_that_reuses_its_output_is_asked_for_by_a_claim():
    assert "check_reused_output" not in names(SamplerCase(dpm_solver_pp_2m, order=2))

    def copies(denoiser, x, sigmas, noise):
        return dpm_solver_pp_2m(lambda y, s: denoiser(y, s).copy(), x, sigmas, noise)

    check_sampler(copies, order=2, reused_output=True)
    assert set(failed(dpm_solver_pp_2m, order=2, reused_output=True)) == {"check_reused_output"}


@pytest.mark.parametrize(
    ("claims", "error", "message"),
    [
        ({"uses_time": 1}, TypeError, "uses_time must be True or False"),
        ({"tolerance": -1.0}, ValueError, "tolerance must be at least 0"),
        ({"s_noise": 0.0}, ValueError, "s_noise must be above 0"),
        ({"reused_output": None}, TypeError, "reused_output must be True or False"),
    ],
)
def test_what_is_claimed_is_checked(claims, error, message):
    with pytest.raises(error, match=message):
        SamplerCase(euler, order=1, **claims)


def test_sigmas_that_differ_between_samples_are_said_to():
    def uneven(denoiser, x, sigmas, noise):
        return euler(lambda y, s: denoiser(y, s * np.linspace(1.0, 1.1, len(y))), x, sigmas, noise)

    assert "the same number for each sample" in failed(uneven, order=1)["check_steps"]


# ---------------------------------------------------------------- orders


def errors_of(orders, steps=20, first=1.0):
    counts = [steps * 2**k for k in range(len(orders) + 1)]
    return Errors(counts, first * np.cumprod([1.0, *(2.0**-p for p in orders)]), 1e-12)


@pytest.mark.parametrize(
    ("orders", "settled", "order"),
    [
        ((1.7, 1.85, 1.92, 1.96), True, 2.0),
        ((2.82, 2.90, 2.39, 1.90), False, 1.90),  # not 1.41
        ((4.43, 5.57, 1.51, 1.53), False, 1.55),  # two terms that cancel once
        ((1.98, 1.95, 1.88, 1.75), False, 1.75),
    ],
)
def test_an_order_that_still_moves_is_said_to(orders, settled, order):
    errors = errors_of(orders)
    assert errors.settled == settled
    assert errors.order == pytest.approx(order, abs=0.01)
    assert ("which have not yet settled at 320 steps" in str(errors)) != settled


def test_where_rounding_comes_first_the_order_is_that_of_the_way_there():
    errors = Errors([20, 40, 80, 160], [5.04e-3, 4.55e-4, 2.75e-4, 8.58e-5], 1.2e-4)
    assert not errors.settled
    assert errors.order == pytest.approx(np.log2(5.04e-3 / 8.58e-5) / 3.0)


def test_orders_are_those_of_the_numbers_of_steps_that_a_grid_gives():
    def rounded(steps):  # as many as there are training levels between two ends
        return np.geomspace(3.0, 0.5, 1 + round(0.4 * steps) + steps % 7)

    check_sampler(heun, order=2, grid=rounded)
    found = failed(euler, order=2, grid=rounded)["check_order"]
    order = float(re.search(r"order (\d\.\d\d): errors", found).group(1))
    assert order == pytest.approx(1.0, abs=0.1)


def test_a_grid_that_rises_or_has_one_level_is_named():
    for grid in (lambda steps: np.linspace(1.0, 2.0, steps + 1), lambda steps: [1.0]):
        case = SamplerCase(euler, order=1, grid=grid)
        check = checks_for(case)[0]
        with pytest.raises(CheckFailed, match=r"grid\(1\) must be"):
            check(case)


# ---------------------------------------------------------------- other libraries, and the README


def test_samplers_of_tensors_are_checked():
    torch = pytest.importorskip("torch")

    def euler_of_tensors(denoiser, x, sigmas, noise):
        for s, s_next in pairwise(sigmas):
            d = (x - denoiser(x, s * x.new_ones(len(x)))) / s
            x = x + (s_next - s) * d
        return x

    def drawing_two_ways(denoiser, x, sigmas, noise):
        def draw(x):
            one = torch.randn(*x.shape, dtype=x.dtype, generator=torch.Generator())
            return (one + torch.randn_like(x)) / 2.0**0.5

        return ancestral(denoiser, x, sigmas, draw)

    check_sampler(from_torch(euler_of_tensors), order=1)
    check_sampler(from_torch(drawing_two_ways), order=1, stochastic=True)


def test_noise_that_is_the_samplers_own_is_found():
    torch = pytest.importorskip("torch")
    sampler = from_torch(
        lambda denoiser, x, sigmas, noise: ancestral(denoiser, x, sigmas, torch.randn_like),
        draws=False,
    )
    assert "check_deterministic" in failed(sampler, order=1, stochastic=True)


def test_a_sampler_of_tensors_that_is_not_adapted_is_told_how():
    torch = pytest.importorskip("torch")

    def plain(denoiser, x, sigmas, noise):
        return denoiser(torch.from_numpy(x), float(sigmas[0]))

    assert "from_torch" in failed(plain, order=1)["check_steps"]


def test_what_is_no_sampler_of_tensors_is_refused():
    with pytest.raises(TypeError, match="sampler must be a callable"):
        from_torch(3)
    with pytest.raises(TypeError, match="draws must be True or False"):
        from_torch(euler, draws="yes")


def test_the_readmes_sampler_fails_for_its_fault_alone():
    readme = (Path(__file__).parents[2] / "README.md").read_text()
    text = readme[readme.index("def sampler(denoiser") :].partition("\n\n\n")[0]
    home = {}
    exec(text, home)
    found = failed(home["sampler"], order=1)
    assert "check_point_mass" in found
    assert not set(found) & {"check_dtype", "check_float32", "check_untouched", "check_shapes"}


@pytest.mark.parametrize(
    "scheduler",
    [
        sc.Euler(VP, s_churn=4.0, s_tmin=0.1, s_tmax=0.12),
        sc.Restart(VP, restarts=[(0.03, 0.04, 1, 1)]),
    ],
)
@pytest.mark.parametrize("seed", range(3))
def test_noise_may_be_drawn_at_low_levels_alone(scheduler, seed):
    case = scheduler_case(scheduler, seed=seed)
    (check_noise,) = [check for check in checks_for(case) if check.name == "check_noise"]
    assert case.stochastic
    check_noise(case)


@pytest.mark.parametrize(("spacing", "least"), [("trailing", 8), ("ddim_uniform", 9)])
def test_checks_take_no_more_steps_than_there_are_training_levels(spacing, least):
    for levels in (least, 10, 50, 100):  # the last three are numbers of steps that checks take
        check_scheduler(sc.DDIM(few_levels(levels), spacing=spacing))


@pytest.mark.parametrize(("spacing", "least"), [("trailing", 8), ("ddim_uniform", 9)])
def test_too_few_training_levels_are_refused(spacing, least):
    with pytest.raises(ValueError, match="levels for 8 steps, which checks take, got 7"):
        scheduler_case(sc.DDIM(few_levels(least - 1), spacing=spacing))


def few_levels(n):
    return sc.DiscreteSchedule(sc.linear_betas(n, 1e-4, min(0.999, 20.0 / n)))
