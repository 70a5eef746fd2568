"""The modules of a model: their paths, whose the Parameters are, and the kernel in use."""

from collections.abc import Generator, Iterator
from contextlib import contextmanager
from typing import Any, cast

import torch
from torch import Tensor, nn

from autoup.inspecting.copies import makes_weight
from autoup.layers.base import BaseConvTransposeNd


def modules_by_path(model: nn.Module) -> dict[str, nn.Module]:
    """Return every module once, by its first qualified name.

    Example:
        >>> [*modules_by_path(nn.Sequential(nn.ReLU()))]
        ['', '0']
    """
    return dict(cast("Iterator[tuple[str, nn.Module]]", model.named_modules()))


def paths_by_module(model: nn.Module) -> dict[nn.Module, list[str]]:
    """Return every module with all of its qualified names, in the order of the model.

    Example:
        >>> relu = nn.ReLU()
        >>> paths_by_module(nn.Sequential(relu, relu))[relu]
        ['0', '1']
    """
    found: dict[nn.Module, list[str]] = {}
    walk = cast("Any", model).named_modules(remove_duplicate=False)
    for path, module in cast("Iterator[tuple[str, nn.Module]]", walk):
        found.setdefault(module, []).append(path)
    return found


def paths_by_parameter(model: nn.Module) -> dict[int, list[str]]:
    """Return for each Parameter, by its ``id``, the paths of the modules that it belongs to.

    Example:
        >>> layer = nn.Linear(1, 1)
        >>> paths_by_parameter(nn.Sequential(layer, layer))[id(layer.weight)]
        ['0']
    """
    found: dict[int, list[str]] = {}
    seen: set[tuple[int, int]] = set()
    for path, module in modules_by_path(model).items():
        for parameter in module.parameters(recurse=False):
            key = id(module), id(parameter)
            if key not in seen:
                seen.add(key)
                layer = path.partition(".parametrizations.")[0]
                found.setdefault(id(parameter), []).append(layer)
    return found


def kernel_in_use(layer: Any) -> Tensor:
    """Return the kernel that a forward pass in evaluation mode uses, detached.

    What makes it is asked: PyTorch's own hooks (weight and spectral norm of old, pruning), a
    parametrisation, the projection of ``smoothness``. Nothing of the layer changes, whatever a
    hook raises: neither its mode, nor a power iteration, nor the weight that a hook leaves.

    Example:
        >>> kernel_in_use(nn.ConvTranspose1d(1, 1, 3)).shape
        torch.Size([1, 1, 3])
    """
    with torch.no_grad(), _as_in_evaluation(layer):
        for hook in layer._forward_pre_hooks.values():
            if makes_weight(hook):
                hook(layer, None)
        if isinstance(layer, BaseConvTransposeNd):
            layer = layer.to_plain()
        weight: Tensor = layer.weight
        return weight.detach()


@contextmanager
def _as_in_evaluation(layer: nn.Module) -> Generator[None]:
    """Set evaluation mode; afterwards put modes and the layer's own attributes back."""
    training = [each for each in layer.modules() if each.training]
    attributes = {**vars(layer)}
    for each in training:
        each.training = False
    try:
        yield
    finally:
        vars(layer).update(attributes)
        for each in training:
            each.training = True
