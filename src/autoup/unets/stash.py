"""Hear the maps of an encoder while a U-Net runs it, by hooks that stay and are silent otherwise.

Hooks are objects, not functions within functions, so that they are copied, pickled and compiled
with the modules that they hang on.
"""

import threading
import weakref
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from autoup.capturing.taps import Tap, look_up
from autoup.inspecting.copies import HOOKS

Slots = Sequence[tuple[Tap, str]]  # By name: up to 2.7 compilers may leave a number open.


class Heard:
    """What is heard in one pass: each map with its tap, and the calls of each module so far."""

    def __init__(self) -> None:
        self.maps: dict[str, tuple[Any, Tap]] = {}
        self.calls: dict[tuple[str, bool], int] = {}

    def hear(self, path: str, is_output: bool, slots: Slots, value: Any) -> None:
        """Keep what is wanted of what passes in or out of a module; the last that passes counts.

        A module that is called once comes before one of several calls, as a shared activation:
        which of its calls makes a map may be another in training.
        """
        call = self.calls.get((path, is_output), 0)
        self.calls[path, is_output] = call + 1
        for tap, slot in slots:
            held = self.maps.get(slot)
            if tap.call == call and (held is None or tap.calls == 1 or held[1].calls > 1):
                self.maps[slot] = _pick(value, tap), tap


class Stash(threading.local):
    """Where hooks put what they hear; each thread has its own, as several may call one net.

    It is a single attribute, so that a compiler has one value to set back, and nothing is kept.
    """

    def __init__(self) -> None:
        self.heard: Heard | None = None

    def __reduce__(self) -> tuple[type["Stash"], tuple[()]]:
        """Copy and pickle it as what it is between passes: empty."""
        return Stash, ()


@dataclass
class BeforeHook:
    """Hears what goes into a module."""

    stash: Stash = field(repr=False)
    path: str
    slots: Slots = field(repr=False)

    def __call__(self, _: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Hear it in a pass of the net."""
        if (heard := self.stash.heard) is not None:
            heard.hear(self.path, False, self.slots, (args, kwargs))


@dataclass
class BehindHook:
    """Hears what comes out of a module."""

    stash: Stash = field(repr=False)
    path: str
    slots: Slots = field(repr=False)

    def __call__(self, _: nn.Module, _args: tuple[Any, ...], output: Any) -> None:
        """Hear it in a pass of the net."""
        if (heard := self.stash.heard) is not None:
            heard.hear(self.path, True, self.slots, output)


def _pick(value: Any, tap: Tap) -> Any:
    """Return what is wanted of what passes; of one tensor where there were several, a list."""
    if tap.keys and isinstance(value, torch.Tensor):
        return [value]  # An index would take an entry of the batch.
    return look_up(value, tap.keys)


def make_hooks(stash: Stash, taps: Sequence[Sequence[Tap]]) -> dict[tuple[str, bool], Any]:
    """Return the hook of each module, by its path and whether it hears what comes out.

    Args:
        stash: Where they keep what they hear.
        taps: Of each map, those to listen to.
    """
    slots: dict[tuple[str, bool], list[tuple[Tap, str]]] = {}
    for slot, each in enumerate(taps):
        for tap in each:
            slots.setdefault((tap.path, tap.is_output), []).append((tap, str(slot)))
    return {
        (path, is_output): (BehindHook if is_output else BeforeHook)(stash, path, tuple(wanted))
        for (path, is_output), wanted in slots.items()
    }


def attach(encoder: nn.Module, hooks: Mapping[tuple[str, bool], Any]) -> None:
    """Put hooks on the modules that do not have them, as after a module was replaced.

    They go behind the user's own, as these may replace what passes. A path that is gone is passed
    over: the same map may come out of another module.
    """
    for (path, is_output), hook in hooks.items():
        module = _find(encoder, path)
        if module is None:
            continue
        held: Any = module._forward_hooks if is_output else module._forward_pre_hooks
        key = next((key for key, each in held.items() if each is hook), None)
        if key is None:
            _take_off(encoder, {id(hook)})  # The new module may hold the one that had it.
            if is_output:
                module.register_forward_hook(hook)
            else:
                module.register_forward_pre_hook(hook, with_kwargs=True)
        elif not isinstance(held[next(reversed(held))], BeforeHook | BehindHook):
            held.move_to_end(key)


def detach(encoder: "weakref.ref[nn.Module]", hooks: Mapping[tuple[str, bool], Any]) -> None:
    """Take the hooks of a net that is gone off the encoder that is still there."""
    if (found := encoder()) is not None:
        _take_off(found, {*map(id, hooks.values())})


def _take_off(encoder: nn.Module, gone: Container[int]) -> None:
    for module in encoder.modules():
        for name in HOOKS:
            held: dict[int, Any] = getattr(module, name)
            for key in [key for key, each in held.items() if id(each) in gone]:
                del held[key]


def _find(encoder: nn.Module, path: str) -> Any:
    """Return the module of a path, and None where there is none any more."""
    module: nn.Module | None = encoder
    for name in path.split(".") if path else ():
        module = module._modules.get(name)  # pyright: ignore[reportPrivateUsage]
        if module is None:
            break
    else:
        return module
    try:
        return encoder.get_submodule(path)  # Slower, and sees what wrappers pass on.
    except AttributeError:
        return None
