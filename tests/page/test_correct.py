"""Lines corrected in a browser: by mouse, keyboard and finger; kept, exported, taken back, recognised again."""

from __future__ import annotations

import json
import re
import signal
from pathlib import Path

import pytest
from conftest import EXAMPLE, serving, wait_until_ready

from asr_app.formats import WRITERS
from asr_app.scoring import score

pytestmark = [pytest.mark.browser, pytest.mark.models]
CLIP = "english-home.flac"


def run(page, name: str = CLIP) -> None:
    page.set_input_files("#upload input[type=file]", str(EXAMPLE / name))
    page.wait_for_selector("#upload .file-preview")
    page.click("#transcribe")
    shown(page)


def shown(page) -> None:
    """Waits for the result with its lines, which can be corrected then."""
    page.wait_for_selector(".card")
    page.wait_for_selector("#corrections .changes")


def said(page, line: int) -> str:
    return page.locator(".segment .words").nth(line).text_content()


def is_said(page, line: int, text: str) -> None:
    page.wait_for_function(
        "([line, text]) => document.querySelectorAll('.segment .words')[line]?.textContent === text", arg=[line, text]
    )


def correct(page, line: int, text: str) -> None:
    page.locator(".segment .said").nth(line).click()
    page.fill(".segment textarea", text)
    page.keyboard.press("Enter")
    is_said(page, line, text)
    page.wait_for_selector(".segment textarea", state="detached")


def exported(page, format: str) -> str:
    return page.evaluate(
        "async (at) => (await fetch(at)).text()", page.get_attribute("#download-txt", "href")[:-3] + format
    )


def tallied(page) -> list[list[str]]:
    rows = page.locator("#tally tbody tr")
    return [row.locator("th, td").all_inner_texts() for row in rows.all()]


@pytest.fixture
def address(tmp_path):
    """A server of its own: figures are of all that was corrected on it."""
    with serving(tmp_path / "home") as (address, _):
        yield address


def test_a_line_is_corrected_exported_measured_and_taken_back(address, open_page):
    page = open_page(address)
    run(page)
    before = [said(page, i) for i in range(page.locator(".segment").count())]
    assert len(before) > 1
    assert page.locator("#undo").count() == 0
    correct(page, 1, "Turn off the light <now> & --> then.")
    for format in WRITERS:
        found = re.sub(r"<[\d:.]+>", "", exported(page, format))  # vtt-words has times between the words
        assert "urn off the light" in found
        assert before[1] not in found.replace(json.dumps(before[1]), "")
    (change,) = [s["change"] for s in json.loads(exported(page, "json"))["segments"] if "change" in s]
    assert change == {"kind": "corrected", "model_said": before[1]}
    page.click("#copy")
    assert "Turn off the light <now> & --> then." in page.evaluate("navigator.clipboard.readText()")
    page.wait_for_selector("#tally tbody tr")
    expected = score([("Turn off the light <now> & --> then.", before[1])])
    right = expected.units - expected.substitutions - expected.deletions
    assert [row[1:] for row in tallied(page)] == [[f"{expected.rate:.2%}", f"{right} of {expected.units}", "1"]]
    # A line that is right counts as well.
    page.locator(".segment .right").first.click()
    page.wait_for_selector(".segment .right[aria-pressed=true]")
    both = score([("Turn off the light <now> & --> then.", before[1]), (before[0], before[0])])
    page.wait_for_function("() => document.querySelector('#tally tbody td:last-child')?.textContent === '2'")
    assert tallied(page)[0][1] == f"{both.rate:.2%}"
    assert page.inner_text("#corrections [role=status]") == "corrected: 1, marked right: 1"
    page.locator(".segment .right").first.click()  # pressed once more, it is taken back
    page.wait_for_selector(".segment .right[aria-pressed=true]", state="detached")
    correct(page, 1, "Turn on the lights.")
    correct(page, 0, "Another line.")
    page.click("#undo")
    is_said(page, 0, before[0])
    page.locator("h1").click()
    page.keyboard.press("Control+z")
    is_said(page, 1, "Turn off the light <now> & --> then.")
    page.click("#undo")
    is_said(page, 1, before[1])
    page.wait_for_selector("#undo", state="detached")
    page.wait_for_selector("#tally table", state="detached")
    assert not page.console_errors


def test_corrections_survive_a_reload_and_a_killed_server_and_go_with_the_job(open_page, tmp_path):
    home = tmp_path / "home"
    with serving(home) as (address, process):
        page = open_page(address)
        run(page)
        correct(page, 0, "Kept.")
        page.reload()
        wait_until_ready(page)
        shown(page)
        assert said(page, 0) == "Kept."
        page.evaluate("window.before = true")
        process.send_signal(signal.SIGKILL)
        process.wait()
    with serving(home, port=int(address.rsplit(":", 1)[1].strip("/"))):
        # The open page loads itself anew.
        page.wait_for_function(
            "() => !window.before && document.querySelector('.segment .words')?.textContent === 'Kept.'"
        )
        page.wait_for_selector("#tally tbody tr")
        page.wait_for_selector("#undo")
        page.click("#jobs .remove")
        page.click("#jobs .remove.sure")
        page.wait_for_selector("#undo", state="detached")
        page.wait_for_selector("#tally table", state="detached")


def test_the_keyboard_is_enough(server, open_page):
    page = open_page(server)
    run(page)
    before = said(page, 0)
    line = page.locator(".segment .said").first
    line.focus()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowUp")
    assert page.evaluate("document.activeElement === document.querySelector('.segment .said')")
    page.keyboard.press("Enter")
    field = page.get_by_role("textbox", name="What is really said")
    assert field.input_value() == before
    field.fill("left alone")
    page.keyboard.press("Escape")
    assert said(page, 0) == before
    assert page.evaluate("document.activeElement === document.querySelector('.segment .said')")
    page.keyboard.press("Enter")
    field.fill("你好")
    # Enter picks a word of an input method, and does not save.
    page.evaluate(
        "() => document.activeElement.dispatchEvent(new KeyboardEvent('keydown', "
        "{ key: 'Enter', isComposing: true, bubbles: true, cancelable: true }))"
    )
    assert field.count() == 1
    page.keyboard.press("Enter")
    is_said(page, 0, "你好")
    page.wait_for_function("() => document.activeElement === document.querySelector('.segment .said')")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")  # the menu
    page.wait_for_selector(".segment .menu")
    page.keyboard.press("Escape")
    page.wait_for_selector(".segment .menu", state="detached")
    # What a screen reader is told.
    assert page.get_by_role("button", name=f"Corrected. The model had said: {before}").count() == 0
    assert page.get_by_role("img", name=f"Corrected. The model had said: {before}").count() == 1
    assert page.get_by_role("button", name="Right as it is").count() > 0


def test_a_click_begins_at_the_letter_and_a_selection_does_not(server, open_page):
    page = open_page(server)
    run(page)
    words = page.locator(".segment .words").first
    box = words.bounding_box()
    page.mouse.click(box["x"] + 2, box["y"] + box["height"] / 2)
    assert page.evaluate("document.querySelector('textarea:focus').selectionStart") == 0
    page.keyboard.press("Escape")
    words.dblclick(position={"x": 10, "y": 8})
    page.keyboard.press("Escape")
    page.mouse.move(box["x"] + 2, box["y"] + 8)
    page.mouse.down()
    page.mouse.move(box["x"] + 60, box["y"] + 8, steps=4)
    page.mouse.up()
    assert page.locator(".segment.editing").count() == 0
    assert page.evaluate("getSelection().toString().length") > 2


def test_the_later_of_two_windows_is_told_and_nothing_is_lost(server, open_page):
    first = open_page(server)
    run(first)
    second = first.context.new_page()
    second.set_default_timeout(60_000)
    second.goto(server)
    wait_until_ready(second)
    shown(second)
    second.locator(".segment .said").first.click()
    second.fill(".segment textarea", "from the second window")
    correct(first, 0, "from <b>the</b> first")
    second.keyboard.press("Enter")
    second.wait_for_selector(".segment .said-elsewhere:not([hidden])")
    assert "from <b>the</b> first" in second.inner_text(".segment .said-elsewhere")
    assert second.input_value(".segment textarea") == "from the second window"
    second.keyboard.press("Enter")
    is_said(second, 0, "from the second window")
    second.click("#undo")
    is_said(second, 0, "from <b>the</b> first")
    first.evaluate("window.dispatchEvent(new Event('focus'))")
    # The first window has the number of its own change still, which is the last one again.
    first.click("#undo")
    first.wait_for_selector("#undo", state="detached")


def test_a_window_that_is_looked_at_again_shows_what_another_one_changed(server, open_page):
    first = open_page(server)
    run(first)
    second = first.context.new_page()
    second.set_default_timeout(60_000)
    second.goto(server)
    wait_until_ready(second)
    shown(second)
    correct(second, 1, "changed elsewhere")
    first.evaluate("window.dispatchEvent(new Event('focus'))")
    is_said(first, 1, "changed elsewhere")


def test_a_line_is_recognised_again_and_marked_as_a_models(server, open_page):
    page = open_page(server)
    page.check("#lite input")
    run(page)
    before = said(page, 0)
    correct(page, 0, "something else")
    page.locator(".segment .more").first.click()
    page.wait_for_selector(".segment .menu")
    assert before in page.inner_text(".segment .menu p")
    options = page.locator(".segment .menu option").all_inner_texts()
    assert options[0] == "Demo Paraformer · FP32"
    assert "Demo Paraformer · INT8" not in options  # its own
    page.click(".segment .menu [data-action=redo]")
    page.reload()  # the job goes on
    wait_until_ready(page)
    shown(page)
    page.wait_for_selector(".segment .mark.redone")
    assert score([(before, said(page, 0))]).rate < 0.5
    label = page.get_attribute(".segment .mark.redone", "aria-label")
    assert label == f"Recognised again by demo-paraformer FP32. Before: {before}"
    page.click("#undo")
    is_said(page, 0, "something else")
    page.locator(".segment .more").first.click()
    page.click(".segment .menu [data-action=put_back]")
    is_said(page, 0, before)
    assert not page.console_errors


def test_a_phone_in_chinese(server, open_page, tmp_path: Path):
    page = open_page(server, locale="zh-CN", viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True)
    run(page, "mandarin-home.wav")
    page.locator(".segment .said").first.tap()
    page.fill(".segment textarea", "今天天气真的非常好，我们一起出去走走吧。")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    page.get_by_role("button", name="保存").tap()
    is_said(page, 0, "今天天气真的非常好，我们一起出去走走吧。")
    page.locator(".segment .right").first.tap()
    page.wait_for_selector("#tally tbody tr")
    page.wait_for_selector(".segment .right[aria-pressed=true]")
    assert "本机" in page.inner_text("#tally h3")
    page.locator(".segment .more").first.tap()
    page.wait_for_selector(".segment .menu")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    for button in page.locator(".segment .tools button").all():
        box = button.bounding_box()
        assert min(box["width"], box["height"]) >= 40
    page.get_by_label("English").check()
    page.wait_for_function("() => document.querySelector('#tally h3')?.textContent.startsWith('Error on')")
    is_said(page, 0, "今天天气真的非常好，我们一起出去走走吧。")
    assert not page.console_errors
