"""Draw in SVG, as plain strings: what a notebook shows and a file holds.

A drawing stands on a ground of its own, so that it reads on dark pages as it does on light ones.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from os import PathLike, fspath
from pathlib import Path

INK, SOFT, RULE, PAPER = "#1f2328", "#667079", "#d3d8dd", "#ffffff"
# Okabe & Ito's colours, which colour-blind readers tell apart; after them phases share colours.
COLOURS = (
    "#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#8c6bb1", "#7f8c8d",
)  # fmt: skip
MARGIN = 20
_TOLD = 76  # Where what facts say begins.
_LETTER = 0.62  # Mean width of a letter over the size of its font, at most.


@dataclass(frozen=True, slots=True)
class Drawing:
    """A picture in SVG: a notebook shows it, ``save`` writes it.

    Args:
        title: What it shows; screen readers read it out.
        svg: The whole picture, as text.

    Example:
        >>> import autoup
        >>> autoup.solve(14, 28).draw()
        Drawing of 14 -> 28 with kernel_size=2, stride=2; .save("drawing.svg") writes it
    """

    title: str
    svg: str

    def __repr__(self) -> str:
        return f'Drawing of {self.title}; .save("drawing.svg") writes it'

    def _repr_svg_(self) -> str:
        return self.svg

    def save(self, path: str | PathLike[str]) -> None:
        """Write the picture as an SVG file.

        Raises:
            ValueError: The name does not end in ``.svg``.

        Example:
            >>> draw("a line", 20, 10, [element("path", d="M0 5H20")]).save("line.png")
            Traceback (most recent call last):
            ValueError: A drawing is saved as SVG, got 'line.png': name it 'line.svg', and make \
other formats of that.
        """
        name = fspath(path)
        if not name.lower().endswith(".svg"):
            raise ValueError(
                f"A drawing is saved as SVG, got {name!r}: name it "
                f"{str(Path(name).with_suffix('.svg'))!r}, and make other formats of that."
            )
        Path(name).write_text(self.svg, encoding="utf-8")


def draw(title: str, width: float, height: float, elements: Iterable[str]) -> Drawing:
    """Return a drawing of so many pixels of a screen.

    Example:
        >>> draw("<nothing>", 20, 10, []).svg.count("&lt;nothing&gt;")
        1
    """
    ground = element("rect", width=width, height=height, rx=6, fill=PAPER)
    svg = element(
        "svg",
        f"<title>{escape(title)}</title>{ground}{''.join(elements)}",
        xmlns="http://www.w3.org/2000/svg",
        role="img",
        width=width,
        height=height,
        viewBox=f"0 0 {width:g} {height:g}",
        style="max-width:100%",
        font_family="system-ui, -apple-system, 'Segoe UI', 'DejaVu Sans', sans-serif",
        font_size=12,
        fill=INK,
    )
    return Drawing(title, svg)


def element(tag: str, content: str = "", **attributes: str | float) -> str:
    """Return an element; ``content`` is SVG already, attributes are escaped.

    Example:
        >>> element("rect", x=1 / 3, font_size=9)
        '<rect x="0.33" font-size="9"/>'
    """
    given = "".join(
        f' {name.replace("_", "-")}="{escape(value)}"'
        if isinstance(value, str)
        else f' {name.replace("_", "-")}="{round(value, 2):.10g}"'
        for name, value in attributes.items()
    )
    return f"<{tag}{given}>{content}</{tag}>" if content else f"<{tag}{given}/>"


def write(x: float, y: float, text: str, size: float = 12, **attributes: str | float) -> str:
    """Return a line of text whose base line begins at a place.

    Example:
        >>> write(0, 9, "a < b", size=9)
        '<text x="0" y="9" font-size="9">a &lt; b</text>'
    """
    return element("text", escape(text), x=x, y=y, font_size=size, **attributes)


def write_facts(facts: Iterable[str], top: float) -> tuple[list[str], float, float]:
    """Return lines below each other, and where the longest and the last of them end.

    A fact is a word, two blanks or more, and what it says; or what it says alone.

    Example:
        >>> elements, right, bottom = write_facts(["shift  none"], 40)
        >>> len(elements), bottom
        (2, 57)
    """
    elements: list[str] = []
    right = 0.0
    for fact in facts:
        name, _, text = fact.strip().partition("  ")
        x = MARGIN + _TOLD if text else MARGIN
        if text:
            elements.append(write(MARGIN, top, name, fill=SOFT))
        said = text.strip() or name
        elements.append(write(x, top, said))
        right, top = max(right, x + width_of(said)), top + 17
    return elements, right, top


def tell(text: str, *elements: str) -> str:
    """Return elements that say something when they are pointed at.

    Example:
        >>> tell("2 taps", element("path"))
        '<g><title>2 taps</title><path/></g>'
    """
    return element("g", f"<title>{escape(text)}</title>{''.join(elements)}")


def width_of(text: str, size: float = 12) -> float:
    """Return how wide a line of text is at most, whatever the font.

    Example:
        >>> width_of("abcd", size=10)
        24.8
    """
    return _LETTER * size * len(text)


def escape(text: str) -> str:
    r"""Return text that HTML and SVG show as it is; what does not print is replaced.

    Example:
        >>> escape('<a b="c">'), ascii(escape("\0"))
        ('&lt;a b=&quot;c&quot;&gt;', "'\\ufffd'")
    """
    shown = "".join(each if each.isprintable() else "\N{REPLACEMENT CHARACTER}" for each in text)
    for sign, name in (("&", "amp"), ("<", "lt"), (">", "gt"), ('"', "quot")):
        shown = shown.replace(sign, f"&{name};")
    return shown
