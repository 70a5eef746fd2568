"""Which sizes a model asks of its layers by ``output_size``, for inputs of this size and others.

A transposed convolution takes an ``output_size`` from the least that it makes, without output
padding, to a stride less one more. A kernel that grows without output padding moves that window
up, so that what an input of another size asks for may fall out of it. What shows is what a model
asks for, run without arithmetic where it can.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

from torch import nn

from autoup.inspecting.calls import Call
from autoup.inspecting.copies import copy_model
from autoup.inspecting.modules import modules_by_path
from autoup.inspecting.recording import record
from autoup.inspecting.runs import InputSizes, shapes
from autoup.inspecting.sites import TRANSPOSED
from autoup.layers.base import BaseConvTransposeNd
from autoup.solving.sizes import transposed_size

Shapes = list[tuple[int, ...]]

_STEPS = 16  # Up to this stride, all remainders are asked for.


@dataclass(frozen=True, slots=True)
class Ask:
    """What one call of a layer asked for.

    Args:
        in_size: Of what it read, spatial, in pixels.
        extra: Output padding used, in pixels.
        out_size: Of what it made, spatial, in pixels.
        by_size: Whether it was called with ``output_size``.
        input_size: Of the inputs of the model.
    """

    in_size: tuple[int, ...]
    extra: tuple[int, ...]
    out_size: tuple[int, ...]
    by_size: bool
    input_size: InputSizes = ()


@dataclass(frozen=True, slots=True)
class Asked:
    """All that a layer was asked for.

    Args:
        asks: One a call.

    Example:
        >>> asks = (Ask((4,), (1,), (8,), True), Ask((4,), (0,), (7,), True))
        >>> Asked(asks).by_size, Asked(asks).seen, Asked(asks).least
        (True, (1,), (0,))
    """

    asks: tuple[Ask, ...]

    @property
    def by_size(self) -> bool:
        """Whether ``output_size`` was passed."""
        return any(each.by_size for each in self.asks)

    @property
    def seen(self) -> tuple[int, ...]:
        """Most output padding along each axis by the first input alone, in pixels."""
        first = [each for each in self.asks if each.input_size == self.asks[0].input_size]
        return tuple(map(max, zip(*(each.extra for each in first), strict=True)))

    @property
    def least(self) -> tuple[int, ...]:
        """Least output padding along each axis, in pixels."""
        return tuple(map(min, zip(*(each.extra for each in self.asks), strict=True)))


def record_asked(model: nn.Module, sizes: InputSizes) -> tuple[list[Call], dict[str, Asked]]:
    """Return the calls of one forward pass, and what layers were asked for, by path.

    Example:
        >>> layer = nn.ConvTranspose1d(1, 1, 3, 2, 1, 1)
        >>> record_asked(layer, ((1, 1, 4),))[1][""].least
        (1,)
    """
    twin, log = _watch(model)
    calls = record(twin, sizes).calls
    return calls, _by_path(log, sizes)


def ask_further(
    model: nn.Module, sizes: InputSizes, asked: Mapping[str, Asked]
) -> tuple[dict[str, Asked], dict[InputSizes, Shapes]]:
    """Return what layers are asked for by inputs of other sizes too, and what these make.

    Sizes that the model refuses do not count.

    Args:
        model: Of which copies run.
        sizes: Of its inputs.
        asked: What these ask for, by path.
    """
    twin, log = _watch(model)
    numbers = not _runs(twin, sizes, numbers=False)
    found, made = dict(asked), dict[InputSizes, Shapes]()
    for each in further_sizes(model, sizes, asked):
        log.clear()
        try:
            made[each] = shapes(twin, each, numbers=numbers)
        except Exception:  # Whatever it raises: it takes no such input.
            continue
        for path, more in _by_path(log, each).items():
            known = found[path].asks if path in found else ()
            found[path] = Asked((*known, *more.asks))
    return found, made


def still_makes(model: nn.Module, made: Mapping[InputSizes, Shapes]) -> InputSizes | None:
    """Return the first size of which a model does not make what it made; None without one."""
    if not made:
        return None
    numbers = not _runs(model, next(iter(made)), numbers=False)
    for sizes, wanted in made.items():
        try:
            same = shapes(model, sizes, numbers=numbers) == wanted
        except Exception:  # The original took it.
            same = False
        if not same:
            return sizes
    return None


def further_sizes(
    model: nn.Module, sizes: InputSizes, asked: Mapping[str, Asked]
) -> list[InputSizes]:
    """Return larger sizes, one axis at a time and all at once, that ask for all remainders.

    A layer whose output is a quarter of the input, with a stride of 2, asks for the other remainder
    where the input is larger by 4, and for the same again by 8.

    Example:
        >>> asked = {"": Asked((Ask((4,), (1,), (8,), True),))}
        >>> further_sizes(nn.ConvTranspose1d(1, 1, 3, 2, 1, 1), ((1, 1, 16),), asked)
        [((1, 1, 18),), ((1, 1, 20),)]
    """
    modules, found = modules_by_path(model), dict[InputSizes, None]()
    for path, each in asked.items():
        layer: Any = modules[path]
        for ask in each.asks:
            if not ask.by_size:
                continue
            dims, s = len(ask.out_size), max(layer.stride)
            steps = range(1, s + 1, -(-s // _STEPS))
            largest = [
                max((s[axis - dims] for s in sizes if len(s) > dims), default=1)
                for axis in range(dims)
            ]
            ratios = [max(1, round(i / o)) for i, o in zip(largest, ask.out_size, strict=True)]
            alone = [tuple(int(axis == other) for other in range(dims)) for axis in range(dims)]
            for step, axes in product(steps, dict.fromkeys([*alone, (1,) * dims])):
                more = [step * ratio * chosen for ratio, chosen in zip(ratios, axes, strict=True)]
                found[_enlarge(sizes, more, largest)] = None
    return [each for each in found if each != sizes]


def _enlarge(sizes: InputSizes, more: Sequence[int], largest: Sequence[int]) -> InputSizes:
    """Return sizes with more pixels along their last axes, in proportion to the largest."""
    dims, found = len(more), list[tuple[int, ...]]()
    for size in sizes:
        ends = zip(size[-dims:], more, largest, strict=True) if len(size) > dims else ()
        grown = tuple(n + -(-m * n // most) for n, m, most in ends)
        found.append((*size[: len(size) - len(grown)], *grown))
    return tuple(found)


def _watch(model: nn.Module) -> tuple[nn.Module, list[tuple[str, Ask]]]:
    """Return a copy whose transposed convolutions write down what they are asked for."""
    twin, log = copy_model("model", model, [*model.parameters()]), list[tuple[str, Ask]]()
    for path, layer in modules_by_path(twin).items():
        if isinstance(layer, TRANSPOSED):
            name = "_extra" if isinstance(layer, BaseConvTransposeNd) else "_output_padding"
            setattr(layer, name, _written(path, layer, getattr(layer, name), log))
    return twin, log


def _written(
    path: str, layer: Any, work_out: Callable[..., Any], log: list[tuple[str, Ask]]
) -> Callable[..., Any]:
    """Return a function, which copies of a layer share, that writes down what it works out."""
    axes = [*zip(layer.kernel_size, layer.stride, layer.padding, layer.dilation, strict=True)]

    def work_out_and_write(input: Any, output_size: Any = None, *rest: Any) -> Any:
        extra = work_out(input, output_size, *rest)
        in_size = tuple(input.shape[-len(axes) :])
        numbers = zip(in_size, axes, extra, strict=True)
        made = tuple(transposed_size(i, k, s, p, a, d) for i, (k, s, p, d), a in numbers)
        log.append((path, Ask(in_size, tuple(extra), made, output_size is not None)))
        return extra

    return work_out_and_write


def _by_path(log: Sequence[tuple[str, Ask]], sizes: InputSizes) -> dict[str, Asked]:
    found: dict[str, Asked] = {}
    for path, ask in log:
        known = found[path].asks if path in found else ()
        found[path] = Asked((*known, replace(ask, input_size=sizes)))
    return found


def _runs(model: nn.Module, sizes: InputSizes, *, numbers: bool) -> bool:
    try:
        shapes(model, sizes, numbers=numbers)
    except Exception:  # It may look at numbers.
        return False
    return True
