"""The page on fitted tables, as a reader types it."""

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import schedulers as sc

ROOT = Path(__file__).parents[2]


def blocks():
    text = (ROOT / "docs" / "fit-a-table.md").read_text()
    return [b for b in re.findall(r"```python\n(.*?)```", text, re.DOTALL) if ">>>" not in b]


@pytest.mark.slow
def test_a_network_gets_its_table(monkeypatch, tmp_path, capsys):
    pytest.importorskip("onnxruntime")
    monkeypatch.chdir(tmp_path)
    fit, load, *_ = blocks()
    fit = fit.replace("examples/digits.onnx", str(ROOT / "examples" / "digits.onnx"))
    names = {}
    exec(fit, names)
    row = capsys.readouterr().out.splitlines()[-1].split()
    assert row[0] == "5"
    assert float(row[3]) < 0.4 * float(row[2])
    exec(load, names)
    x_0 = names["fitted"].sample(names["denoiser"], names["x_T"], steps=5)
    assert x_0.shape == (85, 1, 8, 8)
    np.testing.assert_array_equal(x_0, names["x_0"])


def told(schedule):
    """A table whose model is told of less noise than there is."""
    rows = sc.UniPC(schedule).tableau(6)
    stages = [
        replace(stage, level=stage.level._replace(sigma=1.1 * stage.level.sigma))
        for stage in rows.stages
    ]
    stages = [
        replace(new, told_sigma=old.level.sigma)
        for new, old in zip(stages, rows.stages, strict=True)
    ]
    return sc.Tableau("told", rows.levels, tuple(stages))


@pytest.mark.parametrize("make", [lambda schedule: sc.UniPC(schedule).tableau(6), told])
@pytest.mark.parametrize(("place", "package", "rtol"), [(2, "torch", 1e-12), (3, "jax", 1e-5)])
def test_other_frameworks_run_the_same_file(place, package, rtol, make, monkeypatch, tmp_path):
    pytest.importorskip(package)
    monkeypatch.chdir(tmp_path)
    table = make(sc.VPSchedule())
    table.save("six.json")
    names = {}
    exec(blocks()[place], names)
    scheduler = sc.FittedScheduler(sc.VPSchedule(), tables=[table])
    expected = scheduler.sample(lambda x, t: 0.5 * x, np.ones(3), steps=6)
    np.testing.assert_allclose(np.asarray(names["x_0"]), expected, rtol=rtol)
