"""The matrix: every place where decoders live, every kind of layer, in 1d, 2d and 3d.

``make matrix`` runs it and prints the table; the exit status is 1 where a cell is not
as expected. Words behind it choose rows: ``python -m matrix.table export vmap``.
"""

import copy
import pickle
import re
import sys
import warnings
from dataclasses import dataclass
from functools import partial
from itertools import product

import pytest
import torch
from support import versions
from support.oracle import AUTO, CONV, artifacts_allowed
from torch import nn
from torch.autograd import gradcheck, gradgradcheck
from torch.nn.utils.parametrizations import spectral_norm, weight_norm

from autoup import mirror_decoder, unet
from matrix import life, places

DIMS = (1, 2, 3)
OLDEST = (2, 6)  # The PyTorch that is the floor.
LARGE = {1: 8192, 2: 64, 3: 13}  # Large enough for the ways of autoup.layers.dispatch.

# PyTorch's start throughout: ours has equal phases and holds the promise of ``smoothness``, so
# that mixed-up phases or a missing projection would not show.


def solved(dims, channels, in_size, out_size, batch=2, **options):
    i, o = in_size[:dims], out_size[:dims]
    layer = AUTO[dims](*channels, i, o, init="torch", **options)
    return layer, torch.randn(batch, channels[0], *i)


def twice(dims, channels, batch):
    return solved(dims, channels, (LARGE[dims],) * dims, (2 * LARGE[dims],) * dims, batch)


def mirror(dims, **options):
    layer = AUTO[dims].mirror(CONV[dims](3, 5, 3, 2, 1), (10, 7, 8)[:dims], init="torch", **options)
    return layer, torch.randn(2, 5, *layer.in_size)


def decoder(dims):
    encoder = nn.Sequential(CONV[dims](2, 4, 3, 2, 1), nn.ReLU(), CONV[dims](4, 6, 3, 2, 1))
    x = torch.randn(2, 2, *(20, 19, 12)[:dims])
    return mirror_decoder(encoder, x.shape, init="torch"), encoder(x).detach()


def skipping(dims):
    """Return a U-Net at a size that no level divides, and an image.

    Without kinks: among so many pixels one lies near enough to fail a check by differences.
    """
    encoder = nn.Sequential(
        CONV[dims](2, 4, 3, 2, 1), nn.SiLU(), CONV[dims](4, 6, 3, 2, 1), nn.SiLU()
    )
    x = torch.randn(2, 2, *(17, 11, 7)[:dims])
    return unet(encoder, x.shape, 2, init="torch"), x


KINDS = {
    "clean": partial(solved, channels=(3, 2), in_size=(5, 4, 3), out_size=(10, 12, 6)),
    "16 → 8 channels": partial(twice, channels=(16, 8), batch=4),
    "32 → 1 channels": partial(twice, channels=(32, 1), batch=2),
    "output padding": partial(solved, channels=(3, 2), in_size=(7, 5, 3), out_size=(15, 11, 7)),
    "mirror": mirror,
    "tied mirror": partial(mirror, adjoint=True, tied=True),
    "`smoothness=1`": partial(
        solved, channels=(3, 2), in_size=(5, 4, 3), out_size=(10, 12, 6), smoothness=1
    ),
    "decoder": decoder,
    "U-Net": skipping,
}

FREE = {"": lambda _: (), ", any batch": lambda _: (0,), ", any size": places.every_size}
PLACES = {
    "`torch.compile`, one graph, inductor": places.compiles,
    "`torch.compile`, any size, compiled once, aot_eager": places.compiles_once,
    **{f"`torch.export`{name}": partial(places.exports, free=free) for name, free in FREE.items()},
    "`torch.export`, strict, any size": partial(
        places.exports, free=places.every_size, strict=True
    ),
    **{f"ONNX{name}": partial(places.exports_onnx, free=free) for name, free in FREE.items()},
    "`torch.jit.trace`": places.jit_traces,
    "`torch.jit.script`": places.jit_scripts,
    "`torch.fx.symbolic_trace`": places.symbolically_traces,
    "autocast to bfloat16": places.autocasts,
    "bfloat16": partial(places.converts, dtype=torch.bfloat16),
    "float64": partial(places.converts, dtype=torch.float64),
    "complex64": partial(places.converts, dtype=torch.complex64),
    "channels last, contiguous": places.keeps_format,
    "meta device": places.runs_on_meta,
    "fake tensors": places.runs_on_fakes,
    "`functional_call`": places.calls_functionally,
    "`vmap` over inputs": places.maps_over_inputs,
    "`vmap` over stacked models": places.maps_over_models,
    "gradients per sample": places.differentiates_samples,
    "`jvp`, forward mode": places.differentiates_forward,
    "`jvp` of `grad`": places.differentiates_twice,
    "`jacfwd`, `jacrev`, `hessian`": places.has_jacobians,
    "`gradcheck`, forward and batched too": partial(
        places.passes, check=gradcheck, check_forward_ad=True, check_batched_forward_grad=True
    ),
    "`gradgradcheck`, forward over reverse too": partial(
        places.passes, check=gradgradcheck, check_fwd_over_rev=True
    ),
    "`deepcopy`": partial(life.copies, duplicate=copy.deepcopy),
    "`pickle`": partial(life.copies, duplicate=lambda model: pickle.loads(pickle.dumps(model))),
    "`torch.save` of the module": partial(life.copies, duplicate=life.saved),
    "`torch.save` of the `state_dict`": partial(life.stores, through=life.saved),
    "safetensors": partial(life.stores, through=life.through_safetensors),
    "`spectral_norm`": partial(life.normalises, norm=spectral_norm),
    "`weight_norm`": partial(life.normalises, norm=weight_norm),
    "pruning": life.prunes,
    "int8 by torchao's pt2e, `to_plain()`": life.quantises_graphs,
    "training, step by step": life.trains,
    "training in Lightning": life.trains_in_lightning,
    "`checkpoint`": life.checkpoints,
    "`AveragedModel`": life.averages,
    "FLOP counter": life.counts_flops,
}
# What takes a compiler, a library of others, or seconds.
SLOW = {
    places.passes,
    places.exports,
    places.compiles,
    places.compiles_once,
    places.exports_onnx,
    life.quantises_graphs,
    life.trains_in_lightning,
}


@dataclass(frozen=True, slots=True)
class Limit:
    """How a cell fails, why, whether PyTorch's own layers fail alike, and on which versions.

    From ``first`` on, and below ``until`` where that is given: the version that was seen to work.
    """

    error: type[Exception]
    match: str
    reason: str
    plain: bool = False
    first: tuple[int, int] = OLDEST
    until: tuple[int, int] | None = None

    @property
    def holds(self):
        return self.first <= versions.TORCH and (self.until is None or self.until > versions.TORCH)


NO_COMPLEX = Limit(
    RuntimeError,
    "not support.* complex",
    "PyTorch has no complex ReLU, and no gradient of a complex SiLU.",
    True,
)
NO_OBJECTS = Limit(
    AttributeError,
    "__name__",
    "A U-Net hears its encoder by hooks, and scripts take functions alone.",
)
NO_HOOKS = Limit(
    RuntimeError, "does not run the hooks", "Tracing by `torch.fx` does not run a module's hooks."
)
ANEW = Limit(
    torch._dynamo.exc.RecompileError,
    "Recompiling function",
    "On 2.6 a U-Net is compiled anew for sizes whose levels are odd elsewhere.",
    until=(2, 8),
)
NO_PADDING = Limit(
    torch.onnx.OnnxExporterError,
    "Failed to convert the exported program",
    "The exporter of 2.6 cannot write padding by open sizes down.",
    until=(2, 8),
)
UNBOUND = Limit(
    NameError,
    "name 'L' is not defined",
    "PyTorch's own layers neither: what is exported raises a `NameError`.",
    True,
    first=(2, 9),
    until=(2, 10),
)
LIMITS = {
    (place, kind, dims): limit
    for dims in DIMS
    for place, kind, limit in (
        ("complex64", "decoder", NO_COMPLEX),
        ("complex64", "U-Net", NO_COMPLEX),
        ("`torch.compile`, any size, compiled once, aot_eager", "U-Net", ANEW),
        ("ONNX, any size", "U-Net", NO_PADDING),
        ("`torch.jit.script`", "U-Net", NO_OBJECTS),
        ("`torch.fx.symbolic_trace`", "U-Net", NO_HOOKS),
    )
} | {("`torch.export`, strict, any size", "decoder", dims): UNBOUND for dims in (2, 3)}

_PASSED = "From PyTorch ", "Not on PyTorch "  # How the reason starts where it holds no longer.

# What others' code says of itself while it works.
TOLERATED = (
    "`torch.jit",
    "Complex modules are a new feature",
    "(?s).*certain side effects happened.*_stash",
    r"`isinstance\(treespec, LeafSpec\)` is deprecated",
)


def build(kind, dims):
    """Return a model of this kind and an input, the same at every call; no bias is zero."""
    torch.manual_seed(0)
    with artifacts_allowed():
        model, x = KINDS[kind](dims)
    with torch.no_grad():
        for name, each in model.named_parameters():
            if name.endswith("bias"):
                each.normal_(std=0.1)
    return model, x


def check(place, kind, dims):
    """Raise where a cell is not as expected, be it that a limit is none any more."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for words in (*TOLERATED, *versions.TOLERATED):
            warnings.filterwarnings("ignore", words)
        model, x = build(kind, dims)
        limit = LIMITS.get((place, kind, dims))
        if limit is None or not limit.holds:
            PLACES[place](model, x)
            return
        for each in (model, places.plain(model)) if limit.plain else (model,):
            with pytest.raises(limit.error, match=limit.match):
                PLACES[place](each, x)


def draw(reasons, rows=PLACES):
    """Return the table as Markdown, from why a cell does not work, where it does not."""
    shown = {cell: reasons[cell] for cell in product(rows, KINDS, DIMS) if cell in reasons}
    notes = list(dict.fromkeys(shown.values()))

    def entry(place, kind):
        whys = {dims: shown.get((place, kind, dims)) for dims in DIMS}
        works = [f"{d}d" for d, why in whys.items() if not why or why.startswith(_PASSED)]
        marks = [str(notes.index(why) + 1) for why in dict.fromkeys(whys.values()) if why]
        if len(works) == len(DIMS):
            return f"✓<sup>{', '.join(marks)}</sup>" if marks else "✓"
        return (" ".join(works) or "–") + f"<sup>{', '.join(marks)}</sup>"  # noqa: RUF001

    lines = [["place", *KINDS], ["---"] * (len(KINDS) + 1)]
    lines += [[place, *(entry(place, kind) for kind in KINDS)] for place in rows]
    table = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    return "\n".join([table, "", *(f"{n}. {note}" for n, note in enumerate(notes, 1))]).rstrip()


def reason(limit):
    """Return why a cell does not work, and on which versions it does."""
    if limit.until is None:
        return limit.reason
    if limit.first > OLDEST:
        return f"Not on PyTorch {'.'.join(map(str, limit.first))}. {limit.reason}"
    return f"From PyTorch {'.'.join(map(str, limit.until))}. {limit.reason}"


def table():
    """Return the table as it is expected to come out, without a run, on the newest version."""
    return draw({cell: reason(limit) for cell, limit in LIMITS.items()})


def main(words):
    rows = [place for place in PLACES if not words or any(word in place for word in words)]
    reasons, failed = {}, 0
    for cell in product(rows, KINDS, DIMS):
        if cell in LIMITS:
            reasons[cell] = reason(LIMITS[cell])
        try:
            check(*cell)
        except (Exception, pytest.fail.Exception) as error:
            first = re.sub(r"\s+", " ", str(error)).strip()[:200]
            reasons[cell] = f"NOT AS EXPECTED: {type(error).__name__}: {first}"
            failed = 1
    print(draw(reasons, rows))
    return failed


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
