"""One layer of a chain in closed form, and the sizes that it can start from.

Legend: i input size, o output size, k kernel, s stride, p padding, a output padding, m smoothness.
With E = s*(i - 1) + k, p = (E + a - o)/2, as in ``solver``, here for one stride and dilation 1. A
search over chains asks this of thousands of pairs of sizes; a test holds that the solver agrees.

- Unpinned, k is a multiple of s, so every phase has k/s taps. An even s makes E even: a is o's
  parity. An odd s leaves a = 0, and k takes the parity that makes p an integer.
- 0 <= p <= k - 1, and no pixel is uncovered where a <= p, so k is the least multiple of s with
  k >= o + a - s*(i - 1) and k >= s*(i - 1) + a - o + 2.
- The scale is right where abs(s*i - o)*(i - 1) <= 4*s*i: the ends lie within two input pixels.
"""

from collections.abc import Iterator
from typing import NamedTuple

from autoup.solving.sizes import least_kernel


class Rung(NamedTuple):
    """One layer of a chain, for one pair of sizes and a stride.

    Args:
        kernel_size: Taps.
        output_padding: In pixels.
        artifacts: How many of three it has: uncovered pixels, uneven overlap, a shift.
    """

    kernel_size: int
    output_padding: int
    artifacts: int


def find_rung(i: int, o: int, s: int, k: int | None, m: int) -> Rung | None:
    """Return the best layer with this stride; None if the pinned kernel cannot be it.

    Example:
        >>> find_rung(56, 110, 2, None, 0), find_rung(55, 109, 2, None, 0)
        (Rung(kernel_size=2, output_padding=0, artifacts=0), \
Rung(kernel_size=2, output_padding=1, artifacts=1))
    """
    reach = s * (i - 1)
    if k is not None:
        cropped = reach + k - o
        a = max(cropped % 2, -cropped)
        p = (cropped + a) // 2
        if a >= s or p >= k or (m and k < least_kernel(s, m)):
            return None
        uncovered = a > p if k >= s else (i - 1) * (s - k) > 0 or o > k
        return Rung(k, a, uncovered + (k % s > 0) + (a > 0))
    a = o % 2 if s % 2 == 0 else 0
    least = max(1, o + a - reach, reach + a - o + 2, least_kernel(s, m, free=2) if m else 1)
    q = -(-least // s)
    q += (q * s + reach - o - a) % 2
    return Rung(q * s, a, a)


def sizes_below(o: int, s: int, least: int) -> Iterator[int]:
    """Yield the sizes from ``least`` to ``o`` that stride s takes to o at the right scale.

    They lie around o/s; and where 1 is allowed, it and what is next to it, whose ends lie close.

    Example:
        >>> list(sizes_below(110, 2, 2)), list(sizes_below(110, 2, 1))[-1]
        ([55, 56, 57, 58, 59, 54, 53, 52, 51], 1)
    """
    middle = o // s
    for i in range(max(middle, least), o + 1):
        if not has_right_scale(i, o, s):
            break
        yield i
    last = middle
    for i in range(middle - 1, least - 1, -1):
        if not has_right_scale(i, o, s):
            break
        yield i
        last = i
    for i in range(least, last):
        if not has_right_scale(i, o, s):
            break
        yield i


def has_right_scale(i: int, o: int, s: int) -> bool:
    """Tell whether the ends lie within two input pixels of their place.

    Example:
        >>> has_right_scale(20, 40, 2), has_right_scale(20, 30, 2)
        (True, False)
    """
    return abs(s * i - o) * (i - 1) <= 4 * s * i
