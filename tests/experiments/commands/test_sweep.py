"""`sweep`: what its file asks an agent to call trains each run once."""

import pytest
import yaml
from conftest import call, tiny_words, write_grid

from experiments.records.states import State, state


@pytest.fixture
def written(tmp_path, data_dir):
    """The file of a sweep over two rows, and where their runs will lie."""
    words = [write_grid(tmp_path), *tiny_words(epochs=1), "--seeds", "1"]
    there = {"DATA_DIR": str(data_dir), "RESULTS": str(tmp_path / "results")}
    done = call("sweep", *words, **there)
    assert done.returncode == 0 and "own.yaml: 2 runs" in done.stdout, done.stderr
    return yaml.safe_load((tmp_path / "results/sweeps/own.yaml").read_text()), tmp_path / "results"


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
