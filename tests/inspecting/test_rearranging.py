"""What enlarges by views, slices and copies is read from where each number comes from."""

from itertools import product

import pytest
import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812

from autoup import audit
from autoup.inspecting import playback


class Then(nn.Module):
    """A convolution, what enlarges by hand, a convolution."""

    def __init__(self, act, dims, shrinks=1):
        super().__init__()
        conv = (nn.Conv1d, nn.Conv2d, nn.Conv3d)[dims - 1]
        self.act, self.before = act, conv(2, 8, 3, padding=1)
        self.behind = conv(8 // shrinks, 3, 3, padding=1)

    def forward(self, x):
        return self.behind(self.act(self.before(x)))


def by_index(x, s):
    for axis in range(2, x.ndim):
        x = x.index_select(axis, torch.arange(s * x.shape[axis]) // s)
    return x


def by_mask_of_places(x, s):
    for axis in range(2, x.ndim):
        x = x[(slice(None),) * axis + (torch.arange(s * x.shape[axis]) // s,)]
    return x


def by_expand(x, s):
    sizes = x.shape[2:]
    for axis in range(2, 2 * x.ndim - 2, 2):
        x = x.unsqueeze(axis + 1)
    x = x.expand(*x.shape[:2], *(n for size in sizes for n in (size, s)))
    return x.reshape(*x.shape[:2], *(s * size for size in sizes))


def by_repeat_interleave(x, s):
    for axis in range(2, x.ndim):
        x = x.repeat_interleave(s, axis)
    return x


def by_cat(x, s):
    for axis in range(2, x.ndim):
        x = torch.stack([x] * s, axis + 1).flatten(axis, axis + 1)
    return x


def by_writing(x, s):
    made = torch.empty(*x.shape[:2], *(s * n for n in x.shape[2:]))
    for phase in product(range(s), repeat=x.ndim - 2):
        made[(..., *(slice(r, None, s) for r in phase))] = x
    return made


REPEATS = [by_index, by_mask_of_places, by_expand, by_repeat_interleave, by_cat, by_writing]


@pytest.mark.parametrize("dims", [1, 2, 3])
@pytest.mark.parametrize("s", [2, 3])
@pytest.mark.parametrize("act", REPEATS)
def test_pixels_repeated_by_hand_are_nearest_enlargement(act, s, dims):
    x = torch.randn(1, 2, *range(5, 5 + dims))
    assert torch.equal(act(x, s), F.interpolate(x, scale_factor=s))
    report = audit(Then(lambda x: act(x, s), dims), (1, 2, *range(5, 5 + dims)))
    (row,) = report
    assert (row.kind, row.stride, row.partner) == ("repeat", (float(s),) * dims, "behind")
    assert row.in_size == tuple(range(5, 5 + dims))
    assert row.out_size == tuple(s * n for n in row.in_size)
    assert (row.severity, row.spread) == ("clean", 0.0)
    assert report.displaced == ((0.0, 0.0),) * dims


def into_new(x, s, first=0):
    made = x.new_zeros(*x.shape[:2], *(s * n for n in x.shape[2:]))
    made[(..., *(slice(first, None, s),) * (x.ndim - 2))] = x
    return made


def by_copy(x, s):
    made = torch.zeros(*x.shape[:2], *(s * n for n in x.shape[2:]))
    made[(..., *(slice(None, None, s),) * (x.ndim - 2))].copy_(x)
    return made


def by_padding(x, s):
    sizes = x.shape[2:]
    for axis in range(2, 2 * x.ndim - 2, 2):
        x = x.unsqueeze(axis + 1)
    x = F.pad(x, [0, s - 1, 0, 0] * len(sizes))
    return x.reshape(*x.shape[:2], *(s * n for n in sizes))


def by_stacking(x, s):
    for axis in range(2, x.ndim):
        x = torch.stack([x, *[torch.zeros_like(x)] * (s - 1)], axis + 1).flatten(axis, axis + 1)
    return x


@pytest.mark.parametrize("dims", [1, 2, 3])
@pytest.mark.parametrize("s", [2, 3])
@pytest.mark.parametrize("act", [into_new, by_copy, by_padding, by_stacking])
def test_zeros_between_pixels_and_a_convolution_are_a_transposed_one(act, s, dims):
    model = Then(lambda x: act(x, s), dims)
    report = audit(model, (1, 2, *range(5, 5 + dims)))
    (row,) = report
    assert (row.kind, row.stride, row.kernel_size) == ("zeros", (float(s),) * dims, (3,) * dims)
    layer = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)[dims - 1]
    same = layer(8, 3, 3, s, 1, s - 1)
    same.weight.data = model.behind.weight.flip([*range(2, dims + 2)]).transpose(0, 1).clone()
    other = audit(same, (1, 8, *range(5, 5 + dims)))
    assert (row.even, row.severity) == (other[0].even, "severe" if s == 2 else "note")
    assert sorted(row.phases[0]) == sorted(other[0].phases[0])
    assert row.spread == pytest.approx(other[0].spread)
    assert report.displaced == other.displaced


@pytest.mark.parametrize("first", [0, 1, 2])
def test_zeros_may_stand_in_front(first):
    report = audit(Then(lambda x: into_new(x, 3, first), 2), (1, 2, 6, 6))
    assert report.displaced == ((first - 1.0,) * 2,) * 2


def test_zeros_that_no_convolution_fills_are_severe():
    (row,) = audit(nn.Sequential(Then(lambda x: into_new(x, 2).relu(), 2)), (1, 2, 6, 6))
    assert (row.kind, row.severity) == ("zeros", "severe")
    assert "zeros between the pixels" in row.seen[0]


def test_zeros_filled_by_a_kernel_that_data_make_have_no_spread():
    weight = torch.randn(8, 8, 3, 3)
    model = Then(lambda x: F.conv2d(into_new(x, 2), weight * x.mean(), padding=1), 2)
    (row,) = audit(model, (1, 2, 6, 6))
    assert (row.kind, row.severity, row.spread) == ("zeros", "severe", None)


def test_zeros_filled_by_taps_that_are_made_in_the_forward_pass_are_looked_at():
    def act(x):
        return F.conv2d(into_new(x, 2), torch.ones(8, 1, 2, 2), groups=8)

    (row,) = audit(Then(act, 2), (1, 2, 6, 6))
    assert (row.kind, row.severity, row.spread) == ("zeros", "clean", 0.0)


@pytest.mark.parametrize("stride", [2, (1, 2)])
def test_zeros_and_a_strided_convolution_are_no_transposed_one(stride):
    model = Then(lambda x: into_new(x, 2), 2)
    model.behind.stride = stride if stride != 2 else (2, 2)
    (row,) = audit(model, (1, 2, 6, 6))
    assert (row.kind, row.spread, row.kernel_size) == ("zeros", None, None)


class Shuffle(nn.Module):
    """Channels spread over blocks of two different heights and widths, in an order of one's own."""

    def forward(self, x):
        n, c, h, w = x.shape
        x = x.reshape(n, 3, c // 6, 2, h, w).permute(0, 2, 4, 3, 5, 1)
        return x.reshape(n, c // 6, 2 * h, 3 * w)


def test_shuffle_of_a_scale_for_each_axis():
    conv = nn.Conv2d(2, 12, 3, padding=1)
    report = audit(nn.Sequential(conv, Shuffle()), (1, 2, 7, 9))
    (row,) = report
    assert (row.kind, row.stride, row.partner) == ("shuffle", (2.0, 3.0), "0")
    assert (row.in_size, row.out_size, row.severity) == ((7, 9), (14, 27), "note")
    assert report.displaced == ((0.0, 0.0), (0.0, 0.0))
    with torch.no_grad():
        phases = torch.arange(12).reshape(3, 2, 2)  # Width, channel, height.
        for channel in range(2):
            conv.weight[phases[:, channel]] = conv.weight[channel].clone()
            conv.bias[phases[:, channel]] = conv.bias[channel].clone()
    assert audit(nn.Sequential(conv, Shuffle()), (1, 2, 7, 9))[0].spread == pytest.approx(
        0, abs=1e-6
    )


def test_phases_from_several_functions_are_not_called_equal():
    def act(x):
        made = x.new_empty(*x.shape[:2], *(2 * n for n in x.shape[2:]))
        for r, c in product(range(2), repeat=2):
            made[..., r::2, c::2] = x * (1 + r + c)
        return made

    report = audit(Then(act, 2), (1, 2, 16, 16))
    assert (report[0].kind, report[0].spread, report[0].severity) == ("shuffle", None, "note")
    assert "stem from several functions" in report[0].seen[0]
    assert report.constants.spread > 0.1


@pytest.mark.parametrize("act", [
    lambda x: torch.cat([x, x], 1)[:, :8],
    lambda x: F.pad(x, (3, 2, 1, 4), mode="reflect"),
    lambda x: torch.cat([x.new_zeros(1, 8, 12, 5), x], 3),
    lambda x: x.roll(3, 2).flip(3),
    lambda x: x.flatten(2).transpose(1, 2).reshape(1, 12, 12, 8).permute(0, 3, 1, 2),
    lambda x: x.unfold(2, 4, 4).unfold(3, 4, 4).permute(0, 1, 2, 4, 3, 5).reshape(1, 8, 12, 12),
    lambda x: x.view(1, 8, 3, 4, 3, 4).transpose(3, 4).reshape(8, 9, 16).transpose(1, 2)
        .reshape(1, 8, 4, 4, 3, 3).permute(0, 1, 4, 2, 5, 3).reshape(1, 8, 12, 12),
])  # fmt: skip
def test_moving_pixels_is_no_enlargement(act):
    assert [*audit(Then(act, 2), (1, 2, 12, 12))] == []


def blended(x):
    """Two tiles that overlap, faded into each other."""
    one, two = x[..., :8].clone(), x[..., 4:].clone()
    for n in range(4):
        two[..., n] = one[..., 4 + n] * (1 - n / 4) + two[..., n] * (n / 4)
    return torch.cat([one[..., :4], two], 3)


def test_tiles_that_are_blended_are_no_enlargement():
    assert [*audit(Then(blended, 2), (1, 2, 12, 12))] == []


def test_frames_before_the_first_are_no_enlargement():
    """Causal padding, by the first frame and by frames that were kept."""
    kept = []

    def causal(x):
        kept.append(x[:, :, -1:].clone())
        return torch.cat([x[:, :, :1].repeat(1, 1, 2, 1, 1), x], 2)[:, :, 2:]

    def cached(x):
        before = torch.cat([x[:, :, :1] * 0.5, x[:, :, :1]], 2)
        return F.pad(torch.cat([before, x], 2), (1, 1, 1, 1, 0, 0))

    for act in causal, cached:
        assert [*audit(Then(act, 3), (1, 2, 2, 8, 8))] == []


@pytest.mark.parametrize(("act", "offset"), [
    (lambda x: torch.cat([x.new_zeros(1, 8, 12, 6), x], 3), (0.0, 3.0)),
    (lambda x: torch.cat([x, x], 3), None),
])  # fmt: skip
def test_pixels_that_are_moved_are_followed_where_one_offset_tells_all(act, offset):
    found = audit(Then(act, 2), (1, 2, 12, 12)).displaced
    assert found == (None if offset is None else tuple((each, each) for each in offset))


def test_pixels_that_were_tokens_in_between_are_a_shuffle():
    def act(x):
        n, _, h, w = x.shape
        x = F.gelu(x.flatten(2).transpose(1, 2)).reshape(n, h, w, 2, 2, 2)
        return x.permute(0, 5, 1, 3, 2, 4).reshape(n, 2, 2 * h, 2 * w)

    (row,) = audit(Then(act, 2, shrinks=4), (1, 2, 6, 5))
    assert (row.kind, row.stride, row.out_size) == ("shuffle", (2.0, 2.0), (12, 10))


def test_channels_may_be_cut_before_and_spread_behind_what_computes():
    def act(x):
        x = x.reshape(1, 2, 2, 2, 6, 7).relu()
        return x.permute(0, 1, 4, 2, 5, 3).reshape(1, 2, 12, 14)

    report = audit(Then(act, 2, shrinks=4), (1, 2, 6, 7))
    (row,) = report
    assert (row.kind, row.stride, row.out_size) == ("shuffle", (2.0, 2.0), (12, 14))


def test_order_in_memory_is_not_warned_of():
    torch.set_warn_always(True)
    try:
        (row,) = audit(Then(lambda x: by_expand(x, 2).transpose(2, 3), 2), (1, 2, 6, 7))
    finally:
        torch.set_warn_always(False)
    assert row.kind == "repeat"


def test_pixels_repeated_unevenly_are_not_called_clean():
    places = torch.tensor([0, 0, 1, 2, 2, 3, 4, 4])
    (row,) = audit(Then(lambda x: x.index_select(3, places), 2), (1, 2, 5, 5))
    assert (row.kind, row.severity) == ("unknown", "unknown")
    assert "enlarges by index_select" in row.seen[0]


class Columns(nn.Module):
    """Computes every column of a picture by itself."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(2, 2, 1)

    def forward(self, x):
        x, made = self.conv(x), torch.zeros_like(x)
        for place in range(x.shape[-1]):
            made[..., place] = x[..., place] * 2
        return self.conv(made)


@pytest.mark.parametrize("width", [20, 220])
def test_columns_that_are_written_one_by_one_are_no_step(width):
    assert [*audit(Columns(), (1, 2, 4, width))] == []


def test_runs_of_too_many_numbers_are_not_played_back(monkeypatch):
    monkeypatch.setattr(playback, "_MOST", 8 * 12 * 12 - 1)
    (row,) = audit(Then(lambda x: by_expand(x, 2), 2), (1, 2, 6, 6))
    assert (row.kind, row.severity) == ("unknown", "unknown")
    assert (row.stride, row.in_size, row.out_size) == ((1.0, 1.0), None, None)


def test_playing_back_draws_no_numbers():
    model, state = Then(lambda x: by_expand(x, 2), 2), torch.get_rng_state()
    audit(model, (1, 2, 6, 6))
    assert torch.equal(state, torch.get_rng_state())
