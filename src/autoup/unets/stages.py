"""The stages of a U-Net's decoder: fit the map, enlarge it, cut it, join the skip, convolve.

Sizes are taken from the skip at each call. Along an axis, m pixels are enlarged to s*m, which is
always clean; a skip of n pixels gets them from ``ceil((n + c)/s)`` of the lower map, where pixels
beyond its ends repeat the last, and c and what is left over are cut off. Kernels wider than the
stride get such pixels at both ends, which are cut off again, so that nothing fades there. So the
same weights put the same row in the same place whether a size is odd or even.
"""

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from autoup.layers.conv_transpose import AutoConvTransposeNd
from autoup.versions import is_known

Sizes = Sequence[int]


class Stage(nn.Module):
    """One enlargement, and the block behind it.

    Args:
        up: Enlarges the map.
        block: Acts on the enlarged map and what is joined to it.
        channels: What it makes.
        target: Which map the way leads to, by its number among the skips; -1 for the image.
        joined: Which maps are joined to what is enlarged, likewise.
        take: Where the way begins here, how to choose the pixels to enlarge: by how much the map
            is enlarged on the way, and by how many pixels of the target it is moved, both per
            axis; None elsewhere.
        cut: Where the way ends here, how many pixels to cut off in front per axis; else None.
        shift: Where the way ends here, how far the enlarged pixels lie behind those of the target
            per axis, in these, None in a number's place if unknown; else empty. For show alone.

    Raises:
        ValueError: At a call, the block does not keep the size.

    Shape:
        - Input: the lower map ``(N, C, *)``, the size of the target, and what is joined.
        - Output: ``(N, C_out, *)``, with that size where the way ends here.
    """

    def __init__(
        self,
        up: AutoConvTransposeNd,
        block: nn.Module,
        channels: int,
        target: int,
        joined: Sequence[int],
        take: tuple[Sequence[int], Sequence[int]] | None,
        cut: Sequence[int] | None,
        shift: Sequence[float | None] = (),
    ) -> None:
        super().__init__()
        self.up = up
        self.block = block
        self.channels = channels
        self.target = target
        self.joined = tuple(joined)
        self._take = take
        self._cut = cut
        self.shift = tuple(shift)
        self._strides = up.stride
        axes = zip(cast("tuple[int, ...]", up.padding), self._strides, strict=True)
        self._margins = tuple((p + s - 1) // s for p, s in axes)

    @property
    def is_within(self) -> bool:
        """Whether the way goes on to a larger map."""
        return self._cut is None

    def extra_repr(self) -> str:
        """Tell what is made, and what is joined."""
        joined = ", ".join("the input" if each < 0 else f"skips[{each}]" for each in self.joined)
        return f"channels={self.channels}" + (f", joined=[{joined}]" if joined else "")

    def forward(self, x: Tensor, size: Sizes, *joined: Tensor) -> Tensor:
        """Enlarge a map, join others to it, and run the block."""
        if self._take is not None:
            x = take(x, size, *self._take)
        x = self._enlarge(x)
        if self._cut is not None:
            x = cut(x, size, self._cut)
        if joined:
            x = torch.cat([x, *joined], 1)
        made = cast("Tensor", self.block(x))
        if not _is_captured() and made.shape[2:] != x.shape[2:]:
            sizes = ["x".join(map(str, each.shape[2:])) for each in (made, x)]
            raise ValueError(
                f"block made a map of {sizes[0]} of one of {sizes[1]}; it must keep any size."
            )
        return made

    def _enlarge(self, x: Tensor) -> Tensor:
        """Enlarge as if the map went on at its ends as it ends there."""
        if not any(self._margins):
            return self.up(x)
        made = [n * s for n, s in zip(x.shape[2:], self._strides, strict=True)]
        y = self.up(extend(x, self._margins))
        return cut(y, made, [n * s for n, s in zip(self._margins, self._strides, strict=True)])


def take(x: Tensor, size: Sizes, strides: Sequence[int], fronts: Sequence[int]) -> Tensor:
    """Return the pixels of a map that are to be enlarged.

    Args:
        x: The map.
        size: That is wanted, per axis.
        strides: By which it is enlarged.
        fronts: How many pixels of the result it lies further back than at the start.

    Example:
        >>> take(torch.arange(3.0).view(1, 1, 3), [7], [2], [0])
        tensor([[[0., 1., 2., 2.]]])
    """
    for axis, (n, s, front) in enumerate(zip(size, strides, fronts, strict=True), 2):
        first = -front // s
        left = -front - s * first
        m, wanted = x.shape[axis], (n + left + s - 1) // s
        if first or not _is_known(m, wanted):
            x = _pixels(x, axis, first, wanted)
    return x


def extend(x: Tensor, margins: Sequence[int]) -> Tensor:
    """Repeat the pixels at the ends of a map.

    Example:
        >>> extend(torch.arange(3.0).view(1, 1, 3), [1])
        tensor([[[0., 0., 1., 2., 2.]]])
    """
    for axis, margin in enumerate(margins, 2):
        if margin:
            x = _pixels(x, axis, -margin, x.shape[axis] + 2 * margin)
    return x


def _pixels(x: Tensor, axis: int, first: int, count: int) -> Tensor:
    """Return so many pixels along an axis; beyond its ends it goes on as it ends."""
    rows = (torch.arange(count, device=x.device) + first).clamp(0, x.shape[axis] - 1)
    return x.index_select(axis, rows)


def cut(x: Tensor, size: Sizes, fronts: Sequence[int]) -> Tensor:
    """Return the pixels of an enlarged map that the skip has.

    Example:
        >>> cut(torch.arange(4.0).view(1, 1, 4), [3], [0])
        tensor([[[0., 1., 2.]]])
    """
    ends = [(left, n + left) for n, left in zip(size, fronts, strict=True)]
    if all(not left and _is_known(n, e) for n, (left, e) in zip(x.shape[2:], ends, strict=True)):
        return x
    if torch.compiler.is_compiling():  # A slice asks whether it fits, which cannot be proved.
        pads = [
            pad for n, (left, e) in zip(x.shape[2:], ends, strict=True) for pad in (e - n, -left)
        ]
        return F.pad(x, pads[::-1])
    return x[(..., *(slice(*each) for each in ends))]


def _is_captured() -> bool:
    """Whether sizes may stand for others."""
    return torch.compiler.is_compiling() or torch.jit.is_tracing()  # pyright: ignore[reportPrivateImportUsage]


def _is_known(size: int, wanted: int) -> bool:
    """Whether two sizes are the same, whatever the input; asked without leaving a condition."""
    if torch.jit.is_tracing():  # pyright: ignore[reportPrivateImportUsage]
        return False
    if not torch.compiler.is_compiling():
        return size == wanted
    return is_known(size == wanted)
