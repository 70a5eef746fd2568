"""The layer against the other ways to upsample: nearest + conv3, and conv3 + ``PixelShuffle``.

Each makes as many channels at twice the size. They are different functions with different numbers
of weights, and see 1, 2, 3 and 3 pixels of the input along an axis; what can be equal is
checked first in double precision: the layer and a 1x1 convolution before ``PixelShuffle``.

    python benchmarks/alternatives.py [--quick]
"""

import argparse

import torch
from timing import FORMATS, MODES, devices, difference, machine, milliseconds, step, take_turns
from torch import nn
from tqdm import tqdm

from autoup import AutoConvTranspose2d

CASES = [(4, 128, 64, 64), (16, 64, 32, 32), (8, 64, 3, 64), (64, 32, 1, 14)]


def build(channels: int, made: int, size: int) -> dict[str, nn.Module]:
    """Return the ways to upsample by 2."""
    return {
        "ConvTranspose2d k2 s2": nn.ConvTranspose2d(channels, made, 2, 2),
        "autoup k2 s2": AutoConvTranspose2d(channels, made, size, 2 * size),
        "autoup k4 s2": AutoConvTranspose2d(channels, made, size, 2 * size, kernel_size=4),
        "autoup k4 s2, smoothness 1": AutoConvTranspose2d(
            channels, made, size, 2 * size, smoothness=1
        ),
        "nearest + conv3": nn.Sequential(
            nn.Upsample(scale_factor=2), nn.Conv2d(channels, made, 3, padding=1)
        ),
        "conv3 + PixelShuffle": nn.Sequential(
            nn.Conv2d(channels, 4 * made, 3, padding=1), nn.PixelShuffle(2)
        ),
    }


def check() -> None:
    """Raise an AssertionError where the layer is not a 1x1 convolution and a pixel shuffle."""
    layer = AutoConvTranspose2d(6, 4, 8, 16, init="torch", dtype=torch.float64)
    conv = nn.Conv2d(6, 16, 1, dtype=torch.float64)
    with torch.no_grad():
        conv.weight.copy_(layer.weight.flatten(1).T[..., None, None])
        conv.bias.copy_(layer.bias.repeat_interleave(4))
    x = torch.randn(2, 6, 8, 8, dtype=torch.float64)
    assert difference(layer(x), nn.functional.pixel_shuffle(conv(x), 2)) < 1e-12


def measure(
    case: tuple[int, int, int, int], form: str, train: bool, device: str, seconds: float
) -> list[float]:
    """Return the median seconds of each way."""
    batch, channels, made, size = case
    x = torch.randn(batch, channels, size, size, device=device)
    x = x.to(memory_format=FORMATS[form]).requires_grad_(train)
    sides = {}
    for name, each in build(channels, made, size).items():
        module = each.to(device, memory_format=FORMATS[form])
        sides[name] = step(lambda module=module: module(x), [x, *module.parameters()], train)
    return take_turns(sides, seconds).median(0).values.tolist()


def main() -> None:
    """Print a Markdown table for each device."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=5.0, help="for each cell of all ways")
    parser.add_argument("--quick", action="store_true", help="one small case, briefly")
    options = parser.parse_args()
    cases = [(1, 4, 2, 8)] if options.quick else CASES
    seconds = 0.05 if options.quick else options.seconds
    check()
    for device in devices():
        names = [*build(1, 1, 1)]
        print(f"\n{machine(device)}, float32, eager; milliseconds\n")
        print(f"| batch, channels, size | mode | memory | {' | '.join(names)} |")
        print(f"|{'---|' * (len(names) + 3)}")
        for case in tqdm(cases, desc=device):
            for mode in MODES:
                for form in FORMATS:
                    times = measure(case, form, mode == "training", device, seconds)
                    batch, channels, made, size = case
                    cells = [f"{batch}, {channels}→{made}, {size}²", mode, form]
                    print(f"| {' | '.join([*cells, *map(milliseconds, times)])} |", flush=True)


if __name__ == "__main__":
    main()
