"""A trained generator with k3 s2 layers: audited, repaired with equal output, fine-tuned.

A small autoencoder of photographs, whose generator upsamples three times by kernel 3, stride 2,
output padding 1, is trained for a minute or two. ``audit`` tells what is wrong with it. ``repair``
makes the same function without output padding, and with ``smoothness=1`` one whose grid on constant
pictures cannot come back. All are then trained on by as much, the untouched model too. The program
prints a table, checks an ONNX export of the generator before and after, and writes a picture.

    python examples/repair_a_generator.py
"""

import argparse
import copy
import io
import logging
import time
import warnings
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import skimage.data
import torch
from matplotlib import pyplot as plt
from torch import nn
from torch.nn import functional as F  # noqa: N812

import autoup

SIZE = 64
INPUT = (1, 3, SIZE, SIZE)
PHOTOGRAPHS = ("astronaut", "chelsea", "coffee", "rocket", "retina", "immunohistochemistry")
LEVELS = (-0.5, 0.5, 1.0, 1.5)


def build_generator(width: int = 32, code: int = 16) -> nn.Sequential:
    """Return the generator of many tutorials: (N, code, H, W) -> (N, 3, 8 H, 8 W)."""

    def up(before: int, after: int) -> nn.ConvTranspose2d:
        return nn.ConvTranspose2d(before, after, 3, stride=2, padding=1, output_padding=1)

    return nn.Sequential(
        up(code, 2 * width),
        nn.BatchNorm2d(2 * width),
        nn.ReLU(),
        up(2 * width, width),
        nn.BatchNorm2d(width),
        nn.ReLU(),
        up(width, 3),
    )


def build_model(width: int = 32, code: int = 16) -> nn.Sequential:
    """Return encoder and generator; the encoder is not audited, as it makes pictures smaller."""
    encoder = nn.Sequential(
        nn.Conv2d(3, width, 4, 2, 1),
        nn.ReLU(),
        nn.Conv2d(width, 2 * width, 4, 2, 1),
        nn.ReLU(),
        nn.Conv2d(2 * width, code, 4, 2, 1),
    )
    return nn.Sequential(encoder, build_generator(width, code))


def load_photographs() -> list[torch.Tensor]:
    """Return scikit-image's photographs, each (3, H, W) in [0, 1]."""
    images = [torch.tensor(getattr(skimage.data, name)()) for name in PHOTOGRAPHS]
    return [image.permute(2, 0, 1).float() / 255 for image in images]


def cut(photographs: list[torch.Tensor], count: int, seed: int) -> torch.Tensor:
    """Return random crops, (count, 3, SIZE, SIZE)."""
    generator = torch.Generator().manual_seed(seed)
    crops = []
    for number in range(count):
        image = photographs[number % len(photographs)]
        top, left = (
            int(torch.randint(size - SIZE + 1, (), generator=generator)) for size in image.shape[1:]
        )
        crops.append(image[:, top : top + SIZE, left : left + SIZE])
    return torch.stack(crops)


def train(model: nn.Module, crops: torch.Tensor, steps: int, rate: float) -> nn.Module:
    """Train on the mean squared error, the same crops in the same order for every model."""
    optimiser = torch.optim.Adam(model.parameters(), lr=rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    generator = torch.Generator().manual_seed(0)
    model.train()
    for _ in range(steps):
        batch = crops[torch.randint(len(crops), (16,), generator=generator)]
        optimiser.zero_grad(set_to_none=True)
        F.mse_loss(model(batch), batch).backward()
        optimiser.step()
        schedule.step()
    return model.eval()


def measure(model: nn.Module, crops: torch.Tensor) -> list[float]:
    """Return PSNR in dB, the grid in the residual and the grid on constant pictures."""
    with torch.no_grad():
        made = model(crops)
    psnr = -10 * float(F.mse_loss(made, crops).log10())
    residual = autoup.measure_grid(made, stride=2, target=crops).spread
    # Constant pictures of 128 px, the middle of which no border reaches.
    constants = autoup.audit(model, (1, 3, 2 * SIZE, 2 * SIZE)).constants
    return [psnr, residual, constants.spread]


def export(generator: nn.Module, codes: torch.Tensor) -> tuple[float, list[list[int]]]:
    """Export to ONNX; return how far onnxruntime is off, and every output padding in the graph."""
    import onnxruntime

    file = io.BytesIO()
    logging.disable(logging.WARNING)
    with warnings.catch_warnings(action="ignore"):
        program = torch.onnx.export(generator, (codes,), dynamo=True, verbose=False)
        program.save(file)
    logging.disable(logging.NOTSET)
    options = {"providers": ["CPUExecutionProvider"]}
    session = onnxruntime.InferenceSession(file.getvalue(), **options)
    (made,) = session.run(None, {session.get_inputs()[0].name: codes.numpy()})
    with torch.no_grad():
        wanted = generator(codes)
    found = [
        list(node.attributes["output_padding"].as_ints())
        for node in program.model.graph
        if node.op_type == "ConvTranspose" and "output_padding" in node.attributes
    ]
    return float((torch.from_numpy(made) - wanted).abs().max() / wanted.abs().max()), found


def draw(models: dict[str, nn.Module], crops: torch.Tensor, path: Path) -> None:
    """Draw for each model two crops, their error, and what it makes of constant pictures."""
    flat = torch.cat([torch.full((1, 3, 2 * SIZE, 2 * SIZE), level) for level in LEVELS])
    figure, axes = plt.subplots(
        len(models), 4 + len(LEVELS), figsize=(2 * (4 + len(LEVELS)), 2.2 * len(models))
    )
    for row, (name, model) in zip(axes, models.items(), strict=True):
        with torch.no_grad():
            made, constant = model(crops[:2]), model(flat)
        error = (made - crops[:2]).mean(1)
        middle = constant[..., SIZE - 12 : SIZE + 12, SIZE - 12 : SIZE + 12].mean(1)
        middle = middle - middle.mean((1, 2), keepdim=True)
        for axis, picture in zip(row[:2], made, strict=True):
            axis.imshow(picture.clamp(0, 1).permute(1, 2, 0).numpy())
        for axis, picture in zip(row[2:4], error, strict=True):
            axis.imshow(picture[16:48, 16:48].numpy(), cmap="gray", vmin=-0.15, vmax=0.15)
        for axis, picture in zip(row[4:], middle, strict=True):
            axis.imshow(picture.numpy(), cmap="gray", vmin=-0.03, vmax=0.03)
        row[0].set_title(name, loc="left", fontsize=9)
        for axis in row:
            axis.axis("off")
    for axis, level in zip(axes[0][4:], LEVELS, strict=True):
        axis.set_title(f"constant {level:g}", fontsize=9)
    axes[0][2].set_title("error, enlarged", fontsize=9)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.tight_layout()
    figure.savefig(path, dpi=100)
    plt.close(figure)


def main() -> None:
    """Train, audit, repair, train on; print the table and write the picture."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=1500, help="of training")
    parser.add_argument("--more", type=int, default=1000, help="of training on")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, default=Path("output/repair_a_generator.png"))
    options = parser.parse_args()
    torch.manual_seed(options.seed)
    photographs = load_photographs()
    crops = cut([image[:, : image.shape[1] * 3 // 4] for image in photographs], 1024, seed=1)
    held_out = cut([image[:, image.shape[1] * 3 // 4 :] for image in photographs], 96, seed=2)

    start = time.perf_counter()
    model = train(build_model(), crops, options.steps, rate=3e-3)
    print(f"Trained for {time.perf_counter() - start:.0f} s.\n\n{autoup.audit(model, INPUT)}\n")
    repaired = autoup.repair(model, INPUT)
    guarded = autoup.repair(model, INPUT, smoothness=1)
    with torch.no_grad():
        before, after = model(held_out), repaired(held_out)
    print(f"Repaired, the outputs differ by {float((before - after).abs().max()):.1g} at most.\n")

    models = {
        "k3 s2, output padding 1": model,
        "the same, repaired": repaired,
        "with smoothness=1, at once": guarded,
    }
    trained = {
        "k3 s2, trained on": model,
        "repaired, trained on": repaired,
        "smoothness=1, trained on": guarded,
    }
    for name, each in trained.items():
        models[name] = train(copy.deepcopy(each), crops, options.more, rate=1e-3)
    print(f"{'':<28}{'PSNR dB':>8}{'residual grid':>15}{'grid on constants':>19}")
    for name, each in models.items():
        psnr, residual, constants = measure(each, held_out)
        print(f"{name:<28}{psnr:>8.2f}{residual:>15.2g}{constants:>19.2g}")

    codes = torch.randn(1, 16, 8, 8)
    print("\nONNX export of the generator, relative difference in onnxruntime, output paddings:")
    for name in ("k3 s2, output padding 1", "the same, repaired", "smoothness=1, trained on"):
        difference, found = export(models[name][1], codes)
        print(f"  {name:<26}{difference:>8.1g}  {found or 'none'}")
    shown = [name for name in models if name not in ("the same, repaired",)]
    draw({name: models[name] for name in shown}, held_out, options.output)
    print(f"\nPicture: {options.output}")


if __name__ == "__main__":
    main()
