"""Repair keeps the function, removes what can be removed, and converts checkpoints."""

import copy
import io
import warnings

import onnxruntime
import pytest
import torch
from support import field, models
from support.comparing import (
    distance,
    layers_of,
    quietly,
    run,
)
from support.oracle import PLAIN
from torch import nn

import autoup
from autoup import audit, repair


@pytest.mark.parametrize("name", models.each())
def test_models_keep_outputs_and_gradients(name):
    model, sizes = models.build(name)
    repaired = quietly(lambda: repair(model, sizes[0]))
    for dtype, limit in ((torch.float32, 1e-5), (torch.float64, 1e-12)):
        before, after = (copy.deepcopy(each).to(dtype) for each in (model, repaired))
        for size in sizes:
            x = torch.randn(size, dtype=dtype, requires_grad=True)
            outputs = run(before, x), run(after, x)
            assert distance(*outputs) <= limit
            check_gradients(before, after, x, *outputs, limit=100 * limit)
    for layer in layers_of(repaired).values():
        assert not any(layer.output_padding)
        assert all(k % s == 0 for k, s in zip(layer.kernel_size, layer.stride, strict=True))


@pytest.mark.parametrize("name", models.each(field.FIELD))
def test_models_of_the_field_keep_outputs(name):
    model, size = field.build(name)
    repaired = quietly(lambda: repair(model, size))
    inputs = [torch.randn(each) for each in (size if isinstance(size, list) else [size])]
    with torch.no_grad():
        before, after = (run(lambda x, m=each: m(*x), inputs) for each in (model, repaired))
    assert distance(before, after) <= 1e-5


def check_gradients(before, after, x, y, z, limit):
    """Compare the gradients of the input, and of all taps that were there before."""
    found = []
    for model, made in ((before, y), (after, z)):
        names = [name for name, each in model.named_parameters() if each.requires_grad]
        wanted = [x, *(model.get_parameter(name) for name in names)]
        total = sum(each.square().mean() for each in made if each.requires_grad)
        found.append(torch.autograd.grad(total, wanted, allow_unused=True))
    assert [a is None for a in found[0]] == [b is None for b in found[1]]
    pairs = [(a, b) for a, b in zip(*found, strict=True) if a is not None]
    largest = max(float(a.abs().max()) for a, _ in pairs)
    for a, b in pairs:
        old = tuple(slice(0, n) for n in a.shape)  # Of k3 s2 p1 the zero taps lie behind.
        assert float((a - b[old]).abs().max()) <= limit * largest


@models.taken_from("monai")
def test_repaired_models_are_clean_by_their_counts():
    for name in ("monai UNet 2d", "monai AutoEncoder", "monai Generator", "monai AttentionUnet"):
        model, (size, *_) = models.build(name)
        assert not audit(model, size).clean
        report = audit(repair(model, size), size)
        assert report.clean, str(report)
        assert report.drift == (0.0, 0.0)


@pytest.mark.parametrize("name", models.each(["monai UNet 2d", "monai Generator", "monai UNet 3d"]))
def test_repaired_model_exports_to_onnx_with_the_same_numbers(name):
    model, (size, *_) = models.build(name)
    repaired, x = repair(model, size), torch.randn(size)
    file = io.BytesIO()
    with warnings.catch_warnings(action="ignore"):
        program = torch.onnx.export(repaired, (x,), dynamo=True, verbose=False)
        program.save(file)
    nodes = [node for node in program.model.graph if node.op_type == "ConvTranspose"]
    assert len(nodes) == len(layers_of(model))
    for node in nodes:
        padding = node.attributes.get("output_padding")
        assert padding is None or not any(padding.as_ints())
    session = onnxruntime.InferenceSession(file.getvalue(), providers=["CPUExecutionProvider"])
    (made,) = session.run(None, {session.get_inputs()[0].name: x.numpy()})
    with torch.no_grad():
        wanted = model(x)
    assert torch.allclose(torch.from_numpy(made), wanted, rtol=1e-4, atol=1e-5 * wanted.abs().max())


@pytest.mark.parametrize("dims", [1, 2, 3])
@pytest.mark.parametrize("groups", [1, 2])
def test_layers_of_any_dimension(dims, groups):
    for k, s, p, a, d in [(3, 2, 1, 1, 1), (10, 5, 3, 1, 1), (1, 3, 0, 2, 1), (2, 2, 0, 1, 1),
                          (3, 2, 1, 1, 3), (3, 2, 2, 2, 3), (4, 3, 0, 0, 2)]:  # fmt: skip
        layer = PLAIN[dims](2, 4, k, s, p, a, groups=groups, dilation=d).double()
        repaired = quietly(lambda layer=layer: repair(layer))
        for size in (4, 5):
            x = torch.randn((2, 2, *(size,) * dims), dtype=torch.float64)
            assert distance([layer(x)], [repaired(x)]) <= 1e-12


class TestCheckpoints:
    @models.taken_from("monai")
    def test_old_checkpoint_is_converted(self):
        torch.manual_seed(0)
        trained, fresh = (models.build("monai UNet 2d")[0] for _ in range(2))
        with torch.no_grad():
            for each in trained.parameters():
                each.normal_()
        repaired = repair(fresh, (1, 1, 12, 16), state_dict=trained.state_dict())
        x = torch.randn(1, 1, 12, 16)
        assert distance([trained(x)], [repaired(x)]) <= 1e-5
        again = repair(models.build("monai UNet 2d")[0])
        again.load_state_dict(repaired.state_dict())
        assert torch.equal(again(x), repaired(x))

    def test_wrong_checkpoint_changes_nothing(self):
        model = nn.Sequential(nn.ConvTranspose2d(1, 1, 3, 2, 1, 1))
        before = copy.deepcopy(model.state_dict())
        with pytest.raises(RuntimeError, match=r"1.weight"):
            repair(model, inplace=True, state_dict={**before, "1.weight": torch.zeros(1)})
        assert torch.equal(model[0].weight, before["0.weight"])
        assert model[0].kernel_size == (3, 3)


class TestBadInput:
    def test_no_module(self):
        with pytest.raises(TypeError, match=r"model must be an nn.Module"):
            repair("model")

    def test_compiled(self):
        model = quietly(lambda: torch.compile(nn.ConvTranspose2d(1, 1, 3, 2)))
        with pytest.raises(TypeError, match="_orig_mod"):
            repair(model)

    def test_lazy(self):
        with pytest.raises(ValueError, match="lazy"):
            repair(nn.LazyConvTranspose2d(3, 2))

    def test_meta_is_repaired_without_proof_alone(self):
        model = nn.Sequential(nn.ConvTranspose2d(1, 1, 3, 2, 1, 1, device="meta"))
        assert repair(model)[0].weight.shape == (1, 1, 4, 4)
        with pytest.raises(ValueError, match="meta device"):
            repair(model, (1, 1, 4, 4))

    @pytest.mark.parametrize("options", [{}, {"smoothness": 1}])
    def test_quantised_stays_and_the_float_layers_around_it_are_repaired(self, options):
        with warnings.catch_warnings(action="ignore"):
            model = nn.Sequential(
                torch.ao.nn.quantized.Quantize(0.1, 0, torch.quint8),
                torch.ao.nn.quantized.ConvTranspose2d(1, 1, 3, 2, 1, 1),
                torch.ao.nn.quantized.DeQuantize(),
                nn.ConvTranspose2d(1, 1, 3, 2, 1, 1),
            )
        with pytest.warns(autoup.ArtifactWarning) as caught:
            repaired = repair(model, (1, 1, 4, 4), **options)
        assert "1: stays" in str(caught[0].message)
        assert "it is quantised: repair the float model" in str(caught[0].message)
        assert (repaired[1].kernel_size, repaired[3].kernel_size) == ((3, 3), (4, 4))

    def test_forward_that_raises_changes_nothing(self):
        model = nn.Sequential(nn.ConvTranspose2d(1, 1, 3, 2, 1, 1))
        with pytest.raises(ValueError, match="input_size"):
            repair(model, (1, 2, 4, 4), inplace=True)
        assert model[0].kernel_size == (3, 3)

    @pytest.mark.parametrize("name", ["inplace", "even", "fold_resize"])
    def test_flags(self, name):
        with pytest.raises(TypeError, match=f"{name} must be True or False, got 1"):
            repair(nn.ReLU(), **{name: 1})
