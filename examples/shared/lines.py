"""Results files, a line of JSON each, and the tables that are made of them."""

import json
from collections.abc import Iterable
from pathlib import Path


def read(path: Path) -> list[dict]:
    """Return the lines that are whole; one cut off by an interruption is not."""
    lines = []
    for line in path.read_text().splitlines():
        try:
            lines.append(json.loads(line))
        except json.JSONDecodeError:
            continue
    return lines


def find(lines: list[dict], **wanted: object) -> list[dict]:
    """Return the lines that have these values."""
    return [line for line in lines if all(line.get(k) == value for k, value in wanted.items())]


def table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """Return a table in Markdown."""
    head = list(head)
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
