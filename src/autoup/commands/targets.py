"""From ``module:name`` or ``file.py:name`` to the model."""

import inspect
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

from torch import nn

from autoup.commands.answers import CommandError, listed
from autoup.errors import first_line

CHECKPOINTS = (".bin", ".ckpt", ".pt", ".pth", ".safetensors")


@dataclass(frozen=True, slots=True)
class Target:
    """A model, and how Python makes it.

    Args:
        model: What the user named, or what that made.
        importing: The lines that import what makes it.
        making: The expression that is the model.

    Example:
        >>> load("torch.nn:ReLU").importing, load("torch.nn:ReLU").making
        (('from torch.nn import ReLU',), 'ReLU()')
    """

    model: nn.Module
    importing: tuple[str, ...]
    making: str


def load(target: str) -> Target:
    """Return the model that ``module:name`` or ``file.py:name`` names or makes.

    One that ``torch.compile`` wraps comes without its compiler.

    Raises:
        CommandError: It cannot be imported, is not there, or makes no model.

    Example:
        >>> load("torch.nn:ReLU").model
        ReLU()
    """
    place, colon, name = target.rpartition(":")
    if not colon or not place or not name:
        raise _without_colon(target)
    value, call = _find(place, name), ""
    if not isinstance(value, nn.Module):
        if not callable(value):
            raise CommandError(
                f"{target} is {type(value).__name__}, neither a model nor what makes one."
            )
        value, call = _call(place, name, value), "()"
    if not isinstance(value, nn.Module):
        raise CommandError(f"{target}() makes {type(value).__name__}, no nn.Module.")
    if isinstance(inner := getattr(value, "_orig_mod", None), nn.Module):
        value, call = inner, f"{call}._orig_mod"
    return Target(value, _importing(place, name), name + call)


def _find(place: str, name: str) -> Any:
    value: Any = _import(place, name)
    for part in name.split("."):
        if not hasattr(value, part):
            raise CommandError(f"{place} has no {name!r}; it has {listed(_names(value))}.")
        value = getattr(value, part)
    return value


def _import(place: str, name: str = "") -> Any:
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    is_file = place.endswith(".py")
    if is_file and not Path(place).is_file():
        raise CommandError(f"there is no file {place}.")
    try:
        return _run_file(Path(place)) if is_file else import_module(place)
    except ModuleNotFoundError as error:
        if error.name is not None and (place == error.name or place.startswith(f"{error.name}.")):
            raise _missing(place, name, error.name) from None
        raise CommandError(f"importing {place} failed: {first_line(error)}.") from error
    except (Exception, SystemExit) as error:
        raise CommandError(
            f"importing {place} failed: {type(error).__name__}: {first_line(error)}."
        ) from error


def _run_file(path: Path) -> Any:
    sys.path.insert(0, str(path.resolve().parent))
    spec = spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    sys.modules.setdefault(path.stem, module)
    spec.loader.exec_module(module)
    return module


def _missing(place: str, name: str, module: str) -> CommandError:
    file = f"{place}.py"
    if Path(file).is_file() and _is_there(lambda: _find(file, name)):
        wrong, right = f"{place}:{name}", f"{file}:{name}"
        return CommandError(f"there is no module {place!r}: write {right}.", [wrong], [right])
    return CommandError(
        f"there is no module {module!r}: run this where it can be imported, or name its file, as "
        "path/to/file.py:NAME."
    )


def _without_colon(target: str) -> CommandError:
    """Say what a target without a colon is, and what was meant."""
    if Path(target.rstrip(":")).suffix in CHECKPOINTS:
        return CommandError(
            f"{target} is a checkpoint, which holds weights and no layers. Give the model, as "
            "MODULE:NAME or FILE.py:NAME, and this file behind --checkpoint."
        )
    bare = target.strip(":")
    place, dot, name = bare.rpartition(".")
    if dot and place and name != "py" and _is_there(lambda: _find(place, name)):
        meant = f"{place}:{name}"
        return CommandError(f"{target!r} has no colon: write {meant}.", [target], [meant])
    if _is_there(lambda: _import(bare)):
        names = _names(_import(bare))
        right = [f"{bare}:{names[0]}"] if len(names) == 1 else []
        return CommandError(
            f"{target!r} names no model: write {bare}:NAME. It has {listed(names)}.",
            [target],
            right,
        )
    return CommandError(
        f"{target!r} names no model: write MODULE:NAME, as my_package.models:Generator, or "
        "FILE.py:NAME."
    )


def _is_there(look: Callable[[], Any]) -> bool:
    try:
        look()
    except CommandError:
        return False
    return True


def _call(place: str, name: str, make: Any) -> Any:
    try:
        missing = _required(make)
    except (TypeError, ValueError):  # Not every callable tells what it takes.
        missing = []
    if missing:
        given = ", ".join(f"{each}=..." for each in missing)
        importing = "\n".join(f"  {line}" for line in _importing(place, name))
        raise CommandError(
            f"{place}:{name} is called without arguments, and needs {listed(missing)}. Write a "
            f"function that passes them, in a file such as factory.py:\n{importing}\n\n"
            f"  def build():\n      return {name}({given})\n"
            "and name factory.py:build in its place."
        )
    try:
        return make()
    except (Exception, SystemExit) as error:
        raise CommandError(
            f"{place}:{name}() failed: {type(error).__name__}: {first_line(error)}. It is called "
            "without arguments: name a function that needs none, or a model."
        ) from error


def _required(make: Any) -> list[str]:
    """Return the arguments that have no default."""
    return [
        each.name
        for each in inspect.signature(make).parameters.values()
        if each.default is each.empty and each.kind not in (each.VAR_POSITIONAL, each.VAR_KEYWORD)
    ]


def _importing(place: str, name: str) -> tuple[str, ...]:
    first = name.partition(".")[0]
    if not place.endswith(".py"):
        return (f"from {place} import {first}",)
    folder, line = str(Path(place).parent), f"from {Path(place).stem} import {first}"
    return (line,) if folder == "." else ("import sys", f"sys.path.insert(0, {folder!r})", line)


def _names(module: Any) -> list[str]:
    """Return the names in a module that are models, or make some."""
    entries: dict[str, Any] = {**vars(module)}  # pyright: ignore[reportUnknownArgumentType]
    names = [name for name, value in entries.items() if _makes_model(value, module)]
    return sorted(names) or ["no model and no function"]


def _makes_model(value: Any, module: Any) -> bool:
    if isinstance(value, type):
        return issubclass(value, nn.Module)  # pyright: ignore[reportUnknownArgumentType]
    own = getattr(value, "__module__", None) == getattr(module, "__name__", None)
    return isinstance(value, nn.Module) or (callable(value) and own)
