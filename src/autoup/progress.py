"""A progress bar for what takes more than two seconds, where somebody looks at a terminal."""

import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager
from threading import Lock, Timer
from typing import Any

_DELAY = 2.0  # Seconds.


@contextmanager
def steps(title: str, total: int) -> Generator[Callable[[str], None]]:
    """Show which of some steps runs: by tqdm, on stderr, and gone at the end.

    Nothing is shown before two seconds have passed, where stderr is no terminal or where tqdm is
    not installed; then it is not imported either. ``TQDM_DISABLE=1`` silences it, as any bar.

    Args:
        title: Before the bar.
        total: Number of steps.

    Yields:
        A function to call with the name of each step when that begins.

    Example:
        >>> with steps("repair", 2) as step:
        ...     step("look")
        ...     step("change")
    """
    bar = _Bar(title, total)
    try:
        yield bar.step
    finally:
        bar.close()


class _Bar:
    def __init__(self, title: str, total: int) -> None:
        self._title, self._total, self._stream = title, total, sys.stderr
        self._begun, self._name = 0, ""
        self._bar: Any = None
        self._lock = Lock()
        self._timer: Timer | None = None
        if self._stream is not None and self._stream.isatty():  # pyright: ignore
            self._timer = Timer(_DELAY, self._show)
            self._timer.daemon = True
            self._timer.start()

    def step(self, name: str) -> None:
        with self._lock:
            self._begun, self._name = self._begun + 1, name
            self._draw()

    def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        with self._lock:
            self._timer = None
            if self._bar is not None:
                self._bar.close()

    def _show(self) -> None:
        """Begin to show, from the timer's thread."""
        try:
            from tqdm import tqdm
        except ImportError:
            return
        with self._lock:
            if self._timer is not None:  # Not closed in the meantime.
                self._bar = tqdm(total=self._total, file=self._stream, leave=False, unit="step")
                self._draw()

    def _draw(self) -> None:
        if self._bar is not None:
            self._bar.set_description_str(f"{self._title}: {self._name}", refresh=False)
            self._bar.n = self._begun - 1
            self._bar.refresh()
