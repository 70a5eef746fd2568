"""A decoder has exactly the encoder's input shape, whatever the encoder is made of."""

import ast
import copy
import io
import random
import re
import warnings
from types import SimpleNamespace

import pytest
import torch
from support.costs import Operators
from support.encoders import ENCODERS, Module, conv, in_time
from support.oracle import artifacts_allowed
from torch import nn
from torch.nn import functional as F  # noqa: N812

import autoup
from autoup import mirror_decoder
from autoup.decoding import from_encoder as decoders


@pytest.mark.parametrize(
    "options",
    [{}, {"stages": "resolution", "refine": 1}, {"residual": False, "refine": 1}],
    ids=str,
)
@pytest.mark.parametrize("size", [(2, 3, 32, 32), (2, 3, 33, 47)], ids=str)
@pytest.mark.parametrize("name", ENCODERS)
def test_decoder_restores_the_shape_and_every_parameter_learns(name, size, options):
    encoder = ENCODERS[name]()
    with artifacts_allowed():
        decoder = mirror_decoder(encoder, size, **options)
    code = encoder.eval()(torch.randn(3 * size[0], *size[1:]))
    made = decoder(code.detach())
    assert made.shape == (3 * size[0], *size[1:])
    made.square().sum().backward()
    assert [n for n, p in decoder.named_parameters() if p.grad is None] == []
    file = io.BytesIO()
    torch.save(decoder, file)
    file.seek(0)
    again = torch.load(file, weights_only=False)
    torch.testing.assert_close(again.eval()(code), decoder.eval()(code))


@pytest.mark.parametrize(
    ("encoder", "size"),
    [
        (nn.Sequential(*[nn.Conv1d(1 if n == 0 else 8, 8, k, s) for n, (k, s) in enumerate(
            [(10, 5), (3, 2), (3, 2), (2, 2)])]), (2, 1, 16000)),
        (nn.Sequential(nn.Conv3d(1, 4, 3, (1, 2, 2), 1), nn.InstanceNorm3d(4), nn.PReLU(4),
                       nn.MaxPool3d((1, 2, 2)), nn.Conv3d(4, 8, 3, 2, 1)), (1, 1, 7, 33, 32)),
        (Module(in_time, a=conv(3, 8), head=nn.Linear(8, 4)), (2, 5, 3, 32, 32)),
    ],
    ids=["1d", "3d", "time"],
)  # fmt: skip
def test_decoder_serves_every_number_of_axes(encoder, size):
    with artifacts_allowed():
        decoder = mirror_decoder(encoder, size)
    assert decoder(encoder(torch.randn(2 * size[0], *size[1:]))).shape == (2 * size[0], *size[1:])


def lenet():
    encoder = nn.Sequential(
        nn.Conv2d(1, 6, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(6, 16, 5), nn.ReLU(),
        nn.MaxPool2d(2), nn.Flatten(), nn.Linear(400, 120), nn.ReLU(), nn.Linear(120, 10),
    )  # fmt: skip
    by_hand = nn.Sequential(
        nn.Linear(10, 120), nn.ReLU(), nn.Linear(120, 400), nn.Unflatten(1, (16, 5, 5)),
        nn.ConvTranspose2d(16, 16, 2, 2, groups=16, bias=False), nn.ReLU(),
        nn.ConvTranspose2d(16, 6, 5), nn.ConvTranspose2d(6, 6, 2, 2, groups=6, bias=False),
        nn.ReLU(), nn.ConvTranspose2d(6, 1, 5, padding=2),
    )  # fmt: skip
    return encoder, by_hand, (1, 1, 28, 28), [9, 8, 7, 6, 5, 4, 3, 2, 1, 0]


def vae():
    def down(i, o):
        return nn.Conv2d(i, o, 4, 2, 1), nn.BatchNorm2d(o), nn.LeakyReLU()

    def up(i, o):
        return nn.ConvTranspose2d(i, o, 2, 2), nn.BatchNorm2d(o), nn.LeakyReLU()

    class Encoder(nn.Module):
        def __init__(self):
            super().__init__()
            self.body = nn.Sequential(*down(3, 32), *down(32, 64), *down(64, 128), nn.Flatten())
            self.mean, self.log_variance = nn.Linear(8192, 20), nn.Linear(8192, 20)

        def forward(self, x):
            x = self.body(x)
            return self.mean(x), self.log_variance(x)

    by_hand = nn.Sequential(
        nn.Linear(20, 8192), nn.Unflatten(1, (128, 8, 8)), nn.BatchNorm2d(128), nn.LeakyReLU(),
        *up(128, 64), *up(64, 32), nn.ConvTranspose2d(32, 3, 2, 2),
    )  # fmt: skip
    return Encoder(), by_hand, (1, 3, 64, 64), ["mean", 9, 7, 8, 6, 4, 5, 3, 1, 2, 0]


def dcgan():
    def down(i, o):
        return nn.Conv2d(i, o, 4, 2, 1, bias=False), nn.BatchNorm2d(o), nn.LeakyReLU(0.2, True)

    def up(i, o):
        layer = nn.ConvTranspose2d(i, o, 2, 2, bias=False)
        return layer, nn.BatchNorm2d(o), nn.LeakyReLU(0.2, True)

    discriminator = nn.Sequential(
        nn.Conv2d(3, 64, 4, 2, 1, bias=False), nn.LeakyReLU(0.2, True), *down(64, 128),
        *down(128, 256), *down(256, 512), nn.Conv2d(512, 1, 4, 1, 0, bias=False), nn.Sigmoid(),
    )  # fmt: skip
    by_hand = nn.Sequential(
        nn.ConvTranspose2d(1, 512, 4, bias=False), nn.BatchNorm2d(512), nn.LeakyReLU(0.2, True),
        *up(512, 256), *up(256, 128), nn.ConvTranspose2d(128, 64, 2, 2, bias=False),
        nn.LeakyReLU(0.2, True), nn.ConvTranspose2d(64, 3, 2, 2, bias=False),
    )  # fmt: skip
    return discriminator, by_hand, (1, 3, 64, 64), [11, 9, 10, 8, 6, 7, 5, 3, 4, 2, 1, 0]


def wav2vec():
    def down(i, k, s):
        return nn.Conv1d(i, 32, k, s, bias=False), nn.GroupNorm(8, 32), nn.GELU()

    def up(o, k, s, p=0):
        return nn.ConvTranspose1d(32, o, k, s, p, output_padding=p, bias=o == 1)

    encoder = nn.Sequential(*down(1, 10, 5), *down(32, 3, 2), *down(32, 3, 2), *down(32, 2, 2))
    by_hand = nn.Sequential(  # 399 -> 799 -> 1599 -> 3199 -> 16000
        up(32, 4, 2, 1), nn.GroupNorm(8, 32), nn.GELU(), up(32, 4, 2, 1), nn.GroupNorm(8, 32),
        nn.GELU(), up(32, 4, 2, 1), nn.GroupNorm(8, 32), nn.GELU(), up(1, 10, 5),
    )  # fmt: skip
    return encoder, by_hand, (1, 1, 16000), [9, 7, 8, 6, 4, 5, 3, 1, 2, 0]


@pytest.mark.parametrize("build", [lenet, vae, dcgan, wav2vec])
def test_chain_is_mirrored_as_by_hand(build):
    encoder, by_hand, size, layers = build()
    with artifacts_allowed():
        output = 0 if build is vae else None
        decoder = mirror_decoder(encoder, size, output=output, smoothness=0)
    values = zip(by_hand.state_dict(), decoder.state_dict().values(), strict=True)
    by_hand.load_state_dict(dict(values))
    assert all(isinstance(m, type(h)) for m, h in zip(decoder, by_hand, strict=True))
    names = [name.removeprefix("layer_").removeprefix("body_") for name, _ in
             decoder.named_children()]  # fmt: skip
    assert names == list(map(str, layers))
    code = encoder(torch.randn(4, *size[1:]))
    code = (code[0] if build is vae else code).detach()
    torch.testing.assert_close(decoder(code), by_hand(code))


def test_decoder_is_exported_at_any_batch_size():
    decoder = mirror_decoder(ENCODERS["functional"](), (2, 3, 32, 32)).eval()
    batch = {0: torch.export.Dim("batch", min=1, max=64)}
    program = torch.export.export(decoder, (torch.randn(2, 5),), dynamic_shapes=(batch,))
    code = torch.randn(7, 5)
    torch.testing.assert_close(program.module()(code), decoder(code))


def test_reading_leaves_the_encoder_as_it_was():
    encoder = nn.Sequential(conv(3, 8), nn.BatchNorm2d(8), nn.Dropout(), conv(8, 8))
    encoder[1].eval()
    called = []
    encoder[0].register_forward_hook(lambda *_: called.append(1))
    before, modes = copy.deepcopy(encoder.state_dict()), [m.training for m in encoder.modules()]
    torch.manual_seed(0)
    mirror_decoder(encoder, (2, 3, 32, 32))
    after_seed = torch.get_rng_state()
    torch.manual_seed(0)
    mirror_decoder(encoder, (8, 3, 32, 32))
    assert torch.equal(torch.get_rng_state(), after_seed)
    assert [m.training for m in encoder.modules()] == modes
    assert all(torch.equal(v, before[k]) for k, v in encoder.state_dict().items())
    assert all(p.grad is None for p in encoder.parameters())
    assert called == []
    assert len(encoder[0]._forward_hooks) == 1


def test_a_large_picture_is_mirrored_by_one_capture_without_arithmetic(monkeypatch):
    """The first feature map, five times as large as the picture, is never made."""
    encoder = nn.Sequential(conv(3, 64, 7, 2, 3), nn.ReLU(), conv(64, 64), conv(64, 8))
    captured, capture = [], decoders.capture
    monkeypatch.setattr(decoders, "capture", lambda *each: captured.append(each) or capture(*each))
    with Operators() as torch_ran:
        decoder = mirror_decoder(encoder, (1, 3, 2048, 1024))
    assert len(captured) == 1
    assert max(weight.numel() for weight in decoder.parameters()) < 3 * 2048 * 1024
    assert torch_ran.largest <= 3 * 2048 * 1024


def test_tied_adjoint_shares_weights():
    encoder = nn.Sequential(conv(3, 8), nn.ReLU(), conv(8, 4))
    with artifacts_allowed():
        decoder = mirror_decoder(encoder, (1, 3, 33, 32), adjoint=True, tied=True)
    assert decoder[0].weight is encoder[2].weight
    assert decoder[2].weight is encoder[0].weight


def test_one_warning_tells_the_layers_and_the_shift():
    encoder = nn.Sequential(conv(3, 8), nn.ReLU(), conv(8, 4), nn.ReLU(), conv(4, 4))
    with warnings.catch_warnings(record=True, action="always") as caught:
        decoder = mirror_decoder(encoder, (1, 3, 33, 32))
    assert [each.category for each in caught] == [autoup.ArtifactWarning]
    shift = sum(-layer.output_padding[0] / 2 * s for layer, s in zip(decoder[::2], (4, 2, 1)))  # noqa: B905
    assert f"{-shift:g} px toward the top" in str(caught[0].message)
    assert "layer_4  5x4 -> 9x8" in str(caught[0].message)


def test_the_table_of_the_warning_fits_100_columns_with_every_number_whole():
    encoder = nn.Sequential()
    for n in range(2):
        encoder.add_module(f"{80 * 'n'}{n}", nn.Conv3d(1, 1, (3, 3, 5), (1, 2, 3), (1, 0, 1)))
    with warnings.catch_warnings(record=True, action="always") as caught:
        decoder = mirror_decoder(encoder, (1, 1, 128, 150, 152), adjoint=True)
    lines = str(caught[0].message).splitlines()[1:-1]
    assert max(map(len, lines)) <= 100
    written = " ".join(lines).split()
    for name, layer in decoder.named_children():
        assert f"  {name}" in lines
        for axis in layer.solutions:
            for number in (axis.in_size, axis.out_size):
                assert any(str(number) in each.split("x") for each in written)


def advice(encoder, size, **options):
    """Return what the warning suggests, the last sentence; None without a warning."""
    with warnings.catch_warnings(record=True, action="always") as caught:
        warnings.simplefilter("ignore", autoup.MirrorWarning)  # Of pooling without a stride.
        mirror_decoder(encoder, size, **options)
    assert len(caught) <= 1
    return str(caught[0].message).rpartition(". ")[2] if caught else None


def test_the_size_that_is_suggested_was_tried():
    draw, suggested = random.Random(3), 0
    for _ in range(30):
        layers = [
            nn.MaxPool2d(k, s, k // 2) if pool else nn.Conv2d(2, 2, k, s, p)
            for pool, k, s, p in (
                (draw.random() < 0.3, draw.randint(2, 5), draw.choice([1, 2, 2, 3, 4]),
                 draw.randint(0, 1)) for _ in range(draw.randint(1, 3))
            )
        ]  # fmt: skip
        encoder, size = nn.Sequential(*layers), (1, 2, draw.randint(40, 60), draw.randint(40, 60))
        if (told := advice(encoder, size)) and (found := re.match(r"input_size=(\(.*\)) is", told)):
            assert advice(encoder, ast.literal_eval(found[1])) is None
            suggested += 1
    assert suggested > 12


@pytest.mark.parametrize(
    ("size", "suggested"),
    [
        ((1, 3, 65, 63), (1, 3, 64, 64)),
        ((1, 3, 64, 35), (1, 3, 64, 36)),
        ((1, 3, 9, 9), (1, 3, 8, 8)),
    ],
)
def test_the_nearest_size_is_suggested_and_nothing_at_clean_ones(size, suggested):
    encoder = nn.Sequential(conv(3, 8), nn.ReLU(), conv(8, 8))
    assert advice(encoder, size) == f"input_size={suggested} is clean."
    assert advice(encoder, suggested) is None


def test_no_size_is_suggested_that_the_encoder_refuses():
    body = conv(3, 8), nn.ReLU(), conv(8, 8), nn.Flatten()
    encoder = nn.Sequential(*body, nn.Linear(8 * 17 * 16, 10))
    assert advice(encoder, (1, 3, 65, 63)) == "input_size=(1, 3, 68, 64) is clean."
    assert advice(encoder, (1, 3, 68, 64)) is None
    bound = nn.Sequential(*body, nn.Unflatten(1, (8, 17, 17)), conv(8, 8, 17, 1, 0))
    picky = Module(lambda m, x: m.a(x + m.b), a=bound, b=nn.Parameter(torch.zeros(3, 65, 65)))
    assert "is clean" not in advice(picky, (1, 3, 65, 65))


def test_a_total_stride_that_divides_the_size_is_not_taken_for_clean():
    """An unpadded chain: its multiple, 224, leads to 111 and 55 pixels."""
    encoder = nn.Sequential(conv(3, 8, p=0), nn.ReLU(), conv(8, 8, p=0), nn.MaxPool2d(3, 2))
    assert advice(encoder, (1, 3, 224, 224)) == "input_size=(1, 3, 222, 222) is clean."
    assert advice(encoder, (1, 3, 222, 222)) is None


def test_the_way_to_even_overlap_was_tried():
    encoder = nn.Sequential(conv(3, 8), nn.ReLU(), conv(8, 8))
    for tied in (False, True):
        options = "adjoint=False" + " with tied=False" * tied
        for size, told in (((1, 3, 32, 32), "is clean"), ((1, 3, 33, 32), "overlaps evenly")):
            found = advice(encoder, size, adjoint=True, tied=tied)
            assert found == f"{options} {told}."
    assert advice(encoder, (1, 3, 32, 32)) is None
    assert advice(encoder, (1, 3, 33, 32)).startswith("input_size=")


def test_trying_draws_no_random_numbers():
    encoder = nn.Sequential(conv(3, 8), nn.MaxPool2d(2), nn.ReLU(), conv(8, 8))
    drawn = []
    for size in ((1, 3, 65, 65), (1, 3, 64, 64)):
        torch.manual_seed(0)
        with artifacts_allowed():
            mirror_decoder(encoder, size)
        drawn.append(torch.rand(1))
    assert torch.equal(*drawn)


def test_a_wrong_scale_is_interpolated():
    """A mirror without padding may cut off as much as an unpadded convolution did, and no more."""

    def enlarged(before, after):
        encoder = nn.Sequential(conv(3, 8), nn.AdaptiveAvgPool2d(after))
        with artifacts_allowed():
            decoder = mirror_decoder(encoder, (1, 3, 2 * before, 2 * before))
        found = [each for each in decoder.modules() if isinstance(each, nn.Upsample)]
        assert not any(each.align_corners for each in found)
        return bool(found)

    for before, after in ((30, 20), (24, 20), (25, 20), (32, 20), (31, 20), (88, 40), (56, 7)):
        assert enlarged(before, after) == autoup.solve(after, before).wrong_scale


def in_space_and_time(m, x):
    """Fold time into the batch, and then space, as video encoders do."""
    n, c, t, h, w = x.shape
    x = F.elu(m.a(x.transpose(1, 2).reshape(n * t, c, h, w)))
    h, w = x.shape[2:]
    x = x.reshape(n, t, -1, h, w).permute(0, 3, 4, 2, 1).reshape(n * h * w, -1, t)
    x = m.b(F.pad(x, (2, 0)))
    return x.reshape(n, h, w, *x.shape[1:]).permute(0, 3, 4, 1, 2)


def test_the_decoder_is_the_same_at_a_batch_of_one():
    encoder = Module(in_space_and_time, a=conv(3, 8), b=nn.Conv1d(8, 4, 3))
    one, two = (mirror_decoder(encoder, (batch, 3, 6, 16, 16)) for batch in (1, 2))
    assert repr(one) == repr(two)
    assert sum(isinstance(each, autoup.AutoConvTranspose2d) for each in one.modules()) == 1
    assert one(encoder(torch.randn(3, 3, 6, 16, 16))).shape == (3, 3, 6, 16, 16)


def test_a_decoder_has_the_dtype_of_its_encoder():
    def chain(dtype):
        return nn.Sequential(conv(1, 4, dtype=dtype), conv(4, 4, dtype=dtype))

    for dtype in (torch.float16, torch.float64, torch.complex64):
        decoder = mirror_decoder(chain(dtype), (1, 1, 16, 16))
        assert {each.dtype for each in decoder.parameters()} == {dtype}
    with torch.autocast("cpu", torch.bfloat16):
        decoder = mirror_decoder(chain(torch.float32), (1, 1, 16, 16))
    assert {each.dtype for each in decoder.parameters()} == {torch.float32}


def test_the_only_channel_may_be_selected():
    """As speech encoders do that take a batch of samples without channels."""
    encoder = Module(
        lambda m, x: m.b(m.a(x[:, 0].unsqueeze(1)))[..., -1],
        a=nn.Conv1d(1, 8, 4, 2, 1), b=nn.Conv1d(8, 4, 8, 8),
    )  # fmt: skip
    decoder = mirror_decoder(encoder, (1, 1, 16))
    assert decoder(encoder(torch.randn(3, 1, 16))).shape == (3, 1, 16)


def test_outputs_are_picked():
    def heads(m, x):
        h = m.a(x).flatten(1)
        return {"mean": m.b(h), "parts": (m.c(h), 3)}

    encoder = Module(heads, a=conv(3, 4), b=nn.Linear(1024, 5), c=nn.Linear(1024, 7))
    size = (1, 3, 32, 32)
    assert mirror_decoder(encoder, size, output="mean")(torch.randn(2, 5)).shape[1:] == size[1:]
    made = mirror_decoder(encoder, size, output=lambda out: out["parts"][0])
    assert made(torch.randn(2, 7)).shape[1:] == size[1:]
    named = Module(
        lambda m, x: SimpleNamespace(**heads(m, x)), a=encoder.a, b=encoder.b, c=encoder.c
    )
    assert mirror_decoder(named, size, output="mean")(torch.randn(2, 5)).shape[1:] == size[1:]
    with pytest.raises(TypeError, match=r"dict.*'mean': a tensor"):
        mirror_decoder(encoder, size)
    with pytest.raises(TypeError, match="output='z' picks nothing"):
        mirror_decoder(encoder, size, output="z")


def held_in_buffers(m, x):
    """As codecs of transformers pad: from integers in buffers."""
    frames = torch.ceil((x.shape[-1] - m.kernel + m.stride) / m.stride).to(torch.int64)
    lacking = int(frames * m.stride + m.kernel - m.stride - x.shape[-1])
    return m.a(nn.functional.pad(x, (int(m.kernel - m.stride), lacking)))


@pytest.mark.parametrize("size", [100, 101])
def test_integers_in_buffers_are_known(size):
    encoder = Module(held_in_buffers, a=nn.Conv1d(1, 4, 5, 3))
    encoder.register_buffer("kernel", torch.tensor(5))
    encoder.register_buffer("stride", torch.tensor(3), persistent=False)
    before = dict(encoder.named_buffers())
    with artifacts_allowed():
        decoder = mirror_decoder(encoder, (1, 1, size))
    assert decoder(encoder(torch.randn(2, 1, size))).shape == (2, 1, size)
    assert all(each is before[name] for name, each in encoder.named_buffers())
    assert type(encoder) is Module


def test_integers_in_buffers_without_numbers_are_told():
    encoder = Module(held_in_buffers, a=nn.Conv1d(1, 4, 5, 3))
    encoder.register_buffer("kernel", torch.tensor(5))
    encoder.register_buffer("stride", torch.tensor(3))
    with pytest.raises(ValueError, match="depends on the values"):
        mirror_decoder(encoder.to("meta"), (1, 1, 100))


def test_a_number_in_a_buffer_stays_in_one_beside_integers():
    encoder = Module(
        lambda m, x: m.last(torch.sin(m.scale * held_in_buffers(m, x))), a=nn.Conv1d(1, 4, 5, 3),
        last=nn.Conv1d(4, 4, 2, 2),
    )  # fmt: skip
    for name, value in {"kernel": 5, "stride": 3, "scale": 0.5}.items():
        encoder.register_buffer(name, torch.tensor(value))
    with artifacts_allowed():
        decoder = mirror_decoder(encoder, (1, 1, 100))
    assert [float(each) for each in decoder.buffers()] == [0.5]


def test_a_size_that_hangs_on_values_is_told():
    encoder = Module(lambda m, x: m.a(x[..., : int(m.b.sum())]), a=conv(3, 8), b=torch.ones(20))
    with pytest.raises(ValueError, match="depends on the values"):
        mirror_decoder(encoder, (1, 3, 32, 32))


def branching(m, x):
    x = m.a(x)
    return x * 2 if x.mean() > 0 else x


def with_class_token(m, x):
    x = m.a(x).flatten(2).transpose(1, 2)
    return torch.cat([m.token.expand(x.shape[0], -1, -1), x], 1)[:, 0]


def in_heads(m, x):
    """Attention whose heads lie apart: which dimensions are space is not to be seen."""
    x = m.a(x).flatten(2).transpose(1, 2)
    q, k = (each.unflatten(2, (1, 8)).transpose(1, 2) for each in (m.b(x), m.b(x)))
    return (q @ k.transpose(2, 3)).softmax(3) @ q


BAD = [
    (lambda: Module(in_heads, a=conv(3, 8), b=nn.Linear(8, 8)), {}, ValueError,
     "cannot be told"),
    (lambda: nn.Sequential(nn.Flatten(), nn.Linear(3072, 5)), {}, ValueError, "no spatial layer"),
    (nn.Identity, {}, ValueError, "no spatial layer"),
    (lambda: Module(branching, a=conv(3, 8)), {}, ValueError, "depends on the values.*test_dec"),
    (lambda: Module(with_class_token, a=conv(3, 8), token=nn.Parameter(torch.zeros(1, 1, 8))), {},
     ValueError, "no grid of pixels behind layer 'cat'"),
    (lambda: nn.Sequential(conv(3, 8), nn.Flatten(), nn.Linear(9, 5)), {}, ValueError,
     r"\(1, 3, 32, 32\) in layer '2' \(Linear\)"),
    (lambda: nn.Sequential(nn.LazyConv2d(8, 3)), {}, ValueError, "lazy parameter"),
    (lambda: conv(3, 8), {"output": 0}, TypeError, "leave output out"),
    (lambda: conv(3, 8), {"stages": "fine"}, ValueError, "stages.*'fine'"),
    (lambda: conv(3, 8), {"refine": -1}, ValueError, "refine"),
    (lambda: conv(3, 8), {"tied": True}, ValueError, "adjoint=True"),
    (lambda: conv(3, 8), {"output_activation": "tanh"}, TypeError, "nn.Sigmoid"),
    (lambda: nn.MaxPool2d(2), {"adjoint": True, "tied": True}, ValueError, "tied=True shares"),
    (lambda: Module(lambda m, x: m.a(x).argmax(1), a=conv(3, 8)), {}, TypeError, "floating-point"),
    (lambda: nn.Conv2d(3, 8, 4, padding="same"), {"adjoint": True, "tied": True},
     autoup.InfeasibleError, "adjoint=False and tied=False"),
]  # fmt: skip


@pytest.mark.parametrize(("build", "options", "error", "message"), BAD)
def test_what_cannot_be_mirrored_is_told(build, options, error, message):
    with pytest.raises(error, match=message):
        mirror_decoder(build(), (1, 3, 32, 32), **options)


@pytest.mark.parametrize("size", [(3, 32, 32), (1, 3), (1, 3, 0, 32), 32, (1, 3, 32.0, 32)])
def test_bad_input_sizes_are_told(size):
    with pytest.raises((TypeError, ValueError), match=r"input_size (must|has)"):
        mirror_decoder(conv(3, 8), size)
