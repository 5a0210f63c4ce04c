"""Words in doubt on the page: which letters are underlined, what is said of them, the switch."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
from test_page_news import reload, running, submit

from asr_app.datatypes import Segment, StageTimes, Strike, Word
from asr_app.ui import render, unsure
from asr_app.ui.marked import marked as html_of

SURE, UNSURE = unsure.LEAST_CONFIDENCE, unsure.LEAST_CONFIDENCE - 0.01


def segment(text: str, *words: tuple[str, float | None], language: str = "en") -> Segment:
    made = tuple(Word(float(i), i + 0.5, word, sure) for i, (word, sure) in enumerate(words))
    return Segment(0.0, 9.0, text, made, None, language)


def underlined(html: str) -> list[str]:
    return re.findall(r'<u class="unsure" title="[^"]+">([^<]*)</u>', html)


@pytest.mark.parametrize(
    ("text", "words", "expected"),
    [
        ("Hello, world.", [("Hello", UNSURE), ("world", SURE)], ["Hello"]),
        ("Hello, world.", [("Hello", SURE), ("world", UNSURE)], ["world"]),
        ("a a a", [("a", SURE), ("a", UNSURE), ("a", SURE)], ["a"]),
        ("今天天气好。", [(c, UNSURE if c == "气" else SURE) for c in "今天天气好"], ["气"]),
        ("R&D (b)", [("R&D", UNSURE), ("b", UNSURE)], ["R&amp;D", "b"]),
        ("It cost $5.", [("It", SURE), ("cost", SURE), ("five", UNSURE)], []),  # rewritten: its letters are unknown
        ("plain", [("plain", None)], []),
        ("plain", [], []),
    ],
)
def test_words_in_doubt_are_underlined_without_their_marks(text, words, expected):
    html = html_of(segment(text, *words), "en")
    assert underlined(html) == expected
    assert re.sub(r"</?u[^>]*>", "", html) == html_of(segment(text), "en")  # every other letter as it was


def test_the_second_of_equal_words_is_the_one_in_doubt():
    html = html_of(segment("no no, no", ("no", SURE), ("no", UNSURE), ("no", SURE)), "en")
    assert html.startswith("no <u")
    assert html.endswith("</u>, no")


def test_a_place_that_a_rule_rewrote_is_no_word_in_doubt():
    both = segment("Ask Ada Lovelace now.", ("Ask", SURE), ("Ada", UNSURE), ("Lovelace", UNSURE), ("now", UNSURE))
    both = replace(both, strikes=(Strike(1.0, 3.0, "aid a love lace", "Ada Lovelace", "Ada Lovelace", at=4),))
    html = html_of(both, "en")
    assert underlined(html) == ["now"]
    assert '<u class="strike" title="' in html
    assert re.sub(r"</?u[^>]*>", "", html) == both.text


@pytest.mark.parametrize("language", ["en", "zh"])
def test_a_row_says_it_without_the_underline_too(language):
    row = render.rows([segment('Hello "you"', ("Hello", SURE), ('"you"', UNSURE))], language)
    assert re.search(r'aria-description="[^"]*&quot;you&quot;"', row)
    assert "aria-description" not in render.rows([segment("Hello", ("Hello", SURE))], language)


@pytest.mark.parametrize(("spoken", "figures"), [("en", "en"), ("zh", "zh"), ("yue", "zh"), ("ta", None), (None, None)])
def test_the_legend_has_the_figures_of_the_language(spoken, figures):
    said = replace(segment("a b c", ("a", SURE), ("b", UNSURE), ("c", SURE)), language=spoken)
    legend = unsure.legend([said], "en")
    measured = unsure.MEASURED[figures] if figures else unsure.OTHERS
    assert f"{100 * measured.precision:.0f} % of the underlined" in legend
    assert f"{100 * measured.recall:.0f} % of the wrong" in legend
    assert "(1 of 3)" in legend
    assert 'href="docs/doubt.md"' in legend


def test_without_confidences_there_is_no_legend():
    assert unsure.legend([segment("a", ("a", None))], "en") == ""
    assert unsure.legend([], "en") == ""


@pytest.mark.browser
def test_the_underline_is_switched_off_until_it_is_switched_on_again(tmp_path, open_page):
    with running(tmp_path, "--model", "demo-paraformer") as site:
        page = open_page(site.address)
        job = submit(site, page, "english-home.flac")
        site.begin(job)
        said = segment("It was here", ("It", SURE), ("was", UNSURE), ("here", SURE))
        site.journal.write_chunk(job, 9.0, [said], (), 9.0, 9.0, 0.0, StageTimes())
        site.finish(job)

        def line() -> str:
            style = page.eval_on_selector("#transcript u.unsure", "u => getComputedStyle(u).textDecoration")
            return str(style)

        page.wait_for_selector("#show-unsure")
        assert page.inner_text("#transcript u.unsure") == "was"
        assert "dotted" in line()
        assert page.request.get(site.address + page.get_attribute("p.unsure-legend a", "href")).ok
        page.uncheck("#show-unsure")
        assert line().startswith("none")
        reload(page)
        page.wait_for_selector("#show-unsure")
        assert not page.is_checked("#show-unsure")
        assert line().startswith("none")
        page.check("#show-unsure")
        assert "dotted" in line()
        page.evaluate("() => { navigator.clipboard.writeText = (text) => { window.copied = text; }; }")
        page.click("#copy")
        assert page.evaluate("() => window.copied") == "It was here"


@pytest.mark.browser
def test_the_legend_counts_anew_when_a_line_is_found_right(tmp_path, open_page):
    with running(tmp_path, "--model", "demo-paraformer") as site:
        page = open_page(site.address)
        job = submit(site, page, "english-home.flac")
        site.begin(job)
        one = segment("It was here", ("It", SURE), ("was", UNSURE), ("here", SURE))
        two = replace(segment("And there", ("And", SURE), ("there", UNSURE)), start_s=3.0, end_s=4.0)
        site.journal.write_chunk(job, 9.0, [one, two], (), 9.0, 9.0, 0.0, StageTimes())
        site.finish(job)

        def is_counted(said: str) -> None:
            page.wait_for_function(
                "(said) => document.querySelector('.unsure-legend u')?.textContent.includes(said)", arg=said
            )

        is_counted("(2 of 5)")
        page.wait_for_selector("#corrections .changes")
        page.uncheck("#show-unsure")
        page.locator(".segment .right").first.click()
        is_counted("(1 of 2)")
        assert not page.is_checked("#show-unsure")
        page.locator(".segment .right").nth(1).click()
        page.wait_for_selector(".unsure-legend", state="hidden")
        reload(page)  # the same as before the reload
        page.wait_for_selector("#corrections .changes")
        assert page.locator(".unsure-legend").count() == 0
        page.click("#undo")
        page.wait_for_selector(".segment .right[aria-pressed=false]")
