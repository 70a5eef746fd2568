"""How far a picture stands out at the grid frequencies, and how probable that is by chance.

Legend: s stride, the period of the grid in pixels; (r/s, c/s) a grid frequency, in cycles per
pixel down and across. A picture that repeats with period s has power at these alone.

Photographs are no white noise, so three things come before the comparison of a peak with its
neighbourhood:

- The local mean over one period goes, and the local contrast is evened out: an edge would
  otherwise outweigh a grid in all even regions.
- The ends are tapered (Hann), lest the jump from one border to the other leak along both axes;
  where the local mean is gone, little of that jump is left.
- Where pixels repeat in blocks, as after nearest enlargement, a slope is a staircase of period
  s. There the block means go first, which hold no part of a grid.

The level a peak is compared with is the largest of three medians: around it, along its row and
along its column. It errs toward "no grid".
"""

# PyTorch leaves fft, special and tolist without types.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import product
from math import log

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

Pair = tuple[int, int]

PERIODS = 6  # The fewest that leave neighbours between two grid frequencies.
_CONTRAST = 17  # Side of the window of the local contrast, in pixels.
_LEAST_CONTRAST = 0.1  # Of the picture's standard deviation: even regions stay even.
_LEAST_PEAK = 0.02  # Amplitude a grid has at least, over the stride; cameras leave traces.
_REACH, _GUARD = 8, 1  # Neighbours of a peak, and bins that the taper makes part of it.
_LARGEST = 25.0  # No single picture counts for more in a batch.
_BLOCKY = 0.5


@dataclass(frozen=True, slots=True)
class Peaks:
    """Peaks of some pictures at the grid frequencies.

    Args:
        ratios: Power over the level of the neighbourhood, ``(N, C, frequencies)``.
        p_values: Probability of such a batch by chance, ``(C, frequencies)``, each uncorrected.
        power: Mean power spectrum of what was compared, ``(H, W)``.
    """

    ratios: Tensor
    p_values: Tensor
    power: Tensor


@lru_cache(maxsize=64)
def grid_bins(stride: Pair) -> tuple[Pair, ...]:
    """Return (r, c) of every grid frequency (r/s, c/s); of a conjugate pair the first.

    Example:
        >>> grid_bins((2, 2)), grid_bins((3, 1))
        (((0, 1), (1, 0), (1, 1)), ((1, 0),))
    """
    rows, columns = stride
    return tuple(
        (r, c)
        for r, c in product(range(rows), range(columns))
        if (r, c) != (0, 0) and (r, c) <= (-r % rows, -c % columns)
    )


def find_peaks(images: Tensor, stride: Pair, blockiness: Tensor) -> Peaks:
    """Compare the power at every grid frequency with its neighbourhood.

    Under a flat spectrum a ratio follows the exponential distribution, and where a frequency is
    its own conjugate chi-square with one degree of freedom. The sum over a batch follows the
    gamma distributions that these add up to.

    Shape:
        - images: ``(N, C, H, W)``, double, H and W multiples of the stride
        - blockiness: ``(N, C)``

    Example:
        >>> stripes = torch.arange(64.0, dtype=torch.float64).remainder(2).expand(1, 1, 64, 64)
        >>> find_peaks(stripes, (2, 2), torch.zeros(1, 1)).p_values.argmin().item()
        0
    """
    plain = _even_out(images, stride)
    ratios, power = _ratios(plain, stride, (_LEAST_PEAK / max(stride)) ** 2)
    blocky = blockiness > _BLOCKY
    if blocky.any():
        inside = torch.stack([_inside_blocks(image, stride) for image in images[blocky]])
        ratios[blocky] = ratios[blocky].minimum(_ratios(inside, stride, 0.0)[0])
    own = torch.tensor(
        [(2 * r) % stride[0] == (2 * c) % stride[1] == 0 for r, c in grid_bins(stride)]
    )
    shape = torch.where(own, 0.5, 1.0).double()
    total = (ratios.clamp(max=_LARGEST) * shape).sum(0)
    p_values = torch.special.gammaincc((shape * len(images)).expand_as(total), total)
    return Peaks(ratios, p_values, power.mean((0, 1)))


def measure_blocks(images: Tensor, stride: Pair) -> Tensor:
    """Return how much steps between neighbours gather at one place of the period, in [0, 1].

    0 where steps are as large everywhere, 1 where pixels repeat; the larger of the two axes.

    Shape:
        - images: ``(N, C, H, W)``; output ``(N, C)``

    Example:
        >>> image = torch.rand(1, 1, 8, 8, dtype=torch.float64)
        >>> measure_blocks(image.repeat_interleave(2, 2).repeat_interleave(2, 3), (2, 2))
        tensor([[1.]], dtype=torch.float64)
    """
    found = torch.zeros(images.shape[:2], dtype=images.dtype)
    for axis, s in zip((2, 3), stride, strict=True):
        if s > 1:
            steps = _steps(images, axis, s)
            most = steps.max(-1).values
            rest = (steps.sum(-1) - most) / (s - 1)
            found = found.maximum((most - rest) / (most + rest).clamp(min=1e-300))
    return found


def _steps(images: Tensor, axis: int, s: int) -> Tensor:
    """Return the mean square of the step behind each place of the period, ``(..., s)``."""
    squares = (images.diff(dim=axis) ** 2).mean(2 if axis == 3 else 3)
    return torch.stack([squares[..., place::s].mean(-1) for place in range(s)], -1)


def _inside_blocks(image: Tensor, stride: Pair) -> Tensor:
    """Return what an image (H, W) holds beside the means of its blocks, 0 outside of them."""
    top, left = (
        (int(_steps(image[None, None], axis, s).argmax()) + 1) % s if s > 1 else 0
        for axis, s in zip((2, 3), stride, strict=True)
    )
    height, width = (
        (size - first) // s * s
        for size, first, s in zip(image.shape, (top, left), stride, strict=True)
    )
    inside = torch.zeros_like(image)
    whole = image[top : top + height, left : left + width]
    means = F.avg_pool2d(whole[None, None], stride)
    means = means.repeat_interleave(stride[0], 2).repeat_interleave(stride[1], 3)[0, 0]
    inside[top : top + height, left : left + width] = whole - means
    return inside


def _even_out(images: Tensor, stride: Pair) -> Tensor:
    """Return the detail within a period, divided by its local contrast."""
    means = images
    for axis, s in zip((2, 3), stride, strict=True):
        taps = torch.ones(s + 1 - s % 2, dtype=images.dtype)
        if s % 2 == 0:  # Centred, and zero at the grid frequencies too.
            taps[0] = taps[-1] = 0.5
        means = _smooth(means, taps / s, axis)
    detail = images - means
    window = torch.full((_CONTRAST,), 1 / _CONTRAST, dtype=images.dtype)
    contrast = _smooth(_smooth(detail**2, window, 2), window, 3)
    least = _LEAST_CONTRAST * images.std((2, 3), keepdim=True)
    return detail / (contrast + least**2).sqrt().clamp(min=1e-300)


def _smooth(images: Tensor, taps: Tensor, axis: int) -> Tensor:
    reach = len(taps) // 2
    pad = (0, 0, reach, reach) if axis == 2 else (reach, reach, 0, 0)
    kernel = taps.view(1, 1, -1, 1) if axis == 2 else taps.view(1, 1, 1, -1)
    flat = images.flatten(0, 1)[:, None]
    return F.conv2d(F.pad(flat, pad, mode="reflect"), kernel).view(images.shape)


def _ratios(images: Tensor, stride: Pair, least: float) -> tuple[Tensor, Tensor]:
    """Return power over level at each grid frequency, and the power spectrum."""
    size = images.shape[-2], images.shape[-1]
    tapers = [torch.hann_window(length, periodic=False, dtype=images.dtype) for length in size]
    tapered = images * tapers[0][:, None] * tapers[1]
    power = torch.fft.fft2(tapered).abs() ** 2
    gain = (tapers[0].sum() * tapers[1].sum()) ** 2
    floor = least * gain * (images**2).mean((-2, -1))
    flat, found = power.flatten(-2), []
    for peak, sides in _neighbourhoods(size, stride):
        medians = [flat[..., list(side)].median(-1).values / log(2) for side in sides if side]
        level = torch.stack(medians).max(0).values + floor
        found.append(flat[..., peak] / level.clamp(min=1e-300))
    return torch.stack(found, -1), power


@lru_cache(maxsize=64)
def _neighbourhoods(size: Pair, stride: Pair) -> tuple[tuple[int, Sequence[Sequence[int]]], ...]:
    """Return for each grid frequency its bin, and the bins around it, in its row and column."""
    height, width = size
    near = range(-_GUARD, _GUARD + 1)
    taken = {
        ((r * height // stride[0] + a) % height, (c * width // stride[1] + b) % width)
        for r, c, a, b in product(range(stride[0]), range(stride[1]), near, near)
    }
    away = range(-_REACH, _REACH + 1)
    sides = ([*product(away, away)], [(0, b) for b in away], [(a, 0) for a in away])

    def bins(down: int, across: int, side: Sequence[Pair]) -> list[int]:
        places = {((down + a) % height, (across + b) % width) for a, b in side}
        return [y * width + x for y, x in sorted(places - taken)]

    return tuple(
        (down * width + across, [bins(down, across, side) for side in sides])
        for down, across in (
            (r * height // stride[0], c * width // stride[1]) for r, c in grid_bins(stride)
        )
    )
