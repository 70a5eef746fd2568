"""Fill the row of one upsampling step from what was read of it."""

from collections.abc import Sequence
from typing import NamedTuple

from autoup.auditing.counts import Counts
from autoup.auditing.upsampling import Upsampling
from autoup.auditing.verdict import Verdict
from autoup.inspecting.sites import Site


class Parameters(NamedTuple):
    """What a step was built with; the fields are those of ``Upsampling``."""

    in_channels: int | None
    out_channels: int | None
    groups: int
    kernel_size: tuple[int, ...] | None
    stride: tuple[float, ...]
    padding: tuple[int, ...] | None
    output_padding: tuple[int, ...]
    dilation: tuple[int, ...]


def make_row(
    site: Site,
    parameters: Parameters,
    counts: Counts,
    verdict: Verdict,
    spread: float | None,
    multiply_adds: int | None,
    mode: str | None = None,
) -> Upsampling:
    """Fill all fields of a row but the drift, which the whole model decides.

    Args:
        site: Where the step is.
        parameters: What it was built with.
        counts: What was counted of it.
        verdict: On it.
        spread: Of its phases.
        multiply_adds: In one forward pass.
        mode: Of a resize.
    """
    return Upsampling(
        name=site.path,
        type=_type_of(site, len(parameters.stride)),
        kind=site.kind,
        partner=site.partner,
        mode=mode,
        in_channels=parameters.in_channels,
        out_channels=parameters.out_channels,
        groups=parameters.groups,
        kernel_size=parameters.kernel_size,
        stride=parameters.stride,
        padding=parameters.padding,
        output_padding=parameters.output_padding,
        dilation=parameters.dilation,
        in_size=counts.in_size,
        out_size=counts.out_size,
        phases=counts.phases,
        even=counts.even,
        uncovered=counts.uncovered,
        border=counts.border,
        shift=counts.shift,
        spread=spread,
        multiply_adds=multiply_adds,
        drift=None,
        calls=len(site.calls) if site.calls else None,
        seen=verdict.seen,
        severity=verdict.severity,
        remedy=verdict.remedy,
    )


def _type_of(site: Site, dims: int) -> str:
    if site.module is not None:
        return type(site.module).__name__
    return f"conv_transpose{dims}d" if site.kind == "transposed" else site.path.rpartition(".")[2]


def sizes_of(site: Site, dims: int) -> tuple[Sequence[int], Sequence[int]]:
    """Return the sizes before and after a step, as its first call saw them.

    Example:
        >>> from autoup.inspecting.calls import Call
        >>> call = Call("max_unpool", "", (), (1, 8, 4, 4), (1, 8, 8, 8), {}, 2)
        >>> sizes_of(Site("unpool", "", None, [call]), 2)
        ((4, 4), (8, 8))
    """
    call, moved = site.calls[0], site.moved
    if moved is not None:
        return moved.in_size, moved.out_size
    return call.shape[-dims:], call.made[-dims:]
