"""Schedulers of every kind, with random options, on random schedules: none may fail a check.

The suite runs a few; ``python tests/random_cases.py 10000`` runs as many as it is told to, and
says what failed.
"""

import math
import sys
from collections import Counter
from multiprocessing import Pool

import numpy as np

import schedulers as sc
from kit import PREDICTIONS
from schedulers.grids import SPACINGS
from schedulers.methods.plms import STARTUPS
from schedulers.testing import CheckFailed, checks_for, scheduler_case

FROM_ALPHA_0 = ("trailing", "leading", "linspace", "quadratic", "simple", "kl_optimal")
FROM_ALPHA_0 += ("flow_karras", "flow_beta", "linear_quadratic")
TIMED = ("check_marginals", "check_scale", "check_coordinates")


def random_schedule(rng):
    n = int(rng.integers(50, 1500))
    kind = rng.integers(8)
    return [
        lambda: sc.DiscreteSchedule(sc.linear_betas(n, 1e-4, rng.uniform(0.02, 0.04) * 1000 / n)),
        lambda: sc.DiscreteSchedule(sc.scaled_linear_betas(n)),
        lambda: sc.DiscreteSchedule(sc.cosine_betas(n)),
        lambda: sc.DiscreteSchedule(sc.rescale_zero_terminal_snr(sc.linear_betas(n))),
        lambda: sc.VPSchedule(rng.uniform(0.05, 0.5), rng.uniform(10.0, 25.0)),
        lambda: sc.VESchedule(rng.uniform(0.001, 0.01), rng.uniform(20.0, 200.0)),
        lambda: sc.FlowSchedule(),
        lambda: sc.CosineSchedule(s=rng.choice([0.0, 0.008])),
    ][kind]()


def random_method(rng):
    """Draw (class, options, order, names of checks that it is not to pass)."""
    churn = {
        "s_churn": rng.uniform(0.1, 8.0),
        "s_tmin": rng.choice([0.0, rng.uniform(0.0, 1.0)]),
        "s_tmax": rng.choice([math.inf, rng.uniform(2.0, 50.0)]),
        "s_noise": rng.choice([1.0, rng.uniform(0.95, 1.05)]),
    }
    bounded = churn["s_tmin"] > 0.0 or churn["s_tmax"] < math.inf  # and bounds have a unit
    not_churned = ("check_scale",) if bounded else ()
    s_noise = rng.choice([1.0, rng.uniform(0.95, 1.05)])
    order, startup = int(rng.integers(1, 5)), str(rng.choice(STARTUPS))
    large = bool(rng.integers(2))
    solver_order, scale_free = int(rng.integers(1, 4)), str(rng.choice(["ode", "sde"]))
    return [
        (sc.DDIM, {}, 1, ()),
        (sc.DDIM, {"eta": rng.uniform(0.05, 1.0)}, 1, ()),
        (
            sc.DDPM,
            {"variance": rng.choice(["fixed_large", "fixed_large_log"])},
            1,
            ("check_scale", "check_point_mass_variance"),
        )
        if large
        else (sc.DDPM, {"variance": rng.choice(["fixed_small", "fixed_small_log"])}, 1, ()),
        (sc.Euler, {}, 1, ()),
        (sc.Euler, churn, 1, not_churned),
        (sc.EulerAncestral, {"eta": rng.uniform(0.0, 1.0)}, 1, ()),
        (
            sc.EulerAncestral,
            {"eta": rng.uniform(0.05, 1.0), "s_noise": s_noise},
            1,
            (),
        ),
        (sc.Heun, {}, 2, ()),
        (sc.Heun, churn, 2, not_churned),
        (sc.PLMS, {"order": order, "startup": startup}, min(order, 2), ()),
        (sc.DPM2, {}, 2, ()),
        (sc.DPM2, churn, 2, not_churned),
        (sc.DPM2Ancestral, {"eta": rng.uniform(0.0, 1.0)}, 2, ()),
        (sc.GradientEstimation, {"gamma": rng.uniform(1.0, 3.0)}, 1, ()),
        (sc.SEEDS, {"order": solver_order}, min(solver_order, 2), ()),
        (sc.ERSDE, {"order": solver_order}, min(solver_order, 2), ("check_scale",)),
        (sc.ERSDE, {"order": solver_order, "noise": scale_free}, min(solver_order, 2), ()),
        (sc.FlowAncestral, {"eta": rng.uniform(0.05, 1.0)}, 1, ("check_scale",)),
        (sc.LCM, {"timestep_scaling": None}, 1, ("check_marginals",)),
        (sc.TCD, {"gamma": rng.uniform(0.05, 1.0)}, 1, TIMED),
        (sc.Restart, {}, 2, ("check_scale", "check_marginals")),
        (sc.PLMS, {"startup": startup, "weights": "constant"}, 2, ()),
        (sc.RES, {"order": 2 + large, "singlestep": bool(rng.integers(2))}, 2, ()),
        (sc.SASolver, {"predictor_order": order, "corrector_order": solver_order}, 1, ()),
        (sc.SASolver, {"predictor_order": order, "tau": rng.uniform(0.0, 1.5)}, 1, ()),
        (sc.DPMSolverPP, {"singlestep": True, "sde": True, "eta": rng.uniform(0.0, 1.0)}, 2, ()),
        (sc.UniPC, {"order": order, "predicts": str(rng.choice(["data", "noise"]))}, 1, ()),
    ][rng.integers(27)]


def random_interval(rng, schedule, spacing):
    """Draw an interval to go over again from the levels where a step of a run ends."""
    run = sc.DDIM(schedule, prediction_type="sample", spacing=spacing).tableau(20)
    levels = run.sigmas[1:-1]
    highest = schedule.max_karras_sigma
    low = rng.choice(levels[levels < 0.5 * highest]).item()
    high = min(low * rng.uniform(1.1, 4.0), 0.95 * highest)
    return low, high, int(rng.integers(1, 4)), int(rng.integers(1, 3))


def random_case(seed):
    """Return a case, and the names of the checks that it is not to pass."""
    rng = np.random.default_rng([seed, 1])
    make, options, order, excused = random_method(rng)
    options = {name: v.item() if isinstance(v, np.generic) else v for name, v in options.items()}
    schedule = random_schedule(rng)
    reaches_0 = schedule.alpha(schedule.t_max) == 0.0
    spacing = str(rng.choice(FROM_ALPHA_0 if reaches_0 else sorted(SPACINGS)))
    if make is sc.Restart:
        options["restarts"] = (random_interval(rng, schedule, spacing),)
    scheduler = make(
        schedule, prediction_type=str(rng.choice(PREDICTIONS)), spacing=spacing, **options
    )
    return scheduler_case(scheduler, order=order, seed=seed), excused


def failures(seed):
    """Return what fails in the case of a seed, as text."""
    case, excused = random_case(seed)
    found = []
    for check in checks_for(case):
        if check.name in excused:
            continue
        try:
            check(case)
        except CheckFailed as failure:
            found.append((check.name, f"seed {seed}\n{failure}"))
    return found


if __name__ == "__main__":
    first, number = (int(word) for word in (["0", *sys.argv[1:]])[-2:])
    failed = Counter()
    with Pool(2) as pool:
        for done, found in enumerate(pool.imap_unordered(failures, range(first, first + number))):
            for name, text in found:
                failed[name] += 1
                print(text, flush=True)
            if done % 1000 == 999:
                print(f"{done + 1} configurations, {sum(failed.values())} failures", flush=True)
    print(f"{number} configurations, {sum(failed.values())} failures: {dict(failed)}")
    sys.exit(bool(failed))
