"""``ladder``: the sizes between two, and the layers that make them."""

from argparse import Namespace
from collections.abc import Iterator, Sequence

from autoup.commands.answers import Answer, CommandError
from autoup.commands.sizes import given_sizes, join, split_axes
from autoup.solving.flaws import AXES
from autoup.solving.ladders import Ladder, ladders
from autoup.solving.solution import Solution

_PER_AXIS = ("in_size", "out_size", "stride", "kernel_size")
_PARAMETERS = ("kernel_size", "stride", "padding", "output_padding")
_DEFAULTS = {"padding": 0, "output_padding": 0}


def run(options: Namespace) -> Answer:
    """Find a ladder for each axis; what is the same for several is told once.

    Raises:
        CommandError: A size cannot be reached, or an argument is wrong.
    """
    axes = split_axes(given_sizes(options, _PER_AXIS))
    try:
        found = ladders(
            [axis["in_size"] for axis in axes],
            [axis["out_size"] for axis in axes],
            options.steps,
            [axis.get("stride", 2) for axis in axes],
            [axis.get("kernel_size") for axis in axes],
            options.smoothness,
        )
    except (TypeError, ValueError) as error:
        raise CommandError(str(error)) from None
    told: dict[str, list[str]] = {}
    for name, each in zip(AXES[len(axes)], found, strict=True):
        told.setdefault(str(each), []).append(name)
    tables = [
        f"{' and '.join(names)}\n{text}" if len(axes) > 1 else text for text, names in told.items()
    ]
    return Answer("\n\n".join([*tables, "\n".join(write_layers(found, options.smoothness))]))


def write_layers(axes: Sequence[Ladder], smoothness: int = 0) -> Iterator[str]:
    """Yield the lines of code that make the layers, with PyTorch alone where it can.

    Example:
        >>> from autoup.solving.ladders import ladder
        >>> [*write_layers([ladder(55, 109)])][4]
        '    nn.ConvTranspose1d(c[0], c[1], kernel_size=2, stride=2, padding=1),  # 55 -> 108'
    """
    count, plain = len(axes[0].solutions), f"ConvTranspose{len(axes)}d"
    channels = [max(16, 2 ** (4 + count - number) // 2) for number in range(count + 1)]
    yield f"from autoup import Auto{plain}" if smoothness else "from torch import nn"
    yield ""
    yield f"c = {', '.join(map(str, channels))}  # channels, your own"
    yield "layers = ["
    for number, layer in enumerate(zip(*(axis.solutions for axis in axes), strict=True)):
        sizes = [tuple(getattr(axis, name) for axis in layer) for name in ("in_size", "out_size")]
        given = [f"c[{number}]", f"c[{number + 1}]"]
        if smoothness:
            given += [*map(_one_or_all, sizes), *_options(layer, _PARAMETERS[:2])]
            text = f"Auto{plain}({', '.join(given)}, smoothness={smoothness})"
        else:
            text = f"nn.{plain}({', '.join([*given, *_options(layer, _PARAMETERS)])})"
        yield f"    {text},  # {' -> '.join(map(join, sizes))}"
    yield "]"


def _options(layer: Sequence[Solution], names: Sequence[str]) -> Iterator[str]:
    for name in names:
        values = [getattr(axis, name) for axis in layer]
        if {*values} != {_DEFAULTS.get(name)}:
            yield f"{name}={_one_or_all(values)}"


def _one_or_all(values: Sequence[int]) -> str:
    return str(values[0] if len({*values}) == 1 else tuple(values))
