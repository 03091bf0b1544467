"""Checks whether the captured step can be trusted on this GPU, and its speed: `make gpu-check`.

Each check of gpu_checks.py has a process of its own; then come the tests of the loop
and the goals of `make bench`. What is done is kept after each: the same command goes on with what
is left, as long as GPU, driver, software and commit are the same. Only a check that has passed is
green.
"""

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import pytest
import typer
from rich.progress import Progress

from benchmarks.cases import cases, goals_of_gpu, is_for_a_goal
from benchmarks.gpu_checks import CHECKS
from benchmarks.rounds import in_rounds
from experiments.processes import command
from experiments.processes.output import say
from experiments.records.files import read_json, write_json, write_text
from experiments.records.parsing import ConfigError
from experiments.train.devices import pick_devices
from experiments.train.environment import ROOT, git
from experiments.train.trust import asked, gpu_facts

HERE = Path(__file__).parent
PATIENCE = 1200.0  # seconds of a check, of which the longest is meant to take three minutes
KEPT = ("passed", "measured")  # what is not done again
Answer = tuple[str, str]  # the state, and a sentence
# The tests with cuDNN held to its bits, as in a run, or free.
TESTS = """
import sys, pytest, torch
from experiments.train import optimization as step
if not {held}:
    step.set_flags = lambda: None
    torch.backends.cudnn.deterministic = False
words = ["-k", "cuda", "-p", "no:cacheprovider"]
sys.exit(pytest.main(["tests/experiments/train/test_epoch.py", *words]))
"""


def loop_tests(device: str, held: bool) -> Answer:
    """Runs the tests of the loop that need a GPU, with cuDNN held to its bits or not."""
    done = run(["-c", TESTS.format(held=held)], device)
    last = (done.stdout.strip().splitlines() or ["pytest said nothing"])[-1]
    if done.returncode == 0 and "skipped" not in last:
        return "passed", last
    if "skipped" in last and "failed" not in last:
        return "skipped", last
    # Tests that ask for equal bits may fail where cuDNN is free to choose: that is told, no more.
    has_run = done.returncode == pytest.ExitCode.TESTS_FAILED and "error" not in last
    return ("measured" if has_run and not held else "failed"), last


def bench(device: str) -> Answer:
    """Measures the rates that the goals of `make bench` compare, and compares them."""
    todo = [case for case in cases(device) if is_for_a_goal(case)]
    try:
        rates, _ = in_rounds(todo, device, "short", Progress(disable=True))
    except SystemExit as ended:  # a process has ended without a word
        return "failed", str(ended)
    found = list(goals_of_gpu(rates))
    says = ", ".join(f"{what}: {ratio:.2f} of {goal:.2f}" for what, ratio, goal in found)
    return "passed" if all(ratio >= goal for _, ratio, goal in found) else "failed", says


def run(words: list[str], device: str) -> subprocess.CompletedProcess:
    environment = os.environ | {"DEVICE": device, "PYTEST_ADDOPTS": ""}
    return subprocess.run(
        [sys.executable, *words], cwd=ROOT, capture_output=True, text=True, env=environment
    )


def checked(name: str) -> Callable[[str], Answer]:
    module = "benchmarks.gpu_checks"
    return lambda device: asked([module, name, device], CHECKS[name].environment, PATIENCE)


# Name -> (what it asks, the function that answers).
STEPS: dict[str, tuple[str, Callable[[str], Answer]]] = {
    **{name: (check.about, checked(name)) for name, check in CHECKS.items()},
    "tests, cuDNN held": (loop_tests.__doc__, lambda device: loop_tests(device, True)),
    "tests, cuDNN free": (loop_tests.__doc__, lambda device: loop_tests(device, False)),
    "bench": (bench.__doc__, bench),
}


def machine(device: str) -> dict[str, Any]:
    """Returns what a step's outcome holds for; what is written here is no change of the code."""
    ours = [f":!benchmarks/{name}" for name in ("gpu.json", "GPU.md")]
    changed = git("status", "--porcelain", "--untracked-files=no", "--", ".", *ours)
    changes = "" if changed == "" else " and changes"
    return gpu_facts(device) | {"commit": (git("rev-parse", "HEAD") or "unknown") + changes}


def page(found: dict[str, Any]) -> str:
    """Returns GPU.md as text: a row a step, also of those that have not been run."""
    lines = ["# Is the captured step to be trusted on a GPU?", ""]
    if found["machine"]:
        lines += ["| machine | |", "|---|---|"]
        lines += [f"| {key} | {value} |" for key, value in found["machine"].items()]
    else:
        lines += ["Not measured on a GPU: none was at hand. `make gpu-check` writes this page."]
    lines += ["", verdict(found["steps"]), ""]
    lines += ["| step | what it asks | state | what it found | s |", "|---|---|---|---|--:|"]
    for name, (about, _) in STEPS.items():
        step = found["steps"].get(name, {"state": "not run", "says": "", "seconds": 0.0})
        says = step["says"].replace("|", "/")
        lines.append(f"| {name} | {about} | {step['state']} | {says} | {step['seconds']:.0f} |")
    return "\n".join(lines) + "\n"


def verdict(steps: dict[str, dict[str, Any]]) -> str:
    """Says whether all steps have passed, and which have not."""
    states = {name: steps.get(name, {"state": "not run"})["state"] for name in STEPS}
    left = [f"{name} ({state})" for name, state in states.items() if state not in KEPT]
    if len(left) == len(STEPS):
        return "Not green: no step has passed."
    if left:
        return f"Not green: {', '.join(left)}."
    told = ", ".join(name for name, state in states.items() if state != "passed")
    return "All steps have passed" + (f", or were only to be measured ({told})." if told else ".")


def read(path: Path, here: dict[str, Any]) -> dict[str, Any]:
    """Reads what an earlier call found on the same machine and commit."""
    try:
        found = read_json(path, "machine", "steps")
    except ConfigError:  # not there, or damaged
        found = {}
    return found if found.get("machine") == here else {"machine": here, "steps": {}}


def check(device: str, folder: Path) -> int:
    """Does what is left; returns 0 where all is green, else 1."""
    found = read(folder / "gpu.json", machine(device))
    steps = found["steps"]
    for number, (name, (_, ask)) in enumerate(STEPS.items(), 1):
        if steps.get(name, {}).get("state") not in KEPT:
            say(f"{number} of {len(STEPS)}, {name} ...")
            began = time.perf_counter()
            state, says = ask(device)
            seconds = round(time.perf_counter() - began, 1)
            steps[name] = {"state": state, "says": says, "seconds": seconds}
            write_json(folder / "gpu.json", found)
            write_text(folder / "GPU.md", page(found))
        say(f"{number} of {len(STEPS)}, {name}: {steps[name]['state']}: {steps[name]['says']}")
    say(f"{verdict(steps)} See {folder / 'GPU.md'}")
    return int(any(steps[name]["state"] not in KEPT for name in STEPS))


app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def main(
    device: Annotated[str, typer.Option(envvar="DEVICE", help="cuda, or cuda:0 and so on")]
    = "cuda",
) -> None:  # fmt: skip
    """Checks the captured step on a GPU, in about ten minutes, and writes GPU.md and gpu.json."""
    if not device.startswith("cuda"):
        raise ConfigError(f"device {device!r}: the checks are of a GPU: allowed are cuda, cuda:0")
    raise typer.Exit(check(pick_devices(device)[0], HERE))


if __name__ == "__main__":
    command.run(app, lambda: "stopped: what is done is kept, and the same command goes on")
