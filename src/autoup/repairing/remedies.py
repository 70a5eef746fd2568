"""What repair does at each place of a model, or why it does nothing there."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn

from autoup.inspecting.calls import Call
from autoup.inspecting.sites import TRANSPOSED, Site, is_quantised
from autoup.layers.base import BaseConvTransposeNd
from autoup.repairing.growth import Growth, describe, grow
from autoup.solving.flaws import AXES
from autoup.solving.sizes import free_taps

_FORWARDS = [each.forward for each in (*TRANSPOSED, BaseConvTransposeNd)]


@dataclass(frozen=True, slots=True)
class Remedy:
    """What is done to one module.

    Args:
        site: Where.
        growths: One per axis; empty where the kernel stays.
        text: What changes, or why nothing does; empty where there is nothing to do.
        done: Whether nothing is left to be done.
        enlargement: By which a resize that is folded enlarges; empty otherwise.
    """

    site: Site
    growths: tuple[Growth, ...] = ()
    text: str = ""
    done: bool = True
    enlargement: tuple[int, ...] = ()


def plan_growth(
    site: Site,
    owners: Mapping[int, Sequence[str]],
    layers: Mapping[str, nn.Module],
    *,
    even: bool = True,
    smoothness: int = 0,
) -> Remedy:
    """Return how a transposed convolution grows.

    Args:
        site: A transposed convolution.
        owners: Of all Parameters of the model.
        layers: All modules of the model, by qualified name.
        even: Whether to grow to a multiple of the stride.
        smoothness: Order for which the kernel shall have two free taps.

    Example:
        >>> from autoup.inspecting.sites import find_sites
        >>> layer = nn.ConvTranspose2d(1, 1, 3, 2, 1, 1)
        >>> plan_growth(find_sites(layer, None)[0], {}, {"": layer}).text
        'height and width: kernel_size 3 -> 4 by zero taps, output_padding 1 -> 0'
    """
    growths = tuple(_grow_axis(*axis, even, smoothness) for axis in axes_of(site))
    text = _describe(site, growths, even)
    if not text:
        return Remedy(site)
    reason = _refuse(site, owners, layers)
    if reason or not any(growth.changes for growth in growths):
        return Remedy(site, (), reason or text, done=False)
    return Remedy(site, growths, text, done=" stays" not in text)


def axes_of(site: Site) -> list[tuple[int, int, int, int, int]]:
    """Return kernel, stride, padding, output padding and dilation of each axis.

    Example:
        >>> axes_of(Site("transposed", "up", nn.ConvTranspose1d(1, 1, 3, 2, 1, 1)))
        [(3, 2, 1, 1, 1)]
    """
    layer: Any = site.module
    if layer is not None:
        numbers = (
            layer.kernel_size,
            layer.stride,
            layer.padding,
            layer.output_padding,
            layer.dilation,
        )
    else:
        given = site.calls[0].arguments
        dims = given["weight"].ndim - 2
        numbers = (
            tuple(given["weight"].shape[2:]),
            *(
                per_dim(given.get(name, default), dims)
                for name, default in (
                    ("stride", 1),
                    ("padding", 0),
                    ("output_padding", 0),
                    ("dilation", 1),
                )
            ),
        )
    return list(zip(*numbers, strict=True))


def per_dim(value: Any, dims: int) -> tuple[int, ...]:
    """Return one int per axis of what torch's functions take.

    Example:
        >>> per_dim(2, 2), per_dim([1], 2)
        ((2, 2), (1, 1))
    """
    entries = (value,) if isinstance(value, int) else tuple(value)
    return entries * dims if len(entries) == 1 else entries


def _grow_axis(k: int, s: int, p: int, a: int, d: int, even: bool, smoothness: int) -> Growth:
    least = k
    if smoothness and free_taps(k, s, smoothness) < 2:
        least = 2 + smoothness * (s - 1)
    return grow(k, s, p, a, d, even=even, least=least)


def _describe(site: Site, growths: Sequence[Growth], even: bool) -> str:
    said: dict[str, list[str]] = {}
    axes = axes_of(site)
    for name, axis, growth in zip(AXES[len(axes)], axes, growths, strict=True):
        if text := describe(*axis, growth, even=even):
            said.setdefault(text, []).append(name)
    return "; ".join(f"{' and '.join(names)}: {text}" for text, names in said.items())


def _refuse(
    site: Site,
    owners: Mapping[int, Sequence[str]],
    layers: Mapping[str, nn.Module],
) -> str:
    layer: Any = site.module
    if layer is None:
        return "stays: a function makes it, whose code holds kernel and padding"
    if is_quantised(layer):
        return "stays, as it is quantised: repair the float model and quantise that"
    if any(_is_dynamic(call, layer) for call in site.calls):
        return "stays, as it is called with output_size, which a grown kernel cannot heed"
    if _has_own_forward(layer):
        return f"stays, as {type(layer).__name__} has a forward of its own"
    if getattr(layer, "smoothness", 0):
        return "stays, as a guarantee projects its kernel, and a grown one otherwise"
    for path in _sharers(layer, owners, site.path):
        other: Any = layers[path]
        plain = all("weight" in each._parameters for each in (layer, other))
        same = isinstance(other, TRANSPOSED) and not _has_own_forward(other)
        if not (plain and same and _settings(other) == _settings(layer)):
            return f"stays, as it shares its weight with {path}"
    return ""


def _settings(layer: Any) -> tuple[Any, ...]:
    names = ("kernel_size", "stride", "padding", "output_padding", "dilation", "groups")
    return tuple(getattr(layer, name) for name in names)


def _is_dynamic(call: Call, layer: Any) -> bool:
    used = call.arguments.get("output_padding", 0)
    return per_dim(used, len(layer.kernel_size)) != tuple(layer.output_padding)


def _has_own_forward(layer: nn.Module) -> bool:
    return type(layer).forward not in _FORWARDS or "forward" in vars(layer)


def _sharers(layer: nn.Module, owners: Mapping[int, Sequence[str]], path: str) -> list[str]:
    biases = [id(layer.bias)] if getattr(layer, "bias", None) is not None else []
    found = [owners.get(id(each), ()) for each in layer.parameters() if id(each) not in biases]
    return [each for paths in found for each in paths if each != path]


def per_dim_float(value: Any, dims: int) -> tuple[float, ...]:
    """Return one number per axis.

    Example:
        >>> per_dim_float(2.0, 2)
        (2.0, 2.0)
    """
    return tuple(value) if isinstance(value, tuple | list) else (float(value),) * dims  # pyright: ignore
