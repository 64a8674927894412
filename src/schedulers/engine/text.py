"""Tables as text."""

from __future__ import annotations

from collections.abc import Sequence


def table(lines: Sequence[Sequence[str]]) -> list[str]:
    """Return lines of cells as text, each column as wide as its widest cell, aligned right."""
    widths = [max(map(len, column)) for column in _columns(lines)]
    return ["  ".join(map(str.rjust, line, widths)) for line in lines]


def _columns(lines: Sequence[Sequence[str]]) -> list[list[str]]:
    number = max(map(len, lines))
    return [[line[i] for line in lines if i < len(line)] for i in range(number)]
