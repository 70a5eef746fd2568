"""What an audit tells of one upsampling step: its parameters, its counts, what a viewer sees.

A shuffle by r after a convolution of k taps feeds each output pixel by k taps of its own, and a
resize followed by a convolution feeds each by k enlarged pixels: both are even by construction.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from math import prod
from typing import Any

from autoup.solving import overlap
from autoup.solving.flaws import AXES, flaws
from autoup.solving.sizes import transposed_size
from autoup.solving.solution import Solution

SEVERITIES = ("clean", "note", "warning", "severe")
BALANCED = 0.01  # Below this spread of the phase sums, no grid shows.


@dataclass(frozen=True, slots=True)
class Upsampling:
    """One upsampling step of a model, a row of an ``AuditReport``.

    Along each axis, height before width, a tuple has one entry.

    Args:
        name: Qualified name of the module, or of the function and the module that calls it.
        type: Name of the class or function.
        kind: ``"transposed"``, ``"shuffle"`` (a convolution before ``PixelShuffle``) or
            ``"resize"`` (``Upsample`` or ``interpolate``).
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
            reverse; ``"warning"``: shifted; ``"severe"``: uneven or uncovered.
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

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as what JSON holds.

        Example:
            >>> import autoup, torch
            >>> autoup.audit(torch.nn.ConvTranspose1d(1, 1, 3, 2))[0].to_dict()["phases"]
            [[2, 1]]
        """
        return _plain(asdict(self))


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(each) for key, each in value.items()}  # pyright: ignore
    return [_plain(each) for each in value] if isinstance(value, tuple | list) else value  # pyright: ignore


def read_axes(
    in_size: Sequence[int] | None,
    kernel_size: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
    output_padding: Sequence[int],
    dilation: Sequence[int],
) -> tuple[Solution, ...]:
    """Return a transposed convolution axis by axis; without sizes at one with an interior.

    Example:
        >>> print(read_axes(None, [3], [2], [1], [1], [1])[0])
        7 -> 14: kernel_size=3, stride=2, padding=1, output_padding=1; \
coverage 1 2 1 … 1 2 1 1; uneven; shift -0.5 px
    """
    numbers = zip(kernel_size, stride, padding, output_padding, dilation, strict=True)
    axes: list[Solution] = []
    for place, (k, s, p, a, d) in enumerate(numbers):
        i = -(-(2 * p + 2 * d * (k - 1)) // s) + 4 if in_size is None else in_size[place]
        axes.append(Solution(i, transposed_size(i, k, s, p, a, d), k, s, p, a, d))
    return tuple(axes)


def convolution_border(i: int, k: int, p: int, d: int) -> int:
    """Count the output pixels of a convolution with stride 1 that see zeros of its padding.

    It is a transposed convolution of as many taps, cropped by d*(k - 1) - p.

    Example:
        >>> convolution_border(28, k=3, p=1, d=1)
        2
    """
    cropped = d * (k - 1) - p
    o = i + 2 * p - d * (k - 1)
    return overlap.border_pixels(i, o, k, 1, cropped, d) if o > 0 else 0


def judge(
    axes: Sequence[Solution], spread: float | None, sized: bool, smoothness: int = 0
) -> tuple[tuple[str, ...], str]:
    """Return what a viewer will see of a transposed convolution, and how severe it is.

    Example:
        >>> judge(read_axes(None, [3], [2], [1], [1], [1]), None, sized=False)[1]
        'severe'
        >>> judge(read_axes(None, [4] * 2, [2] * 2, [1] * 2, [0] * 2, [1] * 2), 0.9, sized=False)
        (('unequal phases, 0.9: a grid in even regions, whatever the overlap',), 'note')
    """
    balanced = spread is not None and spread < BALANCED
    seen: list[str] = []
    groups: dict[tuple[int, ...], list[str]] = {}
    for name, axis in zip(AXES[len(axes)], axes, strict=True):
        groups.setdefault(_numbers(axis), []).append(name)
    for names in groups.values():
        axis = axes[AXES[len(axes)].index(names[0])]
        seen += _seen(axis, names, balanced, sized, smoothness)
    even, uncovered = all(axis.even for axis in axes), any(_lost(axis, sized) for axis in axes)
    if (not even and not balanced) or uncovered:
        return tuple(seen), "severe"
    if not even or (spread is not None and not balanced):
        if even and spread is not None:
            seen.append(f"unequal phases, {spread:.2g}: {pattern(len(axes))}, whatever the overlap")
        severity = "note"
    else:
        severity = "clean"
    return tuple(seen), "warning" if any(axis.shift for axis in axes) else severity


def pattern(dims: int) -> str:
    """Return what unequal phases show as.

    Example:
        >>> pattern(2)
        'a grid in even regions'
    """
    return (
        "a pattern as long as the stride, in sound a tone"
        if dims == 1
        else "a grid in even regions"
    )


def _numbers(axis: Solution) -> tuple[int, ...]:
    """Return what a viewer can tell axes apart by; their sizes are not among it."""
    k, s, d = axis.kernel_size, axis.stride, axis.dilation
    return k, s, d, axis.padding, axis.output_padding, axis.uncovered


def _lost(axis: Solution, sized: bool) -> int:
    """Return the uncovered pixels; without sizes gaps between the taps count by themselves."""
    return axis.uncovered if sized or min(axis.phases) else 0


def _seen(
    axis: Solution, names: Sequence[str], balanced: bool, sized: bool, smoothness: int
) -> list[str]:
    seen = flaws(axis, names, smoothness)
    if balanced and not smoothness:
        hides = "which these weights hide in even regions but not in texture"
        seen = [each.replace("shows as a checkerboard", hides) for each in seen]
    if not _lost(axis, sized) and not min(axis.phases):
        gaps = sum(not taps for taps in axis.phases)
        seen = [each for each in seen if " dead line" not in each]
        seen.append(f"{gaps} of every {axis.stride} lines hold nothing but the bias")
    return seen


def count_products(batch: int, channels: Sequence[int], groups: int, *sizes: Sequence[int]) -> int:
    """Return the multiply-adds of a convolution: positions times taps times channels.

    Example:
        >>> count_products(1, (64, 32), 1, (14, 14), (2, 2))
        1605632
    """
    return batch * prod(channels) // groups * prod(prod(each) for each in sizes)
