"""A scheduler that holds tables: fitted ones, or any that a file has."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from schedulers import _checks, _files
from schedulers.engine.tableau import Stage, Tableau
from schedulers.fitting.documents import of_schedule, of_threshold, schedule_of, threshold_of
from schedulers.fitting.report import Report
from schedulers.methods.ddim import ddim_rows
from schedulers.scheduler import Scheduler
from schedulers.schedules.base import Level

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

_SCHEMA, _VERSION = "schedulers.fitted", 1
# How closely the levels of a table must be the schedule's own.
_RTOL = 1e-9


@dataclass(frozen=True, kw_only=True, repr=False)
class FittedScheduler(Scheduler):
    """Runs tables of weights: ``steps=6`` takes the table of six steps.

    `schedulers.fitting.fit` makes one. To run a table from elsewhere, such as one that a paper
    prints, make a `Tableau` of it, or a file that `Tableau.load` reads.

    On levels that you give by `timesteps` or `sigmas` and that no table has, and upwards for
    `invert`, the rows are DDIM's.

    Parameters
    ----------
    schedule, prediction_type, threshold
        As for `Scheduler`. `spacing` is not used.
    tables : sequence of Tableau
        One for each number of steps, on levels of the schedule.
    report : Report, optional
        What the fit has gained.

    Raises
    ------
    TypeError, ValueError
        If a parameter has the wrong type, if two tables have the same number of steps, or if a
        table is of another schedule; by a run, if no table has that number of steps.

    Examples
    --------
    The method of a paper that prints its weights:

    >>> from schedulers import Stage, Tableau, VESchedule
    >>> schedule = VESchedule()
    >>> levels = tuple(map(schedule.level, [80.0, 1.0, 0.0]))
    >>> rows = [Stage(levels[0], a=[1.0], b=[1.0]), Stage(levels[1], a=[1.2, -0.2], b=[0.0])]
    >>> scheduler = FittedScheduler(schedule, tables=[Tableau("paper", levels, tuple(rows))])
    >>> scheduler.sample(lambda x, t: x / t, np.array([80.0]), steps=2)
    array([0.])
    """

    tables: Sequence[Tableau] = ()
    report: Report | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        given = self.tables
        if not isinstance(given, Sequence) or not all(isinstance(t, Tableau) for t in given):
            raise TypeError(f"tables must be a sequence of Tableaus, got {_checks.shown(given)}")
        if not given or len({table.steps for table in given}) < len(given):
            raise ValueError(
                f"tables must be at least one, each of another number of steps, got tables of "
                f"{[table.steps for table in given]} steps"
            )
        for table in given:
            self._check_levels(table)
        object.__setattr__(self, "tables", tuple(sorted(given, key=lambda table: table.steps)))

    def __repr__(self) -> str:
        counts = ", ".join(str(table.steps) for table in self.tables)
        return (
            f"FittedScheduler(schedule={self.schedule!r}, prediction_type="
            f"{self.prediction_type!r}, threshold={self.threshold!r}, tables of {counts} steps)"
        )

    def stages(self, levels: tuple[Level, ...]) -> Iterable[Stage]:
        """Rows of the table that has these levels; those of DDIM if there is none."""
        table = self._table(levels)
        return ddim_rows(levels, 0.0) if table is None else table.stages

    def entry(self, levels: tuple[Level, ...]) -> tuple[float, float]:
        """Return the entry of the table that has these levels."""
        table = self._table(levels)
        return (1.0, 0.0) if table is None else table.entry

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write all that sampling needs to a JSON file: schedule, prediction type and tables.

        Parameters
        ----------
        path : str or path
            The file. One that is there is replaced only when the new one is complete.

        Raises
        ------
        TypeError
            If `path` is not a path, or if the schedule is not one of this library's.
        OSError
            If the file cannot be written.
        """
        document = {
            "schema": _SCHEMA,
            "version": _VERSION,
            "schedule": of_schedule(self.schedule),
            "prediction_type": self.prediction_type,
            "threshold": of_threshold(self.threshold),
            "report": self.report and self.report.to_dict(),
            "tables": [table.to_dict() for table in self.tables],
        }
        _files.write_text(path, _files.text(document) + "\n")

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> FittedScheduler:
        """Read a scheduler from a file that `save` wrote.

        Parameters
        ----------
        path : str or path
            The file. It is data: nothing in it is executed.

        Returns
        -------
        FittedScheduler
            Equal to the one that was saved.

        Raises
        ------
        TypeError
            If `path` is not a path.
        ValueError
            If the file is damaged or is not one of a fitted scheduler. The error names the entry.
        OSError
            If the file cannot be read.

        Examples
        --------
        >>> import tempfile
        >>> from pathlib import Path
        >>> from schedulers import PLMS, VPSchedule
        >>> scheduler = FittedScheduler(VPSchedule(), tables=[PLMS(VPSchedule()).tableau(steps=6)])
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     scheduler.save(Path(folder, "six.json"))
        ...     FittedScheduler.load(Path(folder, "six.json")) == scheduler
        True
        """
        return _files.read_json(path, "a fitted scheduler", cls._made)

    @classmethod
    def _made(cls, document: Any) -> FittedScheduler:
        _files.check_header(document, _SCHEMA, _VERSION)
        keys = ("schedule", "prediction_type", "threshold", "report", "tables")
        schedule, prediction_type, threshold, report, tables = _files.members(
            "the file", {k: v for k, v in document.items() if k not in ("schema", "version")}, keys
        )
        return cls(
            schedule_of(schedule),
            prediction_type=prediction_type,
            threshold=threshold_of(threshold),
            tables=[Tableau.from_dict(table) for table in _files.items("tables", tables, 1)],
            report=None if report is None else Report.from_dict(report),
        )

    def _levels(
        self, steps: int | None, timesteps: ArrayLike | None, sigmas: ArrayLike | None
    ) -> tuple[Level, ...]:
        if steps is None or timesteps is not None or sigmas is not None:
            return super()._levels(steps, timesteps, sigmas)
        number = _checks.integer("steps", steps, at_least=1)
        for table in self.tables:
            if table.steps == number:
                return table.levels
        known = ", ".join(str(table.steps) for table in self.tables)
        raise ValueError(f"steps must be a number that there is a table for, {known}, got {number}")

    def _table(self, levels: tuple[Level, ...]) -> Tableau | None:
        return next((table for table in self.tables if table.levels == levels), None)

    def _check_levels(self, table: Tableau) -> None:
        """Refuse a table whose levels are another schedule's."""
        for level in (*table.levels, *(stage.told for stage in table.stages)):
            try:
                own = (
                    self.schedule.clean
                    if level.sigma == 0.0
                    else self.schedule.levels([level.t])[0]
                )
            except ValueError:
                own = None
            if own is None or not np.allclose(level, own, rtol=_RTOL, atol=0.0):
                raise ValueError(
                    f"tables must have levels of {_checks.shown(self.schedule)}, got {level} in "
                    f"that of {table.steps} steps"
                )
