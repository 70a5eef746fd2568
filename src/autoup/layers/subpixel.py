"""The transposed convolution as a convolution at the resolution of the input.

Legend, for one axis: s stride, k = q*s kernel, p padding, a output padding.

Output pixel s*n + r - p, phase r, gets the taps s*j + r, j < q, from the input pixels n - j. So
all phases together are one convolution of q taps, with s channels for each one of the output;
laid out as pixels, these are the output (Shi et al. 2016, arXiv 1609.07009).
"""

from collections.abc import Sequence
from math import prod
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from autoup.internals import without_its_base
from autoup.layers.plain import Geometry, Gradients, has_equal_phases

FEW = 4  # Output channels of an image head, as of RGBA: a vector register holds 8 or 16.
_FAR = 2**15  # Pixels of one input: from here on BLAS reads them from too far apart.
_COPY = 2**15  # Values: below, pairs are not worth the calls.

_CONV: Any = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}


def lies_last(input: Tensor, weight: Tensor) -> bool:
    """Tell whether PyTorch puts the output's channels last, as input or weight suggest it.

    Where sizes of 1 leave that open the strides tell, as they do to PyTorch.

    Example:
        >>> x = torch.ones(2, 8, 1, 1)
        >>> lies_last(x, torch.ones(8, 1, 4, 4).to(memory_format=torch.channels_last))
        True
    """
    return _suggests_last(input) or _suggests_last(weight)


def _suggests_last(tensor: Tensor) -> bool:
    sizes, strides, least = tensor.shape, tensor.stride(), 0
    for axis in (1, *range(tensor.ndim - 1, 1, -1), 0):
        if strides[axis] < least or (axis == 0 and least == strides[1]):
            return False
        least = strides[axis] * max(sizes[axis], 1)
    return True


def is_subpixel(weight: Tensor, geometry: Geometry) -> bool:
    """Tell whether ``subpixel`` can compute it.

    A stride above 1, one group, and phases as ``has_equal_phases`` tells.

    Example:
        >>> is_subpixel(torch.empty(8, 4, 3, 3), Geometry((2, 2), (1, 1), (1, 1), 1, (1, 1)))
        False
    """
    return prod(geometry.stride) > 1 and geometry.groups == 1 and has_equal_phases(weight, geometry)


def subpixel(input: Tensor, weight: Tensor, bias: Tensor | None, geometry: Geometry) -> Tensor:
    """Return the transposed convolution, for an input that is dense in one memory format.

    Shape:
        - input: ``(N, in_channels, *size)``
        - weight: ``(in_channels, out_channels, *kernel_size)``
        - output: as of the transposed convolution, in the memory format of the input.

    Example:
        >>> x, weight = torch.ones(1, 2, 3), torch.ones(2, 1, 2)
        >>> subpixel(x, weight, None, Geometry((2,), (0,), (0,), 1, (1,)))
        tensor([[[2., 2., 2., 2., 2., 2.]]])
    """
    stride, padding, output_padding, *_ = geometry
    last = not input.is_contiguous()
    ends = [p - a for p, a in zip(padding, output_padding, strict=True)]
    unseen = [end // s for end, s in zip(ends, stride, strict=True)]  # Pixels wholly in padding.
    low = _at_low_resolution(input, weight, bias, stride, unseen)
    made = _as_pixels(low, weight.shape[1], stride, last)
    cut = [(p - u * s, e - u * s) for p, e, u, s in zip(padding, ends, unseen, stride, strict=True)]
    if any(map(any, cut)):
        for axis, (front, back) in enumerate(cut, start=1 if last else 2):
            made = made.narrow(axis, front, made.shape[axis] - front - back)
        made = made.clone(memory_format=torch.contiguous_format)
    made = made.movedim(-1, 1) if last else made
    # Those that a Function returns cannot be changed in place.
    return without_its_base(made)


def subpixel_gradients(
    grad: Tensor, input: Tensor, weight: Tensor, geometry: Geometry, wanted: tuple[bool, bool]
) -> Gradients:
    """Return the gradients of input and weight, where the kernel is the stride.

    Shape:
        - grad: ``(N, out_channels, *size)``, of the output
        - input, weight: as ``subpixel`` takes them, and their gradients.

    Example:
        >>> x, weight = torch.ones(1, 2, 3), torch.ones(2, 1, 2)
        >>> geometry = Geometry((2,), (0,), (0,), 1, (1,))
        >>> subpixel_gradients(torch.ones(1, 1, 6), x, weight, geometry, (True, True))
        (tensor([[[2., 2., 2.],
                 [2., 2., 2.]]]), tensor([[[3., 3.]],
        <BLANKLINE>
                [[3., 3.]]]))
    """
    stride, last = geometry.stride, not input.is_contiguous()
    low = _from_pixels(grad, stride, last)
    if last:
        kernel, _ = _phases_as_channels(weight, stride, last)
        ones, zeros = [1] * len(stride), [0] * len(stride)
        dinput, dkernel, _ = torch.ops.aten.convolution_backward.default(
            low, input, kernel, None, ones, zeros, ones, False, zeros, 1, (*wanted, False)
        )
        return dinput, _as_kernel(dkernel, stride) if wanted[1] else None
    dinput = dweight = None  # Flattened by reshape, which batched gradients know.
    low = low.reshape(*low.shape[:2], -1)
    if wanted[0]:
        factor = weight.reshape(1, len(weight), -1).expand(len(input), -1, -1)
        dinput = torch.bmm(factor, low).view(input.shape)
    if wanted[1]:
        products = torch.bmm(input.reshape(*input.shape[:2], -1), low.mT)
        dweight = products.sum(0).view(weight.shape)
    return dinput, dweight


def _at_low_resolution(
    input: Tensor, weight: Tensor, bias: Tensor | None, stride: Sequence[int], unseen: Sequence[int]
) -> Tensor:
    """Return all phases as channels, in the order of ``_phases_as_channels``."""
    last, phases = not input.is_contiguous(), prod(stride)
    kernel, q = _phases_as_channels(weight, stride, last)
    offset = bias
    if bias is not None:
        offset = bias.repeat(phases) if last else bias[:, None].expand(-1, phases).reshape(-1)
    few = weight.shape[1] <= FEW  # Less to set up as a product.
    if max(q) == 1 and not last and (few or input[0, 0].numel() < _FAR):
        factor, maps = kernel.flatten(1).expand(len(input), -1, -1), input.flatten(2)
        if offset is None:
            low = torch.bmm(factor, maps)
        else:
            low = torch.baddbmm(offset.unsqueeze(1), factor, maps)
        return low.view(len(input), -1, *input.shape[2:])
    halo = [n - 1 - u for n, u in zip(q, unseen, strict=True)]
    low: Tensor = _CONV[len(stride)](input, kernel, offset, 1, halo)
    return low


def _phases_as_channels(
    weight: Tensor, stride: Sequence[int], last: bool
) -> tuple[Tensor, list[int]]:
    """Return the kernel of all phases, and q along each axis.

    Shape:
        - the kernel: ``(out_channels * phases, in_channels, *q)``, a view of the weight where the
          kernel is the stride; ``(phases * out_channels, ...)`` for channels last, in which what
          lies side by side in the output does so at low resolution, too.
    """
    dims = len(stride)
    q = [k // s for k, s in zip(weight.shape[2:], stride, strict=True)]
    cells = [size for pair in zip(q, stride, strict=True) for size in pair]
    kernel: Tensor = weight.reshape([*weight.shape[:2], *cells])
    taps, phases = [*range(2, 2 + 2 * dims, 2)], range(3, 3 + 2 * dims, 2)
    if max(q) > 1:
        kernel = kernel.flip(taps)
    channels = [*phases, 1] if last else [1, *phases]
    if last or max(q) > 1:
        return kernel.permute(*channels, 0, *taps).reshape(-1, weight.shape[0], *q), q
    return kernel.flatten(1).T.view(-1, weight.shape[0], *q), q


def _as_kernel(kernel: Tensor, stride: Sequence[int]) -> Tensor:
    """Undo ``_phases_as_channels`` where channels lie last and the kernel is the stride."""
    cells = kernel.view(*stride, -1, kernel.shape[1])
    return cells.permute(-1, -2, *range(len(stride)))


def _as_pixels(low: Tensor, channels: int, stride: Sequence[int], last: bool) -> Tensor:
    """Lay the channels out as pixels: ``(N, channels, *size)``, or ``(N, *size, channels)``."""
    dims, (batch, _, *size) = len(stride), low.shape
    made_size = [n * s for n, s in zip(size, stride, strict=True)]
    if last:
        pixels = [place for axis in range(dims) for place in (2 + dims + axis, 1 + axis)]
        cells = low.view(batch, *stride, channels, *size).permute(0, *pixels, 1 + dims)
        return cells.contiguous().view(batch, *made_size, channels)
    pixels = [place for axis in range(dims) for place in (2 + dims + axis, 2 + axis)]
    cells = low.view(batch, channels, *stride, *size).permute(0, 1, *pixels)
    return _interleaved(cells).view(batch, channels, *made_size)


def _interleaved(cells: Tensor) -> Tensor:
    """Return a contiguous copy; of pairs as complex numbers, whose two parts are written at once.

    Not for a compiler, which writes so by itself, and not where PyTorch refuses to write into a
    tensor that it is given: under ``torch.func.vmap``, and for derivatives besides the Function's.
    """
    if (
        cells.shape[-1] == 2
        and cells.dtype in (torch.float32, torch.float64)
        and cells.numel() >= _COPY
        and not torch.compiler.is_compiling()
    ):
        made = torch.empty(cells.shape, dtype=cells.dtype, device=cells.device)
        try:
            torch.complex(*cells.unbind(-1), out=torch.view_as_complex(made))
        except RuntimeError:
            return cells.contiguous()
        return made
    return cells.contiguous()


def _from_pixels(pixels: Tensor, stride: Sequence[int], last: bool) -> Tensor:
    """Undo ``_as_pixels``: a tensor ``(N, ..., *size)``, for channels last in that format."""
    dims, (batch, channels, *made_size) = len(stride), pixels.shape
    size = [n // s for n, s in zip(made_size, stride, strict=True)]
    cells = [n for pair in zip(size, stride, strict=True) for n in pair]
    phases, places = range(3, 3 + 2 * dims, 2), range(2, 2 + 2 * dims, 2)
    cut = pixels.reshape(batch, channels, *cells)
    if last:
        low = cut.permute(0, *places, *phases, 1).reshape(batch, *size, -1)
        return low.movedim(-1, 1)
    return cut.permute(0, 1, *phases, *places).reshape(batch, -1, *size)
