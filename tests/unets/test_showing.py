"""What a U-Net tells of itself is what it does when it runs."""

import copy
import pickle
import re

import pytest
import torch
from support.oracle import CONV
from torch import nn
from torchinfo import summary

from autoup import unet

POOL = {1: nn.AvgPool1d, 2: nn.AvgPool2d, 3: nn.AvgPool3d}


def chain(dims, *strides, channels=3):
    """Return an encoder of one convolution after the other, with a head."""
    layers = nn.Sequential()
    for number, stride in enumerate(strides):
        width = 4 * (number + 1)
        layers.add_module(f"conv{number}", CONV[dims](channels, width, 3, stride, 1))
        channels = width
    layers.add_module("head", nn.Sequential(nn.Flatten(), nn.LazyLinear(7)))
    return layers


NETS = {
    "signal": (chain(1, 4, 5, 2), (1, 3, 1001), {}),
    "image": (chain(2, 1, 2, 2), (2, 3, 29, 36), {"deep_supervision": 1}),
    "input joined": (chain(2, 2, 2), (1, 3, 20, 16), {"image_skip": True}),
    "both joined": (chain(2, 1, 2), (1, 3, 20, 16), {"image_skip": True}),
    "volume": (chain(3, (1, 2, 2), 2), (1, 3, 9, 17, 21), {"deep_supervision": 1}),
}


def build(name):
    encoder, size, options = NETS[name]
    encoder = copy.deepcopy(encoder)
    encoder(torch.zeros(size))  # The lazy layer.
    return unet(encoder, size, out_channels=2, **options)


def read(text):
    """Return the rows of a table, by the names of its columns."""
    lines = text.split("\n\n")[1].splitlines()
    header, *rows = (re.split(r" {2,}", line.strip()) for line in lines)
    return [dict(zip(header, row, strict=False)) for row in rows]


def shown(tensor):
    return "x".join(map(str, tensor.shape[2:]))


def record(net):
    """Run a net at its size; return what each of its modules made, by path."""
    made = {}
    hooks = [
        module.register_forward_hook(lambda _, __, y, path=path: made.update({path: y}))
        for path, module in net.named_modules()
    ]
    net.train()(torch.zeros(net.input_size))
    for hook in hooks:
        hook.remove()
    return made


@pytest.mark.parametrize("name", NETS)
def test_each_row_is_what_runs(name):
    net = build(name)
    made = record(net)
    rows = [row for row in read(str(net)) if "size" in row]
    stages = [made[f"decoder.{n}"] for n in reversed(range(len(net.decoder)))]
    assert len(rows) == len(stages) + 1
    heads = ["head", *(f"heads.{n}" for n in range(len(net.heads)))]
    for number, (row, stage) in enumerate(zip(rows[:-1], stages, strict=True)):
        inner = number + 1 < len(stages) and row["shift"] == "-"  # Cut at the end of its way.
        assert inner or row["size"] == shown(stage)
        assert row["decoder"] == str(stage.shape[1])
        head = made.get(heads[number]) if number < len(heads) else None
        assert row["head"] == ("-" if head is None else str(head.shape[1]))
        up = net.decoder[len(stages) - 1 - number].up
        axes = row["enlarged"][1:].split("x") * len(up.stride)
        assert tuple(map(int, axes[: len(up.stride)])) == up.stride
    assert rows[-1]["decoder"] == rows[-1]["enlarged"] == rows[-1]["head"] == "-"
    for row in read(str(net)):
        if row["encoder"] == "the input":
            assert row["channels"] == str(net.input_size[1])
        elif row["encoder"] != "-":
            given = made[f"encoder.{row['encoder']}"]
            assert (row["channels"], row.get("size")) == (str(given.shape[1]), shown(given))
    told = [row["encoder"] for row in read(str(net)) if row["encoder"] != "-"]
    joined = [*(skip.path for skip in net.skips), net.deepest.path]
    assert [each for each in told if each != "the input"] == joined
    assert ("the input" in told) == NETS[name][2].get("image_skip", False)


def test_the_first_line_counts_parameters():
    net = build("image")
    encoder = sum(each.numel() for each in net.encoder.parameters())
    decoder = sum(each.numel() for each in net.parameters()) - encoder
    assert str(net).splitlines()[0] == (
        "UNet on Sequential: (2, 3, 29, 36) -> (2, 2, 29, 36); "
        f"parameters: encoder {encoder:,}, decoder {decoder:,}"
    )
    wide = unet(chain(2, 1, 2)[:2], (1, 3, 8, 8), 2, widths=[256])
    numbers = sum(each.numel() for part in (wide.decoder, wide.head) for each in part.parameters())
    assert f"decoder {numbers / 1e6:.3g} M" in str(wide)


@pytest.mark.parametrize("smoothness", [0, 1, 2])
@pytest.mark.parametrize(("layer", "shift"), [
    (nn.Conv1d(1, 1, 3, 2, 1), "+0.5 samples"),
    (nn.AvgPool1d(2), "0"),
    (nn.Conv1d(1, 1, 7, 4, 3), "+0.5 samples"),
    (nn.Conv1d(1, 1, 3, 3, 1), "0"),
    (nn.Conv1d(1, 1, 3, 2), "-0.5 samples"),
])  # fmt: skip
def test_the_shift_is_where_a_ramp_comes_out(layer, shift, smoothness):
    """Stages start by repeating pixels, or where they are smooth between their places."""
    net = unet(
        nn.Sequential(copy.deepcopy(layer), nn.Conv1d(1, 1, 1)), (1, 1, 60), 1, image_skip=True,
        smoothness=smoothness, block=lambda a, b: nn.Conv1d(a, b, 1),
    ).double()  # fmt: skip
    (row,) = {row["shift"] for row in read(str(net)) if row["shift"] != "-"}
    assert row == ("0" if smoothness else shift)
    with torch.no_grad():
        for conv in (each for each in net.modules() if type(each) is nn.Conv1d):
            conv.weight.zero_()
            conv.bias.zero_()
            conv.weight[:, 0, conv.kernel_size[0] // 2] = 1
        ramp = torch.arange(60.0).double()[None, None]
        moved = (ramp - net(ramp))[0, 0, 12:48]
    assert moved.mean().item() == pytest.approx(float(row.split()[0]), abs=1e-5)
    if smoothness:
        assert moved.abs().max() < 1e-5  # Of weights in single precision.
    assert ("shift: by how many samples" in str(net)) == (row != "0")


class Meeting(nn.Module):
    """Two ways meet in its deepest map, the second of which lies somewhere else."""

    def __init__(self, taps):
        super().__init__()
        self.stem = nn.Conv2d(1, 4, 1)
        self.first, self.second = nn.Conv2d(4, 8, 3, 2, 1), nn.Conv2d(4, 8, taps, 2)
        self.pad = nn.ZeroPad2d((0, taps - 2) * 2)

    def forward(self, x):
        x = self.stem(x)
        return self.first(x) + self.second(self.pad(x))


@pytest.mark.parametrize("far", [2, 10])
def test_what_is_not_known_of_a_shift_is_told(far):
    told = str(unet(Meeting(far), (1, 1, 16, 16), 1))
    assert [row["shift"] for row in read(told)] == ["?", "-"]
    assert "shift ?: some layer" in told
    assert "shift: by how many" not in told


@pytest.mark.parametrize(("module", "axes"), [
    (nn.Conv2d(1, 4, (3, 2), (2, 2), (1, 0)), "+0.5x0 px"),
    (nn.Conv2d(1, 4, (1, 3), (1, 2), (0, 1)), "0x+0.5 px"),
])  # fmt: skip
def test_axes_are_told_apart(module, axes):
    first, _ = read(
        str(
            unet(
                nn.Sequential(nn.Identity(), module),
                (1, 1, 16, 16),
                1,
                image_skip=True,
                smoothness=0,
            )
        )
    )
    assert first["shift"] == axes
    assert first["enlarged"] == ("x2" if module.stride == (2, 2) else "x1x2")


class Free(nn.Module):
    """Works by functions alone, and returns maps."""

    def __init__(self):
        super().__init__()
        self.taps = nn.ParameterList(torch.ones(4, 4 if n else 1, 2, 2) for n in range(3))

    def forward(self, x):
        maps = []
        for each in self.taps:
            x = torch.conv2d(x, each, stride=2)
            maps.append(x)
        return {"first": maps[0], "rest": maps[1:]}


class Shared(nn.Module):
    """Calls one activation three times, and heard where it goes in once."""

    def __init__(self):
        super().__init__()
        self.act = nn.ReLU()
        self.taps = nn.ParameterList(torch.ones(4, 4 if n else 1, 2, 2) for n in range(3))
        self.last = nn.Conv2d(4, 4, 2, 2)

    def forward(self, x):
        for each in self.taps:
            x = torch.conv2d(x, each, stride=2)
            x = self.act(x) if each is not self.taps[2] else x
        return self.last(input=x)


@pytest.mark.parametrize(("encoder", "names"), [
    (Free(), ["-", "returned ['first']", "returned ['rest'][0]", "returned ['rest'][1]"]),
    (Shared(), ["-", "act", "act (call 2)", "into last (input=)", "last"]),
])  # fmt: skip
def test_where_a_map_is_heard_is_told(encoder, names):
    net = unet(encoder, (1, 1, 64, 64), 1)
    assert [row["encoder"] for row in read(str(net))] == names


def test_what_is_unused_is_told_by_the_outermost_modules():
    encoder = chain(2, 1, 2)
    encoder.head = nn.Sequential(
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 5), nn.Linear(5, 2)
    )
    net = unet(encoder, (1, 3, 8, 8), 1)
    numbers = sum(each.numel() for each in net.unused.values())
    line = (
        f"unused: 4 parameters of the encoder ({numbers} numbers) that no output depends on: head."
    )
    assert line in str(net).replace("\n", " ")
    encoder.head[3] = nn.Identity()
    assert [*net.unused] == ["encoder.head.2.weight", "encoder.head.2.bias"]
    assert "unused: 2 parameters of the encoder (45 numbers)" in str(net)
    encoder.head = nn.Identity()
    assert net.unused == {}
    assert "unused" not in str(net)


def test_a_compiled_encoder_tells_the_same():
    encoder = build("image").encoder
    compiled = torch.compile(encoder, backend="eager")
    size = (2, 3, 29, 36)
    assert str(unet(compiled, size, 2)) == str(unet(copy.deepcopy(encoder), size, 2))


def test_it_tells_of_what_it_is_now():
    net = build("image")
    net.head, net.heads[0] = nn.Conv2d(16, 5, 1), nn.Sequential(nn.Conv2d(32, 5, 1))
    assert [row["head"] for row in read(str(net))] == ["5", "?", "-"]
    assert "-> (2, 5, 29, 36)" in str(net)
    told = str(net)
    assert str(copy.deepcopy(net)) == str(pickle.loads(pickle.dumps(net))) == told
    net.encoder.head = torch.compile(net.encoder.head, backend="eager")
    assert str(net) == told
    net.encoder = torch.compile(net.encoder, backend="eager")
    assert str(net) == told
    assert re.search("unused: .* head\\.", told)


def test_lines_stay_short():
    inner = nn.Sequential()
    inner.add_module(60 * "n", nn.Conv2d(3, 4, 3, 1, 1))
    encoder = nn.Sequential()
    encoder.add_module(50 * "m", inner)
    encoder.add_module("last", nn.Conv2d(4, 8, 3, 2, 1))
    told = str(unet(encoder, (1, 3, 1024, 1024), 2))
    assert f"  {50 * 'm'}\n" in told
    assert max(map(len, told.splitlines())) <= 100

    class AnEncoderOfAVeryLongName(nn.Sequential):
        pass

    encoder = AnEncoderOfAVeryLongName(*chain(2, 1, 2)[:2])
    first, second, *_ = str(unet(encoder, (1, 3, 1024, 1024), 2)).splitlines()
    assert first == "UNet on AnEncoderOfAVeryLongName: (1, 3, 1024, 1024) -> (1, 2, 1024, 1024);"
    assert second.startswith("  parameters: encoder ")


def test_repr_shows_the_modules_and_what_each_stage_joins():
    net = build("both joined")
    assert repr(net).startswith("UNet(\n  (encoder): Sequential(\n")
    assert "(0): Stage(\n      channels=16, joined=[skips[0], the input]\n" in repr(net)
    assert "(2): Stage(\n      channels=32\n" in repr(build("signal"))
    assert repr(net.skips[0]) == (
        "Skip(path='conv0', channels=4, size=(20, 16), scale=(1.0, 1.0), shift=(0.5, 0.5))"
    )


def test_torchinfo_reads_it():
    net = build("image")
    told = summary(net, input_size=net.input_size, verbose=0, row_settings=["var_names", "depth"])
    assert told.total_params == sum(each.numel() for each in net.parameters())
    assert "UNet (UNet)" in str(told)
    assert "Stage (0)" in str(told)
