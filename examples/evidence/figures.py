"""Figures of the evidence: a column a kind of layer, and quality over grid."""

from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import torch
from decoders import KINDS, PROMISES
from matplotlib import pyplot as plt
from measures import unpack

PROMISED = tuple(PROMISES)
NAMES = {"k4 points": "k4 s2, smoothness", "k4 lines": "k4 s2, separable"}
SCATTERED = {  # Task: key and heading of quality and grid.
    "photographs": ("psnr", "PSNR, dB", "residual", "residual grid"),
    "vae": ("nats", "negative bound, nats", "samples", "grid of samples"),
    "gan": ("distance", "Fréchet distance", "before", "grid before tanh"),
    "super_resolution": ("psnr", "PSNR, dB", "residual", "residual grid"),
    "ecg": ("snr", "SNR, dB", "residual", "residual grid"),
    "no_bottleneck": ("psnr", "PSNR, dB", "residual", "residual grid"),
}


def gather(runs: list[dict], task: str, name: str) -> dict[str, torch.Tensor]:
    """Return what was kept of each kind at seed 0."""
    kept = {run["kind"]: run["shown"][name] for run in runs
            if run["task"] == task and name in run.get("shown", {})}  # fmt: skip
    return {kind: unpack(kept[kind]) for kind in KINDS if kind in kept}


def wrap(kind: str) -> str:
    """Return the name of a kind on short lines."""
    for key, name in NAMES.items():
        kind = kind.replace(key, name)
    return kind.replace(", ", "\n").replace(" + ", "\n+ ")


def draw_pictures(columns: dict[str, torch.Tensor], path: Path, rows: int, low: float,
                  high: float, cmap: str = "gray") -> None:  # fmt: skip
    """Write pictures, a column a kind."""
    figure, axes = plt.subplots(rows, len(columns), figsize=(1.5 * len(columns), 1.5 * rows + 0.5),
                                squeeze=False, layout="constrained")  # fmt: skip
    for (kind, pictures), column in zip(columns.items(), axes.T, strict=True):
        column[0].set_title(wrap(kind), fontsize=8)
        for axis, picture in zip(column, pictures, strict=False):
            axis.imshow(picture.numpy(), cmap=cmap, vmin=low, vmax=high, interpolation="nearest")
            axis.set(xticks=[], yticks=[])
    figure.savefig(path, dpi=130)
    plt.close(figure)


def stretch(pictures: torch.Tensor) -> torch.Tensor:
    """Return each picture's dark half alone, from its least (0) to its median (1)."""
    flat = pictures.flatten(1)
    low, middle = flat.quantile(0.02, 1), flat.quantile(0.6, 1)
    return ((pictures - low[:, None, None]) / (middle - low)[:, None, None]).clamp(0, 1)


def draw_signals(columns: dict[str, torch.Tensor], wanted: torch.Tensor, path: Path) -> None:
    """Write the errors of signals restored, a row a kind."""
    figure, axes = plt.subplots(len(columns), len(wanted), figsize=(10, 0.9 * len(columns) + 0.5),
                                squeeze=False, sharex=True, sharey=True,
                                layout="constrained")  # fmt: skip
    for (kind, signals), row in zip(columns.items(), axes, strict=True):
        row[0].set_ylabel(wrap(kind), fontsize=6)
        for axis, signal, want in zip(row, signals, wanted, strict=True):
            axis.plot((signal - want).numpy(), lw=0.6)
            axis.set(yticks=[])
    figure.savefig(path, dpi=110)
    plt.close(figure)


def draw_scatter(runs: list[dict], path: Path) -> None:
    """Write every seed's grid over its quality, a colour a kind."""
    shown = [task for task in SCATTERED if any(run["task"] == task for run in runs)]
    figure, axes = plt.subplots(2, -(-len(shown) // 2), figsize=(4.2 * -(-len(shown) // 2), 7.5),
                                squeeze=False, layout="constrained")  # fmt: skip
    colours = dict(zip(KINDS, plt.get_cmap("tab20").colors, strict=False))
    for task, axis in zip(shown, axes.flat, strict=False):
        key, label, grid, heading = SCATTERED[task]
        for kind in KINDS:
            mine = [run for run in runs if (run["task"], run["compare"], run["kind"])
                    == (task, "kinds", kind)]  # fmt: skip
            axis.scatter([r[key] for r in mine], [max(r[grid], 1e-6) for r in mine], s=18,
                         color=colours[kind], label=wrap(kind).replace("\n", " "))  # fmt: skip
        axis.set(title=task, xlabel=label, ylabel=heading, yscale="log")
        if label.startswith(("negative", "Fr")):
            axis.invert_xaxis()
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=6, fontsize=8)
    figure.savefig(path, dpi=100)
    plt.close(figure)


def draw(results: "object", folder: Path) -> None:
    """Write every figure whose runs are there."""
    runs = results.runs
    pictures = {
        "vae_logits": ("vae", "logits", 6, stretch, 0, 1, "gray"),
        "gan_samples": ("gan", "samples", 6, torch.tanh, -1, 1, "gray"),
        "gan_background": ("gan", "samples", 3, stretch, 0, 1, "gray"),
        "photographs_errors": ("photographs", "errors", 4, torch.clone, -0.15, 0.15, "RdBu"),
        "photographs_constants": ("photographs", "flat", 1, torch.clone, -0.1, 0.1, "RdBu"),
        "enlarging_errors": ("super_resolution", "errors", 4, torch.clone, -0.1, 0.1, "RdBu"),
        "no_bottleneck": ("no_bottleneck", "made", 3, torch.clone, 0, 1, "gray"),
    }  # fmt: skip
    for name, (task, key, rows, change, low, high, cmap) in pictures.items():
        kept = gather(runs, task, key)
        if kept:
            columns = {kind: change(each) for kind, each in kept.items()}
            draw_pictures(columns, folder / f"{name}.png", rows, low, high, cmap)
    kept, own = gather(runs, "ecg", "made"), results.original("ecg")
    if kept and own:
        draw_signals(kept, unpack(own["shown"]["made"]), folder / "ecg_errors.png")
    if runs:
        draw_scatter(runs, folder / "scatter.png")
