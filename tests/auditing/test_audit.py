"""What an audit finds, says, and leaves alone."""

import copy
import json
import time
import warnings
from html.parser import HTMLParser

import pytest
import torch
from support import models
from support.oracle import PLAIN, count_coverage, count_phases
from torch import nn
from torch.nn import functional as F  # noqa: N812
from torch.nn.utils import parametrizations
from torch.utils.flop_counter import FlopCounterMode

import autoup
from autoup import audit

TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)


def quietly(make):
    with warnings.catch_warnings(action="ignore"):
        return make()


def snapshot(model):
    return {
        name: (id(each), each.clone()) for name, each in model.state_dict(keep_vars=True).items()
    }


def assert_same(model, before):
    after = model.state_dict(keep_vars=True)
    assert after.keys() == before.keys()
    for name, (identity, values) in before.items():
        assert id(after[name]) == identity, name
        assert torch.equal(after[name], values), name


@pytest.mark.parametrize("name", models.BUILDERS)
def test_every_transposed_layer_is_found_and_judged_as_a_count_of_taps_judges(name):
    model, sizes = models.build(name)
    before = snapshot(model)
    layers = {path: layer for path, layer in model.named_modules() if isinstance(layer, TRANSPOSED)}
    for size in sizes:
        report = quietly(lambda size=size: audit(model, size))
        rows = {row.name: row for row in report if row.kind == "transposed"}
        assert rows.keys() == layers.keys()
        shapes = record_shapes(model, layers, size)
        for path, layer in layers.items():
            assert_counts(rows[path], layer, *shapes[path])
        assert_products(report, model, size)
    assert_same(model, before)
    assert not model.training


def record_shapes(model, layers, size):
    shapes, handles = {}, []
    for path, layer in layers.items():

        def note(_layer, inputs, output, path=path):
            shapes[path] = inputs[0].shape, output.shape

        handles.append(layer.register_forward_hook(note))
    with torch.no_grad(), warnings.catch_warnings(action="ignore"):
        model(torch.randn(size))
    for handle in handles:
        handle.remove()
    return shapes


def assert_counts(row, layer, shape, made):
    assert row.in_size == tuple(shape[2:])
    assert row.out_size == tuple(made[2:])
    severe = False
    for axis, (k, s, p, a, d) in enumerate(
        zip(
            layer.kernel_size,
            layer.stride,
            layer.padding,
            layer.output_padding,
            layer.dilation,
            strict=True,
        )
    ):
        i, o = row.in_size[axis], row.out_size[axis]
        phases, covered = count_phases(k, s, d), count_coverage(i, o, k, s, p, d)
        assert row.phases[axis] == phases
        assert row.uncovered[axis] == covered.count(0)
        full = [phases[(y + p) % s] for y in range(o)]
        assert row.border[axis] == sum(c < f for c, f in zip(covered, full, strict=True))
        assert row.shift[axis] == -a / 2
        severe |= len(set(phases)) > 1 or 0 in covered
    assert row.even == all(len(set(phases)) == 1 for phases in row.phases)
    shifted = any(row.shift)
    assert row.severity in (
        ("severe",) if severe else ("warning",) if shifted else ("clean", "note")
    )
    assert row.spread == pytest.approx(autoup.phase_spread(layer), abs=1e-6)


def assert_products(report, model, size):
    """Compare with torch's own counter, which counts two operations for a product."""
    counter = FlopCounterMode(display=False)
    with torch.no_grad(), counter, warnings.catch_warnings(action="ignore"):
        model(torch.randn(size))
    counts = {
        name.partition(".")[2]: sum(each.values())
        for name, each in counter.get_flop_counts().items()
    }
    for row in report:
        if row.kind == "transposed":
            assert 2 * row.multiply_adds == counts[row.name]


FUNCTIONS = {
    "monai SegResNet": [("bilinear", (2.0, 2.0))] * 3,
    "transformers SegFormer": [("bilinear", (2.0,) * 2), ("bilinear", (4.0,) * 2),
                               ("bilinear", (8.0,) * 2)],
    "transformers VitMatte": [("bilinear", (2.0, 2.0))] * 4,
    "transformers DPT": [("bilinear", (2.0, 2.0))] * 5,
    "transformers Mask2Former": [("bilinear", (2.0, 2.0))],
}  # fmt: skip


@pytest.mark.parametrize("name", FUNCTIONS)
def test_resizes_by_function_are_found_where_the_code_enlarges(name):
    model, sizes = models.build(name)
    report = quietly(lambda: audit(model, sizes[0]))
    found = [(row.mode, row.stride) for row in report if row.kind == "resize"]
    assert found == FUNCTIONS[name]


def test_verdict_does_not_need_a_forward_pass():
    model, (size, *_) = models.build("monai UNet 2d")
    with_sizes, without = audit(model, size), audit(model)
    for a, b in zip(with_sizes, without, strict=True):
        assert (a.phases, a.even, a.shift, a.severity) == (b.phases, b.even, b.shift, b.severity)
        assert (a.seen, a.remedy, a.spread) == (b.seen, b.remedy, b.spread)
        assert b.in_size is None
        assert b.multiply_adds is None


@pytest.mark.parametrize("dims", [1, 2, 3])
@pytest.mark.parametrize(("k", "s", "p", "a", "d"), [
    (3, 2, 1, 1, 1), (2, 2, 0, 0, 1), (4, 2, 1, 0, 1), (5, 3, 1, 2, 1), (1, 2, 0, 1, 1),
    (2, 2, 0, 1, 1), (4, 2, 0, 0, 2), (3, 4, 0, 0, 1), (4, 2, 1, 1, 1),
])  # fmt: skip
def test_layers_of_any_dimension_are_counted(dims, k, s, p, a, d):
    layer = PLAIN[dims](2, 3, k, s, p, a, dilation=d)
    size = (2, 2, *(5, 6, 4)[:dims])
    (row,) = audit(layer, size)
    with torch.no_grad():
        assert_counts(row, layer, size, layer(torch.zeros(size)).shape)


def test_uncovered_lines_without_sizes_are_told_as_gaps():
    (row,) = audit(nn.ConvTranspose2d(1, 1, 1, 3))
    assert row.uncovered == (0, 0)
    assert "2 of every 3 lines hold nothing but the bias" in row.seen
    (row,) = audit(nn.ConvTranspose2d(1, 1, 1, 3), (1, 1, 4, 4))
    assert row.uncovered == (6, 6)


def test_weights_that_balance_uneven_taps_are_a_note():
    layer = nn.ConvTranspose1d(1, 1, 3, 2, 1)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([[[0.5, 1.0, 0.5]]]))
    (row,) = audit(layer)
    assert (row.severity, row.even) == ("note", False)
    assert "these weights hide" in row.seen[0]
    assert audit(layer).clean


def test_even_layers_with_unequal_phases_are_a_note_and_equal_ones_clean():
    assert audit(nn.ConvTranspose2d(4, 4, 2, 2))[0].severity == "note"
    assert audit(autoup.AutoConvTranspose2d(4, 4, 7, 14))[0].severity == "clean"
    assert audit(autoup.AutoConvTranspose2d(4, 4, 7, 14, smoothness=1))[0].severity == "clean"


def test_convolution_before_a_shuffle_is_found_in_a_chain_and_in_a_pass():
    model = nn.Sequential(nn.Conv2d(3, 16, 3, padding=1), nn.BatchNorm2d(16), nn.PixelShuffle(2))
    for size in (None, (1, 3, 8, 8)):
        (row,) = audit(model.eval(), size)
        assert (row.name, row.partner, row.stride) == ("2", "0", (2.0, 2.0))
        assert row.spread == pytest.approx(autoup.phase_spread(model))
        assert (row.in_channels, row.out_channels) == (3, 4)
        assert row.phases == ((3, 3), (3, 3))
        assert row.border == (4, 4)
    assert row.multiply_adds == 8 * 8 * 9 * 3 * 16
    norm_late = nn.Sequential(model[0], nn.ReLU(), model[1], model[2]).eval()
    assert audit(norm_late)[0].spread is None


def test_shuffle_by_hand_is_found_and_a_blur_behind_it_seen():
    with warnings.catch_warnings(action="ignore"):
        from monai.networks.blocks import SubpixelUpsample
    torch.manual_seed(0)
    for dims, blurred in ((2, True), (2, False), (3, False)):
        model = SubpixelUpsample(dims, 4, 4, 2, apply_pad_pool=blurred)
        (row,) = audit(model, (1, 4, *(6,) * dims))
        assert (row.kind, row.partner, row.stride) == ("shuffle", "conv_block", (2.0,) * dims)
        assert (row.in_size, row.out_size) == ((6,) * dims, (12,) * dims)
        if blurred:  # A mean over another block evens nothing out.
            model.pad_pool[1].kernel_size = 3
            assert audit(model, (1, 4, *(6,) * dims))[0].spread > 0
        assert row.spread == 0 if blurred else row.spread > 0.005


def test_other_reshapes_are_no_shuffle():
    class Turn(nn.Module):
        def forward(self, x):
            n, c, h, w = x.shape
            x = x.reshape(n, 2, 2, c // 4, h, w).permute(0, 3, 4, 1, 5, 2)
            return x.reshape(n, c // 4, 2 * h, 2 * w)

    assert len(audit(nn.Sequential(nn.Conv2d(1, 4, 3), Turn()), (1, 1, 8, 8))) == 0


@pytest.mark.parametrize("between", [nn.InstanceNorm2d(16), nn.Conv2d(16, 16, 1, groups=16)])
def test_spread_before_a_shuffle_is_unknown_where_something_else_stands_between(between):
    conv = nn.Conv2d(3, 16, 3) if isinstance(between, nn.InstanceNorm2d) else nn.Identity()
    model = nn.Sequential(conv, between, nn.GroupNorm(2, 16), nn.PixelShuffle(2))
    size = (1, 3, 8, 8) if isinstance(conv, nn.Conv2d) else (1, 16, 8, 8)
    assert audit(model, size)[0].spread is None


class Branches(nn.Module):
    def __init__(self):
        super().__init__()
        self.deep = nn.Sequential(
            nn.ConvTranspose2d(1, 1, 4, 2, 1), nn.ConvTranspose2d(1, 1, 3, 2, 1, 1)
        )
        self.first = nn.ConvTranspose2d(1, 1, 3, 4, 0, 1)
        self.last = nn.ConvTranspose2d(1, 1, 3, 2, 1, 1)

    def forward(self, x):
        return self.last(self.deep(x) + self.first(x))


def test_drift_adds_up_along_the_longest_way():
    report = audit(Branches(), (1, 1, 8, 8))
    drifts = {row.name: row.drift for row in report}
    assert drifts == {
        "deep.0": (0.0, 0.0),
        "deep.1": (-1.0, -1.0),
        "first": (-1.0, -1.0),
        "last": (-0.5, -0.5),
    }
    assert report.drift == (-1.5, -1.5)


def test_drift_counts_strides_not_sizes():
    model = nn.Sequential(
        nn.ConvTranspose2d(1, 1, (3, 4), 2, 1, (1, 0)),
        nn.Conv2d(1, 1, 3),
        nn.Upsample(scale_factor=(2, 1.5)),
        nn.ConvTranspose2d(1, 1, 4, 2, 1, 1),
    )
    report = audit(model, (1, 1, 17, 16))
    assert report[0].drift == (-2.0, 0.0)
    assert report.drift == (-2.5, -0.5)


def test_drift_ends_where_pixels_become_features():
    model = nn.Sequential(
        nn.ConvTranspose2d(1, 1, 3, 2, 1, 1), nn.Flatten(), nn.Linear(64, 16),
        nn.Unflatten(1, (1, 4, 4)), nn.ConvTranspose2d(1, 1, 4, 2, 1),
    )  # fmt: skip
    assert audit(model, (1, 1, 4, 4)).drift == (0.0, 0.0)


def test_functions_and_sizes_passed_by_name_are_seen():
    class Functional(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.randn(2, 4, 3, 3))
            self.up = nn.ConvTranspose2d(8, 2, 3, 2, 1)

        def forward(self, x):
            x = F.conv_transpose2d(x, self.weight, stride=2, padding=1, groups=2)
            x = self.up(x, output_size=(2 * x.shape[2], 2 * x.shape[3]))
            return F.interpolate(x, size=(50, 60), mode="nearest")

    report = audit(Functional(), (1, 2, 7, 9))
    by_hand, up, resize = report
    assert (by_hand.name, by_hand.groups, by_hand.out_channels) == ("conv_transpose", 2, 8)
    assert by_hand.spread > 0.3
    assert "function" in by_hand.remedy
    assert up.output_padding == (1, 1)
    assert "output_size" in up.remedy
    assert resize.severity == "note"
    assert "unevenly" in resize.seen[0]


def test_each_call_of_a_shared_layer_counts():
    layer = nn.ConvTranspose2d(2, 2, 2, 2)
    (row,) = audit(nn.Sequential(layer, nn.ReLU(), layer), (1, 2, 4, 4))
    assert row.calls == 2
    assert row.multiply_adds == (16 + 64) * 4 * 4


NORMED = {
    "weight": lambda layer: parametrizations.weight_norm(layer),
    "spectral": lambda layer: parametrizations.spectral_norm(layer),
    "old weight": lambda layer: quietly(lambda: nn.utils.weight_norm(layer)),
    "old spectral": lambda layer: quietly(lambda: nn.utils.spectral_norm(layer)),
}


@pytest.mark.parametrize("norm", NORMED)
@pytest.mark.parametrize("sized", [False, True])
def test_model_is_left_as_it_was_and_the_kernel_in_use_is_measured(norm, sized):
    seen = []
    layer = NORMED[norm](nn.ConvTranspose2d(4, 4, 3, 2, 1, 1))
    model = nn.Sequential(nn.BatchNorm2d(4), layer, nn.Dropout()).train()
    model[0].register_forward_hook(lambda *_: seen.append(1))
    before, numbers = snapshot(model), torch.get_rng_state()
    (row,) = quietly(lambda: audit(model, (2, 4, 12, 12) if sized else None))
    assert_same(model, before)
    assert torch.equal(numbers, torch.get_rng_state())
    assert model.training
    assert not seen
    plain = nn.ConvTranspose2d(4, 4, 3, 2, 1, 1)
    with torch.no_grad():
        plain.weight.copy_(copied_kernel(layer))
    assert row.spread == pytest.approx(autoup.phase_spread(plain), abs=1e-6)


def copied_kernel(layer):
    twin = copy.deepcopy(layer) if hasattr(layer, "parametrizations") else layer
    return twin.eval().weight.detach()


def test_phase_spread_does_not_step_a_spectral_norm():
    layer = parametrizations.spectral_norm(nn.ConvTranspose2d(4, 4, 3, 2, 1, 1)).train()
    before = snapshot(layer)
    autoup.phase_spread(layer)
    assert_same(layer, before)
    assert layer.parametrizations.weight[0].training


@pytest.mark.parametrize(("dims", "size"), [(1, 64), (2, 48), (3, 24)])
def test_grid_on_constants_is_that_of_the_layer(dims, size):
    """On a constant 1 the phases of one layer are its phase sums."""
    layer = PLAIN[dims](1, 1, 3, 2, 1, 1, bias=False).double()
    nn.init.ones_(layer.weight)
    grid = audit(layer, (1, 1, *(size,) * dims)).constants
    axis = torch.tensor([1.0, 2.0], dtype=torch.float64)
    sums = axis
    for _ in range(dims - 1):
        sums = torch.outer(sums, axis).flatten()
    expected = sums.std(correction=0) / sums.square().mean().sqrt()
    assert grid.spread == pytest.approx(float(expected), rel=1e-6)
    assert grid.period == (2,) * dims


def test_grid_on_constants_is_zero_with_the_guarantee_and_for_nearest():
    torch.manual_seed(0)
    smooth = [autoup.AutoConvTranspose2d(4, 4, n, 2 * n, smoothness=1) for n in (32, 64)]
    nearest = nn.Sequential(nn.Upsample(scale_factor=4), nn.Conv2d(4, 4, 3, padding=1))
    for model in (nn.Sequential(*smooth), nearest):
        assert audit(model, (1, 4, 32, 32)).constants.spread < 1e-6
    plain = nn.Sequential(*(nn.ConvTranspose2d(4, 4, 4, 2, 1) for _ in range(2)))
    report = audit(plain, (1, 4, 32, 32))
    assert report.constants.spread > 0.05
    assert report.constants.period == (4, 4)


def test_slopes_and_borders_are_no_grid():
    class Slope(nn.Module):
        def forward(self, x):
            x = F.interpolate(x, scale_factor=4)
            return x + torch.linspace(0, 30, x.shape[-1])

    model = nn.Sequential(nn.Conv2d(1, 1, 7, padding=3), Slope())
    assert audit(model, (1, 1, 40, 40)).constants.spread < 0.01


def test_model_that_looks_at_numbers_runs_on_real_ones():
    class Looks(nn.Module):
        def __init__(self):
            super().__init__()
            self.up = nn.ConvTranspose2d(1, 1, 2, 2)
            self.kept = None

        def forward(self, x):
            self.kept = x.relu() if self.kept is None else self.kept
            return self.up(x) if float(self.kept.sum()) > -1 else x

    model = Looks()
    assert audit(model, (1, 1, 8, 8))[0].out_size == (16, 16)
    assert model.kept is None


def test_several_inputs_and_outputs():
    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.up = nn.ConvTranspose2d(4, 1, 4, 2, 1)
            self.linear = nn.Linear(3, 4)

        def forward(self, x, z):
            return {"z": z, "pictures": [self.up(x + self.linear(z)[:, :, None, None])]}

    report = audit(Two(), [(2, 4, 16, 16), (2, 3)])
    assert report.constants.out_size == (32, 32)
    assert report.input_size == ((2, 4, 16, 16), (2, 3))


class TestReport:
    def test_table_fits_100_columns_for_the_longest_names(self):
        model = nn.ConvTranspose3d(1, 1, (3, 13, 113), (2, 12, 112), (1, 0, 0), (1, 11, 111))
        for depth in range(12):
            model = nn.ModuleDict({f"a_rather_long_name_{depth}": model})
        for line in str(audit(model)).splitlines():
            assert len(line) <= 100
        assert "…" in str(audit(model))

    def test_same_findings_are_told_once(self):
        model = nn.Sequential(*(nn.ConvTranspose2d(1, 1, 3, 2, 1, 1) for _ in range(9)))
        text = str(audit(model))
        assert text.count("checkerboard") == 1
        assert "9 in all" in text

    def test_json_holds_every_field(self):
        model, (size, *_) = models.build("monai UNet 2d")
        report = audit(model, size)
        read = json.loads(json.dumps(report.to_dict()))
        assert read["clean"] is False
        assert read["rows"][0]["phases"] == [[2, 1], [2, 1]]
        assert set(autoup.Upsampling.__slots__) == set(read["rows"][0])
        assert set(read) == {*autoup.AuditReport.__slots__, "clean"}

    def test_html_escapes_names_and_closes_its_tags(self):
        model = nn.Sequential()
        model.add_module('<img src=x onerror="alert(1)">&', nn.ConvTranspose2d(1, 1, 3, 2))
        page = audit(model)._repr_html_()
        assert "<img" not in page
        assert "&lt;img" in page
        assert page.count("<rect") == len(count_coverage(6, 13, 3, 2, 0, 1))
        assert "http" not in page
        stack = []

        class Checker(HTMLParser):
            def handle_starttag(self, tag, _attrs):
                if tag not in ("br", "rect"):
                    stack.append(tag)

            def handle_endtag(self, tag):
                assert stack.pop() == tag

        Checker().feed(page.replace("/>", ">"))
        assert not stack

    def test_rows_are_a_sequence(self):
        report = audit(nn.Sequential(nn.PixelShuffle(2), nn.ConvTranspose2d(1, 1, 2, 2)))
        assert [row.kind for row in report] == ["shuffle", "transposed"]
        assert len(report) == 2
        assert report[1].name == "1"
        assert report[:1] == (report[0],)


def test_2000_modules_are_audited_in_2_seconds():
    blocks = [
        nn.Sequential(nn.ConvTranspose2d(64, 64, 3, 2, 1, 1), nn.BatchNorm2d(64), nn.ReLU())
        for _ in range(500)
    ]
    model = nn.Sequential(*blocks)
    assert len([*model.modules()]) > 2000
    times = []
    for _ in range(3):  # The quickest, as other processes may be at work.
        start = time.perf_counter()
        report = audit(model)
        times.append(time.perf_counter() - start)
    assert min(times) < 2
    assert len(report) == 500


class TestBadInput:
    def test_no_module(self):
        with pytest.raises(TypeError, match=r"model must be an nn.Module, got 3"):
            audit(3)

    def test_no_upsampling_is_a_clean_report(self):
        report = audit(nn.Linear(2, 2), (1, 2))
        assert report.clean
        assert str(report) == "Linear: no upsampling step found; clean."

    def test_lazy(self):
        with pytest.raises(ValueError, match=r"lazy parameter, 0.weight"):
            audit(nn.Sequential(nn.LazyConvTranspose2d(3, 2)))

    def test_meta(self):
        model = nn.Sequential(nn.ConvTranspose2d(4, 4, 3, 2, 1, 1, device="meta"))
        report = audit(model, (1, 4, 8, 8))
        assert report[0].out_size == (16, 16)
        assert report[0].spread is None
        assert "meta device" in str(report)

    def test_scripted(self):
        with warnings.catch_warnings(action="ignore"):
            model = torch.jit.script(nn.ReLU())
        with pytest.raises(TypeError, match="ScriptModule"):
            audit(model)

    def test_compiled_is_read_through(self):
        model = quietly(lambda: torch.compile(nn.ConvTranspose2d(1, 1, 3, 2)))
        assert len(audit(model)) == 1

    def test_quantised(self):
        with warnings.catch_warnings(action="ignore"):
            layer = torch.ao.nn.quantized.ConvTranspose2d(1, 1, 3, 2, 1, 1)
            report = audit(nn.Sequential(layer))
        assert report[0].severity == "severe"
        assert "quantise" in report[0].remedy
        assert "Quantised" in str(report)

    def test_forward_that_raises_names_layer_and_size(self):
        model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ConvTranspose2d(5, 4, 3))
        with pytest.raises(
            ValueError, match=r"input_size=\(1, 3, 8, 8\) in layer '1'.*torch.randn"
        ):
            audit(model, (1, 3, 8, 8))

    @pytest.mark.parametrize(("size", "error"), [
        (3, TypeError), ("1", TypeError), ((), ValueError), ((1, 0), ValueError),
        ((1, 2.5), TypeError), ([(1, 2), 3], TypeError),
    ])  # fmt: skip
    def test_wrong_sizes(self, size, error):
        with pytest.raises(error, match="input_size"):
            audit(nn.ReLU(), size)


def test_shapes_are_not_left_in_the_caches_of_a_model():
    """A cache that asks whether it is being compiled, as transformers' do, keeps no fake tensor."""
    kept = {}

    class Caches(nn.Module):
        def forward(self, x):
            if torch.compiler.is_compiling():
                return F.interpolate(x, scale_factor=2)
            return kept.setdefault("made", F.interpolate(x, scale_factor=2))

    audit(Caches(), (1, 1, 32, 32))
    assert type(kept["made"]) is torch.Tensor
    assert not torch.compiler.is_compiling()


def test_misplaced_output_is_told_without_output_padding_too():
    model = nn.Sequential(nn.Conv2d(1, 1, 7, 2, 3), nn.Upsample(scale_factor=2, mode="bilinear"))
    report = audit(model, (1, 1, 32, 32))
    assert report.clean
    assert report.displaced == ((0.5, 0.5), (0.5, 0.5))
    assert "it lies 0.5 px toward the bottom and right" in str(report)


def test_forward_pass_is_that_of_evaluation():
    """In training mode, a normalisation over a batch of one raises."""
    model = nn.Sequential(
        nn.Linear(3, 4),
        nn.BatchNorm1d(4),
        nn.Unflatten(1, (1, 2, 2)),
        nn.ConvTranspose2d(1, 1, 2, 2),
    ).train()
    assert audit(model, (1, 3))[0].out_size == (4, 4)
    assert model.training


def test_complex_models_are_read_and_repaired():
    model = nn.Sequential(nn.ConvTranspose2d(2, 2, 3, 2, 1, 1, dtype=torch.complex64))
    report = audit(model, (1, 2, 16, 16))
    assert report[0].out_size == (32, 32)
    assert report[0].spread > 0.3
    assert report.constants is None
    assert autoup.repair(model, (1, 2, 8, 8))[0].kernel_size == (4, 4)


def test_model_that_cannot_run_on_constants_is_reported_all_the_same():
    class Refuses(nn.ConvTranspose2d):
        def forward(self, x):
            if not torch.compiler.is_compiling():
                raise RuntimeError("no constants, please.")
            return super().forward(x)

    report = audit(nn.Sequential(Refuses(1, 1, 3, 2, 1, 1)), (1, 1, 16, 16))
    assert report[0].out_size == (32, 32)
    assert "raises RuntimeError: no constants, please." in report.notes[-1]


def test_class_instead_of_a_model_is_refused():
    with pytest.raises(TypeError, match="got the class ReLU: make one"):
        audit(nn.ReLU)


def test_offsets_are_told_without_rounding():
    model = nn.Sequential(*(nn.ConvTranspose1d(1, 1, 5, 3, 1) for _ in range(3)))
    report = audit(model, (1, 1, 50))
    assert report.displaced == ((0.0, 0.0),)
    assert "px toward" not in str(report)
