"""The layers that enlarge by 2 and their starts, in one and in two dimensions.

A decoder has enlarging layers of one kind and one start, named by a ``Recipe``. All kinds map
(N, before, size) to (N, after, 2 size), so that they can take each other's place.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, partial

import torch
from torch import nn

from autoup import AutoConvTranspose1d, AutoConvTranspose2d
from autoup.init import icnr_, lecun_uniform_, phase_equal_

STRIDE = 2
CONV = {1: nn.Conv1d, 2: nn.Conv2d}
TRANSPOSED = {1: nn.ConvTranspose1d, 2: nn.ConvTranspose2d}
AUTO = {1: AutoConvTranspose1d, 2: AutoConvTranspose2d}
APPLY = {1: nn.functional.conv_transpose1d, 2: nn.functional.conv_transpose2d}
PLAIN = {"k3 s2 op1": (3, 1, 1), "k2 s2": (2, 0, 0), "k4 s2": (4, 1, 0)}  # k, padding, output p.
PROMISES = {
    "k4 points 1": ("points", 1),
    "k4 points 2": ("points", 2),
    "k4 lines 1": ("lines", 1),
    "k4 lines 2": ("lines", 2),
}
MODES = {"nearest + conv3": ("nearest", "nearest"), "bilinear + conv3": ("linear", "bilinear")}
SUBPIXEL = ("sub-pixel conv3", "sub-pixel conv3, ICNR")
KINDS = (*PLAIN, *SUBPIXEL, *MODES, *PROMISES)


@dataclass(frozen=True, slots=True)
class Recipe:
    """What the enlarging layers of a decoder are.

    Args:
        kind: One of ``KINDS``.
        start: How weights are drawn: "torch", "fan-in", "damped", "phase-equal", "projected",
            "dcgan"; with ", calm" the last layer is scaled to a tenth.
    """

    kind: str
    start: str = "torch"

    @property
    def draw(self) -> str:
        """The start without what it does to the last layer."""
        return self.start.removesuffix(", calm")

    @property
    def calm(self) -> bool:
        """Whether the last layer starts at a tenth."""
        return self.start.endswith(", calm")


@cache
def build_projector(promise: str, order: int, kernel: int, dims: int) -> torch.Tensor:
    """Return the orthogonal projector onto the kernels that keep a promise, (taps, taps).

    "points" is Strang-Fix: for each monomial of total degree below ``order``, its sum weighted
    by the taps of a phase is the same in all phases, what ``smoothness`` promises. "lines" keeps
    that along every axis by itself: the projector of one axis, applied along each.
    """
    with torch.device("cpu"):  # Whatever device its first caller builds on.
        if promise == "lines" and dims > 1:
            axis = whole = build_projector("points", order, kernel, 1)
            for _ in range(dims - 1):
                whole = torch.kron(whole, axis)
            return whole
        taps = list(itertools.product(range(kernel), repeat=dims))
        phases = list(itertools.product(range(STRIDE), repeat=dims))
        powers = [p for p in itertools.product(range(order), repeat=dims) if sum(p) < order]
        rows = []
        for power in powers:
            moment = torch.tensor(
                [
                    torch.tensor(t, dtype=torch.float64).pow(torch.tensor(power)).prod()
                    for t in taps
                ],
                dtype=torch.float64,
            )
            mine = [torch.tensor([tuple(n % STRIDE for n in t) == p for t in taps]) for p in phases]
            rows += [moment * each - moment * mine[0] for each in mine[1:]]
        _, values, directions = torch.linalg.svd(torch.stack(rows))
        broken = directions[: int((values > 1e-9 * values[0]).sum())]
        return torch.eye(len(taps), dtype=torch.float64) - broken.T @ broken


def project(weight: torch.Tensor, projector: torch.Tensor) -> torch.Tensor:
    """Return the nearest kernels that keep the promise of the projector."""
    return (weight.flatten(2) @ projector.to(weight.dtype)).view_as(weight)


class Lines(nn.Module):
    """A transposed convolution k4 s2 p1 that keeps the promise of lines in every forward."""

    def __init__(self, before: int, after: int, dims: int, order: int) -> None:
        super().__init__()
        plain = TRANSPOSED[dims](before, after, 4, STRIDE, 1)
        self.weight, self.bias, self.dims = plain.weight, plain.bias, dims
        self.register_buffer("projector", build_projector("lines", order, 4, dims).float())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return (N, after, 2 size)."""
        weight = project(self.weight, self.projector)
        return APPLY[self.dims](x, weight, self.bias, STRIDE, 1)


class Shuffle1d(nn.Module):
    """``nn.PixelShuffle(2)`` for signals."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return (N, C, 2 L) for (N, 2 C, L)."""
        return x.unflatten(1, (-1, STRIDE)).transpose(2, 3).flatten(2)


def build_layer(recipe: Recipe, before: int, after: int, dims: int = 2) -> nn.Module:
    """Return one enlarging layer, started."""
    if recipe.kind in PLAIN:
        kernel, padding, extra = PLAIN[recipe.kind]
        layer = TRANSPOSED[dims](before, after, kernel, STRIDE, padding, output_padding=extra)
        start_transposed(layer.weight, layer.bias, recipe.draw)
        return layer
    if recipe.kind in PROMISES:
        promise, order = PROMISES[recipe.kind]
        if promise == "lines":
            layer = Lines(before, after, dims, order)
        else:  # Of 8 pixels here 16; the layer takes any size.
            options = {"kernel_size": 4, "smoothness": order, "init": "torch"}
            layer = AUTO[dims](before, after, 8, 16, **options)
        projector = build_projector(promise, order, 4, dims).float()
        start_transposed(layer.weight, layer.bias, recipe.draw, projector)
        return layer
    if recipe.kind in MODES:
        conv = CONV[dims](before, after, 3, padding=1)
        start_convolution(conv, recipe.draw, icnr=False)
        mode = MODES[recipe.kind][dims - 1]
        return nn.Sequential(nn.Upsample(scale_factor=STRIDE, mode=mode), conv)
    conv = CONV[dims](before, after * STRIDE**dims, 3, padding=1)
    start_convolution(conv, recipe.draw, icnr=recipe.kind == SUBPIXEL[1])
    return nn.Sequential(conv, nn.PixelShuffle(STRIDE) if dims == 2 else Shuffle1d())


@torch.no_grad()
def start_transposed(
    weight: torch.Tensor, bias: torch.Tensor, draw: str, projector: torch.Tensor | None = None
) -> None:
    """Draw the weight of a transposed convolution of stride 2 in place.

    The fan-in is what feeds an output value on average, before * (kernel / stride)**dims. Where a
    projector follows or "projected" asks for one, the projected kernel has that variance.
    """
    kernel, dims = weight.shape[2], weight.dim() - 2
    if draw == "torch":
        return
    nn.init.zeros_(bias)
    if draw == "dcgan":
        nn.init.normal_(weight, 0, 0.02)
        if projector is not None:
            weight.copy_(project(weight, projector))
    elif draw == "phase-equal":
        phase_equal_(weight, STRIDE)
    else:
        lecun_uniform_(weight, STRIDE)
    constants = build_projector("points", 1, kernel, dims)
    if draw == "damped":  # What is projected away is the deviation of the phase sums.
        weight.copy_(0.4 * weight + 0.6 * project(weight, constants))
    if draw == "projected":
        projector = constants
    if projector is not None and draw in ("fan-in", "projected"):
        free = float(projector.diagonal().sum())
        weight.copy_(project(weight, projector) * (kernel**dims / free) ** 0.5)


def start_convolution(conv: nn.Module, draw: str, icnr: bool) -> None:
    """Draw a convolution's weight in place; ICNR (Aitken et al. 2017) repeats every kernel."""
    fills = {
        "torch": partial(nn.init.kaiming_uniform_, a=5**0.5),
        "dcgan": partial(nn.init.normal_, std=0.02),
        "fan-in": partial(nn.init.kaiming_uniform_, nonlinearity="linear"),
    }
    if icnr:
        icnr_(conv, STRIDE, fills[draw])
    elif draw != "torch":
        fills[draw](conv.weight)
        nn.init.zeros_(conv.bias)


def build_decoder(
    recipe: Recipe, widths: Sequence[int], dims: int = 2, norm: bool = False
) -> nn.Sequential:
    """Return enlarging layers from each width to the next, with ReLU (and batch norm) between."""
    layers: list[nn.Module] = []
    for before, after in itertools.pairwise(widths):
        if layers:
            layers += [nn.BatchNorm2d(before), nn.ReLU()] if norm else [nn.ReLU()]
        layers.append(build_layer(recipe, before, after, dims))
    if recipe.calm:
        with torch.no_grad():
            for parameter in layers[-1].parameters():
                parameter.mul_(0.1)
    return nn.Sequential(*layers)


def count_parameters(model: nn.Module) -> int:
    """Return how many numbers a model trains."""
    return sum(parameter.numel() for parameter in model.parameters())


@cache
def equal_widths(kind: str, widths: tuple[int, ...], dims: int = 2) -> tuple[int, ...]:
    """Return the widths with those inside scaled, so that the decoder is as large as k4's."""

    def count(kind: str, widths: Sequence[int]) -> int:
        with torch.device("meta"):
            layers = (build_layer(Recipe(kind, "torch"), *pair, dims) for pair in
                      itertools.pairwise(widths))  # fmt: skip
            return sum(map(count_parameters, layers))

    wanted = count("k4 s2", widths)
    first, *inside, last = widths

    def scale(factor: float) -> tuple[int, ...]:
        return first, *(max(1, round(factor * width)) for width in inside), last

    factors = [1 + n / 100 for n in range(-70, 400)]
    return min((scale(f) for f in factors), key=lambda w: abs(count(kind, w) - wanted))
