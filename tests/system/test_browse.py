"""`analysis browse` opens a report that is true."""

import os
import signal
import subprocess
from pathlib import Path

import followed
import pytest
from command_line import analyse
from followed import NAME, runs, said, text_of
from page import Page
from waiting import wait_for

from analysis.__main__ import offline_runs, open_in_browser
from analysis.page import live
from experiments.records.lock import hold

results = followed.results  # a fixture


def browse(results: Path, *words: str, **environment: str) -> subprocess.CompletedProcess:
    nowhere = {"DISPLAY": "", "WAYLAND_DISPLAY": "", "BROWSER": ""}
    return analyse("browse", "--results", str(results), *words, **nowhere | environment)


@pytest.fixture
def browser(tmp_path, monkeypatch) -> Path:
    """A browser that notes what it is shown, in however much time it takes."""
    monkeypatch.setattr("analysis.__main__.PATIENCE", 600.0)
    path = tmp_path / "browser"
    path.write_text(f'#!/bin/sh\necho "$1" >> {tmp_path / "shown"}\n')
    path.chmod(0o755)
    return path


def test_browse_opens_a_report_that_is_true(results, browser, tmp_path):
    (results / "studies" / f"{NAME}.json").unlink()
    (results / "report.html").write_text("an old one")
    (results / "wandb/offline-run-1").mkdir(parents=True)
    done = browse(results, BROWSER=str(browser))
    uri = (results / "report.html").as_uri()
    assert done.returncode == 0 and done.stderr == ""
    assert done.stdout.splitlines() == [f"opened {uri}", offline_runs(results)]
    assert (tmp_path / "shown").read_text() == f"{uri}\n"
    page = Page(text_of(results))
    drawn = [link for link in page.links if link.startswith("figures/")]
    assert drawn and all((results / link).exists() for link in drawn)


def test_browse_leaves_a_page_that_refreshes_itself_alone(results, browser, tmp_path):
    uri = (results / "report.html").as_uri()
    [*_, run] = runs(results).values()
    (run / "summary.json").unlink()
    with hold(run):
        done = browse(results)  # before the grid's own process has written a page
        assert done.returncode == 0 and f"the report is {uri}\n" in done.stdout
        assert "4 of 5 runs are there : 4 done, 1 running." in said(results)
        assert live.refreshes_itself(results / "report.html")
        before = text_of(results)
        done = browse(results, BROWSER=str(browser))
        assert done.stdout.startswith(f"opened {uri}\n") and text_of(results) == before
        done = browse(results, "--no-open", BROWSER=str(browser))
        assert done.stdout.startswith(f"the report is {uri}\n")
    assert (tmp_path / "shown").read_text() == f"{uri}\n"


def test_a_browser_that_stays_is_not_waited_for_and_one_that_fails_is_none(tmp_path, monkeypatch):
    path, pid = tmp_path / "browser", tmp_path / "pid"
    for word, patience, is_shown in (("sleep 1000", 0.5, True), ("exit 1", 600.0, False)):
        monkeypatch.setattr("analysis.__main__.PATIENCE", patience)
        path.write_text(f"#!/bin/sh\necho $$ > {pid}\nexec {word}\n")
        path.chmod(0o755)
        monkeypatch.setenv("BROWSER", str(path))
        assert open_in_browser(tmp_path / "report.html") == is_shown
        if is_shown:
            os.kill(int(wait_for(lambda: pid.exists() and pid.read_text())), signal.SIGKILL)


def test_browse_without_a_study_is_one_sentence(tmp_path):
    done = browse(tmp_path)
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr.startswith("error: ") and "holds no study" in done.stderr
    assert done.stderr.count("\n") == 1 and list(tmp_path.iterdir()) == []


def test_offline_runs_are_counted_and_named(tmp_path):
    folder = tmp_path / "my results"
    assert offline_runs(folder) == (
        f"no runs were kept for W&B without a network in {folder / 'wandb'}"
    )
    for name in ("1-a", "2-b", "3-analysis-c"):  # the last is what was drawn of a study
        (folder / f"wandb/offline-run-{name}").mkdir(parents=True)
    assert offline_runs(folder) == (
        f"2 runs were kept for W&B without a network in {folder / 'wandb'}: `.venv/bin/wandb leet "
        f"'{folder / 'wandb'}'` browses them in the terminal, `make wandb-sync` sends them"
    )
