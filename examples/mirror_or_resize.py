"""A mirrored decoder against resizing with convolutions, on photographs.

Eight decoders for the residual encoder of ``mirror_a_backbone.py``:

- mirror: ``mirror_decoder(encoder, size)``, whose layers promise no grid on constants
- mirror, k = s: the same with ``smoothness=0``
- mirror, residual=False: one layer a block
- mirror, refined: ``mirror_decoder(encoder, size, stages="resolution", refine=1)``
- resize, as many weights: nearest enlargement and 3x3 convolutions, of the smallest width that
  gives at least as many parameters as the mirror with one layer a block has
- resize, calm start: the same, and its last layer starts at a tenth
- resize, calm, more weights: the same, with at least as many parameters as the mirror has
- resize, as many channels: with the channels of the mirror

For each seed all start from the same encoder and see the same crops. The table gives the PSNR on
held-out crops along the training, and the seconds that encoder and decoder took together.
"""

import argparse
import statistics
import time
from collections.abc import Callable, Iterable

import torch
from mirror_a_backbone import SIZE, build_encoder, crop, load_photographs, psnr, split
from torch import nn
from torch.nn import functional as F  # noqa: N812
from tqdm import tqdm

from autoup import mirror_decoder

WIDTH = LATENT = 16
INPUT = (14, 3, SIZE, SIZE)
POINTS = 4


def build_resize(widths: tuple[int, ...]) -> nn.Sequential:
    """Return a decoder that repeats pixels and convolves: (N, LATENT, H, W) -> (N, 3, 8H, 8W)."""
    layers: list[nn.Module] = []
    for number, (before, after) in enumerate(zip((LATENT, *widths), widths, strict=False)):
        layers += [nn.Upsample(scale_factor=2)] if number else []
        layers += [nn.Conv2d(before, after, 3, 1, 1, bias=False), nn.BatchNorm2d(after), nn.ReLU()]
    return nn.Sequential(*layers, nn.Conv2d(widths[-1], 3, 3, 1, 1))


def calm(decoder: nn.Sequential) -> nn.Sequential:
    """Scale the last layer down to a tenth."""
    last = decoder[-1]
    assert isinstance(last, nn.Conv2d)
    with torch.no_grad():
        last.weight.mul_(0.1)
    return decoder


def count(module: nn.Module) -> int:
    """Return the number of parameters."""
    return sum(parameter.numel() for parameter in module.parameters())


def match(wanted: int) -> tuple[int, ...]:
    """Return the least widths with which the resizing decoder has that many parameters."""
    width = 1
    while count(build_resize((4 * width, 2 * width, width, width))) < wanted:
        width += 1
    return 4 * width, 2 * width, width, width


def build_decoders() -> dict[str, Callable[[nn.Module], nn.Module]]:
    """Return a function for each decoder, which makes it for an encoder."""
    encoder = build_encoder(WIDTH, LATENT)
    least = match(count(mirror_decoder(encoder, INPUT, residual=False)))
    most = match(count(mirror_decoder(encoder, INPUT)))
    return {
        "mirror": lambda encoder: mirror_decoder(encoder, INPUT),
        "mirror, k = s": lambda encoder: mirror_decoder(encoder, INPUT, smoothness=0),
        "mirror, residual=False": lambda encoder: mirror_decoder(encoder, INPUT, residual=False),
        "mirror, refined": lambda encoder: mirror_decoder(
            encoder, INPUT, stages="resolution", refine=1
        ),
        "resize, as many weights": lambda _: build_resize(least),
        "resize, calm start": lambda _: calm(build_resize(least)),
        "resize, calm, more weights": lambda _: calm(build_resize(most)),
        "resize, as many channels": lambda _: build_resize((4 * WIDTH, 2 * WIDTH, WIDTH, WIDTH)),
    }


def build_models(seed: int, names: Iterable[str]) -> dict[str, nn.Sequential]:
    """Return an autoencoder for each decoder; their encoders are equal."""
    models: dict[str, nn.Sequential] = {}
    builds = build_decoders()
    for name, build in [(name, builds[name]) for name in names]:
        torch.manual_seed(seed)
        encoder = build_encoder(WIDTH, LATENT)
        torch.manual_seed(seed + 1)
        models[name] = nn.Sequential(encoder, build(encoder))
    return models


def train(seed: int, steps: int, names: Iterable[str]) -> dict[str, list[tuple[float, float]]]:
    """Train all side by side; return for each the seconds and the PSNR at some points."""
    training, held_out = split(load_photographs())
    wanted = crop(held_out, 112, torch.Generator().manual_seed(1))
    models, generator = build_models(seed, names), torch.Generator().manual_seed(seed)
    optimisers = {n: torch.optim.Adam(model.parameters(), 2e-3) for n, model in models.items()}
    seconds = dict.fromkeys(models, 0.0)
    curves: dict[str, list[tuple[float, float]]] = {name: [] for name in models}
    for step in tqdm(range(steps), desc=f"seed {seed}", unit="step"):
        batch = crop(training, INPUT[0], generator)
        for name, model in models.items():
            start = time.perf_counter()
            for group in optimisers[name].param_groups:
                group["lr"] = 2e-3 * (1 - step / steps)
            loss = F.mse_loss(model(batch), batch)
            optimisers[name].zero_grad()
            loss.backward()
            optimisers[name].step()
            seconds[name] += time.perf_counter() - start
        if (step + 1) % -(-steps // POINTS) == 0 or step + 1 == steps:
            for name, model in models.items():
                with torch.no_grad():
                    made = model.eval()(wanted)
                model.train()
                assert made.shape == wanted.shape, name
                curves[name].append((seconds[name], psnr(made, wanted)))
    return curves


def tabulate(runs: list[dict[str, list[tuple[float, float]]]]) -> str:
    """Return a row a decoder: parameters, seconds, PSNR along the training and at its end."""
    sizes = {name: count(model[1]) for name, model in build_models(0, runs[0]).items()}
    head = f"{'decoder':<28}{'parameters':>11}{'time s':>8}   PSNR dB on the way (medians), "
    rows = [head + "at the end of each seed, their mean"]
    for name, size in sizes.items():
        curves = [run[name] for run in runs]
        took = statistics.median(curve[-1][0] for curve in curves)
        along = [statistics.median(each) for each in zip(*[[p for _, p in c] for c in curves])]  # noqa: B905
        ends = [curve[-1][1] for curve in curves]
        rows.append(
            f"{name:<28}{size:>11,}{took:>8.0f}   "
            + " ".join(f"{each:.2f}" for each in along[:-1])
            + "   "
            + " ".join(f"{each:.2f}" for each in ends)
            + f"   {statistics.mean(ends):.2f}"
        )
    return "\n".join(rows)


def main() -> None:
    """Train for each seed and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=800)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    decoders = [*build_decoders()]
    parser.add_argument("--decoders", nargs="+", choices=decoders, default=decoders)
    options = parser.parse_args()
    torch.set_num_threads(1)  # The batches are small, and times on one thread vary less.
    print(tabulate([train(seed, options.steps, options.decoders) for seed in options.seeds]))


if __name__ == "__main__":
    main()
