"""Configurations: a scheduler's constructor arguments, kept, saved and handed to other classes."""

from __future__ import annotations

import inspect
import json
import logging
import os
import warnings
from collections.abc import Callable, Iterable, Mapping
from functools import wraps
from typing import Any, NoReturn, TypeVar

import numpy as np

from schedulers import _checks, _files
from schedulers.compat.diffusers import processes

FILE = "scheduler_config.json"
# The release whose interface this is; written into saved files, as that one does.
DIFFUSERS_VERSION = "0.42.1"

# What `from_pretrained` may be told about a download, where there is none.
_OF_DOWNLOADS = (
    *("cache_dir", "force_download", "proxies", "local_files_only", "token", "revision"),
    *("local_dir", "local_dir_use_symlinks", "output_loading_info", "mirror", "user_agent"),
)
# The names of the arguments that were left at their defaults. They are no choice of the user's, so
# that another class made from this configuration takes its own defaults instead.
_DEFAULTED = "_use_default_values"

# Digits of an integer that every reader of JSON takes.
_DIGITS = 1000
# Arguments by which a configuration that names no class is seen to be another's than DDIM's.
_OF_OTHERS = ("skip_prk_steps", "solver_order", "interpolation_type", "timestep_type")

Init = TypeVar("Init", bound=Callable[..., None])
_log = logging.getLogger(__name__)


class Config(dict[str, Any]):
    """Constructor arguments, by item and by attribute; read-only."""

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError:
            raise AttributeError(f"the configuration has no {name!r}") from None

    def _refuse(self, *args: object, **kwargs: object) -> NoReturn:
        raise TypeError("a configuration is read-only: make a scheduler with from_config(config)")

    __setattr__ = __setitem__ = __delitem__ = __delattr__ = __ior__ = _refuse
    setdefault = pop = update = popitem = clear = _refuse

    def __reduce__(self) -> tuple[Any, ...]:
        return Config, (dict(self),)


class _List(list[Any]):
    """A list of a configuration; read-only."""

    _refuse = Config._refuse
    __setattr__ = __setitem__ = __delitem__ = __iadd__ = __imul__ = _refuse
    append = extend = insert = pop = remove = clear = sort = reverse = _refuse

    def __reduce__(self) -> tuple[Any, ...]:
        return _List, (list(self),)


def configured(init: Init) -> Init:
    """Keep the arguments of a constructor as `config`; private ones go there alone."""
    signature = inspect.signature(init)
    # The flags, and whether each may be None.
    flags = {
        name: parameter.annotation.endswith("None")
        for name, parameter in signature.parameters.items()
        if str(parameter.annotation).startswith("bool")
    }

    @wraps(init)
    def configured_init(self: Configured, *args: Any, **kwargs: Any) -> None:
        public = {name: value for name, value in kwargs.items() if not name.startswith("_")}
        private = {name: value for name, value in kwargs.items() if name.startswith("_")}
        bound = signature.bind(self, *args, **public)
        given = list(bound.arguments)
        bound.apply_defaults()
        values = dict(bound.arguments)
        values |= values.pop("kwargs", {})
        del values["self"]
        for name in flags:
            if values[name] is not None or not flags[name]:
                _checks.boolean(name, values[name])
        defaulted = [name for name in values if name not in given]
        named = {"_class_name": type(self).__name__}
        held = {**named, **private, **values, _DEFAULTED: defaulted}
        self._internal_dict = _owned("config", held)
        init(self, *args, **public)

    return configured_init  # type: ignore[return-value]


class Configured:
    """A class whose constructor's arguments are its configuration."""

    config_name = FILE
    # Under this name, because diffusers' pipelines replace it when they correct old configurations.
    _internal_dict: Mapping[str, Any]

    @property
    def config(self) -> Any:
        """The constructor's arguments, by item and by attribute; read-only."""
        return self._internal_dict

    @classmethod
    def from_config(
        cls,
        config: Mapping[str, Any] | str | os.PathLike[str],
        return_unused_kwargs: bool = False,
        **kwargs: Any,
    ) -> Any:
        """Make a scheduler from a configuration, be it of another class.

        What this class does not know is kept in its `config`, for those that do, and an argument
        that the other scheduler was not given, but had by default, is taken from this class'
        defaults.

        Parameters
        ----------
        config : mapping, str or path
            Another scheduler's `config`, a dict, a scheduler_config.json or its folder.
        return_unused_kwargs : bool
            Whether to return what this class does not know as well.
        **kwargs
            Arguments that take the place of the configuration's.

        Returns
        -------
        scheduler, or (scheduler, dict)

        Raises
        ------
        TypeError, ValueError
            If `config` is not as described, is of another process than this class, such as a
            flow's for one of betas, or has arguments that the constructor refuses.
        OSError
            If there is no such file.

        Warns
        -----
        UserWarning
            If this class clips samples by its own default, of which the configuration of another
            class says nothing.

        Examples
        --------
        >>> from schedulers.compat.diffusers import DDIMScheduler, EulerDiscreteScheduler
        >>> ddim = DDIMScheduler(beta_schedule="scaled_linear")
        >>> euler = EulerDiscreteScheduler.from_config(ddim.config, use_karras_sigmas=True)
        >>> euler.config.beta_schedule, euler.config["timestep_spacing"]
        ('scaled_linear', 'linspace')
        """
        _checks.boolean("return_unused_kwargs", return_unused_kwargs)
        if isinstance(config, (str, os.PathLike)):
            config = cls.load_config(config)
        return cls._made(config, return_unused_kwargs, kwargs)

    @classmethod
    def _made(
        cls,
        config: Mapping[str, Any],
        return_unused_kwargs: bool,
        kwargs: Mapping[str, Any],
        refuses: bool = True,
    ) -> Any:
        """Make a scheduler; refuse, or tell, where the configuration is of another process."""
        if not isinstance(config, Mapping):
            raise TypeError(
                f"config must be a mapping, or the path of a {FILE} or its folder, "
                f"got {_checks.shown(config)}"
            )
        _check_keys("config", config)
        defaulted = (*_names(config.get(_DEFAULTED, ())), _DEFAULTED)
        given = {name: value for name, value in config.items() if name not in defaulted}
        defaults = _defaults(cls)
        own = list(defaults)
        named = {**given, **kwargs}
        arguments = {
            name: named[name]
            for name in own
            if name in named and not (named[name] is None and defaults[name] is not None)
        }
        wrong = processes.mismatch(config.get("_class_name"), named, cls._known_name(), arguments)
        if wrong is not None and refuses:
            raise ValueError(wrong)
        if wrong is not None:
            _log.warning("%s", wrong)
        scheduler = cls(**arguments)
        cls._warn_of_clipping(config, arguments)
        lost = processes.lost_shift(named, defaults)
        if lost is not None:
            _log.warning("%s: %s", cls.__name__, lost)
        hidden = {name: value for name, value in given.items() if name not in own}
        strange = [name for name in hidden if not name.startswith("_")]
        if strange and given.get("_class_name", cls.__name__) == cls.__name__:
            _log.warning("%s takes no %s: ignored", cls.__name__, _checks.shown(strange))
        if "_class_name" in hidden:
            hidden["_class_name"] = cls.__name__
        scheduler._internal_dict = _owned("config", {**scheduler._internal_dict, **hidden})
        unknown = {name: value for name, value in kwargs.items() if name not in own}
        return (scheduler, {**unknown, **hidden}) if return_unused_kwargs else scheduler

    @classmethod
    def _known_name(cls) -> str:
        """Return the name of this class, or of the one that it is derived from."""
        names = (base.__name__ for base in cls.__mro__)
        return next(filter(processes.known, names), cls.__name__)

    @classmethod
    def _warn_of_clipping(cls, config: Mapping[str, Any], arguments: Mapping[str, Any]) -> None:
        """Warn where samples are clipped though nobody said so."""
        clips = _defaults(cls).get("clip_sample") and "clip_sample" not in arguments
        name = processes.plain(config.get("_class_name"))
        of_itself = name == cls._known_name() or config.get("clip_sample") is True
        foreign = processes.known(name) or any(key in config for key in _OF_OTHERS)
        if clips and foreign and not of_itself and not arguments.get("thresholding"):
            warnings.warn(
                f"{cls.__name__} clips its denoised estimates to -1 ... 1 by its own default, as "
                f"the configuration ({name or 'of another class'}) says nothing of clip_sample: "
                f"for latents give clip_sample=False, else clip_sample=True",
                UserWarning,
                stacklevel=4,
            )

    @property
    def compatibles(self) -> list[type]:
        """The classes here that take this one's configuration."""
        from schedulers.compat import diffusers

        return [getattr(diffusers, name) for name in processes.compatible(self._known_name())]

    def register_to_config(self, **kwargs: Any) -> None:
        """Change the configuration in place; what the constructor derived from it stays."""
        self._internal_dict = _owned("config", {**self._internal_dict, **kwargs})

    @classmethod
    def from_pretrained(
        cls,
        pretrained_model_name_or_path: str | os.PathLike[str],
        subfolder: str | None = None,
        return_unused_kwargs: bool = False,
        **kwargs: Any,
    ) -> Any:
        """Make a scheduler from a local folder with a scheduler_config.json, or that file.

        A file of another process than this class is not refused, as by `from_config`, but logged
        as a warning.

        Parameters
        ----------
        pretrained_model_name_or_path : str or path
            The folder or the file. Nothing is downloaded.
        subfolder : str, optional
            Of that folder, where the file is there, such as a pipeline's "scheduler".
        return_unused_kwargs, **kwargs
            As for `from_config`.

        Returns
        -------
        scheduler, or (scheduler, dict)

        Raises
        ------
        TypeError, ValueError
            If an argument is not as described, or for what the constructor refuses.
        OSError
            If there is no such file, or if it holds no JSON object.
        """
        _checks.boolean("return_unused_kwargs", return_unused_kwargs)
        kwargs = {name: value for name, value in kwargs.items() if name not in _OF_DOWNLOADS}
        config = cls.load_config(pretrained_model_name_or_path, subfolder=subfolder)
        return cls._made(config, return_unused_kwargs, kwargs, refuses=False)

    @classmethod
    def load_config(
        cls, path: str | os.PathLike[str], *, subfolder: str | None = None
    ) -> dict[str, Any]:
        """Read a scheduler_config.json.

        Parameters
        ----------
        path, subfolder
            As `pretrained_model_name_or_path` and `subfolder` of `from_pretrained`.

        Returns
        -------
        dict

        Raises
        ------
        TypeError, OSError
            As for `from_pretrained`.
        """
        place = _files.checked_path("pretrained_model_name_or_path, or path,", path)
        if subfolder is not None:
            place = place / _files.checked_path("subfolder", subfolder)
        candidates = [place / FILE] if subfolder else [place / FILE, place]
        found = next((file for file in candidates if os.path.isfile(file)), None)
        if found is None:
            raise OSError(
                f"no {FILE} at {_checks.shown(str(place))}: give a folder that has one, or the "
                f"file itself; nothing is downloaded"
            )
        try:
            config = json.loads(found.read_text(encoding="utf-8"))
        except (ValueError, RecursionError) as error:
            raise OSError(f"{_checks.shown(str(found))} must be a JSON file: {error}") from None
        if not isinstance(config, dict):
            raise OSError(
                f"{_checks.shown(str(found))} must hold a JSON object, got {_checks.shown(config)}"
            )
        return config

    def save_config(
        self, save_directory: str | os.PathLike[str], push_to_hub: bool = False
    ) -> None:
        """Write scheduler_config.json, which diffusers reads, too, into a folder.

        Parameters
        ----------
        save_directory : str or path
            The folder; made where there is none. A file that is there is replaced only when the
            new one is complete.
        push_to_hub : bool
            Must be False: nothing is uploaded.

        Raises
        ------
        TypeError
            If `save_directory` is not a path.
        NotImplementedError
            If `push_to_hub` is True.
        OSError
            If the file cannot be written; the old one is left.
        """
        if _checks.boolean("push_to_hub", push_to_hub):
            raise NotImplementedError("push_to_hub must be False: nothing is uploaded from here")
        folder = _files.checked_path("save_directory", save_directory)
        folder.mkdir(parents=True, exist_ok=True)
        _files.write_text(folder / FILE, self.to_json_string())

    save_pretrained = save_config

    def to_json_string(self) -> str:
        """Return the configuration as JSON."""
        return self._dumped(_jsonable)

    def _dumped(self, default: Callable[[Any], Any]) -> str:
        """Return the configuration as JSON; `default` says what to write where JSON has no form."""
        values: dict[str, Any] = {**self.config, "_class_name": type(self).__name__}
        values["_diffusers_version"] = DIFFUSERS_VERSION
        values.pop(_DEFAULTED, None)
        return json.dumps(values, indent=2, sort_keys=True, default=default) + "\n"

    def __repr__(self) -> str:
        return f"{type(self).__name__} {self._dumped(_checks.shown)}"


def _owned(name: str, value: Any, depth: int = 64) -> Any:
    """Return a value of a configuration as one that nobody else can write to."""
    if depth == 0:
        raise ValueError(f"{name} must hold no lists that are nested deeper than 62")
    if isinstance(value, dict):
        _check_keys(name, value)
        return Config({key: _owned(key, each, depth - 1) for key, each in value.items()})
    if isinstance(value, (list, tuple)):
        owned = [_owned(name, each, depth - 1) for each in value]
        return _List(owned) if isinstance(value, list) else tuple(owned)
    if isinstance(value, int) and abs(value) >= 10**_DIGITS:
        raise ValueError(f"{name} must have at most {_DIGITS} digits, got {_checks.shown(value)}")
    if isinstance(value, np.ndarray):
        value = value.copy()
        value.flags.writeable = False
    return value


def _check_keys(name: str, value: Mapping[Any, Any]) -> None:
    for key in value:
        if not isinstance(key, str):
            raise TypeError(f"{name} must have keys that are strings, got {_checks.shown(key)}")


def _names(given: Any) -> Iterable[str]:
    """Return the names of arguments that were left at their defaults."""
    if not isinstance(given, (list, tuple)) or not all(isinstance(name, str) for name in given):
        raise TypeError(f"{_DEFAULTED} must be a list of names, got {_checks.shown(given)}")
    return given


def _defaults(cls: type) -> dict[str, Any]:
    """Return the constructor's arguments and their defaults."""
    parameters = list(inspect.signature(cls.__init__).parameters.values())[1:]  # type: ignore[misc]
    return {one.name: one.default for one in parameters}


def _jsonable(value: object) -> Any:
    # A long double has no number of Python's, and a mask would be lost.
    if isinstance(value, (np.ndarray, np.generic)) and not (
        value.dtype.char in "gG" or isinstance(value, np.ma.MaskedArray)
    ):
        return value.tolist()
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    raise TypeError(f"config must hold what JSON can, got {_checks.shown(value)}")
