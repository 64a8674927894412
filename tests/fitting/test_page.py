"""The page on fitted tables, as a reader types it."""

import re
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


@pytest.mark.parametrize(("place", "package", "rtol"), [(2, "torch", 1e-12), (3, "jax", 1e-5)])
def test_other_frameworks_run_the_same_file(place, package, rtol, monkeypatch, tmp_path):
    pytest.importorskip(package)
    monkeypatch.chdir(tmp_path)
    scheduler = sc.UniPC(sc.VPSchedule())
    scheduler.tableau(6).save("six.json")
    names = {}
    exec(blocks()[place], names)
    expected = scheduler.sample(lambda x, t: 0.5 * x, np.ones(3), steps=6)
    np.testing.assert_allclose(np.asarray(names["x_0"]), expected, rtol=rtol)
