"""What repair does at each place of a model, or why it does nothing there: all its decisions."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

import torch
from torch import nn
from torch.nn.utils import parametrize

from autoup.errors import Refusal
from autoup.inspecting.calls import Call, per_dim
from autoup.inspecting.copies import HOOKS
from autoup.inspecting.sites import CONV, TRANSPOSED, Site, is_quantised
from autoup.layers.base import BaseConvTransposeNd
from autoup.repairing.advice import advise
from autoup.repairing.growth import Growth, describe, grow, shortfalls
from autoup.repairing.output_sizes import Asked
from autoup.solving.flaws import AXES
from autoup.solving.sizes import least_kernel

_FORWARDS = [each.forward for each in (*TRANSPOSED, BaseConvTransposeNd)]


@dataclass(frozen=True, slots=True)
class Remedy:
    """What is done to one module.

    Args:
        site: Where.
        growths: One per axis; empty where the kernel stays.
        enlargement: By which a resize that is folded enlarges; empty otherwise.
        text: What changes, and what stays and why; empty where there is nothing to do.
        stays: Whether something that is not clean stays.
    """

    site: Site
    growths: tuple[Growth, ...] = ()
    enlargement: tuple[int, ...] = ()
    text: str = ""
    stays: bool = False


def plan_growth(
    site: Site,
    owners: Mapping[int, Sequence[str]],
    modules: Mapping[str, nn.Module],
    *,
    even: bool = True,
    smoothness: int = 0,
    asked: Mapping[str, Asked] = MappingProxyType({}),
) -> Remedy:
    """Return how a transposed convolution grows.

    Args:
        site: A transposed convolution.
        owners: Paths of the modules of every Parameter, by its ``id``.
        modules: All modules of the model, by path.
        even: Whether to grow to a multiple of the stride.
        smoothness: Order for which the kernel shall have two free taps.
        asked: What layers were asked for by all inputs that were tried, by path.

    Example:
        >>> from autoup.inspecting.sites import find_sites
        >>> layer = nn.ConvTranspose2d(1, 1, 3, 2, 1, 1)
        >>> plan_growth(find_sites(layer, None)[0], {}, {"": layer}).text
        'height and width: kernel_size 3 -> 4 by zero taps, output_padding 1 -> 0'
    """
    axes, by_size = axes_of(site), asked.get(site.path)
    if by_size is not None:
        least = _least(site.module, by_size)
        axes = [(k, s, p, a, d) for (k, s, p, _, d), a in zip(axes, least, strict=True)]
    growths = tuple(_grow_axis(*axis, even, smoothness) for axis in axes)
    advice = advise(axes, growths, site.calls, by_size, even=even)
    text = "; ".join(each for each in (_describe(axes, growths, even), advice) if each)
    if not text:
        return Remedy(site)
    try:
        _check_growth(site, owners, modules, asked)
    except Refusal as refusal:
        return Remedy(site, text=f"stays, as {refusal}", stays=True)
    if not any(growth.changes for growth in growths):
        return Remedy(site, text=text, stays=True)
    left = [shortfalls(axis[1], each, even=even) for axis, each in zip(axes, growths, strict=True)]
    if by_size is not None:
        growths = _keep_windows(site.module, axes, growths)
    return Remedy(site, growths, text=text, stays=any(left) or bool(advice))


def plan_fold(site: Site, paths: Mapping[nn.Module, Sequence[str]]) -> Remedy:
    """Return how a nearest resize and the convolution behind it become one layer.

    Args:
        site: A resize.
        paths: All modules of the model with their paths.
    """
    try:
        scale = _check_fold(site, paths)
    except Refusal as refusal:
        return Remedy(site, text=f"stays, as {refusal}", stays=True)
    conv: Any = site.conv
    kernel = tuple(
        d * (k - 1) + s for k, d, s in zip(conv.kernel_size, conv.dilation, scale, strict=True)
    )
    few, many = 1, 1
    for k, s, wide in zip(conv.kernel_size, scale, kernel, strict=True):
        few, many = few * wide, many * k * s
    return Remedy(
        site,
        enlargement=scale,
        text=f"with {site.partner} into one transposed convolution, kernel_size="
        f"{kernel}, stride={scale}: {few} products an input pixel, not {many}",
    )


def axes_of(site: Site, *, called: bool = False) -> list[tuple[int, int, int, int, int]]:
    """Return kernel, stride, padding, output padding and dilation of each axis.

    Args:
        site: A transposed convolution.
        called: Whether its call says so rather than its module, whose ``forward`` may use others.

    Example:
        >>> axes_of(Site("transposed", "up", nn.ConvTranspose1d(1, 1, 3, 2, 1, 1)))
        [(3, 2, 1, 1, 1)]
    """
    layer: Any = site.module
    if layer is not None and not (called and site.calls and "weight" in site.calls[0].arguments):
        numbers = (
            layer.kernel_size,
            layer.stride,
            layer.padding,
            layer.output_padding,
            layer.dilation,
        )
        return list(zip(*numbers, strict=True))
    given = site.calls[0].arguments
    kernel_size = tuple(given["weight"].shape[2:])
    defaults = {"stride": 1, "padding": 0, "output_padding": 0, "dilation": 1}
    rest = [
        per_dim(given.get(name, default), len(kernel_size)) for name, default in defaults.items()
    ]
    return list(zip(kernel_size, *rest, strict=True))


def scales_of(site: Site) -> tuple[int, ...] | None:
    """Return by how much a resize enlarges along each axis; None where that is no integer.

    Example:
        >>> conv = nn.Conv2d(1, 1, 3)
        >>> scales_of(Site("resize", "up", nn.Upsample(scale_factor=2), conv=conv))
        (2, 2)
    """
    module: Any = site.module
    given = None if module is None else module.scale_factor
    conv: Any = site.conv
    if given is None or conv is None:
        return None
    scale = per_dim(given, len(conv.kernel_size))
    whole = tuple(int(each) for each in scale)
    return whole if whole == scale and min(whole) >= 1 else None


def _grow_axis(k: int, s: int, p: int, a: int, d: int, even: bool, smoothness: int) -> Growth:
    least = max(k, least_kernel(s, smoothness, free=2)) if smoothness else k
    return grow(k, s, p, a, d, even=even, least=least)


def _least(layer: Any, asked: Asked | None) -> tuple[int, ...]:
    """Return the output padding that a layer always has: what a kernel may make in its place."""
    if asked is None:
        return tuple(layer.output_padding)
    if getattr(layer, "solutions", None) is None:
        return asked.least
    return tuple(map(min, asked.least, layer.output_padding))  # It is solved for a size, too.


def _keep_windows(
    layer: Any, axes: Sequence[tuple[int, ...]], growths: Sequence[Growth]
) -> tuple[Growth, ...]:
    """Return the growths with the output padding that is left for calls without output_size."""
    kept = zip(layer.output_padding, axes, growths, strict=True)
    return tuple(
        replace(growth, output_padding=max(0, own - axis[3] + growth.output_padding))
        for own, axis, growth in kept
    )


def _describe(
    axes: Sequence[tuple[int, int, int, int, int]], growths: Sequence[Growth], even: bool
) -> str:
    said: dict[str, list[str]] = {}
    for name, axis, growth in zip(AXES[len(axes)], axes, growths, strict=True):
        if text := describe(*axis, growth, even=even):
            said.setdefault(text, []).append(name)
    return "; ".join(f"{' and '.join(names)}: {text}" for text, names in said.items())


def _check_growth(
    site: Site,
    owners: Mapping[int, Sequence[str]],
    modules: Mapping[str, nn.Module],
    asked: Mapping[str, Asked],
) -> None:
    """Refuse a layer whose kernel other code holds, or makes otherwise."""
    layer: Any = site.module
    if layer is None:
        if isinstance(modules.get(site.calls[0].path), torch.jit.ScriptModule):
            raise Refusal("it is scripted: repair the module that it was made from")
        raise Refusal("a function makes it, whose code holds kernel and padding")
    if is_quantised(layer):
        raise Refusal("it is quantised: repair the float model and quantise that")
    if site.path not in asked and any(_is_dynamic(call, layer) for call in site.calls):
        raise Refusal(
            "it is called with output_size: repair(model, input_size) tries inputs of other sizes, "
            "and grows the kernel where it can make all that they ask for"
        )
    if _has_own_forward(layer):
        raise Refusal(f"{type(layer).__name__} has a forward of its own")
    if getattr(layer, "smoothness", 0):
        raise Refusal("a guarantee projects its kernel, and a grown one otherwise")
    for path in _sharers(layer, owners, site.path):
        other: Any = modules[path]
        plain = all("weight" in each._parameters for each in (layer, other))
        same = isinstance(other, TRANSPOSED) and not _has_own_forward(other)
        alike = _settings(other, asked.get(path)) == _settings(layer, asked.get(site.path))
        if not (plain and same and alike):
            raise Refusal(f"it shares its weight with {path}")


def _check_fold(site: Site, paths: Mapping[nn.Module, Sequence[str]]) -> tuple[int, ...]:
    """Return by how much a resize enlarges; refuse one that cannot be folded."""
    module, conv = site.module, site.conv
    found: Any = conv
    if module is None:
        raise Refusal("a function makes it, so that only its code can change")
    if (mode := getattr(module, "mode", None)) not in ("nearest", "nearest-exact"):
        raise Refusal(f"mode {mode!r} takes more than one transposed convolution")
    if conv is None or not site.direct:
        raise Refusal("no convolution reads it alone and at once")
    if (scale := scales_of(site)) is None:
        raise Refusal("its enlargement is no integer, or bound to one size")
    if type(conv) not in CONV or parametrize.is_parametrized(conv):
        raise Refusal(f"{site.partner} is no plain convolution")
    if any(len(paths[each]) > 1 for each in (module, conv)):
        raise Refusal("one of the two is used in several places")
    if max(len(site.calls), site.conv_uses) > 1:
        raise Refusal("it is called more than once")
    if any(vars(each)[name] for each in (module, conv) for name in HOOKS):
        raise Refusal("hooks watch one of the two")
    if found.padding_mode != "zeros" or isinstance(found.padding, str) or set(found.stride) != {1}:
        raise Refusal(f"{site.partner} is strided, or not padded by a number of zeros")
    reach = zip(found.kernel_size, found.dilation, found.padding, strict=True)
    if any(p > d * (k - 1) for k, d, p in reach):
        raise Refusal(f"{site.partner} pads more than its kernel reaches")
    return scale


def _settings(layer: Any, asked: Asked | None) -> tuple[Any, ...]:
    names = ("kernel_size", "stride", "padding", "dilation", "groups")
    return (*(getattr(layer, name) for name in names), _least(layer, asked))


def _is_dynamic(call: Call, layer: Any) -> bool:
    used = call.arguments.get("output_padding", 0)
    return per_dim(used, len(layer.kernel_size)) != tuple(layer.output_padding)


def _has_own_forward(layer: nn.Module) -> bool:
    return type(layer).forward not in _FORWARDS or "forward" in vars(layer)


def _sharers(layer: nn.Module, owners: Mapping[int, Sequence[str]], path: str) -> list[str]:
    biases = [id(layer.bias)] if getattr(layer, "bias", None) is not None else []
    found = [owners.get(id(each), ()) for each in layer.parameters() if id(each) not in biases]
    return [each for paths in found for each in paths if each != path]
