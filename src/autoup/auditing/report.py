"""What an audit returns: rows to iterate, a table, JSON and HTML."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from textwrap import wrap
from typing import Any, overload

from autoup.auditing.counts import read_axes
from autoup.auditing.drawing import draw_steps
from autoup.auditing.html import render
from autoup.auditing.upsampling import HEADER, Upsampling, cells
from autoup.auditing.verdict import SEVERITIES
from autoup.measuring.constant_inputs import ConstantGrid
from autoup.solving.flaws import AXES, END, START, unit
from autoup.solving.solution import three_digits
from autoup.svg import Drawing
from autoup.table import join_axes, lay_out

_TEXT = 90
_MOST_NAMES = 6


@dataclass(frozen=True, slots=True, eq=False)
class AuditReport:
    """Every upsampling step of a model, and what is wrong with it; ``str()`` is the table.

    Iterate over it for the rows, each an ``Upsampling``.

    Args:
        model: Name of the model's class.
        rows: One per step, in the order of the forward pass, or of the model without one.
        input_size: Sizes of the inputs; None without a forward pass.
        multiply_adds: Of all steps in one forward pass; None without one.
        drift: Shifts of the upsampling steps alone, added up to the output, in its pixels, one per
            axis, negative toward the start; None without a forward pass, without an output of as
            many axes, or where it cannot be followed. Each counts from the centre of
            its own layer: a strided convolution before it can undo it, as ``k3 s2 p1`` undoes
            what ``k3 s2 p1`` with output padding 1 shifts.
        displaced: Where the middle of the input comes to lie in the output, less the output's own
            middle, in its pixels, negative toward the start; convolutions, pools and padding of the
            whole model counted. For each axis the least and the most of all ways through the model;
            None where it cannot be followed.
        stretched: How far the ends of the input lie outside (negative: inside) of where an
            enlargement by the ratio of the sizes puts them, in pixels of the output, one per
            axis: a scale that is not that ratio, as cropping brings about; None likewise.
        constants: The grid in the output on constant inputs; None where it was not measured.
        notes: What the audit could not look at.

    Example:
        >>> import autoup, torch
        >>> report = autoup.audit(torch.nn.ConvTranspose2d(8, 4, 3, 2, 1, 1))
        >>> report.clean, len(report), report[0].severity
        (False, 1, 'severe')
    """

    model: str
    rows: tuple[Upsampling, ...]
    input_size: tuple[tuple[int, ...], ...] | None = None
    multiply_adds: int | None = None
    drift: tuple[float, ...] | None = None
    displaced: tuple[tuple[float, float], ...] | None = None
    stretched: tuple[float, ...] | None = None
    constants: ConstantGrid | None = None
    notes: tuple[str, ...] = ()

    @property
    def clean(self) -> bool:
        """Whether no row is ``"unknown"``, ``"warning"`` or ``"severe"``; notes do not count."""
        return not self.findings

    @property
    def findings(self) -> tuple[Upsampling, ...]:
        """The rows of severity ``"unknown"``, ``"warning"`` or ``"severe"``."""
        return tuple(row for row in self.rows if SEVERITIES.index(row.severity) >= 2)

    def __iter__(self) -> Iterator[Upsampling]:
        return iter(self.rows)

    def __len__(self) -> int:
        return len(self.rows)

    @overload
    def __getitem__(self, place: int) -> Upsampling: ...
    @overload
    def __getitem__(self, place: slice) -> tuple[Upsampling, ...]: ...
    def __getitem__(self, place: int | slice) -> Upsampling | tuple[Upsampling, ...]:
        return self.rows[place]

    def to_dict(self) -> dict[str, Any]:
        """Return all fields as what JSON holds.

        Example:
            >>> import autoup, json, torch
            >>> json.dumps(autoup.audit(torch.nn.ReLU()).to_dict())[:36]
            '{"model": "ReLU", "clean": true, "ro'
        """
        grid = self.constants
        return {
            "model": self.model,
            "clean": self.clean,
            "rows": [row.to_dict() for row in self.rows],
            "input_size": None if self.input_size is None else [*map(list, self.input_size)],
            "multiply_adds": self.multiply_adds,
            "drift": None if self.drift is None else [*self.drift],
            "displaced": None if self.displaced is None else [[*each] for each in self.displaced],
            "stretched": None if self.stretched is None else [*self.stretched],
            "constants": None
            if grid is None
            else {
                "period": [*grid.period],
                "spread": grid.spread,
                "level": grid.level,
                "out_size": [*grid.out_size],
            },
            "notes": [*self.notes],
        }

    def __str__(self) -> str:
        lines = [self.summary()]
        if self.rows:
            lines += ["", *lay_out([HEADER, *map(cells, self.rows)]), ""]
        told: dict[tuple[str, ...], list[str]] = {}
        for row in self.rows:
            if row.severity != "clean" or row.remedy:
                told.setdefault((row.severity, *details(row)), []).append(row.name or "(model)")
        for (severity, *texts), names in told.items():
            lines += _explain(names, severity, texts)
        lines += [line for text in self.footer() for line in wrap(text, _TEXT)]
        return "\n".join(lines).rstrip()

    __repr__ = __str__

    def summary(self) -> str:
        """Return the first line."""
        steps = f"{len(self.rows)} upsampling step{'s' * (len(self.rows) != 1)}"
        if not self.rows:
            if self.input_size is None:
                return f"{self.model}: no upsampling layer found."
            return f"{self.model}: no upsampling step found; clean."
        found = f"{len(self.findings)} not clean" if self.findings else "clean"
        noted = sum(row.severity == "note" for row in self.rows)
        return f"{self.model}: {steps}, {found}{f', {noted} with a note' if noted else ''}."

    def footer(self) -> list[str]:
        """Return what holds for the model as a whole."""
        said: list[str] = []
        if self.drift is not None and any(self.drift):
            said.append(
                f"Added up, these steps shift the output {_toward(self.drift)}. "
                f"{_lies(self.displaced)}"
            )
        elif self.displaced is not None and any(map(any, self.displaced)):
            said.append(
                _lies(self.displaced).replace("With the whole model counted, it", "The output")
            )
        if self.stretched is not None and any(self.stretched):
            ends = join_axes([three_digits(abs(each)) for each in self.stretched])
            said.append(
                f"Its scale is not the ratio of the sizes: the ends of the input lie {ends} "
                f"{unit(len(self.stretched))} from where that puts them, "
                f"{_sides(self.stretched)}."
            )
        if self.constants is not None:
            said.append(str(self.constants))
        if self.multiply_adds is not None:
            said.append(f"Multiply-adds of these steps: {self.multiply_adds:,}.")
        return [*said, *self.notes]

    def _repr_html_(self) -> str:
        return render(
            self.summary(),
            HEADER,
            [(cells(row), row.severity, drawings(row), details(row)) for row in self.rows],
            self.footer(),
            self.draw().svg if self.rows else "",
        )

    def draw(self) -> Drawing:
        """Return the steps as a chain: sizes, shifts and verdicts, and where the output lies.

        A notebook shows the drawing, ``.save("audit.svg")`` writes it.

        Example:
            >>> import autoup, torch
            >>> autoup.audit(torch.nn.ConvTranspose2d(8, 4, 3, 2, 1, 1)).draw()
            Drawing of ConvTranspose2d: 1 upsampling step, 1 not clean.; \
.save("drawing.svg") writes it
        """
        return draw_steps(self.summary(), self.rows, self.drift, self.displaced, self.notes)


def _toward(offsets: Sequence[float]) -> str:
    """Name the sides and how far, those of the same number together."""
    sides: dict[float, list[str]] = {}
    for name, offset in zip(AXES[len(offsets)], offsets, strict=True):
        if offset:
            side = START[name] if offset < 0 else END[name]
            sides.setdefault(abs(offset), []).append(side)
    return " and ".join(
        f"{count:g} {unit(len(offsets), count)} toward the {' and '.join(each)}"
        for count, each in sides.items()
    )


def _sides(stretched: Sequence[float]) -> str:
    if all(each >= 0 for each in stretched):
        return "outward, as where borders are cropped or corners aligned"
    return "inward" if all(each <= 0 for each in stretched) else "outward and inward"


def _lies(displaced: Sequence[tuple[float, float]] | None) -> str:
    """Say where the output lies, the whole model counted."""
    if displaced is None:
        return "Strided convolutions before them may undo it."
    if any(low != high for low, high in displaced):
        ranges = ", ".join(f"{low:g} to {high:g}" for low, high in displaced)
        px = unit(len(displaced))
        return f"With the whole model counted, ways of different shifts meet: {ranges} {px}."
    offsets = [low for low, _ in displaced]
    where = _toward(offsets) or "in its place"
    return f"With the whole model counted, it lies {where}."


def details(row: Upsampling) -> list[str]:
    """Return what a viewer sees, and the remedy."""
    lines = [f"Seen: {'; '.join(row.seen)}."] if row.seen else []
    return lines + ([f"Repair: {row.remedy}."] if row.remedy else [])


def drawings(row: Upsampling) -> list[tuple[int, ...]]:
    """Return the coverage of a few pixels along each axis, both borders among them."""
    if row.kind != "transposed" or row.kernel_size is None or row.padding is None:
        return []
    stride = [int(s) for s in row.stride]
    axes = read_axes(None, row.kernel_size, stride, row.padding, row.output_padding, row.dilation)
    return [axis.coverage for axis in dict.fromkeys(axes)]


def _explain(names: Sequence[str], severity: str, texts: Sequence[str]) -> list[str]:
    shown = [*names[:_MOST_NAMES], *([f"{len(names)} in all"] if len(names) > _MOST_NAMES else [])]
    lines = wrap(f"{severity}: {', '.join(shown)}", _TEXT - 2, subsequent_indent="    ")
    for text in texts:
        lines += wrap(text, _TEXT - 4, initial_indent="  ", subsequent_indent="    ")
    return [f"  {line}" for line in lines] + [""]
