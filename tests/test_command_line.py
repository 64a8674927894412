"""The command line on fitted tables."""

import numpy as np
import pytest

import schedulers as sc
from schedulers.__main__ import main


@pytest.fixture
def file(tmp_path):
    return tmp_path / "tables.json"


@pytest.fixture
def data(tmp_path):
    np.save(tmp_path / "data.npy", np.random.default_rng(0).standard_normal((200, 3)) * [2, 1, 0.1])
    return str(tmp_path / "data.npy")


def test_levels_are_fitted_kept_shown_and_compared(file, data, capsys):
    fit = ["fit", "--data", data, "--scheduler", "ddim", "--schedule", "vp", "--steps", "3,4"]
    assert main([*fit, "--out", str(file)]) == 0
    head, _, names, *rows = capsys.readouterr().out.splitlines()
    assert head == (
        "2-Wasserstein distance to the data of ddim, on trailing, and on fitted levels:"
    )
    assert names.split() == ["steps", "before", "after", "sigmas"]
    found = {row.split()[0]: [float(number) for number in row.split()[1:3]] for row in rows}
    assert all(after < 0.9 * before for before, after in found.values())
    fitted = sc.FittedScheduler.load(file)
    assert [table.steps for table in fitted.tables] == [3, 4]

    assert main(["show", str(file)]) == 0
    assert capsys.readouterr().out.count(" model evaluations\n") == 2
    assert main(["show", str(file), "--steps", "4"]) == 0
    assert capsys.readouterr().out == f"{fitted.tableau(4)}\n"

    compare = ["compare", "--data", data, "--schedule", "vp", "--steps", "3,4"]
    assert main([*compare, "--tables", str(file)]) == 0
    (line,) = [x for x in capsys.readouterr().out.splitlines() if x.startswith("tables.json")]
    for shown, (_, after) in zip(line.split()[1:], found.values(), strict=True):
        assert float(shown) == pytest.approx(after, rel=1e-3)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["show", "unknown"], "show: METHOD must be one of 'ddpm', "),
        (["show", "nowhere.json"], "show: [Errno 2] No such file"),
        (["fit", "--out", "nowhere/x.json"], "fit: --out must be in a folder that exists, got"),
        (["fit", "--out", "x.json", "--steps", "a"], "fit: --steps must be integers separated by"),
        (["compare", "--tables", "nowhere.json"], "compare: [Errno 2] No such file"),
    ],
)
def test_what_cannot_be_done_is_said(arguments, message, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == 2
    assert message in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
