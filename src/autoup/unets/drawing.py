"""Draw a U-Net as a U: the encoder's maps down on the left, the decoder's up on the right.

Boxes are as high as the logarithm of their size, and as wide as that of their channels.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import log, prod
from textwrap import wrap

from autoup.svg import (
    COLOURS,
    MARGIN,
    SOFT,
    Drawing,
    draw,
    element,
    tell,
    width_of,
    write,
    write_facts,
)
from autoup.unets.summary import INPUT, Level, Summary, join_sizes

_ENCODER, _DECODER, _HEAD = COLOURS[0], COLOURS[2], COLOURS[3]
_TOP, _GAP = 66, 32  # Of the first level, and between levels.
_LOW, _HIGH = 38.0, 78.0  # Heights of boxes.
_NARROW, _MORE = 80.0, 80.0  # Widths of boxes, and what the widest have more.
_BESIDE, _AROUND, _AWAY = 150.0, 44.0, 40.0  # Between the columns, beside names, before heads.
_TEXT, _LETTERS, _LINE = 11, 44, 90  # Size of what is told, letters of a name, and of a note.
_ASIDE = 10  # Between a way up and what is told of it.
_BEND, _TIP, _OFF = 12, 7, 3  # Of ways: their bends, tips, and how far they end from boxes.

Place = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Box:
    """A box around a middle, on the screen.

    Args:
        x: Of its middle.
        y: Of its middle.
        width: From left to right.
        height: From top to bottom.
    """

    x: float
    y: float
    width: float
    height: float

    @property
    def left(self) -> float:
        """Where it begins."""
        return self.x - self.width / 2

    @property
    def right(self) -> float:
        """Where it ends."""
        return self.x + self.width / 2

    @property
    def top(self) -> float:
        """Where it begins, from above."""
        return self.y - self.height / 2

    @property
    def bottom(self) -> float:
        """Where it ends."""
        return self.y + self.height / 2


@dataclass(frozen=True, slots=True)
class Row:
    """A level, and where it is drawn.

    Args:
        level: What it is.
        name: Of the stage of the decoder.
        given: The box of what the encoder gives, or of the input; None where there is neither.
        made: The box of what the decoder makes; None at the deepest level.
    """

    level: Level
    name: str
    given: Box | None
    made: Box | None


def draw_levels(summary: Summary) -> Drawing:
    """Return the drawing.

    Args:
        summary: What the net is made of.

    Example:
        >>> levels = Level((4,), (), 16, (2,), (0.0,), 2), Level((2,), (("0", 8),), None)
        >>> draw_levels(Summary("Conv1d", (1, 3, 4), levels, (9, 9), (0, 0), ())).title
        'UNet on Conv1d: (1, 3, 4) -> (1, 2, 4); parameters: encoder 9, decoder 9'
    """
    title = summary.title()
    heading, _, about = title.partition(": ")
    image, rows = _place(summary)
    heads = max(row.made.right for row in rows if row.made) + _AWAY
    elements = [
        write(MARGIN, 28, heading, 14, font_weight="bold"),
        write(MARGIN, 46, about, _TEXT, fill=SOFT),
        *_draw_flow(image, rows),
        _draw_input(image, summary.input_size),
    ]
    for number, row in enumerate(rows):
        elements += _draw_row(row, number, heads)
    ends = [
        MARGIN + max(width_of(heading, 15), width_of(about, _TEXT)),
        *(heads + _head_width(row.level) for row in rows if row.level.head is not None),
        *(row.made.x + _ASIDE + width_of(_way(row.level), _TEXT) for row in rows if row.made),
    ]
    letters = max(_LINE, int((max(ends) - MARGIN) / width_of("n")))
    notes = [line for text in summary.notes() for line in wrap(text, letters)]
    bottom = max(box.bottom for row in rows for box in (row.given, row.made) if box)
    facts, end, bottom = write_facts(notes, bottom + 48)
    return draw(title, max(*ends, end) + MARGIN, bottom, [*elements, *facts])


# Where things are.


def _place(summary: Summary) -> tuple[Box, list[Row]]:
    """Return the box of the input, and where each level is drawn."""
    levels, channels = summary.levels, summary.input_size[1]
    sides = [prod(level.size) ** (1 / len(level.size)) for level in levels]
    heights = [_grow(side, sides, _LOW, _HIGH) for side in sides]
    given = [_given(level) for level in levels]
    counts = [n for n in (channels, *given, *(level.channels for level in levels)) if n]
    least = max(_NARROW, *(width_of(f"{_told(level)}  ", _TEXT) for level in levels))
    widths = {n: _grow(n, counts, least, least + _MORE) for n in counts}
    names = [width_of(_name(level), _TEXT) + 2 * _AROUND for level in levels[:-1]]
    wide = least + _MORE
    beside = max(_BESIDE, *names, widths[given[-1]] + 2 * _AROUND - least)
    left = MARGIN + wide / 2 + (bool(given[0]) and widths[channels] + _AWAY)
    rows: list[Row] = []
    y = _TOP
    for number, (level, height) in enumerate(zip(levels, heights, strict=True)):
        middle, count = y + height / 2, level.channels
        if count is None:
            box = Box(left + (wide + beside) / 2, middle, widths[given[-1]], height)
            rows.append(Row(level, "", box, None))
            break
        rows.append(
            Row(
                level,
                f"decoder[{len(levels) - 2 - number}]",
                Box(left, middle, widths[given[number]], height) if given[number] else None,
                Box(left + wide + beside, middle, widths[count], height),
            )
        )
        y += height + _GAP
    x = MARGIN + widths[channels] / 2 if given[0] else left
    return Box(x, _TOP + heights[0] / 2, widths[channels], heights[0]), rows


def _grow(value: float, values: Sequence[float], low: float, high: float) -> float:
    """Return where the logarithm of a value lies between those of the least and the most."""
    least, most = min(values), max(values)
    return low + (high - low) * (log(value / least) / log(most / least) if most > least else 0.5)


def _given(level: Level) -> int:
    """Return the channels that the encoder gives."""
    return sum(count for name, count in level.maps if name != INPUT)


def _name(level: Level) -> str:
    """Return what stands at a skip; of a long name the end, where names differ."""
    names = (f"module {name}" if name.isdigit() else name for name, _ in level.maps)
    name = " + ".join(names)
    return name if len(name) <= _LETTERS else f"…{name[1 - _LETTERS :]}"


def _channels(count: int | str | None) -> str:
    return f"{count} channel{'s' * (count != 1)}"


def _way(level: Level) -> str:
    """Return how the map below is enlarged, and where it then lies if not in place."""
    return level.enlarged + (f", shift {level.moved}" if level.moved.strip("0") else "")


def _head_width(level: Level) -> float:
    return max(_NARROW, width_of(f"{_channels(level.head)}  ", _TEXT))


def _told(level: Level) -> str:
    """Return the longest text in a box of a level."""
    texts = join_sizes(level.size), _channels(_given(level)), _channels(level.channels)
    return max(texts, key=len)


# What is drawn there.


def _draw_input(box: Box, size: Sequence[int]) -> str:
    shown = _channels(size[1])
    return _draw_box(box, SOFT, f"input: {shown} of {join_sizes(size[2:])}", "input", shown)


def _draw_row(row: Row, number: int, heads: float) -> Iterator[str]:
    """Draw the boxes of a level, and its head, which begins at a place."""
    level, size = row.level, join_sizes(row.level.size)
    if row.given:
        told = ", ".join(f"{name}: {_channels(count)} of {size}" for name, count in level.maps)
        yield _draw_box(row.given, _ENCODER, told, size, _channels(_given(level)))
        if row.made is None:
            x, y = row.given.x, row.given.bottom + 16
            yield write(x, y, _name(level), _TEXT, text_anchor="middle")
    if row.made:
        shown = _channels(level.channels)
        told = f"{row.name}: enlarged {level.enlarged} to {size}, {shown}"
        yield _draw_box(row.made, _DECODER, told, size, shown)
        if level.head is not None:
            name, shown = f"heads[{number - 1}]" if number else "head", _channels(level.head)
            wide = _head_width(level)
            box = Box(heads + wide / 2, row.made.y, wide, _LOW)
            yield _draw_box(box, _HEAD, f"{name}: {shown} of {size}", name, shown)
            yield _draw_arrow((row.made.right, box.y), (box.left, box.y))


def _draw_flow(image: Box, rows: Sequence[Row]) -> Iterator[str]:
    """Draw the ways: down through the encoder, across, and up through the decoder."""
    boxes = [image, *(row.given for row in rows if row.given)]
    if boxes[1].y == image.y:
        yield _draw_arrow((image.right, image.y), (boxes[1].left, image.y))
        del boxes[0]
    *down, last, deepest = boxes
    for box, below in pairwise([*down, last]):
        yield _draw_arrow((box.x, box.bottom), (box.x, below.top))
    yield _draw_arrow((last.x, last.bottom), (last.x, deepest.y), (deepest.left, deepest.y))
    way = [(deepest.right, deepest.y)]
    for row in reversed(rows):
        if row.made is None:
            continue
        x, end = row.made.x, row.made.bottom
        yield _draw_arrow(*way, *([(x, way[0][1])] if way[0][0] != x else []), (x, end))
        way = [(x, row.made.top)]
        yield write(x + _ASIDE, end + _GAP / 2 + 4, _way(row.level), _TEXT, fill=SOFT)
        if row.level.maps:
            yield from _draw_skip(row.level, row.given or image, row.made)


def _draw_skip(level: Level, given: Box, made: Box) -> Iterator[str]:
    """Draw what is joined, with its name in the middle."""
    yield _draw_arrow((given.right, given.y), (made.left, made.y))
    middle = (given.right + made.left) / 2
    yield write(middle, given.y - 7, _name(level), _TEXT, text_anchor="middle")


def _draw_arrow(*points: Place) -> str:
    """Draw a way along the axes of the screen, round at its bends, a little off both ends."""
    steps = [(_sign(b - a), _sign(d - c)) for (a, c), (b, d) in pairwise(points)]
    (right, down), (x, y) = steps[0], points[0]
    line = f"M{x + _OFF * right:g} {y + _OFF * down:g}"
    for (x, y), (a, b), (c, d) in zip(points[1:], steps, steps[1:], strict=False):
        line += f"L{x - _BEND * a:g} {y - _BEND * b:g}"
        line += f"Q{x:g} {y:g} {x + _BEND * c:g} {y + _BEND * d:g}"
    (right, down), (x, y) = steps[-1], points[-1]
    x, y = x - _OFF * right, y - _OFF * down
    a, b, half = x - _TIP * right, y - _TIP * down, _TIP / 2
    tip = f"M{x:g} {y:g}L{a + half * down:g} {b + half * right:g}"
    tip += f"L{a - half * down:g} {b - half * right:g}Z"
    return element("path", d=f"{line}L{a:g} {b:g}", stroke=SOFT, fill="none") + element(
        "path", d=tip, fill=SOFT
    )


def _sign(number: float) -> int:
    return (number > 0) - (number < 0)


def _draw_box(box: Box, colour: str, told: str, *texts: str) -> str:
    """Draw a box with lines of text in its middle."""
    frame = element(
        "rect", x=box.left, y=box.top, width=box.width, height=box.height, rx=4, fill=colour,
        fill_opacity=0.13, stroke=colour,
    )  # fmt: skip
    top = box.y + 4 - 7 * (len(texts) - 1)
    lines = (
        write(box.x, top + 14 * number, text, _TEXT, text_anchor="middle")
        for number, text in enumerate(texts)
    )
    return tell(told, frame, *lines)
