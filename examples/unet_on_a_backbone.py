"""A U-Net on a backbone, trained to find shapes and digits on photographs.

The backbone is any encoder of timm (``--backbone resnet18``), or, where timm is not installed, the
residual encoder below. ``autoup.unet`` finds its feature maps and builds the decoder that joins
them. The program prints the net, trains it for about two minutes on pictures of 64x64 pixels, and
measures it on photographs that it has not seen, at that size and at 71x97, which no stride divides.
It writes a picture: what was shown, what is there, what the net says, at both sizes.
"""

import argparse
import sys
import time
from itertools import pairwise
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import torch
from matplotlib import pyplot as plt
from matplotlib.colors import ListedColormap
from torch import nn
from torch.nn import functional as F  # noqa: N812
from tqdm import tqdm

import autoup

sys.path.append(str(Path(__file__).parent / "unets"))

from scenes import CLASSES, batch

SIZE, ODD = (64, 64), (71, 97)
BATCH = 8
COLOURS = ListedColormap(["#f4f1ea", "#3b6ea5", "#d1495b", "#edae49", "#2e4057"])


class Residual(nn.Module):
    """Two convolutions beside a shortcut: the block of a ResNet."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, 2, 1, bias=False)
        self.norm1 = nn.BatchNorm2d(out_channels)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, 1, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(out_channels)
        self.shortcut = nn.Conv2d(in_channels, out_channels, 1, 2, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return a map of half the size."""
        y = F.relu(self.norm1(self.conv1(x)))
        return F.relu(self.norm2(self.conv2(y)) + self.shortcut(x))


def own_encoder() -> nn.Module:
    """Return a small residual encoder: (N, 3, H, W) -> (N, 128, H / 16, W / 16)."""
    stem = nn.Conv2d(3, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU()
    widths = (16, 32, 64, 96, 128)
    blocks = (Residual(*pair) for pair in pairwise(widths))
    return nn.Sequential(*stem, *blocks)


def load_encoder(name: str) -> nn.Module:
    """Return timm's encoder of that name, or the one of this file."""
    if name != "own":
        try:
            import timm
        except (ImportError, RuntimeError) as error:  # RuntimeError: built for another PyTorch.
            print(f"No encoder from timm: {error}. The one of this file is taken.")
        else:
            return timm.create_model(name, pretrained=False)
    return own_encoder()


def train(net: nn.Module, steps: int, seed: int) -> None:
    """Train with Adam; the learning rate falls to zero in a straight line."""
    optimiser = torch.optim.Adam(net.parameters(), lr=2e-3)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: 1 - step / steps)
    bar = tqdm(range(steps), desc="training", unit="step")
    for step in bar:
        images, wanted = batch("training", SIZE, BATCH, (seed, step))
        loss = F.cross_entropy(net(images), wanted)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
        bar.set_postfix(loss=f"{loss.item():.3f}")


@torch.no_grad()
def segment(net: nn.Module, images: torch.Tensor) -> torch.Tensor:
    """Return the class of each pixel."""
    return net.eval()(images).argmax(1)


def overlaps(said: torch.Tensor, wanted: torch.Tensor) -> list[float]:
    """Return the intersection over union of each class."""
    found = []
    for number in range(len(CLASSES)):
        a, b = said == number, wanted == number
        found.append(((a & b).sum() / (a | b).sum().clamp(min=1)).item())
    return found


def tabulate(rows: dict[str, list[float]]) -> str:
    """Return a table of the overlaps, one line a size."""
    names = ["IoU at", *CLASSES, "mean"]
    lines = ["  ".join(f"{name:>10}" for name in names)]
    for name, found in rows.items():
        cells = [*found, sum(found) / len(found)]
        lines.append("  ".join([f"{name:>10}", *(f"{cell:>10.2f}" for cell in cells)]))
    return "\n".join(lines)


def draw(cases: list[tuple[torch.Tensor, torch.Tensor, torch.Tensor]], path: Path) -> None:
    """Write three rows: pictures, the classes of their pixels, and what the net says."""
    figure, axes = plt.subplots(3, len(cases), figsize=(13, 5.4), layout="constrained")
    for column, (image, wanted, said) in enumerate(cases):
        axes[0, column].imshow(((image + 2) / 4).clamp(0, 1).permute(1, 2, 0).numpy())
        axes[0, column].set_title("x".join(map(str, image.shape[1:])), fontsize=9)
        for row, classes in enumerate((wanted, said), 1):
            axes[row, column].imshow(
                classes.numpy(), COLOURS, vmin=0, vmax=len(CLASSES) - 1, interpolation="nearest"
            )
    for axis in axes.flat:
        axis.set(xticks=[], yticks=[])
    for axis, name in zip(axes[:, 0], ("picture", "what is there", "what it says"), strict=True):
        axis.set_ylabel(name)
    patches = [
        plt.Rectangle((0, 0), 1, 1, facecolor=COLOURS(number), edgecolor="grey", label=name)
        for number, name in enumerate(CLASSES)
    ]
    figure.legend(handles=patches, loc="outside lower center", ncols=len(CLASSES), frameon=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def main() -> None:
    """Build the net, print it, train it, write the picture."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--backbone", default="resnet18", help="a name of timm, or own")
    parser.add_argument("--steps", type=int, default=800)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, default=Path("output/unet_on_a_backbone.png"))
    options = parser.parse_args()

    torch.manual_seed(options.seed)
    net = autoup.unet(load_encoder(options.backbone), (BATCH, 3, *SIZE), len(CLASSES))
    print(net)
    start = time.perf_counter()
    train(net, options.steps, options.seed)
    print(f"{options.steps} steps in {time.perf_counter() - start:.0f} s.")

    rows, cases = {}, []
    for size in (SIZE, ODD):
        images, wanted = batch("held out", size, 128, (1,))
        said = segment(net, images)
        assert said.shape == wanted.shape
        rows["x".join(map(str, size))] = overlaps(said, wanted)
        cases += list(zip(images[:4], wanted[:4], said[:4], strict=True))
    print(tabulate(rows))
    draw(cases, options.output)
    print(f"Picture: {options.output}")


if __name__ == "__main__":
    main()
