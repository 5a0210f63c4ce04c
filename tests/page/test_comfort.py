"""The page for everybody: axe-core's rules, the keyboard alone, nothing that jumps, big uploads, presets and links."""

from __future__ import annotations

import contextlib
import json
import socket
import threading

import pytest
from axe_playwright_python.base import AXE_SCRIPT
from conftest import EXAMPLE
from test_page_news import Site, open_quiet, site  # noqa: F401

pytestmark = pytest.mark.browser
CLIP = "english-home.flac"
TABS = {"en": ("Transcribe", "Compare", "Benchmark"), "zh": ("转写", "对比", "评测")}
# Gradio's own markup: axe's rule, a part of the element, and why it stays.
GRADIOS = {
    ("nested-interactive", 'aria-label="common.upload"'): "the button of a list of files holds its file input",
}


def faults(page) -> list[str]:
    """axe-core's serious and critical findings, without GRADIOS: rule, target, what is wrong, the element."""
    if not page.evaluate("() => 'axe' in window"):
        page.evaluate(AXE_SCRIPT)
    found = page.evaluate("() => axe.run(document, { resultTypes: ['violations'] })")["violations"]
    return [
        f"{rule['id']}: {node['target'][0]}: {node['failureSummary']} {node['html'][:200]}"
        for rule in found
        if rule["impact"] in ("serious", "critical")
        for node in rule["nodes"]
        if not any(rule["id"] == known and part in node["html"] for known, part in GRADIOS)
    ]


class Tunnel:
    """A port in front of another one. `cut` breaks all connections and takes none until `mend`."""

    def __init__(self, inner: int) -> None:
        self._inner, self._open, self._is_cut = inner, [], False
        listening = socket.create_server(("127.0.0.1", 0))
        self.address = f"http://127.0.0.1:{listening.getsockname()[1]}/"
        threading.Thread(target=self._accept, args=(listening,), daemon=True).start()

    def mend(self) -> None:
        self._is_cut = False

    def cut(self) -> None:
        self._is_cut = True  # Chromium would send the request again through a new connection
        for one in self._open:
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
        self._open.clear()

    def _accept(self, listening: socket.socket) -> None:
        while True:
            outer, _ = listening.accept()
            if self._is_cut:
                outer.close()
                continue
            inner = socket.create_connection(("127.0.0.1", self._inner))
            self._open += [outer, inner]
            for source, sink in ((outer, inner), (inner, outer)):
                threading.Thread(target=self._pass, args=(source, sink), daemon=True).start()

    @staticmethod
    def _pass(source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)


def submitted(page, site: Site) -> str:
    """Picks an example and submits it. Returns the job's id."""
    page.locator("#examples button").first.click()
    page.wait_for_selector("#upload .file-preview a")
    page.click("#transcribe")
    page.wait_for_selector("#progress .bar")
    return site.newest()


LOOKS = [("en-US", "light", 1440), ("zh-CN", "dark", 390)]
OTHER_LOOKS = [
    pytest.param(locale, theme, width, marks=pytest.mark.slow)
    for locale in ("en-US", "zh-CN")
    for theme in ("light", "dark")
    for width in (390, 768, 1440)
    if (locale, theme, width) not in LOOKS
]


@pytest.mark.parametrize(("locale", "theme", "width"), [*LOOKS, *OTHER_LOOKS])
def test_axe_finds_no_serious_fault_in_any_tab_and_state(site, open_page, locale, theme, width):
    page = open_page(site.address, locale=locale, color_scheme=theme, viewport={"width": width, "height": 900})
    page.click("#transcribe")
    page.wait_for_selector("#refusal .notice")
    page.locator("#advanced > button").click()
    page.select_option("#model select", "sensevoice-small")
    page.wait_for_selector("#emotions")
    found = {"refused": faults(page)}
    page.select_option("#model select", "demo-paraformer")
    page.wait_for_selector("#emotions", state="hidden")
    job = submitted(page, site)
    site.begin(job, 5)
    page.wait_for_selector(".segment")
    found["running"] = faults(page)
    site.finish(job)
    page.wait_for_selector(".card")
    found["done"] = faults(page)
    for tab in TABS[locale[:2]][1:]:
        page.get_by_role("tab", name=tab).click()
        page.wait_for_timeout(300)
        found[tab] = faults(page)
    assert not any(found.values()), json.dumps(found, ensure_ascii=False, indent=1)
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    assert page.evaluate("document.documentElement.lang") == {"en-US": "en", "zh-CN": "zh-CN"}[locale]


def tab_to(page, selector: str, most: int = 60) -> None:
    """Presses Tab until the element has the focus. Every element on the way shows that it has it."""
    for _ in range(most):
        page.keyboard.press("Tab")
        found, at, shows = page.evaluate(
            """selector => {
                const now = document.activeElement;
                const near = [now, now.closest("label"), now.closest(".wrap"), now.closest(".block")].filter(Boolean);
                const ring = near.map((e) => getComputedStyle(e)).some((s) => s.outlineStyle !== "none" && parseFloat(s.outlineWidth));
                return [now.matches(selector), now.outerHTML.slice(0, 160), ring || now === document.body];
            }""",
            selector,
        )
        assert shows, f"no sign of the focus: {at}"
        if found:
            return
    raise AssertionError(f"{selector} is out of reach of {most} steps of Tab")


@pytest.mark.models
def test_a_transcription_by_the_keyboard_alone(server, open_page):
    page = open_page(server)
    press = page.keyboard.press
    # From the start: `expect_file_chooser` may ask Chromium for the dialogue only after it has seen the key.
    page.on("filechooser", lambda chooser: chooser.set_files(str(EXAMPLE / CLIP)))
    tab_to(page, "a.skip", 1)
    tab_to(page, "#language input[value='中文']")
    press("Space")  # Gradio's radios have no common name, so that arrow keys do not move between them
    page.wait_for_selector("#transcribe:has-text('开始转写')")
    tab_to(page, "#language input[value='English']")
    press("Space")
    page.wait_for_selector("#transcribe:has-text('Transcribe')")
    tab_to(page, "#tabs [role=tab]")
    tab_to(page, "#upload .upload-container")
    press("Enter")
    page.wait_for_selector("#upload .file-preview a")
    tab_to(page, "#examples button")
    tab_to(page, "#model select")
    tab_to(page, "#preset input[value='draft']")
    press("Space")
    page.wait_for_selector("#preset-info >> text=Lite mode: on")
    tab_to(page, "#lite input")
    page.wait_for_selector("#lite input:checked")
    tab_to(page, "#advanced > button")
    press("Enter")
    page.wait_for_selector("#precision")
    for reached in ("#precision input", "#script input", "#hotwords textarea", "#copy-link"):
        tab_to(page, reached)
    press("Enter")
    page.wait_for_selector("#copy-link:has-text('Copied')")
    assert "lite=1" in page.evaluate("navigator.clipboard.readText()")
    tab_to(page, "#transcribe")
    press("Enter")
    page.wait_for_selector(".card")
    assert "INT8" in page.inner_text(".card")
    for reached in ("#jobs .open", "#jobs .remove"):
        tab_to(page, reached)
    tab_to(page, ".segment .play")
    press("Enter")
    page.wait_for_function("() => !document.getElementById('player').paused")
    tab_to(page, ".segment .said")
    press("Enter")
    page.wait_for_selector(".segment textarea:focus")
    press("Escape")
    for reached in ("#player", "#copy", "#download-srt", "#compare-here"):
        tab_to(page, reached)
    page.focus("#tabs [role=tab]")
    for tab, reached in (("compare", "#compare-start"), ("bench", "#bench-start")):
        tab_to(page, f"[data-tab-id={tab}]", 4)
        press("Enter")
        page.wait_for_selector(reached)
        tab_to(page, reached)
        page.focus(f"[data-tab-id={tab}]")


# What moves without a click or a key just before: the sum of fractions of the window, by the Layout Instability API.
_SHIFTS = """() => { window.shifts = []; new PerformanceObserver((list) => { for (const e of list.getEntries())
  if (!e.hadRecentInput) shifts.push([e.value, e.startTime, e.sources.map((s) => s.node?.id || s.node?.className || s.node?.nodeName)]);
}).observe({ type: "layout-shift", buffered: true }); }"""


@pytest.mark.parametrize("width", [1440, pytest.param(390, marks=pytest.mark.slow)])
def test_nothing_jumps_from_the_click_to_the_result(site, open_page, width):
    page = open_page(site.address, viewport={"width": width, "height": 900})
    page.evaluate(_SHIFTS)
    page.wait_for_function("() => document.querySelector('#facts').innerText")
    page.wait_for_timeout(700)
    loading = page.evaluate("shifts")  # Gradio puts the page together in steps
    job = submitted(page, site)
    page.wait_for_timeout(800)  # what a click moves does not count for 0.5 s
    for n in range(6):
        site.begin(job) if not n else site.write(job, n)
        page.wait_for_timeout(650)
    site.finish(job)
    page.wait_for_selector(".card")
    page.wait_for_timeout(300)
    working = page.evaluate("shifts")[len(loading) :]
    assert sum(shift[0] for shift in working) < 0.1, working  # "good" on https://web.dev/articles/cls


def test_an_upload_tells_its_progress_can_be_stopped_and_survives_a_broken_connection(site, open_page, tmp_path):
    tunnel = Tunnel(int(site.address.rstrip("/").rpartition(":")[2]))
    page = open_page(tunnel.address)
    path = tmp_path / "long talk.wav"
    path.write_bytes(bytes(12_000_000))
    panel = page.locator("#upload .upload-panel")
    network = page.context.new_cdp_session(page)
    limits = {"offline": False, "latency": 0, "downloadThroughput": -1, "uploadThroughput": 3_000_000}
    network.send("Network.enable")
    network.send("Network.emulateNetworkConditions", limits)
    page.set_input_files("#upload input[type=file]", str(path))
    page.wait_for_function("() => Number(document.querySelector('#upload .bar')?.getAttribute('aria-valuenow')) > 10")
    said = panel.inner_text()
    assert "Uploading long talk.wav" in said
    assert "of 12.0 MB · " in said
    assert " left" in said
    panel.get_by_role("button", name="Stop the upload").click()
    panel.wait_for(state="detached")
    assert page.locator("#upload .file-preview").count() == 0
    page.set_input_files("#upload input[type=file]", str(path))
    page.wait_for_function("() => Number(document.querySelector('#upload .bar')?.getAttribute('aria-valuenow')) > 10")
    tunnel.cut()
    panel.get_by_text("The upload broke off at").wait_for()
    page.check("#language input[value='中文']")
    tunnel.mend()
    network.send("Network.emulateNetworkConditions", {**limits, "uploadThroughput": -1})
    panel.get_by_role("button").first.click()
    page.wait_for_selector("#upload .file-preview a")
    assert panel.count() == 0


_DROP = """(sizes) => {
  const dataTransfer = new DataTransfer();
  sizes.forEach((size, n) => dataTransfer.items.add(new File([new Uint8Array(size)], `dropped ${n}.wav`)));
  for (const name of ["dragenter", "dragover", "drop"])
    document.querySelector("h1").dispatchEvent(new DragEvent(name, { dataTransfer, bubbles: true, cancelable: true }));
}"""


def test_files_dropped_anywhere_are_uploaded_even_from_behind_the_microphone(site, open_page):
    page = open_page(site.address)
    page.evaluate(_DROP, [1000, 2000])
    page.wait_for_function("() => document.querySelectorAll('#upload tr.file a').length === 2")
    page.get_by_role("tab", name="Microphone").click()
    page.wait_for_selector("#upload", state="hidden")
    page.evaluate(_DROP, [3000])
    page.wait_for_function("() => document.querySelectorAll('#upload tr.file a').length === 3")
    page.get_by_role("tab", name="Compare").click()
    page.wait_for_selector("#compare-upload input[type=file]", state="attached")
    for _ in range(2):  # the second one takes the place of the first
        page.evaluate(_DROP, [1000])
        page.wait_for_function("() => document.querySelectorAll('#compare-upload tr.file a').length === 1")
    page.evaluate(
        "() => { document.getElementById('words').dataset.words = document.getElementById('words').dataset.words.replace(/\"mostBytes\": \\d+/, '\"mostBytes\": 5000'); }"
    )
    page.get_by_role("tab", name="Transcribe").click()
    page.evaluate(_DROP, [6000])
    page.wait_for_selector("#upload .upload-panel [role=alert]:has-text('are too much for one upload')")
    page.click("#upload .upload-close")
    page.wait_for_selector("#upload .upload-panel", state="detached")


def chosen(page) -> list:
    return page.evaluate(
        "() => [document.querySelector('#model select').value, document.querySelector('#lite input').checked, "
        "document.querySelector('#precision input:checked')?.value, document.querySelector('#preset input:checked').value]"
    )


def test_a_link_opens_the_page_with_its_choices_and_does_nothing_else(site, open_page):
    page = open_page(
        site.address + "?model=whisper-base&lite=1&precision=int8&language=zh&lang=zh&theme=dark&tab=compare"
    )
    page.wait_for_selector("#compare-start:has-text('开始对比')")
    assert page.evaluate("Boolean(document.querySelector('.dark'))")
    assert page.url == site.address + "?__theme=dark"
    page.locator("[data-tab-id=transcribe][role=tab]").click()
    page.wait_for_selector("#spoken")  # the fold is open: something in it was chosen
    assert chosen(page) == ["whisper-base", True, "int8", ""]
    assert page.input_value("#spoken input") == "中文 (zh)"
    assert page.evaluate("localStorage['asr-jobs']") in (None, "[]")
    page.reload()
    page.wait_for_function("() => document.querySelector('#model select')?.value === 'whisper-base'")
    page.goto(site.address + "?model=%3Cimg%20src%3Dx%20onerror%3D%22window.hit%3D1%22%3E&lite=2&tab=<b>nix&job=1")
    note = page.wait_for_selector("#link-note >> text=链接中有本服务器无法识别的内容：模型，轻量模式，标签页。已忽略。")
    assert note
    assert not page.evaluate("window.hit || document.querySelector('img[src=x]')")
    assert "nix" not in page.content()


def test_a_preset_sets_several_choices_and_my_own_come_back_also_after_a_reload(site, open_page):
    page = open_page(site.address)
    page.select_option("#model select", "whisper-base")
    page.locator("#advanced > button").click()
    page.click("#precision label:has-text('INT8')")
    page.click("#preset label:has-text('quick draft')")
    page.wait_for_selector("#preset-info >> text=Sets Lite mode: on; Encoder windows: short")
    page.wait_for_function("() => document.querySelector('#precision input:checked').value === 'auto'")
    assert chosen(page) == ["whisper-base", True, "auto", "draft"]
    assert page.input_value("#windows input").startswith("short")
    page.wait_for_timeout(300)
    page.reload()
    page.wait_for_selector("#preset-info >> text=Sets Lite mode: on; Encoder windows: short")
    page.wait_for_function("() => document.querySelector('#preset input:checked')?.value === 'draft'")
    if not page.is_visible("#precision"):
        page.locator("#advanced > button").click()
        page.wait_for_selector("#precision")
    page.click("#preset label:has-text('my own')")
    page.wait_for_function("() => document.querySelector('#precision input:checked').value === 'int8'")
    assert chosen(page) == ["whisper-base", False, "int8", ""]
    page.click("#preset label:has-text('quick draft')")
    page.wait_for_function("() => document.querySelector('#lite input').checked")
    page.click("#lite input")  # by hand: no preset any more
    page.wait_for_function("() => document.querySelector('#preset input:checked').value === ''")
    page.wait_for_selector("#preset-info", state="hidden")
