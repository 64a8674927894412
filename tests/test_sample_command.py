"""`python -m schedulers sample`, and the denoiser that it makes of an ONNX file."""

import json
import pickle
import sys
from pathlib import Path

import numpy as np
import pytest

import schedulers as sc
from schedulers.__main__ import main
from schedulers._sample_command import sheet
from schedulers.denoisers import Guided

pytest.importorskip("onnxruntime")
from schedulers.onnx import OnnxDenoiser, inputs_of

EXAMPLES = Path(__file__).parent.parent / "examples"
DIGITS, PATCHES = str(EXAMPLES / "digits.onnx"), str(EXAMPLES / "patches.onnx")
X = np.random.default_rng(0).standard_normal((3, 1, 8, 8)).astype(np.float32)


@pytest.fixture
def out(tmp_path):
    return str(tmp_path / "samples.npy")


def run(*arguments):
    assert main(["sample", *map(str, arguments)]) == 0


class TestDenoiser:
    def test_is_the_session(self):
        import onnxruntime

        session = onnxruntime.InferenceSession(DIGITS)
        labels = np.array([1, 2, 10])
        (expected,) = session.run(None, {"x": X, "t": np.full(3, 30, np.float32), "label": labels})
        np.testing.assert_array_equal(OnnxDenoiser(DIGITS, label=labels)(X, 30), expected)
        one = OnnxDenoiser(DIGITS, label=2)(X, 30)
        np.testing.assert_array_equal(one[1], expected[1])
        scaled = OnnxDenoiser(DIGITS, label=labels, time_scale=10.0)(X, 3)
        np.testing.assert_array_equal(scaled, expected)

    def test_says_what_it_takes(self):
        denoiser = OnnxDenoiser(PATCHES)
        assert (denoiser.shape, denoiser.dtype) == ((3, 16, 16), np.float32)
        sample, time, label = inputs_of(DIGITS)
        assert (sample.name, time.name, label.name) == ("x", "t", "label")
        assert str(label) == "label (int64, shape (any))"

    def test_pickles(self):
        denoiser = OnnxDenoiser(DIGITS, label=[1, 2, 3])
        twin = pickle.loads(pickle.dumps(denoiser))
        np.testing.assert_array_equal(twin(X, 5), denoiser(X, 5))

    def test_takes_samples_of_other_dtypes(self):
        """A sample of float64 is stepped in float64; the network sees float32."""
        denoiser = OnnxDenoiser(DIGITS, label=3)
        np.testing.assert_array_equal(denoiser(X.astype(np.float64), 5), denoiser(X, 5))

    @pytest.mark.parametrize(
        ("conditions", "error", "word"),
        [
            ({}, ValueError, "label .int64"),
            ({"label": 3, "mask": 1}, ValueError, "mask"),
            ({"label": 3.5}, TypeError, "label must be of int64"),
            ({"label": "3"}, TypeError, "label must be of int64"),
            ({"label": [[3]]}, ValueError, "label .*shape"),
        ],
    )
    def test_conditions_are_checked(self, conditions, error, word):
        with pytest.raises(error, match=word):
            OnnxDenoiser(DIGITS, **conditions)

    def test_calls_are_checked(self):
        with pytest.raises(ValueError, match="label must have one entry, or one for each of the 3"):
            OnnxDenoiser(DIGITS, label=[1, 2])(X, 5)
        with pytest.raises(TypeError, match="x must be"):
            OnnxDenoiser(DIGITS, label=1)("x", 5)

    def test_a_file_that_is_none(self, tmp_path):
        with pytest.raises(FileNotFoundError, match="path must be an ONNX file"):
            OnnxDenoiser(tmp_path / "none.onnx")
        (tmp_path / "text.onnx").write_text("no model")
        with pytest.raises(ValueError, match="path must be an ONNX model"):
            OnnxDenoiser(tmp_path / "text.onnx")
        with pytest.raises(TypeError, match="path"):
            OnnxDenoiser(3)


def test_whole_times(tmp_path):
    """A model that takes int64 is told whole times, and fractional ones are an error."""
    onnx = pytest.importorskip("onnx")
    helper, proto = onnx.helper, onnx.TensorProto
    inputs = [
        helper.make_tensor_value_info("sample", proto.FLOAT, ["n", 2]),
        helper.make_tensor_value_info("timestep", proto.INT64, []),
    ]
    output = helper.make_tensor_value_info("out", proto.FLOAT, ["n", 2])
    nodes = [
        helper.make_node("Cast", ["timestep"], ["time"], to=proto.FLOAT),
        helper.make_node("Mul", ["sample", "time"], ["out"]),
    ]
    graph = helper.make_graph(nodes, "double", inputs, [output])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.save(model, str(tmp_path / "model.onnx"))
    denoiser, x = OnnxDenoiser(tmp_path / "model.onnx"), np.ones((3, 2), np.float32)
    np.testing.assert_array_equal(denoiser(x, 7), 7.0 * x)
    with pytest.raises(ValueError, match=r"grids\.whole"):
        denoiser(x, 7.5)
    with pytest.raises(ValueError, match="t must be one time for a model that is told one"):
        denoiser(x, np.array([1.0, 2.0, 3.0]))


class TestCommand:
    def test_draws_what_the_library_draws(self, out):
        run(DIGITS, "--n", 5, "--steps", 4, "--batch", 5, "--classes", "0-9", "--out", out,
            "--guidance", 2, "--no-class", 10, "--seed", 7, "--scheduler", "ddim")  # fmt: skip
        scheduler = sc.DDIM(sc.DiscreteSchedule(sc.linear_betas(1000)))
        seeds = list(range(7, 12))
        x_T = scheduler.initial_noise((5, 1, 8, 8), 4, rng=seeds, dtype=np.float32)
        guided = Guided(
            OnnxDenoiser(DIGITS, label=range(5)), OnnxDenoiser(DIGITS, label=10), scale=2.0
        )
        np.testing.assert_array_equal(np.load(out), scheduler.sample(guided, x_T, 4))

    def test_batches_have_the_same_samples(self, out):
        found = []
        for batch in (2, 5):
            run(DIGITS, "--n", 5, "--steps", 3, "--batch", batch, "--classes", "3,1", "--out", out,
                "--scheduler", "ddpm")  # fmt: skip
            found.append(np.load(out))
        np.testing.assert_allclose(*found, atol=1e-4)

    def test_inputs_are_numbers_or_files(self, out, tmp_path):
        file = tmp_path / "labels.npy"
        np.save(file, np.array([7, 7]))
        found = []
        for given in (f"label={file}", "label=7"):
            run(DIGITS, "--n", 2, "--steps", 2, "--input", given, "--out", out, "--shape", "1x8x8")
            found.append(np.load(out))
        np.testing.assert_array_equal(*found)

    def test_by_a_configuration(self, out, tmp_path):
        config = {
            "_class_name": "UniPCMultistepScheduler", "num_train_timesteps": 1000,
            "beta_schedule": "linear", "beta_start": 1e-4, "beta_end": 0.02,
        }  # fmt: skip
        file = tmp_path / "scheduler_config.json"
        file.write_text(json.dumps(config))
        run(DIGITS, "--config", file, "--n", 2, "--steps", 4, "--input", "label=10", "--out", out)
        scheduler = sc.from_config(config)
        x_T = scheduler.initial_noise((2, 1, 8, 8), 4, rng=[0, 1], dtype=np.float32)
        expected = scheduler.sample(OnnxDenoiser(DIGITS, label=10), x_T, 4)
        np.testing.assert_array_equal(np.load(out), expected)

    def test_a_flow_predicts_a_flow(self, out):
        run(PATCHES, "--schedule", "flow", "--n", 1, "--steps", 2, "--out", out)
        assert np.load(out).shape == (1, 3, 16, 16)

    def test_draws_a_picture(self, tmp_path):
        image = pytest.importorskip("matplotlib.image")
        run(DIGITS, "--n", 3, "--steps", 2, "--classes", "3", "--out", tmp_path / "x.png")
        assert image.imread(tmp_path / "x.png").shape == (136, 136, 4)

    def test_the_picture_has_the_samples_in_their_places(self):
        images = np.linspace(-1.0, 1.0, 5 * 2 * 2).reshape(5, 1, 2, 2)
        grid = sheet(images)
        assert grid.shape == (2 * 68, 3 * 68, 3)
        assert grid[68 + 2, 68 + 2].tolist() == [round(127.5 * (images[4, 0, 0, 0] + 1.0))] * 3
        assert (grid[68:, 136:] == 255).all()
        assert sheet(np.full((1, 3, 64, 64), 9.0))[10, 10].tolist() == [255] * 3

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (["none.onnx"], "path must be an ONNX file"),
            ([DIGITS], "conditions must be given for label (int64, shape (any))"),
            ([DIGITS, "--classes", "a"], "--classes must be such as 3, 0,1,7 or 0-9, got 'a'"),
            ([DIGITS, "--classes", "3-1"], "--classes must be such as"),
            ([DIGITS, "--guidance", "2"], "--guidance and --no-class need --classes"),
            ([DIGITS, "--classes", "3", "--guidance", "2"], "must be given together"),
            ([DIGITS, "--classes", "3", "--shape", "1xa"], "--shape must be such as 4x64x64"),
            ([DIGITS, "--classes", "3", "--n", "0"], "--n must be"),
            ([DIGITS, "--input", "label"], "--input must be NAME=VALUE"),
            ([DIGITS, "--input", "label=b"], "--input must be a number or a .npy"),
            ([PATCHES, "--classes", "3"], "--classes needs a model with one more input"),
            ([PATCHES, "--config", "none.json"], "No such file"),
            ([PATCHES, "--config", "x", "--spacing", "karras"], "--spacing must not be given with"),
            ([PATCHES, "--out", "x.jpg"], "--out must be a .png or .npy file"),
            ([PATCHES, "--out", "nowhere/x.png"], "--out must be a .png or .npy file"),
        ],
    )
    def test_what_cannot_be_done_is_said(self, arguments, message, capsys, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        assert main(["sample", "--out", "x.npy", *arguments]) == 2
        assert message in capsys.readouterr().err
        assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("text", "expected"),
    [("linear:10", 10), ("cosine:50", 50), ("scaled-linear", 1000)],
)
def test_a_schedule_has_as_many_levels_as_are_said(text, expected):
    from schedulers._choices import schedule

    assert schedule(text).num_train_timesteps == expected


@pytest.mark.parametrize("text", ["line", "linear:", "linear:a", "linear:0", "vp:3"])
def test_a_schedule_that_is_none(text, capsys):
    with pytest.raises(SystemExit):
        main(["show", "ddim", "--schedule", text])
    assert "linear:1000" in capsys.readouterr().err


class TestWithoutPackages:
    """What is said where an optional package is not installed."""

    @pytest.fixture
    def without(self, monkeypatch):
        return lambda name: monkeypatch.setitem(sys.modules, name, None)

    def test_there_is_no_bar_without_tqdm(self, out, without, capsys):
        without("tqdm")
        run(PATCHES, "--schedule", "flow", "--n", 1, "--steps", 1, "--out", out)
        generate = ["generate", PATCHES, "--schedule", "flow", "--seeds", "0:1", "--steps", "1"]
        assert main([*generate, "--out", out.replace("samples", "more")]) == 0
        assert capsys.readouterr().err == ""

    @pytest.mark.parametrize(
        ("name", "arguments", "message"),
        [
            ("matplotlib", ["sample", PATCHES, "--out", "x.png"], "matplotlib: or give a .npy"),
            (
                "distributed",
                ["generate", PATCHES, "--seeds", "0:2", "--out", "x.npy", "--dask", "tcp://a:1"],
                "--dask needs the package distributed",
            ),
            (
                "zarr",
                ["generate", PATCHES, "--seeds", "0:2", "--out", "x.zarr"],
                "a Zarr array needs the package zarr",
            ),
        ],
    )
    def test_what_needs_one_says_so(self, name, arguments, message, without, capsys, tmp_path,
                                    monkeypatch):  # fmt: skip
        monkeypatch.chdir(tmp_path)
        without(name)
        assert main([*arguments, "--schedule", "flow"]) == 2
        assert message in capsys.readouterr().err


def test_a_picture_is_of_images(tmp_path, capsys):
    wrong = ["sample", DIGITS, "--classes", "3", "--shape", "2x8x8", "--out", f"{tmp_path}/x.png"]
    assert main(wrong) == 2
    assert "where samples are no images of 1 or 3 channels" in capsys.readouterr().err
