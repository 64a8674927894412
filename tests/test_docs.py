"""What README and docs show runs, and prints what it is shown to print."""

import doctest
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


def test_the_readmes_python_runs(capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)  # for the files that it writes
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    shown = re.findall(r"^# (.*\n)", "".join(blocks), re.MULTILINE)
    assert len(shown) >= 2
    names = {}
    for block in blocks:
        exec(block, names)
    assert capsys.readouterr().out == "".join(shown)
    assert abs(names["x_0"].mean() - 3.0) < 0.05


@pytest.mark.parametrize("page", sorted((ROOT / "docs").glob("*.md")), ids=lambda page: page.name)
def test_the_examples_of_the_docs_print_what_they_show(page):
    result = doctest.testfile(
        str(page), module_relative=False, optionflags=doctest.NORMALIZE_WHITESPACE
    )
    assert result.attempted > 0 or ">>>" not in page.read_text()
    assert result.failed == 0


def test_the_policy_gradient_in_pytorch_runs_and_changes_the_network():
    pytest.importorskip("torch")
    text = (ROOT / "docs" / "policy-gradients.md").read_text()
    (block,) = re.findall(r"```python\n(import torch\n.*?)```", text, re.DOTALL)
    names = {}
    exec(block, names)
    assert all(p.grad.abs().max() > 0.0 for p in names["network"].parameters())


@pytest.mark.parametrize(("library", "kind"), [("torch", "Tensor"), ("jax", "Array")])
def test_the_loops_in_other_libraries_run(library, kind):
    pytest.importorskip(library)
    text = (ROOT / "docs" / "swap-it-in.md").read_text()
    (block,) = re.findall(rf"```python\n(import {library}\n.*?)```", text, re.DOTALL)
    names = {}
    exec(block, names)
    assert isinstance(
        names["x_0"], getattr(names[library], "Tensor" if library == "torch" else "Array")
    )
    assert names["x_0"].shape == (16, 2)


def test_the_readme_has_commands_that_draw_test_and_sample():
    commands = re.findall(r"```sh\n(.*?)\n```", (ROOT / "README.md").read_text(), re.DOTALL)
    assert [command.rpartition("python ")[2] for command in commands] == [
        "examples/quickstart.py",
        "-m pytest -n 2",
        "-m schedulers sample examples/digits.onnx --classes 0-9 --steps 20 --n 64 "
        "--out digits.png",
    ]
