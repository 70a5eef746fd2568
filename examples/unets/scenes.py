"""Shapes and digits to segment, laid on photographs and filled with other photographs.

Photographs, digits and their fillings are told apart before anything is drawn: what is held out was
never seen. A picture has three to five things on it, of four classes: ellipses, polygons, their
outlines two to three and a half pixels wide, and handwritten digits. All have soft edges, and each
is brighter than what it lies on, by an offset of random colour, and has another texture.
"""

import sys
from collections.abc import Callable
from functools import cache
from math import cos, pi, sin
from pathlib import Path

import numpy as np
import skimage.data
import torch
from sklearn.datasets import load_sample_image

sys.path.append(str(Path(__file__).parents[1] / "evidence"))

from data import digits

CLASSES = ("background", "ellipse", "polygon", "outline", "digit")
TRAINING = (
    "astronaut", "chelsea", "retina", "rocket", "hubble_deep_field", "flower.jpg", "brick",
    "grass", "moon",
)  # fmt: skip
HELD_OUT = "coffee", "china.jpg", "immunohistochemistry", "gravel", "camera"
EDGE = 2  # Pixels: what lies as near to another class is a boundary.


def load(name: str) -> torch.Tensor:
    """Return a photograph of scikit-image or, by the name of its file, of scikit-learn.

    (3, H, W), in [0, 1]; grey ones have three equal channels.
    """
    made = load_sample_image(name) if "." in name else getattr(skimage.data, name)()
    image = torch.tensor(np.atleast_3d(made)).permute(2, 0, 1).float() / 255
    return image.expand(3, -1, -1).contiguous()


@cache
def sources(split: str) -> tuple[list[torch.Tensor], torch.Tensor]:
    """Return the photographs and the digits of a split, "training" or "held out"."""
    names = TRAINING if split == "training" else HELD_OUT
    training, _, held_out, _ = digits()
    return [load(name) for name in names], training if split == "training" else held_out


def crop(photograph: torch.Tensor, size: tuple[int, int], rng: np.random.Generator) -> torch.Tensor:
    """Return a part of a photograph at a random place, turned and mirrored at random."""
    if rng.random() < 0.5:
        photograph = photograph.transpose(1, 2)
    (y, x), (h, w) = (int(rng.integers(n - m + 1)) for n, m in _pairs(photograph, size)), size
    part = photograph[:, y : y + h, x : x + w]
    flips = [axis for axis in (1, 2) if rng.random() < 0.5]
    return part.flip(flips)


def _pairs(photograph: torch.Tensor, size: tuple[int, int]) -> list[tuple[int, int]]:
    return list(zip(photograph.shape[1:], size, strict=True))


def _turned(size: tuple[int, int], rng: np.random.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the coordinates of all pixels about a random place, in a random direction."""
    centre = [rng.uniform(0.15, 0.85) * n for n in size]
    angle = rng.uniform(0, pi)
    y = torch.arange(size[0])[:, None] - centre[0]
    x = torch.arange(size[1])[None, :] - centre[1]
    return cos(angle) * y - sin(angle) * x, sin(angle) * y + cos(angle) * x


def ellipse(size: tuple[int, int], rng: np.random.Generator) -> torch.Tensor:
    """Return how many pixels each pixel lies outside of an ellipse, about."""
    y, x = _turned(size, rng)
    long = rng.uniform(10, 26)
    short = long * rng.uniform(0.5, 1)
    return (torch.hypot(y / long, x / short) - 1) * short


def polygon(size: tuple[int, int], rng: np.random.Generator) -> torch.Tensor:
    """Return how many pixels each pixel lies outside of a polygon of three to five sides, about."""
    y, x = _turned(size, rng)
    corners, radius = int(rng.integers(3, 6)), rng.uniform(8, 20)
    stretch = rng.uniform(0.7, 1)
    angles = [2 * pi * n / corners for n in range(corners)]
    sides = [cos(angle) * y + sin(angle) * x / stretch for angle in angles]
    return torch.stack(sides).amax(0) - radius


def outline(size: tuple[int, int], rng: np.random.Generator) -> torch.Tensor:
    """Return how many pixels each pixel lies outside of the outline of one of both."""
    shape = ellipse if rng.random() < 0.5 else polygon
    return shape(size, rng).abs() - rng.uniform(1, 1.75)


def cover(distance: torch.Tensor) -> torch.Tensor:
    """Return how much of each pixel is covered, from how far it lies outside."""
    return (0.5 - distance).clamp(0, 1)


def write_digit(
    size: tuple[int, int], drawn: torch.Tensor, rng: np.random.Generator
) -> torch.Tensor:
    """Return how much of each pixel a digit covers, at a random place and size."""
    h, w = (int(rng.integers(28, 57)) for _ in range(2))
    large = torch.nn.functional.interpolate(drawn[None], (h, w), mode="bilinear")[0, 0]
    covered = torch.zeros(size)
    y, x = (int(rng.integers(n - m + 1)) for n, m in zip(size, (h, w), strict=True))
    covered[y : y + h, x : x + w] = (2 * large - 0.5).clamp(0, 1)  # The edge is a pixel wide.
    return covered


SHAPES: dict[int, Callable[[tuple[int, int], np.random.Generator], torch.Tensor]] = {
    1: ellipse,
    2: polygon,
    3: outline,
}


def fill(image: torch.Tensor, covered: torch.Tensor, texture: torch.Tensor, offset: float,
         rng: np.random.Generator) -> torch.Tensor:  # fmt: skip
    """Lay a texture of half contrast on what is covered, an offset brighter than what was there."""
    colour = torch.tensor(offset * rng.uniform(0.4, 1, size=3), dtype=torch.float32)
    there = (image * covered).sum((1, 2)) / covered.sum().clamp(min=1)
    texture = (texture - texture.mean((1, 2), keepdim=True)) / 2 + (there + colour)[:, None, None]
    return torch.lerp(image, texture.clamp(0, 1), covered)


def draw(split: str, size: tuple[int, int], rng: np.random.Generator) -> tuple[torch.Tensor, ...]:
    """Return a picture, (3, H, W) in [0, 1], and the class of each of its pixels, (H, W)."""
    photographs, written = sources(split)
    image = 0.6 * crop(photographs[rng.integers(len(photographs))], size, rng)
    classes = torch.zeros(size, dtype=torch.long)
    for kind in sorted(rng.integers(1, len(CLASSES), size=rng.integers(3, 6)), key=_depth):
        if kind in SHAPES:
            covered = cover(SHAPES[kind](size, rng))
        else:
            covered = write_digit(size, written[rng.integers(len(written))], rng)
        texture = crop(photographs[rng.integers(len(photographs))], size, rng)
        image = fill(image, covered, texture, rng.uniform(0.2, 0.5), rng)
        classes[covered > 0.5] = int(kind)
    return image, classes


def _depth(kind: int) -> int:
    return int(kind > 2)  # What is thin lies on what is not.


def batch(split: str, size: tuple[int, int], count: int, seed: tuple[int, ...]) -> tuple:
    """Return pictures, (count, 3, H, W) around zero, and their classes, (count, H, W)."""
    rng = np.random.default_rng(seed)
    images, classes = zip(*(draw(split, size, rng) for _ in range(count)), strict=True)
    return 4 * torch.stack(images) - 2, torch.stack(classes)


def boundaries(classes: torch.Tensor) -> torch.Tensor:
    """Return which pixels have another class within ``EDGE`` pixels along rows and columns."""
    planes = torch.nn.functional.pad(classes[:, None].float(), 4 * [EDGE], mode="replicate")
    largest = torch.nn.functional.max_pool2d(planes, 2 * EDGE + 1, 1)
    least = -torch.nn.functional.max_pool2d(-planes, 2 * EDGE + 1, 1)
    return (largest != least)[:, 0]
