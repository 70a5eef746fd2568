"""The transposed convolutions in parts of a model that ``torch.jit`` compiled."""

from typing import Any, cast

import torch
from torch import nn

from autoup.inspecting.modules import modules_by_path
from autoup.inspecting.sites import Site
from autoup.repairing.growth import describe, grow


def scripted_layers(model: nn.Module) -> dict[str, str]:
    """Return the reasons for which layers of compiled parts stay, by path.

    A layer whose numbers show is named if it should grow; a part that holds others is named itself.

    Example:
        >>> scripted_layers(nn.ConvTranspose2d(1, 1, 3, 2, 1, 1))
        {}
    """
    left: dict[str, str] = {}
    inner: set[nn.Module] = set()
    for path, module in modules_by_path(model).items():
        if not isinstance(module, torch.jit.ScriptModule) or module in inner:
            continue
        own = modules_by_path(cast("nn.Module", module))
        layers = {f"{path}.{name}".rstrip("."): each for name, each in own.items()}
        inner.update(layers.values())
        known = {name: text for name, each in layers.items() if (text := _read(each)) is not None}
        for name in (name for name, text in known.items() if text):
            left[name] = "stays, as it is scripted: repair the module that it was made from"
        if _count(module) > len(known):
            left.setdefault(path, "stays, as it holds a transposed convolution and is scripted: "
                            "repair the module that it was made from")  # fmt: skip
    return left


def is_scripted(site: Site, model: nn.Module) -> bool:
    """Tell whether a step is one of a compiled part.

    Example:
        >>> is_scripted(Site("transposed", "up", None), nn.ReLU())
        False
    """
    path = site.calls[0].path if site.calls else site.path
    return site.module is None and isinstance(
        modules_by_path(model).get(path), torch.jit.ScriptModule
    )


def _read(module: Any) -> str | None:
    """Say how a scripted layer would grow; None for others, and for traced ones, which hide it."""
    if not getattr(module, "original_name", "").startswith("ConvTranspose"):
        return None
    names = ("kernel_size", "stride", "padding", "output_padding", "dilation")
    if not all(hasattr(module, name) for name in names):
        return None
    axes: Any = zip(*(getattr(module, name) for name in names), strict=True)
    return "".join(describe(*axis, growth=grow(*axis)) for axis in axes)


def _count(module: Any) -> int:
    """Return how many transposed convolutions the graph of a scripted module has."""
    graph = module.inlined_graph
    scripted = sum(len(graph.findAllNodes(f"aten::conv_transpose{n}d")) for n in (1, 2, 3))
    traced = graph.findAllNodes("aten::_convolution")
    return scripted + sum(1 for node in traced if [*node.inputs()][6].toIValue())
