"""The strides that a chain of layers may have, as sets: in which order they stand comes later.

Legend: i input size, o output size, n steps, s the stride asked for.
"""

from collections.abc import Iterator
from itertools import combinations_with_replacement

Strides = tuple[int, ...]


def steps_for(i: int, o: int, s: int) -> int:
    """Return how many steps of a stride enlarge most nearly from i to o, at least one.

    Example:
        >>> steps_for(7, 218, 2), steps_for(7, 21, 2), steps_for(7, 7, 2)
        (5, 1, 1)
    """
    n = 1
    while abs(s ** (n + 1) * i - o) < abs(s**n * i - o):
        n += 1
    return n


def sets_of_strides(i: int, o: int, n: int | None, s: int) -> Iterator[Strides]:
    """Yield the strides that a chain may have where not all are s, each set ascending.

    Where the steps are free they are s and its neighbours, in at most one step more than s takes.
    Where they are not, they are the mean enlargement of a step and its neighbours, and those up to
    twice and half of it that make the whole number just below or above ``o / i``.

    Example:
        >>> [*sets_of_strides(55, 109, None, 2)]
        [(1,), (2,), (3,), (1, 1), (1, 2), (1, 3), (2, 2), (2, 3), (3, 3)]
        >>> (10, 10, 10, 20) in sets_of_strides(100, 2_000_000, 4, 2)
        True
    """
    if n is None:
        for steps in range(1, steps_for(i, o, s) + 2):
            yield from combinations_with_replacement(_near(s), steps)
        return
    mean = max(1, round((o / i) ** (1 / n)))
    yield from combinations_with_replacement(_near(mean), n)
    for ratio in {o // i, -(-o // i)}:
        for each in _factors(ratio, n, -(-mean // 2), 2 * mean):
            if not {*each} <= {*_near(mean)}:
                yield each


def _near(s: int) -> range:
    return range(max(1, s - 1), s + 2)


def _factors(product: int, n: int, least: int, most: int) -> Iterator[Strides]:
    """Yield the ways to write a product of n factors in this range, ascending."""
    if n == 1:
        if least <= product <= most:
            yield (product,)
        return
    for first in range(least, most + 1):
        if first**n > product:
            break
        if product % first == 0:
            yield from ((first, *each) for each in _factors(product // first, n - 1, first, most))
