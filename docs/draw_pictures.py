"""Draw the pictures of the documentation into docs/pictures; `make docs` runs it.

One function draws one picture, and autoup makes what it shows. Diagrams are SVG; pictures of pixels
are PNG, in which every pixel is a square of whole screen pixels.
"""

import contextlib
import doctest
import io
import warnings
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import skimage.data
import torch
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

import autoup
from autoup import AutoConvTranspose1d, AutoConvTranspose2d, Solution

PAGES = Path(__file__).parent
PICTURES = PAGES / "pictures"
BLUE, ORANGE, RED, GREEN, GREY = "#0072B2", "#E69F00", "#D55E00", "#009E73", "#666666"
DPI = 200
GAP, TITLE = 24, 60  # Between pictures and above them, in screen pixels.
SINGLE = Solution(4, 8, kernel_size=2, stride=2)
DOUBLE = Solution(4, 8, kernel_size=4, stride=2, padding=1)
CLASSIC = Solution(4, 8, kernel_size=3, stride=2, padding=1, output_padding=1)

matplotlib.rcParams.update({"font.size": 9, "svg.hashsalt": "autoup", "axes.titlesize": 9})
matplotlib.rcParams["figure.constrained_layout.h_pad"] = 0.1  # inches


# What the pictures are made of.


def photograph(size: int) -> Tensor:
    """Return the astronaut's face in grey, ``(1, 1, size, size)``, values in [0, 1]."""
    face = torch.tensor(skimage.data.astronaut()[20:212, 128:320]).double().mean(2) / 255
    return F.interpolate(face[None, None], size=(size, size), mode="area")


def separable(taps: Sequence[float]) -> Tensor:
    """Return a kernel of one channel that has these taps along either axis."""
    line = torch.tensor(taps, dtype=torch.double)
    return torch.outer(line, line)[None, None]


def fill(layer: nn.Module, weight: Tensor) -> nn.Module:
    """Give a layer this weight and no bias."""
    layer.weight = nn.Parameter(weight.clone(), requires_grad=False)
    layer.bias = None
    return layer


def random_kernel(size: int, seed: int) -> Tensor:
    """Draw a kernel by PyTorch's start, turned so that bright stays bright."""
    torch.manual_seed(seed)
    weight = nn.ConvTranspose2d(1, 1, size, dtype=torch.double).weight.detach()
    return weight * weight.sum().sign()


def name(solution: Solution) -> str:
    """Return the parameters in short, as ``k3 s2 p1, output padding 1``."""
    text = f"k{solution.kernel_size} s{solution.stride}"
    text += f" p{solution.padding}" if solution.padding else ""
    return text + (f", output padding {solution.output_padding}" if solution.output_padding else "")


# How they are put on paper.


def save(figure: Figure, file: str) -> None:
    """Write a figure on white, which both themes show as it is."""
    metadata = {"Date": None} if file.endswith(".svg") else {"Software": None}
    figure.savefig(PICTURES / file, dpi=DPI, facecolor="white", metadata=metadata)


def lay_out(
    rows: Sequence[Sequence[Any]], titles: Sequence[str], factor: int, labels: Sequence[str] = ()
) -> tuple[Figure, list[Any]]:
    """Return a figure with rows of pictures, every pixel ``factor`` screen pixels wide."""
    heights = [max(factor * len(each) for each in row) for row in rows]
    widths = [factor * max(row[n].shape[1] for row in rows) for n in range(len(titles))]
    left = TITLE if labels else GAP
    width = left + sum(widths) + GAP * len(widths)
    height = TITLE + sum(heights) + GAP * len(heights)
    figure, axes, top = Figure(figsize=(width / DPI, height / DPI), dpi=DPI), [], TITLE
    for row, (pictures, tall) in enumerate(zip(rows, heights, strict=True)):
        x = left
        for column, picture in enumerate(pictures):
            h, w = factor * picture.shape[0], factor * picture.shape[1]
            bottom = height - top - h
            ax = figure.add_axes((x / width, bottom / height, w / width, h / height))
            axes.append(show(ax, picture))
            if row == 0:
                ax.set_title(titles[column])
            if column == 0 and labels:
                ax.set_ylabel(labels[row])
            x += widths[column] + GAP
        top += tall + GAP
    return figure, axes


def show(ax: Any, picture: Any) -> Any:
    """Show grey values in [0, 1], or colours."""
    ax.imshow(np.asarray(picture), cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    ax.set(xticks=[], yticks=[])
    return ax


def bare(ax: Any) -> None:
    """Leave no frame."""
    ax.spines[:].set_visible(False)
    ax.set(xticks=[], yticks=[])


# One picture each.


def draw_stamps() -> None:
    """Every input pixel stamps its kernel; below, how many stamps an output pixel gets."""
    figure = Figure(figsize=(9, 3.3), layout="constrained")
    for ax, solution in zip(figure.subplots(1, 3), (CLASSIC, SINGLE, DOUBLE), strict=True):
        for n in range(solution.in_size):
            for t in range(solution.kernel_size):
                y = solution.stride * n + t - solution.padding
                inside = 0 <= y < solution.out_size
                style = {"facecolor": BLUE if inside else "none", "edgecolor": "white"}
                if not inside:
                    style.update(edgecolor=GREY, linestyle=":")
                ax.add_patch(Rectangle((y, 7.4 - n), 1, 0.8, **style))
        for y, count in enumerate(solution.coverage):
            most = count == max(solution.phases)
            ax.add_patch(
                Rectangle((y, 0), 1, 1.5 * count, facecolor=BLUE if most else ORANGE, edgecolor="w")
            )
            ax.text(y + 0.5, 1.5 * count + 0.15, count, ha="center", va="bottom")
        ax.set(xlim=(-1.2, 9.2), ylim=(-0.1, 9.1), title=name(solution))
        bare(ax)
        ax.axhline(0, color=GREY, linewidth=0.8)
    figure.axes[0].text(-1.1, 8.6, "stamps of the 4 input pixels", fontsize=7.5, color=GREY)
    figure.axes[0].text(-1.1, 3.9, "taps on each output pixel", fontsize=7.5, color=GREY)
    save(figure, "stamps.svg")


def draw_coverage() -> None:
    """Coverage in two dimensions: the product of the counts down and across."""
    figure = Figure(figsize=(9, 3.2), layout="constrained")
    for ax, solution in zip(figure.subplots(1, 3), (CLASSIC, SINGLE, DOUBLE), strict=True):
        counts = np.outer(solution.coverage, solution.coverage)
        ax.imshow(counts, cmap="cividis", vmin=0, vmax=4)
        for (y, x), count in np.ndenumerate(counts):
            ax.text(x, y, count, ha="center", va="center", color="black" if count > 2 else "white")
        ax.set(title=name(solution))
        bare(ax)
    save(figure, "coverage.svg")


def draw_dead_line() -> None:
    """An uncovered row and column, and the same sizes without."""
    face, size = photograph(24), 49
    dead = nn.ConvTranspose2d(1, 1, 2, stride=2, output_padding=1)
    with warnings.catch_warnings(action="ignore"):
        solved = AutoConvTranspose2d(1, 1, 24, size)
    kernels = separable([1, 1]), separable([0.25, 0.75, 0.75, 0.25])
    made = [fill(*each)(face)[0, 0] for each in zip((dead, solved), kernels, strict=True)]
    titles = ["k2 s2, output padding 1", name(solved.solutions[0])]
    figure, axes = lay_out([made], titles, 14)
    for ax, text in zip(axes, ("nothing but the bias", "one tap of two"), strict=True):
        arrow = {"color": ORANGE, "arrowstyle": "->"}
        ax.annotate(text, (48, 46), (13, 46), color=ORANGE, va="center", arrowprops=arrow)
    save(figure, "dead_line.png")


def draw_shift() -> None:
    """Three layers without a grid, with and without output padding, on a disk in the middle."""
    place = torch.arange(16, dtype=torch.double) - 7.5
    disk = ((place[:, None] ** 2 + place**2) < 16).double()[None, None]
    shifted = [
        fill(nn.ConvTranspose2d(1, 1, 3, 2, 1, output_padding=1), separable([0.5, 1, 0.5]))
        for _ in range(3)
    ]
    centred = [
        fill(
            AutoConvTranspose2d(1, 1, n, 2 * n, kernel_size=4), separable([0.25, 0.75, 0.75, 0.25])
        )
        for n in (16, 32, 64)
    ]
    made = [nn.Sequential(*layers)(disk)[0, 0] for layers in (shifted, centred)]
    titles = ["three times k3 s2 p1, output padding 1", "three times k4 s2 p1"]
    figure, axes = lay_out([made], titles, 5)
    for ax, picture in zip(axes, made, strict=True):
        lines = torch.arange(128, dtype=torch.double)
        y = float((picture.sum(1) * lines).sum() / picture.sum())
        ax.axhline(63.5, color=BLUE, linewidth=1)
        ax.axvline(63.5, color=BLUE, linewidth=1)
        ax.plot(y, y, "+", color=RED, markersize=14, markeredgewidth=2)
        text = f"\N{MINUS SIGN}{63.5 - y:.1f} px" if abs(y - 63.5) > 0.01 else "centred"
        ax.text(y - 4, y - 6, text, color=RED, ha="right", fontsize=10)
    save(figure, "shift.png")


def draw_phases() -> None:
    """The four phases of a 4x4 kernel, and what their weights add up to."""
    colours = [BLUE, ORANGE, GREEN, RED]
    figure = Figure(figsize=(9, 2.7), layout="constrained")
    first, *others = figure.subplots(1, 4, width_ratios=[1.1, 1, 1, 1])
    for t in range(16):
        y, x = divmod(t, 4)
        phase = 2 * (y % 2) + x % 2
        first.add_patch(Rectangle((x, 3 - y), 1, 1, facecolor=colours[phase], edgecolor="w"))
        first.text(x + 0.5, 3.5 - y, "abcd"[phase], ha="center", va="center", color="w")
    first.set(xlim=(0, 4), ylim=(0, 4), aspect="equal", title="the taps of k4 s2, by phase")
    bare(first)
    torch.manual_seed(3)
    plain = nn.ConvTranspose2d(1, 1, 4, 2, 1, dtype=torch.double)
    smooth = AutoConvTranspose2d(1, 1, 8, 16, smoothness=1, dtype=torch.double)
    smooth.weight = plain.weight
    start = AutoConvTranspose2d(1, 1, 8, 16, kernel_size=4, init="phase_equal", dtype=torch.double)
    titles = ("PyTorch's start", "the same, smoothness=1", "phase-equal start")
    for ax, layer, title in zip(others, (plain, smooth.to_plain(), start), titles, strict=True):
        kernel = layer.weight.detach()[0, 0]
        sums = kernel.view(2, 2, 2, 2).sum((0, 2)).flatten()
        ax.bar(list("abcd"), sums / sums.square().mean().sqrt(), color=colours)
        ax.axhline(0, color=GREY, linewidth=0.8)
        ax.set(title=title, ylim=(-2, 2))
        ax.spines[["top", "right"]].set_visible(False)
        spread = autoup.phase_spread(layer)
        ax.text(0.97, 0.03, f"spread {spread:.2f}", transform=ax.transAxes, ha="right")
    others[0].set_ylabel("phase sum over the rms of all")
    save(figure, "phases.svg")


def draw_starts() -> None:
    """What layers that nothing has trained make of a constant and of a photograph."""
    torch.manual_seed(8)
    like = {"dtype": torch.double}
    layers = {
        "k3 s2, PyTorch's start": nn.ConvTranspose2d(1, 1, 3, 2, 1, 1, **like),
        "k2 s2, PyTorch's start": nn.ConvTranspose2d(1, 1, 2, 2, **like),
        "k4 s2, PyTorch's start": nn.ConvTranspose2d(1, 1, 4, 2, 1, **like),
        "k2 s2, phase-equal": AutoConvTranspose2d(1, 1, 24, 48, init="phase_equal", **like),
        "k4 s2, smoothness=1": AutoConvTranspose2d(1, 1, 24, 48, smoothness=1, **like),
    }
    rows = [[], []]
    for layer in layers.values():
        fill(layer, layer.weight.detach() * layer.weight.sum().sign())
        constant, face = layer(torch.cat([torch.ones(1, 1, 24, 24, **like), photograph(24)]))
        inside = constant[0, 4:-4, 4:-4]
        middle, width = inside.mean(), 1.5 * max(float(inside.std()), float(face.std()))
        for row, picture in zip(rows, (constant - middle, face - face.mean()), strict=True):
            row.append(picture[0, 2:-2, 2:-2] / (2 * width) + 0.5)
    figure, _ = lay_out(rows, list(layers), 7, ["constant in", "photograph in"])
    save(figure, "starts.png")


def draw_border() -> None:
    """Coverage along an axis where the kernel is wider than the stride."""
    figure = Figure(figsize=(9, 2.4), layout="constrained")
    for ax, sizes in zip(figure.subplots(1, 3), ((12, 24), (13, 28), (10, 25)), strict=True):
        solution = autoup.solve(*sizes)
        most = max(solution.coverage)
        colours = [BLUE if each == most else ORANGE for each in solution.coverage]
        ax.bar(range(solution.out_size), solution.coverage, width=0.9, color=colours)
        ax.set(title=f"{sizes[0]} -> {sizes[1]}: {name(solution)}", yticks=[0, 1, 2], xticks=[])
        ax.set(xlabel="output pixels", ylim=(0, 2.3))
        ax.spines[["top", "right"]].set_visible(False)
    figure.axes[0].set_ylabel("taps on each pixel")
    save(figure, "border.svg")


def draw_scale() -> None:
    """A size far from a multiple: twice the size with the border cut off."""
    face = photograph(40)
    with warnings.catch_warnings(action="ignore", category=autoup.ArtifactWarning):
        layer = AutoConvTranspose2d(1, 1, 40, 60)
    k = layer.kernel_size[0]
    tent = torch.zeros(k, dtype=torch.double)
    tent[k // 2 - 2 : k // 2 + 2] = torch.tensor([0.25, 0.75, 0.75, 0.25])
    made = fill(layer, separable(tent.tolist()))(face)[0, 0]
    wanted = F.interpolate(face, size=(60, 60), mode="bilinear", antialias=True)[0, 0]
    titles = ["40 px", "60 px wanted", f"60 px by {name(layer.solutions[0])}"]
    figure, _ = lay_out([[face[0, 0], wanted, made]], titles, 10)
    save(figure, "scale.png")


def draw_smoothness() -> None:
    """One random kernel under each promise, on four inputs."""
    place = torch.arange(20, dtype=torch.double)
    ramp = (place[:, None] + 0.5 * place) / 30
    stripes = (torch.rand(20, generator=torch.Generator().manual_seed(0)))[:, None].expand(20, 20)
    inputs = [torch.ones(20, 20), ramp, stripes, photograph(20)[0, 0]]
    batch = torch.stack([each.double() for each in inputs])[:, None]
    weight = random_kernel(4, 6)
    rows = []
    for m in (0, 1, 2):
        layer = AutoConvTranspose2d(1, 1, 20, 40, kernel_size=4, smoothness=m, dtype=torch.double)
        made = fill(layer, weight)(batch)[:, 0, 4:-4, 4:-4]
        rows.append(list((made - made.min()) / (made.max() - made.min())))
    titles = ["constant", "ramp", "constant along rows", "photograph"]
    figure, _ = lay_out(rows, titles, 10, [f"smoothness={m}" for m in range(3)])
    save(figure, "smoothness.png")


def draw_response() -> None:
    """How strongly kernels pass each frequency; what they pass at 1/2 is the grid."""
    figure = Figure(figsize=(9, 2.8), layout="constrained")
    ax = figure.subplots()
    torch.manual_seed(4)
    plain = nn.ConvTranspose1d(1, 1, 4, 2, 1, dtype=torch.double)
    kernels = {"k4, PyTorch's start": (plain.weight, GREY, ":")}
    for m, colour, line in ((1, BLUE, "-"), (2, RED, "--")):
        layer = AutoConvTranspose1d(1, 1, 8, 16, kernel_size=4, smoothness=m, dtype=torch.double)
        layer.weight = plain.weight
        kernels[f"the same, smoothness={m}"] = layer.to_plain().weight, colour, line
    for label, (weight, colour, line) in kernels.items():
        size = torch.fft.rfft(weight.detach()[0, 0], 512).abs()
        ax.plot(torch.arange(257) / 512, size / size[0], line, color=colour, label=label)
    ax.axvline(0.5, color=ORANGE, linewidth=2, zorder=0)
    text = {"transform": ax.transAxes, "rotation": 90, "ha": "right", "va": "center"}
    ax.text(0.993, 0.55, "grid frequency of stride 2", color=GREY, **text)
    ax.set(xlabel="frequency, cycles per output pixel", ylabel="response", xlim=(0, 0.501))
    ax.set(ylim=(0, None))
    ax.legend(frameon=False)
    ax.spines[["top", "right"]].set_visible(False)
    save(figure, "response.svg")


def draw_measured() -> None:
    """A photograph with a weak k3 s2 pattern, and what measure_grid draws of it."""
    face = photograph(160)[0, 0]
    coverage = autoup.Solution(80, 160, 3, 2, padding=1, output_padding=1).coverage
    pattern = torch.outer(*[torch.tensor(coverage, dtype=torch.double)] * 2)
    picture = face + 0.05 * face.std() * (pattern - pattern.mean()) / pattern.std()
    details = [each[60:100, 60:100].repeat_interleave(4, 0).repeat_interleave(4, 1)
               for each in (face, picture)]  # fmt: skip
    titles = ["with a grid", "a detail without", "the detail with the grid"]
    figure, _ = lay_out([[picture, *details]], titles, 4)
    save(figure, "weak_grid.png")
    autoup.measure_grid(picture, stride=2).draw().save(PICTURES / "measured.svg")


def draw_themselves() -> None:
    """A solution, a ladder, a report and a U-Net, as notebooks show them."""
    autoup.solve(7, 15).draw().save(PICTURES / "axis.svg")
    autoup.ladder(7, 218).draw().save(PICTURES / "ladder.svg")
    torch.manual_seed(0)
    numbers = {"kernel_size": 3, "stride": 2, "padding": 1, "output_padding": 1}
    layers = [nn.ConvTranspose2d(*each, **numbers) for each in ((64, 32), (32, 3))]
    generator = nn.Sequential(layers[0], nn.ReLU(), layers[1], nn.Tanh())
    autoup.audit(generator, (1, 64, 16, 16)).draw().save(PICTURES / "audit.svg")
    widths = (3, 16, 32, 64)
    steps = [
        [nn.Conv2d(*pair, 3, 2, 1, bias=False), nn.BatchNorm2d(pair[1]), nn.ReLU()]
        for pair in pairwise(widths)
    ]
    encoder = nn.Sequential(*(each for step in steps for each in step))
    autoup.unet(encoder, (1, 3, 224, 224), out_channels=2).draw().save(PICTURES / "unet.svg")


def draw_tutorial() -> None:
    """Run the code of the tutorial, and show what its two decoders make."""
    found: dict[str, Any] = {}
    for example in doctest.DocTestParser().get_examples((PAGES / "tutorial.md").read_text()):
        with contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(autoup.ArtifactWarning):
            exec(compile(example.source, "tutorial.md", "single"), found)
    chosen = [0, 5, 9, 14]
    rows = []
    for made, model in ((found["held_out"], None), (found["made_plain"], found["plain"]),
                        (found["made"], found["model"])):  # fmt: skip
        grey = torch.full((1, 3, 64, 64), 0.5)
        with torch.no_grad():
            constant = grey if model is None else model(grey)
        pictures = [*made[chosen], constant[0]]
        rows.append([each.clamp(0, 1).permute(1, 2, 0) for each in pictures])
    titles = [*["held-out crop"] * 4, "grey"]
    figure, _ = lay_out(rows, titles, 5, ["original", "by hand", "mirror_decoder"])
    save(figure, "tutorial.png")


def main() -> None:
    """Draw all of them."""
    PICTURES.mkdir(exist_ok=True)
    torch.set_num_threads(1)
    for draw in PICTURES_OF:
        draw()


PICTURES_OF = (
    draw_stamps,
    draw_coverage,
    draw_dead_line,
    draw_shift,
    draw_phases,
    draw_starts,
    draw_border,
    draw_scale,
    draw_smoothness,
    draw_response,
    draw_measured,
    draw_themselves,
    draw_tutorial,
)


if __name__ == "__main__":
    main()
