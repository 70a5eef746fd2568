"""Layers that are called with output_size grow where all sizes stay, and where not it is said."""

import ast
import re
from itertools import product

import pytest
import torch
from support.comparing import distance, layers_of, quietly
from support.unets import UNet
from torch import nn
from torch.nn import functional as F  # noqa: N812

import autoup
from autoup import audit, repair
from autoup.repairing.output_sizes import Ask, Asked, further_sizes


def kernels(model):
    return {layer.kernel_size for layer in layers_of(model).values()}


def assert_same_function(model, repaired, sizes):
    """Compare on all sizes that the model takes; return how many these are."""
    taken = 0
    for size in sizes:
        x = torch.randn(1, 1, *size, dtype=torch.float64)
        try:
            wanted = model(x)
        except (RuntimeError, ValueError):
            continue
        taken += 1
        assert distance([wanted], [repaired(x)]) <= 1e-12, size
    return taken


def listed(model, size):
    """Return the reasons of the one warning, by layer."""
    with pytest.warns(autoup.ArtifactWarning) as caught:
        repaired = repair(model, size)
    (warning,) = caught
    lines = str(warning.message).splitlines()[1:]
    return repaired, dict(line.strip().split(": ", 1) for line in lines)


@pytest.mark.parametrize("dims", [1, 2, 3])
@pytest.mark.parametrize("output_padding", [0, 1])
def test_layers_grow_where_no_size_is_lost(dims, output_padding):
    """Behind pooling, 3 taps make even sizes alone, and so do 4."""
    model = UNet(dims, output_padding=output_padding).double()
    repaired = repair(model, (1, 1, *(8,) * dims))
    assert kernels(repaired) == {(4,) * dims}
    assert {layer.output_padding for layer in layers_of(repaired).values()} == {(0,) * dims}
    assert assert_same_function(model, repaired, product((8, 9, 10, 12), repeat=dims)) == 2**dims
    assert audit(repaired, (1, 1, *(8,) * dims)).clean


def test_layers_grow_along_the_axes_that_allow_it():
    """Along the depth nothing is enlarged: all that is asked for is what the layer makes."""
    model = UNet(3, kernel_size=(1, 3, 3), stride=(1, 2, 2), padding=(0, 1, 1)).double()
    repaired = repair(model, (1, 1, 5, 8, 8))
    assert kernels(repaired) == {(1, 4, 4)}
    assert assert_same_function(model, repaired, [(5, 8, 8), (6, 12, 8)]) == 2


def test_kernels_that_grow_at_both_ends_leave_all_sizes():
    model = UNet(1, down="conv", kernel_size=5, stride=3, padding=2).double()
    repaired = repair(model, (1, 1, 10))
    assert kernels(repaired) == {(9,)}
    assert assert_same_function(model, repaired, [(n,) for n in range(4, 24)]) == 20


@pytest.mark.parametrize("size", [(8, 8, 8), (9, 8, 11)])
def test_layers_stay_where_an_input_of_another_size_would_be_refused(size):
    """Behind strided convolutions odd sizes are asked for, which 4 taps do not make."""
    model = UNet(3, down="conv")
    repaired, left = listed(model, (1, 1, *size))
    assert kernels(repaired) == {(3, 3, 3)}
    assert [*left] == ["ups.0", "ups.1"]
    wanted = re.search(
        r"of (\d+) pixels kernel_size 4 makes (\d+) or more, "
        r"and input_size=(\(.*?\)) asks for (\d+)",
        left["ups.1"],
    )
    small, made, refused, asked = map(ast.literal_eval, wanted.groups())
    assert (made, asked) == (2 * small, 2 * small - 1)
    model(torch.zeros(refused))
    grown = UNet(3, down="conv", kernel_size=4)
    with pytest.raises(ValueError, match="requested an output size"):
        grown(torch.zeros(refused))


def test_deep_layers_are_asked_for_every_remainder():
    """From 5 pixels on, the deepest map changes with the fourth more alone."""
    model = UNet(1, down="conv", levels=3)
    _, left = listed(model, (1, 1, 5))
    assert "input_size=(1, 1, 9) asks for 3" in left["ups.0"]


def test_sizes_that_the_model_refuses_do_not_count():
    """Whatever its layers were asked for before it raises."""

    class Even(UNet):
        def forward(self, x):
            made = super().forward(x)
            if x.shape[2] % 4:
                raise ValueError("multiples of 4 alone")
            return made

    model = Even(1, down="conv").double()
    repaired = repair(model, (1, 1, 8))
    assert kernels(repaired) == {(4,)}
    assert assert_same_function(model, repaired, [(n,) for n in range(8, 20)]) == 3


def test_models_of_squares_alone_are_tried_on_squares():
    class Square(UNet):
        def forward(self, x):
            if x.shape[2] != x.shape[3]:
                raise ValueError("squares alone")
            return super().forward(x)

    _, left = listed(Square(2, down="conv"), (1, 1, 8, 8))
    assert "input_size=(1, 1, 9, 9) asks for 9" in left["ups.1"]


def test_guess_by_the_size_at_hand_would_have_broken_the_model():
    """The layer's own output padding is what the size at hand asks for: nothing shows there."""
    model = UNet(2, down="conv", levels=1, output_padding=1)
    repaired, left = listed(model, (1, 1, 8, 8))
    assert "input_size=(1, 1, 9, 8) asks for 9" in left["ups.0"]
    x = torch.randn(1, 1, 9, 7)
    assert torch.equal(repaired(x), model(x))


def follow(text, model, **options):
    """Build the U-Net that a warning proposes, with the weights that it proposes."""
    found = re.search(
        r"kernel_size=(\(.*?\)), padding=(\(.*?\)), no output_padding, F.pad\(weight, (\(.*?\))\) "
        r"for the weight, and layer\(x\)\[:, :(.*?)\]",
        text,
    )
    kernel, padding, taps = (ast.literal_eval(each) for each in found.groups()[:3])
    dims = len(kernel)
    assert found[4] == {1: ", :w", 2: ", :h, :w", 3: ", :d, :h, :w"}[dims]
    made = UNet(dims, **options, kernel_size=kernel, padding=padding).double()
    state = model.state_dict()
    for name in state:
        if name.startswith("ups.") and name.endswith("weight"):
            state[name] = F.pad(state[name], taps)
    made.load_state_dict(state)
    return made


@pytest.mark.parametrize(("options", "size"), [
    ({}, 8), ({}, 9), ({"kernel_size": 5, "padding": 2}, 8),
    ({"kernel_size": 5, "stride": 4, "padding": 2}, 16),
])  # fmt: skip
@pytest.mark.parametrize("dims", [1, 2, 3])
def test_proposed_crop_is_the_same_function_at_every_size(dims, options, size):
    model = UNet(dims, down="conv", **options).double()
    _, left = listed(model, (1, 1, *(size,) * dims))
    stride = {"stride": options.get("stride", 2)}
    made = follow(left["ups.0"], model, down="conv", meet="crop", **stride)
    assert audit(made).clean
    sizes = [tuple(range(n, n + dims)) for n in range(8, 20)]
    assert assert_same_function(model, made, sizes) >= 4


def test_output_padding_that_only_some_sizes_ask_for_is_told():
    """With k2 s2 the overlap is even whatever is asked for; odd sizes are padded."""
    model = UNet(2, kernel_size=2, padding=0).double()
    assert quietly(lambda: repair(model, (1, 1, 8, 8))).ups[0].kernel_size == (2, 2)
    repaired, left = listed(model, (1, 1, 9, 8))
    assert kernels(repaired) == {(2, 2)}
    assert [*left] == ["ups.1"]
    made = follow(left["ups.1"], model, meet="crop")
    assert assert_same_function(model, made, product((8, 9, 10, 11), repeat=2)) == 16


def test_what_stays_along_one_axis_is_told_where_another_grows():
    model = UNet(2, levels=1, kernel_size=(3, 2), padding=(1, 0)).double()
    repaired, left = listed(model, (1, 1, 8, 9))
    assert kernels(repaired) == {(4, 2)}
    assert "height: kernel_size 3 -> 4 by zero taps" in left["ups.0"]
    assert "input_size=(1, 1, 8, 10) asks for 10" in left["ups.0"]
    made = follow(left["ups.0"], model, meet="crop", levels=1)
    assert assert_same_function(model, made, product((8, 10), (8, 9, 10, 11))) == 8


def test_layers_that_are_called_without_are_told_apart():
    """One is uneven and not called with output_size, one is where odd maps come alone."""

    class Mixed(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = UNet(1)
            self.plain = nn.ConvTranspose1d(3, 3, 3, 2, 1)
            self.last = nn.ConvTranspose1d(3, 3, 3, 2, 1, 1)

        def forward(self, x):
            x = self.plain(self.net(x))
            return self.last(x, output_size=(2 * x.shape[2] - 1,)) if len(x) % 2 else self.last(x)

    model = Mixed().double()
    repaired, left = listed(model, (1, 1, 8))
    assert [*left] == ["plain", "last"]
    assert "output_size" not in left["plain"]
    assert kernels(repaired.net) == {(4,)}
    repaired, left = listed(model, (2, 1, 8))
    assert [*left] == ["plain"]
    assert repaired.last.kernel_size == (4,)


def test_large_strides_are_tried_at_few_sizes():
    asked = {"": Asked((Ask((4,), (0,), (1000,), True),))}
    sizes = further_sizes(nn.ConvTranspose1d(1, 1, 301, 300, 1), ((1, 1, 1000),), asked)
    assert 10 <= len(sizes) <= 16
    every = further_sizes(nn.ConvTranspose1d(1, 1, 9, 8, 1), ((1, 1, 1000),), asked)
    assert [size for ((*_, size),) in every] == [1000 + n for n in range(1, 9)]


def test_fixed_output_size_counts_as_it_is():
    class Fixed(nn.Module):
        def __init__(self):
            super().__init__()
            self.up = nn.ConvTranspose2d(1, 1, 3, 2, 1)

        def forward(self, x):
            return self.up(x, output_size=(8, 8))

    model = Fixed().double()
    repaired = repair(model, (1, 1, 4, 4))
    assert repaired.up.kernel_size == (4, 4)
    x = torch.randn(1, 1, 4, 4).double()
    assert distance([model(x)], [repaired(x)]) <= 1e-12


def test_layer_called_with_and_without_output_size():
    class Both(nn.Module):
        def __init__(self):
            super().__init__()
            self.up = nn.ConvTranspose1d(1, 1, 3, 2, 1, 1)

        def forward(self, x):
            return self.up(self.up(x), output_size=(4 * x.shape[2],))

    model = Both().double()
    repaired = repair(model, (1, 1, 4))
    assert (repaired.up.kernel_size, repaired.up.output_padding) == ((4,), (0,))
    x = torch.randn(1, 1, 5).double()
    assert distance([model(x)], [repaired(x)]) <= 1e-12


def test_shared_weights_grow_together_or_not_at_all():
    class Shared(nn.Module):
        def __init__(self, odd):
            super().__init__()
            self.one, self.two = (nn.ConvTranspose1d(1, 1, 3, 2, 1) for _ in range(2))
            self.two.weight, self.odd = self.one.weight, odd

        def forward(self, x):
            n = 2 * x.shape[2]
            return self.one(x, output_size=(n,)), self.two(x, output_size=(n - self.odd,))

    even, odd = Shared(odd=0).double(), Shared(odd=1).double()
    assert {each.kernel_size for each in layers_of(repair(even, (1, 1, 4))).values()} == {(4,)}
    repaired, left = listed(odd, (1, 1, 4))
    assert "shares its weight with two" in left["one"]
    x = torch.randn(1, 1, 6).double()
    for model, after in ((even, repair(even, (1, 1, 4))), (odd, repaired)):
        assert distance(model(x), after(x)) <= 1e-12


def test_solved_layers_stay_true_to_their_size():
    """It is solved for 15 pixels without output padding, and called for 16."""

    class Sized(nn.Module):
        def __init__(self, out_size):
            super().__init__()
            self.up = quietly(
                lambda: autoup.AutoConvTranspose1d(1, 1, 8, out_size, kernel_size=3, stride=2)
            )

        def forward(self, x):
            return self.up(x, output_size=(16,))

    assert repair(Sized(16), (1, 1, 8)).up.kernel_size == (4,)
    with pytest.warns(autoup.ArtifactWarning, match="called with output_size"):
        assert repair(Sized(15), (1, 1, 8)).up.kernel_size == (3,)


def test_model_that_reads_what_grew_is_not_repaired():
    """It asks for other sizes by the kernel, but not at the size at hand."""

    class Reads(nn.Module):
        def __init__(self):
            super().__init__()
            self.up = nn.ConvTranspose1d(1, 1, 3, 2, 1)

        def forward(self, x):
            n = 2 * x.shape[2]
            return self.up(
                x, output_size=(n if x.shape[2] == 4 else n + self.up.kernel_size[0] - 3,)
            )

    with pytest.raises(autoup.AutoupError, match=r"input_size=\(1, 1, 5\).*nothing is repaired"):
        repair(Reads(), (1, 1, 4))


def test_model_that_looks_at_numbers_is_tried_on_real_ones():
    class Looks(UNet):
        def forward(self, x):
            return super().forward(x) if float(x.sum()) < 1e9 else x

    assert kernels(repair(Looks(2), (1, 1, 8, 8))) == {(4, 4)}
    _, left = listed(Looks(2, down="conv"), (1, 1, 8, 8))
    assert [*left] == ["ups.0", "ups.1"]


def test_guarantee_follows_output_size():
    model = UNet(2)
    repaired = repair(model, (1, 1, 16, 16), smoothness=1)
    assert all(layer.smoothness == 1 for layer in layers_of(repaired).values())
    assert repaired(torch.zeros(1, 1, 24, 20)).shape == (1, 3, 24, 20)


class TestInterpolate:
    """Models that bring what a layer makes to the size of a skip by F.interpolate."""

    def test_where_it_has_nothing_to_do_layers_grow(self):
        model = UNet(2, meet="interpolate", output_padding=1).double()
        repaired = repair(model, (1, 1, 8, 8))
        assert kernels(repaired) == {(4, 4)}
        assert assert_same_function(model, repaired, product((8, 9, 10, 11), repeat=2)) == 16

    @pytest.mark.parametrize("dims", [1, 2, 3])
    @pytest.mark.parametrize(("size", "missing", "options"), [
        (8, 1, {"kernel_size": 3}), (16, 3, {"kernel_size": 5, "stride": 4, "padding": 2}),
    ])  # fmt: skip
    def test_what_would_make_the_size_at_once_is_told(self, dims, size, missing, options):
        model = UNet(dims, meet="interpolate", **options).double()
        repaired, left = listed(model, (1, 1, *(size,) * dims))
        assert kernels(repaired) == {(options["kernel_size"],) * dims}
        before, after = (size - missing,) * dims, (size,) * dims
        assert f"brings {before} pixels to {after} and mixes neighbours" in left["ups.1"]
        assert "another function" in left["ups.1"]
        stride = {"stride": options.get("stride", 2)}
        made = follow(left["ups.1"], model, meet="crop and interpolate", **stride)
        x = torch.randn(1, 1, *(size,) * dims).double()
        padded = UNet(dims, meet="output_size", **options).double()
        padded.load_state_dict(model.state_dict())
        assert distance([padded(x)], [made(x)]) <= 1e-12
        assert distance([model(x)], [made(x)]) > 1e-3
        assert made(torch.randn(1, 1, *(size + 1,) * dims).double()).shape[2:] == (size + 1,) * dims
        assert not [row for row in audit(made, x.shape) if row.kind == "resize"]
        assert audit(made, x.shape).clean

    def test_it_is_seen_behind_a_normalisation(self):
        class Normed(nn.Module):
            def __init__(self):
                super().__init__()
                self.up = nn.Sequential(nn.ConvTranspose2d(1, 1, 3, 2, 1), nn.BatchNorm2d(1))

            def forward(self, x):
                return F.interpolate(self.up(x), size=(8, 8))

        _, left = listed(Normed(), (1, 1, 4, 4))
        assert "interpolate behind it" in left["up.0"]

    def test_enlargement_by_more_than_a_stride_is_no_mending(self):
        class Enlarges(nn.Module):
            def __init__(self):
                super().__init__()
                self.up = nn.ConvTranspose2d(1, 1, 3, 2, 1)

            def forward(self, x):
                return F.interpolate(self.up(x), scale_factor=2)

        _, left = listed(Enlarges(), (1, 1, 4, 4))
        assert "interpolate" not in left["up"]
