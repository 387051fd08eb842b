"""Batches: token ids, padded on the right, and the positions whose next token is asked for.

A causal model never looks right, so its real positions come out the same with no attention mask at
all, which keeps attention on its fastest path.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import takewhile

import torch
from torch import Tensor

_WORTH = 0.1  #: least share of a batch's tokens that a shared prefix must save
_PADDING = 0  #: any token id would do: nothing real ever attends to padding


@dataclass(frozen=True)
class Batch:
    """Token ids and the positions whose next token is asked for.

    Where several tokens are asked of one position, its logits are computed once.
    """

    input_ids: Tensor  #: (sequences, tokens), padded on the right
    asked: Tensor  #: (asked,) ascending indices into the flattened ``input_ids``, each once
    targets: Tensor  #: (supervised,) tokens whose likelihood is wanted
    where: Tensor | None = None  #: (supervised,) index into ``asked``; None: 0, 1, 2, ...
    visible: Tensor | None = None  #: (sequences, tokens, tokens), None for plain causal
    positions: Tensor | None = None  #: (sequences, tokens), None for 0, 1, 2, ...
    shared: int = 0  #: first tokens that all sequences have in common, computed once; none is asked


def collate(
    tokens: Sequence[Sequence[int]], starts: Sequence[int], device: str, *, share: bool = True
) -> Batch:
    """Make a batch that asks for ``tokens[i][starts[i]:]`` of every sequence ``i``.

    The last token of a sequence is asked for, never read, so it is not part of the input. Without
    ``share``, a common prefix is computed in every sequence anew: under dropout each draws its own.
    """
    read = [sequence[:-1] for sequence in tokens]
    width = max(map(len, read))
    pairs = [
        (row * width + position - 1, sequence[position])
        for row, (sequence, start) in enumerate(zip(tokens, starts, strict=True))
        for position in range(start, len(sequence))
    ]
    asked, targets = torch.tensor(pairs).T.to(device)
    prompts = [sequence[:start] for sequence, start in zip(tokens, starts, strict=True)]
    shared = _worth_sharing(prompts, width) if share else 0
    return Batch(pad(read, device), asked, targets, shared=shared)


def collate_branches(
    prompts: Sequence[Sequence[int]], choices: Sequence[Sequence[Sequence[int]]], device: str
) -> Batch:
    """Make a batch that asks for every token of every choice, each prompt being read once.

    The choices of a prompt follow it in one row; each sees the prompt and itself, at the
    positions it would have if it stood there alone. Targets come in the order of prompts, then
    choices, then tokens.
    """
    branched = [_branch(p, c) for p, c in zip(prompts, choices, strict=True)]
    width = max(len(ids) for ids, _, _, _ in branched)
    pairs = [
        (row * width + column, target)
        for row, (_, _, _, asked) in enumerate(branched)
        for column, target in asked
    ]
    flat, targets = torch.tensor(pairs).T
    asked, where = flat.unique(return_inverse=True)
    plain = Batch(
        pad([ids for ids, _, _, _ in branched], device),
        asked.to(device),
        targets.to(device),
        where.to(device),
        shared=_worth_sharing(prompts, width),
    )
    if all(len(some) == 1 or all(len(choice) == 1 for choice in some) for some in choices):
        return plain  # no choice stands where another could see it
    owners = pad([owner for _, _, owner, _ in branched], device)
    same = owners[:, :, None] == owners[:, None, :]
    return replace(
        plain,
        visible=(same | (owners[:, None, :] == 0)).tril(),
        positions=pad([positions for _, positions, _, _ in branched], device),
    )


def _worth_sharing(prompts: Sequence[Sequence[int]], width: int) -> int:
    """How many first tokens to compute once: none where that saves less than it costs.

    Attention over a prefix and over the rest are two steps with a mask instead of one without. A
    token that merely begins every text would pay for them in full.
    """
    common = _common(prompts)
    saved, whole = common * (len(prompts) - 1), len(prompts) * width
    return common if saved >= _WORTH * whole else 0


def _common(prompts: Sequence[Sequence[int]]) -> int:
    """How many first tokens are the same in all of several prompts, short of any prompt's last.

    A prompt's last token is asked for what follows it, so it is never part of what is shared.
    """
    if len(prompts) < 2:
        return 0
    ordered = sorted(map(tuple, prompts))
    least, greatest = ordered[0], ordered[-1]  # all others lie between these two
    longest = min(len(prompt) for prompt in prompts) - 1
    pairs = zip(least[:longest], greatest, strict=False)
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))


def pad(sequences: Sequence[Sequence[int]], device: str) -> Tensor:
    """Stack sequences of ids, padded on the right to the longest."""
    longest = max(len(sequence) for sequence in sequences)
    rows = [[*sequence, *[_PADDING] * (longest - len(sequence))] for sequence in sequences]
    return torch.tensor(rows, device=device)


def _branch(
    prompt: Sequence[int], choices: Sequence[Sequence[int]]
) -> tuple[list[int], list[int], list[int], list[tuple[int, int]]]:
    """Ids, positions, owners (0 the prompt, k the k-th choice) and asked (column, target) pairs."""
    ids, positions, owners = list(prompt), list(range(len(prompt))), [0] * len(prompt)
    asked = []
    for number, choice in enumerate(choices, start=1):
        columns = [len(prompt) - 1, *range(len(ids), len(ids) + len(choice) - 1)]
        asked += list(zip(columns, choice, strict=True))
        ids += choice[:-1]
        positions += range(len(prompt), len(prompt) + len(choice) - 1)
        owners += [number] * (len(choice) - 1)
    return ids, positions, owners, asked
