"""Read one upsampling step: its parameters, sizes and weights, and the verdict on it."""

from collections.abc import Mapping, Sequence
from math import prod
from typing import Any

from torch import Tensor, nn

from autoup.auditing.upsampling import (
    BALANCED,
    Upsampling,
    convolution_border,
    count_products,
    judge,
    pattern,
    read_axes,
)
from autoup.inspecting.calls import Call
from autoup.inspecting.modules import (
    kernel_in_use,
    modules_by_path,
    paths_by_module,
    paths_by_parameter,
)
from autoup.inspecting.sites import NORM, Site, has_numbers, is_quantised
from autoup.measuring.phases import kernel_spread, shuffle_spread
from autoup.repairing.folding import plan_fold
from autoup.repairing.remedies import axes_of, per_dim, per_dim_float, plan_growth
from autoup.solving.solution import Solution

_ELEMENTWISE = {"relu", "leaky_relu", "gelu", "silu", "elu", "tanh", "sigmoid", "dropout",
                "contiguous", "identity", "prelu", "dropout2d", "selu", "mish"}  # fmt: skip


class Reader:
    """Reads the steps of one model."""

    def __init__(self, model: nn.Module) -> None:
        self._paths = paths_by_module(model)
        self._owners = paths_by_parameter(model)
        self._layers: Mapping[str, nn.Module] = modules_by_path(model)

    def read(self, site: Site) -> Upsampling:
        """Return the row of one step, its drift left out."""
        if site.kind == "transposed":
            return self._read_transposed(site)
        return self._read_resize(site) if site.kind == "resize" else self._read_shuffle(site)

    def _read_transposed(self, site: Site) -> Upsampling:
        layer: Any = site.module
        kernel, stride, padding, extra, dilation = zip(*axes_of(site), strict=True)
        dims, call = len(kernel), site.calls[0] if site.calls else None
        if call is not None:  # What output_size asked for, if it was passed.
            extra = per_dim(call.arguments.get("output_padding", 0), dims)
        sizes = getattr(layer, "in_size", None) if call is None else call.shape[-dims:]
        axes, sized = read_axes(sizes, kernel, stride, padding, extra, dilation), sizes is not None
        weight, channels, groups = _read_weight(site)
        spread = None
        if weight is not None and has_numbers(weight):
            spread = kernel_spread(weight, stride, dilation)
        seen, severity = judge(axes, spread, sized, getattr(layer, "smoothness", 0))
        remedy = plan_growth(site, self._owners, self._layers).text
        if severity == "note" and not remedy:
            remedy = "smoothness=1 keeps the phases equal at every step, and changes the output"
        return Upsampling(
            type=type(layer).__name__ if layer is not None else f"conv_transpose{dims}d",
            partner=None,
            mode=None,
            in_channels=channels[0],
            out_channels=channels[1],
            groups=groups,
            kernel_size=tuple(kernel),
            stride=tuple(stride),
            padding=tuple(padding),
            output_padding=tuple(extra),
            dilation=tuple(dilation),
            spread=spread,
            multiply_adds=_transposed_products(site, channels, groups, kernel) if call else None,
            seen=seen,
            severity=severity,
            remedy=remedy,
            **_count(axes, sized),
            **_place(site),
        )

    def _read_shuffle(self, site: Site) -> Upsampling:
        conv = _read_conv(site)
        dims = conv.dims if conv else (len(site.calls[0].made) - 2 if site.calls else 2)
        scale = (float(site.split),) * dims
        spread = _shuffle_spread(site)
        uneven = spread is not None and spread >= BALANCED
        seen = (f"unequal phases, {spread:.2g}: {pattern(dims)}",) if uneven else ()
        remedy = (
            "nothing; start its convolution from equal phases (ICNR, biases too), or blur behind it"
        )
        return self._even_row(
            site, conv, scale, seen, "note" if uneven else "clean", remedy if uneven else "", spread
        )

    def _read_resize(self, site: Site) -> Upsampling:
        conv, module = _read_conv(site), site.module
        scale = _scale_of(site, conv)
        mode = getattr(module, "mode", None)
        if site.calls:
            mode = site.calls[0].arguments.get("mode", mode or "nearest")
        ragged = str(mode).startswith("nearest") and any(s != int(s) for s in scale)
        seen = ("pixels repeat unevenly: the sizes have no integer ratio",) if ragged else ()
        folded = plan_fold(site, self._paths)
        remedy = f"fold_resize=True: {folded.text}" if folded.enlargement else ""
        return self._even_row(
            site, conv, scale, seen, "note" if ragged else "clean", remedy, 0.0, str(mode)
        )

    def _even_row(
        self,
        site: Site,
        conv: "_Conv | None",
        scale: Sequence[float],
        seen: tuple[str, ...],
        severity: str,
        remedy: str,
        spread: float | None,
        mode: str | None = None,
    ) -> Upsampling:
        """Return the row of a step that is even by construction."""
        call = site.calls[0] if site.calls else None
        dims = len(scale)
        kernel = conv.kernel_size if conv else (1,) * dims
        split = int(scale[0]) if site.kind == "shuffle" else 1
        return Upsampling(
            type=type(site.module).__name__ if site.module else site.path.rpartition(".")[2],
            partner=site.partner,
            mode=mode,
            stride=tuple(scale),
            output_padding=(0,) * dims,
            in_size=_before(call, split) if call else None,
            out_size=tuple(call.made[2:]) if call else None,
            phases=tuple((k,) * int(s) for k, s in zip(kernel, scale, strict=False)),
            even=True,
            uncovered=(0,) * dims,
            border=tuple(split * each for each in conv.border()) if conv else (0,) * dims,
            shift=(0.0,) * dims,
            spread=spread,
            multiply_adds=(conv.products() if conv else 0) if call else None,
            seen=seen,
            severity=severity,
            remedy=remedy,
            **_settings(conv, split, dims),
            **_place(site),
        )


def _settings(conv: "_Conv | None", split: int, dims: int) -> dict[str, Any]:
    return {
        "in_channels": conv.in_channels if conv else None,
        "out_channels": conv.out_channels // split**dims if conv else None,
        "groups": conv.groups if conv else 1,
        "kernel_size": conv.kernel_size if conv else None,
        "padding": conv.padding if conv else None,
        "dilation": conv.dilation if conv else (1,) * dims,
    }


def _place(site: Site) -> dict[str, Any]:
    return {
        "name": site.path,
        "kind": site.kind,
        "drift": None,
        "calls": len(site.calls) if site.calls else None,
    }


def _count(axes: Sequence[Solution], sized: bool) -> dict[str, Any]:
    return {
        "in_size": tuple(axis.in_size for axis in axes) if sized else None,
        "out_size": tuple(axis.out_size for axis in axes) if sized else None,
        "phases": tuple(axis.phases for axis in axes),
        "even": all(axis.even for axis in axes),
        "uncovered": tuple(axis.uncovered if sized or min(axis.phases) else 0 for axis in axes),
        "border": tuple(axis.border for axis in axes),
        "shift": tuple(axis.shift for axis in axes),
    }


def _transposed_products(
    site: Site, channels: Sequence[int], groups: int, kernel: Sequence[int]
) -> int:
    dims = len(kernel)
    shapes = [call.shape for call in site.calls]
    return sum(
        count_products(prod(shape[: -dims - 1]), channels, groups, shape[-dims:], kernel)
        for shape in shapes
    )


def _before(call: Call, split: int) -> tuple[int, ...]:
    """Return the size before a step; a shuffle by hand ends with a call that joins."""
    return tuple(o // split for o in call.made[2:]) if split > 1 else tuple(call.shape[2:])


class _Conv:
    """The convolution beside a step, read from a module or from a call."""

    def __init__(self, site: Site) -> None:
        conv: Any = site.conv
        self._calls = site.conv_calls
        if conv is not None:
            weight, self.groups = conv.weight, conv.groups
            stride, padding, dilation = conv.stride, conv.padding, conv.dilation
            zeros = conv.padding_mode == "zeros"
        else:
            given = self._calls[0].arguments
            weight, self.groups = given["weight"], given.get("groups", 1)
            stride, padding, dilation = (
                given.get(name, default)
                for name, default in (("stride", 1), ("padding", 0), ("dilation", 1))
            )
            zeros = True
        self.dims = weight.ndim - 2
        self.kernel_size: tuple[int, ...] = tuple(weight.shape[2:])
        self.out_channels: int = weight.shape[0]
        self.in_channels: int = weight.shape[1] * self.groups
        self.dilation = per_dim(dilation, self.dims)
        self.padding = (
            None if isinstance(padding, str) or not zeros else per_dim(padding, self.dims)
        )
        self._plain = set(per_dim(stride, self.dims)) == {1}

    def border(self) -> tuple[int, ...]:
        if self.padding is None or not self._plain:
            return (0,) * self.dims
        taps = [*zip(self.kernel_size, self.padding, self.dilation, strict=True)]
        sizes = [2 * p + 2 * d * (k - 1) + 4 for k, p, d in taps]
        if self._calls:
            sizes = self._calls[0].shape[-self.dims :]
        return tuple(
            convolution_border(i, k, p, d) for i, (k, p, d) in zip(sizes, taps, strict=True)
        )

    def products(self) -> int:
        channels = self.in_channels, self.out_channels
        return sum(
            count_products(
                prod(each.made[: -self.dims - 1]),
                channels,
                self.groups,
                each.made[-self.dims :],
                self.kernel_size,
            )
            for each in self._calls
        )


def _read_conv(site: Site) -> _Conv | None:
    return _Conv(site) if site.conv is not None or site.conv_calls else None


def _read_weight(site: Site) -> tuple[Tensor | None, tuple[int, int], int]:
    """Return the kernel in use, the channels and the groups of a transposed convolution."""
    layer: Any = site.module
    if layer is None:
        given = site.calls[0].arguments
        weight, groups = given["weight"], given.get("groups", 1)
        return weight, (weight.shape[0], weight.shape[1] * groups), groups
    weight = None if is_quantised(layer) else kernel_in_use(layer)
    return weight, (layer.in_channels, layer.out_channels), layer.groups


def _scale_of(site: Site, conv: _Conv | None) -> tuple[float, ...]:
    if site.calls:
        call = site.calls[0]
        return tuple(o / i for i, o in zip(call.shape[2:], call.made[2:], strict=True))
    given: Any = getattr(site.module, "scale_factor", None)
    return () if given is None else per_dim_float(given, conv.dims if conv else 1)


def _shuffle_spread(site: Site) -> float | None:
    """Return the spread of the convolution, where what follows it keeps equal phases equal."""
    conv: Any = site.conv
    if site.blurred:
        return 0.0
    if conv is None or not has_numbers(kernel_in_use(conv)):
        return None
    norm: Any = None
    for place, each in enumerate(site.between[::-1]):
        if isinstance(each, NORM) and place == 0 and each.running_var is not None:
            norm = each
        elif _name(each) not in _ELEMENTWISE:
            return None
    if conv.out_channels % site.split ** (conv.weight.ndim - 2):
        return None
    return shuffle_spread(conv, site.split, norm)


def _name(between: object) -> str:
    return between if isinstance(between, str) else type(between).__name__.lower()
