"""A pair of networks has one difference, one interval and one verdict, wherever it stands."""

import csv
import html
import math
import re
from collections import defaultdict
from collections.abc import Iterator
from functools import cache

import pytest
from conftest import ROOT

from analysis.figures.compared import lines
from analysis.groups import by_group
from analysis.page import answer, opening, readme
from analysis.read import find_studies
from analysis.statistics.comparisons import answers, difference_text
from analysis.statistics.verdicts import Verdict, judge
from analysis.study import Study
from experiments.records.studies import read_studies
from experiments.study.grid import PLAIN

HOME = ROOT / readme.HOME
PAGES = ("README.md", "docs/findings.md")
NUMBER = r"[+-]\d+\.\d\d"
PAIR = re.compile(rf"({NUMBER}) \[({NUMBER}), ({NUMBER})\] ?(better|worse|alike|not decided)?")
OTHER_WAY = {"better": "worse", "worse": "better"}
Place = tuple[str, Study, str, str, str]  # where, of a row minus another, and what it says there

pytestmark = pytest.mark.skipif(not read_studies(HOME), reason="no study is published yet")


@cache
def text_of(name: str) -> str:
    return html.unescape((ROOT / name if name in PAGES else HOME / name).read_text())


def plain(tex: str) -> str:
    return tex.replace(r"\_", "_").replace(r"\$", "$").replace(r"\%", "%")


def line_of(row: str, text: str, start: str, end: str) -> str:
    """The one line of a table that begins with a row's name."""
    found = [x for x in text.splitlines() if re.match(rf"{start}{re.escape(row)}\s*{end}", x)]
    assert len(found) == 1, (row, found)
    return found[0]


def in_tables(studies: list[Study]) -> Iterator[Place]:
    for study in studies:
        name = f"tables/{study.name}"
        of_csv = {x["row"]: x for x in csv.DictReader(text_of(f"{name}.csv").splitlines())}
        section = text_of("report.html").split(f'<section id="{study.name}">')[1]
        cells = re.sub("<tr[^>]*>", "\n", section.split("</table>")[0].replace("\n", ""))
        for row, reference in study.references.items():
            if not len(study.errors(row)) or not len(study.errors(reference)):
                continue  # not trained yet: there is nothing to say
            where = study, row, reference
            yield "md", *where, line_of(row, text_of(f"{name}.md"), r"\| ", r"\|")
            yield "tex", *where, line_of(row, plain(text_of(f"{name}.tex")), " ", "&")
            yield "report", *where, line_of(row, cells, r"\s*<th scope=\"row\">", "</th>")
            ends = [float(of_csv[row][f"difference{end}"]) for end in ("", "_low", "_high")]
            numbers = "{:+z.2f} [{:+z.2f}, {:+z.2f}]".format(*ends)
            yield "csv", *where, f"{numbers} {of_csv[row]['verdict']}"


def in_forest(studies: list[Study]) -> Iterator[Place]:
    for name, block in lines(studies).items():
        [study] = [s for s in studies if name.startswith(f"{s.asked.title} (minus")]
        for one in block:
            said = f"{difference_text(one.found)} {one.verdict}"
            yield "forest", study, one.label, study.references[one.label], said


def in_opening(first: Study) -> Iterator[Place]:
    named = opening.rows_of(first)
    for network, what in opening.ROWS.items():
        if network in named and network != PLAIN:
            row, plain = named[network], named[PLAIN]
            yield (
                "opening",
                first,
                row,
                plain,
                line_of(what, text_of("docs/findings.md"), r"\| ", r"\|"),
            )


def in_sentences(studies: list[Study]) -> Iterator[Place]:
    """What is found, on both pages and in the report: it says the words in full."""
    for study in studies:
        for one in answers(study):
            if math.isnan(one.found.estimate):
                continue  # not trained yet
            said = answer.sentence(study, one)
            assert said in re.sub(r"\s+", " ", text_of("report.html")), said
            if study.asked.grid == answer.CONTROL:
                assert all(said[1:] in text_of(page) for page in PAGES), said
            if len(one.comparison.rows) == len(one.comparison.minus) == 1:
                word = one.verdict.split(",")[0]
                [row], [minus] = one.comparison.rows, one.comparison.minus
                yield "sentence", study, row, minus, f"{PAIR.search(said)[0]} {word}"


def in_claims(studies: list[Study], verdicts: list[Verdict]) -> Iterator[Place]:
    """Claims have words of their own, and the opening has none: only numbers are compared."""
    by_grid = {study.asked.grid: study for study in studies}
    name = f"tables/claims-{'-'.join(verdicts[0].group)}"
    files = [f"{name}.md", f"{name}.csv", f"{name}.tex", "report.html", "docs/findings.md"]
    for verdict in verdicts:
        for part in (finding.part for finding in verdict.findings):
            if part.measure == "error" and len(part.rows) == len(part.minus) == 1:
                for file in files:
                    text = plain(text_of(file))
                    after = text[text.index(verdict.claim.says) :]
                    said = after[after.index(f"{part.what}: ") :][:80]
                    where = by_grid[part.grid], part.rows[0], part.minus[0]
                    yield f"claims in {file}", *where, PAIR.search(said)[0]


def turned(study: Study, row: str, reference: str, text: str) -> tuple:
    """((cell, cell), (difference, low, high), word), the cells in the order of their names."""
    match = PAIR.search(text)
    assert match, (row, reference, text)
    cells, word = (study.cells[row], study.cells[reference]), match[4] or ""
    estimate, low, high = (round(100 * float(match[i])) for i in (1, 2, 3))
    if cells == tuple(sorted(cells)):
        return cells, (estimate, low, high), word
    return cells[::-1], (-estimate, -high, -low), OTHER_WAY.get(word, word)


def test_each_pair_has_one_difference_interval_and_verdict_wherever_it_stands():
    """Pages, report, every .md, .tex and .csv, the claims and the forest plot's data, as kept."""
    studies = find_studies(HOME, [])
    group = answer.headline(studies)
    first = opening.first_of(by_group(studies)[group])
    with_words = [
        *in_tables(studies), *in_forest(studies), *in_opening(first), *in_sentences(studies)
    ]  # fmt: skip
    numbers, words, places = defaultdict(set), defaultdict(set), defaultdict(set)
    for where, *rest in [*with_words, *in_claims(studies, judge(studies))]:
        cells, found, word = turned(*rest)
        numbers[cells].add(found)
        places[cells].add(where.split()[0])
        if not where.startswith(("claims", "opening")):
            words[cells].add(word)
    assert {pair: found for pair, found in numbers.items() if len(found) > 1} == {}
    assert {pair: found for pair, found in words.items() if len(found) > 1} == {}
    named = opening.rows_of(first)
    pair = tuple(sorted(first.cells[named[name]] for name in ("SE", PLAIN)))
    everywhere = {"md", "tex", "csv", "report", "forest", "opening", "sentence", "claims"}
    assert places[pair] == everywhere and words[pair] <= {"better", "worse"}
    assert len(numbers) > 20


def test_each_claim_has_one_word_wherever_it_stands():
    verdicts = judge(find_studies(HOME, []))
    name = f"tables/claims-{'-'.join(verdicts[0].group)}"
    of_csv = {x["claim"]: x["verdict"] for x in csv.DictReader(text_of(f"{name}.csv").splitlines())}
    assert of_csv == {v.claim.says: v.word for v in verdicts}
    for v in verdicts:
        says, word = re.escape(v.claim.says), re.escape(v.word)
        assert re.search(rf"^\| {says} +\| +[^|]+\| +{word} \|", text_of(f"{name}.md"), re.M)
        assert re.search(rf"^ {says} +&[^&]+& +{word} ", plain(text_of(f"{name}.tex")), re.M)
        assert re.search(
            rf"^\| {says} \(.*?\) \| \**{word}\** \|", text_of("docs/findings.md"), re.M
        )
        assert re.search(rf">{word}</b> · <b>{says}</b>", text_of("report.html"))
