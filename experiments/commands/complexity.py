"""Counts and draws the cost columns of the paper's tables: the command `complexity`."""

import subprocess
import sys
from pathlib import Path

from experiments.plan.options import Results
from experiments.processes.output import say
from experiments.records.room import check_writable


def complexity(results: Results = Path("results/local")) -> int:
    """Returns the exit status of `analysis complexity`, which draws the table."""
    from experiments.plan.complexity import count_all  # torch: not for --help

    check_writable(results)
    say(f"wrote {count_all(results)}")
    analysis = [sys.executable, "-m", "analysis", "complexity", "--results", str(results)]
    return subprocess.run(analysis).returncode
