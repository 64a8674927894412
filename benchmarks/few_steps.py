"""How far a few steps end from the exact flow of a trained network.

    python benchmarks/few_steps.py

The network is `examples/digits.onnx`, without a class. The flow is followed by 400 steps of Heun's
method on a Karras grid, which agree with 1000 steps of DDIM to 0.001. Distances are root mean
squares over the pixels of 200 samples, which lie between -1 and 1.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

from schedulers import DDIM, PLMS, DiscreteSchedule, Heun, Scheduler, linear_betas
from schedulers.denoisers import per_sample

EVALUATIONS = (5, 8, 10, 20)
SCHEDULE = DiscreteSchedule(linear_betas(1000))
SCHEDULERS: dict[str, Scheduler] = {
    f"{name}, {spacing}": make(SCHEDULE, spacing=spacing, **options)
    for name, make, options in (
        ("DDIM", DDIM, {}),
        ("Heun", Heun, {}),
        ("PLMS, order 2", PLMS, {"order": 2}),
        ("PLMS, order 3", PLMS, {"order": 3}),
        ("PLMS", PLMS, {}),
        ("PLMS, order 2, constant", PLMS, {"order": 2, "weights": "constant"}),
        ("PLMS, order 3, constant", PLMS, {"order": 3, "weights": "constant"}),
        ("PLMS, constant", PLMS, {"weights": "constant"}),
    )
    for spacing in ("trailing", "leading", "karras", "log_snr")
}


def main() -> None:
    """Print a row for each scheduler and grid."""
    file = Path(__file__).parent.parent / "examples" / "digits.onnx"
    session = onnxruntime.InferenceSession(file)
    x_T = DDIM(SCHEDULE).initial_noise((200, 1, 8, 8), steps=1, rng=0)
    labels = np.full(len(x_T), 10)  # of no class

    def denoiser(x: Any, t: float) -> Any:
        x = x.astype(np.float32)
        return session.run(None, {"x": x, "t": per_sample(t, x), "label": labels})[0]

    exact = Heun(SCHEDULE, spacing="karras").sample(denoiser, x_T, steps=400)
    print(f"{'evaluations':34s}" + "".join(f"{n:8d}" for n in EVALUATIONS))
    for name, scheduler in SCHEDULERS.items():
        cells = []
        for n in EVALUATIONS:
            steps = (n + 1) // 2 if isinstance(scheduler, Heun) else n
            off = scheduler.sample(denoiser, x_T, steps=steps) - exact
            cells.append(f"{np.sqrt(np.mean(off**2)):8.3f}")
        print(f"{name:34s}" + "".join(cells))


if __name__ == "__main__":
    main()
