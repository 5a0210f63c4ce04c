"""report.html in a browser without a network: both colour schemes, a phone's width, the numbers as a file."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
from reports import results

from asr_app.report.files import write_report
from asr_app.report.plots import plots


@pytest.mark.browser
@pytest.mark.parametrize("language", ["en", "zh"])
def test_the_report_opens_offline(playwright, chromium_path: str, tmp_path: Path, language: str) -> None:
    made = results(tmp_path)
    write_report(made, tmp_path, language)
    browser = playwright.chromium.launch(executable_path=chromium_path, args=["--no-sandbox", "--disable-gpu"])
    grounds = set()
    try:
        for scheme, width in (("light", 1200), ("dark", 390)):
            page = browser.new_context(
                color_scheme=scheme, viewport={"width": width, "height": 900}, offline=True
            ).new_page()
            asked, errors = [], []
            page.on("request", lambda request, asked=asked: asked.append(request.url))
            page.on("console", lambda message, errors=errors: errors.append(message.text))
            page.on("pageerror", lambda error, errors=errors: errors.append(str(error)))
            page.goto((tmp_path / "report.html").as_uri())
            assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
            assert page.locator(".plots svg[role=img]").count() == 4
            grounds.add(page.evaluate("getComputedStyle(document.body).backgroundColor"))
            moved = page.locator("section > .scroll").first.evaluate("""box => {
                box.scrollLeft = 200;
                const name = box.querySelector("tbody th").getBoundingClientRect();
                return [box.scrollLeft, name.left - box.getBoundingClientRect().left];
            }""")
            assert (moved[0] > 0) is (width == 390)
            assert moved[1] == 0  # the names of the rows stay in sight
            page.locator("summary").first.click()
            with page.expect_download() as download:
                page.locator("a[download]").first.click()
            rows = list(csv.reader(Path(download.value.path()).read_text(encoding="utf-8").splitlines()))
            assert rows[1:] == [list(row) for row in next(plots(made["models"][0], language)).table.rows]
            assert (len(asked), errors) == (1, [])
    finally:
        browser.close()
    assert len(grounds) == 2
