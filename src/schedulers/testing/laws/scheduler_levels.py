"""Laws of a `Scheduler`'s tableau: its levels, its rows, its coordinates, its refusals."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from schedulers.analytic import Gaussian
from schedulers.engine.parameterization import PREDICTION_TYPES
from schedulers.engine.state import State
from schedulers.fitting.fitted import FittedScheduler
from schedulers.scheduler import Scheduler
from schedulers.schedules.continuous import VESchedule
from schedulers.testing.cases import disturbed, rounding
from schedulers.testing.failures import Check, CheckFailed, expect, expect_close, shown
from schedulers.testing.models import exact, nonlinear
from schedulers.testing.scheduler_cases import SchedulerCase, as_model, as_sampler

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]


@Check
def check_tableau(case: SchedulerCase) -> None:
    """A run in n steps takes the rows that its tableau shows: n steps, its NFE, at its times.

    A failure means rows that depend on more than the levels, or a spacing that gives levels other
    than it was asked for.
    """
    x, rows = np.ones((2, 3)), "the rows that `stages` yields, and their `ends_step`"
    for steps in case.step_counts(*range(1, 9), 50):
        levels = case.levels(steps)
        tableau = case.scheduler.tableau(**levels)
        same = tableau == replace(case.scheduler).tableau(**levels)
        expect(same, "the same tableau every time", "another one", "what `stages` reads")
        expect(hash(tableau) is not None, "a hash", "none", "the rows' types")
        expect(tableau.steps == steps, f"{steps} steps", f"{tableau.steps}", "the spacing")
        falling = np.all(np.diff(tableau.sigmas) < 0.0)
        expect(falling, "levels that fall", shown(tableau.sigmas), "the spacing")
        expect(tableau.levels[-1].sigma == 0.0, "a clean end", f"{tableau.levels[-1]}", "spacing")
        seen: list[float] = []

        def model(y: Any, t: float) -> Any:
            seen.append(t)  # noqa: B023
            return nonlinear(y, t)

        case.scheduler.sample(model, x, **levels, rng=0)
        times = [stage.level.t for stage in tableau.stages]
        expect(seen == times, f"evaluations at the tableau's times {times}", f"{seen}", rows)
        above = all(stage.level.sigma > 0.0 for stage in tableau.stages)
        expect(above, "no evaluation at sigma = 0", f"{tableau}", rows)


@Check
def check_point_mass_from_the_top(case: SchedulerCase) -> None:
    """From its noisiest level, in any number of steps of its own spacing, a run arrives at a point.

    Deterministic runs are on the line from noise to point at every step. Where the run begins at
    alpha = 0 the scheduler arrives too, or refuses before it has asked the model. A failure means
    weights that divide by alpha, or that do not add up at one of the ends.
    """
    rng = case.rng("from the top")
    for steps in case.step_counts(1, 2, 3, 4, 5, 10, 100):
        schedule = case.scheduler.schedule
        first = case.scheduler._levels(steps, None, None)[0]
        kinds = PREDICTION_TYPES if first.alpha else ("sample", "v_prediction", "flow")
        kind = kinds[int(rng.integers(len(kinds)))]
        scheduler = replace(case.scheduler, prediction_type=kind)
        point, noise = rng.normal(size=4), rng.normal(size=(2, 4))
        x = first.alpha * point + first.sigma * noise
        model = Gaussian(point, 0.0).denoiser(schedule, kind)
        states = _states(scheduler, model, x, steps, may_refuse=first.alpha == 0.0)
        if first.alpha:
            off = disturbed(exact(Gaussian(point, 0.0)), rng)
            moved = _states(scheduler, as_model(off, schedule, kind), x, steps)
        for i, state in enumerate(states):
            level = state.level
            exact_between = not state.tableau.draws_noise and state.tableau.entry == (1.0, 0.0)
            if not (exact_between or state.done):
                continue
            expect_close(
                state.x,
                level.alpha * point + level.sigma * noise,
                rounding(state.x, moved[i].x, i) if first.alpha else 1e-12 * float(np.abs(x).max()),
                what="alpha times the point plus sigma times the noise of the start",
                where=f"at t={state.t:g} of {steps} steps, prediction_type={kind!r}",
                look_at="the weights of D (alpha') and of the noise estimates (sigma')",
            )


def _states(
    scheduler: Scheduler, model: Any, x: Floats, steps: int, may_refuse: bool = False
) -> list[State]:
    """The states of a run; none where it is refused before the model is asked."""
    asked = 0

    def counted(y: Any, t: float) -> Any:
        nonlocal asked
        asked += 1
        return model(y, t)

    try:
        return list(scheduler.iterate(counted, x, steps, rng=0))
    except ValueError as error:
        if asked or not may_refuse:
            raise
        expect("alpha = 0" in str(error), "a refusal that says why", str(error), "its message")
        return []


@Check
def check_start_anywhere(case: SchedulerCase) -> None:
    """A run may begin anywhere along its grid, given by times or by sigmas, and take the same rows.

    Churn alone knows how many steps there are. A failure means rows that depend on where the run
    began.
    """
    whole = case.scheduler.tableau(**case.levels(8))
    for start in range(8):
        below = case.scheduler.tableau(timesteps=whole.timesteps[start:])
        by_sigma = case.scheduler.tableau(sigmas=whole.sigmas[start:])
        expect(
            below.levels == whole.levels[start:],
            f"the levels of the whole grid from the {start + 1}. on",
            f"{below.levels}",
            "the tableau's levels",
        )
        expect_close(
            _weights(by_sigma),
            _weights(below),
            1e-9,
            what="the same weights",
            where=f"by sigmas as by times, for {shown(below.sigmas)}",
            look_at="the schedule's time of a sigma",
        )


@Check
def check_parameterization(case: SchedulerCase) -> None:
    """Whatever the model predicts (epsilon, x_0, v, score, flow), the samples are the same.

    A failure means that an output is used as if it were D or the noise estimate.
    """
    rng = case.rng("parameterization")
    for kind in PREDICTION_TYPES:
        sigmas = case.sigmas(rng)
        x = sigmas[0] * rng.normal(size=(2, 3))
        expected, got = (
            replace(case, sampler=as_sampler(replace(case.scheduler, prediction_type=kind))).run(
                nonlinear, x, sigmas
            )
            for kind in ("sample", kind)
        )
        expect_close(
            got,
            expected,
            case.rounding(nonlinear, x, sigmas),
            what="the samples of a model that predicts x_0",
            where=f"for one that predicts {kind!r}, on {shown(sigmas)}",
            look_at="D and e: `coefficients` gives them for every prediction type",
        )


@Check
def check_coordinates(case: SchedulerCase) -> None:
    """A model and its variance-exploding equivalent give the same samples, up to alpha.

    Every path is x_t = alpha_t (x_0 + s eps), so a run depends on Karras's sigmas s alone. A
    failure means alpha and sigma that are swapped or left out: on a VE path, alpha is 1. The tables
    of a fitted scheduler are its own schedule's.
    """
    if isinstance(case.scheduler, FittedScheduler):
        return
    rng = case.rng("coordinates")
    ve = replace(case.scheduler, schedule=VESchedule(), prediction_type="sample")
    for _ in range(3):
        sigmas = case.sigmas(rng)
        x = sigmas[0] * rng.normal(size=(2, 3))
        expect_close(
            case.run(nonlinear, x, sigmas),
            replace(case, sampler=as_sampler(ve)).run(nonlinear, x, sigmas),
            case.rounding(nonlinear, x, sigmas),
            what="the samples of the same model on VESchedule()",
            where=f"on {shown(sigmas)}",
            look_at="where alpha and sigma stand in the rows: a sums to alpha', b to sigma'",
        )


class _AskedError(Exception):
    """The model was asked."""


def _never(y: Any, t: float) -> Any:
    raise _AskedError


@Check
def check_errors(case: SchedulerCase) -> None:
    """Bad input is a ValueError or TypeError that names the argument, before the model is asked.

    What the model returned is checked where it was made, and the error names the time. A failure
    means a check that a subclass goes around.
    """
    x, good = np.ones((2, 3)), case.levels(3)
    scheduler: Any = case.scheduler  # given what its types do not allow
    sample = scheduler.sample
    for name, call in {
        "x_T": lambda: sample(_never, [[1.0, 2.0]], **good),
        "x_T must be finite": lambda: sample(_never, x * math.nan, **good),
        "x_T must have a floating": lambda: sample(_never, x.astype(int), **good),
        "denoiser": lambda: sample(None, x, **good),
        "rng": lambda: sample(_never, x, **good, rng="seed"),
        "steps": lambda: sample(_never, x, steps=0),
        "sigmas": lambda: sample(_never, x, sigmas=[1.0, 1.0, 0.0]),
        "timesteps": lambda: sample(_never, x, timesteps=[math.nan]),
        "exactly one of steps, timesteps and sigmas": lambda: sample(_never, x),
        "state": lambda: scheduler.step(_never, x),
    }.items():
        _expect_error(call, name)
    time = case.scheduler.tableau(**good).stages[0].level.t
    for output in (x[:1], x * math.inf, x.astype(int), None):
        _expect_error(lambda: sample(lambda y, t: output, x, **good), f"output at t={time:g}")  # noqa: B023


def _expect_error(call: Any, names: str) -> None:
    try:
        call()
    except (TypeError, ValueError) as error:
        expect(names in str(error), f"an error that names {names!r}", f"{error}", "the message")
    except _AskedError:
        raise CheckFailed(
            f"an error that names {names!r}, before the model is asked",
            "a call of the model",
            "the check of that argument, which must come first",
        ) from None
    else:
        raise CheckFailed(f"an error that names {names!r}", "none", "the check of that argument")


def _weights(tableau: Any) -> Floats:
    width = max(max(len(stage.a), len(stage.b)) for stage in tableau.stages)
    rows = [
        [*stage.a, *[0.0] * (width - len(stage.a)), *stage.b, *[0.0] * (width - len(stage.b))]
        for stage in tableau.stages
    ]
    return np.array(rows)
