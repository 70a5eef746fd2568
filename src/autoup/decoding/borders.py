"""How a decoder's maps go on beyond their ends: the layers that continue a map before it grows.

An encoder pads with zeros, around the picture (circular), by reflection or by replication. A mirror
whose code is continued in the same way behaves likewise along its border. Along a causal axis the
code is continued in front alone, so that no output sees a code that comes after it.

Legend: i code size, o output size, k kernel, s stride, p padding, d dilation, m smoothness. Pixel y
of the output takes its taps from the codes (y + p - d*j)/s, 0 <= j < k: it needs those from
(y + p - d*(k - 1))/s on, up to (y + p)/s. One more pixel of code in front and s more of padding
leave every place as it is.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from torch import nn

from autoup.layers.conv_transpose import AUTO, build
from autoup.layers.mirroring import Conv, Mirror
from autoup.solving.plan import make_plan
from autoup.solving.solution import Solution

Layers = list[tuple[str, nn.Module]]
Pair = tuple[int, int]

CONV: dict[int, type[Any]] = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}
_CONSTANT: dict[int, type[Any]] = {1: nn.ConstantPad1d, 2: nn.ConstantPad2d, 3: nn.ConstantPad3d}
_PAD: dict[str, dict[int, type[Any]]] = {
    "zeros": {1: nn.ZeroPad1d, 2: nn.ZeroPad2d, 3: nn.ZeroPad3d},
    "circular": {1: nn.CircularPad1d, 2: nn.CircularPad2d, 3: nn.CircularPad3d},
    "reflect": {1: nn.ReflectionPad1d, 2: nn.ReflectionPad2d, 3: nn.ReflectionPad3d},
    "replicate": {1: nn.ReplicationPad1d, 2: nn.ReplicationPad2d, 3: nn.ReplicationPad3d},
}


@dataclass(frozen=True, slots=True)
class Border:
    """How one axis of a map goes on beyond its ends.

    Args:
        mode: ``"zeros"``, ``"circular"``, ``"reflect"`` or ``"replicate"``.
        causal: Whether nothing depends on what comes later.
        stride: Of what is to be undone there, in pixels; 0 where it is not known.
    """

    mode: str = "zeros"
    causal: bool = False
    stride: int = 0


ZEROS = Border()


@dataclass(frozen=True, slots=True)
class Axis:
    """One axis of a layer, and how its input is continued.

    Args:
        solution: What the layer does to the continued input.
        pads: Pixels that continue the input, in front and behind.
        mode: As in ``Border``.
        crop: Pixels that go again behind the output.
    """

    solution: Solution
    pads: Pair = (0, 0)
    mode: str = "zeros"
    crop: int = 0


def continue_both(found: Solution, mode: str) -> Axis:
    """Continue a map at both ends, as far as its taps reach.

    Args:
        found: What was solved for a map that ends.
        mode: As in ``Border``.

    Example:
        >>> axis = continue_both(Solution(8, 16, 4, 2, padding=1), "circular")
        >>> axis.pads, axis.solution.padding, axis.solution.out_size
        ((1, 1), 3, 16)
    """
    if mode == "zeros":
        return Axis(found)
    i, s, p = found.in_size, found.stride, found.padding
    reach = found.dilation * (found.kernel_size - 1)
    q = max(0, (reach - p + found.output_padding) // s)  # Behind; in front no more are missing.
    continued = replace(found, in_size=i + 2 * q, padding=p + s * q, margin=2 * q)
    return Axis(continued, (q, q), _possible(mode, q, i))


def continue_front(i: int, o: int, s: int, m: int, mode: str, k: int = 1, d: int = 1) -> Axis:
    """Let code n reach the outputs from s*n on, and no output be without a code.

    The kernel is as long as the stride, or twice that with a promise. Zeros go in front as far as
    the layer crops them again; replicated pixels as far as taps reach, and behind the last code.

    Args:
        i: Code size, in pixels.
        o: Output size, in pixels.
        s: Stride, in pixels.
        m: Smoothness of the layer.
        mode: As in ``Border``; what looks ahead, reflection, becomes replication.
        k: Kernel size where the stride is 1, in taps.
        d: Dilation where the stride is 1, in pixels.

    Example:
        >>> axis = continue_front(8, 15, 2, 1, "zeros")
        >>> axis.pads, axis.solution.padding, axis.solution.out_size, axis.crop
        ((1, 0), 2, 16, 1)
    """
    if s > 1:  # One phase of one tap alone holds a promise of order 1 by being flat.
        k, d = (2 * s if m > 1 or (m and i > 1) else s), 1
    while (left := s * (i - 1) + d * (k - 1) + 1 - o) < 0:
        k += s
    front, behind = left // s, 0
    if mode != "zeros":
        mode, front = "replicate", max(front, d * (k - 1) // s)
        behind = front - left // s
    made, n = left + o + s * (behind - front), front + behind
    continued = Solution(i + n, made, k, s, s * front, 0, d, margin=n)
    return Axis(continued, (front, behind), mode, made - o)


def _possible(mode: str, count: int, size: int) -> str:
    """Return the mode, or replication where a map is too small for it."""
    most = {"reflect": size - 1, "circular": size}.get(mode, count)
    return mode if count <= most else "replicate"


def causal_stride(i: int, o: int, stride: int) -> int:
    """Return the stride of a causal layer from i to about o pixels; 0 where none fits.

    Example:
        >>> causal_stride(8, 15, 2), causal_stride(4, 11, 0), causal_stride(100, 150, 0)
        (2, 3, 0)
    """
    if stride and abs(stride * i - o) < stride:
        return stride
    nearest = -(-o // i)
    return nearest if nearest * i - o < nearest else 0


def build_continued(
    conv: Conv,
    axes: Sequence[Axis],
    shifts: tuple[float, ...] | None,
    word: str = "up",
    **options: Any,
) -> Layers:
    """Return the layers that continue a map, enlarge it, and crop what is too much.

    Args:
        conv: The convolution that channels, groups and bias come from, reversed.
        axes: What each axis does.
        shifts: ``round_trip_shift`` of the layer that enlarges.
        word: For that layer.
        options: Of that layer, as in ``build``.

    Example:
        >>> axis = continue_both(Solution(8, 16, 4, 2, padding=1), "circular")
        >>> build_continued(nn.Conv1d(1, 4, 3, 2, 1), [axis], None, smoothness=1)[0]
        ('pad', CircularPad1d((1, 1)))
    """
    dims = len(axes)
    plan = make_plan(tuple(axis.solution for axis in axes), None)
    up = build(AUTO[dims], Mirror(conv, plan, shifts), **options)
    layers = [*pad([axis.pads for axis in axes], [axis.mode for axis in axes]), (word, up)]
    return layers + crop([(0, -axis.crop) for axis in axes])


def pad(pairs: Sequence[Pair], modes: Sequence[str]) -> Layers:
    """Return the layers that pad each axis in its mode, one for all axes of a mode.

    Example:
        >>> pad([(2, 0), (1, 1)], ["zeros", "reflect"])
        [('pad', ZeroPad2d((0, 0, 2, 0))), ('pad', ReflectionPad2d((1, 1, 0, 0)))]
        >>> pad([(0, 0), (1, 1)], ["zeros", "zeros"]), pad([(0, 0)], ["circular"])
        ([('pad', ZeroPad2d((1, 1, 0, 0)))], [])
    """
    layers: Layers = []
    for mode in dict.fromkeys(modes):
        own = [p if m == mode else (0, 0) for p, m in zip(pairs, modes, strict=True)]
        if any(map(any, own)):
            layers.append(("pad", _PAD[mode][len(own)](_in_order(own))))
    return layers


def crop(pairs: Sequence[Pair]) -> Layers:
    """Return the layer that adds zeros in front of and behind each axis, or crops what is below 0.

    Example:
        >>> crop([(0, -1)]), crop([(0, 0)])
        ([('crop', ConstantPad1d(padding=(0, -1), value=0.0))], [])
    """
    if not any(map(any, pairs)):
        return []
    return [("crop", _CONSTANT[len(pairs)](_in_order(pairs), 0.0))]


def _in_order(pairs: Sequence[Pair]) -> tuple[int, ...]:
    """Return the amounts as PyTorch takes them, the last axis first."""
    return tuple(amount for pair in reversed(pairs) for amount in pair)


def convolve(channels: int, sizes: Sequence[int], borders: Sequence[Border], **rest: Any) -> Layers:
    """Return a convolution of 3 taps that keeps the size, with a border of its own.

    Example:
        >>> convolve(4, (8, 8), [ZEROS, Border("circular")])
        [('pad', CircularPad2d((1, 1, 0, 0))), ('convolution', Conv2d(4, 4, kernel_size=(3, 3), \
stride=(1, 1), padding=(1, 0)))]
    """
    plain = [border == replace(ZEROS, stride=border.stride) for border in borders]
    pairs = [(0, 0) if zeros else (2, 0) if border.causal else (1, 1)
             for zeros, border in zip(plain, borders, strict=True)]  # fmt: skip
    modes = [_mode(border, size) for border, size in zip(borders, sizes, strict=True)]
    conv = CONV[len(sizes)](channels, channels, 3, padding=tuple(map(int, plain)), **rest)
    return [*pad(pairs, modes), ("convolution", conv)]


def _mode(border: Border, size: int) -> str:
    """Return the mode of a padding of one pixel, or in front of two."""
    if border.causal and border.mode != "zeros":
        return "replicate"
    return _possible(border.mode, 1, size)
