"""Whole decoders: autoup's against the same written by hand, in time and memory.

The ways to enlarge take turns in the same decoder: autoup's layers, PyTorch's with the same
numbers, those of 3 taps at stride 2 with output padding, and nearest enlargement before a
convolution of 3 taps. The last two have as many parameters, in VAE and ResNets by their widths;
mirrors of ResNets also stand there with the same widths. A U-Net stands beside
segmentation_models.pytorch's, which has as many parameters. Outputs of the first two are checked to
be equal, in float32. Memory is the most that tensors take at once in a call.

    python benchmarks/decoders.py [--compiled] [--autocast] [--decoders NAME ...] [--quick]
"""

import argparse
import sys
from collections.abc import Callable
from copy import deepcopy
from functools import partial
from itertools import pairwise
from pathlib import Path

import torch
from timing import FORMATS, MODES, difference, machine, milliseconds, step, take_turns
from torch import Tensor, nn
from torch.profiler import ProfilerActivity, profile
from tqdm import tqdm

sys.path.append(str(Path(__file__).parents[1] / "tests"))

from support.backbones import build, import_torchvision

from autoup import AutoConvTranspose2d, AutoConvTranspose3d, mirror_decoder, unet

Layer = AutoConvTranspose2d | AutoConvTranspose3d
Build = Callable[[Layer], nn.Module]
CONV = {2: nn.Conv2d, 3: nn.Conv3d}
TRANSPOSED = {2: nn.ConvTranspose2d, 3: nn.ConvTranspose3d}


def by_hand(layer: Layer) -> nn.Module:
    """Return the layer of 3 taps with output padding for the same sizes, as it is often guessed."""
    extra = [n - (2 * (m - 1) + 1) for m, n in zip(layer.in_size, layer.out_size, strict=True)]
    options = {"groups": layer.groups, "bias": layer.bias is not None}
    make = TRANSPOSED[len(layer.stride)]
    return make(layer.in_channels, layer.out_channels, 3, 2, 1, tuple(extra), **options)


def nearest(layer: Layer) -> nn.Module:
    """Return nearest enlargement before a convolution of 3 taps."""
    options = {"groups": layer.groups, "bias": layer.bias is not None}
    make = CONV[len(layer.stride)]
    conv = make(layer.in_channels, layer.out_channels, 3, padding=1, **options)
    return nn.Sequential(nn.Upsample(scale_factor=2), conv)


WAYS: dict[str, Build] = {"k3 s2": by_hand, "nearest + conv3": nearest}


def exchange(model: nn.Module, make: Build | None) -> nn.Module:
    """Put other layers for those that enlarge twice, and PyTorch's for the rest of autoup's."""
    for name, child in list(model.named_children()):
        if not isinstance(child, Layer):
            exchange(child, make)
        elif make is not None and {*child.stride} == {2}:
            setattr(model, name, make(child))
        else:
            setattr(model, name, child.to_plain())
    return model


class Decoder(nn.Sequential):
    """A decoder of codes as of a VAE: 4 pixels, enlarged four times, to three channels."""

    def __init__(self, width: int, make: Build) -> None:
        widths = [8 * width, 4 * width, 2 * width, width, 3]
        layers: list[nn.Module] = [
            nn.Linear(128, 16 * widths[0]),
            nn.Unflatten(1, (widths[0], 4, 4)),
        ]
        for level, (above, below) in enumerate(pairwise(widths)):
            layers += [nn.BatchNorm2d(above), nn.ReLU()]
            layers.append(make(AutoConvTranspose2d(above, below, 4 * 2**level, 8 * 2**level)))
        super().__init__(*layers)


def size_of(model: nn.Module) -> int:
    """Return the number of parameters."""
    return sum(each.numel() for each in model.parameters())


def as_large(make: Callable[[int], nn.Module], wanted: int) -> nn.Module:
    """Return the model whose number of parameters is nearest, by its width."""
    low = high = 1
    while size_of(make(high)) < wanted:
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if size_of(make(middle)) <= wanted else (low, middle)
    return min(map(make, (low, high)), key=lambda each: abs(size_of(each) - wanted))


def vae(width: int = 32) -> tuple[dict[str, nn.Module], Tensor]:
    """Return decoders of about as many parameters each, and codes."""
    models: dict[str, nn.Module] = {"autoup": Decoder(width, lambda layer: layer)}
    models["PyTorch's"] = exchange(deepcopy(models["autoup"]), None)
    for name, make in WAYS.items():
        narrower = partial(Decoder, make=make)
        models[name] = as_large(narrower, size_of(models["autoup"]))
    return models, torch.randn(16, 128)


def widen(model: nn.Module, more: float, keep: tuple[int, ...]) -> nn.Module:
    """Multiply all numbers of channels but those to keep, in steps of a vector register."""

    def width(channels: int) -> int:
        return channels if channels in keep else 16 * round(channels * more / 16)

    for name, child in list(model.named_children()):
        made = widen(child, more, keep)
        if isinstance(child, nn.Linear):
            made = nn.Linear(width(child.in_features), width(child.out_features))
        elif isinstance(child, nn.Unflatten):
            made = nn.Unflatten(1, (width(child.unflattened_size[0]), *child.unflattened_size[1:]))
        elif isinstance(child, nn.BatchNorm2d):
            made = nn.BatchNorm2d(width(child.num_features))
        elif isinstance(child, nn.Conv2d | nn.ConvTranspose2d):
            made = wider(child, width(child.in_channels), width(child.out_channels))
        setattr(model, name, made)
    return model


def wider(layer: nn.Conv2d | nn.ConvTranspose2d, fed: int, made: int) -> nn.Module:
    """Return a layer like this one, from and to other numbers of channels; depthwise if it is."""
    assert layer.groups in (1, layer.in_channels)
    names = ["kernel_size", "stride", "padding"]
    if isinstance(layer, nn.ConvTranspose2d):
        names.append("output_padding")
    options = {name: getattr(layer, name) for name in names}
    groups = fed if layer.groups > 1 else 1
    return type(layer)(fed, made, **options, groups=groups, bias=layer.bias is not None)


def backbone(name: str) -> tuple[nn.Module, Tensor]:
    """Return a backbone, and pictures of 224 pixels."""
    return build(name), torch.randn(4, 3, 224, 224)


def solid() -> tuple[nn.Module, Tensor]:
    """Return an encoder of volumes, blocks of two convolutions between poolings, and volumes."""
    layers: list[nn.Module] = []
    for fed, made in pairwise([1, 16, 32, 64, 128]):
        for channels in (fed, made):
            layers += [nn.Conv3d(channels, made, 3, padding=1, bias=False)]
            layers += [nn.BatchNorm3d(made), nn.ReLU()]
        layers.append(nn.MaxPool3d(2))
    return nn.Sequential(*layers[:-1]).eval(), torch.randn(2, 1, 48, 48, 48)


def mirror(
    make_encoder: Callable[[], tuple[nn.Module, Tensor]],
) -> tuple[dict[str, nn.Module], Tensor]:
    """Return the mirror of an encoder with each way to enlarge, and codes."""
    encoder, x = make_encoder()
    ours = mirror_decoder(encoder, (1, *x.shape[1:])).train()
    models = {"autoup": ours, "PyTorch's": exchange(deepcopy(ours), None)}
    with torch.no_grad():
        codes = encoder(x)
    alike = {name: exchange(deepcopy(ours), make) for name, make in WAYS.items()}
    if all(size_of(each) > 0.99 * size_of(ours) for each in alike.values()):
        return {**models, **alike}, codes
    for name, narrow in alike.items():

        def make(more: int, narrow: nn.Module = narrow) -> nn.Module:
            return widen(deepcopy(narrow), 1 + more / 1000, (3, codes.shape[1]))

        models[name] = as_large(make, size_of(ours))
    same = {f"same widths: {name}": narrow for name, narrow in alike.items()}
    return {**models, **same}, codes


def u_net() -> tuple[dict[str, nn.Module], Tensor]:
    """Return U-Nets on resnet18 with each way to enlarge, and pictures; the encoder runs, too."""
    import_torchvision()
    import segmentation_models_pytorch as smp

    encoder = smp.encoders.get_encoder("resnet18", weights=None).eval()
    models, x = u_net_on(encoder, torch.randn(4, 3, 224, 224))
    return {**models, "smp's": smp.Unet("resnet18", encoder_weights=None, classes=2)}, x


def u_net_on(encoder: nn.Module, x: Tensor) -> tuple[dict[str, nn.Module], Tensor]:
    """Return U-Nets with each way to enlarge, and their input."""
    models: dict[str, nn.Module] = {"autoup": unet(encoder, (1, *x.shape[1:]), 2).train()}
    for name, make in {"PyTorch's": None, **WAYS}.items():
        models[name] = exchange(deepcopy(models["autoup"]), make)
    return models, x


DECODERS: dict[str, Callable[[], tuple[dict[str, nn.Module], Tensor]]] = {
    "VAE, 64²": vae,
    "mirror of resnet18, 224²": partial(mirror, partial(backbone, "resnet18")),
    "mirror of resnet50, 224²": partial(mirror, partial(backbone, "resnet50")),
    "mirror of efficientnet_b0, 224²": partial(mirror, partial(backbone, "efficientnet_b0")),
    "U-Net on resnet18, 224²": u_net,
    "mirror of volumes, 48³": partial(mirror, solid),
    "U-Net of volumes, 48³": lambda: u_net_on(*solid()),
}


def check(models: dict[str, nn.Module], x: Tensor) -> None:
    """Raise an AssertionError where a decoder differs from the same of PyTorch's layers."""
    sides = [deepcopy(models[name]).eval() for name in ("autoup", "PyTorch's")]
    for form in FORMATS.values():
        ours, theirs = (each.to(memory_format=of_axes(form, x))(placed(x, form)) for each in sides)
        assert difference(ours, theirs) < 1e-4
    sizes = {tuple(each.eval()(x).shape) for each in models.values()}
    assert len(sizes) == 1, sizes


def placed(x: Tensor, form: torch.memory_format) -> Tensor:
    """Return the input in a memory format, where it has one."""
    return x.to(memory_format=of_axes(form, x)) if x.ndim > 2 else x


def of_axes(form: torch.memory_format, x: Tensor) -> torch.memory_format:
    """Return the memory format for as many axes as the input has."""
    solid = form is torch.channels_last and x.ndim == 5
    return torch.channels_last_3d if solid else form


def memory(call: Callable[[], object]) -> float:
    """Return the most MiB that tensors take at once during a call, besides those before it."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as seen:
        call()
    most = held = 0
    for event in seen.profiler.kineto_results.events():
        if event.name() == "[memory]":
            held += event.nbytes()
            most = max(most, held)
    return most / 2**20


def measure(models: dict[str, nn.Module], x: Tensor, options: argparse.Namespace) -> None:
    """Print a row for each mode and memory format: milliseconds, and of memory MiB."""
    for mode in MODES:
        train = mode == "training"
        for name, form in FORMATS.items():
            sides = {}
            for way, each in models.items():
                model = each.train(train).to(memory_format=of_axes(form, x))
                made = torch.compile(model) if options.compiled else model
                given = placed(x, form)

                def call(made: nn.Module = made, given: Tensor = given) -> Tensor:
                    with torch.autocast("cpu", torch.bfloat16, enabled=options.autocast):
                        return made(given)

                sides[way] = step(call, [*model.parameters()], train)
            times = take_turns(sides, options.seconds)
            first = times[:, 0]
            cells = [
                f"{milliseconds(float(column.median()))} ({float((column / first).median()):.2f})"
                for column in times.T
            ]
            if not (options.compiled or options.autocast):
                cells = [
                    f"{cell}, {memory(side):.0f} MiB"
                    for cell, side in zip(cells, sides.values(), strict=True)
                ]
            print(f"| {mode} | {name} | {' | '.join(cells)} |", flush=True)


def main() -> None:
    """Check, measure, print a Markdown table for each decoder."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=10.0, help="for each row")
    parser.add_argument("--decoders", nargs="+", choices=[*DECODERS], default=[*DECODERS])
    parser.add_argument("--compiled", action="store_true", help="all through torch.compile")
    parser.add_argument("--autocast", action="store_true", help="to bfloat16; without memory")
    parser.add_argument("--quick", action="store_true", help="one small decoder, briefly")
    options = parser.parse_args()
    torch.manual_seed(0)
    chosen = {name: DECODERS[name] for name in options.decoders}
    if options.quick:
        chosen, options.seconds = {"VAE, small": partial(vae, 2)}, 0.05
    kind = "compiled" if options.compiled else "eager"
    kind = f"autocast to bfloat16, {kind}" if options.autocast else f"float32, {kind}"
    print(f"\n{machine('cpu')}, {kind}: milliseconds (times autoup's), most memory")
    for name, make in tqdm(chosen.items(), unit="decoder"):
        models, x = make()
        check(models, x)
        print(f"\n**{name}, batch {len(x)}**\n")
        print(f"| mode | memory | {' | '.join(models)} |\n|{'---|' * (len(models) + 2)}")
        millions = [f"{size_of(each) / 1e6:.3g} M" for each in models.values()]
        print(f"| parameters | | {' | '.join(millions)} |")
        measure(models, x, options)


if __name__ == "__main__":
    main()
