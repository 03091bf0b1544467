"""The dashboard: what the library makes of our views, and what it asks the service to save."""

import json
import os
import re
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from conftest import ROOT, with_changes

from experiments.records.parsing import ConfigError
from experiments.records.studies import read_studies
from experiments.records.study_file import StudyFile

pytest.importorskip("wandb_workspaces")

from tracking import dashboard  # it needs the library

STUDIES = {study.grid: study for study in read_studies(ROOT / "tests/records")}
RATIO, DEPTH = STUDIES["ratio"], STUDIES["depth"]


def spec_of(view) -> dict:
    return json.loads(view._to_model().spec.model_dump_json(by_alias=True, exclude_none=True))


def sections_of(study: StudyFile) -> dict[str, list[dict]]:
    bank = spec_of(dashboard.workspace(study, "me", "senet"))["section"]["panelBankConfig"]
    return {section["name"]: section["panels"] for section in bank["sections"]}


def runset_of(study: StudyFile) -> dict:
    return spec_of(dashboard.workspace(study, "me", "senet"))["section"]["runSets"][0]


def metrics(panels: list[dict]) -> set[str]:
    return {name for panel in panels for name in panel["config"].get("metrics", [])}


def blocks_of(studies: list[dict], kind: str) -> list[dict]:
    blocks = spec_of(dashboard.report(studies, "me", "senet"))["blocks"]
    return [block for block in blocks if block["type"] == kind]


def text_of(blocks: list[dict]) -> str:
    return "\n".join(re.findall(r'"text": "((?:[^"\\]|\\.)*)"', json.dumps(blocks)))


@pytest.mark.parametrize("study", STUDIES.values(), ids=STUDIES)
def test_a_view_has_the_runs_of_its_study_only(study):
    filters = runset_of(study)["filters"]["filters"]
    cells, name = (found["value"] for found in filters)
    assert [found["key"] for found in filters] == [
        {"section": "config", "name": "cell"},
        {"section": "run", "name": "displayName"},
    ]
    assert [found["op"] for found in filters] == ["IN", "IN"]
    assert filters[1]["connector"] == "OR"
    assert cells == [row.cell for row in study.rows]
    assert name == [study.name]


@pytest.mark.parametrize("text", ["recipe.epochs=2", "a <b> 'c' \"d\" \\ é |", "x\ny == z"])
def test_a_filter_means_what_it_says(text):
    study = RATIO.model_copy(
        update={"name": text, "rows": [RATIO.rows[0].model_copy(update={"cell": text})]}
    )
    assert [f["value"] for f in runset_of(study)["filters"]["filters"]] == [[text], [text]]


@pytest.mark.parametrize("study", STUDIES.values(), ids=STUDIES)
def test_seeds_are_folded_into_their_cell(study):
    assert runset_of(study)["grouping"] == [{"section": "config", "name": "cell.value"}]
    panels = [panel for found in sections_of(study).values() for panel in found]
    folded = [p["config"] for p in panels if p["config"].get("groupBy") == "cell.value"]
    assert {config["groupAgg"] for config in folded} == {"mean"}
    assert {config["groupArea"] for config in folded} == {"minmax"}
    assert all(config["aggregate"] for config in folded)
    assert min(config["limit"] for config in folded) >= len(study.rows)


def test_the_panels_of_a_view():
    sections = sections_of(RATIO)
    assert metrics(sections["Errors"]) == {"val/error", "train/error", "test/error"}
    assert metrics(sections["Cost"]) == {"parameters", "multiply_adds", "images_per_second"}
    kinds = ("mean", "another", "half", "one")
    assert metrics(sections["Gates replaced"]) == {f"intervention/{kind}" for kind in kinds}
    assert metrics(sections["Gates"]) == {
        f"gates/stage {stage}{what}" for stage in (2, 3, 4) for what in ("", " mean", " std")
    }
    lines = [p for p in sum(sections.values(), []) if p["viewType"] == "Run History Line Plot"]  # noqa: RUF017
    assert {panel["config"]["xAxis"] for panel in lines} == {"epoch"}
    assert {p["config"]["aggregate"] for p in lines if p["config"].get("limit") == 1} == {False}

    found = [panel["config"]["panel2Config"]["exp"] for panel in sections["Table"]]
    keys = [exp["fromOp"]["inputs"]["key"]["val"] for exp in found]
    assert keys == ["table", "table/secondary", "table/interventions"]
    assert "figures/ratio" in sections["Figures"][0]["config"]["mediaKeys"]
    assert "figure6" in sections["Activations"][0]["config"]["mediaKeys"]
    confusion = sections["Confusion"][0]["config"]
    assert '"confusion_table"' in json.dumps(confusion["userQuery"])
    assert confusion["panelDefId"] == "wandb/confusion_matrix/v1"


def test_the_confusion_panel_asks_for_the_table_that_wandb_logs():
    plot = pytest.importorskip("wandb.plot")
    chart = plot.confusion_matrix(y_true=[0, 1], preds=[0, 1], class_names=["a", "b"])
    chart.set_key("confusion")
    assert chart.spec.table_key == "confusion_table"
    ours = sections_of(RATIO)["Confusion"][0]["config"]
    assert (ours["panelDefId"], ours["fieldSettings"]) == (chart.spec.spec_name, chart.spec.fields)


@pytest.mark.parametrize("grid", STUDIES)
def test_the_ratio_is_drawn_where_it_varies(grid):
    config = sections_of(STUDIES[grid])["Error against what was varied"][0]["config"]
    x = "config:se_ratio.value" if grid == "ratio" else "summary:parameters"
    assert (config["xAxis"], config["yAxis"]) == (x, "summary:test/error")


def test_columns():
    columns = runset_of(RATIO)["runFeed"]["columnOrder"]
    assert columns[:3] == ["run:displayName", "summary:test/error", "config:se_ratio.value"]
    assert runset_of(RATIO)["runFeed"]["columnPinned"]["summary:test/error"]


def test_a_network_for_imagenet_has_a_stage_more():
    found = metrics(sections_of(with_changes(RATIO, network="resnet50"))["Gates"])
    assert "gates/stage 5 mean" in found


def test_a_report_tells_each_study_and_shows_it():
    studies = list(STUDIES.values())
    assert dashboard.report(studies, "me", "senet").entity == "me"
    grids = blocks_of(studies, "panel-grid")
    assert len(grids) == 2 * len(studies)
    text = text_of(spec_of(dashboard.report(studies, "me", "senet"))["blocks"])
    for study, analysis, runs in zip(studies, grids[::2], grids[1::2], strict=True):
        assert all(getattr(study, key) in text for key in ("title", "about", "expected", "command"))
        of_name, of_cells = (grid["metadata"]["runSets"][0] for grid in (analysis, runs))
        assert of_name["filters"]["filters"][0]["value"] == [study.name]
        cells = [row.cell for row in study.rows]
        assert of_cells["filters"]["filters"][0]["value"] == cells
        assert of_cells["grouping"] == [{"section": "config", "name": "cell.value"}]
        for grid, part in ((analysis, "of_analysis"), (runs, "of_training")):
            panels = grid["metadata"]["panelBankSectionConfig"]["panels"]
            expected = [p for found in getattr(dashboard, part)(study).values() for p in found]
            assert len(panels) == len(expected)
            places = [(p["layout"]["x"], p["layout"]["y"]) for p in panels]
            assert len(set(places)) == len(places)
        shown = metrics(runs["metadata"]["panelBankSectionConfig"]["panels"])
        assert {"val/error", "test/error", "gates/stage 4 mean"} <= shown


def test_a_report_warns():
    usable = with_changes(RATIO, demonstration=False, seeds=5)
    assert blocks_of([usable], "callout-block") == []
    mini = with_changes(usable, dataset="cifar10_mini", seeds=1)
    said = text_of(blocks_of([mini], "callout-block"))
    assert "CIFAR-10 mini" in said and "ONE SEED" in said
    assert "DEMONSTRATION" in text_of(blocks_of([RATIO], "callout-block"))


def test_odd_characters_stay_text():
    title = "r = 2 <script> **bold** $x$ `code` [a](b) 🙂"
    odd = with_changes(RATIO, title=title)
    heading = blocks_of([odd], "heading")[0]["children"]
    assert heading == [{"text": f"{title} (cifar10)"}]
    name = dashboard.workspace(odd, "me", "senet").name  # where the library refuses symbols
    assert name.startswith("r   2") and name.endswith(RATIO.name)


def test_without_the_library(monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb_workspaces.workspaces", None)
    monkeypatch.delitem(sys.modules, "tracking.dashboard")
    with pytest.raises(ConfigError, match="pip install wandb-workspaces"):
        __import__("tracking.dashboard")


def test_without_a_study(tmp_path):
    with pytest.raises(ConfigError, match="holds no study"):
        dashboard.publish(tmp_path, "me", "senet")


@pytest.mark.parametrize("text", ["5", '{"me/senet": 5}', '{"me/senet": {"report": 5}}', "[]", "{"])
def test_a_note_that_was_edited_is_one_sentence(tmp_path, text):
    (tmp_path / "studies").mkdir()
    (tmp_path / "wandb").mkdir()
    (tmp_path / "studies" / f"{RATIO.name}.json").write_text(json.dumps(RATIO.plain()))
    path = tmp_path / "wandb" / "dashboard.json"
    path.write_text(text)
    with pytest.raises(ConfigError) as error:
        dashboard.publish(tmp_path, "me", "senet")
    assert str(error.value).startswith(str(path)) and "\n" not in str(error.value)


class Service(BaseHTTPRequestHandler):
    """As much of the service as the library asks for: it keeps views, by id."""

    views: dict[str, dict] = {}  # noqa: RUF012
    saved: list[tuple[str | None, str]] = []  # noqa: RUF012
    unknown: list[str] = []  # noqa: RUF012

    def do_GET(self):
        self.reply({})

    def do_POST(self):
        content = self.rfile.read(int(self.headers["Content-Length"]))
        if self.path not in ("/graphql", "/forget"):  # wandb's own measurements
            return self.reply({})
        body = json.loads(content)
        if self.path == "/forget":
            name = body["link"].partition("nw=")[2]
            [gone] = [key for key, view in self.views.items() if name in view["name"]]
            return self.reply(self.views.pop(gone) and {})
        self.reply({"data": self.answer(body["query"], body.get("variables") or {})})

    def answer(self, query: str, values: dict) -> dict:
        for word, give in {
            "upsertView": self.save,
            "SpecificReport": lambda values: {"view": self.views.get(values["reportId"])},
            "allViews": lambda values: {"project": {"allViews": {"edges": [
                {"node": view} for view in self.views.values()
                if view["name"] == values["viewName"]]}}},
            "GetProjects": lambda values: {"models": {"edges": [], "pageInfo": {
                "endCursor": "", "hasNextPage": False}}},
            "upsertModel": lambda values: {"upsertModel": {"project": {"id": "p"}, "model": {
                "id": "p", "name": "senet", "entityName": "me"}, "inserted": True}},
            "viewer": lambda values: {"viewer": {"id": "u", "entity": "me", "username": "me",
                "flags": "{}", "teams": {"edges": []}}, "serverInfo": {}},
        }.items():  # fmt: skip
            if word in query:
                return give(values)
        self.unknown.append(query)
        return {}

    def save(self, values: dict) -> dict:
        view = values.get("id") or f"VmlldzoxMD{len(self.saved):02}"
        self.saved.append((values.get("id"), values["type"]))
        project = {"id": "p", "name": values["projectName"], "entityName": values["entityName"]}
        times = dict.fromkeys(("createdAt", "updatedAt"), "2026-01-01T00:00:00")
        self.views[view] = values | {"id": view, "project": project} | times
        kept = {key: values[key] for key in ("name", "displayName", "description", "type", "spec")}
        return {"upsertView": {"view": kept | {"id": view, "project": project}, "inserted": True}}

    def reply(self, data: dict) -> None:
        content = json.dumps(data).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *words):
        pass


@pytest.fixture
def service():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Service)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


CALLS = """
import json, sys, urllib.request
from pathlib import Path
from tracking.dashboard import publish
results, url = Path(sys.argv[1]), sys.argv[2]
note = results / "wandb" / "dashboard.json"
links = [publish(results, "me", "senet"), publish(results, "me", "senet")]
gone = json.loads(note.read_text())["me/senet"]["ratio-cifar10-resnet29b-smoke"]
urllib.request.urlopen(url + "/forget", json.dumps({"link": gone}).encode())
links.append(publish(results, "me", "senet"))
print(json.dumps(links))
"""


def test_publishing_twice_updates(service, tmp_path):
    url = f"http://127.0.0.1:{service.server_port}"
    folder = tmp_path / "studies"
    folder.mkdir()
    for study in (RATIO, DEPTH):
        (folder / f"{study.name}.json").write_text(json.dumps(study.plain()))
    environment = os.environ | {
        "WANDB_BASE_URL": url, "WANDB_API_KEY": "a" * 40, "NETRC": str(tmp_path / "netrc"),
        "WANDB_CONFIG_DIR": str(tmp_path), "WANDB_CACHE_DIR": str(tmp_path),
        "WANDB_DATA_DIR": str(tmp_path), "WANDB_DIR": str(tmp_path), "HOME": str(tmp_path),
    }  # fmt: skip
    words = [sys.executable, "-c", CALLS, str(tmp_path), url]
    done = subprocess.run(words, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    first, second, third = json.loads(done.stdout.splitlines()[-1])

    assert first == second and len(set(first)) == 3
    assert "/reports/" in first[0] and all("nw=" in link for link in first[1:])
    assert first[:2] == third[:2] and first[2] != third[2]  # the view that was deleted is new
    ids = [view for view, _ in Service.saved]
    assert ids[:3] == [None] * 3 and None not in ids[3:8] and ids[8] is None
    assert [kind for _, kind in Service.saved] == ["runs", "project-view", "project-view"] * 3
    assert {view["entityName"] for view in Service.views.values()} == {"me"}
    assert Service.unknown == []
