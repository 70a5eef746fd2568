"""The guarantee against grids: kernels without power at the grid frequencies, at every step.

Legend: k kernel, s stride, m order, t a tap's place (t1, ..., td), phase its remainder by the
strides, n taps of a phase, M monomials t^a of total degree below m.

A layer turns every polynomial of total degree below m into an output without a grid exactly when
its kernel's Fourier transform vanishes to order m at the grid frequencies (r1/s1, ..., rd/sd), not
all zero (Strang & Fix 1971). That is: every phase has the same moments, the sums of its taps times
each monomial. A dilation coprime to the strides only permutes the phases.

The nearest such kernel has a closed form, phase by phase. Let A (M x n) hold the monomials at the
taps of a phase, w its taps, u = A w its moments, G+ the pseudo-inverse of A A'. With moments c
common to all, the nearest taps are w + A' G+ (c - u), and the nearest c is a mean of all u, each
weighted by its G+. For m = 1 the moments are sums, and all taps of a phase move alike.
"""

from collections.abc import Sequence
from math import prod

import torch
from torch import Tensor

from autoup.kernels import join_phases, split_phases
from autoup.versions import is_autocast_enabled

# PyTorch leaves linalg without types.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false

_CHANNELS_LAST = {4: torch.channels_last, 5: torch.channels_last_3d}
_LARGEST = 256  # Taps; one matrix is quicker up to here, and grows with their square.


def make_projectors(
    kernel_size: Sequence[int], stride: Sequence[int], m: int, like: Tensor
) -> tuple[Tensor, ...]:
    """Return the constants that ``project`` takes, for kernels of this size.

    One matrix for a kernel of few taps; else, per phase, what the closed form needs. Worked out
    in double precision; at least single where ``like`` has half.

    Shape:
        - the matrix: ``(taps, taps)``, symmetric, with ``taps`` the product of the kernel's axes
        - else: what ``_closed_form`` returns

    Example:
        >>> make_projectors((2,), (2,), 1, torch.empty(1))[0]
        tensor([[0.5000, 0.5000],
                [0.5000, 0.5000]])
    """
    dtype = torch.promote_types(like.dtype, torch.float32)
    made = _closed_form(kernel_size, stride, m)
    if prod(kernel_size) <= _LARGEST:
        taps = torch.eye(prod(kernel_size), dtype=torch.float64, device="cpu")
        kernels = taps.view(-1, 1, *kernel_size)
        made = (_project_phases(kernels, kernel_size, *made).reshape(taps.shape),)
    return tuple(each.to(dtype).to(like.device) for each in made)


def project(weight: Tensor, kernel_size: Sequence[int], projectors: Sequence[Tensor]) -> Tensor:
    """Return the nearest kernel, in the sum of squares, that holds the promise.

    Autocast does not apply: the arithmetic is that of the projectors. The weight may be a proxy
    of ``torch.fx``, which has no numbers to ask for.

    Shape:
        - weight: ``(in_channels, out_channels / groups, *kernel_size)``, as the output.

    Example:
        >>> projectors = make_projectors((4,), (2,), 1, torch.empty(1))
        >>> project(torch.tensor([[[1.0, 0.0, 0.0, 0.0]]]), (4,), projectors)
        tensor([[[ 0.7500,  0.2500, -0.2500,  0.2500]]])
    """
    if not isinstance(weight, Tensor):  # pyright: ignore[reportUnnecessaryIsInstance]
        return _project(weight, kernel_size, projectors)
    kind = weight.device.type
    if is_autocast_enabled(kind):
        with torch.autocast(kind, enabled=False):
            kernel = _project(weight, kernel_size, projectors)
    else:
        kernel = _project(weight, kernel_size, projectors)
    if weight.stride(1) == 1 and weight.ndim in _CHANNELS_LAST:  # As that decides the output's.
        kernel = kernel.clone(memory_format=_CHANNELS_LAST[weight.ndim])
    return kernel


def matches(projectors: Sequence[Tensor], weight: Tensor) -> bool:
    """Tell whether the projectors are made for the device and dtype of this weight.

    Example:
        >>> projectors = make_projectors((4,), (2,), 1, torch.empty(1))
        >>> matches(projectors, torch.empty(1, dtype=torch.float64))
        False
    """
    if not isinstance(weight, Tensor):  # pyright: ignore[reportUnnecessaryIsInstance]
        return True  # A proxy of torch.fx: as when the projectors were made.
    dtype = torch.promote_types(weight.dtype, torch.float32)
    return projectors[0].device == weight.device and projectors[0].dtype == dtype


def _closed_form(
    kernel_size: Sequence[int], stride: Sequence[int], m: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Return A, G+ A, and what weighs the moments in their mean, for ``_project_phases``.

    The origin is the middle of the kernel. Of 2s - 1 taps along an axis, the fewest that m = 2
    takes, the middle one is a phase by itself, and no phase can have a first moment but 0 there.

    Shape:
        - the first two: ``(M, k1 / s1, s1, k2 / s2, s2, ...)``, rounded up
        - the last: ``(M, M, 1, s1, 1, s2, ...)``
    """
    dims = len(kernel_size)
    places = [
        (torch.arange(k, dtype=torch.float64, device="cpu") - (k - 1) / 2) / k for k in kernel_size
    ]
    grid = torch.meshgrid(*places, indexing="ij")
    powers = torch.stack([torch.ones_like(grid[0]), *grid])[: 1 + dims * (m - 1)]
    monomials = split_phases(powers[:, None], kernel_size, stride)[:, 0]
    order = [*range(2, 2 * dims + 1, 2), 0, *range(1, 2 * dims, 2)]
    phases = monomials.permute(order).flatten(dims + 1)  # (s1, s2, ..., M, n)
    inverse = torch.linalg.pinv(phases @ phases.mT, hermitian=True)
    steps = (inverse @ phases).unflatten(-1, monomials.shape[1::2])
    steps = steps.permute([order.index(axis) for axis in range(2 * dims + 1)])
    free = [k >= 2 * s for k, s in zip(kernel_size, stride, strict=True)]
    kept = [0, *(1 + axis for axis in range(dims) if m > 1 and free[axis])]
    means = torch.zeros_like(inverse)
    total = inverse.flatten(0, dims - 1).sum(0)[kept][:, kept]
    means[..., kept, :] = torch.linalg.inv(total) @ inverse[..., kept, :]
    means = means.movedim((-2, -1), (0, 1))
    return monomials, steps, means.reshape(*means.shape[:2], *(n for s in stride for n in (1, s)))


def _project_phases(
    weight: Tensor, kernel_size: Sequence[int], monomials: Tensor, steps: Tensor, means: Tensor
) -> Tensor:
    """Move the taps of every phase until its moments are the mean of all."""
    dims, count, stride = len(kernel_size), len(monomials), means.shape[3::2]
    kernels = split_phases(weight, kernel_size, stride)
    phases = tuple(range(3, 2 * dims + 2, 2))
    moments = [_sum_taps(kernels * each if count > 1 else kernels, dims) for each in monomials]
    for n in range(count):
        mean = sum((means[n, j] * moments[j] for j in range(1, count)), means[n, 0] * moments[0])
        kernels = kernels + steps[n] * (mean.sum(phases, keepdim=True) - moments[n])
    return join_phases(kernels, kernel_size, stride)


def _sum_taps(kernels: Tensor, dims: int) -> Tensor:
    for axis in range(2, 2 * dims + 2, 2):  # One by one is quicker than all at once.
        kernels = kernels.sum(axis, keepdim=True)
    return kernels


def _project(weight: Tensor, kernel_size: Sequence[int], projectors: Sequence[Tensor]) -> Tensor:
    kernel = weight.to(projectors[0].dtype)
    if len(projectors) == 1:
        kernel = (kernel.flatten(2) @ projectors[0]).unflatten(2, tuple(kernel_size))
    else:
        kernel = _project_phases(kernel, kernel_size, *projectors)
    return kernel.to(weight.dtype)
