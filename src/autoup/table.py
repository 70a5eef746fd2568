"""Lay out tables of text so that lines stay short and every cell whole."""

import re
from collections.abc import Sequence

WIDTH = 100
_NAME = 8  # Letters that names have beside the other columns, at least.
_BLANKS, _AXES = re.compile(r"(?<= )"), re.compile(r"(?<=\dx)(?=[-\d])")


def lay_out(rows: Sequence[Sequence[str]], width: int = WIDTH) -> list[str]:
    r"""Return the lines of a table, the first column the names.

    Where lines would be longer than they may, a long name has a line of its own, above the rest
    of its row. Where that is not enough the widest column goes on in a further line, until they
    fit: cells break at blanks and between axes, never inside of a number.

    Args:
        rows: Their cells, the header first.
        width: Most letters of a line.

    Example:
        >>> rows = ["layer", "in -> out", "k"], ["decoder.up", "8 -> 16", "3"]
        >>> print("\n".join(lay_out(rows, width=24)))
          layer     in -> out  k
          decoder.up
                    8 -> 16    3
    """
    names, *columns = [*zip(*rows, strict=True)]
    room, widths = width - 2 * len(columns) - 2, [max(map(len, column)) for column in columns]
    while sum(widths) > room - _NAME:
        narrower = [_narrow(column, w) for column, w in zip(columns, widths, strict=True)]
        able = [n for n, each in enumerate(narrower) if each < widths[n]]
        if not able:
            break
        widest = max(able, key=lambda n: widths[n])
        widths[widest] = narrower[widest]
    beside = min(max(map(len, names)), max(_NAME, room - sum(widths)))
    lines: list[str] = []
    for name, *cells in rows:
        if len(name) > beside:
            parts = range(0, len(name), width - 2)
            lines += [f"  {name[start : start + width - 2]}" for start in parts]
        folded = [[name if len(name) <= beside else ""], *map(_fold, cells, widths)]
        for height in range(max(map(len, folded))):
            shown = [each[height] if height < len(each) else "" for each in folded]
            lines.append("  ".join(["", *map(str.ljust, shown, [beside, *widths])]).rstrip())
    return lines


def join_axes(values: Sequence[object]) -> str:
    """Join one entry per axis, or say it once where all are the same.

    Example:
        >>> join_axes((3, 3)), join_axes((0.5, 1024.0)), join_axes(())
        ('3', '0.5x1024', '')
    """
    shown = [f"{round(each, 3):.10g}" if isinstance(each, float) else str(each) for each in values]
    return shown[0] if len(set(shown)) == 1 else "x".join(shown)


def _narrow(column: Sequence[str], width: int) -> int:
    """Return the width that a column takes when it may not have all of this."""
    return max(len(line) for cell in column for line in _fold(cell, width - 1))


def _fold(cell: str, width: int) -> list[str]:
    lines = [""]
    words = _BLANKS.split(cell)
    pieces = [
        each for word in words for each in (_AXES.split(word) if len(word) > width else [word])
    ]
    for piece in pieces:
        if lines[-1] and len((lines[-1] + piece).rstrip()) > width:
            lines.append("")
        lines[-1] += piece
    return [line.rstrip() for line in lines]
