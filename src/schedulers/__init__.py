"""Diffusion schedulers in pure NumPy: a scheduler is a table of weights, and one engine runs it.

The public names stand in `__init__.pyi`. Each is loaded from its module when it is first used, so
that ``import schedulers`` costs next to nothing (Scientific Python's SPEC 1).
"""

from functools import cache
from importlib import import_module
from importlib.util import find_spec

__version__ = "0.1.0"


@cache
def _homes() -> dict[str, str]:
    """Return the module that each public name is in, as `__init__.pyi` says."""
    import ast
    from pkgutil import get_data

    stub = ast.parse(get_data(__name__, "__init__.pyi") or b"")
    imports = [statement for statement in stub.body if isinstance(statement, ast.ImportFrom)]
    return {name.name: str(line.module) for line in imports for name in line.names}


def __getattr__(name: str) -> object:
    if name == "__all__":
        return sorted(_homes())
    if name in _homes():
        value: object = getattr(import_module(_homes()[name]), name)
    elif name.startswith("_") or find_spec(f"{__name__}.{name}") is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    else:
        value = import_module(f"{__name__}.{name}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    from pkgutil import iter_modules

    modules = [module.name for module in iter_modules(__path__) if not module.name.startswith("_")]
    return sorted({*globals(), *_homes(), *modules})
