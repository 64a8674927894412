"""The tableau: a scheduler as a table of weights.

At the level (alpha, sigma) of a *stage*, a model evaluation gives the denoised estimate D and the
noise estimate e, with x = alpha D + sigma e. The stage's row of weights makes the next sample:

    x_next = sum_k a[k] D[-k] + sum_k b[k] e[-k] + c z,      z ~ N(0, I),

where D[-k] and e[-k] come from the evaluation k before this one. The weights depend on the noise
levels alone. A stage may tell the model another noise than the sample has: see `Stage`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from itertools import pairwise, zip_longest
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from schedulers import _checks, _files
from schedulers.engine.parameterization import Coefficients, coefficients
from schedulers.engine.text import table
from schedulers.schedules.base import Level

if TYPE_CHECKING:
    import os

    from numpy.typing import NDArray

    Weights = Sequence[float] | Mapping[int, float] | NDArray[np.floating[Any]]


_HEADER: dict[str, Any] = {"schema": "schedulers.tableau", "version": 1}
# The key of a stage that may be left out.
_TOLD = "told_sigma"


@dataclass(frozen=True, slots=True, init=False)
class Stage:
    """One model evaluation and the weighted sum that follows it: a row of a tableau.

    Parameters
    ----------
    level : Level
        The level of the sample; the model is evaluated at its time.
    a, b : sequence of float, or dict of {int: float}
        Weights of D and of e. Position k, or the key k, is the weight of the estimate from k
        evaluations ago; 0 is this evaluation's own. Kept as a tuple of floats.
    c : float
        Weight of fresh noise.
    ends_step : bool
        Whether the scheduler's step ends with this row.
    told_sigma : float, optional
        The noise's scale that the model is told of, by `level.t`, where it is not `level.sigma`.
        The model's output is read with it, and D is what the model says. The row's e is still
        the noise in the sample, (x - alpha D) / sigma.

    Raises
    ------
    TypeError, ValueError
        If a weight is not a number, if a key is not an integer of at least 0, if `a` or `b` is
        an empty sequence, or if `told_sigma` is not above 0 or is given where sigma is 0.

    Examples
    --------
    >>> from schedulers import Level, Stage
    >>> Stage(Level(2.0, 1.0, 2.0), a=[1.0], b={2: 0.5}).b
    (0.0, 0.0, 0.5)
    """

    level: Level
    a: tuple[float, ...]
    b: tuple[float, ...]
    c: float
    ends_step: bool
    told_sigma: float | None

    def __init__(
        self,
        level: Level,
        a: Weights,
        b: Weights,
        c: float = 0.0,
        ends_step: bool = True,
        told_sigma: float | None = None,
    ) -> None:
        if not isinstance(level, Level):
            raise TypeError(f"level must be a Level, got {_checks.shown(level)}")
        if told_sigma is not None:
            told_sigma = _checks.real("told_sigma", told_sigma, above=0.0)
            if not level.sigma:
                raise ValueError(f"told_sigma must be left out where sigma is 0, got {told_sigma}")
        for name, value in (
            ("level", level),
            ("a", _weights("a", a)),
            ("b", _weights("b", b)),
            ("c", _weight("c", c)),
            ("ends_step", _checks.boolean("ends_step", ends_step)),
            ("told_sigma", told_sigma),
        ):
            object.__setattr__(self, name, value)

    @property
    def told(self) -> Level:
        """The level that the model is told."""
        return self.level if self.told_sigma is None else self.level._replace(sigma=self.told_sigma)


@dataclass(frozen=True)
class Tableau:
    """The rows that a run takes. Printing it shows them.

    Parameters
    ----------
    method : str
        Name of the scheduler's class.
    levels : tuple of Level
        The grid: where each step begins, and where the last one ends.
    stages : tuple of Stage
        The rows, one per model evaluation.
    entry : (float, float)
        Weights of the given sample and of fresh noise in the sample that the first stage sees.

    Attributes
    ----------
    steps, nfe : int
        Number of steps, and of model evaluations.
    draws_noise : bool
        Whether a run draws fresh noise.
    timesteps : list of float
        Model time at which each step begins.
    sigmas : ndarray of float64, shape (steps + 1,)
        Karras's sigma at each of `levels`.
    fingerprint : str
        The sha256 of the levels, the stages and the entry. Two tableaus have the same fingerprint
        if and only if these are equal, whatever their methods are called.

    Raises
    ------
    TypeError, ValueError
        If a row is not a `Stage`, has a weight that is not finite or one for an evaluation before
        the first, or if the rows do not end as many steps as there are.

    Examples
    --------
    >>> from schedulers import Heun, VESchedule
    >>> print(Heun(VESchedule()).tableau(sigmas=[4.0, 2.0, 0.0]))
    Heun: 2 steps, 3 model evaluations
    step NFE t alpha sigma D       e e[-1] z
       1   1 4     1     4 1       2       0 0
           2 2     1     2 1       1       1 0
       2   3 2     1     2 1       0       0 0
    ends at 0     1     0
    """

    method: str
    levels: tuple[Level, ...]
    stages: tuple[Stage, ...]
    entry: tuple[float, float] = (1.0, 0.0)

    def __post_init__(self) -> None:
        if not isinstance(self.method, str):
            raise TypeError(f"method must be a name, got {_checks.shown(self.method)}")
        for name, kind, least in (("levels", Level, 2), ("stages", Stage, 0)):
            values = getattr(self, name)
            if not isinstance(values, tuple) or len(values) < least:
                raise TypeError(
                    f"{name} must be a tuple of at least {least}, got {_checks.shown(values)}"
                )
            for row, value in enumerate(values):
                if not isinstance(value, kind):
                    raise TypeError(
                        f"{name} must be {kind.__name__}s, got {_checks.shown(value)} in row {row}"
                    )
        for row, stage in enumerate(self.stages):
            if not all(map(math.isfinite, (*stage.a, *stage.b, stage.c))):
                raise ValueError(
                    f"stages must have finite weights, got {_checks.shown(stage)} in row {row}"
                )
            if any(stage.a[row + 1 :]) or any(stage.b[row + 1 :]):
                raise ValueError(
                    f"stages must weigh evaluations from the first one on, got a weight in row "
                    f"{row} for an evaluation before it"
                )
        if not isinstance(self.entry, tuple) or len(self.entry) != 2:
            raise TypeError(f"entry must be two weights, got {_checks.shown(self.entry)}")
        for name, weight in zip(("entry[0]", "entry[1]"), self.entry, strict=True):
            _checks.real(name, weight)
        ends = [stage.ends_step for stage in self.stages]
        if sum(ends) != self.steps or not ends[-1]:
            raise ValueError(
                f"stages must end {self.steps} steps, and the last stage must end the last step, "
                f"got {sum(ends)} stages that end one"
            )

    @property
    def steps(self) -> int:
        """Number of steps."""
        return len(self.levels) - 1

    @property
    def nfe(self) -> int:
        """Number of model evaluations."""
        return len(self.stages)

    @property
    def timesteps(self) -> list[float]:
        """Model time at which each step begins."""
        return [level.t for level in self.levels[:-1]]

    @property
    def sigmas(self) -> NDArray[np.float64]:
        """Karras's sigma at each of `levels`."""
        return np.array([level.karras for level in self.levels])

    @property
    def fingerprint(self) -> str:
        """The sha256 of the levels, the stages and the entry, as 64 hexadecimal digits.

        It is the same on every machine. What is hashed is the JSON list ``[levels, stages, entry]``
        as `json.dumps` writes it: a level is ``[t, alpha, sigma]``, a stage ``[level, a, b, c,
        ends_step]`` with `told_sigma` after it where it has one, and every number a float.
        """
        import json
        from hashlib import sha256

        content = [
            [_floats(level) for level in self.levels],
            [
                [
                    *map(_floats, (s.level, s.a, s.b)),
                    *_floats([s.c]),
                    bool(s.ends_step),
                    *_floats(_given(s.told_sigma)),
                ]
                for s in self.stages
            ],
            _floats(self.entry),
        ]
        return sha256(json.dumps(content).encode("ascii")).hexdigest()

    def to_dict(self) -> dict[str, Any]:
        """Return the tableau as what JSON has, as the notes on `save` describe."""
        return {
            "method": self.method,
            "entry": list(self.entry),
            "levels": [level._asdict() for level in self.levels],
            "stages": [
                {
                    **stage.level._asdict(),
                    "a": list(stage.a),
                    "b": list(stage.b),
                    "c": stage.c,
                    "ends_step": stage.ends_step,
                    **dict(zip([_TOLD], _given(stage.told_sigma), strict=False)),
                }
                for stage in self.stages
            ],
        }

    @classmethod
    def from_dict(cls, document: dict[str, Any]) -> Tableau:
        """Return the tableau that `to_dict` gave, or one that was written by hand.

        Parameters
        ----------
        document : dict
            As the notes on `save` describe, without the keys "schema" and "version".

        Returns
        -------
        Tableau

        Raises
        ------
        TypeError, ValueError
            If it is not as described; the error names the entry.
        """
        keys = ("method", "entry", "levels", "stages")
        method, entry, levels, stages = _files.members("a tableau", document, keys)
        if not isinstance(method, str):
            raise TypeError(f"method must be a string, got {_checks.shown(method)}")
        scale, noise, *more = _files.numbers("entry", entry, at_least=2)
        if more:
            raise ValueError(f"entry must be two weights, got {_checks.shown(entry)}")
        named = enumerate(_files.items("levels", levels, at_least=2))
        return cls(
            method,
            tuple(_read_level(f"levels[{i}]", *_members(f"levels[{i}]", x)) for i, x in named),
            tuple(
                _read_stage(f"stages[{i}]", x)
                for i, x in enumerate(_files.items("stages", stages, 1))
            ),
            (scale, noise),
        )

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the tableau to a JSON file, which `load` reads; every number is kept exactly.

        Parameters
        ----------
        path : str or path
            The file. One that is there is replaced only when the new one is complete: a full disk
            or a killed process leaves the old file or the new one.

        Raises
        ------
        TypeError
            If `path` is not a path.
        OSError
            If the file cannot be written.

        Notes
        -----
        The file is one JSON object with these keys and no others:

        - ``"schema"``: ``"schedulers.tableau"``. ``"version"``: 1.
        - ``"method"``: any name.
        - ``"entry"``: weights of the given sample and of fresh noise in the sample that the first
          stage sees; ``[1.0, 0.0]`` to begin with the given sample.
        - ``"levels"``: where each step begins, and where the last one ends. Each is an object with
          the model's time ``"t"`` and the scales ``"alpha"`` and ``"sigma"`` there.
        - ``"stages"``: an object for each model evaluation, in order. ``"t"``, ``"alpha"`` and
          ``"sigma"`` are the level of the sample; ``"a"`` and ``"b"`` the weights of D and e, as
          lists that begin with this evaluation's own, then that of the one before, and so on;
          ``"c"`` the weight of fresh noise; ``"ends_step"`` is true where a step ends.
          ``"told_sigma"``, which may be left out, is sigma for reading the model's output, where
          that is another: D is of it, and e is (x - alpha D) / sigma.

        A time without a fraction, such as 999, is an int for the model, and 999.0 a float.

        Examples
        --------
        >>> import tempfile
        >>> from pathlib import Path
        >>> from schedulers import Euler, VESchedule
        >>> tableau = Euler(VESchedule()).tableau(sigmas=[4.0, 0.0])
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     tableau.save(Path(folder, "one.json"))
        ...     print(Path(folder, "one.json").read_text())
        {
          "schema": "schedulers.tableau",
          "version": 1,
          "method": "Euler",
          "entry": [1.0, 0.0],
          "levels": [
            {"t": 4.0, "alpha": 1.0, "sigma": 4.0},
            {"t": 0.0, "alpha": 1.0, "sigma": 0.0}
          ],
          "stages": [
            {"t": 4.0, "alpha": 1.0, "sigma": 4.0, "a": [1.0], "b": [0.0], "c": 0.0,
             "ends_step": true}
          ]
        }
        """
        _files.write_text(path, _files.text({**_HEADER, **self.to_dict()}) + "\n")

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Tableau:
        """Read a tableau from a file that `save` wrote, or that was written by hand.

        Parameters
        ----------
        path : str or path
            The file, in the format that the notes on `save` describe. It is data: nothing in it is
            executed.

        Returns
        -------
        Tableau
            Equal to the one that was saved. `FittedScheduler` runs it.

        Raises
        ------
        TypeError
            If `path` is not a path.
        ValueError
            If the file is not as described. The error names the file and the entry.
        OSError
            If the file cannot be read.

        Examples
        --------
        >>> import tempfile
        >>> from pathlib import Path
        >>> from schedulers import FittedScheduler, PLMS, VPSchedule
        >>> plms = PLMS(VPSchedule())
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     plms.tableau(steps=6).save(Path(folder, "six.json"))
        ...     table = Tableau.load(Path(folder, "six.json"))
        >>> scheduler = FittedScheduler(VPSchedule(), tables=[table])
        >>> denoiser, x_T = (lambda x, t: 0.5 * x), np.ones(3)
        >>> x_0 = scheduler.sample(denoiser, x_T, steps=6)
        >>> np.array_equal(x_0, plms.sample(denoiser, x_T, steps=6))
        True
        """

        def made(document: Any) -> Tableau:
            _files.check_header(document, _HEADER["schema"], _HEADER["version"])
            return cls.from_dict({k: v for k, v in document.items() if k not in _HEADER})

        return _files.read_json(path, "a tableau", made)

    @cached_property
    def draws_noise(self) -> bool:
        """Whether a row or the entry weighs fresh noise."""
        return bool(self.entry[1]) or any(stage.c for stage in self.stages)

    @cached_property
    def spans(self) -> list[tuple[float, float]]:
        """Part of [0, 1] whose increment a `BrownianPath` gives each row as noise.

        A step has the part between the `Level.flow_time` of its two ends. Its rows that weigh
        noise share that part equally.
        """
        spans, rows = [], iter(self.stages)
        for now, then in pairwise(level.flow_time for level in self.levels):
            step = [next(rows)]
            while not step[-1].ends_step:
                step.append(next(rows))
            width = (now - then) / max(sum(bool(stage.c) for stage in step), 1)
            for stage in step:
                spans.append((now - width, now))
                now -= width * bool(stage.c)
        return spans

    def row(self, index: int, prediction_type: str) -> Row:
        """Return a stage's weights for what a model predicts; made once."""
        row = self._rows.get((index, prediction_type))
        if row is None:
            row = self._rows[index, prediction_type] = self._made_row(index, prediction_type)
        return row

    def _made_row(self, index: int, prediction_type: str) -> Row:
        stage = self.stages[index]
        a, b = stage.a[0], stage.b[0]
        try:
            k = stage_coefficients(stage, prediction_type)
        except ZeroDivisionError:  # sigma, or a product of scales, is 0 in float64
            k = Coefficients(*[math.inf] * 4)
        weights = enumerate(zip_longest(stage.a[1:], stage.b[1:], fillvalue=0.0))
        past = [
            (weight, place, which)
            for place, pair in weights
            for which, weight in enumerate(pair)
            if weight
        ]
        folded = a * k.denoised_x + b * k.noise_x, a * k.denoised_output + b * k.noise_output
        if not all(map(math.isfinite, (*folded, *k))):
            raise ValueError(
                f"levels must be such that float64 holds the weights of x and of the model's "
                f"output, got {stage.level!r} in row {index}"
            )
        kept = self._kept(index)
        weighed = *map(bool, (*folded, *k)), *((place, which) for _, place, which in past)
        pattern = repr((weighed, kept, bool(stage.c)))  # a string knows its hash
        return Row(*folded, k[:2], k[2:], tuple(past), kept, pattern)

    def _kept(self, index: int) -> tuple[tuple[bool, bool], ...]:
        """Say of each D and e, the latest first, whether a row after this one weighs it."""
        d, e = self._last_uses
        first = max(index - self._reach + 1, -1)
        kept = [(d[row] > index, e[row] > index) for row in range(index, first, -1)]
        while kept and not any(kept[-1]):
            kept.pop()
        return tuple(kept)

    @cached_property
    def _rows(self) -> dict[tuple[int, str], Row]:
        return {}

    @cached_property
    def _reach(self) -> int:
        """Number of evaluations, at most, that a row weighs."""
        return max(max(len(stage.a), len(stage.b)) for stage in self.stages)

    @cached_property
    def _last_uses(self) -> tuple[list[int], list[int]]:
        """Index of the last row that weighs each evaluation's D, and the same for e."""
        uses = [0] * self.nfe, [0] * self.nfe
        for row, stage in enumerate(self.stages):
            for last, weights in zip(uses, (stage.a, stage.b), strict=True):
                for age, weight in enumerate(weights[: row + 1]):
                    if weight:
                        last[row - age] = row
        return uses

    def __getstate__(self) -> dict[str, Any]:
        """Return the fields: the rest is made again when it is needed."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    def __str__(self) -> str:
        columns = _columns(self.stages)
        told = ["told"] if any(_given(stage.told_sigma) for stage in self.stages) else []
        scales = ["t", "alpha", "sigma", *told]
        lines = [["step", "NFE", *scales, *(label for label, _, _ in columns), "z"]]
        step, begins = 1, True
        for nfe, stage in enumerate(self.stages, start=1):
            weights = [_at(getattr(stage, name), age) for _, name, age in columns]
            shown = *stage.level, *([stage.told.sigma] if told else []), *weights, stage.c
            numbers = [f"{value:.5g}" for value in shown]
            lines.append([str(step) if begins else "", str(nfe), *numbers])
            step, begins = step + stage.ends_step, stage.ends_step
        lines.append(["ends", "at", *(f"{value:.5g}" for value in self.levels[-1])])
        text = [
            f"{self.method}: {self.steps} step{'s' * (self.steps > 1)}, "
            f"{self.nfe} model evaluation{'s' * (self.nfe > 1)}"
        ]
        if self.entry != (1.0, 0.0):
            text.append("entry: the first x is {:.5g} x + {:.5g} z".format(*self.entry))
        return "\n".join(text + table(lines))


class Row(NamedTuple):
    """A stage's weights of x and of the model's output: x_next = x_weight x + output_weight out.

    `denoised` and `noise` are the weights of x and of the output in D and in e. `past` holds the
    weights of earlier estimates, each with its place in the history and 0 for D or 1 for e. `kept`
    says of the D and the e of this evaluation, and of those before it, whether a later row weighs
    them. Rows of the same `pattern` weigh the same arrays, and keep the same ones.
    """

    x_weight: float
    output_weight: float
    denoised: tuple[float, float]
    noise: tuple[float, float]
    past: tuple[tuple[float, int, int], ...]
    kept: tuple[tuple[bool, bool], ...]
    pattern: str


def stage_coefficients(stage: Stage, prediction_type: str) -> Coefficients:
    """Return the weights of x and of the model's output in D and in e of a row.

    The output is read at the level that the model is told. D is the same in e of the sample's
    level, (x - alpha D) / sigma, as in e of the level told, (x - alpha D) / told_sigma.
    """
    k = coefficients(prediction_type, stage.told.alpha, stage.told.sigma)
    if stage.told_sigma is None:
        return k
    part = stage.told_sigma / stage.level.sigma
    return k._replace(noise_x=part * k.noise_x, noise_output=part * k.noise_output)


def _columns(stages: Sequence[Stage]) -> list[tuple[str, str, int]]:
    """Return the label, the field and the age of each estimate that some row weighs."""
    columns = []
    for label, name in (("D", "a"), ("e", "b")):
        rows = [getattr(stage, name) for stage in stages]
        for age in range(max(map(len, rows), default=1)):
            if age == 0 or any(_at(weights, age) for weights in rows):
                columns.append((f"{label}[-{age}]" if age else label, name, age))
    return columns


def _at(weights: tuple[float, ...], age: int) -> float:
    return weights[age] if age < len(weights) else 0.0


# What Python iterates over, but holds no weights or has no order.
_NO_WEIGHTS = (str, bytes, bytearray, memoryview, set, frozenset)


def _weights(name: str, given: Any) -> tuple[float, ...]:
    """Return weights by age as a tuple of floats."""
    if not isinstance(given, (tuple, list)):
        given = _by_age(name, given)
    weights = tuple(
        weight if type(weight) is float else _weight(f"{name}[{age}]", weight)
        for age, weight in enumerate(given)
    )
    if not weights:
        raise ValueError(f"{name} must hold the weight of its own evaluation, if only 0, got none")
    return weights


def _by_age(name: str, given: Any) -> Iterable[Any]:
    """Return weights that are not in a list in the order of their ages."""
    if isinstance(given, Mapping):
        ages = [_checks.count(f"each key of {name}", age, at_least=0) for age in given]
        return [given.get(age, 0.0) for age in range(max(ages, default=0) + 1)]
    if isinstance(given, _NO_WEIGHTS) or not np.iterable(given):
        raise TypeError(
            f"{name} must be a sequence of weights or a dict of {{age: weight}}, "
            f"got {_checks.shown(given)}"
        )
    return given


def _weight(name: str, weight: Any) -> float:
    """Return a weight as a float. One that is not finite is refused with its row, by `Tableau`."""
    if isinstance(weight, np.ndarray) and weight.ndim == 0:
        weight = weight[()]
    return _checks.real(name, weight, finite=False)


def _floats(numbers: Iterable[float]) -> list[float]:
    """Return numbers in the form that is hashed, in which equal ones are the same: -0.0 as 0.0."""
    return [float(number) + 0.0 for number in numbers]


def _given(number: float | None) -> list[float]:
    """Return a list of the number, or of none."""
    return [] if number is None else [number]


def _members(name: str, value: Any) -> list[Any]:
    return _files.members(name, value, Level._fields)


def _read_level(name: str, t: Any, alpha: Any, sigma: Any) -> Level:
    """Return a level of a document. A time that is an int stays one: some models need it."""
    time = _checks.real(f"{name}.t", t)
    scales = (
        _checks.real(f"{name}.alpha", alpha, at_least=0.0),
        _checks.real(f"{name}.sigma", sigma, at_least=0.0),
    )
    if scales == (0.0, 0.0):
        raise ValueError(f"{name} must have alpha or sigma above 0, got 0 for both")
    return Level(t if isinstance(t, int) else time, *scales)


def _read_stage(name: str, value: Any) -> Stage:
    keys = (*Level._fields, "a", "b", "c", "ends_step")
    told = value.get(_TOLD) if isinstance(value, dict) else None
    if told is not None:
        value, told = value.copy(), _checks.real(f"{name}.{_TOLD}", value[_TOLD], above=0.0)
        del value[_TOLD]
    t, alpha, sigma, a, b, c, ends_step = _files.members(name, value, keys)
    return Stage(
        _read_level(name, t, alpha, sigma),
        _files.numbers(f"{name}.a", a, at_least=1),
        _files.numbers(f"{name}.b", b, at_least=1),
        _checks.real(f"{name}.c", c),
        _checks.boolean(f"{name}.ends_step", ends_step),
        told,
    )
