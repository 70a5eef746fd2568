"""The harness that PyTorch ships for the tests of its own modules, with our layers in it.

What torch says of ``nn.ConvTranspose1d``, ``2d`` and ``3d`` (samples, dtypes, tolerances, expected
failures) holds for the plain layer and for ours, which is built with torch's own arguments pinned.
Take the harness from here only: importing it elsewhere changes settings for the whole process.
"""

import io
from contextlib import ExitStack
from copy import deepcopy
from functools import partial
from itertools import product
from unittest.mock import patch

import hypothesis
import torch

from autoup.layers import depthwise_ways, dispatch, subpixel, ways
from support.oracle import AUTO, PLAIN, artifacts_allowed

with ExitStack() as kept:
    # The import draws random numbers, freezes torch.backends and loads a profile of ten examples.
    kept.enter_context(torch.random.fork_rng(devices=[]))
    kept.enter_context(torch.backends.__allow_nonbracketed_mutation())
    kept.callback(hypothesis.settings.load_profile, hypothesis.settings.get_current_profile_name())
    from torch.testing._internal import common_device_type as common_device_type
    from torch.testing._internal import common_modules, common_nn
    from torch.testing._internal import common_utils as common_utils

LAYOUTS = {4: torch.channels_last, 5: torch.channels_last_3d}
FACTS = ("kernel_size", "stride", "padding", "output_padding", "dilation", "groups")
VARIANTS = {"": {"init": "torch"}, "_fast": {"init": "torch"}, "_smooth": {"smoothness": 1}}
PIXELS = {1: (16,), 2: (4, 4), 3: (2, 2, 4)}  # A failing gradcheck works out the whole Jacobian.
# Torch's own samples are small and overlap; these are decoders' last layers, with k = s and k = 2s.
DECODERS = {
    "kernel_is_stride": (4, 3, 2, 2),
    "one_channel": (5, 1, 2, 2),
    "two_taps_a_phase": (4, 3, 4, 2, 1),
    "pointwise": (4, 3, 1),
    "depthwise": (4, 4, 3, 1, 1, 0, 4),
    "depthwise_kernel_is_stride": (4, 4, 2, 2, 0, 0, 4),
    "one_pixel": (4, 3, 2),
    "depthwise_one_pixel": (4, 4, 3, 1, 0, 0, 4),
}
PIXEL = "one_pixel"


def shape_for(name, dims):
    """Return the shape of an input for one of the decoders' layers."""
    return (2, DECODERS[name][0], *((1,) * dims if name.endswith(PIXEL) else PIXELS[dims]))


def _precision(input, weight, bias, precision=dispatch._precision):
    """Take double precision for single, since finite differences need it."""
    if input.dtype == weight.dtype == torch.float64 and input.is_cpu:
        return input.dtype
    return precision(input, weight, bias)


def without_threshold(test):
    """Let layers of any size, in double precision too, choose as in single precision."""
    sizes = dict.fromkeys(
        ("_PIXELS", "VALUES", "_BODY", "_LARGE", "_PLANE", "_SHALLOW", "APART"), 0
    )
    test = patch.object(subpixel, "_COPY", 0)(test)
    test = patch.object(ways, "has_wide_registers", lambda: False)(test)
    deep = dict.fromkeys(("VALUES", "VECTOR", "_ROWS", "_SOLID", "_PAIRS"), 0)
    test = patch.multiple(depthwise_ways, **deep)(test)
    return patch.multiple(dispatch, **sizes, _precision=_precision)(test)


class Entry(common_modules.ModuleInfo):
    """Torch's entry for a plain layer, with more samples, and ours for the class on request."""

    def __init__(self, plain_entry, dims, variant=None):
        self.__dict__.update(plain_entry.__dict__)
        self.plain_entry, self.dims, self.variant = plain_entry, dims, variant
        self.module_inputs_func = Entry.samples
        if variant is not None:
            self.module_cls = AUTO[dims]

    @property
    def name(self):
        return super().name + (self.variant or "")

    def get_decorators(self, *test):
        always = [without_threshold] if self.variant == "_fast" else []
        return [*super().get_decorators(*test), *always]

    def samples(self, device, dtype, requires_grad, training):
        asked = {"device": device, "dtype": dtype, "requires_grad": requires_grad}
        plain_samples = self.plain_entry.module_inputs_func(self, **asked, training=training)
        make = partial(common_modules.make_tensor, **asked)
        plain_samples += [
            common_modules.ModuleInput(
                common_modules.FunctionInput(*arguments),
                common_modules.FunctionInput(make(shape_for(name, self.dims))),
                desc=name,
            )
            for name, arguments in DECODERS.items()
            if not name.endswith(PIXEL)  # In double precision the plain one loses its layout.
        ]
        return plain_samples if self.variant is None else [self._ours(s) for s in plain_samples]

    def _ours(self, sample):
        given, (x,) = sample.constructor_input, sample.forward_input.args
        plain = PLAIN[self.dims](*given.args, **given.kwargs, device="meta")
        arguments, options = pin(plain, x.shape[-self.dims :], **VARIANTS[self.variant])
        sample.constructor_input = common_modules.FunctionInput(*arguments, **options)
        return sample


def pin(plain, in_size, **variant):
    """Return our arguments for torch's layer, and see that they are solved as torch was asked."""
    dims = len(plain.kernel_size)
    x = torch.empty(1, plain.in_channels, *in_size, device="meta", dtype=plain.weight.dtype)
    arguments = (plain.in_channels, plain.out_channels, in_size, plain.to("meta")(x).shape[2:])
    options = {name: getattr(plain, name) for name in ("kernel_size", "stride", "dilation")}
    options |= {"groups": plain.groups, "bias": plain.bias is not None, **variant}
    with artifacts_allowed():
        ours = AUTO[dims](*arguments, **options, device="meta")
    for name in FACTS:
        solved, asked = getattr(ours, name), getattr(plain, name)
        assert solved == asked, f"{name} is {solved} in {ours}, torch asks for {asked} in {plain}"
    return arguments, options


ENTRIES = [
    Entry(entry, dims, variant)
    for dims, cls in PLAIN.items()
    for entry in common_modules.module_db
    if entry.module_cls is cls
    for variant in (None, *VARIANTS)
]


def _read_specs():
    """Return the older specs of the three layers by the names of their tests, plain and ours."""
    with torch.random.fork_rng(devices=[]):
        old = getattr(common_nn, "new_module_tests", ())  # Of 2.6, which has no function for it.
        specs = [dict(s) for s in getattr(common_nn, "get_new_module_tests", lambda: old)()]
    for dims, (desc, arguments) in product(PLAIN, DECODERS.items()):
        size = shape_for(desc, dims)
        specs.append({"module_name": PLAIN[dims].__name__, "desc": desc, "input_size": size})
        specs[-1] |= {"constructor_args": arguments, "default_dtype": torch.double}
    return dict(
        _as_test(spec, variant)
        for spec, variant in product(specs, (None, *VARIANTS))
        if spec.get("fullname", spec.get("module_name", "")).startswith("ConvTranspose")
    )


def _as_test(spec, variant):
    build = spec.get("constructor") or getattr(torch.nn, spec["module_name"])
    name = "_".join(filter(None, (spec.get("fullname") or spec["module_name"], spec.get("desc"))))
    if variant is None:
        return name, common_nn.NewModuleTest(**spec | {"constructor": build})

    def build_ours(*args):
        arguments, options = pin(build(*args), spec["input_size"][2:], **VARIANTS[variant])
        with artifacts_allowed():
            return AUTO[len(arguments[2])](*arguments, **options)

    return f"Auto{name}{variant}", common_nn.NewModuleTest(**spec | {"constructor": build_ours})


SPECS = _read_specs()


def with_gaps(x):
    """Return the values of ``x`` with a gap in memory after each."""
    gaps = x.detach().repeat_interleave(2, -1)[..., ::2]
    assert not gaps.is_contiguous()
    return gaps.requires_grad_(x.requires_grad)


def in_formats(layer, x, ndim):
    """Go through the memory formats of the input, and of the layer for ``ndim`` dimensions."""
    of_inputs = {torch.contiguous_format, LAYOUTS.get(x.ndim, torch.contiguous_format)}
    of_layers = {torch.contiguous_format, LAYOUTS.get(ndim, torch.contiguous_format)}
    for of_input, of_layer in product(of_inputs, of_layers | {torch.preserve_format}):
        moved = x.detach().clone(memory_format=of_input).requires_grad_()
        yield of_input, of_layer, deepcopy(layer).to(memory_format=of_layer), moved


def layout(x):
    return [stride for stride, size in zip(x.stride(), x.shape, strict=True) if size > 1]


def run(layer, x, grad_output):
    """Return the output and the gradients of input and parameters."""
    made = layer(x)
    return made, *torch.autograd.grad(made, (x, *layer.parameters()), grad_output)


def save_and_load(thing, weights_only):
    file = io.BytesIO()
    torch.save(thing, file)
    file.seek(0)
    return torch.load(file, weights_only=weights_only)


class OlderTestCase(common_nn.NNTestCase):
    """What torch's older tests ask of the case that they run in."""

    def _forward(self, module, input):
        return module(*input) if isinstance(input, tuple) else module(input)

    def _backward(self, _, input, output, grad_output, create_graph=False):
        output.backward(grad_output, retain_graph=True, create_graph=create_graph)
        return input.grad

    def _get_parameters(self, module):
        parameters = list(module.parameters())
        return parameters, [each.grad for each in parameters]

    def _zero_grad_parameters(self, module):
        module.zero_grad(set_to_none=False)
