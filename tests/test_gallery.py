"""Each picture of the gallery shows what its page says.

Slow: `pytest -m slow` runs these tests. They are skipped without what the examples need.
"""

import runpy
import sys
from pathlib import Path

import numpy as np
import pytest

for package in ("matplotlib", "onnxruntime", "sklearn"):
    pytest.importorskip(package)

pytestmark = pytest.mark.slow
EXAMPLES = Path(__file__).parent.parent / "examples"


@pytest.fixture
def run(monkeypatch, tmp_path):
    """Run an example as a user does, with a file for its picture; return its names."""
    from matplotlib import pyplot as plt, rc_context

    def run(name):
        picture = tmp_path / f"{name}.png"
        monkeypatch.setattr(sys, "argv", [name, str(picture)])
        with rc_context():
            names = runpy.run_path(str(EXAMPLES / f"{name}.py"), run_name="__main__")
        plt.close("all")
        assert picture.stat().st_size > 10_000
        return names

    plt.switch_backend("Agg")
    return run


def test_steps_and_quality(run):
    names = run("steps_and_quality")
    exact, made, floors = (names[name] for name in ("exact", "made", "floors"))
    errors = {
        owner: [cell["error"] for cell in row.values()] for owner, row in exact.to_dict().items()
    }
    for owner, twin in (("DDPM", "EulerAncestral"), ("DDIM", "Euler")):
        np.testing.assert_allclose(errors[owner], errors[twin], rtol=1e-9)
    assert np.all(np.less(errors["DDIM"], errors["DDPM"]))
    assert np.all(np.less(errors["PLMS"], errors["DDIM"]))
    for owner in ("DDPM", "DDIM", "Heun", "PLMS"):
        last = max(nfe for name, nfe in made if name == owner)
        assert made[owner, last] < max(floors)
    assert made["DDPM", 12] > max(floors)
    assert made["DDPM", 20] > max(made["DDIM", 20], made["PLMS", 20])  # it comes last
    leads = [made["PLMS", nfe] < made["DDIM", nfe] for nfe in (3, 5, 8, 12, 20, 40)]
    assert sum(leads) >= 4


def test_fitted_tables(run):
    names = run("fitted_tables")
    for network, parts in (
        ("digits", {4: 0.45, 5: 0.45, 6: 0.4, 8: 0.4}),
        ("patches", {4: 0.8, 5: 0.8, 6: 0.8}),
    ):
        for count, part in parts.items():
            error, least = names["measured"][network, count]
            assert error < part * least


def test_plms_and_ddim(run):
    names = run("plms_and_ddim")
    assert names["plms"][50] < names["ddim"][1000]  # PNDM's abstract
    assert sorted(names["speed_ups"].values()) == list(names["speed_ups"].values())
    assert names["speed_ups"][40] == pytest.approx(20.0, abs=1.0)


def test_truncation_error(run, capsys):
    names = run("truncation_error")
    slopes = [float(line.split()[-1]) for line in capsys.readouterr().out.splitlines()[1:8]]
    assert slopes[1] == pytest.approx(1.0, abs=0.01)  # Euler
    assert slopes[2:] == pytest.approx([2.0] * 5, abs=0.15)  # Heun, on each grid but rho = 1
    within = (names["rhos"] >= 5.0) & (names["rhos"] <= 10.0)
    assert 5.0 < names["best"] < 10.0
    assert names["by_rho"][within].max() < 1.15 * names["least"] < names["by_rho"].max()


def test_stochasticity(run, capsys):
    run("stochasticity")
    lines = [line.split() for line in capsys.readouterr().out.splitlines()[1:]]
    best = [float(line[3]) for line in lines]
    assert best == [0.0, 7.5, 13.5, 21.0]  # between none and much, and more for worse models
    for _, without, least, _, most in lines[1:]:
        assert float(least) < min(float(without), float(most))


def test_trajectories(run):
    names = run("trajectories")
    weights = names["data"].weights
    shares = {key: names["shares"](x) for key, x in names["ends"].items()}
    assert shares.pop(("flow", "one start")).max() == 1.0
    for share in shares.values():
        np.testing.assert_allclose(share, weights, rtol=0, atol=0.03)


def test_consistency_and_interpolation(run):
    names = run("consistency_and_interpolation")
    made, agreement = names["made"], names["agreement"]
    assert agreement(made["DDIM, 5"], made["DDIM, 1000"]) > 0.9
    assert agreement(made["DDIM, 50"], made["DDIM, 1000"]) > 0.99
    assert abs(agreement(made["DDPM, 1000"], made["DDIM, 1000"])) < 0.2
    spread = {name: images.var(axis=0).sum() for name, images in names["halfway"].items()}
    end = names["ends"][0].var(axis=0).sum()
    assert spread["spherical"] / end == pytest.approx(1.0, abs=0.05)
    assert spread["of pixels"] < spread["linear"] < 0.9 * end


def test_rate_distortion(run):
    names = run("rate_distortion")
    number = np.log2(len(names["digits"]))
    assert number < names["lengths"]["exact denoiser"] < number + 1.0
    assert names["finer"] > 0.5


def test_ancestral(run, capsys):
    names = run("ancestral")
    lines = [line.split() for line in capsys.readouterr().out.splitlines()[1:5]]
    for size, half, _, in_start in lines:
        assert float(half) == pytest.approx(float(size), rel=0.02)
        assert float(in_start) == 1.0
    of_one_kind = [names["agreement"](images)[0] for images in names["rows"].values()]
    assert of_one_kind == sorted(of_one_kind)
    assert of_one_kind[0] < 0.15 < 0.99 < of_one_kind[-1]


def test_noise_schedules(run, capsys):
    run("noise_schedules")
    rows = [line.rsplit(maxsplit=5) for line in capsys.readouterr().out.splitlines()[1:]]
    figures = {name.strip(): [float(x.strip("%")) for x in numbers] for name, *numbers in rows}
    alpha, lost, error, by_start, less = zip(*figures.values(), strict=True)
    names = list(figures)
    linear, scaled, cosine = (
        names.index(n) for n in ("linear betas", "scaled-linear betas", "cosine")
    )
    assert lost[linear] > 4 * lost[cosine]
    assert less[linear] < 1.05 * error[linear]
    assert less[cosine] > 3 * error[cosine]
    assert alpha[scaled] > 0.05
    assert by_start[scaled] > 100 * by_start[cosine]


def test_editing_digits(run):
    names = run("editing_digits")
    errors = names["errors"]
    assert np.log2(errors["DDIM"][-2] / errors["DDIM"][-1]) == pytest.approx(1.0, abs=0.05)
    assert np.log2(errors["Heun"][-2] / errors["Heun"][-1]) == pytest.approx(3.0, abs=0.05)
    assert names["still"](names["halves"]) > 0.4  # of ten kinds
    kept = [names["still"](images) for images in names["drafts"].values()]
    assert kept == sorted(kept, reverse=True)
    assert kept[0] > 0.85


def test_policy_gradient(run, capsys):
    names = run("policy_gradient")
    off = (names["gradients"] - names["exact"]) / names["errors"]
    assert abs(off.mean()) < 0.5
    assert len(capsys.readouterr().out.splitlines()) == 6
    assert names["means"][-1] > names["means"][0] + 8.0
