"""Read steps without a kernel of their own: what each is known to look like, or that it is not."""

from autoup.auditing.counts import Counts
from autoup.auditing.rows import Parameters, make_row, sizes_of
from autoup.auditing.upsampling import Upsampling
from autoup.auditing.verdict import Verdict
from autoup.inspecting.calls import Call, kernel_of, per_dim
from autoup.inspecting.sites import Site
from autoup.solving import overlap


def read_other(site: Site) -> Upsampling:
    """Return the row of a step that is no convolution beside a resize or a shuffle.

    Example:
        >>> call = Call("max_unpool", "", (), (1, 8, 4, 4), (1, 8, 8, 8), {}, 2)
        >>> read_other(Site("unpool", "up", None, [call])).severity
        'note'
    """
    if site.kind == "fold" and site.calls[0].name == "fold":
        return _read_fold(site, site.calls[0])
    dims = max(1, len(site.calls[0].made) - 2)
    before, after = sizes_of(site, dims)
    known = len(before) == len(after) == dims
    stride = tuple(o / i for i, o in zip(before, after, strict=True)) if known else (1.0,) * dims
    if site.moved is not None and site.moved.stride and site.kind != "unknown":
        stride = tuple(map(float, site.moved.stride))
    counts = _even(dims)._replace(
        in_size=tuple(before) if known else None, out_size=tuple(after) if after else None
    )
    products = None if site.kind == "unknown" else 0
    return make_row(site, _bare(stride), counts, _verdict(site, stride), None, products)


def _verdict(site: Site, stride: tuple[float, ...]) -> Verdict:
    """Say what is known of a step by its kind alone."""
    if site.kind == "unpool":
        block = "x".join(f"{s:g}" for s in stride)
        return Verdict(
            (f"holes: of each block of {block} one pixel is written, at a place that the data "
             "choose, and the rest is zeros; in flat regions it is the same place in all: a grid",),
            "note",
        )  # fmt: skip
    if site.kind == "zeros":
        return Verdict(("zeros between the pixels, and no convolution at once that fills them",),
                       "severe", "a convolution behind them, or nearest interpolation")  # fmt: skip
    if site.kind == "fold":  # The inverse of a short-time Fourier transform.
        return Verdict(("frames that overlap are divided by the sum of their windows",))
    if site.kind == "sample":
        return Verdict(
            ("pixels are fetched from places that are computed: no taps overlap; where they come "
             "to lie was not looked at",),
            "note",
        )  # fmt: skip
    if site.calls[0].name == "from_outside":
        return Verdict(
            ("the data left PyTorch and came back here: what was done to them was not seen",),
            "unknown",
        )
    if site.calls[0].name == "lost":
        seen = "what the model returns was not seen to stem from its input"
        return Verdict((seen,), "unknown")
    name = site.calls[0].name.strip("_").replace("fft_", "fft.").replace("write", "copy")
    seen = f"it enlarges by {name}, in a way that was not understood"
    if site.calls[0].name == "output":
        seen = "the output is larger than the input, and nothing was seen that enlarges"
    return Verdict((seen,), "unknown", "nothing; measure_grid measures what it does to pictures")


def _read_fold(site: Site, call: Call) -> Upsampling:
    """Read patches added up: as many taps reach a pixel as in a transposed convolution."""
    given, kernel = call.arguments, kernel_of(call)
    dims = len(kernel)
    stride, padding, dilation = (
        per_dim(given.get(name) or default, dims)
        for name, default in (("stride", 1), ("padding", 0), ("dilation", 1))
    )
    axes = [*zip(kernel, stride, dilation, strict=True)]
    ranges = [overlap.phase_range(*axis) for axis in axes]
    even = all(least == most for least, most in ranges)
    reach = zip(call.made[-dims:], axes, padding, strict=True)
    counts = _even(dims)._replace(
        in_size=tuple((o + 2 * p - d * (k - 1) - 1) // s + 1 for o, (k, s, d), p in reach),
        out_size=tuple(call.made[-dims:]),
        phases=tuple(overlap.phase_taps(*axis) for axis in axes),
        even=even,
    )
    least, most = min(low for low, _ in ranges), max(high for _, high in ranges)
    alone = len(call.users) == 1 and not call.returned
    divided = alone and call.users[0].name in ("div", "true_divide", "__truediv__")
    verdict = Verdict(("phases not compared: what the patches stem from was not followed",), "note")
    if not even:
        said = f"uneven overlap of the patches, {least} to {most} a pixel along an axis"
        verdict = Verdict((f"{said}, shows as a checkerboard",), "severe")
        if divided:
            verdict = Verdict((f"{said}, divided behind it: even if that is the overlap",), "note")
    channels = call.shape[-2]
    for k in kernel:
        channels //= k
    taps = Parameters(call.shape[-2], channels, 1, kernel, tuple(map(float, stride)), padding,
                      (0,) * dims, dilation)  # fmt: skip
    return make_row(site, taps, counts, verdict, None, 0)


def _bare(stride: tuple[float, ...]) -> Parameters:
    zeros, ones = (0,) * len(stride), (1,) * len(stride)
    return Parameters(None, None, 1, None, stride, None, zeros, ones)


def _even(dims: int) -> Counts:
    zeros = (0,) * dims
    return Counts(None, None, ((1,),) * dims, True, zeros, zeros, (0.0,) * dims)
