"""What `claims` and `power` print for programs is what they print for people."""

import math

import pytest
from command_line import analyse
from conftest import ROOT
from made import around, made

from analysis import schema
from analysis.read import find_studies
from analysis.statistics.comparisons import difference_text
from analysis.statistics.seeds import Plan, seeds_for_difference
from analysis.statistics.stats import Difference
from analysis.statistics.verdicts import judge
from analysis.tables.claims import printed

HOME = ROOT / "results" / "published"


def test_claims_are_printed_for_programs_as_they_are_for_people():
    done = analyse("claims", "--json", RESULTS=str(HOME))
    assert done.returncode == 0, done.stderr
    [group] = schema.Claims.model_validate_json(done.stdout).groups
    verdicts = judge(find_studies(HOME))
    assert (group.dataset, group.network, group.recipe) == verdicts[0].group
    assert [(c.says, c.verdict) for c in group.claims] == [(v.claim.says, v.word) for v in verdicts]
    for claim, verdict in zip(group.claims, verdicts, strict=True):
        for part, finding in zip(claim.parts, verdict.findings, strict=True):
            if part.estimate is None:
                assert finding.evidence.endswith(f": {part.about}")
            elif part.low is not None and part.measure not in ("parameters", "multiply_adds"):
                assert (
                    difference_text(Difference(part.estimate, part.low, part.high))
                    in finding.evidence
                )


def test_json_writes_no_file(tmp_path):
    (tmp_path / "studies").symlink_to(HOME / "studies")
    (tmp_path / "runs").symlink_to(HOME / "runs")
    for words in (["claims", "--json"], ["power", "ratio", "--json"]):
        assert analyse(*words, RESULTS=str(tmp_path)).returncode == 0
    assert {path.name for path in tmp_path.iterdir()} == {"studies", "runs"}


def test_what_is_not_known_is_null_and_says_why():
    study = made("gate", {"sigmoid": around(8.0), "softmax": around(12.0)})
    is_lost = (study.runs.row == "softmax") & (study.runs.seed == 0)
    study.runs.loc[is_lost, ["state", "test_error"]] = ["diverged", math.nan]
    [group] = printed(judge([study])).groups
    parts = {part.name: part for claim in group.claims for part in claim.parts}
    softmax = parts["softmax minus sigmoid"]
    assert (softmax.verdict, softmax.about) == ("not decided", "1 runs were lost")
    assert softmax.seeds == (2, 3) and softmax.paper is None
    [stage] = printed(judge([made("stage", {})])).groups
    [claim] = [c for c in stage.claims if c.number == "8, classes"]
    [classes] = claim.parts
    assert (classes.estimate, classes.low, classes.about) == (None, None, "no result")
    assert claim.verdict == classes.verdict == "no record"


@pytest.mark.parametrize("words", [["--spread", "0.2"], ["ratio"]], ids=["given", "records"])
def test_power_is_printed_for_programs(words):
    done = analyse("power", *words, "--json", RESULTS=str(HOME))
    found = schema.Power.model_validate_json(done.stdout)
    [study] = found.studies
    assert (found.version, found.power) == (1, 0.8)
    plan = Plan(study.spread, study.networks or math.inf)
    for one in study.seeds:
        assert one.difference == seeds_for_difference(one.points, plan)
        assert one.decide_difference >= one.difference
