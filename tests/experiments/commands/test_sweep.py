"""`sweep`: what its file asks an agent to call trains each run once."""

import shlex

import pytest
import yaml
from command_line import call
from conftest import tiny_words, write_grid

from experiments.records.states import State, state


@pytest.fixture
def written(tmp_path, data_dir):
    """The file of a sweep over two rows, and where their runs will lie."""
    words = [write_grid(tmp_path), *tiny_words(epochs=1), "--seeds", "1"]
    there = {"DATA_DIR": str(data_dir), "RESULTS": str(tmp_path / "results")}
    done = call("sweep", *words, **there)
    assert done.returncode == 0 and ".yaml: 2 runs" in done.stdout, done.stderr
    [path] = (tmp_path / "results/sweeps").glob("own*.yaml")
    return yaml.safe_load(path.read_text()), tmp_path / "results"


def test_grids_of_one_name_in_two_folders_have_files_of_their_own(tmp_path, monkeypatch):
    results = tmp_path / "it's $HOME"
    for folder in ("a", "b", "a"):
        (tmp_path / folder).mkdir(exist_ok=True)
        write_grid(tmp_path / folder)
        monkeypatch.chdir(tmp_path / folder)
        done = call("sweep", "own.yaml", *tiny_words(), RESULTS=str(results))
        assert done.returncode == 0, done.stderr
        told = shlex.split(done.stdout.splitlines()[-1].split("`")[1])  # as a shell reads it
        assert told[:2] == [".venv/bin/wandb", "sweep"] and (tmp_path / told[2]).is_file()
    assert len(list((results / "sweeps").iterdir())) == 2


def test_the_file_of_a_grid_of_ours_has_its_name(tmp_path):
    done = call("sweep", "ratio", *tiny_words(), RESULTS=str(tmp_path))
    assert done.returncode == 0 and (tmp_path / "sweeps" / "ratio.yaml").is_file()


def test_it_is_a_grid_over_the_runs_in_the_words_of_wandb(written):
    config, _ = written
    assert set(config) == {"name", "program", "method", "metric", "parameters", "command"}
    assert config["method"] == "grid" and config["command"][-1] == "${args}"
    assert config["metric"] == {"name": "test/error", "goal": "minimize"}
    [(name, axis)] = config["parameters"].items()
    assert name == "only" and len(set(axis["values"])) == 2
    assert all(value.endswith("/seed0") for value in axis["values"])


@pytest.mark.slow
def test_what_an_agent_calls_trains_one_run(written):
    config, results = written
    *command, args = config["command"]
    assert command[:4] == [".venv/bin/python", "-m", "experiments", "run"]
    first, second = config["parameters"]["only"]["values"]
    words = [*command[3:], args.replace("${args}", f"--only={second}")]  # as the agent does
    done = call(*words)  # where it lies and what it is of: all of it is in the words
    assert done.returncode == 0, done.stdout + done.stderr
    assert state(results / "runs" / second) == State.DONE
    assert state(results / "runs" / first) == State.PLANNED
    other = call(*command[3:], "--only=another/seed0")
    assert other.returncode == 2 and "unknown run 'another/seed0'" in other.stderr
