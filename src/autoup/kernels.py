"""The taps of a kernel by phase: those a stride apart, which feed the same output pixels.

Legend: k kernel, s stride; per axis.
"""

from collections.abc import Sequence

from torch import Tensor
from torch.nn import functional as F  # noqa: N812

# PyTorch leaves unflatten without types.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false


def split_phases(kernels: Tensor, kernel_size: Sequence[int], stride: Sequence[int]) -> Tensor:
    """Return kernels with every axis k as (k / s, s), rounded up and filled with zeros.

    Example:
        >>> import torch
        >>> split_phases(torch.arange(1, 4).view(1, 1, 3), (3,), (2,))[0, 0]
        tensor([[1, 2],
                [3, 0]])
    """
    short = [-k % s for k, s in zip(kernel_size, stride, strict=True)]
    if any(short):
        kernels = F.pad(kernels, [n for each in reversed(short) for n in (0, each)])
    shape = [n for k, s in zip(kernel_size, stride, strict=True) for n in (-(-k // s), s)]
    return kernels.flatten(2).unflatten(2, shape)


def join_phases(kernels: Tensor, kernel_size: Sequence[int], stride: Sequence[int]) -> Tensor:
    """Undo ``split_phases``.

    Example:
        >>> import torch
        >>> kernels = torch.arange(1, 4).view(1, 1, 3)
        >>> join_phases(split_phases(kernels, (3,), (2,)), (3,), (2,))[0, 0]
        tensor([1, 2, 3])
    """
    whole = [k + -k % s for k, s in zip(kernel_size, stride, strict=True)]
    kernels = kernels.flatten(2).unflatten(2, whole)
    for axis, k in enumerate(kernel_size, start=2):
        kernels = kernels.narrow(axis, 0, k)
    return kernels
