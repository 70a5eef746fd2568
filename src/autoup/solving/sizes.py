"""Sizes along one axis, in plain integers.

Legend: i input size, o output size, k kernel, s stride, p padding, a output padding,
d dilation. Relationships are those of Dumoulin & Visin 2016 (arXiv 1603.07285).
"""

from collections.abc import Sequence
from math import prod


def convolved_size(i: int, k: int, s: int, p: int, d: int, end: int | None = None) -> int:
    """Return the output size of a convolution (Relationship 6, dilated: 15).

    Args:
        i: Input size, in pixels.
        k: Kernel size, in taps.
        s: Stride, in pixels.
        p: Padding in front, in pixels.
        d: Dilation, in pixels.
        end: Padding behind, in pixels; ``p`` when left out.

    Returns:
        The size in pixels; below 1 where the kernel does not fit into the padded input.

    Example:
        >>> convolved_size(28, k=3, s=2, p=1, d=1)
        14
    """
    return (i + p + (p if end is None else end) - d * (k - 1) - 1) // s + 1


def transposed_size(i: int, k: int, s: int, p: int, a: int, d: int) -> int:
    """Return the output size of a transposed convolution (Relationship 14, dilated).

    Args:
        i: Input size, in pixels.
        k: Kernel size, in taps.
        s: Stride, in pixels.
        p: Padding, in pixels cropped from either end.
        a: Output padding, in pixels added behind.
        d: Dilation, in pixels.

    Returns:
        The size in pixels.

    Example:
        >>> transposed_size(14, k=2, s=2, p=0, a=0, d=1)
        28
    """
    return s * (i - 1) + d * (k - 1) + 1 - 2 * p + a


def nearest_strides(i: int, o: int) -> tuple[int, ...]:
    """Return the strides s >= 1 that minimise ``|s * i - o|``: one, or two at an exact tie.

    Example:
        >>> nearest_strides(13, 28), nearest_strides(10, 25)
        ((2,), (2, 3))
    """
    s = o // i
    if s == 0:
        return (1,)
    left_over = 2 * (o - s * i)
    return (s,) if left_over < i else (s + 1,) if left_over > i else (s, s + 1)


def least_kernel(s: int, m: int, free: int = 1) -> int:
    """Return the smallest kernel that the guarantee of order m leaves so many taps free.

    Along one axis: ``1 + z + ... + z^(s-1)`` divides such a kernel m times.

    Example:
        >>> least_kernel(2, m=1), least_kernel(2, m=1, free=2), least_kernel(3, m=2)
        (2, 3, 5)
    """
    return free + m * (s - 1)


def free_taps(kernel_size: Sequence[int], stride: Sequence[int], m: int) -> int:
    """Return how many taps of a kernel the guarantee of order m against grids leaves free.

    Every phase must have the same moments of total degree below m. Along an axis where a phase
    has one tap alone, its first moment says no more than its sum.

    Args:
        kernel_size: Taps along each axis, ``least_kernel(s, m)`` or more.
        stride: Stride along each axis, in pixels.
        m: Order, 1 or 2.

    Example:
        >>> free_taps((4, 4), (2, 2), m=1), free_taps((4, 4), (2, 2), m=2)
        (13, 7)
    """
    phases = prod(stride)
    conditions = phases - 1
    for k, s in zip(kernel_size, stride, strict=True) if m > 1 else ():
        single = max(0, 2 * s - k)
        conditions += phases // s * (s - single) - (not single)
    return prod(kernel_size) - conditions


def extra_size(i: int, wanted: int, k: int, s: int, p: int, d: int) -> int:
    """Return the output padding with which a layer makes ``wanted`` of ``i`` pixels.

    Raises:
        ValueError: It makes no such size of ``i``.

    Example:
        >>> extra_size(14, 28, k=3, s=2, p=1, d=1)
        1
    """
    least = transposed_size(i, k, s, p, 0, d)
    if not least <= wanted < least + s:
        raise ValueError(
            f"output_size {wanted} is not in reach of an input of {i}: "
            f"this layer makes {least} to {least + s - 1} of it."
        )
    return wanted - least
