"""Every chain of layers between two sizes, looked at: slow, and obvious."""

from fractions import Fraction
from functools import cache
from itertools import permutations, product
from math import lcm, prod

import numpy as np

from autoup.solving.solver import best_solutions

LARGEST = 120
NONE = np.int64(2**62)
# What a key holds, the most important first: artifacts, twice the shift, work, the sizes between.
_SIZES = (LARGEST + 1) ** 3
_WORK, _SHIFT = 2**21, 2**10


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
    """Return the strides asked for, and 1 for each layer more, in every order; none where fewer."""
    asked = min(range(1, 9), key=lambda each: abs(s**each * i - o))
    return {*permutations((1,) * (n - asked) + (s,) * asked)} if n >= asked else set()


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
def best_keys(o, strides, unit, n):
    """Return the key of the best chain from every size to o, with these strides in this order."""
    if not strides:
        keys = np.full(LARGEST + 1, NONE)
        keys[o] = 0
        return keys
    above, s = best_keys(o, strides[1:], unit, n), strides[0]
    artifacts, extra, kernels = _layers(s)
    sizes = np.arange(LARGEST + 1, dtype=np.int64)
    work = sizes * kernels * (unit // s)
    key = (artifacts * _SHIFT + extra * prod(strides[1:])) * _WORK + work
    # Of the sizes between, the last weighs most.
    digit = (LARGEST + 1) ** (3 - len(strides)) if len(strides) < n else 0
    key = key * _SIZES + (sizes * digit)[:, None]
    whole = np.where((artifacts < 0) | (above == NONE), NONE, key + above)
    return whole.min(1)


def best_chain(i, o, tuples, s):
    """Return the best chain with one of these tuples of strides, as ``climb`` does."""
    found = []
    for strides in tuples:
        n, unit = len(strides), lcm(*strides)
        key = int(best_keys(o, strides, unit, n)[i])
        if key == NONE:
            continue
        rest, between = divmod(key, _SIZES)
        rest, work = divmod(rest, _WORK)
        artifacts, shift = divmod(rest, _SHIFT)
        digits = [between // (LARGEST + 1) ** (2 - place) % (LARGEST + 1) for place in range(n - 1)]
        far = abs(prod(strides) - Fraction(o, i)) * (i - 1) / 2 + Fraction(shift, 2)
        away = sum(abs(each - s) for each in strides)
        sizes = (o, *digits, i)
        found.append((False, artifacts, far, away, Fraction(work, unit), sizes, strides[::-1]))
    return min(found, default=None)
