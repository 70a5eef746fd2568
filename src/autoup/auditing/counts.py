"""Count one upsampling step: taps, pixels, multiply-adds.

A shuffle by r after a convolution of k taps feeds each output pixel by k taps of its own, and a
resize followed by a convolution feeds each by k enlarged pixels: both are even by construction.
"""

from collections.abc import Sequence
from math import prod
from typing import NamedTuple

from autoup.solving import overlap
from autoup.solving.sizes import transposed_size
from autoup.solving.solution import Solution


class Counts(NamedTuple):
    """What is counted of a step along each axis; the fields are those of ``Upsampling``."""

    in_size: tuple[int, ...] | None
    out_size: tuple[int, ...] | None
    phases: tuple[tuple[int, ...], ...]
    even: bool
    uncovered: tuple[int, ...]
    border: tuple[int, ...]
    shift: tuple[float, ...]


def count_axes(axes: Sequence[Solution], sized: bool) -> Counts:
    """Count a transposed convolution; ``sized`` tells whether its axes have the model's sizes.

    Example:
        >>> count_axes(read_axes((7,), [3], [2], [1], [1], [1]), sized=True).phases
        ((2, 1),)
    """
    return Counts(
        in_size=tuple(axis.in_size for axis in axes) if sized else None,
        out_size=tuple(axis.out_size for axis in axes) if sized else None,
        phases=tuple(axis.phases for axis in axes),
        even=all(axis.even for axis in axes),
        uncovered=tuple(axis.uncovered if sized or min(axis.phases) else 0 for axis in axes),
        border=tuple(axis.border for axis in axes),
        shift=tuple(axis.shift for axis in axes),
    )


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


def count_products(batch: int, channels: Sequence[int], groups: int, *sizes: Sequence[int]) -> int:
    """Return the multiply-adds of a convolution: positions times taps times channels.

    Example:
        >>> count_products(1, (64, 32), 1, (14, 14), (2, 2))
        1605632
    """
    return batch * prod(channels) // groups * prod(prod(each) for each in sizes)
