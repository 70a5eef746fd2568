"""From the size one has and the size one wants to the parameters of one axis.

Legend: i input size, o output size, k kernel, s stride, p padding, a output padding,
d dilation, g = gcd(s, d), m smoothness. With E = s*(i - 1) + d*(k - 1) + 1, the uncropped
extent, every solution has p = (E + a - o)/2.

The order, smallest first: uncovered pixels, unevenness (largest minus smallest number of
taps per phase), a, k, p, s. The search visits only the few parameters that can be among
the first in that order:

- Where g = 1 and i >= d, a multiple of s makes the phases even, and a large enough one
  covers every pixel; a is 0 or 1, whichever gives an integer p.
- Elsewhere (d > 1 alone) some places are reached by no kernel, and which ones depends on
  p modulo d: the smallest a of every residue modulo 2d are tried, and kernels that are no
  multiple of s too.
- A kernel that grows by an even number of taps at the same a keeps all it covered, since p
  grows with it. So the smallest kernel that covers as much as possible is found by bisection.
"""

from bisect import bisect_left
from collections.abc import Callable, Iterator
from functools import lru_cache
from math import gcd

from autoup.checks import as_int, require_enlargement, require_smoothness
from autoup.errors import InfeasibleError
from autoup.solving import overlap
from autoup.solving.reach import fitting_stride, nearest_size, sharing, too_small, unreachable
from autoup.solving.sizes import least_kernel, nearest_strides
from autoup.solving.solution import Solution


def solve(
    in_size: int,
    out_size: int,
    *,
    kernel_size: int | None = None,
    stride: int | None = None,
    dilation: int = 1,
    smoothness: int = 0,
) -> Solution:
    """Return the best parameters that take ``in_size`` to exactly ``out_size``.

    Best means, in this order: fewest uncovered pixels, most even overlap, smallest output
    padding, smallest kernel, smallest padding, smallest stride. The stride is the integer
    nearest to ``out_size / in_size`` unless it is pinned. The cost does not grow with the
    sizes.

    Args:
        in_size: Size one has, in pixels.
        out_size: Size one wants, in pixels, not smaller than ``in_size``.
        kernel_size: Pins the kernel, in taps.
        stride: Pins the stride, in pixels.
        dilation: Distance between taps, in pixels.
        smoothness: Order of the guarantee against grids, 0, 1 or 2 (see
            ``AutoConvTranspose2d``): the kernel has at least ``2 + smoothness*(stride - 1)``
            taps, so that two of them stay free; a pinned one at least one tap less.

    Returns:
        The first of ``candidates``.

    Raises:
        InfeasibleError: The pinned kernel cannot reach ``out_size``, or has too few taps for
            the smoothness; or stride and dilation leave it impossible.
        TypeError: A number is not an int.
        ValueError: A number is out of range.

    Example:
        >>> print(solve(14, 28))
        14 -> 28: kernel_size=2, stride=2; coverage 1 everywhere
        >>> print(solve(7, 15))
        7 -> 15: kernel_size=4, stride=2, padding=1, output_padding=1; coverage 1 2 … 2 1 1; \
shift -0.5 px
    """
    return candidates(
        in_size,
        out_size,
        kernel_size=kernel_size,
        stride=stride,
        dilation=dilation,
        smoothness=smoothness,
        limit=1,
    )[0]


def candidates(
    in_size: int,
    out_size: int,
    *,
    kernel_size: int | None = None,
    stride: int | None = None,
    dilation: int = 1,
    smoothness: int = 0,
    limit: int = 10,
) -> list[Solution]:
    """Return the best parameters in order, at most ``limit`` of them.

    Args:
        in_size: As in ``solve``.
        out_size: As in ``solve``.
        kernel_size: As in ``solve``.
        stride: As in ``solve``.
        dilation: As in ``solve``.
        smoothness: As in ``solve``.
        limit: How many solutions to return at most; fewer exist only where the kernel is
            pinned.

    Returns:
        At least one solution.

    Raises:
        InfeasibleError: As in ``solve``.
        TypeError: A number is not an int.
        ValueError: A number is out of range.

    Example:
        >>> [found.kernel_size for found in candidates(14, 28, limit=3)]
        [2, 4, 6]
    """
    in_size, out_size = as_int("in_size", in_size), as_int("out_size", out_size)
    require_enlargement(in_size, out_size)
    return list(
        best_solutions(
            in_size,
            out_size,
            None if kernel_size is None else as_int("kernel_size", kernel_size),
            None if stride is None else as_int("stride", stride),
            as_int("dilation", dilation),
            as_int("limit", limit),
            require_smoothness(smoothness),
        )
    )


@lru_cache(maxsize=4096)
def best_solutions(
    i: int, o: int, k: int | None, s: int | None, d: int, limit: int = 1, m: int = 0
) -> tuple[Solution, ...]:
    """Return the first ``limit`` solutions in order; checked ints in, ``None`` for unpinned.

    Unlike ``solve`` it allows ``o < i``, which mirrors of enlarging convolutions need.

    Raises:
        InfeasibleError: The pinned kernel cannot reach ``o``, or smoothness m is impossible.

    Example:
        >>> best_solutions(13, 28, None, None, 1)[0].kernel_size
        4
    """
    strides = nearest_strides(i, o) if s is None else (s,)
    strides = require_taps(i, o, k, strides, d, m) if m else strides
    if k is None:
        found = [each for s in strides for each in _free(i, o, s, d, limit, m)]
    else:
        found = [each for s in strides for each in _pinned(i, o, k, s, d, limit)]
    if not found:
        k = k or 1
        size = nearest_size(i, o, k, () if s is None else strides, d, m)
        others = ", or ".join(filter(None, (fitting_stride(i, o, k, d, m), size)))
        raise InfeasibleError(unreachable(i, o, k, strides, d, m, others))
    return tuple(sorted(set(found), key=_order)[:limit])


def require_taps(
    i: int, o: int, k: int | None, strides: tuple[int, ...], d: int, m: int
) -> tuple[int, ...]:
    """Return the strides at which kernel k, None for any, can have smoothness m.

    Raises:
        InfeasibleError: There is none.

    Example:
        >>> require_taps(10, 25, 2, (2, 3), 1, 1)
        (2,)
    """
    coprime = tuple(s for s in strides if gcd(s, d) == 1)
    if not coprime and m:
        raise InfeasibleError(sharing(i, o, k, strides, d, m))
    enough = tuple(s for s in coprime if k is None or k >= least_kernel(s, m))
    if not enough and k is not None:
        raise InfeasibleError(too_small(i, o, k, coprime, d, m))
    return enough


def _order(found: Solution) -> tuple[int, ...]:
    fewest, most = overlap.phase_range(found.kernel_size, found.stride, found.dilation)
    return (
        found.uncovered,
        most - fewest,
        found.output_padding,
        found.kernel_size,
        found.padding,
        found.stride,
    )


def _pinned(i: int, o: int, k: int, s: int, d: int, limit: int) -> Iterator[Solution]:
    """Yield the solutions with this kernel, by rising output padding.

    With d = 1 a larger output padding never covers more, so the first ``limit`` are enough.
    With d > 1 the border has holes, and all of them (at most d*(k - 1) + 1) are tried.
    """
    cropped = s * (i - 1) + d * (k - 1) + 1 - o
    first = max(cropped % 2, -cropped)
    last = min(max(s, d) - 1, 2 * d * (k - 1) - cropped)
    for a in range(first, last + 1, 2)[: limit if d == 1 else None]:
        yield Solution(i, o, k, s, (cropped + a) // 2, a, d)


def _free(i: int, o: int, s: int, d: int, limit: int, m: int) -> Iterator[Solution]:
    """Yield the best kernels for every output padding that can be among the first.

    Which places are reached repeats with d: of the output paddings that agree modulo 2d the
    smallest comes first. Smoothness m leaves two taps free.
    """
    fewest = least_kernel(s, m, free=2) if m else 1
    complete = gcd(s, d) == 1 and i >= d
    for a in range(2 if complete else min(max(s, d), 2 * d * limit)):
        steps = {s} if complete else {1, s}
        starts = [(start, 2 * n) for n in steps for start in (n, 2 * n)]
        found = False
        for start, step in starts:
            first = _smallest_kernel(i, o, s, d, a, start, step, fewest)
            if first is not None:
                found = True
                for k in range(first, first + step * limit, step):
                    yield Solution(i, o, k, s, _padding(i, o, k, s, d, a), a, d)
        if found and complete:
            return


def _padding(i: int, o: int, k: int, s: int, d: int, a: int) -> int:
    return (s * (i - 1) + d * (k - 1) + 1 + a - o) // 2


def _smallest_kernel(
    i: int, o: int, s: int, d: int, a: int, start: int, step: int, fewest: int
) -> int | None:
    """Return the smallest k = start + step*n >= fewest, n >= 0, that covers as much as any of them.

    ``step`` is even, so p grows by d*step/2 and all of them have the same parity. From
    0 <= p <= d*(k - 1) follows d*(k - 1) >= abs(s*(i - 1) + 1 + a - o). Once p - a >= s*(i - 1)
    nothing more is gained: every place that a long enough kernel reaches is reached.
    """
    off_centre = s * (i - 1) + 1 + a - o
    if (off_centre + d * (start - 1)) % 2:
        return None
    least = max(fewest, -(-abs(off_centre) // d) + 1)
    k = start + step * max(0, -(-(least - start) // step))

    def covered(steps: int) -> int:
        wide = k + step * steps
        return overlap.covered_pixels(i, o, wide, s, _padding(i, o, wide, s, d, a), d)

    enough = covered((s * i + a) // d + 1)
    return k + step * _first_true(lambda steps: covered(steps) == enough)


def _first_true(holds: Callable[[int], bool]) -> int:
    """Return the smallest n >= 0 from which ``holds(n)`` stays true."""
    low, high = 0, 0
    while not holds(high):
        low, high = high + 1, 2 * high + 1
    return bisect_left(range(high), True, lo=low, key=holds)
