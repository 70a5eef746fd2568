"""Draw what was measured: the power at each grid frequency among its neighbours', the phase means.

One drawing serves signals, pictures and volumes: frequencies are rows, and phases tiles, of a
volume a tile for each phase in depth.
"""

# PyTorch leaves tolist without types.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false

from collections.abc import Iterator, Sequence
from itertools import product
from math import ceil, floor, log10
from typing import NamedTuple

from torch import Tensor

from autoup.solving.flaws import unit
from autoup.svg import (
    COLOURS,
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

_LOW, _HIGH = (0, 114, 178), (213, 94, 0)  # Blue and orange, as red, green and blue.
_TOP, _ROW, _PLOT, _BESIDE = 84, 26, 330, 60
_TILE, _STRIP, _PERIODS = 150, 40, 8  # Sides, and cells along one at least.
_MOST_PLANES, _MOST_CELLS = 4, 32
_DECADES = (-3, 6)  # Beyond them a place on the axis is that of the end.


class Frequency(NamedTuple):
    """A row of the drawing.

    Args:
        name: In cycles per pixel, or per sample.
        power: At the frequency, over the level of its neighbourhood.
        around: The same of its neighbours.
        score: As the table has it.
        p_value: As the table has it.
        found: Whether it stands out by itself.
    """

    name: str
    power: float
    around: Sequence[float]
    score: str
    p_value: str
    found: bool


def draw_grid(
    title: str, rows: Sequence[Frequency], phase_means: Tensor, dims: int, notes: Sequence[str]
) -> Drawing:
    """Return the drawing.

    Args:
        title: The line above it.
        rows: The frequencies, the most telling first.
        phase_means: Mean of every phase, of one to three axes.
        dims: Number of spatial axes.
        notes: Lines below it.

    Example:
        >>> import torch
        >>> row = Frequency("1/2", 40.0, [0.5, 2.0], "40", "1e-5", True)
        >>> draw_grid("a grid", [row], torch.tensor([1.0, -1.0]), 1, []).title
        'a grid'
    """
    names = [width_of(f"cycles per {unit(dims, 1)}", 11), *(width_of(row.name) for row in rows)]
    left = MARGIN + 20 + max(names)
    head = write(MARGIN, 28, title, 14, font_weight="bold")
    tiles, right, below = _draw_phases(phase_means, left + _PLOT + 2 * _BESIDE + 40)
    top = max(_TOP + _ROW * len(rows), below) + 28
    told, end, bottom = write_facts(notes, top)
    width = max(right, end, MARGIN + width_of(title, 15)) + MARGIN
    return draw(title, width, bottom, [head, *_draw_rows(rows, left, dims), *tiles, *told])


def _draw_rows(rows: Sequence[Frequency], left: float, dims: int) -> Iterator[str]:
    every = [max(each, 1e-30) for row in rows for each in (row.power, *row.around)]
    low = max(_DECADES[0], min(-1, floor(log10(min(every)))))
    high = min(_DECADES[1], max(1, ceil(log10(max(every)))))
    scale = _PLOT / (high - low)
    bottom = _TOP + _ROW * len(rows)

    def place(ratio: float) -> float:
        return left + scale * (min(max(log10(max(ratio, 1e-30)), low), high) - low)

    yield write(MARGIN, _TOP - 16, f"cycles per {unit(dims, 1)}", 11, fill=SOFT)
    said = "power there (dot) and around it (lines), over the level there"
    yield write(left, _TOP - 32, said, 11, fill=SOFT)
    for x, text in ((left + _PLOT + _BESIDE, "score"), (left + _PLOT + 2 * _BESIDE, "p-value")):
        yield write(x, _TOP - 16, text, 11, fill=SOFT, text_anchor="end")
    for decade in range(low, high + 1):
        x = left + scale * (decade - low)
        style = {} if decade == 0 else {"stroke_dasharray": "2 3"}
        yield element("path", d=f"M{x:g} {_TOP - 8}V{bottom}", stroke=RULE, **style)
        cut = {_DECADES[0]: "≤ ", _DECADES[1]: "≥ "}.get(decade, "")
        text = f"{cut}{10.0**decade:g}"
        yield write(x, _TOP - 14, text, 9, fill=SOFT, text_anchor="middle")
    for n, row in enumerate(rows):
        y, colour = _TOP + _ROW * n + _ROW / 2, COLOURS[5] if row.found else COLOURS[0]
        places = sorted({round(place(each)) for each in row.around})
        lines = "".join(f"M{x} {y - 6:g}v12" for x in places)
        yield tell(
            f"{row.name}: {row.power:.3g} times the level of its neighbourhood",
            write(MARGIN, y + 4, row.name),
            element("path", d=lines, stroke=SOFT, stroke_opacity=0.4),
            element("circle", cx=place(row.power), cy=y, r=5, fill=colour),
            write(left + _PLOT + _BESIDE, y + 4, row.score, text_anchor="end"),
            write(left + _PLOT + 2 * _BESIDE, y + 4, row.p_value, text_anchor="end"),
        )


def _draw_phases(phase_means: Tensor, left: float) -> tuple[list[str], float, float]:
    """Return tiles of some periods, of the planes with the largest means, and where they end."""
    planes = phase_means.reshape((1,) * (3 - phase_means.ndim) + tuple(phase_means.shape))
    limit = float(planes.abs().max())
    order = planes.abs().flatten(1).amax(1).argsort(descending=True)[:_MOST_PLANES]
    span = f", -{limit:.2g} blue to {limit:.2g} orange" if limit else ": all 0"
    title = f"phase means{span}"
    elements, x = [write(left, _TOP - 32, title, 11, fill=SOFT)], left
    shown = sorted(order.tolist())
    high = _TILE if planes.shape[1] > 1 else _STRIP
    for n in shown:
        if len(planes) > 1:
            elements.append(write(x, _TOP - 14, f"phase {n} in depth", 10, fill=SOFT))
        elements += _draw_tile(planes[n, :_MOST_CELLS, :_MOST_CELLS], x, high, limit)
        x += _TILE + 16
    cut = [f"{len(shown)} of {len(planes)} planes"] if len(shown) < len(planes) else []
    if max(planes.shape[1:]) > _MOST_CELLS:
        cut.append(f"the first {_MOST_CELLS} phases of an axis")
    if cut:
        text = f"shown: {' and '.join(cut)}"
        elements.append(write(left, _TOP + high + 14, text, 10, fill=SOFT))
    return elements, max(x - 16, left + width_of(title, 11)), _TOP + high + 14 * bool(cut)


def _draw_tile(plane: Tensor, left: float, tall: float, limit: float) -> Iterator[str]:
    rows, columns = plane.shape
    down, across = (-(-_PERIODS // each) * each if each > 1 else 1 for each in (rows, columns))
    high, wide = tall / down, _TILE / across
    means = plane.tolist()
    for y, x in product(range(down), range(across)):
        mean = means[y % rows][x % columns]
        part = abs(mean) / limit if limit else 0.0
        end = _HIGH if mean > 0 else _LOW
        colour = "#" + "".join(f"{round(250 + part * (each - 250)):02x}" for each in end)
        cell = element(
            "rect", x=left + x * wide, y=_TOP + y * high, width=wide, height=high, fill=colour
        )
        yield tell(f"phase {y % rows}, {x % columns}: {mean:.3g}", cell)
    yield element("rect", x=left, y=_TOP, width=_TILE, height=tall, fill="none", stroke=RULE)
