"""`python -m asr_app`: transcribe files, serve, verify models, list them.

Results go to stdout or a folder, everything else to stderr.
"""

from __future__ import annotations

import argparse
import getpass
import io
import json
import logging
import os
import sys
import tempfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from asr_app import catalog, config, hub
from asr_app.batch.arguments import add_batch_arguments
from asr_app.cluster.arguments import add_serve_arguments, replicas
from asr_app.datatypes import ModelCard, Options
from asr_app.errors import UserError
from asr_app.evaluate.arguments import add_arguments
from asr_app.formats import FORMATS
from asr_app.hotwords.lines import MAX_CHARACTERS
from asr_app.languages import language_code
from asr_app.login import Account
from asr_app.outputs import Outputs
from asr_app.people import AUTO, OFF, parse_count
from asr_app.precision import Precision
from asr_app.report.arguments import add_bench_arguments, add_report_arguments
from asr_app.subtitles.command import add_lint_arguments
from asr_app.terminal import DownloadProgress, end_process
from asr_app.ui.texts import t

if TYPE_CHECKING:
    from asr_app.audio import Limits

_STDIN = "-"


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command. Returns 0, or 2 for a UserError, whose message says what to do."""
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    language = "zh" if os.environ.get("LANG", "").lower().startswith("zh") else "en"
    try:
        _never_fails_to_encode()
        args = _parser().parse_args(arguments)
        return int(args.run(args, language))
    except UserError as error:
        print(f"error: {error.text(language)}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # `| head` has all it wanted; what is still buffered must not be written at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def _never_fails_to_encode() -> None:
    """Makes a terminal that is not UTF-8 show escapes for the characters that it lacks."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("python -m asr_app", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    transcribe = commands.add_parser("transcribe", help="write what is said in recordings")
    transcribe.add_argument("paths", nargs="+", metavar="PATH", help="recordings; - is standard input")
    config.add_model_arguments(transcribe)
    transcribe.add_argument("--format", default="txt", type=str.lower, help=", ".join(FORMATS))
    transcribe.add_argument("--output", metavar="DIR", help="a file for each recording, instead of stdout")
    transcribe.add_argument("--overwrite", action="store_true", help="replace files that are in DIR already")
    _add_options(transcribe)
    transcribe.set_defaults(run=_transcribe)
    batch = commands.add_parser("batch", help="folders of recordings into a folder of texts; resumable")
    add_batch_arguments(batch)
    config.add_model_arguments(batch)
    _add_options(batch)
    batch.set_defaults(run=_batch)
    serve = commands.add_parser("serve", help="the page and the API, as app.py; or the API on a Ray cluster")
    config.add_server_arguments(serve)
    add_serve_arguments(serve)
    serve.set_defaults(run=_serve)
    _add_measuring(commands)
    return parser


def _add_options(transcribe: argparse.ArgumentParser) -> None:
    """The options of recognition."""
    transcribe.add_argument(
        "--hotword", action="append", default=[], help="a word to listen for, or `heard => meant`; may be repeated"
    )  # fmt: skip
    transcribe.add_argument("--hotwords", type=Path, metavar="FILE", help="a file with hotwords, one a line")
    transcribe.add_argument(
        "--language", help="what is spoken: zh, zh-CN, Chinese; default: auto, where the model can tell"
    )
    transcribe.add_argument("--languages", default="", metavar="CODES", help="detect among these only, such as zh,en")
    transcribe.add_argument(
        "--script", help="of Chinese text: simplified (default for Mandarin), traditional, as-heard"
    )
    transcribe.add_argument("--no-itn", dest="itn", action="store_false", help="leave numbers in words")
    transcribe.add_argument("--translate", action="store_true", help="into English")
    transcribe.add_argument(
        "--prompt",
        default="",
        help="a text that could have gone before: names, style. The model reads the end of it: some 1,000 letters of English, or 190 Chinese characters",
    )
    transcribe.add_argument(
        "--short-windows", action="store_true",
        help="encode no more than the speech needs, instead of 30 s: faster, with more errors (Whisper)",
    )  # fmt: skip
    transcribe.add_argument(
        "--speakers", nargs="?", const=AUTO, default=OFF, metavar="N",
        help="name the speaker of each sentence; N people, or as many as are found (docs/speakers.md)",
    )  # fmt: skip
    transcribe.add_argument("--emotions", action="store_true", help="label emotions (SenseVoice); docs/subtitles.md")


def _add_measuring(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """The commands about models and files, and `password`."""
    add_lint_arguments(commands.add_parser("lint", help="subtitle files against the limits of a readable subtitle"))
    check = commands.add_parser("verify", help="run models at each precision; 1 where one does not hold")
    add_arguments(check)
    check.set_defaults(run=_verify)
    bench = commands.add_parser("bench", help="error, speed and size of models at each precision: a report")
    add_bench_arguments(bench)
    bench.set_defaults(run=_bench)
    report = commands.add_parser(
        "report", help="a benchmark run again, 1 where a text differs; or its figures beside articles'"
    )
    add_report_arguments(report)
    report.set_defaults(run=_report)
    quantize = commands.add_parser("quantize", help="make a lower precision ahead of time; 2 where it loses too much")
    quantize.add_argument("model", metavar="MODEL")
    quantize.add_argument("--precision", default="int8")
    speech = quantize.add_mutually_exclusive_group()
    speech.add_argument(
        "--calibration", type=Path, metavar="FOLDER|MANIFEST", help="speech to search the best recipe on"
    )
    speech.add_argument(
        "--corrections", action="store_true", help="search it on the lines that were corrected or confirmed in the page"
    )
    quantize.add_argument("--max-loss", type=float, default=0.0002, help="share of units; default 0.0002")
    quantize.add_argument("--output", type=Path, metavar="DIR", help="write a folder to carry to another machine")
    quantize.add_argument("--threads", default=None)
    quantize.add_argument("--hub", default=hub.HUBS[0], choices=hub.HUBS)
    quantize.set_defaults(run=_quantize)
    corrections = commands.add_parser("corrections", help="what the lines corrected in the page say about the models")
    corrections.add_argument("--export", type=Path, metavar="DIR", help="write the lines as clips with a manifest")
    corrections.set_defaults(run=_corrections)
    models = commands.add_parser("models", help="list the models and what they can do")
    models.add_argument("--json", action="store_true")
    models.add_argument("--hub", default=hub.HUBS[0], choices=hub.HUBS)
    models.set_defaults(run=_models)
    password = commands.add_parser("password", help="print a line for the file of --auth, with the password hashed")
    password.add_argument("name", metavar="NAME")
    password.set_defaults(run=_password)


def _options(args: argparse.Namespace) -> Options:
    """The options that `_add_options` reads. Raises UserError for an unknown language."""
    spoken = None if args.language in (None, "auto") else language_code(args.language)
    try:
        speakers, count = parse_count(args.speakers)
    except UserError as error:
        hint = UserError(" Write --speakers=auto where a path comes next.", "后面紧跟路径时请写 --speakers=auto。")
        raise UserError(error.en + hint.en, error.zh + hint.zh) from error
    among = tuple(language_code(code) for code in args.languages.split(",") if code.strip())
    return Options(
        (*args.hotword, *_hotwords_in(args.hotwords)), spoken, None if args.itn else False, args.translate, args.prompt,
        languages=among, script=args.script, short_windows=args.short_windows, emotions=args.emotions,
        speakers=speakers, speaker_count=count,
    )  # fmt: skip


def _transcribe(args: argparse.Namespace, language: str) -> int:
    paths = [Path(p) for p in args.paths]
    outputs = Outputs(paths, args.format, args.output, args.overwrite)
    card = catalog.find(args.model)
    options = _options(args)
    picked = Precision.parse(args.precision) if args.precision else None
    threads = config.threads(args)
    # Model libraries take seconds to import: `models` and a mistyped flag must not wait for them.
    from asr_app import pipeline
    from asr_app.audio import Limits
    from asr_app.devices import pick_device, usable_cores
    from asr_app.engines import Engines
    from asr_app.families.base import require
    from asr_app.ui import hotwords

    require(card, options)  # before anything is downloaded for it
    engines = Engines(pick_device(args.device), threads or usable_cores(), config.hub_name(args), cache=config.cache())
    precision = engines.choose(card, config.lite(args), picked)
    if options.speakers:  # before the model, which may be large
        fetching = DownloadProgress("cam++")
        with engines.speakers(card, fetching):
            fetching.close()
    progress = DownloadProgress(card.id)
    failed = 0
    with engines.use(card, precision, progress) as loaded, tempfile.TemporaryDirectory(prefix="asr-stdin-") as work:
        progress.close()
        for number, path in enumerate(paths):
            try:
                outputs.check(number)
                recording = _from_stdin(Path(work), Limits()) if str(path) == _STDIN else path
                at, speakers = partial(engines.use, card), partial(engines.speakers, card)
                transcript = pipeline.transcribe(recording, loaded, options, Limits(), at, speakers)
                outputs.write(number, recording.name, transcript)
                for line in hotwords.lines(transcript, language):
                    print(f"{path.name}: {line}", file=sys.stderr)
            except UserError as error:  # the other recordings are still wanted
                print(f"error: {path.name}: {error.text(language)}", file=sys.stderr)
                failed += 1
    return 2 if failed else 0


def _hotwords_in(path: Path | None) -> list[str]:
    """The lines of a file of hotwords that are not empty. Raises UserError for a file that is no such list."""
    if path is None:
        return []
    try:
        with path.open(encoding="utf-8-sig") as file:
            text = file.read(2 * MAX_CHARACTERS)
            if file.read(1):
                raise UserError(
                    f"{path.name} is too long for hotwords: at most {MAX_CHARACTERS:,} characters are taken.",
                    f"{path.name} 过长：热词合计不超过 {MAX_CHARACTERS:,} 个字符。",
                )
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(
            f"{path} cannot be read as UTF-8 text ({type(error).__name__}). Check the file.",
            f"无法以 UTF-8 文本读取 {path}（{type(error).__name__}）。请检查文件。",
        ) from error
    return [line.strip() for line in text.splitlines() if line.strip()]


def _from_stdin(folder: Path, limits: Limits) -> Path:
    """A file with the bytes of standard input, at most one more than `limits` allow."""
    path = folder / "stdin"
    with path.open("wb") as file:
        left = limits.max_bytes + 1  # one more, so that it is refused like any file of that size
        while left > 0 and (piece := sys.stdin.buffer.read(min(left, 1 << 20))):
            file.write(piece)
            left -= len(piece)
    return path


def _password(args: argparse.Namespace, _language: str) -> int:
    password = getpass.getpass(f"Password of {args.name}: ", sys.stderr)
    if not (password and getpass.getpass("Once more: ", sys.stderr) == password):
        raise UserError("The passwords are empty or differ. Try again.", "密码为空或不一致，请重试。")
    print(Account.of(args.name, password).line)
    return 0


def _batch(args: argparse.Namespace, language: str) -> int:
    from asr_app.batch.command import batch

    return batch(args, _options(args), language, DownloadProgress("download"))


def _serve(args: argparse.Namespace, _language: str) -> int:
    settings, asked = config.of(args), replicas(args)
    if args.engine == "ray":
        from asr_app.cluster import server as cluster

        cluster.run(settings, asked)
    else:
        from asr_app import server

        server.run(settings)
    end_process()


def _verify(args: argparse.Namespace, _language: str) -> int:
    from asr_app.evaluate.command import verify

    return verify(args, DownloadProgress("download"))


def _bench(args: argparse.Namespace, language: str) -> int:
    from asr_app.report.command import bench

    return bench(args, language, DownloadProgress("download"))


def _report(args: argparse.Namespace, language: str) -> int:
    from asr_app.report.command import report

    return report(args, language, DownloadProgress("download"))


def _quantize(args: argparse.Namespace, language: str) -> int:
    from asr_app.quantize.command import quantize

    return quantize(args, language, DownloadProgress(args.model))


def _corrections(args: argparse.Namespace, language: str) -> int:
    from asr_app.corrections.command import corrections

    return corrections(args, language)


def _models(args: argparse.Namespace, language: str) -> int:
    groups = catalog.grouped(catalog.CARDS.values(), args.hub)
    if args.json:
        print(json.dumps([_as_row(c, args.hub) for c in catalog.CARDS.values()], ensure_ascii=False, indent=2))
        return 0
    for group, cards in groups.items():
        if cards:
            print(t(f"group_{group}", language))
        for card in cards:
            print(f"  {card.id:<22} {card.size_mb:>5} MB  {card.title}: {t(card.good_for, language)}")
            print(f"  {'':<22} {', '.join(p.value for p in card.precisions)} · {card.licence} · {_abilities(card)}")
    return 0


def _as_row(card: ModelCard, hub_name: str) -> dict[str, Any]:
    """The card for `models --json`."""
    return {
        "id": card.id,
        "title": card.title,
        "family": card.family,
        "size_mb": card.size_mb,
        "good_for": t(card.good_for, "en"),
        "languages": list(card.languages),
        "licence": card.licence,
        "precisions": [p.value for p in card.precisions],
        "capabilities": sorted(card.capabilities),
        "on_disk": hub.on_disk(card, hub_name),
    }


def _abilities(card: ModelCard) -> str:
    return ", ".join([*card.languages[:5], *(["..."] if len(card.languages) > 5 else []), *sorted(card.capabilities)])
