"""The shape that layers make of another, found out without arithmetic."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn
from torch.func import functional_call  # pyright: ignore[reportUnknownVariableType]

from autoup.inspecting.sites import CONV, TRANSPOSED


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
    convolutions = [each for each in layers.modules() if isinstance(each, CONV + TRANSPOSED)]
    hooks = [each.register_forward_pre_hook(_check_channels) for each in convolutions]
    try:
        with torch.no_grad():
            example = torch.empty(tuple(shape), device="meta", dtype=dtype)
            made: Any = functional_call(layers, tensors, (example,))
    except RuntimeError as error:
        raise ValueError(str(error)) from None
    finally:
        for each in hooks:
            each.remove()
    if not isinstance(made, torch.Tensor):
        raise ValueError(f"it returns no tensor but a {type(made).__name__}")
    return tuple(made.shape)


def _check_channels(layer: Any, inputs: tuple[torch.Tensor, ...]) -> None:
    """Refuse a wrong number of channels, which a convolution without numbers does not notice."""
    given = inputs[0].shape[1]
    if given != layer.in_channels:
        raise ValueError(f"a layer of {layer.in_channels} channels would be given {given}")
