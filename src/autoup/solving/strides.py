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


def first_choice(i: int, o: int, n: int | None, s: int) -> Strides | None:
    """Return the strides that a chain has where they make it clean, ascending.

    They are as many of the one asked for as come nearest to the ratio of the sizes, and 1 for each
    layer more. There are none where there are fewer layers, nor where edges would lie more than
    half a pixel of the first map, or an eighth of the output, from their place.

    Example:
        >>> first_choice(4, 80, None, 2), first_choice(4, 80, 6, 2), first_choice(4, 12, None, 2)
        ((2, 2, 2, 2), (1, 1, 2, 2, 2, 2), None)
    """
    asked = steps_for(i, o, s)
    n = asked if n is None else n
    if n < asked or abs(s**asked * i - o) * max(i, 4) > o:
        return None
    return (1,) * (n - asked) + (s,) * asked


def sets_of_strides(i: int, o: int, n: int | None, s: int) -> list[Strides]:
    """Return the strides that a chain may have otherwise, each set ascending.

    They are the mean enlargement of a layer and its neighbours, or, from half of it to twice, those
    that make the whole number just below or above ``o / i``. Where the layers are not counted they
    are as many as s takes, or one more; and then s and its neighbours too, in as many or fewer.

    Example:
        >>> sets_of_strides(56, 109, 1, 2), (10, 10, 10, 20) in sets_of_strides(1, 20_000, 4, 2)
        ([(1,), (2,), (3,)], True)
    """
    asked = steps_for(i, o, s)
    found: set[Strides] = set()
    for steps in (asked, asked + 1) if n is None else (n,):
        mean = max(1, round((o / i) ** (1 / steps)))
        found.update(combinations_with_replacement(_near(mean), steps))
        for ratio in (o // i, -(-o // i)):
            found.update(_factors(ratio, steps, -(-mean // 2), 2 * mean))
    for steps in range(1, asked + 1) if n is None else ():
        found.update(combinations_with_replacement(_near(s), steps))
    return sorted(found)


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
