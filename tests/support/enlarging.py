"""Count what a model enlarges, by the operators that it really runs: an audit's second witness.

The model runs on random numbers, and every operator of ATen that it ends in passes here. Some
enlarge by what they are: a transposed convolution, a resize. Others only move numbers about, and
what they do is read from where the numbers went. Beside each tensor stand two more of its shape,
which are moved in the same way: the *place* that each number had when a layer made it, and its
*channel* there. An axis on which neighbours are of one place was enlarged: by ``repeat`` where they
are of one channel too, by ``shuffle`` where not; and by ``zeros`` where no two numbers are
neighbours, since a hole that nothing was written to lies between any.
"""

import copy
import gc
import warnings
from collections import Counter
from math import prod

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from autoup.inspecting.runs import leaves

HOLE, APART = -1.0, 2.0**30
# What these do to a tensor is done to its places and channels; the first share its memory.
VIEWS = {
    "alias", "detach", "diagonal", "expand", "narrow", "permute", "select", "slice", "split",
    "split_with_sizes", "squeeze", "t", "transpose", "unbind", "unfold", "unsqueeze", "view",
}  # fmt: skip
COPIES = {
    "_unsafe_view", "cat", "clone", "constant_pad_nd", "flip", "index", "index_select", "repeat",
    "roll", "slice_scatter", "stack",
}  # fmt: skip
PADS = ("reflection_pad", "replication_pad")
REDUCTIONS = {"amax", "amin", "argmax", "argmin", "max", "mean", "min", "sum"}
ROWS = {"addmm": 1, "baddbmm": 1, "bmm": 0, "embedding": 1, "linear": 0, "mm": 0}
EMPTY = {"empty", "empty_like", "new_empty", "new_zeros", "zeros", "zeros_like"}


def count_steps(model, *sizes):
    """Run a copy of a model; count the steps by kind that its data passes, and constants alone."""
    with warnings.catch_warnings(action="ignore"), torch.no_grad(), torch.random.fork_rng():
        twin = copy.deepcopy(model)
        counted = Enlarging()
        inputs = [torch.randn(size) for size in sizes]
        with counted:
            returned = twin(*inputs)
    counted.close(returned)
    return counted.steps, counted.of_constants


def kind_by_name(name, arguments, made):
    """Return the kind of an operator that enlarges by what it is; None for others."""
    if name == "convolution":
        return "transposed" if arguments[6] else None
    if name.startswith("conv_transpose"):  # A quantised one.
        return "transposed"
    if "upsample_" in name or "adaptive_" in name:
        sizes = zip(arguments[0].shape[2:], made.shape[2:], strict=True)
        return "resize" if any(o > i for i, o in sizes) else None
    if "grid_sampler" in name:
        steps = {o - i for i, o in zip(arguments[0].shape[2:], made.shape[2:], strict=True)}
        return "sample" if max(steps) > 0 and min(steps) >= 0 else None
    if name.startswith("max_unpool"):
        return "unpool"
    return {"pixel_shuffle": "shuffle", "col2im": "fold", "unfold_backward": "fold"}.get(name)


def takes_pixels(name, arguments, made):
    """Tell whether an operator works on the axes behind the second, pixel by pixel."""
    return (
        name == "convolution"
        or "pool" in name
        or "grid_sampler" in name
        or kind_by_name(name, arguments, made) is not None
    )


def takes_rows(name):
    """Tell whether an operator works on the last axis, row by row."""
    return name in ROWS or name.startswith("_scaled_dot_product")


class Numbers:
    """Where the numbers of a tensor come from; views of it share what it is a view of.

    An axis that was enlarged is one of channels until a layer or the model's end takes it for one
    of pixels: before that the numbers may be what describes a patch. ``open`` are such steps.
    """

    def __init__(self, place, channel, base=None, of_data=True, steps=()):
        self.place, self.channel, self.base = place, channel, base or self
        self.of_data, self.open = of_data, {*steps}
        self.writes, self.seen, self.step = 0, self.base.writes if base else 0, None

    @classmethod
    def made(cls, shape, places=(), channels=(), steps=()):
        """Number places along some axes of what a layer made, and channels along others."""
        return cls(_number(shape, places), _number(shape, channels), steps=steps)

    def axes(self):
        """Return the axes along which places change, and those along which only channels do."""
        places = {axis for axis in range(self.place.ndim) if _changes(self.place, axis)}
        channels = {axis for axis in range(self.place.ndim) if _changes(self.channel, axis)}
        return places, channels - places

    def enlarged(self):
        """Return in which way each axis was enlarged that was."""
        if self.place.ndim < 3:  # Flattened, for a layer that knows no neighbours.
            return {}
        return {
            axis: kind
            for axis in range(self.place.ndim)
            if (kind := _kind_along(self.place, self.channel, axis))
        }


class Step:
    """A step that is counted once, whoever reads what it made."""

    def __init__(self, kind):
        self.kind = kind


def _hole(shape):
    """Return the numbers of what nothing was written to."""
    return Numbers(*torch.full((2, *shape), HOLE).double(), of_data=False)


def _number(shape, axes):
    wanted = {each % len(shape) for each in axes}
    sizes = [size if axis in wanted else 1 for axis, size in enumerate(shape)]
    return torch.arange(prod(sizes), dtype=torch.float64).view(sizes).expand(shape).clone()


def _changes(numbers, axis):
    if not numbers.numel():
        return False
    lowest = numbers.masked_fill(numbers == HOLE, torch.inf).amin(axis)
    return bool((lowest < numbers.amax(axis)).any())


def _kind_along(place, channel, axis):
    """Return in which way an axis was enlarged, by the places and channels of its neighbours."""
    length = place.shape[axis] - 1
    if length < 2 or not _changes(place, axis):
        return None
    one, next_one = place.narrow(axis, 0, length), place.narrow(axis, 1, length)
    pairs = (one != HOLE) & (next_one != HOLE)
    if not pairs.any():
        return "zeros"
    together = pairs & (one == next_one)
    if 2 * together.sum() < pairs.sum():
        return None
    same = channel.narrow(axis, 0, length) == channel.narrow(axis, 1, length)
    return "repeat" if same[together].all() else "shuffle"


def _tensors(value):
    return [each for each in tree_leaves(value) if isinstance(each, torch.Tensor)]


class Enlarging(TorchDispatchMode):
    """The steps that enlarge, by kind: of what stems from the input, and of constants alone."""

    def __init__(self):
        super().__init__()
        self.steps, self.of_constants, self.counted = Counter(), Counter(), set()
        # By identity, with the tensor, so that none is given twice. What is there is a constant.
        there = (each for each in gc.get_objects() if type(each) in (torch.Tensor, nn.Parameter))
        self.kept = {id(each): (each, None) for each in there}

    def numbers_of(self, tensor):
        """Return the numbers of a tensor; None for a constant.

        What no operator made and has neighbours is the input, or comes from outside, as from numpy.
        """
        if id(tensor) not in self.kept:
            layer = tensor.ndim > 1 and Numbers.made(tensor.shape, range(2, tensor.ndim), [1])
            self.kept[id(tensor)] = tensor, layer or None
        return self.kept[id(tensor)][1]

    def close(self, returned):
        """Take what a model returned, all of it pixels."""
        for each in filter(None, map(self.numbers_of, leaves(returned))):
            if each.seen < each.base.writes:
                self._look(each)
            self._take(each, range(each.place.ndim))

    def __torch_dispatch__(self, function, _types, arguments=(), options=None):
        options = options or {}
        name = function._schema.name.partition("::")[2]
        tensors = _tensors((arguments, options))
        read = [numbers for each in tensors if (numbers := self.numbers_of(each))]
        made = function(*arguments, **options)
        outputs = _tensors(made)
        if outputs:
            data = any(each.base.of_data for each in read)
            if kind := kind_by_name(name, arguments, outputs[0]):
                (self.steps if data else self.of_constants)[kind] += 1
            if name == "lift_fresh":
                self.kept[id(outputs[0])] = outputs[0], self.numbers_of(tensors[0])
            elif any(outputs[0] is each for each in tensors):
                if data:
                    self._write(name, arguments)
            else:
                self._follow(name, function, (arguments, options), outputs, read)
        return made

    def _write(self, name, arguments):
        """Follow an operator that writes data into its first argument."""
        into = self.numbers_of(arguments[0])
        if into is None:
            into = _hole(arguments[0].shape)
            self.kept[id(arguments[0])] = arguments[0], into
        into.base.of_data = True
        source = self.numbers_of(arguments[1]) if name == "copy_" else None
        if source:
            into.base.writes, into.base.step = into.base.writes + 1, None
            into.place.copy_(source.place)
            into.channel.copy_(source.channel + into.base.writes * APART)

    def _follow(self, name, function, given, outputs, read):
        """Number what an operator made."""
        data = [each for each in read if each.base.of_data]
        for each in data:
            if each.seen < each.base.writes and name not in VIEWS:
                self._look(each)
            if takes_rows(name):
                self._take(each, range(each.place.ndim - 1))
            elif takes_pixels(name, given[0], outputs[0]):
                self._take(each, range(2, each.place.ndim))
        if name in EMPTY:
            found = [_hole(outputs[0].shape)]
        elif (read and name in VIEWS) or (data and name in COPIES):
            found = self._move(name, function, *given)
        elif data:
            found = [_of_layer(name, given[0], self.numbers_of, outputs[0], data)]
            found += [Numbers.made(each.shape) for each in outputs[1:]]
        else:
            found = [None] * len(outputs)
        for tensor, numbers in zip(outputs, found, strict=True):
            self.kept[id(tensor)] = tensor, numbers
            if data and name in VIEWS | COPIES and not numbers.base.writes:
                self._look(numbers)

    def _move(self, name, function, arguments, options):
        """Do to places and channels what an operator does to their tensors."""
        source, *rest = arguments
        joined = name in ("cat", "stack")
        sources = source if joined else [source]
        numbers = [self.numbers_of(each) or _hole(each.shape) for each in sources]
        rest = [rest[0], HOLE] if name == "constant_pad_nd" else rest
        function = torch.reshape if name in ("view", "_unsafe_view") else function
        parts = numbers[0].place, numbers[0].channel
        if joined:
            parts = _joined(numbers, rest[0] if rest and name == "cat" else None)
        found = [tree_leaves(function(each, *rest, **options)) for each in parts]
        base = numbers[0].base if name in VIEWS else None
        steps = set[Step]().union(*(each.open for each in numbers))
        return [Numbers(*each, base=base, steps=steps) for each in zip(*found, strict=True)]

    def _look(self, numbers):
        """Open a step, if moving numbers about was one; all parts of what was written share it."""
        base = numbers.base
        numbers.seen = base.writes
        if enlarged := numbers.enlarged():
            places, channels = numbers.axes()
            anew = Numbers.made(numbers.place.shape, places - {*enlarged}, channels | {*enlarged})
            step = base.step or Step(next(iter(enlarged.values())))
            if base.writes:
                base.step = step
            anew.open = {*numbers.open, step}
            vars(numbers).update(vars(anew), base=numbers)

    def _take(self, numbers, pixels):
        """Count open steps, if a layer takes for one of pixels an axis of their channels."""
        if numbers.open and any(_changes(numbers.channel, axis) for axis in pixels):
            self.steps.update(each.kind for each in numbers.open - self.counted)
            self.counted |= numbers.open


def _joined(numbers, axis):
    """Return places and channels of what is joined along an axis; None for a new one.

    Where that is an axis of places for none of them, these are channels of the same places.
    """
    places = [each.place for each in numbers]
    if axis is not None and not any(_changes(each, axis) for each in places):
        leading = max(numbers, key=lambda each: len(each.axes()[0])).place.narrow(axis, 0, 1)
        places = [torch.where(each == HOLE, each, leading.expand_as(each)) for each in places]
    return places, [each.channel + APART * part for part, each in enumerate(numbers)]


def _of_layer(name, arguments, numbers_of, made, data):
    """Return the numbers of what a layer made."""
    shape = made.shape
    if takes_rows(name):
        rows = numbers_of(arguments[ROWS.get(name, 0)])
        found = Numbers.made(shape, channels=[-1])
        if rows:
            place = rows.place[..., None] if name == "embedding" else rows.place[..., :1]
            found.place = place.expand(shape).clone()
        return found
    steps = set[Step]().union(*(each.open for each in data))
    if name in REDUCTIONS and len(arguments) > 1:
        return _reduced(data[0], arguments[1], shape)
    if name.startswith(PADS):
        return Numbers.made(shape, *data[0].axes(), steps=steps)
    if takes_pixels(name, arguments, made):
        return Numbers.made(shape, range(2, made.ndim), [1])
    for each in sorted(data, key=lambda each: -each.place.numel()):
        if _broadcasts(each.place.shape, shape):
            place, channel = each.place.expand(shape).clone(), each.channel.expand(shape).clone()
            return Numbers(place, channel, steps=steps)
    return Numbers.made(shape)


def _reduced(numbers, dims, shape):
    dims = dims if isinstance(dims, list | tuple) else [dims]
    first = tuple(
        slice(0, 1) if axis in {each % numbers.place.ndim for each in dims} else slice(None)
        for axis in range(numbers.place.ndim)
    )
    place, channel = numbers.place[first].reshape(shape), numbers.channel[first].reshape(shape)
    return Numbers(place, channel, steps=numbers.open)


def _broadcasts(shape, wanted):
    behind = wanted[len(wanted) - len(shape) :]
    return len(shape) <= len(wanted) and all(
        size in (1, other) for size, other in zip(shape, behind, strict=True)
    )
