"""report.html as its reader meets it: opened from the disk by a real browser that reaches nothing else."""

from __future__ import annotations

import base64
import colorsys
from collections.abc import Iterator
from pathlib import Path

import pytest
from selenium.webdriver import Chrome, Keys
from selenium.webdriver.common.by import By
from tests.integration.browser import NEEDS, address, browser, complaints
from tests.support.reports import CRITERIA, EVALUATION, QUOTE, STUDY, page

from thriftune.reports.charts import Axis

pytestmark = [pytest.mark.integration, NEEDS]
TRIALS = 1000


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of a thousand trials, twelve parameters, and long quotations."""
    trials = [
        {"trial": n, "state": "complete", "value": (n * 37 % 997) / 1000, "epochs": 9, "seconds": 3.5}
        for n in range(TRIALS)
    ]
    axes = [
        Axis(f"section{a}.parameter_{a}", [1 + (n * (a + 3)) % 101 for n in range(TRIALS)]) for a in range(12)
    ]
    ends = [(n, 10**6 * (n + 1)) for n in range(TRIALS)]
    text = page(
        study=STUDY | {"trials": trials},
        axes=axes,
        examples=[QUOTE] * 27,
        bytes_held={
            "held": [(n, 10**7) for n in range(TRIALS)],
            "budget": ends[:1] + ends[-1:],
            "keep-all": ends,
        },
        curves={n: [(e, 0.1 * e) for e in range(1, 10)] for n in range(5)},
    )
    path = tmp_path_factory.mktemp("report") / "report.html"
    path.write_text(text, encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def opened(large: Path) -> Iterator[Chrome]:
    """One browser for the tests of this file; each opens the page anew."""
    with browser() as driver:
        driver.get(address(large))
        yield driver


def test_a_thousand_trials_are_a_small_page_without_a_complaint(large: Path, opened: Chrome) -> None:
    """Under 5 MB, and not many elements: both make a page slow. Nothing but the page is asked for."""
    assert large.stat().st_size < 5_000_000
    opened.get(address(large))
    assert opened.execute_script("return document.querySelectorAll('*').length") < 15_000
    assert complaints(opened) == []
    assert opened.execute_script("return performance.getEntriesByType('resource').length") == 0
    assert len(opened.find_elements(By.TAG_NAME, "svg")) == 6
    assert opened.find_element(By.TAG_NAME, "details").get_attribute("open") is None


def test_highlights_are_switched_by_keyboard_and_mouse(large: Path, opened: Chrome) -> None:
    """Tab goes from switch to switch; space turns marks off and on, a click on the label hides the posts."""
    opened.get(address(large))
    mark = opened.find_element(By.CSS_SELECTOR, "blockquote mark.missed")

    def shown() -> str:
        return mark.value_of_css_property("background-color")

    on = shown()
    opened.find_element(By.ID, "show-found").send_keys(Keys.TAB)
    focused = opened.switch_to.active_element
    assert focused.get_attribute("id") == "show-missed"
    focused.send_keys(Keys.SPACE)
    assert shown() == "rgba(0, 0, 0, 0)" != on
    assert "low today" in mark.text
    focused.send_keys(Keys.SPACE)
    assert shown() == on
    opened.find_element(By.CSS_SELECTOR, "label[for=show-quotes]").click()
    assert not mark.is_displayed()


def test_the_table_of_trials_opens_by_keyboard(large: Path, opened: Chrome) -> None:
    """All of them, once asked for."""
    opened.get(address(large))
    opened.find_element(By.TAG_NAME, "summary").send_keys(Keys.ENTER)
    assert len(opened.find_elements(By.CSS_SELECTOR, "details tr")) == TRIALS + 1


def test_a_screen_reader_meets_names_and_an_order(large: Path, opened: Chrome) -> None:
    """From the browser's accessibility tree: one title, headings, pictures with names, switches with labels,
    header cells, and what kind of evidence a mark is."""
    opened.get(address(large))
    tree = opened.execute_cdp_cmd("Accessibility.getFullAXTree", {})["nodes"]
    nodes = [
        (node["role"]["value"], node.get("name", {}).get("value", "")) for node in tree if not node["ignored"]
    ]
    names = {role: [name for own, name in nodes if own == role] for role, _ in nodes}
    assert names["heading"][0] == "sample"
    assert "The answer" in names["heading"][1]
    pictures = names.get("image", []) + names.get("img", [])
    assert len(pictures) == 6
    assert all(pictures)
    assert [name.strip() for name in names["checkbox"]] == [
        "show posts",
        "found",
        "missed",
        "marked, not annotated",
    ]
    assert set(CRITERIA) <= set(names["rowheader"])
    assert "[missed:" in " ".join(names["StaticText"])
    assert names["main"]


@pytest.mark.parametrize("width", [1100, 390])
def test_nothing_runs_out_of_the_page(large: Path, width: int) -> None:
    """On a desk and on a telephone; what is wider scrolls in its own frame."""
    with browser(width) as driver:
        driver.get(address(large))
        assert driver.execute_script("return document.documentElement.scrollWidth") <= width
        assert complaints(driver) == []


def lightness(colour: str) -> float:
    """Of rgb(r, g, b) or rgba."""
    red, green, blue = (float(part) / 255 for part in colour[colour.index("(") + 1 : -1].split(",")[:3])
    return colorsys.rgb_to_hls(red, green, blue)[1]


@pytest.mark.parametrize("dark", [False, True])
def test_text_stands_out_in_light_and_dark(large: Path, dark: bool) -> None:
    """Page, quotations, marks, small print and the charts' text."""
    with browser(dark=dark) as driver:
        driver.get(address(large))
        page_colour = lightness(
            driver.find_element(By.TAG_NAME, "body").value_of_css_property("background-color")
        )
        assert (page_colour < 0.2) is dark
        for selector, key in [
            ("h1", "color"),
            ("small", "color"),
            ("figcaption", "color"),
            ("svg text", "fill"),
        ]:
            text = lightness(driver.find_element(By.CSS_SELECTOR, selector).value_of_css_property(key))
            assert abs(text - page_colour) > 0.4, selector
        for kind in ("found", "missed", "extra"):
            mark = driver.find_element(By.CSS_SELECTOR, f"mark.{kind}")
            behind = lightness(mark.value_of_css_property("background-color"))
            assert abs(lightness(mark.value_of_css_property("color")) - behind) > 0.4, kind


def test_it_prints_on_few_pages_without_the_switches(large: Path) -> None:
    """In light colours, also where the screen is dark; closed tables stay closed."""
    with browser(dark=True) as driver:
        driver.get(address(large))
        driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
        assert driver.find_element(By.TAG_NAME, "body").value_of_css_property("background-color") == (
            "rgba(255, 255, 255, 1)"
        )
        assert not driver.find_element(By.CSS_SELECTOR, "label.switches").is_displayed()
        paper = driver.execute_cdp_cmd("Page.printToPDF", {"printBackground": False})
    content = base64.b64decode(paper["data"])
    assert content.startswith(b"%PDF")
    assert 3 <= content.count(b"/Type /Page\n") <= 15


def test_what_is_written_into_it_is_text(tmp_path: Path) -> None:
    """A criterion, a warning and a post that hold markup."""
    evil = "<img src=x onerror=document.title='taken'>"
    path = tmp_path / "report.html"
    path.write_text(page(evaluation=EVALUATION | {"warnings": [evil]}), encoding="utf-8")
    with browser() as driver:
        driver.get(address(path))
        assert driver.title.startswith("sample")
        assert driver.find_elements(By.TAG_NAME, "img") == []
        assert evil in driver.find_element(By.TAG_NAME, "body").text
