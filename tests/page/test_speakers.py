"""Speakers in a browser: chosen, shown, renamed by mouse, keyboard and finger, exported, taken back."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from conftest import EXAMPLE, serving, wait_until_ready

sys.path.insert(0, str(Path(__file__).parent.parent / "speakers"))
from weights import model_with_speakers

pytestmark = [pytest.mark.browser, pytest.mark.models]
PHONE = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True}


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    """A server whose model brings a speaker model with random weights."""
    folder = model_with_speakers(tmp_path_factory.mktemp("models") / "demo-with-speakers")
    with serving(tmp_path_factory.mktemp("home"), model=str(folder)) as (address, _):
        yield address


def choose(page, said: str) -> None:
    """Picks the option of speakers, which stands under the advanced ones."""
    page.get_by_text("Advanced", exact=True).click()
    page.locator("#speakers-option input").click()
    page.get_by_role("option", name=said, exact=True).click()


def run(page, said: str = "told apart, 2 people") -> None:
    choose(page, said)
    page.set_input_files("#upload input[type=file]", str(EXAMPLE / "mandarin-home.wav"))
    page.wait_for_selector("#upload .file-preview")
    page.click("#transcribe")
    page.wait_for_selector(".card")
    page.wait_for_selector("#speakers .chip")


def chips(page) -> list[str]:
    return page.locator("#speakers .chip").all_inner_texts()


def exported(page, format: str) -> str:
    return page.evaluate("async (at) => (await fetch(at)).text()", page.get_attribute(f"#download-{format}", "href"))


def test_speakers_are_told_apart_renamed_and_exported(address, open_page):
    page = open_page(address)
    run(page)
    assert chips(page) == ["S1", "S2"]
    labels = page.locator(".segment .speaker").all_inner_texts()
    assert set(labels) == {"S1", "S2"}
    assert len(labels) == page.locator(".segment").count()
    assert "2 (CAM++, FP32, 28 MB)" in page.inner_text(".card")
    assert page.locator(".stages i.speakers").count() == 1

    page.locator("#speakers .chip").first.click()
    page.keyboard.type("Anna")
    page.keyboard.press("Enter")
    page.wait_for_function("() => document.querySelector('.segment .speaker[data-speaker=S1]').textContent === 'Anna'")
    assert chips(page) == ["Anna", "S2"]
    assert page.evaluate("() => document.activeElement.dataset.speaker") == "S1"
    assert "speakers named: 1" in page.inner_text("#corrections")
    assert "Anna: " in exported(page, "txt")
    assert "<v Anna>" in exported(page, "vtt")
    assert json.loads(exported(page, "json"))["speakers"]["names"] == {"S1": "Anna"}
    page.click("#copy")
    assert "Anna: " in page.evaluate("() => navigator.clipboard.readText()")

    page.reload()  # it is kept with the job
    wait_until_ready(page)
    page.wait_for_selector("#speakers .chip")
    assert chips(page) == ["Anna", "S2"]
    assert "Anna" in page.locator(".segment .speaker").all_inner_texts()

    page.locator("#speakers .chip").nth(1).focus()  # by keyboard alone
    page.keyboard.press("Enter")
    page.keyboard.type("<b>Bob</b>")
    page.keyboard.press("Escape")
    assert chips(page) == ["Anna", "S2"]
    page.keyboard.press("Enter")
    page.keyboard.type("<b>Bob</b>")
    page.keyboard.press("Enter")
    page.wait_for_function("() => document.querySelectorAll('#speakers .chip')[1]?.textContent === '<b>Bob</b>'")
    page.click("#undo")
    page.wait_for_function("() => document.querySelectorAll('#speakers .chip')[1]?.textContent === 'S2'")
    assert page.console_errors == []


def test_a_phone_in_chinese(address, open_page):
    page = open_page(address, locale="zh-CN", **PHONE)
    page.get_by_text("高级选项", exact=True).tap()
    page.locator("#speakers-option input").tap()
    page.get_by_role("option", name="区分，人数自动判断", exact=True).tap()
    page.set_input_files("#upload input[type=file]", str(EXAMPLE / "mandarin-home.wav"))
    page.wait_for_selector("#upload .file-preview")
    page.tap("#transcribe")
    page.wait_for_selector("#speakers .chip")
    page.locator("#speakers .chip").first.tap()
    page.keyboard.insert_text("一位名字特别特别特别长的王女士和她的同事们")
    page.keyboard.press("Enter")
    page.wait_for_function("() => document.querySelector('.segment .speaker').textContent.startsWith('一位名字')")
    assert "已命名 1 位说话人" in page.inner_text("#corrections")
    assert page.evaluate("() => document.documentElement.scrollWidth") <= 390
    chip = page.locator("#speakers .chip").first.bounding_box()
    assert chip["height"] >= 40
