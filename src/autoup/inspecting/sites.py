"""Where a model upsamples: its modules, and the functions that a forward pass called."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from torch import Tensor, nn

from autoup.inspecting.calls import Call, per_dim, shapes_of
from autoup.inspecting.modules import modules_by_path, paths_by_module
from autoup.inspecting.playback import moves, slots_of
from autoup.inspecting.rearranging import PRODUCTS, Rearrangement, find_rearrangements
from autoup.inspecting.recorder import grows

TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
CONV = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
NORM = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)

_KINDS = {"conv_transpose": "transposed", "pixel_shuffle": "shuffle", "interpolate": "resize",
          "adaptive_pool": "resize", "max_unpool": "unpool", "fold": "fold", "istft": "fold",
          "grid_sample": "sample", "from_outside": "unknown",
          "convolution_backward": "unknown"}  # fmt: skip
_IF_LARGER = ("interpolate", "adaptive_pool", "grid_sample")
# What changes a size and is no enlargement of a picture: products, transforms, padding, tokens.
_OTHER_SIZES = {"linear", "addmm", "lstm", "gru", "rnn_tanh", "rnn_relu", "cdist",
                           "conv", "pad", "embedding", "outer", "stft"}  # fmt: skip
# What stands between a convolution and a shuffle, or a resize and a convolution, and is not told.
_NEAR = 6
_FAR = 200  # Functions between a transform and its inverse.
_SEEN_THROUGH = (nn.Dropout, nn.Dropout2d, nn.Identity, nn.ReLU, nn.LeakyReLU, nn.GELU, nn.SiLU,
                 nn.ELU, nn.PReLU, nn.ReflectionPad2d, nn.ReplicationPad2d, nn.ZeroPad2d,
                 nn.ReflectionPad1d, nn.InstanceNorm2d, nn.GroupNorm, *NORM)  # fmt: skip


KINDS = {
    "transposed": "a transposed convolution",
    "shuffle": "a convolution, whose channels are spread over blocks",
    "resize": "interpolation, and the convolution behind it",
    "repeat": "pixels repeated by hand, the same as nearest interpolation",
    "zeros": "zeros between pixels, and the convolution behind them",
    "unpool": "max unpooling",
    "fold": "patches added up where they overlap",
    "sample": "pixels fetched from places that are computed",
    "unknown": "something that enlarges and is not known",
}


@dataclass(eq=False, slots=True)
class Site:
    """One place where a model upsamples.

    Args:
        kind: Of ``KINDS``.
        path: Qualified name; that of a function ends with the function's.
        module: The module; None for a function.
        calls: What it did in the forward pass, if there was one.
        partner: Qualified name of the convolution before a shuffle or after a resize.
        conv: That convolution; None where it is a function.
        conv_calls: What that did beside this step in the forward pass.
        conv_uses: How often it was called in all.
        between: The modules between the two, and the names of functions.
        direct: Whether the convolution reads all that a resize makes, and nobody else does.
        split: A shuffle's block size along each axis; empty for other kinds.
        moved: How pixels are moved by hand; None where one function does it all.
    """

    kind: str
    path: str
    module: nn.Module | None
    calls: list[Call] = field(default_factory=list[Call])
    partner: str | None = None
    conv: nn.Module | None = None
    conv_calls: list[Call] = field(default_factory=list[Call])
    conv_uses: int = 0
    between: list[Any] = field(default_factory=list[Any])
    direct: bool = False
    split: tuple[int, ...] = ()
    moved: Rearrangement | None = None


def find_sites(
    model: nn.Module,
    calls: Sequence[Call] | None,
    moved: Mapping[Call, Rearrangement] | None = None,
) -> list[Site]:
    """Return all places in the order of the forward pass, or of the model without one.

    Args:
        model: Any module.
        calls: Of a forward pass.
        moved: What ``find_rearrangements`` returns for them, if it is there.

    Example:
        >>> [site.kind for site in find_sites(nn.Sequential(nn.PixelShuffle(2)), None)]
        ['shuffle']
    """
    modules = {module: paths[0] for module, paths in paths_by_module(model).items()}
    moved = find_rearrangements(calls or ()) if moved is None else moved
    found = _from_calls(model, calls or (), moved)
    seen = {site.module for site in found}
    before, after = _neighbours(modules)
    ran = {call.path for call in calls or ()}
    for module, path in modules.items():
        kind = kind_of(module)
        if kind == "resize" and path in ran:  # It makes nothing larger here.
            continue
        if kind and module not in seen:
            site = Site(kind, path, module)
            if calls is None:
                _pair(site, before if kind == "shuffle" else after, modules)
            if kind == "shuffle":
                site.split = per_dim(getattr(module, "upscale_factor", 1), 2)
            found.append(site)
    return found


def kind_of(module: nn.Module) -> str | None:
    """Return the kind of an upsampling module; None for others.

    Example:
        >>> kind_of(nn.Upsample(scale_factor=2)), kind_of(nn.ReLU())
        ('resize', None)
    """
    if isinstance(module, TRANSPOSED) or is_quantised(module):
        return "transposed"
    if isinstance(module, nn.PixelShuffle):
        return "shuffle"
    return "resize" if isinstance(module, nn.Upsample) else None


def is_quantised(module: nn.Module) -> bool:
    """Tell whether a module is a quantised transposed convolution.

    Example:
        >>> is_quantised(nn.ConvTranspose2d(1, 1, 2))
        False
    """
    kind = type(module)
    return "quantized" in kind.__module__ and kind.__name__.startswith("ConvTranspose")


def _from_calls(
    model: nn.Module, calls: Sequence[Call], moved: Mapping[Call, Rearrangement]
) -> list[Site]:
    by_path: Mapping[str, nn.Module] = modules_by_path(model)
    sites: dict[str, Site] = {}
    for call in calls:
        kind = _kind_of_call(call, moved)
        if kind is None:
            continue
        module = by_path.get(call.path)
        own = module is not None and kind_of(module) == kind
        name = "copy" if call.name == "write" else call.name.strip("_")
        path = call.path if own else _free(f"{call.path}.{name}".lstrip("."), sites)
        site = sites.setdefault(path, Site(kind, path, module if own else None))
        site.calls.append(call)
        site.moved = moved.get(call)
        if kind == "shuffle":
            site.split = per_dim(call.arguments.get("upscale_factor", 1), 2)
            site.split = site.moved.stride if site.moved else site.split
        if kind not in ("transposed", "unknown"):
            _find_convolution(site, call, by_path)
            uses = [each for each in calls if site.conv_calls and _same(each, site.conv_calls[0])]
            site.conv_uses = len(uses)
    return [*sites.values()]


def _kind_of_call(call: Call, moved: Mapping[Call, Rearrangement]) -> str | None:
    """Return the kind of what a function enlarges by; None for what enlarges nothing."""
    if call in moved:
        return None if moved[call].kind == "move" else moved[call].kind
    if call.name in _KINDS:
        larger = call.name not in _IF_LARGER or grows(call.shape, call.made)
        if call.name == "grid_sample":
            larger = _enlarges(call.shape, call.made)
        return _KINDS[call.name] if larger else None
    return "unknown" if not moves(call) and _is_larger(call) else None


def _is_larger(call: Call) -> bool:
    """Tell whether a function makes pictures larger than all that it reads."""
    ndim = len(call.made)
    if call.name.startswith(("fft_i", "fft_hf")):
        before = _before_transform(call)
        return before is not None and len(before) == ndim and _enlarges(before, call.made)
    if call.name in PRODUCTS:  # The last axis may be one of features.
        data = slots_of(call.inputs)
        rows = ndim > 3 and len(data) == 1 and len(data[0].shape) == ndim
        return rows and call.made[-2] > data[0].shape[-2] and call.made[-1] == data[0].shape[-1]
    shapes = [each for each in shapes_of(call.inputs) if len(each) <= ndim]
    if call.name in _OTHER_SIZES or ndim < 3 or all(len(each) < ndim for each in shapes):
        return False
    padded = [(1,) * (ndim - len(each)) + each for each in shapes]  # As they are broadcast.
    return _enlarges([max(axis) for axis in zip(*padded, strict=True)], call.made)


def _before_transform(call: Call) -> tuple[int, ...] | None:
    """Return the size of what a Fourier transform and its inverse began with."""
    for _ in range(_FAR):
        if call.name.startswith("fft_") and not call.name.startswith(("fft_i", "fft_hf")):
            return call.shape
        if not call.sources:
            return None
        call = call.sources[0]
    return None


def _enlarges(before: Sequence[int], after: Sequence[int]) -> bool:
    """Tell whether a spatial axis becomes longer and none shorter."""
    steps = {(o > i) - (o < i) for i, o in zip(before[2:], after[2:], strict=True)}
    return 1 in steps and -1 not in steps


def _free(path: str, taken: Mapping[str, Site]) -> str:
    numbered = (f"{path}_{number}" for number in range(2, len(taken) + 3))
    return path if path not in taken else next(each for each in numbered if each not in taken)


def _find_convolution(site: Site, call: Call, by_path: Mapping[str, nn.Module]) -> None:
    """Find the convolution beside a step along the data: before a shuffle, behind all others."""
    near, back, first = call, site.kind == "shuffle", len(site.calls) == 1
    ways = call.sources if back else call.users
    if back and site.moved is not None:
        ways = () if site.moved.root is None else (site.moved.root,)
    for _ in range(_NEAR):
        if len(ways) != 1 or (not back and near.returned):
            return
        near = ways[0]
        if near.name == "conv" or (back and near.name == "linear"):
            if near.axes != call.axes and call.axes is not None:
                return
            module = by_path.get(near.path)
            own = isinstance(module, (*CONV, nn.Linear))
            if first:
                site.conv = module if own else None
                site.partner = near.path if own else f"{near.path}.{near.name}".lstrip(".")
                site.direct = not site.between and len(near.sources) == 1
            if first or (site.conv_calls and _same(near, site.conv_calls[0])):
                site.conv_calls.append(near)
            return
        module = by_path.get(near.path)
        leaf = module is not None and not [*module.children()] and near.path
        if first:
            site.between.append(module if leaf else near.name)
        ways = near.sources if back else near.users


def _same(call: Call, other: Call) -> bool:
    return (call.path, call.name) == (other.path, other.name)


def _neighbours(
    modules: Mapping[nn.Module, str],
) -> tuple[dict[nn.Module, nn.Module], dict[nn.Module, nn.Module]]:
    """Return what stands before and after a module in an ``nn.Sequential``."""
    before: dict[nn.Module, nn.Module] = {}
    after: dict[nn.Module, nn.Module] = {}
    for parent in modules:
        if _is_chain(parent):
            for first, second in pairwise(_flat(parent)):
                before.setdefault(second, first)
                after.setdefault(first, second)
    return before, after


def _is_chain(module: nn.Module) -> bool:
    kind: Any = type(module)
    return isinstance(module, nn.Sequential) and kind.forward is nn.Sequential.forward  # pyright: ignore


def _flat(parent: nn.Module) -> Iterator[nn.Module]:
    for child in parent.children():
        if _is_chain(child):
            yield from _flat(child)
        else:
            yield child


def _pair(
    site: Site, steps: Mapping[nn.Module, nn.Module], modules: Mapping[nn.Module, str]
) -> None:
    """Find the convolution beside a shuffle or a resize in an ``nn.Sequential``."""
    near = site.module
    for _ in range(_NEAR):
        near = steps.get(near) if near is not None else None
        if isinstance(near, CONV):
            site.conv, site.partner = near, modules[near]
            site.direct = not site.between
            return
        if not isinstance(near, _SEEN_THROUGH):
            return
        site.between.append(near)


def has_numbers(values: object) -> bool:
    """Tell whether a tensor has numbers: no meta tensor and no fake one.

    Example:
        >>> import torch
        >>> has_numbers(torch.ones(2)), has_numbers(torch.ones(2, device="meta"))
        (True, False)
    """
    return (
        isinstance(values, Tensor) and not values.is_meta and type(values).__name__ != "FakeTensor"
    )
