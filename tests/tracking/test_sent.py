"""What is noted of what W&B has got."""

import json

from conftest import tiny_study, with_changes

from tracking.sent import Told, figures_of, note, state_of


def test_what_is_noted_says_what_is_missing(tmp_path):
    (tmp_path / "told").mkdir()
    assert state_of(tmp_path, "a", "1") == "missing"
    note(tmp_path, "a", Told("1", None, "offline-run-2-a"))
    assert state_of(tmp_path, "a", "1") == "missing"  # its folder was deleted
    for folder in ("offline-run-1-a", "offline-run-2-a", "offline-run-1-aa"):
        (tmp_path / folder).mkdir()
    assert state_of(tmp_path, "a", "1") == "kept"
    assert state_of(tmp_path, "a", "2") == "missing"  # it was trained again
    note(tmp_path, "a", Told("1", None, "offline-run-2-a"))
    assert sorted(p.name for p in tmp_path.glob("*run-*")) == [
        "offline-run-1-aa",
        "offline-run-2-a",
    ]
    (tmp_path / "offline-run-2-a" / "run-a.wandb.synced").touch()
    assert state_of(tmp_path, "a", "1") == "sent"
    note(tmp_path, "a", Told("3", "https://somewhere", "run-2-a"))
    assert state_of(tmp_path, "a", "3") == "sent"
    whole = {"digest": "3", "url": None, "folder": "run-2-a"}
    for broken in ({"folder": None}, {"folder": "../.."}, {"folder": ".."}, {"url": 1}):
        (tmp_path / "told/a.json").write_text(json.dumps(whole | broken))
        assert state_of(tmp_path, "a", "3") == "missing"
    (tmp_path / "told/a.json").write_text("{")
    assert state_of(tmp_path, "a", "3") == "missing"


def test_a_study_has_its_own_figures_and_no_other_ones(tmp_path):
    changes = {"name": "a-b-c", "dataset": "d", "network": "n", "recipe": "r"}
    asked = with_changes(tiny_study("squeeze").record(), **changes)
    (tmp_path / "figures").mkdir()
    own = ["a-b-c-errors.png", "a-b-c-figure4.png", "forest-d-n-r.png"]
    for name in (*own, "a-b-c-recipe.epochs=2-errors.png", "a-b-cc-errors.png", "a-b-c-errors.pdf"):
        (tmp_path / "figures" / name).touch()
    assert [path.name for path in figures_of(tmp_path, asked)] == own
