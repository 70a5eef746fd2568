"""What other versions of PyTorch do otherwise is done here on purpose, on the one that runs."""

import operator

import pytest
import torch
from torch import nn

import autoup
from autoup import versions
from autoup.capturing.capture import capture
from autoup.capturing.operators import argument, arguments_of
from autoup.decoding import runs
from autoup.decoding.known import _WITH_SETTINGS
from autoup.decoding.runs import is_pointwise
from autoup.internals import MISSING, parameters_of

ATEN = torch.ops.aten


def graph_of(function, *args):
    graph = torch.fx.Graph()
    return graph.call_function(function, (graph.placeholder("x"), *args))


@pytest.fixture
def without_is_exporting(monkeypatch):
    """2.6."""
    monkeypatch.setattr(versions, "_TELLS", torch.compiler.is_compiling)


@pytest.mark.parametrize("strict", [False, True])
@pytest.mark.parametrize("old", [False, True])
def test_a_large_layer_is_exported_as_the_plain_one(monkeypatch, old, strict):
    if old:
        monkeypatch.setattr(versions, "_TELLS", torch.compiler.is_compiling)
    layer = autoup.AutoConvTranspose2d(16, 1, 128, 256)
    batch = torch.export.Dim("batch", min=1, max=9)
    x = torch.randn(2, 16, 128, 128)
    assert layer(x).grad_fn.name() != layer.to_plain()(x).grad_fn.name()
    program = torch.export.export(layer, (x,), dynamic_shapes=({0: batch},), strict=strict)
    called = [node.target for node in program.graph.nodes if node.op == "call_function"]
    assert called == [ATEN.conv_transpose2d.input]
    x = torch.randn(3, 16, 128, 128)
    torch.testing.assert_close(program.module()(x), layer.to_plain()(x))


@pytest.mark.usefixtures("without_is_exporting")
def test_what_is_compiled_without_a_word_of_exports_is_the_plain_call():
    layer = autoup.AutoConvTranspose2d(16, 1, 128, 256)
    seen = []

    def look(module, _):
        seen.extend(node.target for node in module.graph.nodes if node.op == "call_function")
        return module.forward

    torch._dynamo.reset()
    x = torch.randn(1, 16, 128, 128)
    torch.testing.assert_close(torch.compile(layer, backend=look, fullgraph=True)(x), layer(x))
    assert [each.__name__ for each in seen] == ["conv_transpose2d"]


def test_no_autocast_acts_where_there_is_none(monkeypatch):
    def refuse(kind):
        raise RuntimeError(f"unknown device type for autocast: {kind}")

    assert not versions.is_autocast_enabled("meta")
    with torch.autocast("cpu", torch.bfloat16):
        assert versions.is_autocast_enabled("cpu")
    monkeypatch.setattr(torch, "is_autocast_enabled", refuse)
    assert not versions.is_autocast_enabled("mps")


@pytest.mark.parametrize("device", ["cpu", "meta"])
@pytest.mark.parametrize("autocast", [False, True])
def test_smooth_layers_compile_into_one_graph(device, autocast):
    layer = autoup.AutoConvTranspose2d(3, 2, 5, 10, smoothness=1, device=device)
    x = torch.randn(2, 3, 5, 5, device=device)
    torch._dynamo.reset()
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        made = torch.compile(layer, backend="eager", fullgraph=True)(x)
        wanted = layer(x)
    assert (made.shape, made.dtype) == (wanted.shape, wanted.dtype)
    if device == "cpu":
        torch.testing.assert_close(made, wanted, atol=0, rtol=0)


@pytest.mark.slow
def test_a_unet_compiles_for_sizes_of_a_kind_where_conditions_are_guards(monkeypatch):
    """Up to 2.7."""
    monkeypatch.setattr(versions, "_ALWAYS_GUARDS", True)
    encoder = nn.Sequential(nn.Conv2d(1, 4, 3, 2, 1), nn.SiLU(), nn.Conv2d(4, 6, 3, 2, 1))
    net, graphs = autoup.unet(encoder, (1, 1, 16, 16), 2), []

    def backend(graph, _):
        graphs.append(graph)
        return graph.forward

    torch._dynamo.reset()
    run = torch.compile(net, backend=backend, fullgraph=True, dynamic=True)
    for size, compiled in (((16, 20), 1), ((32, 24), 1), ((17, 11), 2)):
        x = torch.randn(2, 1, *size)
        torch.testing.assert_close(run(x), net(x))
        assert len(graphs) == compiled
    for graph in graphs:  # Where a map is known to fit, its pixels are not fetched one by one.
        assert not [node for node in graph.graph.nodes if "index_select" in node.name]


def test_a_condition_that_cannot_be_asked_is_what_it_is(monkeypatch):
    monkeypatch.delattr(torch.fx.experimental.symbolic_shapes, "statically_known_true")
    assert versions.is_known(2 == 2)
    assert not versions.is_known(2 == 3)


def test_slices_that_leave_nothing_out_go():
    """2.6 writes ``x[:, :4]`` as two slices."""
    graph = torch.fx.Graph()
    x = graph.placeholder("x")
    x.meta["val"] = torch.zeros(2, 8)
    parts = []
    for first, last in ((0, 4), (4, 8)):
        whole = graph.call_function(ATEN.slice.Tensor, (x, 0, 0, 2**63 - 1))
        whole.meta["val"] = torch.zeros(2, 8)
        part = graph.call_function(ATEN.slice.Tensor, (whole, 1, first, last))
        part.meta["val"] = torch.zeros(2, 4)
        parts.append(part)
    versions.drop_whole_slices(graph)
    assert list(graph.nodes) == [x, *parts]
    assert [part.args[0] for part in parts] == [x, x]


class Gate(nn.Module):
    def forward(self, x):
        return x[:, :4] * x[:, 4:].sin()


def test_a_captured_gate_reads_the_map_itself():
    program = capture(nn.Sequential(nn.Conv2d(1, 8, 3), Gate()), (1, 1, 9, 9), None)
    slices = [node for node in program.graph.nodes if node.target is ATEN.slice.Tensor]
    assert [node.args[0].name for node in slices] == ["conv2d", "conv2d"]


@pytest.mark.parametrize("name", sorted(versions.UNTAGGED))
def test_operators_without_a_tag_are_pointwise_in_place_too(monkeypatch, name):
    monkeypatch.setattr(runs, "tags_of", lambda _: ())
    for each in (name, f"{name}_"):
        if each in dir(ATEN):
            operation = getattr(ATEN, each)
            assert is_pointwise(graph_of(getattr(operation, operation.overloads()[0])))


def test_arguments_that_a_graph_leaves_out_are_the_operators_own():
    """Up to 2.9 graphs leave defaults out, later ones hold them."""
    node = graph_of(ATEN.layer_norm.default, [4])
    assert argument(node, 4, "eps", None) == 1e-5
    assert arguments_of(node)["eps"] == 1e-5
    assert argument(graph_of(ATEN.leaky_relu.default), 1, "negative_slope", None) == 0.01
    assert argument(graph_of(ATEN.leaky_relu.default, 0.3), 1, "negative_slope", None) == 0.3
    assert argument(graph_of(operator.getitem), 1, "dim", "none") == "none"


@pytest.mark.parametrize("name", sorted(_WITH_SETTINGS))
def test_settings_of_activations_are_those_of_the_operator_in_its_order(name):
    packet = getattr(ATEN, name)
    known = parameters_of(getattr(packet, packet.overloads()[0]))
    for place, (setting, default) in enumerate(_WITH_SETTINGS[name][1].items(), 1):
        assert [*known].index(setting) == place
        assert known[setting] is MISSING or known[setting] == default


@pytest.mark.parametrize("eps", [1e-5, 1e-3])
def test_a_layer_norm_is_mirrored_whatever_the_graph_holds(eps):
    encoder = nn.Sequential(
        nn.Conv2d(1, 4, 3, 2, 1), nn.LayerNorm((4, 4), eps=eps), nn.ReLU(), nn.Conv2d(4, 4, 3, 2, 1)
    )
    decoder = autoup.mirror_decoder(encoder, (1, 1, 8, 8))
    assert [each.eps for each in decoder.modules() if hasattr(each, "eps")] == [eps]
