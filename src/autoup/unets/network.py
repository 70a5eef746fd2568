"""The U-Net itself: the user's encoder, heard by hooks, and the decoder that joins its maps."""

import weakref
from collections.abc import Container, Iterable, Mapping, Sequence
from typing import Any, ClassVar, cast

import torch
from torch import Tensor, nn

from autoup.capturing.taps import Tap
from autoup.svg import Drawing
from autoup.unets.drawing import draw_levels
from autoup.unets.skips import Skip
from autoup.unets.stages import Stage
from autoup.unets.stash import Heard, Stash, attach, detach, make_hooks
from autoup.unets.summary import Summary, summarise, without_compiler


class UNet(nn.Module):
    """A U-Net on an encoder; made by ``autoup.unet``.

    Attributes:
        encoder (nn.Module): The user's own object, with hooks on the modules that the skips come
            from. Called alone it does what it did.
        input_size (tuple[int, ...]): The size that the net was built for; it takes others.
        decoder (nn.ModuleList): The stages, from the deepest to the full size, each with ``up``
            and ``block``.
        head (nn.Module): A convolution of 3 taps to the channels of the output.
        heads (nn.ModuleList): Those of deep supervision, the largest first.
        skips (tuple[Skip, ...]): The maps that are joined, the shallowest first, each with
            ``path``, ``channels``, ``size``, ``scale`` and ``shift``.
        deepest (Skip): The map that the decoder begins with.

    Shape:
        - Input: what the encoder takes, ``(N, C, *)``, of any size that it takes.
        - Output: ``(N, out_channels, *)`` with the spatial size of the input; in training with
          deep supervision a list, the full size first, then the native ones.

    Example:
        >>> import autoup
        >>> encoder = nn.Sequential(nn.Conv2d(1, 8, 3, 1, 1), nn.ReLU(), nn.Conv2d(8, 16, 3, 2, 1))
        >>> net = autoup.unet(encoder, (1, 1, 28, 28), out_channels=2)
        >>> net(torch.zeros(3, 1, 31, 29)).shape
        torch.Size([3, 2, 31, 29])
    """

    __jit_unused_properties__: ClassVar[list[str]] = ["unused"]

    def __init__(
        self,
        encoder: nn.Module,
        input_size: Sequence[int],
        stages: Sequence[Stage],
        skips: Sequence[Skip],
        head: nn.Module,
        heads: Sequence[nn.Module],
        output_activation: nn.Module | None,
        used: Container[int],
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.input_size = tuple(input_size)
        self.decoder = nn.ModuleList(stages)
        self.head = head
        self.heads = nn.ModuleList(heads)
        self.output_activation = output_activation
        self.skips = tuple(skips[:-1])
        self.deepest = skips[-1]
        named = encoder.named_parameters(prefix="encoder")
        self._unused = tuple(name for name, each in named if id(each) not in used)
        self._stash = Stash()
        self._hooks: Mapping[tuple[str, bool], Any] = make_hooks(
            self._stash, [each.taps for each in skips]
        )
        self._attach()
        weakref.finalize(self, detach, weakref.ref(encoder), self._hooks).atexit = False

    def _attach(self) -> None:
        """Put the hooks where they are missing, as after a module was replaced."""
        attach(self._original, self._hooks)

    # A compiler calls it when it captures, and does not look inside: what
    # torch.compiler.assume_constant_result sets, which would load the compiler with the package.
    _attach._dynamo_marked_constant = True  # pyright: ignore

    @property
    def _original(self) -> nn.Module:
        """The encoder without a compiler around it."""
        return getattr(self.encoder, "_orig_mod", self.encoder)

    @property
    def unused(self) -> dict[str, nn.Parameter]:
        """The encoder's parameters that no output depends on, as those of a classifier's head.

        That is so of the captured pass, in evaluation mode; a branch that runs in training alone
        is among them.
        """
        wanted = {*map(without_compiler, self._unused)}  # A module may have gone, as a head.
        named = self.encoder.named_parameters(prefix="encoder")
        return {name: each for name, each in named if without_compiler(name) in wanted}

    def __str__(self) -> str:
        """Return a table of the levels; ``repr`` shows the modules."""
        return str(self._summarise())

    def draw(self) -> Drawing:
        """Return the net as a U: its levels, where the skips come from, sizes and channels.

        A notebook shows the drawing, ``.save("unet.svg")`` writes it.

        Example:
            >>> import autoup
            >>> encoder = nn.Sequential(nn.Conv1d(1, 8, 3, 1, 1), nn.Conv1d(8, 16, 3, 2, 1))
            >>> autoup.unet(encoder, (1, 1, 28), out_channels=2).draw().save("unet.png")
            Traceback (most recent call last):
            ValueError: A drawing is saved as SVG, got 'unet.png': name it 'unet.svg', and make \
other formats of that.
        """
        return draw_levels(self._summarise())

    def _repr_svg_(self) -> str:
        return self.draw().svg

    def _summarise(self) -> Summary:
        return summarise(
            self._original,
            self.input_size,
            [*cast("Iterable[Stage]", self.decoder)],
            (*self.skips, self.deepest),
            [self.head, *self.heads],
            {name.removeprefix("encoder."): each for name, each in self.unused.items()},
        )

    def forward(self, x: Tensor) -> Tensor | list[Tensor]:
        """Return the output at the size of the input; in training, with deep supervision, all."""
        maps = self._hear(x)
        y = maps[-1]
        made: list[Tensor] = []
        for stage in cast("Iterable[Stage]", self.decoder):
            target = x if stage.target < 0 else maps[stage.target]
            joined = [x if slot < 0 else maps[slot] for slot in stage.joined]
            y = stage(y, target.shape[2:], *joined)
            if self.training and len(self.heads):
                made.insert(0, y)
        full = self._finish(self.head(y))
        if not made:
            return full
        coarse = zip(self.heads, made[1:], strict=False)
        return [full, *(self._finish(head(each)) for head, each in coarse)]

    def _finish(self, y: Tensor) -> Tensor:
        return y if self.output_activation is None else self.output_activation(y)

    def _hear(self, x: Tensor) -> list[Tensor]:
        """Run the encoder, and return its maps as batch, channels, space."""
        self._attach()
        stash, heard = self._stash, Heard()
        before, stash.heard = stash.heard, heard
        try:
            self.encoder(x)
        finally:
            stash.heard = before
        maps: list[Tensor] = []
        skips = (*self.skips, self.deepest)
        for slot, skip in enumerate(skips):
            if str(slot) not in heard.maps:
                raise RuntimeError(_explain(skip, self.encoder, x))
            each, tap = heard.maps[str(slot)]
            _check(skip, each, tap, heard.calls[tap.path, tap.is_output])
            maps.append(
                each.permute(skip.order) if skip.order != tuple(sorted(skip.order)) else each
            )
        return maps


def _check(skip: Skip, each: Any, tap: Tap, calls: int) -> None:
    """Refuse what cannot be the map that was found, as where training takes another path."""
    dims = len(skip.order)
    if not isinstance(each, Tensor) or each.ndim != dims:
        what = (
            f"a tensor of {each.ndim} dimensions" if isinstance(each, Tensor) else "something else"
        )
        raise RuntimeError(
            f"UNet: module {tap.path!r} of the encoder gave a map of {dims} dimensions when it was "
            f"captured, in evaluation mode, and gives {what} now. The input needs batch and "
            "channels, and the module must return in training what it returns in evaluation."
        )
    channels, is_traced = each.shape[skip.order[1]], torch.jit.is_tracing()  # pyright: ignore[reportPrivateImportUsage]
    if not is_traced and channels != skip.channels:
        raise RuntimeError(
            f"UNet: module {tap.path!r} of the encoder gave a map of {skip.channels} channels when "
            f"it was captured, and gives {channels} now. Build the net anew after a change of the "
            "encoder's modules, which may have moved another to this path."
        )
    if calls != tap.calls:
        raise RuntimeError(
            f"UNet: module {tap.path!r} of the encoder was called {calls} times in this pass, and "
            f"{tap.calls} when it was captured, in evaluation mode: which call makes the map of "
            f"{skip.channels} channels is not known. Give each call a module of its own, or name "
            "other layers in skips=."
        )


def _explain(skip: Skip, encoder: nn.Module, x: object) -> str:
    """Say why a map was not heard, and what to do."""
    missing = (
        f"UNet: nothing was heard of module {skip.path!r} of the encoder, so that its map of "
        f"{skip.channels} channels is missing: "
    )
    if isinstance(x, torch.fx.Proxy):
        return missing + (
            "torch.fx.symbolic_trace does not run the hooks of modules; torch.export does."
        )
    if any(_is_compiled(each) for each in encoder.modules()):
        return missing + (
            "the encoder was compiled and ran before the net was built, and what was compiled then "
            "has no hooks; call torch.compiler.reset() once, and it is compiled anew."
        )
    return missing + (
        "it was not called in this pass, or less often than in the one that was captured, in "
        "evaluation mode. Build the net anew after a change of the encoder's modules; name another "
        "in skips= where training leaves it out."
    )


def _is_compiled(module: Any) -> bool:
    return hasattr(module, "_orig_mod") or getattr(module, "_compiled_call_impl", None) is not None
