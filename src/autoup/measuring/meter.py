"""Measure the grid in pictures."""

# PyTorch leaves fft, special and tolist without types.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from autoup.checks import per_axis
from autoup.measuring.spectrum import PERIODS, Pair, find_peaks, grid_bins, measure_blocks

if TYPE_CHECKING:
    import fractions

_ROWS = 8


@dataclass(frozen=True, slots=True, eq=False)
class GridMeasurement:
    """What ``measure_grid`` found; ``str()`` is the table.

    Args:
        stride: Period of the grid, down and across, in pixels.
        measured: ``"picture"``, or ``"residual"`` where there was a target.
        count: Number of pictures.
        channels: Number of channels.
        frequencies: Every grid frequency, down and across, in cycles per pixel; one of each
            conjugate pair.
        scores: For each frequency the power there over that of its neighbourhood, the mean of
            the pictures, in the channel where it stands out most; about 1 or less without a grid.
        p_values: For each frequency the probability of that by chance, corrected for channels.
        p_value: The smallest of them, corrected for the number of frequencies.
        spread: Standard deviation of the phase means over the rms, of the residual or of the
            picture about its mean; all pictures together, ratio in [0, 1].
        blockiness: How much steps between neighbours gather at one place of the period, ratio in
            [0, 1]; 1 where pixels repeat, which is no grid.
        phase_means: Mean of every phase, less the mean of all, ``(stride, stride)``.
        spectrum: Mean power of what was compared, zero frequency first, ``(H, W)``.

    Example:
        >>> rows = torch.arange(64) % 3
        >>> measured = measure_grid(torch.rand(64, 64) + 0.2 * rows[:, None], stride=3)
        >>> measured.found(), [str(each) for each in measured.frequencies[0]]
        (True, ['0', '1/3'])
    """

    stride: Pair
    measured: str
    count: int
    channels: int
    frequencies: "tuple[tuple[fractions.Fraction, fractions.Fraction], ...]"
    scores: tuple[float, ...]
    p_values: tuple[float, ...]
    p_value: float
    spread: float
    blockiness: float
    phase_means: Tensor
    spectrum: Tensor

    def found(self, level: float = 0.01) -> bool:
        """Tell whether there is a grid, at this level of significance.

        Example:
            >>> measure_grid(torch.rand(64, 64), 2).found(level=1e-9)
            False
        """
        return self.p_value < level

    def __str__(self) -> str:
        things = self.measured + "s" * (self.count != 1)
        lines = [f"Grid of {self.stride[0]} x {self.stride[1]} px in {self.count} {things}"]
        lines.append(f"  {'frequency':<12}{'score':>10}{'p-value':>10}")
        order = sorted(range(len(self.scores)), key=lambda n: (self.p_values[n], -self.scores[n]))
        for n in order[:_ROWS]:
            down, across = self.frequencies[n]
            name = f"{down}, {across}"
            lines.append(f"  {name:<12}{self.scores[n]:>10.3g}{self.p_values[n]:>10.2g}")
        if len(order) > _ROWS:
            rest = len(order) - _ROWS
            lines.append(f"  and {rest} that {'stands' if rest == 1 else 'stand'} out less")
        verdict = "a grid" if self.found() else "no grid"
        lines.append(f"  together    p = {self.p_value:.2g}, {verdict} at the 1 % level")
        lines.append(f"  spread      {self.spread:.2g} of the rms of the {things}")
        lines.append(f"  blockiness  {self.blockiness:.2g}")
        return "\n".join(lines)

    def draw(self) -> Any:
        """Return a matplotlib Figure: the spectrum with the grid frequencies, the phase means.

        Raises:
            ImportError: matplotlib is not installed.

        Example:
            >>> figure = measure_grid(torch.rand(64, 64), 2).draw()
            >>> figure.savefig("grid.png")  # doctest: +SKIP
        """
        try:
            from matplotlib.figure import Figure
        except ImportError:
            raise ImportError("draw() needs matplotlib: pip install matplotlib.") from None
        figure: Any = Figure(figsize=(9, 4), layout="constrained")
        left, right = figure.subplots(1, 2)
        height, width = self.spectrum.shape
        power = torch.fft.fftshift(self.spectrum).clamp(min=1e-30).log10()
        edges = (-0.5 / width - 0.5, 0.5 - 0.5 / width, 0.5 - 0.5 / height, -0.5 / height - 0.5)
        shown = left.imshow(
            power.numpy(), cmap="magma", extent=edges, vmin=float(power.quantile(0.02))
        )
        for down, across in self.frequencies:
            for sign in (1, -1):
                place = [(float(sign * each) + 0.5) % 1 - 0.5 for each in (across, down)]
                left.scatter(*place, s=90, facecolors="none", edgecolors="cyan")
        left.set(title="power (log10), grid frequencies circled", xlabel="cycles per pixel across",
                 ylabel="cycles per pixel down")  # fmt: skip
        figure.colorbar(shown, ax=left)
        limit = max(float(self.phase_means.abs().max()), 1e-12)
        tile = self.phase_means.repeat(*(max(1, 8 // s) for s in self.stride))
        shown = right.imshow(tile.numpy(), cmap="RdBu", vmin=-limit, vmax=limit)
        right.set(title=f"phase means of the {self.measured}, repeated", xticks=[], yticks=[])
        figure.colorbar(shown, ax=right)
        return figure


def measure_grid(image: Any, stride: Any, target: Any = None) -> GridMeasurement:
    """Measure how much of a grid of period ``stride`` is in a picture or in a batch.

    A grid repeats with the stride of the layer that made it, so it has power at the
    ``stride**2 - 1`` grid frequencies alone. That power is compared with the neighbourhood's,
    which photographs, enlargements and shifted crops fill alike. Local contrast is evened out
    first, and a peak below a hundredth of it or so does not count (cameras and compression
    leave such traces). With a target the residual is measured, which shows weaker grids.

    The p-value is that of a spectrum which is flat around each grid frequency: chi-square with
    one degree of freedom where a frequency is its own conjugate, exponential elsewhere, gamma
    for a batch, corrected (Bonferroni) for the number of frequencies and channels. Pictures of a
    batch count as independent. It errs toward "no grid".

    Args:
        image: A tensor, or what ``torch.as_tensor`` takes.
        stride: Period of the grid, in pixels; an int or one per axis. For several layers in a
            row, the product of their strides holds the grids of all.
        target: What the image should be; of the same shape.

    Returns:
        The scores; ``str()`` is a table, ``.found()`` the verdict, ``.draw()`` a figure.

    Raises:
        TypeError: ``stride`` is no int, or the image is complex.
        ValueError: A shape is wrong, the image is smaller than 6 periods, holds NaN or infinity,
            or the stride is 1.

    Shape:
        - image, target: ``(H, W)``, ``(C, H, W)`` or ``(N, C, H, W)``

    Example:
        >>> picture = torch.rand(64, 64, generator=torch.Generator().manual_seed(0))
        >>> picture[:, ::2] += 0.1
        >>> print(measure_grid(picture, 2))
        Grid of 2 x 2 px in 1 picture
          frequency        score   p-value
          0, 1/2            42.6   5.7e-07
          1/2, 0            1.02      0.31
          1/2, 1/2       0.00204      0.96
          together    p = 1.7e-06, a grid at the 1 % level
          spread      0.18 of the rms of the picture
          blockiness  0.014
    """
    strides = _check_stride(stride)
    pixels = _as_batch("image", image)
    rounding = torch.finfo(pixels.dtype).eps * float(pixels.abs().max())
    if target is not None:
        wanted = _as_batch("target", target)
        if wanted.shape != pixels.shape:
            raise ValueError(
                f"target must have the shape of image, {tuple(pixels.shape)} as a batch, "
                f"got {tuple(wanted.shape)}."
            )
        pixels = pixels.double() - wanted.double()
    pixels = _crop(pixels.double(), strides)
    if target is None:
        pixels = pixels - pixels.mean((2, 3), keepdim=True)
    pixels[pixels.abs().amax((2, 3)) <= 16 * rounding] = 0  # Nothing but rounding.
    return _measure(pixels, strides, "picture" if target is None else "residual")


def _measure(pixels: Tensor, stride: Pair, measured: str) -> GridMeasurement:
    from fractions import Fraction  # Here, as it takes long to import.

    blockiness = measure_blocks(pixels, stride)
    peaks = find_peaks(pixels - pixels.mean((2, 3), keepdim=True), stride, blockiness)
    p_values = (peaks.p_values * len(peaks.p_values)).clamp(max=1)
    best = p_values.argmin(0)
    scores = peaks.ratios.mean(0).gather(0, best[None])[0]
    means = _phase_means(pixels, stride)
    rms = (pixels**2).mean((0, 2, 3)).sqrt()
    spread = (means**2).mean((1, 2)).sqrt() / rms.clamp(min=1e-300)
    lowest = p_values.min(0).values
    return GridMeasurement(
        stride=stride,
        measured=measured,
        count=pixels.shape[0],
        channels=pixels.shape[1],
        frequencies=tuple(
            (Fraction(r, stride[0]), Fraction(c, stride[1])) for r, c in grid_bins(stride)
        ),
        scores=tuple(scores.tolist()),
        p_values=tuple(lowest.tolist()),
        p_value=min(1.0, float(lowest.min()) * len(lowest)),
        spread=float((spread**2).mean().sqrt()),
        blockiness=float(blockiness.mean()),
        phase_means=means.mean(0),
        spectrum=peaks.power,
    )


def _phase_means(pixels: Tensor, stride: Pair) -> Tensor:
    """Return the mean of every phase in every channel, less the channel's, ``(C, s, s)``."""
    n, channels, height, width = pixels.shape
    rows, columns = stride
    split = pixels.view(n, channels, height // rows, rows, width // columns, columns)
    means = split.mean((0, 2, 4))
    return means - means.mean((1, 2), keepdim=True)


def _check_stride(stride: Any) -> Pair:
    rows, columns = per_axis("stride", stride, 2)
    if rows == columns == 1:
        raise ValueError("stride must be at least 2 along one axis, got 1: nothing can repeat.")
    return rows, columns


def _as_batch(name: str, image: Any) -> Tensor:
    pixels = torch.as_tensor(image).detach().cpu()
    if pixels.is_complex():
        raise TypeError(f"{name} must be real, got {pixels.dtype}.")
    if not 2 <= pixels.ndim <= 4 or not pixels.numel():
        raise ValueError(
            f"{name} must have shape (H, W), (C, H, W) or (N, C, H, W), got {tuple(pixels.shape)}."
        )
    pixels = pixels if pixels.is_floating_point() else pixels.double()
    if not pixels.isfinite().all():
        raise ValueError(f"{name} must be finite, but it holds NaN or infinity.")
    return pixels.reshape((1,) * (4 - pixels.ndim) + tuple(pixels.shape))


def _crop(pixels: Tensor, stride: Pair) -> Tensor:
    """Keep whole periods alone."""
    for name, size, s in zip(("high", "wide"), pixels.shape[2:], stride, strict=True):
        least = max(PERIODS * s, 9)  # The window of the local contrast reaches 8 px.
        if size < least:
            raise ValueError(
                f"image is {size} px {name}, and a stride of {s} takes {least} px or more: "
                "measure a larger picture."
            )
    height, width = (size // s * s for size, s in zip(pixels.shape[2:], stride, strict=True))
    return pixels[..., :height, :width].clone()
