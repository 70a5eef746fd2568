"""Draw one solved axis: the input pixels at their places, above the coverage of the output.

Legend: that of ``overlap``; x is a place along the output in its pixels, pixel y from y to y + 1.
The layer puts input pixel n, s wide, around s*n + d*(k - 1)/2 - p + 1/2. Where that row and the
output do not begin and end together, the picture is shifted, or enlarged by more or less than the
sizes ask for.
"""

from collections.abc import Iterator, Sequence

from autoup.solving.overlap import phase_range, pixel_coverage
from autoup.svg import (
    COLOURS,
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

Window = tuple[int, int, int, int, int, int]

_MOST, _END = 48, 22  # Output pixels that are drawn; of each end where the middle is left out.
_BESIDE = 6  # Output pixels that are drawn of what the input reaches beyond the output.
_WIDEST, _WIDE = 22.0, 640.0  # Of one pixel, and of all.
_GAP = 44
_INPUT, _CELL, _OUTPUT, _GROUND, _BAR = 62, 18, 106, 186, 54  # Places and heights on the screen.


def draw_axis(window: Window, title: str, facts: Sequence[str]) -> Drawing:
    """Return the drawing of an axis.

    Args:
        window: i, o, k, s, p and d.
        title: The line above it.
        facts: Lines below it, each a word, two spaces or more, and what it says.

    Example:
        >>> drawing = draw_axis((14, 28, 2, 2, 0, 1), "14 -> 28", ["shift  none"])
        >>> drawing.svg.count("1 tap")
        28
    """
    parts = _parts(window)
    unit = min(_WIDEST, _WIDE / sum(b - a for a, b in parts))
    elements, left = [write(MARGIN, 28, title, 14, font_weight="bold")], float(MARGIN)
    for a, b in parts:
        shift = left - a * unit
        elements += [
            *_draw_input(window, a, b, shift, unit),
            *_draw_output(window, a, b, shift, unit),
        ]
        left += (b - a) * unit + _GAP
    right = left - _GAP
    if len(parts) == 2:
        middle = MARGIN + (parts[0][1] - parts[0][0]) * unit + _GAP / 2
        for y in (_INPUT + 13, _GROUND):
            elements.append(write(middle, y, "…", 16, text_anchor="middle", fill=SOFT))
    for y, label in zip((_INPUT - 9, _OUTPUT), _labels(window), strict=True):
        elements.append(write(MARGIN, y, label, 11, fill=SOFT))
        right = max(right, MARGIN + width_of(label, 11))
    told, end, bottom = write_facts(facts, _GROUND + 44)
    width = max(right, end, MARGIN + width_of(title, 15)) + MARGIN
    return draw(title, width, bottom, [*elements, *told])


def _start(window: Window) -> float:
    """Return where input pixel 0 begins."""
    _, _, k, s, p, d = window
    return d * (k - 1) / 2 - p + 0.5 - s / 2


def _beyond(window: Window) -> tuple[float, float]:
    """Return how far the input reaches beyond either end of the output."""
    i, o, _, s, _, _ = window
    start = _start(window)
    return max(0.0, -start), max(0.0, start + s * i - o)


def _parts(window: Window) -> list[tuple[float, float]]:
    """Return the stretches that are drawn."""
    before, after = (min(_BESIDE, each) for each in _beyond(window))
    o = window[1]
    if o <= _MOST:
        return [(-before, o + after)]
    return [(-before, _END), (o - _END, o + after)]


def _labels(window: Window) -> tuple[str, str]:
    i, o, _, s, _, _ = window
    before, after = _beyond(window)
    ends = [
        f"{each:g} px at the {end}" for each, end in ((before, "start"), (after, "end")) if each
    ]
    beyond = f"; beyond the output {' and '.join(ends)}" if ends else ""
    coloured = ", coloured by phase" if s > 1 else ""
    coloured += f", {len(COLOURS)} colours in turn" if s > len(COLOURS) else ""
    return (
        f"input pixels, 0 to {i - 1}, each {s} wide, where the layer puts them{beyond}",
        f"taps that reach the output pixels, 0 to {o - 1}{coloured}",
    )


def _draw_input(window: Window, a: float, b: float, shift: float, unit: float) -> Iterator[str]:
    i, o, _, s, _, _ = window
    start = _start(window)
    for n in range(max(0, int((a - start) // s)), min(i, int((b - start) // s) + 1)):
        low, high = max(a, start + s * n), min(b, start + s * (n + 1))
        if high <= low:
            continue
        cell = element(
            "rect", x=shift + low * unit + 0.5, y=_INPUT, width=(high - low) * unit - 1,
            height=_CELL, rx=2, fill=RULE,
        )  # fmt: skip
        cut = (low > start + s * n and a < 0) or (high < start + s * (n + 1) and b > o)
        name = _write_inside(shift + low * unit, (high - low) * unit, "…" if cut else str(n))
        yield tell(f"input pixel {n}, around {start + s * (n + 0.5) - 0.5:g}", cell, name)
    for end in (0, o):
        if a <= end <= b:
            x = shift + end * unit
            line = f"M{x:g} {_INPUT - 4}V{_INPUT + _CELL + 4}M{x:g} {_OUTPUT + 8}V{_GROUND}"
            yield element("path", d=line, stroke=SOFT, stroke_dasharray="2 3")


def _write_inside(x: float, width: float, text: str) -> str:
    if width < width_of(f"{text} ", 9):
        return ""
    return write(x + width / 2, _INPUT + 12.5, text, 9, text_anchor="middle")


def _draw_output(window: Window, a: float, b: float, shift: float, unit: float) -> Iterator[str]:
    i, o, k, s, p, d = window
    most = max(1, phase_range(k, s, d)[1])
    first, last = max(0, int(a)), min(o, int(b))
    for y in range(first, last):
        count, phase = pixel_coverage(y, i, k, s, p, d), (y + p) % s
        x, high = shift + y * unit, _BAR * count / most if count else 12
        look = {"fill": COLOURS[phase % len(COLOURS)]}
        if not count:  # Nothing but the bias.
            look = {"fill": "none", "stroke": INK, "stroke_dasharray": "2 2"}
        bar = element("rect", x=x + 0.5, y=_GROUND - high, width=unit - 1, height=high, **look)
        fits = width_of(f"{count} ", 9) <= unit
        above = write(x + unit / 2, _GROUND - high - 3, str(count), 9, text_anchor="middle")
        taps = f"{count} tap{'s' * (count != 1)}"
        yield tell(f"output pixel {y}, phase {phase}: {taps}", bar, above if fits else "")
    begin, end = shift + first * unit, shift + last * unit
    yield element("path", d=f"M{begin:g} {_GROUND}H{end:g}", stroke=SOFT)
    yield write(begin, _GROUND + 13, str(first), 9, fill=SOFT)
    if last - first > 1:
        yield write(end, _GROUND + 13, str(last - 1), 9, fill=SOFT, text_anchor="end")
