"""A bar shows on a terminal alone, after two seconds, and goes at the end."""

import io
import os
import subprocess
import sys
from contextlib import redirect_stderr

import pytest
from torch import nn

import autoup
from autoup import progress


class Terminal(io.StringIO):
    def isatty(self):
        return True


class Clock:
    """Stands in for ``threading.Timer``: time passes where the test says so."""

    def __init__(self):
        self.begun = []

    def __call__(self, delay, call):
        assert delay == 2.0
        timer = Timer(call)
        self.begun.append(timer)
        return timer

    def pass_two_seconds(self):
        for timer in self.begun:
            if timer.runs:
                timer.runs = False
                timer.call()


class Timer:
    def __init__(self, call):
        self.call, self.runs = call, False

    def start(self):
        self.runs = True

    def cancel(self):
        self.runs = False


@pytest.fixture
def clock(monkeypatch):
    made = Clock()
    monkeypatch.setattr(progress, "Timer", made)
    return made


@pytest.fixture
def terminal():
    return Terminal()


def test_nothing_shows_before_two_seconds(clock, terminal):
    with redirect_stderr(terminal), progress.steps("repair", 2) as step:
        step("look")
        step("change")
        (timer,) = clock.begun
        assert timer.runs
    assert not timer.runs
    clock.pass_two_seconds()
    assert terminal.getvalue() == ""


def test_step_that_runs_shows_and_the_bar_goes_at_the_end(clock, terminal):
    with redirect_stderr(terminal), progress.steps("repair", 4) as step:
        step("look")
        clock.pass_two_seconds()
        assert "repair: look:   0%" in terminal.getvalue()
        assert "0/4" in terminal.getvalue()
        step("change")
        assert "repair: change:  25%" in terminal.getvalue()
    assert terminal.getvalue().endswith("\r")
    assert not terminal.getvalue().rsplit("\r", 2)[1].strip()


def test_error_inside_takes_the_bar_away(clock, terminal):
    class Raises(nn.Module):
        def forward(self, _):
            clock.pass_two_seconds()
            raise KeyError("no")

    with redirect_stderr(terminal), pytest.raises(ValueError, match="KeyError"):
        autoup.repair(Raises(), (1, 4))
    assert "repair: look" in terminal.getvalue()
    assert not terminal.getvalue().rsplit("\r", 2)[1].strip()


@pytest.mark.parametrize("stream", [None, io.StringIO()])
def test_nothing_waits_where_stderr_is_no_terminal(clock, stream):
    with redirect_stderr(stream), progress.steps("repair", 1) as step:
        step("look")
    assert not clock.begun


def test_without_tqdm_nothing_shows(clock, terminal, monkeypatch):
    monkeypatch.setitem(sys.modules, "tqdm", None)
    with redirect_stderr(terminal), progress.steps("repair", 1) as step:
        clock.pass_two_seconds()
        step("look")
    assert terminal.getvalue() == ""


def test_timer_that_fires_while_all_ends_shows_nothing(clock, terminal):
    with redirect_stderr(terminal), progress.steps("repair", 1):
        (timer,) = clock.begun
    timer.call()
    assert terminal.getvalue() == ""


CALLS = {
    "audit": lambda model: autoup.audit(model, (1, 4, 32, 32)),
    "repair": lambda model: autoup.repair(model, (1, 4, 8, 8)),
    "mirror_decoder": lambda model: autoup.mirror_decoder(model, (1, 4, 8, 8)),
}


@pytest.mark.parametrize("name", CALLS)
def test_calls_name_their_steps(clock, terminal, name):
    """The first thing that runs takes more than two seconds; what models write does not show."""
    seen = []

    class Slow(nn.Module):
        def forward(self, x):
            clock.pass_two_seconds()
            seen.append(1)
            return x

    model = nn.Sequential(Slow(), nn.ConvTranspose2d(4, 4, 3, 2, 1, 1))
    if name == "mirror_decoder":
        model = nn.Sequential(Slow(), nn.Conv2d(4, 4, 4, 2, 1))
    with redirect_stderr(terminal):
        CALLS[name](model)
    assert seen
    words = {"audit": ["run without arithmetic", "read", "run on constants"],
             "repair": ["look", "change", "run the model", "run the repaired model"],
             "mirror_decoder": ["capture", "build", "check"]}[name]  # fmt: skip
    shown = terminal.getvalue()
    places = [shown.index(f"{name}: {word}:") for word in words]
    assert places == sorted(places)
    assert f"{len(words) - 1}/{len(words)}" in shown
    assert f"{len(words) + 1}/" not in shown


REAL = """
import io, sys
class Terminal(io.StringIO):
    def isatty(self):
        return True
sys.stderr = stream = Terminal()
from autoup import progress
progress._DELAY = 0.0
with progress.steps("repair", 1) as step:
    timer = step.__self__._timer
    timer.join()
    step("look")
imported = "tqdm" in sys.modules
sys.stderr = sys.__stderr__
print(imported, stream.getvalue() != "")
"""


@pytest.mark.slow
@pytest.mark.parametrize(("switch", "shows"), [
    ({}, "True True"), ({"TQDM_DISABLE": "1"}, "True False"),
])  # fmt: skip
def test_real_timer_shows_and_tqdms_own_switch_silences(switch, shows):
    environment = {name: each for name, each in os.environ.items() if name != "TQDM_DISABLE"}
    done = subprocess.run(
        [sys.executable, "-c", REAL], capture_output=True, text=True, env=environment | switch
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split("\n")[0] == shows
