"""Depthwise transposed convolutions of volumes, for which oneDNN has no fast kernels.

It has some for pictures, and for convolutions of volumes. So the output is, where the kernel is not
the stride (``depthwise.as_product``),

- at stride 1 a convolution, with the kernel turned around;
- where channels lie last a convolution for each phase, written to its pixels;
- where they lie first that of pictures, which have a channel for each channel and plane.

The gradient of the weight is that of pictures likewise where channels lie first and the kernel has
up to three taps in height or width; else that of single planes, taken for more inputs.

Legend, for the first axis: D planes of the input, s stride, k = q*s kernel, p padding. Plane n of
the input writes by tap r to plane s*n + r - p of the output. So the taps from j*s to j*s + s - 1
write D*s planes one behind the other, from plane j*s - p on.
"""

from itertools import product

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from autoup.internals import without_its_base
from autoup.layers.depthwise import LONG, gradient_by_pairs, in_float32, pairs_of_taps
from autoup.layers.plain import (
    Geometry,
    Gradients,
    has_equal_phases,
    transposed,
    transposed_gradients,
)
from autoup.solving.sizes import transposed_size


def is_volume(weight: Tensor, geometry: Geometry) -> bool:
    """Tell whether ``volume`` can compute it, where it is depthwise.

    Three axes, and phases as ``has_equal_phases`` tells.

    Example:
        >>> geometry = Geometry((2, 2, 2), (1, 1, 1), (0, 0, 0), 8, (1, 1, 1))
        >>> [is_volume(torch.empty(8, 1, *kernel), geometry) for kernel in ((4, 4, 4), (1, 4, 4))]
        [True, False]
    """
    return len(geometry.stride) == 3 and has_equal_phases(weight, geometry)


def volume(input: Tensor, weight: Tensor, bias: Tensor | None, geometry: Geometry) -> Tensor:
    """Return the transposed convolution, for an input that is dense in one memory format.

    Shape:
        - input: ``(N, channels, depth, height, width)``
        - weight: ``(channels, 1, *kernel_size)``
        - output: as of the transposed convolution, in the memory format of the input.

    Example:
        >>> x, weight = torch.ones(1, 2, 1, 1, 2), torch.ones(2, 1, 2, 1, 2)
        >>> volume(x, weight, None, Geometry((1, 1, 1), (0, 0, 0), (0, 0, 0), 2, (1, 1, 1)))[0, 0]
        tensor([[[1., 2., 1.]],
        <BLANKLINE>
                [[1., 2., 1.]]])
    """
    if input.dtype == torch.bfloat16 and max(geometry.stride) > 1:
        return in_float32(input, weight, bias, geometry, volume)
    if max(geometry.stride) == 1:
        return _turned(input, weight, bias, geometry.padding)
    sizes = zip(input.shape[2:], weight.shape[2:], *geometry[:3], strict=True)
    size = [transposed_size(*axis, 1) for axis in sizes]
    if input.is_contiguous():
        made = _by_pictures(input, weight, geometry, size[0])
    else:
        made = without_its_base(_by_phases(input, weight, geometry, size))
    return made if bias is None else made + bias.view(-1, 1, 1, 1)


def _turned(input: Tensor, weight: Tensor, bias: Tensor | None, padding: tuple[int, ...]) -> Tensor:
    """Return that of stride 1."""
    halo = [k - 1 - p for k, p in zip(weight.shape[2:], padding, strict=True)]
    return F.conv3d(input, weight.flip(2, 3, 4), bias, 1, halo, 1, len(weight))


def _by_phases(input: Tensor, weight: Tensor, geometry: Geometry, size: list[int]) -> Tensor:
    """Return that of channels that lie last, phase by phase (Legend in ``subpixel``)."""
    stride, made = geometry.stride, None
    for phase in product(*map(range, stride)):
        seen = [f + p for f, p in zip(phase, geometry.padding, strict=True)]
        taps = [slice(n % s, None, s) for n, s in zip(seen, stride, strict=True)]
        part = _turned(input, weight[(..., *taps)], None, (0, 0, 0)).movedim(1, -1)
        for axis in range(3):
            s, front = stride[axis], seen[axis] // stride[axis]
            part = part.narrow(1 + axis, front, -(-(size[axis] - phase[axis]) // s))
        if made is None:
            made = part.new_empty(len(input), *size, len(weight))
        pixels = [slice(f, None, s) for f, s in zip(phase, stride, strict=True)]
        made[(slice(None), *pixels)] = part
    assert made is not None
    return made.movedim(-1, 1)


def _as_pictures(
    input: Tensor, weight: Tensor, geometry: Geometry
) -> tuple[Tensor, list[Tensor], Geometry]:
    """Return all planes as channels, s times each, the taps for each j, and how both meet."""
    depth, (k, *picture), s = input.shape[2], weight.shape[2:], geometry.stride[0]
    planes = input.unsqueeze(3).expand(-1, -1, -1, s, -1, -1).flatten(1, 3)
    parts = weight.chunk(k // s, 2)
    taps = [part.expand(-1, depth, -1, -1, -1).reshape(-1, 1, *picture) for part in parts]
    stride, padding, output_padding = (axes[1:] for axes in geometry[:3])
    return planes, taps, Geometry(stride, padding, output_padding, planes.shape[1], (1, 1))


def _by_pictures(input: Tensor, weight: Tensor, geometry: Geometry, depth: int) -> Tensor:
    """Return that of channels that lie first."""
    planes, taps, flat = _as_pictures(input, weight, geometry)
    s, p, made = geometry.stride[0], geometry.padding[0], None
    for j, kernel in enumerate(taps):
        part = transposed(planes, kernel, None, flat)
        part = part.view(len(input), len(weight), -1, *part.shape[2:])
        count = part.shape[2]
        front = min(max(j * s - p, -count), depth)  # Wholly before the output, or behind it.
        if made is None:
            made = F.pad(part, (0, 0, 0, 0, front, depth - front - count))
        else:
            start, end = max(front, 0), min(front + count, depth)
            made[:, :, start:end] += part[:, :, start - front : end - front]
        del part  # Not to be held beside the next.
    assert made is not None
    return made


def volume_gradients(
    grad: Tensor, input: Tensor, weight: Tensor, geometry: Geometry, wanted: tuple[bool, bool]
) -> Gradients:
    """Return the gradients of input and weight, that of the weight by those of pictures.

    Shape:
        - grad: ``(N, channels, *size)``, of the output
        - input, weight: as ``volume`` takes them, and their gradients.

    Example:
        >>> x, weight = torch.ones(1, 2, 1, 1, 2), torch.ones(2, 1, 2, 1, 2)
        >>> geometry = Geometry((1, 1, 1), (0, 0, 0), (0, 0, 0), 2, (1, 1, 1))
        >>> grad = torch.ones(1, 2, 2, 1, 3)
        >>> volume_gradients(grad, x, weight, geometry, (False, True))[1][0]
        tensor([[[[2., 2.]],
        <BLANKLINE>
                 [[2., 2.]]]])
    """
    dinput = dweight = None
    if wanted[0]:
        dinput, _ = transposed_gradients(grad, input, weight, geometry, (True, False))
    if wanted[1]:
        few = min(weight.shape[3:]) < LONG
        way = _gradient_of_pictures if few and input.is_contiguous() else _gradient_by_planes
        dweight = way(grad, input, weight, geometry)
    return dinput, dweight


def _gradient_of_pictures(
    grad: Tensor, input: Tensor, weight: Tensor, geometry: Geometry
) -> Tensor:
    """Return the weight's gradient where channels lie first.

    In bfloat16 that of each plane is rounded before they are added.
    """
    planes, taps, flat = _as_pictures(input, weight, geometry)
    s, p, found = geometry.stride[0], geometry.padding[0], list[Tensor]()
    channels, depth, picture = len(weight), input.shape[2], weight.shape[3:]
    for j, kernel in enumerate(taps):
        front = min(max(j * s - p, -depth * s), grad.shape[2])
        part = F.pad(grad, (0, 0, 0, 0, -front, front + depth * s - grad.shape[2]))
        part = part.reshape(len(input), -1, *grad.shape[3:])  # Batched gradients know no flatten.
        _, part = transposed_gradients(part, planes, kernel, flat, (False, True))
        assert part is not None
        found.append(part.view(channels, depth, s, *picture).sum(1, keepdim=True))
    return torch.cat(found, 2)


def _gradient_by_planes(grad: Tensor, input: Tensor, weight: Tensor, geometry: Geometry) -> Tensor:
    """Return the weight's gradient, planes taken for more inputs.

    A plane of zeros behind those of each input keeps it apart from the next.
    """
    (k, *picture), s = weight.shape[2:], geometry.stride[0]
    of_picture = _direct if min(picture) < LONG else gradient_by_pairs
    stride, padding, output_padding = (axes[1:] for axes in geometry[:3])
    flat = Geometry(stride, padding, output_padding, len(weight), (1, 1))
    planes, found = _planes(input, (0, 1))[:-1], dict[int, Tensor]()
    axis = k, s, geometry.padding[0], input.shape[2], grad.shape[2]
    for pair in pairs_of_taps(*axis):
        written = _planes(grad[:, :, pair.phase :: s] if s > 1 else grad, pair.pads)
        for tap, part in zip(pair.taps, (written[:-1], written[1:]), strict=True):
            if tap < k:
                found[tap] = of_picture(part, planes, weight[:, :, tap], flat)
    return torch.stack([found[tap] for tap in range(k)], 2)


def _planes(volume: Tensor, pads: tuple[int, int]) -> Tensor:
    """Return all planes as pictures whose channels lie last, and zeros before and behind."""
    padded = F.pad(volume.movedim(1, -1), (0, 0, 0, 0, 0, 0, *pads))
    return padded.reshape(-1, *padded.shape[2:]).movedim(-1, 1)


def _direct(grad: Tensor, input: Tensor, weight: Tensor, geometry: Geometry) -> Tensor:
    _, dweight = transposed_gradients(grad, input, weight, geometry, (False, True))
    assert dweight is not None
    return dweight
