import copy
import io
import warnings

import numpy as np
import onnxruntime
import pytest
import torch
import torchinfo
from torch import nn
from torch.export import Dim

import autoup
from autoup import ArtifactWarning, InfeasibleError, decoder, ladder, phase_spread


def ups(net):
    return [each for name, each in net.named_children() if name.startswith("up")]


@pytest.mark.parametrize(("in_size", "out_size", "options"), [
    (7, 28, {}),
    ((7, 6), (218, 178), {}),
    ((4, 16), (80, 1000), {}),
    ((25,), (6400,), {"stride": 8}),
    ((3, 4, 4), (9, 57, 61), {}),
    ((7, 7), (217, 113), {"smoothness": 0}),
    (4, 64, {"kernel_size": 4, "steps": 4}),
    ((4, 16), (80, 1000), {"stride": (2, 4)}),
    (1, 32, {"smoothness": 2}),
])  # fmt: skip
def test_every_axis_climbs_its_ladder_to_exactly_the_size(in_size, out_size, options):
    net = decoder(8, 3, in_size, out_size, padding_mode="zeros", **options)
    layers = ups(net)
    first = in_size if isinstance(in_size, tuple) else (in_size,) * 2
    last = out_size if isinstance(out_size, tuple) else (out_size,) * 2
    assert net(torch.zeros(2, 8, *first)).shape == (2, 3, *last)
    stride = options.get("stride", 2)
    for axis, (i, o) in enumerate(zip(first, last, strict=True)):
        asked = {
            "smoothness": options.get("smoothness", 1),
            "kernel_size": options.get("kernel_size"),
        }
        asked["stride"] = stride[axis] if isinstance(stride, tuple) else stride
        chain = ladder(i, o, steps=len(layers), **asked)
        assert tuple(layer.solutions[axis] for layer in layers) == chain.solutions
        assert chain.artifacts is None


def test_axes_take_as_many_layers_as_the_one_that_needs_most():
    assert len(ups(decoder(64, 1, (4, 16), (80, 1000)))) == 6
    assert len(ladder(4, 80).solutions) == 4
    layers = ups(decoder(64, 1, (4, 16), (80, 1000)))
    assert [layer.stride for layer in layers] == [(1, 2), (1, 2), (2, 2), (2, 2), (2, 2), (2, 2)]


def test_an_int_is_a_square_picture_and_tuples_say_the_dimensions():
    assert isinstance(decoder(8, 1, 7, 28).up1, autoup.AutoConvTranspose2d)
    assert isinstance(decoder(8, 1, (7,), (28,)).up1, autoup.AutoConvTranspose1d)
    assert isinstance(decoder(8, 1, (7, 7, 7), 28).up1, autoup.AutoConvTranspose3d)


def test_channels_halve_down_to_sixteen_or_are_as_told():
    net = decoder(100, 3, 4, 128)
    assert [layer.out_channels for layer in ups(net)] == [50, 25, 16, 16, 3]
    assert [layer.out_channels for layer in ups(decoder(8, 3, 4, 32))] == [8, 8, 3]
    net = decoder(100, 3, 4, 32, widths=(7, 5))
    assert [(layer.in_channels, layer.out_channels) for layer in ups(net)] == [
        (100, 7), (7, 5), (5, 3),
    ]  # fmt: skip


def test_children_have_telling_names():
    net = decoder(32, 1, 7, 28, latent=10, residual=True, output_activation="sigmoid")
    assert [*dict(net.named_children())] == [
        "project", "unflatten", "norm0", "activation0", "pad1", "up1", "norm1", "activation1",
        "residual1", "pad2", "up2", "output_activation",
    ]  # fmt: skip
    bare = decoder(32, 1, 7, 28, norm=None, padding_mode="zeros")
    assert [*dict(bare.named_children())] == ["up1", "activation1", "up2"]


@pytest.mark.parametrize(("norm", "kind"), [
    ("batch", nn.BatchNorm2d), ("group", nn.GroupNorm), ("instance", nn.InstanceNorm2d),
    ("layer", nn.GroupNorm), (None, None),
])  # fmt: skip
def test_norms_are_those_asked_for_and_take_the_place_of_a_bias(norm, kind):
    net = decoder(64, 3, 4, 16, norm=norm, latent=5)
    assert (net.project.bias is None) == (norm is not None)
    assert (net.up1.bias is None) == (norm is not None)
    assert net.up2.bias is not None
    if kind:
        assert type(net.norm1) is kind
    if norm in ("group", "layer"):
        assert net.norm1.num_groups == {"group": 32, "layer": 1}[norm]


def test_activations_are_copies():
    activation = nn.PReLU(init=0.3)
    net = decoder(16, 1, 4, 32, activation=activation, output_activation=nn.Tanh())
    made = [net.activation1, net.activation2]
    assert all(isinstance(each, nn.PReLU) and each is not activation for each in made)
    assert made[0] is not made[1]
    assert isinstance(decoder(16, 1, 4, 16, activation="leaky_relu").activation1, nn.LeakyReLU)


def test_a_residual_block_starts_as_nothing_and_learns():
    torch.manual_seed(0)
    net = decoder(16, 1, 4, 16, residual=True).double()
    x = torch.randn(3, 16, 4, 4, dtype=torch.float64)
    without = nn.Sequential(*(each for name, each in net.named_children() if name != "residual1"))
    assert torch.equal(net(x), without(x))
    net(x).square().sum().backward()
    moved = [each.grad.abs().sum() > 0 for each in net.residual1.parameters()]
    assert any(moved)


def test_every_parameter_learns():
    torch.manual_seed(0)
    net = decoder(16, 2, (3, 4), (13, 17), latent=6, norm="group", activation="silu")
    net(torch.randn(4, 6)).square().sum().backward()
    assert all(each.grad.abs().sum() > 0 for each in net.parameters())


def test_flat_maps_come_out_without_a_grid_unless_it_is_not_asked_for():
    assert all(float(phase_spread(layer)) < 1e-6 for layer in ups(decoder(16, 3, 7, 218)))
    free = decoder(16, 3, 7, 218, smoothness=0, init="torch")
    assert all(float(phase_spread(layer)) > 0.1 for layer in ups(free))


def test_the_last_layer_starts_small_behind_normalisations_alone():
    def last(**options):
        torch.manual_seed(0)
        return decoder(64, 3, 7, 28, **options).up2.weight.std().item()

    assert last() == pytest.approx(last(norm=None) / 10, rel=0.2)
    assert last(init="torch") == pytest.approx(last(init="torch", norm=None), rel=0.2)


def test_device_and_dtype_hold_for_all():
    net = decoder(16, 1, 7, 28, latent=4, residual=True, device="meta", dtype=torch.float64)
    assert {(each.device.type, each.dtype) for each in net.parameters()} == {
        ("meta", torch.float64)
    }


@pytest.mark.parametrize("mode", ["replicate", "reflect", "circular"])
def test_maps_go_on_beyond_their_ends_in_the_mode_asked_for(mode):
    torch.manual_seed(0)
    net = decoder(4, 2, (7, 6), (56, 48), padding_mode=mode, norm=None, residual=True).double()
    options = {"norm": None, "residual": True, "padding_mode": "zeros"}
    plain = decoder(4, 2, (7, 6), (56, 48), **options).double()
    names = ["pad1", "up1", "activation1", "residual1", "pad2", "up2", "activation2"]
    assert [*dict(net.named_children())][:7] == names
    assert net.residual1.branch.conv1.padding_mode == mode
    plain.load_state_dict(net.state_dict())  # The same parameters.
    x = torch.randn(1, 4, 7, 6, dtype=torch.float64)
    inner = net(x)[..., 25:31, 21:27]
    torch.testing.assert_close(inner, plain(x)[..., 25:31, 21:27], rtol=1e-12, atol=1e-12)
    flat = net(torch.ones(1, 4, 7, 6, dtype=torch.float64)).detach().flatten(2)
    assert float((flat.amax(2) - flat.amin(2)).max()) < 1e-12  # Up to the border.
    bounded = plain(torch.ones(1, 4, 7, 6, dtype=torch.float64)).detach().flatten(2)
    assert float((bounded.amax(2) - bounded.amin(2)).max()) > 1e-3


def test_one_warning_tells_of_all_axes_and_layers_stay_silent():
    with warnings.catch_warnings(record=True, action="always") as caught:
        decoder(8, 1, (55, 56), (109, 109), steps=1)
    (told,) = caught
    assert told.category is ArtifactWarning
    assert "height 55 -> 109: Not clean: a stride of 2 makes 109 of 55" in str(told.message)
    assert "width 56 -> 109" in str(told.message)
    assert told.filename == __file__
    with warnings.catch_warnings(action="error"):
        decoder(8, 1, (55, 56), (109, 109), steps=2)


@pytest.mark.parametrize(("arguments", "error", "words"), [
    ({"in_size": (7, 7), "out_size": (28, 28, 28)}, ValueError, "in_size must be an int or have 3"),
    ({"in_size": (1, 2, 3, 4)}, ValueError, "one to 3 entries"),
    ({"in_size": (7, 29)}, ValueError, "width: out_size must not be smaller"),
    ({"in_size": 7.0}, TypeError, "in_size"),
    ({"widths": (8, 8)}, ValueError, "widths must have 1 entry, .* of 2 layers but the last"),
    ({"widths": 8}, TypeError, "widths must be a tuple or list of ints, got 8"),
    ({"widths": (8.5,)}, TypeError, r"widths\[0\] must be an int, got 8.5"),
    ({"latent": 0}, ValueError, "latent must be at least 1, got 0"),
    ({"norm": "batchnorm"}, ValueError, "norm must be one of 'batch', 'group', .* got 'batchnorm'"),
    ({"norm": nn.BatchNorm2d}, TypeError, "norm must be None or one of"),
    ({"activation": "ReLU"}, ValueError, "activation must be one of .* got 'ReLU'"),
    ({"activation": nn.ReLU}, TypeError, "activation must be a name, as 'relu', or a module"),
    ({"output_activation": 3}, TypeError, "output_activation must be a name"),
    ({"residual": 1}, TypeError, "residual must be True or False, got 1"),
    ({"init": "he"}, ValueError, "init must be one of"),
    ({"padding_mode": "same"}, ValueError, "padding_mode must be one of 'zeros', 'replicate'"),
    ({"smoothness": 3}, ValueError, "smoothness must be 0, 1 or 2"),
    ({"steps": 0}, ValueError, "steps must be at least 1, got 0"),
    ({"in_channels": 0}, ValueError, "in_channels must be at least 1, got 0"),
])  # fmt: skip
def test_wrong_arguments_are_named(arguments, error, words):
    given = {"in_channels": 8, "out_channels": 1, "in_size": 7, "out_size": 28} | arguments
    with pytest.raises(error, match=words):
        decoder(**given)


def test_a_kernel_that_does_not_reach_names_the_axis():
    with pytest.raises(InfeasibleError, match="height: 7 -> 100 cannot be reached in 1 step"):
        decoder(8, 1, (7, 50), (100, 100), steps=1, kernel_size=3)


def test_summaries_and_files_hold_it():
    net = decoder(32, 3, 7, 28, latent=10, output_activation="tanh")
    rows = str(torchinfo.summary(net, (2, 10), verbose=0))
    assert rows.count("AutoConvTranspose2d") == 2
    assert "[2, 3, 28, 28]" in rows
    x = torch.randn(2, 10)
    other = decoder(32, 3, 7, 28, latent=10, output_activation="tanh")
    other.load_state_dict(net.state_dict())
    file = io.BytesIO()
    torch.save(net, file)
    file.seek(0)
    for each in (other, copy.deepcopy(net), torch.load(file, weights_only=False)):
        assert torch.equal(each.eval()(x), net.eval()(x))


@pytest.mark.slow
@pytest.mark.together("compiles")
@pytest.mark.filterwarnings("ignore:`torch.jit")
@pytest.mark.parametrize("smoothness", [0, 1])
def test_it_compiles_and_exports_at_any_batch(smoothness):
    torch.manual_seed(0)
    net = decoder(16, 3, (7, 6), (55, 45), latent=8, smoothness=smoothness, residual=True).eval()
    draws = [torch.randn(n, 8) for n in (2, 5)]
    compiled = torch.compile(net, fullgraph=True, backend="aot_eager")
    program = torch.export.export(net, (draws[0],), dynamic_shapes=({0: Dim("n")},))
    with warnings.catch_warnings(action="ignore"):
        exported = torch.onnx.export(
            net, (draws[0],), dynamic_shapes=({0: Dim("n")},), dynamo=True, verbose=False
        )
    session = onnxruntime.InferenceSession(exported.model_proto.SerializeToString())
    for x in draws:
        expected = net(x)
        torch.testing.assert_close(compiled(x), expected, rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(program.module()(x), expected, rtol=1e-5, atol=1e-5)
        (made,) = session.run(None, {session.get_inputs()[0].name: x.numpy()})
        np.testing.assert_allclose(made, expected.detach(), rtol=1e-4, atol=1e-5)
