"""Which taps reach which output pixel, counted without visiting the pixels.

Legend: i input size, o output size, k kernel, s stride, p padding, d dilation, n input
pixel, t tap, z = s*n + d*t a place on the uncropped output line. The output is the window
p <= z < p + o of that line.

Two pairs (n, t) meet at one place exactly when they differ by a multiple of
(d/g, -s/g), g = gcd(s, d). So the pairs that share a place form a chain, and every count
here is a number of lattice points below a line, which the Euclidean algorithm gives in
O(log s) steps: the cost does not grow with the sizes.
"""

from itertools import cycle, islice
from math import gcd


def _floor_sum(terms: int, modulus: int, slope: int, offset: int) -> int:
    """Return the sum of (slope * x + offset) // modulus over 0 <= x < terms, nothing negative."""
    total = 0
    while True:
        total += terms * (terms - 1) // 2 * (slope // modulus) + terms * (offset // modulus)
        slope, offset = slope % modulus, offset % modulus
        top = slope * terms + offset
        if top < modulus:
            return total
        terms, offset = divmod(top, modulus)
        modulus, slope = slope, modulus


def _points_below(columns: int, rows: int, s: int, d: int, bound: int) -> int:
    """Count the (n, t) with 0 <= n < columns, 0 <= t < rows and s*n + d*t < bound."""
    if columns <= 0 or rows <= 0 or bound <= 0:
        return 0
    reached = min(columns, (bound - 1) // s + 1)
    full = min(reached, max(0, (bound - 1 - d * (rows - 1)) // s + 1))
    partial = reached - full
    if not partial:
        return rows * full
    return rows * full + partial + _floor_sum(partial, d, s, bound - 1 - s * (reached - 1))


def _points_within(columns: int, rows: int, s: int, d: int, start: int, length: int) -> int:
    """Count the lattice points with start <= s*n + d*t < start + length."""
    return _points_below(columns, rows, s, d, start + length) - _points_below(
        columns, rows, s, d, start
    )


def _links(i: int, o: int, k: int, s: int, p: int, d: int, length: int) -> int:
    """Count the runs of ``length`` successive pairs in the chains of all output pixels."""
    g = gcd(s, d)
    skipped = (length - 1) * (s // g)
    return _points_within(i - (length - 1) * (d // g), k - skipped, s, d, p - d * skipped, o)


def covered_pixels(i: int, o: int, k: int, s: int, p: int, d: int, level: int = 1) -> int:
    """Count the output pixels that at least ``level`` (input pixel, tap) pairs reach.

    A pixel with c pairs holds c - level + 1 runs of ``level`` pairs and one run less of
    ``level + 1``, so the difference of the two counts is the number of such pixels.

    Example:
        >>> covered_pixels(i=14, o=28, k=3, s=2, p=1, d=1, level=2)
        13
    """
    return _links(i, o, k, s, p, d, level) - _links(i, o, k, s, p, d, level + 1)


def is_uniform(i: int, o: int, k: int, s: int, p: int, d: int) -> bool:
    """Tell whether every output pixel has the same coverage.

    Example:
        >>> is_uniform(i=14, o=28, k=2, s=2, p=0, d=1), is_uniform(i=14, o=28, k=4, s=2, p=1, d=1)
        (True, False)
    """
    mean, rest = divmod(_links(i, o, k, s, p, d, 1), o)
    return rest == 0 and (mean == 0 or covered_pixels(i, o, k, s, p, d, mean) == o)


def border_pixels(i: int, o: int, k: int, s: int, p: int, d: int) -> int:
    """Count the output pixels that get fewer taps than their phase has in the interior.

    Of the s/g phases that taps reach, ``more`` have q + 1 taps and the others q. A pixel is
    complete when the whole chain of its phase lies inside the input.

    Example:
        >>> border_pixels(i=13, o=28, k=4, s=2, p=0, d=1)
        4
    """
    g = gcd(s, d)
    phases, step = s // g, d // g
    q, more = divmod(k, phases)
    before, after = d * (k - 1) // s + 1, (p + o) // s + 1
    reachable = _points_within(before + after, min(k, phases), s, d, p + s * before, o)
    complete = _points_within(i - q * step, more, s, d, p - d * q * phases, o)
    if q:
        ahead = d * (more + (q - 1) * phases)
        complete += _points_within(i - (q - 1) * step, phases - more, s, d, p - ahead, o)
    return reachable - complete


def phase_taps(k: int, s: int, d: int) -> tuple[int, ...]:
    """Return the number of taps with d*t = r (mod s), for every phase 0 <= r < s.

    Example:
        >>> phase_taps(k=3, s=2, d=1), phase_taps(k=4, s=2, d=2)
        ((2, 1), (4, 0))
    """
    g = gcd(s, d)
    q, more = divmod(k, s // g)
    taps = [q if r % g == 0 else 0 for r in range(s)]
    for t in range(more):
        taps[d * t % s] += 1
    return tuple(taps)


def phase_range(k: int, s: int, d: int) -> tuple[int, int]:
    """Return the smallest and the largest number of taps per phase.

    Example:
        >>> phase_range(k=3, s=2, d=1), phase_range(k=4, s=2, d=1), phase_range(k=4, s=2, d=2)
        ((1, 2), (2, 2), (0, 4))
    """
    g = gcd(s, d)
    return (k // s if g == 1 else 0), -(-k * g // s)


def pixel_coverage(y: int, i: int, k: int, s: int, p: int, d: int) -> int:
    """Count the (input pixel, tap) pairs that reach output pixel ``y``.

    Example:
        >>> [pixel_coverage(y, i=14, k=3, s=2, p=1, d=1) for y in range(5)]
        [1, 2, 1, 2, 1]
    """
    z, g = y + p, gcd(s, d)
    if z % g:
        return 0
    period = s // g
    residue = z // g * pow(d // g, -1, period) % period
    first = max(0, -(-(z - s * (i - 1)) // d))
    last = min(k - 1, z // d)
    first += (residue - first) % period
    return (last - first) // period + 1 if first <= last else 0


def coverage(i: int, o: int, k: int, s: int, p: int, d: int) -> tuple[int, ...]:
    """Return the coverage of every output pixel; periodic from tap k - 1 to the last input.

    Example:
        >>> coverage(i=3, o=7, k=4, s=2, p=1, d=1)
        (1, 2, 2, 2, 2, 1, 1)
    """
    start = min(o, max(0, d * (k - 1) - p))
    stop = min(o, max(start, s * (i - 1) - p + 1))

    def count(pixels: range) -> tuple[int, ...]:
        return tuple(pixel_coverage(y, i, k, s, p, d) for y in pixels)

    period = count(range(start, min(stop, start + s)))
    interior = tuple(islice(cycle(period), stop - start))
    return count(range(start)) + interior + count(range(stop, o))
