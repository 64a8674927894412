"""Samples are the same to the bit however the work was divided, interrupted and resumed."""

import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from concurrent.futures import BrokenExecutor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context

import numpy as np
import pytest

import generation_models as models
import schedulers as sc
from schedulers.generation import Factory, generate, verify

DDPM = sc.DDPM(sc.DiscreteSchedule(sc.linear_betas(1000)))
RUN = DDPM, models.halved, (2, 3), range(5, 75), 4
SIZE = {"batch_size": 16}  # five batches, the last one smaller
EXPECTED = generate(*RUN, **SIZE)


def digest(samples):
    return hashlib.sha256(np.ascontiguousarray(samples[:]).tobytes()).hexdigest()


@pytest.fixture(params=["npy", "zarr"])
def out(request, tmp_path):
    if request.param == "zarr":
        pytest.importorskip("zarr")
    return str(tmp_path / f"samples.{request.param}")


@pytest.fixture(scope="module")
def pool():
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as made:
        yield made


def test_a_sample_is_that_of_its_seed():
    """For a model that treats samples one by one, also the one that is made alone."""
    seeds = [9, 5]
    x_T = DDPM.initial_noise((2, 2, 3), 4, rng=seeds, dtype=np.float32)
    own = DDPM.sample(models.halved, x_T, 4, rng=seeds)
    np.testing.assert_array_equal(EXPECTED[[4, 0]], own)
    assert EXPECTED.shape == (70, 2, 3)
    assert EXPECTED.dtype == np.float32


class TestTheSameBits:
    def test_by_every_way_to_keep_them(self, out):
        assert digest(generate(*RUN, **SIZE, out=out)) == digest(EXPECTED)
        assert verify(*RUN, **SIZE, out=out, batches=9) == [0, 1, 2, 3, 4]

    def test_by_processes_and_threads(self, out, pool):
        for executor in (pool, ThreadPoolExecutor(3)):
            assert digest(generate(*RUN, **SIZE, executor=executor)) == digest(EXPECTED)
        assert digest(generate(*RUN, **SIZE, out=out, executor=pool)) == digest(EXPECTED)

    def test_by_threads_that_write_for_themselves(self, out):
        with ThreadPoolExecutor(3) as threads:
            assert digest(generate(*RUN, **SIZE, out=out, executor=threads)) == digest(EXPECTED)

    def test_with_a_progress_bar(self, out, capsys):
        pytest.importorskip("tqdm")
        generate(*RUN, **SIZE, out=out)
        lose(out, 1)
        capsys.readouterr()
        assert digest(generate(*RUN, **SIZE, out=out, progress=True)) == digest(EXPECTED)
        shown = capsys.readouterr().err
        assert "54/70" in shown
        assert "70/70" in shown

    def test_in_a_store_of_zarrs(self):
        storage = pytest.importorskip("zarr").storage
        store = storage.MemoryStore()
        with ThreadPoolExecutor(2) as threads:
            found = generate(*RUN, **SIZE, out=store, executor=threads)
        assert digest(found) == digest(EXPECTED)
        assert len(verify(*RUN, **SIZE, out=store, batches=1)) == 1

    def test_in_two_halves(self, out):
        """Each half has whole batches of its own: those of the whole."""
        halves = [generate(*RUN[:3], part, 4, **SIZE) for part in (range(5, 37), range(37, 75))]
        assert digest(np.concatenate(halves)) == digest(EXPECTED)

    def test_by_seeds_in_any_order(self):
        """A model that treats samples one by one has the same ones in any batch."""
        seeds = random.Random(0).sample(range(5, 75), 70)
        found = generate(*RUN[:3], seeds, 4, batch_size=7)
        np.testing.assert_array_equal(found, EXPECTED[np.array(seeds) - 5])

    def test_with_conditions_of_each_seed(self, pool):
        run = DDPM, models.scaled, (3,), range(40), 4
        found = generate(*run, **SIZE, conditions=models.scales, executor=pool)
        x_T = DDPM.initial_noise((40, 3), 4, rng=range(40), dtype=np.float32)
        scale = (np.arange(40) % 7 / 7.0).astype(np.float32)
        own = DDPM.sample(lambda x, t: models.scaled(x, t, scale), x_T, 4, rng=range(40))
        np.testing.assert_array_equal(found, own)

    def test_where_processes_help_they_are_taken(self, monkeypatch):
        from schedulers.generation import generate as module

        monkeypatch.setattr(sys.modules[module.__module__], "_LONG", 0.0)
        found = generate(DDPM, models.slow, *RUN[2:], **SIZE)
        assert digest(found) == digest(EXPECTED)


class TestResume:
    @pytest.mark.parametrize("batch", [0, 3, 4])
    def test_what_is_missing_is_made_and_nothing_else(self, out, batch):
        generate(*RUN, **SIZE, out=out)
        made = []

        def counted(x, t):
            made.append(len(x))
            return models.halved(x, t)

        lose(out, batch)
        run = (DDPM, counted, *RUN[2:])
        assert digest(generate(*run, **SIZE, out=out)) == digest(EXPECTED)
        assert made == [16 if batch < 4 else 6] * 4
        generate(*run, **SIZE, out=out)
        assert len(made) == 4

    def test_killed_at_any_moment_and_resumed(self, out, tmp_path):
        code = (
            "import generation_models as models, schedulers as sc\n"
            "from schedulers.generation import generate\n"
            "scheduler = sc.DDPM(sc.DiscreteSchedule(sc.linear_betas(1000)))\n"
            "print('ready', flush=True)\n"
            f"generate(scheduler, models.slow, (2, 3), range(5, 75), 4, batch_size=16, out={out!r})"
        )
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
        rng = random.Random(0)
        for _ in range(5):
            process = subprocess.Popen(
                [sys.executable, "-c", code], env=environment, stdout=subprocess.PIPE
            )
            process.stdout.readline()
            time.sleep(rng.uniform(0.0, 0.15))
            process.send_signal(signal.SIGKILL)
            process.wait()
            process.stdout.close()
        assert digest(generate(*RUN, **SIZE, out=out)) == digest(EXPECTED)

    def test_a_half_written_batch_is_made_again(self, out, tmp_path):
        generate(*RUN, **SIZE, out=out)
        if out.endswith(".npy"):
            notes = tmp_path / "samples.npy.json"
            whole = notes.read_text()
            notes.write_text(whole[:-1])  # the number of the last batch is cut off
            with open(out, "r+b") as file:
                file.seek(-20, os.SEEK_END)
                file.write(b"\0" * 20)
        else:
            (chunk,) = tmp_path.glob("samples.zarr/c/4/0/0")
            chunk.write_bytes(chunk.read_bytes()[:-30])
        assert digest(generate(*RUN, **SIZE, out=out)) == digest(EXPECTED)

    @pytest.mark.parametrize(
        ("change", "word"),
        [
            ({"steps": 5}, "tableau"),
            ({"scheduler": sc.DDPM(DDPM.schedule, prediction_type="sample")}, "prediction_type"),
            ({"scheduler": sc.DDPM(DDPM.schedule, threshold=sc.StaticThreshold())}, "threshold"),
            ({"seeds": range(5, 76)}, "seeds"),
            ({"seeds": list(range(5, 75))}, "seeds"),
            ({"shape": (3, 2)}, "shape"),
            ({"dtype": np.float64}, "dtype"),
            ({"batch_size": 32}, "batch_size"),
        ],
    )
    def test_anything_else_is_refused(self, out, change, word):
        names = "scheduler", "denoiser", "shape", "seeds", "steps"
        run = {**dict(zip(names, RUN, strict=True)), **SIZE, "out": out}
        generate(**run)
        for call in (generate, verify):
            with pytest.raises(ValueError, match=f"out must .* made with {word}"):
                call(**{**run, **change})
        assert digest(generate(**run)) == digest(EXPECTED)


def lose(out, batch):
    """Take a batch away."""
    if out.endswith(".npy"):
        with open(f"{out}.json") as file:
            first, *numbers = file.read().split("\n")
        kept = [number for number in numbers if number != str(batch)]
        with open(f"{out}.json", "w") as file:
            file.write("\n".join([first, *kept]))
    else:
        os.remove(f"{out}/c/{batch}/0/0")


class TestFailures:
    def test_a_worker_that_dies_is_replaced(self, out, tmp_path, monkeypatch):
        from schedulers.generation import generate as module

        monkeypatch.setattr(sys.modules[module.__module__], "_LONG", 0.0)
        failed = tmp_path / "failed"
        run = DDPM, models.DiesInAChild(failed), *RUN[2:]
        assert digest(generate(*run, **SIZE, out=out)) == digest(EXPECTED)
        assert failed.exists()

    def test_processes_that_never_live_are_given_up(self, out, monkeypatch):
        module, started = sys.modules[generate.__module__], []

        class Broken(ThreadPoolExecutor):
            def submit(self, function, *arguments):
                future = Future()
                future.set_exception(BrokenExecutor("a process was killed"))
                return future

        def broken(mp_context):
            started.append(mp_context)
            return Broken(1)

        monkeypatch.setattr(module, "_LONG", 0.0)
        monkeypatch.setattr(module, "ProcessPoolExecutor", broken)
        with pytest.raises(RuntimeError, match="processes must stay alive, and died 3 times"):
            generate(DDPM, models.slow, *RUN[2:], **SIZE, out=out)
        assert len(started) == 3
        monkeypatch.undo()
        assert digest(generate(*RUN, **SIZE, out=out)) == digest(EXPECTED)

    def test_what_cannot_be_pickled_is_made_here(self, monkeypatch):
        module = sys.modules[generate.__module__]
        monkeypatch.setattr(module, "_LONG", 0.0)
        run = DDPM, lambda x, t: models.slow(x, t), *RUN[2:]
        assert digest(generate(*run, **SIZE)) == digest(EXPECTED)

    def test_an_error_names_the_seeds_and_the_rest_is_kept(self, out, pool):
        x_T = DDPM.initial_noise((16, 2, 3), 4, rng=range(37, 53), dtype=np.float32)
        fails = models.FailsFor(x_T.ravel()[0])
        with pytest.raises(RuntimeError, match=r"seeds from 37 to 52, failed: ValueError: a bad s"):
            generate(DDPM, fails, *RUN[2:], **SIZE, out=out, executor=pool)
        made = []

        def counted(x, t):
            made.append(len(x))
            return models.halved(x, t)

        assert digest(generate(DDPM, counted, *RUN[2:], **SIZE, out=out)) == digest(EXPECTED)
        assert len(made) <= 4 * 3  # of five batches at least two were kept

    def test_an_interrupt_keeps_what_is_done(self, out):
        calls = []

        def interrupted(x, t):
            calls.append(t)
            if len(calls) == 11:
                raise KeyboardInterrupt
            return models.halved(x, t)

        with pytest.raises(KeyboardInterrupt):
            generate(DDPM, interrupted, *RUN[2:], **SIZE, out=out)
        calls[:] = range(100)
        assert digest(generate(DDPM, interrupted, *RUN[2:], **SIZE, out=out)) == digest(EXPECTED)
        assert len(calls) == 100 + 4 * 3  # two batches were there

    @pytest.mark.skipif(not hasattr(os, "geteuid"), reason="needs limits of a process")
    def test_a_full_disk_is_an_error_and_nothing_is_lost(self, out):
        resource = pytest.importorskip("resource")
        fails = {"left": 2}

        def model(x, t):
            if t == 999:
                fails["left"] -= 1
            if fails["left"] < 0:
                resource.setrlimit(resource.RLIMIT_FSIZE, (50, hard))
            return models.halved(x, t)

        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        try:
            with pytest.raises(OSError, match="File too large"):
                generate(DDPM, model, *RUN[2:], **SIZE, out=out)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
            signal.signal(signal.SIGXFSZ, before)
        assert digest(generate(*RUN, **SIZE, out=out)) == digest(EXPECTED)

    def test_workers_that_write_elsewhere_are_found_out(self, tmp_path):
        pytest.importorskip("zarr")

        class Elsewhere(ThreadPoolExecutor):
            def submit(self, function, *arguments):
                return super().submit(lambda: None)

        with pytest.raises(RuntimeError, match="out must be a folder that all workers share"):
            generate(*RUN, **SIZE, out=tmp_path / "x.zarr", executor=Elsewhere(1))

    def test_samples_that_changed_are_found(self, out):
        generate(*RUN, **SIZE, out=out)
        with pytest.raises(ValueError, match="batch 0 differs, of the seeds from 5 to 20"):
            verify(DDPM, lambda x, t: 0.4 * x, *RUN[2:], **SIZE, out=out, batches=9)
        lose(out, 3)
        with pytest.raises(ValueError, match="1 of 5 are missing"):
            verify(*RUN, **SIZE, out=out)

    def test_nothing_is_verified_that_is_not_there(self, out):
        with pytest.raises(FileNotFoundError):
            verify(*RUN, **SIZE, out=out)
        assert not os.path.exists(out)


def test_a_script_without_a_guard_is_told_so(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        "import generation_models as models, schedulers as sc, sys\n"
        "from schedulers.generation import generate as function\n"
        "module = sys.modules[function.__module__]\n"
        "module._LONG = 0.0\n"
        "scheduler = sc.DDPM(sc.DiscreteSchedule(sc.linear_betas(1000)))\n"
        "function(scheduler, models.slow, (2, 3), range(70), 4, batch_size=16)\n"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, str(script)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
    assert done.returncode != 0
    assert "under `if __name__ == '__main__':`" in done.stderr


class TestFactory:
    def test_is_called_once_in_each_process(self, pool):
        denoiser = Factory(models.made, 0.5)
        found = generate(DDPM, denoiser, *RUN[2:], **SIZE, executor=pool)
        assert digest(found) == digest(EXPECTED)

    def test_is_called_once_here(self, capsys):
        denoiser = Factory(models.made, 0.25)
        generate(DDPM, denoiser, *RUN[2:], **SIZE)
        assert capsys.readouterr().out == "made 0.25\n"

    @pytest.mark.parametrize(
        "arguments", [(3,), (lambda: 3,), (models.made, lambda: 3)], ids=["number", "make", "of"]
    )
    def test_has_to_be_pickled(self, arguments):
        with pytest.raises(TypeError, match="make"):
            Factory(*arguments)


@pytest.mark.slow
def test_dask_has_the_same_bits(out):
    distributed = pytest.importorskip("distributed")
    cluster = distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None
    )
    with cluster, distributed.Client(cluster) as client:
        client.run(sys.path.extend, list(sys.path))
        found = generate(*RUN, **SIZE, out=out, executor=client.get_executor())
    assert digest(found) == digest(EXPECTED)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"scheduler": 3}, TypeError, "scheduler must be a Scheduler"),
        ({"denoiser": 3}, TypeError, "denoiser must be a callable"),
        ({"shape": (0,)}, ValueError, "shape must be at least 1"),
        ({"seeds": 5}, TypeError, "seeds must be a sequence of seeds"),
        ({"seeds": []}, TypeError, "seeds must be a sequence of seeds"),
        ({"seeds": range(-1, 3)}, ValueError, "seeds must be at least 0"),
        ({"seeds": [1, "a"]}, TypeError, r"seeds\[1\] must be an integer"),
        ({"seeds": [(1, 2)]}, TypeError, "seeds must be ints"),
        ({"steps": 0}, ValueError, "steps must be at least 1"),
        ({"batch_size": 0}, ValueError, "batch_size must be at least 1"),
        ({"dtype": int}, TypeError, "dtype must be a floating dtype"),
        ({"conditions": 3}, TypeError, "conditions must be a callable"),
        ({"executor": 3}, TypeError, "executor must be an Executor"),
        ({"progress": 3}, TypeError, "progress must be"),
        ({"out": "x.jpg"}, ValueError, "out must end in .npy or .zarr"),
        ({"denoiser": lambda x, t: x, "executor": ThreadPoolExecutor(1)}, TypeError, "pickled"),
        ({"out": {}}, TypeError, "out must be a path or a store"),
        ({"shape": (2**40,)}, ValueError, "shape must be of at most"),
    ],
)
def test_bad_input_is_an_error_before_work_is_done(change, error, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = "scheduler", "denoiser", "shape", "seeds", "steps"
    with pytest.raises(error, match=message):
        generate(**{**dict(zip(names, RUN, strict=True)), **change})
    assert not list(tmp_path.iterdir())


def test_a_file_of_other_samples_is_left(tmp_path):
    path = tmp_path / "samples.npy"
    np.save(path, np.arange(3.0))
    with pytest.raises(ValueError, match="out must not be a file of other samples"):
        generate(*RUN, out=path)
    np.testing.assert_array_equal(np.load(path), np.arange(3.0))


def test_an_array_of_others_is_left(tmp_path):
    zarr = pytest.importorskip("zarr")
    zarr.create_array(str(tmp_path / "x.zarr"), shape=(3,), dtype="float32")
    with pytest.raises(ValueError, match="out must not be an array of other samples"):
        generate(*RUN, out=tmp_path / "x.zarr")
    (tmp_path / "y.zarr").mkdir()
    (tmp_path / "y.zarr" / "zarr.json").write_text("no JSON")
    with pytest.raises(ValueError, match="out must be a Zarr array of samples"):
        generate(*RUN, out=tmp_path / "y.zarr")


def test_notes_of_other_samples_are_refused(tmp_path):
    path = tmp_path / "samples.npy"
    generate(*RUN, **SIZE, out=path)
    np.save(path, np.zeros((3, 2)))
    with pytest.raises(ValueError, match="out must be a file of float32 samples of shape"):
        generate(*RUN, **SIZE, out=path)
    (tmp_path / "samples.npy.json").write_text("no JSON\n")
    with pytest.raises(ValueError, match="out must be of the same samples"):
        generate(*RUN, **SIZE, out=path)


def test_what_is_carried_is_readable(out):
    generate(*RUN, **SIZE, out=out)
    if out.endswith(".npy"):
        with open(f"{out}.json") as file:
            found = json.loads(file.readline())
    else:
        import zarr

        found = zarr.open_array(out, mode="r").attrs["schedulers"]
    assert found["seeds"] == {"range": [5, 75, 1]}
    assert found["tableau"] == DDPM.tableau(4).fingerprint
    assert found["version"] == sc.__version__
