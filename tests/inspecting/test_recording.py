"""Functions and the operators beneath them: whatever way a step is called, it is seen."""

from threading import Event, Thread

import numpy as np
import pytest
import torch
from support.comparing import quietly
from torch import nn
from torch.nn import functional as F  # noqa: N812

from autoup import audit, repair
from autoup.inspecting.calls import Call
from autoup.inspecting.recording import record

WEIGHT = torch.randn(4, 4, 3, 3)


def scripted(part):
    return quietly(lambda: torch.jit.script(part))


@scripted
def snake(x, alpha):
    shape = x.shape
    x = x.reshape(shape[0], shape[1], -1)
    x = x + (alpha + 1e-9).reciprocal() * torch.sin(alpha * x).pow(2)
    return x.reshape(shape)


@scripted
def scripted_step(x, weight):
    return torch.relu(torch.conv_transpose2d(x, weight, stride=[2, 2]))


@scripted
def scripted_resize(x):
    return torch.nn.functional.interpolate(x, scale_factor=2.0, mode="bilinear")


class Step(torch.autograd.Function):
    @staticmethod
    def forward(_, x):
        return F.conv_transpose2d(x, WEIGHT, stride=2)


class Act(nn.Module):
    def __init__(self, act):
        super().__init__()
        self.act = act

    def forward(self, x):
        return self.act(x)


class By(nn.Module):
    """A model of one function, between two convolutions."""

    def __init__(self, act):
        super().__init__()
        self.act, self.first = act, nn.Conv2d(3, 4, 3, padding=1)
        self.last = nn.Conv2d(4, 2, 3, padding=1)

    def forward(self, x):
        return self.last(self.act(self.first(x)))


TRANSPOSED = {
    "functional": lambda x: F.conv_transpose2d(x, WEIGHT, stride=2),
    "by keyword": lambda x: F.conv_transpose2d(input=x, weight=WEIGHT, stride=2),
    "operator": lambda x: torch.ops.aten.conv_transpose2d(x, WEIGHT, None, [2, 2]),
    "overload": lambda x: torch.ops.aten.conv_transpose2d.input(x, WEIGHT, None, [2, 2]),
    "torch.convolution": lambda x: torch.convolution(
        x, WEIGHT, None, (2, 2), (0, 0), (1, 1), True, (0, 0), 1
    ),
    "scripted": lambda x: scripted_step(x, WEIGHT),
    "autograd function": lambda x: Step.apply(x),
    "behind a scripted function": lambda x: F.conv_transpose2d(
        snake(x, torch.ones(1, 4, 1)), WEIGHT, stride=2
    ),
    "behind a vmap": lambda x: F.conv_transpose2d(torch.vmap(torch.sin)(x), WEIGHT, stride=2),
}


@pytest.mark.parametrize("name", TRANSPOSED)
def test_transposed_convolution_is_seen(name):
    report = audit(By(TRANSPOSED[name]), (1, 3, 16, 16))
    (row,) = report
    assert (row.kind, row.kernel_size, row.stride) == ("transposed", (3, 3), (2, 2))
    assert (row.in_size, row.out_size, row.severity) == ((16, 16), (33, 33), "severe")
    assert row.spread > 0.1
    assert row.multiply_adds == 16 * 16 * 3 * 3 * 4 * 4
    lost = name.startswith("behind")  # All pixels as one axis, or a batch of pictures as one.
    assert report.displaced == (None if lost else ((0.0, 0.0), (0.0, 0.0)))


RESIZED = {
    "interpolate": (lambda x: F.interpolate(x, scale_factor=2), "nearest"),
    "nearest-exact": (lambda x: F.interpolate(x, scale_factor=2, mode="nearest-exact"),
                      "nearest-exact"),
    "upsample": (lambda x: torch._C._nn.upsample_nearest2d(x, [16, 16]), "nearest"),
    "operator": (lambda x: torch.ops.aten._upsample_nearest_exact2d.default(x, [16, 16]),
                 "nearest-exact"),
    "bilinear": (lambda x: torch._C._nn.upsample_bilinear2d(x, [16, 16], False), "bilinear"),
    "antialias": (lambda x: F.interpolate(x, scale_factor=2, mode="bicubic", antialias=True),
                  "bicubic"),
    "antialias operator": (lambda x: torch.ops.aten._upsample_bicubic2d_aa.default(
        x, [16, 16], False), "bicubic"),
    "scripted": (scripted_resize, "bilinear"),
    "pool": (lambda x: F.adaptive_avg_pool2d(x, 16), "area"),
    "area": (lambda x: F.interpolate(x, scale_factor=2, mode="area"), "area"),
}  # fmt: skip


@pytest.mark.parametrize("name", RESIZED)
def test_resize_is_seen(name):
    act, mode = RESIZED[name]
    report = audit(By(act), (1, 3, 8, 8))
    (row,) = report
    assert (row.kind, row.mode, row.stride) == ("resize", mode, (2.0, 2.0))
    assert row.partner == "last"
    assert report.displaced == ((0.0, 0.0), (0.0, 0.0))


@pytest.mark.parametrize("act", [
    lambda x: F.adaptive_avg_pool2d(x, 4), lambda x: F.interpolate(x, size=8),
    lambda x: F.interpolate(x, scale_factor=0.5), lambda x: F.adaptive_max_pool2d(x, (8, 2)),
])  # fmt: skip
def test_what_enlarges_nothing_is_no_step(act):
    assert [*audit(By(act), (1, 3, 8, 8))] == []


def test_exported_program_has_the_rows_of_its_model():
    model = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.ConvTranspose2d(8, 4, 3, 2, 1, 1),
                          nn.Upsample(scale_factor=2), nn.Conv2d(4, 16, 3, padding=1),
                          nn.PixelShuffle(2)).eval()  # fmt: skip
    exported = torch.export.export(model, (torch.randn(1, 3, 16, 16),)).module()
    found, wanted = audit(exported, (1, 3, 16, 16)), audit(model, (1, 3, 16, 16))
    for one, other in zip(found, wanted, strict=True):
        names = "kind", "kernel_size", "stride", "in_size", "out_size", "spread", "severity"
        assert [getattr(one, each) for each in names] == [getattr(other, each) for each in names]
    assert found.displaced == wanted.displaced
    assert found.multiply_adds == wanted.multiply_adds


def test_traced_and_scripted_children_are_looked_into():
    class Child(nn.Module):
        def __init__(self):
            super().__init__()
            self.up = nn.ConvTranspose2d(4, 4, 3, 2, 1, 1)

        def forward(self, x):
            return torch.relu(self.up(x))

    traced = quietly(lambda: torch.jit.trace(Child(), torch.randn(1, 4, 8, 8)))
    for child in scripted(Child()), traced:
        model = nn.Sequential(nn.Conv2d(3, 4, 1), child, nn.ConvTranspose2d(4, 1, 2, 2))
        first, second = audit(model, (1, 3, 16, 16))
        assert (first.kind, first.kernel_size, first.output_padding) == (
            "transposed",
            (3, 3),
            (1, 1),
        )
        assert first.name.startswith("1.")
        assert (first.severity, first.spread > 0.1) == ("severe", True)
        assert second.in_size == (32, 32)


def test_axes_and_sizes_are_right_behind_a_scripted_function():
    class Vocoder(nn.Module):
        def __init__(self):
            super().__init__()
            self.alpha = nn.Parameter(torch.ones(1, 8, 1))
            self.up = nn.ConvTranspose1d(8, 4, 4, 2, 1)

        def forward(self, x):
            return self.up(snake(x, self.alpha))

    report = audit(Vocoder(), (1, 8, 50))
    assert (report[0].in_size, report[0].out_size, report[0].calls) == ((50,), (100,), 1)
    assert report.multiply_adds == 50 * 4 * 8 * 4
    assert repair(Vocoder(), (1, 8, 50), smoothness=1).up.smoothness == 1


class Leaves(nn.Module):
    """Data that leave PyTorch and come back."""

    def __init__(self, act):
        super().__init__()
        self.act, self.up = act, nn.ConvTranspose2d(3, 2, 4, 2, 1)

    def forward(self, x):
        return self.up(self.act(x))


@pytest.mark.parametrize("act", [
    lambda x: torch.from_numpy(x.numpy() * 2),
    lambda x: torch.from_numpy(np.repeat(x.numpy(), 2, 2)),
    lambda x: torch.as_tensor(x.numpy().copy()),
    lambda x: torch.tensor(x.tolist()),
])  # fmt: skip
def test_data_that_leave_pytorch_are_not_called_clean(act):
    report = audit(Leaves(act), (1, 3, 8, 8))
    unknown, layer = report
    assert (unknown.kind, unknown.severity, report.clean) == ("unknown", "unknown", False)
    assert "left PyTorch" in unknown.seen[0]
    assert layer.in_size[1] == 8
    assert report.displaced is None


class Told(nn.Module):
    """A number that is told is no picture that leaves."""

    def forward(self, x):
        self.level = x.mean().numpy()
        return x


def test_constants_from_outside_are_no_data():
    class Blur(nn.Module):
        def forward(self, x):
            taps = torch.from_numpy(np.array([1.0, 2.0, 1.0], dtype=np.float32)) / 4
            return F.conv2d(x, taps.view(1, 1, 1, 3).repeat(3, 1, 1, 1), groups=3)

    assert audit(Blur(), (1, 3, 8, 8)).clean
    assert audit(nn.Sequential(nn.Conv2d(3, 3, 1), Told(), Blur()), (1, 3, 8, 8)).clean


def test_numbers_that_come_back_are_no_pictures():
    class Normalises(nn.Module):
        def forward(self, x):
            return x / torch.tensor(x.numpy().max())

    assert [*audit(Normalises(), (1, 3, 8, 8))] == []

    class Spreads(nn.Module):
        def forward(self, x):
            level = torch.tensor(x.numpy().max())
            return F.interpolate(level.view(1, 1, 1, 1), size=x.shape[2:])

    (row,) = audit(Spreads(), (1, 3, 8, 8))
    assert (row.kind, row.out_size) == ("resize", (8, 8))


def by_spectrum(x):
    spectrum = F.pad(torch.fft.fft2(x), (0, x.shape[3], 0, x.shape[2]))
    return torch.fft.ifft2(spectrum).real


@pytest.mark.parametrize(("act", "name"), [
    (lambda x: torch.ones(2 * x.shape[2], x.shape[2]) @ x, "matmul"),
    (lambda x: torch.einsum("nchw,hk->nckw", x, torch.ones(8, 16)), "einsum"),
    (lambda x: torch.fft.irfft2(torch.fft.rfft2(x), s=(16, 16)), "fft.irfft2"),
    (by_spectrum, "fft.ifft2"),
])  # fmt: skip
def test_products_and_spectra_that_enlarge_are_unknown(act, name):
    (row,) = audit(By(act), (1, 3, 8, 8))
    assert (row.kind, row.severity) == ("unknown", "unknown")
    assert f"enlarges by {name}, in a way that was not understood" in row.seen[0]


@pytest.mark.parametrize("act", [
    lambda x: torch.fft.irfft2(torch.fft.rfft2(x), s=x.shape[2:]),
    lambda x: torch.fft.ifft2(torch.fft.fft2(x)).real,
    lambda x: torch.ones(x.shape[2], x.shape[2]) @ x,
    lambda x: (x.permute(0, 2, 3, 1) @ torch.ones(4, 9))[..., :4].permute(0, 3, 1, 2),
    lambda x: (x.transpose(2, 3) @ x @ x.transpose(2, 3))[:, :, :8, :8],
])  # fmt: skip
def test_products_and_spectra_that_keep_the_size_are_no_steps(act):
    assert [*audit(By(act), (1, 3, 8, 8))] == []


@pytest.mark.parametrize("act", [
    lambda x: x @ torch.ones(x.shape[3], 2 * x.shape[3]),
    lambda x: F.linear(x, torch.ones(16, x.shape[3])),
])  # fmt: skip
def test_output_that_nothing_seen_enlarges_is_unknown(act):
    report = audit(By(act), (1, 3, 8, 8))
    (row,) = report
    assert (row.kind, row.severity, report.clean) == ("unknown", "unknown", False)
    assert "nothing was seen that enlarges" in row.seen[0]


def test_own_operators_that_enlarge_are_unknown():
    for act in (
        lambda x: torch.kron(x, torch.ones(2, 2)),
        lambda x: torch.kron(input=x, other=torch.ones(2, 2)),
    ):
        (row,) = audit(By(act), (1, 3, 8, 8))
        assert "enlarges by kron" in row.seen[0]

    @torch.library.custom_op("autoup_test::enlarge", mutates_args=())
    def enlarge(x: torch.Tensor) -> torch.Tensor:
        return x.repeat_interleave(2, 2).repeat_interleave(2, 3)

    @enlarge.register_fake
    def _(x):
        return x.new_empty(*x.shape[:2], 2 * x.shape[2], 2 * x.shape[3])

    report = audit(By(enlarge), (1, 3, 8, 8))
    (row,) = report
    assert (row.severity, row.stride) == ("unknown", (2.0, 2.0))
    assert "enlarges by enlarge" in row.seen[0]


def test_what_enlarges_no_data_is_told_and_left_out():
    class Embeds(nn.Module):
        def __init__(self):
            super().__init__()
            self.places = nn.Parameter(torch.randn(1, 3, 4, 4))

        def forward(self, x):
            return x + F.interpolate(self.places, size=x.shape[2:])

    report = audit(Embeds(), (1, 3, 8, 8))
    assert len(report) == 0
    assert "stems from no input: interpolate (1)" in str(report)


def test_generator_from_noise_of_its_own_is_read():
    class Dreams(nn.Module):
        def __init__(self):
            super().__init__()
            self.up = nn.ConvTranspose2d(2, 1, 3, 2)

        def forward(self, x):
            return self.up(torch.randn(1, 2, 8, 8)) * x

    assert audit(Dreams(), (1, 1))[0].in_size == (8, 8)


def test_modulated_weights_are_followed():
    class Modulated(nn.Module):
        """A style scales the kernel, the picture is a constant."""

        def __init__(self, kernel_size):
            super().__init__()
            self.start = nn.Parameter(torch.randn(1, 4, 4, 4))
            self.weight = nn.Parameter(torch.randn(4, 4, kernel_size, kernel_size))
            self.up = nn.ConvTranspose2d(4, 1, 2, 2)

        def forward(self, style):
            weight = self.weight * style[0, :, None, None, None]
            return self.up(F.conv_transpose2d(self.start, weight, stride=2))

    first, second = audit(Modulated(3), (1, 4))
    assert (first.in_size, first.out_size, first.spread) == ((4, 4), (9, 9), None)
    assert (first.severity, second.in_size) == ("severe", (9, 9))
    first, _ = audit(Modulated(4), (1, 4))
    assert (first.severity, first.even) == ("note", True)
    assert first.seen == ("phases not compared: its weights were not seen",)


def test_input_of_a_convolution_is_its_first_argument_whatever_data_made():
    start = torch.randn(1, 4, 8, 8)
    act = By(lambda x: F.conv2d(start, WEIGHT * x.mean()))
    calls = record(act, ((1, 3, 5, 5),)).calls
    assert [call.shape for call in calls if call.name == "conv"] == [
        (1, 3, 5, 5), (1, 4, 8, 8), (1, 4, 6, 6)
    ]  # fmt: skip


def into(x, *writers):
    """Write into a new tensor, every second pixel, by what is passed."""
    made = torch.zeros(*x.shape[:2], *(2 * n for n in x.shape[2:]))
    for first, write in enumerate(writers):
        write(made[..., first::2, first::2], x)
    return made


def by_out(view, x):
    torch.mul(x, 1.0, out=view)


@pytest.mark.parametrize("write", [by_out, torch.Tensor.add_, torch.Tensor.copy_])
def test_what_is_written_into_a_view_is_seen(write):
    (row,) = audit(By(lambda x: into(x, write)), (1, 3, 8, 8))
    assert (row.kind, row.partner, row.stride) == ("zeros", "last", (2.0, 2.0))
    (row,) = audit(By(lambda x: into(x, write, write)), (1, 3, 8, 8))
    assert (row.severity, row.stride) == ("unknown", (2.0, 2.0))  # On the diagonals alone.


SCATTERED = {
    "index_copy": lambda y, n, x: y.index_copy(2, 2 * torch.arange(n), x),
    "index_add": lambda y, n, x: y.index_add(2, 2 * torch.arange(n), x),
    "slice_scatter": lambda y, _, x: torch.slice_scatter(y, x, 2, 0, None, 2),
    "scatter": lambda y, n, x: y.scatter(2, (2 * torch.arange(n)).expand(x.shape), x),
    "setitem": lambda y, n, x: y.__setitem__((..., 2 * torch.arange(n)), x) or y,
}


@pytest.mark.parametrize("name", SCATTERED)
def test_scattered_samples_stand_apart(name):
    class Scatters(nn.Module):
        def forward(self, x):
            return SCATTERED[name](torch.zeros(1, 3, 2 * x.shape[2]), x.shape[2], x)

    (row,) = audit(Scatters(), (1, 3, 40))
    assert (row.kind, row.severity, row.stride) == ("zeros", "severe", (2.0,))


def test_gradients_of_convolutions_are_unknown_steps():
    def act(x):
        return torch.nn.grad.conv2d_input((1, 4, 16, 16), WEIGHT, x, stride=2, padding=1)

    (row,) = audit(By(act), (1, 3, 8, 8))
    assert (row.kind, row.severity) == ("unknown", "unknown")


def test_a_resize_of_one_axis_counts_whatever_becomes_of_the_other():
    (row,) = audit(By(lambda x: F.interpolate(x, size=(16, 4))), (1, 3, 8, 8))
    assert (row.kind, row.stride) == ("resize", (2.0, 0.5))
    assert "2x0.5" in repr(row)


def test_a_return_that_is_not_followed_is_not_called_clean():
    class Maps(nn.Module):
        def forward(self, x):
            return torch.vmap(lambda y: y.repeat_interleave(2, 1))(x)

    report = audit(Maps(), (1, 3, 8, 8))
    assert not report.clean
    assert "not seen to stem from its input" in report[0].seen[0]


def test_returns_of_unseen_origin_beside_others_are_told():
    class Two(nn.Module):
        def forward(self, x):
            return x.relu(), torch.vmap(lambda y: y.repeat_interleave(2, 1))(x), torch.ones(3)

    assert "Of 1 of the tensors that it returns no origin was seen." in str(
        audit(Two(), (1, 3, 8, 8))
    )


class Waits(nn.Module):
    """A module of another model, which another thread runs until it is told to end."""

    def __init__(self):
        super().__init__()
        self.begun, self.end, self.failed = Event(), Event(), []

    def forward(self):
        self.begun.set()
        self.end.wait(60)

    def work(self):
        try:
            self()
        except Exception as error:
            self.failed.append(error)


def test_modules_that_run_in_other_threads_are_left_alone():
    other = Waits()
    thread = Thread(target=other.work)

    def begin(x):
        if not thread.is_alive():
            thread.start()
            other.begun.wait(60)
        return x

    def end(x):
        other.end.set()
        thread.join()
        return x

    model = nn.Sequential(
        Act(begin), nn.ConvTranspose2d(3, 1, 2, 2), Act(end), nn.Upsample(scale_factor=2)
    )
    assert [call.path for call in record(model, ((1, 3, 8, 8),)).calls] == ["1", "3"]
    assert other.failed == []


def test_hooks_are_told_of():
    model = nn.Sequential(nn.Conv2d(3, 3, 1))
    assert "hooks" not in str(audit(model, (1, 3, 8, 8)))
    model[0].register_forward_hook(lambda *_: None)
    assert "Forward hooks were left out: 1." in str(audit(model, (1, 3, 8, 8)))


def test_steps_that_are_known_do_not_hide_another():
    model = nn.Sequential(
        By(lambda x: torch.ones(2 * x.shape[2], x.shape[2]) @ x), nn.Upsample(scale_factor=2)
    )
    assert [row.severity for row in audit(model, (1, 3, 8, 8))] == ["unknown", "clean"]
    wide = nn.Linear(8, 24)
    model = nn.Sequential(By(lambda x: wide(wide(x).mT).mT), nn.Upsample(scale_factor=2))
    assert [row.severity for row in audit(model, (1, 3, 8, 8))] == ["clean", "unknown"]


def test_calls_show_themselves_shortly():
    recording = record(nn.Sequential(*[nn.Conv2d(1, 1, 1)] * 40), ((1, 1, 4, 4),))
    assert len(repr(recording.calls[-1])) < 200
    assert isinstance(recording.calls[-1], Call)
