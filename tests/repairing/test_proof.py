"""The proof runs each model once, where there is something to prove, and can fail."""

import pytest
import torch
from support.comparing import distance, quietly
from support.unets import UNet
from torch import nn

import autoup
from autoup import repair
from autoup.inspecting.sites import has_numbers
from autoup.repairing import surgery


class Counter(nn.Module):
    """Counts by dtype the forward passes with numbers, of itself and of its copies."""

    def __init__(self, runs):
        super().__init__()
        self.count = runs.append  # A method of a list is not copied deeply as a function is.
        self.runs = runs

    def __deepcopy__(self, memo):
        return Counter(self.runs)

    def forward(self, x):
        if has_numbers(x):
            self.count(x.dtype)
        return x


@pytest.fixture
def runs():
    return []


def counted(runs, *layers):
    return nn.Sequential(Counter(runs), *layers)


UNEVEN = (nn.ConvTranspose2d, (2, 2, 3, 2, 1, 1))
CLEAN = (nn.ConvTranspose2d, (2, 2, 4, 2, 1))
RESIZE = (lambda: nn.Sequential(nn.Upsample(scale_factor=2), nn.Conv2d(2, 2, 3, padding=1)), ())


def layers(*kinds):
    return [kind(*arguments) for kind, arguments in kinds]


@pytest.mark.parametrize("options", [
    {}, {"inplace": True}, {"fold_resize": True}, {"smoothness": 1}, {"even": False},
])  # fmt: skip
def test_nothing_runs_where_nothing_changes(runs, options):
    model = counted(runs, *layers(CLEAN))
    with torch.no_grad():
        repaired = repair(model, (1, 2, 8, 8), **options)
    assert runs == []
    assert (repaired is model) == ("inplace" in options)


def test_nothing_runs_where_all_that_is_not_clean_stays(runs):
    model = counted(runs, nn.ConvTranspose2d(2, 2, 4, 2, 1, 1))
    with pytest.warns(autoup.ArtifactWarning, match="output_padding 1 stays"):
        repair(model, (1, 2, 8, 8))
    assert runs == []


@pytest.mark.parametrize(("kinds", "options", "wanted"), [
    ([UNEVEN], {}, 2),
    ([UNEVEN, UNEVEN, CLEAN], {"inplace": True}, 2),
    ([UNEVEN], {"smoothness": 1}, 2),
    ([CLEAN], {"smoothness": 0}, 2),
    ([RESIZE], {"fold_resize": True}, 3),
    ([RESIZE, UNEVEN], {"fold_resize": True, "inplace": True}, 3),
])  # fmt: skip
def test_each_model_runs_once_in_double_precision(runs, kinds, options, wanted):
    """One run of the original, one of the repaired; one more where kernels were rounded."""
    repair(counted(runs, *layers(*kinds)), (1, 2, 8, 8), **options)
    assert runs == [torch.float64] * wanted


def test_double_precision_folds_without_rounding(runs):
    repair(counted(runs, *layers(RESIZE)).double(), (1, 2, 8, 8), fold_resize=True)
    assert runs == [torch.float64] * 2


def test_sizes_are_tried_without_numbers(runs):
    model = nn.Sequential(Counter(runs), UNet(2))
    assert quietly(lambda: repair(model, (1, 1, 8, 8)))[1].ups[0].kernel_size == (4, 4)
    assert len(runs) == 2


def test_model_that_takes_no_double_precision_runs_as_it_is(runs):
    class Single(nn.Module):
        def forward(self, x):
            if x.dtype != torch.float32:
                raise TypeError("single precision alone")
            return x

    repair(nn.Sequential(Single(), *counted(runs, *layers(UNEVEN))), (1, 2, 8, 8))
    assert runs == [torch.float32] * 2


@pytest.mark.parametrize("options", [{}, {"inplace": True}, {"smoothness": 1}])
@pytest.mark.parametrize("wrong", [1e-3, 1e-9])
def test_wrong_growth_is_found(monkeypatch, wrong, options):
    right = surgery.pad_kernel

    def pad_kernel(weight, growths):
        return right(weight, growths) + wrong * (weight.shape[-1] < 4)

    monkeypatch.setattr(surgery, "pad_kernel", pad_kernel)
    model = nn.Sequential(nn.ConvTranspose2d(2, 2, 3, 2, 1, 1))
    before = model[0].weight.clone()
    with pytest.raises(autoup.AutoupError, match=r"float64.*nothing is repaired"):
        repair(model.double() if wrong < 1e-6 else model, (1, 2, 8, 8), **options)
    assert torch.equal(model[0].weight, before)


@pytest.mark.parametrize("name", ["kernel_size", "padding"])
def test_model_that_reads_a_layer_is_found(name):
    """10 taps with stride 5 and padding 3 become 15, padded by 5."""

    class Reads(nn.Module):
        def __init__(self):
            super().__init__()
            self.up = nn.ConvTranspose2d(2, 2, 10, 5, 3, 1)

        def forward(self, x):
            return self.up(x) * getattr(self.up, name)[0]

    with pytest.raises(autoup.AutoupError, match="code in the model may read"):
        repair(Reads(), (1, 2, 8, 8))


def test_wrong_fold_is_found_by_both_runs(monkeypatch):
    from autoup.repairing import folding

    right = folding._fold_kernel
    model = nn.Sequential(*layers(RESIZE)[0])
    for wrong, precision in ((1e-6, "float64"), (1e-2, "float32")):
        # Where double precision is right, single precision alone can be wrong.
        def fold_kernel(conv, scale, wrong=wrong, precision=precision):
            off = precision == str(conv.weight.dtype).partition(".")[2]
            return right(conv, scale) * (1 + wrong * off)

        monkeypatch.setattr(folding, "_fold_kernel", fold_kernel)
        with pytest.raises(autoup.AutoupError, match=precision):
            repair(model, (1, 2, 8, 8), fold_resize=True)


def test_change_is_done_to_the_model_as_to_its_copy():
    """Places are found by path, whatever module holds them."""
    shared = nn.ConvTranspose2d(2, 2, 3, 2, 1, 1)
    model = nn.Sequential(shared, nn.ModuleDict({"a": shared})["a"], *layers(RESIZE))
    x = torch.randn(1, 2, 4, 4)
    wanted = model(x)
    copied = repair(model, x.shape, fold_resize=True)
    assert repair(model, x.shape, fold_resize=True, inplace=True) is model
    assert str(model) == str(copied)
    assert distance([wanted], [model(x)]) <= 1e-5
