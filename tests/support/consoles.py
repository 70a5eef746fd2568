"""What the commands on the pages print; ``make consoles`` writes it into the pages anew."""

import argparse
import contextlib
import io
import os
import re
import shlex
import sys
import tempfile
from pathlib import Path
from unittest.mock import patch

import torch

from autoup.__main__ import main

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
BLOCK = re.compile(r"^```(.+)\n((?:(?!```).*\n)*)```$", re.MULTILINE)
SESSION = re.compile(r"^\$ (.*)\n((?:(?!\$ ).*\n)*)", re.MULTILINE)


def read_blocks(page):
    """Return what stands behind the opening fence, and the lines, of every block of code."""
    return BLOCK.findall(page.read_text())


def read(page):
    """Return every command of a page's consoles with what it prints."""
    return [each for info, text in read_blocks(page) if info == "console"
            for each in SESSION.findall(text)]  # fmt: skip


def prepare(folder):
    """Put the files that pages show or name into a folder."""
    for page in PAGES:
        for info, text in read_blocks(page):
            if info == "{code-block} python":
                caption, code = re.fullmatch(r":caption: (\S+)\n\n(.*)", text, re.DOTALL).groups()
                (folder / caption).write_text(code)
    (folder / "my_package").mkdir()
    (folder / "my_package" / "models.py").write_text("from generator import build as Generator")
    scope = {}
    exec((folder / "generator.py").read_text(), scope)
    model = scope["build"]()
    optimizer = torch.optim.Adam(model.parameters())
    model(torch.ones(1, 64, 4, 4)).sum().backward()
    optimizer.step()
    state = {f"module.{name}": each for name, each in model.state_dict().items()}
    torch.save(
        {"state_dict": state, "optimizer": optimizer.state_dict(), "epoch": 9}, folder / "in.pt"
    )
    torch.save({"state_dict": state, "options": argparse.Namespace()}, folder / "old.pt")


def show(command, folder):
    """Return what a command prints where the files of the pages stand."""
    words = shlex.split(command)
    assert words[:3] == ["python", "-m", "autoup"]
    prepare(folder)
    shown, before = io.StringIO(), [*sys.modules]
    with contextlib.ExitStack() as stack:
        stack.enter_context(contextlib.chdir(folder))
        stack.enter_context(patch.object(sys, "path", [*sys.path]))
        stack.enter_context(contextlib.redirect_stdout(shown))
        stack.enter_context(contextlib.redirect_stderr(shown))
        main(words[3:])
    for name in {*sys.modules} - {*before}:
        if (getattr(sys.modules[name], "__file__", None) or "").startswith(os.fspath(folder)):
            del sys.modules[name]
    return shown.getvalue()


def remake(block):
    """Return a block with what its commands print now."""
    if block[1] != "console":
        return block[0]
    return SESSION.sub(_run, block[0])


def _run(session):
    with tempfile.TemporaryDirectory() as folder:
        return f"$ {session[1]}\n{show(session[1], Path(folder))}"


if __name__ == "__main__":
    for page in PAGES:
        text = page.read_text()
        if (made := BLOCK.sub(remake, text)) != text:
            page.write_text(made)
            print(page.relative_to(ROOT))
