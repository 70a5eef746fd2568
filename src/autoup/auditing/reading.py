"""Read one upsampling step: its parameters, sizes and weights, and the verdict on it."""

from collections.abc import Sequence
from math import prod
from typing import Any

from torch import Tensor, nn

from autoup.auditing.behind import evened_by
from autoup.auditing.convolution import Convolution, read_convolution
from autoup.auditing.counts import Counts, count_axes, count_products, read_axes
from autoup.auditing.others import read_other
from autoup.auditing.rows import Parameters, make_row, sizes_of
from autoup.auditing.upsampling import Upsampling
from autoup.auditing.verdict import BALANCED, Verdict, judge, pattern
from autoup.inspecting.calls import Call, per_dim
from autoup.inspecting.modules import (
    kernel_in_use,
    modules_by_path,
    paths_by_module,
    paths_by_parameter,
)
from autoup.inspecting.runs import dtype_and_device
from autoup.inspecting.sites import CONV, NORM, Site, has_numbers, is_quantised
from autoup.measuring.phases import fold_norm, phase_sums, shuffle_spread, sums_spread
from autoup.repairing.remedies import axes_of, plan_fold, plan_growth

_ELEMENTWISE = {"relu", "relu6", "leakyrelu", "elu", "selu", "celu", "gelu", "silu", "mish", "tanh",
                "sigmoid", "logsigmoid", "hardtanh", "hardswish", "hardsigmoid", "softplus",
                "softsign", "dropout", "dropout2d", "identity", "contiguous"}  # fmt: skip


class Reader:
    """Reads the steps of one model.

    Args:
        model: It.
        scaled: Whether its output has the scale that its sizes say, so that a step which has it
            not undoes what another does.
    """

    def __init__(self, model: nn.Module, *, scaled: bool = False) -> None:
        self._scaled = scaled
        self._has_numbers = dtype_and_device(model)[1].type != "meta"
        self._paths = paths_by_module(model)
        self._owners = paths_by_parameter(model)
        self._modules = modules_by_path(model)

    def read(self, site: Site) -> Upsampling:
        """Return the row of one step, its drift left out."""
        readers = {
            "transposed": self._read_transposed,
            "resize": self._read_resize,
            "repeat": self._read_resize,
            "shuffle": self._read_shuffle,
            "zeros": self._read_zeros,
        }
        return readers.get(site.kind, read_other)(site)

    def _read_transposed(self, site: Site) -> Upsampling:
        layer: Any = site.module
        kernel, stride, padding, extra, dilation = zip(*axes_of(site, called=True), strict=True)
        dims, call = len(kernel), site.calls[0] if site.calls else None
        if call is not None:  # What output_size asked for, if it was passed.
            extra = per_dim(call.arguments.get("output_padding", 0), dims)
        sizes = getattr(layer, "in_size", None) if call is None else call.shape[-dims:]
        axes, sized = read_axes(sizes, kernel, stride, padding, extra, dilation), sizes is not None
        weight, channels, groups = _read_weight(site)
        sums = None
        if weight is not None and has_numbers(weight):
            sums = phase_sums(weight, stride, dilation)
        spread = None if sums is None else sums_spread(sums)
        blurs = self._evened(site, stride, sums)
        order = getattr(layer, "smoothness", 0)
        scaled = self._scaled or getattr(layer, "round_trip_shift", None) is not None
        seen, severity = judge(axes, spread, sized, order, blurs, scaled)
        if spread is None and self._has_numbers and severity == "clean" and not blurs:
            seen, severity = (*seen, "phases not compared: its weights were not seen"), "note"
        growth = plan_growth(site, self._owners, self._modules)
        remedy = growth.text if severity != "clean" or growth.growths else ""
        if severity == "note" and not remedy:
            remedy = "smoothness=1 keeps the phases equal at every step, and changes the output"
        return make_row(
            site,
            Parameters(*channels, groups, kernel, stride, padding, extra, dilation),
            count_axes(axes, sized),
            Verdict(seen, severity, remedy),
            spread,
            _transposed_products(site, channels, groups, kernel) if call else None,
        )

    def _evened(self, site: Site, stride: Sequence[int], sums: Tensor | None) -> tuple[str, ...]:
        """Return the filters that leave nothing of a step's grid, wherever it is called."""
        found = [evened_by(call, stride, sums, self._modules) for call in site.calls]
        return tuple(dict.fromkeys(name for each in found for name in each)) if all(found) else ()

    def _read_resize(self, site: Site) -> Upsampling:
        conv, module = read_convolution(site), site.module
        scale = _scale_of(site, conv)
        mode = getattr(module, "mode", "nearest")
        if site.calls and site.kind == "resize":
            area = "area" if site.calls[0].name == "adaptive_pool" else mode
            mode = site.calls[0].arguments.get("mode", area)
        ragged = str(mode).startswith("nearest") and any(s != int(s) for s in scale)
        seen = ("pixels repeat unevenly: the sizes have no integer ratio",) if ragged else ()
        folded = plan_fold(site, self._paths)
        remedy = f"fold_resize=True: {folded.text}" if folded.enlargement else ""
        verdict = Verdict(seen, "note" if ragged else "clean", remedy)
        return _even_row(site, conv, scale, verdict, 0.0, str(mode))

    def _read_shuffle(self, site: Site) -> Upsampling:
        conv, verdict = read_convolution(site), Verdict()
        spread = _shuffle_spread(site, conv)
        if blurs := self._evened(site, site.split, None) if spread != 0.0 else ():
            spread, verdict = 0.0, Verdict((f"evened out by {', '.join(blurs)}",))
        elif spread is not None and spread >= BALANCED:
            verdict = Verdict(
                (f"unequal phases, {spread:.2g}: {pattern(len(site.split))}",),
                "note",
                f"nothing; {_start_equal(site)}blur behind it",
            )
        elif spread is None and self._has_numbers:
            verdict = Verdict((f"phases not compared: {_why_unknown(site)}",), "note")
        return _even_row(site, conv, [*map(float, site.split)], verdict, spread)

    def _read_zeros(self, site: Site) -> Upsampling:
        """Read zeros between pixels and a convolution behind them: one transposed convolution."""
        assert site.moved is not None
        conv, stride = read_convolution(site), site.moved.stride
        if conv is None or not site.direct or not conv.plain:
            return read_other(site)
        axes = read_axes(None, conv.kernel_size, stride, [0] * conv.dims, [0] * conv.dims,
                         conv.dilation)  # fmt: skip
        sums = None
        if has_numbers(conv.weight):
            sums = phase_sums(conv.weight, stride, conv.dilation)
        spread = None if sums is None else sums_spread(sums)
        seen, severity = judge(axes, spread, sized=False)
        ones = (1,) * conv.dims
        counts = count_axes(axes, sized=False)._replace(
            in_size=site.moved.in_size, out_size=site.moved.out_size, border=(0,) * conv.dims
        )
        taps = Parameters(conv.in_channels, conv.out_channels, conv.groups, conv.kernel_size,
                          tuple(map(float, stride)), None, (0,) * conv.dims, ones)  # fmt: skip
        return make_row(site, taps, counts, Verdict(seen, severity), spread, conv.products())


def _start_equal(site: Site) -> str:
    """Say how a convolution before a shuffle starts from equal phases, where it can."""
    conv: Any = site.conv
    channels = site.moved.channels if site.moved else ()
    if not isinstance(conv, CONV):
        return ""
    if [c for each in channels for c in sorted(each)] != [*range(sum(map(len, channels)))]:
        return ""  # Neighbouring channels start alike, and these are no neighbours.
    if conv.out_channels % (prod(site.split) * conv.groups):
        return "its groups give the phases of a channel different inputs: "
    names = {"weight"} if conv.bias is None else {"weight", "bias"}
    own = names <= dict(conv.named_parameters(recurse=False)).keys()
    first = "" if own else ", before its weight norm, pruning or the like is put on"
    norm = any(isinstance(each, NORM) for each in site.between)
    return (
        f"before training, autoup.init.icnr_(conv, {site.split[0]}) starts its convolution from "
        f"equal phases{first}{', and norm.reset_parameters() the norm behind that' if norm else ''}"
        ", or "
    )


def _why_unknown(site: Site) -> str:
    if site.partner is None:
        return "no convolution before them was found"
    if site.moved is not None and not site.moved.channels:
        return "they stem from several functions"
    return "what stands between the convolution and them may make them differ"


def _even_row(
    site: Site,
    conv: Convolution | None,
    scale: Sequence[float],
    verdict: Verdict,
    spread: float | None,
    mode: str | None = None,
) -> Upsampling:
    """Return the row of a step that is even by construction."""
    dims = len(scale)
    split = site.split or (1,) * dims
    parameters = Parameters(
        in_channels=conv.in_channels if conv else None,
        out_channels=conv.out_channels // prod(split) if conv else None,
        groups=conv.groups if conv else 1,
        kernel_size=conv.kernel_size if conv else None,
        stride=tuple(scale),
        padding=conv.padding if conv else None,
        output_padding=(0,) * dims,
        dilation=conv.dilation if conv else (1,) * dims,
    )
    taps = parameters.kernel_size or (1,) * dims
    before, after = sizes_of(site, dims) if site.calls else (None, None)
    border = conv.border() if conv else (0,) * dims
    counts = Counts(
        in_size=None if before is None else tuple(before),
        out_size=None if after is None else tuple(after),
        phases=tuple((k,) * max(1, int(s)) for k, s in zip(taps, scale, strict=False)),
        even=True,
        uncovered=(0,) * dims,
        border=tuple(s * each for s, each in zip(split, border, strict=False)),
        shift=(0.0,) * dims,
    )
    products = (conv.products() if conv else 0) if site.calls else None
    return make_row(site, parameters, counts, verdict, spread, products, mode)


def _transposed_products(
    site: Site, channels: Sequence[int], groups: int, kernel: Sequence[int]
) -> int:
    dims = len(kernel)
    shapes = [call.shape for call in site.calls]
    return sum(
        count_products(prod(shape[: -dims - 1]), channels, groups, shape[-dims:], kernel)
        for shape in shapes
    )


def _read_weight(site: Site) -> tuple[Tensor | None, tuple[int, int], int]:
    """Return the kernel in use, the channels and the groups of a transposed convolution.

    The call knows best: a ``forward`` of one's own may use another kernel than the layer's.
    """
    layer: Any = site.module
    given = site.calls[0].arguments if site.calls else {}
    if "weight" in given:
        weight, groups = given["weight"], given.get("groups", 1)
        return weight, (weight.shape[0], weight.shape[1] * groups), groups
    known = not is_quantised(layer) and hasattr(layer, "weight")
    weight = kernel_in_use(layer) if known else None
    return weight, (layer.in_channels, layer.out_channels), layer.groups


def _scale_of(site: Site, conv: Convolution | None) -> tuple[float, ...]:
    if site.moved is not None:
        return tuple(map(float, site.moved.stride))
    if site.calls:
        call: Call = site.calls[0]
        return tuple(o / i for i, o in zip(call.shape[2:], call.made[2:], strict=True))
    given: Any = getattr(site.module, "scale_factor", None)
    dims = conv.dims if conv else 1
    return () if given is None else tuple(map(float, per_dim(given, dims)))


def _shuffle_spread(site: Site, conv: Convolution | None) -> float | None:
    """Return the spread of the convolution, where what follows it keeps equal phases equal."""
    channels = site.moved.channels if site.moved else ()
    if conv is None or not has_numbers(conv.weight) or (site.moved and not channels):
        return None
    norm: Any = None
    for place, each in enumerate(site.between[::-1]):
        if isinstance(each, NORM) and place == 0 and each.running_var is not None:
            norm = each
        elif _name(each) not in _ELEMENTWISE and not _is_one_for_all(each):
            return None
    phases = prod(site.split)
    if conv.out_channels % phases:
        return None
    weight, bias = fold_norm(conv.weight, conv.bias, norm)
    return shuffle_spread(weight, bias, conv.groups, phases, channels)


def _name(between: object) -> str:
    """Return the name of a function or of a module, without what the two write differently."""
    name = between if isinstance(between, str) else type(between).__name__
    return name.lower().replace("_", "")


def _is_one_for_all(between: object) -> bool:
    """Tell whether a module is a PReLU of one slope, which treats all channels alike."""
    return isinstance(between, nn.PReLU) and between.num_parameters == 1
