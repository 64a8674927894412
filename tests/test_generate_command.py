"""`python -m schedulers generate` and `verify`."""

from pathlib import Path

import numpy as np
import pytest

from schedulers.__main__ import main

pytest.importorskip("onnxruntime")
from schedulers.onnx import OnnxDenoiser

DIGITS = str(Path(__file__).parent.parent / "examples" / "digits.onnx")
COMMAND = ["generate", DIGITS, "--seeds", "3:23", "--steps", "3", "--batch", "8"]
GUIDED = [*COMMAND, "--classes", "0-9", "--guidance", "2", "--no-class", "10"]


@pytest.fixture(params=["npy", "zarr"])
def out(request, tmp_path):
    if request.param == "zarr":
        pytest.importorskip("zarr")
    return str(tmp_path / f"samples.{request.param}")


def read(out):
    if out.endswith(".npy"):
        return np.load(out)
    import zarr

    return zarr.open_array(out, mode="r")[:]


def test_samples_are_generated_resumed_and_verified(out, capsys):
    assert main([*GUIDED, "--out", out]) == 0
    first = read(out)
    assert first.shape == (20, 1, 8, 8)
    assert main([*GUIDED, "--out", out]) == 0
    np.testing.assert_array_equal(read(out), first)
    capsys.readouterr()
    assert main(["verify", out, "--batches", "2"]) == 0
    assert "2 of 3 batches are the same to the bit" in capsys.readouterr().out


def test_a_seed_has_the_class_of_its_place(tmp_path, capsys):
    """Those of `sample` with the same seeds, as the classes begin at seed 0 in both."""
    out, other = str(tmp_path / "a.npy"), str(tmp_path / "b.npy")
    command = ["generate", DIGITS, "--seeds", "0:8", "--steps", "3", "--batch", "8"]
    assert main([*command, "--classes", "3,1", "--out", out]) == 0
    sample = ["sample", DIGITS, "--n", "8", "--batch", "8", "--steps", "3"]
    assert main([*sample, "--classes", "3,1", "--out", other]) == 0
    np.testing.assert_array_equal(np.load(out), np.load(other))


def test_what_differs_is_said(out, capsys):
    assert main([*GUIDED, "--out", out]) == 0
    assert main([*GUIDED, "--out", out, "--steps", "4"]) == 2
    assert "was made with tableau" in capsys.readouterr().err


@pytest.mark.slow
def test_by_a_cluster(out, capsys):
    distributed = pytest.importorskip("distributed")
    with distributed.LocalCluster(n_workers=1, dashboard_address=None) as cluster:
        address = cluster.scheduler_address
        assert main([*GUIDED, "--out", out, "--dask", address]) == 0
    found = read(out)
    assert main([*GUIDED, "--out", out.replace("samples", "alone")]) == 0
    np.testing.assert_array_equal(read(out.replace("samples", "alone")), found)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([*COMMAND, "--out", "x.npy"], "conditions must be given for label"),
        ([*GUIDED, "--out", "x.jpg"], "out must end in .npy or .zarr"),
        ([*GUIDED, "--out", "x.npy", "--seeds", "5"], "--seeds must be FIRST:END"),
        ([*GUIDED, "--out", "x.npy", "--seeds", "5:5"], "--seeds must be FIRST:END"),
        ([*GUIDED, "--out", "x.npy", "--batch", "0"], "batch_size must be at least 1"),
        (["verify", "none.npy"], "No such file"),
    ],
)
def test_what_cannot_be_done_is_said(arguments, message, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == 2
    assert message in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_samples_of_no_command_are_not_verified_by_one(tmp_path, capsys):
    from schedulers import DDIM, FlowSchedule
    from schedulers.analytic import Gaussian
    from schedulers.generation import generate

    flow = FlowSchedule()
    denoiser = Gaussian(0.0, 1.0).denoiser(flow, prediction_type="flow")
    path = tmp_path / "x.npy"
    generate(DDIM(flow, prediction_type="flow"), denoiser, (2,), range(3), 2, out=path)
    assert main(["verify", str(path)]) == 2
    assert "must be what `generate` wrote from a command" in capsys.readouterr().err


class TestTimesOfEachSample:
    """An `OnnxDenoiser` of a `Batch`."""

    X = np.random.default_rng(0).standard_normal((3, 1, 8, 8)).astype(np.float32)

    def test_are_those_alone(self):
        denoiser, times = OnnxDenoiser(DIGITS, label=[1, 2, 3]), np.array([5.0, 900.0, 30.0])
        found = denoiser(self.X, times)
        for i, t in enumerate(times):
            alone = OnnxDenoiser(DIGITS, label=i + 1)(self.X[i : i + 1], t)
            np.testing.assert_allclose(found[i : i + 1], alone, atol=1e-5)

    def test_there_is_one_for_each(self):
        with pytest.raises(ValueError, match="t must be one time, or one for each of the 3"):
            OnnxDenoiser(DIGITS, label=1)(self.X, np.array([1.0, 2.0]))

    def test_conditions_of_a_call_go_before(self):
        denoiser = OnnxDenoiser(DIGITS, label=1)
        np.testing.assert_array_equal(
            denoiser(self.X, 5, label=2), OnnxDenoiser(DIGITS, label=2)(self.X, 5)
        )
        with pytest.raises(ValueError, match="conditions must be for label .*, got mask"):
            denoiser(self.X, 5, mask=2)
