"""What folding nearest enlargement and a convolution into one transposed convolution saves.

Both sides run in turns in one process; medians and quartiles of the paired ratios. Equality comes
first, in double precision, outputs and gradients of the input.

    python examples/fold_cost.py
"""

import argparse
import time

import torch
from torch import nn

import autoup

CASES = [(1, 64, 64, 64), (1, 32, 32, 128), (4, 128, 64, 32), (1, 256, 128, 16), (1, 64, 3, 128)]


def build(channels: int, made: int) -> nn.Sequential:
    """Return nearest enlargement by 2 and a 3 x 3 convolution."""
    return nn.Sequential(nn.Upsample(scale_factor=2), nn.Conv2d(channels, made, 3, padding=1))


def check(model: nn.Module, folded: nn.Module, shape: tuple[int, ...]) -> float:
    """Return the largest relative difference of outputs and input gradients, in float64."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(shape, dtype=torch.float64, generator=generator, requires_grad=True)
    sides = []
    for each in (model, folded):
        y = each(x)
        sides.append((y.detach(), torch.autograd.grad(y.square().sum(), x)[0]))
    return max(float((a - b).abs().max() / a.abs().max()) for a, b in zip(*sides, strict=True))


def measure(
    model: nn.Module, folded: nn.Module, x: torch.Tensor, seconds: float, train: bool
) -> torch.Tensor:
    """Return rows of (time before, time after), in seconds, taken in turns."""

    def once(each: nn.Module) -> float:
        start = time.perf_counter()
        if train:
            each(x).square().mean().backward()
        else:
            with torch.inference_mode():
                each(x)
        return time.perf_counter() - start

    for each in (model, folded):
        once(each), once(each)
    rows, end = [], time.perf_counter() + seconds
    while time.perf_counter() < end or len(rows) < 5:
        rows.append((once(model), once(folded)))
    return torch.tensor(rows)


def main() -> None:
    """Print a line for each case and mode."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=3.0, help="for each case and mode")
    parser.add_argument("--quick", action="store_true", help="the first case alone, briefly")
    options = parser.parse_args()
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, channels last, float32")
    print(
        f"{'batch, in -> out, size':<28}{'mode':<11}{'before ms':>10}{'after ms':>10}{'ratio':>16}"
    )
    for batch, channels, made, size in CASES[: 1 if options.quick else None]:
        torch.manual_seed(0)
        model = build(channels, made).double()
        folded = autoup.repair(model, (batch, channels, size, size), fold_resize=True)
        difference = check(model, folded, (batch, channels, 12, 13))
        assert difference < 1e-12, difference
        x = torch.randn(batch, channels, size, size).to(memory_format=torch.channels_last)
        for each in (model, folded):
            each.float().to(memory_format=torch.channels_last)
        for mode in ("inference", "training"):
            seconds = 0.3 if options.quick else options.seconds
            times = measure(model, folded, x, seconds, mode == "training")
            ratio = (times[:, 0] / times[:, 1]).quantile(torch.tensor([0.25, 0.5, 0.75]))
            before, after = (1000 * times.median(0).values).tolist()
            low, middle, high = ratio.tolist()
            case = f"{batch}, {channels} -> {made}, {size} -> {2 * size}"
            print(f"{case:<28}{mode:<11}{before:>10.2f}{after:>10.2f}", end="")
            print(f"{middle:>7.2f} ({low:.2f}-{high:.2f})")


if __name__ == "__main__":
    main()
