"""Skips by number and by path, and what is said where there are none."""

from collections import OrderedDict

import pytest
import torch
from support.encoders import Module, conv
from torch import nn
from torch.nn import functional as F  # noqa: N812

from autoup import unet

SIZE = (2, 3, 33, 47)


def encoder():
    layers = {"a": conv(3, 8, 3, 1, 1), "b": conv(8, 16), "c": conv(16, 32), "d": conv(32, 64)}
    return nn.Sequential(OrderedDict(layers))


def paths(**options):
    net = unet(encoder(), SIZE, 2, **options)
    assert net(torch.rand(1, 3, 41, 39)).shape == (1, 2, 41, 39)
    return [each.path for each in net.skips]


@pytest.mark.parametrize(
    ("skips", "found"),
    [
        (None, ["a", "b", "c"]), (3, ["a", "b", "c"]), (2, ["b", "c"]), (1, ["c"]),
        (["a"], ["a"]), (["c", "a"], ["a", "c"]), (("b", "b"), ["b"]),
    ],
)  # fmt: skip
def test_skips_are_taken_from_the_deepest_or_by_path(skips, found):
    assert paths(skips=skips) == found


def test_named_skips_are_put_in_order_of_their_resolution():
    whole = nn.Sequential(conv(3, 9, 3, 1, 1), conv(9, 6), conv(6, 4), conv(4, 8))
    net = unet(whole, SIZE, 2, skips=["2", "1"])
    assert [(each.path, each.channels) for each in net.skips] == [("1", 6), ("2", 4)]
    assert net(torch.rand(SIZE)).shape == (2, 2, 33, 47)


def test_no_skip_but_the_image():
    assert paths(skips=0, image_skip=True) == []


@pytest.mark.parametrize("image_skip", [False, True])
def test_maps_of_one_size_are_joined_in_one_stage(image_skip):
    layers = [(3, 7, 3, 1, 1), (7, 6, 3, 1, 1), (6, 5), (5, 4, 3, 1, 1), (4, 8)]
    whole = nn.Sequential(*(conv(*each) for each in layers))
    net = unet(whole, SIZE, 2, skips=["1", "3", "0", "2"], image_skip=image_skip)
    assert sorted(each.path for each in net.skips) == ["0", "1", "2", "3"]
    joined = [[net.skips[n].size if n >= 0 else "x" for n in each.joined] for each in net.decoder]
    assert joined == [[(17, 24)] * 2, [(33, 47)] * 2 + ["x"] * image_skip]
    assert net(torch.rand(SIZE)).shape == (2, 2, 33, 47)


def test_maps_of_one_scale_and_other_sizes_are_joined_one_after_the_other():
    layers = [conv(3, 8, 3, 1, 0), conv(8, 8, 3, 1, 0), nn.MaxPool2d(2), conv(8, 16, 3, 1, 0)]
    net = unet(nn.Sequential(*layers), SIZE, 2, skips=["0", "1"], image_skip=True)
    assert [each.path for each in net.skips] == ["0", "1"]
    assert net(torch.rand(SIZE)).shape == (2, 2, 33, 47)


@pytest.mark.parametrize("skips", ["layer1", [1, 2], 1.5, {"a": 1}])
def test_skips_of_another_type_are_refused(skips):
    with pytest.raises(TypeError, match="skips must be"):
        unet(encoder(), SIZE, 2, skips=skips)


@pytest.mark.parametrize(
    ("skips", "match"),
    [
        (-1, r"skips must be .* -1"),
        (4, r"skips=4 asks for more maps than the encoder has: 3, of layer 'a' with 8 channels"),
        (["bb"], r"skips names 'bb', no module of the encoder; close to it are 'b'"),
        (["d"], r"skips names 'd', with 64 channels of 5x6, which is no larger than .* layer 'd'"),
    ],
)
def test_skips_that_are_not_there_are_refused(skips, match):
    with pytest.raises(ValueError, match=match):
        unet(encoder(), SIZE, 2, skips=skips)


def test_module_that_is_not_called_is_refused_as_skip():
    whole = encoder()
    whole.a.register_module("spare", nn.ReLU())
    with pytest.raises(ValueError, match=r"'a\.spare', a module .* that returns no tensor"):
        unet(whole, SIZE, 2, skips=["a.spare"])


@pytest.mark.parametrize("path", ["1", "2", "3"])
def test_module_without_a_map_is_refused_as_skip(path):
    square = Module(lambda _, x: x.flatten().outer(x.flatten()))
    whole = nn.Sequential(encoder(), nn.Flatten(), nn.Linear(64 * 30, 4), square)
    with pytest.raises(ValueError, match=f"skips names '{path}', whose output is no map"):
        unet(whole, SIZE, 2, skips=[path])


def test_of_a_module_that_is_called_again_the_last_map_is_joined():
    def forward(m, x):
        return m.c(m.act(m.b(m.act(m.a(x)))))

    whole = Module(forward, a=conv(3, 8), b=conv(8, 16), c=conv(16, 32), act=nn.ReLU())
    net = unet(whole, SIZE, 2, skips=["act"])
    assert [(each.channels, each.size) for each in net.skips] == [(16, (9, 12))]


def test_map_that_is_not_found_may_be_named():
    whole = nn.Sequential(nn.BatchNorm2d(3), conv(3, 8), nn.ReLU())
    with pytest.raises(ValueError, match="one resolution only"):
        unet(whole, SIZE, 2)
    net = unet(whole, SIZE, 2, skips=["0"])
    assert [each.path for each in net.skips] == ["0"]
    assert net(torch.rand(SIZE)).shape == (2, 2, 33, 47)


def test_encoder_of_one_resolution_is_told_of_the_image():
    one = nn.Sequential(conv(3, 8), nn.ReLU(), conv(8, 16, 3, 1, 1))
    match = r"one resolution only, that of layer '2' with 16 channels of 17x24.*image_skip=True"
    with pytest.raises(ValueError, match=match):
        unet(one, SIZE, 2)
    assert unet(one, SIZE, 2, image_skip=True)(torch.rand(SIZE)).shape == (2, 2, 33, 47)


@pytest.mark.parametrize("image_skip", [False, True])
def test_encoder_that_reduces_nothing_is_not_told_of_the_image(image_skip):
    one = nn.Sequential(conv(3, 8, 3, 1, 1), nn.ReLU(), conv(8, 16, 3, 1, 1))
    with pytest.raises(ValueError, match=r"layer '2' with 16 channels of 33x47") as caught:
        unet(one, SIZE, 2, image_skip=image_skip)
    assert "image_skip" not in str(caught.value)


def test_unet_is_refused_by_its_smallest_map():
    def forward(m, x):
        x = m.a(x)
        return m.c(torch.cat([x, F.interpolate(m.b(x), size=x.shape[2:])], 1))

    whole = Module(forward, a=conv(3, 8, 3, 1, 1), b=conv(8, 16), c=conv(24, 4, 3, 1, 1))
    match = r"as small as 16 channels of 17x24 in layer 'b', and joins them to larger .* layer 'c'"
    with pytest.raises(ValueError, match=match):
        unet(whole, SIZE, 2)


def test_encoder_of_functions_alone_is_told_to_call_modules():
    def forward(m, x):
        for weight in m.weights:
            x = F.conv2d(x, weight, stride=2, padding=1)
        return x

    weights = nn.ParameterList(torch.rand(o, i, 3, 3) for o, i in ((8, 3), (16, 8), (32, 16)))
    with pytest.raises(ValueError, match=r"the encoder itself with 32 .* made by functions"):
        unet(Module(forward, weights=weights), SIZE, 2)


@pytest.mark.parametrize(
    "without", [nn.Identity(), nn.MaxPool2d(2), nn.Sequential(nn.Flatten(), nn.Linear(4653, 2))]
)
def test_encoder_without_a_map_is_refused(without):
    with pytest.raises(ValueError, match="encoder makes no feature map"):
        unet(without, SIZE, 2)


@pytest.mark.parametrize("image_skip", [False, True])
def test_input_resized_by_no_whole_number_is_told(image_skip):
    whole = Module(lambda m, x: m.body(F.interpolate(x, size=(20, 20))), body=encoder())
    match = r"cannot enlarge the map of layer 'body\.a'.* to that of the input .*Pass the part"
    with pytest.raises(ValueError, match=match):
        unet(whole, SIZE, 2, image_skip=image_skip)


class Even(nn.Sequential):
    """Refuses what does not divide by 32."""

    def forward(self, x):
        if any(size % 32 for size in x.shape[2:]):
            raise ValueError(f"size {tuple(x.shape[2:])} does not divide by 32")
        return super().forward(x)


@pytest.mark.parametrize(
    ("size", "layers", "answer"),
    [
        ((2, 3, 33, 47), [conv(3, 8), conv(8, 16)], "It takes input_size=(2, 3, 64, 64)"),
        ((2, 1, 33, 47), [conv(3, 8), conv(8, 16)], "Pass a size for which encoder(torch.zeros"),
        (
            (2, 3, 33, 47),
            [conv(3, 8), nn.Conv2d(8, 16, 100)],
            "It takes input_size=(2, 3, 224, 224)",
        ),
    ],
)
def test_refused_size_is_answered_with_one_that_runs(size, layers, answer):
    with pytest.raises(ValueError, match="does not divide by 32") as caught:
        unet(Even(*layers), size, 2)
    assert answer in str(caught.value)
