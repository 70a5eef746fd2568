"""Undo a block that adds up two ways: a branch and a shortcut, added up again."""

from collections.abc import Callable, Sequence

from torch import nn

from autoup.capturing.operators import Norm
from autoup.decoding.borders import Layers
from autoup.decoding.builders import (
    Settings,
    Sizes,
    build_norm,
    enlarge,
    inverse,
    permute,
    repeat,
    shrink,
)
from autoup.decoding.inverses import as_map, read_map
from autoup.decoding.padding import borders_of
from autoup.decoding.parts import WEIGHTED, Part
from autoup.decoding.shapes import shape_made
from autoup.inspecting.sites import CONV, NORM, TRANSPOSED
from autoup.layers.conv_transpose import AutoConvTransposeNd
from autoup.layers.residual import Residual

Assemble = Callable[[Part, Sequence[Part], Settings], nn.Sequential]
_INSTANCE = (nn.InstanceNorm1d, nn.InstanceNorm2d, nn.InstanceNorm3d)
_NORM = (*NORM, *_INSTANCE, nn.SyncBatchNorm, nn.GroupNorm, nn.LayerNorm, nn.RMSNorm)
_WEIGHTED = (*_NORM, *CONV, *TRANSPOSED, nn.Linear)


def undo_residual(part: Part, settings: Settings, assemble: Assemble) -> Residual:
    """Return the stage that undoes a residual block; its branch starts at zero.

    The branch is undone layer by layer. The shortcut stays as it is where the shapes agree;
    otherwise it is a layer of one tap and the repetition of pixels.

    Args:
        part: The block.
        settings: What holds for all layers.
        assemble: Undoes the parts of a branch, one after the other.

    Raises:
        ValueError: It cannot be undone way by way.
    """
    beside, way = part.ways
    shortcut = _undo_shortcut(part, beside, settings)
    branch = assemble(part, way, settings)
    stage = Residual(branch, shortcut)
    _check_shape(stage, part)
    start_at_zero(branch, settings)
    return stage


def _undo_shortcut(part: Part, way: Sequence[Part], settings: Settings) -> nn.Module | None:
    weighted = any(each.kind in WEIGHTED for each in way)
    if part.before.shape == part.after.shape and not weighted:
        return None
    order, shape, out_size = read_map(part)
    channels, out_channels = shape[1], part.before.shape[order[1]]
    norm = next((each.norm for each in reversed(way) if each.norm), None)
    layers = as_map(part, shape)
    shrunk, size = shrink(shape[2:], out_size)
    layers += shrunk
    if weighted or channels != out_channels:
        layers += _project(channels, out_channels, size, norm, settings)
    layers += repeat(size, out_size, settings, borders_of(part, settings.borders))
    return _in_order(layers + permute(inverse(order)))


def _project(
    channels: int, out_channels: int, size: Sizes, norm: Norm | None, settings: Settings
) -> Layers:
    free = norm is None
    layers = enlarge(channels, out_channels, size, size, settings, bias=free, word="project")
    if norm is not None:
        layers.append(("norm", build_norm(norm, (1, out_channels, *size), settings)))
    return layers


def _in_order(layers: Layers) -> nn.Module:
    """Return one layer, or several by their names."""
    if len(layers) == 1:
        return layers[0][1]
    made = nn.Sequential()
    for name, layer in layers:
        made.add_module(name if not hasattr(made, name) else f"{name}_2", layer)
    return made


def _check_shape(stage: Residual, part: Part) -> None:
    """Refuse a stage that leads elsewhere, as where a branch mixes what it does not mix again."""
    made = shape_made(stage, (2 * part.after.shape[0], *part.after.shape[1:]))
    if made != (2 * part.before.shape[0], *part.before.shape[1:]):
        raise ValueError(f"it would make {made}")


def start_at_zero(module: nn.Module, settings: Settings) -> bool:
    """Let a stage start as nothing: the weight of its last layer or normalisation is zero.

    Behind a shortcut without weights the layer before it is, too. Where convolutions share the
    encoder's weights they stay as they are.

    Returns:
        Whether there is such a layer.

    Example:
        >>> import torch
        >>> plain = Settings(False, lambda _: None, {}, {})
        >>> layers = nn.Sequential(nn.Linear(3, 3), nn.ReLU(), nn.Linear(3, 3))
        >>> start_at_zero(layers, plain)
        True
        >>> layers(torch.ones(1, 3))
        tensor([[0., 0., 0.]], grad_fn=<AddmmBackward0>)
    """
    for each in reversed(list(module.children())):
        if isinstance(each, Residual):
            start_at_zero(each.branch, settings)
            if start_at_zero(nn.Sequential(each.shortcut), settings):
                return True
        elif isinstance(each, nn.Sequential):
            if start_at_zero(each, settings):
                return True
        elif isinstance(each, _WEIGHTED) and next(each.parameters(), None) is not None:
            _zero(each, settings)
            return True
    return False


def _zero(layer: nn.Module, settings: Settings) -> None:
    if settings.tied and isinstance(layer, AutoConvTransposeNd):
        return
    for each in layer.parameters(recurse=False):
        nn.init.zeros_(each)
