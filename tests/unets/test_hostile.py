"""What a U-Net refuses, and that it hears no other map in training without a word."""

import gc

import pytest
import torch
from torch import nn

from autoup import unet

SIZE = (1, 3, 16, 16)


def chain():
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, 1, 1),
        nn.ReLU(),
        nn.Conv2d(8, 16, 3, 2, 1),
        nn.ReLU(),
        nn.Conv2d(16, 32, 3, 2, 1),
    )


class Listing(nn.Module):
    def forward(self, x):
        return [x]


WRONG = {
    "widths as an int": ({"widths": 16}, TypeError, "widths must be a tuple or a list.*got 16"),
    "widths in no order": ({"widths": {16, 32}}, TypeError, "widths must be a tuple or a list"),
    "widths of nothing": ({"widths": (0, 32)}, ValueError, r"widths\[0\].*got 0"),
    "widths of floats": ({"widths": (16.0, 32)}, TypeError, r"widths\[0\].*got 16\.0"),
    "a class behind the heads": ({"output_activation": nn.Sigmoid}, TypeError, "must be a module"),
    "a name behind the heads": ({"output_activation": "sigmoid"}, TypeError, "got 'sigmoid'"),
    "a module as a block": ({"block": nn.Identity()}, TypeError, r"block must be a function"),
    "a block of lists": ({"block": lambda *_: Listing()}, ValueError, "no tensor but a list"),
    "a class as a block": ({"block": nn.Conv2d}, TypeError, r"block\(48, 32\) must.*kernel_size"),
    "skips as a name": ({"skips": "3"}, TypeError, r"got '3'; write skips=\['3'\]"),
    "skips by numbers": ({"skips": [1, 3]}, TypeError, r"write skips=\['1', '3'\]"),
    "skips in no order": ({"skips": {"0"}}, TypeError, "skips must be how many, or the paths"),
    "skips as a flag": ({"skips": True}, TypeError, "skips must be how many.*got True"),
    "no such module": ({"skips": ["layer"]}, ValueError, "'layer'.*found are '1', '3'"),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_arguments_are_refused_by_name_and_leave_the_encoder_as_it_was(case):
    options, kind, match = WRONG[case]
    encoder = chain()
    with pytest.raises(kind, match=match):
        unet(encoder, SIZE, 2, **options)
    assert not any(each._forward_hooks or each._forward_pre_hooks for each in encoder.modules())


def test_a_tensor_as_a_size_is_told_its_shape():
    with pytest.raises(TypeError, match=r"got a Tensor; pass \(1, 3, 16, 16\)\.$"):
        unet(chain(), torch.zeros(SIZE), 2)


def test_a_module_of_other_channels_on_a_path_is_named():
    encoder = nn.Sequential(*(nn.Conv2d(1 << n, 2 << n, 3, 2, 1) for n in range(3)))
    net = unet(encoder, (1, 1, 16, 16), 2)
    encoder[0] = nn.Conv2d(1, 4, 3, 2, 1)
    encoder[1] = nn.Conv2d(4, 4, 3, 2, 1)
    with pytest.raises(RuntimeError, match=r"module '0' .* map of 2 channels .*, and gives 4 now"):
        net(torch.zeros(1, 1, 16, 16))


def test_two_names_of_one_map_join_it_once():
    encoder = nn.Sequential(nn.Sequential(*chain()[:2]), *chain()[2:])
    net = unet(encoder, SIZE, 2, skips=["0.1", "0"])
    assert [skip.channels for skip in net.skips] == [8]


def test_hooks_go_with_their_net_and_no_others():
    encoder = chain()
    first, second = unet(encoder, SIZE, 2), unet(encoder, SIZE, 2)
    assert len(encoder[1]._forward_hooks) == 2
    del first
    gc.collect()
    assert len(encoder[1]._forward_hooks) == 1
    assert second(torch.zeros(SIZE)).shape == (1, 2, 16, 16)
    del second
    gc.collect()
    assert not any(each._forward_hooks for each in encoder.modules())


class Shared(nn.Module):
    """Three convolutions with one activation, which training calls at other times."""

    def __init__(self):
        super().__init__()
        self.convs = nn.ModuleList(
            nn.Conv2d(channels, 8, 3, stride, 1) for channels, stride in ((3, 1), (8, 2), (8, 2))
        )
        self.relu = nn.ReLU()

    def forward(self, x):
        for conv in self.convs:
            x = self.relu(conv(x))
            if self.training:
                self.relu(x - 1)
        return x


def test_a_shared_module_that_is_called_oftener_in_training_is_refused():
    net = unet(Shared(), SIZE, 2)
    assert net.eval()(torch.zeros(SIZE)).shape == (1, 2, 16, 16)
    with pytest.raises(RuntimeError, match=r"'relu'.* called 6 times in this pass, and 3 when"):
        net.train()(torch.zeros(SIZE))


class Dropped(nn.Module):
    """A convolution and an activation, which training may leave out."""

    def __init__(self, conv, relu, *, is_dropped):
        super().__init__()
        self.conv, self.relu, self.is_dropped = conv, relu, is_dropped

    def forward(self, x):
        x = self.conv(x)
        return x if self.training and self.is_dropped else self.relu(x)


def test_modules_of_one_call_are_heard_where_a_shared_one_within_is_called_less_in_training():
    made = Shared()
    encoder = nn.Sequential(
        *(Dropped(conv, made.relu, is_dropped=not n) for n, conv in enumerate(made.convs))
    )
    net, x = unet(encoder, SIZE, 2), torch.randn(SIZE)
    for mode in (False, True):
        net.train(mode)
        expected = [encoder[: n + 1](x) for n in range(3)]
        assert [*map(torch.equal, net._hear(x), expected)] == [True] * 3


class Tuples(nn.Module):
    """Returns a loss beside its map in one of its modes."""

    def __init__(self, mode):
        super().__init__()
        self.conv, self.mode = nn.Conv2d(8, 8, 3, 2, 1), mode

    def forward(self, x):
        y = self.conv(x)
        return (y, y.mean()) if self.training is self.mode else y


class Negative(nn.Module):
    def forward(self, x):
        return -(x[0] if isinstance(x, tuple) else x)


@pytest.mark.parametrize("mode", [False, True])
def test_a_module_that_returns_another_thing_in_training_is_named(mode):
    encoder = nn.Sequential(
        nn.Conv2d(3, 8, 3, 1, 1), nn.Tanh(), Tuples(mode), Negative(), nn.Conv2d(8, 8, 3, 2, 1)
    )
    net = unet(encoder, SIZE, 2, skips=["2"])
    assert net.eval()(torch.zeros(SIZE)).shape == (1, 2, 16, 16)
    with pytest.raises(RuntimeError, match=r"module '2' .*gives something else now"):
        net.train()(torch.zeros(SIZE))


def test_an_input_without_a_batch_is_refused():
    net = unet(chain(), SIZE, 2)
    with pytest.raises(
        RuntimeError, match=r"gives a tensor of 3 dimensions now.*batch and channels"
    ):
        net(torch.zeros(3, 16, 16))


def test_a_decoder_of_the_encoder_s_own_is_no_work_on_tokens():
    decoder = nn.Sequential(nn.Upsample(scale_factor=2), nn.Conv2d(32, 64, 3, 1, 1))
    net = unet(nn.Sequential(*chain(), decoder), SIZE, 2)
    assert (net.deepest.path, net.deepest.channels) == ("4", 32)
    assert [*net.unused] == ["encoder.5.1.weight", "encoder.5.1.bias"]
