"""What a fit has gained, on samples that it was not fitted on."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import Any

from schedulers import _checks, _files
from schedulers.engine.text import table


@dataclass(frozen=True)
class Fit:
    """Errors of one table: root-mean-square distances to the model's exact flow.

    Attributes
    ----------
    steps : int
        Number of steps.
    nfe : int
        Number of model evaluations.
    before, after : float
        Error of the scheduler that the fit began with, and of the table, on the samples held out.
    fitted : float
        Error of the table on the samples that it was fitted on.
    kept : bool
        Whether the table is the fitted one. If not, fitting gained nothing on the samples held
        out, and the table is that of the scheduler that the fit began with.
    """

    steps: int
    nfe: int
    before: float
    after: float
    fitted: float
    kept: bool


@dataclass(frozen=True)
class Report:
    """Errors of fitted tables. Printing it shows a line for each number of steps.

    Attributes
    ----------
    scheduler : str
        The scheduler that the fit began with.
    samples, held_out : int
        Number of samples that the tables were fitted on, and of those held out.
    evaluations : int
        How often the fit called the model, with a batch each time.
    fits : tuple of Fit
        One for each number of steps.
    """

    scheduler: str
    samples: int
    held_out: int
    evaluations: int
    fits: tuple[Fit, ...]

    def __str__(self) -> str:
        rows = [["steps", "evaluations", "before", "after", "ratio", ""]]
        for fit in self.fits:
            ratio = f"{fit.after / fit.before:.2f}" if fit.before else "-"
            numbers = f"{fit.before:.4g}", f"{fit.after:.4g}", ratio
            note = "" if fit.kept else "fitting gained nothing: the table is as before"
            rows.append([str(fit.steps), str(fit.nfe), *numbers, note])
        return "\n".join(
            [
                f"Begun with {self.scheduler}",
                f"Root-mean-square distance to the exact flow on {self.held_out} samples held out; "
                f"fitted on {self.samples}, with {self.evaluations} calls of the model",
                *(line.rstrip() for line in table(rows)),
            ]
        )

    def to_dict(self) -> dict[str, Any]:
        """Return the report as what JSON has."""
        return asdict(self) | {"fits": [asdict(fit) for fit in self.fits]}

    @classmethod
    def from_dict(cls, document: Any) -> Report:
        """Return the report that `to_dict` gave."""
        names = [field.name for field in fields(cls)]
        scheduler, samples, held_out, evaluations, fits = _files.members("report", document, names)
        if not isinstance(scheduler, str):
            raise TypeError(f"report.scheduler must be a string, got {_checks.shown(scheduler)}")
        rows = enumerate(_files.items("report.fits", fits))
        return cls(
            scheduler,
            _checks.integer("report.samples", samples, at_least=0),
            _checks.integer("report.held_out", held_out, at_least=0),
            _checks.integer("report.evaluations", evaluations, at_least=0),
            tuple(_fit(f"report.fits[{i}]", row) for i, row in rows),
        )


def _fit(name: str, document: Any) -> Fit:
    values = _files.members(name, document, [field.name for field in fields(Fit)])
    steps, nfe = (_checks.integer(name, value, at_least=1) for value in values[:2])
    before, after, fitted = (_checks.real(name, value, at_least=0.0) for value in values[2:5])
    return Fit(steps, nfe, before, after, fitted, _checks.boolean(name, values[5]))
