"""Which decoders show a grid, and what it costs to be rid of it.

One encoder (three ``nn.Conv2d`` of stride 2), and for each of its decoders three enlargements by
2 of another kind: transposed convolutions with PyTorch's start, with the phase-equal start and
with ``smoothness``; sub-pixel convolutions with and without ICNR; resizing and a 3x3
convolution. All start from the same encoder, see the same batches of 32-pixel pictures (crops of
photographs, digits), and start with a last layer scaled to a tenth, so that none begins with
noise. A variational autoencoder of each kind is trained on the digits too, and its samples from
the prior are measured.

Every run is a line of ``results.jsonl``: stop the program when you like, and the next call goes on.
At its end it writes ``table.md``, ``grids.png``, ``constants.png`` and ``numbers.png`` beside it.
"""

import argparse
import json
import multiprocessing
import statistics
import time
import warnings
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import torch
from matplotlib import pyplot as plt
from mirror_a_backbone import load_photographs, psnr, split
from sklearn.datasets import load_digits
from torch import nn
from torch.nn import functional as F  # noqa: N812
from tqdm import tqdm

from autoup import ArtifactWarning, AutoConvTranspose2d, measure_grid, phase_spread
from autoup.init import phase_equal_

SIZE, LARGE, BATCH, LATENT = 32, 72, 32, 64
Layer = Callable[[int, int, int], nn.Module]


def transposed(kernel: int, padding: int, extra: int = 0, start: str = "torch") -> Layer:
    """Return a maker of plain ``nn.ConvTranspose2d`` of stride 2."""

    def make(before: int, after: int, _: int) -> nn.Module:
        layer = nn.ConvTranspose2d(before, after, kernel, 2, padding, output_padding=extra)
        if start == "phase-equal":
            phase_equal_(layer.weight, 2)
            nn.init.zeros_(layer.bias)
        return layer

    return make


def smooth(kernel: int, order: int) -> Layer:
    """Return a maker of ``AutoConvTranspose2d`` with that smoothness."""

    def make(before: int, after: int, size: int) -> nn.Module:
        with warnings.catch_warnings(action="ignore", category=ArtifactWarning):
            return AutoConvTranspose2d(
                before, after, size, 2 * size, kernel_size=kernel, smoothness=order
            )

    return make


def subpixel(icnr: bool) -> Layer:
    """Return a maker of 3x3 convolutions into ``PixelShuffle``; ICNR repeats every kernel."""

    def make(before: int, after: int, _: int) -> nn.Module:
        conv = nn.Conv2d(before, 4 * after, 3, padding=1)
        if icnr:
            with torch.no_grad():
                conv.weight.copy_(conv.weight[::4].repeat_interleave(4, 0))
                conv.bias.copy_(conv.bias[::4].repeat_interleave(4, 0))
        return nn.Sequential(conv, nn.PixelShuffle(2))

    return make


def resize(mode: str) -> Layer:
    """Return a maker of enlargements followed by a 3x3 convolution."""

    def make(before: int, after: int, _: int) -> nn.Module:
        return nn.Sequential(
            nn.Upsample(scale_factor=2, mode=mode), nn.Conv2d(before, after, 3, padding=1)
        )

    return make


DECODERS: dict[str, Layer] = {
    "k3 s2 op1": transposed(3, 1, 1),
    "k2 s2": transposed(2, 0),
    "k2 s2, phase-equal start": transposed(2, 0, start="phase-equal"),
    "k4 s2": transposed(4, 1),
    "k4 s2, phase-equal start": transposed(4, 1, start="phase-equal"),
    "k3 s2 op1, smoothness 1": smooth(3, 1),
    "k4 s2, smoothness 1": smooth(4, 1),
    "k4 s2, smoothness 2": smooth(4, 2),
    "sub-pixel conv3": subpixel(icnr=False),
    "sub-pixel conv3, ICNR": subpixel(icnr=True),
    "nearest + conv3": resize("nearest"),
    "bilinear + conv3": resize("bilinear"),
}


def build_encoder(channels: int) -> nn.Sequential:
    """Return (N, channels, H, W) -> (N, LATENT, H / 8, W / 8)."""
    return nn.Sequential(
        nn.Conv2d(channels, 16, 3, 2, 1), nn.ReLU(),
        nn.Conv2d(16, 32, 3, 2, 1), nn.ReLU(),
        nn.Conv2d(32, LATENT, 3, 2, 1),
    )  # fmt: skip


def build_decoder(name: str, channels: int) -> nn.Sequential:
    """Return (N, LATENT, H / 8, W / 8) -> (N, channels, H, W)."""
    make = DECODERS[name]
    layers = [make(LATENT, 32, SIZE // 8), make(32, 16, SIZE // 4), make(16, channels, SIZE // 2)]
    with torch.no_grad():
        for parameter in layers[-1].parameters():
            parameter.mul_(0.1)
    return nn.Sequential(layers[0], nn.ReLU(), layers[1], nn.ReLU(), layers[2])


class Variational(nn.Module):
    """A variational autoencoder around a decoder."""

    def __init__(self, name: str, channels: int, code: int = 16) -> None:
        super().__init__()
        flat = LATENT * (SIZE // 8) ** 2
        self.code = code
        self.encoder = nn.Sequential(
            build_encoder(channels), nn.ReLU(), nn.Flatten(), nn.Linear(flat, 2 * code)
        )
        widen = nn.Linear(code, flat), nn.ReLU(), nn.Unflatten(1, (LATENT, SIZE // 8, SIZE // 8))
        self.decoder = nn.Sequential(*widen, build_decoder(name, channels))

    def loss(self, x: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        """Return the negative evidence lower bound of a batch, a value."""
        mean, log_variance = self.encoder(x).chunk(2, 1)
        noise = torch.randn(mean.shape, generator=generator)
        made = self.decoder(mean + noise * (log_variance / 2).exp())
        divergence = (mean**2 + log_variance.exp() - 1 - log_variance).sum(1).mean() / 2
        return 50 * F.mse_loss(made, x, reduction="sum") / len(x) + divergence

    def sample(self, count: int, scale: float) -> torch.Tensor:
        """Return pictures from codes of that standard deviation, without their border."""
        codes = torch.randn(count, self.code, generator=torch.Generator().manual_seed(0))
        with torch.no_grad():
            return self.decoder(scale * codes)[..., 4:-4, 4:-4]


def cut(photographs: list[torch.Tensor], count: int, seed: int, size: int = SIZE) -> torch.Tensor:
    """Return crops of the photographs at random places, (count, 3, size, size)."""
    generator, crops = torch.Generator().manual_seed(seed), []
    for number in range(count):
        image = photographs[number % len(photographs)]
        y, x = (int(torch.randint(n - size + 1, (), generator=generator)) for n in image.shape[1:])
        crops.append(image[:, y : y + size, x : x + size])
    return torch.stack(crops)


def shift(images: torch.Tensor) -> torch.Tensor:
    """Return each picture less a line and a column, at all four places.

    What a picture itself has at the frequencies of the grid cancels; what a decoder adds stays.
    """
    places = ((y, x) for y in (0, 1) for x in (0, 1))
    return torch.cat([images[..., y : LARGE + y, x : LARGE + x] for y, x in places])


def load(data: str) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return pictures to train on, pictures held out, and larger ones to measure the grid on.

    (N, C, SIZE, SIZE) and (N, C, LARGE, LARGE), in [0, 1]; nine digits make a larger one.
    """
    if data == "photographs":
        training, held_out = split(load_photographs())
        large = cut(held_out, 128, 2, LARGE + 1)
        return cut(training, 4000, 0), cut(held_out, 512, 1), shift(large)
    digits = torch.tensor(load_digits().images, dtype=torch.float32)[:, None] / 16
    digits = F.interpolate(digits, size=SIZE, mode="bilinear", align_corners=False)
    order = torch.randint(300, (9 * 128,), generator=torch.Generator().manual_seed(2))
    nine = digits[order].view(128, 3, 3, SIZE, SIZE).transpose(2, 3).reshape(128, 1, 96, 96)
    return digits[300:], digits[:300], shift(nine[..., 11:84, 11:84])


def measure_constants(model: nn.Module, channels: int) -> float:
    """Return the grid on constant images from -1 to 2, far from the border, in grey levels of 1.

    The standard deviation of the 64 phase means (three layers repeat after 8 pixels), rms.
    """
    levels = torch.linspace(-1, 2, 13).view(-1, 1, 1, 1)
    with torch.no_grad():
        made = model(levels.expand(-1, channels, 3 * SIZE, 3 * SIZE)).double()
    inside = made[..., SIZE : 2 * SIZE, SIZE : 2 * SIZE]
    phases = inside.unflatten(3, (-1, 8)).unflatten(2, (-1, 8)).mean((2, 4))
    return float(phases.var((2, 3), correction=0).mean().sqrt())


def train(model: nn.Module, loss: Callable[..., torch.Tensor], images: torch.Tensor,
          steps: int, seed: int) -> None:  # fmt: skip
    """Train with Adam, the learning rate falling to 0."""
    optimiser = torch.optim.Adam(model.parameters(), 2e-3)
    generator = torch.Generator().manual_seed(seed)
    for step in range(steps):
        optimiser.param_groups[0]["lr"] = 2e-3 * (1 - step / steps)
        batch = images[torch.randint(len(images), (BATCH,), generator=generator)]
        value = loss(batch, generator)
        optimiser.zero_grad()
        value.backward()
        optimiser.step()


def run_autoencoder(name: str, data: str, seed: int, steps: int) -> dict[str, object]:
    """Train one autoencoder and return what was measured."""
    training, held_out, large = load(data)
    channels = training.shape[1]
    torch.manual_seed(seed)
    encoder = build_encoder(channels)
    torch.manual_seed(seed + 1000)
    model = nn.Sequential(encoder, build_decoder(name, channels))
    measured: dict[str, object] = {"constants_start": measure_constants(model, channels)}
    train(model, lambda batch, _: F.mse_loss(model(batch), batch), training, steps, seed)
    with torch.no_grad():
        made = model(held_out)
        inside = torch.cat([model(each)[..., 16:-16, 16:-16] for each in large.split(BATCH)])
        flat = model(torch.full((1, channels, 3 * SIZE, 3 * SIZE), 2.0))
    residual = measure_grid(inside, 2, large[..., 16:-16, 16:-16])
    measured |= {
        "psnr": psnr(made, held_out),
        "residual": residual.spread,
        "score": statistics.mean(residual.scores),
        "constants": measure_constants(model, channels),
    }
    if seed == 0:
        middle = slice(SIZE, 2 * SIZE)
        measured["made"] = made[2].tolist()
        measured["wanted"] = held_out[2].tolist()
        measured["flat"] = flat[0, :, middle, middle].tolist()
    return measured


def run_variational(name: str, seed: int, steps: int) -> dict[str, object]:
    """Train one variational autoencoder on the digits and measure samples from the prior."""
    training, *_ = load("digits")
    torch.manual_seed(seed)
    model = Variational(name, 1)
    train(model, model.loss, training, steps, seed)
    near, far = model.sample(256, 1.0), model.sample(256, 3.0)
    return {"samples": measure_grid(near, 2).spread, "samples_far": measure_grid(far, 2).spread}


def run(name: str, data: str, seed: int, steps: int) -> dict[str, object]:
    """Run one job in a process of its own thread."""
    torch.set_num_threads(1)
    start = time.perf_counter()
    if data == "samples":
        measured = run_variational(name, seed, steps)
    else:
        measured = run_autoencoder(name, data, seed, steps)
    seconds = time.perf_counter() - start
    return {"decoder": name, "data": data, "seed": seed, "steps": steps, "s": seconds} | measured


def time_steps(rounds: int) -> list[dict[str, object]]:
    """Return the milliseconds of a training step of every decoder, in turns on one thread."""
    torch.set_num_threads(1)
    code, wanted = torch.randn(BATCH, LATENT, 4, 4), torch.rand(BATCH, 3, SIZE, SIZE)
    decoders = {name: build_decoder(name, 3) for name in DECODERS}
    optimisers = {n: torch.optim.Adam(d.parameters(), 1e-3) for n, d in decoders.items()}
    times: dict[str, list[float]] = {name: [] for name in DECODERS}
    for _ in tqdm(range(rounds), desc="timing", unit="round"):
        for name, decoder in decoders.items():
            start = time.perf_counter()
            optimisers[name].zero_grad()
            F.mse_loss(decoder(code), wanted).backward()
            optimisers[name].step()
            times[name].append(1e3 * (time.perf_counter() - start))
    return [
        {"decoder": name, "data": "time", "ms": statistics.median(times[name][rounds // 5 :])}
        for name in DECODERS
    ]


def read(path: Path) -> list[dict]:
    """Return the runs that are done; a line cut off by an interruption is not."""
    done = []
    for line in path.read_text().splitlines() if path.exists() else []:
        try:
            done.append(json.loads(line))
        except json.JSONDecodeError:
            continue
    return done


def tabulate(runs: list[dict]) -> str:
    """Return the table in Markdown: medians over the seeds."""

    def median(name: str, data: str, key: str) -> float:
        values = [r[key] for r in runs if r["decoder"] == name and r["data"] == data]
        return statistics.median(values) if values else float("nan")

    head = ["decoder", "parameters", "ms a step", "phase spread at start"]
    for data in ("photographs", "digits"):
        head += [f"{data}: PSNR dB", "residual grid", "score"]
        head += ["constants, start", "trained"]
    head += ["samples", "far samples"]
    rows = ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    for name in DECODERS:
        torch.manual_seed(0)
        decoder = build_decoder(name, 3)
        count = sum(parameter.numel() for parameter in decoder.parameters())
        cells = [name, f"{count:,}", f"{median(name, 'time', 'ms'):.1f}"]
        try:
            cells.append(f"{phase_spread(decoder[-1]):.2f}")
        except TypeError:
            cells.append("-")
        for data in ("photographs", "digits"):
            cells.append(f"{median(name, data, 'psnr'):.2f}")
            for key in ("residual", "score", "constants_start", "constants"):
                cells.append(f"{median(name, data, key):.2g}")
        cells += [f"{median(name, 'samples', key):.2g}" for key in ("samples", "samples_far")]
        rows.append("| " + " | ".join(cells) + " |")
    seeds = {r["seed"] for r in runs if "seed" in r}
    steps = {r["steps"] for r in runs if "steps" in r}
    return "\n".join(rows) + f"\n\nMedians of {len(seeds)} seeds, {max(steps)} steps.\n"


def draw_grids(runs: list[dict], path: Path) -> None:
    """Write, for each decoder: a reconstruction, its error, and a constant far from the data."""
    shown = {r["decoder"]: r for r in runs if r["data"] == "photographs" and "made" in r}
    names = [name for name in DECODERS if name in shown]
    figure, axes = plt.subplots(3, len(names), figsize=(1.7 * len(names), 5.6), squeeze=False,
                                layout="constrained")  # fmt: skip
    for name, column in zip(names, axes.T, strict=True):
        made, wanted, flat = (torch.tensor(shown[name][k]) for k in ("made", "wanted", "flat"))
        column[0].imshow(made.clamp(0, 1).permute(1, 2, 0).numpy())
        column[1].imshow((made - wanted).mean(0).numpy(), cmap="RdBu", vmin=-0.2, vmax=0.2)
        column[2].imshow((flat - flat.mean((1, 2), keepdim=True)).mean(0).numpy(), cmap="RdBu",
                         vmin=-0.1, vmax=0.1)  # fmt: skip
        column[0].set_title(name.replace(", ", "\n"), fontsize=8)
    for axis, label in zip(axes[:, 0], ("output", "error, ±0.2", "white of 2, ±0.1"), strict=True):
        axis.set_ylabel(label, fontsize=9)
    for axis in axes.flat:
        axis.set(xticks=[], yticks=[])
    figure.savefig(path, dpi=100)
    plt.close(figure)


def draw_constants(runs: list[dict], path: Path) -> None:
    """Write what each decoder of photographs makes of a constant image far from the data."""
    shown = {r["decoder"]: r["flat"] for r in runs if r["data"] == "photographs" and "flat" in r}
    figure, axes = plt.subplots(2, 6, figsize=(9, 3.8), layout="constrained")
    for name, axis in zip(DECODERS, axes.flat, strict=True):
        if name in shown:
            flat = torch.tensor(shown[name]).mean(0)
            axis.imshow((flat - flat.mean()).numpy(), cmap="RdBu", vmin=-0.1, vmax=0.1)
        axis.set_title(name.replace(", ", "\n"), fontsize=8)
        axis.set(xticks=[], yticks=[])
    figure.savefig(path, dpi=100)
    plt.close(figure)


def draw_numbers(runs: list[dict], path: Path) -> None:
    """Write every seed's residual grid over its PSNR, a colour a decoder."""
    figure, axes = plt.subplots(1, 2, figsize=(11, 4.5), layout="constrained")
    colours = plt.get_cmap("tab20").colors
    for axis, data in zip(axes, ("photographs", "digits"), strict=True):
        for name, colour in zip(DECODERS, colours, strict=False):
            mine = [r for r in runs if r["decoder"] == name and r["data"] == data]
            axis.scatter([r["psnr"] for r in mine], [r["residual"] for r in mine], color=colour,
                         label=name, s=18)  # fmt: skip
        axis.set(title=data, xlabel="PSNR, dB", ylabel="residual grid", yscale="log")
    axes[1].legend(fontsize=7, bbox_to_anchor=(1.02, 1), loc="upper left")
    figure.savefig(path, dpi=100)
    plt.close(figure)


def main() -> None:
    """Do what is not done yet, then write the table and the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="one seed and few steps: a minute")
    parser.add_argument("--steps", type=int)
    parser.add_argument("--seeds", type=int)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--output", type=Path, default=Path("output/grid_experiment"))
    options = parser.parse_args()
    steps = options.steps or (40 if options.quick else 1000)
    seeds = options.seeds or (1 if options.quick else 5)
    folder = options.output.with_name(options.output.name + "_quick" * options.quick)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "results.jsonl"

    jobs = [(n, d, s, steps) for s in range(seeds) for d in ("photographs", "digits", "samples")
            for n in DECODERS]  # fmt: skip
    done = {(r["decoder"], r["data"], r.get("seed"), r.get("steps")) for r in read(path)}
    with path.open("a") as file:
        if path.stat().st_size and not path.read_bytes().endswith(b"\n"):
            file.write("\n")  # An interrupted line must not swallow the next.
        if ("k2 s2", "time", None, None) not in done:
            for each in time_steps(20 if options.quick else 200):
                file.write(json.dumps(each) + "\n")
        missing = [job for job in jobs if job not in done]
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(options.workers, mp_context=context) as pool:
            futures = [pool.submit(run, *job) for job in missing]
            for future in tqdm(as_completed(futures), total=len(futures), unit="run"):
                file.write(json.dumps(future.result()) + "\n")
                file.flush()
    runs = [
        r for r in read(path) if r["data"] == "time" or (r["steps"] == steps and r["seed"] < seeds)
    ]
    table = tabulate(runs)
    (folder / "table.md").write_text(table)
    draw_grids(runs, folder / "grids.png")
    draw_constants(runs, folder / "constants.png")
    draw_numbers(runs, folder / "numbers.png")
    print(table)
    print(f"Results, table and figures: {folder}")


if __name__ == "__main__":
    main()
