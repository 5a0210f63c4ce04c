"""Writes a transcript as a Word document: a paragraph for each segment, its time before its text.

The three parts are all that a document needs (ECMA-376, Office Open XML): its content types, the relationship to the
text, the text.
"""

from __future__ import annotations

import io
import re
import zipfile
from xml.sax.saxutils import escape

from asr_app.datatypes import Transcript

_DECLARATION = '<?xml version="1.0" encoding="UTF-8" standalone="yes"?>\n'
_OFFICE = "http://schemas.openxmlformats.org"
_MAIN = "application/vnd.openxmlformats-officedocument.wordprocessingml.document.main+xml"
_TYPES = (
    f'<Types xmlns="{_OFFICE}/package/2006/content-types">'
    '<Default Extension="rels" ContentType="application/vnd.openxmlformats-package.relationships+xml"/>'
    f'<Override PartName="/word/document.xml" ContentType="{_MAIN}"/></Types>'
)
_RELATIONSHIPS = (
    f'<Relationships xmlns="{_OFFICE}/package/2006/relationships"><Relationship Id="text" '
    f'Type="{_OFFICE}/officeDocument/2006/relationships/officeDocument" Target="word/document.xml"/></Relationships>'
)
_FORBIDDEN = re.compile(r"[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")  # characters that XML cannot hold
_SINCE = (1980, 1, 1, 0, 0, 0)  # zip's oldest date, so that equal transcripts give equal bytes


def docx(transcript: Transcript) -> bytes:
    """The bytes of the document."""
    paragraphs = "".join(
        _paragraph(f"{_clock(s.start_s)}–{_clock(s.end_s)}", text, s.speaker)
        for s in transcript.segments
        if (text := " ".join(s.text.split()))
    )
    body = f'<w:document xmlns:w="{_OFFICE}/wordprocessingml/2006/main"><w:body>{paragraphs}</w:body></w:document>'
    parts = {"[Content_Types].xml": _TYPES, "_rels/.rels": _RELATIONSHIPS, "word/document.xml": body}
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, part in parts.items():
            archive.writestr(zipfile.ZipInfo(name, _SINCE), _DECLARATION + part, zipfile.ZIP_DEFLATED)
    return file.getvalue()


def _paragraph(times: str, text: str, speaker: str | None) -> str:
    named = f"{speaker}: " if speaker else ""
    grey = '<w:rPr><w:color w:val="808080"/><w:sz w:val="18"/></w:rPr>'
    return f"<w:p>{_run(times, grey)}<w:r><w:tab/></w:r>{_run(named + text, '')}</w:p>"


def _run(text: str, look: str) -> str:
    return f'<w:r>{look}<w:t xml:space="preserve">{escape(_FORBIDDEN.sub("", text))}</w:t></w:r>'


def _clock(seconds: float) -> str:
    whole = int(seconds)
    return f"{whole // 3600}:{whole // 60 % 60:02d}:{whole % 60:02d}"
