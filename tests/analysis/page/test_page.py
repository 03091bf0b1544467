"""The page in a real browser: sorted, filtered, hidden, linked to, on a phone, without scripts."""

import json
import re
import shutil

import pytest
from browser import IN_BROWSER, Tab
from conftest import RECORDS
from opened import CONTROL, HOME, opened, page, tab
from page import Page

from analysis.page import report
from analysis.read import find_studies
from analysis.statistics.claims import list_claims
from analysis.statistics.verdicts import judge

pytestmark = IN_BROWSER
LIMIT = 3 * 1024 * 1024  # bytes of the page
EVIL = "</script><script>document.title='owned'</script>"
TABLE = f"table[data-name='{CONTROL}']"
FIRST = f'[...document.querySelectorAll("{TABLE} tbody tr:not([hidden])")].map(r => r.dataset.row)'
WIDTHS = "[document.documentElement.scrollWidth, document.body.scrollWidth, innerWidth]"
__all__ = ["opened", "page", "tab"]  # fixtures


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
    of_walk = found.said.split("One image through one block: SE")[1].split("Picture")[0]
    assert "the record kept this block's maps" in of_walk  # also of a figure that is linked alone


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
    opened.wait("window.report !== undefined")
    assert opened.errors == []
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


def test_the_strip_names_each_claim_in_a_few_words(opened):
    chips = "[...document.querySelectorAll('.strip a')].map(a => a.firstChild.textContent)"
    judged = {verdict.claim.short for verdict in judge(find_studies(HOME))}
    assert set(opened.run(chips)) == judged and all(re.search("[a-z]{2}", one) for one in judged)
    assert len({claim.short for claim in list_claims()}) == len(list_claims())


@pytest.mark.parametrize(("width", "is_open"), [(1440, True), (375, False)])
def test_the_contents_are_open_where_there_is_room_beside_the_page(tab, page, width, is_open):
    tab.size(width, 900)
    tab.go(page)
    assert tab.run("document.querySelector('nav.contents details').open") == is_open


def test_only_tables_of_numbers_are_sorted_and_an_arrow_stays_with_its_word(opened):
    tables = "[...document.querySelectorAll('table')].filter(t => t.querySelector('button.sort'))"
    heads = opened.run(f"{tables}.map(t => t.tHead.textContent)")
    assert len(heads) > 10 and "whatvalue" not in heads
    after = f"getComputedStyle({tables}[0].querySelector('button'), '::after').content"
    assert opened.run(after) == '"\xa0↕"'


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
    hidden = "[...document.querySelectorAll('.chart, .needs-scripts')].some(e => e.offsetWidth)"
    assert not tab.run(hidden)


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
