"""Depthwise layers of pictures and volumes against PyTorch's.

First every way of computing them is checked against PyTorch's call in double precision, outputs and
gradients, and the layer in the precision that is timed. Then both take turns in one process.

    python benchmarks/depthwise.py [--random 20 --dims 3] [--compiled] [--dtypes float32] [--quick]
"""

import argparse
import random
from math import prod
from typing import NamedTuple

import torch
from timing import (
    FORMATS,
    MODES,
    difference,
    geometric_mean,
    machine,
    milliseconds,
    step,
    take_turns,
)
from torch import Tensor, nn
from tqdm import tqdm

from autoup import AutoConvTranspose2d, AutoConvTranspose3d
from autoup.layers import dispatch
from autoup.layers.depthwise import as_product, depthwise_gradients, has_slow_gradient, is_product
from autoup.layers.plain import Geometry, bias_apart, transposed, transposed_gradients
from autoup.layers.volumes import is_volume, volume, volume_gradients
from autoup.layers.ways import Way

BOUNDS = {torch.float32: 1e-4, torch.bfloat16: 3e-2}  # On differences, of the largest value.
LAYERS = {2: AutoConvTranspose2d, 3: AutoConvTranspose3d}


class Case(NamedTuple):
    """Batch, channels and input size in pixels; kernel, stride and padding along every axis."""

    batch: int
    channels: int
    size: tuple[int, ...]
    kernel: int
    stride: int
    padding: int
    bias: bool = True

    def __str__(self) -> str:
        size = " x ".join(map(str, self.size))
        if len({*self.size}) == 1:
            size = f"{self.size[0]}{'²³'[len(self.size) - 2]}"
        bias = "" if self.bias else ", no bias"
        return f"{self.batch}, {self.channels}, {size}, k{self.kernel} s{self.stride}{bias}"


CASES = [
    Case(8, 64, (56, 56), 3, 1, 1),
    Case(4, 672, (14, 14), 5, 1, 2),
    Case(4, 128, (56, 56), 2, 2, 0),
    Case(4, 96, (56, 56), 4, 2, 1),
    Case(8, 3, (112, 112), 4, 2, 1),
    Case(2, 64, (12, 12, 12), 2, 2, 0),
    Case(2, 32, (24, 24, 24), 2, 2, 0),
    Case(1, 32, (32, 32, 32), 2, 2, 0),
    Case(2, 64, (12, 12, 12), 4, 2, 1),
    Case(2, 32, (24, 24, 24), 4, 2, 1),
    Case(1, 32, (32, 32, 32), 4, 2, 1),
    Case(2, 32, (24, 24, 24), 3, 1, 1),
    Case(1, 16, (48, 48, 48), 3, 1, 1),
]


def draw(count: int, dims: int) -> list[Case]:
    """Return cases at random, the same in every run: outputs of 2**15 to 2**22 values."""
    chance, cases = random.Random(0), []
    kernels = [(2, 2, 0), (2, 2, 0), (4, 2, 1), (4, 2, 1), (3, 1, 1), (5, 1, 2), (3, 3, 0)]
    kernels += [(4, 4, 0), (6, 3, 1), (8, 4, 2)]
    while len(cases) < count:
        middle = chance.randint(4, 150 if dims == 2 else 50)
        size = tuple(middle + chance.randint(-middle // 4, middle // 4) for _ in range(dims))
        channels = chance.choice([2, 3, 4, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512])
        kernel = chance.choice(kernels)
        case = Case(
            chance.choice([1, 1, 2, 2, 4, 8]), channels, size, *kernel, chance.random() < 0.5
        )
        if 2**15 <= case.batch * channels * prod(size) * kernel[1] ** dims <= 2**22:
            cases.append(case)
    return cases


def build(case: Case) -> tuple[nn.Module, nn.Module, Geometry]:
    """Return the layer, the plain one with the same parameters, and its geometry."""
    made = tuple(case.stride * (n - 1) + case.kernel - 2 * case.padding for n in case.size)
    pins = {"kernel_size": case.kernel, "stride": case.stride, "groups": case.channels}
    layer = LAYERS[len(case.size)](
        case.channels, case.channels, case.size, made, init="torch", bias=case.bias, **pins
    )
    facts = layer.stride, layer.padding, layer.output_padding, layer.groups, layer.dilation
    return layer, layer.to_plain(), Geometry(*facts)


def laid(x: Tensor, form: str) -> Tensor:
    """Return the tensor in a memory format of pictures or volumes."""
    last = torch.channels_last if x.ndim == 4 else torch.channels_last_3d
    return x.contiguous(memory_format=torch.contiguous_format if form == "NCHW" else last)


def run(call, inputs: list[Tensor]) -> list[Tensor]:
    """Return the output, and the gradients of the inputs for a fixed gradient of the output."""
    made = call(*inputs)
    cotangent = torch.linspace(-1, 1, made.numel(), dtype=made.dtype)
    return [made, *torch.autograd.grad(made, inputs, cotangent.view(made.shape))]


def check(case: Case, dtypes: dict[torch.dtype, float]) -> None:
    """Raise an AssertionError where a way, or the layer, differs from PyTorch's call."""
    layer, _, geometry = build(case)
    x, weight = torch.randn(case.batch, case.channels, *case.size), layer.weight
    corner = x[(slice(2), slice(None), *[slice(8)] * len(case.size))].double()
    parameters = [each.detach().double().requires_grad_() for each in layer.parameters()]
    bias = [] if case.bias else [None]
    ways = {Way(bias_apart, transposed_gradients)}
    if has_slow_gradient(weight, geometry):
        ways.add(Way(bias_apart, depthwise_gradients))
    if is_volume(weight, geometry):
        ways.add(Way(volume, volume_gradients))
    if is_product(weight, geometry):
        ways.add(Way(as_product, transposed_gradients))
    for form in FORMATS:
        inputs = [laid(corner, form).requires_grad_(), *parameters]
        wanted = run(lambda *each: transposed(*each, *bias, geometry), inputs)
        for way in ways:
            made = run(
                lambda *each, way=way: dispatch._ConvTranspose.apply(*each, *bias, geometry, way),
                inputs,
            )
            assert max(map(difference, made, wanted)) < 1e-12
        for dtype, bound in dtypes.items():
            made = run_layer(layer.to(dtype), laid(x, form).to(dtype))
            exact = run_layer(layer.double(), laid(x, form).to(dtype).double())
            assert max(map(difference, made, exact)) < bound


def run_layer(layer: nn.Module, x: Tensor) -> list[Tensor]:
    """Return the output without gradients and with them, and the gradients."""
    with torch.no_grad():
        made = layer(x)
    parameters = [*layer.parameters()]
    x.requires_grad_()
    return [made, *run(lambda *_: layer(x), [x, *parameters])]


def measure(case: Case, form: str, train: bool, dtype: torch.dtype, options) -> list[float]:
    """Return the seconds of the plain layer and of ours, and how many times faster that is."""
    layer, plain, _ = build(case)
    x = torch.randn(case.batch, case.channels, *case.size, dtype=dtype)
    x = laid(x, form).requires_grad_(train)
    sides = {}
    for name, module in (("plain", plain), ("layer", layer)):
        call = torch.compile(module.to(dtype)) if options.compiled else module.to(dtype)
        sides[name] = step(lambda call=call: call(x), [x, *module.parameters()], train)
    times = take_turns(sides, options.seconds)
    return [*times.median(0).values.tolist(), float((times[:, 0] / times[:, 1]).median())]


def report(cases: list[Case], dtype: torch.dtype, options) -> None:
    """Print the table of one precision, and geometric means with the lowest and highest."""
    columns = [(mode, form) for mode in MODES for form in FORMATS]
    kind = "compiled" if options.compiled else "eager"
    print(f"\n{machine('cpu')}, {str(dtype).removeprefix('torch.')}, {kind}; milliseconds\n")
    print(f"| batch, channels, size, kernel | {' | '.join(', '.join(each) for each in columns)} |")
    print(f"|{'---|' * (1 + len(columns))}")
    gains: dict[tuple[str, str], list[float]] = {each: [] for each in columns}
    for case in tqdm(cases, desc=str(dtype)):
        cells = []
        for mode, form in columns:
            before, after, gain = measure(case, form, mode == "training", dtype, options)
            gains[mode, form].append(gain)
            cells.append(f"{milliseconds(before)} → {milliseconds(after)} ({gain:.2f})")
        print(f"| {case} | {' | '.join(cells)} |", flush=True)
    print("\nGeometric mean, the lowest and the highest")
    for (mode, form), each in gains.items():
        low, high = min(each), max(each)
        print(f"- {mode}, {form}: {geometric_mean(each):.2f}, {low:.2f}, {high:.2f}")


def main() -> None:
    """Check, measure, print a Markdown table for each precision."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=0.5, help="for each cell")
    parser.add_argument("--dtypes", nargs="+", default=["float32", "bfloat16"])
    parser.add_argument("--compiled", action="store_true", help="both sides through torch.compile")
    parser.add_argument("--random", type=int, default=0, help="so many cases, drawn, instead")
    parser.add_argument("--dims", type=int, choices=[*LAYERS], default=3, help="of those drawn")
    parser.add_argument("--quick", action="store_true", help="two small cases, briefly")
    options = parser.parse_args()
    torch.manual_seed(0)
    cases = draw(options.random, options.dims) if options.random else CASES
    if options.quick:
        cases = [Case(1, 8, (16, 16), 4, 2, 1), Case(1, 16, (8, 8, 8), 2, 2, 0, bias=False)]
        options.seconds = 0.05
    dtypes = [getattr(torch, name) for name in options.dtypes]
    for case in cases:
        check(case, {dtype: BOUNDS[dtype] for dtype in dtypes})
    for dtype in dtypes:
        report(cases, dtype, options)


if __name__ == "__main__":
    main()
