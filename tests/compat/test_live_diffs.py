"""Both sides of every diff of "Swap it in" draw the same samples: `pytest -m live`."""

import re
import sys
from pathlib import Path

import numpy as np
import pytest

import schedulers
from schedulers.analytic import Gaussian

pytestmark = [pytest.mark.live, pytest.mark.filterwarnings("ignore")]

PAGE = (Path(__file__).parents[2] / "docs" / "swap-it-in.md").read_text()
DIFFS = re.findall(r"```diff\n(.*?)```", PAGE, re.DOTALL)


def side(diff, mark):
    """The code before the change, with the mark "-", or after it, with "+"."""
    return "\n".join(line[1:] for line in diff.splitlines() if line[:1] in (mark, " ", ""))


def names(torch):
    """What the page speaks of: noise and a network, of NumPy arrays or tensors as they come."""
    betas = schedulers.linear_betas(1000)
    schedule = schedulers.DiscreteSchedule(betas)
    exact = Gaussian(mean=0.3, cov=0.04).denoiser(schedule)
    noise = np.random.default_rng(0).standard_normal((16, 1, 2), np.float32)

    def network(x, t):
        time = float(np.ravel(np.asarray(t))[0])
        if isinstance(x, np.ndarray):
            return exact(x, time).astype(x.dtype)
        return torch.from_numpy(exact(x.numpy().astype(np.float64), time)).to(x.dtype)

    class Session:
        def run(self, outputs, inputs):
            given = inputs["x"]
            x = torch.from_numpy(given) if isinstance(given, np.ndarray) else given
            return [network(x, inputs["t"][0]).numpy()]

    return {
        "np": np, "torch": torch, "noise": noise, "network": network, "session": Session(),
        "schedule": schedule, "labels": np.zeros(16, np.int64),
        "alphas_cumprod": torch.from_numpy(schedule.alphas_cumprod),
    }  # fmt: skip


@pytest.mark.parametrize("diff", DIFFS, ids=lambda diff: diff.split("\n")[0])
def test_both_sides_draw_the_same_samples(diff, monkeypatch):
    for name in [name for name in sys.modules if name.partition(".")[0] == "k_diffusion"]:
        monkeypatch.delitem(sys.modules, name)  # other tests import a part of it
    torch = pytest.importorskip("torch")
    pytest.importorskip("diffusers")
    pytest.importorskip("k_diffusion")
    ended = []
    for mark in "-+":
        told = names(torch)
        if "torch.no_grad" in diff:  # a loop around tensors that begins with x
            told["x"] = torch.from_numpy(told["noise"])
        torch.manual_seed(0)
        exec(side(diff, mark), told)
        last = next(told[name] for name in ("sample", "x_0", "x") if name in told)
        ended.append(np.asarray(last))
    scale = np.abs(ended[0]).max()
    assert np.ptp(ended[0]) > 0.1
    np.testing.assert_allclose(*ended, atol=1e-5 * scale)


def test_every_way_in_has_its_diff():
    assert [re.search(r"^-(?:from|import) (\w+)", diff, re.M)[1] for diff in DIFFS] == [
        "diffusers", "k_diffusion", "diffusers", "diffusers",
    ]  # fmt: skip
