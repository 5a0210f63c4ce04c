"""The Compare tab in a browser: real weights beside damaged ones on real speech, judged by a script that knows the text."""

from __future__ import annotations

import re
from pathlib import Path

import jiwer
import numpy as np
import pytest
import soundfile
from conftest import DATA, EXAMPLE, serving, wait_until_ready

from asr_app.audio import decode
from asr_app.scoring import normalise

pytestmark = pytest.mark.browser
JFK = "And so my fellow Americans, ask not what your country can do for you, ask what you can do for your country."


def choose(page, *names: str) -> None:
    """Makes these the arms, in this order."""
    page.click("#compare-arms .remove-all")
    box = page.locator("#compare-arms input")
    for name in names:
        box.click()
        box.fill(name)
        page.get_by_role("option", name=name, exact=True).click()
    page.keyboard.press("Escape")


def give(page, path: Path) -> None:
    page.get_by_role("tab", name="Compare").click()
    page.set_input_files("#compare-upload input[type=file]", path)
    page.wait_for_selector("#compare-upload .file-preview")


def figure(page, arm: str, head: str) -> str:
    card = page.locator("#comparison .card.arm").filter(has=page.get_by_role("heading", name=arm, exact=True))
    return card.locator("div", has=page.locator("dt", has_text=head)).locator("dd").last.inner_text()


def judge(page, reference: str) -> int:
    """Votes for the side that is nearer to the reference. Returns the number of places."""
    title = page.locator("#comparison .judge h3")
    words = normalise(reference)
    for n in range(1, 11):
        page.wait_for_function(
            "n => document.querySelector('#comparison .summary') || "
            "document.querySelector('#comparison .judge h3')?.textContent.includes(` ${n} of`)",
            arg=n,
        )
        if not title.count():
            return n - 1
        sides = [normalise(text) for text in page.locator("#comparison .side p").all_inner_texts()]
        wrong = [jiwer.process_words(" ".join(words), " ".join(said)).hits for said in sides]
        page.locator("#comparison .side .vote").nth(int(wrong[1] > wrong[0])).click()
    page.wait_for_selector("#comparison .summary")
    return 10


@pytest.mark.models
def test_both_sides_of_the_switch_are_compared_from_a_result(server, open_page):
    page = open_page(server)
    page.set_input_files("#upload input[type=file]", EXAMPLE / "english-home.flac")
    page.wait_for_selector("#upload .file-preview")
    page.click("#transcribe")
    page.click("#compare-here")
    page.wait_for_selector("#comparison .summary")
    assert page.get_by_role("tab", name="Compare").get_attribute("aria-selected") == "true"
    said = page.inner_text("#comparison .summary")
    assert re.search(r"INT8 (differs from FP32 in \d+ of|has every one of the) ", said), said
    assert figure(page, "INT8", "On disk").endswith("MB")
    assert float(figure(page, "FP32", "Real-time factor")) > 0
    page.get_by_label("中文").check()
    page.wait_for_function(
        "() => document.querySelector('#comparison .summary').textContent.includes('字') || document.querySelector('#comparison .summary').textContent.includes('词')"
    )
    assert page.inner_text("#comparisons h3") == "以往的对比"
    page.set_viewport_size({"width": 390, "height": 844})
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    page.reload()
    wait_until_ready(page)
    page.get_by_role("tab", name="对比").click()
    page.wait_for_selector("#comparison .summary")
    page.click("#comparisons .remove")
    page.click("#comparisons .remove.sure")
    page.wait_for_selector("#comparison .empty")
    page.wait_for_selector("#comparisons", state="hidden")
    assert page.inner_text("#comparison .empty").startswith("请上传录音")
    assert not page.console_errors


@pytest.mark.models
def test_what_cannot_be_compared_is_said(server, open_page, tmp_path):
    page = open_page(server)
    page.get_by_role("tab", name="Compare").click()
    page.click("#compare-start")
    page.wait_for_selector("#compare-refusal .notice")
    give(page, EXAMPLE / "english-home.flac")
    choose(page, "Demo Paraformer · FP32")
    page.click("#compare-start")
    page.wait_for_function("() => document.querySelector('#compare-refusal').textContent.includes('2 to 4')")
    page.reload()
    wait_until_ready(page)
    (tmp_path / "no.wav").write_bytes(b"RIFF nothing of the kind")
    give(page, tmp_path / "no.wav")
    page.click("#compare-start")
    page.wait_for_selector("#compare-progress .notice.bad")
    page.wait_for_selector("#comparison .empty")
    assert "nothing to compare" in page.inner_text("#comparison")


@pytest.fixture(scope="module")
def damaged(whisper_base, tmp_path_factory) -> Path:
    """Whisper base with noise on the weights of its encoder."""
    import torch

    from benchmarks import openai_export

    path = tmp_path_factory.mktemp("damaged") / "damaged.pt"
    openai_export.main(whisper_base, path)
    saved = torch.load(path, weights_only=True)
    draw = torch.Generator().manual_seed(0)
    for name, tensor in saved["model_state_dict"].items():
        if re.fullmatch(r"encoder\.blocks\.\d\.mlp\.0\.weight", name):
            noise = torch.randn(tensor.shape, generator=draw) * tensor.float().std()
            saved["model_state_dict"][name] = (tensor.float() + 0.6 * noise).to(tensor.dtype)
    torch.save(saved, path)
    return path


@pytest.mark.real
@pytest.mark.slow
def test_a_damaged_arm_loses_in_the_card_and_in_a_blind_round(damaged, open_page, tmp_path):
    if not DATA.is_dir():
        pytest.skip("no real recordings here")
    rows = [line.split("\t") for line in (DATA / "speech" / "refs.tsv").read_text(encoding="utf-8").splitlines()]
    english = [row for row in rows if row[1] == "en"][:5]
    samples = [np.pad(decode(DATA / "speech" / name).samples, (0, 12_000)) for name, _, _ in english]
    path, reference = tmp_path / "speech.wav", " ".join(text for _, _, text in english)
    soundfile.write(path, np.concatenate(samples), 16_000)
    with serving(tmp_path / "home", "--model", str(damaged), ASR_MODEL="") as (address, _):
        page = open_page(address)
        give(page, path)
        choose(page, "Whisper base · FP32", "Whisper base · INT8", f"{damaged.stem} · FP32")
        page.fill("#compare-reference textarea", reference)
        page.check("#compare-blind input")
        page.click("#compare-start")
        page.wait_for_selector("#compare-progress .progress")
        page.reload()  # in the middle
        wait_until_ready(page)
        page.get_by_role("tab", name="Compare").click()
        page.wait_for_selector("#comparison .judge", timeout=180_000)
        assert "INT8" not in page.inner_text("#comparison")  # no names before the votes
        page.click("#comparison .play")
        page.wait_for_function("() => document.getElementById('compare-player').currentTime > 0")
        places = judge(page, reference)
        assert places >= 4
        errors = {
            arm: float(figure(page, arm, "Error").partition("%")[0])
            for arm in ("Whisper base · FP32", "Whisper base · INT8", f"{damaged.stem} · FP32")
        }
        assert errors["Whisper base · FP32"] < 30
        assert abs(errors["Whisper base · INT8"] - errors["Whisper base · FP32"]) < 6
        assert errors[f"{damaged.stem} · FP32"] > errors["Whisper base · FP32"] + 10
        for_damaged, against = map(int, figure(page, f"{damaged.stem} · FP32", "Judged better").split(" : "))
        assert for_damaged < against
        agreement = [
            float(figure(page, arm, "Agreement").rstrip("%"))
            for arm in ("Whisper base · INT8", f"{damaged.stem} · FP32")
        ]
        assert agreement[0] > 90 > agreement[1]
        edit = page.locator("#comparison .edit").first
        edit.click()
        start = float(edit.get_attribute("data-start"))
        page.wait_for_function(
            "at => Math.abs(document.getElementById('compare-player').currentTime - at) < 1.5", arg=start
        )
        assert page.locator("#comparison .stages").count() == 3
        assert not page.console_errors
