"""Bad input: each case with its exception and the words of its message."""

import inspect

import numpy as np
import pytest
import torch
from torch import nn

import autoup
from autoup import AutoConvTranspose1d as Auto1d
from autoup import AutoConvTranspose2d as Auto2d
from autoup import AutoConvTranspose3d as Auto3d
from autoup import InfeasibleError, candidates, solve

CONV = nn.Conv2d(1, 32, 3, 2, 1)
SAME = nn.Conv2d(1, 4, 2, padding="same")

BAD = [
    # Sizes and numbers of one axis.
    (lambda: solve(0, 7), ValueError, "in_size must be at least 1, got 0."),
    (lambda: solve(-3, 7), ValueError, "in_size must be at least 1, got -3."),
    (lambda: solve(7, 0), ValueError, "out_size must be at least 1, got 0."),
    (lambda: solve(14, 7), ValueError, "out_size must not be smaller than in_size, got 14 -> 7"),
    (lambda: solve(7.0, 14), TypeError, "in_size must be an int, got 7.0 of type float."),
    (lambda: solve(7, 14.0), TypeError, "out_size must be an int, got 14.0"),
    (lambda: solve(True, 14), TypeError, "in_size must be an int, got True of type bool."),
    (lambda: solve("7", 14), TypeError, "in_size must be an int, got '7' of type str."),
    (lambda: solve(None, 14), TypeError, "in_size must be an int, got None"),
    (lambda: solve((7, 7), 14), TypeError, "in_size must be an int, got (7, 7) of type tuple."),
    (lambda: solve(7, 14, kernel_size=0), ValueError, "kernel_size must be at least 1, got 0."),
    (lambda: solve(7, 14, kernel_size=2.5), TypeError, "kernel_size must be an int, got 2.5"),
    (lambda: solve(7, 14, stride=0), ValueError, "stride must be at least 1, got 0."),
    (lambda: solve(7, 14, stride=False), TypeError, "stride must be an int, got False"),
    (lambda: solve(7, 14, dilation=0), ValueError, "dilation must be at least 1, got 0."),
    (lambda: solve(7, 14, dilation=None), TypeError, "dilation must be an int, got None"),
    (lambda: solve(7, 14, smoothness=3), ValueError, "smoothness must be 0, 1 or 2, got 3."),
    (lambda: solve(7, 14, smoothness=-1), ValueError, "smoothness must be at least 0, got -1."),
    (lambda: solve(7, 14, smoothness=1.0), TypeError, "smoothness must be an int, got 1.0"),
    (lambda: candidates(7, 14, limit=0), ValueError, "limit must be at least 1, got 0."),
    # Sizes that nothing reaches.
    (
        lambda: solve(10, 25, kernel_size=1),
        InfeasibleError,
        "10 -> 25 cannot be reached with kernel_size=1: it reaches an out_size of 19 to 20 "
        "(stride=2) or 28 to 30 (stride=3). The nearest that work are out_size=28 (stride=3), or "
        "kernel_size=4 (stride=3); or leave kernel_size unpinned.",
    ),
    (
        lambda: solve(14, 28, kernel_size=2, stride=3),
        InfeasibleError,
        "14 -> 28 cannot be reached with kernel_size=2: it reaches an out_size of 39 to 43 "
        "(stride=3). The nearest that work are stride=2, or out_size=39 (stride=3), or "
        "kernel_size=13 (stride=3); or leave kernel_size unpinned.",
    ),
    (
        lambda: solve(9, 9, kernel_size=4),
        InfeasibleError,
        "an out_size of 10 to 12 in steps of 2 (stride=1). The nearest that work are out_size=10",
    ),
    (
        lambda: solve(9, 20, kernel_size=2, stride=1),
        InfeasibleError,
        "9 -> 20 cannot be reached with kernel_size=2: it reaches an out_size of 10 (stride=1).",
    ),
    (
        lambda: Auto2d(4, 2, (14, 10), (28, 25), kernel_size=(2, 1)),
        InfeasibleError,
        "width: 10 -> 25 cannot be reached with kernel_size=1",
    ),
    # Arguments of a layer.
    (lambda: Auto2d(4, 2, 0, 14), ValueError, "in_size must be at least 1, got 0."),
    (lambda: Auto2d(4, 2, 14, 7), ValueError, "got 14 -> 7"),
    (lambda: Auto2d(4, 2, (7, 7), (14, 6)), ValueError, "got 7 -> 6"),
    (lambda: Auto2d(4, 2, 7.0, 14), TypeError, "in_size must be an int, got 7.0"),
    (lambda: Auto2d(4, 2, True, 14), TypeError, "in_size must be an int, got True"),
    (lambda: Auto2d(4, 2, (True, 7), 14), TypeError, "in_size must be an int, got True"),
    (lambda: Auto2d(4, 2, (7, 7.0), 14), TypeError, "in_size must be an int, got 7.0"),
    (
        lambda: Auto2d(4, 2, np.array([7, 7]), 14),
        TypeError,
        "in_size must be an int, got array([7, 7]) of type ndarray.",
    ),
    (lambda: Auto2d(4, 2, torch.tensor([7, 7]), 14), TypeError, "in_size must be an int, got tens"),
    (lambda: Auto2d(4, 2, 7, 14, pad=1), TypeError, "unexpected keyword argument 'pad'"),
    (lambda: Auto2d(4, 2, 7, None), TypeError, "out_size must be an int, got None"),
    (
        lambda: Auto2d(4, 2, (7, 7, 7), 14),
        ValueError,
        "in_size must be an int or have 2 entries, one per axis, got (7, 7, 7).",
    ),
    (lambda: Auto1d(4, 2, (7, 7), 14), ValueError, "have 1 entries, one per axis, got (7, 7)."),
    (lambda: Auto3d(4, 2, 7, (14, 14)), ValueError, "out_size must be an int or have 3 entries"),
    (lambda: Auto2d(4, 2, 7, 14, kernel_size=(2,)), ValueError, "kernel_size must be an int or"),
    (lambda: Auto2d(4, 2, 7, 14, stride=(2, 0)), ValueError, "stride must be at least 1, got 0."),
    (lambda: Auto2d(4, 2, 7, 14, dilation="2"), TypeError, "dilation must be an int, got '2'"),
    (lambda: Auto2d(0, 2, 7, 14), ValueError, "in_channels must be at least 1, got 0."),
    (lambda: Auto2d(4, -2, 7, 14), ValueError, "out_channels must be at least 1, got -2."),
    (lambda: Auto2d(4.0, 2, 7, 14), TypeError, "in_channels must be an int, got 4.0"),
    (lambda: Auto2d(4, True, 7, 14), TypeError, "out_channels must be an int, got True"),
    (lambda: Auto2d(4, 2, 7, 14, groups=3), ValueError, "groups (3) must divide in_channels (4)."),
    (lambda: Auto2d(4, 2, 7, 14, groups=4), ValueError, "groups (4) must divide out_channels (2)."),
    (lambda: Auto2d(4, 2, 7, 14, groups=0), ValueError, "groups must be at least 1, got 0."),
    (lambda: Auto2d(4, 2, 7, 14, groups=2.0), TypeError, "groups must be an int, got 2.0"),
    (lambda: Auto2d(4, 2, 7, 14, bias=None), TypeError, "bias must be True or False, got None."),
    (lambda: Auto2d(4, 2, 7, 14, bias=1), TypeError, "bias must be True or False, got 1."),
    (
        lambda: Auto2d(4, 2, 7, 14, init="xavier"),
        ValueError,
        "'damped', 'lecun_uniform', 'phase_equal', 'torch', got 'xavier'",
    ),
    (lambda: Auto2d(4, 2, 7, 14, init=None), ValueError, "init must be one of"),
    (lambda: Auto2d(4, 2, 7, 14, smoothness=5), ValueError, "smoothness must be 0, 1 or 2, got 5."),
    (lambda: Auto2d(4, 2, 7, 14, smoothness=1.0), TypeError, "smoothness must be an int, got 1.0"),
    (
        lambda: Auto2d(4, 2, 7, 14, smoothness=True),
        TypeError,
        "smoothness must be an int, got True",
    ),
    (lambda: Auto2d(4, 2, 7, 14, dtype="float32"), TypeError, "dtype must be a torch.dtype"),
    (lambda: Auto2d(4, 2, 7, 14, dtype=torch.int64), TypeError, "complex type, got torch.int64."),
    # Habits of PyTorch's constructor.
    (
        lambda: Auto2d(4, 2, 7, 14, padding=1),
        TypeError,
        "AutoConvTranspose2d solves for padding and output_padding, got padding=1: leave it out.",
    ),
    (
        lambda: Auto2d(4, 2, 3, stride=2, padding=1, output_padding=1),
        TypeError,
        "got padding=1, output_padding=1: leave it out. They follow from in_size, out_size and "
        "what is pinned of kernel_size, stride and dilation.",
    ),
    (
        lambda: Auto3d(64, 32, 4, 2, 1),
        TypeError,
        "AutoConvTranspose3d takes 4 arguments by position, in_channels, out_channels, in_size and "
        "out_size, got 5: 64, 32, 4, 2, 1. In nn.ConvTranspose3d the third and fourth are "
        "kernel_size and stride: give the two sizes there, and pin these by name, kernel_size=4, "
        "stride=2,",
    ),
    (
        lambda: Auto2d.mirror(CONV, 28, padding=1),
        TypeError,
        "AutoConvTranspose2d.mirror solves for padding and output_padding, or with adjoint=True "
        "keeps padding, got padding=1: leave it out.",
    ),
    (
        lambda: Auto2d.mirror(CONV, 28, stride=2, groups=1),
        TypeError,
        "takes stride, dilation and groups from the encoder, got stride=2, groups=1: leave it",
    ),
    (
        lambda: Auto2d(64, 32, (8, 64, 14, 14), 28),
        ValueError,
        "in_size must be an int or have 2 entries, one per axis, got (8, 64, 14, 14). Of the shape "
        "of a tensor x, pass x.shape[2:], here (14, 14).",
    ),
    (
        lambda: Auto1d(64, 32, 14, torch.zeros(64, 28).shape),
        ValueError,
        "out_size must be an int or have 1 entries, one per axis, got torch.Size([64, 28]). Of the "
        "shape of a tensor x, pass x.shape[1:], here (28,).",
    ),
    (
        lambda: Auto2d(64, 32, torch.zeros(8, 64, 14, 15), 28),
        TypeError,
        "got a Tensor of shape (8, 64, 14, 15). Of the shape of a tensor x, pass x.shape[2:], here "
        "(14, 15).",
    ),
    (
        lambda: Auto2d.mirror(CONV, torch.zeros(1, 28, 28)),
        TypeError,
        "out_size must be an int or have 2 entries, one per axis, got a Tensor of shape "
        "(1, 28, 28). Of the shape of a tensor x, pass x.shape[1:], here (28, 28).",
    ),
    (
        lambda: solve(torch.zeros(8, 64, 14), 28),
        TypeError,
        "in_size must be an int, got a Tensor of shape (8, 64, 14): pass one of its sizes, such as "
        "x.shape[-1], here 14.",
    ),
    (
        lambda: solve(torch.Size([14, 15]), 28),
        TypeError,
        "got torch.Size([14, 15]) of type Size. Pass its entries one by one, as ints.",
    ),
    (
        lambda: solve(14, torch.tensor([28, 28])),
        TypeError,
        "out_size must be an int, got tensor([28, 28]) of type Tensor. Pass its entries one by one",
    ),
    (
        lambda: autoup.mirror_decoder(CONV, torch.zeros(1, 1, 28, 28)),
        TypeError,
        "input_size must be a size, got a tensor: pass its shape, x.shape, here (1, 1, 28, 28).",
    ),
    # Encoders.
    (lambda: Auto2d(32, 1, 14, 28, encoder="conv"), TypeError, "an nn.Conv2d, got 'conv'."),
    (
        lambda: Auto2d(32, 1, 14, 28, encoder=nn.ConvTranspose2d(1, 32, 3)),
        TypeError,
        "encoder must be an nn.Conv2d, got ConvTranspose2d.",
    ),
    (
        lambda: Auto2d(32, 1, 14, 28, encoder=nn.Conv1d(1, 32, 3, 2, 1)),
        TypeError,
        "encoder must be an nn.Conv2d, got Conv1d.",
    ),
    (
        lambda: Auto2d(32, 1, 14, 28, encoder=nn.LazyConv2d(32, 3, 2, 1)),
        ValueError,
        "encoder is a LazyConv2d whose channels are not known yet: pass one batch through it",
    ),
    (
        lambda: Auto2d(16, 1, 14, 28, encoder=CONV),
        ValueError,
        "in_channels=16 disagrees with the encoder: expected 32, its out_channels.",
    ),
    (
        lambda: Auto2d(32, 3, 14, 28, encoder=CONV),
        ValueError,
        "out_channels=3 disagrees with the encoder: expected 1, its in_channels.",
    ),
    (
        lambda: Auto2d(32, 1, 13, 28, encoder=CONV),
        ValueError,
        "in_size=(13, 13) disagrees with the encoder: expected (14, 14), what it makes of "
        "(28, 28).",
    ),
    (
        lambda: Auto2d(32, 1, 14, 28, encoder=CONV, stride=3),
        ValueError,
        "stride=(3, 3) disagrees with the encoder: expected (2, 2), its stride.",
    ),
    (
        lambda: Auto2d(32, 1, 14, 28, encoder=CONV, dilation=2),
        ValueError,
        "dilation=2 disagrees with the encoder: expected 1",
    ),
    (
        lambda: Auto2d(32, 1, 14, 28, encoder=CONV, groups=2),
        ValueError,
        "groups=2 disagrees with the encoder: expected 1, its groups.",
    ),
    (
        lambda: Auto2d.mirror(nn.Conv2d(1, 4, 7), 5),
        ValueError,
        "encoder has no output at height 5: out_size must be at least 7 there.",
    ),
    (lambda: Auto2d.mirror(CONV, 0), ValueError, "out_size must be at least 1, got 0."),
    (lambda: Auto2d.mirror(CONV, (28,)), ValueError, "out_size must be an int or have 2 entries"),
    (lambda: Auto2d.mirror(nn.Linear(2, 2), 28), TypeError, "an nn.Conv2d, got Linear."),
    (lambda: Auto2d.mirror(CONV, 28, tied=True), ValueError, "tied=True needs adjoint=True"),
    (
        lambda: Auto2d.mirror(CONV, 28, adjoint=1),
        TypeError,
        "adjoint must be True or False, got 1.",
    ),
    (lambda: Auto2d.mirror(CONV, 28, tied="y"), TypeError, "tied must be True or False, got 'y'."),
    (
        lambda: Auto2d.mirror(CONV, 28, adjoint=True, kernel_size=4),
        ValueError,
        "kernel_size=4 cannot be pinned with adjoint=True: the adjoint has the encoder's "
        "kernel_size (3, 3).",
    ),
    (
        lambda: Auto2d.mirror(SAME, 28, adjoint=True),
        InfeasibleError,
        "height: no transposed convolution is the adjoint of padding='same' with kernel_size=2",
    ),
    (
        lambda: Auto2d.mirror(CONV, 28, adjoint=True, tied=True, dtype=torch.float64),
        ValueError,
        "dtype=torch.float64 cannot be tied to the encoder's weight, torch.float32.",
    ),
    (
        lambda: Auto2d.mirror(CONV, 28, adjoint=True, tied=True, device="meta"),
        ValueError,
        "device=meta cannot be tied to the encoder's, cpu.",
    ),
    (
        lambda: Auto2d.mirror(nn.Conv2d(1, 4, 3, 3), 11, kernel_size=1),
        InfeasibleError,
        "height: 3 -> 11 cannot be reached with kernel_size=1",
    ),
]


@pytest.mark.parametrize(("call", "error", "words"), BAD)
def test_bad_input_raises_with_the_argument_and_its_value(call, error, words):
    with pytest.raises(error) as raised:
        call()
    assert type(raised.value) is error
    assert words in str(raised.value)


def test_slips_stay_out_of_the_signatures_and_leave_subclasses_alone():
    names = set(inspect.signature(Auto2d).parameters) | set(
        inspect.signature(Auto2d.mirror).parameters
    )
    assert not names & {"padding", "output_padding", "args", "options"}

    class Padded(Auto2d):
        def __init__(self, channels, padding):
            super().__init__(channels, channels, 7, 7 + padding)

    assert Padded(4, padding=7).out_size == (14, 14)
    with pytest.raises(TypeError, match=r"^AutoConvTranspose2d\.mirror takes stride"):
        Padded.mirror(CONV, 28, stride=2)


def test_errors_have_the_bases_they_promise():
    assert issubclass(InfeasibleError, autoup.AutoupError)
    assert issubclass(InfeasibleError, ValueError)
    assert issubclass(autoup.ArtifactWarning, UserWarning)


def test_a_bool_is_refused_even_after_the_same_sizes_as_ints():
    Auto2d(4, 2, (1, 7), (2, 14))
    with pytest.raises(TypeError, match="got True"):
        Auto2d(4, 2, (True, 7), (2, 14))


def test_a_refused_call_draws_no_random_numbers():
    state = torch.get_rng_state()
    with pytest.raises(ValueError, match="in_channels=16"):
        Auto2d(16, 1, 14, 28, encoder=CONV)
    assert torch.equal(torch.get_rng_state(), state)
