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
