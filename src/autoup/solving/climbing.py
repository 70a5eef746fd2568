"""The best chain of layers from one size to another, by dynamic programming over the sizes between.

Legend: i input size, o output size, n steps, s the stride asked for, S product of the strides, T
shift of the whole. A chain enlarges the picture to S*i pixels around the centre, T off it: so its
edges lie abs(S*i - o)/2 from those of the output, and one of them abs(T) further.

But for T that depends on the strides alone, in any order. So first the strides are chosen, as a
set, from the nearest edges on; then for each set their order and the sizes between. Nothing that
comes before what is found is left out:

- A set is passed over only where its edges lie further than those that were found, and it has no
  fewer artifacts.
- A layer of the right scale starts from a size near o/s (``sizes_below``). Going down from the
  end, every size that a chain of the set has there is held, about 20 for strides above 1, whatever
  i and o are: the spread of the step above, divided by its stride, and 8 more.
"""

from collections.abc import Iterator
from functools import lru_cache
from math import lcm, prod
from typing import NamedTuple

from autoup.solving.rungs import find_rung, sizes_below
from autoup.solving.strides import Strides, first_choice, sets_of_strides


class Chain(NamedTuple):
    """A chain of layers; of two the smaller one is better.

    Args:
        wrong: Whether a layer has the wrong scale, or the whole.
        artifacts: Uncovered pixels, uneven overlap and shifts, each counted once a layer.
        edges: How far the edge that lies furthest is from its place, in halves of an output pixel.
        away: Sum of the distances of the strides from the one asked for.
        moved: Pixels that layers crop or add at both ends, each as large as it is in the output.
        work: Sum over the layers of output size times taps per output pixel, times ``unit``.
        sizes: From the last to the first.
        strides: From the last to the first.
        unit: What all strides that the chain might have had divide.
    """

    wrong: bool
    artifacts: int
    edges: int
    away: int
    moved: int
    work: int
    sizes: tuple[int, ...]
    strides: Strides
    unit: int


class _Way(NamedTuple):
    """The best way from a size up to the last; of two the smaller one is better."""

    artifacts: int
    shift: int  # Twice that of the output, in pixels.
    moved: int
    work: int  # As in Chain.
    sizes: tuple[int, ...]
    strides: Strides

    def begin(self, i: int, s: int, k: int | None, m: int, unit: int) -> "_Way | None":
        """Return the way from a size below, None if the pinned kernel does not reach."""
        size, behind = self.sizes[-1], prod(self.strides)
        rung = find_rung(i, size, s, k, m)
        return rung and _Way(
            self.artifacts + rung.artifacts,
            self.shift + rung.output_padding * behind,
            self.moved + abs(s * i - size) * behind,
            self.work + size * rung.kernel_size * (unit // s),
            (*self.sizes, i),
            (*self.strides, s),
        )


@lru_cache(maxsize=4096)
def climb(i: int, o: int, n: int | None, s: int, k: int | None, m: int) -> Chain | None:
    """Return the best chain; checked ints in, None for steps or kernels that are not pinned.

    Returns:
        The chain, or None if the pinned kernel does not reach ``o``.

    Example:
        >>> climb(7, 218, None, 2, None, 0).sizes
        (218, 110, 56, 28, 14, 7)
    """
    if strides := first_choice(i, o, n, s):
        best = _order(i, o, strides, s, k, m, lcm(*strides))
        if best and not best.artifacts and not best.wrong:
            return best
    best, sets = None, sets_of_strides(i, o, n, s)
    unit = lcm(*(stride for each in sets for stride in each))
    for bound, strides in sorted((_bound(i, o, each, s, k), each) for each in sets):
        if best and best[:4] < bound:
            break
        found = _order(i, o, strides, s, k, m, unit)
        best = min(filter(None, (best, found)), default=None)
    if best:
        return best
    stretched = (chain for each in sets for chain in _stretch(i, o, each, s, k, m, unit))
    return min(stretched, default=None)


def _bound(i: int, o: int, strides: Strides, s: int, k: int | None) -> tuple[bool, int, int, int]:
    """Return what no chain of these strides comes before."""
    uneven = sum(k % each > 0 for each in strides) if k else 0
    wrong = is_wrong(i, o, strides)
    return wrong, uneven, abs(prod(strides) * i - o), _away(strides, s)


def is_wrong(i: int, o: int, strides: Strides) -> bool:
    """Tell whether several layers as a whole have the wrong scale.

    The middles of the outermost pixels then lie more than two input pixels, as large as these are
    in an exact enlargement, from their place.

    Example:
        >>> is_wrong(2, 3, (2, 2, 2, 2, 1)), is_wrong(7, 218, (2, 2, 2, 2, 2))
        (True, False)
    """
    return len(strides) > 1 and abs(prod(strides) * i - o) * (i - 1) > 4 * o


def _away(strides: Strides, s: int) -> int:
    return sum(abs(each - s) for each in strides)


def _order(
    i: int, o: int, strides: Strides, s: int, k: int | None, m: int, unit: int
) -> Chain | None:
    """Return the best chain of these strides, in any order, at the right scale; None without."""
    kinds = sorted({*strides})
    ways = {(strides, o): _Way(0, 0, 0, 0, (o,), ())}  # By the strides that are left, and the size.
    for left in range(len(strides), 0, -1):
        longer: dict[tuple[Strides, int], _Way] = {}
        for ((free, size), way), stride in ((each, s) for each in ways.items() for s in kinds):
            if stride not in free:
                continue
            place = free.index(stride)
            rest = free[:place] + free[place + 1 :]
            for start in sizes_below(size, stride, i):
                if left == 1 and start != i:
                    continue
                found, key = way.begin(start, stride, k, m, unit), (rest, start)
                if found and (key not in longer or found < longer[key]):
                    longer[key] = found
        ways = longer
    return _close(i, o, ways[(), i], s, unit) if ways else None


def _close(i: int, o: int, way: _Way, s: int, unit: int, wrong: bool = False) -> Chain:
    scale = prod(way.strides)
    return Chain(
        wrong or is_wrong(i, o, way.strides),
        way.artifacts,
        abs(scale * i - o) + way.shift,
        _away(way.strides, s),
        way.moved,
        way.work,
        way.sizes,
        way.strides,
        unit,
    )


def _stretch(
    i: int, o: int, strides: Strides, s: int, k: int | None, m: int, unit: int
) -> Iterator[Chain]:
    """Yield chains of exact multiples, ascending, whose last layer has the wrong scale."""
    for last in {*strides}:
        rest = [*strides]
        rest.remove(last)
        multiples = [i * prod(rest[:number]) for number in range(len(strides))]
        way: _Way | None = _Way(0, 0, 0, 0, (o,), ()) if multiples[-1] <= o else None
        for start, stride in zip(reversed(multiples), (last, *reversed(rest)), strict=True):
            way = way and way.begin(start, stride, k, m, unit)
        if way:
            yield _close(i, o, way, s, unit, wrong=True)
