"""What a decoder is made of, what a code position reaches, and which sizes come out."""

from collections import Counter

import torch
from pairs import PAIRS
from torch import nn
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd
from torch.utils._python_dispatch import TorchDispatchMode
from training import build

ACTIVATIONS = {
    "relu": "ReLU", "leaky_relu": "LeakyReLU", "elu": "ELU", "silu": "SiLU", "gelu": "GELU",
    "tanh": "Tanh", "sin": "Snake",
}  # fmt: skip
NORMS = (nn.GroupNorm, nn.LayerNorm, nn.BatchNorm1d, nn.BatchNorm2d)
WIDE = {"sound": (1, 1, 4096), "picture": (1, 3, 320, 320)}


class Listener(TorchDispatchMode):
    """Counts the activations that run, modules or not."""

    def __init__(self) -> None:
        super().__init__()
        self.heard: Counter[str] = Counter()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        """Count one function."""
        name = ACTIVATIONS.get(func.overloadpacket.__name__.rstrip("_"))
        self.heard.update([name] if name else [])
        return func(*args, **(kwargs or {}))


def count_layers(decoder: nn.Module) -> dict[str, int]:
    """Return how many layers with weights there are of each kind."""
    counts: Counter[str] = Counter()
    for layer in decoder.modules():
        if isinstance(layer, _ConvTransposeNd):
            counts["transposed"] += 1
        elif isinstance(layer, _ConvNd):
            counts["convolutions"] += 1
        elif isinstance(layer, nn.Linear):
            counts["linear"] += 1
        elif isinstance(layer, nn.LSTM):
            counts["LSTM"] += 1
        elif isinstance(layer, NORMS):
            counts["norms"] += 1
    return dict(counts)


def count_activations(decoder: nn.Module, code: torch.Tensor) -> dict[str, int]:
    """Return how often each activation runs; those inside an LSTM are not told."""
    with torch.no_grad(), Listener() as listener:
        decoder(code)
    if any(isinstance(layer, nn.LSTM) for layer in decoder.modules()):
        del listener.heard["Tanh"]
    return dict(listener.heard)


@torch.no_grad()
def reach(model: nn.Sequential, size: tuple[int, ...]) -> list[int]:
    """Return the first and last place where the output changes with one code position.

    Along the last axis, from the first sample that the position stands for; and the ends of the
    output counted like that, which a normalisation or a recurrent layer lets it reach.
    """
    encoder, decoder = model.double().eval()
    for each in decoder.parameters():  # A branch that starts at zero reaches nothing yet.
        if not each.any():
            each.normal_(std=0.1)
    code = encoder(torch.randn(size, dtype=torch.float64))
    changed, middle = code.clone(), tuple(each // 2 for each in code.shape[2:])
    changed[(..., *middle)] += torch.randn(code.shape[1], dtype=torch.float64)
    first, second = decoder(code), decoder(changed)
    differs = (first != second).flatten(0, -2).any(0).nonzero().flatten()
    start = middle[-1] * first.shape[-1] // code.shape[-1]
    places = (int(differs[0]), int(differs[-1]), 0, first.shape[-1] - 1)
    return [each - start for each in places]


def describe(model: str, arm: str) -> dict[str, object]:
    """Return the line of results that needs no training."""
    pair = PAIRS[model]
    both = build(model, arm, 0).eval()
    with torch.no_grad():
        code = both[0](torch.randn(pair.size))
        odd = build(model, arm, 0, pair.odd).eval()(torch.randn(pair.odd))
    wide = WIDE[pair.kind]
    return {
        "what": "structure",
        "model": model,
        "arm": arm,
        "parameters": sum(each.numel() for each in both[1].parameters()),
        "of the encoder": sum(each.numel() for each in both[0].parameters()),
        "numbers": [pair.size[1:], list(code.shape[1:])],
        "layers": count_layers(both[1]),
        "activations": count_activations(both[1], code[:1]),
        "reach": reach(build(model, arm, 0, wide), wide),
        "exact": both[1](code).shape == pair.size,
        "odd": [pair.odd[2:], list(odd.shape[2:])],
    }
