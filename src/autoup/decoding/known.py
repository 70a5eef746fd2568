"""Tell operators for what they are: PyTorch's activations, and whether two functions are one."""

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from math import prod
from typing import Any

import torch
from torch import nn
from torch.fx import Node
from torch.random import fork_rng  # pyright: ignore[reportUnknownVariableType]

from autoup.capturing.edges import value_of
from autoup.capturing.operators import argument, plain_name
from autoup.capturing.steps import Graph
from autoup.decoding.runs import Run
from autoup.inspecting.runs import quiet

_PLAIN: dict[str, type[nn.Module]] = {
    "relu": nn.ReLU,
    "relu6": nn.ReLU6,
    "selu": nn.SELU,
    "silu": nn.SiLU,
    "mish": nn.Mish,
    "hardswish": nn.Hardswish,
    "hardsigmoid": nn.Hardsigmoid,
    "sigmoid": nn.Sigmoid,
    "tanh": nn.Tanh,
    "log_sigmoid": nn.LogSigmoid,
}
# Operator, the module it is, and the arguments that both take in this order with their defaults.
_WITH_SETTINGS: dict[str, tuple[type[nn.Module], dict[str, Any]]] = {
    "leaky_relu": (nn.LeakyReLU, {"negative_slope": 0.01}),
    "elu": (nn.ELU, {"alpha": 1.0}),
    "celu": (nn.CELU, {"alpha": 1.0}),
    "softplus": (nn.Softplus, {"beta": 1, "threshold": 20}),
    "softshrink": (nn.Softshrink, {"lambd": 0.5}),
    "hardshrink": (nn.Hardshrink, {"lambd": 0.5}),
    "threshold": (nn.Threshold, {"threshold": 0, "value": 0}),
    "rrelu": (nn.RReLU, {"lower": 1 / 8, "upper": 1 / 3}),
    "gelu": (nn.GELU, {"approximate": "none"}),
    "glu": (nn.GLU, {"dim": -1}),
    "softmax": (nn.Softmax, {"dim": -1}),
    "log_softmax": (nn.LogSoftmax, {"dim": -1}),
}
_WITHOUT_SETTINGS: tuple[Callable[[], nn.Module], ...] = (
    nn.ReLU, nn.ReLU6, nn.SiLU, nn.GELU, lambda: nn.GELU("tanh"), nn.Mish, nn.Hardswish,
    nn.Hardsigmoid, nn.Sigmoid, nn.Tanh, nn.Softsign, nn.Tanhshrink, nn.LogSigmoid, nn.Softplus,
    nn.SELU,
)  # fmt: skip
# By their names in torch.nn.functional, those that act on each number by itself.
ACTIVATIONS: dict[str, type[nn.Module]] = {
    name: _PLAIN[name] if name in _PLAIN else _WITH_SETTINGS[name][0]
    for name in (
        "celu", "elu", "gelu", "hardswish", "leaky_relu", "mish", "relu", "relu6", "selu",
        "sigmoid", "silu", "softplus", "tanh",
    )
}  # fmt: skip
_FAR = 1e30  # Where what saturates has done so.
_NEAR = 1e-12  # Rounding, of numbers in double precision.
_SIDE = 3  # Places along an axis of a sample, at most.
_VALUES = 512  # In a sample, at least about so many.


def named_module(node: Node, graph: Graph) -> nn.Module | None:
    """Return the activation of PyTorch that one operator is; None if it is none.

    Decoders have theirs without ``inplace``.
    """
    name = plain_name(node)
    if name in _PLAIN:
        return _PLAIN[name]()
    if name in _WITH_SETTINGS:
        build, defaults = _WITH_SETTINGS[name]
        settings = {
            setting: argument(node, place, setting, default)
            for place, (setting, default) in enumerate(defaults.items(), 1)
        }
        return build(**settings)
    if name in ("hardtanh", "clamp"):
        words = (
            ("min_val", "max_val", -1.0, 1.0) if name == "hardtanh" else ("min", "max", None, None)
        )
        low, high = argument(node, 1, words[0], words[2]), argument(node, 2, words[1], words[3])
        return _clamp(low, high)
    if name == "clamp_min" and argument(node, 1, "min", None) == 0:
        return nn.ReLU()
    return _prelu(node, graph) if name == "prelu" else None


def _clamp(low: Any, high: Any) -> nn.Module | None:
    if low == 0 and high is None:
        return nn.ReLU()
    if low == 0 and high == 6:
        return nn.ReLU6()
    both = isinstance(low, int | float) and isinstance(high, int | float) and low < high
    return nn.Hardtanh(low, high) if both else None


def _prelu(node: Node, graph: Graph) -> nn.Module | None:
    """Return the module with the slopes of the encoder."""
    weight = graph.values.get(argument(node, 1, "weight", None).name)
    if weight is None:
        return None
    made = nn.PReLU(weight.numel(), device="meta")
    made.weight = nn.Parameter(weight.detach().clone(), weight.requires_grad)
    return made


def known_module(function: nn.Module, run: Run) -> nn.Module | None:
    """Return the activation of PyTorch without parameters that a function equals; None if none."""
    x = sample(run)
    names = {each.name for each in run.graph.brought(run.nodes)}
    if x.is_complex() or run.guards_numbers or names & run.graph.paths.keys():
        return None
    wanted = _behaviour(function, x)
    if wanted is None:
        return None
    found = (each for each in _candidates(function, x, run) if _agree(wanted, _behaviour(each, x)))
    return next(found, None)


def _candidates(function: nn.Module, x: torch.Tensor, run: Run) -> Iterator[nn.Module]:
    """Yield the activations that a function may be, with the settings that it must have then."""
    if run.gate != 1:
        yield nn.GLU(run.axis or 1)
        return
    yield from (build() for build in _WITHOUT_SETTINGS)
    low, below, high = (
        function(torch.full_like(x, value)).flatten()[0].item() for value in (-_FAR, -1.0, _FAR)
    )
    if below < 0 and below != -1:
        yield nn.LeakyReLU(-below)
    yield nn.ELU(-low)
    if -_FAR < low < high < _FAR:
        yield nn.Hardtanh(low, high)


def has_tensors(module: nn.Module) -> bool:
    """Tell whether a module has a parameter or a buffer."""
    return any(True for _ in (*module.parameters(), *module.buffers()))


def sample(run: Run, channels: int | None = None) -> torch.Tensor:
    """Return numbers of several sizes to try a run on, at few places.

    Args:
        run: What is to be tried.
        channels: How many channels its result has, if not as many as in the encoder.
    """
    shape = [min(size, _SIDE) for size in run.shape]
    if run.axis is not None and (run.is_bound or run.graph.brought(run.nodes)):
        made = run.made_shape[run.axis] if channels is None else channels
        shape[run.axis] = int(made * run.gate)
    shape[0] = max(2, _VALUES // prod(shape[1:]))
    draw = torch.Generator().manual_seed(0)
    dtype = torch.complex128 if value_of(run.inputs[0]).is_complex() else torch.float64
    x = torch.randn(shape, generator=draw, dtype=dtype, device="cpu")
    return x * 10.0 ** torch.randint(-2, 3, shape, generator=draw, device="cpu")


def alike(one: nn.Module, other: nn.Module, x: torch.Tensor, *, gradients: bool = True) -> bool:
    """Tell whether two modules are the same function up to rounding, in double precision.

    Args:
        one: A module.
        other: Another one.
        x: What to try them on.
        gradients: Whether these must agree, too.

    Example:
        >>> alike(nn.ReLU(), nn.Hardtanh(0, float("inf")), torch.randn(9, dtype=torch.float64))
        True
        >>> alike(nn.SiLU(), nn.GELU(), torch.randn(9, dtype=torch.float64))
        False
    """
    first = _behaviour(one, x)
    return first is not None and _agree(first, _behaviour(other, x), gradients=gradients)


def is_defined(module: nn.Module, x: torch.Tensor) -> bool:
    """Tell whether a module makes numbers of numbers, as far as it can be tried.

    Example:
        >>> x = torch.randn(9, dtype=torch.float64)
        >>> is_defined(nn.ReLU(), x), is_defined(nn.Threshold(0, float("nan")), x)
        (True, False)
    """
    made = _behaviour(module, x)
    return made is None or not bool(made.values[:2].isnan().any())


@dataclass(frozen=True, slots=True)
class _Behaviour:
    """What a module makes of numbers, and the gradient of a sum of them with weights."""

    values: torch.Tensor
    gradient: torch.Tensor


def _behaviour(module: nn.Module, x: torch.Tensor) -> _Behaviour | None:
    """Return what a module does to numbers; None where it raises an error or makes none.

    Values are taken at corners too, which are expected at halves, and far out.
    """
    try:
        double = copy.deepcopy(module).cpu().double() if has_tensors(module) else module
        with torch.inference_mode(False), torch.enable_grad(), quiet(), fork_rng(devices=[]):
            leaf = x.clone().requires_grad_()
            made, halves = double(leaf), (2 * x.real).round().clamp(-12, 12).to(x) / 2
            others = [double(halves * by) for by in (1, 1e5, _FAR)]
            weights = torch.arange(made.numel(), device=x.device).view(made.shape).cos()
            total = (made * weights).abs().sum() if made.is_complex() else (made * weights).sum()
            total = total + 0.0 * leaf.abs().sum()
            (gradient,) = torch.autograd.grad(total, leaf)
        return _Behaviour(torch.stack([made, *others]).detach(), gradient)
    except Exception:
        return None


def _agree(one: _Behaviour, other: _Behaviour | None, *, gradients: bool = True) -> bool:
    return other is not None and all(
        first.shape == second.shape
        and first.dtype == second.dtype
        and torch.allclose(first, second, rtol=_NEAR, atol=_NEAR)
        for first, second in [
            (one.values, other.values),
            *([(one.gradient, other.gradient)] if gradients else []),
        ]
    )
