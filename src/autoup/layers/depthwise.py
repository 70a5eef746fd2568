"""Depthwise transposed convolutions, where oneDNN has no fast kernel for them.

It has none for the output in bfloat16 at strides above 1, which takes it up to 36 times as long as
in float32, and none for the weight's gradient of more than three taps, which takes it up to 60
times as long as that of three. So the one is a product where the kernel is the stride, and else
computed in float32 and rounded. The other is put together from gradients of two by two taps: those
that are a stride apart write to one phase of the output (Legend in ``subpixel``), and make it by a
transposed convolution of stride 1. Volumes have ways of their own: see ``volumes``.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from autoup.internals import without_its_base
from autoup.layers.plain import Geometry, Gradients, bias_apart, transposed_gradients

LONG = 4  # Taps from which on oneDNN has no kernel for the weight's gradient.


def is_depthwise(weight: Tensor, geometry: Geometry) -> bool:
    """Tell whether each channel has a kernel of its own.

    Example:
        >>> is_depthwise(torch.empty(8, 1, 4, 4), Geometry((2, 2), (1, 1), (0, 0), 8, (1, 1)))
        True
    """
    return weight.shape[1] == 1 and weight.shape[0] == geometry.groups > 1


def has_slow_gradient(weight: Tensor, geometry: Geometry) -> bool:
    """Tell whether ``depthwise_gradients`` has another way for the weight's gradient.

    Of pictures, with kernels of more than three taps along both axes, not dilated.

    Example:
        >>> geometry = Geometry((2, 2), (1, 1), (0, 0), 8, (1, 1))
        >>> [has_slow_gradient(torch.empty(8, 1, k, k), geometry) for k in (3, 4)]
        [False, True]
    """
    slow = weight.ndim == 4 and min(weight.shape[2:]) >= LONG
    return slow and max(geometry.dilation) == 1


def is_product(weight: Tensor, geometry: Geometry) -> bool:
    """Tell whether every pixel of the output is one product, as the kernel is the stride.

    Example:
        >>> is_product(torch.empty(8, 1, 2, 2), Geometry((2, 2), (0, 0), (0, 0), 8, (1, 1)))
        True
    """
    stride, padding, output_padding, _, dilation = geometry
    alone = not any(padding) and not any(output_padding) and max(dilation) == 1
    return alone and tuple(weight.shape[2:]) == stride


def as_product(input: Tensor, weight: Tensor, bias: Tensor | None, geometry: Geometry) -> Tensor:
    """Return the transposed convolution whose kernel is the stride, as a product.

    Its factors have rows as long as those of the output in memory: one the pixels of the input,
    each as often as it is seen in a row, the other the taps, as often as there are pixels.

    Shape:
        - input: ``(N, channels, *size)``, dense in one memory format
        - weight: ``(channels, 1, *kernel_size)``
        - output: as of the transposed convolution, in the memory format of the input.

    Example:
        >>> x, weight = torch.tensor([[[1.0, 2.0], [3.0, 4.0]]]), torch.ones(2, 1, 2)
        >>> as_product(x, weight, torch.zeros(2), Geometry((2,), (0,), (0,), 2, (1,)))
        tensor([[[1., 1., 2., 2.],
                 [3., 3., 4., 4.]]])
    """
    (batch, channels, *size), stride = input.shape, geometry.stride
    made, ones, offset = [n * s for n, s in zip(size, stride, strict=True)], [1] * len(size), None
    taps = weight[:, 0]
    if input.is_contiguous():
        rows = input.unsqueeze(-1).expand(*input.shape, stride[-1]).flatten(-2)
        taps, front = taps.repeat(*ones, size[-1]), 2
        if bias is not None:
            offset = bias.view(-1, *ones[1:], *ones)
        made = [batch, channels, *made]
    else:
        rows = input.movedim(1, -1).unsqueeze(-2)
        rows = rows.expand(*rows.shape[:-2], stride[-1], channels).flatten(-3)
        taps, front = taps.movedim(0, -1).flatten(-2).repeat(*ones[1:], size[-1]), 1
        if bias is not None:
            offset = bias.repeat(made[-1])
        made = [batch, *made, channels]
    for axis in range(len(size) - 1):
        rows, taps = rows.unsqueeze(front + 1 + 2 * axis), taps.unsqueeze(front - 1 + 2 * axis)
    found = rows * taps if offset is None else torch.addcmul(offset, rows, taps)
    found = found.reshape(made) if front == 2 else found.reshape(made).movedim(-1, 1)
    return without_its_base(found)


def in_float32(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    geometry: Geometry,
    way: Callable[[Tensor, Tensor, Tensor | None, Geometry], Tensor] = bias_apart,
) -> Tensor:
    """Return the transposed convolution, computed in float32 in some way, and rounded once.

    Shape:
        - input: ``(N, channels, *size)``
        - weight: ``(channels, 1, *kernel_size)``
        - output: as of the transposed convolution, in the precision of the input.

    Example:
        >>> x, weight = torch.ones(1, 2, 3).bfloat16(), torch.ones(2, 1, 2).bfloat16()
        >>> in_float32(x, weight, None, Geometry((2,), (0,), (0,), 2, (1,))).dtype
        torch.bfloat16
    """
    if torch.is_autocast_enabled("cpu"):  # It would take the tensors back to bfloat16.
        with torch.autocast("cpu", enabled=False):
            return in_float32(input, weight, bias, geometry, way)
    offset = None if bias is None else bias.float()
    return way(input.float(), weight.float(), offset, geometry).to(input.dtype)


def depthwise_gradients(
    grad: Tensor, input: Tensor, weight: Tensor, geometry: Geometry, wanted: tuple[bool, bool]
) -> Gradients:
    """Return the gradients of input and weight, that of the weight by two by two taps.

    Shape:
        - grad: ``(N, channels, *size)``, of the output
        - input, weight: as ``in_float32`` takes them, and their gradients.

    Example:
        >>> x, weight = torch.ones(1, 2, 3, 3), torch.ones(2, 1, 4, 4)
        >>> geometry = Geometry((2, 2), (1, 1), (0, 0), 2, (1, 1))
        >>> depthwise_gradients(torch.ones(1, 2, 6, 6), x, weight, geometry, (False, True))[1][0]
        tensor([[[4., 6., 6., 4.],
                 [6., 9., 9., 6.],
                 [6., 9., 9., 6.],
                 [4., 6., 6., 4.]]])
    """
    dinput = dweight = None
    if wanted[0]:
        dinput, _ = transposed_gradients(grad, input, weight, geometry, (True, False))
    if wanted[1]:
        dweight = gradient_by_pairs(grad, input, weight, geometry)
    return dinput, dweight


class Pair(NamedTuple):
    """Two taps along an axis that are a stride apart.

    Attributes:
        taps: Which of the kernel; the second may lie beyond it.
        phase: That of the output which they write to: every ``stride``-th pixel, from this one.
        pads: Zeros before and behind the phase that make it all that they write; negative for
            pixels that they do not write.
    """

    taps: tuple[int, int]
    phase: int
    pads: tuple[int, int]


def pairs_of_taps(kernel: int, stride: int, padding: int, size: int, made: int) -> list[Pair]:
    """Return the pairs that cover the kernel.

    Tap r writes pixel n of the input to pixel ``stride * n + r - padding`` of the output, which is
    pixel n + m of its phase. So the pair writes ``size + 1`` pixels of that, from m on; where that
    is beyond the phase, zeros.
    """
    pairs: list[Pair] = []
    for phase in range(stride):
        length = -(-(made - phase) // stride)
        for tap in range((padding + phase) % stride, kernel, 2 * stride):
            front = min(max((padding + phase - tap) // stride, -length), size + 1)
            pairs.append(Pair((tap, tap + stride), phase, (front, size + 1 - front - length)))
    return pairs


def gradient_by_pairs(grad: Tensor, input: Tensor, weight: Tensor, geometry: Geometry) -> Tensor:
    """Return the weight's gradient."""
    sizes = weight.shape[2:], geometry.stride, geometry.padding, input.shape[2:], grad.shape[2:]
    down, across = (pairs_of_taps(*axis) for axis in zip(*sizes, strict=True))
    last = input.movedim(1, -1).contiguous().movedim(-1, 1)
    stride, rows = geometry.stride, list[Tensor]()
    for pair in down:
        parts = [_of_two_by_two(grad, last, weight, stride, (pair, other)) for other in across]
        rows.append(torch.cat(parts, 3))
    made = torch.cat(rows, 2)
    for axis, pairs in ((2, down), (3, across)):
        taps = [tap for pair in pairs for tap in pair.taps]
        order = [taps.index(tap) for tap in range(weight.shape[axis])]
        made = made.index_select(axis, torch.tensor(order, device=weight.device))
    return made


def _of_two_by_two(
    grad: Tensor, input: Tensor, weight: Tensor, stride: tuple[int, ...], pairs: tuple[Pair, Pair]
) -> Tensor:
    """Return the gradient of the taps that a pair down and a pair across have in common."""
    down, across = pairs
    phase = grad.movedim(1, -1)
    if stride[0] > 1:  # Batched gradients know no slices that leave nothing out.
        phase = phase[:, down.phase :: stride[0]]
    if stride[1] > 1:
        phase = phase[:, :, across.phase :: stride[1]]
    phase = F.pad(phase, (0, 0, *across.pads, *down.pads)).movedim(-1, 1)
    geometry = Geometry((1, 1), (0, 0), (0, 0), len(weight), (1, 1))
    taps = weight[:, :, :2, :2]
    made = transposed_gradients(phase, input, taps, geometry, (False, True))[1]
    assert made is not None
    return made
