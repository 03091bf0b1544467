"""A choice of one's own: the README's two files, and what is wrong with other ones."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pandas as pd
import pytest
import torch
from command_line import call
from conftest import ROOT, tiny_words

from experiments.records.parsing import ConfigError
from experiments.study.own_code import rows_of
from experiments.study.study import expand
from senet.block import SQUEEZES
from senet.custom import check_own, load_own

ON = {"dataset": "cifar10", "network": "resnet20", "recipe": "smoke"}

SOURCE = (
    'from senet.block import SQUEEZES\n\nSQUEEZES["std_{n}"] = lambda pixels: pixels.std(1) * {k}\n'
)


def write(folder: Path, n: str, k: float = 1.0) -> Path:
    """my_block.py and my_grid.yaml in a folder; names differ by n, as tables are for ever."""
    (folder / "my_block.py").write_text(SOURCE.format(n=n, k=k))
    (folder / "my_grid.yaml").write_text(
        f"title: Spread instead of mean\ncode: my_block.py\nreference: avg\n"
        f"cells:\n  - se.squeeze: [avg, std_{n}]\n"
    )
    return folder / "my_grid.yaml"


def test_an_edited_operator_is_a_new_run_and_the_controls_are_not(tmp_path):
    path = str(write(tmp_path, "a"))
    first = {c.label: c.config.id for c in expand(path, **ON).cells}
    assert {c.label: c.config.id for c in expand(path, **ON).cells} == first
    write(tmp_path, "a", k=2.0)
    second = {c.label: c.config.id for c in expand(path, **ON).cells}
    assert first["std_a"] != second["std_a"]
    shared = {c.label: c.config.id for c in expand("squeeze", **ON).cells}
    for row in ("no SE", "gate fixed at 1/2", "avg"):  # which do not use it
        assert first[row] == second[row] == shared[row]


@pytest.mark.parametrize(
    ("source", "rows"),
    [
        (SOURCE.format(n="a", k=1), {"std_a"}),
        ("import senet.block as b\nb.GATES['avg'] = b.GATES['sigmoid']", {"avg"}),
        ("class A:\n    def f(self):\n        self.x = 1\nGATES['a'] = GATES['b'] = A", {"a", "b"}),
        ("x = 'no row'", set()),
        ("for n in 'ab':\n    GATES[n] = f", None),
        ("GATES.update(a=f)", None),
        ("from senet.block import GATES as g\ng['a'] = f", None),
        ("t = GATES\nt['a'] = f", None),
        ("import senet\nsenet.block.SqueezeExcite = f", None),
        ("from senet import block\nvars(block)['GATES']['a'] = f", None),
        ("from senet.block import *", None),
        ("GATES['a'] = (", None),
    ],
)
def test_the_rows_of_a_file_are_read_off_its_text_or_taken_for_all(source, rows):
    assert rows_of(source) == (None if rows is None else frozenset(rows))


@pytest.mark.parametrize("source", ["-" * 10**5, "(" * 10**5, "x." * 10**5 + "x", "\0"])
def test_a_file_that_cannot_be_parsed_may_do_anything(source):
    assert rows_of(source) is None


def test_a_file_of_a_hundred_thousand_signs_is_told_in_a_sentence(tmp_path):
    (tmp_path / "deep.py").write_text("-" * 10**5 + "1")
    with pytest.raises(ValueError, match=r"deep\.py does not run"):
        load_own(tmp_path / "deep.py")


def pipe(path: Path) -> None:
    os.mkfifo(path)


@pytest.mark.parametrize(
    "make",
    [pipe, Path.mkdir, lambda path: path.symlink_to("/dev/zero")],
    ids=["a pipe", "a folder", "a device"],
)
def test_what_is_no_file_is_refused(tmp_path, make):
    path = write(tmp_path, "f")
    (tmp_path / "my_block.py").unlink()
    make(tmp_path / "my_block.py")
    with pytest.raises(ConfigError, match=r"code .*my_block\.py: it is not a file"):
        expand(str(path), **ON)
    with pytest.raises(ValueError, match=r"my_block\.py: it is not a file"):
        load_own(tmp_path / "my_block.py")


@pytest.mark.parametrize("name", [r"\0", r"a\nb", r"\ud800", "x" * 5000, "..", "/"])
def test_a_name_that_no_file_can_have_is_one_sentence(tmp_path, name):
    path = write(tmp_path, "g")
    path.write_text(path.read_text().replace("my_block.py", f'"{name}"'))
    with pytest.raises(ConfigError, match=r"my_grid|code") as error:
        expand(str(path), **ON)
    assert "\n" not in str(error.value) and len(str(error.value)) < 9000


@pytest.mark.slow
def test_two_files_are_a_study_of_ones_own(tmp_path, data_dir):
    path = write(tmp_path, "b")
    there = {"DATA_DIR": str(data_dir), "RESULTS": str(tmp_path / "results")}
    done = call("run", str(path), *tiny_words(), **there)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "std_b" in done.stdout and "4 of 4" in done.stdout
    [kept] = (tmp_path / "results/code").iterdir()
    assert kept.read_text() == (tmp_path / "my_block.py").read_text()


def test_check_tries_every_row_that_a_file_adds(tmp_path):
    path = tmp_path / "rows.py"
    path.write_text(
        "import torch\nfrom torch import nn\n"
        "from senet.block import BLOCKS, EXCITATIONS, GATES, SQUEEZES\n"
        "class Full(nn.Module):\n"
        "    def __init__(self, channels, config):\n"
        "        super().__init__()\n        self.layer = nn.Linear(channels, channels)\n"
        "    def forward(self, z):\n        return self.layer(z)\n"
        "EXCITATIONS['full_c'] = Full\n"
        "GATES['log_c'] = torch.log\n"
        "SQUEEZES['over_channels_c'] = lambda pixels: pixels.std(2)\n"  # (B, HW), and not (B, C)
        "BLOCKS['half_c'] = lambda channels: nn.Conv2d(channels, channels // 2, 1)\n"
    )
    rows = {row["row"]: row for row in check_own(path, channels=64)}
    assert rows["full_c"]["wrong"] == "" and rows["full_c"]["parameters"] == 64 * 65
    assert "not finite" in rows["log_c"]["wrong"]
    assert "RuntimeError" in rows["over_channels_c"]["wrong"]
    assert rows["half_c"]["wrong"] == "(4, 64, 6, 5) becomes (4, 32, 6, 5)"


def test_a_file_is_run_once_for_each_content(tmp_path):
    path = tmp_path / "once.py"
    path.write_text(SOURCE.format(n="d", k=1.0))
    load_own(path)
    row = SQUEEZES["std_d"]
    load_own(path)
    assert SQUEEZES["std_d"] is row
    torch.testing.assert_close(row(torch.tensor([[[1.0], [3.0]]])), torch.tensor([[2.0**0.5]]))


def test_a_file_that_is_missing_or_broken_is_one_sentence(tmp_path):
    with pytest.raises(ValueError, match="No such file"):
        load_own(tmp_path / "nothing.py")
    (tmp_path / "broken.py").write_text("1 / 0\n")
    with pytest.raises(ValueError, match=r"broken\.py does not run: ZeroDivisionError: division"):
        load_own(tmp_path / "broken.py")
    path = write(tmp_path, "e")
    (tmp_path / "my_block.py").unlink()
    with pytest.raises(ConfigError, match=r"code .*my_block\.py: No such file"):
        expand(str(path), **ON)


def test_counted_costs_are_the_papers():
    from analysis.tables.complexity import tables
    from experiments.plan.complexity import count_all

    with tempfile.TemporaryDirectory() as folder:
        count_all(Path(folder))
        found = tables(Path(folder))
    assert list(found) == ["2", "3", "10", "13", "15", "16"]
    for table in found.values():
        for row in table.dropna(subset=["multiply_adds"]).itertuples():
            giga = (row.multiply_adds + row.se_elementwise) / 1e9
            if pd.notna(row.paper_gflops):
                assert giga == pytest.approx(row.paper_gflops, abs=0.025), row.network
            if pd.notna(row.paper_mparams):
                assert row.parameters / 1e6 == pytest.approx(row.paper_mparams, abs=0.12)
    assert found["2"].set_index("network").multiply_adds.isna()["BN-Inception"]


def senet(*words: str) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "senet", *words]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True)


def test_a_network_is_summed_up_for_people_and_for_programs(tmp_path):
    shown = senet("resnet50", "--set", "ratio=4")
    assert shown.returncode == 0 and "35,616,808" in shown.stdout, shown.stderr
    assert "hidden unit decides" not in shown.stdout
    narrow = senet("resnet20").stdout.splitlines()[-1]  # 16 channels, r = 16
    assert narrow.startswith("note") and "in stage 2 one hidden unit decides" in narrow
    figures = __import__("json").loads(senet("resnet29b", "--no-se", "--json").stdout)
    assert figures["parameters"] == 313_114 and figures["se_parameters"] == 0


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["resnet51"], "unknown network 'resnet51'"),
        (["resnet50", "--set", "raito=4"], "unknown key of --set 'raito': did you mean 'ratio'?"),
        (["resnet50", "--set", "ratio"], "write KEY=VALUE"),
        (["resnet21"], "did you mean 'resnet20'?"),
        (["resnet50", "--set", "ratio=0"], "ratio 0 is not a positive whole number"),
        (["resnet20", "--size", "-5"], "--size"),
        (["vgg16_bn", "--size", "16"], "Output size is too small"),
        (["resnet20", "--stride-on", "1x1"], "a basic unit has no 1x1 convolution"),
        (["check"], "check needs a file"),
        (["check", "nothing.py"], "nothing.py: No such file"),
    ],
)
def test_what_is_wrong_is_one_sentence(words, message, monkeypatch, capsys):
    from senet.__main__ import main

    monkeypatch.setattr("sys.argv", ["senet", *words])
    with pytest.raises(SystemExit) as ended:
        main()
    said = capsys.readouterr().err
    assert ended.value.code == 2 and message in said and said.count("\n") == 1
