"""Which sizes a pinned kernel reaches, and what to say when the one asked for is not there.

Legend: i input size, o output size, k kernel, s stride, p padding, a output padding,
d dilation. Over 0 <= p <= d*(k - 1) and 0 <= a < max(s, d) the output size
s*(i - 1) + 1 + d*(k - 1) - 2p + a takes every value of one range, or every second one
where s = d = 1 leaves a = 0 alone. Smoothness m takes k >= 1 + m*(s - 1).
"""

from math import gcd

from autoup.solving.sizes import least_kernel


def reachable_sizes(i: int, k: int, s: int, d: int, smallest: int) -> range:
    """Return the output sizes of at least ``smallest`` that this kernel and stride reach.

    Example:
        >>> reachable_sizes(14, k=3, s=2, d=1, smallest=14), reachable_sizes(14, 2, 1, 1, 14)
        (range(25, 31), range(15, 16, 2))
    """
    centre, spread, largest_a = s * (i - 1) + 1, d * (k - 1), max(s, d) - 1
    step = 1 if largest_a else 2
    low, high = centre - spread, centre + spread + largest_a
    low += max(0, -(-(smallest - low) // step) * step)
    return range(low, high + 1, step)


def next_kernel(i: int, o: int, k: int, s: int, d: int) -> int:
    """Return the smallest kernel from ``k`` on that reaches ``o``.

    Example:
        >>> next_kernel(10, 25, k=1, s=3, d=1)
        4
    """
    largest_a = max(s, d) - 1
    above = o - (s * (i - 1) + 1)
    spread = max(-above, above - largest_a)
    k = max(k, -(-spread // d) + 1)
    return k if largest_a or (k - 1 - above) % 2 == 0 else k + 1


def unreachable(i: int, o: int, k: int, strides: tuple[int, ...], d: int, m: int = 0) -> str:
    """Say what was asked, what is possible, the nearest that work, and the knob.

    Example:
        >>> print(unreachable(14, 14, k=2, strides=(1,), d=1))
        14 -> 14 cannot be reached with kernel_size=2: it reaches an out_size of 15 (stride=1). \
The nearest that work are out_size=15 (stride=1), or kernel_size=3 (stride=1); or leave \
kernel_size unpinned.
    """
    smallest = i if o >= i else 1
    ranges = {s: reachable_sizes(i, k, s, d, smallest) for s in strides}
    reached = " or ".join(f"{_words(sizes)} (stride={s})" for s, sizes in ranges.items() if sizes)
    ends = [(size, s) for s, sizes in ranges.items() if sizes for size in (sizes[0], sizes[-1])]
    kernel, stride = _nearest_kernel(i, o, k, strides, d, m)
    nearest = f"kernel_size={kernel} (stride={stride})"
    if ends:
        size, s = min(ends, key=lambda end: abs(end[0] - o))
        nearest = f"out_size={size} (stride={s}), or {nearest}"
    dilation = f", dilation={d}" if d > 1 else ""
    reached = f"an out_size of {reached}" if reached else f"no out_size from {smallest} on"
    return (
        f"{i} -> {o} cannot be reached with kernel_size={k}{dilation}: it reaches {reached}."
        f" The nearest that work are {nearest}; or leave kernel_size unpinned."
    )


def too_small(i: int, o: int, k: int, strides: tuple[int, ...], d: int, m: int) -> str:
    """Say that a pinned kernel has too few taps for smoothness m, and which would do.

    Example:
        >>> print(too_small(7, 14, k=2, strides=(2,), d=1, m=2))
        7 -> 14 with kernel_size=2 cannot have smoothness=2, which takes 3 taps or more at \
stride=2. The nearest that work are kernel_size=3 (stride=2), or smoothness=1; or leave \
kernel_size unpinned.
    """
    stride = min(strides)
    kernel, best = _nearest_kernel(i, o, 1, strides, d, m)
    return (
        f"{i} -> {o} with kernel_size={k} cannot have smoothness={m}, which takes "
        f"{least_kernel(stride, m)} taps or more at stride={stride}. The nearest that work are "
        f"kernel_size={kernel} (stride={best}), or smoothness={(k - 1) // (stride - 1)}; "
        "or leave kernel_size unpinned."
    )


def sharing(i: int, o: int, s: int, d: int, m: int) -> str:
    """Say that stride and dilation share a factor, and what would do.

    Example:
        >>> print(sharing(7, 14, s=2, d=2, m=1))
        7 -> 14 with stride=2, dilation=2 cannot have smoothness=1: they share the factor 2, and \
no tap reaches the pixels between. The nearest that work are dilation=1, or smoothness=0.
    """
    nearest = next(each for each in range(d - 1, 0, -1) if gcd(s, each) == 1)
    return (
        f"{i} -> {o} with stride={s}, dilation={d} cannot have smoothness={m}: they share the "
        f"factor {gcd(s, d)}, and no tap reaches the pixels between. The nearest that work are "
        f"dilation={nearest}, or smoothness=0."
    )


def _nearest_kernel(
    i: int, o: int, k: int, strides: tuple[int, ...], d: int, m: int
) -> tuple[int, int]:
    return min((next_kernel(i, o, max(k, least_kernel(s, m)), s, d), s) for s in strides)


def _words(sizes: range) -> str:
    if len(sizes) == 1:
        return str(sizes[0])
    return f"{sizes[0]} to {sizes[-1]}" + (" in steps of 2" if sizes.step > 1 else "")
