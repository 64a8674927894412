"""What importing the package loads, and what it offers."""

import ast
import importlib.metadata
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest

import schedulers

CONTRACT = [
    "DDPM",
    "DDIM",
    "Euler",
    "EulerAncestral",
    "Heun",
    "PLMS",
    "Scheduler",
    "DiscreteSchedule",
    "VPSchedule",
    "VESchedule",
    "FlowSchedule",
    "linear_betas",
    "scaled_linear_betas",
    "cosine_betas",
    "sigmoid_betas",
    "rescale_zero_terminal_snr",
    "karras_sigmas",
    "exponential_sigmas",
    "polyexponential_sigmas",
]


def loaded_by(statement):
    code = f"import sys; {statement}; print(*sorted(sys.modules))"
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.split()


def test_the_version_is_the_installed_one():
    assert schedulers.__version__ == importlib.metadata.version("schedulers")


def test_the_names_of_the_contract_are_there():
    assert set(CONTRACT) <= set(schedulers.__all__)
    for name in schedulers.__all__:
        assert getattr(schedulers, name).__doc__
    from schedulers.analytic import Empirical, Gaussian, GaussianMixture

    assert all((Empirical, Gaussian, GaussianMixture))


def test_the_package_offers_what_its_stub_says():
    stub = ast.parse(Path(schedulers.__file__).with_suffix(".pyi").read_text())
    names = [
        alias
        for statement in stub.body
        if isinstance(statement, ast.ImportFrom)
        for alias in statement.names
    ]
    assert all(alias.asname == alias.name for alias in names)  # what makes it public in a stub
    assert schedulers.__all__ == sorted(alias.name for alias in names)
    assert set(schedulers.__all__) | {"analytic", "grids", "testing"} <= set(dir(schedulers))


def test_names_that_are_not_there_are_missing_as_in_any_module():
    with pytest.raises(AttributeError, match="module 'schedulers' has no attribute 'DDIMM'"):
        schedulers.DDIMM  # noqa: B018


def test_modules_are_loaded_when_they_are_first_used():
    code = "import schedulers, sys; before = set(sys.modules); schedulers.analytic; "
    code += "assert 'schedulers.analytic' in set(sys.modules) - before"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_module_that_is_no_attribute_yet_is_found(monkeypatch):
    monkeypatch.delattr(schedulers, "grids")
    assert schedulers.grids.karras_sigmas is schedulers.karras_sigmas


def test_importing_the_package_loads_numpy_and_nothing_else_from_outside():
    own = {"schedulers", "__mp_main__"}  # which is the name that multiprocessing gives __main__
    everything = "import schedulers; [getattr(schedulers, name) for name in dir(schedulers)]"
    extra = set(loaded_by(everything)) - set(loaded_by("import numpy.random"))
    outside = {name.partition(".")[0] for name in extra} - own - sys.stdlib_module_names
    assert outside == set()


def test_no_module_loads_scipy_before_it_is_needed():
    modules = [m.name for m in pkgutil.walk_packages(schedulers.__path__, "schedulers.")]
    assert "schedulers.analytic.gaussian" in modules
    loaded = loaded_by("import " + ", ".join(modules))
    assert not [name for name in loaded if name.partition(".")[0] in ("scipy", "tqdm")]
