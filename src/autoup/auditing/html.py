"""Write an audit as HTML that needs nothing from elsewhere."""

from collections.abc import Sequence

from autoup.auditing.drawing import COLOURS
from autoup.svg import element, escape

_STYLE = (
    ".autoup{font:13px/1.5 system-ui,sans-serif}"
    ".autoup table{border-collapse:collapse;margin:.5em 0}"
    ".autoup th,.autoup td{text-align:left;vertical-align:top;padding:.2em .7em .2em 0;"
    "border-bottom:1px solid #8884}"
    ".autoup .said{color:#777;border:0;padding-bottom:.6em}"
    ".autoup svg{display:block;margin:.4em 0}"
)
_WIDE, _HIGH = 6, 36
_MOST_BARS = 96

Row = tuple[Sequence[str], str, Sequence[Sequence[int]], Sequence[str]]


def render(
    title: str,
    header: Sequence[str],
    rows: Sequence[Row],
    footer: Sequence[str],
    picture: str = "",
) -> str:
    """Return a table; every text is escaped.

    Args:
        title: The first line, where no picture has it.
        header: Names of the columns.
        rows: For each the cells, the severity, the coverage along each axis, and more to say.
        footer: Lines below the table.
        picture: What stands above the table, SVG with the title.

    Example:
        >>> "<b>" in render("<b>", ["layer"], [(["<b>"], "clean", [[1, 2]], ["<b>"])], [])
        False
    """
    names = "".join(f"<th>{escape(name)}</th>" for name in [*header, "coverage"])
    body = "".join(_row(*row) for row in rows)
    table = f"<table><thead><tr>{names}</tr></thead><tbody>{body}</tbody></table>" if rows else ""
    below = "".join(f"<p>{escape(text)}</p>" for text in footer)
    head = picture or f"<p><strong>{escape(title)}</strong></p>"
    return f'<div class="autoup"><style>{_STYLE}</style>{head}{table}{below}</div>'


def page(title: str, content: str) -> str:
    """Return a whole document.

    Example:
        >>> page("audit", "<p>clean</p>")[:15]
        '<!doctype html>'
    """
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        f"<title>{escape(title)}</title></head><body>{content}</body></html>\n"
    )


def draw_coverage(counts: Sequence[int]) -> str:
    """Return a bar chart: a bar for each output pixel, as high as the taps that reach it.

    Example:
        >>> draw_coverage([1, 2]).count("<rect")
        2
    """
    shown, most = counts[:_MOST_BARS], max([1, *counts])
    bars = "".join(
        element("rect", x=place * _WIDE, y=_HIGH - height, width=_WIDE - 1, height=height)
        for place, count in enumerate(shown)
        if (height := max(1.0, round(_HIGH * count / most, 1)))
    )
    label = " ".join(map(str, shown)) + (" …" if len(counts) > len(shown) else "")
    return (
        f'<svg role="img" width="{len(shown) * _WIDE}" height="{_HIGH}" fill="currentColor">'
        f"<title>{escape(label)}</title>{bars}</svg>"
    )


def _row(
    cells: Sequence[str], severity: str, drawn: Sequence[Sequence[int]], said: Sequence[str]
) -> str:
    colour = COLOURS[severity]
    fields = "".join(f"<td>{escape(cell)}</td>" for cell in cells[:-1])
    fields += f'<td style="color:{colour}">{escape(cells[-1])}</td>'
    fields += f'<td style="color:{colour}">{"".join(map(draw_coverage, drawn)) or "-"}</td>'
    more = "<br>".join(map(escape, said))
    below = f'<tr><td class="said" colspan="{len(cells) + 1}">{more}</td></tr>' if said else ""
    return f"<tr>{fields}</tr>{below}"
