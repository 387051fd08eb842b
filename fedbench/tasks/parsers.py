"""File formats: one function per format, and a registry of them.

A parser yields ``(where, columns)`` for every row; ``where`` names the row for messages.
"""

from __future__ import annotations

import codecs
import csv
import io
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from fedbench.errors import FedbenchError, shown
from fedbench.limits import DATA_BYTES, JSON_BYTES, LINE, ROWS, from_json, read_within
from fedbench.tasks.parquet_apart import rows_apart

Parsed = Iterator[tuple[str, dict[str, Any]]]
Parser = Callable[[Path, str], Parsed]

AGAIN = "the file seems damaged or cut short: fetch it again"


def read_csv(path: Path, encoding: str) -> Parsed:
    """Comma-separated values with a header line (``.tsv``: separated by tabs)."""
    delimiter = "\t" if path.suffix == ".tsv" else ","
    csv.field_size_limit(LINE)  # of one text, which may be as long as its line
    lines = _lines(_text(path, encoding), path, keepends=True)
    reader = csv.DictReader(lines, delimiter=delimiter, strict=True)
    try:
        names = reader.fieldnames or ()
        for number, name in enumerate(names, start=1):
            # A name is not told: where a header line is missing, it is a text of the first row.
            if (first := names.index(name) + 1) < number:
                raise FedbenchError(
                    f"{path}: columns {first} and {number} have one name: rename one of them."
                )
        for row in reader:
            where = f"{path}, line {reader.line_num}"
            if None in row or None in row.values():
                raise FedbenchError(
                    f"{where}: not as many fields as the header has; if something else than "
                    f"{delimiter!r} separates them, write the file with it (.csv) or with tabs "
                    f"(.tsv), else {AGAIN}."
                )
            yield where, dict(row)
    except csv.Error as error:
        raise FedbenchError(f"{path}, line {reader.line_num}: {error}; {AGAIN}.") from None


def read_jsonl(path: Path, encoding: str) -> Parsed:
    """One JSON object a line."""
    for number, line in enumerate(_lines(_text(path, encoding), path), start=1):
        if line.strip():
            where = f"{path}, line {number}"
            yield where, _object(_json(line, where), where)


def read_json(path: Path, encoding: str) -> Parsed:
    """A JSON list of objects, or one object a line (which many releases call ``.json``)."""
    text = _text(path, encoding)
    if not text.lstrip().startswith("["):
        yield from read_jsonl(path, encoding)
        return
    for number, row in enumerate(_whole(text, path), start=1):
        where = f"{path}, entry {number}"
        yield where, _object(row, where)


def read_parquet(path: Path, encoding: str) -> Parsed:
    """A Parquet table."""
    for number, row in enumerate(rows_apart(path), start=1):
        yield f"{path}, row {number}", row


def read_sentence_at_label(path: Path, encoding: str) -> Parsed:
    """Financial PhraseBank: ``sentence@label``, split at the last ``@``."""
    for number, line in enumerate(_lines(_text(path, encoding), path), start=1):
        where = f"{path}, line {number}"
        sentence, at, label = line.strip().rpartition("@")
        if at and sentence.strip():
            yield where, {"sentence": sentence.strip(), "label": label.strip()}
        elif line.strip():
            raise FedbenchError(f"{where}: not of the form sentence@label; {AGAIN}.")


def read_fiqa(path: Path, encoding: str) -> Parsed:
    """FiQA 2018 task 1: a JSON object of sentences, each with one entry per target."""
    entries = _whole(_text(path, encoding), path)
    source = "headline" if "headline" in path.name else "post"
    for number, (key, entry) in enumerate(_object(entries, str(path)).items(), start=1):
        where = f"{path}, entry {key if key.isdecimal() else number}"
        try:
            sentence = entry["sentence"]
            targets = [(info["target"], info["sentiment_score"]) for info in entry["info"]]
        except (KeyError, TypeError):
            raise FedbenchError(
                f"{where}: sentence, target or sentiment_score is missing; {AGAIN}."
            ) from None
        for target, score in targets:
            row = {"sentence": sentence, "target": target, "score": score, "source": source}
            yield where, row


PARSERS: Mapping[str, Parser] = {
    "csv": read_csv,
    "tsv": read_csv,
    "jsonl": read_jsonl,
    "json": read_json,
    "parquet": read_parquet,
    "sentence_at_label": read_sentence_at_label,
    "fiqa": read_fiqa,
}


def parse(path: Path, form: str, encoding: str) -> Parsed:
    """All rows of a file; ``form`` names its parser, or is empty to go by the file's ending.

    Raises:
        FedbenchError: unknown format, wrong encoding, damaged, truncated or empty file.
    """
    form = form or path.suffix.lstrip(".")
    if form not in PARSERS:
        raise FedbenchError(
            f"{path}: format {form!r} is not known (use one of {', '.join(PARSERS)})."
        )
    number = 0
    for number, row in enumerate(PARSERS[form](path, encoding), start=1):
        if number > ROWS:
            raise FedbenchError(f"{path} has more than {ROWS:,} rows, the most that is read.")
        yield row
    if not number:
        raise FedbenchError(f"{path} is empty: {AGAIN}.")


def _text(path: Path, encoding: str) -> str:
    try:
        content = read_within(path, DATA_BYTES)
        _refuse_other_than_latin1(content, encoding, path)
        text = content.decode(encoding)
        text.encode()  # some encodings can write half of a character, which is none
        return text.replace("\r\n", "\n").removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        raise FedbenchError(
            f"{path}, byte {error.start}: not {encoding} text; set encoding in the task's file, "
            "or fetch the file again."
        ) from None
    except UnicodeError:
        raise FedbenchError(
            f"{path} is not {shown(encoding)} text; set encoding in the task's file, or fetch the "
            "file again."
        ) from None
    except (LookupError, ValueError):
        raise FedbenchError(
            f"encoding {shown(encoding)} is not known: correct the task's file."
        ) from None
    except OSError as error:
        raise FedbenchError(f"{path} cannot be read ({error.strerror}).") from None


def _refuse_other_than_latin1(content: bytes, encoding: str, path: Path) -> None:
    """Latin-1 reads any bytes, so a file that was saved otherwise since must be noticed here."""
    if content.isascii() or codecs.lookup(encoding).name != "iso8859-1":
        return
    with suppress(UnicodeDecodeError):
        content.decode("utf-8")
        raise FedbenchError(
            f"{path} is UTF-8 text, not {encoding}: set encoding in the task's file, or fetch the "
            "file again."
        )
    # Bytes 0x80 to 0x9f are control characters in latin-1 and letters in code pages of Windows.
    if (
        odd := next((i for i, byte in enumerate(content) if 0x80 <= byte < 0xA0), None)
    ) is not None:
        raise FedbenchError(
            f"{path}, byte {odd}: a control character, so hardly {encoding} text: set encoding in "
            "the task's file, or fetch the file again."
        )


def _lines(text: str, path: Path, *, keepends: bool = False) -> Iterator[str]:
    """Lines of a text, none longer than a row of any dataset."""
    for number, line in enumerate(io.StringIO(text, newline="\n"), start=1):
        if len(line) > LINE:
            raise FedbenchError(
                f"{path}, line {number}: more than {LINE:,} characters, which no row has; {AGAIN}."
            )
        yield line if keepends else line.removesuffix("\n")


def _whole(text: str, path: Path) -> Any:
    """The JSON value that a file is, of which no part can be read without the rest."""
    if len(text) > JSON_BYTES:
        raise FedbenchError(
            f"{path} has more than {JSON_BYTES:,} characters in one JSON value: write one object a "
            "line (.jsonl), or split it."
        )
    return _json(text, str(path))


def _json(text: str, where: str) -> Any:
    try:
        found = from_json(text)
    except ValueError:
        raise FedbenchError(f"{where}: not valid JSON; {AGAIN}.") from None
    if "\\ud" in text.lower():
        _refuse_half_characters(found, where)
    return found


def _refuse_half_characters(found: Any, where: str) -> None:
    """JSON can write half of a surrogate pair, which is no character and has no bytes."""
    try:
        json.dumps(found, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise FedbenchError(
            f"{where}: half of a character (a lone surrogate, such as of an emoji that was cut); "
            "complete the text or remove it."
        ) from None


def _object(value: Any, where: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise FedbenchError(f"{where}: a JSON object was expected; {AGAIN}.")
    return value
