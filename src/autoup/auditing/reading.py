"""Read one upsampling step: its parameters, sizes and weights, and the verdict on it."""

from collections.abc import Sequence
from math import prod
from typing import Any, NamedTuple

from torch import Tensor, nn

from autoup.auditing.convolution import Convolution, read_convolution
from autoup.auditing.counts import Counts, count_axes, count_products, read_axes
from autoup.auditing.upsampling import Upsampling
from autoup.auditing.verdict import BALANCED, Verdict, judge, pattern
from autoup.inspecting.calls import Call, per_dim
from autoup.inspecting.modules import (
    kernel_in_use,
    modules_by_path,
    paths_by_module,
    paths_by_parameter,
)
from autoup.inspecting.sites import NORM, Site, has_numbers, is_quantised
from autoup.measuring.phases import kernel_spread, shuffle_spread
from autoup.repairing.remedies import axes_of, plan_fold, plan_growth

_ELEMENTWISE = {"relu", "leaky_relu", "gelu", "silu", "elu", "tanh", "sigmoid", "dropout",
                "contiguous", "identity", "prelu", "dropout2d", "selu", "mish"}  # fmt: skip


class _Parameters(NamedTuple):
    """What a step was built with; the fields are those of ``Upsampling``."""

    in_channels: int | None
    out_channels: int | None
    groups: int
    kernel_size: tuple[int, ...] | None
    stride: tuple[float, ...]
    padding: tuple[int, ...] | None
    output_padding: tuple[int, ...]
    dilation: tuple[int, ...]


class Reader:
    """Reads the steps of one model."""

    def __init__(self, model: nn.Module) -> None:
        self._paths = paths_by_module(model)
        self._owners = paths_by_parameter(model)
        self._modules = modules_by_path(model)

    def read(self, site: Site) -> Upsampling:
        """Return the row of one step, its drift left out."""
        if site.kind == "transposed":
            return self._read_transposed(site)
        return self._read_resize(site) if site.kind == "resize" else _read_shuffle(site)

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
        remedy = plan_growth(site, self._owners, self._modules).text
        if severity == "note" and not remedy:
            remedy = "smoothness=1 keeps the phases equal at every step, and changes the output"
        return _make_row(
            site,
            _Parameters(*channels, groups, kernel, stride, padding, extra, dilation),
            count_axes(axes, sized),
            Verdict(seen, severity, remedy),
            spread,
            _transposed_products(site, channels, groups, kernel) if call else None,
        )

    def _read_resize(self, site: Site) -> Upsampling:
        conv, module = read_convolution(site), site.module
        scale = _scale_of(site, conv)
        mode = getattr(module, "mode", None)
        if site.calls:
            mode = site.calls[0].arguments.get("mode", mode or "nearest")
        ragged = str(mode).startswith("nearest") and any(s != int(s) for s in scale)
        seen = ("pixels repeat unevenly: the sizes have no integer ratio",) if ragged else ()
        folded = plan_fold(site, self._paths)
        remedy = f"fold_resize=True: {folded.text}" if folded.enlargement else ""
        verdict = Verdict(seen, "note" if ragged else "clean", remedy)
        return _even_row(site, conv, scale, verdict, 0.0, str(mode))


def _read_shuffle(site: Site) -> Upsampling:
    conv = read_convolution(site)
    dims = conv.dims if conv else (len(site.calls[0].made) - 2 if site.calls else 2)
    spread, verdict = _shuffle_spread(site), Verdict()
    if spread is not None and spread >= BALANCED:
        verdict = Verdict(
            (f"unequal phases, {spread:.2g}: {pattern(dims)}",),
            "note",
            f"nothing; {_start_equal(site)}blur behind it",
        )
    return _even_row(site, conv, (float(site.split),) * dims, verdict, spread)


def _start_equal(site: Site) -> str:
    """Say how a convolution before a shuffle starts from equal phases, where it can."""
    conv: Any = site.conv
    if conv.out_channels % (site.split ** len(conv.kernel_size) * conv.groups):
        return "its groups give the phases of a channel different inputs: "
    own = {"weight", "bias"} <= conv._parameters.keys()
    first = "" if own else ", before its weight norm, pruning or the like is put on"
    norm = any(isinstance(each, NORM) for each in site.between)
    return (
        f"before training, autoup.init.icnr_(conv, {site.split}) starts its convolution from equal "
        f"phases{first}{', and norm.reset_parameters() the norm behind that' if norm else ''}, or "
    )


def _even_row(
    site: Site,
    conv: Convolution | None,
    scale: Sequence[float],
    verdict: Verdict,
    spread: float | None,
    mode: str | None = None,
) -> Upsampling:
    """Return the row of a step that is even by construction."""
    call = site.calls[0] if site.calls else None
    dims = len(scale)
    split = int(scale[0]) if site.kind == "shuffle" else 1
    parameters = _Parameters(
        in_channels=conv.in_channels if conv else None,
        out_channels=conv.out_channels // split**dims if conv else None,
        groups=conv.groups if conv else 1,
        kernel_size=conv.kernel_size if conv else None,
        stride=tuple(scale),
        padding=conv.padding if conv else None,
        output_padding=(0,) * dims,
        dilation=conv.dilation if conv else (1,) * dims,
    )
    taps = parameters.kernel_size or (1,) * dims
    counts = Counts(
        in_size=_before(call, split) if call else None,
        out_size=tuple(call.made[2:]) if call else None,
        phases=tuple((k,) * int(s) for k, s in zip(taps, scale, strict=False)),
        even=True,
        uncovered=(0,) * dims,
        border=tuple(split * each for each in conv.border()) if conv else (0,) * dims,
        shift=(0.0,) * dims,
    )
    products = (conv.products() if conv else 0) if call else None
    return _make_row(site, parameters, counts, verdict, spread, products, mode)


def _make_row(
    site: Site,
    parameters: _Parameters,
    counts: Counts,
    verdict: Verdict,
    spread: float | None,
    multiply_adds: int | None,
    mode: str | None = None,
) -> Upsampling:
    """Fill all fields of a row but the drift, which the whole model decides."""
    return Upsampling(
        name=site.path,
        type=_type_of(site, len(parameters.stride)),
        kind=site.kind,
        partner=site.partner,
        mode=mode,
        in_channels=parameters.in_channels,
        out_channels=parameters.out_channels,
        groups=parameters.groups,
        kernel_size=parameters.kernel_size,
        stride=parameters.stride,
        padding=parameters.padding,
        output_padding=parameters.output_padding,
        dilation=parameters.dilation,
        in_size=counts.in_size,
        out_size=counts.out_size,
        phases=counts.phases,
        even=counts.even,
        uncovered=counts.uncovered,
        border=counts.border,
        shift=counts.shift,
        spread=spread,
        multiply_adds=multiply_adds,
        drift=None,
        calls=len(site.calls) if site.calls else None,
        seen=verdict.seen,
        severity=verdict.severity,
        remedy=verdict.remedy,
    )


def _type_of(site: Site, dims: int) -> str:
    if site.module is not None:
        return type(site.module).__name__
    return f"conv_transpose{dims}d" if site.kind == "transposed" else site.path.rpartition(".")[2]


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


def _read_weight(site: Site) -> tuple[Tensor | None, tuple[int, int], int]:
    """Return the kernel in use, the channels and the groups of a transposed convolution."""
    layer: Any = site.module
    if layer is None:
        given = site.calls[0].arguments
        weight, groups = given["weight"], given.get("groups", 1)
        return weight, (weight.shape[0], weight.shape[1] * groups), groups
    weight = None if is_quantised(layer) else kernel_in_use(layer)
    return weight, (layer.in_channels, layer.out_channels), layer.groups


def _scale_of(site: Site, conv: Convolution | None) -> tuple[float, ...]:
    if site.calls:
        call = site.calls[0]
        return tuple(o / i for i, o in zip(call.shape[2:], call.made[2:], strict=True))
    given: Any = getattr(site.module, "scale_factor", None)
    dims = conv.dims if conv else 1
    return () if given is None else tuple(map(float, per_dim(given, dims)))


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
