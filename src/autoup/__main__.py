"""The command line: ``python -m autoup solve 7 15``, ``python -m autoup audit module:model``."""

import argparse
import json
import os
import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from importlib.metadata import version
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any, NoReturn

from torch import nn

from autoup.auditing import html
from autoup.auditing.model import audit
from autoup.errors import first_line
from autoup.solving.solver import candidates

CLEAN, FOUND, FAILED = 0, 1, 2

_INTRO = """\
Transposed convolutions from the two sizes you know: solve for one, audit those you have.

  python -m autoup solve 14 28
      kernel, stride, padding and output padding that take 14 pixels to 28
  python -m autoup audit my_package.models:Generator --input-size 1 64 8 8
      every upsampling layer of a model, what is wrong with it and what would help
"""
_SOLVE = """\
Solve one axis. The first solution is the best: no uncovered pixel, even overlap, no output
padding, in this order, then the smallest kernel.

  python -m autoup solve 7 15                    two sizes
  python -m autoup solve 14 28 --kernel-size 4   the best with a kernel of 4
  python -m autoup solve 14 28 --limit 5         the five best, one line each
"""
_AUDIT = """\
Find every upsampling layer of a model: transposed convolutions, PixelShuffle, Upsample.

MODEL is MODULE:NAME or FILE.py:NAME. NAME is a model, or a class or function that makes
one when called without arguments. Importing it runs its code.

  python -m autoup audit torch.nn:ReLU
  python -m autoup audit models/generator.py:build --input-size 1 64 8 8
  python -m autoup audit my_package:UNet --input-size 1 3 256 256 --html audit.html

With --input-size (batch first; once for each input) one forward pass shows functions such as
interpolate too, sizes, drift, and the grid of the output on constant inputs.

Exit status, to gate a CI: 0 clean, 1 findings (uneven, shifted or uncovered), 2 could not look.
"""


class CommandError(Exception):
    """What the user asked for cannot be done; the message says why.

    Example:
        >>> str(CommandError("no such file"))
        'no such file'
    """


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status.

    Example:
        >>> main(["solve", "14", "28", "--limit", "2"])
        14 -> 28: kernel_size=2, stride=2; coverage 1 everywhere
        14 -> 28: kernel_size=4, stride=2, padding=1; coverage 1 2 … 2 1
        0
    """
    options = _parser().parse_args(arguments)
    run: Callable[[argparse.Namespace], int] = options.run
    try:
        return run(options)
    except CommandError as error:
        print(f"autoup {options.command}: {error}", file=sys.stderr)
        return FAILED


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="python -m autoup", description=_INTRO, formatter_class=_AsWritten)
    parser.add_argument("--version", action="version", version=f"autoup {version('autoup')}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="solve | audit")
    one = commands.add_parser(
        "solve", help="parameters for two sizes", description=_SOLVE, formatter_class=_AsWritten
    )
    one.add_argument("in_size", type=int, help="size you have, in pixels")
    one.add_argument("out_size", type=int, help="size you want, in pixels")
    one.add_argument("--kernel-size", type=int, metavar="TAPS", help="pin the kernel")
    one.add_argument("--stride", type=int, metavar="PIXELS", help="pin the stride")
    one.add_argument("--dilation", type=int, default=1, metavar="PIXELS", help="default 1")
    one.add_argument("--smoothness", type=int, default=0, metavar="ORDER", help="0, 1 or 2")
    one.add_argument("--limit", type=int, metavar="COUNT", help="list so many, a line each")
    one.set_defaults(run=_solve)
    other = commands.add_parser(
        "audit", help="bad layers of a model", description=_AUDIT, formatter_class=_AsWritten
    )
    other.add_argument("model", metavar="MODEL", help="MODULE:NAME or FILE.py:NAME")
    other.add_argument(
        "--input-size", type=int, nargs="+", action="append", metavar="N", help="batch first"
    )
    other.add_argument("--json", action="store_true", help="print JSON instead of the table")
    other.add_argument("--html", type=Path, metavar="FILE", help="write the report as HTML too")
    other.set_defaults(run=_audit)
    return parser


class _AsWritten(argparse.RawDescriptionHelpFormatter):
    """Keep the line breaks of descriptions."""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.exit(FAILED, f"{self.format_usage()}{self.prog}: {message}\n")


def _solve(options: argparse.Namespace) -> int:
    try:
        found = candidates(
            options.in_size,
            options.out_size,
            kernel_size=options.kernel_size,
            stride=options.stride,
            dilation=options.dilation,
            smoothness=options.smoothness,
            limit=options.limit if options.limit is not None else 1,
        )
    except (TypeError, ValueError) as error:
        raise CommandError(str(error)) from None
    print("\n".join(map(str, found)) if options.limit is not None else found[0].explain())
    return CLEAN


def _audit(options: argparse.Namespace) -> int:
    model = load(options.model)
    try:
        report = audit(model, options.input_size)
    except (TypeError, ValueError) as error:
        raise CommandError(str(error)) from None
    if options.html is not None:
        title = f"Audit of {options.model}"
        content = html.page(title, report._repr_html_())  # pyright: ignore[reportPrivateUsage]
        try:
            options.html.write_text(content, encoding="utf-8")
        except OSError as error:
            raise CommandError(f"cannot write {options.html}: {error.strerror}.") from None
    print(json.dumps(report.to_dict(), indent=2) if options.json else report)
    return CLEAN if report.clean else FOUND


def load(target: str) -> nn.Module:
    """Return the model that ``module:name`` or ``file.py:name`` names or makes.

    Raises:
        CommandError: It cannot be imported, is not there, or makes no model.

    Example:
        >>> load("torch.nn:ReLU")
        ReLU()
    """
    place, colon, name = target.rpartition(":")
    if not colon or not place or not name:
        raise CommandError(
            f"{target!r} names no model: write MODULE:NAME, as my_package.models:Generator, or "
            "FILE.py:NAME."
        )
    value: Any = _import(place)
    for part in name.split("."):
        if not hasattr(value, part):
            raise CommandError(f"{place} has no {name!r}; it has {_suggest(value)}.")
        value = getattr(value, part)
    if not isinstance(value, nn.Module):
        if not callable(value):
            raise CommandError(
                f"{target} is {type(value).__name__}, neither a model nor what makes one."
            )
        value = _call(target, value)
    if not isinstance(value, nn.Module):
        raise CommandError(f"{target}() makes {type(value).__name__}, no nn.Module.")
    return value


def _import(place: str) -> Any:
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    path = Path(place)
    is_file = place.endswith(".py")
    if is_file and not path.is_file():
        raise CommandError(f"there is no file {place}.")
    try:
        if not is_file:
            return import_module(place)
        sys.path.insert(0, str(path.resolve().parent))
        spec = spec_from_file_location(path.stem, path)
        assert spec is not None
        assert spec.loader is not None
        module = module_from_spec(spec)
        sys.modules.setdefault(path.stem, module)
        spec.loader.exec_module(module)
        return module
    except ModuleNotFoundError as error:
        if error.name is not None and (place == error.name or place.startswith(f"{error.name}.")):
            raise CommandError(
                f"there is no module {error.name!r}: run this where it can be imported, or name "
                "its file, as path/to/file.py:NAME."
            ) from None
        raise CommandError(f"importing {place} failed: {first_line(error)}.") from error
    except (Exception, SystemExit) as error:
        raise CommandError(
            f"importing {place} failed: {type(error).__name__}: {first_line(error)}."
        ) from error


def _call(target: str, make: Any) -> Any:
    try:
        return make()
    except (Exception, SystemExit) as error:
        raise CommandError(
            f"{target}() failed: {type(error).__name__}: {first_line(error)}. It is called without "
            "arguments: name a function that needs none, or a model."
        ) from error


def _suggest(module: Any) -> str:
    entries: dict[str, Any] = {**vars(module)}  # pyright: ignore[reportUnknownArgumentType]
    names = [name for name, value in entries.items() if _makes_model(value, module)]
    return ", ".join(sorted(names)[:8]) or "no model and no function"


def _makes_model(value: Any, module: Any) -> bool:
    if isinstance(value, type):
        return issubclass(value, nn.Module)  # pyright: ignore[reportUnknownArgumentType]
    own = getattr(value, "__module__", None) == getattr(module, "__name__", None)
    return isinstance(value, nn.Module) or (callable(value) and own)


if __name__ == "__main__":
    sys.exit(main())
