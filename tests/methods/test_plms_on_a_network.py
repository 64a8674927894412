"""On a trained network, in few steps, PLMS ends at least as near to the exact flow as DDIM."""

from pathlib import Path

import numpy as np
import pytest

import schedulers as sc
from kit import DISCRETE
from schedulers.denoisers import per_sample

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def network():
    runtime = pytest.importorskip("onnxruntime")
    file = Path(__file__).parents[2] / "examples" / "digits.onnx"
    session = runtime.InferenceSession(file)

    def denoiser(x, t):
        x = x.astype(np.float32)
        labels = np.full(len(x), 10)  # of no class
        return session.run(None, {"x": x, "t": per_sample(t, x), "label": labels})[0]

    return denoiser


@pytest.fixture(scope="module")
def run(network):
    """Return the distance of a scheduler's samples from those of the exact flow."""
    x = sc.DDIM(DISCRETE).initial_noise((50, 1, 8, 8), steps=1, rng=0)
    exact = sc.Heun(DISCRETE, spacing="karras").sample(network, x, steps=200)

    def distance(scheduler, steps):
        return np.sqrt(np.mean((scheduler.sample(network, x, steps=steps) - exact) ** 2))

    return distance


@pytest.mark.parametrize("steps", [5, 8, 10, 20])
@pytest.mark.parametrize("spacing", ["trailing", "leading", "karras", "log_snr"])
def test_it_is_at_least_as_near_as_ddim(run, spacing, steps):
    plms, ddim = (run(make(DISCRETE, spacing=spacing), steps) for make in (sc.PLMS, sc.DDIM))
    assert plms < 1.01 * ddim


def test_with_constant_weights_it_is_not(run):
    # They are those of even steps in sigma; the default grid has others.
    assert run(sc.PLMS(DISCRETE, weights="constant"), 5) > 4.0 * run(sc.DDIM(DISCRETE), 5)
