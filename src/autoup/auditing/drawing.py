"""Draw the upsampling steps of a model as a chain: sizes, shifts and verdicts."""

from collections.abc import Iterator, Sequence
from math import log, prod
from textwrap import wrap

from autoup.auditing.upsampling import Upsampling, cells
from autoup.solving.flaws import unit
from autoup.svg import (
    INK,
    MARGIN,
    RULE,
    SOFT,
    Drawing,
    draw,
    element,
    tell,
    width_of,
    write,
    write_facts,
)
from autoup.table import join_axes

COLOURS = {
    "clean": "#2e7d32",
    "note": "#546e7a",
    "unknown": "#6a1b9a",
    "warning": "#b26a00",
    "severe": "#b71c1c",
}
_MOST = 40  # Steps that are drawn.
_TOP, _ROW, _BAR = 70, 42, 22
_NAME, _CHAIN, _SHIFT = 250, 300, 170  # Widths of the columns.
_MIDDLE = MARGIN + _NAME + 20 + _CHAIN / 2
_ZERO = _MIDDLE + _CHAIN / 2 + 20 + _SHIFT / 2
_VERDICT = _ZERO + _SHIFT / 2 + 20
_REACH = _SHIFT / 2 - 10  # Of the longest arrow.
_HEADER = (
    (MARGIN, "step", "start"),
    (_MIDDLE, "in -> out", "middle"),
    (_ZERO, "start ← shift → end", "middle"),
    (_VERDICT, "verdict", "start"),
)
_LETTERS, _LINE = 34, 110  # Of a name, and of a note.

Place = tuple[float, float]


def draw_steps(
    title: str,
    rows: Sequence[Upsampling],
    drift: Sequence[float] | None,
    displaced: Sequence[Place] | None,
    notes: Sequence[str] = (),
) -> Drawing:
    """Return the chain.

    Args:
        title: The line above it.
        rows: The steps.
        drift: Their shifts added up, in pixels of the output, one per axis.
        displaced: Where the output lies, the least and the most along each axis.
        notes: Lines below it.

    Example:
        >>> draw_steps("Sequential: clean.", [], None, None).title
        'Sequential: clean.'
    """
    shown, ends = rows[:_MOST], _ends(drift, displaced)
    sizes = [_sizes(row) for row in shown]
    shifts = [each for row in shown for each in row.shift]
    shifts += [each for _, places in ends for place in places for each in place]
    farthest = max(map(abs, shifts), default=0.0)
    elements = [write(MARGIN, 28, title, 14, font_weight="bold")]
    for x, text, anchor in _HEADER if shown else ():
        elements.append(write(x, _TOP - 16, text, 11, fill=SOFT, text_anchor=anchor))
    y = _TOP if shown else _TOP - 30
    for row, size in zip(shown, sizes, strict=True):
        elements.append(_draw_step(row, size, sizes, y, farthest))
        y += _ROW
    if len(rows) > len(shown):
        more = f"and {len(rows) - len(shown)} more, which the table tells of"
        elements.append(write(MARGIN, y + 14, more, fill=SOFT))
        y += _ROW
    for text, places in ends:
        elements += [write(MARGIN, y + 14, text), *_draw_shift(places, y, farthest, INK, "none")]
        y += _ROW
    told, _, y = write_facts((line for text in notes for line in wrap(text, _LINE)), y + 10)
    width = max(_VERDICT + 70, MARGIN + width_of(title, 15) + MARGIN)
    return draw(title, width, y, [*elements, *told])


def _ends(
    drift: Sequence[float] | None, displaced: Sequence[Place] | None
) -> list[tuple[str, list[Place]]]:
    """Return what is known of the output as a whole."""
    ends: list[tuple[str, list[Place]]] = []
    if drift is not None:
        ends.append(("all steps added up, at the output", [(each, each) for each in drift]))
    if displaced is not None:
        ends.append(("output, the whole model counted", [*displaced]))
    return ends


def _sizes(row: Upsampling) -> Place:
    """Return the mean side before and after a step; without sizes 1, and the stride."""
    dims = max(1, len(row.stride))
    before, after = row.in_size or (1,), row.out_size or row.stride
    return prod(before) ** (1 / dims), max(1.0, prod(after)) ** (1 / dims)


def _draw_step(
    row: Upsampling, size: Place, sizes: Sequence[Place], y: float, farthest: float
) -> str:
    name, step, in_out, k, s, p, op, *_ = cells(row)
    colour = COLOURS[row.severity]
    numbers = [
        f"{letter}{each}" for letter, each in zip(("k", "s", "p", "op"), (k, s, p, op), strict=True)
    ]
    told = " ".join([step, *(each for each in numbers if each[-1] != "-")])
    return tell(
        f"{row!r}",
        write(MARGIN, y + 10, _shorten(name)),
        write(MARGIN, y + 25, told, 10, fill=SOFT),
        *_draw_sizes(size, sizes, y, colour),
        write(_MIDDLE, y + 15, f"times {s}" if in_out == "-" else in_out, 11, text_anchor="middle"),
        *_draw_shift([(each, each) for each in row.shift], y, farthest, colour),
        write(_VERDICT, y + 15, row.severity, fill=colour, font_weight="bold"),
    )


def _draw_sizes(size: Place, sizes: Sequence[Place], y: float, colour: str) -> Iterator[str]:
    """Draw the input inside of the output, as long as the logarithms of their sides."""
    least, most = min(before for before, _ in sizes), max(after for _, after in sizes)
    octaves = log(most / least) if most > least else 1.0
    for side, opacity in zip(reversed(size), (0.22, 0.3), strict=True):
        wide = _CHAIN * (0.3 + 0.7 * log(max(side, least) / least) / octaves)
        yield element(
            "rect", x=_MIDDLE - wide / 2, y=y, width=wide, height=_BAR, rx=3,
            fill=colour, fill_opacity=opacity,
        )  # fmt: skip


def _draw_shift(
    places: Sequence[Place], y: float, farthest: float, colour: str, without: str = ""
) -> Iterator[str]:
    """Draw how far something lies from the line of no shift, each number once."""
    scale, y = _REACH / farthest if farthest else 0.0, y + _BAR / 2
    yield element("path", d=f"M{_ZERO:g} {y - 9:g}V{y + 9:g}", stroke=RULE)
    for low, high in dict.fromkeys(places):
        left, right = (_ZERO + scale * each for each in (low, high))
        line = f"M{left:g} {y:g}H{_ZERO:g}H{right:g}"
        yield element("path", d=line, stroke=colour, stroke_width=2, fill="none")
        for x in sorted({left, right}):
            yield element("circle", cx=x, cy=y, r=4, fill=colour)
    lows, highs = ([each[n] for each in places] for n in (0, 1))
    text = join_axes(lows) + ("" if lows == highs else f" to {join_axes(highs)}")
    if any(lows) or any(highs):
        without = f"{text} {unit(len(places), max(map(abs, [*lows, *highs])))}"
    if without:
        yield write(_ZERO, y + 20, without, 10, text_anchor="middle", fill=SOFT)


def _shorten(name: str) -> str:
    """Keep the end of a name, where qualified names differ; pointing at it tells the whole."""
    return name if len(name) <= _LETTERS else f"…{name[1 - _LETTERS :]}"
