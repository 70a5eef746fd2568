"""What of an encoder is not in its decoder as it was: one warning for all of it."""

from autoup.capturing.steps import Step, where
from autoup.errors import MirrorWarning, warn


class Losses:
    """Collects what is lost, and warns of it once."""

    def __init__(self) -> None:
        self._lines: list[str] = []

    def tell(self, step: Step, what: str) -> None:
        """Take down what becomes of a step."""
        self._lines.append(f"  {step.name}: {what}{where(step.nodes[-1])}.")

    def warn(self) -> None:
        """Issue one MirrorWarning, if anything was told."""
        if not self._lines:
            return
        count = len(self._lines)
        told = "1 step of the encoder is" if count == 1 else f"{count} steps of the encoder are"
        lines = "\n".join(self._lines)
        advice = (
            "Where one matters, put a layer for it into the decoder, which is an nn.Sequential."
        )
        message = f"{told} not in the decoder as it was.\n{lines}\n{advice}"
        warn(f"mirror_decoder: {message}", MirrorWarning)
