"""Bad input never gets through: it is refused by name, or the result is what it should be.

Every public callable is found by walking the modules' `__all__`, and called with what its
parameters are meant for, among which one to three arguments are hostile. A new callable is called
the day it is written.
"""

import functools
import os
import re
import sys
import time
import warnings

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings, strategies as st
from hypothesis.extra import numpy as st_np

from hostile.found import FOLDER, FOUND, MISSING, good, in_calls, left_out, sides
from hostile.values import twisted, values
from hostile.walk import targets
from schedulers.compat.diffusers import SchedulerOutput

try:
    import resource
except ImportError:  # Windows
    resource = None

LABELS = tuple(values())
# What a message may name instead of the argument: what the argument makes.
MADE = ("the model's output", "the noise that rng returned", "sigmas", "levels", "stages")
MADE += ("timesteps", "t=", "the sample at t=", "must be a file of", "t must lie in")
MADE += (
    "beta_schedule",
    "path must be",
    "prev_sample",
    "denoised must be finite",
    "pred_noised_sample",
    "report",
)
# Sizes that memory may hold, and numbers of steps, so that the call is right to take its time.
SIZES = ((("shape", "n"), ("1e9", "2**31")), (("sigmas", "timesteps"), ("long list",)))
# Functions whose value is infinite somewhere.
INFINITE = ("log_snr", "karras_sigma", "kl_optimal")
# Functions that hand what a network makes of infinity on to the scheduler, which refuses it.
HANDS_ON = (
    "ReversedFlow",
    "GuidedBatch",
    "Guided",
    "CFGPlusPlus",
    "Preconditioned",
    "network that",
    "Threshold()",
)
HANDS_ON += ("scale_model_input",)
# Of 100 000 calls in CI, those that Hypothesis draws; the others try each argument alone.
DRAWN = 20_000
SECONDS, MEBIBYTES = 1.0, 100
# These optimise, for seconds.
FITS = {"fit", "levels"}


@pytest.fixture(autouse=True, scope="module")
def elsewhere():
    """Let what is written by a hostile name be written elsewhere."""
    here = os.getcwd()
    os.chdir(FOLDER)
    yield
    os.chdir(here)


def holds_numbers(result):
    if isinstance(result, (np.ndarray, float)):
        return np.asarray(result).dtype.kind not in "fc" or bool(np.isfinite(result).all())
    if isinstance(result, (tuple, list)):
        return all(map(holds_numbers, result))
    if isinstance(result, dict):
        return all(map(holds_numbers, result.values()))
    return not hasattr(result, "carried") or holds_numbers(result.x)


def frozen(value):
    """Return what tells whether an argument was changed."""
    if isinstance(value, np.ndarray):
        return value.dtype, value.shape, value.tobytes()
    if isinstance(value, (list, dict, bytearray, set)):
        return repr(value)
    return None


def wrong_result(label, result, arguments):
    finite = any(word in label for word in INFINITE + HANDS_ON)
    if not finite and not holds_numbers(result):
        return f"a result that is not finite: {result}"
    if isinstance(result, SchedulerOutput):
        result = result.prev_sample
    given = arguments.get(FOUND[label].like)
    if isinstance(given, np.ndarray) and isinstance(result, np.ndarray):
        made = result.shape, result.dtype.newbyteorder("=")
        if made != (given.shape, given.dtype.newbyteorder("=")):
            return f"a result of shape and dtype {made} of an array of {given.shape, given.dtype}"
    return None


def wrong_message(message, names):
    if len(message) > 300:
        return f"a message of {len(message)} characters: {message[:200]}"
    if not any(re.search(rf"\b{re.escape(name)}\b", message) for name in names) and not any(
        made in message for made in MADE
    ):
        return f"a message that names no argument: {message}"
    return None


def violation(label, changes):
    """Make a call with some arguments changed; return what is wrong with how it went, or None."""
    call = FOUND[label]
    arguments = {**call.valid, **changes}
    before = {key: frozen(value) for key, value in arguments.items()}
    memory, begun, wrong = most_memory(), time.process_time(), None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            try:
                result = call.function(**arguments)
            finally:
                took = time.process_time() - begun
    except ImportError as error:
        wrong = None if "needs the package" in str(error) else f"ImportError: {error}"
    except OSError as error:
        wrong = None if isinstance(error, call.promised) else f"{type(error).__name__}: {error}"
    except call.promised as error:
        wrong = wrong_message(str(error), call.valid)
    except Exception as error:
        wrong = f"{type(error).__name__}: {error}"
    else:
        wrong = wrong_result(label, result, arguments)
    if took > SECONDS and label not in FITS:
        wrong = "more than a second"
    if most_memory() - memory > MEBIBYTES:
        wrong = f"more than {MEBIBYTES} MiB"
    if any(frozen(value) != before[key] for key, value in arguments.items()):
        wrong = "an argument was modified"
    return wrong


def most_memory():
    """Return the most memory that the process has taken so far, in MiB, from the system."""
    if resource is None:
        return 0.0
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (
        2**20 if sys.platform == "darwin" else 2**10
    )


def tried(argument, label):
    return not any(argument in names and label in labels for names, labels in SIZES)


def test_every_public_callable_is_called_or_left_out_for_a_reason():
    assert MISSING == []
    for label in targets():
        assert label in FOUND or in_calls(label) or left_out(label)
    assert len(FOUND) > 200  # that the walk walks


@pytest.mark.parametrize("label", FOUND)
def test_the_valid_call_is_valid(label):
    call = FOUND[label]
    assert violation(label, {}) is None
    call.function(**call.valid)


# No integers in between, which are right sizes that take their time and memory.
INTEGERS = st.integers(-3, 30) | st.integers(-(2**80), 500) | st.integers(2**40, 2**80)
NUMBERS = st.floats() | st.floats(0.0, 1.0) | INTEGERS
LISTS = st.lists(st.floats(0.0, 100.0), max_size=4) | st.lists(NUMBERS, max_size=3)
DTYPES = st.sampled_from(["f2", "f4", "f8", ">f8", "i8", "u1", "?", "c8", "U2", "O"])
ARRAYS = DTYPES.flatmap(
    lambda dtype: (
        st.just(np.array([0.5, None], object))
        if dtype == "O"
        else st_np.arrays(dtype, st_np.array_shapes(min_dims=0, max_dims=3, max_side=3))
    )
)
TEXT = st.text(max_size=8) | st.sampled_from(["epsilon", "karras", "linear", "trailing", "cpu"])
# By annotation, what else than hostile values and other calls' arguments is tried.
GENERATED = {
    "float": NUMBERS,
    "int": NUMBERS,
    "bool": st.booleans(),
    "str": TEXT,
    "Array": ARRAYS,
    "ArrayLike": LISTS | ARRAYS,
    "Sequence": LISTS,
    "Mapping": st.dictionaries(TEXT, NUMBERS | TEXT | st.booleans() | LISTS, max_size=3),
}
ANY = NUMBERS | LISTS | ARRAYS | TEXT


@st.composite
def hostile(draw, labels):
    """Draw a call, and the one to three of its arguments that are changed."""
    label = draw(st.sampled_from(labels))
    names = sorted(FOUND[label].valid)
    count = draw(st.integers(1, min(3, len(names)))) if names else 0
    changes = {}
    for name in draw(st.permutations(names))[:count]:
        twists = twisted(FOUND[label].valid[name])
        kinds = ["nasty", "nasty", "generated", "good", *(["twisted"] if twists else [])]
        kind = draw(st.sampled_from(kinds))
        if kind == "nasty":
            nasty = draw(st.sampled_from([each for each in LABELS if tried(name, each)]))
            changes[name] = VALUES[nasty] if nasty != "generator" else (i for i in range(3))
        elif kind == "twisted":
            changes[name] = twists[draw(st.sampled_from(sorted(twists)))]
        elif kind == "generated":
            changes[name] = draw(generated(FOUND[label].annotations.get(name, "")))
        else:
            changes[name] = draw(st.sampled_from(good(name)))
    return label, changes


VALUES = values()


@functools.cache
def generated(annotation):
    parts = {re.split(r"[\[.]", side)[0] for side in sides(annotation)}
    known = [GENERATED[part] for part in sorted(parts) if part in GENERATED]
    return st.one_of(*known) if known else ANY


def check(call):
    label, changes = call
    assert violation(label, changes) is None


QUIET = {"deadline": None, "suppress_health_check": list(HealthCheck), "database": None}


@settings(max_examples=1500, derandomize=True, **QUIET)
@given(hostile(sorted(FOUND.keys() - FITS)))
def test_hostile_arguments_are_refused_or_right(call):
    check(call)


@pytest.mark.hostile
@pytest.mark.parametrize("label", sorted(FOUND.keys() - FITS))
def test_each_callable(label):
    tests = given(hostile([label]))(check)
    settings(max_examples=-(-DRAWN // len(FOUND)), derandomize=True, **QUIET)(tests)()


def alone(label):
    """Yield each argument of a call with each hostile value."""
    for argument, valid in FOUND[label].valid.items():
        for nasty, value in {**values(), **twisted(valid)}.items():
            if tried(argument, nasty):
                yield argument, nasty, value


def test_a_hundred_thousand_calls_are_made_in_all():
    assert sum(1 for label in FOUND for _ in alone(label)) + DRAWN >= 100_000


@pytest.mark.hostile
@pytest.mark.parametrize("label", FOUND)
def test_each_argument_alone(label):
    found = [
        f"{argument}={nasty}: {wrong}"
        for argument, nasty, value in alone(label)
        if (wrong := violation(label, {argument: value}))
    ]
    assert found == []
