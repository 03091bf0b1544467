"""Which jobs a driver of Slurm's cancels at its end: none that another command needs."""

import pytest
import slurm_answers

from experiments.launch.queue import Queue
from experiments.launch.slurm import squeue

cluster = slurm_answers.cluster  # a fixture


def test_a_job_in_which_another_command_has_a_run_stays(cluster):
    """Of that command, which may be gone, only the run is known: this one was not asked for it."""
    first, theirs, last, *_ = cluster.records
    cluster.note([[first, theirs], [last]])
    stays = "1 runs stay with Slurm, as others need their jobs: `scancel 7_0` ends them"
    for is_over in (False, True):
        if is_over:
            theirs.begin(), theirs.fail("ValueError", "it was so")
        with cluster.driver as driver:
            driver.queue = Queue([first, last])
            list(driver.begin())
        assert (cluster.jobs[0][0] == "CANCELLED") == is_over == (stays not in cluster.heard[-2])
        assert cluster.jobs[1][0] == "CANCELLED"
        cluster.jobs[:2] = [("RUNNING", "None")] * 2
    assert cluster.heard[-1].startswith("stopping: scancel '7_[0-1]' (2 runs)")


def test_jobs_that_another_driver_follows_are_cancelled_by_the_last_one(cluster):
    with cluster.other as other:
        with cluster.driver as driver:
            for one in (driver, other):
                one.queue = Queue(cluster.records)
                list(one.begin())
        assert cluster.heard[-1].startswith("5 runs stay with Slurm, as others need their jobs")
        assert cluster.jobs[0][0] == "RUNNING"
    assert cluster.heard[-1].startswith("stopping: scancel '7_[0-4]' (5 runs)")
    assert cluster.jobs[0][0] == "CANCELLED"


def test_a_driver_whose_runs_of_an_array_are_over_is_in_nobodys_way(cluster):
    with cluster.other as other:
        for one in (cluster.driver, other):
            one.queue = Queue(cluster.records)
            list(one.begin())
        for record in cluster.records:
            del other.active[record]
        list(other.look())
        with cluster.driver:
            pass
        assert cluster.jobs[0][0] == "CANCELLED"


def test_nothing_is_cancelled_while_slurm_is_silent(cluster, monkeypatch):
    monkeypatch.setattr(squeue, "cancel", lambda numbers: pytest.fail("it might be another's"))
    with cluster.driver as driver:
        driver.queue = Queue(cluster.records)
        list(driver.begin())
        cluster.jobs = None
    why = "5 runs stay with Slurm, which does not answer `squeue`: `scancel '7_[0-4]'` ends them"
    assert cluster.heard[-1].startswith(why)
