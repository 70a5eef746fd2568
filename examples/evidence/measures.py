"""What is measured of what a decoder makes, and how pictures are kept in a line of text."""

import base64
import zlib
from collections.abc import Callable

import torch
from torch.nn import functional as F  # noqa: N812

from autoup import measure_grid


def grid_of(made: torch.Tensor, wanted: torch.Tensor | None = None, dims: int = 2) -> float:
    """Return the spread of the phase means at stride 2 over the rms.

    Of the residual where there is a target, else of what differs from each one's mean.
    (N, C, H, W), or (N, C, L) with ``dims=1``.
    """
    return measure_grid(made, 2, wanted, dims=dims).spread


def constants_of(model: Callable, channels: int, size: int, dims: int = 2) -> float:
    """Return the grid on constant inputs from -1 to 2, far from the border, in units of 1.

    The standard deviation of the phase means after 8 samples (three layers repeat after 8), rms.
    """
    levels = torch.linspace(-1, 2, 7).view(-1, 1, *[1] * dims)
    with torch.no_grad():
        made = model(levels.expand(-1, channels, *[size] * dims)).double()
    for axis in range(2, 2 + dims):
        made = made.narrow(axis, made.shape[axis] // 2 - 16, 32)
    for axis in range(1 + dims, 1, -1):
        made = made.unflatten(axis, (-1, 8)).mean(axis)
    return float(made.flatten(2).var(2, correction=0).mean().sqrt())


def decibels(made: torch.Tensor, wanted: torch.Tensor, power: float = 1.0) -> float:
    """Return 10 log10(power / mean squared error): PSNR for a power of 1."""
    return float(10 * torch.log10(power / F.mse_loss(made, wanted)))


def frechet(first: torch.Tensor, second: torch.Tensor) -> float:
    """Return the Fréchet distance of two sets of features (N, F), as Gaussians."""
    mean_a, mean_b = first.double().mean(0), second.double().mean(0)
    cov_a, cov_b = first.double().T.cov(), second.double().T.cov()
    values, vectors = torch.linalg.eigh(cov_a)
    root = vectors * values.clamp(min=0).sqrt() @ vectors.T
    cross = torch.linalg.eigvalsh(root @ cov_b @ root).clamp(min=0).sqrt().sum()
    return float((mean_a - mean_b).square().sum() + cov_a.trace() + cov_b.trace() - 2 * cross)


def pack(values: torch.Tensor) -> dict[str, object]:
    """Return a tensor as 8 bits each, with shape, offset and scale kept."""
    low, high = float(values.min()), float(values.max())
    scale = (high - low) / 255 or 1.0
    levels = ((values - low) / scale).round().to(torch.uint8).numpy().tobytes()
    data = base64.b64encode(zlib.compress(levels, 9)).decode()
    return {"shape": list(values.shape), "low": low, "scale": scale, "data": data}


def unpack(packed: dict) -> torch.Tensor:
    """Return what ``pack`` kept."""
    data = bytearray(zlib.decompress(base64.b64decode(packed["data"])))
    levels = torch.frombuffer(data, dtype=torch.uint8).view(packed["shape"])
    return levels.float() * packed["scale"] + packed["low"]
