"""Tables as text."""

from __future__ import annotations

from collections.abc import Sequence


def table(lines: Sequence[Sequence[str]], names: bool = False) -> list[str]:
    """Return lines of cells as text, each column as wide as its widest cell and aligned right.

    With `names` the first column is aligned left. A line may have fewer cells than the first.
    """
    widths = [max(len(line[i]) for line in lines if i < len(line)) for i in range(len(lines[0]))]
    left = 1 if names else 0
    return [
        "  ".join(
            [*map(str.ljust, line[:left], widths), *map(str.rjust, line[left:], widths[left:])]
        )
        for line in lines
    ]
