"""The checks by kind of case, and the ways to run them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from schedulers import _checks
from schedulers.scheduler import Scheduler
from schedulers.testing.cases import SamplerCase
from schedulers.testing.failures import Check, CheckFailed, ChecksFailed
from schedulers.testing.laws import (
    accuracy,
    calls,
    levels,
    precision,
    scheduler_arrays,
    scheduler_levels,
    scheduler_runs,
    symmetry,
)
from schedulers.testing.scheduler_cases import SchedulerCase, scheduler_case

if TYPE_CHECKING:
    from schedulers.testing.cases import Grid, Sampler

ANY = (
    calls.check_steps,
    accuracy.check_point_mass,
    symmetry.check_rigid_motion,
    symmetry.check_scale,
    symmetry.check_large,
    symmetry.check_batch,
    levels.check_levels,
    calls.check_deterministic,
    calls.check_noise,
    calls.check_no_state,
    calls.check_reentrant,
    precision.check_shapes,
    precision.check_dtype,
    precision.check_float32,
    precision.check_untouched,
)
DETERMINISTIC = (accuracy.check_order, accuracy.check_order_nonlinear)
STOCHASTIC = (accuracy.check_point_mass_variance, accuracy.check_marginals)
SCHEDULER = (
    scheduler_levels.check_tableau,
    scheduler_levels.check_point_mass_from_the_top,
    scheduler_levels.check_start_anywhere,
    scheduler_levels.check_parameterization,
    scheduler_levels.check_coordinates,
    scheduler_levels.check_errors,
    scheduler_runs.check_value,
    scheduler_runs.check_loops,
    scheduler_runs.check_interleaved,
    scheduler_runs.check_resumed,
    scheduler_runs.check_named_noise,
    scheduler_arrays.check_any_array,
    scheduler_arrays.check_half_precision,
    scheduler_arrays.check_own_memory,
    scheduler_arrays.check_layout,
    scheduler_arrays.check_foreign_arrays,
)


def checks_for(case: SamplerCase) -> tuple[Check, ...]:
    """Return the checks that apply to a case."""
    if not isinstance(case, SamplerCase):
        raise TypeError(f"case must be a SamplerCase, got {_checks.shown(case)}")
    checks: tuple[Check, ...] = (*ANY, *(STOCHASTIC if case.stochastic else DETERMINISTIC))
    if not case.stochastic and case.grid is None:
        checks = (*checks, accuracy.check_order_uneven)
    if case.reused_output:
        checks = (*checks, precision.check_reused_output)
    if isinstance(case, SchedulerCase):
        checks = (*checks, *SCHEDULER)
    out_of_place = _out_of_place(case)
    return tuple(check for check in checks if check not in out_of_place)


def _out_of_place(case: SamplerCase) -> set[Check]:
    """Those whose laws do not hold by the definition of what is claimed."""
    checks = set()
    if case.uses_time:
        checks |= {symmetry.check_scale, scheduler_levels.check_coordinates}
    if not case.any_sigmas:
        checks |= {symmetry.check_scale, levels.check_levels}
    if case.tolerance:
        checks |= {levels.check_levels}
    return checks


def check_sampler(
    sampler: Sampler,
    *,
    order: float,
    stochastic: bool = False,
    grid: Grid | None = None,
    expected_failures: Mapping[str, str] | None = None,
    **options: Any,
) -> None:
    """Run every check that applies to a sampler.

    Parameters
    ----------
    sampler, order, stochastic, grid, **options
        As for `SamplerCase`.
    expected_failures : mapping of str to str, optional
        Names of checks that fail, and why that is as it should be. One that does not fail is a
        failure too.

    Raises
    ------
    ChecksFailed
        If checks fail: one error that says all of what failed.
    TypeError, ValueError
        If a parameter has the wrong type or is out of range.

    Examples
    --------
    >>> def denoise_at_once(denoiser, x, sigmas, noise):
    ...     return denoiser(x, float(sigmas[0]))
    >>> try:
    ...     check_sampler(denoise_at_once, order=1)
    ... except ChecksFailed as error:
    ...     print(*(failure.check for failure in error.failures[:3]))
    check_point_mass check_large check_levels
    """
    case = SamplerCase(sampler, order=order, stochastic=stochastic, grid=grid, **options)
    run_checks(case, expected_failures)


def check_scheduler(
    scheduler: Scheduler,
    *,
    order: float = 1.0,
    uneven_order: float = 1.0,
    grid: Grid | None = None,
    uses_time: bool = False,
    seed: int = 0,
    expected_failures: Mapping[str, str] | None = None,
) -> None:
    """Run every check that applies to a scheduler: those of samplers, and those of its own loops.

    Parameters
    ----------
    scheduler : Scheduler
        On any schedule, with any parameters; its `threshold` is set aside.
    order, uneven_order, grid, uses_time, seed
        As for `SamplerCase`.
    expected_failures : mapping of str to str, optional
        As for `check_sampler`.

    Raises
    ------
    ChecksFailed
        If checks fail: one error that says all of what failed.
    TypeError, ValueError
        If a parameter has the wrong type or is out of range.

    Examples
    --------
    >>> from schedulers import Heun, VPSchedule
    >>> check_scheduler(Heun(VPSchedule()), order=2)
    """
    case = scheduler_case(
        scheduler,
        order=order,
        uneven_order=uneven_order,
        grid=grid,
        uses_time=uses_time,
        seed=seed,
    )
    run_checks(case, expected_failures)


def parametrize_with_checks(
    cases: Iterable[SamplerCase | Scheduler],
    *,
    expected_failures: Callable[[SamplerCase], Mapping[str, str]] | None = None,
) -> Any:
    """Make a pytest test of every check of every case.

    Parameters
    ----------
    cases : iterable of SamplerCase or Scheduler
        A scheduler by itself is a case that claims first order.
    expected_failures : callable, optional
        ``expected_failures(case)`` returns names of checks and why they fail: tests that are
        expected to, strictly.

    Returns
    -------
    pytest.MarkDecorator
        For a function of ``(case, check)``.

    Raises
    ------
    TypeError, ValueError
        If a case is none, or a name is that of no check that applies.

    Examples
    --------
    >>> from schedulers import DDIM, VPSchedule
    >>> @parametrize_with_checks([DDIM(VPSchedule())])
    ... def test_ddim(case, check):
    ...     check(case)
    """
    import pytest

    try:
        cases = list(cases)
    except TypeError:
        raise TypeError(f"cases must be an iterable, got {_checks.shown(cases)}") from None
    if expected_failures is not None:
        _checks.function("expected_failures", expected_failures, "(case)")
    params = []
    for case in cases:
        if not isinstance(case, (SamplerCase, Scheduler)):
            raise TypeError(
                f"cases must be of SamplerCase and Scheduler, got {_checks.shown(case)}"
            )
        case = case if isinstance(case, SamplerCase) else scheduler_case(case)
        excused = _excuses({} if expected_failures is None else expected_failures(case))
        checks = checks_for(case)
        _refuse_unknown(excused, checks)
        for check in checks:
            reason = excused.get(check.name)
            marks = [pytest.mark.xfail(strict=True, reason=reason)] if reason else []
            params.append(pytest.param(case, check, id=f"{case.title}-{check.name}", marks=marks))
    return pytest.mark.parametrize(("case", "check"), params)


def run_checks(case: SamplerCase, expected_failures: Mapping[str, str] | None = None) -> None:
    """Run every check that applies, and raise one `ChecksFailed` for all that fail."""
    excused = _excuses({} if expected_failures is None else expected_failures)
    checks = checks_for(case)
    _refuse_unknown(excused, checks)
    outcomes = [_outcome(check, case, excused) for check in checks]
    failures = [failure for failure in outcomes if failure is not None]
    if failures:
        raise ChecksFailed(failures)


def _excuses(given: Any) -> Mapping[str, str]:
    if not isinstance(given, Mapping):
        raise TypeError(
            f"expected_failures must give a mapping of names to reasons, got {_checks.shown(given)}"
        )
    return given


def _outcome(check: Check, case: SamplerCase, excused: Mapping[str, str]) -> CheckFailed | None:
    try:
        check(case)
    except CheckFailed as failure:
        return None if check.name in excused else failure
    if check.name not in excused:
        return None
    return CheckFailed(
        expected=f"a failure, for the reason given: {excused[check.name]}",
        got="the law holds",
        look_at="expected_failures, which is out of date",
    ).named(check, case)


def _refuse_unknown(excused: Mapping[str, str], checks: Iterable[Check]) -> None:
    names = [check.name for check in checks]
    unknown = [name for name in excused if name not in names]
    if unknown:
        raise ValueError(
            f"expected_failures must name checks that apply, such as {names[0]!r}, got "
            f"{_checks.shown(unknown)}"
        )
