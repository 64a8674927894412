"""Schedules and thresholds as what JSON has, and back. What is read is checked, never executed."""

from __future__ import annotations

from dataclasses import asdict, fields, is_dataclass
from typing import Any

from schedulers import _checks, _files
from schedulers.engine.thresholds import DynamicThreshold, StaticThreshold
from schedulers.schedules.base import NoiseSchedule
from schedulers.schedules.continuous import CosineSchedule, FlowSchedule, VESchedule, VPSchedule
from schedulers.schedules.discrete import DiscreteSchedule

_CONTINUOUS: dict[str, Any] = {
    made.__name__: made for made in (VPSchedule, VESchedule, FlowSchedule, CosineSchedule)
}
_THRESHOLDS: dict[str, Any] = {made.__name__: made for made in (StaticThreshold, DynamicThreshold)}
# What a discrete schedule is made from.
_DISCRETE = {"betas": DiscreteSchedule, "alphas_cumprod": DiscreteSchedule.from_alphas_cumprod}


def of_schedule(schedule: NoiseSchedule) -> dict[str, Any]:
    """Return a schedule as an object with its class and what it is made from."""
    name = type(schedule).__name__
    if isinstance(schedule, DiscreteSchedule):
        for key, make in _DISCRETE.items():
            numbers = getattr(schedule, key).tolist()
            if make(numbers) == schedule:
                return {"class": name, key: numbers}
    if _CONTINUOUS.get(name) is type(schedule) and is_dataclass(schedule):
        return {"class": name, **asdict(schedule)}
    raise TypeError(
        f"schedule must be one of this library's to be saved, got {_checks.shown(schedule)}"
    )


def schedule_of(document: Any) -> NoiseSchedule:
    """Return the schedule that `of_schedule` gave."""
    name, options = _class("schedule", document, (*_CONTINUOUS, "DiscreteSchedule"))
    if name == "DiscreteSchedule":
        key = next(iter(options), "")
        _files.members("schedule", options, [key if key in _DISCRETE else "betas"])
        return _DISCRETE[key](_files.numbers(f"schedule.{key}", options[key], at_least=1))
    schedule: NoiseSchedule = _made(_CONTINUOUS[name], "schedule", options)
    return schedule


def of_threshold(threshold: StaticThreshold | DynamicThreshold | None) -> dict[str, Any] | None:
    """Return a threshold as an object with its class and its options; None for none."""
    if threshold is None:
        return None
    return {"class": type(threshold).__name__, **asdict(threshold)}


def threshold_of(document: Any) -> StaticThreshold | DynamicThreshold | None:
    """Return the threshold that `of_threshold` gave."""
    if document is None:
        return None
    name, options = _class("threshold", document, tuple(_THRESHOLDS))
    threshold: StaticThreshold | DynamicThreshold = _made(_THRESHOLDS[name], "threshold", options)
    return threshold


def _class(name: str, document: Any, classes: tuple[str, ...]) -> tuple[str, dict[str, Any]]:
    if not isinstance(document, dict):
        raise TypeError(f"{name} must be an object, got {_checks.shown(document)}")
    options = {key: value for key, value in document.items() if key != "class"}
    return _checks.choice(f"{name}.class", document.get("class"), classes), options


def _made(make: Any, name: str, options: dict[str, Any]) -> Any:
    _files.members(name, options, [field.name for field in fields(make)])
    return make(**options)
