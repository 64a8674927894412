"""Time and memory of a step, here and in the peers that are installed, beside what memory allows.

    python benchmarks/run.py            # table, JSON and plot in docs/: 9 minutes
    python benchmarks/run.py --quick    # a tenth of the rounds, written to a temporary folder

Every library takes the same arrays and the same denoiser, which returns one array that is made
before. Contenders take turns within a round, so that whatever else the machine does is done to all
of them; figures are medians over the rounds. A step's time is a run's, divided by its model
evaluations; a peer that has no `step` of its own is timed by its whole run.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import importlib.util
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

import schedulers as sc
from contenders import OURS, PEERS, STEPS, Contenders, contenders, ours

SIZES = {
    "1x4x8x8": (1, 4, 8, 8),
    "1x4x64x64": (1, 4, 64, 64),
    "4x4x128x128": (4, 4, 128, 128),
    "16x3x256x256": (16, 3, 256, 256),
    "1000000x2": (1_000_000, 2),
}
MEMORY_SHAPE = (16, 16, 256, 256)  # 64 MiB, which nothing else that a process does comes near


def use_threads(number: int) -> None:
    """Let this process, NumPy and PyTorch have so many processors."""
    processors = sorted(ALL_PROCESSORS)[:number]
    os.sched_setaffinity(0, processors)
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(number)
    if importlib.util.find_spec("threadpoolctl"):
        import threadpoolctl

        threadpoolctl.threadpool_limits(number)


ALL_PROCESSORS = os.sched_getaffinity(0)


def time_steps(made: Contenders, budget: float) -> list[dict[str, Any]]:
    """Median seconds of a step, for every size, number of threads, library and scheduler."""
    results = []
    for threads in (1, 2):
        use_threads(threads)
        for size, shape in SIZES.items():
            rng = np.random.default_rng(0)
            x, output = (rng.standard_normal(shape, dtype=np.float32) for _ in range(2))
            runs = {key: make(x, output) for key, make in made.items()}
            times: dict[tuple[str, str], list[float]] = {key: [] for key in runs}
            for run in runs.values():
                run()
            begun = perf_counter()
            while perf_counter() - begun < budget or len(times["floor", "bare"]) < 5:
                # In another order every time: who comes after whom is worth microseconds.
                for place in rng.permutation(len(runs)):
                    key = list(runs)[place]
                    seconds, evaluations = runs[key]()
                    times[key].append(seconds / evaluations)
            for (library, name), measured in times.items():
                results.append(
                    {
                        "threads": threads,
                        "size": size,
                        "library": library,
                        "scheduler": name,
                        "seconds": statistics.median(measured),
                        "least": min(measured),
                        "rounds": len(measured),
                    }
                )
            print(f"{threads} thread(s), {size}: {len(measured)} rounds", file=sys.stderr)
    use_threads(len(ALL_PROCESSORS))
    return results


def median_time(once: Callable[[], object], budget: float = 0.5) -> float:
    """Median seconds of a call."""
    once()
    times: list[float] = []
    begun = perf_counter()
    while len(times) < 5 or perf_counter() - begun < budget:
        before = perf_counter()
        once()
        times.append(perf_counter() - before)
    return statistics.median(times)


def cost_of_steps() -> list[tuple[int, float]]:
    """Seconds of a DDIM run of a small sample against its number of steps."""
    x = np.ones((1, 4, 8, 8), np.float32)
    scheduler = OURS["DDIM"]
    counts = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)
    return [(n, median_time(lambda n=n: scheduler.sample(lambda x, t: x, x, n))) for n in counts]


def cost_of_elements(largest: int) -> list[tuple[int, float, float]]:
    """Seconds of an update, and of the bare sum with its allocation, against a sample's size."""
    costs, scheduler = [], OURS["DDIM"]
    for power in range(2, largest + 1):
        x = np.ones(10**power, np.float32)
        state = scheduler.update(x, scheduler.init(x, steps=9))
        update = median_time(lambda x=x, state=state: scheduler.update(x, state))
        costs.append((x.size, update, median_time(lambda x=x: x * 1.01 + x * -0.3)))
    return costs


def cost_of_tableaus() -> dict[str, dict[str, float]]:
    """Seconds in which a tableau of 1000 steps is made, and in which it is found again."""
    costs = {}
    for name, scheduler in OURS.items():

        def make(scheduler: sc.Scheduler = scheduler) -> None:
            scheduler._tableaus.clear()
            scheduler.tableau(1000)

        made = median_time(make)
        costs[name] = {"made": made, "kept": median_time(lambda s=scheduler: s.tableau(1000))}
    return costs


def peak_memory(library: str, name: str) -> float:
    """Memory that a run takes beyond the sample and the output, in arrays of the sample's size."""
    make = (PEERS[library]() if library in PEERS else ours())[library, name]
    small = np.ones(SIZES["1x4x8x8"], np.float32)
    make(small, small)()
    rng = np.random.default_rng(0)
    x, output = (rng.standard_normal(MEMORY_SHAPE, dtype=np.float32) for _ in range(2))
    run = make(x, output)
    before = _memory("VmRSS")
    run()
    return (_memory("VmHWM") - before) / x.nbytes


def memory_of_a_step() -> dict[str, float]:
    """Memory at the peak of one `update`, in arrays of the sample's size."""
    x = np.ones(MEMORY_SHAPE, np.float32)
    peaks = {}
    for name, scheduler in OURS.items():
        state = scheduler.init(x, steps=STEPS)
        for _ in range(STEPS // 2):
            state = scheduler.update(x, state, rng=0, keep_denoised=False)
        tracemalloc.start()
        scheduler.update(x, state, rng=0, keep_denoised=False)
        peaks[name] = tracemalloc.get_traced_memory()[1] / x.nbytes
        tracemalloc.stop()
    return peaks


def _memory(field: str) -> int:
    line = next(
        line for line in Path("/proc/self/status").read_text().splitlines() if field in line
    )
    return 1024 * int(line.split()[1])


def memory_of_all(made: Contenders) -> dict[str, dict[str, float]]:
    """`peak_memory` of each contender, in a process of its own."""
    peaks: dict[str, dict[str, float]] = {}
    for library, name in made:
        if library in (*PEERS, "schedulers", "schedulers, sample"):
            command = [sys.executable, "-W", "ignore", __file__, "--memory", library, name]
            done = subprocess.run(command, check=True, capture_output=True, text=True)
            peaks.setdefault(name, {})[library] = float(done.stdout)
    return peaks


def import_times() -> dict[str, float]:
    """Seconds in which names are imported, NumPy already being so; medians of new processes."""
    statements = {
        "schedulers": "from schedulers import DDPM, DDIM, Euler, EulerAncestral, Heun, PLMS",
        "diffusers": "from diffusers import DDIMScheduler",
        "k-diffusion": "from k_diffusion import sampling",
        "azula": "import azula.sample",
    }
    times = {}
    for library, statement in statements.items():
        program = (
            f"import numpy, time; begun = time.perf_counter(); {statement}; "
            f"print(time.perf_counter() - begun)"
        )
        runs = [
            subprocess.run(
                [sys.executable, "-W", "ignore", "-c", program], capture_output=True, text=True
            )
            for _ in range(5)
        ]
        if not any(run.returncode for run in runs):
            times[library] = statistics.median(
                float(run.stdout.strip().splitlines()[-1]) for run in runs
            )
    return times


def installed_sizes() -> dict[str, float]:
    """MiB of each package's own files, and of PyTorch's, which the peers need."""
    sizes = {}
    for library, module in {
        "schedulers": "schedulers",
        "diffusers": "diffusers",
        "k-diffusion": "k_diffusion",
        "azula": "azula",
        "torch": "torch",
        "numpy": "numpy",
    }.items():
        found = importlib.util.find_spec(module)
        if found and found.submodule_search_locations:
            files = Path(found.submodule_search_locations[0]).rglob("*")
            own = (file for file in files if file.is_file() and file.suffix != ".pyc")
            sizes[library] = sum(file.stat().st_size for file in own) / 2**20
    return sizes


def versions() -> dict[str, str]:
    """Versions of what is compared, and of what it runs on."""
    names = ("numpy", "torch", "diffusers", "k-diffusion", "azula")
    found = {"schedulers": sc.__version__, "python": platform.python_version()}
    for name in names:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return {**found, "processor": platform.processor() or platform.machine()}


def table(results: dict[str, Any]) -> str:
    """Write the results as a page."""
    found = {
        (row["threads"], row["size"], row["library"], row["scheduler"]): row["seconds"]
        for row in results["steps"]
    }
    lines = [
        "# Benchmarks",
        "",
        "Medians in one run of `python benchmarks/run.py`: microseconds for one model evaluation's",
        "step, in float32, the model's output at hand. *bare* is `A*x + B*output` into arrays that",
        "are there already, *allocated* the same with a new array for the result; *copy* is the",
        "copy of one array. A peer's figure is followed by its ratio to ours. Of ours, stochastic",
        "steps are given a seed; *Generator* is the same from `numpy.random.default_rng`. *update*",
        "is without `State.denoised`, as `sample` runs, and *with D* makes it, as the peers do.",
        "",
        "Versions: "
        + ", ".join(f"{name} {version}" for name, version in results["versions"].items())
        + ".",
        "",
    ]
    peers = [peer for peer in PEERS if any(key[2] == peer for key in found)]
    for threads in (1, 2):
        lines += [f"## {threads} thread{'s' * (threads > 1)}", ""]
        for size in SIZES:
            bare, allocated, copy = (
                1e6 * found[threads, size, "floor", name]
                for name in ("bare", "bare, allocated", "copy")
            )
            lines += [
                f"**{size}**: bare {bare:.4g}, allocated {allocated:.4g}, copy {copy:.4g}",
                "",
                "| scheduler | update | with D | sample | Generator | " + " | ".join(peers) + " |",
                "| --- " * (5 + len(peers)) + "|",
            ]
            for name in OURS:
                own = found[threads, size, "schedulers", name]
                cells = [name, f"{1e6 * own:.4g}"]
                for library in (
                    "schedulers, with D",
                    "schedulers, sample",
                    "schedulers, Generator",
                ):
                    seconds = found.get((threads, size, library, name))
                    cells.append(f"{1e6 * seconds:.4g}" if seconds else "")
                for peer in peers:
                    seconds = found.get((threads, size, peer, name))
                    cells.append(f"{1e6 * seconds:.4g} ({seconds / own:.2g})" if seconds else "")
                lines.append("| " + " | ".join(cells) + " |")
            lines.append("")
    return "\n".join(lines + _other_tables(results, peers))


def _other_tables(results: dict[str, Any], peers: list[str]) -> list[str]:
    libraries = ["schedulers", "schedulers, sample", *peers]
    lines = [
        "## Memory",
        "",
        "The most that a run takes beyond its sample and the model's output, in arrays of that",
        "size. One update alone takes its result and the noise; with D, an array more.",
        "",
        "| scheduler | one update | " + " | ".join(libraries) + " |",
        "| --- " * (2 + len(libraries)) + "|",
    ]
    for name, peaks in results["memory"].items():
        cells = [f"{results['memory_of_a_step'][name]:.2f}"]
        cells += [f"{peaks[library]:.1f}" if library in peaks else "" for library in libraries]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    lines += [
        "",
        "## A tableau of 1000 steps",
        "",
        "| scheduler | made, ms | kept, microseconds |",
        "| --- | --- | --- |",
    ]
    for name, cost in results["tableaus"].items():
        lines.append(f"| {name} | {1e3 * cost['made']:.1f} | {1e6 * cost['kept']:.2f} |")
    lines += [
        "",
        "## Import and size",
        "",
        "Seconds to import after NumPy, and MiB of the package's own files; the peers' import",
        "includes PyTorch's.",
        "",
        "| library | import | size |",
        "| --- | --- | --- |",
    ]
    for library, size in results["sizes"].items():
        seconds = results["imports"].get(library)
        lines.append(f"| {library} | {f'{seconds:.3f}' if seconds else ''} | {size:.2f} |")
    return [*lines, "", "![Time by scheduler, steps and elements](benchmarks.png)", ""]


def plot(results: dict[str, Any], path: Path) -> None:
    """Draw the time of a step in each library, and that cost is linear in steps and elements."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, (bars, steps, elements) = plt.subplots(1, 3, figsize=(13, 4), layout="constrained")
    rows = [r for r in results["steps"] if r["threads"] == 1 and r["size"] == "1x4x64x64"]
    libraries = ["schedulers", *PEERS]
    for place, library in enumerate(libraries):
        times = {r["scheduler"]: 1e6 * r["seconds"] for r in rows if r["library"] == library}
        places = [i + 0.2 * place - 0.3 for i, name in enumerate(OURS) if name in times]
        bars.bar(places, [times[name] for name in OURS if name in times], 0.19, label=library)
    floor = next(1e6 * r["seconds"] for r in rows if r["scheduler"] == "bare")
    bars.axhline(floor, color="0.3", linestyle=":", label="bare NumPy sum")
    bars.set_xticks(range(len(OURS)), [name.replace("Ancestral", "\nAncestral") for name in OURS])
    bars.set(yscale="log", ylabel="microseconds a step", title="1x4x64x64, float32, one thread")
    bars.set_ylim(top=1500)
    bars.legend(fontsize=8, ncols=3, loc="upper left")

    counts, seconds = zip(*results["cost_of_steps"], strict=True)
    steps.loglog(counts, [1e3 * s for s in seconds], "o-", label="DDIM, 256 elements")
    steps.loglog(counts, [1e3 * seconds[-1] * n / counts[-1] for n in counts], "k:", label="linear")
    steps.set(xlabel="steps", ylabel="milliseconds a run", title="Cost of a run")
    steps.legend(fontsize=8)

    sizes, update, bare = zip(*results["cost_of_elements"], strict=True)
    elements.loglog(sizes, [1e9 * s / n for s, n in zip(update, sizes, strict=True)], "o-")
    elements.loglog(sizes, [1e9 * s / n for s, n in zip(bare, sizes, strict=True)], "k:")
    elements.legend(["update", "A*x + B*output"], fontsize=8)
    elements.set(xlabel="elements", ylabel="nanoseconds an element", title="Cost of an element")
    for axes in (bars, steps, elements):
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=120)


def main() -> None:
    """Measure everything, and write it down."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="few rounds, into a temporary folder")
    parser.add_argument(
        "--memory", nargs=2, metavar=("LIBRARY", "SCHEDULER"), help=argparse.SUPPRESS
    )
    options = parser.parse_args()
    if options.memory:
        print(peak_memory(*options.memory))
        return
    made = contenders()
    results = {
        "versions": versions(),
        "steps": time_steps(made, budget=2.0 if options.quick else 20.0),
        "memory": memory_of_all(made),
        "memory_of_a_step": memory_of_a_step(),
        "tableaus": cost_of_tableaus(),
        "cost_of_steps": cost_of_steps(),
        "cost_of_elements": cost_of_elements(largest=7 if options.quick else 8),
        "imports": import_times(),
        "sizes": installed_sizes(),
    }
    root = Path(__file__).parent.parent
    folder = Path(tempfile.mkdtemp()) if options.quick else root / "docs"
    (folder / "benchmarks.json").write_text(json.dumps(results, indent=1) + "\n")
    (folder / "benchmarks.md").write_text(table(results))
    plot(results, folder / "benchmarks.png")
    print(table(results))
    print(f"written to {folder}")


if __name__ == "__main__":
    main()
