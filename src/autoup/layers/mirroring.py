"""Read one convolution and plan the layer that takes its output back to its input's size.

Legend: i size to restore (the convolution's input), k kernel, s stride, p padding in front,
d dilation. Pixel n of the convolution's output sits at s*n + d*(k - 1)/2 - p of its input;
the mirror, with its own k, d and p, puts it at s*n + d*(k - 1)/2 - p of its output.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from math import gcd
from typing import Any

import torch
from torch import nn
from torch.nn.modules.lazy import LazyModuleMixin

from autoup.checks import per_axis, require_smoothness
from autoup.errors import InfeasibleError
from autoup.solving.flaws import AXES, Advice, describe, is_clean
from autoup.solving.plan import Plan, make_plan
from autoup.solving.reach import reaches, unreachable
from autoup.solving.sizes import convolved_size, least_kernel
from autoup.solving.solution import Solution
from autoup.solving.solver import best_solutions

Conv = nn.Conv1d | nn.Conv2d | nn.Conv3d
_CONV = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}


@dataclass(frozen=True, slots=True)
class Mirror:
    """A convolution and the plan of the layer that mirrors it.

    Args:
        conv: The convolution.
        plan: The solved axes of the mirror.
        round_trip_shift: Per axis, in pixels: where the mirror puts a pixel minus where the
            convolution took it from; what a skip connection sees. None where that is not told.
    """

    conv: Conv
    plan: Plan
    round_trip_shift: tuple[float, ...] | None


@dataclass(frozen=True, slots=True)
class _Axis:
    """One axis of a convolution, with the padding in front of and behind its input."""

    kernel_size: int
    stride: int
    before: int
    after: int
    dilation: int

    def convolve(self, size: int) -> int:
        k, s, d = self.kernel_size, self.stride, self.dilation
        return convolved_size(size, k, s, self.before, d, self.after)


def read_mirror(
    conv: object,
    out_size: object,
    dims: int,
    adjoint: bool = False,
    kernel_size: object = None,
    smoothness: object = 0,
    tied: bool = False,
) -> Mirror:
    """Plan the mirror of ``conv`` for an input of ``out_size``.

    ``tied`` is for the advice alone: what is no adjoint cannot share the weight.

    Raises:
        InfeasibleError: No transposed convolution is the adjoint, the pinned kernel cannot
            reach the size, or a kernel has too few taps for the smoothness.
        TypeError: ``conv`` is not a convolution of ``dims`` dimensions.
        ValueError: ``conv`` is lazy, or has no output at this size.

    Example:
        >>> mirror = read_mirror(nn.Conv2d(1, 8, 3, 2, 1), 28, 2)
        >>> mirror.plan.arguments["kernel_size"], mirror.round_trip_shift
        ((2, 2), (0.5, 0.5))
    """
    checked, m = _check_conv(conv, dims), require_smoothness(smoothness)
    out_sizes = per_axis("out_size", out_size, dims)
    pins = (None,) * dims if kernel_size is None else per_axis("kernel_size", kernel_size, dims)
    if adjoint and kernel_size is not None:
        raise ValueError(
            f"kernel_size={kernel_size} cannot be pinned with adjoint=True: "
            f"the adjoint has the encoder's kernel_size {tuple(checked.kernel_size)}."
        )
    axes, loose = _read_axes(checked), "adjoint=False" + " and tied=False" * tied
    stacked = list(zip(axes, out_sizes, pins, strict=True))
    solutions = tuple(
        _mirror_axis(name, *each, loose if adjoint else "", m)
        for name, each in zip(AXES[dims], stacked, strict=True)
    )
    advice = [
        []
        if is_clean(found, scale=False)
        else _advise(stacked, solutions, found, loose if adjoint else "", m)
        for found in solutions
    ]
    shifts = tuple(_shift(axis, found) for axis, found in zip(axes, solutions, strict=True))
    return Mirror(checked, make_plan(solutions, describe(solutions, advice, m)), shifts)


def check_agreement(
    mirror: Mirror,
    in_channels: int,
    out_channels: int,
    in_size: object,
    stride: object,
    dilation: object,
    groups: int,
) -> None:
    """Refuse arguments that contradict the encoder.

    Raises:
        ValueError: A channel number, size, stride, dilation or group number disagrees.

    Example:
        >>> mirror = read_mirror(nn.Conv2d(1, 8, 3, 2, 1), 28, 2)
        >>> check_agreement(mirror, 8, 1, 14, None, 1, 1)
    """
    conv, plan, dims = mirror.conv, mirror.plan, len(mirror.plan.in_size)
    in_sizes = per_axis("in_size", in_size, dims)
    facts: dict[str, tuple[object, object, str]] = {
        "in_channels": (in_channels, conv.out_channels, "its out_channels"),
        "out_channels": (out_channels, conv.in_channels, "its in_channels"),
        "in_size": (in_sizes, plan.in_size, f"what it makes of {plan.out_size}"),
    }
    if stride is not None:
        facts["stride"] = (per_axis("stride", stride, dims), tuple(conv.stride), "its stride")
    if dilation not in (1, (1,) * dims):
        facts["dilation"] = (dilation, 1, "the default: a mirror takes its dilation from it")
    if groups != 1:
        facts["groups"] = (groups, conv.groups, "its groups")
    for name, (given, expected, meaning) in facts.items():
        if given != expected:
            raise ValueError(
                f"{name}={given} disagrees with the encoder: expected {expected}, {meaning}."
            )


def inherit(
    conv: Conv, bias: bool, device: torch.device | str | int | None, dtype: torch.dtype | None
) -> dict[str, Any]:
    """Return the groups of ``conv``, and its bias, device and dtype where not given others.

    Example:
        >>> inherit(nn.Conv2d(4, 8, 3, groups=2, bias=False), True, None, None)["bias"]
        False
    """
    return {
        "groups": conv.groups,
        "bias": bias and conv.bias is not None,
        "device": conv.weight.device if device is None else device,
        "dtype": conv.weight.dtype if dtype is None else dtype,
    }


def tied_weight(
    conv: Conv, adjoint: bool, device: torch.device | str | int | None, dtype: torch.dtype | None
) -> nn.Parameter:
    """Return the convolution's weight Parameter for the mirror to share.

    Raises:
        ValueError: The mirror is not the adjoint, the weight is not a Parameter, or another
            device or dtype is asked for.

    Example:
        >>> conv = nn.Conv2d(1, 8, 3, 2, 1)
        >>> tied_weight(conv, True, None, None) is conv.weight
        True
    """
    if not adjoint:
        raise ValueError(
            "tied=True needs adjoint=True: a clean mirror has a kernel of its own; "
            "pass adjoint=True, or leave tied out."
        )
    weight = dict(conv.named_parameters(recurse=False)).get("weight")
    if weight is None:
        raise ValueError(
            "tied=True needs an encoder whose weight is a Parameter, but this one derives it "
            "(weight_norm, spectral_norm or the like); leave tied out."
        )
    if dtype not in (None, weight.dtype):
        raise ValueError(f"dtype={dtype} cannot be tied to the encoder's weight, {weight.dtype}.")
    if device is not None and torch.empty(0, device=device).device != weight.device:
        raise ValueError(f"device={device} cannot be tied to the encoder's, {weight.device}.")
    return weight


def _check_conv(conv: object, dims: int) -> Conv:
    expected = _CONV[dims]
    if not isinstance(conv, expected):
        raise TypeError(f"encoder must be an nn.{expected.__name__}, got {_name(conv)}.")
    if isinstance(conv, LazyModuleMixin):
        raise ValueError(
            f"encoder is a {_name(conv)} whose channels are not known yet: "
            "pass one batch through it first."
        )
    return conv


def _name(value: object) -> str:
    return type(value).__name__ if isinstance(value, nn.Module) else repr(value)


def _read_axes(conv: Conv) -> list[_Axis]:
    axes: list[_Axis] = []
    for number, (k, s, d) in enumerate(
        zip(conv.kernel_size, conv.stride, conv.dilation, strict=True)
    ):
        total = d * (k - 1) if conv.padding == "same" else 0
        before = total // 2 if isinstance(conv.padding, str) else conv.padding[number]
        after = total - before if isinstance(conv.padding, str) else before
        axes.append(_Axis(k, s, before, after, d))
    return axes


def _mirror_axis(
    name: str, axis: _Axis, size: int, pin: int | None, loose: str, m: int
) -> Solution:
    in_size = axis.convolve(size)
    if in_size < 1:
        raise ValueError(
            f"encoder has no output at {name} {size}: out_size must be at least "
            f"{_smallest_input(axis)} there."
        )
    try:
        if loose:
            return _adjoint(axis, in_size, size, loose, m)
        return _clean(axis, in_size, size, pin, m)
    except InfeasibleError as error:
        raise InfeasibleError(f"{name}: {error}") from None


def _smallest_input(axis: _Axis) -> int:
    return max(1, axis.dilation * (axis.kernel_size - 1) + 1 - axis.before - axis.after)


def _clean(axis: _Axis, i: int, o: int, pin: int | None, m: int) -> Solution:
    """Solve for the encoder's stride; a stride of 1 keeps kernel, dilation and padding.

    An even kernel under ``padding="same"`` is padded by one pixel more behind than in front,
    which no transposed convolution undoes: the next larger kernel stands in for it.
    """
    k, s = axis.kernel_size, axis.stride
    d = axis.dilation if s == 1 else 1
    if pin is not None and pin >= least_kernel(s, m) and not reaches(i, o, pin, (s,), d, m):
        nearest = _nearest_restored(axis, o, pin, d, m)
        raise InfeasibleError(unreachable(i, o, pin, (s,), d, m, nearest))
    if s > 1 or pin is not None:
        return best_solutions(i, o, pin, s, d, m=m)[0]
    if axis.before == axis.after:
        return Solution(i, o, k, 1, axis.before, 0, d)
    return best_solutions(i, o, k + 1, 1, d)[0]


def _nearest_restored(axis: _Axis, o: int, pin: int, d: int, m: int) -> str:
    """Name the nearest size that a pinned kernel restores; what it reaches repeats with stride."""
    for size in (o + step for n in range(1, axis.stride + 1) for step in (-n, n)):
        i = axis.convolve(size) if size >= _smallest_input(axis) else 0
        if i and reaches(i, size, pin, (axis.stride,), d, m):
            made = f"in_size={i}, " if i != axis.convolve(o) else ""
            return f"out_size={size} ({made}stride={axis.stride})"
    return ""


def _adjoint(axis: _Axis, i: int, o: int, loose: str, m: int) -> Solution:
    """Keep kernel, stride, padding and dilation; output padding makes up what stride skipped."""
    k, s, p, d = axis.kernel_size, axis.stride, axis.before, axis.dilation
    if axis.before != axis.after:
        raise InfeasibleError(
            f"no transposed convolution is the adjoint of padding='same' with kernel_size={k}, "
            f"dilation={d}: it would crop {p} px in front and {axis.after} px behind. The "
            f"nearest that works is kernel_size={k + 1} in the encoder; or {loose}."
        )
    if m and (k < least_kernel(s, m) or gcd(s, d) > 1):
        raise InfeasibleError(
            f"the adjoint of kernel_size={k}, stride={s}, dilation={d} cannot have smoothness={m}, "
            f"which takes {least_kernel(s, m)} taps or more and a dilation that shares no factor "
            f"with the stride. The nearest that works is {loose}; or smoothness=0."
        )
    return Solution(i, o, k, s, p, (o + 2 * p - d * (k - 1) - 1) % s, d)


def _shift(axis: _Axis, found: Solution) -> float:
    encoder = axis.dilation * (axis.kernel_size - 1) / 2 - axis.before
    return found.dilation * (found.kernel_size - 1) / 2 - found.padding - encoder


def _advise(
    axes: Sequence[tuple[_Axis, int, int | None]],
    solutions: Sequence[Solution],
    flawed: Solution,
    loose: str,
    m: int,
) -> list[list[Advice]]:
    """Return what a user may change, the smallest change first; each is a clean mirror unpinned."""

    def clean(other: int | None = None) -> list[Solution]:
        sizes = [
            other if other and found == flawed else size
            for (_, size, _), found in zip(axes, solutions, strict=True)
        ]
        return [
            _clean(axis, axis.convolve(size), size, None, m)
            for (axis, *_), size in zip(axes, sizes, strict=True)
        ]

    axis, o, pin = axes[solutions.index(flawed)]
    options: list[list[Advice]] = []
    if loose:
        options.append([(loose, clean)])
    if pin is not None:
        options.append([("leave kernel_size unpinned", clean)])
    nearby = [size for size in (o - 1, o + 1) if size >= _smallest_input(axis)]
    nearby.sort(key=lambda size: axis.convolve(size) * axis.stride != size)
    also = f" and {loose}" if loose else ""
    also += " and kernel_size unpinned" if pin is not None else ""
    return options + [[(f"out_size={size}{also}", partial(clean, size))] for size in nearby]
