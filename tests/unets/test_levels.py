"""Which maps of an encoder a U-Net joins: one of each resolution, cheap and easily named."""

from collections import OrderedDict

import pytest
import torch
from support.encoders import Module, conv
from torch import nn
from torch.nn import functional as F  # noqa: N812

from autoup import unet
from autoup.unets.maps import FeatureMap

SIZE = (2, 3, 33, 47)


def maps_of(encoder, size=SIZE, **options):
    """Return path and channels of each map, after the net has run at another size."""
    net = unet(encoder, size, 2, **options).eval()
    other = (1, size[1], *(each + 8 for each in size[2:]))
    with torch.no_grad():
        assert net(torch.rand(other)).shape == (1, 2, *other[2:])
    return [(each.path, each.channels) for each in (*net.skips, net.deepest)]


def stage(i, o, s=2):
    return nn.Sequential(conv(i, o, s=s), nn.BatchNorm2d(o), nn.ReLU())


def named(**layers):
    return nn.Sequential(OrderedDict(layers))


def body():
    return named(a=stage(3, 8), b=stage(8, 16), c=stage(16, 32))


BODY = [("a", 8), ("b", 16), ("c", 32)]


def test_each_level_is_read_at_its_last_map():
    encoder = named(a=stage(3, 8), b=stage(8, 8, 1), c=stage(8, 16), d=stage(16, 16, 1))
    assert maps_of(encoder) == [("b", 8), ("d", 16)]


def test_level_begins_where_one_axis_alone_falls():
    encoder = named(a=stage(3, 8, (1, 2)), b=stage(8, 8, (2, 1)), c=stage(8, 8))
    assert maps_of(encoder) == [("a", 8), ("b", 8), ("c", 8)]


def test_small_loss_of_size_is_no_level():
    encoder = named(a=stage(3, 8), b=conv(8, 8, 3, 1, 0), c=conv(8, 8, 3, 1, 0), d=stage(8, 16))
    assert maps_of(encoder) == [("c", 8), ("d", 16)]


def test_map_before_an_expansion_at_each_place_is_read():
    encoder = named(a=stage(3, 8), more=nn.Conv2d(8, 32, 1), act=nn.ReLU(), b=stage(32, 16))
    assert maps_of(encoder)[0] == ("a", 8)


def test_map_before_a_layer_that_sees_its_neighbours_is_not_read():
    encoder = named(a=stage(3, 8), more=conv(8, 32, 3, 1, 1), act=nn.ReLU(), b=stage(32, 16))
    assert maps_of(encoder)[0] == ("act", 32)


@pytest.mark.parametrize(
    "between",
    [
        nn.AvgPool2d(3, 1, 1),
        nn.MaxPool2d(3, 1, 1),
        Module(lambda _, x: x.roll(1, 2)),
        Module(lambda _, x: x.cumsum(3)),
        Module(lambda _, x: x - x.mean(2, keepdim=True)),
        Module(lambda _, x: x * x.softmax(2)),
        Module(lambda _, x: F.scaled_dot_product_attention(x, x, x)),
        Module(lambda _, x: x + F.interpolate(x[:, :, ::2, ::2], x.shape[2:])),
    ],
    ids=["average", "maximum", "roll", "sum", "mean", "softmax", "attention", "resizing"],
)
def test_map_before_what_mixes_places_is_not_read(between):
    encoder = named(a=stage(3, 8), more=nn.Conv2d(8, 32, 1), mix=between, b=stage(32, 16))
    assert maps_of(encoder)[0] == ("mix", 32)


def attend(x):
    t = x.flatten(2)
    return (t @ t.transpose(1, 2) @ t).view_as(x)


@pytest.mark.parametrize(
    "mix",
    [lambda x: x.roll(1, 2), lambda x: x.cumsum(3), lambda x: x.softmax(2), attend],
    ids=["roll", "cumsum", "softmax", "attention"],
)
def test_map_before_places_are_mixed_is_not_read(mix):
    more = Module(lambda m, x: m.conv(mix(x)), conv=nn.Conv2d(8, 32, 1))
    assert maps_of(named(a=stage(3, 8), more=more, b=stage(32, 16)))[0] == ("more.conv", 8)


@pytest.mark.parametrize(
    ("scale", "size", "falls"),
    [(1.0, 8, False), (1.4, 6, False), (1.5, 6, True), (2.0, 8, False), (0.5, 16, False)],
)
def test_level_falls_to_seven_tenths_and_to_fewer_pixels(scale, size, falls):
    one, other = (
        FeatureMap(None, (), 8, (n,), (each,), (None,), ()) for n, each in ((8, 1.0), (size, scale))
    )
    assert one.falls_to(other) == falls == other.falls_from(one)


def test_map_with_few_more_channels_is_no_dearer():
    encoder = named(a=stage(3, 8), more=nn.Conv2d(8, 10, 1), b=stage(10, 16))
    assert maps_of(encoder)[0] == ("more", 10)


def test_outermost_module_is_named():
    encoder = named(body=named(a=named(x=stage(3, 8)), b=named(x=stage(8, 16))))
    assert maps_of(encoder) == [("body.a", 8), ("body", 16)]


def test_module_that_writes_over_a_map_or_makes_it_is_named():
    encoder = named(
        a=conv(3, 8), norm=nn.BatchNorm2d(8), act=nn.ReLU(inplace=True), b=stage(8, 16),
        same=nn.Identity(),
    )  # fmt: skip
    assert maps_of(encoder) == [("act", 8), ("b", 16)]


def test_module_that_returns_a_map_alone_is_named_before_one_that_returns_several():
    def forward(m, x):
        a = m.a(x)
        return {"maps": [a, m.b(a)]}

    encoder = named(inner=Module(forward, a=stage(3, 8), b=stage(8, 16)))
    assert maps_of(encoder) == [("inner.a", 8), ("inner.b", 16)]


def test_input_that_is_only_normalised_is_no_map():
    encoder = named(norm=nn.BatchNorm2d(3), body=body())
    assert maps_of(encoder) == [("body.a", 8), ("body.b", 16), ("body", 32)]


@pytest.mark.parametrize("factor", [0.5, 2])
def test_resized_input_is_no_map(factor):
    encoder = Module(lambda m, x: m.body(F.interpolate(x, scale_factor=factor)), body=body())
    assert [channels for _, channels in maps_of(encoder, (2, 3, 32, 48))] == [8, 16, 32]


def test_unshuffled_input_is_no_map():
    encoder = named(first=nn.PixelUnshuffle(2), a=stage(12, 16, 1), b=stage(16, 32))
    assert maps_of(encoder, (2, 3, 32, 48)) == [("a", 16), ("b", 32)]


def test_returned_maps_are_taken_as_they_are():
    def forward(m, x):
        a = m.a(x)
        b = m.b(a)
        return m.wide(b), m.c(b)

    encoder = Module(
        forward, a=stage(3, 8), b=stage(8, 16), c=stage(16, 32), wide=nn.Conv2d(16, 64, 1)
    )
    assert maps_of(encoder) == [("wide", 64), ("c", 32)]


def test_returned_result_of_very_few_channels_is_not_taken():
    def forward(m, x):
        a = m.a(x)
        b = m.b(a)
        return [a, b, m.last(b)]

    encoder = Module(forward, a=stage(3, 8), b=stage(8, 16), last=conv(16, 1, 3, 1, 1))
    assert maps_of(encoder) == [("a", 8), ("b", 16)]


def test_returned_maps_of_a_pyramid_are_put_in_order():
    def forward(m, x):
        a = m.a(x)
        top = m.top(m.b(a))
        return m.side(a + F.interpolate(top, a.shape[2:])), top

    layers = {"a": stage(3, 8), "b": stage(8, 16), "top": nn.Conv2d(16, 8, 1)}
    encoder = Module(forward, **layers, side=nn.Conv2d(8, 8, 1))
    assert maps_of(encoder) == [("side", 8), ("top", 8)]


def test_returned_map_of_one_pixel_is_taken_where_a_layer_of_its_own_makes_it():
    def forward(m, x):
        a = m.a(x)
        b = m.b(a)
        return a, b, m.wide(m.c(b))

    layers = {"a": stage(3, 8), "b": stage(8, 16), "c": stage(16, 32), "wide": nn.Conv2d(32, 64, 1)}
    net = unet(Module(forward, **layers), (2, 3, 8, 8), 2)
    assert (net.deepest.path, net.deepest.size) == ("wide", (1, 1))


def test_returned_input_and_pooled_map_are_not_taken():
    def forward(m, x):
        a = m.a(x)
        b = m.b(a)
        return {"first": x, "states": (a, b), "pooled": F.adaptive_avg_pool2d(b, 1)}

    assert maps_of(Module(forward, a=stage(3, 8), b=stage(8, 16))) == [("a", 8), ("b", 16)]


def test_returned_maps_of_one_resolution_are_not_all():
    def forward(m, x):
        y = m.body(x)
        return {"mean": m.mean(y), "scale": m.scale(y)}

    encoder = Module(forward, body=body(), mean=nn.Conv2d(32, 8, 1), scale=nn.Conv2d(32, 8, 1))
    assert maps_of(encoder) == [("body.a", 8), ("body.b", 16), ("mean", 8)]


@pytest.mark.parametrize(
    "head",
    [
        [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, 5)],
        [nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(128, 5)],
        [nn.AvgPool2d((5, 6)), nn.Flatten(), nn.Linear(32, 5)],
        [Module(lambda m, x: m.fc(x.mean((2, 3))), fc=nn.Linear(32, 5))],
        [Module(lambda m, x: m.fc(x.mean((2, 3), keepdim=True)), fc=nn.Conv2d(32, 50, 1))],
        [Module(lambda m, x: m.fc(x.amax((2, 3))), fc=nn.Linear(32, 5))],
    ],
    ids=["one pixel", "four pixels", "window", "mean", "mean kept", "maximum"],
)
def test_head_is_left_out(head):
    encoder = named(body=body(), head=nn.Sequential(*head))
    net = unet(encoder, SIZE, 2)
    assert net.deepest.path == "body"
    assert all(path.startswith("encoder.head") for path in net.unused)
    assert net.unused


def test_convolution_over_all_of_the_map_is_a_head():
    encoder = named(a=conv(3, 8, 4), b=conv(8, 16, 4), last=nn.Conv2d(16, 4, 4))
    net = unet(encoder, (2, 3, 16, 16), 2)
    assert [each.path for each in (*net.skips, net.deepest)] == ["a", "b"]


def test_small_map_of_one_pixel_by_a_strided_layer_is_no_head():
    encoder = named(a=stage(3, 8), b=stage(8, 16), c=nn.MaxPool2d(2))
    net = unet(encoder, (2, 3, 8, 8), 2)
    assert (net.deepest.path, net.deepest.size) == ("c", (1, 1))


@pytest.mark.parametrize(("channels", "deepest"), [(2, "c"), (8, "last")])
def test_result_of_very_few_channels_is_no_map(channels, deepest):
    encoder = named(
        a=stage(3, 8), b=stage(8, 16), c=stage(16, 32), last=conv(32, channels, 3, 1, 1)
    )
    assert maps_of(encoder)[-1] == (deepest, {"c": 32, "last": channels}[deepest])


def test_decoder_of_the_encoder_is_left_out():
    encoder = named(
        a=stage(3, 8), b=stage(8, 16), up=nn.Upsample(scale_factor=2), c=stage(16, 8, 1)
    )
    net = unet(encoder, SIZE, 2)
    assert [each.path for each in (*net.skips, net.deepest)] == ["a", "b"]
    assert {path.split(".")[1] for path in net.unused} == {"c"}


def branches(m, x):
    """Three resolutions side by side that are added up at the end, as in HRNet."""
    x = m.stem(x)
    low = m.down(x)
    lower = m.further(low)
    return m.last(F.max_pool2d(x, 4) + F.max_pool2d(low, 2) + lower)


def test_branches_are_searched_where_the_resolution_falls_at_once():
    encoder = Module(
        branches, stem=stage(3, 8), down=stage(8, 8), further=stage(8, 8), last=stage(8, 8, 1)
    )
    found = maps_of(encoder, (2, 3, 32, 48))
    assert [path for path, _ in found] == ["stem", "down", "last"]


def test_map_inside_what_leads_down_from_a_branch_is_not_the_branch():
    def forward(m, x):
        x = m.stem(x)
        return m.last(F.max_pool2d(x, 4) + m.fuse(m.down(x)))

    fuse = nn.Sequential(conv(8, 8, 3, 1, 1), conv(8, 8))
    encoder = Module(forward, stem=stage(3, 8), down=stage(8, 8), fuse=fuse, last=stage(8, 8, 1))
    found = maps_of(encoder, (2, 3, 32, 48))
    assert [path for path, _ in found] == ["stem", "down", "last"]


def test_the_last_map_of_the_largest_branch_is_read():
    def forward(m, x):
        x = m.stem(x)
        low = m.down(x)
        lower = m.further(low)
        return m.last(F.max_pool2d(m.same(x), 4) + F.max_pool2d(low, 2) + lower)

    layers = {"stem": stage(3, 8), "down": stage(8, 8), "further": stage(8, 8)}
    encoder = Module(forward, **layers, same=stage(8, 8, 1), last=stage(8, 8, 1))
    found = maps_of(encoder, (2, 3, 32, 48))
    assert [path for path, _ in found] == ["same", "down", "last"]


def test_one_fall_of_four_is_searched_in_vain():
    encoder = named(a=nn.Conv2d(3, 8, 4, 4), b=stage(8, 16), c=stage(16, 32))
    assert maps_of(encoder) == BODY


def test_shared_activation_is_heard_at_the_call_that_makes_the_map():
    def forward(m, x):
        for layer in (m.a, m.b, m.c):
            x = m.act(layer(x))
        return x

    encoder = Module(forward, a=conv(3, 8), b=conv(8, 16), c=conv(16, 32), act=nn.ReLU())
    assert maps_of(encoder) == [("act", 8), ("act", 16), ("act", 32)]


def test_functions_between_modules_are_read_where_a_module_begins_or_ends():
    def forward(m, x):
        for layer in m.layers:
            x = F.max_pool2d(F.relu(layer(x)), 2)
        return x

    layers = nn.ModuleList(conv(i, o, 3, 1, 1) for i, o in ((3, 8), (8, 16), (16, 32)))
    found = maps_of(Module(forward, layers=layers))
    assert found == [("layers.0", 8), ("layers.1", 16), ("layers.2", 32), ("", 32)]


def test_channels_last_maps_are_read():
    def forward(m, x):
        x = m.a(x).permute(0, 2, 3, 1)
        x = m.b(x)
        return m.c(x.permute(0, 3, 1, 2))

    mlp = nn.Sequential(nn.LayerNorm(8), nn.Linear(8, 8), nn.GELU())
    net = unet(Module(forward, a=conv(3, 8), b=mlp, c=conv(8, 16)), SIZE, 2)
    assert [(each.path, each.order) for each in net.skips] == [("b", (0, 3, 1, 2))]
    assert net(torch.rand(SIZE)).shape == (2, 2, 33, 47)


def test_valid_convolutions_reach_the_size_of_the_input():
    encoder = named(
        a=conv(3, 8, 3, 1, 0), b=conv(8, 8, 3, 1, 0), pool=nn.MaxPool2d(2), c=conv(8, 16, 3, 1, 0)
    )
    assert maps_of(encoder) == [("b", 8), ("c", 16)]


def test_folded_patches_are_a_map_again():
    def forward(m, x):
        x = m.a(x)
        patches = m.mix(F.unfold(x, 2, stride=2).transpose(1, 2)).transpose(1, 2)
        return m.b(F.fold(patches, x.shape[2:], 2, stride=2))

    encoder = Module(forward, a=conv(3, 8), mix=nn.Linear(32, 32), b=conv(8, 16))
    net = unet(encoder, (2, 3, 32, 48), 2)
    assert [(each.path, each.channels) for each in (*net.skips, net.deepest)] == [
        ("a", 8),
        ("b", 16),
    ]


class Snake(nn.Module):
    """An activation with a parameter for each channel."""

    def __init__(self, channels):
        super().__init__()
        self.alpha = nn.Parameter(torch.ones(channels, 1, 1))

    def forward(self, x):
        return x + torch.sin(self.alpha * x) ** 2 / self.alpha


def test_activation_of_so_many_channels_is_not_copied():
    encoder = named(a=conv(3, 8), act=Snake(8), b=conv(8, 16), last=Snake(16))
    assert maps_of(encoder) == [("act", 8), ("last", 16)]


def tokens(m, x):
    return m.blocks(m.patches(x).flatten(2).transpose(1, 2))


def vit(depth):
    blocks = [nn.TransformerEncoderLayer(16, 2, 32, batch_first=True) for _ in range(depth)]
    return Module(tokens, patches=conv(3, 16, 8, 8, 0), blocks=nn.Sequential(*blocks))


def test_encoder_that_works_on_tokens_is_refused_by_its_layers():
    with pytest.raises(ValueError, match=r"behind layer 'patches': layer 'blocks\.0") as caught:
        unet(vit(3), (1, 3, 32, 48), 2)
    assert "works on tokens" in str(caught.value)


def test_encoder_without_a_map_before_its_tokens_is_told_so():
    block = nn.TransformerEncoderLayer(3, 1, 32, batch_first=True)
    encoder = Module(lambda m, x: m.block(x.flatten(2).transpose(1, 2)), block=block)
    with pytest.raises(ValueError, match=r"no feature map behind its input: layer 'block"):
        unet(encoder, (1, 3, 8, 8), 2)


def test_some_work_on_tokens_behind_the_last_map_is_left_out():
    def forward(m, x):
        return m.tokens(m.body(x).flatten(2).transpose(1, 2))

    net = unet(Module(forward, body=body(), tokens=nn.Linear(32, 8)), SIZE, 2)
    assert net.deepest.path == "body"
    assert {path.split(".")[1] for path in net.unused} == {"tokens"}
