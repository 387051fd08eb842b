"""The sentences of the look-alike tasks with their invented words left open.

Every run of eight words of a look-alike holds an invented word, which no corpus can have; what a
corpus can share is the sentence around it. So a template is looked for with any one or two words
in each slot.
"""

import re
from collections.abc import Iterable, Iterator

from fedbench.tasks.lookalike.newswire import FRAMES, JOINTS
from fedbench.tasks.lookalike.pharmacopoeia import RELATIONS

_TOKEN = re.compile(r"[a-z0-9]+|[.!?:;\n](?=\W|$)")
_STOP = "|"
_SLOT = "slot"
_FILLER = r"[^ |]+(?: [^ |]+)?"


def sentence_templates() -> list[str]:
    """Every frame and wording of the look-alikes, also the frames joined for two companies."""
    frames = [frame for split in FRAMES.values() for frame in split]
    joined = [
        JOINTS[split].format(frame.removesuffix(" ."), "{} {} .")
        for split, chosen in FRAMES.items()
        for frame in chosen
    ]
    asked = [
        wording
        for relation in RELATIONS.values()
        for part in (relation.train, relation.validation, relation.test)
        for wording in part
    ]
    return [*frames, *joined, *asked]


class TemplateFinder:
    """Counts the places that fit a template.

    Case and commas are ignored. A slot at the edge of a template must be at the edge of a
    sentence as well: without that, an open slot would fit any word.
    """

    def __init__(self, templates: Iterable[str]) -> None:
        self._templates = {template: _fixed_and_pattern(template) for template in templates}
        self._found: dict[str, int] = {}

    def read(self, document: str) -> None:
        """Look through one document."""
        text = f"{_STOP} {' '.join(_tokens(document))} {_STOP}"
        for template, (fixed, pattern) in self._templates.items():
            if fixed in text and (times := len(pattern.findall(text))):
                self._found[template] = self._found.get(template, 0) + times

    def report(self) -> dict[str, int | dict[str, int]]:
        """Say how many templates were looked for, which were found and how often."""
        return {"templates_checked": len(self._templates), "templates_found": self._found}


def _tokens(text: str) -> Iterator[str]:
    for token in _TOKEN.findall(text.lower()):
        yield token if token.isalnum() else _STOP


def _fixed_and_pattern(template: str) -> tuple[str, re.Pattern[str]]:
    """Return the longest run without a slot, for a quick look, and the whole as a pattern."""
    tokens = list(_tokens(template.replace("{}", _SLOT)))
    if tokens[-1] == _STOP:
        tokens.pop()
    tokens = [_STOP] * (tokens[0] == _SLOT) + tokens + [_STOP] * (tokens[-1] == _SLOT)
    fixed = max((run.strip() for run in " ".join(tokens).split(_SLOT)), key=len)
    body = " ".join(_FILLER if token == _SLOT else re.escape(token) for token in tokens)
    return fixed, re.compile(rf"(?<![^ ]){body}(?![^ ])")
