"""Long captions and notes: what to read at once, and the rest behind a click, with no script."""

from __future__ import annotations

import re
from itertools import accumulate, takewhile

from fedbench.report.origin import SYNTHETIC

#: characters of a caption that are shown at once, unless its first sentence is longer
LONGEST = 300
MORE = "more: what these runs are, and what must be said of them"
_SENTENCE_END = re.compile(r"(?<=[.!?]) (?=\S)")
_REMARK = re.compile(r"[^:]+: [A-Z]")  #: a sentence about some tasks, after their titles


def folded(caption: str) -> tuple[str, str]:
    """What of ``caption`` is shown at once, and the rest; nothing is lost but their order.

    Its first sentences are shown, up to what is said of single tasks, lest the first of those
    look like the only one; and, wherever they stand, all that call something synthetic.
    """
    if len(caption) <= LONGEST:
        return caption, ""
    first, *others = _SENTENCE_END.split(caption)
    lengths = accumulate((len(sentence) + 1 for sentence in others), initial=len(first))
    fitting = [one for one, end in zip(others, list(lengths)[1:], strict=True) if end <= LONGEST]
    begun = list(takewhile(lambda sentence: not _REMARK.match(sentence), fitting))
    others = others[len(begun) :]
    marked = [sentence for sentence in others if _is_marked(sentence)]
    rest = [sentence for sentence in others if not _is_marked(sentence)]
    return " ".join([first, *begun, *marked]), " ".join(rest)


def folded_page(page: str) -> str:
    """A Markdown page of a caption, a table and notes, which are marked as such, many folded."""
    caption, _, below = page.partition("\n\n")
    table, _, notes = below.partition("\n\n")
    if not table.startswith("|"):
        return page
    parts = [_small(caption), table, *([_small(_folded_notes(notes))] if notes.strip() else [])]
    return "\n\n".join(parts) + "\n"


def _folded_notes(notes: str) -> str:
    lines = notes.strip().splitlines()
    if len(notes) <= LONGEST or not all(line.startswith("- ") for line in lines):
        return notes.strip()
    shown = [line for line in lines if _is_marked(line)]
    rest = "\n".join(line for line in lines if not _is_marked(line))
    details = f"<details>\n<summary>{MORE}</summary>\n\n{rest}\n\n</details>" if rest else ""
    return "\n".join([*shown, "", details]).strip()


def _small(text: str) -> str:
    return f'<div class="caption">\n\n{text}\n\n</div>'


def _is_marked(sentence: str) -> bool:
    return SYNTHETIC.partition(" ")[0] in sentence.lower()
