"""measure_grid on photographs: silent on clean ones, and finding weak patterns in all of them."""

import re
from fractions import Fraction
from itertools import product

import numpy as np
import pytest
import skimage.data
import torch
from PIL import Image
from support.pictures import Picture
from torch import nn
from torch.nn import functional as F  # noqa: N812

from autoup import AutoConvTranspose2d, measure_grid
from autoup.measuring.spectrum import grid_bins

PHOTOGRAPHS = (
    "astronaut", "brick", "camera", "cell", "chelsea", "coffee", "coins", "grass", "gravel",
    "hubble_deep_field", "immunohistochemistry", "moon", "retina", "rocket",
)  # fmt: skip
SIZE, COUNT = 160, 308


@pytest.fixture(scope="module")
def crops():
    """Return grey crops of the photographs in turn, at random places."""
    generator, found = torch.Generator().manual_seed(0), []
    images = []
    for name in PHOTOGRAPHS:
        image = torch.tensor(np.asarray(getattr(skimage.data, name)())).double()
        images.append(image if image.ndim == 2 else image[..., :3].mean(-1))
    for number in range(COUNT):
        image = images[number % len(images)]
        y, x = (int(torch.randint(n - SIZE, (), generator=generator)) for n in image.shape)
        found.append(image[y : y + SIZE + 1, x : x + SIZE + 1])
    return torch.stack(found)


def enlarge(images, s, mode):
    """Return the middle of the enlarged images, cut at any phase."""
    made = F.interpolate(images[:, None], scale_factor=s, mode=mode)[:, 0]
    first = [(n % s, n // s % s) for n in range(len(images))]
    return [each[y : y + SIZE, x : x + SIZE] for each, (y, x) in zip(made, first, strict=True)]


def pattern(kind, s, size=SIZE):
    """Return a pattern of period s, of mean 0 and standard deviation 1."""
    y, x = torch.meshgrid(torch.arange(size), torch.arange(size), indexing="ij")
    made = {
        "rows": y % s == 0,
        "columns": x % s == 0,
        "diagonal": (x + y) % s == 0,
        "overlap": (1 + (y % s == 0)) * (1 + (x % s == 0)),  # k = s + 1: 1 2 1 2 ... per axis
    }[kind].double()
    return (made - made.mean()) / made.std()


def alarms(images, s):
    return sum(measure_grid(image, s).found(0.01) for image in images) / len(images)


@pytest.mark.slow
@pytest.mark.parametrize("s", [2, 3, 4])
def test_clean_photographs_raise_no_alarm(crops, s):
    clean = crops[:, :SIZE, :SIZE]
    assert alarms(clean, s) <= 0.03
    assert alarms(crops[:, 1:, :SIZE], s) <= 0.03
    assert alarms(crops[:, 1:, 1:], s) <= 0.03
    for mode in ("nearest", "bilinear"):
        assert alarms(enlarge(clean[:, :100, :100], s, mode), s) <= 0.03, mode


@pytest.mark.slow
@pytest.mark.parametrize("s", [2, 3, 4])
@pytest.mark.parametrize("kind", ["rows", "columns", "diagonal", "overlap"])
def test_finds_a_pattern_of_a_twentieth_of_the_deviation(crops, s, kind):
    clean = crops[:, :SIZE, :SIZE]
    weak = 0.05 * clean.std((1, 2), keepdim=True) * pattern(kind, s)
    assert alarms(clean + weak, s) >= 0.99


@pytest.mark.parametrize("s", [2, 3, 4])
def test_a_shift_of_the_crop_leaves_the_verdict(crops, s):
    for image in crops[:28]:
        weak = image + 0.1 * image.std() * pattern("rows", s, SIZE + 1)
        assert measure_grid(weak[:-1, :-1], s).found()
        assert measure_grid(weak[1:, 1:], s).found()


def test_the_p_value_is_no_smaller_than_chance_on_noise():
    generator = torch.Generator().manual_seed(0)
    for s in (2, 3):
        found = [
            measure_grid(torch.randn(48, 48, generator=generator), s).p_value for _ in range(600)
        ]
        for level in (0.5, 0.1, 0.01):
            assert sum(p < level for p in found) / 600 <= 1.3 * level + 0.005
        assert sum(p < 0.5 for p in found) > 60, "and it does vary"
    many = [measure_grid(torch.randn(12, 48, 48, generator=generator), 2) for _ in range(300)]
    for level in (0.5, 0.1, 0.01):
        assert sum(each.p_value < level for each in many) / 300 <= 1.3 * level + 0.005


def second_difference(x):
    return (x[::2, ::2] - x[1::2, ::2] - x[::2, 1::2] + x[1::2, 1::2]).mean().abs()


def parity_correlation(x):
    y, z = torch.meshgrid(torch.arange(x.shape[0]), torch.arange(x.shape[1]), indexing="ij")
    return ((x - x.mean()) * (-1.0) ** (y + z)).mean().abs()


def blocking_factor(x):
    """PSNR-B's: steps at block borders less the other steps, squared, by every block of 2."""
    squares = x.diff(dim=0).square()
    return (squares[1::2].mean() - squares[::2].mean()).clamp(min=0)


def corner_energy(x):
    power = torch.fft.fft2(x - x.mean()).abs().square()
    corner = torch.fft.fftshift(power)[:8, :8].sum()
    return corner / power.sum()


def azimuthal_peak(x):
    """The mean power at the radius of the grid frequency over that of the neighbouring radii."""
    power = torch.fft.fft2(x - x.mean()).abs().square()
    y, z = torch.meshgrid(
        *(torch.fft.fftfreq(n, dtype=x.dtype) * n for n in x.shape), indexing="ij"
    )
    radius = (y**2 + z**2).sqrt().round()
    rings = torch.stack(
        [power[radius == r].mean() for r in range(x.shape[0] // 2 - 6, x.shape[0] // 2 + 7)]
    )
    return rings[6] / rings[[0, 1, 2, 10, 11, 12]].median()


@pytest.mark.parametrize(
    ("measure", "kind"),
    [
        (second_difference, "rows"),
        (parity_correlation, "columns"),
        (blocking_factor, "rows"),
        (corner_energy, "rows"),
        (azimuthal_peak, "rows"),
    ],
)
def test_measures_known_to_be_blind_miss_what_is_found_here(crops, measure, kind):
    """By the best threshold that keeps the alarms on the clean crops at 3 %."""
    clean = crops[:, :SIZE, :SIZE]
    weak = clean + 0.05 * clean.std((1, 2), keepdim=True) * pattern(kind, 2)
    threshold = torch.stack([measure(x) for x in clean]).quantile(0.97)
    assert sum(bool(measure(x) > threshold) for x in weak) / COUNT < 0.99


def test_residuals_show_weaker_grids_and_spread_is_that_of_the_phase_means(crops):
    target = crops[:32, None, :SIZE, :SIZE]
    noise = torch.randn(target.shape, generator=torch.Generator().manual_seed(0)).double()
    residual = noise + 0.03 * pattern("overlap", 2)
    measured = measure_grid(target + residual, 2, target)
    assert measured.measured == "residual"
    assert measured.found(1e-6)
    means = torch.stack([residual[..., y::2, x::2].mean() for y, x in product((0, 1), (0, 1))])
    expected = means.std(correction=0) / residual.square().mean().sqrt()
    assert measured.spread == pytest.approx(float(expected))
    # Parseval: the variance of the phase means is the power at the grid frequencies.
    power = torch.fft.fft2(residual.mean((0, 1))).abs() / SIZE**2
    half = SIZE // 2
    at_grid = power[half, 0] ** 2 + power[0, half] ** 2 + power[half, half] ** 2
    assert measured.spread == pytest.approx(float((at_grid / residual.square().mean()).sqrt()))
    assert not measure_grid(target + noise, 2, target).found()


def test_batches_find_what_single_pictures_do_not(crops):
    clean = crops[:, None, :64, :64]
    weak = clean + 0.02 * clean.std((2, 3), keepdim=True) * pattern("diagonal", 2, 64)
    found = [measure_grid(weak[n::14], 2).found() for n in range(14)]
    alone = alarms(weak[:, 0], 2)
    assert sum(found) / 14 > alone
    assert sum(measure_grid(clean[n::14], 2).found() for n in range(14)) <= 2  # chelsea, moon
    assert measure_grid(weak[:56], 2).count == 56


def test_one_picture_does_not_make_a_grid_of_a_large_batch():
    pictures = torch.randn(256, 1, 32, 32, generator=torch.Generator().manual_seed(0))
    pictures[7, :, ::2] += 2
    assert measure_grid(pictures[7], 2).found()
    assert not measure_grid(pictures, 2).found()


def test_each_channel_is_looked_at():
    image = torch.rand(3, 64, 64, generator=torch.Generator().manual_seed(0))
    assert not measure_grid(image, 2).found()
    image[1] += 0.1 * pattern("rows", 2, 64)
    measured = measure_grid(image, 2)
    assert measured.found()
    assert measured.channels == 3
    assert measured.frequencies[measured.scores.index(max(measured.scores))] == (Fraction(1, 2), 0)


def test_blockiness_tells_repeated_pixels_from_a_grid(crops):
    repeated = crops[0, :80, :80].repeat_interleave(2, 0).repeat_interleave(2, 1)
    assert measure_grid(repeated, 2).blockiness == pytest.approx(1)
    assert not measure_grid(repeated, 2).found()
    assert measure_grid(repeated[1:, 1:], 2).blockiness == pytest.approx(1)
    assert measure_grid(crops[0, :SIZE, :SIZE], 2).blockiness < 0.2
    both = repeated + 0.05 * repeated.std() * pattern("overlap", 2)
    assert measure_grid(both, 2).found()


def test_every_grid_frequency_is_listed_once():
    for rows, columns in product((1, 2, 3, 4), (1, 2, 3, 5)):
        listed = set(grid_bins((rows, columns)))
        conjugates = {(-r % rows, -c % columns) for r, c in listed}
        assert listed | conjugates == set(product(range(rows), range(columns))) - {(0, 0)}
        assert all(pair <= (-pair[0] % rows, -pair[1] % columns) for pair in listed)


def test_strides_per_axis():
    image = torch.rand(60, 60, generator=torch.Generator().manual_seed(0))
    measured = measure_grid(image + 0.2 * (torch.arange(60) % 3 == 0), (1, 3))
    assert measured.frequencies == ((0, Fraction(1, 3)),)
    assert measured.found()
    assert measured.phase_means.shape == (1, 3)


def test_layers_with_and_without_a_grid():
    x = torch.full((1, 16, 32, 32), 0.7)
    torch.manual_seed(0)
    with torch.no_grad():
        plain = nn.ConvTranspose2d(16, 1, 2, 2)(x)
        smooth = AutoConvTranspose2d(16, 1, 32, 64, smoothness=1, init="torch")(x)[..., 4:-4, 4:-4]
    assert measure_grid(plain, 2).found(1e-5)
    assert measure_grid(plain, 2).spread == pytest.approx(1)
    assert not measure_grid(smooth, 2).found()
    assert measure_grid(smooth, 2).spread == 0, "rounding is no grid"
    assert measure_grid(torch.zeros(32, 32), 2).p_value == 1


def test_takes_what_pictures_come_as():
    image = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    as_bytes = (255 * image).byte()
    for given in (image, image.half(), image.bfloat16(), as_bytes, image[0], image[0, 0]):
        assert measure_grid(given, 2).p_value > 0
    before = image.clone()
    measure_grid(image.requires_grad_(), 2, torch.zeros_like(image))
    assert torch.equal(image, before)
    assert measure_grid(image.detach().numpy(), 2).count == 2


def test_reads_well():
    image = torch.rand(2, 1, 64, 64, generator=torch.Generator().manual_seed(0))
    text = str(measure_grid(image, 4))
    assert text.splitlines()[0] == "Grid of 4 x 4 px in 2 pictures"
    assert "and 1 that stands out less" in text
    assert "no grid at the 1 % level" in text
    assert "2 residuals" in str(measure_grid(image, 2, torch.zeros_like(image)))


def test_shows_itself():
    measured = measure_grid(torch.rand(64, 64), 2)
    assert repr(measured) == str(measured)
    assert measured._repr_svg_() == measured.draw().svg


@pytest.mark.parametrize("stride", [2, 4, (1, 3)])
def test_draws_the_power_at_each_frequency_among_its_neighbours(stride):
    image = torch.rand(60, 60, generator=torch.Generator().manual_seed(0)) + pattern("rows", 4, 60)
    measured = measure_grid(image, stride)
    picture = Picture(measured.draw())
    verdict = "a grid" if measured.found() else "no grid"
    assert picture.title == f"{str(measured).splitlines()[0]}: {verdict}"
    rows = picture.told("")[: min(8, len(measured.scores))]
    order = sorted(range(len(measured.scores)), key=lambda n: measured.p_values[n])
    dots = []
    for n, (said, parts) in zip(order, rows, strict=False):
        name, power = said.split(": ")
        assert name == ", ".join(map(str, measured.frequencies[n]))
        at = tuple(
            int(f * size)
            for f, size in zip(measured.frequencies[n], measured.spectrum.shape, strict=True)
        )
        y, x = ((torch.arange(-8, 9) + place) % 60 for place in at)
        around = measured.spectrum[y][:, x].flatten().median() / np.log(2)
        level = float(measured.spectrum[at]) / float(power.split()[0])
        assert level >= 0.9 * float(around), "the median around, or a larger one along an axis"
        assert 0.99 * measured.scores[n] <= float(power.split()[0]) <= 3 * measured.scores[n]
        (dot,) = (each for tag, each in parts if tag == "circle")
        dots.append((float(power.split()[0]), float(dot.get("cx"))))
        found = measured.p_values[n] * len(order) < 0.01
        assert dot.get("fill") == ("#d55e00" if found else "#0072b2")
        assert f"{measured.scores[n]:.3g}" in [e.text for tag, e in parts if tag == "text"]
    assert len(dots) == min(8, len(order))
    assert sorted(dots) == sorted(dots, key=lambda dot: (dot[1], dot[0]))
    assert picture.stays_inside()


def test_draws_the_phases_as_they_are_in_the_picture():
    image = torch.rand(60, 60, generator=torch.Generator().manual_seed(0))
    measured = measure_grid(image + 0.3 * (torch.arange(60) % 3 == 0), 3)
    cells = Picture(measured.draw()).told("phase ")
    assert len(cells) == 9 * 9
    for said, ((_, cell),) in cells:
        place, mean = said.removeprefix("phase ").split(": ")
        y, x = map(int, place.split(", "))
        assert float(mean) == pytest.approx(float(measured.phase_means[y, x]), abs=1e-3)
        red, blue = (int(cell.get("fill")[at : at + 2], 16) for at in (1, 5))
        assert (red > blue) == (float(mean) > 0) == (x == 0)


def test_draws_what_has_nothing_to_draw():
    picture = Picture(measure_grid(torch.zeros(64, 64), 2).draw())
    assert "phase means: all 0" in picture.texts
    assert picture.stays_inside()
    many = Picture(measure_grid(torch.rand(400, 400), 40).draw())
    assert "shown: the first 32 phases of an axis" in many.texts
    assert len(many.told("phase ")) == 32 * 32
    assert many.stays_inside()


def test_a_drawing_tells_where_powers_are_not_those_of_the_scores():
    image = torch.rand(3, 40, 40).repeat_interleave(2, 1).repeat_interleave(2, 2)
    texts = " ".join(Picture(measure_grid(image, 2).draw()).texts)
    assert "means over batch and channels" in texts
    assert "blocks that repeat" in texts
    texts = " ".join(Picture(measure_grid(torch.rand(80, 80), 2).draw()).texts)
    assert "means over" not in texts
    assert "the channel" not in texts
    assert "blocks that repeat" not in texts


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda x: measure_grid(x, 1), ValueError, "stride must be at least 2"),
        (lambda x: measure_grid(x, 2.0), TypeError, "stride must be an int"),
        (lambda x: measure_grid(x[0], 2), ValueError, r"got \(32,\)"),
        (lambda x: measure_grid(x, 8), ValueError, "32 px high, and a stride of 8 takes 48"),
        (lambda x: measure_grid(x, 2, x[:30]), ValueError, r"target must have the shape of image"),
        (lambda x: measure_grid(x / 0, 2), ValueError, "NaN or infinity"),
        (lambda x: measure_grid(x + 1j, 2), TypeError, "must be real"),
    ],
)
def test_bad_input(call, error, words):
    with pytest.raises(error, match=words):
        call(torch.rand(32, 32))


def colours():
    return skimage.data.astronaut()


SLIPS = {
    "channels last": (colours(), "channels last"),
    "a batch of channels last": (torch.rand(2, 64, 64, 3), "channels last"),
    "a PIL image": (Image.fromarray(colours()), "a PIL image of mode RGB"),
    "a grey PIL image": (Image.fromarray(colours()).convert("L"), "a PIL image of mode L"),
    "a palette": (Image.fromarray(colours()).convert("P"), "a PIL image of mode P"),
    "with alpha": (Image.fromarray(colours()).convert("RGBA"), "a PIL image of mode RGBA"),
    "16 bits": (Image.new("I;16", (64, 64)), "a PIL image of mode I;16"),
    "floats": (Image.new("F", (64, 64)), "a PIL image of mode F"),
    "two tones": (Image.new("1", (64, 64)), "a PIL image of mode 1"),
    "tensors": ([torch.rand(3, 64, 64)] * 2, "a list of 2, one a Tensor"),
    "grey tensors": ((torch.rand(64, 64),) * 2, "a tuple of 2, one a Tensor"),
    "arrays": ([colours()] * 2, "a list of 2, one a ndarray"),
    "grey arrays": ([colours()[..., 0]] * 2, "a list of 2, one a ndarray"),
    "PIL images": ([Image.fromarray(colours())] * 2, "a list of 2, one a Image"),
    "grey PIL images": ([Image.new("L", (64, 64))] * 2, "a list of 2, one a Image"),
}


@pytest.mark.parametrize(("image", "words"), SLIPS.values(), ids=SLIPS)
def test_what_is_passed_by_mistake_is_named_with_the_call_that_works(image, words):
    with pytest.raises((TypeError, ValueError), match=re.escape(words)) as caught:
        measure_grid(image, 2)
    call = str(caught.value).rpartition(": pass ")[2].removesuffix(".")
    made = eval(call, {"torch": torch, "np": np, "image": image})
    assert measure_grid(made, 2).p_value <= 1
    several = isinstance(image, list | tuple) or getattr(image, "ndim", 3) == 4
    first = image[0] if several else image
    bands = len(first.getbands()) if hasattr(first, "getbands") else 3
    bands = 3 if getattr(first, "mode", "") == "P" else bands
    bands = 1 if "grey" in words or getattr(first, "ndim", 3) == 2 else bands
    measured = measure_grid(made, 2)
    assert (measured.count, measured.channels) == (2 if several else 1, bands)
    if "PIL" in words and "F" not in words and "I;16" not in words:
        assert float(made.double().max()) <= 1


def test_the_name_of_a_file_is_answered_with_what_opens_it(tmp_path):
    path = tmp_path / "astronaut.png"
    Image.fromarray(colours()).save(path)
    for given in (path, str(path)):
        with pytest.raises(TypeError, match=r"the name of a file, '.*astronaut\.png'") as caught:
            measure_grid(given, 2)
        call = str(caught.value).rpartition(": pass ")[2].removesuffix(".")
        import PIL

        made = eval(call, {"torch": torch, "np": np, "PIL": PIL})
        assert torch.equal(made, torch.tensor(colours()).permute(2, 0, 1) / 255)


def test_signals_and_volumes_with_channels_last():
    for shape, dims, order in (((512, 2), 1, (1, 0)), ((24, 24, 30, 1), 3, (3, 0, 1, 2))):
        with pytest.raises(ValueError, match=re.escape(f"pass image.permute{order}.")):
            measure_grid(torch.rand(shape), 2, dims=dims)
        assert measure_grid(torch.rand(shape).permute(order), 2, dims=dims).channels == shape[-1]


@pytest.mark.parametrize(
    ("image", "words"),
    [
        ({"pixels": 1, "label": 2}, r"a dict of 'pixels', 'label': pass image\[...\]"),
        ([torch.rand(4, 3, 64, 64), torch.rand(4)], r"as image\[0\]; they have different shapes"),
        ((7, torch.rand(3, 64, 64)), r"as image\[1\]; they have different"),
        (None, "must be a tensor of shape .*, got NoneType"),
        (object(), "got object"),
    ],
)
def test_what_no_call_makes_a_picture_of_is_named(image, words):
    with pytest.raises(TypeError, match=words):
        measure_grid(image, 2)


def test_an_image_and_a_target_of_other_scales_are_refused():
    image = torch.rand(3, 64, 64, generator=torch.Generator().manual_seed(0))
    whole = (255 * image).byte()
    for given, target, name in ((image, whole, "target"), (whole.numpy(), image, "image")):
        with pytest.raises(ValueError, match=rf"{name} holds integers up to 25.*pass {name} / 255"):
            measure_grid(given, 2, target)
    assert measure_grid(image, 2, whole / 255).measured == "residual"
    assert measure_grid(255 * image, 2, whole).measured == "residual"
    assert measure_grid(image > 0.5, 2, image).measured == "residual"
