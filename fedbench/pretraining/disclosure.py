"""The part of a model card that says what the corpus shares with the tasks."""

import textwrap
from collections.abc import Mapping
from typing import Any

from fedbench.pretraining.check import FORMATS, LOOKALIKES, REAL

_UNCHECKED = "What the corpus shares with the tasks has not been checked."
_FORMATS = """\
**Prompt formats.** {sentiment:,} documents ({sentiment_share:.1%} of all tokens), business
statements and sentences with a tone, end with a line `Sentiment: ...`: this is the prompt format
of the task `fpb`, and that of `fiqa_sa` but for its line `Target: ...`. With the other wordings of
the same question they are {tone:,} documents ({tone_share:.1%} of all tokens). {question:,}
documents ({question_share:.1%} of all tokens, some of the former among them) have the form
`Question: ... Answer: ...`, which is that of `medqa` and `medmcqa`. All of them are composed by
this project from WordNet and its own grammar of business statements; {fpb}."""
_FPB = {
    None: "whether a sentence of `fpb` is among them was not measured",
    False: "no sentence of `fpb` is among them (measured below)",
    True: "sentences of `fpb` are in the corpus (see below)",
}
_DATASETS = """\
**Datasets.** Word by word, case and punctuation ignored, the corpus was searched for the distinct
questions or sentences of the dataset files that the project had, which the name of the split
tells: `dev-as-train` of MedQA and `hash-...` of MedMCQA are without the official training
questions, so these were not compared. Answer options were not searched for. A text of fewer than
eight words has no 8-gram, so it is looked for as a whole; one of fewer than five words is not
looked for."""
_HEAD = """\
| Task | Split | Texts | 8-grams checked | 8-grams found | Texts with one | Whole texts found \
| Whole texts of 5 to 7 words found | Texts not looked for |
|---|---|---:|---:|---:|---:|---:|---:|---:|"""
_NO_DATASETS = "**Datasets.** The corpus was not compared with MedQA, MedMCQA, FPB or FiQA."
_LOOKALIKES = """\
**Look-alike tasks.** Of {names_checked:,} invented names, on which every answer hangs, {names}
occur in the corpus. Of {templates_checked} sentence templates (every frame and wording, with any
one or two words in each slot), {templates} occur{end}"""


def shared_section(record: Mapping[str, Any]) -> str:
    """Write what the check has measured, and say what it has not."""
    if FORMATS not in record:
        return _UNCHECKED
    real = record.get(REAL)
    datasets = _datasets(real) if real else _NO_DATASETS
    return "\n\n".join([_formats(record), datasets, _lookalikes(record[LOOKALIKES])])


def _formats(record: Mapping[str, Any]) -> str:
    told: dict[str, Any] = {}
    names = {"sentiment_prompt": "sentiment", "sentiment_in_any_wording": "tone"}
    for kind, name in (names | {"question_prompt": "question"}).items():
        told[name] = record[FORMATS][kind]["documents"]
        told[f"{name}_share"] = record[FORMATS][kind]["tokens"] / record["tokens"]
    fpb = record.get(REAL, {}).get("fpb")
    return _filled(_FORMATS, **told, fpb=_FPB[_has_whole_texts(fpb) if fpb else None])


def _has_whole_texts(found: Mapping[str, Any]) -> bool:
    return bool(found["whole_texts_found"] or found["whole_texts_of_5_to_7_words_found"])


def _datasets(real: Mapping[str, Any]) -> str:
    rows = "\n".join(_dataset_row(name, found) for name, found in real.items())
    short = [
        f'"{text}" ({name})'
        for name, found in real.items()
        for text in found["whole_texts_of_5_to_7_words_found"]
    ]
    told = f"{_filled(_DATASETS)}\n\n{_HEAD}\n{rows}"
    return f"{told}\n\nOf 5 to 7 words and in the corpus: {', '.join(short)}." if short else told


def _dataset_row(name: str, found: Mapping[str, Any]) -> str:
    ngrams, whole = found["ngrams_found"], found["whole_texts_found"]
    short = found["whole_texts_of_5_to_7_words_found"]
    share = found["texts_with_a_found_ngram"] / found["texts"]
    return (
        f"| `{name}` | {found['split']} | {found['texts']:,} "
        f"| {found['ngrams_checked']:,} | {len(ngrams):,} "
        f"| {found['texts_with_a_found_ngram']:,} ({share:.1%}) | {len(whole)} | {len(short)} "
        f"| {found['texts_below_5_words']:,} |"
    )


def _lookalikes(found: Mapping[str, Any]) -> str:
    templates = found["templates_found"]
    listed = "".join(f"\n- `{told}` (places: {times})" for told, times in templates.items())
    told = _filled(
        _LOOKALIKES,
        names_checked=found["names_checked"],
        names=len(found["names_found"]),
        templates_checked=found["templates_checked"],
        templates=len(templates),
        end=":" if templates else ".",
    )
    return f"{told}\n{listed}" if listed else told


def _filled(text: str, **values: Any) -> str:
    filled = text.format(**values)
    return textwrap.fill(filled, 100, break_long_words=False, break_on_hyphens=False)
