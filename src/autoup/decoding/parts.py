"""What a decoder has to undo: the parts of an encoder."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from autoup.capturing.operators import Norm
from autoup.capturing.steps import Point, Step
from autoup.decoding.activations import Activation

Pads = tuple[tuple[int, int], ...]

FOLLOWING = ("norm", "activation")
WEIGHTED = ("convolution", "transposed", "linear", "block", "residual")


@dataclass(frozen=True, slots=True)
class Part:
    """A step of the encoder and what it is.

    Args:
        kind: ``"norm"``, ``"activation"``, ``"convolution"``, ``"transposed"``, ``"linear"``,
            ``"resize"`` (pooling and the like, each channel by itself), ``"reshape"``,
            ``"permute"``, ``"shuffle"`` (of pixels), ``"pad"``, ``"block"`` or ``"residual"``.
        step: The operators and the points before and after them.
        norm: The normalisation that it is, or for a block the one that it has.
        activation: Likewise.
        pads: Pixels added in front of and behind each dimension before anything else.
        ways: Of a residual block, the parts of both ways, the shortcut first.
    """

    kind: str
    step: Step
    norm: Norm | None = None
    activation: Activation | None = None
    pads: Pads = ()
    ways: "tuple[tuple[Part, ...], ...]" = ()

    @property
    def before(self) -> Point:
        """The point that the part starts from."""
        return self.step.before

    @property
    def after(self) -> Point:
        """The point that the part leads to."""
        return self.step.after


def flatten(parts: Iterable[Part]) -> Iterator[Part]:
    """Yield all parts, and those of the ways of residual blocks.

    Example:
        >>> list(flatten([]))
        []
    """
    for part in parts:
        yield part
        for way in part.ways:
            yield from flatten(way)


def join(steps: Sequence[Step]) -> Step:
    """Return steps that follow each other as one."""
    if len(steps) == 1:
        return steps[0]
    nodes = tuple(node for step in steps for node in step.nodes)
    paths = [step.name.split(".") for step in steps]
    shared = [each[0] for each in zip(*paths, strict=False) if len(set(each)) == 1]
    name = ".".join(shared) or steps[0].name
    return Step(
        nodes, steps[0].before, steps[-1].after, name, sum(s.weights for s in steps), steps[0].graph
    )
