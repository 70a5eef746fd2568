"""Sizes along one axis, in plain integers.

Legend: i input size, o output size, k kernel, s stride, p padding, a output padding,
d dilation. Relationships are those of Dumoulin & Visin 2016 (arXiv 1603.07285).
"""


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
