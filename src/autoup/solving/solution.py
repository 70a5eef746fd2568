"""One solved axis: its five numbers, what follows from them, and how it reads."""

from dataclasses import dataclass

from autoup.solving import overlap
from autoup.solving.drawing import draw_axis
from autoup.solving.sizes import transposed_size
from autoup.svg import Drawing

_LONGEST_EDGE = 8


@dataclass(frozen=True, slots=True)
class Solution:
    """The parameters of a transposed convolution along one axis.

    Every property is computed in closed form; its cost does not grow with the sizes, except
    where a tuple has one entry per pixel (``coverage``) or per phase (``phases``).

    Args:
        in_size: Input size, in pixels.
        out_size: Output size, in pixels.
        kernel_size: Kernel size, in taps.
        stride: Stride, in pixels.
        padding: Padding, in pixels cropped from either end.
        output_padding: Output padding, in pixels added behind.
        dilation: Dilation, in pixels.
        margin: Pixels of the input that a padding before the layer added, at both ends together.

    Raises:
        ValueError: The parameters do not take ``in_size`` to ``out_size``.

    Example:
        >>> Solution(14, 28, kernel_size=2, stride=2).uniform
        True
    """

    in_size: int
    out_size: int
    kernel_size: int
    stride: int
    padding: int = 0
    output_padding: int = 0
    dilation: int = 1
    margin: int = 0

    def __post_init__(self) -> None:
        size = transposed_size(
            self.in_size,
            self.kernel_size,
            self.stride,
            self.padding,
            self.output_padding,
            self.dilation,
        )
        if size != self.out_size:
            raise ValueError(
                f"{self._parameters()} takes {self.in_size} to {size}, not to {self.out_size}."
            )

    @property
    def phases(self) -> tuple[int, ...]:
        """Taps per phase; entry r counts the taps with ``dilation * t = r (mod stride)``."""
        return overlap.phase_taps(self.kernel_size, self.stride, self.dilation)

    @property
    def even(self) -> bool:
        """Whether all phases have the same number of taps, hence no uneven overlap."""
        fewest, most = self._phase_range()
        return fewest == most

    @property
    def uncovered(self) -> int:
        """Output pixels that no tap reaches; they hold nothing but the bias."""
        return self.out_size - overlap.covered_pixels(*self._window())

    @property
    def border(self) -> int:
        """Output pixels covered less than their phase is in the interior."""
        return overlap.border_pixels(*self._window())

    @property
    def shift(self) -> float:
        """Offset of the picture from the centre, in pixels; negative is toward the start."""
        return -self.output_padding / 2

    @property
    def displacement(self) -> float:
        """How far the ends of the picture lie from their place, in output pixels.

        A transposed convolution enlarges by its stride; their place is where an enlargement by
        ``out_size / in_size`` around the centre puts them. What ``shift`` tells is not in it, and
        no pixel of a ``margin``.
        """
        i = self.in_size - self.margin
        return abs(self.stride * i - self.out_size) * (i - 1) / (2 * i)

    @property
    def wrong_scale(self) -> bool:
        """Whether the ends lie more than two input pixels from their place.

        Mirrors of convolutions without padding may do that, and undo what these cut off.
        """
        return self.displacement > 2 * self.stride

    @property
    def coverage(self) -> tuple[int, ...]:
        """(input pixel, tap) pairs that reach each output pixel; ``out_size`` entries."""
        return overlap.coverage(*self._window())

    @property
    def uniform(self) -> bool:
        """Whether the coverage is the same everywhere and there is no output padding."""
        return self.output_padding == 0 and overlap.is_uniform(*self._window())

    def __str__(self) -> str:
        return "; ".join(
            [
                f"{self.in_size} -> {self.out_size}: {self._parameters()}",
                f"coverage {self._drawing()}",
                *remarks(self),
            ]
        )

    __repr__ = __str__

    def _repr_svg_(self) -> str:
        return self.draw().svg

    def draw(self) -> Drawing:
        """Return the coverage as bars below the input pixels at their places.

        A notebook shows the drawing, ``.save("axis.svg")`` writes it. Bars are coloured by phase;
        of a long output the two ends are drawn.

        Example:
            >>> Solution(13, 28, kernel_size=4, stride=2).draw()
            Drawing of 13 -> 28 with kernel_size=4, stride=2; .save("drawing.svg") writes it
        """
        title, *facts = self.explain().splitlines()
        shown = [fact for fact in facts if not fact.startswith("  coverage ")]  # Drawn instead.
        return draw_axis(self._window(), title, shown)

    def explain(self) -> str:
        """Return a short text: the coverage drawn, then what each number means for a picture.

        Example:
            >>> print(Solution(13, 28, kernel_size=4, stride=2).explain())
            13 -> 28 with kernel_size=4, stride=2
              size       2*(13 - 1) + 1*(4 - 1) + 1 - 2*0 + 0 = 28
              coverage   1 1 2 … 2 1 1
              overlap    even: 2 taps in every phase
              uncovered  none
              border     4 pixels covered less than the interior
              shift      none: centred
              scale      2 for a ratio of 2.15: the ends lie 0.923 px from their place
        """
        i, s, k, p = self.in_size, self.stride, self.kernel_size, self.padding
        a, d = self.output_padding, self.dilation
        lines = {
            "size": f"{s}*({i} - 1) + {d}*({k} - 1) + 1 - 2*{p} + {a} = {self.out_size}",
            "coverage": self._drawing(),
            "overlap": self._overlap(),
            "uncovered": f"{_pixels(self.uncovered)} with nothing but the bias"
            if self.uncovered
            else "none",
            "border": f"{_pixels(self.border)} covered less than the interior"
            if self.border
            else "none",
            "shift": f"{-self.shift:g} px off centre, toward the start: half of output_padding={a}"
            if a
            else "none: centred",
            "scale": self._scale(),
        }
        title = f"{self.in_size} -> {self.out_size} with {self._parameters()}"
        return "\n".join([title, *(f"  {name:<9}  {text}" for name, text in lines.items())])

    def _window(self) -> tuple[int, int, int, int, int, int]:
        return (
            self.in_size,
            self.out_size,
            self.kernel_size,
            self.stride,
            self.padding,
            self.dilation,
        )

    def _parameters(self) -> str:
        text = f"kernel_size={self.kernel_size}, stride={self.stride}"
        text += f", padding={self.padding}" if self.padding else ""
        text += f", output_padding={self.output_padding}" if self.output_padding else ""
        return text + (f", dilation={self.dilation}" if self.dilation != 1 else "")

    def _scale(self) -> str:
        """Say how far the ends lie from where an enlargement by out_size / in_size puts them."""
        i, o, s = self.in_size - self.margin, self.out_size, self.stride
        if s * i == o:
            return f"{s}, the ratio of the sizes"
        far = f"the ends lie {three_digits(self.displacement)} px from their place"
        wrong = "wrong, " if self.wrong_scale else ""
        return f"{wrong}{s} for a ratio of {o / i:.3g}: {far}"

    def _overlap(self) -> str:
        fewest, most = self._phase_range()
        if fewest == most:
            return f"even: {_taps(most)} in every phase"
        return f"uneven: {fewest} to {_taps(most)} a phase, repeating every {_pixels(self.stride)}"

    def _phase_range(self) -> tuple[int, int]:
        return overlap.phase_range(self.kernel_size, self.stride, self.dilation)

    def _drawing(self) -> str:
        """Draw the coverage as ``1 1 2 … 2 1 1``: both ends up to the interior."""
        if overlap.is_uniform(*self._window()):
            return f"{self._covered(0)} everywhere"
        head = self._edge(range(self.out_size))
        tail = self._edge(range(self.out_size - 1, -1, -1))[::-1]
        if len(head) + len(tail) >= self.out_size:
            return " ".join(str(self._covered(y)) for y in range(self.out_size))
        hidden = len(head) == len(tail) == _LONGEST_EDGE
        middle = ["…", self._covered(self.out_size // 2), "…"] if hidden else ["…"]
        return " ".join(map(str, [*head, *middle, *tail]))

    def _edge(self, pixels: range) -> list[int]:
        """Return the coverage from one end to the interior, one period of it where uneven."""
        drawn = [self._covered(y) for y in pixels[:_LONGEST_EDGE]]
        most = self._phase_range()[1]
        shown = 1 if self.even else self.stride
        return drawn[: drawn.index(most) + shown] if most in drawn else drawn

    def _covered(self, y: int) -> int:
        return overlap.pixel_coverage(
            y, self.in_size, self.kernel_size, self.stride, self.padding, self.dilation
        )


def remarks(solution: Solution) -> list[str]:
    """Return in short what is not clean.

    Example:
        >>> remarks(Solution(8, 15, 2, 2, padding=1, output_padding=1))
        ['shift -0.5 px']
    """
    found: list[str] = [] if solution.even else ["uneven"]
    if solution.uncovered:
        found.append(f"{solution.uncovered} uncovered")
    if solution.shift:
        found.append(f"shift {solution.shift:g} px")
    if solution.wrong_scale:
        found.append(f"ends {three_digits(solution.displacement)} px off")
    return found


def three_digits(number: float) -> str:
    """Write a number with three digits that count, and no exponent.

    Example:
        >>> three_digits(0.92307), three_digits(3999.75)
        ('0.923', '4000')
    """
    return f"{float(f'{number:.3g}'):.12g}"


def _pixels(count: int) -> str:
    return f"{count} pixel" + "s" * (count != 1)


def _taps(count: int) -> str:
    return f"{count} tap" + "s" * (count != 1)
