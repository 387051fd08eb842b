"""What a site does with one payload: ``handle(context, payload) -> payload``.

Nothing else of a site is ever called, in process or over a network: what a payload does not
say, a site does not know, and what a reply does not say never leaves it. A simulation also reads,
from the folder of a site, the adapter that it ended with, to score it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import nn

from fedbench import masking, receiving
from fedbench.attacks.attack import HONEST, Attack
from fedbench.config import RunConfig
from fedbench.errors import Damaged, FedbenchError, Refused, Replaceable, shown
from fedbench.evaluate import gold_loss, predict, score
from fedbench.faults.fault import SAFE, Crashed, Mishap
from fedbench.models.deltas import fold
from fedbench.models.ranks import narrowed, widened
from fedbench.models.tensors import Tensors, load_tensors, trained_tensors
from fedbench.optimizers import Start
from fedbench.phases import phase
from fedbench.privacy.chance import SIMULATED, Chance
from fedbench.privacy.turn import WORK, keyed, private_turn, spend, told_of_work
from fedbench.receiving import Header
from fedbench.rules import rule_of
from fedbench.rules.rule import Message, State, Work
from fedbench.seeding import seeded
from fedbench.snapshots import joined, keep, kept, parts
from fedbench.streams import generator, seed_of
from fedbench.tokens import Answered, Tokenised
from fedbench.train import (
    Accumulated,
    Gradient,
    LocalObjective,
    TrainReport,
    batches_of_turn,
    by_batch,
    examples_of_turn,
    train,
)
from fedbench.wire import (
    BadPayload,
    framed,
    opened,
    packed,
    schema_of,
    seal,
    told_by,
)
from fedbench.wire.codecs import codec_of
from fedbench.wire.feedback import compressed
from fedbench.wire.schema import digest

States = Mapping[str, State]  #: what a site keeps: for its rule, and what its codec owes
#: times the numbers of its model that a site takes at most in one message
_ROOM = 4


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
    initial: State  #: the adapter as it was at first; all sites of a process refer to one
    folder: Path  #: where versions of the site's private state are kept
    start: Start | None = None  #: where its optimizer comes from; a new one by default
    chance: Chance = SIMULATED  #: where noise and samples come from if its examples are private
    #: around the gradient of a turn, such as what ends a turn that takes too long
    around: Callable[[Gradient], Gradient] = lambda gradient: gradient
    attack: Attack = HONEST  #: what it does that an honest site does not
    mishap: Mishap = SAFE  #: what goes wrong while it does what it is asked for this time


def handle(context: SiteContext, payload: bytes) -> bytes:
    """Do what a payload asks for and return the reply.

    Raises:
        BadPayload: the payload cannot be read, or does not fit this site's model.
        Damaged, Refused: a file that this site keeps is not what it wrote, or cannot be written. It
            does not drop out for that: another result would come of it.
    """
    header, content = opened(payload)
    kind = header.get("kind")
    if isinstance(kind, str) and kind in masking.KINDS:
        folder = context.folder / context.site
        reply, body = masking.agree(folder, context.site, header, bytes(content))
    else:
        reply, body = _done(context, header, content)
    answer = framed({"site": context.site, "answers": seal(payload), **reply}, body)
    return context.attack.reply(answer, context.folder / context.site)


def _done(context: SiteContext, header: Header, content: memoryview) -> tuple[Header, bytes]:
    """Load what a message tells, and do what it asks for."""
    receiving.check(header, context.config)
    config, folder = context.config, context.folder / context.site
    numbers = sum(parameter.numel() for parameter in context.model.parameters())
    tensors = receiving.told(header, content, folder, _ROOM * numbers)
    try:
        if codec_of(config.codec_down).delta:
            tensors = receiving.put_together(header, tensors, folder)
        message = _message(tensors, config.rank_at(context.site), config.rank)
        check_delta(config, message.delta)
        state = _load_state(context, header["accepted"])
        adapter = rule_of(config.rule).own(message, state.get("rule", {}), context.initial)
        fold(context.model, message.delta)
        load_tensors(context.model, adapter)
    except ValueError as error:
        raise BadPayload(f"A payload does not fit the model: {error}.") from None
    header = keyed(config, header, tensors | joined(**state), context.chance)
    return _TASKS[header["kind"]](context, header, message, state)


def _train(
    context: SiteContext, header: Header, message: Message, state: States
) -> tuple[Header, bytes]:
    """Train the loaded adapter on this turn's examples; reply with the contribution."""
    rule, config = rule_of(context.config.rule), context.config
    of_rule, objective = state.get("rule", {}), _objective(context, message, state)
    try:
        spent = spend(config, header, context.site, context.folder)
        report = _turn(context, header, objective)
    except (Damaged, Refused):
        raise
    except FedbenchError as error:
        raise BadPayload(str(error)) from None
    trained = trained_tensors(context.model)
    work = Work(len(context.training), report.steps, report.rates)
    contribution, of_rule = rule.upload(message, trained, of_rule, work)
    update = narrowed(contribution.tensors, config.rank_at(context.site))
    key = (config.seed, header["round"], context.site)
    given = context.attack.update(replace(contribution, tensors=update), generator("attack", *key))
    random = generator("rounding", *key)
    codec, schema = codec_of(config.codec), schema_of(given.tensors)
    sent, owed = compressed(codec, given.tensors, state.get("owed", {}), random)
    _save_state(context, header, joined(rule=of_rule, owed=owed))
    told = told_by(schema, codec, {digest(schema)})
    weight = 1.0 if config.privacy else given.weight
    reply = _work(config, header, report) | spent
    if config.secure is None:
        body = packed(context.attack.parts(sent), codec, schema)
        return reply | told | {"weight": weight}, body
    update, folder = codec.decode(sent, schema), context.folder / context.site
    return reply, masking.masked(folder, config, header, update, weight)


def _personalise(
    context: SiteContext, header: Header, message: Message, state: States
) -> tuple[Header, bytes]:
    """Train the loaded adapter on for the site alone, and keep it; nothing of it is sent.

    On the site's own loss and nothing else, but what the rule holds still stays as it is.
    """
    frozen = _objective(context, message, state).frozen
    try:
        report = _turn(context, header, LocalObjective(frozen=frozen))
    except (Damaged, Refused):
        raise
    except FedbenchError as error:
        raise BadPayload(str(error)) from None
    keep(personal_file(context.folder, context.site), {}, trained_tensors(context.model))
    return _work(context.config, header, report), b""


def _objective(context: SiteContext, message: Message, state: States) -> LocalObjective:
    """What the rule has the site minimise.

    Raises:
        BadPayload: what is told or kept beside the adapter is not what the rule needs.
    """
    try:
        return rule_of(context.config.rule).local(message, state.get("rule", {}))
    except (KeyError, ValueError, RuntimeError) as error:
        raise BadPayload(f"What goes with the adapter does not fit it: {error}.") from None


def _turn(context: SiteContext, header: Header, objective: LocalObjective) -> TrainReport:
    """Train the loaded adapter on the examples of this turn."""
    config = context.config
    batches, gradient = _batches(context, header, objective)
    gradient = context.around(gradient)
    if (share := context.mishap.crash) is not None:
        gradient = _crashing(gradient, int(share * len(batches)))
    with phase("train"), seeded(seed_of("dropout", config.seed, header["round"], context.site)):
        report = train(
            context.model,
            [[context.training[i] for i in batch] for batch in batches],
            config,
            tuple(header["progress"]),
            objective,
            gradient,
            start=context.start,
        )
    if share is not None:
        raise Crashed("Its training crashed, and would have had no steps.")
    return report


def _crashing(gradient: Gradient, after: int) -> Gradient:
    """The same for so many steps; in the next one it crashes, its gradient half used."""
    left = iter(range(after))

    def until(model: nn.Module, sequences: Sequence[Answered]) -> Accumulated:
        found = gradient(model, sequences)
        if next(left, None) is None:
            raise Crashed(f"Its training crashed after {after} steps.")
        return found

    return until


def _batches(
    context: SiteContext, header: Header, objective: LocalObjective
) -> tuple[list[list[int]], Gradient]:
    """The batches of a turn, and how their gradients are computed."""
    config, count = context.config, len(context.training)
    key = (config.seed, context.site)
    if config.private("example") is not None and header["local_passes"]:
        site, frozen, chance = context.site, objective.frozen, context.chance
        return private_turn(config, context.model, count, header, site, frozen, chance)
    chosen = examples_of_turn(count, count * header["local_passes"], header["turn"], *key)
    lengths = [len(answered.tokens) for answered in context.training]
    batches = batches_of_turn(lengths, chosen, config.batch_size, *key, header["turn"])
    return batches, by_batch(context.model, config, context.mishap.holds)


def _work(config: RunConfig, header: Header, report: TrainReport) -> dict[str, Any]:
    """What a site says of a turn: nothing that tells of its examples if it is private or masked."""
    told = {name: getattr(report, name) for name in told_of_work(config)}
    if told_of_work(config) == WORK and report.micro_batch:
        told["micro_batch"] = report.micro_batch
    return {"kind": "update", "round": header["round"], **told}


def _validate(
    context: SiteContext, header: Header, message: Message, state: States
) -> tuple[Header, bytes]:
    """Score the site's adapter on its own validation items; reply with sums only."""
    if header["personal"]:
        if not personal_file(context.folder, context.site).exists():
            raise BadPayload("A payload asks for a personal adapter, and this site has none yet.")
        load_tensors(context.model, personal_adapter(context.folder, context.site))
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
        "n": len(gold),
        "correct": int((predict(scores) == gold).sum()),
        "loss": gold_loss(scores, gold) * len(gold) if gold else 0.0,
    }
    return reply, b""


Task = Callable[[SiteContext, Header, Message, States], tuple[Header, bytes]]
_TASKS: Mapping[str, Task] = {
    "train": _train,
    "personalise": _personalise,
    "validate": _validate,
}


def message_tensors(message: Message) -> Tensors:
    """The tensors of a rule's message under the names that they travel with."""
    tensors = {f"adapter/{name}": tensor for name, tensor in message.adapter.items()}
    tensors |= {f"extra/{name}": tensor for name, tensor in message.extra.items()}
    return tensors | {f"delta/{name}": tensor for name, tensor in message.delta.items()}


def _message(tensors: Tensors, held: int, rank: int) -> Message:
    """The rule's message, with zeros where this site has fewer ranks than the shared adapter."""
    parts: dict[str, State] = {"adapter": {}, "extra": {}, "delta": {}}
    for name, tensor in tensors.items():
        part, _, rest = name.partition("/")
        if part not in parts:
            raise BadPayload(
                f"A payload holds {shown(name)}, which belongs to no part of a message."
            )
        parts[part][rest] = tensor
    wide = {part: widened(parts[part], held, rank) for part in ("adapter", "extra")}
    return Message(**parts | wide)


def check_delta(config: RunConfig, delta: Mapping[str, Any]) -> None:
    """Make sure that the backbone is changed only where the rule of a run does so.

    Raises:
        BadPayload: it would be, and the rule leaves it alone.
    """
    if delta and not rule_of(config.rule).folds:
        raise BadPayload(f"A payload changes the backbone's weights, and {config.rule} does not.")


def personal_file(folder: Path, site: str) -> Path:
    """Where a site keeps the adapter that it ended with."""
    return folder / site / "personal"


def personal_adapter(folder: Path, site: str) -> State:
    """The adapter that a site ended with."""
    return kept(personal_file(folder, site))[1]


def _version(context: SiteContext, round_: int) -> Path:
    return context.folder / context.site / f"{round_:05d}.state"


def _load_state(context: SiteContext, accepted: int) -> States:
    """The state that went with the last upload the server accepted; newer ones do not count.

    Raises:
        Replaceable: it is damaged, or not there though the rule or the codec kept one: what was
            owed is not known.
    """
    path = _version(context, accepted)
    if accepted < 0 or not (path.exists() or _keeps(context.config)):
        return {}
    if not path.exists():
        raise Replaceable(
            f"{path} is missing, which {context.site} goes on from: its federation must start over."
        )
    return parts(kept(path)[1])


def _keeps(config: RunConfig) -> bool:
    """Whether a site has a state after every upload."""
    return rule_of(config.rule).keeps or codec_of(config.codec).feedback


def _save_state(context: SiteContext, header: Header, state: State) -> None:
    """Keep a new version, beside the accepted one; others are never asked for again.

    Were only older ones removed, a site whose uploads are all refused would keep every one.
    """
    if not state:
        return
    new, accepted = (_version(context, header[name]) for name in ("round", "accepted"))
    keep(new, {}, state)
    for old in new.parent.glob("*.state"):
        if old not in (new, accepted):
            old.unlink()
