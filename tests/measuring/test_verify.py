"""`verify`: every (arm, clip) once, kept, counted by language; what does not hold is named, and the table goes on."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from conftest import DATA, EXAMPLE, ROOT

from asr_app import catalog
from asr_app.audio import decode
from asr_app.datasets import references
from asr_app.errors import UserError
from asr_app.evaluate.arms import FP32_NO_VAD, App, ArmText, Clip, Task
from asr_app.evaluate.figures import ALL, figures, same_texts
from asr_app.evaluate.plan import EvaluationArm
from asr_app.evaluate.process import Answer, ArmProcess, Started
from asr_app.evaluate.run import ArmResult, clip_of, evaluate
from asr_app.evaluate.store import Store
from asr_app.evaluate.table import tables
from asr_app.precision import Precision
from asr_app.recordings import Recording, reference_of, spread

CLIPS = [Clip(Path(f"{i}.wav"), language, f"text {i}") for i, language in enumerate(["en", "en", "de", "en"])]
DIGESTS = ["a", "b", "c", "d"]


class Fake:
    """A process that hears "text N" in N.wav, and dies at the clip `broken`."""

    def __init__(self, broken: int | None = None) -> None:
        self.asked: list[list[str]] = []
        self.ended = False
        self._broken = broken

    def ready(self) -> Started:
        return Started(1.0, 2.0, 3.0, 4.0, "")

    def ask(self, clips: Sequence[Clip]) -> Answer:
        names = [clip.path.stem for clip in clips]
        if str(self._broken) in names:
            raise RuntimeError("Killed")
        self.asked.append(names)
        return Answer(1.0, 0.5, 6.0, [ArmText(f"text {name}", 1.0, temperature=0.0) for name in names])

    def end(self) -> None:
        self.ended = True


def arm(name: str, problem: str = "") -> EvaluationArm:
    return EvaluationArm(name, Fake, f"key-{name}", problem, own=not name.startswith("peer:"))


def run(
    home: Path, process: Fake, *arms: EvaluationArm, fresh: bool = False, clips: Sequence[Clip] = CLIPS, digests=DIGESTS
):
    digests = digests[: len(clips)]
    arms = [replace(arm, start=lambda: process) for arm in arms]
    return list(evaluate(arms, clips, digests, home, fresh, lambda *_: None))


def test_requests_share_a_language_and_peers_get_clip_after_clip(tmp_path: Path) -> None:
    own, peer = Fake(), Fake()
    (result,) = run(tmp_path, own, arm("fp32"))
    run(tmp_path, peer, arm("peer:openai-whisper"))
    assert own.asked == [["0", "1"], ["2"], ["3"]]
    assert peer.asked == [["0"], ["1"], ["2"], ["3"]]
    assert [result.texts[i][0].text for i in range(4)] == ["text 0", "text 1", "text 2", "text 3"]
    assert sum(cpu for _, cpu in result.texts.values()) == pytest.approx(1.5)
    assert own.ended


def test_a_store_of_an_earlier_version_is_read(tmp_path: Path) -> None:
    text = {"text": "a", "seconds": 1.0, "stages": {}, "temperature": None, "nats": None, "tokens": None, "doubts": []}
    row = {"clip": "id", "cpu_s": 0.5, "rss_mb": 6.0, "heard": text}
    (tmp_path / "key.jsonl").write_text('{"arm": "fp32"}\n' + json.dumps(row) + "\n")
    store = Store(tmp_path, "key", "fp32")
    assert (store["id"][0].text, store["id"][1], store.peak_mb) == ("a", 0.5, 6.0)
    store.add(["new"], [ArmText("b", 1.0)], 1.0, 7.0)
    assert "heard" in json.loads((tmp_path / "key.jsonl").read_text().splitlines()[-1])


def test_an_interrupted_run_goes_on_where_it_stopped(tmp_path: Path) -> None:
    (half,) = run(tmp_path, Fake(broken=2), arm("peer:x"))
    assert half.problem == "Killed"
    assert set(half.texts) == {0, 1}
    (kept,) = tmp_path.glob("*.jsonl")
    kept.write_text(kept.read_text() + '{"clip": "cut in the mid')
    process = Fake()
    (whole,) = run(tmp_path, process, arm("peer:x"))
    assert process.asked == [["2"], ["3"]]
    assert not whole.problem
    assert len(whole.texts) == 4
    untouched = Fake()
    run(tmp_path, untouched, arm("peer:x"))
    assert not untouched.asked
    run(tmp_path, untouched, arm("peer:x"), fresh=True)
    assert len(untouched.asked) == 4


def test_another_reference_language_or_sound_is_another_result(tmp_path: Path) -> None:
    run(tmp_path, Fake(), arm("peer:x"))
    for clip in (Clip(Path("0.wav"), "de", "text 0"), Clip(Path("0.wav"), "en", "other")):
        process = Fake()
        run(tmp_path, process, arm("peer:x"), clips=[clip])
        assert process.asked == [["0"]]
    process = Fake()
    run(tmp_path, process, arm("peer:x"), digests=["z"], clips=CLIPS[:1])
    assert process.asked == [["0"]]


def test_an_arm_that_cannot_run_says_why_and_the_others_run(tmp_path: Path) -> None:
    def gone() -> Fake:
        raise RuntimeError("the model could not be exported")

    arms = [arm("fp16", "No such precision here."), replace(arm("peer:gone"), start=gone), arm("fp32")]
    refused, absent, whole = evaluate(arms, CLIPS, DIGESTS, tmp_path, False, lambda *_: None)
    assert (refused.problem, absent.problem) == ("No such precision here.", "the model could not be exported")
    assert not refused.texts
    assert len(whole.texts) == 4


@pytest.mark.skipif(sys.platform == "win32", reason="no signals")
@pytest.mark.parametrize(
    ("end", "reason"),
    [("os.kill(os.getpid(), 9)", "its process was killed by signal 9, as when memory runs out"),
     ("sys.exit('no room')", "no room"), ("os._exit(3)", "a warning")],
)  # fmt: skip
def test_the_end_of_a_process_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, end: str, reason: str) -> None:
    (tmp_path / "dying.py").write_text(f"import os, sys\nprint('a warning', file=sys.stderr, flush=True)\n{end}\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    process = ArmProcess("fp32", Task("m", tmp_path, 1, tmp_path, "modelscope"), "dying")
    with pytest.raises(RuntimeError) as error:
        process.ready()
    process.end()
    assert str(error.value) == reason


def results() -> tuple[list[ArmResult], list[Recording]]:
    """FP32, INT8 with one more word deleted in each German clip, and openai-whisper beside FP32 without VAD."""
    recordings = [Recording(Path("e.wav"), ("the cat sat down",), "en")] * 20
    recordings += [Recording(Path("d.wav"), ("eins zwei drei vier",), "de")] * 20

    def result(name: str, texts: Sequence[str], nats: float | None = None, temperature: float | None = None):
        texts = {
            i: (ArmText(text, 1.0, {}, temperature, nats, None if nats is None else 4), 0.5)
            for i, text in enumerate(texts)
        }
        return ArmResult(arm(name), texts)

    english, german, lost = (["the cat sat town"] * 20, ["eins zwei drei vier"] * 20, ["eins zwei drei"] * 20)
    openai = result("peer:openai-whisper", [*english[:10], *["other"] * 10, *german], temperature=0.0)
    for i in range(5):
        openai.texts[i] = (ArmText("a ladder", 1.0, {}, 0.4), 0.5)
    return [
        result("fp32", english + german, 4.0),
        result("int8", english + lost, 4.2),
        openai,
        result(FP32_NO_VAD, [text.replace("the ", "the  ") for text in english] + german),
    ], recordings


def test_error_deletions_and_loss_by_language_with_their_difference_from_fp32() -> None:
    full, low, openai, _ = figures(*results(), [5.0] * 40)
    assert full.groups["en"].error.rate == pytest.approx(1 / 4)
    assert full.groups["de"].error.errors == 0
    assert full.groups[ALL].difference is None
    german = low.groups["de"]
    assert (german.error.deletions, german.error.rate) == (20, pytest.approx(1 / 4))
    assert german.difference is not None
    assert (german.difference.delta, german.difference.low) == pytest.approx((1 / 4, 1 / 4))
    whole = low.groups[ALL]
    assert whole.difference is not None
    assert whole.difference.delta == pytest.approx(1 / 8)
    assert whole.difference.low < 1 / 8 < whole.difference.high
    english = low.groups["en"].difference
    assert english is not None
    assert (english.delta, english.low, english.high) == (0, 0, 0)
    assert (full.groups[ALL].loss, whole.loss) == pytest.approx((1.0, 1.05))
    assert whole.loss_difference is not None
    assert whole.loss_difference.delta == pytest.approx(0.05)
    assert openai.groups[ALL].loss is None
    assert low.as_dict()["languages"]["de"]["difference_from_fp32"][0] == 0.25


def test_equal_texts_are_counted_where_the_ladder_ended_at_zero() -> None:
    assert same_texts(*results()) == {"clips": 35, "same": 25, "above_temperature_0": 5}
    assert same_texts(results()[0][:2], results()[1]) is None


def test_the_tables_have_a_row_for_each_arm_and_each_language() -> None:
    given, recordings = results()
    given.append(ArmResult(arm("fp16"), {}, problem="No such precision here."))
    lines = list(tables("base", figures(given, recordings, [5.0] * 40), same_texts(given, recordings)))
    rows = {line.split()[0]: line for line in lines[2:7]}
    assert "25.00%" in rows["int8"]
    assert "+12.50 [" in rows["int8"]
    assert rows["fp16"].split()[1] == "FAIL"
    german = [line.split() for line in lines if line.startswith("de ")]
    assert german[0][1:4] == ["20", "0.00%", "25.00%"]
    assert german[-1][2:] == ["+5.00", "[+5.00,", "+5.00]"]
    assert "25 of 35 clips" in lines[-1]


def test_references_are_found_beside_the_recordings_or_in_a_table(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"refs\.tsv"):
        references(tmp_path)
    for name in ("b.wav", "a.flac", "none.wav"):
        (tmp_path / name).touch()
    (tmp_path / "a.txt").write_text("one\n")
    (tmp_path / "b.txt").write_text("二")
    assert references(tmp_path) == [Recording(tmp_path / "a.flac", ("one",)), Recording(tmp_path / "b.wav", ("二",))]
    (tmp_path / "transcripts.tsv").write_text("b.wav\tspeaker\t三\ngone.wav\tx\ty\n")
    assert references(tmp_path) == [Recording(tmp_path / "b.wav", ("三",))]
    (tmp_path / "refs.tsv").write_text("b.wav\tzh-TW\t四\na.flac\n")
    assert references(tmp_path) == [Recording(tmp_path / "b.wav", ("四",), "zh-TW")]
    assert reference_of(tmp_path / "b.wav", None) == Recording(tmp_path / "b.wav", ("四",), "zh-TW")
    assert reference_of(tmp_path / "b.wav", tmp_path / "a.txt") == Recording(tmp_path / "b.wav", ("one",))
    assert reference_of(tmp_path / "none.wav", None) is None
    with pytest.raises(UserError, match=r"no line for none\.wav"):
        reference_of(tmp_path / "none.wav", tmp_path / "refs.tsv")


def test_a_limit_spreads_over_each_language() -> None:
    recordings = [Recording(Path(f"{i}.wav"), (str(i),), "en" if i < 10 else "de") for i in range(13)]
    assert [r.texts[0] for r in spread(recordings, 5)] == ["0", "2", "4", "6", "8", "10", "11", "12"]


@pytest.mark.parametrize(
    ("language", "asked"), [("zh-TW", "zh"), ("yue", "zh"), ("sv-SE", "sv"), ("", None), ("tlh", None)]
)
def test_a_clip_is_asked_for_in_a_language_that_the_model_knows(language: str, asked: str | None) -> None:
    recording, card = Recording(Path("a.wav"), ("x",), language), catalog.find("whisper-base")
    assert clip_of(recording, card, False).language == asked
    assert clip_of(recording, card, True).language is None


def verify(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "asr_app", "verify", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def test_a_recording_that_cannot_be_read_is_named_before_any_model_runs(tmp_path: Path) -> None:
    (tmp_path / "cover.jpg").write_bytes(b"no sound")
    (tmp_path / "cover.txt").write_text("one")
    out = verify("demo-paraformer", "--data", str(tmp_path))
    assert out.returncode == 2
    assert "cover.jpg" in out.stderr
    assert "pass" not in out.stdout


@pytest.mark.models
def test_a_damaged_model_is_told_and_not_the_end(tmp_path: Path) -> None:
    folder = tmp_path / "half"
    shutil.copytree(ROOT / "assets" / "models" / "demo-paraformer", folder)
    (folder / "model.pt").write_bytes((folder / "model.pt").read_bytes()[:1000])
    out = verify(str(folder), "demo-paraformer", "--precision", "fp32", "--limit", "1")
    assert out.returncode == 1
    rows = [line for line in out.stdout.splitlines() if line.startswith("fp32 ")]
    assert "model.pt is damaged" in rows[0]
    assert rows[1].split()[1] == "pass"


@pytest.mark.slow  # the report of `bench` goes the same way in the default half
@pytest.mark.models
def test_the_command_prints_the_table_and_every_figure(tmp_path: Path) -> None:
    shutil.copy(EXAMPLE / "english-home.flac", tmp_path / "mine.flac")
    (tmp_path / "mine.txt").write_text("What is the weather like today? Turn on the light. What time is it?")
    out = verify("demo-paraformer", "--data", str(tmp_path))
    assert out.returncode == 0, out.stderr
    rows = [line.split() for line in out.stdout.splitlines()[2:6]]
    assert [row[:3] for row in rows] == [[p, "pass", "1"] for p in ("fp32", "bf16", "fp16", "int8")]
    told = json.loads(out.stdout.splitlines()[-1])
    (model,) = told["models"]
    assert [a["arm"] for a in model["arms"]] == ["fp32", "bf16", "fp16", "int8"]
    assert model["arms"][0]["languages"]["all"]["error"] == 0
    assert told["versions"]["torch"]


@pytest.mark.slow  # minutes for each, beside the evaluator's own processes
@pytest.mark.real
def test_real_weights_on_real_speech_at_fp32_and_int8(whisper_base: Path, tmp_path: Path) -> None:
    if not DATA.is_dir():
        pytest.skip("no real recordings here")
    told = tmp_path / "figures.json"
    out = verify(
        str(whisper_base), "--data", str(DATA / "speech"), "--limit", "1", "--precision", "fp32", "--precision", "int8",
        "--output", str(told),
    )  # fmt: skip
    assert out.returncode == 0, out.stderr + out.stdout
    full, low = json.loads(told.read_text())["models"][0]["arms"]
    assert len(full["languages"]) == 25
    assert full["languages"]["en"]["error"] == 0
    assert 0.5 < full["languages"]["all"]["loss"] < 2
    assert abs(low["languages"]["all"]["loss"] / full["languages"]["all"]["loss"] - 1) < 0.05
    assert full["languages"]["all"]["error"] < 0.45


@pytest.mark.slow  # minutes for each, beside the evaluator's own processes
@pytest.mark.real
def test_the_loss_of_a_reference_is_its_own_whatever_shares_the_batch(whisper_base: Path) -> None:
    """Short and long texts in one batch; the words that were said are likelier than others."""
    if not DATA.is_dir():
        pytest.skip("no real recordings here")
    folder, card = DATA / "speech", catalog.find(str(whisper_base))
    chosen = [r for r in references(folder) if r.language in ("en", "ja", "de")][::40][:3]
    engine = catalog.FAMILIES[card.family].load(card, {"model": whisper_base}, "cpu", 1)
    samples = [decode(recording.path).samples for recording in chosen]
    texts = [recording.texts[0] for recording in chosen]
    languages = [recording.language for recording in chosen]
    together = engine.reference_loss(samples, texts, languages)
    alone = [engine.reference_loss([x], [t], [la])[0] for x, t, la in zip(samples, texts, languages, strict=True)]
    assert [tokens for _, tokens in together] == [tokens for _, tokens in alone]
    assert [nats for nats, _ in together] == pytest.approx([nats for nats, _ in alone], rel=1e-3)
    assert all(nats / tokens < 2 for nats, tokens in together)
    other = engine.reference_loss(samples, [*texts[1:], texts[0]], languages)
    assert all(nats / tokens > 3 for nats, tokens in other)


@pytest.mark.slow  # minutes for each, beside the evaluator's own processes
@pytest.mark.real
def test_clips_of_one_request_get_the_texts_that_they_get_alone(whisper_base: Path, cache: Path) -> None:
    if not DATA.is_dir():
        pytest.skip("no real recordings here")
    app = App(Task(str(whisper_base), whisper_base, 1, cache, "modelscope"), Precision.FP32)
    clips = [Clip(r.path, "en") for r in references(DATA / "speech") if r.language == "en"][:5]
    together = app.transcribe(clips)
    assert [text.text for text in together] == [app.transcribe([clip])[0].text for clip in clips]
    assert all(text.text and text.seconds > 0 for text in together)
