"""Steps without a kernel of their own: what each looks like, against what a run of it does."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812

from autoup import audit


class Act(nn.Module):
    def __init__(self, act):
        super().__init__()
        self.act = act

    def forward(self, x):
        return self.act(x)


@pytest.mark.parametrize(("k", "s", "p", "d"), [
    (3, 2, 1, 1), (4, 2, 1, 1), (2, 2, 0, 1), (3, 2, 2, 3), (6, 4, 1, 1), ((4, 3), (2, 3), 0, 1),
    ((4, 3), 2, 0, 1),
])  # fmt: skip
def test_fold_overlaps_as_a_transposed_convolution_does(k, s, p, d):
    def act(x):
        patches = F.unfold(x, k, d, p, s)
        return F.fold(patches * 0 + 1, x.shape[2:], k, d, p, s)

    x = torch.zeros(1, 1, 40, 40)
    inside = act(x)[0, 0, 12:36, 12:36]
    (row,) = audit(Act(act), (1, 1, 40, 40))
    assert (row.kind, row.out_size) == ("fold", (40, 40))
    assert row.even == bool((inside == inside[0, 0]).all())
    assert row.severity == ("note" if row.even else "severe")
    counted = {int(a) * int(b) for a in row.phases[0] for b in row.phases[1]}
    assert counted == {*map(int, inside.unique())}
    patches = F.unfold(x, k, d, p, s).shape[2]
    assert row.in_size[0] * row.in_size[1] == patches


def test_fold_that_is_divided_behind_is_a_note():
    def act(x):
        patches = F.unfold(x, 3, stride=2)
        overlap = F.fold(torch.ones_like(patches), x.shape[2:], 3, stride=2)
        return F.fold(patches, x.shape[2:], 3, stride=2) / overlap

    (row,) = audit(Act(act), (1, 1, 41, 41))
    assert (row.kind, row.severity) == ("fold", "note")
    assert "divided behind it" in row.seen[0]


def test_fold_tells_the_least_and_the_most_of_all_axes():
    (row,) = audit(Act(lambda x: F.fold(x, (41, 41), (5, 3), stride=(2, 2))), (1, 15, 19 * 20))
    assert "uneven overlap of the patches, 1 to 3 a pixel along an axis" in row.seen[0]


@pytest.mark.parametrize("other", [lambda x: x, lambda x: x.exp()])
def test_fold_that_others_read_too_is_not_divided_for_them(other):
    def act(x):
        made = F.fold(F.unfold(x, 3, stride=2), x.shape[2:], 3, stride=2)
        return made / 2, other(made)

    assert audit(Act(act), (1, 1, 41, 41))[0].severity == "severe"


def test_fold_of_one_picture_without_a_batch_is_read():
    (row,) = audit(Act(lambda x: F.fold(x, (8, 10), 2, stride=2)), (12, 20))
    assert (row.in_size, row.out_size, row.out_channels) == ((4, 5), (8, 10), 3)
    assert (row.severity, row.stride) == ("note", (2.0, 2.0))


class Unpooled(nn.Module):
    def __init__(self, dims):
        super().__init__()
        self.pool = getattr(nn, f"MaxPool{dims}d")(2, return_indices=True)
        self.unpool = getattr(nn, f"MaxUnpool{dims}d")(2)

    def forward(self, x):
        return self.unpool(*self.pool(x))


@pytest.mark.parametrize("dims", [1, 2, 3])
def test_unpooling_leaves_holes(dims):
    report = audit(Unpooled(dims), (1, 2, *(8,) * dims))
    (row,) = report
    assert (row.kind, row.in_size, row.out_size) == ("unpool", (4,) * dims, (8,) * dims)
    assert (row.severity, row.name) == ("note", "unpool.max_unpool")
    assert "one pixel is written" in row.seen[0]


def test_sampling_is_named_where_it_enlarges():
    def sample(x, size):
        places = F.affine_grid(torch.eye(2, 3)[None], (1, 2, size, size), align_corners=False)
        return F.grid_sample(x, places, align_corners=False)

    (row,) = audit(Act(lambda x: sample(x, 16)), (1, 2, 8, 8))
    assert (row.kind, row.stride, row.severity) == ("sample", (2.0, 2.0), "note")
    assert [*audit(Act(lambda x: sample(x, 8)), (1, 2, 8, 8))] == []


def test_inverse_short_time_fourier_transform_is_even():
    class Vocoder(nn.Module):
        def __init__(self):
            super().__init__()
            self.head = nn.Conv1d(8, 34, 1)

        def forward(self, x):
            real, imaginary = self.head(x).chunk(2, 1)
            return torch.istft(torch.complex(real, imaginary), 32, 8, window=torch.hann_window(32))

    (row,) = audit(Vocoder(), (1, 8, 40))
    assert (row.kind, row.severity, row.type) == ("fold", "clean", "istft")
    assert (row.in_size, row.out_size) == ((40,), (39 * 8,))
    assert "sum of their windows" in row.seen[0]


def test_every_kind_is_known_to_the_rows():
    from autoup.auditing.upsampling import Upsampling
    from autoup.inspecting.sites import KINDS

    assert all(f'"{kind}"' in Upsampling.__doc__ for kind in KINDS)
