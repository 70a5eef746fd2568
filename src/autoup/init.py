"""Initialisation of transposed convolutions, in the manner of ``torch.nn.init``."""

from collections.abc import Sequence
from math import prod, sqrt

import torch
from torch import Tensor

from autoup.checks import as_int, per_axis


def phase_equal_(
    weight: Tensor,
    stride: int | Sequence[int],
    groups: int = 1,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Fill the weight of a transposed convolution so that its output starts without a grid.

    Every phase of the kernel (the taps a stride apart) gets the same sum, so a constant
    input gives a constant output. Along each axis ``ceil(kernel_size / stride)`` taps are
    drawn; each fills a box of ``stride`` equal taps, and the boxes lie end to end. That is
    ICNR (Aitken et al. 2017, arXiv 1707.02937) for a transposed convolution. Where the
    kernel is not a multiple of the stride the boxes overlap and add up instead of being cut
    off, which keeps the sums equal. A kernel smaller than the stride leaves phases without
    taps, which no value can make equal.

    The taps are uniform in ``[-b, b]`` with ``b = sqrt(3 / fan_in)``, so that independent
    inputs of unit variance give outputs of unit variance. ``fan_in`` is the number of
    weights that feed one output value, ``in_channels / groups`` times the drawn taps;
    PyTorch's own default counts ``out_channels * kernel_size`` instead.

    Args:
        weight: The weight, changed in place.
        stride: Stride of the layer, in pixels; an int or one per axis. With a dilation d,
            give ``stride // gcd(stride, d)``.
        groups: Groups of the layer.
        generator: Source of random numbers; PyTorch's default generator when left out.

    Returns:
        ``weight``.

    Raises:
        TypeError: ``weight`` is not a tensor, or a number is not an int.
        ValueError: ``weight`` has no spatial axis, or ``groups`` does not divide its first
            dimension.

    Shape:
        - weight: ``(in_channels, out_channels / groups, *kernel_size)``

    Example:
        >>> weight = phase_equal_(torch.empty(8, 4, 3, 3, dtype=torch.float64), 2)
        >>> rows = weight[:, :, 0::2].sum(2), weight[:, :, 1::2].sum(2)
        >>> torch.allclose(*rows)
        True
    """
    kernel_size = _kernel_size(weight)
    strides = per_axis("stride", tuple(stride) if isinstance(stride, Sequence) else stride,
                       len(kernel_size))  # fmt: skip
    groups, in_channels = as_int("groups", groups), weight.shape[0]
    if in_channels % groups:
        raise ValueError(f"groups ({groups}) must divide in_channels ({in_channels}).")
    drawn = [-(-k // s) for k, s in zip(kernel_size, strides, strict=True)]
    bound = sqrt(3 / max(1, in_channels // groups * prod(drawn)))
    with torch.no_grad():
        kernel = weight.new_empty((*weight.shape[:2], *drawn))
        kernel.uniform_(-bound, bound, generator=generator)
        for axis, (k, s) in enumerate(zip(kernel_size, strides, strict=True), start=2):
            kernel = _lay_boxes(kernel, axis, k, s)
        return weight.copy_(kernel)


def _kernel_size(weight: object) -> tuple[int, ...]:
    if not isinstance(weight, Tensor):
        raise TypeError(f"weight must be a tensor, got {weight!r} of type {type(weight).__name__}.")
    if weight.ndim < 3:
        raise ValueError(
            "weight must have shape (in_channels, out_channels / groups, *kernel_size), "
            f"got {tuple(weight.shape)}."
        )
    return tuple(weight.shape[2:])


def _lay_boxes(taps: Tensor, axis: int, k: int, s: int) -> Tensor:
    """Spread each tap along ``axis`` over a box of s taps, from the front to the back of k."""
    count = taps.shape[axis]
    if s == 1 or count == 1:
        return taps.expand(*taps.shape[:axis], k, *taps.shape[axis + 1 :])
    kernel = taps.new_zeros((*taps.shape[:axis], k, *taps.shape[axis + 1 :]))
    for j in range(count):
        start = max(0, k - s) * j // max(1, count - 1)
        kernel.narrow(axis, start, min(s, k)).add_(taps.narrow(axis, j, 1))
    return kernel
