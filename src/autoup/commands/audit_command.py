"""``audit``: the report of a model, and a status that can gate a CI."""

import json
from argparse import Namespace
from collections.abc import Sequence
from dataclasses import replace
from difflib import get_close_matches
from fnmatch import fnmatchcase
from pathlib import Path

from autoup.auditing import html
from autoup.auditing.model import audit
from autoup.auditing.report import AuditReport
from autoup.auditing.upsampling import Upsampling
from autoup.commands import states
from autoup.commands.answers import DONE, FOUND, Answer, CommandError, listed
from autoup.commands.sizes import with_input_sizes
from autoup.commands.targets import load


def run(options: Namespace) -> Answer:
    """Audit a model.

    Raises:
        CommandError: It cannot be looked at.
    """
    model = load(options.model).model
    if options.checkpoint is not None:
        states.load(states.read_states(options.checkpoint, model)[1][0], model)
    report = with_input_sizes(options.input_size, lambda sizes: audit(model, sizes))
    ignored, notes = _ignored(report, options.ignore)
    counted = [row for row in report.findings if row not in ignored]
    shown = _mark(report, ignored, len(counted)) if ignored else report
    if options.html is not None:
        _write_html(options.html, f"Audit of {options.model}", shown)
    status = FOUND if counted else DONE
    return Answer(_as_json(report, ignored, status) if options.json else str(shown), status, notes)


def _name(row: Upsampling) -> str:
    return row.name or "(model)"


def _ignored(
    report: AuditReport, patterns: Sequence[str]
) -> tuple[list[Upsampling], tuple[str, ...]]:
    """Return the findings that patterns match, and what to say of patterns that match none.

    Raises:
        CommandError: A pattern matches no row at all.
    """
    names, found = [_name(row) for row in report], list[Upsampling]()
    notes: list[str] = []
    for pattern in patterns:
        if not any(fnmatchcase(name, pattern) for name in names):
            near = get_close_matches(pattern, names, 1)
            there = f"none of the steps: {listed(names)}" if names else "nothing: there is no step"
            raise CommandError(f"--ignore {pattern} matches {there}.", [pattern], near)
        matched = [row for row in report.findings if fnmatchcase(_name(row), pattern)]
        found += matched
        if not matched:
            notes.append(
                f"autoup audit: --ignore {pattern} can go: what it matches needs no ignoring."
            )
    return found, tuple(notes)


def _mark(report: AuditReport, ignored: Sequence[Upsampling], counted: int) -> AuditReport:
    """Return the report with what is ignored marked, in the table and below it."""
    rows = [
        replace(row, name=f"{_name(row)} (ignored)") if row in ignored else row for row in report
    ]
    names = [_name(row) for row in report if row in ignored]
    said = (
        f"Ignored on request: {listed(names)}. The exit status counts "
        f"the rest: {counted} not clean."
    )
    return replace(report, rows=tuple(rows), notes=(*report.notes, said))


def _as_json(report: AuditReport, ignored: Sequence[Upsampling], status: int) -> str:
    """Return all of a report, which rows are ignored, and whether the rest is clean."""
    told = report.to_dict()
    for row, fields in zip(report, told["rows"], strict=True):
        fields["ignored"] = row in ignored
    return json.dumps({**told, "passed": status == DONE}, indent=2)


def _write_html(path: Path, title: str, report: AuditReport) -> None:
    content = html.page(title, report._repr_html_())  # pyright: ignore[reportPrivateUsage]
    try:
        path.write_text(content, encoding="utf-8")
    except OSError as error:
        raise CommandError(f"cannot write {path}: {error.strerror}.") from None
