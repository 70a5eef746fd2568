"""Photographs and an electrocardiogram, as batches and as what is held out."""

import sys
from functools import cache
from pathlib import Path

import torch

sys.path.append(str(Path(__file__).parents[1]))
sys.path.append(str(Path(__file__).parents[1] / "evidence"))

from data import cut, heartbeats
from mirror_a_backbone import load_photographs, split

CROPS, HELD_OUT = 2000, 256
HOPS = 16, 256  # Between the windows of sound: to train on, held out.


@cache
def pictures(size: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return crops of photographs to train on and crops held out, in [-1, 1]."""
    training, held_out = split(load_photographs())
    crops = cut(training, CROPS, 0, size), cut(held_out, HELD_OUT, 1, size)
    return tuple(2 * each - 1 for each in crops)


@cache
def sound(length: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return windows of four minutes of an electrocardiogram, and of the fifth.

    At 360 Hz, (N, 1, length), between -1 and 1 as sound is.
    """
    parts = heartbeats()
    peak = parts[0].abs().max()
    windows = [(each / peak).unfold(0, length, hop) for each, hop in zip(parts, HOPS, strict=True)]
    return tuple(each[:, None].contiguous() for each in windows)


def load(kind: str, size: tuple[int, ...]) -> tuple[torch.Tensor, torch.Tensor]:
    """Return what a model of this kind is trained on, and what is held out."""
    return {"picture": pictures, "sound": sound}[kind](size[-1])
