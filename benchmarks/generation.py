"""What many samples cost: the overhead of a batch, processes, memory, and runs in one batch.

    python benchmarks/generation.py        # prints the figures of docs/many-samples.md; two minutes

The denoiser of the first part sleeps, so that the rest of a batch is what is measured. That of the
second works on one core. The samples of the third are of 4 numbers, so that their number counts.
"""

from __future__ import annotations

import os
import pickle
import resource
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np

import schedulers as sc
from schedulers.generation import generate
from schedulers.generation.work import Work
from schedulers.onnx import OnnxDenoiser

SCHEDULE = sc.DiscreteSchedule(sc.linear_betas(1000))
DDIM = sc.DDIM(SCHEDULE)
SLEPT: list[float] = []


def sleeps(x: Any, t: float) -> Any:
    """Take 50 ms, and note how long it was."""
    begun = time.perf_counter()
    time.sleep(0.05)
    output = 0.5 * x
    SLEPT.append(time.perf_counter() - begun)
    return output


def works(x: Any, t: float) -> Any:
    """Take some 50 ms of one core, in plain Python."""
    end = time.process_time() + 0.05
    while time.process_time() < end:
        pass
    return 0.5 * x


def halves(x: Any, t: float) -> Any:
    """Take no time."""
    return 0.5 * x


def overhead(folder: str) -> None:
    """Print how long a run takes over what its denoiser takes."""
    batches, steps = 8, 10
    for name in ("in memory", "o.npy", "o.zarr"):
        out = None if name == "in memory" else f"{folder}/{name}"
        with ThreadPoolExecutor(1) as one:
            warm = None if out is None else f"{folder}/warm-{name}"
            generate(DDIM, halves, (2,), range(3), 1, out=warm, executor=one)
            SLEPT.clear()
            begun = time.perf_counter()
            generate(DDIM, sleeps, (3, 32, 32), range(64 * batches), steps, out=out, executor=one)
        took, own = time.perf_counter() - begun, sum(SLEPT)
        print(f"overhead of batches of 64x3x32x32, {name}: {took / own - 1.0:.1%}")


def task() -> None:
    """Print how large a task is."""
    model = OnnxDenoiser(Path(__file__).parent.parent / "examples" / "digits.onnx", label=10)
    arguments = (1, 8, 8), range(50_000), 20, 64, np.float32, None
    size = len(pickle.dumps(Work.checked(DDIM, model, *arguments)))
    print(f"a task is {size / 1024:.0f} KiB, pickled")


def processes() -> None:
    """Print how much faster two processes are than one."""
    took = {}
    for workers in (1, 2):
        with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
            warm = [pool.submit(works, np.zeros(1), 0.0) for _ in range(workers)]
            for each in warm:
                each.result()
            begun = time.perf_counter()
            generate(DDIM, works, (3, 32, 32), range(64 * 16), 10, executor=pool)
            took[workers] = time.perf_counter() - begun
    print(f"two processes are {took[1] / took[2]:.2f} times one, on {os.cpu_count()} cores")


def memory() -> None:
    """Print the most memory of runs of other lengths, each in a process of its own."""
    for n in (1_000, 10_000, 100_000):
        command = [sys.executable, __file__, "--memory", str(n)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        print(f"{n} samples of 4x8x8 into .npy: at most {done.stdout.strip()} MiB")


def most_memory(n: int) -> None:
    """Print the most memory of a run in MiB."""
    with tempfile.TemporaryDirectory() as folder:
        generate(DDIM, halves, (4, 8, 8), range(n), 5, batch_size=250, out=f"{folder}/x.npy")
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)


def together() -> None:
    """Print what 64 states in a `Batch` cost, beside one update of as many samples."""
    rng = np.random.default_rng(0)
    for shape in ((4, 64, 64), (3, 32, 32), (1, 8, 8)):
        for name, scheduler in (("DDIM", DDIM), ("DPM++ 2M", sc.DPMSolverPP(SCHEDULE))):
            x = rng.standard_normal((64, *shape)).astype(np.float32)
            output = 0.5 * x
            state = scheduler.update(output, scheduler.init(x, steps=20))
            states = []
            for i in range(64):
                own = scheduler.init(x[i : i + 1], steps=15 + i % 10)
                for _ in range(1 + i % 5):
                    own = scheduler.update(output[i : i + 1], own)
                states.append(own)
            batch = sc.Batch(states)
            one = _best(lambda s=scheduler, o=output, u=state: s.update(o, u, keep_denoised=False))
            many = _best(lambda b=batch, o=output: b.update(o, keep_denoised=False))
            print(
                f"64 states of {'x'.join(map(str, shape))}, {name}: {many * 1e6:.0f} us, "
                f"one update of as many samples {one * 1e6:.0f} us: {many / one:.1f} times"
            )


def _best(call: Any) -> float:
    took = []
    for _ in range(60):
        begun = time.perf_counter()
        call()
        took.append(time.perf_counter() - begun)
    return min(took)


def main() -> None:
    """Print all figures."""
    if sys.argv[1:2] == ["--memory"]:
        most_memory(int(sys.argv[2]))
        return
    with tempfile.TemporaryDirectory() as folder:
        overhead(folder)
    task()
    processes()
    memory()
    together()


if __name__ == "__main__":
    main()
