"""Grow a kernel by zero taps: the same function without output padding, or with even overlap.

Legend: i input size, k kernel, s stride, p padding, a output padding, d dilation; f zero taps in
front, b behind. Taps in front move what follows by d each, so padding p + d*f crops them again,
and the size s*(i - 1) + d*(k - 1) + 1 - 2p + a stays where the new output padding is
a + d*(f - b). So b = f + a/d leaves none; with f = 0 these are the a zero taps behind.
"""

from dataclasses import dataclass
from math import gcd

from autoup.solving import overlap


@dataclass(frozen=True, slots=True)
class Growth:
    """How one axis of a transposed convolution changes while its function stays.

    Args:
        kernel_size: New kernel size, in taps.
        padding: New padding, in pixels.
        output_padding: New output padding, in pixels.
        dilation: New dilation, in pixels.
        front: Zero taps in front of the old ones.
        behind: Zero taps behind them.
        spacing: Distance of the old taps in the new kernel; above 1 where the dilation became
            zero taps.

    Example:
        >>> grow(3, s=2, p=1, a=1)
        Growth(kernel_size=4, padding=1, output_padding=0, dilation=1, front=0, behind=1, spacing=1)
    """

    kernel_size: int
    padding: int
    output_padding: int
    dilation: int
    front: int = 0
    behind: int = 0
    spacing: int = 1

    @property
    def changes(self) -> bool:
        """Whether there is anything to change."""
        return self.front + self.behind > 0 or self.spacing > 1


def grow(
    k: int, s: int, p: int, a: int, d: int = 1, *, even: bool = True, least: int = 1
) -> Growth:
    """Return the smallest kernel with the same function and no output padding, zero taps added.

    With ``even`` the kernel becomes a multiple of the stride, if that takes no output padding
    which was not there. Where the stride is even and k + a odd, no such kernel is without: one
    step of output padding remains.

    Args:
        k: Kernel size, in taps.
        s: Stride, in pixels.
        p: Padding, in pixels.
        a: Output padding, in pixels.
        d: Dilation, in pixels.
        even: Whether to grow to a multiple of the stride; otherwise output padding goes alone.
        least: Smallest new kernel, in taps; heeded with ``even``.

    Example:
        >>> grow(10, s=5, p=3, a=1).kernel_size, grow(10, s=5, p=3, a=1, even=False).kernel_size
        (15, 11)
        >>> grow(4, s=2, p=1, a=1).output_padding
        1
    """
    if even and gcd(s, d) == 1 and (a % d == 0 or d == 1):
        return _grow_even(k, s, p, a, d, least)
    if a == 0:
        return Growth(k, p, 0, d)
    if a % d:  # Zero taps between the old ones stand for the dilation.
        dense = grow(d * (k - 1) + 1, s, p, a, even=even, least=least)
        return Growth(dense.kernel_size, dense.padding, dense.output_padding, 1, dense.front,
                      dense.behind, d)  # fmt: skip
    return Growth(k + a // d, p, 0, d, 0, a // d)


def _grow_even(k: int, s: int, p: int, a: int, d: int, least: int) -> Growth:
    """Try the multiples of the stride in order; b - f = (a - left)/d with the padding left."""
    behind = a // d
    if s % 2 == 0 and (k + behind) % 2:
        if a == 0 or d >= s:  # Output padding would be new, or larger than PyTorch takes.
            return Growth(k + behind, p, 0, d, 0, behind)
        behind, left = behind - 1, d
    else:
        left = 0
    wide = -(-max(k + behind, least) // s) * s
    while (wide - k - behind) % 2 or p + d * ((wide - k - behind) // 2) < left:
        wide += s
    front = (wide - k - behind) // 2
    return Growth(wide, p + d * front, left, d, front, front + behind)


def shortfalls(s: int, growth: Growth, *, even: bool = True) -> list[str]:
    """Say what the growth of a kernel cannot do at stride ``s``.

    Example:
        >>> shortfalls(2, grow(3, 2, 1, 0))
        ['kernel_size 3 stays uneven: with stride 2 and an odd output, 4 takes output padding']
        >>> shortfalls(2, grow(3, 2, 1, 1))
        []
    """
    said: list[str] = []
    if growth.output_padding:
        said.append(
            f"output_padding {growth.output_padding} stays: stride {s} is even, the output odd"
        )
    fewest, most = overlap.phase_range(growth.kernel_size, s, growth.dilation)
    if even and fewest != most:
        if gcd(s, growth.dilation) > 1:
            reason = f"stride {s} and dilation {growth.dilation} share a factor"
        else:
            wide = -(-growth.kernel_size // s) * s
            reason = f"with stride {s} and an odd output, {wide} takes output padding"
        said.append(f"kernel_size {growth.kernel_size} stays uneven: {reason}")
    return said


def describe(k: int, s: int, p: int, a: int, d: int, growth: Growth, *, even: bool = True) -> str:
    """Say what the growth does, and what it cannot do.

    Example:
        >>> describe(3, 2, 1, 1, 1, grow(3, 2, 1, 1))
        'kernel_size 3 -> 4 by zero taps, output_padding 1 -> 0'
    """
    said: list[str] = []
    if growth.spacing > 1:
        said.append(f"dilation {d} -> 1")
    if growth.changes:
        said.append(f"kernel_size {k} -> {growth.kernel_size} by zero taps")
    if growth.padding != p:
        said.append(f"padding {p} -> {growth.padding}")
    if growth.output_padding != a:
        said.append(f"output_padding {a} -> {growth.output_padding}")
    return ", ".join([*said, *shortfalls(s, growth, even=even)])
