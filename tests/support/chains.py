"""Every chain of layers between two sizes, looked at: slow, and obvious."""

from fractions import Fraction
from functools import cache
from itertools import permutations, product
from math import lcm, prod

import numpy as np

from autoup.solving.solver import best_solutions

LARGEST = 120
NONE = np.int64(2**62)
# What a key holds, the most important first: artifacts, twice the shift, what is moved, work.
_WORK, _MOVED, _SHIFT = 2**24, 2**20, 2**10


def allowed_strides(i, o, n):
    """Return the strides that a chain of n layers may have, in every order."""
    mean = max(1, round((o / i) ** (1 / n)))
    near = range(max(1, mean - 1), mean + 2)
    around = range(-(-mean // 2), 2 * mean + 1)
    whole = {o // i, -(-o // i)}
    return {*product(near, repeat=n)} | {
        each for each in product(around, repeat=n) if prod(each) in whole
    }


def first_strides(i, o, n, s):
    """Return the strides asked for, and 1 for each layer more, in every order, if any."""
    asked = min(range(1, 9), key=lambda each: abs(s**each * i - o))
    edge = Fraction(abs(s**asked * i - o), 2)
    if n < asked or edge > Fraction(o, 2 * i) or edge > Fraction(o, 8):
        return set()
    return {*permutations((1,) * (n - asked) + (s,) * asked)}


@cache
def layer(i, o, s):
    """Return a layer's artifacts, output padding and kernel; None at the wrong scale."""
    if i > o or Fraction(abs(s * i - o), i) * (i - 1) / 2 > 2 * s:
        return None
    found = best_solutions(i, o, None, s, 1)[0]
    artifacts = (found.uncovered > 0) + (not found.even) + (found.output_padding > 0)
    return artifacts, found.output_padding, found.kernel_size


@cache
def _layers(s):
    """Return three matrices over all sizes: artifacts, output padding, kernel; -1 where none."""
    sizes = range(LARGEST + 1)
    rows = [[(i and layer(i, o, s)) or (-1, -1, -1) for o in sizes] for i in sizes]
    return np.moveaxis(np.array(rows, dtype=np.int64), 2, 0)


@cache
def best_keys(o, strides, unit):
    """Return the key of the best chain from every size to o, with these strides in this order."""
    if not strides:
        keys = np.full(LARGEST + 1, NONE)
        keys[o] = 0
        return keys
    above, s, behind = best_keys(o, strides[1:], unit), strides[0], prod(strides[1:])
    artifacts, extra, kernels = _layers(s)
    sizes = np.arange(LARGEST + 1, dtype=np.int64)
    work = sizes * kernels * (unit // s)
    moved = abs(s * sizes[:, None] - sizes) * behind
    key = ((artifacts * _SHIFT + extra * behind) * _MOVED + moved) * _WORK + work
    return np.where((artifacts < 0) | (above == NONE), NONE, key + above).min(1)


def worth(chain):
    """Return what a chain of ``climb`` is worth, its work without a unit."""
    return (*chain[:5], Fraction(chain.work, chain.unit))


def best_chain(i, o, tuples, s):
    """Return what the best chain with one of these tuples of strides is worth; see ``worth``."""
    found = []
    for strides in tuples:
        unit, scale = lcm(*strides), prod(strides)
        key = int(best_keys(o, strides, unit)[i])
        if key == NONE:
            continue
        rest, work = divmod(key, _WORK)
        rest, moved = divmod(rest, _MOVED)
        artifacts, shift = divmod(rest, _SHIFT)
        wrong = _is_wrong(i, o, strides)
        edges = abs(scale * i - o) + shift
        away = sum(abs(each - s) for each in strides)
        found.append((wrong, artifacts, edges, away, moved, Fraction(work, unit)))
    return min(found, default=None)


def _is_wrong(i, o, strides):
    """Whether the ends of several layers lie two exactly enlarged pixels from their place."""
    far = abs(prod(strides) - Fraction(o, i)) * (i - 1) / 2
    return len(strides) > 1 and far > 2 * Fraction(o, i)


def every_chain(i, o, tuples, s):
    """Yield what every chain with these strides is worth, with its sizes and strides."""
    for strides in tuples:
        for between in product(range(i, o + 1), repeat=len(strides) - 1):
            sizes = (i, *between, o)
            layers = [layer(*each) for each in zip(sizes, sizes[1:], strides, strict=False)]
            if None in layers:
                continue
            edges = moved = work = 0
            for n, (_, extra, kernel) in enumerate(layers):
                behind = prod(strides[n + 1 :])
                edges += extra * behind
                moved += abs(strides[n] * sizes[n] - sizes[n + 1]) * behind
                work += Fraction(sizes[n + 1] * kernel, strides[n])
            scale = prod(strides)
            yield (
                _is_wrong(i, o, strides),
                sum(each[0] for each in layers),
                edges + abs(scale * i - o),
                sum(abs(each - s) for each in strides),
                moved,
                work,
                sizes[::-1],
                strides[::-1],
            )
