"""Which sizes a pinned kernel reaches, and what to say when the one asked for is not there.

Legend: i input size, o output size, k kernel, s stride, p padding, a output padding,
d dilation. Over 0 <= p <= d*(k - 1) and 0 <= a < max(s, d) the output size
s*(i - 1) + 1 + d*(k - 1) - 2p + a takes every value of one range, or every second one
where s = d = 1 leaves a = 0 alone. Smoothness m takes k >= 1 + m*(s - 1).
"""

from math import gcd

from autoup.solving.sizes import least_kernel, nearest_strides


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


def unreachable(
    i: int, o: int, k: int, strides: tuple[int, ...], d: int, m: int = 0, others: str = ""
) -> str:
    """Say what was asked, what is possible, the nearest that work, and the knob.

    ``others`` names the nearest that work with this kernel, as ``nearest_size`` does.

    Example:
        >>> size = nearest_size(14, 14, k=2, strides=(1,), d=1)
        >>> print(unreachable(14, 14, k=2, strides=(1,), d=1, others=size))
        14 -> 14 cannot be reached with kernel_size=2: it reaches an out_size of 15 (stride=1). \
The nearest that work are out_size=15 (stride=1), or kernel_size=3 (stride=1); or leave \
kernel_size unpinned.
    """
    smallest = i if o >= i else 1
    ranges = {s: reachable_sizes(i, k, s, d, smallest) for s in strides}
    reached = " or ".join(f"{_words(sizes)} (stride={s})" for s, sizes in ranges.items() if sizes)
    reached = f"an out_size of {reached}" if reached else f"no out_size from {smallest} on"
    nearest = ", or ".join(filter(None, (others, _kernel(i, o, k, strides, d, m))))
    dilation = f", dilation={d}" if d > 1 else ""
    return (
        f"{i} -> {o} cannot be reached with kernel_size={k}{dilation}: it reaches {reached}."
        f" The nearest that {_verb(others)} {nearest}; or leave kernel_size unpinned."
    )


def nearest_size(i: int, o: int, k: int, strides: tuple[int, ...], d: int, m: int = 0) -> str:
    """Name the nearest size that kernel k reaches, and its stride; any stride if none is given.

    With any, a size counts for the stride that is nearest to its ratio. Each stride but 1 reaches
    its multiple of ``i``, so that none further off than the next has a nearer size.

    Example:
        >>> nearest_size(9, 31, k=2, strides=(3,), d=1), nearest_size(9, 31, 2, (), 1)
        ('out_size=28 (stride=3)', 'out_size=32 (stride=4)')
    """
    smallest, found = (i if o >= i else 1), list[tuple[int, int, int]]()
    middle = nearest_strides(i, o)[0]
    for s in strides or range(max(1, middle - 1), middle + 3):
        if m and (gcd(s, d) > 1 or k < least_kernel(s, m)):
            continue
        sizes = reachable_sizes(i, k, s, d, smallest)
        if not strides:  # Those nearer to s*i than to any other multiple; below i there is one.
            low = 1 if s == 1 else -(-(2 * s - 1) * i // 2)
            sizes = _between(sizes, low, (2 * s + 1) * i // 2)
        if sizes:
            size = min(_around(sizes, o), key=lambda each: abs(each - o))
            found.append((abs(size - o), size, s))
    return "out_size={1} (stride={2})".format(*min(found)) if found else ""


def fitting_stride(i: int, o: int, k: int, d: int, m: int = 0) -> str:
    """Name the stride nearest to the ratio at which kernel k reaches ``o``; empty if none does.

    Example:
        >>> fitting_stride(14, 28, k=2, d=1), fitting_stride(10, 25, k=1, d=1)
        ('stride=2', '')
    """
    strides = nearest_strides(i, o)
    return next((f"stride={s}" for s in strides if reaches(i, o, k, (s,), d, m)), "")


def _between(sizes: range, low: int, high: int) -> range:
    first = sizes.start + max(0, -(-(low - sizes.start) // sizes.step)) * sizes.step
    return range(first, min(sizes.stop, high + 1), sizes.step)


def _around(sizes: range, o: int) -> list[int]:
    """Return the sizes next to ``o`` on either side; at an end of the range that end."""
    place = min(max((o - sizes.start) // sizes.step, 0), len(sizes) - 1)
    return [*sizes[place : place + 2]]


def too_small(i: int, o: int, k: int, strides: tuple[int, ...], d: int, m: int) -> str:
    """Say that a pinned kernel has too few taps for smoothness m, and which would do.

    Example:
        >>> print(too_small(7, 14, k=2, strides=(2,), d=1, m=2))
        7 -> 14 with kernel_size=2 cannot have smoothness=2, which takes 3 taps or more at \
stride=2. The nearest that work are kernel_size=3 (stride=2), or smoothness=1; or leave \
kernel_size unpinned.
    """
    stride = min(strides)
    lower = next((n for n in range(m - 1, -1, -1) if reaches(i, o, k, strides, d, n)), None)
    smoothness = "" if lower is None else f", or smoothness={lower}"
    return (
        f"{i} -> {o} with kernel_size={k} cannot have smoothness={m}, which takes "
        f"{least_kernel(stride, m)} taps or more at stride={stride}. "
        f"The nearest that {_verb(smoothness)} {_kernel(i, o, 1, strides, d, m)}{smoothness}; "
        "or leave kernel_size unpinned."
    )


def sharing(i: int, o: int, k: int | None, strides: tuple[int, ...], d: int, m: int) -> str:
    """Say that stride and dilation share a factor, and what would do.

    Example:
        >>> print(sharing(7, 14, None, strides=(2,), d=2, m=1))
        7 -> 14 with stride=2, dilation=2 cannot have smoothness=1: they share the factor 2, and \
no tap reaches the pixels between. The nearest that work are dilation=1, or smoothness=0.
    """
    s = strides[0]
    coprime = [each for each in range(d - 1, 0, -1) if gcd(s, each) == 1]
    reaching = next((each for each in coprime if reaches(i, o, k, strides, each, m)), None)
    dilation = f"dilation={reaching}" if reaching else "dilation=1 and kernel_size unpinned"
    smoothness = ", or smoothness=0" if reaches(i, o, k, strides, d, 0) else ""
    return (
        f"{i} -> {o} with stride={s}, dilation={d} cannot have smoothness={m}: they share the "
        f"factor {gcd(s, d)}, and no tap reaches the pixels between. "
        f"The nearest that {_verb(smoothness)} {dilation}{smoothness}."
    )


def reaches(i: int, o: int, k: int | None, strides: tuple[int, ...], d: int, m: int) -> bool:
    """Tell whether kernel k, None for any, reaches ``o`` with smoothness m at one of the strides.

    Example:
        >>> reaches(10, 25, 1, (2, 3), d=1, m=0), reaches(10, 25, 4, (2, 3), d=1, m=1)
        (False, True)
    """
    able = [s for s in strides if not m or gcd(s, d) == 1]
    if k is None:
        return bool(able)
    return any(k >= least_kernel(s, m) and o in reachable_sizes(i, k, s, d, 1) for s in able)


def _kernel(i: int, o: int, k: int, strides: tuple[int, ...], d: int, m: int) -> str:
    kernels = [(next_kernel(i, o, max(k, least_kernel(s, m)), s, d), s) for s in strides]
    return "kernel_size={} (stride={})".format(*min(kernels))


def _verb(several: str) -> str:
    return "work are" if several else "works is"


def _words(sizes: range) -> str:
    if len(sizes) == 1:
        return str(sizes[0])
    return f"{sizes[0]} to {sizes[-1]}" + (" in steps of 2" if sizes.step > 1 else "")
