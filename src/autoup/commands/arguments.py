"""The commands' options, and their help."""

import argparse
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, NoReturn

from autoup.commands import (
    audit_command,
    corrections,
    ladder_command,
    repair_command,
    solve_command,
    unet_command,
)
from autoup.commands.answers import Answer
from autoup.commands.sizes import read_sizes

PROGRAM = "python -m autoup"
INTRO = """\
usage: python -m autoup solve | ladder | audit | repair | unet ...

Transposed convolutions from the two sizes you know: solve for one, audit and repair
those you have.

  python -m autoup solve 14 28
      kernel, stride, padding and output padding that take 14 pixels to 28
  python -m autoup ladder 7x6 218x178
      the sizes between, and the layers of a whole decoder
  python -m autoup audit my_package.models:Generator --input-size 1 64 16 16
      every upsampling layer of a model, what is wrong with it and what would help
  python -m autoup repair my_package.models:Generator --input-size 1 64 16 16
      the changes that make them even and keep the outputs; with --out a checkpoint too
  python -m autoup unet my_package.models:Encoder --input-size 1 3 224 224
      the U-Net on an encoder: which maps it joins, sizes and channels; with --draw a picture

--help behind a command lists its options, --version tells the version."""
_SOLVE = """\
Solve for kernel, stride, padding and output padding. The best solution comes first: no
uncovered pixel, even overlap, no output padding, in this order, then the smallest kernel.

  python -m autoup solve 7 15                    one axis
  python -m autoup solve 14x20 28x40             height and width
  python -m autoup solve 14 28 --kernel-size 4   the best with a kernel of 4
  python -m autoup solve 14 28 --limit 5         the five best, a line each

Sizes and pins are one number for all axes, or one per axis, as 14x20.
-k, -s and -d are short for --kernel-size, --stride and --dilation.

Exit status: 0 solved, 2 not reached, or wrong arguments."""
_LADDER = """\
Find the sizes between two, so that every layer on the way is clean: no uncovered pixel, even
overlap, no output padding, the right scale. Prints a table for each axis, and the layers.

  python -m autoup ladder 7 218                  one axis
  python -m autoup ladder 7x6 218x178 --steps 5  height and width, five layers
  python -m autoup ladder 25 6400 --stride 8     sound

Sizes and pins are one number for all axes, or one per axis, as 7x6.

Exit status: 0 found, 2 not reached, or wrong arguments."""
_MODEL = """\
MODEL is MODULE:NAME or FILE.py:NAME. NAME is a model, or a class or function that makes
one when it is called without arguments. Importing it runs its code."""
_AUDIT = f"""\
Find the upsampling steps of a model: transposed convolutions, PixelShuffle, Upsample.

  python -m autoup audit torch.nn:ReLU
  python -m autoup audit models/generator.py:build --input-size 1 64 8 8
  python -m autoup audit my_package:UNet --input-size 1 3 256 256 --html audit.html
  python -m autoup audit my_package:UNet --ignore "head.*"

{_MODEL}

With --input-size one forward pass shows whatever enlarges, functions too, sizes, shifts,
and the grid of the output on constant inputs.

Exit status, to gate a CI: 0 clean, 1 findings (uneven, uncovered, shifted, of the wrong
scale, or not understood) that are not ignored, 2 could not look."""
_REPAIR = f"""\
Make the upsampling layers of a model even without changing what it computes, and convert
its checkpoint. Without --out nothing is written: the table shows what would be done.

  python -m autoup repair my_package:Generator --input-size 1 64 8 8
  python -m autoup repair my_package:Generator --input-size 1 64 8 8 \\
      --checkpoint in.pt --out out.pt

{_MODEL}

With --input-size the repair proves itself: both models run on random input and must agree.
A checkpoint keeps its wrapping, such as {{"state_dict": ...}}, and what stands before its
keys, such as "module.". Reading it runs no code (weights_only=True). Files that end with
.safetensors are read and written too.

Exit status: 0 done, or nothing to do; 1 some layer stays as it is; 2 could not repair."""
_UNET = f"""\
Show the U-Net that autoup.unet builds on an encoder: for each level where its skip comes
from, sizes, channels, and how far the enlarged map lies from the skip.

  python -m autoup unet models/encoder.py:build --input-size 1 3 224 224
  python -m autoup unet my_package:Encoder --input-size 1 3 97 131 --draw unet.svg
  python -m autoup unet my_package:Encoder --input-size 1 1 64 64 64 --skips stem layer1

{_MODEL}

Options are those of autoup.unet; nothing runs but the capture of the encoder.

Exit status: 0 built, 2 could not build."""
_INPUT_SIZE = "size of the input, batch first; once for each input"


class UsageError(Exception):
    """Words that cannot be read.

    Args:
        message: Why, without a full stop.
        usage: How to write them.

    Example:
        >>> UsageError("no MODEL", "usage: ...").usage
        'usage: ...'
    """

    def __init__(self, message: str, usage: str) -> None:
        super().__init__(message)
        self.usage = usage


class _HelpAsked(Exception):  # noqa: N818
    """Ends the reading of words."""


def read(given: Sequence[str]) -> Callable[[], Answer]:
    """Return what the words ask for, to be called.

    Raises:
        UsageError: They cannot be read.

    Example:
        >>> read(["solve", "14", "28", "--limit", "1"])().text
        '14 -> 28: kernel_size=2, stride=2; coverage 1 everywhere'
    """
    if not given:
        raise UsageError("no command is given", INTRO)
    command, *words = given
    if command in ("-h", "--help", "help"):
        return lambda: Answer(INTRO)
    if command in ("-V", "--version"):
        return lambda: Answer(f"autoup {version('autoup')}")
    if command not in COMMANDS:
        raise UsageError(f"there is no command {command!r}", INTRO.partition("\n")[0])
    parser = COMMANDS[command]()
    try:
        options = parser.parse_args(words)
    except _HelpAsked:
        return lambda: Answer(parser.format_help().rstrip())
    return lambda: options.run(options)


def correct(given: Sequence[str]) -> list[str]:
    """Return words that can be read in place of those that cannot; nothing where none are known.

    Example:
        >>> correct(["check", "my_package:Generator"])
        ['audit', 'my_package:Generator']
    """
    if not given:
        return []
    words = corrections.with_command(given, COMMANDS)
    if not words or is_read(words):
        return words
    return corrections.correct(words, COMMANDS[words[0]]().options(), is_read)


def is_read(given: Sequence[str]) -> bool:
    """Tell whether words can be read.

    Example:
        >>> is_read(["solve", "7"])
        False
    """
    try:
        read(given)
    except UsageError:
        return False
    return True


class _Parser(argparse.ArgumentParser):
    """One command's; it raises where others exit."""

    def __init__(self, usage: str, text: str, run: Callable[[argparse.Namespace], Answer]) -> None:
        super().__init__(
            prog=f"{PROGRAM} {usage.partition(' ')[0]}",
            usage=f"{PROGRAM} {usage}",
            description=text,
            formatter_class=_formatter,
            add_help=False,
        )
        self.set_defaults(run=run)

    def options(self) -> list[str]:
        return [*self._option_string_actions]

    def error(self, message: str) -> NoReturn:
        raise UsageError(message, self.format_usage().rstrip())

    def print_help(self, file: Any = None) -> NoReturn:  # noqa: ARG002
        raise _HelpAsked


def _formatter(prog: str) -> argparse.HelpFormatter:
    """Keep lines as written, whatever the terminal."""
    return argparse.RawDescriptionHelpFormatter(prog, width=90, max_help_position=26)


def _solve_parser() -> _Parser:
    parser = _Parser("solve IN_SIZE OUT_SIZE [options]", _SOLVE, solve_command.run)
    add = parser.add_argument
    add("in_size", type=read_sizes, metavar="IN_SIZE", help="size you have, in pixels")
    add("out_size", type=read_sizes, metavar="OUT_SIZE", help="size you want, in pixels")
    for name, unit, text in (
        ("kernel-size", "TAPS", "pin the kernel"),
        ("stride", "PIXELS", "pin the stride"),
        ("dilation", "PIXELS", "pin the dilation; 1 unless given"),
    ):
        add(f"--{name}", type=read_sizes, metavar=unit, help=text)
        add(f"-{name[0]}", type=read_sizes, dest=name.replace("-", "_"), help=argparse.SUPPRESS)
    _with_smoothness(parser)
    add("--limit", type=int, metavar="COUNT", help="list so many, a line each")
    return _with_help(parser)


def _ladder_parser() -> _Parser:
    parser = _Parser("ladder IN_SIZE OUT_SIZE [options]", _LADDER, ladder_command.run)
    add = parser.add_argument
    add("in_size", type=read_sizes, metavar="IN_SIZE", help="size of the first map, in pixels")
    add("out_size", type=read_sizes, metavar="OUT_SIZE", help="size of the output, in pixels")
    add("--steps", type=int, metavar="COUNT", help="layers; as many as the stride asks for")
    add("--stride", type=read_sizes, metavar="PIXELS", help="stride wanted; 2 unless given")
    add("--kernel-size", type=read_sizes, metavar="TAPS", help="pin the kernel of every layer")
    return _with_help(_with_smoothness(parser))


def _with_smoothness(parser: _Parser) -> _Parser:
    parser.add_argument(
        "--smoothness",
        type=int,
        default=0,
        metavar="ORDER",
        help="guarantee against grids: 0, 1 or 2",
    )
    return parser


def _audit_parser() -> _Parser:
    parser = _Parser("audit MODEL [--input-size N ...] [options]", _AUDIT, audit_command.run)
    add = parser.add_argument
    add("model", metavar="MODEL", help="MODULE:NAME or FILE.py:NAME")
    add("--input-size", nargs="+", action="append", metavar="N", help=_INPUT_SIZE)
    add("--checkpoint", type=Path, metavar="FILE", help="weights to load first")
    add(
        "--ignore", action="append", default=[], metavar="NAME",
        help='accept the layers of this name, or pattern such as "up.*"; may be repeated',
    )  # fmt: skip
    add("--json", action="store_true", help="print JSON instead of the table")
    add("--html", type=Path, metavar="FILE", help="write the report as HTML too")
    return _with_help(parser)


def _repair_parser() -> _Parser:
    parser = _Parser("repair MODEL [--input-size N ...] [options]", _REPAIR, repair_command.run)
    add = parser.add_argument
    add("model", metavar="MODEL", help="MODULE:NAME or FILE.py:NAME")
    add("--input-size", nargs="+", action="append", metavar="N", help=_INPUT_SIZE)
    add("--checkpoint", type=Path, metavar="FILE", help="weights of the model")
    add("--out", type=Path, metavar="FILE", help="write the weights of the repaired model here")
    add("--overwrite", action="store_true", help="write even where the file of --out exists")
    add(
        "--output-padding-only", action="store_true",
        help="remove output padding alone; uneven overlap stays",
    )  # fmt: skip
    add(
        "--fold-resize", action="store_true",
        help="make nearest enlargement and the convolution behind it one layer",
    )  # fmt: skip
    add(
        "--smoothness", type=int, metavar="ORDER",
        help="guarantee against grids: 0, 1 or 2; 1 and 2 change the outputs",
    )  # fmt: skip
    return _with_help(parser)


def _unet_parser() -> _Parser:
    parser = _Parser("unet MODEL --input-size N ... [options]", _UNET, unet_command.run)
    add = parser.add_argument
    add("model", metavar="MODEL", help="MODULE:NAME or FILE.py:NAME, the encoder")
    add(
        "--input-size", nargs="+", action="append", required=True, metavar="N",
        help="size of the input, batch first",
    )  # fmt: skip
    add(
        "--out-channels", type=int, default=1, metavar="N",
        help="channels of the output; 1 unless given",
    )  # fmt: skip
    add(
        "--skips", nargs="+", metavar="WHICH",
        help="how many skips, or the paths of the modules whose output is joined",
    )  # fmt: skip
    add("--image-skip", action="store_true", help="join the input itself at full size")
    add(
        "--deep-supervision", type=int, default=0, metavar="N",
        help="heads for so many of the coarser levels",
    )  # fmt: skip
    add("--draw", type=Path, metavar="FILE", help="draw the net too, as SVG")
    return _with_help(parser)


def _with_help(parser: _Parser) -> _Parser:
    parser.add_argument("-h", "--help", action="help", help="show this help and exit")
    return parser


COMMANDS = {
    "solve": _solve_parser,
    "ladder": _ladder_parser,
    "audit": _audit_parser,
    "repair": _repair_parser,
    "unet": _unet_parser,
}
