"""Long captions in two parts: what to read at once, and the rest behind a click, with no script."""

from __future__ import annotations

import re
from itertools import accumulate, takewhile

from fedbench.report.origin import SYNTHETIC

LONGEST = (
    300  #: characters of a caption that are shown at once, unless its first sentence is longer
)
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
    """A Markdown page of a caption and a table, its caption marked as one, and folded if long."""
    caption, _, table = page.partition("\n\n")
    if not table.startswith("|"):
        return page
    shown, rest = folded(caption)
    details = f"<details>\n<summary>{MORE}</summary>\n\n{rest}\n\n</details>\n\n" if rest else ""
    return f'<div class="caption">\n\n{shown}\n\n{details}</div>\n\n{table}'


def _is_marked(sentence: str) -> bool:
    return SYNTHETIC.partition(" ")[0] in sentence.lower()
