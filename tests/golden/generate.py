"""Write diffusers.json and solvers.json: what the installed diffusers gives for the golden cases.

Run from tests/ in an environment that has it: python -m golden.generate
With --solvers, the second file alone.
"""

import json
import sys
from pathlib import Path

import diffusers
import numpy as np
import torch

from golden import peer, solvers, space


def golden(case):
    """A case with its answers: the sample in float32, and that of arithmetic in float64."""
    _, x = peer.run(case)
    scheduler, x64 = peer.run64(case)
    times = np.asarray(scheduler.timesteps, np.float64)
    return case | {
        "init_noise_sigma": float(f"{float(getattr(scheduler, 'init_noise_sigma', 1.0)):.9g}"),
        "timesteps": [float(f"{t:.9g}") for t in times[[0, len(times) // 2, -1]]],
        "evaluations": len(times),
        "sample": [float(f"{value:.9g}") for value in x.ravel()],
        "sample64": [float(f"{value:.12g}") for value in x64.ravel()],
    }


def write(file, cases):
    """Write the cases with their answers."""
    answers = []
    for case in cases:
        try:
            answer = golden(case)
        except (IndexError, RuntimeError, AssertionError, ValueError) as error:
            print(f"diffusers fails for {case}: {error!r:.80}: left out")
            continue
        if not np.isfinite([*answer["sample"], *answer["sample64"]]).all():
            print(f"diffusers gives NaN for {case}: left out")
            continue
        if answer["config"].get("trained_betas"):
            answer["config"] = answer["config"] | {"trained_betas": "TRAINED"}
        answers.append(answer)
    versions = {"diffusers": diffusers.__version__, "torch": torch.__version__}
    versions["numpy"] = np.__version__
    lines = ",\n".join(json.dumps(answer) for answer in answers)
    text = f'{{"versions": {json.dumps(versions)},\n"cases": [\n{lines}\n]}}\n'
    Path(__file__).with_name(file).write_text(text)
    print(f"{file}: {len(answers)} cases, {len(text)} bytes")


if __name__ == "__main__":
    if "--solvers" not in sys.argv:
        write("diffusers.json", space.fixed_cases())
    write("solvers.json", solvers.cases())
