"""The calls of `calls`, and of every other public callable one that is found by its signature."""

import builtins
import functools
import inspect
import random
import re
from typing import Any, NamedTuple

import numpy as np

from hostile.calls import CALLS, FOLDER
from hostile.walk import BASES, LEFT_OUT, documented, promised, public, targets
from schedulers.compat.diffusers import DDIMScheduler

# Methods that the library itself calls, with what it has checked.
INNER = {"stages", "entry", "raises", "row", "normal", "check_shape", "first"}
INNER |= {"check_entered", "check_finite", "check", "named"}


class OfRun:
    """An argument that depends on the run that a scheduler was set to."""

    def __init__(self, make):
        self.make = make


ARRAY = np.array([[0.5, 0.25]])
# A model trained at few levels, so that a scheduler is made fast.
FEW = {"num_train_timesteps": 50}
# Arguments that are meant for the parameters of a name; what `calls` gives them comes first.
BY_NAME = {
    "x": [ARRAY, np.array([0.5, 0.25])],
    "sigmas": [[4.0, 2.0, 0.0], None],
    "num_inference_steps": [4],
    "timestep": [OfRun(lambda run: run.timesteps[0])],
    "timesteps": [OfRun(lambda run: run.timesteps[:1]), None],
    "t": [OfRun(lambda run: run.timesteps[0]), 1.0],
    "sigma": [0.5],
    "config": [{}, {"num_train_timesteps": 50}, str(FOLDER)],
    "path": [FOLDER],
    "pretrained_model_name_or_path": [FOLDER],
    "save_directory": [FOLDER / "saved"],
    "subfolder": [None],
    "device": [None, "cpu"],
    "generator": [0, None],
    "sigma_min": [0.1],
    "sigma_max": [2.0],
    "prediction_type": ["epsilon", "sample"],
    "extra_args": [None, {}],
}
# And for those of an annotation, or of each side of its bars.
BY_ANNOTATION = {
    "Any": [None],
    "Array": [ARRAY],
    "Callback": [lambda info: None],
    "Mapping[str, Any]": [{}],
    "Model": [lambda x, sigma, **extra: x * 0.5],
    "NoiseSampler": [lambda sigma, sigma_next: np.zeros((1, 2))],
    "None": [None],
    "bool": [False, True],
    "float": [0.5, 1.0],
    "int": [1, 2, 4],
    "str": [],
}


class Call(NamedTuple):
    """A function of keywords, and arguments that it takes."""

    function: Any
    valid: dict[str, Any]
    annotations: dict[str, str]
    promised: tuple[type, ...]
    like: str  # the argument whose shape and dtype the result has, by the documentation


def sides(annotation):
    """Return the sides of an annotation's bars, outside of brackets."""
    return re.split(r" \| (?![^\[]*\])", annotation)


def meant(name, annotation, default):
    """Return what is meant for a parameter."""
    known = [default] if default is not inspect.Parameter.empty else []
    return [
        *known,
        *BY_NAME.get(name, []),
        *(value for side in sides(annotation) for value in BY_ANNOTATION.get(side, [])),
    ]


def parameters(function):
    """Return the named parameters of a callable, but self."""
    try:
        signature = inspect.signature(function)
    except ValueError:
        return {}
    kinds = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return {n: p for n, p in signature.parameters.items() if n != "self" and p.kind not in kinds}


def in_calls(label):
    """Return the labels of `calls` that call a target."""
    name, _, method = label.partition(".")
    classes = {name}
    if method and isinstance(targets()[label], tuple):
        classes |= {
            each
            for each, value in public().items()
            if inspect.isclass(value) and name in [base.__name__ for base in value.__mro__]
        }
    wanted = {label} | {
        f"{each}()" if method == "__call__" else f"{each}.{method}" for each in classes if method
    }
    return [key for key in CALLS if re.split(r"[ ]", key)[0] in wanted]


def left_out(label):
    """Return why a target is not called, or None."""
    name, _, method = label.partition(".")
    if in_calls(label):
        return None
    if method in INNER:
        return "the library calls it, with what it has checked"
    if name in BASES and method:
        return None
    return LEFT_OUT.get(label) or LEFT_OUT.get(name)


def bound(label):
    """Return a target as a function of keywords. A method gets a new instance for each call."""
    target = targets()[label]
    if not isinstance(target, tuple):
        return target, target
    cls, method = target
    attribute = getattr(cls, method)
    if inspect.ismethod(attribute):
        return attribute, attribute

    @functools.wraps(attribute)
    def function(**arguments):
        run = cls(**FEW) if "num_train_timesteps" in parameters(cls) else cls()
        if hasattr(run, "set_timesteps") and method != "set_timesteps":
            run.set_timesteps(4)
        made = {k: v.make(run) if isinstance(v, OfRun) else v for k, v in arguments.items()}
        return getattr(run, method)(**made)

    return function, attribute


def found(label):
    """Return a target, and arguments that it takes, of those meant for its parameters."""
    function, described = bound(label)
    wanted = parameters(described)
    choices = {n: meant(n, str(p.annotation), p.default) for n, p in wanted.items()}
    defaults = {n: p.default for n, p in wanted.items() if p.default is not p.empty}
    defaults |= {n: value for n, value in FEW.items() if n in defaults}
    rng, last = random.Random(0), None
    for attempt in range(200):
        # First with the required ones alone.
        names = [n for n in wanted if attempt >= 100 or n not in defaults]
        try:
            chosen = {n: rng.choice(choices[n]) for n in names}
            function(**{**defaults, **chosen})
        except Exception as error:
            last = error
        else:
            return function, {**defaults, **chosen}
    raise LookupError(f"no valid call of {label} was found: write one in calls.py. {last!r}")


def call(label, function, valid, described):
    errors = (getattr(builtins, name, ValueError) for name in promised(described))
    like = re.search(r"shape and dtype of `(\w+)`", documented(described, "Returns"))
    # diffusers' steps return the next sample.
    like = like[1] if like else "sample" if "`prev_sample`" in (described.__doc__ or "") else ""
    annotations = {name: str(p.annotation) for name, p in parameters(described).items()}
    return Call(function, valid, annotations, (TypeError, ValueError, *errors), like)


def calls():
    """Return every call by its label."""
    DDIMScheduler().save_config(FOLDER)
    made = {label: call(label, *pair, pair[0]) for label, pair in CALLS.items()}
    for label in targets():
        if not left_out(label) and not in_calls(label):
            try:
                made[label] = call(label, *found(label), bound(label)[1])
            except LookupError as error:
                MISSING.append(str(error))
    return made


@functools.cache
def good(name):
    """Return what valid calls give to the parameters of a name."""
    return [each.valid[name] for each in FOUND.values() if name in each.valid]


MISSING: list[str] = []
FOUND = calls()
