"""Write diffusers.json: what the installed diffusers gives for the golden cases.

Run from tests/ in an environment that has it: python -m golden.generate
"""

import json
from pathlib import Path

import diffusers
import numpy as np
import torch

from golden import peer, space


def golden(case):
    """A case with its answers: the sample in float32, and that of arithmetic in float64."""
    _, x = peer.run(case)
    scheduler, x64 = peer.run64(case)
    times = np.asarray(scheduler.timesteps, np.float64)
    return case | {
        "init_noise_sigma": float(f"{float(scheduler.init_noise_sigma):.9g}"),
        "timesteps": [float(f"{t:.9g}") for t in times[[0, len(times) // 2, -1]]],
        "evaluations": len(times),
        "sample": [float(f"{value:.9g}") for value in x.ravel()],
        "sample64": [float(f"{value:.12g}") for value in x64.ravel()],
    }


if __name__ == "__main__":
    cases = []
    for case in space.fixed_cases():
        answer = golden(case)
        if not np.isfinite(answer["sample"]).all():
            print(f"diffusers gives NaN for {case}: left out")
            continue
        if answer["config"].get("trained_betas"):
            answer["config"] = answer["config"] | {"trained_betas": "TRAINED"}
        cases.append(answer)
    versions = {"diffusers": diffusers.__version__, "torch": torch.__version__}
    versions["numpy"] = np.__version__
    lines = ",\n".join(json.dumps(case) for case in cases)
    text = f'{{"versions": {json.dumps(versions)},\n"cases": [\n{lines}\n]}}\n'
    Path(__file__).with_name("diffusers.json").write_text(text)
    print(f"{len(cases)} cases, {len(text)} bytes")
