"""Build a decoder from two sizes: its first map and its output, with no encoder to mirror."""

from collections import OrderedDict
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass
from math import prod
from typing import Any, cast

import torch
from torch import nn

from autoup.capturing.operators import Norm
from autoup.checks import INITS, as_int, check_choice, check_flags, per_axis, require_smoothness
from autoup.decoding.borders import CONV, build_continued, continue_both
from autoup.decoding.builders import Settings, build_norm
from autoup.decoding.known import ACTIVATIONS
from autoup.decoding.residuals import start_at_zero
from autoup.errors import warn
from autoup.layers.residual import Residual
from autoup.solving.flaws import AXES
from autoup.solving.ladders import Ladder, ladders
from autoup.solving.solution import Solution

Children = dict[str, nn.Module]

_NORMS = {
    "batch": Norm("batch", 1e-5, True, 0.1, True),
    "group": Norm("group", 1e-5, True, groups=32),
    "instance": Norm("instance", 1e-5, True, 0.1),
    "layer": Norm("layer", 1e-5, True),
}
_MODES = ("zeros", "replicate", "reflect", "circular")
_LEAST = 16  # Channels that halving leaves, where there are as many.
_SMALL = 0.1  # Scale of the last layer behind normalisations at the start.


def decoder(
    in_channels: int,
    out_channels: int,
    in_size: int | Sequence[int],
    out_size: int | Sequence[int],
    *,
    steps: int | None = None,
    stride: int | Sequence[int] = 2,
    kernel_size: int | Sequence[int] | None = None,
    widths: Sequence[int] | None = None,
    latent: int | None = None,
    norm: str | None = "batch",
    activation: str | nn.Module = "relu",
    output_activation: str | nn.Module | None = None,
    residual: bool = False,
    padding_mode: str = "replicate",
    smoothness: int = 1,
    init: str = "damped",
    device: torch.device | str | None = None,
    dtype: torch.dtype | None = None,
) -> nn.Sequential:
    """Build a decoder from its first map to its output; the sizes between are free.

    They are those of ``ladder``, one for each axis, all of as many layers. A normalisation and an
    activation follow each layer but the last.

    Args:
        in_channels: Channels of the first map.
        out_channels: Channels of the output.
        in_size: Size of the first map, in pixels, one per axis; an int for a square picture.
        out_size: Size of the output, likewise.
        steps: How many layers enlarge; None for as many as the stride asks for.
        stride: Wanted of each layer, in pixels, an int or one per axis.
        kernel_size: Pins the kernel of each layer, in taps, likewise.
        widths: Channels between, one for each layer but the last; when left out they halve from
            layer to layer, but not below 16.
        latent: Numbers of a code, of which a linear layer in front makes the first map.
        norm: ``"batch"``, ``"group"`` (32 groups, or as many as divide the channels),
            ``"instance"``, ``"layer"`` (over channels and pixels) or None.
        activation: Its name in ``torch.nn.functional``, as ``"relu"``, or a module, of which each
            place gets a copy.
        output_activation: Closes the decoder, likewise; None for nothing.
        residual: Whether a residual block of two convolutions of 3 taps, which starts as nothing,
            follows each layer but the last.
        padding_mode: How maps go on beyond their ends, named as in ``nn.Conv2d``: as they end with
            ``"replicate"``, so that nothing fades there; ``"reflect"``, ``"circular"``, or with
            ``"zeros"`` not at all, which is quicker.
        smoothness: As in ``AutoConvTranspose2d``, for every layer that enlarges.
        init: As in ``AutoConvTranspose2d``, likewise. Unless it is ``"torch"``, the other weights
            start as He et al. 2015 have it, and behind normalisations the last layer at a tenth:
            noise of unit variance would come out of it.
        device: As in ``nn.ConvTranspose2d``.
        dtype: As in ``nn.ConvTranspose2d``.

    Returns:
        The decoder; its children are named ``pad1``, ``up1``, ``norm1``, ``activation1`` and so on.

    Raises:
        InfeasibleError: A pinned kernel does not reach the size; the message names the axis.
        TypeError: An argument has the wrong type.
        ValueError: An argument is out of range.

    Warns:
        ArtifactWarning: Once, where layers are not clean, with what would be.

    Shape:
        - Input: ``(N, in_channels, *in_size)``, with a latent ``(N, latent)``.
        - Output: ``(N, out_channels, *out_size)``.

    Example:
        >>> generator = decoder(64, 1, 7, 28, latent=100, output_activation="tanh")
        >>> [*dict(generator.named_children())]
        ['project', 'unflatten', 'norm0', 'activation0', 'pad1', 'up1', 'norm1', 'activation1', \
'pad2', 'up2', 'output_activation']
        >>> generator(torch.zeros(5, 100)).shape
        torch.Size([5, 1, 28, 28])
    """
    check_flags(residual=residual)
    check_choice("init", init, INITS)
    check_choice("padding_mode", padding_mode, _MODES)
    axes = _read_axes(in_size, out_size, steps, stride, kernel_size, require_smoothness(smoothness))
    materials = Materials(
        len(axes),
        _read_norm(norm),
        _read_activation("activation", activation),
        padding_mode,
        {"smoothness": smoothness, "init": init},
        _factory(device, dtype),
    )
    channels = [as_int("in_channels", in_channels), as_int("out_channels", out_channels)]
    channels[1:1] = _read_widths(widths, channels[0], len(axes[0].solutions))
    children = _build(materials, axes, channels, latent, residual)
    if output_activation is not None:
        children |= {"output_activation": _read_activation("output_activation", output_activation)}
    _warn(axes)
    return nn.Sequential(children)


@dataclass(frozen=True, slots=True)
class Materials:
    """What a decoder is made of.

    Args:
        dims: Spatial axes.
        norm: The normalisation; None for none.
        activation: Of which each place gets a copy.
        padding_mode: How maps go on beyond their ends.
        options: ``smoothness`` and ``init`` of what enlarges.
        factory: ``device`` and ``dtype`` of each layer.
    """

    dims: int
    norm: Norm | None
    activation: nn.Module
    padding_mode: str
    options: dict[str, Any]
    factory: dict[str, Any]

    def up(
        self, in_channels: int, out_channels: int, axes: Sequence[Solution], *, bias: bool
    ) -> dict[str, Any]:
        """Return the layer that was solved, behind what continues its map."""
        reverse = CONV[self.dims](out_channels, in_channels, 1, bias=bias, device="meta")
        continued = [continue_both(axis, self.padding_mode) for axis in axes]
        return dict(build_continued(reverse, continued, None, **self.options, **self.factory))

    def project(self, latent: int, channels: int, size: Sequence[int]) -> Children:
        """Return what makes a map of a code."""
        linear = nn.Linear(latent, channels * prod(size), self.norm is None, **self.factory)
        return {"project": self._start(linear), "unflatten": nn.Unflatten(1, (channels, *size))}

    def behind(self, number: int, channels: int) -> Children:
        """Return the normalisation and activation of a map."""
        found: Children = {}
        if self.norm:
            found[f"norm{number}"] = self._norm(channels)
        return found | {f"activation{number}": deepcopy(self.activation)}

    def residual(self, channels: int) -> Residual:
        """Return a residual block that starts as nothing."""
        layers: OrderedDict[str, nn.Module] = OrderedDict()
        for number in (1, 2):
            conv = CONV[self.dims](
                channels, channels, 3, padding=1, bias=self.norm is None,
                padding_mode=self.padding_mode, **self.factory,
            )  # fmt: skip
            layers[f"conv{number}"] = self._start(conv)
            layers |= self.behind(number, channels)
        del layers["activation2"]
        branch = nn.Sequential(layers)
        start_at_zero(branch, self._settings())
        return Residual(branch)

    def _norm(self, channels: int) -> nn.Module:
        assert self.norm
        return build_norm(self.norm, (1, channels, *(1,) * self.dims), self._settings())

    def _settings(self) -> Settings:
        return Settings(False, lambda _: None, self.options, self.factory)

    def _start(self, layer: Any) -> nn.Module:
        if self.options["init"] != "torch":
            nn.init.kaiming_uniform_(layer.weight, nonlinearity="relu")
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
        return layer


def _build(
    materials: Materials,
    axes: Sequence[Ladder],
    channels: Sequence[int],
    latent: int | None,
    residual: bool,
) -> OrderedDict[str, nn.Module]:
    """Return the children of the decoder, by name."""
    layers = list(zip(*(axis.solutions for axis in axes), strict=True))
    children: OrderedDict[str, nn.Module] = OrderedDict()
    if latent is not None:
        size = [axis.in_size for axis in layers[0]]
        children |= materials.project(
            as_int("latent", latent), channels[0], size
        ) | materials.behind(0, channels[0])
    for number, solutions in enumerate(layers, 1):
        before, after, is_last = *channels[number - 1 : number + 1], number == len(layers)
        bias = is_last or materials.norm is None
        made = materials.up(before, after, solutions, bias=bias)
        children |= {f"{word}{number}": each for word, each in made.items()}
        if not is_last:
            children |= materials.behind(number, after)
            if residual:
                children[f"residual{number}"] = materials.residual(after)
        elif materials.norm and materials.options["init"] != "torch":
            with torch.no_grad():
                made["up"].weight.mul_(_SMALL)
    return children


def _factory(device: torch.device | str | None, dtype: torch.dtype | None) -> dict[str, Any]:
    """Return where layers are made and of what, PyTorch's defaults where that is not said."""
    return {
        "device": torch.get_default_device() if device is None else device,
        "dtype": torch.get_default_dtype() if dtype is None else dtype,
    }


def _read_axes(
    in_size: object,
    out_size: object,
    steps: int | None,
    stride: object,
    kernel_size: object,
    smoothness: int,
) -> tuple[Ladder, ...]:
    """Return the ladder of each axis."""
    dims = max((len(each) for each in (_entries(in_size), _entries(out_size)) if each), default=2)
    if dims not in AXES:
        raise ValueError(
            f"in_size and out_size have one to {max(AXES)} entries, one per axis, "
            f"got {in_size} and {out_size}."
        )
    sizes = per_axis("in_size", in_size, dims), per_axis("out_size", out_size, dims)
    kernels: Sequence[int | None] = (None,) * dims
    if kernel_size is not None:
        kernels = per_axis("kernel_size", kernel_size, dims)
    strides = per_axis("stride", stride, dims)
    return ladders(*sizes, steps, strides, kernels, smoothness)


def _read_widths(widths: object, channels: int, count: int) -> list[int]:
    """Return the channels between the layers."""
    if widths is None:
        least = min(channels, _LEAST)
        return [max(least, channels >> number) for number in range(1, count)]
    if not isinstance(widths, tuple | list):
        raise TypeError(f"widths must be a tuple or list of ints, got {widths!r}.")
    entries = _entries(cast("object", widths))
    if len(entries) != count - 1:
        raise ValueError(
            f"widths must have {count - 1} {'entry' if count == 2 else 'entries'}, one for each of "
            f"{count} layers but the last, got {widths}."
        )
    return [as_int(f"widths[{place}]", each) for place, each in enumerate(entries)]


def _entries(given: object) -> Sequence[object]:
    """Return the entries of a tuple or list; of anything else none."""
    return cast("Sequence[object]", given) if isinstance(given, tuple | list) else ()


def _read_norm(norm: object) -> Norm | None:
    if norm is None:
        return None
    if not isinstance(norm, str):
        raise TypeError(
            f"norm must be None or one of {', '.join(map(repr, _NORMS))}, got {norm!r}."
        )
    check_choice("norm", norm, [*_NORMS])
    return _NORMS[norm]


def _read_activation(name: str, given: object) -> nn.Module:
    """Return a new activation, by its name or as a copy."""
    if isinstance(given, nn.Module):
        return deepcopy(given)
    if not isinstance(given, str):
        raise TypeError(f"{name} must be a name, as 'relu', or a module, got {given!r}.")
    check_choice(name, given, [*ACTIVATIONS])
    return ACTIVATIONS[given]()


def _warn(axes: Sequence[Ladder]) -> None:
    """Issue one warning for what is not clean."""
    told: dict[str, list[str]] = {}
    for name, axis in zip(AXES[len(axes)], axes, strict=True):
        if axis.artifacts:
            sizes = " -> ".join(map(str, axis.sizes))
            told.setdefault(f"{sizes}: {axis.artifacts}", []).append(name)
    if told:
        warn("\n".join(f"{' and '.join(names)} {text}" for text, names in told.items()))
