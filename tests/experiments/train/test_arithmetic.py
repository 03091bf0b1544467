"""A study is computed in one precision, by one step, on every machine that joins in."""

import pickle
from dataclasses import replace
from functools import partial

import pytest
from command_line import call
from conftest import tiny, tiny_study, tiny_words, with_changes, write_grid

from experiments.commands.studies import name_runs
from experiments.launch.failures import kind_of
from experiments.launch.local import Local
from experiments.launch.slurm.job import Pack
from experiments.plan.measure import probe
from experiments.plan.settle import settle
from experiments.records.files import read_sealed, write_sealed
from experiments.records.parsing import ConfigError
from experiments.records.record import Record
from experiments.records.states import UNFIT
from experiments.records.studies import read_studies, write_study
from experiments.records.study_file import Arithmetic
from experiments.train import arithmetic, checkpoint, devices, environment
from experiments.train.arithmetic import ASSUMED
from experiments.train.train import train
from experiments.train.training import Interrupted, Watch
from senet.fast import kernels

BF16, FP32 = {"avx512f", "avx512_bf16"}, {"avx2"}
PLAIN = Arithmetic(precision="fp32", step="plain")


@pytest.fixture
def on(monkeypatch):
    """Makes this process believe in another processor, and in a compiler or none."""
    answered = lambda task, function, *args: function(*args)  # noqa: E731
    monkeypatch.setattr("experiments.plan.settle.answered", answered)  # in this process

    def become(flags: set[str], has_compiler: bool = True) -> None:
        monkeypatch.setattr(environment, "processor", lambda: ("a processor", flags))
        if not has_compiler:
            monkeypatch.setattr(kernels, "library", lambda: None)

    return become


def begin(results, study=None):
    """What `run` does before the first run of a study: it settles, and writes what it settled."""
    settled = settle(study or tiny_study("squeeze"), results, "cpu")
    write_study(results, settled.record())
    return settled.arithmetic


def finish(results, config, **env) -> None:
    """As much of a finished run as is read."""
    path = Record(results, config).path
    path.mkdir(parents=True)
    write_sealed(path / "summary.json", {"state": "done"})
    write_sealed(path / "env.json", {"precision": "fp32", "step": "plain"} | env)


@pytest.mark.parametrize(("first", "second"), [(BF16, BF16), (FP32, FP32), (FP32, BF16)])
def test_a_machine_that_joins_takes_what_the_study_was_begun_with(tmp_path, on, first, second):
    on(first)
    begun = begin(tmp_path)
    assert begun.precision == ("bf16" if first is BF16 else "fp32")
    on(second)
    assert begin(tmp_path) == begun
    assert read_studies(tmp_path)[0].arithmetic == begun


def test_a_machine_without_the_instructions_refuses_a_study_in_bf16(tmp_path, on):
    on(BF16)
    begin(tmp_path)
    on(FP32)
    with pytest.raises(ConfigError) as refused:
        begin(tmp_path)
    parts = (
        "bf16",
        "a processor has no instructions",
        "nine times",
        "another RESULTS",
        "recipe.precision=fp32",
    )
    for part in (f"study {tiny_study('squeeze').name}: ", *parts):
        assert part in str(refused.value)
    settle(tiny_study("squeeze"), tmp_path, "cpu", is_here=False)  # the nodes see to it


def test_bf16_that_is_asked_for_is_obeyed_everywhere(tmp_path, on):
    on(FP32)
    study = tiny_study("squeeze", precision="bf16")
    for _ in range(2):
        assert begin(tmp_path, study).precision == "bf16"


def test_a_study_of_the_fused_step_needs_a_compiler_on_each_machine(tmp_path, on):
    write_study(
        tmp_path,
        begun_with(tiny_study("squeeze"), precision="fp32", step="fused"),
    )
    on(FP32)
    assert begin(tmp_path).step == "fused"
    on(FP32, has_compiler=False)
    with pytest.raises(ConfigError, match=r"begun with the fused step, .*--set recipe.step=plain"):
        begin(tmp_path)


def test_a_study_of_the_plain_step_stays_plain_where_there_is_a_compiler(tmp_path, on):
    write_study(tmp_path, begun_with(tiny_study("squeeze"), **dict(PLAIN)))
    on(BF16)
    assert begin(tmp_path) == PLAIN


@pytest.mark.parametrize(
    ("envs", "expected"),
    [
        ([{}, {}], PLAIN),
        ([{"step": "fused"}] * 2, Arithmetic(precision="fp32", step="fused")),
        ([{}, {"precision": "bf16"}], Arithmetic(precision="auto", step="plain")),
    ],
)
def test_an_old_study_goes_on_as_its_finished_runs_where_they_agree(tmp_path, on, envs, expected):
    study = tiny_study("squeeze")
    write_study(tmp_path, study.record())
    for cell, env in zip(study.cells, envs, strict=False):
        finish(tmp_path, cell.config, **env)
    on(BF16)
    assert begin(tmp_path) == expected


@pytest.mark.parametrize("is_finished", [True, False])
def test_studies_that_share_a_cell_agree(tmp_path, on, is_finished):
    first, second = tiny_study("squeeze"), tiny_study("ratio")
    shared = {c.config.cell for c in first.cells} & {c.config.cell for c in second.cells}
    assert shared
    on(FP32, has_compiler=False)
    begun = begin(tmp_path, first)
    assert begun == PLAIN
    if is_finished:
        finish(tmp_path, next(c.config for c in first.cells if c.config.cell in shared))
        (tmp_path / "studies" / f"{first.name}.json").unlink()
    on(BF16)
    assert begin(tmp_path, second) == PLAIN


def test_a_study_that_shares_nothing_is_settled_for_itself(tmp_path, on):
    on(FP32)
    begin(tmp_path, tiny_study("squeeze", epochs=3))
    on(BF16)
    assert begin(tmp_path).precision == "bf16"


def test_of_two_machines_that_begin_at_once_one_is_told(tmp_path, on):
    settled = []
    for flags in (FP32, BF16):
        on(flags)
        settled.append(settle(tiny_study("squeeze"), tmp_path, "cpu"))
    write_study(tmp_path, settled[0].record())
    with pytest.raises(ConfigError, match=r"another machine has begun this study .* joins it"):
        write_study(tmp_path, settled[1].record())
    write_study(tmp_path, tiny_study("squeeze").record())  # by one with nothing to train
    assert read_studies(tmp_path)[0].arithmetic == settled[0].arithmetic


def test_what_other_machines_are_to_train_on_their_gpus_is_settled_by_the_first_that_asks(
    tmp_path, on, monkeypatch
):
    on(BF16)
    monkeypatch.setitem(devices.DEVICES, "cuda", lambda: False)
    study = settle(tiny_study("squeeze"), tmp_path, "cuda:0", is_here=False)
    assert study.arithmetic == study.record().arithmetic == Arithmetic(**ASSUMED["cuda"])
    on(FP32)  # of a node's GPU: one that is older
    config = study.cells[0].config
    with pytest.raises(arithmetic.Unfit, match="in bf16, for which"):
        arithmetic.pick_arithmetic(config.recipe, study.arithmetic, "cpu")


@pytest.mark.parametrize("key", ["precision", "step"])
def test_a_new_study_that_shares_runs_with_two_that_differ_is_refused(tmp_path, on, key):
    one, other, third = (tiny_study(name) for name in ("squeeze", "gate", "ratio"))
    cells = [{cell.config.cell for cell in study.cells} for study in (one, other, third)]
    assert cells[0] & cells[2] and cells[1] & cells[2]
    for study, values in ((one, {}), (other, {"precision": "bf16", "step": "fused"})):
        begun = dict(PLAIN) | {key: values.get(key, PLAIN.model_dump()[key])}
        write_study(tmp_path, begun_with(study, **begun))
    on(BF16)
    with pytest.raises(ConfigError, match=rf"differ in their {key}; .*--set recipe.{key}="):
        settle(third, tmp_path, "cpu")
    own = tiny_study("ratio", **{key: {"precision": "fp32", "step": "plain"}[key]})
    assert settle(own, tmp_path, "cpu").arithmetic.model_dump()[key] in ("fp32", "plain")
    write_study(tmp_path, third.record())  # as an older version has begun it
    assert settle(third, tmp_path, "cpu").arithmetic.model_dump()[key] == "auto"


def test_the_id_of_a_run_does_not_depend_on_it(tmp_path):
    config = tiny_study("squeeze").cells[0].config
    assert Record(tmp_path, config) == Record(tmp_path, config, PLAIN)
    assert Record(tmp_path, config).path == Record(tmp_path, config, PLAIN).path


def test_it_reaches_the_runs_of_a_job(tmp_path):
    pack = Pack([Record(tmp_path, tiny(), PLAIN)], ["cpu"], tmp_path, 60, 60)
    assert pickle.loads(pickle.dumps(pack)).records[0].arithmetic == PLAIN


def test_a_run_that_cannot_be_computed_here_waits_for_another_machine(tmp_path, data_dir, on):
    on(FP32)
    record = Record(tmp_path, tiny(), Arithmetic(precision="bf16", step="plain"))
    with pytest.raises(arithmetic.Unfit) as refused:
        train(record.config, record, data_dir)
    assert kind_of(refused.value) == UNFIT
    record.fail(UNFIT, str(refused.value))
    assert record.state == "interrupted" and not record.failed
    assert not (record.path / "env.json").exists()


def test_a_checkpoint_of_another_arithmetic_is_set_aside(tmp_path, data_dir, on):
    on(BF16)
    notes: list[str] = []
    for begun in (Arithmetic(precision="bf16", step="plain"), PLAIN, PLAIN):
        record, seen = Record(tmp_path, tiny(), begun), []
        watch = Watch(partial(add, seen), notes.append, partial(bool, seen))
        with pytest.raises(Interrupted):  # after a step
            train(record.config, record, data_dir, watch=watch)
    saved = checkpoint.load(record.checkpoint, "cpu")
    assert (saved["precision"], saved["position"]["step"]) == ("fp32", 2)
    assert len(notes) == 1 and "computed in bf16 by the plain step" in notes[0]
    assert len(list(record.path.glob("checkpoint.old*.pt"))) == 1


def add(seen: list, *step) -> None:
    seen.append(step)


def begun_with(study, **arithmetic):
    return with_changes(study.record(), arithmetic=arithmetic)


def asked_in(folder, **begun):
    """A grid of two rows whose study was begun like this, and the words that train it."""
    words = [write_grid(folder), *tiny_words()]
    study = tiny_study(words[0])
    write_study(folder, begun_with(study, **begun))
    return study, words


def test_run_trains_nothing_of_a_study_that_cannot_be_computed_here(tmp_path, data_dir):
    study, words = asked_in(tmp_path, precision="fp32", step="captured")
    done = call("run", *words, DATA_DIR=str(data_dir), RESULTS=str(tmp_path))
    assert done.returncode == 2 and not list(tmp_path.glob("runs/*"))
    assert f"study {study.name}: it was begun with the captured step, and" in done.stderr


@pytest.mark.slow
def test_run_trains_as_the_file_of_the_study_says(tmp_path, data_dir):
    _, words = asked_in(tmp_path, **dict(PLAIN))
    done = call("run", *words, DATA_DIR=str(data_dir), RESULTS=str(tmp_path), WORKERS="2")
    assert done.returncode == 0, done.stdout + done.stderr
    envs = [read_sealed(path) for path in tmp_path.glob("runs/*/seed*/env.json")]
    assert [(env["precision"], env["step"]) for env in envs] == [("fp32", "plain")] * 2
    assert read_studies(tmp_path)[0].arithmetic == PLAIN


def test_each_run_of_a_study_is_trained_as_it_was_begun(tmp_path, data_dir):
    study = replace(tiny_study("squeeze"), arithmetic=PLAIN)
    record = next(iter(name_runs([study], tmp_path)))
    with Local(["cpu"], data_dir) as local:
        list(local.train([record]))
    env = read_sealed(record.path / "env.json")
    assert (env["precision"], env["step"]) == ("fp32", "plain")


@pytest.mark.parametrize(("found", "is_used"), [({1: 50.0}, True), ({}, False)])
def test_a_probe_takes_the_captured_step_where_there_is_room(monkeypatch, found, is_used):
    begun = Arithmetic(precision="fp32", step="captured")
    monkeypatch.setattr("experiments.plan.measure.pick_arithmetic", lambda *_: begun)
    monkeypatch.setattr(
        "experiments.plan.measure.rates",
        lambda config, device, most: (
            found if dict(begun).items() <= dict(config.recipe).items() and most == 1 else None
        ),
    )
    assert (probe(tiny(), "cpu") == 0.02) is is_used


def test_a_probe_takes_the_batch_of_the_run(monkeypatch):
    seen = []
    monkeypatch.setattr(
        "experiments.plan.measure.train_step",
        lambda forward, optimizer, x, *_: seen.append(len(x)) or x.new_zeros(2),
    )
    probe(tiny(recipe={"batch_size": 24}), "cpu")
    assert set(seen) == {24}
