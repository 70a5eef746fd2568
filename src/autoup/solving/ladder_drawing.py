"""Draw a chain of layers: the maps one above another, each where its pixels lie in the output.

Legend: a map of x pixels whose layers above enlarge S times, and shift by T, takes up S*x pixels of
the output around its middle + T.
"""

from collections.abc import Iterator, Sequence

from autoup.solving.solution import Solution, remarks
from autoup.svg import (
    COLOURS,
    MARGIN,
    PAPER,
    SOFT,
    Drawing,
    draw,
    element,
    tell,
    width_of,
    write,
    write_facts,
)

_TOP, _ROW, _BAR = 62, 44, 20  # Of the first map, from map to map, and of a map.
_WIDE, _NARROWEST = 560.0, 5.0  # Of the widest map, and of a pixel that is drawn by itself.


def draw_ladder(solutions: Sequence[Solution], title: str, whole: str) -> Drawing:
    """Return the drawing of a chain.

    Args:
        solutions: One per layer, the first from the smallest map.
        title: The line above it.
        whole: What is said of all layers together.

    Example:
        >>> drawing = draw_ladder([Solution(2, 4, 2, 2), Solution(4, 8, 2, 2)], "2 -> 8", "")
        >>> drawing.svg.count("pixels wide")
        3
    """
    maps = [*_places(solutions)]
    low, high = min(each[1] for each in maps), max(each[2] for each in maps)
    unit = _WIDE / (high - low)
    names = max(width_of(str(size), 12) for size, *_ in maps) + 8
    left = MARGIN + names - low * unit
    elements, right = [write(MARGIN, 28, title, 14, font_weight="bold")], MARGIN + names + _WIDE
    out = solutions[-1].out_size
    bottom = _TOP + _ROW * (len(maps) - 1) + _BAR
    for end in (0, out):
        line = f"M{left + end * unit:g} {_TOP - 6}V{bottom + 6}"
        elements.append(element("path", d=line, stroke=SOFT, stroke_dasharray="2 3"))
    for number, (size, start, end) in enumerate(maps):
        y = _TOP + _ROW * number
        elements.append(write(MARGIN, y + 14, str(size)))
        elements.append(_draw_map(size, left + start * unit, (end - start) * unit, y, number))
        if number < len(solutions):
            text, x = _way(solutions[number]), left + 6
            elements.append(write(x, y + _BAR + 15, text, 11, fill=SOFT))
            right = max(right, x + width_of(text, 11))
    told, width, bottom = write_facts([whole], bottom + 30)
    width = max(right, width, MARGIN + width_of(title, 15)) + MARGIN
    return draw(title, width, bottom, [*elements, *told])


def _places(solutions: Sequence[Solution]) -> Iterator[tuple[int, float, float]]:
    """Yield size, start and end of each map, in output pixels, the smallest first."""
    out = solutions[-1].out_size
    scale, far, found = 1, 0.0, [(out, 0.0, float(out))]
    for each in reversed(solutions):
        far, scale = far + scale * each.shift, scale * each.stride
        half = scale * each.in_size / 2
        found.append((each.in_size, out / 2 + far - half, out / 2 + far + half))
    yield from reversed(found)


def _draw_map(size: int, x: float, width: float, y: float, number: int) -> str:
    colour = COLOURS[number % len(COLOURS)]
    parts = [element("rect", x=x, y=y, width=width, height=_BAR, rx=2, fill=colour)]
    if width / size >= _NARROWEST:
        lines = "".join(f"M{x + n * width / size:g} {y}v{_BAR}" for n in range(1, size))
        if lines:
            parts.append(element("path", d=lines, stroke=PAPER))
    return tell(f"{size} pixels wide", *parts)


def _way(solution: Solution) -> str:
    """Say what a layer is, in short."""
    text = f"stride {solution.stride}, kernel_size {solution.kernel_size}"
    text += f", padding {solution.padding}" if solution.padding else ""
    return "; ".join([text, *remarks(solution)])
