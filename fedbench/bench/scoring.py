"""Is scoring as right as a plain forward per choice, and how much faster than writing answers?

The same test items are answered in four ways: ours; one plain forward for every choice of every
item; ``model.generate`` on one item at a time, as evaluation scripts do; and on 64 together. Base
backbones are asked, which may write on to the limit of the longest choice where one that was
tuned ends: writing is timed at its most here.

``python -m fedbench.bench.scoring`` prints a table and writes ``build/bench/scoring.json``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

from fedbench.bench.pairs import interleaved, ratios, spread
from fedbench.config import RunConfig
from fedbench.evaluate import generate, predict, score
from fedbench.files import write_json
from fedbench.models.attached import attached
from fedbench.paths import home
from fedbench.prepare import Prepared, prepare
from fedbench.provenance import provenance
from fedbench.resolving import resolve
from fedbench.seeding import single_thread
from fedbench.tasks import Example
from fedbench.tokens import Tokenised

TASKS = ("lookalike_fpb", "lookalike_medqa")  #: labels of one word; options of several tokens
ITEMS, REPEATS = 96, 5

OURS, NAIVE, ONE, MANY = "ours", "a forward per choice", "written one by one", "written by 64"


def measure(tasks: Sequence[str] = TASKS, items: int = ITEMS, repeats: int = REPEATS) -> Any:
    """Times of every way on every task, and on how many items ours predicts otherwise."""
    rows = []
    with single_thread():
        for task in tasks:
            config = resolve(RunConfig(task=task, setting="base", test_limit=items))
            prepared = prepare(config)
            with attached(config) as model:
                rows.append({"task": task, **_of_task(prepared, model, repeats)})
    return {"hardware": provenance("")["hardware"], "repeats": repeats, "rows": rows}


def _of_task(prepared: Prepared, model: nn.Module, repeats: int) -> dict[str, Any]:
    test, tokens = prepared.of_split("test"), prepared.tokenised("test")
    mean = prepared.task.length_normalised
    ways = _ways(model, prepared.tokenizer, test, tokens, mean)
    answers = {name: way() for name, way in ways.items()}  # warm, and to be compared
    seconds = interleaved(ways, repeats)
    return {
        "items": len(test),
        "predicted_otherwise": int((answers[OURS] != answers[NAIVE]).sum()),
        "milliseconds_an_item": {
            name: spread([1e3 * s / len(test) for s in each]).numbers
            for name, each in seconds.items()
        },
        "times_as_fast_as": {
            name: ratios(seconds[name], seconds[OURS]).numbers for name in (NAIVE, ONE, MANY)
        },
    }


def _ways(
    model: nn.Module,
    tokenizer: Any,
    test: Sequence[Example],
    tokens: Sequence[Tokenised],
    mean: bool,
) -> dict[str, Callable[[], Any]]:
    def one_by_one() -> list[int]:
        pairs = zip(test, tokens, strict=True)
        return [generate(model, tokenizer, [e], [t])[0] for e, t in pairs]

    return {
        OURS: lambda: predict(score(model, tokens, "cpu", mean=mean)),
        NAIVE: lambda: predict([naive(model, item, mean=mean) for item in tokens]),
        ONE: one_by_one,
        MANY: lambda: generate(model, tokenizer, test, tokens),
    }


@torch.no_grad()
def naive(model: Any, item: Tokenised, *, mean: bool) -> Any:
    """Log-likelihood of every choice of an item, each from a forward of its own."""
    reduce = np.mean if mean else np.sum
    found = []
    for choice in item.choices:
        ids = torch.tensor([[*item.prompt, *choice]])
        logits = model(input_ids=ids).logits[0, len(item.prompt) - 1 : -1]
        each = logits.log_softmax(-1)[range(len(choice)), choice]
        found.append(float(reduce(each.double().numpy())))
    return np.array(found)


def table(found: Any) -> list[str]:
    """Lines that show what was measured."""
    lines = [f"{found['hardware']}; medians of {found['repeats']} interleaved repeats"]
    for row in found["rows"]:
        lines.append(
            f"{row['task']}: {row['items']} items, {row['predicted_otherwise']} predicted "
            f"otherwise than by {NAIVE}"
        )
        for name, time in row["milliseconds_an_item"].items():
            ratio = row["times_as_fast_as"].get(name)
            beside = (
                f"; ours is {ratio['median']:.1f} x as fast [{ratio['lowest']:.1f}, "
                f"{ratio['highest']:.1f}]"
                if ratio
                else ""
            )
            lines.append(f"  {name:22} {time['median']:8.2f} ms an item{beside}")
    return lines


if __name__ == "__main__":
    result = measure()
    write_json(home() / "bench" / "scoring.json", result)
    print("\n".join(table(result)))
