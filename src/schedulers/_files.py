"""Files: written whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path

from schedulers import _checks


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Write a text file whole, or leave what was there.

    The text goes to a temporary file in the same folder, which then takes the file's place.
    """
    place = _path(path).resolve()
    temporary = place.with_name(f".{os.urandom(16).hex()}.tmp")
    try:
        with open(temporary, "x", encoding="utf-8", newline="\n") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, place)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def _path(path: str | os.PathLike[str]) -> Path:
    try:
        return Path(path)
    except TypeError:
        raise TypeError(f"path must be a str or a path, got {_checks.shown(path)}") from None
