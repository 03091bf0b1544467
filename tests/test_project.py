"""The pages and the Makefile are true."""

import importlib
import re
import shlex
import subprocess
from pathlib import Path

import pytest
import typer
import yaml

from analysis.page.report import NAME
from analysis.statistics.claims import list_claims
from experiments.plan.measure import check
from experiments.plan.options import PlanOptions
from experiments.records.recipes import recipes
from experiments.records.studies import read_studies, write_study
from experiments.study.grid import list_grids
from experiments.study.study import expand
from senet.custom import check_own

ON = {"dataset": "cifar10", "network": "resnet29b", "recipe": "demo"}
ROOT = Path(__file__).parents[1]
PAGES = {path: path.read_text() for path in [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]}
README = PAGES[ROOT / "README.md"]
ALL = "\n".join(text for path, text in PAGES.items() if path.name != "LOG.md")  # what is true now
PYTHON = re.findall(r"```python\n(.*?)```", ALL, re.S)
IN_TABLES = re.findall(r"`((?:make|\.venv/bin/python) [^`]+)`", ALL)
IN_BLOCKS = "\n".join(re.findall(r"```bash\n(.*?)```", ALL, re.S)).splitlines()
COMMANDS = sorted({line for line in IN_TABLES + IN_BLOCKS if line.strip() and "git " not in line})


@pytest.mark.parametrize("code", PYTHON, ids=lambda code: code.splitlines()[0])
def test_python_on_the_pages_runs(code):
    exec(compile(code, "page", "exec"), {})
    assert len([line for line in code.splitlines() if line.strip()]) <= 10


def test_the_readmes_two_files_are_a_study(tmp_path):
    files = {"my_block.py": next(code for code in PYTHON if 'SQUEEZES["std"]' in code)}
    files["my_grid.yaml"] = re.search(r"```yaml\n(.*?)```", README, re.S)[1]
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    assert [row["wrong"] for row in check_own(tmp_path / "my_block.py")] == [""]
    study = expand(str(tmp_path / "my_grid.yaml"), **ON)
    assert [c.label for c in study.cells] == ["no SE", "gate fixed at 1/2", "avg", "std"]
    check([study])


@pytest.mark.parametrize("command", [c for c in COMMANDS if c.startswith("make")])
def test_make_commands_of_the_pages_are_targets(command):
    done = subprocess.run(
        [*shlex.split(command), "PYTHON=true", "--dry-run"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    "command", [c for c in COMMANDS if not c.startswith("make") and "my_" not in c]
)
def test_python_commands_of_the_pages_are_understood(command, monkeypatch, tmp_path, capsys):
    _, option, module, *words = shlex.split(command)
    if option != "-m":  # a file, with a command of its own
        assert (ROOT / option).exists() and words
        return
    main = importlib.import_module(f"{module}.__main__")
    long = {
        "--budget",
        "--until",
        "--decide",
        "--watch",
        "--verify",
        "--stale",
        "delete",
        "cifar10",
        "factorial",
        "dashboard",
        "--track",
        "repeat",
        "export",
    }
    if long & set(words):
        group = typer.main.get_command(main.app)  # only whether it is understood
        name, one, rest = group.resolve_command(typer.Context(group), words)
        one.make_context(name, rest)
        return
    monkeypatch.setenv("RESULTS", str(tmp_path))
    write_study(tmp_path, expand("ratio", **ON).record())
    monkeypatch.setenv("DATA_DIR", str(tmp_path))
    if words[0] in ("data", "complexity") or "--reuse" in words:
        words = [*words, "--help"]
    elif words[0] in ("run", "retry"):
        words = ["plan", *words[1:]]  # the same, without training
    monkeypatch.setattr("sys.argv", [module, *words])
    with pytest.raises(SystemExit) as ended:
        main.main()
    assert ended.value.code in (0, None), capsys.readouterr().err


def test_help_names_every_target_and_study():
    shown = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True).stdout
    targets = re.findall(r"^([a-z][a-z-]*):", (ROOT / "Makefile").read_text(), re.M)
    assert targets and all(re.search(rf"\b{target}\b", shown) for target in targets)
    assert all(grid in shown for grid in list_grids())


def test_the_pages_list_every_target_study_and_recipe():
    targets = re.findall(r"^([a-z][a-z-]*):", (ROOT / "Makefile").read_text(), re.M)
    assert [t for t in targets if f"make {t}" not in ALL] == []
    assert [grid for grid in list_grids() if f"| `{grid}` |" not in ALL] == []
    assert [name for name in recipes() if f"| `{name}` |" not in ALL] == []


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_links_of_the_pages_lead_to_files(path):
    for target in re.findall(r"\]\((?!http|#)([^)]+)\)", PAGES[path]):
        assert (path.parent / target).exists(), target


def test_the_readme_is_short_and_leads_to_every_page():
    assert len(README.split()) <= 900 and len(README) <= 8 * 1024
    names = [f"docs/{path.name}" for path in PAGES if path.parent == ROOT / "docs"]
    assert [name for name in names if name not in README] == []


def test_the_readme_says_what_its_first_command_gives_and_where():
    begin = README.split("## Begin")[1].split("##")[0]
    options = PlanOptions(grids=["ratio"])
    assert "a demonstration: with one seed nothing can be ranked" in " ".join(begin.split())
    assert f"`{options.results}/tables`" in begin and f"`{options.results}/{NAME}`" in begin


def test_the_readme_marks_the_claims_that_are_ours():
    lines = README.split("<!-- claims -->")[1].split("<!-- end of claims -->")[0].splitlines()
    ours = [claim.says for claim in list_claims() if claim.is_ours]
    assert [line[2:].split(" (ours)")[0] for line in lines if "(ours)" in line] == ours
    assert len(ours) == 1 and "The paper's claims, and one of ours, in these runs:" in README


def test_the_paper_is_cited_alike_in_both_places():
    [cited] = yaml.safe_load((ROOT / "CITATION.cff").read_text())["references"]
    bibtex = dict(re.findall(r"^  (\w+) += \{(.*)\}", README, re.M))
    people = [f"{one['family-names']}, {one['given-names']}" for one in cited["authors"]]
    assert bibtex["author"].split(" and ") == people
    assert (bibtex["title"], bibtex["year"]) == (cited["title"], f"{cited['year']}")
    assert f"{cited['year']}squeeze" in README
    assert bibtex["journal"].removeprefix("arXiv:") in cited["url"]


def test_requirements_are_ranges_and_the_lock_is_exact_for_linux_and_macos():
    for path in ROOT.glob("requirements*.txt"):
        lines = [re.sub(r"\s*#.*", "", x) for x in path.read_text().splitlines()]
        assert all(">=" in line for line in lines if line)
    lock = (ROOT / "requirements.lock").read_text().splitlines()
    assert all("==" in line for line in lock)
    assert any("sys_platform == 'darwin'" in line for line in lock)
    assert any("sys_platform == 'linux'" in line for line in lock)


def test_nothing_is_asked_for_in_an_empty_folder(tmp_path):
    assert read_studies(tmp_path) == []
