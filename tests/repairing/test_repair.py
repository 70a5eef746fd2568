"""Repair keeps the function, removes what can be removed, and says what stays."""

import copy
import io
import warnings
from itertools import product

import onnxruntime
import pytest
import torch
from support import models
from support.oracle import PLAIN
from torch import nn
from torch.nn import functional as F  # noqa: N812
from torch.nn.utils import parametrizations, prune

import autoup
from autoup import audit, repair
from autoup.repairing.growth import grow

TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)


def quietly(make):
    with warnings.catch_warnings(action="ignore"):
        return make()


def leaves(value):
    if isinstance(value, torch.Tensor):
        yield value
    else:
        for each in value.values() if isinstance(value, dict) else value:
            if each is not None:
                yield from leaves(each)


def run(model, x):
    torch.manual_seed(0)
    with warnings.catch_warnings(action="ignore"):
        return [each for each in leaves(model(x)) if each.is_floating_point()]


def distance(before, after):
    assert len(before) == len(after)
    return max(
        float((a - b).detach().abs().max() / a.detach().abs().max().clamp(min=1e-30))
        for a, b in zip(before, after, strict=True)
    )


def layers_of(model):
    return {name: each for name, each in model.named_modules() if isinstance(each, TRANSPOSED)}


class TestGrowth:
    def test_keeps_the_function_for_all_small_layers(self):
        for k, s, d in product(range(1, 7), range(1, 6), range(1, 4)):
            for p, a, even in product(range(d * (k - 1) + 2), range(max(s, d)), (True, False)):
                found = grow(k, s, p, a, d, even=even)
                x = torch.randn(1, 1, 4 + p, dtype=torch.float64)
                weight = torch.randn(1, 1, k, dtype=torch.float64)
                wide = torch.zeros(1, 1, found.kernel_size, dtype=torch.float64)
                end = found.kernel_size - found.behind
                wide[..., found.front : end : found.spacing] = weight
                before = F.conv_transpose1d(x, weight, None, s, p, a, 1, d)
                after = F.conv_transpose1d(
                    x, wide, None, s, found.padding, found.output_padding, 1, found.dilation
                )
                assert torch.allclose(before, after, rtol=0, atol=1e-12), (k, s, p, a, d, even)

    def test_leaves_output_padding_only_for_even_strides_and_odd_outputs(self):
        for k, s in product(range(1, 9), range(1, 7)):
            for p, a in product(range(k), range(s)):
                found = grow(k, s, p, a)
                no_even_kernel = s % 2 == 0 and (k + a) % 2 == 1
                assert found.output_padding == (1 if no_even_kernel and a else 0)
                if found.kernel_size % s:
                    assert no_even_kernel
                    assert a == 0
                    assert found.kernel_size == k
                assert grow(k, s, p, a, even=False).output_padding == 0

    def test_takes_the_smallest_kernel(self):
        """Every smaller multiple of the stride fails for want of taps, parity or cover."""
        for k, s in product(range(1, 8), range(1, 6)):
            for p, a in product(range(k), range(s)):
                found = grow(k, s, p, a)
                if found.kernel_size % s:
                    continue
                for wide in range(s, found.kernel_size, s):
                    front, rest = divmod(wide - k - a + found.output_padding, 2)
                    fits = front >= 0 and rest == 0 and wide - k - front >= 0
                    covered = p + front >= found.output_padding
                    assert not (fits and covered), (k, s, p, a, wide)


@pytest.mark.parametrize("name", models.BUILDERS)
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


def test_repaired_models_are_clean_by_their_counts():
    for name in ("monai UNet 2d", "monai AutoEncoder", "monai Generator", "monai AttentionUnet"):
        model, (size, *_) = models.build(name)
        assert not audit(model, size).clean
        report = audit(repair(model, size), size)
        assert report.clean, str(report)
        assert report.drift == (0.0, 0.0)


@pytest.mark.parametrize("name", ["monai UNet 2d", "monai Generator", "monai UNet 3d"])
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


def test_what_stays_is_said():
    with pytest.warns(autoup.ArtifactWarning) as caught:
        repaired = repair(nn.Sequential(nn.ConvTranspose2d(1, 1, 4, 2, 1, 1)))
    assert repaired[0].output_padding == (1, 1)
    assert "output_padding 1 stays: stride 2 is even, the output odd" in str(caught[0].message)
    assert caught[0].filename == __file__
    with warnings.catch_warnings(action="error"):
        assert repair(nn.ConvTranspose2d(1, 1, 4, 2, 1, 1), even=False).kernel_size == (5, 5)
    with pytest.warns(autoup.ArtifactWarning, match="kernel_size 3 stays uneven"):
        assert repair(nn.ConvTranspose2d(1, 1, 3, 2, 1)).kernel_size == (3, 3)


def test_dead_lines_are_covered_where_an_even_kernel_can():
    layer = nn.ConvTranspose1d(1, 1, 2, 2, 0, 1)
    repaired = quietly(lambda: repair(layer))
    assert (repaired.kernel_size, repaired.padding, repaired.output_padding) == ((4,), (1,), (1,))
    assert audit(layer)[0].uncovered == (1,)
    assert audit(repaired)[0].uncovered == (0,)


MAKERS = {
    "weight norm": parametrizations.weight_norm,
    "spectral norm": parametrizations.spectral_norm,
    "old weight norm": lambda layer: quietly(lambda: nn.utils.weight_norm(layer)),
    "old spectral norm": lambda layer: quietly(lambda: nn.utils.spectral_norm(layer)),
    "pruning": lambda layer: prune.random_unstructured(layer, "weight", 0.5),
    "one's own": lambda layer: nn.utils.parametrize.register_parametrization(
        layer, "weight", Half()
    ),
}


class TestWhatMakesTheWeight:
    @pytest.mark.parametrize("maker", MAKERS)
    def test_grows_with_it(self, maker):
        torch.manual_seed(0)
        layer = MAKERS[maker](nn.ConvTranspose2d(3, 4, 3, 2, 1, 1)).double().train()
        model = nn.Sequential(layer, nn.Tanh())
        x = torch.randn(2, 3, 5, 6, dtype=torch.float64)
        model(x)
        repaired = repair(model, (2, 3, 5, 6))
        assert repaired[0].kernel_size == (4, 4)
        assert repaired.training
        for _ in range(3):  # Training steps of a norm go the same way.
            assert distance([model(x)], [repaired(x)]) <= 1e-12
        assert distance([model.eval()(x)], [repaired.eval()(x)]) <= 1e-12
        missing = repaired.state_dict().keys() ^ model.state_dict().keys()
        assert not missing

    def test_stays_where_zeros_would_not(self):
        layer = nn.ConvTranspose2d(3, 4, 3, 2, 1, 1)
        nn.utils.parametrize.register_parametrization(layer, "weight", Plus())
        model = nn.Sequential(layer)
        with pytest.warns(autoup.ArtifactWarning, match="does not keep zero taps at zero"):
            repaired = repair(model)
        x = torch.randn(1, 3, 4, 4)
        assert repaired[0].kernel_size == (3, 3)
        assert torch.equal(model(x), repaired(x))


class Half(nn.Module):
    def forward(self, weight):
        return weight / 2


class Plus(nn.Module):
    def forward(self, weight):
        return weight + 1


class TestSharing:
    def test_shared_layer_is_repaired_once_and_stays_shared(self):
        layer = nn.ConvTranspose2d(2, 2, 3, 2, 1, 1)
        model = nn.Sequential(layer, nn.ReLU(), layer)
        repaired = repair(model, (1, 2, 4, 4))
        assert repaired[0] is repaired[2]
        assert repaired[0].kernel_size == (4, 4)

    def test_shared_weight_grows_once_for_layers_of_the_same_kind(self):
        model = nn.Sequential(*(nn.ConvTranspose2d(2, 2, 3, 2, 1, 1) for _ in range(2)))
        model[1].weight = model[0].weight
        repaired = repair(model, (1, 2, 4, 4))
        assert repaired[0].weight is repaired[1].weight
        assert repaired[0].weight.shape == (2, 2, 4, 4)

    def test_shared_weight_that_something_makes_stays_in_both(self):
        model = nn.Sequential(*(nn.ConvTranspose2d(2, 2, 3, 2, 1, 1) for _ in range(2)))
        nn.utils.parametrize.register_parametrization(model[0], "weight", Plus())
        model[1].weight = model[0].parametrizations.weight.original
        with pytest.warns(autoup.ArtifactWarning, match="shares its weight with 0"):
            repaired = repair(model)
        x = torch.randn(1, 2, 4, 4)
        assert torch.equal(model(x), repaired(x))

    def test_weight_tied_to_an_encoder_stays(self):
        conv = nn.Conv2d(3, 8, 3, 2, 1)
        mirror = quietly(
            lambda: autoup.AutoConvTranspose2d.mirror(conv, 16, adjoint=True, tied=True)
        )
        model = nn.Sequential(conv, mirror)
        with pytest.warns(autoup.ArtifactWarning, match="1: stays, as it shares its weight with 0"):
            repaired = repair(model, (1, 3, 16, 16))
        assert repaired[0].weight is repaired[1].weight
        assert repaired[1].kernel_size == (3, 3)

    def test_copy_shares_nothing_with_the_model(self):
        model = nn.Sequential(nn.ConvTranspose2d(2, 2, 3, 2, 1, 1), nn.BatchNorm2d(2))
        repaired = repair(model)
        pointers = {each.data_ptr() for each in model.state_dict().values()}
        assert not pointers & {each.data_ptr() for each in repaired.state_dict().values()}
        assert model[0].kernel_size == (3, 3)


class TestWhatIsKept:
    def test_hooks_mode_dtype_layout_and_requires_grad(self):
        calls = []
        layer = nn.ConvTranspose2d(2, 4, 3, 2, 1, 1).double().train()
        layer.weight.requires_grad_(False)
        layer.register_forward_hook(lambda *_: calls.append(1))
        model = nn.Sequential(layer).to(memory_format=torch.channels_last)
        repaired = repair(model, (1, 2, 4, 4))
        assert not calls
        repaired(torch.zeros(1, 2, 4, 4).double())
        assert calls == [1]
        assert repaired[0].weight.dtype == torch.float64
        assert not repaired[0].weight.requires_grad
        assert repaired[0].bias.requires_grad
        assert repaired[0].training
        assert type(repaired[0]) is nn.ConvTranspose2d

    def test_subclass_and_attributes(self):
        class Mine(nn.ConvTranspose2d):
            note = "kept"

        repaired = repair(nn.Sequential(Mine(1, 1, 3, 2, 1, 1)))
        assert type(repaired[0]) is Mine
        assert repaired[0].kernel_size == (4, 4)

    def test_layer_with_a_forward_of_its_own_stays(self):
        class Own(nn.ConvTranspose2d):
            def forward(self, x):
                return F.conv_transpose2d(x, self.weight[..., :2, :2], stride=2)

        with pytest.warns(autoup.ArtifactWarning, match="Own has a forward of its own"):
            assert repair(Own(1, 1, 3, 2, 1, 1)).kernel_size == (3, 3)

    def test_layer_called_with_output_size_stays(self):
        class Sized(nn.Module):
            def __init__(self):
                super().__init__()
                self.up = nn.ConvTranspose2d(1, 1, 3, 2, 1, 1)

            def forward(self, x):
                return self.up(x, output_size=[2 * n - 1 for n in x.shape[2:]])

        with pytest.warns(autoup.ArtifactWarning, match="called with output_size"):
            assert repair(Sized(), (1, 1, 4, 4)).up.kernel_size == (3, 3)

    def test_solved_layers_tell_what_they_are_now(self):
        up = quietly(lambda: autoup.AutoConvTranspose2d(2, 2, 7, 14, kernel_size=3, stride=2))
        repaired = repair(nn.Sequential(up), (1, 2, 7, 7))[0]
        found = [(each.kernel_size, each.output_padding) for each in repaired.solutions]
        assert found == [(4, 0)] * 2
        assert "kernel_size=(4, 4)" in repr(repaired)
        x = torch.randn(1, 2, 7, 7)
        assert torch.allclose(up(x), repaired(x), atol=1e-6)

    def test_mirrors_tell_where_they_put_pixels_now(self):
        conv = nn.Conv2d(2, 4, 3, 2, 1)
        mirror = quietly(lambda: autoup.AutoConvTranspose2d.mirror(conv, 16, adjoint=True))
        repaired = repair(nn.Sequential(mirror))[0]
        clean = autoup.AutoConvTranspose2d.mirror(conv, 16, kernel_size=4)
        assert mirror.round_trip_shift == (0.0, 0.0)
        assert repaired.round_trip_shift == clean.round_trip_shift == (0.5, 0.5)

    def test_guaranteed_layers_stay(self):
        up = quietly(lambda: autoup.AutoConvTranspose2d(2, 2, 7, 14, kernel_size=3, smoothness=1))
        with pytest.warns(autoup.ArtifactWarning, match="a guarantee projects its kernel"):
            assert repair(up).kernel_size == (3, 3)

    def test_clean_model_is_copied_in_silence(self):
        model = nn.Sequential(nn.ConvTranspose2d(2, 2, 2, 2), nn.ReLU())
        with warnings.catch_warnings(action="error"):
            repaired = repair(model, (1, 2, 4, 4))
        assert repaired is not model
        assert str(repaired) == str(model)


class TestInPlace:
    def test_parameters_stay_in_the_optimisers_groups(self):
        model = nn.Sequential(nn.ConvTranspose2d(2, 2, 3, 2, 1, 1))
        optimiser = torch.optim.SGD(model.parameters(), lr=0.1)
        x = torch.randn(1, 2, 4, 4)
        before, weight = model(x).detach(), model[0].weight
        model(x).square().mean().backward()
        old = weight.grad.clone()
        assert repair(model, (1, 2, 4, 4), inplace=True) is model
        assert model[0].weight is weight
        assert torch.equal(weight.grad[..., :3, :3], old)
        assert not weight.grad[..., 3, :].any()
        assert torch.allclose(model(x), before, atol=1e-6)
        model(x).square().mean().backward()
        optimiser.step()
        assert weight[..., 3, :].any()

    @pytest.mark.parametrize("inplace", [False, True])
    def test_nothing_changes_where_the_proof_fails(self, inplace):
        class Reads(nn.Sequential):
            def forward(self, x):
                return super().forward(x) * self[0].kernel_size[0]

        model = Reads(nn.ConvTranspose2d(2, 2, 3, 2, 1, 1), nn.ConvTranspose2d(2, 2, 3, 2, 1, 1))
        before = copy.deepcopy(model)
        with pytest.raises(autoup.AutoupError, match=r"changed the output.*\(1, 2, 4, 4\)"):
            repair(model, (1, 2, 4, 4), inplace=inplace)
        assert str(model) == str(before)
        for a, b in zip(model.parameters(), before.parameters(), strict=True):
            assert torch.equal(a, b)

    def test_nothing_changes_where_the_second_layer_fails(self, monkeypatch):
        import autoup.repairing.model as repairing

        model = nn.Sequential(*(nn.ConvTranspose2d(2, 2, 3, 2, 1, 1) for _ in range(2)))
        before = copy.deepcopy(model)
        count = iter(range(9))
        whole = repairing.grow_layer

        def broken(layer, growths, journal, grown):
            reason = whole(layer, growths, journal, grown)
            if layer is model[1]:
                raise MemoryError(next(count))
            return reason

        monkeypatch.setattr(repairing, "grow_layer", broken)
        checkpoint = {name: each + 1 for name, each in model.state_dict().items()}
        with pytest.raises(MemoryError):
            repair(model, (1, 2, 4, 4), inplace=True, state_dict=checkpoint)
        assert str(model) == str(before)
        for a, b in zip(model.parameters(), before.parameters(), strict=True):
            assert torch.equal(a, b)


class TestCheckpoints:
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


class TestFold:
    @pytest.mark.parametrize("dims", [1, 2, 3])
    def test_nearest_and_convolution_become_one_layer(self, dims):
        conv = (nn.Conv1d, nn.Conv2d, nn.Conv3d)[dims - 1]
        for k, s, p, d, g in [(3, 2, 1, 1, 1), (5, 3, 2, 1, 2), (3, 2, 2, 2, 2), (1, 4, 0, 1, 1),
                              (2, 2, 0, 1, 1)]:  # fmt: skip
            model = nn.Sequential(
                nn.Upsample(scale_factor=s), conv(4, 6, k, 1, p, d, g), nn.ReLU()
            ).double()
            size = (2, 4, *(5, 4, 6)[:dims])
            folded = repair(model, size, fold_resize=True)
            assert type(folded[0]) is nn.Identity
            assert type(folded[1]) is PLAIN[dims]
            x = torch.randn(size, dtype=torch.float64, requires_grad=True)
            y, z = model(x), folded(x)
            assert distance([y], [z]) <= 1e-12
            grads = [torch.autograd.grad(each.square().sum(), x) for each in (y, z)]
            assert distance(*grads) <= 1e-12

    def test_without_sizes_chains_alone_are_folded(self):
        model = nn.Sequential(nn.Sequential(nn.Upsample(scale_factor=2)), nn.Conv2d(1, 2, 3))
        x = torch.randn(1, 1, 5, 5)
        folded = repair(model, fold_resize=True)
        assert isinstance(folded[1], nn.ConvTranspose2d)
        assert torch.allclose(model(x), folded(x), atol=1e-6)
        assert list(folded.state_dict()) == list(model.state_dict())

    @pytest.mark.parametrize(("resize", "conv", "reason"), [
        (nn.Upsample(scale_factor=2, mode="bilinear"), nn.Conv2d(1, 1, 3), "mode 'bilinear'"),
        (nn.Upsample(scale_factor=1.5), nn.Conv2d(1, 1, 3), "no integer"),
        (nn.Upsample(size=(8, 8)), nn.Conv2d(1, 1, 3), "bound to one size"),
        (nn.Upsample(scale_factor=2), nn.Conv2d(1, 1, 3, stride=2), "strided"),
        (nn.Upsample(scale_factor=2), nn.Conv2d(1, 1, 3, padding="same"), "number of zeros"),
        (nn.Upsample(scale_factor=2), nn.Conv2d(1, 1, 3, 1, 1, padding_mode="reflect"), "alone"),
        (nn.Upsample(scale_factor=2), nn.Conv2d(1, 1, 3, padding=3), "pads more"),
        (nn.Upsample(scale_factor=2), nn.ReLU(), "no convolution"),
        (nn.Upsample(scale_factor=2), parametrizations.weight_norm(nn.Conv2d(1, 1, 3)), "no plain"),
    ])  # fmt: skip
    def test_what_cannot_be_folded_is_said(self, resize, conv, reason):
        with pytest.warns(autoup.ArtifactWarning, match=reason):
            repaired = repair(nn.Sequential(resize, conv), (1, 1, 4, 4), fold_resize=True)
        assert isinstance(repaired[0], nn.Upsample)

    def test_layers_in_several_places_stay(self):
        up, conv = nn.Upsample(scale_factor=2), nn.Conv2d(1, 1, 3, padding=1)
        for shared in (nn.Sequential(up, conv, up), nn.Sequential(conv, up, conv)):
            with pytest.warns(autoup.ArtifactWarning, match="several places"):
                repaired = repair(shared, (1, 1, 4, 4), fold_resize=True)
            assert str(repaired) == str(shared)

    def test_layers_called_more_than_once_stay(self):
        class Twice(nn.Module):
            def __init__(self):
                super().__init__()
                self.up = nn.Sequential(nn.Upsample(scale_factor=2), nn.Conv2d(1, 1, 3, padding=1))
                self.also = nn.Upsample(scale_factor=2)

            def forward(self, x):
                return self.up[0](x) + self.up(x) + self.up[1](self.also(x))

        with pytest.warns(
            autoup.ArtifactWarning, match="also: stays, as it is called more than once"
        ):
            repaired = repair(Twice(), (1, 1, 4, 4), fold_resize=True)
        assert isinstance(repaired.up[0], nn.Upsample)
        assert isinstance(repaired.also, nn.Upsample)

    def test_watched_layers_stay(self):
        model = nn.Sequential(nn.Upsample(scale_factor=2), nn.Conv2d(1, 1, 3, padding=1))
        model[0].register_forward_hook(lambda *_: None)
        with pytest.warns(autoup.ArtifactWarning, match="hooks watch"):
            assert isinstance(repair(model, fold_resize=True)[0], nn.Upsample)

    def test_enlargement_that_others_read_too_stays(self):
        class Skip(nn.Module):
            def __init__(self):
                super().__init__()
                self.up, self.conv = nn.Upsample(scale_factor=2), nn.Conv2d(1, 1, 3, padding=1)

            def forward(self, x):
                y = self.up(x)
                return y + self.conv(y)

        with pytest.warns(autoup.ArtifactWarning, match="alone"):
            assert isinstance(repair(Skip(), (1, 1, 4, 4), fold_resize=True).up, nn.Upsample)


class TestGuarantee:
    def test_plain_layers_become_solved_ones_with_the_guarantee(self):
        torch.manual_seed(0)
        model = nn.Sequential(nn.ConvTranspose2d(4, 4, 3, 2, 1, 1), nn.ConvTranspose2d(4, 1, 2, 2))
        repaired = repair(model, (1, 4, 32, 32), smoothness=1)
        assert [type(each) for each in repaired] == [autoup.AutoConvTranspose2d] * 2
        assert [each.kernel_size for each in repaired] == [(4, 4), (4, 4)]
        assert all(each.smoothness == 1 for each in repaired)
        assert repaired.state_dict().keys() == model.state_dict().keys()
        report = audit(repaired, (1, 4, 32, 32))
        assert report.clean
        assert report.constants.spread < 1e-5
        assert audit(model, (1, 4, 32, 32)).constants.spread > 0.05

    def test_order_0_keeps_the_function(self):
        model, (size, *_) = models.build("monai AutoEncoder")
        repaired = repair(model, size, smoothness=0)
        assert all(isinstance(each, autoup.AutoConvTranspose2d)
                   for each in layers_of(repaired).values())  # fmt: skip
        x = torch.randn(size)
        assert distance([model(x)], [repaired(x)]) <= 1e-5

    def test_it_trains_and_keeps_the_guarantee(self):
        model = nn.Sequential(nn.ConvTranspose2d(2, 2, 3, 2, 1, 1))
        repaired = repair(model, (1, 2, 8, 8), smoothness=2)
        optimiser = torch.optim.SGD(repaired.parameters(), lr=0.1)
        for _ in range(3):
            optimiser.zero_grad()
            (repaired(torch.randn(1, 2, 8, 8)) - 1).square().mean().backward()
            optimiser.step()
        assert autoup.phase_spread(repaired[0]) < 1e-5

    def test_hooks_and_names_stay(self):
        calls = []
        model = nn.Sequential(nn.ConvTranspose2d(2, 2, 2, 2))
        model[0].register_forward_hook(lambda *_: calls.append(1))
        repaired = repair(model.eval(), (1, 2, 8, 8), smoothness=1)
        assert not repaired[0].training
        repaired(torch.zeros(1, 2, 8, 8))
        assert calls == [1]

    def test_needs_sizes(self):
        with pytest.raises(ValueError, match="smoothness needs input_size"):
            repair(nn.ConvTranspose2d(1, 1, 2, 2), smoothness=1)

    def test_parametrised_layers_stay(self):
        model = nn.Sequential(parametrizations.weight_norm(nn.ConvTranspose2d(2, 2, 2, 2)))
        with pytest.warns(autoup.ArtifactWarning, match="without smoothness"):
            repaired = repair(model, (1, 2, 8, 8), smoothness=1)
        assert not isinstance(repaired[0], autoup.AutoConvTranspose2d)


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

    def test_quantised_stays(self):
        with warnings.catch_warnings(action="ignore"):
            layer = torch.ao.nn.quantized.ConvTranspose2d(1, 1, 3, 2, 1, 1)
        with pytest.warns(autoup.ArtifactWarning, match="quantise"):
            repair(nn.Sequential(layer))

    def test_forward_that_raises_changes_nothing(self):
        model = nn.Sequential(nn.ConvTranspose2d(1, 1, 3, 2, 1, 1))
        with pytest.raises(ValueError, match="input_size"):
            repair(model, (1, 2, 4, 4), inplace=True)
        assert model[0].kernel_size == (3, 3)

    @pytest.mark.parametrize("name", ["inplace", "even", "fold_resize"])
    def test_flags(self, name):
        with pytest.raises(TypeError, match=f"{name} must be True or False, got 1"):
            repair(nn.ReLU(), **{name: 1})
