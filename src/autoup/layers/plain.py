"""PyTorch's own transposed convolution, its gradients, and what both are called with."""

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

Gradients = tuple[Tensor | None, Tensor | None]  # Of input and weight, where they are wanted.

_TRANSPOSED: Any = {1: F.conv_transpose1d, 2: F.conv_transpose2d, 3: F.conv_transpose3d}


class Geometry(NamedTuple):
    """What a transposed convolution is called with besides tensors, in PyTorch's order."""

    stride: tuple[int, ...]
    padding: tuple[int, ...]
    output_padding: tuple[int, ...]
    groups: int
    dilation: tuple[int, ...]


def transposed(input: Tensor, weight: Tensor, bias: Tensor | None, geometry: Geometry) -> Tensor:
    """Return the transposed convolution.

    Example:
        >>> x, weight = torch.ones(1, 2, 3), torch.ones(2, 1, 2)
        >>> transposed(x, weight, None, Geometry((2,), (0,), (0,), 1, (1,)))
        tensor([[[2., 2., 2., 2., 2., 2.]]])
    """
    made: Tensor = _TRANSPOSED[len(geometry.stride)](input, weight, bias, *geometry)
    return made


def has_equal_phases(weight: Tensor, geometry: Geometry) -> bool:
    """Tell whether each phase of the output gets as many taps, and gets them all somewhere.

    A phase is every ``stride``-th pixel. The kernel is a multiple of the stride, without dilation,
    and there is no padding beyond it and no more output padding than padding.

    Example:
        >>> geometry = Geometry((2,), (1,), (0,), 1, (1,))
        >>> [has_equal_phases(torch.empty(8, 4, k), geometry) for k in (3, 4)]
        [False, True]
    """
    stride, padding, output_padding, _, dilation = geometry
    return (
        max(dilation) == 1
        and not any(k % s for k, s in zip(weight.shape[2:], stride, strict=True))
        and all(p < k for k, p in zip(weight.shape[2:], padding, strict=True))
        and all(a <= p for p, a in zip(padding, output_padding, strict=True))
    )


def bias_apart(input: Tensor, weight: Tensor, bias: Tensor | None, geometry: Geometry) -> Tensor:
    """Return the transposed convolution, its bias added behind it.

    Example:
        >>> x, weight = torch.ones(1, 2, 3), torch.ones(2, 1, 2)
        >>> bias_apart(x, weight, torch.ones(1), Geometry((2,), (0,), (0,), 1, (1,)))
        tensor([[[3., 3., 3., 3., 3., 3.]]])
    """
    made = transposed(input, weight, None, geometry)
    return made if bias is None else made + bias.view(-1, *(1,) * len(geometry.stride))


def transposed_gradients(
    grad: Tensor, input: Tensor, weight: Tensor, geometry: Geometry, wanted: tuple[bool, bool]
) -> Gradients:
    """Return the gradients of input and weight, for that of the output.

    Example:
        >>> x, weight = torch.ones(1, 2, 3), torch.ones(2, 1, 2)
        >>> geometry = Geometry((2,), (0,), (0,), 1, (1,))
        >>> transposed_gradients(torch.ones(1, 1, 6), x, weight, geometry, (True, False))
        (tensor([[[2., 2., 2.],
                 [2., 2., 2.]]]), None)
    """
    stride, padding, output_padding, groups, dilation = geometry
    dinput, dweight, _ = torch.ops.aten.convolution_backward.default(
        grad, input, weight, None, stride, padding, dilation, True, output_padding, groups,
        (*wanted, False),
    )  # fmt: skip
    return dinput, dweight
