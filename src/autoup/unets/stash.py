"""Hear the maps of an encoder while a U-Net runs it, by hooks that stay and are silent otherwise.

Hooks are objects, not functions within functions, so that they are copied, pickled and compiled
with the modules that they hang on.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from autoup.capturing.taps import Tap, look_up

Slots = Sequence[tuple[Tap, int]]


class Stash:
    """What is heard in one pass: a place for each map, and the calls of each module so far."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.is_open = False
        self.maps: list[torch.Tensor | None] = [None] * size
        self.calls: dict[tuple[str, bool], int] = {}

    def open(self) -> None:
        """Begin to hear."""
        self.maps = [None] * self.size
        self.calls = {}
        self.is_open = True

    def close(self) -> list[torch.Tensor | None]:
        """End to hear, and return what was heard; nothing is kept."""
        heard = self.maps
        self.open()
        self.is_open = False
        return heard

    def hear(self, path: str, is_output: bool, slots: Slots, value: Any) -> None:
        """Keep what is wanted of what passes in or out of a module; the last that passes counts."""
        call = self.calls.get((path, is_output), 0)
        self.calls[path, is_output] = call + 1
        for tap, slot in slots:
            if tap.call == call:
                self.maps[slot] = look_up(value, tap.keys)


@dataclass
class BeforeHook:
    """Hears what goes into a module."""

    stash: Stash
    path: str
    slots: Slots = field(repr=False)

    def __call__(self, _: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Hear it while the stash is open."""
        if self.stash.is_open:
            self.stash.hear(self.path, False, self.slots, (args, kwargs))


@dataclass
class BehindHook:
    """Hears what comes out of a module."""

    stash: Stash
    path: str
    slots: Slots = field(repr=False)

    def __call__(self, _: nn.Module, _args: tuple[Any, ...], output: Any) -> None:
        """Hear it while the stash is open."""
        if self.stash.is_open:
            self.stash.hear(self.path, True, self.slots, output)


def make_hooks(stash: Stash, taps: Sequence[Sequence[Tap]]) -> dict[tuple[str, bool], Any]:
    """Return the hook of each module, by its path and whether it hears what comes out.

    Args:
        stash: Where they keep what they hear.
        taps: Of each map, those to listen to.
    """
    slots: dict[tuple[str, bool], list[tuple[Tap, int]]] = {}
    for slot, each in enumerate(taps):
        for tap in each:
            slots.setdefault((tap.path, tap.is_output), []).append((tap, slot))
    return {
        (path, is_output): (BehindHook if is_output else BeforeHook)(stash, path, tuple(wanted))
        for (path, is_output), wanted in slots.items()
    }


def attach(encoder: nn.Module, hooks: Mapping[tuple[str, bool], Any]) -> None:
    """Put hooks on the modules that do not have them, as after a module was replaced."""
    for (path, is_output), hook in hooks.items():
        module: Any = encoder.get_submodule(path)
        held = module._forward_hooks if is_output else module._forward_pre_hooks
        if not any(each is hook for each in held.values()):
            if is_output:
                module.register_forward_hook(hook)
            else:
                module.register_forward_pre_hook(hook, with_kwargs=True)
