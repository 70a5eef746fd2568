"""The layer against ``nn.ConvTranspose2d``, and against the floor: the matrix products alone.

First every way of computing it is checked against PyTorch's call in double precision, outputs and
gradients, and the layer against the plain one; what is computed in float32 for bfloat16 the tests
alone check. Then both take turns in one process: medians, and the ratio with its quartiles. The
floor of kernel = stride is the products, one for inference and three for training, each by matmul
or as a 1x1 convolution, whichever is faster; beside it stands the time that copying input and
output takes.

    python benchmarks/speed.py [--random 20 | --biased] [--compiled] [--autocast]
        [--dtypes float32] [--quick]
"""

import argparse
import random
from typing import NamedTuple

import torch
from timing import (
    FORMATS,
    MODES,
    devices,
    difference,
    geometric_mean,
    machine,
    milliseconds,
    quartiles,
    step,
    take_turns,
)
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812
from tqdm import tqdm

from autoup import AutoConvTranspose2d
from autoup.layers import dispatch, ways
from autoup.layers.one_pixel import from_one_pixel, is_whole
from autoup.layers.plain import Geometry, bias_apart, transposed, transposed_gradients
from autoup.layers.subpixel import is_subpixel, subpixel, subpixel_gradients


class Case(NamedTuple):
    """Batch, channels and input size in pixels; kernel, stride and padding."""

    batch: int
    in_channels: int
    out_channels: int
    size: int
    kernel: int = 2
    stride: int = 2
    padding: int = 0

    def __str__(self) -> str:
        channels = f"{self.in_channels}→{self.out_channels}"
        return f"{self.batch}, {channels}, {self.size}², k{self.kernel} s{self.stride}"


# The table that is published, and others of other kinds.
CASES = [
    Case(4, 128, 64, 64),
    Case(1, 64, 32, 256),
    Case(8, 256, 128, 16),
    Case(64, 32, 1, 14),
    Case(8, 64, 3, 64, 4, 4),
]
MORE = [
    Case(16, 64, 1, 64, 4, 2, 1),
    Case(8, 64, 3, 64, 4, 2, 1),
    Case(4, 128, 64, 64, 4, 2, 1),
    Case(16, 64, 64, 32),
    Case(1, 512, 256, 16),
]


# Bodies of decoders, with channels first.
BODIES = [
    CASES[0],
    Case(2, 256, 128, 28),
    Case(8, 96, 48, 40),
    Case(1, 48, 24, 200),
    Case(4, 192, 64, 14, 4, 4),
    Case(2, 512, 256, 16),
]

# Layers whose bias costs more than the rest, and one pixel.
BIASED = [
    Case(4, 64, 256, 56, 1, 1),
    Case(4, 64, 64, 56, 3, 1, 1),
    Case(64, 100, 512, 1, 4, 1),
]


def draw(count: int) -> list[Case]:
    """Return cases at random, the same in every run: layers of decoders up to a few GFLOP."""
    chance, cases = random.Random(0), []
    while len(cases) < count:
        stride = chance.choice([2, 2, 2, 4])
        kernel = stride * chance.choice([1, 1, 1, 2])
        channels = chance.choice([16, 24, 32, 64, 96, 128, 192, 256, 512])
        made = chance.choice([1, 3, channels // 4, channels // 2, channels // 2, channels])
        size = chance.choice([7, 8, 12, 14, 16, 20, 28, 32, 56, 64, 100, 128])
        batch = chance.choice([1, 2, 4, 8, 16])
        case = Case(batch, channels, made, size, kernel, stride, (kernel - stride) // 2)
        pixels = batch * size**2
        if pixels * made * stride**2 <= 2**24 and pixels * channels * made * kernel**2 <= 2e9:
            cases.append(case)
    return cases


def build(case: Case) -> tuple[nn.Module, nn.Module]:
    """Return the layer and the plain one with the same parameters."""
    size = case.stride * (case.size - 1) + case.kernel - 2 * case.padding
    pins = {"kernel_size": case.kernel, "stride": case.stride}
    layer = AutoConvTranspose2d(*case[1:4], size, init="torch", **pins)
    return layer, layer.to_plain()


def run(call, inputs: tuple[Tensor, ...]) -> list[Tensor]:
    """Return the output, and the gradients of the inputs for a fixed gradient of the output."""
    made = call(*inputs)
    cotangent = torch.linspace(-1, 1, made.numel(), dtype=made.dtype, device=made.device)
    return [made, *torch.autograd.grad(made, inputs, cotangent.view(made.shape))]


def check(case: Case, device: str) -> None:
    """Raise an AssertionError where a way, or the layer, differs from PyTorch's call."""
    layer, plain = (each.to(device) for each in build(case))
    x = torch.randn(*case[:2], case.size, case.size, device=device)
    sizes = Geometry(*((value, value) for value in (case.stride, case.padding, 0)), 1, (1, 1))
    for form in FORMATS.values():
        full = x.to(memory_format=form)
        small = full[:2, :, :12, :12].double().contiguous(memory_format=form)
        double = [each.detach().double().requires_grad_() for each in (layer.weight, layer.bias)]
        inputs = (small.requires_grad_(), *double)
        wanted = run(lambda *each: transposed(*each, sizes), inputs)
        able = is_subpixel(layer.weight, sizes)
        alike = able and case.kernel == case.stride
        whole = case.size == 1 and is_whole(sizes)
        alone = transposed_gradients
        products = subpixel_gradients if alike else alone
        for way in (
            ways.Way(gradients=alone),
            ways.Way(bias_apart, alone),
            *([ways.Way(subpixel, products)] if able else []),
            *([ways.Way(from_one_pixel, alone)] if whole else []),
        ):
            made = run(
                lambda *each, way=way: dispatch._ConvTranspose.apply(*each, sizes, way), inputs
            )
            assert max(map(difference, made, wanted)) < 1e-12
        exact = run(plain.double(), (full.double().requires_grad_(),))
        made = run(layer, (full.requires_grad_(),))
        assert max(map(difference, made, exact)) < 1e-5
        with torch.no_grad():
            assert difference(layer(full), exact[0]) < 1e-5
        assert made[0].is_contiguous(memory_format=form)


def floors(case: Case, train: bool, device: str, dtype: torch.dtype, seconds: float) -> list[float]:
    """Return the seconds of the products alone, and of copying input and output alone."""
    rows, taps = case.batch * case.size**2, case.kernel**2 * case.out_channels
    options = {"device": device, "dtype": dtype}
    x, w, y = (
        torch.randn(*shape, **options)
        for shape in ((rows, case.in_channels), (case.in_channels, taps), (rows, taps))
    )
    products = [(x, w), (y, w.T), (x.T, y)][: 3 if train else 1]

    def as_map(values: Tensor) -> Tensor:
        return values.view(case.batch, case.size, case.size, -1).permute(0, 3, 1, 2)

    def as_kernel(values: Tensor) -> Tensor:
        return values[..., None, None]

    convolutions = [
        lambda: F.conv2d(as_map(x), as_kernel(w.T.contiguous())),
        lambda: F.conv2d(as_map(y), as_kernel(w)),
        lambda: torch.nn.grad.conv2d_weight(as_map(x), (taps, case.in_channels, 1, 1), as_map(y)),
    ]
    total = 0.0
    for (a, b), convolution in zip(products, convolutions, strict=False):
        sides = {"matmul": lambda a=a, b=b: a @ b, "convolution": convolution}
        with torch.inference_mode():
            total += float(take_turns(sides, seconds / 4).median(0).values.min())
    into = [torch.empty_like(each) for each in (x, y)]

    def copy() -> None:
        for target, source in zip(into, (x, y), strict=True):
            target.copy_(source)

    return [total, float(take_turns({"copy": copy}, seconds / 4).median())]


def measure(
    case: Case,
    form: str,
    train: bool,
    device: str,
    dtype: torch.dtype,
    seconds: float,
    *,
    compiled: bool = False,
    autocast: bool = False,
) -> tuple[float, float, tuple[float, float, float]]:
    """Return the seconds of plain and layer, and how many times faster the layer is."""
    form_of_memory = FORMATS[form]
    layer, plain = (each.to(device, dtype, memory_format=form_of_memory) for each in build(case))
    x = torch.randn(*case[:2], case.size, case.size, device=device, dtype=dtype)
    x = x.to(memory_format=form_of_memory).requires_grad_(train)
    sides = {}
    for name, module in (("plain", plain), ("layer", layer)):
        call = torch.compile(module) if compiled else module

        def forward(call=call) -> Tensor:
            with torch.autocast(device, torch.bfloat16, enabled=autocast):
                return call(x)

        sides[name] = step(forward, [x, *module.parameters()], train)
    times = take_turns(sides, seconds)
    before, after = times.median(0).values.tolist()
    return before, after, quartiles(times[:, 0] / times[:, 1])


def main() -> None:
    """Check, measure, print a Markdown table for each device and dtype."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=3.0, help="for each cell")
    parser.add_argument("--dtypes", nargs="+", default=["float32", "bfloat16"])
    parser.add_argument("--compiled", action="store_true", help="both sides through torch.compile")
    parser.add_argument("--autocast", action="store_true", help="both under it, to bfloat16")
    others = parser.add_mutually_exclusive_group()
    others.add_argument("--biased", action="store_true", help="where the bias is slow, instead")
    others.add_argument("--random", type=int, default=0, help="so many cases, drawn, instead")
    parser.add_argument("--quick", action="store_true", help="one small case, briefly")
    options = parser.parse_args()
    cases = [*CASES, *MORE, *BODIES[1:]]
    if options.random:
        cases = draw(options.random)
    if options.biased:
        cases = BIASED
    if options.quick:
        cases, options.seconds = BIASED[2:] if options.biased else [CASES[3]], 0.1
    torch.manual_seed(0)
    for device in devices():
        for case in cases:
            check(case, device)
        for dtype in (getattr(torch, name) for name in options.dtypes):
            report(cases, device, dtype, options)


def report(cases: list[Case], device: str, dtype: torch.dtype, options) -> None:
    """Print the table of one device and dtype, and geometric means with the lowest."""
    ways = {"compiled": options.compiled, "autocast": options.autocast}
    kind = "compiled" if options.compiled else "eager"
    kind += ", autocast to bfloat16" if options.autocast else ""
    print(f"\n{machine(device)}, {str(dtype).removeprefix('torch.')}, {kind}; milliseconds\n")
    print("| batch, channels, size, kernel | mode | memory | plain | layer | times faster", end="")
    print(" | products | copies |\n|---|---|---|---|---|---|---|---|")
    gains: dict[tuple[str, str], dict[Case, float]] = {}
    for case in tqdm(cases, desc=f"{device} {dtype} {kind}"):
        for mode in MODES:
            train = mode == "training"
            overlap = case.kernel != case.stride
            floor = [] if overlap else floors(case, train, device, dtype, options.seconds)
            for form in FORMATS:
                *times, gain = measure(case, form, train, device, dtype, options.seconds, **ways)
                gains.setdefault((mode, form), {})[case] = gain[1]
                numbers = [*map(milliseconds, times), "{1:.2f} ({0:.2f} to {2:.2f})".format(*gain)]
                cells = [str(case), mode, form, *numbers, *map(milliseconds, floor)]
                cells += [""] * (8 - len(cells))
                print(f"| {' | '.join(cells)} |", flush=True)
    for name, chosen in {"first five": CASES, "bodies": BODIES, "all": cases}.items():
        if set(chosen) <= set(cases):
            print(f"\nGeometric mean, and the lowest, of the cases: {name}")
            for (mode, form), each in gains.items():
                found = [each[case] for case in chosen]
                print(f"- {mode}, {form}: {geometric_mean(found):.2f}, {min(found):.2f}")


if __name__ == "__main__":
    main()
