"""Defines what `claims --json` and `power --json` print: one object a command.

`version` grows where a key goes or changes its meaning; keys may be added without that. Numbers are
not rounded; what is not known is null.
"""

from typing import Literal

from experiments.records.parsing import Strict
from experiments.records.schema import Printed

Word = Literal["confirmed", "contradicted", "not decided", "no record"]
Source = Literal["records", "recipe", "given"]


class JudgedPart(Strict):
    """Holds a comparison of a claim.

    measure   what is compared: a row of analysis/statistics/measures.py
    expects   lower, higher, alike, no higher, no lower, at most or more than
    estimate  the difference, or the quotient of a cost; low and high end its 95 % interval
    seeds     of each row that is compared
    paper     the paper's difference in points of its test error
    about     why it is not decided, where that is not for its interval; "no result" where no run
              has recorded the measure, which is the verdict "no record"; ""
    """

    name: str
    measure: str
    expects: str
    verdict: Word
    estimate: float | None = None
    low: float | None = None
    high: float | None = None
    seeds: tuple[int, ...] = ()
    paper: float | None = None
    about: str = ""


class JudgedClaim(Strict):
    """Holds a statement of analysis/claims.yaml; `ours` is the source of our own."""

    number: str
    says: str
    source: str
    verdict: Word
    parts: tuple[JudgedPart, ...]


class JudgedGroup(Strict):
    """Holds the claims that the records of a data set, network and recipe bear on."""

    dataset: str
    network: str
    recipe: str
    claims: tuple[JudgedClaim, ...]


class Claims(Printed):
    """Holds what `claims` prints; of demonstrations and of CIFAR-10 mini there is no group."""

    groups: tuple[JudgedGroup, ...]


class NeededSeeds(Strict):
    """Tells how many seeds a row a difference of so many points needs; null for over 10,000.

    difference, likeness                to see it, and to show that equal networks lie within it
    decide_difference, decide_likeness  the same with --decide: at most so many
    """

    points: float
    difference: int | None
    likeness: int | None
    decide_difference: int | None
    decide_likeness: int | None


class StudyPower(Strict):
    """Tells which differences more seeds of a study could show.

    source    of the spread: records, recipe (measured before with it), given (by --spread), or null
    spread    standard deviation over seeds in points
    networks  whose spreads are pooled; null where they are not those of records
    """

    name: str
    source: Source | None
    spread: float | None
    networks: int | None = None
    seeds: tuple[NeededSeeds, ...]


class Power(Printed):
    """Holds what `power` prints."""

    power: float
    studies: tuple[StudyPower, ...]
