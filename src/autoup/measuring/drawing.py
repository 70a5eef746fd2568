"""Draw the spectrum of what was measured, with its grid frequencies, and its phase means."""

# PyTorch leaves fft without types.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

Frequency = Sequence[Any]


def draw_grid(
    spectrum: Tensor, frequencies: Sequence[Frequency], phase_means: Tensor, measured: str
) -> Any:
    """Return a matplotlib Figure of two parts: the spectrum, the phase means.

    Of a volume it shows a plane of each: of the spectrum that of the first frequency, of the
    phases that of the largest mean.

    Args:
        spectrum: Power, zero frequency first, of one to three axes.
        frequencies: Those of the grid, in cycles per pixel, the most telling first.
        phase_means: Mean of every phase.
        measured: What they are those of.

    Raises:
        ImportError: matplotlib is not installed.

    Example:
        >>> draw_grid(torch.rand(64), [(0.5,)], torch.rand(2), "signal").axes[0].get_title()
        'power (log10), grid frequencies marked'
    """
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise ImportError("draw() needs matplotlib: pip install matplotlib.") from None
    figure: Any = Figure(figsize=(9, 4), layout="constrained")
    left, right = figure.subplots(1, 2)
    of_power, of_phases = "", ""
    if spectrum.ndim == 3:
        depth = frequencies[0][0]
        spectrum = spectrum[int(depth * len(spectrum))]
        frequencies = [f[1:] for f in frequencies if f[0] == depth]
        phase = int(phase_means.abs().flatten(1).amax(1).argmax())
        of_power, of_phases = f"\nat {depth} in depth", f"\nat phase {phase} in depth"
        phase_means = phase_means[phase]
    if spectrum.ndim == 1:
        _draw_line(left, spectrum, frequencies)
        length = max(1, 8 // len(phase_means)) * len(phase_means)
        right.bar(range(length), phase_means.repeat(length // len(phase_means)).tolist())
        right.set(xlabel="pixel")
    else:
        _draw_plane(figure, left, spectrum, frequencies, of_power)
        _draw_tile(figure, right, phase_means)
    right.set(title=f"phase means of the {measured}{of_phases}, repeated")
    return figure


def _draw_line(axes: Any, spectrum: Tensor, frequencies: Sequence[Frequency]) -> None:
    length = len(spectrum)
    power = spectrum[: length // 2 + 1].clamp(min=1e-30).log10()
    axes.plot([n / length for n in range(len(power))], power.tolist(), linewidth=0.8)
    for (place,) in frequencies:
        axes.axvline(float(place), color="tab:orange", linestyle="--", zorder=0)
    axes.set(title="power (log10), grid frequencies marked", xlabel="cycles per pixel")
    axes.set(ylim=(float(power.quantile(0.02)) - 1, float(power.max()) + 0.5))


def _draw_plane(
    figure: Any, axes: Any, spectrum: Tensor, frequencies: Sequence[Frequency], of: str
) -> None:
    height, width = spectrum.shape
    power = torch.fft.fftshift(spectrum).clamp(min=1e-30).log10()
    edges = (-0.5 / width - 0.5, 0.5 - 0.5 / width, 0.5 - 0.5 / height, -0.5 / height - 0.5)
    shown = axes.imshow(power.numpy(), cmap="magma", extent=edges, vmin=float(power.quantile(0.02)))
    for down, across in frequencies:
        for sign in (1, -1):
            place = [(float(sign * each) + 0.5) % 1 - 0.5 for each in (across, down)]
            axes.scatter(*place, s=90, facecolors="none", edgecolors="cyan")
    axes.set(title=f"power (log10){of}, grid frequencies circled")
    axes.set(xlabel="cycles per pixel across", ylabel="cycles per pixel down")
    figure.colorbar(shown, ax=axes)


def _draw_tile(figure: Any, axes: Any, phase_means: Tensor) -> None:
    limit = max(float(phase_means.abs().max()), 1e-12)
    tile = phase_means.repeat(*(max(1, 8 // s) for s in phase_means.shape))
    shown = axes.imshow(tile.numpy(), cmap="RdBu", vmin=-limit, vmax=limit)
    axes.set(xticks=[], yticks=[])
    figure.colorbar(shown, ax=axes)
