"""Files: written whole or not at all, and JSON that is checked when it is read."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from schedulers import _checks

Made = TypeVar("Made")


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Write a text file whole, or leave what was there."""
    write_bytes(path, text.encode("utf-8"))


def write_bytes(path: str | os.PathLike[str], content: bytes) -> None:
    """Write a file whole, or leave what was there.

    The content goes to a temporary file in the same folder, which then takes the file's place.
    """
    place = Path(os.path.realpath(checked_path("path", path)))
    for wrong, number in ((place.is_dir(), errno.EISDIR), (place.is_symlink(), errno.ELOOP)):
        if wrong:
            raise OSError(number, os.strerror(number), str(place))
    temporary = place.with_name(f".{os.urandom(16).hex()}.tmp")
    try:
        with open(temporary, "xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, place)
    except BaseException as error:
        with contextlib.suppress(OSError):  # it may not be there
            temporary.unlink()
        if isinstance(error, OSError):  # about the file, whatever the temporary one is called
            raise OSError(error.errno, error.strerror, str(place)) from None
        raise


def text(value: Any, indent: str = "") -> str:
    """Return JSON in which each object of a list of objects has a line, or lines, of its own."""
    import json

    inner = f"{indent}  "
    if isinstance(value, dict) and any(map(_has_rows, value.values())):
        lines = [f"{json.dumps(key)}: {text(item, inner)}" for key, item in value.items()]
        return "{\n" + ",\n".join(inner + line for line in lines) + f"\n{indent}}}"
    if _has_rows(value):
        rows = ",\n".join(inner + text(row, inner) for row in value)
        return f"[\n{rows}\n{indent}]"
    return json.dumps(value)


def read_json(path: str | os.PathLike[str], kind: str, make: Callable[[Any], Made]) -> Made:
    """Return what `make` makes of a JSON file; every error in there names the file and its kind."""
    import json

    place = checked_path("path", path)
    content = place.read_bytes()
    try:
        return make(json.loads(content.decode("utf-8"), object_pairs_hook=_unique))
    except (TypeError, ValueError) as error:
        raise ValueError(f"{_checks.shown(str(place))} must be a file of {kind}: {error}") from None
    except RecursionError:
        raise ValueError(
            f"{_checks.shown(str(place))} must be a file of {kind}, got lists too deep"
        ) from None


def check_header(document: Any, schema: str, version: int) -> None:
    """Check what a document says of itself in its keys "schema" and "version"."""
    if not isinstance(document, dict):
        raise TypeError(f"the file must hold one object, got {_checks.shown(document)}")
    _checks.choice("schema", document.get("schema"), [schema])
    found = _checks.integer("version", document.get("version"), at_least=1)
    if found > version:
        raise ValueError(
            f"version must be at most {version}, got {_checks.shown(found)}, of a later release"
        )


def members(name: str, value: Any, keys: Sequence[str]) -> list[Any]:
    """Return the values of a JSON object that has these keys and no others."""
    if not isinstance(value, dict) or set(value) != set(keys):
        got = list(value) if isinstance(value, dict) else value
        raise ValueError(
            f"{name} must be an object with the keys {', '.join(keys)}, got {_checks.shown(got)}"
        )
    return [value[key] for key in keys]


def items(name: str, value: Any, at_least: int = 0) -> list[Any]:
    """Return a JSON list."""
    if not isinstance(value, list) or len(value) < at_least:
        raise ValueError(
            f"{name} must be a list of at least {at_least} items, got {_checks.shown(value)}"
        )
    return value


def numbers(name: str, value: Any, at_least: int = 0) -> list[float]:
    """Return a JSON list of finite numbers."""
    found = items(name, value, at_least)
    return [_checks.real(f"{name}[{i}]", number) for i, number in enumerate(found)]


def checked_path(name: str, value: Any) -> Path:
    """Return a path that the system has a form for."""
    try:
        path = Path(value)
        encoded = os.fsencode(path)
    except TypeError:
        raise TypeError(f"{name} must be a str or a path, got {_checks.shown(value)}") from None
    except UnicodeError:
        encoded = b"\0"
    if b"\0" in encoded:
        raise ValueError(
            f"{name} must be without null and lone surrogate characters, got {_checks.shown(value)}"
        )
    return path


def _has_rows(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and isinstance(value[0], dict)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise ValueError(f"each key must be there once, got {twice!r} more than once")
    return made
