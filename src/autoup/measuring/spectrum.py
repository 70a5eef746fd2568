"""How far a picture stands out at the grid frequencies, and how probable that is by chance.

Legend: s stride, the period of the grid in pixels; (r/s, c/s) a grid frequency, in cycles per
pixel down and across. A picture that repeats with period s has power at these alone. Signals have
one axis, volumes three.

Photographs are no white noise, so three things come before the comparison of a peak with its
neighbourhood:

- The local mean over one period goes, and the local contrast is evened out: an edge would
  otherwise outweigh a grid in all even regions.
- The ends are tapered (Hann), lest the jump from one border to the other leak along both axes;
  where the local mean is gone, little of that jump is left.
- Where pixels repeat in blocks, as after nearest enlargement, a slope is a staircase of period
  s. There the block means go first, which hold no part of a grid.

The level a peak is compared with is the largest of several medians: around it, and along each
axis. A signal has one axis: there it is that of windows of several widths and of either side. It
errs toward "no grid".
"""

# PyTorch leaves fft, special and tolist without types.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import product
from math import log, prod
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

Ints = tuple[int, ...]

PERIODS = {1: 24, 2: 6, 3: 6}  # The fewest that leave neighbours between two grid frequencies.
SMALLEST = {1: 256, 2: 9, 3: 9}  # A signal has few neighbours, and the local contrast takes 8 px.
_CONTRAST = 17  # Side of the window of the local contrast, in pixels.
_LEAST_CONTRAST = 0.1  # Of the standard deviation: even regions stay even.
_LEAST_PEAK = 0.02  # Amplitude a grid has at least, over the stride; cameras leave traces.
_BOXES = {  # Reaches of what is around a peak, in bins; in signals half an octave apart.
    1: (6, 8, 11, 16, 22, 32, 45, 64),
    2: (8,),
    3: (3,),
}
_LINE, _HALF = 8, 32  # The same along an axis, and, in signals, to one side.
_GUARD = 1  # Bins that the taper makes part of a peak.
_LARGEST = 25.0  # No single picture counts for more in a batch.
BLOCKY = 0.5
_POOLS: dict[int, Any] = {1: F.avg_pool1d, 2: F.avg_pool2d, 3: F.avg_pool3d}


@dataclass(frozen=True, slots=True)
class Peaks:
    """Peaks of some pictures at the grid frequencies.

    Args:
        ratios: Power over the level of the neighbourhood, ``(N, C, frequencies)``.
        p_values: Probability of such a batch by chance, ``(C, frequencies)``, each uncorrected.
        power: Mean power spectrum of what was compared, ``(*size)``.
    """

    ratios: Tensor
    p_values: Tensor
    power: Tensor


@lru_cache(maxsize=64)
def grid_bins(stride: Ints) -> tuple[Ints, ...]:
    """Return (r, c) of every grid frequency (r/s, c/s); of a conjugate pair the first.

    Example:
        >>> grid_bins((2, 2)), grid_bins((3, 1)), grid_bins((4,))
        (((0, 1), (1, 0), (1, 1)), ((1, 0),), ((1,), (2,)))
    """
    return tuple(
        bins
        for bins in product(*map(range, stride))
        if any(bins) and bins <= _conjugate(bins, stride)
    )


def _conjugate(bins: Ints, stride: Ints) -> Ints:
    return tuple(-r % s for r, s in zip(bins, stride, strict=True))


def find_peaks(images: Tensor, stride: Ints, blockiness: Tensor) -> Peaks:
    """Compare the power at every grid frequency with its neighbourhood.

    Under a flat spectrum a ratio follows the exponential distribution, and where a frequency is
    its own conjugate chi-square with one degree of freedom. The sum over a batch follows the
    gamma distributions that these add up to.

    Shape:
        - images: ``(N, C, *size)``, double, each size a multiple of the stride
        - blockiness: ``(N, C)``

    Example:
        >>> stripes = torch.arange(64.0, dtype=torch.float64).remainder(2).expand(1, 1, 64, 64)
        >>> find_peaks(stripes, (2, 2), torch.zeros(1, 1)).p_values.argmin().item()
        0
    """
    plain = _even_out(images, stride)
    ratios, power = _ratios(plain, stride, (_LEAST_PEAK / max(stride)) ** 2)
    blocky = blockiness > BLOCKY
    if blocky.any():
        inside = torch.stack([_inside_blocks(image, stride) for image in images[blocky]])
        ratios[blocky] = ratios[blocky].minimum(_ratios(inside, stride, 0.0)[0])
    own = torch.tensor([_conjugate(bins, stride) == bins for bins in grid_bins(stride)])
    shape = torch.where(own, 0.5, 1.0).double()
    total = (ratios.clamp(max=_LARGEST) * shape).sum(0)
    p_values = torch.special.gammaincc((shape * len(images)).expand_as(total), total)
    return Peaks(ratios, p_values, power.mean((0, 1)))


def measure_blocks(images: Tensor, stride: Ints) -> Tensor:
    """Return how much steps between neighbours gather at one place of the period, in [0, 1].

    0 where steps are as large everywhere, 1 where pixels repeat; the largest of all axes.

    Shape:
        - images: ``(N, C, *size)``; output ``(N, C)``

    Example:
        >>> image = torch.rand(1, 1, 8, 8, dtype=torch.float64)
        >>> measure_blocks(image.repeat_interleave(2, 2).repeat_interleave(2, 3), (2, 2))
        tensor([[1.]], dtype=torch.float64)
    """
    found = torch.zeros(images.shape[:2], dtype=images.dtype)
    for axis, s in enumerate(stride, start=2):
        if s > 1:
            steps = _steps(images, axis, s)
            most = steps.max(-1).values
            rest = (steps.sum(-1) - most) / (s - 1)
            found = found.maximum((most - rest) / (most + rest).clamp(min=1e-300))
    return found


def _steps(images: Tensor, axis: int, s: int) -> Tensor:
    """Return the mean square of the step behind each place of the period, ``(..., s)``."""
    squares = images.diff(dim=axis) ** 2
    others = [each for each in range(2, images.ndim) if each != axis]
    squares = squares.mean(others) if others else squares
    return torch.stack([squares[..., place::s].mean(-1) for place in range(s)], -1)


def _inside_blocks(image: Tensor, stride: Ints) -> Tensor:
    """Return what an image ``(*size)`` holds beside the means of its blocks, 0 outside of them."""
    inside = torch.zeros_like(image)
    whole, kept = image, inside
    for axis, s in enumerate(stride):
        steps = _steps(image[None, None], axis + 2, s)
        first = (int(steps.argmax()) + 1) % s if s > 1 else 0
        length = (image.shape[axis] - first) // s * s
        whole, kept = (each.narrow(axis, first, length) for each in (whole, kept))
    means = _POOLS[len(stride)](whole[None, None], stride)[0, 0]
    for axis, s in enumerate(stride):
        means = means.repeat_interleave(s, axis)
    kept.copy_(whole - means)
    return inside


def _even_out(images: Tensor, stride: Ints) -> Tensor:
    """Return the detail within a period, divided by its local contrast."""
    axes = range(2, images.ndim)
    means = images
    for axis, s in zip(axes, stride, strict=True):
        taps = torch.ones(s + 1 - s % 2, dtype=images.dtype)
        if s % 2 == 0:  # Centred, and zero at the grid frequencies too.
            taps[0] = taps[-1] = 0.5
        means = _smooth(means, taps / s, axis)
    detail = images - means
    contrast = detail**2
    for axis in axes:
        window = torch.full((_CONTRAST,), 1 / _CONTRAST, dtype=images.dtype)
        contrast = _smooth(contrast, window, axis)
    least = _LEAST_CONTRAST * images.std([*axes], keepdim=True)
    return detail / (contrast + least**2).sqrt().clamp(min=1e-300)


def _smooth(images: Tensor, taps: Tensor, axis: int) -> Tensor:
    reach = len(taps) // 2
    lines = images.movedim(axis, -1)
    padded = F.pad(lines.reshape(-1, 1, images.shape[axis]), (reach, reach), mode="reflect")
    return F.conv1d(padded, taps.view(1, 1, -1)).view(lines.shape).movedim(-1, axis)


def _ratios(images: Tensor, stride: Ints, least: float) -> tuple[Tensor, Tensor]:
    """Return power over level at each grid frequency, and the power spectrum."""
    axes = range(-len(stride), 0)
    size = tuple(images.shape[axis] for axis in axes)
    gain, tapered = 1.0, images
    for axis, length in zip(axes, size, strict=True):
        taper = torch.hann_window(length, periodic=False, dtype=images.dtype)
        tapered = tapered * taper.view(-1, *[1] * (-1 - axis))
        gain *= float(taper.sum())
    power = torch.fft.fftn(tapered, dim=[*axes]).abs() ** 2
    floor = least * gain**2 * (images**2).mean([*axes])
    flat, found = power.flatten(-len(stride)), []
    for peak, sides in _neighbourhoods(size, stride):
        level = _level(flat, sides) + floor
        found.append(flat[..., peak] / level.clamp(min=1e-300))
    return torch.stack(found, -1), power


def _level(flat: Tensor, sides: Sequence[Sequence[int]]) -> Tensor:
    """Return the power that a peak is compared with, the largest of its neighbourhoods' medians."""
    medians = [flat[..., side].median(-1).values / log(2) for side in sides if side]
    return torch.stack(medians).max(0).values


def surroundings(power: Tensor, stride: Ints) -> list[tuple[Tensor, Tensor]]:
    """Return for each grid frequency its power, and those around it, over the level of these.

    Shape:
        - power: ``(*size)``, each size a multiple of the stride; output ``()`` and ``(neighbours)``

    Example:
        >>> here, around = surroundings(torch.ones(64, 64), (2, 2))[0]
        >>> round(here.item(), 3), len(around)  # ln 2, the median of an exponential distribution
        (0.693, 280)
    """
    flat, found = power.flatten(), []
    for peak, sides in _neighbourhoods(tuple(power.shape), stride):
        level = _level(flat, sides).clamp(min=1e-300)
        around = sorted(set().union(*sides))
        found.append((flat[peak] / level, flat[around] / level))
    return found


@lru_cache(maxsize=64)
def _neighbourhoods(size: Ints, stride: Ints) -> tuple[tuple[int, Sequence[Sequence[int]]], ...]:
    """Return for each grid frequency its bin, and the bins of each of its neighbourhoods."""
    near = [*product(range(-_GUARD, _GUARD + 1), repeat=len(size))]
    steps = [prod(size[axis + 1 :]) for axis in range(len(size))]

    def peak(bins: Ints) -> Ints:
        return tuple(r * n // s for r, n, s in zip(bins, size, stride, strict=True))

    def places(around: Ints, offsets: Sequence[Ints]) -> set[int]:
        axes = [*zip(around, size, steps, strict=True)]
        return {
            sum((place + by) % n * step for by, (place, n, step) in zip(offset, axes, strict=True))
            for offset in offsets
        }

    taken = {at for bins in product(*map(range, stride)) for at in places(peak(bins), near)}
    return tuple(
        (
            sum(place * step for place, step in zip(peak(bins), steps, strict=True)),
            [sorted(places(peak(bins), side) - taken) for side in _sides(len(size))],
        )
        for bins in grid_bins(stride)
    )


@lru_cache(maxsize=3)
def _sides(dims: int) -> Sequence[Sequence[Ints]]:
    """Return the neighbourhoods of a peak, each as offsets in bins."""
    boxes = [[*product(range(-reach, reach + 1), repeat=dims)] for reach in _BOXES[dims]]
    if dims == 1:
        half = range(1, _HALF + 1)
        return [*boxes, [(-by,) for by in half], [(by,) for by in half]]
    away = range(-_LINE, _LINE + 1)
    unit = [[int(axis == each) for each in range(dims)] for axis in range(dims)]
    return [*boxes, *([tuple(by * u for u in axis) for by in away] for axis in unit)]
