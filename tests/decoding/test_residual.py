"""A residual block is undone by a residual stage, layer by layer, from a start at zero."""

import random
import warnings
from itertools import pairwise

import pytest
import torch
from support.backbones import import_timm
from support.encoders import Module, conv
from support.oracle import artifacts_allowed
from torch import nn
from torch.nn import functional as F  # noqa: N812

import autoup
from autoup import AutoConvTranspose2d, mirror_decoder
from autoup.layers.residual import Residual

CONV = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}


def mirrored(encoder, size, **options):
    with artifacts_allowed():
        return mirror_decoder(encoder, size, **options)


def stages(decoder):
    return [each for each in decoder.modules() if isinstance(each, Residual)]


def drawn(draw, before, after, stride, dims):
    """Return a residual block as people write them: activated before or after, 1x1 beside it."""
    k, middle = draw.choice([1, 3, 5]), draw.choice([2, 4, 6])
    last = draw.choice([1, 3])
    convs = [
        CONV[dims](before, middle, k, stride, k // 2, bias=draw.random() < 0.5),
        CONV[dims](middle, after, last, 1, last // 2),
    ]
    norms = [draw.choice([nn.Identity(), nn.GroupNorm(1, c)]) for c in (before, middle, after)]
    acts = [nn.ELU() for _ in range(3)]
    if draw.random() < 0.5:
        way = [norms[0], acts[0], convs[0], norms[1], acts[1], convs[1]]
    else:
        way = [convs[0], norms[1], acts[0], convs[1], norms[2]]
    plain = before == after and stride == 1
    beside = nn.Identity() if plain else CONV[dims](before, after, 1, stride, bias=False)
    close = draw.choice([nn.Identity(), nn.ELU()])
    if draw.random() < 0.5:
        return Module(lambda m, x: m.d(m.a(x) + m.b(x)), a=nn.Sequential(*way), b=beside, d=close)

    def in_place(m, x):
        y = m.b(x).clone()
        y += m.a(x)
        return m.d(y)

    return Module(in_place, a=nn.Sequential(*way), b=beside, d=close)


@pytest.mark.parametrize("dims", [1, 2, 3])
@pytest.mark.parametrize("seed", range(12))
def test_random_residual_encoders_are_undone_way_by_way(dims, seed):
    draw = random.Random(100 * dims + seed)
    torch.manual_seed(seed)
    widths = [2, *[draw.choice([2, 4]) for _ in range(draw.randint(1, 3))]]
    blocks = [
        drawn(draw, before, after, draw.choice([1, 2, 2, 3]), dims)
        for before, after in pairwise(widths)
    ]
    encoder = nn.Sequential(CONV[dims](1, 2, 3, padding=1), nn.ELU(), *blocks).double()
    size = (2, 1, *[draw.randint(9, 16) for _ in range(dims)])
    decoder = mirrored(encoder, size, smoothness=draw.choice([0, 1, 2]))
    made = stages(decoder)
    assert len(made) == len(blocks)
    code = encoder(torch.randn(size, dtype=torch.float64)).detach()
    seen = {}
    for stage in made:
        stage.register_forward_hook(lambda m, x, y: seen.update({m: (x[0], y)}))
    assert decoder(code).shape == size
    for stage in made:
        given, result = seen[stage]
        torch.testing.assert_close(result, stage.shortcut(given), rtol=0, atol=0)
    with torch.no_grad():
        for each in decoder.parameters():
            each.add_(torch.randn_like(each), alpha=0.1)
    decoder(code).square().sum().backward()
    assert [n for n, p in decoder.named_parameters() if p.grad is None or not p.grad.any()] == []


def by_hand_resnet():
    block = Module(
        lambda m, x: F.relu(m.a(x) + m.b(x)),
        a=nn.Sequential(conv(8, 16, bias=False), nn.BatchNorm2d(16), nn.ReLU(),
                        conv(16, 16, s=1, bias=False), nn.BatchNorm2d(16)),
        b=nn.Sequential(conv(8, 16, 1, 2, 0, bias=False), nn.BatchNorm2d(16)),
    )  # fmt: skip
    encoder = nn.Sequential(conv(3, 8), nn.ReLU(), block)
    branch = nn.Sequential(
        nn.ConvTranspose2d(16, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU(),
        nn.ConvTranspose2d(16, 8, 4, 2, 1, bias=False), nn.BatchNorm2d(8),
    )  # fmt: skip
    beside = nn.Sequential(
        nn.ConvTranspose2d(16, 8, 1, bias=False), nn.BatchNorm2d(8), nn.Upsample(scale_factor=2)
    )
    return encoder, [Residual(branch, beside), nn.ReLU(), nn.ConvTranspose2d(8, 3, 4, 2, 1)]


def by_hand_vq_vae():
    """Of van den Oord et al. 2017: 3x3 and 1x1 convolutions, activated before, two blocks."""

    def block(last=nn.Conv2d, first=nn.Conv2d):
        way = [nn.ReLU(), first(8, 4, 3, padding=1), nn.ReLU(), last(4, 8, 1)]
        return Module(lambda m, x: x + m.a(x), a=nn.Sequential(*way))

    def undone():
        one, other = nn.ConvTranspose2d(8, 4, 1), nn.ConvTranspose2d(4, 8, 3, padding=1)
        return Residual(nn.Sequential(nn.ReLU(), one, nn.ReLU(), other))

    encoder = nn.Sequential(conv(3, 8, 4), nn.ReLU(), conv(8, 8, 4), block(), block(), nn.ReLU())
    end = [nn.ConvTranspose2d(8, 8, 4, 2, 1), nn.ReLU(), nn.ConvTranspose2d(8, 3, 4, 2, 1)]
    return encoder, [undone(), undone(), *end]


def by_hand_latent_diffusion():
    def way(before, after, kind=nn.Conv2d):
        return nn.Sequential(
            nn.GroupNorm(4, before), nn.SiLU(), kind(before, after, 3, padding=1),
            nn.GroupNorm(4, after), nn.SiLU(), kind(after, after, 3, padding=1),
        )  # fmt: skip

    block = Module(lambda m, x: m.b(x) + m.a(x), a=way(8, 16), b=nn.Conv2d(8, 16, 1))
    encoder = nn.Sequential(conv(3, 8, s=1), block, conv(16, 16))
    branch = nn.Sequential(
        nn.GroupNorm(4, 16), nn.SiLU(), nn.ConvTranspose2d(16, 16, 3, padding=1),
        nn.GroupNorm(4, 16), nn.SiLU(), nn.ConvTranspose2d(16, 8, 3, padding=1),
    )  # fmt: skip
    stage = Residual(branch, nn.ConvTranspose2d(16, 8, 1))
    return encoder, [nn.ConvTranspose2d(16, 16, 4, 2, 1), stage, nn.ConvTranspose2d(8, 3, 3, 1, 1)]


@pytest.mark.parametrize("build", [by_hand_resnet, by_hand_vq_vae, by_hand_latent_diffusion])
def test_stage_is_what_people_write_by_hand(build):
    encoder, layers = build()
    decoder, by_hand = mirrored(encoder, (1, 3, 32, 32), smoothness=0), nn.Sequential(*layers)
    free = mirrored(encoder, (1, 3, 32, 32))  # Of the kernels that a promise takes.
    assert [type(each) for each in free.modules()] == [type(each) for each in decoder.modules()]
    kinds = [type(each) for each in by_hand.modules()]
    found = [type(each) for each in free.modules()]
    assert len(found) == len(kinds)
    assert all(issubclass(one, other) for one, other in zip(found, kinds, strict=True))
    with torch.no_grad():
        for mine, theirs in zip(free.parameters(), by_hand.parameters(), strict=True):
            assert mine.shape == theirs.shape
            theirs.copy_(mine)
    free = nn.Sequential(*free.children())
    for name, layer in [*free.named_modules()]:
        if hasattr(layer, "to_plain"):
            free.set_submodule(name, layer.to_plain())
    by_hand.load_state_dict(
        dict(zip(by_hand.state_dict(), free.state_dict().values(), strict=True))
    )
    code = encoder(torch.randn(2, 3, 32, 32)).detach()
    torch.testing.assert_close(free(code), by_hand(code))


@pytest.mark.parametrize("order", [1, 2])
def test_the_promise_holds_for_the_stage(order):
    """Constants stay free of a grid inside, and with order 2 ramps do too, whatever the weights."""
    block = Module(lambda m, x: m.a(x) + m.b(x), a=conv(2, 4), b=conv(2, 4, 1, 2, 0))
    stage = stages(mirrored(nn.Sequential(conv(1, 2, s=1), block).double(), (1, 1, 48, 48),
                            smoothness=order))[0]  # fmt: skip
    with torch.no_grad():
        for each in stage.parameters():
            each.normal_()
    ramp = torch.arange(24.0, dtype=torch.float64).expand(1, 4, 24, 24)
    code = torch.randn(1, 4, 1, 1, dtype=torch.float64) * (ramp if order == 2 else ramp**0)
    inside = stage(code)[..., 6:-6, 6:-6].detach()
    for axis in (2, 3):
        change = inside.diff(dim=axis)
        assert change.diff(dim=axis).abs().max() < 1e-12
    if order == 1:
        assert inside.diff(dim=3).abs().max() < 1e-12


def test_adjoints_in_branches_are_tied():
    ways = {"a": conv(8, 4, s=1), "b": conv(4, 8, 1, 1, 0)}
    encoder = nn.Sequential(conv(3, 8), Module(lambda m, x: x + m.b(F.relu(m.a(x))), **ways))
    decoder = mirrored(encoder, (1, 3, 32, 32), adjoint=True, tied=True)
    branch = stages(decoder)[0].branch
    assert branch.b.weight is encoder[1].b.weight
    assert branch.a.weight is encoder[1].a.weight
    assert encoder[1].a.weight.any()
    untied = stages(mirrored(encoder, (1, 3, 32, 32), adjoint=True))[0].branch
    assert untied.a.kernel_size == (3, 3)
    assert not untied.a.weight.any()
    alone = Module(lambda m, x: m.a(x) + m.b(x), a=conv(3, 8), b=conv(3, 8, 1, 2, 0))
    assert mirrored(alone, (1, 3, 32, 32), adjoint=True, tied=True) is not None


def test_a_convolution_without_an_adjoint_leaves_the_block_one_stage():
    even = nn.Conv2d(8, 8, 4, padding="same")
    encoder = nn.Sequential(conv(3, 8), Module(lambda m, x: x + m.a(x), a=even))
    assert stages(mirrored(encoder, (1, 3, 32, 32), adjoint=True)) == []
    assert len(stages(mirrored(encoder, (1, 3, 32, 32)))) == 1


def test_a_branch_with_a_layer_without_an_adjoint_is_one_layer_beside_its_shortcut():
    way = [conv(8, 8, s=1), nn.ELU(), nn.Conv2d(8, 8, 4, padding="same")]
    encoder = nn.Sequential(conv(3, 8), Module(lambda m, x: x + m.a(x), a=nn.Sequential(*way)))
    (stage,) = stages(mirrored(encoder, (1, 3, 32, 32), adjoint=True))
    assert isinstance(stage.shortcut, nn.Identity)
    assert [type(each) for each in stage.branch.a_0] == [AutoConvTranspose2d, nn.ELU]


@pytest.mark.parametrize("expanded", [False, True])
def test_channels_that_are_scaled_are_left_out(expanded):
    """As squeeze-and-excite scales them, in a branch and by itself."""

    def excite(m, x):
        by = torch.sigmoid(m.b(F.relu(m.a(x.mean((2, 3), keepdim=True)))))
        return x * (by.expand(len(x), 8, *x.shape[2:]) if expanded else by)

    def block():
        return Module(excite, a=conv(8, 2, 1, 1, 0), b=conv(2, 8, 1, 1, 0))

    way = nn.Sequential(conv(8, 8, s=1), nn.ReLU(), block())
    encoder = nn.Sequential(conv(3, 8), block(), Module(lambda m, x: x + m.a(x), a=way))
    decoder = mirrored(encoder, (1, 3, 32, 32))
    assert sum(isinstance(each, AutoConvTranspose2d) for each in decoder.modules()) == 2
    wider = Module(excite, a=conv(1, 2, 1, 1, 0), b=conv(2, 8, 1, 1, 0))
    spread = nn.Sequential(conv(3, 1), wider)
    made = mirrored(spread, (1, 3, 32, 32))
    assert made(spread(torch.randn(1, 3, 32, 32))).shape == (1, 3, 32, 32)


def attended(m, x):
    n, c, h, w = x.shape
    q, k, v = m.a(m.norm(x)).view(n, 3, 2, c // 2, h * w).transpose(3, 4).unbind(1)
    y = F.scaled_dot_product_attention(q, k, v).transpose(2, 3).reshape(n, c, h, w)
    return x + m.b(y)


def test_attention_becomes_a_branch_of_its_neighbours():
    layers = {"norm": nn.GroupNorm(2, 8), "a": conv(8, 24, 1, 1, 0), "b": conv(8, 8, 1, 1, 0)}
    encoder = nn.Sequential(conv(3, 8), Module(attended, **layers))
    (stage,) = stages(mirrored(encoder, (1, 3, 32, 32)))
    assert isinstance(stage.shortcut, nn.Identity)
    assert isinstance(stage.branch[0], nn.GroupNorm)
    assert stage.branch[1].spread.kernel_size == (3, 3)


def bottleneck(inner, channels):
    """Return the encoder of one bottleneck block, and its decoder's only stage."""
    way = nn.Sequential(
        conv(16, 4, 1, 1, 0), nn.BatchNorm2d(4), nn.ReLU(), inner,
        nn.BatchNorm2d(channels), nn.ReLU(), conv(channels, 16, 1, 1, 0), nn.BatchNorm2d(16),
    )  # fmt: skip
    encoder = nn.Sequential(conv(3, 16), Module(lambda m, x: x + m.way(x), way=way))
    (stage,) = stages(mirrored(encoder, (1, 3, 32, 32)))
    return stage.branch


def attended_alone(m, x):
    n, c, h, w = x.shape
    q, k, v = m.a(x).view(n, 3, c, h * w).transpose(2, 3).unbind(1)
    return m.b(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(n, c, h, w))


def chosen_by_channels(m, x):
    """Of selective kernels: two ways, weighted by what all of them hold."""
    ways = torch.stack([m.a(x), m.b(x)], 1)
    weights = m.c(ways.sum(1).mean((2, 3))).view(-1, 2, 4, 1, 1).softmax(1)
    return (ways * weights).sum(1)


def split_by_radix(m, x):
    """Of split attention: channels are taken apart into another dimension."""
    n, _, h, w = x.shape
    ways = m.a(x).reshape(n, 2, 4, h, w)
    weights = m.c(ways.sum(1).mean((2, 3))).view(n, 2, 4, 1, 1).softmax(1)
    return (ways * weights).sum(1)


INNER = {
    "attention": lambda: Module(attended_alone, a=conv(4, 12, 1, 1, 0), b=conv(4, 4, 1, 1, 0)),
    "kernels": lambda: Module(
        chosen_by_channels, a=conv(4, 4, s=1), b=conv(4, 4, 5, 1, 2), c=nn.Linear(4, 8)
    ),
    "radix": lambda: Module(split_by_radix, a=conv(4, 8, s=1), c=nn.Linear(4, 8)),
}


@pytest.mark.parametrize("name", INNER)
def test_what_stands_beside_attention_in_a_branch_is_undone_by_itself(name):
    branch = bottleneck(INNER[name](), 4)
    ups = [each for each in branch.modules() if isinstance(each, AutoConvTranspose2d)]
    assert {(ups[0].in_channels, ups[0].out_channels)} == {(16, 4)}
    assert (ups[-1].in_channels, ups[-1].out_channels) == (4, 16)
    assert sum(isinstance(each, nn.ReLU) for each in branch.modules()) == 2
    assert sum(isinstance(each, nn.BatchNorm2d) for each in branch.modules()) == 3


def test_windows_before_a_normalisation_are_undone_in_a_stage():
    """Of Swin V2, whose blocks end in a normalisation: what is cut into windows loses its axes."""

    def act(m, x):
        n, h, w, c = (x := x.permute(0, 2, 3, 1)).shape
        y = x.roll((2, 2), (1, 2)).reshape(n, h // 4, 4, w // 4, 4, c)
        y = m.q(y.transpose(2, 3).reshape(-1, 16, c)).view(-1, 16, 3, 2, c // 2)
        q, k, v = y.permute(2, 0, 3, 1, 4).unbind()
        y = (q @ k.transpose(2, 3)).softmax(-1) @ v
        y = m.a(y.transpose(1, 2).reshape(-1, 16, c)).view(-1, h // 4, w // 4, 4, 4, c)
        y = y.transpose(2, 3).reshape(n, h, w, c).roll((-2, -2), (1, 2))
        return (x + m.norm(y)).permute(0, 3, 1, 2)

    block = Module(act, q=nn.Linear(8, 24), a=nn.Linear(8, 8), norm=nn.LayerNorm(8))
    encoder = nn.Sequential(conv(3, 8), block, conv(8, 8))
    (stage,) = stages(mirrored(encoder, (1, 3, 32, 32)))
    assert isinstance(stage.shortcut, nn.Identity)


def test_a_difference_is_a_sum():
    """As of denoisers, whose branch is the noise."""
    encoder = Module(
        lambda m, x: (x := m.c(x)) - m.b(F.relu(m.a(x))),
        a=conv(8, 8, s=1), b=conv(8, 8, s=1), c=conv(3, 8),
    )  # fmt: skip
    (stage,) = stages(mirrored(encoder, (1, 3, 32, 32)))
    assert isinstance(stage.shortcut, nn.Identity)


def test_a_sum_means_what_the_summand_does_that_is_known():
    """Of linear attention, by products of matrices that tell nothing of its places."""

    def act(m, x):
        q, k, v = m.a(x).reshape(len(x), 2, 12, -1).chunk(3, 2)
        y = (F.pad(v, (0, 0, 0, 1), value=1.0) @ k.transpose(2, 3)) @ q
        y = (y[:, :, :-1] / (y[:, :, -1:] + 1e-6)).reshape(x.shape)
        return m.b(y.movedim(1, -1)).movedim(-1, 1) + x

    block = Module(act, a=conv(8, 24, 1, 1, 0), b=nn.Linear(8, 8))
    encoder = nn.Sequential(conv(3, 8), block, conv(8, 8, 1, 1, 0))
    (stage,) = stages(mirrored(encoder, (1, 3, 32, 32)))
    assert isinstance(stage.shortcut, nn.Identity)


def test_the_branch_is_the_way_with_activations():
    way = nn.Sequential(
        conv(16, 4, 1, 1, 0), nn.ReLU(), conv(4, 4, groups=4), nn.ReLU(), conv(4, 64, 1, 1, 0)
    )
    skip = conv(16, 64, 1, 2, 0)
    assert skip.weight.numel() > sum(each.numel() for each in way.parameters())
    encoder = nn.Sequential(
        conv(3, 16), Module(lambda m, x: m.way(x) + m.skip(x), way=way, skip=skip)
    )
    (stage,) = stages(mirrored(encoder, (1, 3, 32, 32)))
    assert [type(each) for each in stage.branch if isinstance(each, nn.ReLU)] == [nn.ReLU] * 2


def test_a_sum_within_a_branch_is_a_stage_within():
    inner = Module(lambda m, x: m.a(x) + m.b(x), a=conv(8, 8, s=1), b=conv(8, 8, 1, 1, 0))
    encoder = nn.Sequential(conv(3, 8), Module(lambda m, x: x + m.a(x), a=inner))
    outer, within = stages(mirrored(encoder, (1, 3, 32, 32)))
    assert within in list(outer.branch.children())
    code = torch.randn(2, 8, 16, 16)
    torch.testing.assert_close(outer(code), code, rtol=0, atol=0)


def test_a_branch_that_ends_in_a_stage_starts_at_zero():
    inner = Module(lambda m, x: x + m.a(F.elu(x)), a=conv(8, 8, s=1))
    way = nn.Sequential(inner, nn.ELU(), conv(8, 8, s=1))
    encoder = nn.Sequential(conv(3, 8), Module(lambda m, x: x + m.a(x), a=way))
    stage, within = stages(mirrored(encoder, (1, 3, 32, 32)))
    assert list(stage.branch.children())[-1] is within
    x = torch.randn(1, 8, 16, 16)
    assert torch.equal(stage(x), x)


def test_resolutions_are_one_stage_each():
    block = Module(lambda m, x: x + m.a(x), a=conv(8, 8, s=1))
    encoder = nn.Sequential(conv(3, 8), nn.ReLU(), block, conv(8, 8, s=1), conv(8, 8))
    assert stages(mirrored(encoder, (1, 3, 32, 32), stages="resolution")) == []
    refined = mirrored(encoder, (1, 3, 32, 32), refine=2)
    names = [name for name, _ in refined.named_children()]
    place = names.index("layer_2")
    assert names[place + 1 : place + 3] == ["layer_1", "layer_2_refine"]


def test_a_shortcut_reaches_any_size():
    for size in ((1, 3, 33, 47), (2, 3, 32, 31)):
        pooled = nn.Sequential(nn.AvgPool2d((2, 3), ceil_mode=True), conv(8, 16, 1, 1, 0))
        block = Module(lambda m, x: m.a(x) + m.b(x), a=conv(8, 16, s=(2, 3)), b=pooled)
        encoder = nn.Sequential(conv(3, 8, s=1), block)
        decoder = mirrored(encoder, size)
        assert len(stages(decoder)) == 1
        assert decoder(encoder(torch.randn(size))).shape == size


class ChannelsLast(nn.Sequential):
    def forward(self, x):
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


def widened(_, x):
    """As ResNets for CIFAR have it: pixels left out, and channels of zeros."""
    return F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, 4, 4))


def ways(a, b):
    return Module(lambda m, x: m.a(x) + m.b(x), a=a, b=b)


def linear():
    way = [nn.LayerNorm(8), nn.Linear(8, 4), nn.Tanh(), nn.Linear(4, 12)]
    return ChannelsLast(ways(nn.Sequential(*way), nn.Linear(8, 12)))


def normed():
    norms = nn.BatchNorm2d(12), nn.GroupNorm(2, 12)
    return ways(conv(8, 12, s=1), nn.Sequential(conv(8, 12, 1, 1, 0), *norms))


def gated_first():
    way = nn.Sequential(nn.BatchNorm2d(8), nn.GLU(1), nn.BatchNorm2d(4), conv(4, 12))
    return ways(way, conv(8, 12, 1, 2, 0))


def gated_last():
    """As Demucs has it."""
    way = [conv(8, 4, s=1), nn.GroupNorm(1, 4), nn.GELU(), conv(4, 16, s=1), nn.GroupNorm(1, 16)]
    return ways(nn.Sequential(*way, nn.GLU(1)), nn.Identity())


def gated_around():
    first, last = (
        Module(lambda _, x: F.glu(x.permute(0, 2, 3, 1), -1).permute(0, 3, 1, 2)),
        nn.GLU(1),
    )
    return ways(nn.Sequential(first, conv(4, 16), nn.MaxPool2d(2), last), conv(8, 8, 1, 4, 0))


def scaled_by_statistics():
    last = nn.BatchNorm2d(8, affine=False)
    return ways(nn.Sequential(conv(8, 8, s=1), last), nn.Identity())


BESIDE = {
    "averaged": (lambda: ways(conv(8, 8), nn.AvgPool2d(2)), "Upsample"),
    "zeros": (lambda: ways(conv(8, 16), Module(widened)), "AutoConvTranspose2d Upsample"),
    "larger": (lambda: ways(nn.ConvTranspose2d(8, 8, 4, 2, 1), nn.Upsample(scale_factor=2)),
               "AdaptiveAvgPool2d"),
    "linear": (linear, "Permute AutoConvTranspose2d Permute"),
    "norms": (normed, "AutoConvTranspose2d GroupNorm"),
    "gate": (gated_first, "AutoConvTranspose2d Upsample"),
    "gate behind": (gated_last, "Identity"),
    "gates": (gated_around, "AutoConvTranspose2d Upsample"),
    "statistics": (scaled_by_statistics, "Identity"),
}  # fmt: skip


@pytest.mark.parametrize("name", BESIDE)
def test_a_shortcut_has_one_tap_its_last_norm_and_pixels_repeated(name):
    build, kinds = BESIDE[name]
    encoder = nn.Sequential(conv(3, 8, s=1), build()).double()
    decoder = mirrored(encoder, (1, 3, 16, 16))
    (stage,) = stages(decoder)
    layers = [each for each in stage.shortcut.modules() if not [*each.children()]]
    assert " ".join(type(each).__name__ for each in layers) == kinds
    seen = []
    stage.register_forward_hook(lambda _, x, y: seen.append((y, stage.shortcut(*x))))
    code = encoder(torch.randn(2, 3, 16, 16, dtype=torch.float64))
    assert decoder(code).shape == (2, 3, 16, 16)
    torch.testing.assert_close(*seen[0], rtol=0, atol=0)


def test_a_stage_is_the_sum_of_its_ways():
    x = torch.randn(2, 3)
    assert torch.equal(Residual(nn.Tanh())(x), x + x.tanh())
    assert torch.equal(Residual(nn.Tanh(), nn.Sigmoid())(x), x.sigmoid() + x.tanh())


def test_a_sum_that_is_broadcast_or_without_a_layer_is_no_stage():
    def spread(m, x):
        return x + m.a(x.mean((2, 3), keepdim=True))

    pooled = ways(nn.Identity(), nn.MaxPool2d(3, 1, 1))
    for block in (Module(spread, a=conv(8, 8, 1, 1, 0)), pooled):
        encoder = nn.Sequential(conv(3, 8), block, conv(8, 4))
        with warnings.catch_warnings(action="ignore", category=autoup.MirrorWarning):
            assert stages(mirrored(encoder, (1, 3, 32, 32))) == []


@pytest.mark.parametrize("joined", [torch.mul, torch.maximum])
def test_what_is_not_added_up_is_one_layer(joined):
    block = Module(lambda m, x: joined(m.a(x), m.b(x)), a=conv(8, 8, s=1), b=conv(8, 8, s=1))
    assert stages(mirrored(nn.Sequential(conv(3, 8), block), (1, 3, 32, 32))) == []


def test_a_flag_is_asked_for():
    with pytest.raises(TypeError, match="residual"):
        mirror_decoder(conv(3, 8), (1, 3, 32, 32), residual=1)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "count"),
    [("resnet18", 8), ("resnet50", 16), ("convnextv2_atto", 12), ("darknet53", 23),
     ("swin_tiny_patch4_window7_224", 24)],
)  # fmt: skip
def test_backbones_have_a_stage_a_block_and_as_many_weights(name, count):
    options = {"img_size": (96, 128)} if name.startswith("swin") else {}
    backbone = import_timm().create_model(name, num_classes=0, **options).eval()
    encoder = Module(lambda m, x: m.a.forward_features(x), a=backbone)
    decoder = mirrored(encoder.to("meta"), (2, 3, 96, 128))
    assert len(stages(decoder)) == count
    weights = [sum(p.numel() for p in each.parameters()) for each in (decoder, encoder)]
    assert 0.7 < weights[0] / weights[1] < 1.5


def test_audit_finds_no_grid_in_a_stage():
    block = Module(lambda m, x: m.a(x) + m.b(x), a=conv(8, 16), b=conv(8, 16, 1, 2, 0))
    decoder = mirrored(nn.Sequential(conv(3, 8), nn.ReLU(), block), (1, 3, 64, 64))
    report = autoup.audit(decoder, (1, 16, 16, 16))
    assert report.clean, str(report)
