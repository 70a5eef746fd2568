"""Slow, obvious definitions that the fast code must equal, and helpers the tests share."""

import warnings
from collections import Counter
from contextlib import contextmanager
from fractions import Fraction
from itertools import product

import torch
from torch import nn

import autoup

CONV = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}
PLAIN = {1: nn.ConvTranspose1d, 2: nn.ConvTranspose2d, 3: nn.ConvTranspose3d}
AUTO = {1: autoup.AutoConvTranspose1d, 2: autoup.AutoConvTranspose2d, 3: autoup.AutoConvTranspose3d}


@contextmanager
def artifacts_allowed():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", autoup.ArtifactWarning)
        yield


def count_coverage(i, o, k, s, p, d):
    """Go through every input pixel and every tap."""
    counts = Counter(s * n + d * t - p for n, t in product(range(i), range(k)))
    return tuple(counts[y] for y in range(o))


def count_phases(k, s, d):
    counts = Counter(d * t % s for t in range(k))
    return tuple(counts[r] for r in range(s))


def misplaced_ends(i, o, k, s, p, d):
    """Return how far the stamps of the first and the last input pixel lie from their place.

    A stamp is the mean of where its taps land, its place where an enlargement of the whole
    picture by o/i puts the centre of the pixel.
    """
    stamps = [Fraction(sum(s * n + d * t - p for t in range(k)), k) for n in (0, i - 1)]
    half = Fraction(1, 2)
    places = [(n + half) * Fraction(o, i) - half for n in (0, i - 1)]
    return [stamp - place for stamp, place in zip(stamps, places, strict=True)]


def nearest_strides(i, o):
    distance = {s: abs(s * i - o) for s in range(1, o + 2)}
    return [s for s in distance if distance[s] == min(distance.values())]


def search(i, o, kernels, strides, d, limit=1):
    """Return the first ``limit`` of all (uncovered, unevenness, a, k, p, s), smallest first.

    Nothing is left out: the rows are sorted by all but the uncovered pixels, which are then
    counted row by row until ``limit`` rows without any are found.
    """
    rows = []
    for s, k in product(strides, kernels):
        phases = count_phases(k, s, d)
        for a in range(max(s, d)):
            p, rest = divmod(s * (i - 1) + d * (k - 1) + 1 + a - o, 2)
            if rest == 0 and 0 <= p <= d * (k - 1):
                rows.append((max(phases) - min(phases), a, k, p, s))
    counted, clean = [], 0
    for row in sorted(rows):
        _, _, k, p, s = row
        uncovered = count_coverage(i, o, k, s, p, d).count(0)
        counted.append((uncovered, *row))
        clean += uncovered == 0
        if clean == limit:
            break
    return sorted(counted)[:limit]


def as_row(found):
    """Return a Solution as a row of ``search``, its first two entries from the definition."""
    phases = count_phases(found.kernel_size, found.stride, found.dilation)
    covered = count_coverage(
        found.in_size,
        found.out_size,
        found.kernel_size,
        found.stride,
        found.padding,
        found.dilation,
    )
    return (
        covered.count(0),
        max(phases) - min(phases),
        found.output_padding,
        found.kernel_size,
        found.padding,
        found.stride,
    )


def assert_properties(found):
    """Compare every property of a Solution with a tap-by-tap count."""
    k, s, p, d = found.kernel_size, found.stride, found.padding, found.dilation
    covered = count_coverage(found.in_size, found.out_size, k, s, p, d)
    phases = count_phases(k, s, d)
    interior = [phases[(y + p) % s] for y in range(found.out_size)]
    assert found.coverage == covered
    assert found.phases == phases
    assert found.even == (len(set(phases)) == 1)
    assert found.uncovered == covered.count(0)
    assert found.border == sum(c < full for c, full in zip(covered, interior, strict=True))
    first, last = misplaced_ends(found.in_size, found.out_size, k, s, p, d)
    assert found.shift == (first + last) / 2 == -Fraction(found.output_padding, 2)
    assert found.displacement == float(abs(first - last) / 2)
    assert found.wrong_scale == (abs(first - last) / 2 > 2 * s)
    assert found.uniform == (len(set(covered)) == 1 and found.output_padding == 0)


def phase_sums(weight, strides):
    """Sum the taps of every phase, one phase after the other."""
    axes = [range(s) for s in strides]
    parts = [
        weight[(..., *(slice(r, None, s) for r, s in zip(phase, strides, strict=True)))]
        for phase in product(*axes)
    ]
    return torch.stack([part.flatten(2).sum(2) for part in parts])
