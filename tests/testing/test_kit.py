"""How checks are run, and what they say."""

import numpy as np
import pytest

import schedulers as sc
from schedulers.testing import (
    CheckFailed,
    ChecksFailed,
    SamplerCase,
    SchedulerCase,
    as_sampler,
    check_sampler,
    check_scheduler,
    checks_for,
    parametrize_with_checks,
    scheduler_case,
)

VP = sc.VPSchedule()


def denoise_at_once(denoiser, x, sigmas, noise):
    return denoiser(x, float(sigmas[0]))


def euler(denoiser, x, sigmas, noise):
    for s, s_next in zip(sigmas.tolist(), sigmas.tolist()[1:], strict=False):
        x = x + (s_next - s) * (x - denoiser(x, s)) / s
    return x


def test_one_error_says_all_that_failed():
    with pytest.raises(ChecksFailed) as caught:
        check_sampler(denoise_at_once, order=1)
    failures = caught.value.failures
    assert isinstance(caught.value, AssertionError)
    assert {"check_point_mass", "check_order"} <= {failure.check for failure in failures}
    text = str(caught.value)
    assert text.startswith(f"{len(failures)} checks failed")
    for failure in failures:
        assert isinstance(failure, CheckFailed)
        assert failure.subject == "denoise_at_once"
        for part in (failure.check, failure.law, failure.expected, failure.got, failure.look_at):
            assert part
            assert part in text


def test_a_failure_that_is_expected_is_none_and_one_that_does_not_come_is():
    check_scheduler(
        sc.DDPM(VP, variance="fixed_large"),
        expected_failures={"check_scale": "units", "check_point_mass_variance": "units"},
    )
    with pytest.raises(ChecksFailed) as caught:
        check_sampler(euler, order=1, expected_failures={"check_batch": "it once did"})
    (failure,) = caught.value.failures
    assert failure.check == "check_batch"
    assert "it once did" in failure.expected
    assert "out of date" in failure.look_at


def test_names_of_no_check_are_refused():
    with pytest.raises(ValueError, match=r"expected_failures must name .*got \['check_all'\]"):
        check_sampler(euler, order=1, expected_failures={"check_all": "?"})
    with pytest.raises(ValueError, match="expected_failures must name checks that apply"):
        parametrize_with_checks([sc.DDIM(VP)], expected_failures=lambda case: {"check_all": "?"})


def test_pytest_gets_a_test_of_each_check_of_each_case():
    case = SamplerCase(euler, order=1)
    mark = parametrize_with_checks(
        [case, sc.Heun(VP)],
        expected_failures=lambda c: {"check_order": "why"} if c is case else {},
    ).mark
    names, params = mark.args
    assert names == ("case", "check")
    first = [param for param in params if param.values[0] is case]
    assert [param.values[1] for param in first] == list(checks_for(case))
    others = [param for param in params if param.values[0] is not case]
    assert all(isinstance(param.values[0], SchedulerCase) for param in others)
    assert {param.values[1].name for param in others} > {check.name for check in checks_for(case)}
    (marked,) = (param for param in params if param.marks)
    assert marked.id == "euler-check_order"
    assert marked.marks[0].kwargs == {"strict": True, "reason": "why"}


def test_an_error_in_a_sampler_is_a_failure_that_names_the_line():
    def crashes(denoiser, x, sigmas, noise):
        raise KeyError("no such level")  # the line

    for check in checks_for(SamplerCase(crashes, order=1)):
        with pytest.raises(CheckFailed, match="KeyError: 'no such level'") as caught:
            check(SamplerCase(crashes, order=1))
        assert "the line" in caught.value.look_at
        assert isinstance(caught.value.__cause__, KeyError)


def test_every_check_states_its_law_and_what_a_failure_means():
    checks = {
        *checks_for(scheduler_case(sc.DDIM(VP))),
        *checks_for(scheduler_case(sc.DDPM(VP))),
    }
    assert len(checks) > 30
    for check in checks:
        assert check.law.endswith(".")
        assert "failure" in check.__doc__ or "order of 0" in check.__doc__
        assert check.name.startswith("check_")


def test_the_laws_are_those_of_the_method_without_its_threshold():
    check_scheduler(sc.DDIM(VP, threshold=sc.StaticThreshold(0.1)))


def test_a_scheduler_as_a_sampler_is_its_run_in_karras_convention():
    scheduler, x = sc.Heun(sc.VESchedule(), prediction_type="sample"), np.array([[8.0]])
    sigmas = np.array([4.0, 2.0, 1.0, 0.0])
    got = as_sampler(scheduler)(lambda y, s: 0.5 * y, x, sigmas, None)
    expected = scheduler.sample(lambda y, s: 0.5 * y, x, sigmas=sigmas)
    np.testing.assert_allclose(got, expected, rtol=1e-15)


def test_the_precision_that_is_claimed_is_the_one_that_is_held():
    def single(denoiser, x, sigmas, noise):
        return euler(denoiser, x, sigmas.astype(np.float32), noise)

    with pytest.raises(ChecksFailed) as caught:
        check_sampler(single, order=1)
    assert "check_point_mass" in {failure.check for failure in caught.value.failures}
    check_sampler(single, order=1, precision="float32")


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"order": "1"}, TypeError, "order must be a real number"),
        ({"order": 0}, ValueError, "order must be above 0"),
        ({"order": 1, "stochastic": 1}, TypeError, "stochastic must be True or False"),
        ({"order": 1, "grid": 3}, TypeError, r"grid must be a callable \(steps\)"),
        ({"order": 1, "any_sigmas": False}, ValueError, "grid must be given"),
        ({"order": 1, "sigma_min": 2.0, "sigma_max": 1.0}, ValueError, "sigma_max must be above 2"),
        ({"order": 1, "min_steps": 0}, ValueError, "min_steps must be at least 1"),
        ({"order": 1, "precision": "half"}, ValueError, "precision must be one of"),
    ],
)
def test_what_is_claimed_is_checked(options, error, message):
    with pytest.raises(error, match=message):
        SamplerCase(euler, **options)


def test_what_is_no_sampler_or_scheduler_is_refused():
    with pytest.raises(TypeError, match="sampler must be a callable"):
        check_sampler(3, order=1)
    with pytest.raises(TypeError, match="scheduler must be a Scheduler, got"):
        check_scheduler(euler)
