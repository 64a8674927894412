"""Every scheduler obeys every law of `schedulers.testing`."""

from itertools import cycle

import numpy as np
import pytest

from kit import ALL, PREDICTIONS, SCHEDULES
from random_cases import failures
from schedulers.testing import parametrize_with_checks, scheduler_case

UNITS = "its variance is that of data of variance 1"
BOUNDS = "s_tmin and s_tmax have the unit of sigma"
DISTILLED = (
    "it is for consistency models: it replaces as much noise in a short step as in a long one"
)
FLOW_TIME = "the time of a flow, sigma / (1 + sigma), has the unit of sigma"
SECOND_ORDER = ("Heun", "PLMS2", "PLMS3", "PLMS4", "DPM2", "SEEDS", "ERSDE")
SECOND_ORDER += ("LMS4", "DPMSolver", "UniPC3", "RES", "SASolver33-0")
# Of second order on grids whose steps alternate in length, too.
HEEDS_STEPS = {"Heun", "DPM2", "ERSDE3-ode", "PLMS4", "PLMS4v-runge_kutta"}


def heeds_steps(name):
    return name in HEEDS_STEPS or name.startswith(("LMS", "DPMSolver", "RES"))


EXPECTED_FAILURES = {
    "DDPM-large": {"check_scale": UNITS, "check_point_mass_variance": UNITS},
    "DDIM-sigma": {"check_marginals": "it replaces as much noise in a short step as in a long one"},
    "Euler-churn": {"check_scale": BOUNDS},
    "Heun-churn": {"check_scale": BOUNDS},
    "ERSDE3": {"check_scale": "the paper's phi(sigma) has the unit of sigma"},
    "FlowAncestral": {"check_scale": FLOW_TIME},
    "LCM": {"check_marginals": DISTILLED},
    "TCD": {"check_marginals": DISTILLED},
    "Restart": {
        "check_scale": "t_min and t_max have the unit of sigma",
        "check_marginals": "the number of steps down an interval stays as it is",
    },
}


def order(name):
    """Order of convergence on any grid."""
    if name.startswith("DPMSolver") and name.endswith(("SDE", "ancestral")):
        return 1
    return 3 if name in ("DPMSolver3S", "RES3S") else 2 if name.startswith(SECOND_ORDER) else 1


def uniform(steps):
    return np.linspace(3.0, 0.5, steps + 1)


def case_of(name, schedule, prediction):
    return scheduler_case(
        ALL[name](SCHEDULES[schedule], prediction_type=prediction),
        order=order(name),
        uneven_order=order(name) if heeds_steps(name) else 1,
        uses_time=name == "TCD",  # 1 - gamma is a part of it
        name=f"{name} {schedule} {prediction}",
    )


def cases():
    """Every scheduler on a trained schedule."""
    for name in ALL:
        yield case_of(name, "discrete", "epsilon")


def other_cases():
    """Every scheduler on another schedule, with another prediction type; and orders above two."""
    others = cycle(zip(sorted(set(SCHEDULES) - {"discrete"}), cycle(PREDICTIONS), strict=False))
    for name, other in zip(ALL, others, strict=False):
        yield case_of(name, *other)
    for name, full in (("PLMS3-heun", 3), ("PLMS3-runge_kutta", 3), ("PLMS4-runge_kutta", 4)):
        for schedule in ("discrete", "vp", "flow"):
            yield scheduler_case(
                ALL[name](SCHEDULES[schedule], prediction_type="v_prediction"),
                order=full,
                grid=uniform,
                name=f"{name} {schedule} uniform in sigma",
            )


def expected_failures(case):
    name, schedule, *_ = case.title.split()
    return EXPECTED_FAILURES.get(f"{name} {schedule}", EXPECTED_FAILURES.get(name, {}))


@parametrize_with_checks(cases(), expected_failures=expected_failures)
def test_every_scheduler_obeys(case, check):
    check(case)


@pytest.mark.slow
@parametrize_with_checks(other_cases(), expected_failures=expected_failures)
def test_every_scheduler_obeys_on_other_schedules(case, check):
    check(case)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(20))
def test_no_check_rejects_a_correct_scheduler(seed):
    assert failures(seed) == []
