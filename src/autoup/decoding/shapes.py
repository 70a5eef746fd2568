"""The shape that layers make of another, found out without arithmetic."""

from collections.abc import Generator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.func import functional_call  # pyright: ignore[reportUnknownVariableType]

from autoup.inspecting.sites import CONV, NORM, TRANSPOSED


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
        with _shapes_alone(layers), torch.no_grad():
            example = torch.empty(tuple(shape), device="meta", dtype=dtype)
            made: Any = functional_call(layers, tensors, (example,))
    except RuntimeError as error:
        raise ValueError(str(error)) from None
    if not isinstance(made, torch.Tensor):
        raise ValueError(f"it returns no tensor but a {type(made).__name__}")
    return tuple(made.shape)


@contextmanager
def _shapes_alone(layers: nn.Module) -> Generator[None]:
    """Let convolutions check their channels, and normalisations do that and nothing else.

    What PyTorch computes of a normalisation without numbers takes longer than all other layers.
    """
    modules = [*layers.modules()]
    convolutions = [each for each in modules if isinstance(each, CONV + TRANSPOSED)]
    norms = [
        each
        for each in modules
        if isinstance(each, NORM)
        if type(each).forward is NORM[0].forward and "forward" not in vars(each)
    ]
    hooks = [each.register_forward_pre_hook(_check_channels) for each in convolutions]
    try:
        for each in norms:
            each.forward = partial(_pass_on, each)
        yield
    finally:
        for each in norms:
            vars(each).pop("forward", None)
        for each in hooks:
            each.remove()


def _check_channels(layer: Any, inputs: tuple[torch.Tensor, ...]) -> None:
    """Refuse a wrong number of channels, which a convolution without numbers does not notice."""
    given = inputs[0].shape[1]
    if given != layer.in_channels:
        raise ValueError(f"a layer of {layer.in_channels} channels would be given {given}")


def _pass_on(norm: Any, given: torch.Tensor) -> torch.Tensor:
    """Return what a normalisation is given, if it has its channels and dimensions."""
    dims = next(each for each, kind in enumerate(NORM, 1) if isinstance(norm, kind))
    if given.ndim != dims + 2 and (dims, given.ndim) != (1, 2):
        raise ValueError(f"a {type(norm).__name__} would be given {given.ndim} dimensions")
    if given.shape[1] != norm.num_features:
        raise ValueError(
            f"a {type(norm).__name__} of {norm.num_features} channels would be given "
            f"{given.shape[1]}"
        )
    return given
