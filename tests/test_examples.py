"""The examples that need more than NumPy do what they say. Skipped without what they need."""

from importlib import import_module
from pathlib import Path

import numpy as np
import pytest

EXAMPLES = Path(__file__).parent.parent / "examples"


@pytest.fixture
def example(monkeypatch):
    monkeypatch.syspath_prepend(EXAMPLES)
    return import_module


def test_the_network_is_small_and_tells_nothing_of_where_it_was_made():
    content = (EXAMPLES / "digits.onnx").read_bytes()
    assert len(content) < 1_000_000
    assert not [word for word in (b"/tmp", b"/home", b"/root", b".py") if word in content]


def test_both_loops_draw_the_same_recognizable_digits(example):
    for package in ("onnxruntime", "sklearn", "matplotlib"):
        pytest.importorskip(package)
    onnx_loop = example("onnx_loop")
    labels = np.repeat(np.arange(10), 20)
    x = np.random.default_rng(7).standard_normal((200, 1, 8, 8), np.float32)
    images = onnx_loop.as_the_core_has_it(x, labels, 2.0, 12)
    assert np.abs(onnx_loop.as_diffusers_has_it(x, labels, 2.0, 12) - images).max() < 1e-4
    assert min(onnx_loop.recognized(images, labels).values()) > 0.9
    # The classes are the labels' doing: of others, hardly any image is taken for its own.
    assert max(onnx_loop.recognized(images, (labels + 1) % 10).values()) < 0.1


def test_a_compiled_run_in_jax_is_the_librarys(example, capsys):
    pytest.importorskip("jax")
    example("jax_scan").main()  # asserts it
    assert capsys.readouterr().out.count("e-0") >= 7


def test_a_policy_gradient_is_the_exact_one_and_reward_goes_up(example):
    """To Monte-Carlo error: 20 estimates, of which each is off by a standard error or so."""
    toy = example("policy_gradient")
    for weight in (-1.0, 0.5, 3.0):
        made = [toy.policy_gradient(weight, np.random.default_rng(seed)) for seed in range(20)]
        _, estimates, errors = np.transpose(made)
        off = (estimates - toy.exact_gradient(weight)) / errors
        assert abs(off.mean()) < 3.0 / np.sqrt(20)
        assert 0.5 < off.std() < 1.6
    path = toy.ascend()
    rewards = [toy.expected_reward(weight) for weight in path[:, 0]]
    assert np.diff(rewards[::5]).min() > -0.01
    best = max(map(toy.expected_reward, np.linspace(1.5, 2.5, 101)))
    assert rewards[0] < -9.0 < best - 0.01 < rewards[-1]


def test_the_toy_of_policy_gradients_needs_numpy_alone():
    """Its 40 lines are imported without matplotlib, which its picture alone needs."""
    text = (EXAMPLES / "policy_gradient.py").read_text()
    toy = text[text.index("import sys") : text.index("if __name__")]
    assert "matplotlib" not in toy
    assert sum(bool(line.strip()) and not line.startswith("#") for line in toy.splitlines()) <= 40
