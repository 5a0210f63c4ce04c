"""Seconds from the end of a spoken word to its appearance in the page, end to end, with real speech and real weights."""

from __future__ import annotations

import difflib
import json
import re
from pathlib import Path

import numpy as np
import pytest
import soundfile
import soxr
from conftest import DATA, serving
from recording import of_job, rate
from test_record import record, recorder, stopped, until

pytestmark = [pytest.mark.browser, pytest.mark.real, pytest.mark.slow]
SPOKEN_S = 90.0
# In the page: when each piece of samples came, and what the captions said at which time.
WATCH = """() => {
    window.pieces = []; window.captions = [];
    const add = window.asrOutbox.add, box = document.querySelector("#captions");
    window.asrOutbox.add = (samples) => { window.pieces.push([performance.now(), samples.length]); return add(samples); };
    const said = () => [...box.querySelectorAll(".final p, .open")].map((p) => p.textContent).join(" ");
    new MutationObserver(() => window.captions.push([performance.now(), said()])).observe(box, { childList: true, subtree: true, characterData: true });
}"""


def words_of(text: str) -> list[str]:
    return re.findall(r"\w+", text.lower())


def delays(pieces: list, captions: list, words: list[tuple[str, float]]) -> np.ndarray:
    """Seconds from the end of each word to its first appearance; infinite for one that no caption had.

    `words` are those of the final text with their ends in the recording. A piece of samples comes when its last one was
    spoken or later; the earliest one shows when the recording began.
    """
    samples = np.cumsum([count for _, count in pieces])
    began_ms = min(at - 1000 * total / rate() for (at, _), total in zip(pieces, samples, strict=True))
    final = [word for word, _ in words]
    first = np.full(len(words), np.inf)
    for at, said in captions:
        matcher = difflib.SequenceMatcher(None, final, words_of(said), autojunk=False)
        for start, _, length in matcher.get_matching_blocks():
            for n in range(start, start + length):
                first[n] = min(first[n], (at - began_ms) / 1000 - words[n][1])
    return first


def test_words_appear_within_a_second_and_a_half(whisper_base, open_page, tmp_path, cache):
    if not DATA.is_dir():
        pytest.skip("no real recordings")
    speech, own = soundfile.read(DATA / "long" / "LJ001.opus", frames=round(SPOKEN_S * 16_000))
    speech = np.pad(soxr.resample(speech, own, rate()), (2 * rate(), 5 * rate()))
    path = tmp_path / "spoken.wav"
    soundfile.write(path, speech, rate(), subtype="PCM_16")
    home = tmp_path / "home"
    with serving(home, "--lite", model="whisper-base") as (address, _):
        page = open_page(address, microphone=path)
        page.wait_for_function("() => /INT8|int8/.test(document.querySelector('.pill').innerText)", timeout=180_000)
        page.get_by_role("tab", name="Microphone").click()
        page.wait_for_selector("#captions")
        page.evaluate(WATCH)
        record(page)
        page.wait_for_timeout(1000 * SPOKEN_S)
        until(page, SPOKEN_S + 4)
        recorder(page, "recording")
        pieces, captions = page.evaluate("[window.pieces, window.captions]")
        stopped(page)
        with page.expect_download() as download:
            page.click("#download-json")
    result = json.loads(Path(download.value.path()).read_text(encoding="utf-8"))
    words = [(w, word["end"]) for s in result["segments"] for word in s["words"] for w in words_of(word["text"])]
    assert len(of_job(home)) > SPOKEN_S * rate()
    found = delays(pieces, captions, words)
    shown = found[np.isfinite(found)]
    figures = dict(zip(("median", "p90", "p99"), np.percentile(shown, (50, 90, 99)).round(2), strict=True))
    print(f"\n{len(shown)} of {len(words)} words of {SPOKEN_S:.0f} s in captions; delay in s: {figures}")
    assert len(shown) > 0.85 * len(words)
    assert figures["median"] < 1.5
