"""What launchers ask of a cluster, and what of it is refused. No cluster is needed here."""

from pathlib import Path

import pytest
from command_line import wrong

from experiments.commands.studies import slots_and_recipe
from experiments.launch import choose, cluster
from experiments.launch.cluster import CLUSTERS, RaySettings, SlurmSettings, pick_kind
from experiments.plan.options import PlanOptions, RunOptions
from experiments.records.parsing import ConfigError, parse, read_yaml


@pytest.mark.parametrize(
    ("name", "model"),
    [("slurm", SlurmSettings), ("ray", RaySettings), ("ray_gpu", RaySettings)],
)
def test_the_settings_that_come_along_are_whole(name, model):
    given = read_yaml(CLUSTERS / f"{name}.yaml")
    assert set(given) == set(model.model_fields)  # each is there, with its comment
    parse(model, given)
    if name != "ray_gpu":
        assert parse(model, given) == model()


WRONG = {
    "cpu: 2": "unknown key 'cpu': did you mean 'cpus'?",
    "cpus: 0": "cpus: 0 is not allowed",
    "time: 2h": "time: '2h' is not allowed: it should be a valid integer",
    "memory: 1.0e+308": "memory: 1e+308 is not allowed",  # in MB it is beyond any number
    "sbatch: [a]": "sbatch: ['a'] is not allowed",
    "[": "not valid YAML",
}


@pytest.mark.parametrize("text", WRONG)
def test_wrong_settings_are_one_sentence_and_nothing_is_written(
    capsys, tmp_path, monkeypatch, text
):
    monkeypatch.setattr(cluster, "check_installed", lambda *names: None)
    monkeypatch.setattr(cluster, "which", lambda name: name)
    (tmp_path / "own.yaml").write_text(text)
    words = ["run", "ratio", "--launcher", "slurm", "--cluster", str(tmp_path / "own.yaml")]
    said = wrong(capsys, *words, "--results", str(tmp_path / "results"))
    assert "own.yaml" in said and WRONG[text] in said
    assert not (tmp_path / "results").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--launcher", "slrum"], "unknown launcher 'slrum': did you mean 'slurm'? allowed are"),
        (["--cluster", "x.yaml"], "cluster x.yaml: only of use with --launcher slurm or ray"),
        (["--launcher", "slurm"], "launcher 'slurm' needs submitit: install requirements-cluster"),
        (["--launcher", "ray"], "launcher 'ray' needs ray: install requirements-cluster.txt with"),
    ],
)
def test_a_launcher_that_cannot_be_is_one_sentence(capsys, tmp_path, monkeypatch, words, message):
    monkeypatch.setattr(cluster, "find_spec", lambda name: None)
    said = wrong(capsys, "run", "ratio", *words, "--results", str(tmp_path / "results"))
    assert message in said and not (tmp_path / "results").exists()


@pytest.mark.parametrize("launcher", ["local", "slurm", "ray"])
def test_no_worker_is_one_sentence_with_every_launcher(monkeypatch, launcher):
    monkeypatch.setattr(choose, "check_installed", lambda *names: None)
    monkeypatch.setattr(choose, "check_slurm", lambda: None)
    options = RunOptions(["ratio"], launcher=launcher, workers=0)
    with pytest.raises(ConfigError, match="workers 0: at least one is needed"):
        choose.LAUNCHERS[launcher].slots(options)


def test_a_machine_without_slurm_is_told(monkeypatch):
    monkeypatch.setattr(cluster, "check_installed", lambda *names: None)
    monkeypatch.setattr(cluster, "which", lambda name: None)
    with pytest.raises(ConfigError, match="no sbatch on this machine"):
        cluster.check_slurm()


@pytest.mark.parametrize(
    ("gpus", "device", "workers", "slots"),
    [
        (0, "auto", None, ["cpu"] * 3),
        (2, "auto", None, ["cuda:0", "cuda:1"]),
        (2, "cuda", 3, ["cuda:0", "cuda:1", "cuda:0"]),
        (2, "cpu", None, ["cpu"] * 3),
        (0, "cpu", 1, ["cpu"]),
    ],
)
def test_what_a_job_asks_for_is_what_it_trains_on(
    tmp_path, monkeypatch, gpus, device, workers, slots
):
    monkeypatch.setattr(cluster, "check_installed", lambda *names: None)
    monkeypatch.setattr(cluster, "which", lambda name: name)
    (tmp_path / "own.yaml").write_text(f"cpus: 3\ngpus: {gpus}\n")
    options = PlanOptions(
        ["ratio"], launcher="slurm", cluster=tmp_path / "own.yaml", device=device, workers=workers
    )
    assert slots_and_recipe(options) == (slots, "demo" if slots[0] == "cpu" else "fast")


def test_a_gpu_that_is_not_asked_for_is_not_trained_on():
    with pytest.raises(ConfigError, match=r"own.yaml asks for no GPU \(gpus: 0\)"):
        pick_kind("cuda", 0, Path("own.yaml"))
    with pytest.raises(ConfigError, match="on a cluster allowed are auto, cpu, cuda"):
        pick_kind("cuda:1", 1, Path("own.yaml"))


def test_submitit_gets_what_the_file_says():
    words = SlurmSettings(cpus=3, gpus=1, memory=1.5, sbatch={"qos": "long"}).for_submitit()
    assert words["cpus_per_task"] == 3 and words["gpus_per_node"] == 1 and words["mem"] == "1536M"
    assert words["additional_parameters"] == {"qos": "long"} and "partition" not in words
    assert "--cpus-per-task=3" in words["srun_args"]
    assert "mem" not in SlurmSettings(memory=None).for_submitit()
    assert "gpus_per_node" not in SlurmSettings().for_submitit()
