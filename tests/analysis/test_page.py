"""The page in a real browser: sorted, filtered, hidden, linked to, on a phone, without scripts."""

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from browser import IN_BROWSER, Tab, chromium
from conftest import RECORDS, ROOT
from page import Page

from analysis.groups import by_group
from analysis.page import gate_data, report
from analysis.read import find_studies
from experiments.records.gates import unpack

pytestmark = IN_BROWSER
HOME = ROOT / "results" / "published"
LIMIT = 3 * 1024 * 1024  # bytes of the page
EVIL = "</script><script>document.title='owned'</script>"
CONTROL, RATIO = (f"{name}-cifar10-resnet29b-short" for name in ("control", "ratio"))
TABLE = f"table[data-name='{CONTROL}']"
FIRST = f'[...document.querySelectorAll("{TABLE} tbody tr:not([hidden])")].map(r => r.dataset.row)'
WIDTHS = "[document.documentElement.scrollWidth, document.body.scrollWidth, innerWidth]"


@pytest.fixture(scope="module")
def tab(tmp_path_factory) -> Iterator[Tab]:
    with chromium(tmp_path_factory.mktemp("browser") / "profile") as found:
        yield found


@pytest.fixture(scope="module")
def page(tmp_path_factory) -> Path:
    """The published study's page, from its records and the figures that are there."""
    studies = find_studies(HOME)
    figures = report.figures_there(studies, HOME)
    path = tmp_path_factory.mktemp("page") / "report.html"
    path.write_text(report.render(studies, figures), encoding="utf-8")
    is_same = report.render(studies, figures) == path.read_text(encoding="utf-8")
    assert is_same  # the same bits every time
    return path


@pytest.fixture
def opened(tab, page) -> Tab:
    """The page on a screen of 1,440 pixels, as a reader finds it."""
    tab.size(1440, 900)
    tab.media()
    tab.errors.clear(), tab.requests.clear()
    tab.go(page)
    yield tab
    assert tab.errors == []
    assert {url.split(":")[0] for url in tab.requests} <= {"file", "data", "about"}


def shown(tab: Tab) -> str:
    return tab.run(
        "document.getElementById('tip').hidden ? '' : document.getElementById('tip').innerText"
    )


def test_it_is_small_and_has_few_pictures(page):
    text = page.read_text()
    found = Page(text)
    assert len(text.encode()) <= LIMIT
    assert 8 <= found.tags.count("figure") <= 12
    outside = [link for link in found.links if re.match(r"\w+:", link) and link[:5] != "data:"]
    assert outside == ["https://arxiv.org/abs/1709.01507"]
    assert {link[1:] for link in found.links if link.startswith("#")} <= set(found.ids)
    assert len(found.ids) == len(set(found.ids))
    assert "`" not in found.said


def test_columns_sort_by_mouse_and_by_keyboard(opened):
    as_it_was = opened.run(FIRST)
    opened.click(f"{TABLE} th:nth-child(2) button")
    assert opened.run(FIRST)[0] == "squeeze of another image"
    assert opened.run(FIRST)[-1] == "no SE, width x 0.5"
    head = f"document.querySelector(\"{TABLE} th:nth-child(2)\").getAttribute('aria-sort')"
    assert opened.run(head) == "ascending"
    opened.run(f'document.querySelector("{TABLE} th:nth-child(2) button").focus()')
    opened.press("Enter")
    assert opened.run(head) == "descending" and opened.run(FIRST)[0] == "no SE, width x 0.5"
    opened.press(" ")
    assert opened.run(head) == "none" and opened.run(FIRST) == as_it_was


def test_holes_stand_last_whichever_way_a_column_is_sorted(opened):
    for _ in range(2):
        opened.click(f"{TABLE} th:nth-child(3) button")
        assert opened.run(FIRST)[-1] == "SE"  # the reference, which has no difference


def test_an_address_of_another_page_does_no_harm_and_a_new_one_is_followed(opened, page):
    opened.go(page, f"#{CONTROL}.sort=99")
    assert opened.errors == [] and opened.run("window.report.isDrawn() !== undefined")
    opened.run(f"location.hash = '{CONTROL}.sort=2'")
    opened.wait(f"window.report && {FIRST}[0] === 'squeeze of another image'")


def test_a_chip_of_the_strip_leads_to_its_claim(opened):
    width = "document.querySelector('.strip .hidden').getBoundingClientRect().width"
    assert opened.run(width) <= 1  # for screen readers alone
    claim = "document.querySelector(document.querySelector('.strip li:nth-child(3) a').hash)"
    assert not opened.run(f"{claim}.closest('details').open")
    opened.click(".strip li:nth-child(3) a")
    opened.wait(f"{claim}.closest('details').open")
    opened.wait(f"Math.abs({claim}.getBoundingClientRect().top) < innerHeight")


def test_rows_are_filtered_by_words(opened):
    field = f"document.querySelector('#{CONTROL} input[type=search]')"
    opened.run(f"{field}.value = 'ANOTHER of'; {field}.dispatchEvent(new Event('input'))")
    assert opened.run(FIRST) == ["squeeze of another image"]
    assert "1 of 9 rows" in opened.run(f"document.getElementById('{CONTROL}').innerText")


def test_a_row_shows_its_seeds_its_interval_and_its_command_and_opens_its_record(opened):
    opened.hover(f"{TABLE} tr[data-row='SE'] td:nth-child(2)")
    said = shown(opened)
    [study] = [one for one in find_studies(HOME) if one.name == CONTROL]
    assert all(f"{error:.2f}" in said for error in study.errors("SE"))
    mean, half = study.pool.mean(study.cells["SE"])
    assert f"{mean - half:.2f} to {mean + half:.2f}" in said and "make ablation-control" in said
    opened.run(f"document.querySelector(\"{TABLE} tr[data-row='static gate'] button\").focus()")
    opened.press("Enter")
    record = opened.run("document.querySelector('dialog[open]').innerText")
    assert "static" in record and "se.excitation" in record and "seed 2: done" in record
    links = opened.run(
        "[...document.querySelectorAll('dialog a')].map(a => a.getAttribute('href'))"
    )
    assert len(links) == 3 and all((HOME / link).exists() for link in links)
    opened.press("Escape")
    assert opened.run("document.querySelector('dialog[open]')") is None


def test_a_mark_of_a_chart_shows_the_same_and_opens_the_record(opened):
    opened.run(f"document.getElementById('{CONTROL}').scrollIntoView()")
    chart = f"#{CONTROL} figure .chart"
    opened.wait(f"document.querySelector('{chart} svg') && report.isDrawn()")
    opened.hover(f"{chart} .mark-symbol[role='graphics-symbol'] path, {chart} .mark-symbol path")
    assert "its 3 seeds" in shown(opened)
    opened.click(f"{chart} .mark-symbol path")
    assert opened.run("document.querySelector('dialog[open]') !== null")


def test_the_legend_hides_rows_and_the_address_keeps_the_view(opened, page):
    opened.run(f"document.getElementById('{CONTROL}').scrollIntoView()")
    opened.wait(f"document.querySelector('#{CONTROL} figure svg') && report.isDrawn()")
    labels = f"[...document.querySelectorAll('#{CONTROL} figure svg text')].map(t => t.textContent)"
    assert "no SE, width x 0.5" in opened.run(labels)
    opened.click(f"#{CONTROL} .legend button:nth-child(6)")
    opened.click(f"{TABLE} th:nth-child(2) button")
    opened.wait("report.isDrawn()")
    assert "no SE, width x 0.5" not in opened.run(labels)
    fragment = opened.run("location.hash")
    opened.go(page, fragment)
    opened.run(f"document.getElementById('{CONTROL}').scrollIntoView()")
    opened.wait(f"document.querySelector('#{CONTROL} figure svg') && report.isDrawn()")
    assert "no SE, width x 0.5" not in opened.run(labels)
    assert opened.run(FIRST)[0] == "squeeze of another image"
    pressed = f"document.querySelector('#{CONTROL} .legend button:nth-child(6)')"
    assert opened.run(f"{pressed}.getAttribute('aria-pressed')") == "false"


@pytest.mark.parametrize(
    ("chart", "study", "starts", "ends"),
    [("errors", CONTROL, "Dot plot of the test error of 9 networks", "no SE, width x 1.25"),
     ("ratio", RATIO, "Test error against the reduction ratio r: r = 2 26.16 %", "gate fixed at 1/2"),
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


def drawn(tab: Tab) -> list[dict]:
    """What the explorer's chart is made of."""
    tab.wait("report.isDrawn()")
    rows = "[...report.views].find(([e]) => e.dataset.chart === 'gates')[1].view.data('rows')"
    return tab.run(f"{rows}.map(({{name, place, mean, low}}) => ({{name, place, mean, low}}))")


def test_the_explorer_shows_the_gates_that_the_records_hold(opened):
    groups = by_group(find_studies(HOME)).values()
    networks = gate_data.networks([study for studies in groups for study in studies])
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


def test_the_explorer_opens_the_block_that_the_caption_names(opened):
    explorer = "document.querySelector('form.explorer')"
    caption = f"{explorer}.parentElement.querySelector('figcaption').textContent"
    [named] = re.findall(r"Classes lie farthest apart in (\w+):", opened.run(caption))
    assert opened.run(f"{explorer}.elements.block.selectedOptions[0].textContent") == named


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_phone_scrolls_down_only(tab, page, scheme):
    tab.size(375, 812)
    tab.media(scheme)
    tab.go(page)
    tab.run("document.querySelectorAll('details').forEach(d => { d.open = true; })")
    tab.run("new Promise(done => requestAnimationFrame(() => setTimeout(done, 50)))")
    tab.wait("report.isDrawn()")
    assert len(set(tab.run(WIDTHS))) == 1
    stays = f"""(() => {{ const head = document.querySelector("{TABLE} tbody th");
        const before = head.getBoundingClientRect().left;
        head.closest('.wide').scrollLeft = 120;
        return [before, head.getBoundingClientRect().left]; }})()"""
    before, after = tab.run(stays)
    assert before == after  # the first column
    ground = tab.run("getComputedStyle(document.body).backgroundColor")
    assert (ground == "rgb(255, 255, 255)") == (scheme == "light")


def test_without_scripts_and_on_paper_it_is_read(tab, page):
    tab.size(1440, 900)
    tab.media()
    tab.without_scripts()
    try:
        tab.call("Page.navigate", url=page.as_uri())
        tab.wait("document.readyState == 'complete'")
        seen = tab.run(
            "[...document.images].map(i => [i.alt.length, i.getBoundingClientRect().width])"
        )
        assert len(seen) >= 8 and all(length > 40 and width > 300 for length, width in seen)
        assert not tab.run(
            "[...document.querySelectorAll('.needs-scripts')].some(e => e.offsetWidth)"
        )
        said = tab.run("document.body.innerText")
        assert "Found" in said and "+5.02 [+3.97, +6.06]" in said
    finally:
        tab.without_scripts(False)
    tab.go(page)
    tab.media(kind="print")
    tab.wait("report.isDrawn()")
    assert tab.run("[...document.images].every(i => getComputedStyle(i).display != 'none')")
    assert not tab.run("[...document.querySelectorAll('.chart')].some(e => e.offsetWidth)")


def test_a_script_in_a_label_stays_text(tab, tmp_path):
    shutil.copytree(RECORDS, tmp_path / "results")
    for path in (tmp_path / "results/studies").glob("*.json"):
        study = json.loads(path.read_text())
        if study["grid"] != "squeeze":
            path.unlink()
            continue
        study["rows"][-1]["label"] = EVIL
        path.write_text(json.dumps(study | {"title": EVIL, "about": EVIL}))
    studies = find_studies(tmp_path / "results")
    page = tmp_path / "report.html"
    page.write_text(report.render(studies, []))
    tab.size(1440, 900)
    tab.media()
    tab.errors.clear()
    tab.go(page)
    tab.run("document.querySelectorAll('details').forEach(d => { d.open = true; })")
    tab.hover("table[data-study] tbody tr:last-child td")
    assert EVIL in shown(tab)
    tab.click("table[data-study] tbody tr:last-child button")
    assert EVIL in tab.run("document.querySelector('dialog[open]').innerText")
    assert EVIL in tab.run(
        "document.querySelector('.legend')?.innerText ?? document.body.innerText"
    )
    assert tab.run("document.title") == "Squeeze-and-Excitation, ablated" and tab.errors == []
