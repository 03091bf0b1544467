"""Keeps what W&B has been told, as files. No W&B here.

RESULTS/wandb/
    offline-run-*/, run-*/   as W&B's library writes them, with debug*.log and latest-run
    data/, cache/            what it keeps for them
    told/<id>.json           a run that has been told completely, and where that is
    telling/<run>/lock       who tells a run now
    dashboard.json           the views and the report that were made (tracking/dashboard.py)
    log-*.txt                what the library has printed
"""

import hashlib
import re
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from analysis.figures.kinds import OF_A_GROUP
from experiments.records.config import RunConfig
from experiments.records.files import digest_of_file, read_json, write_json
from experiments.records.parsing import ConfigError
from experiments.records.study_file import StudyFile


def folder_of(results: Path) -> Path:
    """Returns the folder of all that W&B keeps here."""
    return results.absolute() / "wandb"


def run_id(config: RunConfig) -> str:
    """Returns the id of a run on W&B: the same wherever it is trained."""
    return f"{config.id}-seed{config.seed}"


def study_id(name: str) -> str:
    """Returns the id of the run on W&B that shows a study's tables and figures."""
    return f"analysis-{hashlib.sha256(name.encode()).hexdigest()[:10]}"


def grids_of(cell: str, studies: Sequence[StudyFile]) -> list[str]:
    """Names the grids that have this cell as a row."""
    return sorted({study.grid for study in studies if any(row.cell == cell for row in study.rows)})


def digest_of_run(path: Path, studies: Sequence[StudyFile]) -> str:
    """Digests a run's result, and the grids that it belongs to."""
    parts = [digest_of_file(path / "summary.json"), *grids_of(path.parent.name, studies)]
    return hashlib.sha256(" ".join(parts).encode()).hexdigest()


def figures_of(results: Path, asked: StudyFile) -> list[Path]:
    """Lists the PNGs of a study, and those of its group of studies."""
    folder, group = results / "figures", "-".join(asked.group)
    shared = [folder / f"{kind}-{group}.png" for kind in OF_A_GROUP]
    return [*_files_of(folder, asked.name, "png"), *filter(Path.exists, shared)]


def _files_of(folder: Path, name: str, ending: str) -> list[Path]:
    """Lists `<name>.<ending>` and `<name>-<kind>.<ending>`, and nothing of a study `<name>-...`."""
    own = re.compile(rf"{re.escape(name)}(-[a-z0-9]+)?\.{ending}")
    return sorted(path for path in folder.glob(f"*.{ending}") if own.fullmatch(path.name))


def digest_of_study(results: Path, asked: StudyFile) -> str:
    """Digests the study's tables and figures."""
    files = _files_of(results / "tables", asked.name, "csv")
    parts = [digest_of_file(path) for path in files + figures_of(results, asked)]
    return hashlib.sha256(" ".join([asked.name, *parts]).encode()).hexdigest()


@dataclass(frozen=True)
class Told:
    """Says of a run that W&B's library has been told all of it.

    digest  of what was told
    url     where it is on W&B; None for one that is kept here, to be sent
    folder  its name in RESULTS/wandb
    """

    digest: str
    url: str | None
    folder: str


def note(folder: Path, name: str, told: Told) -> None:
    """Notes what W&B's library was told of a run, and deletes the run's older versions here.

    Those were cut short, or are of a training that was replaced; its record has all of it.
    """
    write_json(folder / "told" / f"{name}.json", asdict(told))
    for older in (*folder.glob(f"offline-run-*-{name}"), *folder.glob(f"run-*-{name}")):
        if older.name != told.folder:
            shutil.rmtree(older, ignore_errors=True)


def look_up(folder: Path, name: str) -> Told | None:
    """Reads what is noted of a run; None where it is nothing, or makes no sense."""
    try:
        noted = read_json(folder / "told" / f"{name}.json", "digest", "url", "folder")
    except ConfigError:
        return None
    digest, url, own = (noted[key] for key in ("digest", "url", "folder"))
    is_name = isinstance(own, str) and own == Path(own).name and own not in ("", "..")
    return Told(digest, url, own) if is_name and isinstance(url, str | None) else None


def state_of(folder: Path, name: str, digest: str) -> str:
    """Returns sent; kept, to be sent from its folder; or missing, where W&B lacks this digest."""
    found = look_up(folder, name)
    if found is None or found.digest != digest:
        return "missing"
    if found.url or any((folder / found.folder).glob("*.wandb.synced")):  # its library's mark
        return "sent"
    return "kept" if (folder / found.folder).is_dir() else "missing"
