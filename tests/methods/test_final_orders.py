"""Lower orders in the last steps, and DPM-Solver-fast's sequence of orders."""

import numpy as np
import pytest
from hypothesis import given, strategies as st

import schedulers as sc
from kit import bounded_denoiser, relative_error, sigma_grids
from schedulers.methods.multistep import step_orders

VE = sc.VESchedule()
MULTISTEP = {
    "DPM-Solver": lambda **k: sc.DPMSolver(VE, order=3, **k),
    "DPM-Solver++": lambda **k: sc.DPMSolverPP(VE, order=3, **k),
}
SINGLESTEP = {
    "DPM-Solver++(2S)": lambda **k: sc.DPMSolverPP(VE, singlestep=True, **k),
    "DPM-Solver++(3S)": lambda **k: sc.DPMSolverPP(VE, order=3, singlestep=True, **k),
    "DPM-Solver-3": lambda **k: sc.DPMSolver(VE, order=3, singlestep=True, **k),
}
finals = st.lists(st.integers(1, 3), max_size=3).map(tuple)


def fast(evaluations):
    """Return DPM-Solver-fast (Lu et al. 2022, section 3.4) and its number of steps."""
    final = {0: (2, 1), 1: (1,), 2: (2,)}[evaluations % 3]
    scheduler = sc.DPMSolver(VE, order=3, singlestep=True, final_orders=final)
    return scheduler, evaluations // 3 + 1


@given(evaluations=st.integers(3, 40))
def test_dpm_solver_fast_makes_as_many_evaluations_as_it_is_given(evaluations):
    scheduler, steps = fast(evaluations)
    tableau = scheduler.tableau(sigmas=np.geomspace(80.0, 0.01, steps + 1))
    assert tableau.nfe == evaluations
    ends = np.flatnonzero([row.ends_step for row in tableau.stages])
    orders = np.diff([-1, *ends]).tolist()
    count = evaluations // 3
    expected = {0: [3] * (count - 1) + [2, 1], 1: [3] * count + [1], 2: [3] * count + [2]}
    assert orders == expected[evaluations % 3]


@given(steps=st.integers(1, 8), order=st.integers(1, 4), final=finals)
def test_the_last_orders_are_the_last(steps, order, final):
    orders = step_orders(steps, order, final)
    assert len(orders) == steps
    shared = min(steps, len(final))
    assert orders[steps - shared :] == list(final[len(final) - shared :])
    assert orders[: steps - shared] == [order] * (steps - shared)


@pytest.mark.parametrize("name", MULTISTEP)
@given(sigmas=sigma_grids(clean=False), final=finals)
def test_a_multistep_step_weighs_as_many_estimates_as_its_order(name, sigmas, final):
    rows = MULTISTEP[name](final_orders=final).tableau(sigmas=sigmas).stages
    field = "b" if name == "DPM-Solver" else "a"
    reach = [1 + max(np.flatnonzero(getattr(row, field))) for row in rows]
    orders = step_orders(len(rows), 3, final)
    assert reach == [min(order, step) for step, order in enumerate(orders, start=1)]


@pytest.mark.parametrize("name", [*MULTISTEP, *SINGLESTEP])
@given(sigmas=sigma_grids(clean=False))
def test_the_last_step_of_order_1_is_eulers(name, sigmas):
    make, x = {**MULTISTEP, **SINGLESTEP}[name], np.linspace(-3.0, 3.0, 7)
    got = make(final_orders=(1,)).sample(bounded_denoiser, x, sigmas=sigmas)
    if len(sigmas) > 2:
        x = make().sample(bounded_denoiser, x, sigmas=sigmas[:-1])
    expected = sc.Euler(VE).sample(bounded_denoiser, x, sigmas=sigmas[-2:])
    assert relative_error(got, expected) < 1e-12


def test_dpm_solver_pp_sde_ends_by_euler_ancestral():
    scheduler = sc.DPMSolverPP(VE, singlestep=True, sde=True, eta=0.6, final_orders=(1,))
    one, other = (
        make.tableau(sigmas=[2.0, 1.0]).stages
        for make in (scheduler, sc.EulerAncestral(VE, eta=0.6))
    )
    assert one == other


@pytest.mark.parametrize("make", [sc.DPMSolver, sc.DPMSolverPP])
@pytest.mark.parametrize(
    ("final", "message"),
    [
        ((3,), "each of final_orders must be at most 2, got 3"),
        ((0,), "each of final_orders must be at least 1, got 0"),
        ((1.0,), "each of final_orders must be an integer, got 1.0"),
        (1, "final_orders must be a tuple of orders, such as .*, got 1"),
    ],
)
def test_bad_orders_are_refused(make, final, message):
    with pytest.raises((TypeError, ValueError), match=message):
        make(VE, final_orders=final)


def test_a_list_is_kept_as_a_tuple():
    assert sc.DPMSolver(VE, final_orders=[1]) == sc.DPMSolver(VE, final_orders=(1,))
