"""Sends job arrays to Slurm, through submitit."""

import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from shutil import rmtree
from uuid import uuid4

from experiments.launch.cluster import SlurmSettings
from experiments.launch.slurm.job import Pack
from experiments.launch.slurm.squeue import Job
from experiments.processes.signals import STOPS, uninterrupted
from experiments.records.files import write_json
from experiments.records.parsing import ConfigError


def submit_array(folder: Path, settings: SlurmSettings, packs: Sequence[Pack]) -> list[Job]:
    """Sends a job array, after a note in RESULTS/slurm of what is in it (squeue.py).

    Returns the jobs, in the order of the packs. Raises ConfigError where Slurm refuses it; nothing
    of it is kept then.
    """
    import submitit
    from submitit.core.utils import FailedJobError, FailedSubmissionError

    name = f"se-{uuid4().hex[:12]}"
    note = folder / f"{name}.json"
    write_json(note, {"jobs": [[record.name for record in pack.records] for pack in packs]})
    executor = submitit.SlurmExecutor(folder / name, max_num_timeout=settings.restarts)
    executor.update_parameters(job_name=name, **settings.for_submitit())
    try:
        with uninterrupted(), _stops_blocked():
            jobs = executor.submit_array(packs)
    except (FailedJobError, FailedSubmissionError) as error:
        note.unlink()
        rmtree(folder / name, ignore_errors=True)
        said = str(error).strip().splitlines() or ["sbatch failed without a word"]
        sentence = said[-1].removeprefix("sbatch: error: ")
        raise ConfigError(f"Slurm refused the jobs: {sentence}") from None
    return [Job(job.job_id, "PENDING") for job in jobs]


@contextmanager
def _stops_blocked() -> Iterator[None]:
    """Lets no Ctrl-C reach `sbatch`, which would leave open whether it has sent the jobs."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, STOPS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
