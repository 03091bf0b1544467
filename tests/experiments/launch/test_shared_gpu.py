"""Which runs share a process, and how many go at a time on a GPU. No GPU is needed here."""

import pytest
from conftest import tiny

from experiments.launch import shared_gpu as together
from experiments.launch.shared_gpu import shareable, widened
from experiments.records.record import Record
from experiments.records.study_file import Arithmetic

CAPTURED = {"recipe": {"step": "captured"}}


@pytest.fixture
def records(tmp_path) -> list[Record]:
    """A run that may share its process, one that draws random numbers, and one of another step."""
    shake = {"network": "shake26_2x96d", "width": 0.125}
    return [Record(tmp_path, tiny(**some)) for some in (CAPTURED, CAPTURED | shake, {})]


def test_only_captured_runs_whose_networks_draw_nothing_share_a_process(records):
    assert shareable(records) == {records[0]} and shareable(records[2:]) == set()


@pytest.mark.parametrize(
    ("found", "slots", "says"),
    [
        ({1: 1000.0, 2: 1900.0, 4: 1800.0}, 2, "2 at a time on each GPU (images/s measured with "
         "so many: 1: 1,000, 2: 1,900, 4: 1,800)"),
        (None, 1, "nothing came of it"),
    ],
)  # fmt: skip
def test_as_many_go_at_a_time_as_were_measured_to_be_best(records, monkeypatch, found, slots, says):
    heard, asked = [], []
    monkeypatch.setattr(together, "call_in_process", lambda *words: asked.append(words) or found)
    assert (
        widened(["cuda:0", "cuda:1"], records[::-1], heard.append) == ["cuda:0", "cuda:1"] * slots
    )
    assert says in heard[0] and asked[0][1:] == (records[0].config, "cuda:0")
    assert widened(["cpu"], records[2:], heard.append) == ["cpu"] and len(asked) == 1


def test_a_study_that_was_begun_captured_shares_a_process_and_its_precision(tmp_path, monkeypatch):
    begun, asked = Arithmetic(precision="fp32", step="captured"), []
    records = [Record(tmp_path, tiny(), begun), Record(tmp_path, tiny(se={}), Arithmetic())]
    assert shareable(records) == {records[0]}
    monkeypatch.setattr(together, "call_in_process", lambda *words: asked.append(words[1]))
    widened(["cuda:0"], records, lambda sentence: None)
    assert [(own.recipe.precision, own.recipe.step) for own in asked] == [("fp32", "captured")]
