"""What a U-Net is made of, level by level, as plain values; ``str()`` is the table."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from textwrap import wrap
from typing import cast

from torch import nn

from autoup.solving.flaws import unit
from autoup.solving.solution import three_digits
from autoup.table import WIDTH, join_axes, lay_out
from autoup.unets.skips import Skip
from autoup.unets.stages import Stage

INPUT = "the input"
HEADER = ("encoder", "channels", "size", "decoder", "enlarged", "shift", "head")
_TEXT = 90
_MILLIONS = 100_000  # Fewer numbers are counted one by one.
_MOST_NAMES = 6
_MOVED = (
    "shift: by how many {places} of a level the enlarged map lies off them, positive toward the "
    "end. The block behind learns it, as it is the same at every size, unless the encoder pads by "
    "the size of its input."
)
_UNKNOWN = (
    "shift ?: some layer of the encoder does not tell where what it makes lies, or ways meet "
    "whose shifts are far apart."
)

Shift = tuple[float | None, ...]


@dataclass(frozen=True, slots=True)
class Level:
    """One resolution of a net.

    Args:
        size: Per axis, in pixels, at the size that the net was built for.
        maps: What the encoder gives there: where, and how many channels.
        channels: What the decoder makes there; None at the deepest level.
        strides: By how much the level below is enlarged, per axis; empty at the deepest.
        shift: How far its pixels then lie from those of this level, per axis; None in a number's
            place if unknown, empty where there is nothing to compare with.
        head: Channels of the head there; None without one.
    """

    size: tuple[int, ...]
    maps: tuple[tuple[str, int], ...]
    channels: int | None
    strides: tuple[int, ...] = ()
    shift: Shift = ()
    head: int | str | None = None

    @property
    def enlarged(self) -> str:
        """The enlargement, in words.

        Example:
            >>> Level((8, 8, 8), (), 4, (1, 2, 2)).enlarged
            'x1x2x2'
        """
        return f"x{join_axes(self.strides)}" if self.strides else ""

    @property
    def moved(self) -> str:
        """The shift, in words.

        Example:
            >>> Level((8, 8), (), 4, (2, 2), (0.5, None)).moved
            '+0.5x? px'
        """
        if not self.shift:
            return ""
        if not any(each is None or each for each in self.shift):
            return "0"
        far = join_axes(["?" if s is None else f"{round(s, 3):+g}" if s else 0 for s in self.shift])
        return far if far == "?" else f"{far} {unit(len(self.shift))}"


@dataclass(frozen=True, slots=True)
class Summary:
    """A net as a user sees it.

    Args:
        encoder: Name of its class.
        input_size: That the net was built for.
        levels: From the full size to the deepest.
        numbers: In the parameters of the encoder and of the decoder with its heads.
        unused: How many parameters no output depends on, and how many numbers they have.
        behind: Their modules.

    Example:
        >>> levels = Level((4,), (), 16, (2,), (0.0,), 2), Level((2,), (("0", 8),), None)
        >>> print(Summary("Conv1d", (1, 3, 4), levels, (99, 1_234_567), (0, 0), ()))
        UNet on Conv1d: (1, 3, 4) -> (1, 2, 4); parameters: encoder 99, decoder 1.23 M
        <BLANKLINE>
          encoder  channels  size  decoder  enlarged  shift  head
          -        -         4     16       x2        0      2
          0        8         2     -        -         -      -
    """

    encoder: str
    input_size: tuple[int, ...]
    levels: tuple[Level, ...]
    numbers: tuple[int, int]
    unused: tuple[int, int]
    behind: tuple[str, ...]

    def __str__(self) -> str:
        title = self.title()
        lines = [title if len(title) <= WIDTH else title.replace("; ", ";\n  "), ""]
        rows = [row for level in self.levels for row in cells(level)]
        lines += [*lay_out([HEADER, *rows]), ""]
        lines += [line for text in self.notes() for line in wrap(text, _TEXT)]
        return "\n".join(lines).rstrip()

    def title(self) -> str:
        """Return the first line."""
        batch, _, *sizes = self.input_size
        made = f"({', '.join(map(str, (batch, self.levels[0].head, *sizes)))})"
        encoder, decoder = map(in_millions, self.numbers)
        return (
            f"UNet on {self.encoder}: {self.input_size} -> {made}; "
            f"parameters: encoder {encoder}, decoder {decoder}"
        )

    def notes(self) -> list[str]:
        """Return what holds for the net as a whole."""
        shifts = [each for level in self.levels for each in level.shift]
        places = "pixels" if len(self.input_size) > 3 else "samples"
        said = [_MOVED.format(places=places)] if any(shifts) else []
        said += [_UNKNOWN] if None in shifts else []
        count, numbers = self.unused
        if count:
            shown = ", ".join(self.behind[:_MOST_NAMES])
            more = f", … ({len(self.behind)})" if len(self.behind) > _MOST_NAMES else ""
            said.append(
                f"unused: {count} parameter{'s' * (count != 1)} of the encoder ({numbers:,} "
                f"number{'s' * (numbers != 1)}) that no output depends on: {shown}{more}."
            )
        return said


def cells(level: Level) -> list[tuple[str, ...]]:
    """Return the rows of a level: one for each map that is joined there, one if there is none.

    Example:
        >>> cells(Level((8, 8), (("0", 4), (INPUT, 3)), 16, (2, 2), (0.0, 0.0)))
        [('0', '4', '8x8', '16', 'x2', '0', '-'), ('the input', '3', '', '', '', '', '')]
    """
    (name, channels), *others = level.maps or (("-", "-"),)
    decoder, head = ("" if each is None else str(each) for each in (level.channels, level.head))
    rest = (join_sizes(level.size), decoder, level.enlarged, level.moved, head)
    return [
        (name, str(channels), *(each or "-" for each in rest)),
        *((other, str(count), *("",) * len(rest)) for other, count in others),
    ]


def join_sizes(size: Sequence[int]) -> str:
    """Return all axes of a size.

    Example:
        >>> join_sizes((56, 56))
        '56x56'
    """
    return "x".join(map(str, size))


def in_millions(numbers: int) -> str:
    """Return how many numbers there are, in millions where there are many.

    Example:
        >>> in_millions(11_689_512), in_millions(9_408)
        ('11.7 M', '9,408')
    """
    return f"{numbers:,}" if numbers < _MILLIONS else f"{three_digits(numbers / 1e6)} M"


def summarise(
    encoder: nn.Module,
    input_size: tuple[int, ...],
    stages: Sequence[Stage],
    skips: Sequence[Skip],
    heads: Sequence[nn.Module],
    unused: Mapping[str, nn.Parameter],
) -> Summary:
    """Return a net as a user sees it.

    Args:
        encoder: Of the net.
        input_size: That it was built for.
        stages: From the deepest to the full size.
        skips: The maps of the encoder, the deepest last.
        heads: That of the full size, then those of coarser levels.
        unused: The parameters that no output depends on, by their paths in the encoder.
    """
    deepest, levels = skips[-1], [*reversed(stages)]
    made = [getattr(head, "out_channels", "?") for head in heads]
    made += [None] * (len(levels) - len(made))
    read = [
        _read_level(stage, head, skips, input_size)
        for stage, head in zip(levels, made, strict=True)
    ]
    last = Level(deepest.size, ((deepest.source, deepest.channels),), None)
    return Summary(
        type(encoder).__name__,
        input_size,
        (*read, last),
        (_count([encoder]), _count([*stages, *heads])),
        (len(unused), sum(each.numel() for each in unused.values())),
        tuple(
            find_tops(
                [*map(without_compiler, unused)],
                [without_compiler(name) for name, _ in encoder.named_parameters()],
            )
        ),
    )


def _read_level(
    stage: Stage, head: int | str | None, skips: Sequence[Skip], input_size: tuple[int, ...]
) -> Level:
    joined = tuple(
        (INPUT, input_size[1]) if each < 0 else (skips[each].source, skips[each].channels)
        for each in stage.joined
    )
    size = input_size[2:] if stage.target < 0 else skips[stage.target].size
    if stage.is_within:
        size = tuple(cast("Sequence[int]", stage.up.out_size))
    strides = tuple(cast("Sequence[int]", stage.up.stride))
    return Level(size, joined, stage.channels, strides, stage.shift, head)


def _count(parts: Iterable[nn.Module]) -> int:
    """Return the numbers in the parameters of modules, each once."""
    return sum({id(p): p.numel() for part in parts for p in part.parameters()}.values())


def without_compiler(name: str) -> str:
    """Return the path of a parameter as it is where ``torch.compile`` wraps no module.

    Example:
        >>> without_compiler("_orig_mod.head._orig_mod.weight")
        'head.weight'
    """
    return name.replace("_orig_mod.", "")


def find_tops(some: Collection[str], names: Collection[str]) -> list[str]:
    """Return the outermost modules whose parameters are all among some.

    Args:
        some: Paths of parameters.
        names: Those of all parameters.

    Example:
        >>> find_tops(["b.0.weight", "b.1.bias"], ["a.weight", "b.0.weight", "b.1.bias"])
        ['b']
    """
    others = {
        name[:place]
        for name in {*names} - {*some}
        for place, letter in enumerate(name)
        if letter == "."
    }
    return [*dict.fromkeys(_top(name, others) for name in some)]


def _top(name: str, others: Collection[str]) -> str:
    """Return the outermost path to a parameter that leads to no other; else its own."""
    parts = name.split(".")
    paths = (".".join(parts[:depth]) for depth in range(1, len(parts)))
    return next((path for path in paths if path not in others), name)
