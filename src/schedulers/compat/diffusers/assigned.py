"""Attributes that people assign: arrays that the steps read back, and names that are refused."""

from __future__ import annotations

from typing import Any

import numpy as np

from schedulers import _checks
from schedulers.engine import arrays


def array(name: str, values: Any) -> Any:
    """Return numbers that were assigned, of any library, as a NumPy array of one dimension."""
    if isinstance(values, np.ndarray) and values.dtype.kind in "iuf":
        _checks.vector(name, values)
        return values  # itself, so that what is written into it later counts, too
    return _checks.vector(name, arrays.as_lists(values))


class Refused:
    """An attribute of diffusers' that steps here do not read: to assign it is an error.

    What only says that nothing has been evaluated yet, such as None, 0 or an empty list, begins new
    runs, which is what it is assigned for.
    """

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    def __get__(self, scheduler: Any, owner: type) -> Any:
        if scheduler is None:
            return self
        raise AttributeError(f"{owner.__name__} has no {self._name}: a run's samples tell its past")

    def __set__(self, scheduler: Any, value: Any) -> None:
        values = value if isinstance(value, (list, tuple)) else [value]
        if all(one is None or (type(one) is int and one == 0) for one in values):
            scheduler._runs.new_epoch()
            return
        raise AttributeError(
            f"{self._name} cannot be assigned: a run's earlier evaluations are known by its "
            f"samples; set_timesteps begins new runs"
        )


class Unread(Refused):
    """An attribute that no step of diffusers' reads at the start of a run: to assign it begins one.

    Past estimates have no weight there until as many evaluations have been made.
    """

    def __set__(self, scheduler: Any, value: Any) -> None:
        scheduler._runs.new_epoch()


class Fixed:
    """An attribute that is the configuration's argument of its name, and cannot be assigned."""

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    def __get__(self, scheduler: Any, owner: type) -> Any:
        return self if scheduler is None else scheduler.config[self._name]

    def __set__(self, scheduler: Any, value: Any) -> None:
        raise AttributeError(
            f"{self._name} cannot be assigned: make a scheduler with "
            f"from_config(scheduler.config, {self._name}={value!r})"
        )
