"""Agreement with the samples that diffusers gave, over the golden set."""

import json
from pathlib import Path

import numpy as np
import pytest

from compat.diffusers.runs import check
from golden import solvers, space

GOLDEN = json.loads((Path(space.__file__).with_name("diffusers.json")).read_text())
CASES = GOLDEN["cases"]
SOLVERS = json.loads((Path(space.__file__).with_name("solvers.json")).read_text())


def some(cases):
    """Every sixth case; the others are slow tests."""
    slow = pytest.mark.slow
    return [pytest.param(c, marks=[slow] if i % 6 else []) for i, c in enumerate(cases)]


def name_of(case):
    base = space.base(case["scheduler"])
    changed = {k: v for k, v in case["config"].items() if v != base[k]} | case["step"]
    words = [f"{k}={v}" for k, v in changed.items()]
    return "-".join([case["scheduler"], str(case["steps"]), *words])


@pytest.mark.parametrize("case", some(CASES), ids=name_of)
def test_same_sample_as_diffusers(case):
    config = case["config"]
    if config.get("trained_betas"):
        config = config | {"trained_betas": space.TRAINED}
    samples = [np.reshape(case[name], space.SHAPE) for name in ("sample", "sample64")]
    check(case | {"config": config}, *samples, case["timesteps"], case["init_noise_sigma"])


@pytest.mark.parametrize("case", some(SOLVERS["cases"]), ids=lambda case: case["scheduler"])
def test_same_sample_as_diffusers_solvers(case):
    samples = [np.reshape(case[name], space.SHAPE) for name in ("sample", "sample64")]
    check(case, *samples, case["timesteps"], case["init_noise_sigma"])


@pytest.mark.parametrize("scheduler", solvers.SPACE)
def test_each_option_of_the_solvers_is_there(scheduler):
    cases = [case["config"] for case in SOLVERS["cases"] if case["scheduler"] == scheduler]
    for option, values in solvers.SPACE[scheduler].items():
        there = {str(config[option]) for config in cases}
        assert len(there) >= min(len(values), 2), option


@pytest.mark.parametrize("scheduler", space.SPACE)
def test_each_value_of_each_option_is_there(scheduler):
    cases = [case for case in CASES if case["scheduler"] == scheduler]
    for option, values in space.SPACE[scheduler].items():
        there = [case["config"][option] for case in cases]
        for value in values:
            if (scheduler, value) == ("PNDMScheduler", "linspace"):
                continue  # where diffusers' steps never lead to the next timestep
            assert (value if value is not space.TRAINED else "TRAINED") in there, (option, value)
    for option, values in space.STEP_SPACE.get(scheduler, {}).items():
        assert {*values} <= {case["step"][option] for case in cases}, option


def test_the_release_is_the_one_that_the_interface_names():
    from schedulers.compat.diffusers.config import DIFFUSERS_VERSION

    for golden in (GOLDEN, SOLVERS):
        assert golden["versions"]["diffusers"] == DIFFUSERS_VERSION
