"""The shape that layers make of another, found out without arithmetic."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call  # pyright: ignore[reportUnknownVariableType]
from torch.nn import functional as F  # noqa: N812
from torch.overrides import TorchFunctionMode

_CONVOLUTIONS = (F.conv1d, F.conv2d, F.conv3d)
_TRANSPOSED = (F.conv_transpose1d, F.conv_transpose2d, F.conv_transpose3d)


def shape_made(
    layers: nn.Module, shape: Sequence[int], dtype: torch.dtype | None = None
) -> tuple[int, ...]:
    """Return the shape that layers make of an input; the batch may be another than theirs.

    Args:
        layers: Those to run.
        shape: Of their input.
        dtype: Likewise; that of the layers when left out.

    Raises:
        ValueError: They take no input of this shape.

    Example:
        >>> shape_made(nn.Conv2d(3, 8, 3), (2, 3, 9, 9))
        (2, 8, 7, 7)
    """
    tensors = {
        name: torch.empty_like(each, device="meta")
        for name, each in [*layers.named_parameters(), *layers.named_buffers()]
    }
    dtype = dtype or next((each.dtype for each in tensors.values()), None)
    try:
        with _ShapesAlone(), torch.no_grad():
            example = torch.empty(tuple(shape), device="meta", dtype=dtype)
            made: Any = functional_call(layers, tensors, (example,))
    except RuntimeError as error:
        raise ValueError(str(error)) from None
    if not isinstance(made, Tensor):
        raise ValueError(f"it returns no tensor but a {type(made).__name__}")
    return tuple(made.shape)


class _ShapesAlone(TorchFunctionMode):
    """Refuses channels that tensors without numbers let pass, and leaves out what takes longest."""

    def __torch_function__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if func in _CONVOLUTIONS:
            _check_convolution(*args, **kwargs)
        elif func in _TRANSPOSED:
            _check_transposed(*args, **kwargs)
        elif func is F.batch_norm and _is_normalised(*args, **kwargs):
            return args[0]
        return func(*args, **kwargs)


def _check_convolution(
    input: Tensor, weight: Tensor, *options: Any, groups: int = 1, **_: Any
) -> None:
    groups = options[4] if len(options) > 4 else groups
    _check(input.shape[1 - weight.ndim], groups * weight.shape[1])


def _check_transposed(input: Tensor, weight: Tensor, *_: Any, **__: Any) -> None:
    _check(input.shape[1 - weight.ndim], weight.shape[0])


def _is_normalised(
    input: Tensor, *moments: Tensor | None, training: bool, weight: Any, bias: Any, **_: Any
) -> bool:
    """Whether a batch is normalised, which keeps its shape; PyTorch says why if it is not."""
    for each in (*moments, weight, bias):
        if each is not None:
            _check(input.shape[1], each.shape[0])
    return input.numel() > input.shape[1] or not training


def _check(given: int, wanted: int) -> None:
    if given != wanted:
        raise ValueError(f"a layer of {wanted} channels would be given {given}")
