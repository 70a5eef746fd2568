"""The guarantee from its definition: what a layer makes of polynomials, after training too."""

import copy
import io
import math
import pickle
from itertools import product

import pytest
import torch
from support.oracle import AUTO, CONV, PLAIN, artifacts_allowed, search
from torch import nn

import autoup
from autoup import AutoConvTranspose2d, InfeasibleError, phase_spread, solve
from autoup.layers import base, smoothness
from autoup.layers.dispatch import conv_transpose
from autoup.layers.smoothness import make_projectors, matches, project
from autoup.solving.sizes import free_taps, least_kernel

DOUBLE = {"dtype": torch.float64}
CASES = [
    (dims, s, k, m)
    for dims, s, m in product((1, 2, 3), (2, 3, 4, 5), (1, 2))
    for k in range(1 + m * (s - 1), 4 * s + 1)
    if k**dims <= 700
]


def build(dims, strides, kernels, smoothness, in_size=9, **options):
    """Pin kernel and stride: whatever they are, the sizes meet."""
    out_size = [s * (in_size - 1) + k for s, k in zip(strides, kernels, strict=True)]
    with artifacts_allowed():
        return AUTO[dims](
            options.pop("in_channels", 2),
            options.pop("out_channels", 2),
            (in_size,) * dims,
            out_size,
            kernel_size=kernels,
            stride=strides,
            smoothness=smoothness,
            **options,
        )


def constraints(k, s, m):
    """Return the rows that a kernel of one axis must be orthogonal to, from the definition.

    Row (phase r, power n): what the phase makes of the input n -> j**n for n < m, less what a
    polynomial through phase 0 makes of it; a kernel holds the promise if its output on j**n is one
    polynomial at all phases. Tap t puts input j at s*j + t; output y gets the taps t = y mod s.
    """
    rows = []
    far = 4 * k  # Far enough inside for every tap to have an input pixel.
    for n in range(m):
        # m + s values in a row fix that the output is a polynomial of degree n: its (n + 1)-th
        # difference vanishes at s neighbouring places.
        outputs = torch.zeros(s + n + 1, k, dtype=torch.float64)
        for place in range(s + n + 1):
            y = far * s + place
            for t in range(k):
                if (y - t) % s == 0:
                    outputs[place, t] = float(((y - t) // s - far) ** n)
        for _ in range(n + 1):
            outputs = outputs.diff(dim=0)
        rows.append(outputs)
    return torch.cat(rows)


@pytest.mark.parametrize(("s", "m"), list(product((2, 3, 4, 5), (1, 2))))
def test_the_projector_is_idempotent_and_of_the_largest_rank(s, m):
    for k in range(1 + m * (s - 1), 4 * s + 1):
        (projector,) = make_projectors((k,), (s,), m, torch.empty(1, **DOUBLE))
        assert (projector @ projector - projector).abs().max() < 1e-13
        assert (projector - projector.mT).abs().max() < 1e-15
        required = constraints(k, s, m)
        free = k - int(torch.linalg.matrix_rank(required))
        assert free == k - m * (s - 1)
        assert torch.linalg.matrix_rank(projector) == free
        assert (required @ projector).abs().max() < 1e-10


def nearest(kernels, strides, m):
    """Return the projector onto the kernels whose transform vanishes to order m at the grid
    frequencies, and how many taps it leaves free; from that definition, by eigenvectors."""
    places = torch.meshgrid(*(torch.arange(k, **DOUBLE) for k in kernels), indexing="ij")
    rows = []
    for point in product(*map(range, strides)):
        turns = sum(n / s * place for n, s, place in zip(point, strides, places, strict=True))
        for powers in product(range(m), repeat=len(kernels)):
            if any(point) and sum(powers) < m:
                grown = math.prod(place**n for place, n in zip(places, powers, strict=True))
                rows += [(grown * f(2 * math.pi * turns)).flatten() for f in (torch.cos, torch.sin)]
    values, vectors = torch.linalg.eigh(sum((row.outer(row) for row in rows), torch.zeros(())))
    free = vectors[:, values < 1e-9 * values.max()]
    return free @ free.mT, free.shape[1]


@pytest.mark.parametrize(
    ("dims", "s", "k", "m", "free"),
    [(2, 2, 4, 1, 13), (2, 2, 4, 2, 7), (2, 2, 3, 1, 6), (2, 2, 6, 1, 33), (2, 3, 6, 1, 28),
     (3, 2, 4, 1, 57), (3, 2, 4, 2, 36), (1, 2, 4, 1, 3), (1, 2, 4, 2, 2), (2, 2, 2, 1, 1)],
)  # fmt: skip
def test_as_many_taps_stay_free_as_can(dims, s, k, m, free):
    kernels, strides = (k,) * dims, (s,) * dims
    (projector,) = make_projectors(kernels, strides, m, torch.empty(1, **DOUBLE))
    assert torch.linalg.matrix_rank(projector) == free == free_taps(kernels, strides, m)


@pytest.mark.parametrize("largest", [256, 0], ids=["matrix", "closed form"])
@pytest.mark.parametrize("m", [1, 2])
@pytest.mark.parametrize(
    "strides", [(2,), (5,), (2, 2), (3, 2), (1, 2), (4, 3), (2, 2, 2), (2, 1, 3), (3, 2, 2)]
)
def test_the_projection_is_the_nearest_kernel_from_the_definition(strides, m, largest, monkeypatch):
    monkeypatch.setattr(smoothness, "_LARGEST", largest)
    for more in product((0, 1, 2), repeat=len(strides)):
        kernels = tuple(least_kernel(s, m) + n for s, n in zip(strides, more, strict=True))
        wanted, free = nearest(kernels, strides, m)
        assert free == free_taps(kernels, strides, m)
        weight = torch.randn(2, 3, *kernels, **DOUBLE)
        made = project(weight, kernels, make_projectors(kernels, strides, m, weight))
        assert torch.allclose(made.flatten(2), weight.flatten(2) @ wanted, rtol=0, atol=1e-11)


@pytest.mark.parametrize("m", [1, 2])
def test_kernels_of_many_taps_are_projected_without_a_matrix(m):
    for kernels, strides in (((600,), (256,)), ((20, 31), (7, 8)), ((9, 8, 7), (4, 3, 2))):
        weight = torch.randn(2, 2, *kernels, **DOUBLE)
        constants = make_projectors(kernels, strides, m, weight)
        taps = math.prod(kernels)
        assert sum(each.numel() for each in constants) < 40 * taps < taps**2
        made = project(weight, kernels, constants)
        assert torch.allclose(project(made, kernels, constants), made, rtol=0, atol=1e-12)
        powers = [torch.ones(kernels, **DOUBLE)]
        if m == 2:
            ranges = (torch.arange(k, **DOUBLE) / k for k in kernels)
            powers += torch.meshgrid(*ranges, indexing="ij")
        for each in powers:
            moments = []
            for point in product(*map(range, strides)):
                phase = tuple(slice(r, None, s) for r, s in zip(point, strides, strict=True))
                moments.append((made * each)[..., *phase].flatten(2).sum(2))
            assert torch.stack(moments).var(0).max() < 1e-20
            assert moments[0].abs().max() > 1e-3


@pytest.mark.parametrize(("dims", "s", "k", "m"), CASES)
def test_polynomials_below_the_order_have_no_grid_inside(dims, s, k, m):
    torch.manual_seed(0)
    size = 2 * (-(-k // s)) + 4
    layer = build(dims, (s,) * dims, (k,) * dims, m, size, init="torch", in_channels=1,
                  out_channels=1, **DOUBLE)  # fmt: skip
    x = torch.ones((size,) * dims, **DOUBLE)
    if m == 2:  # A ramp, in any direction.
        ranges = torch.meshgrid(*([torch.arange(size, **DOUBLE)] * dims), indexing="ij")
        x += sum(slope * each for slope, each in zip((0.7, -0.4, 0.9), ranges, strict=False))
    made = layer(x[None, None])[0, 0].detach()
    inside = made[(slice(k, s * (size - 1)),) * dims]  # Where every tap has an input pixel.
    assert inside.abs().max() > 1e-3
    for axis in range(dims):
        difference = inside.diff(dim=axis)
        slope = difference.mean() if m == 2 else 0
        assert (difference - slope).abs().max() <= 1e-11 * size


@pytest.mark.parametrize(
    ("strides", "kernels", "dilations"),
    [((2,), (4,), (3,)), ((3,), (5,), (2,)), ((2, 3), (4, 6), (3, 2)), ((2, 5), (3, 9), (1, 3))],
)
@pytest.mark.parametrize("m", [1, 2])
def test_dilation_that_shares_no_factor_with_the_stride_keeps_it(strides, kernels, dilations, m):
    dims, size = len(strides), 24
    out_size = [
        s * (size - 1) + d * (k - 1) + 1
        for s, k, d in zip(strides, kernels, dilations, strict=True)
    ]
    options = {"kernel_size": kernels, "stride": strides, "dilation": dilations, "init": "torch"}
    with artifacts_allowed():
        layer = AUTO[dims](1, 1, size, out_size, smoothness=m, **options, **DOUBLE)
    axes = torch.meshgrid(*([torch.arange(size, **DOUBLE)] * dims), indexing="ij")
    x = sum(slope * axis for slope, axis in zip((0.7, -0.4), axes, strict=False)) * (m == 2) + 1
    made = layer(x.expand(1, 1, *(size,) * dims))[0, 0].detach()
    inside = made[tuple(slice(o // 3, -o // 3) for o in out_size)]
    assert min(inside.shape) > 2 * max(strides)
    assert inside.abs().max() > 1e-3
    for axis in range(dims):
        difference = inside.diff(dim=axis)
        assert (difference - (difference.mean() if m == 2 else 0)).abs().max() <= 1e-10


@pytest.mark.slow
@pytest.mark.parametrize("dims", [1, 2, 3])
@pytest.mark.parametrize("m", [1, 2])
@pytest.mark.parametrize(("dtype", "bound"), [(torch.float32, 5e-5), (torch.float64, 1e-12)])
@pytest.mark.parametrize("init", ["torch", "phase_equal", "damped"])
def test_the_promise_holds_after_training_on_noise(dims, m, dtype, bound, init):
    for n, (strides, extra) in enumerate(
        product([(2, 2, 2), (3, 2, 4), (5, 3, 2), (4, 5, 3)], (0, 1))
    ):
        torch.manual_seed(n)
        strides = strides[:dims]
        kernels = tuple(m * (s - 1) + 2 + extra for s in strides)
        layer = build(dims, strides, kernels, m, 4, in_channels=4, out_channels=2, groups=1 + n % 2,
                      init=init, dtype=dtype)  # fmt: skip
        optimiser = torch.optim.Adam(layer.parameters(), 0.01, weight_decay=1e-2 * (n % 3))
        for _ in range(200 if math.prod(kernels) < 200 else 20):
            x = torch.randn(2, 4, *layer.in_size, dtype=dtype)
            loss = (layer(x) - torch.randn(2, 2, *layer.out_size, dtype=dtype)).square().mean()
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
        assert phase_spread(layer) <= bound
        if dtype == torch.float64:  # On ramps too, where m = 2 promises them.
            kernel = layer.to_plain().weight.detach()
            kept = kernel.flatten(2) @ nearest(kernels, strides, m)[0]
            assert torch.allclose(kept.view_as(kernel), kernel, rtol=0, atol=1e-11)
        plain = PLAIN[dims](4, 2, kernels, strides, groups=1 + n % 2, dtype=dtype)
        plain.load_state_dict(layer.state_dict())
        assert phase_spread(plain) > 1e-3, "the weight itself is free, so the projection did it"


@pytest.mark.parametrize("dims", [1, 2, 3])
def test_every_phase_equal_layer_starts_equal(dims):
    for s, extra, m in product((2, 3, 4, 5), (0, 1, 3), (0, 1, 2)):
        k = max(s, 2 + m * (s - 1)) + extra
        options = {"in_channels": 4, "init": "phase_equal"}
        layer = build(dims, (s,) * dims, (k,) * dims, m, 3, **options)
        assert phase_spread(layer) <= 1e-5


@pytest.mark.parametrize("m", [1, 2])
def test_the_start_keeps_the_variance(m):
    torch.manual_seed(0)
    layer = AutoConvTranspose2d(256, 64, 12, 24, smoothness=m, init="lecun_uniform")
    inside = layer(torch.randn(4, 256, 12, 12)).detach()[..., 4:-4, 4:-4]
    assert float(inside.std()) == pytest.approx(1, abs=0.15)


@pytest.mark.parametrize("dims", [1, 2, 3])
@pytest.mark.parametrize("m", [1, 2])
def test_baked_layer_is_the_same_function_and_plain(dims, m):
    layer = AUTO[dims](4, 2, 5, 10, smoothness=m, groups=2, init="torch", **DOUBLE)
    plain, x = layer.to_plain(), torch.randn(2, 4, *(5,) * dims, **DOUBLE)
    assert type(plain) is PLAIN[dims]
    assert torch.equal(plain(x), layer(x))
    assert phase_spread(plain) <= 1e-12
    assert not torch.equal(plain.weight, layer.weight)
    assert torch.equal(layer(x, output_size=(11,) * dims), plain(x, output_size=(11,) * dims))
    whole = (2, 2, *(11,) * dims)
    assert torch.equal(layer(x, output_size=whole), plain(x, output_size=whole))
    assert torch.equal(layer(x[0], output_size=whole[1:]), plain(x[0], output_size=whole[1:]))
    for wrong in ((12,) * dims, (9,) * dims):
        with pytest.raises(
            ValueError, match=f"{wrong[0]} .* input of 5: this layer makes 10 to 11"
        ):
            layer(x, output_size=wrong)
        with pytest.raises(ValueError, match="output size"):
            plain(x, output_size=wrong)
    with pytest.raises(ValueError, match="output_size must have"):
        layer(x, output_size=(1,) * (dims + 1))


def test_gradients_are_those_of_the_written_out_projection():
    layer = AutoConvTranspose2d(2, 3, 4, 8, smoothness=1, init="torch", **DOUBLE)
    x = torch.randn(1, 2, 4, 4, requires_grad=True, **DOUBLE)
    assert torch.autograd.gradcheck(layer, (x,))
    sums = layer.weight.unfold(2, 2, 2).unfold(3, 2, 2).sum((2, 3))  # Of every phase: 4 taps.
    excess = (sums - sums.mean((2, 3), keepdim=True)) / 4
    kernel = layer.weight - excess.repeat(1, 1, 2, 2)
    expected = nn.functional.conv_transpose2d(x, kernel, layer.bias, 2, 1)
    assert torch.allclose(layer(x), expected, atol=1e-13)
    ours = torch.autograd.grad(layer(x).square().sum(), [x, *layer.parameters()])
    theirs = torch.autograd.grad(expected.square().sum(), [x, *layer.parameters()])
    assert all(torch.allclose(a, b, atol=1e-11) for a, b in zip(ours, theirs, strict=True))


@pytest.mark.parametrize("m", [1, 2])
def test_state_dict_repr_and_parameters_are_the_plain_layers(m):
    layer = AutoConvTranspose2d(4, 2, 5, 10, smoothness=m)
    plain = nn.ConvTranspose2d(4, 2, 4, 2, 1)
    assert {n: p.shape for n, p in layer.state_dict().items()} == {
        n: p.shape for n, p in plain.state_dict().items()
    }
    assert [n for n, _ in layer.named_parameters()] == ["weight", "bias"]
    assert not list(layer.named_buffers())
    assert not list(layer.children())
    layer.load_state_dict(plain.state_dict())
    plain.load_state_dict(layer.state_dict())
    assert f"smoothness={m}" in repr(layer)
    assert "smoothness" not in repr(AutoConvTranspose2d(4, 2, 5, 10))


def test_travels_between_dtypes_and_devices_without_loss():
    layer = AutoConvTranspose2d(4, 2, 6, 18, smoothness=2, init="torch")
    assert phase_spread(layer.half().double()) <= 1e-12
    there = AutoConvTranspose2d(4, 2, 6, 18, smoothness=2, device="meta")
    there.to_empty(device="cpu").reset_parameters()
    assert phase_spread(there) <= 1e-6
    empty = AutoConvTranspose2d(4, 2, 6, 18, smoothness=2, device="meta")
    empty.load_state_dict(layer.float().state_dict(), assign=True)
    x = torch.randn(1, 4, 6, 6)
    assert torch.allclose(empty(x), layer(x), atol=1e-6)


def test_survives_deepcopy_pickle_and_torch_save():
    layer = AutoConvTranspose2d(4, 2, 5, 10, smoothness=1, init="torch")
    x, file = torch.randn(1, 4, 5, 5), io.BytesIO()
    torch.save(layer, file)
    file.seek(0)
    copies = copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))
    for twin in (*copies, torch.load(file, weights_only=False)):
        assert torch.equal(twin(x), layer(x))
        with torch.no_grad():
            twin.weight.mul_(2)
        assert not torch.equal(twin(x), layer(x))
        assert phase_spread(twin) <= 1e-6


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_projects_in_the_precision_of_the_parameter(dtype, monkeypatch):
    layer = AutoConvTranspose2d(8, 4, 6, 12, smoothness=1, init="torch")
    x = torch.randn(2, 8, 6, 6)
    seen = []

    def convolve(x, weight, *rest):
        seen.append(weight)
        return conv_transpose(x, weight, *rest)

    monkeypatch.setattr(base, "conv_transpose", convolve)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        layer(x)
    assert seen[0].dtype == torch.float32
    assert torch.equal(seen[0], layer.to_plain().weight)
    assert layer.to(dtype)(x.to(dtype)).dtype == dtype
    assert phase_spread(layer) < 0.05


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_weights_are_projected_in_single_precision(dtype):
    layer = AutoConvTranspose2d(4, 2, 8, 24, smoothness=1, init="torch", dtype=dtype)
    exact = AutoConvTranspose2d(4, 2, 8, 24, smoothness=1)
    exact.load_state_dict(layer.state_dict())
    assert torch.equal(layer.to_plain().weight, exact.to_plain().weight.to(dtype))


def test_projectors_follow_the_parameters_once_and_not_at_every_step():
    layer = AutoConvTranspose2d(4, 2, 8, 16, smoothness=1).double()
    assert matches(layer._projectors, layer.weight)


def test_complex_layers_hold_it_too():
    layer = AutoConvTranspose2d(2, 2, 5, 10, smoothness=1, dtype=torch.complex64)
    assert phase_spread(layer) <= 1e-6
    assert layer(torch.randn(1, 2, 5, 5, dtype=torch.complex64)).dtype == torch.complex64


@pytest.mark.slow
def test_compiles_and_exports():
    layer = AutoConvTranspose2d(4, 2, 5, 10, smoothness=1, init="torch")
    x = torch.randn(2, 4, 5, 5)
    exported = torch.export.export(layer, (x,))
    assert torch.allclose(exported.module()(x), layer(x), atol=1e-6)
    assert list(exported.state_dict) == ["weight", "bias"]
    compiled = torch.compile(layer, fullgraph=True, backend="aot_eager")
    assert torch.allclose(compiled(x), layer(x), atol=1e-6)


@pytest.mark.parametrize("m", [1, 2])
@pytest.mark.parametrize(
    ("dims", "kernel", "stride"), [(1, 5, 2), (2, 4, 2), (2, 19, 5), (3, 5, 2)]
)
def test_is_traced_by_symbols(dims, kernel, stride, m):
    layer = build(dims, (stride,) * dims, (kernel,) * dims, m, 4, init="torch", **DOUBLE)
    traced = torch.fx.symbolic_trace(nn.Sequential(layer))
    with torch.no_grad():
        layer.weight.mul_(-2)  # What was traced follows the parameter.
    x = torch.randn(2, 2, *(4,) * dims, **DOUBLE)
    assert torch.allclose(traced(x), layer(x), rtol=0, atol=1e-12)


@pytest.mark.filterwarnings("ignore:.*torch.jit")
def test_scripts_as_the_baked_layer():
    layer = AutoConvTranspose2d(4, 2, 5, 10, smoothness=1, init="torch")
    x = torch.randn(2, 4, 5, 5)
    assert torch.equal(torch.jit.script(layer)(x), layer(x))


def test_works_under_vmap():
    layer = AutoConvTranspose2d(4, 2, 5, 10, smoothness=1)
    x, weights = torch.randn(2, 4, 5, 5), torch.stack([layer.weight, 2 * layer.weight]).detach()

    def apply(weight):
        state = {"weight": weight, "bias": layer.bias.detach()}
        return torch.func.functional_call(layer, state, (x,))

    assert torch.allclose(torch.vmap(apply)(weights)[0], layer(x), atol=1e-6)


def test_the_solver_leaves_two_free_taps_and_keeps_the_order():
    for i, o, m in product(range(1, 9), range(1, 25), (1, 2)):
        if o < i:
            continue
        strides = {s: abs(s * i - o) for s in range(1, o + 2)}
        best = [s for s in strides if strides[s] == min(strides.values())]
        rows = [
            row
            for s in best
            for row in search(i, o, range(2 + m * (s - 1), 8 * s + 12), [s], 1)
        ]  # fmt: skip
        found = solve(i, o, smoothness=m)
        assert found.kernel_size >= 2 + m * (found.stride - 1)
        least, _, a, k, p, s = min(rows)
        expected = (least, a, k, p, s)
        assert expected == (
            found.uncovered, found.output_padding, found.kernel_size, found.padding, found.stride
        )  # fmt: skip
        assert found.even == (min(rows)[1] == 0)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: solve(7, 14, kernel_size=2, smoothness=2), "3 taps or more at stride=2"),
        (lambda: solve(7, 14, kernel_size=2, smoothness=2), r"kernel_size=4 \(stride=2\)|=3"),
        (lambda: solve(7, 21, kernel_size=3, smoothness=2), "smoothness=1; or leave"),
        (lambda: solve(7, 14, stride=2, dilation=2, smoothness=1), "share the factor 2"),
        (
            lambda: AutoConvTranspose2d(4, 2, 7, 14, kernel_size=(4, 1), smoothness=1),
            "width: 7 -> 14 with kernel_size=1 cannot have smoothness=1",
        ),
        (
            lambda: AutoConvTranspose2d.mirror(
                nn.Conv2d(2, 4, 1, 2), 14, adjoint=True, smoothness=1
            ),
            "height: the adjoint of kernel_size=1, stride=2, dilation=1 cannot have smoothness=1",
        ),
    ],
)
def test_a_kernel_too_small_for_the_order_is_refused(call, words):
    with pytest.raises(InfeasibleError, match=words):
        call()


def test_what_the_message_names_does_work():
    for i, o, k, m in product((3, 7), (14, 21), (1, 2, 3), (1, 2)):
        try:
            solve(i, o, kernel_size=k, smoothness=m)
        except InfeasibleError as error:
            text = str(error).rsplit("nearest", 1)[1]
            kernel = int(text.split("kernel_size=")[1].split()[0])
            assert solve(i, o, kernel_size=kernel, smoothness=m).kernel_size == kernel


def test_odd_kernels_with_output_padding_keep_the_promise_and_warn():
    with pytest.warns(autoup.ArtifactWarning, match="smoothness=1 hides in flat regions"):
        layer = AutoConvTranspose2d(4, 2, 7, 14, kernel_size=3, smoothness=1, init="torch")
    assert layer.output_padding == (1, 1)
    assert phase_spread(layer) <= 1e-6


@pytest.mark.parametrize("dims", [1, 2, 3])
def test_mirrors_take_it(dims):
    conv = CONV[dims](2, 4, 3, 2, 1)
    layer = AUTO[dims].mirror(conv, 14, smoothness=1)
    assert layer.kernel_size == (4,) * dims
    assert layer(conv(torch.zeros(1, 2, *(14,) * dims))).shape == (1, 2, *(14,) * dims)
    assert phase_spread(layer) <= 1e-6
    kept = AUTO[dims].mirror(CONV[dims](2, 4, 3, 1, 1), 14, smoothness=2)
    assert kept.kernel_size == (3,) * dims
    with artifacts_allowed():
        tied = AUTO[dims].mirror(conv, 14, smoothness=1, adjoint=True, tied=True)
    assert tied.weight is conv.weight
    assert phase_spread(tied) <= 1e-6


@pytest.mark.parametrize("m", [1, 2])
def test_a_layer_that_does_not_enlarge_uses_its_weight_as_it_is(m):
    layer = AutoConvTranspose2d.mirror(nn.Conv2d(2, 4, 3, 1, 1), 14, smoothness=m)
    seen = []
    layer.weight.register_hook(seen.append)
    layer(torch.randn(1, 4, 14, 14)).sum().backward()
    assert layer._kernel() is layer.weight
    assert torch.equal(layer.to_plain().weight, layer.weight)
    assert len(seen) == 1


@pytest.mark.parametrize("m", [1, 2])
def test_whole_decoders_take_it(m):
    encoder = nn.Sequential(
        nn.Conv2d(3, 8, 3, 2, 1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(8, 16, 5, 3, 2)
    )
    decoder = autoup.mirror_decoder(encoder, (1, 3, 48, 48), smoothness=m)
    layers = [each for each in decoder.modules() if isinstance(each, nn.ConvTranspose2d)]
    assert len(layers) == 3
    assert all(each.smoothness == m and phase_spread(each) <= 1e-6 for each in layers)
    pooled = layers[1].to_plain()
    with torch.no_grad():
        made = pooled(torch.ones(1, 8, 12, 12))[..., 4:-4, 4:-4]
    assert torch.allclose(made, torch.ones(()), atol=1e-6), "pooling is undone at level 1"
    made = decoder(torch.full((1, 16, 12, 12), 2.0)).detach()
    inside = made[..., 48:-48, 48:-48]
    assert torch.allclose(inside, inside[..., :1, :1], atol=1e-5)
