"""One upsampling step of a model, as an audit tells of it: a row of the report."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from autoup.table import join_axes

HEADER = (
    "layer", "step", "in -> out", "k", "s", "p", "op", "taps", "shift", "spread", "verdict"
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Upsampling:
    """One upsampling step of a model, a row of an ``AuditReport``.

    Along each axis, height before width, a tuple has one entry.

    Args:
        name: Qualified name of the module, or of the function and the module that calls it.
        type: Name of the class or function.
        kind: ``"transposed"``, ``"shuffle"`` (a convolution, whose channels become blocks of
            pixels), ``"resize"`` (``Upsample``, ``interpolate``, a pool that enlarges),
            ``"repeat"`` (pixels repeated by hand), ``"zeros"`` (zeros between pixels, with the
            convolution behind them a transposed one), ``"unpool"``, ``"fold"`` (patches or frames
            added up), ``"sample"`` (``grid_sample``) or ``"unknown"``.
        partner: Qualified name of the convolution before a shuffle or after a resize.
        mode: Of a resize.
        in_channels: Of the input.
        out_channels: Of the output.
        groups: Of the convolution.
        kernel_size: In taps; for a shuffle or a resize that of the convolution.
        stride: In pixels; for a shuffle or a resize the enlargement.
        padding: In pixels.
        output_padding: In pixels; what was used, where ``output_size`` was passed.
        dilation: In pixels.
        in_size: In pixels; None where no forward pass showed it.
        out_size: In pixels; None likewise.
        phases: Taps that reach each phase of the output.
        even: Whether all phases have the same number of taps.
        uncovered: Output pixels that no tap reaches. Without sizes, those at the end.
        border: Output pixels covered less than the interior.
        shift: Offset of the output from the centre, in pixels; negative toward the start.
        spread: How unequal the phase sums of the weights are (see ``phase_spread``), ratio in
            [0, 1]; None where there are no numbers.
        multiply_adds: Of the step and its convolution in one forward pass; each input pixel meets
            each tap, cropped or not. None without sizes.
        drift: What the shift is at the model's output, in its pixels; None without sizes.
        calls: How often the forward pass called it; None without one.
        seen: What a viewer will see.
        severity: ``"clean"``; ``"note"``: the counts are clean and the weights are not, or the
            reverse; ``"unknown"``: it enlarges and how was not understood; ``"warning"``: shifted
            or of the wrong scale; ``"severe"``: uneven or uncovered.
        remedy: What ``repair`` would do, or why it would not.

    Example:
        >>> import autoup, torch
        >>> row = autoup.audit(torch.nn.ConvTranspose2d(8, 4, 3, 2, 1, 1))[0]
        >>> row.phases, row.even, row.shift
        (((2, 1), (2, 1)), False, (-0.5, -0.5))
    """

    name: str
    type: str
    kind: str
    partner: str | None
    mode: str | None
    in_channels: int | None
    out_channels: int | None
    groups: int
    kernel_size: tuple[int, ...] | None
    stride: tuple[float, ...]
    padding: tuple[int, ...] | None
    output_padding: tuple[int, ...]
    dilation: tuple[int, ...]
    in_size: tuple[int, ...] | None
    out_size: tuple[int, ...] | None
    phases: tuple[tuple[int, ...], ...]
    even: bool
    uncovered: tuple[int, ...]
    border: tuple[int, ...]
    shift: tuple[float, ...]
    spread: float | None
    multiply_adds: int | None
    drift: tuple[float, ...] | None
    calls: int | None
    seen: tuple[str, ...]
    severity: str
    remedy: str

    def __repr__(self) -> str:
        layer, step, sizes, *numbers, verdict = cells(self)
        named = [f"{name} {each}" for name, each in zip(HEADER[3:], numbers, strict=False)]
        told = [each for each in (step, sizes, *named, verdict) if each.split()[-1] != "-"]
        return f"{layer}: {', '.join(told)}"

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as what JSON holds.

        Example:
            >>> import autoup, torch
            >>> autoup.audit(torch.nn.ConvTranspose1d(1, 1, 3, 2))[0].to_dict()["phases"]
            [[2, 1]]
        """
        return _plain(asdict(self))


def cells(row: Upsampling) -> tuple[str, ...]:
    """Return a row of the table, in the order of ``HEADER``.

    Example:
        >>> import autoup, torch
        >>> cells(autoup.audit(torch.nn.ConvTranspose1d(1, 1, 3, 2))[0])[3:8]
        ('3', '2', '0', '0', '1-2')
    """
    sizes = ""
    if row.in_size is not None:
        sizes = f"{join_axes(row.in_size)} -> {join_axes(row.out_size or ())}"
    return (
        row.name or "(model)",
        _step(row),
        sizes or "-",
        join_axes(row.kernel_size or ()) or "-",
        join_axes(row.stride),
        join_axes(row.padding or ()) or "-",
        join_axes(row.output_padding) or "-",
        join_axes([_range(phases) for phases in row.phases]),
        join_axes(row.shift),
        "-" if row.spread is None else f"{row.spread:.2g}",
        row.severity,
    )


def _step(row: Upsampling) -> str:
    """Name a step, and the convolution beside it."""
    if row.kind == "transposed":
        return row.kind
    if row.kind == "shuffle":
        return "conv + shuffle" if row.partner else "shuffle"
    if row.kind == "unknown":
        return "unknown step"
    name = row.mode if row.kind == "resize" else row.kind
    return f"{name} + conv" if row.partner else f"{name}"


def _range(phases: Sequence[int]) -> str:
    least, most = min(phases), max(phases)
    return f"{least}" if least == most else f"{least}-{most}"


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(each) for key, each in value.items()}  # pyright: ignore
    return [_plain(each) for each in value] if isinstance(value, tuple | list) else value  # pyright: ignore
