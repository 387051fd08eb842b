"""What a site does with one payload: ``handle(context, payload) -> payload``.

Nothing else of a site is ever called, in process or over a network: what a payload does not
say, a site does not know, and what a reply does not say never leaves it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from fedbench.config import RunConfig
from fedbench.evaluate import gold_loss, predict, score
from fedbench.files import write_bytes
from fedbench.models.tensors import Tensors, load_tensors, trained_tensors
from fedbench.optimizers import Start
from fedbench.phases import phase
from fedbench.rules import rule_of
from fedbench.rules.rule import Message, State
from fedbench.seeding import seeded
from fedbench.streams import seed_of
from fedbench.tokens import Answered, Tokenised
from fedbench.train import batches_of_turn, examples_of_turn, train
from fedbench.wire import BadPayload, decode, encode

Header = Mapping[str, Any]


@dataclass(frozen=True)
class SiteContext:
    """What one site holds: its examples, its copy of the model, a folder for its state."""

    site: str
    config: RunConfig
    model: nn.Module  #: sites of one process share it; every payload overwrites what is trained
    training: Sequence[Answered]
    validation: Sequence[Tokenised]
    validation_gold: Sequence[int]
    length_normalised: bool  #: whether a choice scores by the mean over its tokens, not the sum
    folder: Path  #: where versions of the site's private state are kept
    start: Start | None = None  #: where its optimizer comes from; a new one by default


def handle(context: SiteContext, payload: bytes) -> bytes:
    """Do what a payload asks for and return the reply.

    Raises:
        BadPayload: the payload cannot be read, or does not fit this site's model.
    """
    header, tensors = decode(payload)
    if header.get("kind") not in _TASKS:
        raise BadPayload(f"A payload asks for {header.get('kind')!r}, which no site does.")
    task, needed = _TASKS[header["kind"]]
    if absent := sorted(needed - header.keys()):
        raise BadPayload(f"A payload to {header['kind']} does not say {', '.join(absent)}.")
    message = _message(tensors)
    try:
        load_tensors(context.model, message.adapter)
    except ValueError as error:
        raise BadPayload(f"A payload does not fit the model: {error}.") from None
    return task(context, header, message)


def _train(context: SiteContext, header: Header, message: Message) -> bytes:
    """Train the loaded adapter on this turn's examples; reply with the contribution."""
    config, rule = context.config, rule_of(context.config.rule)
    state = _load_state(context, header["accepted"])
    key = (config.seed, context.site)
    quota = len(context.training) * header["local_passes"]
    chosen = examples_of_turn(len(context.training), quota, header["turn"], *key)
    lengths = [len(answered.tokens) for answered in context.training]
    batches = batches_of_turn(lengths, chosen, config.batch_size, *key, header["turn"])
    with phase("train"), seeded(seed_of("dropout", config.seed, header["round"], context.site)):
        report = train(
            context.model,
            [[context.training[i] for i in batch] for batch in batches],
            config,
            tuple(header["progress"]),
            rule.local(message, state),
            start=context.start,
        )
    trained = trained_tensors(context.model)
    contribution, new_state = rule.upload(message, trained, state, len(context.training))
    _save_state(context, header["round"], new_state)
    reply = {
        "kind": "update",
        "site": context.site,
        "round": header["round"],
        "weight": contribution.weight,
        "steps": report.steps,
        "examples": report.examples,
        "tokens": report.tokens,
        "flops": report.flops,
        "loss": report.loss,
    }
    return encode(reply, contribution.tensors, config.codec)


def _validate(context: SiteContext, header: Header, message: Message) -> bytes:
    """Score the loaded adapter on the site's own validation items; reply with sums only."""
    with phase("evaluate"):
        scores = score(
            context.model,
            context.validation,
            context.config.device,
            mean=context.length_normalised,
        )
    gold = list(context.validation_gold)
    reply = {
        "kind": "score",
        "site": context.site,
        "n": len(gold),
        "correct": int((predict(scores) == gold).sum()),
        "loss": gold_loss(scores, gold) * len(gold) if gold else 0.0,
    }
    return encode(reply, {})


Task = Callable[[SiteContext, Header, Message], bytes]
#: by kind: what is done, and which fields of the header it needs
_TASKS: dict[str, tuple[Task, frozenset[str]]] = {
    "train": (
        _train,
        frozenset({"round", "turn", "accepted", "local_passes", "progress"}),
    ),
    "validate": (_validate, frozenset()),
}


def message_payload(header: Header, message: Message, codec: str) -> bytes:
    """Serialise a rule's message; the inverse is done by :func:`handle`."""
    return encode(header, message_tensors(message), codec)


def message_tensors(message: Message) -> Tensors:
    """The tensors of a rule's message under the names that they travel with."""
    tensors = {f"adapter/{name}": tensor for name, tensor in message.adapter.items()}
    return tensors | {f"extra/{name}": tensor for name, tensor in message.extra.items()}


def _message(tensors: Tensors) -> Message:
    parts: dict[str, State] = {"adapter": {}, "extra": {}}
    for name, tensor in tensors.items():
        part, _, rest = name.partition("/")
        if part not in parts:
            raise BadPayload(f"A payload holds {name}, which belongs to no part of a message.")
        parts[part][rest] = tensor
    return Message(**parts)


def _version(context: SiteContext, round_: int) -> Path:
    return context.folder / context.site / f"{round_:05d}.state"


def _load_state(context: SiteContext, accepted: int) -> State:
    """The state that went with the last upload the server accepted; newer ones do not count."""
    path = _version(context, accepted)
    return decode(path.read_bytes())[1] if accepted >= 0 and path.exists() else {}


def _save_state(context: SiteContext, round_: int, state: State) -> None:
    if state:
        write_bytes(_version(context, round_), encode({}, state))
