"""The page that is written while a grid runs, in a real browser too."""

import json
import queue
import re
import shutil
import signal
import subprocess
import threading
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import faults
import followed
import pytest
from browser import CHROMIUM, IN_BROWSER, SAFE
from command_line import start
from conftest import tiny_words
from followed import NAME, runs, said, text_of
from page import Page
from waiting import wait_for

from analysis.page import live, progress, report
from analysis.read import find_studies
from experiments.launch.background import Message
from experiments.records.lock import hold

results = followed.results  # a fixture
EVIL = "<script>document.title='owned'</script>"
STARTED, EPOCH, ENDED, DRAWN = map(Message, ("started", "epoch", "ended", "drawn"))


@contextmanager
def following(results: Path, told: list[str], *messages: Message) -> Iterator[queue.Queue]:
    """`follow` beside the test, which ends it."""
    inbox = queue.Queue()
    for one in messages:
        inbox.put(one)
    thread = threading.Thread(target=live.follow, args=(results, [NAME], inbox, told.append))
    thread.start()
    try:
        yield inbox
    finally:
        inbox.put(None)
        thread.join()


def says(results: Path, sentence: str) -> Callable[[], bool]:
    return lambda: sentence in said(results)


def test_the_page_goes_with_the_grid_and_stays_as_it_ended(results, tmp_path):
    of, told = runs(results), []
    labels = list(of)
    for path in list(of.values())[1:]:
        shutil.move(path, tmp_path / path.parent.name)
    with following(results, told, STARTED) as inbox:
        wait_for(says(results, "1 of 5 runs are there : 1 done, 4 planned."))
        assert live.refreshes_itself(results / "report.html")

        back = of[labels[1]]
        shutil.move(tmp_path / back.parent.name, back)
        inbox.put(ENDED)
        wait_for(says(results, "2 of 5 runs are there"))
        error = json.loads((back / "summary.json").read_text())["test_error"]
        assert f"{labels[1]} done {error:.2f} % test error" in said(results)

        failed, cut, now = (of[label] for label in labels[2:])
        for path in (failed, cut, now):
            path.mkdir(parents=True)
            shutil.copy(tmp_path / path.parent.name / "config.json", path)
        (failed / "error.txt").write_text("ValueError: a <b>reason</b>\n\nTraceback\n")
        shutil.copy(tmp_path / cut.parent.name / "metrics.jsonl", cut)
        before = said(results).count("curves so far")
        with hold(now) as lock:
            (now / "metrics.jsonl").write_text((cut / "metrics.jsonl").read_text())
            facts = {"error": 61.25, "images_per_second": 1234.5, "seconds_left": 260.0}
            lock.write(step=45, steps=100, epoch=2, **facts)
            inbox.put(EPOCH)
            wait_for(says(results, "2 done, 1 failed, 1 interrupted, 1 running"))
            page = said(results)
            assert "45 %, epoch 3 61.2 % held-out error 1,234 images/s about 4 min left" in page
            assert "failed ValueError: a <b>reason</b>" in page
            assert "interrupted after 1 epochs" in page
            assert before == page.count("curves so far") == 1
            lock.write(step=100, steps=100)
            inbox.put(EPOCH)
            wait_for(says(results, "it reads the test set"))
    assert not live.refreshes_itself(results / "report.html") and told == []
    page = Page(text_of(results))
    assert "As far as it went" in page.said and "when the command ended" in page.said
    assert {link[1:] for link in page.links if link.startswith("#")} <= set(page.ids)
    titles = [study.asked.title for study in find_studies(results, [])]
    assert len(titles) == 2 and all(title in page.said for title in titles)
    assert not (results / "figures").exists()


def test_curves_of_runs_under_way_are_drawn_and_no_table_knows_of_them(results):
    for path in runs(results).values():
        (path / "summary.json").unlink()
        (path / "metrics.jsonl").write_text('{"epoch": 1, "train_error": 80, "val_error": 82}\n')
    [study] = find_studies(results, [NAME])
    assert not len(study.curves)
    assert len(progress.with_curves_so_far(study).curves) == 5
    progress.Page(results, [NAME], print).write("under way")
    page = Page(text_of(results))
    so_far, known = (page.data["studies"][name] for name in (f"so-far-{NAME}", NAME))
    assert [line["held"] for line in so_far["curves"]] == [82.0] * 5 and known["curves"] == []
    assert (
        "epoch 1 " in said(results) and said(results).count(" 82.0 ") == 5
    )  # without scripts, too


def test_what_piles_up_is_one_write(results, monkeypatch):
    written, write = [], progress.Page.write
    monkeypatch.setattr(
        progress.Page, "write", lambda page, what: (written.append(what), write(page, what))
    )
    with following(results, [], *[EPOCH] * 50, None):  # the end has come, too
        pass
    assert written == ["under way", "over"]


def test_the_whole_report_is_left_alone_until_runs_go_on(results):
    path = results / "report.html"
    with following(results, [], STARTED) as inbox:
        wait_for(says(results, "Under way"))
        path.write_text("the whole report")
        inbox.put(DRAWN)
    assert path.read_text() == "the whole report"
    with following(results, [], STARTED, DRAWN):  # this one came during a write
        pass
    found = find_studies(results, [])
    assert path.read_text() == report.render(found, [])
    with following(results, [], STARTED, DRAWN, STARTED):  # another round of seeds
        pass
    assert "As far as it went" in said(results)


def test_what_is_broken_is_told_once_and_does_not_cost_the_page(results):
    told, [first, second, *_] = [], runs(results).values()
    (results / "studies/another.json").write_text("{")
    (results / "studies/nosqueeze-cifar10-resnet29b-smoke.json").unlink()
    (first / "metrics.jsonl").write_text("edited")
    (second / "summary.json").unlink()
    (second / "metrics.jsonl").write_text('{"epoch": 1, "train_error": "much"}\n')
    with following(results, told, STARTED) as inbox:
        wait_for(says(results, "3 of 5 runs are there : 1 damaged, 3 done, 1 interrupted"))
        inbox.put(ENDED)
    assert len(told) == len(set(told)) == 2
    assert all(sentence.startswith("report.html, while the grid runs: ") for sentence in told)
    assert "another.json" in told[0]
    assert f"Damaged, and left out: {first / 'metrics.jsonl'} is not what" in said(results)
    (results / "report.html").unlink()
    (results / "report.html").mkdir()
    with following(results, told, STARTED):
        pass
    assert len(told) == 5 and "report.html" in told[-1].partition(": ")[2]


def chromium(profile: Path, *words: str) -> list[str]:
    return [CHROMIUM, *SAFE, f"--user-data-dir={profile}", *words]


def look(page: Path, profile: Path) -> tuple[str, list[str]]:
    """(The DOM of a page that is opened from disk, the addresses that it asked the network for.)

    Chromium asks for things on its own, too: its log says on whose behalf.
    """
    log = profile.with_suffix(".json")
    words = (f"--log-net-log={log}", "--dump-dom", page.as_uri())
    done = subprocess.run(chromium(profile, *words), capture_output=True, text=True)
    asked = [event.get("params", {}) for event in json.loads(log.read_text())["events"]]
    of_page = [a for a in asked if a.get("initiator", "not an origin") != "not an origin"]
    return done.stdout, [facts["url"] for facts in of_page if "url" in facts]


@IN_BROWSER
def test_it_would_be_seen_if_a_page_fetched_something(tmp_path):
    page = tmp_path / "page.html"
    page.write_text(f'<title>a</title><img src="https://example.com/x.png"><p>{EVIL}')
    dom, fetched = look(page, tmp_path / "profile")
    assert fetched == ["https://example.com/x.png"] and "<title>owned</title>" in dom


@pytest.mark.slow
@IN_BROWSER
def test_an_open_page_goes_with_a_real_grid_to_its_end(tmp_path, data_dir):
    results, waits = tmp_path / "results", {"se.gate": ["waits"], "label": EVIL}
    grid = faults.write_grid(tmp_path, EVIL, ["plain"], waits, title=EVIL)
    there = {"DATA_DIR": str(data_dir), "RESULTS": str(results), "WORKERS": "1", "SEEDS": "2"}
    training = start("run", grid, *tiny_words(), **there, patient=True)
    page, profile = results / "report.html", tmp_path / "tab"
    wait_for(page.exists)
    words = ("--remote-debugging-port=0", page.as_uri())
    with (tmp_path / "tab.log").open("wb") as log:
        tab = subprocess.Popen(chromium(profile, *words), stdout=log, stderr=log)
    try:
        wait_for(lambda: re.match("[1-4] of 4", title(profile)))  # nobody but the page reloads it
        dom, fetched = look(page, tmp_path / "profile")
        (tmp_path / "mended").touch()
        output, errors = training.communicate()
        assert training.returncode == 0, output + errors
        wait_for(lambda: title(profile) == "Squeeze-and-Excitation, ablated")  # the whole report
    finally:
        tab.kill()
        tab.wait()
    assert fetched == [] and "owned</title>" not in dom
    assert "% test error" in Page(dom).said and Page(dom).said.count(EVIL) > 2
    assert re.search(r'<td class="done"><b>done</b>\s*<span>[\d.]+ % test error</span>', dom)
    assert not [link for link in Page(dom).links if not link.startswith(("data:", "#"))][1:]
    assert errors == "" and not live.refreshes_itself(page)


def title(profile: Path) -> str:
    """Of the tab that is open: what the browser says, which is asked nothing but that."""
    try:
        port = (profile / "DevToolsActivePort").read_text().split()[0]
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/json/list") as answer:
            tabs = json.load(answer)
    except (OSError, IndexError):
        return ""
    return next((tab["title"] for tab in tabs if tab["type"] == "page"), "")


@pytest.mark.slow
def test_after_ctrl_c_the_page_says_how_far_it_went(tmp_path, data_dir):
    there = {"DATA_DIR": str(data_dir), "RESULTS": str(tmp_path), "WORKERS": "1"}
    training = start("run", "squeeze", *tiny_words(epochs=400), **there, patient=True)
    wait_for(says(tmp_path, "running"))
    training.send_signal(signal.SIGINT)
    training.communicate()
    assert "As far as it went 0 of 5 runs are there" in said(tmp_path)
    assert not live.refreshes_itself(tmp_path / "report.html")
