"""What repair does at each place, and what stays there."""

import warnings

import pytest
import torch
from support.comparing import quietly
from torch import nn
from torch.nn import functional as F  # noqa: N812

import autoup
from autoup import audit, repair


def test_what_stays_is_said():
    with pytest.warns(autoup.ArtifactWarning) as caught:
        repaired = repair(nn.Sequential(nn.ConvTranspose2d(1, 1, 4, 2, 1, 1)))
    assert repaired[0].output_padding == (1, 1)
    assert "output_padding 1 stays: stride 2 is even, the output odd" in str(caught[0].message)
    assert caught[0].filename == __file__
    with warnings.catch_warnings(action="error"):
        assert repair(nn.ConvTranspose2d(1, 1, 4, 2, 1, 1), even=False).kernel_size == (5, 5)
    with pytest.warns(autoup.ArtifactWarning, match="kernel_size 3 stays uneven"):
        assert repair(nn.ConvTranspose2d(1, 1, 3, 2, 1)).kernel_size == (3, 3)


def test_dead_lines_are_covered_where_an_even_kernel_can():
    layer = nn.ConvTranspose1d(1, 1, 2, 2, 0, 1)
    with pytest.warns(autoup.ArtifactWarning, match="2 -> 4 by zero taps.*output_padding 1 stays"):
        repaired = repair(layer)
    assert (repaired.kernel_size, repaired.padding, repaired.output_padding) == ((4,), (1,), (1,))
    assert audit(layer)[0].uncovered == (1,)
    assert audit(repaired)[0].uncovered == (0,)


class TestWhatIsKept:
    def test_hooks_mode_dtype_layout_and_requires_grad(self):
        calls = []
        layer = nn.ConvTranspose2d(2, 4, 3, 2, 1, 1).double().train()
        layer.weight.requires_grad_(False)
        layer.register_forward_hook(lambda *_: calls.append(1))
        model = nn.Sequential(layer).to(memory_format=torch.channels_last)
        repaired = repair(model, (1, 2, 4, 4))
        assert not calls
        repaired(torch.zeros(1, 2, 4, 4).double())
        assert calls == [1]
        assert repaired[0].weight.dtype == torch.float64
        assert not repaired[0].weight.requires_grad
        assert repaired[0].bias.requires_grad
        assert repaired[0].training
        assert type(repaired[0]) is nn.ConvTranspose2d

    def test_subclass_and_attributes(self):
        class Mine(nn.ConvTranspose2d):
            note = "kept"

        repaired = repair(nn.Sequential(Mine(1, 1, 3, 2, 1, 1)))
        assert type(repaired[0]) is Mine
        assert repaired[0].kernel_size == (4, 4)

    def test_layer_with_a_forward_of_its_own_stays(self):
        class Own(nn.ConvTranspose2d):
            def forward(self, x):
                return F.conv_transpose2d(x, self.weight[..., :2, :2], stride=2)

        with pytest.warns(autoup.ArtifactWarning, match="Own has a forward of its own"):
            assert repair(Own(1, 1, 3, 2, 1, 1)).kernel_size == (3, 3)

    def test_layer_called_with_output_size_stays(self):
        class Sized(nn.Module):
            def __init__(self):
                super().__init__()
                self.up = nn.ConvTranspose2d(1, 1, 3, 2, 1, 1)

            def forward(self, x):
                return self.up(x, output_size=[2 * n - 1 for n in x.shape[2:]])

        with pytest.warns(autoup.ArtifactWarning, match="called with output_size"):
            assert repair(Sized(), (1, 1, 4, 4)).up.kernel_size == (3, 3)

    def test_solved_layers_tell_what_they_are_now(self):
        up = quietly(lambda: autoup.AutoConvTranspose2d(2, 2, 7, 14, kernel_size=3, stride=2))
        repaired = repair(nn.Sequential(up), (1, 2, 7, 7))[0]
        found = [(each.kernel_size, each.output_padding) for each in repaired.solutions]
        assert found == [(4, 0)] * 2
        assert "kernel_size=(4, 4)" in repr(repaired)
        x = torch.randn(1, 2, 7, 7)
        assert torch.allclose(up(x), repaired(x), atol=1e-6)

    def test_mirrors_tell_where_they_put_pixels_now(self):
        conv = nn.Conv2d(2, 4, 3, 2, 1)
        mirror = quietly(lambda: autoup.AutoConvTranspose2d.mirror(conv, 16, adjoint=True))
        repaired = repair(nn.Sequential(mirror))[0]
        clean = autoup.AutoConvTranspose2d.mirror(conv, 16, kernel_size=4)
        assert mirror.round_trip_shift == (0.0, 0.0)
        assert repaired.round_trip_shift == clean.round_trip_shift == (0.5, 0.5)

    def test_guaranteed_layers_stay(self):
        up = quietly(lambda: autoup.AutoConvTranspose2d(2, 2, 7, 14, kernel_size=3, smoothness=1))
        with pytest.warns(autoup.ArtifactWarning, match="a guarantee projects its kernel"):
            assert repair(up).kernel_size == (3, 3)

    def test_clean_model_is_copied_in_silence(self):
        model = nn.Sequential(nn.ConvTranspose2d(2, 2, 2, 2), nn.ReLU())
        with warnings.catch_warnings(action="error"):
            repaired = repair(model, (1, 2, 4, 4))
        assert repaired is not model
        assert str(repaired) == str(model)
