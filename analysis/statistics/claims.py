"""Reads and checks claims.yaml, which states the paper's claims as comparisons."""

from functools import cache
from pathlib import Path
from typing import Literal

import yaml

from analysis.statistics.contrasts import CIFAR, Comparison, check_rows
from analysis.statistics.measures import MEASURES
from analysis.study import Study
from experiments.records.parsing import Strict, checked, parse
from senet.config import find_row

PATH = Path(__file__).parents[1] / "claims.yaml"
OURS = "ours"  # the source of what the paper does not say


class Part(Comparison):
    """Holds one comparison of a claim, with what is expected of it.

    expects   lower or higher; alike, no higher or no lower, within the margin; at most `limit`
              times, or more than it
    measure   a row of MEASURES; where `minus` is empty its mean is compared with 0
    dataset   the only one that has these rows, or null
    """

    expects: Literal["lower", "higher", "alike", "no higher", "no lower", "at most", "more than"]
    measure: str = "error"
    limit: float = 1.0
    dataset: str | None = None

    @property
    def what(self) -> str:
        """Says what is compared, with the measure where that is not the error."""
        return self.name if self.measure == "error" else f"{self.name}, {MEASURES[self.measure][0]}"

    def wanted(self, margin: float) -> str:
        """Says in words what was expected."""
        return {
            "alike": f"alike, within {margin / self.steps:.3g}"
            + (" a doubling" if self.over else ""),
            "no higher": f"no higher, within {margin:g}",
            "no lower": f"no lower, within {margin:g}",
            "at most": f"at most {self.limit:g} times" if self.limit != 1 else "no more",
            "more than": f"more than {self.limit:g} times" if self.limit != 1 else "more",
        }.get(self.expects, self.expects)

    def study(self, by_grid: dict[str, Study], dataset: str) -> Study | None:
        """Returns the study that has the rows of this part; None where there is none."""
        return by_grid.get(dataset if self.grid == CIFAR else self.grid)


class Claim(Strict):
    """Holds one statement, its number in our list and where the paper makes it; `ours` if we do.

    short  a name for it where there is room for two or three words
    """

    number: str
    short: str
    says: str
    source: str
    parts: tuple[Part, ...]

    @property
    def is_ours(self) -> bool:
        return self.source == OURS


class ClaimsFile(Strict):
    claims: tuple[Claim, ...]


@cache
def list_claims(path: Path | None = None) -> tuple[Claim, ...]:
    """Reads and checks claims.yaml. Raises ConfigError on a row that no grid has."""
    path = path or PATH
    claims = parse(ClaimsFile, {"claims": yaml.safe_load(path.read_bytes())}, path.name).claims
    for claim in claims:
        for part in claim.parts:
            check_rows(part, path.name, part.dataset)
            checked(find_row, f"{path.name}: measure", part.measure, MEASURES)
    return claims
