"""The guarantee against grids: kernels without power at the grid frequencies, at every step.

Legend: k kernel, s stride, d dilation, m order, B the k x (k - m*(s - 1)) matrix of
convolution with a box of s ones, m times over.

A layer turns an input that is a polynomial of degree below m along one axis, and anything
along the others, into an output without a component at that axis' grid frequencies r/s
exactly when the kernel's Fourier transform has zeros of order m there (Strang & Fix 1971),
whatever the frequency along the others. As a polynomial in the tap such a kernel is a multiple
of (1 + z + ... + z^(s-1))^m: it lies in the range of B along that axis. A dilation coprime to
the stride only permutes the phases. So the orthogonal projector P = B (B'B)^-1 B' along every
axis keeps each kernel that holds the promise and loses none: its rank is the largest there is.
"""

from collections.abc import Sequence
from math import prod
from typing import cast

import torch
from torch import Tensor

from autoup.solving.sizes import free_taps

_CHANNELS_LAST = {4: torch.channels_last, 5: torch.channels_last_3d}
_LARGEST = 64  # Longer sums lose digits, and axis by axis is then quicker too.


def make_projectors(
    kernel_size: Sequence[int], stride: Sequence[int], m: int, like: Tensor
) -> tuple[Tensor, ...]:
    """Return the projectors of a kernel: one for all its taps, or one per axis if those are many.

    Worked out in double precision; at least single where ``like`` has half.

    Shape:
        - each: ``(taps, taps)``, symmetric, with ``taps`` the product of the axes it acts on.

    Example:
        >>> make_projectors((2,), (2,), 1, torch.empty(1))[0]
        tensor([[0.5000, 0.5000],
                [0.5000, 0.5000]])
    """
    dtype = torch.promote_types(like.dtype, torch.float32)
    axes = [_projector(k, s, m) for k, s in zip(kernel_size, stride, strict=True)]
    if prod(kernel_size) <= _LARGEST:
        whole = axes[0]
        for axis in axes[1:]:
            whole = torch.kron(whole, axis)
        axes = [whole]
    return tuple(axis.to(dtype).to(like.device) for axis in axes)


def project(weight: Tensor, projectors: Sequence[Tensor]) -> Tensor:
    """Return the nearest kernel, in the sum of squares, that holds the promise.

    Autocast does not apply: the arithmetic is that of the projectors.

    Shape:
        - weight: ``(in_channels, out_channels / groups, *kernel_size)``, as the output.

    Example:
        >>> projectors = make_projectors((4,), (2,), 1, torch.empty(1))
        >>> project(torch.tensor([[[1.0, 0.0, 0.0, 0.0]]]), projectors)
        tensor([[[ 0.7500,  0.2500, -0.2500,  0.2500]]])
    """
    kind = weight.device.type
    if torch.amp.is_autocast_available(kind) and torch.is_autocast_enabled(kind):
        with torch.autocast(kind, enabled=False):
            return _project(weight, projectors)
    return _project(weight, projectors)


def matches(projectors: Sequence[Tensor], weight: Tensor) -> bool:
    """Tell whether the projectors are made for the device and dtype of this weight.

    Example:
        >>> projectors = make_projectors((4,), (2,), 1, torch.empty(1))
        >>> matches(projectors, torch.empty(1, dtype=torch.float64))
        False
    """
    dtype = torch.promote_types(weight.dtype, torch.float32)
    return projectors[0].device == weight.device and projectors[0].dtype == dtype


def draw(weight: Tensor, stride: Sequence[int], groups: int, m: int) -> None:
    """Fill a weight with random taps that hold the promise, and keep the variance of the input.

    The taps are uniform before the projection. The number of weights that feed one output
    value, ``in_channels / groups`` times the free taps a phase, sets their variance.

    Shape:
        - weight: ``(in_channels, out_channels / groups, *kernel_size)``

    Example:
        >>> weight = torch.empty(8, 4, 6, dtype=torch.float64)
        >>> draw(weight, (3,), 1, m=1)
        >>> torch.allclose(weight[..., 0::3].sum(-1), weight[..., 2::3].sum(-1))
        True
    """
    kernel_size = weight.shape[2:]
    free = prod(free_taps(k, s, m) / s for k, s in zip(kernel_size, stride, strict=True))
    bound = (3 / max(1, weight.shape[0] // groups * free)) ** 0.5
    with torch.no_grad():
        # Of a sharded weight, a DTensor, every process draws the whole: hence another shape.
        drawn = weight.new_empty((1, *weight.shape)).uniform_(-bound, bound)[0]
        whole: Tensor = getattr(drawn, "to_local", lambda: drawn)()
        whole.copy_(project(whole, make_projectors(kernel_size, stride, m, whole)))
        weight.copy_(drawn)


def _projector(k: int, s: int, m: int) -> Tensor:
    """Return P of one axis; the columns of B stay far from dependent, so QR is exact enough."""
    boxes = torch.eye(free_taps(k, s, m), dtype=torch.float64, device="cpu")
    for _ in range(m):
        shifted = [torch.nn.functional.pad(boxes, (0, 0, j, s - 1 - j)) for j in range(s)]
        boxes = torch.stack(shifted).sum(0)
    basis = cast("Tensor", torch.linalg.qr(boxes)[0])  # pyright: ignore[reportUnknownMemberType]
    return basis @ basis.mT


def _project(weight: Tensor, projectors: Sequence[Tensor]) -> Tensor:
    kernel = weight.to(projectors[0].dtype)
    if len(projectors) == 1:
        kernel = (kernel.flatten(2) @ projectors[0]).view(weight.shape)
    else:
        for axis, projector in enumerate(projectors, start=2):
            kernel = (kernel.movedim(axis, -1) @ projector).movedim(-1, axis)
    kernel = kernel.to(weight.dtype)
    if weight.stride(1) == 1 and weight.ndim in _CHANNELS_LAST:  # As that decides the output's.
        kernel = kernel.clone(memory_format=_CHANNELS_LAST[weight.ndim])
    return kernel
