"""What holds for the pages.

Doctest runs their code, and `make docs` finds what Sphinx warns of.
"""

import ast
import re
import shlex
import subprocess
import sys
import tomllib

import pytest
from support import consoles
from support.consoles import PAGES, ROOT, read_blocks
from test_examples import SMALL

FENCES = {"python", "sh", "console", "text"}
DIRECTIVES = {"code-block", "eval-rst", "figure", "include", "literalinclude", "toctree"}
TARGETS = re.search(r"^\.PHONY: (.*)", (ROOT / "Makefile").read_text(), re.MULTILINE)[1].split()
# What a reader does once, on another machine.
NOT_RUN = {"pip install .", "git clone", ".venv/bin/pip install", ".venv/bin/pre-commit install"}


def page_id(page):
    return str(page.relative_to(ROOT))


def blocks_of(kind):
    return [
        pytest.param(text, id=f"{page_id(page)} {number}")
        for page in PAGES
        for number, (info, text) in enumerate(read_blocks(page))
        if info == kind
    ]


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_every_block_is_of_a_known_kind(page):
    fences = re.findall(r"^```(.*)$", page.read_text(), re.MULTILINE)
    assert fences[1::2] == [""] * (len(fences) // 2), "a fence is not closed"
    for info in fences[::2]:
        directive = re.match(r"\{(.+)\}", info)
        assert directive[1] in DIRECTIVES if directive else info in FENCES, info


@pytest.mark.parametrize("text", blocks_of("python"))
def test_every_line_of_python_is_run(text):
    assert text.endswith("\n\n"), "doctest reads the fence as output without a blank line"
    for paragraph in text.strip().split("\n\n"):
        assert paragraph.startswith(">>> "), paragraph
    assert "+SKIP" not in text


def test_pytest_reads_every_page():
    options = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["pytest"]["ini_options"]
    read = {path for pattern in options["testpaths"] for path in ROOT.glob(pattern)}
    assert set(PAGES) <= read
    assert "--doctest-glob=*.md" in options["addopts"].split()


def test_every_page_is_in_a_table_of_contents():
    index = ROOT / "docs" / "index.md"
    listed = [line for info, text in read_blocks(index) if info == "{toctree}"
              for line in text.splitlines() if line and not line.startswith(":")]  # fmt: skip
    assert len(listed) == len(set(listed))
    docs = {path for path in PAGES if path.is_relative_to(ROOT / "docs")}
    assert docs <= {index, *(ROOT / "docs" / f"{name}.md" for name in listed)}


def test_the_interface_shows_every_public_name():
    import autoup

    text = (ROOT / "docs" / "api.md").read_text()
    shown = set(re.findall(r"^\.\. auto\w+:: (?:autoup\.)?([\w.]+)", text, re.MULTILINE))
    starts = {f"init.{name}" for name in ("icnr_", "lecun_uniform_", "phase_equal_")}
    assert shown == {*autoup.__all__, *starts} - {"__version__", "init"}


def test_the_page_of_the_audit_tells_of_every_column():
    from autoup.auditing.report import HEADER

    text = (ROOT / "docs" / "errands" / "audit_and_repair.md").read_text()
    rows = text.partition("| column |")[2].partition("\n\n")[0].splitlines()[2:]
    told = [name for row in rows for name in row.split("|")[1].strip().split(", ")]
    assert sorted(told) == sorted(HEADER)


def anchors(page):
    titles = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_every_link_inside_leads_somewhere(page):
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        if not re.match(r"https?:", target):
            path, _, anchor = target.partition("#")
            found = page.parent / path if path else page
            if found.parent.name != "pictures":  # `make docs` draws them.
                assert found.exists(), target
            assert not anchor or anchor in anchors(found), target


@pytest.mark.slow
@pytest.mark.parametrize("text", blocks_of("sh"))
def test_every_command_of_a_shell_is_one_that_works(text, tmp_path):
    for line in text.splitlines():
        words = shlex.split(line, comments=True)
        if words[:1] == ["make"]:
            assert words[1] in TARGETS, line
        elif words[:1] in ([".venv/bin/python"], [".venv/bin/torchrun"]):
            check_example(words, line)
        elif words[:3] == ["python", "-m", "autoup"]:
            done = run(words, tmp_path)
            assert (done.returncode, done.stderr) in ((0, ""), (1, "")), line + done.stderr
        elif words:
            assert any(line.startswith(known) for known in NOT_RUN), line


def check_example(words, line):
    """Hold to a script that another test runs, and to the options that it knows."""
    script = next(word for word in words if word.endswith(".py"))
    assert script.removeprefix("examples/") in SMALL, line
    known = {node.value for node in ast.walk(ast.parse((ROOT / script).read_text()))
             if isinstance(node, ast.Constant)}  # fmt: skip
    behind = words[words.index(script) + 1 :]
    assert {word for word in behind if word.startswith("-")} <= known, line


@pytest.mark.parametrize(("command", "output"), [
    pytest.param(command, output, id=command)
    for page in PAGES for command, output in consoles.read(page)
])  # fmt: skip
def test_every_console_shows_what_the_command_prints(command, output, tmp_path):
    assert consoles.show(command, tmp_path) == output, "where that is right: make consoles"


def run(words, folder):
    consoles.prepare(folder)
    return subprocess.run(
        [sys.executable, *words[1:]], cwd=folder, capture_output=True, text=True, timeout=120
    )
