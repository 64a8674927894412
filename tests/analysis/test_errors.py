"""The parts of an error, its order, comparisons, and the command line on top of them."""

import math

import numpy as np
import pytest
from hypothesis import given, strategies as st

import schedulers as sc
from kit import ALL, DETERMINISTIC, SCHEDULES, names, seeds, sigma_grids
from schedulers.__main__ import main
from schedulers.analysis import (
    Comparison,
    compare,
    convergence_order,
    error_budget,
    output_law,
    power_law,
    wasserstein2,
)
from schedulers.analytic import Gaussian

VE = SCHEDULES["ve"]
DATA = Gaussian([1.0, -1.0, 0.5], [2.0, 0.5, 1.0])


@given(name=names, sigmas=sigma_grids())
def test_the_parts_of_an_error_make_up_the_whole(name, sigmas):
    scheduler = ALL[name](VE)
    budget = error_budget(scheduler, DATA, sigmas=sigmas)
    parts = budget.initialization + budget.discretization + budget.truncation
    assert budget.total <= parts * (1.0 + 1e-12)
    assert budget.total == wasserstein2(output_law(scheduler, DATA, sigmas=sigmas), DATA)
    last = sigmas[-1] ** 2
    expected = np.linalg.norm(np.sqrt(DATA.cov + last) - np.sqrt(DATA.cov))
    assert budget.truncation == pytest.approx(expected, abs=1e-14)


@given(name=st.sampled_from(sorted(DETERMINISTIC)), sigmas=sigma_grids(clean=False), seed=seeds)
def test_a_deterministic_discretization_error_is_that_of_the_samples(name, sigmas, seed):
    # The run and the exact flow are both linear along the axes: samples and laws err alike.
    scheduler = ALL[name](VE)
    first, last = sigmas[[0, -1]]
    x = np.concatenate([np.zeros((1, 3)), np.eye(3)])
    runs = scheduler.sample(DATA.denoiser(VE), x, sigmas=sigmas) - DATA.flow(VE, x, first, last)
    gains = np.diag(runs[1:] - runs[0])
    off = runs[0] + gains * DATA.mean
    expected = math.sqrt(np.sum(off**2) + np.sum(gains**2 * (DATA.cov + first**2)))
    budget = error_budget(scheduler, DATA, sigmas=sigmas)
    if np.all(gains + DATA.flow(VE, np.eye(3), first, last).diagonal() > 0.0):
        assert budget.discretization == pytest.approx(expected, rel=1e-8, abs=1e-11)


def test_starting_from_the_marginal_takes_the_first_part_away():
    sigmas = sc.karras_sigmas(30, 0.01, 2.0)
    budget = error_budget(sc.Heun(VE), DATA, sigmas=sigmas)
    assert budget.initialization > 0.3
    exact = Gaussian(np.zeros(3), DATA.cov)
    centred = error_budget(sc.Heun(VE), exact, sigmas=sigmas)
    assert centred.initialization < budget.initialization
    assert centred.discretization == pytest.approx(budget.discretization)


@pytest.mark.parametrize(
    ("name", "order"),
    # Adams and Bashforth's weights are for equal steps: on an uneven grid all are of second order.
    [("Euler", 1), ("DDIM", 1), ("Heun", 2), ("PLMS2-lower_order", 2), ("PLMS3-heun", 2)],
)
def test_the_order_of_a_deterministic_scheduler_is_found(name, order):
    found = convergence_order(ALL[name](VE), DATA)
    assert found.order == pytest.approx(order, abs=0.06)
    assert len(found.orders) == len(found.errors) - 1 == len(found.steps) - 1
    ratio = math.log2(found.errors[-2] / found.errors[-1])
    assert found.order == pytest.approx(ratio)


def test_two_numbers_of_steps_make_one_estimate():
    found = convergence_order(sc.Euler(VE), DATA, (1, 2))
    (order,) = found.orders
    assert order == found.order == math.log2(found.errors[0] / found.errors[1])


@pytest.mark.parametrize("name", ["DDPM", "DDPM-large", "DDIM1", "DDIM.3", "EulerAncestral"])
def test_stochastic_schedulers_are_of_first_weak_order(name):
    steps = (80, 160, 320, 640)
    assert convergence_order(ALL[name](VE), DATA, steps).order == pytest.approx(1.0, abs=0.1)


@pytest.mark.parametrize("steps", [[5], [5, 5], [10, 5], [0, 5], [5, 2.5], [], 7])
def test_numbers_of_steps_are_checked(steps):
    with pytest.raises((TypeError, ValueError), match="steps must be"):
        convergence_order(sc.DDIM(VE), DATA, steps)


def test_a_comparison_holds_each_error():
    makes = {"one": sc.DDIM(VE), "two": sc.Heun(VE)}
    found = compare(makes, DATA, [3, 6])
    for i, scheduler in enumerate(makes.values()):
        for j, steps in enumerate((3, 6)):
            law = output_law(scheduler, DATA, steps)
            assert found.errors[i, j] == wasserstein2(law, DATA)
            assert found.nfe[i, j] == scheduler.tableau(steps).nfe
    assert found.to_dict()["two"][6] == {"nfe": 11, "error": found.errors[1, 1]}
    text = str(found).splitlines()
    assert text[0].split() == ["steps", "3", "6"]
    assert [line.split()[0] for line in text[1:]] == ["one", "two", "evaluations"]
    assert len({len(line) for line in text}) == 1
    assert compare([sc.DDIM(VE)], DATA).names == ("DDIM",)


@pytest.mark.parametrize("initial", ["noise", "marginal"])
def test_a_comparison_on_levels_of_ones_own(initial):
    def levels(n):
        return sc.karras_sigmas(n, 0.1, 20.0)

    makes = {"one": sc.DDIM(VE, spacing="trailing"), "two": sc.Heun(VE)}
    found = compare(makes, DATA, [3, 6], sigmas=levels, initial=initial)
    for i, scheduler in enumerate(makes.values()):
        for j, steps in enumerate((3, 6)):
            law = output_law(scheduler, DATA, sigmas=levels(steps), initial=initial)
            assert found.errors[i, j] == wasserstein2(law, DATA)
            assert found.nfe[i, j] == (steps if i == 0 else 2 * steps - 1)
    own = compare(makes, DATA, [3, 6], initial=initial)
    assert np.abs(own.errors - found.errors).min() > 1e-3
    other = compare(makes, DATA, [3, 6], sigmas=levels)
    assert np.array_equal(other.errors, found.errors) == (initial == "noise")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"initial": "data"}, "initial must be one of 'noise', 'marginal', got 'data'"),
        ({"sigmas": [2.0, 0.0]}, r"sigmas must be a callable \(n\), got"),
        (
            {"sigmas": lambda n: np.linspace(1.0, 0.0, n)},
            r"sigmas\(n\) must be n \+ 1 levels, .*, got 5 for n = 5",
        ),
        ({"sigmas": lambda n: "x"}, r"sigmas\(n\) must be real numbers"),
    ],
)
def test_the_levels_and_the_start_of_a_comparison_are_checked(options, message):
    with pytest.raises((TypeError, ValueError), match=message):
        compare([sc.DDIM(VE)], DATA, [5], **options)


def test_a_comparison_in_latex():
    found = Comparison(
        ("A_B & 50 %", "Heun"), (3, 10), np.array([[3, 10], [5, 19]]), np.array([[1e-5, 2], [3, 4]])
    )
    assert found.to_latex().splitlines() == [
        r"\begin{tabular}{lrr}",
        r"\toprule",
        r"steps & 3 & 10 \\",
        r"\midrule",
        r"A\_B \& 50 \% & $1 \times 10^{-5}$ & 2 \\",
        r"Heun & 3 & 4 \\",
        r"\quad evaluations & 5 & 19 \\",
        r"\bottomrule",
        r"\end{tabular}",
    ]


@pytest.mark.parametrize(
    ("schedulers", "steps", "message"),
    [
        ([sc.DDIM(VE), sc.DDIM(VE, eta=1.0)], [5], "schedulers must be a dictionary of names"),
        (sc.DDIM(VE), [5], "schedulers must be a sequence of them or a dictionary, got DDIM"),
        ([], [5], r"schedulers must be at least one, got \[\]"),
        ([sc.DDIM(VE)], [5, 5], "steps must be rising numbers"),
        ([sc.DDIM(VE)], 5, "steps must be a sequence of integers, got 5"),
    ],
)
def test_what_is_compared_is_checked(schedulers, steps, message):
    with pytest.raises((TypeError, ValueError), match=message):
        compare(schedulers, DATA, steps)


def test_a_comparison_is_drawn():
    mpl = pytest.importorskip("matplotlib")
    mpl.use("Agg")
    found = compare([sc.DDIM(VE), sc.Heun(VE)], DATA, [3, 6])
    axes = found.plot()
    assert found.plot(axes) is axes
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["DDIM", "Heun"] * 2
    np.testing.assert_array_equal(axes.lines[1].get_xdata(), found.nfe[1])
    np.testing.assert_array_equal(axes.lines[1].get_ydata(), found.errors[1])
    assert axes.get_xlabel() == "model evaluations"
    by_steps = found.plot(against="steps")
    assert by_steps.get_xlabel() == "steps"
    np.testing.assert_array_equal(by_steps.lines[1].get_xdata(), found.steps)
    with pytest.raises(ValueError, match="against must be one of 'evaluations', 'steps'"):
        found.plot(against="nfe")


def test_the_spectrum_of_natural_images():
    law = power_law(8)
    assert law.cov.mean() == pytest.approx(0.25)
    f = np.abs(np.fft.fftfreq(8, 1 / 8))
    spectrum = law.cov.reshape(8, 8)
    np.testing.assert_allclose(spectrum[0, 1:] * f[1:] ** 2, spectrum[0, 1])
    assert spectrum[3, 4] / spectrum[0, 1] == pytest.approx(1 / 25)
    assert spectrum[0, 0] == spectrum[0, 1]


def run(capsys, *arguments):
    status = main(arguments)
    out, err = capsys.readouterr()
    return status, out, err


def test_the_command_line_shows_a_tableau(capsys):
    status, out, _ = run(capsys, "show", "heun", "--steps", "3", "--schedule", "ve")
    assert status == 0
    assert out == f"{sc.Heun(sc.VESchedule()).tableau(3)}\n"


def test_the_command_line_compares(capsys, tmp_path):
    samples = np.random.default_rng(0).standard_normal((50, 4))
    np.save(tmp_path / "some.npy", samples)
    np.save(tmp_path / "images.npy", np.zeros((3, 2, 2), np.uint8) + np.uint8([[0, 255], [9, 9]]))
    status, out, _ = run(
        capsys,
        "compare",
        "--data",
        str(tmp_path / "some.npy"),
        "--steps",
        "3,6",
        "--spacing",
        "karras",
    )
    assert status == 0
    vp = sc.DiscreteSchedule(sc.linear_betas(1000))
    expected = compare({"ddim": sc.DDIM(vp, spacing="karras")}, Gaussian.fit(samples), [3, 6])
    assert str(expected).splitlines()[1].split() in [line.split() for line in out.splitlines()]
    assert run(capsys, "compare", "--data", str(tmp_path / "images.npy"))[0] == 0
    assert run(capsys, "compare", "--steps", "4")[0] == 0


def test_the_command_line_draws(capsys, tmp_path):
    pytest.importorskip("matplotlib").use("Agg")
    pytest.importorskip("sklearn")
    picture = tmp_path / "out.png"
    assert (
        run(capsys, "compare", "--data", "digits", "--steps", "2,3", "--plot", str(picture))[0] == 0
    )
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_the_command_line_refuses_files_that_are_no_samples(capsys, tmp_path):
    (tmp_path / "empty.npy").write_bytes(b"")
    (tmp_path / "text.npy").write_text("not an array")
    np.savez(tmp_path / "two", a=np.zeros(3), b=np.zeros(3))
    (tmp_path / "two.npz").rename(tmp_path / "two.npy")
    np.save(tmp_path / "nan.npy", np.full((5, 2), np.nan))
    np.save(tmp_path / "complex.npy", np.ones((5, 2), complex))
    np.save(tmp_path / "object.npy", np.array([None, 1]), allow_pickle=True)
    for name in ("empty", "text", "two", "nan", "complex", "object"):
        status, _, err = run(capsys, "compare", f"--data={tmp_path / name}.npy")
        assert status == 2
        assert err.count("\n") == 1
        assert "--data must be " in err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["compare", "--data", "nothing.npy"], "No such file"),
        (["compare", "--data", "digit"], "--data must be digits, power-law or a file that ends in"),
        (["compare", "--steps", "5,a"], "--steps must be integers separated by commas"),
        (["compare", "--steps", "0"], "steps must be at least 1"),
        (["compare", "--plot", "nowhere/out.png"], "--plot must be in a folder that exists"),
        (["compare", "--plot", "out.zzz"], "--plot must end in .png, .pdf, .svg, got 'out.zzz'"),
        (["show", "ddim", "--steps", "5000"], "steps must be at most 1000"),
    ],
)
def test_the_command_line_says_in_one_line_what_is_wrong(capsys, arguments, message):
    status, out, err = run(capsys, *arguments)
    assert status == 2
    assert out == ""
    assert err.startswith(f"python -m schedulers {arguments[0]}: ")
    assert message in err
    assert err.count("\n") == 1


def test_a_point_has_no_order():
    with pytest.raises(ValueError, match="data must have a variance above 0"):
        convergence_order(sc.DDIM(VE), Gaussian([1.0, 2.0], 0.0))
