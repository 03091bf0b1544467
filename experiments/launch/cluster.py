"""Reads what a launcher asks a cluster for (clusters/*.yaml), and checks what it needs here."""

from importlib.util import find_spec
from pathlib import Path
from shutil import which
from typing import Any, TypeVar

from pydantic import Field

from experiments.plan.options import PlanOptions
from experiments.records.parsing import ConfigError, Strict, parse, read_yaml

CLUSTERS = Path(__file__).parents[1] / "clusters"
MOST = 10**7  # of whatever a cluster is asked for
Model = TypeVar("Model", bound=Strict)


class SlurmSettings(Strict):
    """Holds what clusters/slurm.yaml says, and explains."""

    partition: str | None = None
    account: str | None = None
    time: int = Field(240, ge=1, le=MOST)
    cpus: int = Field(4, ge=1, le=MOST)
    gpus: int = Field(0, ge=0, le=MOST)
    memory: float | None = Field(16, gt=0, le=MOST)
    setup: tuple[str, ...] = ()
    sbatch: dict[str, str | int | float | bool] = Field({})
    pack: float = Field(30, ge=0, le=MOST)
    array: int = Field(1000, ge=1, le=MOST)
    at_once: int = Field(256, ge=1, le=MOST)
    warning: int = Field(120, ge=1, le=MOST)
    restarts: int = Field(1000, ge=0, le=MOST)

    def for_submitit(self) -> dict[str, Any]:
        """Returns them in the words of submitit's `SlurmExecutor.update_parameters`."""
        words = {
            "partition": self.partition,
            "account": self.account,
            "time": self.time,
            "cpus_per_task": self.cpus,
            "gpus_per_node": self.gpus or None,
            "mem": f"{round(self.memory * 1024)}M" if self.memory else None,
            "setup": list(self.setup),
            "additional_parameters": self.sbatch,
            "array_parallelism": self.at_once,
            "signal_delay_s": self.warning,
            "srun_args": [f"--cpus-per-task={self.cpus}"],  # not srun's to inherit since 22.05
            "stderr_to_stdout": True,
        }
        return {key: value for key, value in words.items() if value is not None}


class RaySettings(Strict):
    """Holds what clusters/ray.yaml says, and explains."""

    cpus: float = Field(1, gt=0, le=MOST)
    gpus: float = Field(0, ge=0, le=MOST)
    restarts: int = Field(3, ge=0, le=MOST)


def check_installed(launcher: str, package: str) -> None:
    """Raises ConfigError where what a launcher needs is not installed."""
    if find_spec(package) is None:
        raise ConfigError(
            f"launcher {launcher!r} needs {package}: install requirements-cluster.txt with "
            "`make cluster-packages`"
        )


def check_slurm() -> None:
    """Raises ConfigError where submitit or Slurm's commands are not there."""
    check_installed("slurm", "submitit")
    if missing := [name for name in ("sbatch", "squeue", "srun") if which(name) is None]:
        raise ConfigError(f"launcher 'slurm': no {missing[0]} on this machine: it is no Slurm host")


def read_settings(options: PlanOptions, model: type[Model]) -> tuple[Model, Path]:
    """Returns the launcher's settings, and the file that they are in."""
    path = options.cluster or CLUSTERS / f"{options.launcher}.yaml"
    return parse(model, read_yaml(path), path.name), path


def pick_kind(device: str, gpus: float, path: Path) -> str:
    """Returns cpu or cuda, for machines elsewhere: `auto` is what their settings ask for."""
    if device == "auto":
        return "cuda" if gpus else "cpu"
    if device not in ("cpu", "cuda"):
        raise ConfigError(f"device {device!r}: on a cluster allowed are auto, cpu, cuda")
    if device == "cuda" and not gpus:
        raise ConfigError(f"device 'cuda': {path.name} asks for no GPU (gpus: 0)")
    return device
