"""Places where layers live: each function raises where a model does not work as PyTorch's own.

A place gets a model of this package and an input, and compares numbers with ``standard``: the
same model made of PyTorch's own layers, given the same parameters.
"""

import copy
from functools import partial

import onnxruntime
import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeCopyMode, FakeTensorMode
from torch.export import Dim
from torch.func import functional_call, grad, hessian, jacfwd, jacrev, jvp, stack_module_state, vmap
from torch.utils._pytree import tree_leaves

from autoup.layers.conv_transpose import AutoConvTransposeNd

LAST = {4: torch.channels_last, 5: torch.channels_last_3d}
ROUNDING = {torch.float64: 1e-12, torch.bfloat16: 2e-2}  # Relative; 2e-5 for the others.


def layers(model):
    """Return the transposed convolutions by the name of their weight, ours or PyTorch's."""
    kinds = nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d
    found = {name: each for name, each in model.named_modules() if isinstance(each, kinds)}
    return {f"{name}.weight".lstrip("."): each for name, each in found.items()}


def plain(model):
    """Return a copy made of PyTorch's own layers."""
    if isinstance(model, AutoConvTransposeNd):
        return model.to_plain()
    twin = copy.deepcopy(model)
    for name, each in [*twin.named_children()]:
        setattr(twin, name, plain(each))
    return twin


def smooth(model):
    """Return the layers that project their weight, by its name."""
    return {key: each for key, each in layers(model).items() if getattr(each, "smoothness", 0)}


def written_out(layer, weight):
    """Project on the smooth kernels as the definition says: all phases have the same moments."""
    kernel = weight.to(torch.promote_types(weight.dtype, torch.float32))
    taps = torch.cartesian_prod(*map(torch.arange, (1, *layer.kernel_size)))[:, 1:]
    phases = taps % torch.tensor(layer.stride)
    moments = torch.cat([torch.ones(len(taps), 1), taps], 1).T.double()
    moments = moments[: 1 + (layer.smoothness - 1) * taps.shape[1]]
    in_phase = [(phases == phase).all(1) * moments for phase in phases.unique(dim=0)]
    unequal = torch.cat([each - in_phase[0] for each in in_phase])
    projector = torch.eye(len(taps)) - torch.linalg.pinv(unequal) @ unequal
    with torch.autocast("cpu", enabled=False):
        kernel = (kernel.flatten(2) @ projector.to(kernel.dtype)).view(weight.shape)
    return kernel.to(weight.dtype)


def standard(model):
    """Return PyTorch's own model as a function of the parameters, by name, and the input."""
    twin, projecting = plain(model), smooth(model)

    def run(state, x):
        kernels = {key: written_out(layer, state[key]) for key, layer in projecting.items()}
        return functional_call(twin, {**state, **kernels}, (x,))

    return run


def call(model):
    """Return the model itself as such a function."""
    return lambda state, x: functional_call(model, state, (x,))


def state_of(model):
    return dict(model.named_parameters())


def other_state(model, seed=2):
    torch.manual_seed(seed)
    return {name: torch.randn_like(each) for name, each in state_of(model).items()}


def expected(model, x):
    return standard(model)(state_of(model), x)


def near(ours, theirs, rounding=None):
    """Compare trees of tensors, each relative to its largest entry."""
    for a, b in zip(tree_leaves(ours), tree_leaves(theirs), strict=True):
        largest = float(b.detach().abs().max())
        assert largest > 0, "a comparison with zeros is void"
        bound = largest * (rounding or ROUNDING.get(b.dtype, 2e-5))
        torch.testing.assert_close(a, b, rtol=0, atol=bound)


def numbers(run, parameters, x):
    """Return the output, and the gradients for the input and the parameters."""
    x = x.detach().requires_grad_()
    made = run(x)
    return [made, *torch.autograd.grad(made.abs().square().sum(), [x, *parameters])]


def expected_numbers(model, x):
    return numbers(partial(standard(model), state_of(model)), model.parameters(), x)


def agrees(run, model, x, rounding=None):
    """Compare output and gradients with those of PyTorch's own model."""
    near(numbers(run, model.parameters(), x), expected_numbers(model, x), rounding)


def larger(x, axes):
    """Return another input, longer by one along some axes."""
    torch.manual_seed(1)
    return torch.randn([size + (axis in axes) for axis, size in enumerate(x.shape)])


# Compilers and exporters. ``free`` tells which axes are left open.


def every_size(x):
    return [axis for axis in range(x.ndim) if axis != 1]


def dynamic_shapes(x, free):
    axes = free(x)
    return (dict.fromkeys(axes, Dim.DYNAMIC),) if axes else None


def compiles(model, x):
    torch.compiler.reset()
    agrees(torch.compile(model, fullgraph=True), model, x)


def compiles_once(model, x):
    torch.compiler.reset()
    compiled = torch.compile(model, fullgraph=True, dynamic=True, backend="aot_eager")
    with torch.fx.experimental._config.patch(use_duck_shape=False):
        agrees(compiled, model, x)
        with torch._dynamo.config.patch(error_on_recompile=True):
            agrees(compiled, model, larger(x, every_size(x)))


def exports(model, x, *, free, strict=False):
    torch.compiler.reset()  # Up to 2.6 it counts how often any module was exported.
    shapes = dynamic_shapes(x, free)
    program = torch.export.export(model, (x,), dynamic_shapes=shapes, strict=strict)
    calls = [str(node.target) for node in program.graph.nodes if node.op == "call_function"]
    standing = [each for each in calls if "conv_transpose" in each]
    assert len(standing) == len(layers(model)), calls
    if isinstance(model, AutoConvTransposeNd) and not model.smoothness:
        assert calls == standing
    for given in (x, larger(x, free(x))):
        near(program.module()(given), expected(model, given))


def exports_onnx(model, x, *, free):
    options = {"dynamic_shapes": dynamic_shapes(x, free), "dynamo": True, "verbose": False}
    proto = torch.onnx.export(model.eval(), (x,), **options).model_proto
    nodes = [node.op_type for node in proto.graph.node]
    assert nodes.count("ConvTranspose") == len(layers(model)), nodes
    session = onnxruntime.InferenceSession(proto.SerializeToString())
    for given in (x, larger(x, free(x))):
        (made,) = session.run(None, {session.get_inputs()[0].name: given.numpy()})
        near(torch.from_numpy(made), expected(model, given).detach())


def jit_traces(model, x):
    agrees(torch.jit.trace(model, x), model, x)


def jit_scripts(model, x):
    scripted = torch.jit.script(model)
    near(scripted(x), expected(model, x))
    if not smooth(model):
        agrees(scripted, model, x)


def symbolically_traces(model, x):
    agrees(torch.fx.symbolic_trace(nn.Sequential(model)), model, x)


# Number types, devices, memory formats.


def autocasts(model, x):
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert model(x).dtype == torch.bfloat16
        agrees(model, model, x, ROUNDING[torch.bfloat16])


def converts(model, x, *, dtype):
    twin = copy.deepcopy(model).to(dtype)
    agrees(twin, twin, x.to(dtype))


def layout(made):
    """Return shape, type, and of the strides what is fixed: those of axes longer than one."""
    strides = zip(made.shape, made.stride(), strict=True)
    return made.shape, made.dtype, [stride for size, stride in strides if size > 1]


def keeps_format(model, x):
    """Channels last and contiguous, of input and weight: the output has PyTorch's format."""
    last = x.movedim(1, -1).contiguous().movedim(-1, 1)
    for weight in (torch.contiguous_format, LAST.get(x.ndim)):
        twin, own = copy.deepcopy(model), plain(model)
        if weight is not None:
            twin.to(memory_format=weight)
            own.to(memory_format=weight)
        for given in (x, last):
            agrees(twin, twin, given)
            made = twin(given)
            assert layout(made) == layout(own(given))
            if weight is torch.contiguous_format and x.ndim in LAST:
                kept = LAST[x.ndim] if given is last else weight
                assert made.is_contiguous(memory_format=kept)


def runs_on_meta(model, x):
    twin = copy.deepcopy(model).to("meta")
    made = numbers(twin, twin.parameters(), x.to("meta"))
    assert all(each.is_meta for each in made)
    assert [*map(layout, made[:2])] == [*map(layout, expected_numbers(model, x)[:2])]


def runs_on_fakes(model, x):
    mode = FakeTensorMode()
    with FakeCopyMode(mode):
        twin = copy.deepcopy(model)
    with mode:
        made = numbers(twin, twin.parameters(), mode.from_tensor(x))
    assert [*map(layout, made[:2])] == [*map(layout, expected_numbers(model, x)[:2])]


# Functions of torch.func, and derivatives.


def loss(made):
    return (made**3).mean() + made.square().mean()


def calls_functionally(model, x):
    state = other_state(model)
    near(call(model)(state, x), standard(model)(state, x))


def maps_over_inputs(model, x):
    inputs = torch.stack([x, x.flip(0), 2 * x])
    near(vmap(model)(inputs), torch.stack([expected(model, each) for each in inputs]))


def maps_over_models(model, x):
    twins = [copy.deepcopy(model) for _ in range(3)]
    for seed, twin in enumerate(twins):
        twin.load_state_dict(other_state(model, seed))
    stacked, _ = stack_module_state(twins)
    made = vmap(call(model), in_dims=(0, None))(stacked, x)
    near(made, torch.stack([expected(twin, x) for twin in twins]))


def differentiates_samples(model, x):
    def gradients(run):
        return lambda one: grad(lambda state: loss(run(state, one[None])))(state_of(model))

    each = [gradients(standard(model))(one) for one in x]
    stacked = {name: torch.stack([one[name] for one in each]) for name in each[0]}
    near(vmap(gradients(call(model)))(x), stacked)


def differentiates_forward(model, x):
    at, along = (state_of(model), x), (other_state(model), torch.ones_like(x))
    near(jvp(call(model), at, along), jvp(standard(model), at, along))


def differentiates_twice(model, x):
    def product(run):
        gradients = grad(lambda state, x: loss(run(state, x)), argnums=(0, 1))
        return jvp(gradients, (state_of(model), x), (other_state(model), torch.ones_like(x)))

    near(product(call(model)), product(standard(model)))


def has_jacobians(model, x):
    """Whole Jacobians of a corner of the input, for the last parameter."""
    state, x = state_of(model), x[(slice(1), slice(None), *(slice(4),) * (x.ndim - 2))]
    name = [*state][-1]
    for transform in (jacfwd, jacrev, hessian):
        end = loss if transform is hessian else torch.sin
        made, wanted = (
            transform(lambda value, run=run, end=end: end(run({**state, name: value}, x)))(
                state[name]
            )
            for run in (call(model), standard(model))
        )
        near(made, wanted)


def passes(model, x, *, check, **options):
    """Run one of ``torch.autograd``'s own checks, for the input and every parameter."""
    twin, x = copy.deepcopy(model).double(), x.double().requires_grad_()

    def run(x, *values):
        return call(twin)(dict(zip(state_of(twin), values, strict=True)), x)

    agrees(twin, twin, x)
    inputs = (x, *twin.parameters())
    assert check(run, inputs, check_batched_grad=True, fast_mode=True, **options)
