"""The decoder of a backbone, trained with it as an autoencoder of photographs.

The backbone is the first half of a ResNet-18 of torchvision or timm where one is installed, or
else the residual encoder below; all reduce a picture 8 times. ``mirror_decoder`` reads it and
builds the way back: a stage for each change of resolution, whose phases add up to the same
(``smoothness=1``, its default), and a 3x3 convolution behind each stage but the last. The program
prints both halves, trains them for about a minute on the upper three quarters of scikit-image's
colour photographs, and writes a picture of crops from the lower quarter: originals, reconstructions
and what is between them.
"""

import argparse
import time
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import skimage.data
import torch
import torchinfo
from matplotlib import pyplot as plt
from torch import nn
from torch.nn import functional as F  # noqa: N812
from tqdm import tqdm

from autoup import mirror_decoder

SIZE = 64
PHOTOGRAPHS = (
    "astronaut", "chelsea", "coffee", "hubble_deep_field", "immunohistochemistry", "retina",
    "rocket",
)  # fmt: skip


class Residual(nn.Module):
    """Two convolutions beside a shortcut: the block of a ResNet."""

    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, stride, 1, bias=False)
        self.norm1 = nn.BatchNorm2d(out_channels)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, 1, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(out_channels)
        self.shortcut = nn.Identity()
        if stride > 1 or in_channels != out_channels:
            conv = nn.Conv2d(in_channels, out_channels, 1, stride, bias=False)
            self.shortcut = nn.Sequential(conv, nn.BatchNorm2d(out_channels))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return a map of ``1 / stride`` of the size."""
        y = F.relu(self.norm1(self.conv1(x)))
        return F.relu(self.norm2(self.conv2(y)) + self.shortcut(x))


def build_encoder(width: int = 16, latent: int = 16) -> nn.Sequential:
    """Return a small residual encoder: (N, 3, H, W) -> (N, latent, H / 8, W / 8)."""
    stem = nn.Conv2d(3, width, 3, 1, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU()
    return nn.Sequential(
        *stem,
        Residual(width, width, 2),
        Residual(width, width, 1),
        Residual(width, 2 * width, 2),
        Residual(2 * width, 2 * width, 1),
        Residual(2 * width, 4 * width, 2),
        nn.Conv2d(4 * width, latent, 1),
    )


def from_torchvision() -> tuple[nn.Module, str]:
    """Return torchvision's ResNet-18 up to its second stage, and the key of its output."""
    from torchvision.models import resnet18
    from torchvision.models.feature_extraction import create_feature_extractor

    return create_feature_extractor(resnet18(), {"layer2": "features"}), "features"


def from_timm() -> tuple[nn.Module, int]:
    """Return timm's ResNet-18 up to its second stage, and the place of its output."""
    import timm

    return timm.create_model("resnet18", features_only=True, out_indices=(2,)), 0


def from_here() -> tuple[nn.Module, None]:
    """Return the residual encoder of this file, which has one output."""
    return build_encoder(width=24, latent=32), None


BACKBONES = {"torchvision": from_torchvision, "timm": from_timm, "own": from_here}


def load_backbone(name: str) -> tuple[str, nn.Module, str | int | None]:
    """Return a backbone; with ``"any"`` the first that is installed."""
    for source in BACKBONES if name == "any" else [name]:
        try:
            return source, *BACKBONES[source]()
        except (ImportError, RuntimeError) as error:  # RuntimeError: built for another PyTorch.
            if name != "any":
                raise SystemExit(f"--backbone {name}: {error}") from error
            print(f"No backbone from {source}: {error}.")
    raise AssertionError("unreachable: the encoder of this file is always there")


def load_photographs() -> list[torch.Tensor]:
    """Return scikit-image's colour photographs, each (3, H, W) in [0, 1]."""
    images = [torch.tensor(getattr(skimage.data, name)()) for name in PHOTOGRAPHS]
    return [image.permute(2, 0, 1).float() / 255 for image in images]


def split(photographs: list[torch.Tensor]) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    """Return the upper three quarters of each photograph, and the lower quarter."""
    edges = [photograph.shape[1] * 3 // 4 for photograph in photographs]
    upper = [photograph[:, :edge] for photograph, edge in zip(photographs, edges, strict=True)]
    lower = [photograph[:, edge:] for photograph, edge in zip(photographs, edges, strict=True)]
    return upper, lower


def crop(photographs: list[torch.Tensor], count: int, generator: torch.Generator) -> torch.Tensor:
    """Return crops of the photographs in turn, at random places: (count, 3, SIZE, SIZE)."""
    crops = []
    for number in range(count):
        image = photographs[number % len(photographs)]
        top, left = (
            int(torch.randint(length - SIZE + 1, (1,), generator=generator))
            for length in image.shape[1:]
        )
        crops.append(image[:, top : top + SIZE, left : left + SIZE])
    return torch.stack(crops)


def psnr(made: torch.Tensor, wanted: torch.Tensor) -> float:
    """Return the peak signal-to-noise ratio of all pixels together, in dB; peak 1."""
    return -10 * F.mse_loss(made, wanted).log10().item()


def train(model: nn.Module, photographs: list[torch.Tensor], steps: int, seed: int) -> None:
    """Train on random crops with Adam; the learning rate falls to zero in a straight line."""
    generator = torch.Generator().manual_seed(seed)
    optimiser = torch.optim.Adam(model.parameters(), lr=2e-3)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: 1 - step / steps)
    bar = tqdm(range(steps), desc="training", unit="step")
    for _ in bar:
        batch = crop(photographs, 14, generator)
        loss = F.mse_loss(model(batch), batch)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
        bar.set_postfix(loss=f"{loss.item():.5f}")


def draw(made: torch.Tensor, wanted: torch.Tensor, path: Path) -> None:
    """Write three rows: originals, reconstructions, and half of their difference around grey."""
    rows = {"original": wanted, "decoded": made, "difference": (made - wanted) / 2 + 0.5}
    figure, axes = plt.subplots(3, len(wanted), figsize=(13, 6), layout="constrained")
    for (name, images), line in zip(rows.items(), axes, strict=True):
        for axis, image in zip(line, images.clamp(0, 1), strict=True):
            axis.imshow(image.permute(1, 2, 0).numpy())
            axis.set(xticks=[], yticks=[])
        line[0].set_ylabel(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
    plt.close(figure)


class Autoencoder(nn.Module):
    """An encoder, the tensor that is picked from what it returns, and a decoder."""

    def __init__(self, encoder: nn.Module, output: str | int | None, decoder: nn.Module) -> None:
        super().__init__()
        self.encoder = encoder
        self.output = output
        self.decoder = decoder

    def encode(self, x: torch.Tensor) -> torch.Tensor:
        """Return the code of ``x``."""
        code = self.encoder(x)
        return code if self.output is None else code[self.output]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return what the decoder makes of the code of ``x``."""
        return self.decoder(self.encode(x))


def summarise(model: Autoencoder, size: tuple[int, ...]) -> str:
    """Return the torchinfo summary of both halves."""
    with torch.no_grad():
        code = model.eval().encode(torch.zeros(size)).shape
    halves = {f"encoder, {size}": (model.encoder, size), "decoder": (model.decoder, tuple(code))}
    return "\n".join(
        f"The {name}:\n"
        + str(
            torchinfo.summary(
                half,
                shape,
                col_names=("output_size", "kernel_size", "num_params"),
                row_settings=("var_names",),
                depth=2,
                verbose=0,
            )
        )
        for name, (half, shape) in halves.items()
    )


def main() -> None:
    """Build both halves, print them, train, write the picture."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--backbone", choices=("any", *BACKBONES), default="any")
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, default=Path("output/mirror_a_backbone.png"))
    options = parser.parse_args()

    torch.manual_seed(options.seed)
    source, encoder, output = load_backbone(options.backbone)
    size = (14, 3, SIZE, SIZE)
    decoder = mirror_decoder(encoder, size, output=output, stages="resolution", refine=1)
    model = Autoencoder(encoder, output, decoder)
    print(f"Backbone: {source}.")
    print(summarise(model, size))

    training, held_out = split(load_photographs())
    start = time.perf_counter()
    train(model.train(), training, options.steps, options.seed)
    print(f"{options.steps} steps in {time.perf_counter() - start:.0f} s.")
    wanted = crop(held_out, 56, torch.Generator().manual_seed(1))
    with torch.no_grad():
        made = model.eval()(wanted)
    assert made.shape == wanted.shape
    mean = wanted.mean((2, 3), keepdim=True).expand_as(wanted)
    print(f"PSNR on {len(wanted)} held-out crops: {psnr(made, wanted):.2f} dB", end=" ")
    print(f"(their mean colours alone: {psnr(mean, wanted):.2f} dB)")
    draw(made[:7], wanted[:7], options.output)
    print(f"Picture: {options.output}")


if __name__ == "__main__":
    main()
