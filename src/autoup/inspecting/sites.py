"""Where a model upsamples: its modules, and the functions that a forward pass called."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from torch import Tensor, nn

from autoup.inspecting.calls import Call, order_of
from autoup.inspecting.modules import modules_by_path, paths_by_module

TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
CONV = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
NORM = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)

_KINDS = {"conv_transpose": "transposed", "pixel_shuffle": "shuffle", "interpolate": "resize"}
# What stands between a convolution and a shuffle, or a resize and a convolution, and is not told.
_NEAR = 6
_SEEN_THROUGH = (nn.Dropout, nn.Dropout2d, nn.Identity, nn.ReLU, nn.LeakyReLU, nn.GELU, nn.SiLU,
                 nn.ELU, nn.PReLU, nn.ReflectionPad2d, nn.ReplicationPad2d, nn.ZeroPad2d,
                 nn.ReflectionPad1d, nn.InstanceNorm2d, nn.GroupNorm, *NORM)  # fmt: skip


@dataclass(eq=False, slots=True)
class Site:
    """One place where a model upsamples.

    Args:
        kind: ``"transposed"``, ``"shuffle"`` or ``"resize"``.
        path: Qualified name; that of a function ends with the function's.
        module: The module; None for a function.
        calls: What it did in the forward pass, if there was one.
        partner: Qualified name of the convolution before a shuffle or after a resize.
        conv: That convolution; None where it is a function.
        conv_calls: What that did beside this step in the forward pass.
        conv_uses: How often it was called in all.
        between: The modules between the two, and the names of functions.
        direct: Whether the convolution reads all that a resize makes, and nobody else does.
        split: A shuffle's block size.
        blurred: Whether a mean over that block follows, which evens out the phases.
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
    split: int = 1
    blurred: bool = False


def find_sites(model: nn.Module, calls: Sequence[Call] | None) -> list[Site]:
    """Return all places in the order of the forward pass, or of the model without one.

    Example:
        >>> [site.kind for site in find_sites(nn.Sequential(nn.PixelShuffle(2)), None)]
        ['shuffle']
    """
    modules = {module: paths[0] for module, paths in paths_by_module(model).items()}
    found = _from_calls(model, calls or ())
    seen = {site.module for site in found}
    before, after = _neighbours(modules)
    for module, path in modules.items():
        kind = kind_of(module)
        if kind and module not in seen:
            site = Site(kind, path, module)
            if calls is None:
                _pair(site, before if kind == "shuffle" else after, modules)
            site.split = getattr(module, "upscale_factor", 1) if kind == "shuffle" else 1
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


def _from_calls(model: nn.Module, calls: Sequence[Call]) -> list[Site]:
    by_path: Mapping[str, nn.Module] = modules_by_path(model)
    sites: dict[str, Site] = {}
    for call in calls:
        kind = _KINDS.get(call.name)
        split = 1
        if kind is None and (split := _shuffles(call)):
            kind = "shuffle"
        if kind is None or (kind == "resize" and not _enlarges(call)):
            continue
        module = by_path.get(call.path)
        own = module is not None and kind_of(module) == kind
        path = call.path if own else _free(f"{call.path}.{call.name}".lstrip("."), sites)
        site = sites.setdefault(path, Site(kind, path, module if own else None, split=split))
        site.calls.append(call)
        if kind == "shuffle":
            site.split = call.arguments.get("upscale_factor", split)
            site.blurred = _is_blurred(call, site.split)
        if kind != "transposed":
            _find_convolution(site, call, by_path)
            uses = [each for each in calls if site.conv_calls and _same(each, site.conv_calls[0])]
            site.conv_uses = len(uses)
    return [*sites.values()]


def _free(path: str, taken: Mapping[str, Site]) -> str:
    numbered = (f"{path}_{number}" for number in range(2, len(taken) + 3))
    return path if path not in taken else next(each for each in numbered if each not in taken)


def _enlarges(call: Call) -> bool:
    return any(o > i for i, o in zip(call.shape[2:], call.made[2:], strict=True))


def _shuffles(call: Call) -> int:
    """Return the block size of a shuffle by hand: split the channels, permute, join; or 0.

    Its phases are neighbouring channels, in any order; where they lie apart, as for TensorFlow's
    ``depth_to_space``, it is another layer.
    """
    if call.name not in ("reshape", "view") or len(call.sources) != 1:
        return 0
    turned = call.sources[0]
    if turned.name not in ("permute", "transpose") or len(turned.sources) != 1:
        return 0
    cut = turned.sources[0]
    if (
        cut.name not in ("reshape", "view")
        or len(cut.shape) != len(call.made)
        or len(call.made) < 3
    ):
        return 0
    (n, channels, *small), (batch, kept, *large) = cut.shape, call.made
    ratios = {o / i for i, o in zip(small, large, strict=True)}
    r = int(max(ratios, default=1))
    dims = len(small)
    shape = (n, kept, *[r] * dims, *small)
    fits = ratios == {r} and r > 1 and n == batch and kept * r**dims == channels
    kept_first = [0, 1, *range(2 + dims, 2 + 2 * dims)]  # Behind each size stands a phase.
    order = order_of(turned) if fits and tuple(cut.made) == shape else ()
    return r if [*order[:2], *order[2::2]] == kept_first else 0


def _find_convolution(site: Site, call: Call, by_path: Mapping[str, nn.Module]) -> None:
    """Find the convolution beside a shuffle or a resize along the data."""
    near, back, first = call, site.kind == "shuffle", len(site.calls) == 1
    if back and call.name != "pixel_shuffle":
        near = call.sources[0].sources[0]
    for _ in range(_NEAR):
        ways = near.sources if back else near.users
        if len(ways) != 1 or (not back and near.returned):
            return
        near = ways[0]
        if near.name == "conv":
            if near.axes != call.axes and call.axes is not None:
                return
            module = by_path.get(near.path)
            own = isinstance(module, CONV)
            if first:
                site.conv = module if own else None
                site.partner = near.path if own else f"{near.path}.conv".lstrip(".")
                site.direct = not site.between and len(near.sources) == 1
            if first or (site.conv_calls and _same(near, site.conv_calls[0])):
                site.conv_calls.append(near)
            return
        module = by_path.get(near.path)
        leaf = module is not None and not [*module.children()] and near.path
        if first:
            site.between.append(module if leaf else near.name)


def _same(call: Call, other: Call) -> bool:
    return (call.path, call.name) == (other.path, other.name)


def _is_blurred(call: Call, r: int) -> bool:
    near = call
    while len(near.users) == 1 and not near.returned:
        near = near.users[0]
        if near.name == "avg_pool":
            size, stride = near.arguments.get("kernel_size"), near.arguments.get("stride")
            sizes = {size} if isinstance(size, int) else set(size or ())
            return sizes == {r} and stride in (1, (1,) * (len(near.made) - 2))
        if near.name != "pad":
            return False
    return False


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
