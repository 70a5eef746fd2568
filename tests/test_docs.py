"""What holds for the pages.

Doctest runs their code, and `make docs` finds what Sphinx warns of.
"""

import ast
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from test_examples import SMALL

ROOT = Path(__file__).parent.parent
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
FENCES = {"python", "sh", "console", "text"}
DIRECTIVES = {"code-block", "eval-rst", "figure", "include", "literalinclude", "toctree"}
TARGETS = re.search(r"^\.PHONY: (.*)", (ROOT / "Makefile").read_text(), re.MULTILINE)[1].split()
# What a reader does once, on another machine.
NOT_RUN = {"pip install .", "git clone", ".venv/bin/pip install", ".venv/bin/pre-commit install"}


def page_id(page):
    return str(page.relative_to(ROOT))


def read_blocks(page):
    """Yield what stands behind the opening fence, and the lines, of every block of code."""
    return re.findall(r"^```(.+)\n((?:(?!```).*\n)*)```$", page.read_text(), re.MULTILINE)


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


def sessions():
    """Return every command of a console with what it prints."""
    split = [
        re.split(r"^\$ ", block.values[0], flags=re.MULTILINE) for block in blocks_of("console")
    ]
    return [part.split("\n", 1) for _, *parts in split for part in parts]


@pytest.mark.slow
@pytest.mark.parametrize(("command", "output"), sessions())
def test_every_console_shows_what_the_command_prints(command, output, tmp_path):
    words = shlex.split(command)
    assert words[:3] == ["python", "-m", "autoup"]
    done = run(words, tmp_path)
    assert done.stdout + done.stderr == output


def run(words, folder):
    """Run autoup where the files that pages show stand, one as the module that they name too."""
    for page in PAGES:
        for info, text in read_blocks(page):
            if info == "{code-block} python":
                caption, code = re.fullmatch(r":caption: (\S+)\n\n(.*)", text, re.DOTALL).groups()
                (folder / caption).write_text(code)
    (folder / "my_package").mkdir()
    (folder / "my_package" / "models.py").write_text("from generator import build as Generator")
    return subprocess.run(
        [sys.executable, *words[1:]], cwd=folder, capture_output=True, text=True, timeout=120
    )
