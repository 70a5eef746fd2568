"""What a decoder reads of an encoder, as a user sees it."""

from dataclasses import dataclass, field

from autoup.capturing.taps import Tap


@dataclass(frozen=True, slots=True)
class Skip:
    """A map of the encoder that the decoder reads.

    Args:
        path: Of the module that it comes out of, or goes into; empty for the encoder itself.
        channels: How many it has.
        size: Per axis, in pixels, at the size that the net was built for.
        scale: Distance of neighbours per axis, in pixels of the input.
        shift: How far the enlarged lower map lies behind it per axis, in its pixels, positive
            toward the end; None where unknown, and for the deepest map.
        order: The order of dimensions that puts it as batch, channels, space.
        taps: Where it is heard.
    """

    path: str
    channels: int
    size: tuple[int, ...]
    scale: tuple[float, ...]
    shift: tuple[float | None, ...] | None
    order: tuple[int, ...] = field(repr=False)
    taps: tuple[Tap, ...] = field(repr=False)

    @property
    def source(self) -> str:
        """Where the encoder gives it, in words.

        Example:
            >>> taps = (Tap("stem", 1, False, (0, 0)),)
            >>> Skip("stem", 8, (4,), (1.0,), None, (0, 1, 2), taps).source
            'into stem (call 2)'
        """
        tap = next((each for each in reversed(self.taps) if each.path == self.path), None)
        keys = [] if tap is None else [*tap.keys]
        if tap is None or tap.is_output:
            named = "".join(f"[{key!r}]" for key in keys)
            text = f"{self.path}{named}" if self.path else f"returned {named}".rstrip()
        else:
            text = f"into {self.path or 'the encoder'}"
            if keys[:2] != [0, 0]:
                text += f" ({keys[1]}=)" if keys[0] else f" (argument {int(keys[1]) + 1})"
        return f"{text} (call {tap.call + 1})" if tap and tap.call else text
