"""The page's charts in a real browser: what is seen in them, and what is said of them."""

import re

import numpy as np
import pytest
from browser import IN_BROWSER, Tab
from opened import CONTROL, HOME, RATIO, opened, page, tab

from analysis.figures.subjects import subjects
from analysis.groups import by_group
from analysis.page import gate_data
from analysis.read import find_studies
from experiments.records.gates import unpack

pytestmark = IN_BROWSER
__all__ = ["opened", "page", "tab"]  # fixtures


@pytest.mark.parametrize(
    ("chart", "study", "starts", "ends"),
    [("errors", CONTROL, "Dot plot of the test error of 9 networks", "no SE, width x 1.25"),
     ("ratio", RATIO, "Test error against the reduction ratio r: r = 2 26.", "gate fixed at 1/2"),
     ("cost", CONTROL, "Test error, with 95 % intervals, against millions of", "SE 25.97 % at 0.3"),
     ("curves", CONTROL, "Error by epoch, on a logarithmic scale", "63.2 % (1) to 23.4 % (6)."),
     ("forest", "", "Forest plot of", "softmax +22.86 [+21.98, +23.74]"),
     ("gates", "", "Mean gate of each channel of SE_4_3", "SE")],
)  # fmt: skip
def test_a_chart_is_one_picture_for_a_screen_reader(opened, chart, study, starts, ends):
    """It says what is in the chart, which has not all that the still picture has."""
    selector = f".chart[data-chart={chart}]" + (f"[data-study='{study}']" if study else "")
    found = f'document.querySelector("{selector}")'
    opened.run(f"{found}.closest('details')?.setAttribute('open', '')")
    opened.run(f"{found}.scrollIntoView()")
    opened.wait(f"{found}.querySelector('svg') && report.isDrawn()")
    role, label = opened.run(
        f"(e => [e.getAttribute('role'), e.ariaLabel])({found}.querySelector('.canvas'))"
    )
    assert role == "img" and label.startswith(starts) and ends in label
    assert ("paper" in label) == ("var(--paper)" in opened.run(f"{found}.innerHTML"))
    assert opened.run(f"{found}.querySelectorAll('svg [aria-label]').length") == 0


def texts_of(tab: Tab, selector: str) -> list[list]:
    """The texts of a chart that is brought into view, each with its left and its right end."""
    found = f'document.querySelector("{selector}")'
    tab.run(f"{found}.scrollIntoView()")
    tab.wait(f"{found}.querySelector('svg') && report.isDrawn()")
    ends = "(r => [t.textContent, r.left, r.right])(t.getBoundingClientRect())"
    return tab.run(f"[...{found}.querySelectorAll('svg text')].map(t => {ends})")


@pytest.mark.parametrize("study", [one.name for one in find_studies(HOME)])
def test_the_axes_of_a_study_are_named_and_hold_its_marks(opened, study):
    chart = f".chart[data-study='{study}']"
    said = [text for text, *_ in texts_of(opened, chart)]
    assert "test error (%), with 95 % interval" in said and "undefined" not in said
    mark = "(r => r.left + r.width / 2)(m.getBoundingClientRect())"
    marks = opened.run(
        f'[...document.querySelectorAll("{chart} .mark-symbol path")].map(m => {mark})'
    )
    plot = f'document.querySelector("{chart} svg .background").getBoundingClientRect()'
    left, right = opened.run(f"(r => [r.left, r.right])({plot})")
    assert left + 4 < min(marks) and max(marks) < right - 4
    if study == RATIO:  # a name within the plot would stand on the data
        assert "gate fixed at 1/2" not in said


@pytest.mark.parametrize("width", [1440, 375])
def test_the_forest_says_all_that_it_shows_at_any_width(tab, page, width):
    tab.size(width, 900)
    tab.media()
    tab.go(page)
    found = texts_of(tab, ".chart[data-chart=forest]")
    said = " ".join(text for text, *_ in found)
    assert "…" not in said and min(x for _, x, _ in found) >= 0
    assert max(x for *_, x in found) <= width
    assert "Place in the residual unit (minus standard)" in said and "left is better" in said
    assert said.count("+22.86 [+21.98, +23.74]") == said.count("+5.02 [+3.97, +6.06]") == 1
    assert ("+1.30 [+0.35, +2.26] worse" in said) == (width > 640)


def test_a_class_has_one_colour_and_one_dash_in_its_swatch_and_its_line(opened):
    opened.run(
        "document.querySelectorAll('form.explorer [name=class]').forEach(b => b.checked = true)"
    )
    opened.click("form.explorer [name=sorted]")
    texts_of(opened, ".chart[data-chart=gates]")
    lines = opened.run(
        "[...document.querySelectorAll('.chart[data-chart=gates] .mark-line path')]"
        ".map(p => [p.getAttribute('stroke'), p.getAttribute('stroke-dasharray')])"
    )
    swatches = opened.run(
        "[...document.querySelectorAll('form.explorer .swatch')]"
        ".map(s => [s.style.color, s.firstChild.getAttribute('stroke-dasharray')])"
    )
    plain = [
        [color, None if dash == "none" else dash.replace(" ", ",")] for color, dash in swatches
    ]
    assert len(swatches) == 10 == len({dash for _, dash in swatches})
    assert sorted(map(str, plain)) == sorted(
        str([color, None if dash in (None, "1,0") else dash])
        for color, dash in lines
        if color != "var(--ink)"
    )


def drawn(tab: Tab) -> list[dict]:
    """What the explorer's chart is made of."""
    tab.wait("report.isDrawn()")
    rows = "[...report.views].find(([e]) => e.dataset.chart === 'gates')[1].view.data('rows')"
    return tab.run(f"{rows}.map(({{name, place, mean, low}}) => ({{name, place, mean, low}}))")


def test_the_explorer_shows_the_gates_that_the_records_hold(opened):
    networks = gate_data.networks([*by_group(find_studies(HOME)).values()])
    chosen = opened.run("document.querySelector('form.explorer [name=network]').value")
    network = networks[int(chosen)]
    opened.click("[data-view='6']")
    [_, *classes] = dict.fromkeys(row["name"] for row in drawn(opened))
    assert classes == ["airplane", "dog", "frog", "ship"]
    opened.click("[data-view='7']")
    rows = drawn(opened)
    assert {row["name"] for row in rows} == {"dog", "airplane"} and rows[0]["low"] is not None
    opened.click("form.explorer [name=sorted]")
    opened.click("form.explorer [name=deviation]")
    block = "document.querySelector('form.explorer [name=block]')"
    opened.run(f"{block}.value = 8; {block}.dispatchEvent(new Event('change', {{bubbles: true}}))")
    gates = unpack(HOME / "runs" / network["cell"] / f"seed{network['seed']}" / "gates.npz")
    block = gates.blocks["SE_4_3"]
    for name in ("dog", "airplane"):
        line = [row["mean"] for row in drawn(opened) if row["name"] == name]
        mean = block.class_mean[gates.class_names.index(name)]
        step = np.ptp(block.class_mean) / gate_data.STEPS
        assert np.abs(np.array(line) - mean).max() <= 0.5001 * step + 1e-6
    assert "gates.block=SE_4_3" in opened.run("location.hash")


@pytest.mark.parametrize("grid", ["control", "ratio"])
def test_the_explorer_opens_the_network_whose_figures_stand_beside_it(grid):
    [study] = find_studies(HOME, [grid])
    first, *_ = gate_data.networks([[study]])
    assert first["cell"] == next(iter(subjects([study])))


def test_the_explorer_opens_the_block_that_the_caption_names(opened):
    explorer = "document.querySelector('form.explorer')"
    caption = f"{explorer}.parentElement.querySelector('figcaption').textContent"
    [named] = re.findall(r"Classes lie farthest apart in (\w+):", opened.run(caption))
    assert opened.run(f"{explorer}.elements.block.selectedOptions[0].textContent") == named
