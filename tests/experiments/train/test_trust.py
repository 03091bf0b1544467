"""On a GPU `auto` takes the captured step where it has proved equal: who asks, and what is kept."""

import subprocess

import pytest

from experiments.records.study_file import Arithmetic
from experiments.train import proof, trial, trust
from experiments.train.arithmetic import Unfit, pick_arithmetic
from experiments.train.environment import pick_step
from experiments.train.proof import Found
from experiments.train.trial import Size
from experiments.train.trust import step_of_gpu, why_not_captured

TINY = Size(steps=4, cells=4, cell_steps=3, threads=2, images=40, batch=16)


@pytest.mark.parametrize(
    ("command", "says"),
    [("import sys; sys.exit('CUDA error: no')", "its check ended: CUDA error: no"),
     ("import sys; sys.exit(3)", "its check ended: exit status 3"),
     ("print('[]')", "its check ended: exit status 0"),
     ("import time; time.sleep(60)", "its check took more than 1 seconds")],
)  # fmt: skip
def test_a_process_that_ends_without_an_answer_is_told_of(monkeypatch, command, says):
    run = subprocess.run
    monkeypatch.setattr(
        trust.subprocess, "run", lambda words, **how: run([words[0], "-c", command], **how)
    )
    assert trust.asked(["graph"], {}, 1.0 if "sleep" in command else 600.0) == ("ended", says)


FACTS = {"gpu": "A GPU", "driver": "1", "torch": "2"}


@pytest.fixture
def with_gpu(monkeypatch, tmp_path):
    """A GPU whose proof ends as the test says; gives how often it was asked for."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(trust, "has_cuda", lambda: True)
    monkeypatch.setattr(trust, "gpu_facts", lambda device: FACTS)
    proofs: list[str] = []
    why_not_captured.cache_clear()

    def ends_as(state: str, says: str = "4 steps are 0.1 apart", **facts) -> list[str]:
        why_not_captured.cache_clear()  # as in a new process
        monkeypatch.setattr(trust, "gpu_facts", lambda device: FACTS | facts)
        monkeypatch.setattr(trust, "asked", lambda *_: proofs.append(state) or (state, says))
        return proofs

    yield ends_as
    why_not_captured.cache_clear()


def test_auto_is_captured_where_it_has_proved_equal_and_asks_once(with_gpu):
    proofs = with_gpu("passed")
    assert pick_step("auto", "cuda:0") == "captured"
    assert step_of_gpu("cuda:0").endswith("takes the captured step: it proved equal on A GPU")
    with_gpu("failed")  # another process: the answer is kept
    assert pick_step("auto", "cuda:0") == "captured" and proofs == ["passed"]


@pytest.mark.parametrize("changed", ["gpu", "driver", "torch"])
def test_another_gpu_driver_or_torch_has_to_prove_it_again(with_gpu, changed):
    proofs = with_gpu("passed")
    assert pick_step("auto", "cuda:0") == "captured"
    with_gpu("failed", **{changed: "another"})
    assert pick_step("auto", "cuda:0") == "plain" and proofs == ["passed", "failed"]
    assert step_of_gpu("cuda:0").endswith("not the captured one: 4 steps are 0.1 apart")


def test_a_proof_that_did_not_end_is_made_again_another_time(with_gpu):
    proofs = with_gpu("ended", "its check ended: Killed")
    assert pick_step("auto", "cuda:0") == pick_step("auto", "cuda:0") == "plain"
    with_gpu("passed")
    assert pick_step("auto", "cuda:0") == "captured" and proofs == ["ended", "passed"]


def test_without_a_gpu_nothing_is_asked(monkeypatch):
    why_not_captured.cache_clear()
    monkeypatch.setattr(trust, "has_cuda", lambda: False)
    monkeypatch.setattr(trust, "asked", lambda *_: pytest.fail("asked"))
    assert pick_step("auto", "cuda:0") == "plain"
    why_not_captured.cache_clear()


def test_a_study_that_was_begun_captured_is_refused_by_a_gpu_that_did_not_prove_it(with_gpu):
    recipe = trial.config_of(TINY).recipe
    begun = Arithmetic(precision="fp32", step="captured")
    with_gpu("passed")
    assert pick_arithmetic(recipe, begun, "cuda:0").step == "captured"
    with_gpu("failed", driver="another")
    with pytest.raises(Unfit, match=r"captured step, and here 4 steps are 0.1 apart: .*step=plain"):
        pick_arithmetic(recipe, begun, "cuda:0")
    own = recipe.model_copy(update={"step": "captured"})  # who asks for it, gets it
    assert pick_arithmetic(own, begun, "cuda:0").step == "captured"


def test_the_proof_ends_at_the_first_check_that_fails(monkeypatch):
    asked = []

    def check(number, state):
        return lambda size, device: asked.append(number) or Found(state, f"{number}")

    states = ("passed", "failed", "passed")
    monkeypatch.setattr(proof, "NEEDED", [check(*one) for one in enumerate(states)])
    assert proof.proved(TINY, "cpu") == Found("failed", "1") and asked == [0, 1]


def test_a_proof_that_cannot_begin_says_why():
    state, says = trust.asked(["experiments.train.proof", "elsewhere"], {}, 600.0)
    assert state == "ended" and "elsewhere" in says
