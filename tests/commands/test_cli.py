"""The command line as a person types it, in a process of its own where more than its words matters."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import platformdirs
import pytest
import soundfile
from conftest import EXAMPLE, ROOT

from asr_app import catalog, cli, folders
from asr_app.errors import UserError
from asr_app.languages import language_code
from asr_app.scoring import normalise
from benchmarks.__main__ import _parser as benchmarks_parser


@pytest.fixture(autouse=True)
def no_download(monkeypatch):
    monkeypatch.setenv("ASR_MODEL", catalog.FALLBACK)


def run(*arguments: str | Path, language: str = "C.UTF-8") -> subprocess.CompletedProcess[str]:
    env = {k: v for k, v in os.environ.items() if not k.startswith("ASR_")}
    env |= {"LANG": language, "ASR_MODEL": catalog.FALLBACK}
    command = [sys.executable, "-m", "asr_app", *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=300)


def test_models_lists_every_card():
    listed = json.loads(run("models", "--json").stdout)
    assert {"demo-paraformer", "paraformer-large", "paraformer-zh"} <= {m["id"] for m in listed}
    for row in listed:
        assert row["precisions"]
        assert row["licence"]
    demo = next(m for m in listed if m["id"] == "demo-paraformer")
    assert demo["on_disk"]
    heads = [line for line in run("models").stdout.splitlines() if not line.startswith(" ")]
    assert heads[-2:] == ["To download (once)", "Demo (small vocabulary)"]


@pytest.mark.models
@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_json_has_what_scripts_need(precision, expected):
    out = run("transcribe", EXAMPLE / "mandarin-home.wav", "--precision", precision, "--format", "json")
    assert out.returncode == 0, out.stderr
    found = json.loads(out.stdout)
    assert {"text", "segments", "model", "precision", "device", "duration_s", "times", "rtf", "memory"} <= set(found)
    assert found["precision"]["requested"] == precision
    assert ("INT8" in found["precision"]["effective"]["stored_bytes"]) == (precision == "int8")
    assert found["memory"]["weights"] == found["precision"]["effective"]["weight_bytes"]
    assert normalise(found["text"]) == normalise(expected["mandarin-home.wav"]["text"])
    words = [w for s in found["segments"] for w in s["words"]]
    assert [normalise(w["text"])[0] for w in words] == normalise(found["text"])
    assert found["times"]["load_s"] > 0
    assert found["rtf"] > 0


@pytest.mark.models
@pytest.mark.parametrize(
    ("asked", "short"),
    [
        (["--precision", "int8"], False),
        (["--precision", "int8", "--short-windows"], True),
        (["--precision", "fp32"], False),
        (["--precision", "fp32", "--short-windows"], True),
    ],
)
def test_the_transcript_tells_the_length_of_the_encoders_windows(asked, short):
    out = run("transcribe", EXAMPLE / "english-home.flac", "--model", "demo-whisper", *asked, "--format", "json")
    assert out.returncode == 0, out.stderr
    assert json.loads(out.stdout)["short_windows"] is short


@pytest.mark.models
def test_a_model_without_windows_has_no_choice_of_them():
    out = run("transcribe", EXAMPLE / "english-home.flac", "--model", "demo-paraformer", "--format", "json")
    assert "short_windows" not in json.loads(out.stdout)
    out = run("transcribe", EXAMPLE / "english-home.flac", "--model", "demo-paraformer", "--short-windows")
    assert out.returncode == 2
    assert "has no option short_windows" in out.stderr


@pytest.mark.models
def test_every_format_goes_to_a_folder(tmp_path):
    names = ["a b.flac", "引号'\"$(x).flac", "-dash.flac"]
    for name in names:
        shutil.copy(EXAMPLE / "english-home.flac", tmp_path / name)
    for kind in ("txt", "srt", "vtt", "lrc", "tsv", "json", "docx"):
        paths = [str(tmp_path / n) for n in names]
        assert cli.main(["transcribe", *paths, "--lite", "--format", kind, "--output", str(tmp_path / "out")]) == 0
        assert sorted(p.name for p in (tmp_path / "out").glob(f"*.{kind}")) == sorted(
            str(Path(n).with_suffix(f".{kind}")) for n in names
        )
    assert "-->" in (tmp_path / "out" / "a b.srt").read_text(encoding="utf-8")
    assert (tmp_path / "out" / "a b.vtt").read_text(encoding="utf-8").startswith("WEBVTT")


@pytest.mark.models
def test_a_bad_file_exits_with_2_and_the_good_ones_are_written(tmp_path):
    (tmp_path / "text.wav").write_text("not sound")
    out = run("transcribe", tmp_path / "gone.wav", tmp_path / "text.wav", EXAMPLE / "english-home.flac", "--lite")
    assert out.returncode == 2
    assert "gone.wav" in out.stderr
    assert "text.wav" in out.stderr
    assert "weather" in out.stdout
    assert "Traceback" not in out.stderr


@pytest.mark.models
def test_silence_and_noise_give_an_empty_text(tmp_path, capsys):
    rng = np.random.default_rng(0)
    soundfile.write(tmp_path / "silence.wav", np.zeros(160_000), 16000)
    soundfile.write(tmp_path / "noise.wav", rng.normal(0, 0.1, 160_000), 16000)
    for precision in ("fp32", "bf16", "fp16", "int8"):
        sounds = [str(tmp_path / "silence.wav"), str(tmp_path / "noise.wav")]
        assert cli.main(["transcribe", *sounds, "--precision", precision]) == 0
        assert capsys.readouterr().out.split("\n") == ["==> silence.wav <==", "==> noise.wav <==", ""]


@pytest.mark.parametrize(
    ("arguments", "listed"),
    [
        (["--model", "whisper-colossal"], "demo-paraformer, paraformer-large"),
        (["--precision", "int4"], "fp32, bf16, fp16, int8"),
        (["--format", "pdf"], "txt, srt, vtt, vtt-words, lrc, json"),
        (["--device", "tpu"], "auto, cpu or cuda:0"),
    ],
)
def test_an_unknown_word_lists_the_choices(arguments, listed):
    out = run("transcribe", EXAMPLE / "english-home.flac", *arguments)
    assert out.returncode == 2
    assert listed in out.stderr
    assert "Traceback" not in out.stderr


def test_an_option_the_model_lacks_is_refused_even_where_nothing_is_said(tmp_path, capsys):
    soundfile.write(tmp_path / "silence.wav", np.zeros(160_000), 16000)
    assert cli.main(["transcribe", str(tmp_path / "silence.wav"), "--translate"]) == 2
    assert "demo-paraformer" in capsys.readouterr().err


@pytest.mark.models
def test_hotwords_of_a_file_tell_what_they_changed(tmp_path, capsys):
    (tmp_path / "words.txt").write_text("\ufeffthe light => the Lyte\n\nWaitzkin\n", encoding="utf-8")
    clip = str(EXAMPLE / "english-home.flac")
    words = ["--hotwords", str(tmp_path / "words.txt"), "--hotword", "what time => When"]
    assert cli.main(["transcribe", clip, *words]) == 0
    out, err = capsys.readouterr()
    assert "Turn on the Lyte." in out
    assert "When is it?" in out
    assert "the light → the Lyte (the light => the Lyte)" in err
    assert "Waitzkin: no effect (not in the text)" in err


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "cannot be read"),
        (b"\xff\xfe\x00", "cannot be read"),
        (b"x\n" * 500_000, "too long"),
        (b"x =>\n", "line 1"),
    ],
    ids=["gone", "no text", "a megabyte", "no rule"],
)
def test_a_file_that_is_no_list_of_hotwords_is_refused(tmp_path, capsys, content, said):
    path = tmp_path / "words.txt"
    if content is not None:
        path.write_bytes(content)
    assert cli.main(["transcribe", str(EXAMPLE / "english-home.flac"), "--hotwords", str(path)]) == 2
    assert said in capsys.readouterr().err


def test_messages_come_in_the_users_language():
    out = run("transcribe", "x.wav", "--model", "没有", language="zh_CN.UTF-8")
    assert out.returncode == 2
    assert "未知模型" in out.stderr


def test_the_server_refuses_a_bad_flag_before_it_listens():
    out = subprocess.run(
        [sys.executable, "app.py", "--precision", "int4"], cwd=ROOT, capture_output=True, text=True, timeout=120
    )
    assert out.returncode == 2
    assert "fp32, bf16, fp16, int8" in out.stderr
    assert "Traceback" not in out.stderr


@pytest.mark.models
def test_several_results_on_stdout_can_be_told_apart(capsys):
    clips = [str(EXAMPLE / "english-home.flac"), str(EXAMPLE / "english-numbers.ogg")]
    assert cli.main(["transcribe", *clips, "--format", "JSON"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [json.loads(line)["duration_s"] > 1 for line in lines] == [True, True]
    assert cli.main(["transcribe", *clips, "--format", "srt"]) == 2
    assert "--output" in capsys.readouterr().err


@pytest.mark.models
def test_standard_input_is_a_recording():
    command = [sys.executable, "-m", "asr_app", "transcribe", "-"]
    out = subprocess.run(
        command, cwd=ROOT, env=os.environ | {"ASR_MODEL": catalog.FALLBACK}, capture_output=True, timeout=300,
        input=(EXAMPLE / "english-home.flac").read_bytes(),
    )  # fmt: skip
    assert "weather" in out.stdout.decode()


@pytest.mark.models
def test_a_corrected_file_is_not_overwritten(tmp_path, capsys):
    clip, out = str(EXAMPLE / "english-home.flac"), tmp_path / "english-home.txt"
    out.write_text("corrected by hand")
    assert cli.main(["transcribe", clip, "--output", str(tmp_path)]) == 2
    assert "--overwrite" in capsys.readouterr().err
    assert out.read_text() == "corrected by hand"
    assert cli.main(["transcribe", clip, "--output", str(tmp_path), "--overwrite"]) == 0
    assert "weather" in out.read_text()


@pytest.mark.models
def test_a_long_name_is_shortened_and_a_result_that_cannot_be_written_fails_alone(tmp_path, capsys):
    long, other = tmp_path / ("长" * 82 + ".flac"), tmp_path / "other.flac"
    for path in (long, other):
        shutil.copy(EXAMPLE / "english-home.flac", path)
    assert cli.main(["transcribe", str(long), str(other), "--output", str(tmp_path / "out")]) == 0
    assert len(list((tmp_path / "out").iterdir())) == 2
    (tmp_path / "out" / "other.json").mkdir()
    assert (
        cli.main(
            ["transcribe", str(other), str(long), "--format", "json", "--overwrite", "--output", str(tmp_path / "out")]
        )
        == 2
    )
    assert "other.json cannot be written" in capsys.readouterr().err
    assert len(list((tmp_path / "out").glob("长*.json"))) == 1


@pytest.mark.models
def test_an_output_that_is_full_closed_or_not_in_utf8_ends_in_a_sentence():
    command = f"{sys.executable} -m asr_app transcribe {EXAMPLE / 'mandarin-home.wav'}"
    env = os.environ | {"ASR_MODEL": catalog.FALLBACK, "PYTHONIOENCODING": "ascii"}
    for redirected, code in ((" > /dev/full", 2), (" >&-", 2), ("", 0)):
        out = subprocess.run(
            ["bash", "-c", command + redirected], cwd=ROOT, env=env, capture_output=True, text=True, timeout=300
        )
        assert out.returncode == code, out.stderr
        assert "Traceback" not in out.stderr
        assert ("error: " in out.stderr) == (code == 2)
    assert "\\u" in out.stdout


@pytest.mark.parametrize(
    "flag", [("--threads", "0"), ("--threads", "-2"), ("--threads", "two")], ids=lambda flag: flag[1]
)
def test_a_number_of_threads_that_cannot_be_is_refused(flag):
    out = run("transcribe", EXAMPLE / "english-home.flac", *flag)
    assert out.returncode == 2
    assert "whole number above 0" in out.stderr


@pytest.mark.parametrize("flag", [("--limit", "0"), ("--rounds", "-1"), ("--seconds", "nan"), ("--minutes", "x")])
def test_numbers_are_checked_when_parsed(flag, capsys):
    parser = cli._parser if flag[0] == "--limit" else benchmarks_parser
    with pytest.raises(SystemExit) as ended:
        parser().parse_args(["verify" if flag[0] == "--limit" else "speed", *flag])
    assert ended.value.code == 2
    assert flag[0] in capsys.readouterr().err


@pytest.mark.parametrize(
    ("written", "code"),
    [
        ("English", "en"), ("en-US", "en"), ("zh-CN", "zh"), ("zh_Hans_CN", "zh"), ("Mandarin", "zh"), ("ZH", "zh"),
        ("zh-HK", "yue"), ("Cantonese", "yue"), ("jp", "ja"), ("haitian creole", "ht"), ("klingon", "klingon"),
    ],
)  # fmt: skip
def test_languages_are_taken_as_people_write_them(written, code):
    assert language_code(written) == code


def test_a_user_without_a_home_is_told_what_to_set(monkeypatch):
    monkeypatch.setattr(platformdirs, "user_data_dir", lambda _name: "~/.local/share/asr_app")
    monkeypatch.delenv("ASR_HOME", raising=False)
    with pytest.raises(UserError, match="ASR_HOME"):
        folders.home()


def test_a_home_that_cannot_be_used_is_told_without_a_traceback(tmp_path):
    (tmp_path / "file").write_text("")
    out = subprocess.run(
        [sys.executable, "app.py", "--model", catalog.FALLBACK, "--port", "1"], cwd=ROOT,
        env=os.environ | {"ASR_HOME": str(tmp_path / "file")}, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert out.returncode == 2
    assert "Set ASR_HOME" in out.stderr
    assert "Traceback" not in out.stderr


@pytest.mark.models
def test_emotions_are_labelled_only_if_asked_for(capsys):
    clip = str(EXAMPLE / "english-home.flac")
    labels = []
    for flags in ([], ["--emotions"]):
        assert cli.main(["transcribe", clip, "--model", "demo-sensevoice", "--format", "json", *flags]) == 0
        labels.append({tag for s in json.loads(capsys.readouterr().out)["segments"] for tag in s.get("tags", ())})
    assert labels == [set(), {"neutral"}]
    assert cli.main(["transcribe", clip, "--model", "demo-paraformer", "--emotions"]) == 2
    assert "has no option emotion" in capsys.readouterr().err


def test_docx_goes_to_no_terminal(capsys):
    assert cli.main(["transcribe", "x.wav", "--format", "docx"]) == 2
    assert "--output" in capsys.readouterr().err
