"""Three decoders for one encoder, trained side by side on real handwritten digits.

The encoder halves 28 x 28 twice with ``Conv2d(..., kernel_size=3, stride=2, padding=1)``. The
decoders differ in their two upsampling layers alone:

- k3 s2, output padding: ``nn.ConvTranspose2d(..., 3, 2, 1, output_padding=1)``
- autoup mirror: ``AutoConvTranspose2d.mirror(conv, size)``
- plain k2 s2: ``nn.ConvTranspose2d(..., 2, 2)``

All start from the same encoder and see the same batches. The program prints a table and
writes a picture: originals, reconstructions, and one digit and the error of it enlarged.
"""

import argparse
import time
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import torch
from matplotlib import pyplot as plt
from torch import nn
from torch.nn import functional as F  # noqa: N812
from tqdm import tqdm

from autoup import AutoConvTranspose2d

SIZE = 28


def load_digits(_root: str) -> torch.Tensor:
    """Return scikit-learn's 1797 digits of 8 x 8 pixels, enlarged to (1797, 1, 28, 28)."""
    from sklearn.datasets import load_digits

    images = torch.tensor(load_digits().images, dtype=torch.float32)[:, None] / 16
    enlarged = F.interpolate(images, size=(SIZE, SIZE), mode="bicubic", align_corners=False)
    return enlarged.clamp(0, 1)


def load_mnist(root: str) -> torch.Tensor:
    """Return MNIST's 60000 training digits through torchvision, as (60000, 1, 28, 28)."""
    try:
        from torchvision.datasets import MNIST
    except ImportError as error:
        raise SystemExit("--data mnist needs torchvision: pip install torchvision") from error
    return MNIST(root, train=True, download=True).data[:, None].float() / 255


def build_encoder() -> nn.Sequential:
    """Return the encoder: 28 -> 14 -> 7 pixels, 1 -> 32 -> 16 channels."""
    return nn.Sequential(
        nn.Conv2d(1, 32, 3, 2, 1),
        nn.ReLU(),
        nn.Conv2d(32, 16, 3, 2, 1),
        nn.ReLU(),
    )


def build_decoders(encoder: nn.Sequential) -> dict[str, nn.Sequential]:
    """Return the three decoders: 7 -> 14 -> 28 pixels."""
    first, second = encoder[0], encoder[2]
    return {
        "k3 s2, output padding": nn.Sequential(
            nn.ConvTranspose2d(16, 32, 3, 2, 1, output_padding=1),
            nn.ReLU(),
            nn.ConvTranspose2d(32, 1, 3, 2, 1, output_padding=1),
        ),
        "autoup mirror": nn.Sequential(
            AutoConvTranspose2d.mirror(second, SIZE // 2),
            nn.ReLU(),
            AutoConvTranspose2d.mirror(first, SIZE),
        ),
        "plain k2 s2": nn.Sequential(
            nn.ConvTranspose2d(16, 32, 2, 2),
            nn.ReLU(),
            nn.ConvTranspose2d(32, 1, 2, 2),
        ),
    }


def build_models(seed: int) -> dict[str, nn.Sequential]:
    """Return three autoencoders, each drawn from the same seed."""
    models = {}
    for name in build_decoders(build_encoder()):
        torch.manual_seed(seed)
        encoder = build_encoder()
        torch.manual_seed(seed + 1)
        models[name] = nn.Sequential(encoder, build_decoders(encoder)[name])
    return models


def train(
    models: dict[str, nn.Sequential], images: torch.Tensor, epochs: int, seed: int
) -> dict[str, float]:
    """Train all models on the same batches and return the seconds that each one took."""
    optimisers = {name: torch.optim.Adam(model.parameters()) for name, model in models.items()}
    seconds = dict.fromkeys(models, 0.0)
    order = torch.Generator().manual_seed(seed)
    bar = tqdm(range(epochs), desc="training", unit="epoch")
    for _ in bar:
        for batch in images[torch.randperm(len(images), generator=order)].split(64):
            for name, model in models.items():
                start = time.perf_counter()
                loss = F.mse_loss(model(batch), batch)
                optimisers[name].zero_grad()
                loss.backward()
                optimisers[name].step()
                seconds[name] += time.perf_counter() - start
        bar.set_postfix(loss=f"{loss.item():.5f}")
    return seconds


def psnr(loss: float) -> float:
    """Return the peak signal-to-noise ratio of a mean squared error, in dB; peak 1."""
    return -10 * torch.log10(torch.tensor(loss)).item()


def tabulate(
    models: dict[str, nn.Sequential], outputs: dict[str, torch.Tensor], test: torch.Tensor,
    seconds: dict[str, float],
) -> str:  # fmt: skip
    """Return one row a decoder: loss and PSNR on the held-out digits, parameters, time."""
    rows = [f"{'decoder':<24}{'loss':>10}{'PSNR dB':>10}{'parameters':>12}{'time s':>9}"]
    for name, model in models.items():
        loss = F.mse_loss(outputs[name], test).item()
        count = sum(parameter.numel() for parameter in model[1].parameters())
        rows.append(f"{name:<24}{loss:>10.5f}{psnr(loss):>10.2f}{count:>12,}{seconds[name]:>9.1f}")
    return "\n".join(rows)


def draw(outputs: dict[str, torch.Tensor], test: torch.Tensor, path: Path) -> None:
    """Write a row for the originals and one a decoder: digits, two crops, and an error."""
    rows = {name: images.numpy() for name, images in {"original": test, **outputs}.items()}
    errors = {name: images[2, 0] - rows["original"][2, 0] for name, images in rows.items()}
    limit = max(abs(error).max() for error in errors.values())
    figure, axes = plt.subplots(len(rows), 8, figsize=(13, 7), layout="constrained")
    for (name, images), line in zip(rows.items(), axes, strict=True):
        panels = [*images[:5, 0], images[2, 0, 7:21, 7:21], images[4, 0, 7:21, 7:21]]
        for axis, panel in zip(line, panels, strict=False):
            axis.imshow(panel, cmap="gray", vmin=0, vmax=1)
        line[7].imshow(errors[name], cmap="RdBu", vmin=-limit, vmax=limit)
        line[0].set_ylabel(name, fontsize=9)
    for axis in axes.flat:
        axis.set(xticks=[], yticks=[])
    titles = ("crop of the third", "crop of the fifth", f"error of the third, ±{limit:.2f}")
    for axis, title in zip(axes[0, 5:], titles, strict=True):
        axis.set_title(title, fontsize=9)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def main() -> None:
    """Load, train, print the table, write the picture."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", choices=("digits", "mnist"), default="digits")
    parser.add_argument("--root", default="output/mnist", help="where MNIST is kept")
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument("--limit", type=int, help="use only so many digits")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, default=Path("output/digits_autoencoder.png"))
    options = parser.parse_args()

    torch.set_num_threads(1)  # The batches are small: on a busy machine threads only wait.
    images = {"digits": load_digits, "mnist": load_mnist}[options.data](options.root)
    images = images[: options.limit]
    test, training = images[: len(images) // 6], images[len(images) // 6 :]
    print(f"{len(training)} digits to train on, {len(test)} held out, seed {options.seed}.")
    models = build_models(options.seed)
    seconds = train(models, training, options.epochs, options.seed)
    with torch.no_grad():
        outputs = {name: model(test) for name, model in models.items()}
    for name, made in outputs.items():
        assert made.shape == test.shape, name
    print(tabulate(models, outputs, test, seconds))
    draw(outputs, test, options.output)
    print(f"Picture: {options.output}")


if __name__ == "__main__":
    main()
