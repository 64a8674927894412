"""The noise of a seed, and a seeded run, have the same bits whatever the processor can do."""

import json
import os
import subprocess
import sys
from pathlib import Path

import noise_hashes
from numpy._core._multiarray_umath import __cpu_dispatch__ as dispatched

NOISE = {
    "noise float16 small 17": "673ee862ff0303a4",
    "noise float16 small (1, 1180591620717411303424, 3)": "8dc087be1720309f",
    "noise float16 in chunks 17": "81b0556ebdec2773",
    "noise float16 in chunks (1, 1180591620717411303424, 3)": "0e29347a19ef8937",
    "noise float32 small 17": "3adabf401362b873",
    "noise float32 small (1, 1180591620717411303424, 3)": "809f33dcd9cf9cb0",
    "noise float32 in chunks 17": "06b16214fc0d53e4",
    "noise float32 in chunks (1, 1180591620717411303424, 3)": "470fd12d9af43c23",
    "noise float64 small 17": "2ada899f9b409a5a",
    "noise float64 small (1, 1180591620717411303424, 3)": "deb24e80a8f25f86",
    "noise float64 in chunks 17": "46c937e8ea1fa32e",
    "noise float64 in chunks (1, 1180591620717411303424, 3)": "9c37e3eeef036ec0",
}


def hashes_elsewhere():
    """Return the hashes of a process in which NumPy does without all that it can do without."""
    script = Path(noise_hashes.__file__)
    environment = {**os.environ, "NPY_DISABLE_CPU_FEATURES": " ".join(dispatched)}
    environment["PYTHONPATH"] = os.pathsep.join([str(script.parent), *sys.path])
    command = [sys.executable, "-W", "ignore", str(script)]
    done = subprocess.run(command, env=environment, capture_output=True, check=True)
    return json.loads(done.stdout)


def test_noise_and_seeded_runs_are_the_same_without_the_processors_features():
    here = noise_hashes.hashes()
    assert hashes_elsewhere() == here
    assert sum(name.startswith("run") for name in here) > 100


def test_the_noise_of_a_seed_is_what_it_was():
    here = {name: value for name, value in noise_hashes.hashes().items() if "noise" in name}
    assert here == NOISE
