"""Which sizes a pinned kernel reaches, and what to say when the one asked for is not there.

Legend: i input size, o output size, k kernel, s stride, p padding, a output padding,
d dilation. Over 0 <= p <= d*(k - 1) and 0 <= a < max(s, d) the output size
s*(i - 1) + 1 + d*(k - 1) - 2p + a takes every value of one range, or every second one
where s = d = 1 leaves a = 0 alone.
"""


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


def unreachable(i: int, o: int, k: int, strides: tuple[int, ...], d: int) -> str:
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
    kernel, stride = min((next_kernel(i, o, k, s, d), s) for s in strides)
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


def _words(sizes: range) -> str:
    if len(sizes) == 1:
        return str(sizes[0])
    return f"{sizes[0]} to {sizes[-1]}" + (" in steps of 2" if sizes.step > 1 else "")
