"""Bad input never gets through: it is refused by name, or the result is what it should be."""

import re
import time
import warnings

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from hostile.calls import CALLS, HELPERS, RESULTS, public
from hostile.values import values

LABELS = tuple(values())
# What a message may name instead of the argument: what the argument makes.
MADE = ("the model's output", "the noise that rng returned", "sigmas", "levels", "stages")
MADE += ("timesteps", "t=")
# A size that memory may hold, so that the call would be right to take a minute.
SIZES = ("shape", "n"), ("1e9", "2**31")
# Functions whose value is infinite somewhere.
INFINITE = ("log_snr", "karras_sigma", "kl_optimal")
# Functions that hand what a network makes of infinity on to the scheduler, which refuses it.
HANDS_ON = ("Guided", "CFGPlusPlus", "Preconditioned", "network that", "Threshold()")


def holds_numbers(result):
    if isinstance(result, (np.ndarray, float)):
        return bool(np.isfinite(result).all())
    if isinstance(result, (tuple, list)):
        return all(map(holds_numbers, result))
    return not hasattr(result, "carried") or holds_numbers(result.x)


def frozen(value):
    """Return what tells whether an argument was changed."""
    if isinstance(value, np.ndarray):
        return value.dtype, value.shape, value.tobytes()
    if isinstance(value, (list, dict, bytearray, set)):
        return repr(value)
    return None


def violation(name, changes):
    """Make a call with some arguments changed; return what is wrong with how it went, or None."""
    function, valid = CALLS[name]
    arguments = {**valid, **changes}
    before = {key: frozen(value) for key, value in arguments.items()}
    begun, result, wrong = time.process_time(), 0.0, None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            result = function(**arguments)
    except (TypeError, ValueError) as error:
        message = str(error)
        if len(message) > 300:
            wrong = f"a message of {len(message)} characters: {message[:200]}"
        elif not any(re.search(rf"\b{re.escape(key)}\b", message) for key in valid) and not any(
            made in message for made in MADE
        ):
            wrong = f"a message that names no argument: {message}"
    except Exception as error:
        wrong = f"{type(error).__name__}: {error}"
    if time.process_time() - begun > 1.0:
        wrong = "more than a second"
    if any(frozen(value) != before[key] for key, value in arguments.items()):
        wrong = "an argument was modified"
    if not any(word in name for word in INFINITE + HANDS_ON) and not holds_numbers(result):
        wrong = f"a result that is not finite: {result}"
    return wrong


def tried(argument, label):
    return not (argument in SIZES[0] and label in SIZES[1])


def test_every_public_callable_is_called():
    called = {re.split(r"[. (]", name)[0] for name in CALLS}
    missing = [name for _, name, value in public() if callable(value) and name not in called]
    assert sorted(set(missing) - RESULTS - HELPERS) == []


@pytest.mark.parametrize("name", CALLS)
def test_the_valid_call_is_valid(name):
    assert violation(name, {}) is None
    function, valid = CALLS[name]
    function(**valid)


@st.composite
def hostile(draw):
    name = draw(st.sampled_from(sorted(CALLS)))
    arguments = sorted(CALLS[name][1]) or [None]
    number = draw(st.integers(1, min(3, len(arguments))))
    chosen = draw(st.permutations(arguments))[:number]
    pairs = [(argument, draw(st.sampled_from(LABELS))) for argument in chosen]
    return name, {a: label for a, label in pairs if a is not None and tried(a, label)}


@settings(max_examples=600, deadline=None)
@given(hostile())
def test_hostile_arguments_are_refused_or_right(call):
    name, labels = call
    made = values()
    assert violation(name, {a: made[label] for a, label in labels.items()}) is None


@pytest.mark.slow
def test_each_argument_alone():
    found = []
    for name, (_, valid) in CALLS.items():
        for argument in valid:
            for label, value in values().items():
                if tried(argument, label):
                    wrong = violation(name, {argument: value})
                    if wrong:
                        found.append(f"{name}({argument}={label}): {wrong}")
    assert found == []
