"""Bad bytes: every reader of payloads and snapshots takes them or refuses them in a sentence.

Whatever else a reader does with them is a finding: another exception, a second of its time, or
memory for what a header says and nobody has sent.
"""

from __future__ import annotations

import json
import resource
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random

import numpy as np
import pytest
import torch

from fedbench import receiving
from fedbench.errors import FedbenchError
from fedbench.federation import _resume
from fedbench.log_file import Mark, appended, read_log
from fedbench.models.attached import attached
from fedbench.models.tensors import trained_tensors
from fedbench.replies import bodies, contributions, heard, in_tensors, in_words, spool
from fedbench.resolving import resolve
from fedbench.rules import rule_of
from fedbench.secure_aggregation import (
    BadExchange,
    Private,
    advertise,
    collect,
    deliveries,
    encoded,
    mask,
    roster,
    share,
    unmask,
    unmasked,
)
from fedbench.secure_aggregation.server import check_keys
from fedbench.secure_aggregation.site import PUBLIC
from fedbench.site import SiteContext, handle, personal_adapter, personal_file
from fedbench.snapshots import joined, keep, kept
from fedbench.tokens import Tokenised
from fedbench.wire import decode, encode, framed, opened, schema_of
from fedbench.wire.codecs import codec_of
from fedbench.wire.schema import digest
from tests import bigram, toys
from tests.campaigns.mutations import Outcome, Trial, little_memory, of_bytes, of_payload, of_value
from tests.payloads import TRAIN, VALIDATE, asking, written
from tests.unit.secure_aggregation.attempts import scheme_of, terms_of

SITE = "site-00"
HELD = {SITE: bigram.sequences((1, 2), (3, 4)), "site-01": bigram.sequences((2, 5))}
TENSORS = bigram.initial() | {"bias": torch.arange(7.0)}
SCHEMA = schema_of(TENSORS)
#: of uploads; error feedback and what a site was told before change nothing for who reads
CODECS = ("fp32", "fp16", "int8", "int4", "top-k:share=0.1", "ef+top-k:share=0.2+int8", "sign",
          "low-rank:rank=1", "bf16", "top-k:share=0.3+low-rank+int4")  # fmt: skip
PRIVATE = {"unit": "example", "clip": 1.0, "noise": 1.0, "examples": 4, "accountant": "rdp"}
#: bytes of address space that small inputs may need: threads of torch take some, too
ROOM = 2 << 30
GROWTH = 600 << 20  #: of resident memory, from first to last input

Mutation = Callable[[Random, bytes, bytes], bytes]


@dataclass(frozen=True)
class Reader:
    """Something that reads bytes, good ones to begin with, and its share of all inputs."""

    name: str
    seeds: Sequence[bytes]
    read: Trial
    mutate: Mutation = of_payload
    weight: int = 1


class Asked:
    """Messages of which a reply names the seal."""

    def seal(self, site: str) -> str:
        return "5" * 16


def reply_of(header: Mapping[str, object], codec: str = "fp32") -> bytes:
    told = {"site": SITE, "answers": Asked().seal(SITE), "kind": "update", "weight": 2, **header}
    return encode(told, TENSORS, codec_of(codec), np.random.default_rng(0), {digest(SCHEMA)})


def of_json(random: Random, content: bytes, other: bytes) -> bytes:
    """A file of JSON with one value changed, or its bytes."""
    if random.random() < 0.3:
        return of_bytes(random, content, other)
    return json.dumps(of_value(random, json.loads(content))).encode()


def of_snapshot(random: Random, content: bytes, other: bytes) -> bytes:
    """A snapshot whose frame, header, or safetensors inside are something else."""
    if random.random() < 0.5:
        return of_payload(random, content, other)
    header, body = opened(content)
    size = int.from_bytes(body[:8], "little")
    inside, values = json.loads(bytes(body[8 : 8 + size])), bytes(body[8 + size :])
    if random.random() < 0.3:
        for told in inside.values():
            told["dtype"] = random.choice(("F64", "I8", "BOOL", "F8_E4M3", "F4", "U16", "C64", "X"))
    told = json.dumps(of_value(random, inside)).encode()
    length = random.choice((len(told), len(told), 0, 2**40, 2**64 - 1))
    return framed(header, length.to_bytes(8, "little") + told + values)


def updates(folder: Path) -> list[Reader]:
    """The server: updates in every codec, and other replies."""
    found = []
    for text in CODECS:
        config = bigram.config(codec=text)
        form = in_tensors(config, lambda site: SCHEMA)
        work = {"steps": 1, "examples": 2, "tokens": 3, "flops": 4.0, "loss": 0.5}

        def read(content: bytes, config=config, form=form) -> None:
            sent = spool(iter([(SITE, content)]), Asked(), form, folder)
            if sent.refused:
                raise FedbenchError(sent.refused[SITE])
            (given,) = contributions(sent.replies, config, lambda site: SCHEMA)
            assert schema_of(given.tensors) == SCHEMA
            assert all(tensor.isfinite().all() for tensor in given.tensors.values())
            assert 0 <= given.weight <= 2**31

        found.append(Reader(f"update in {text}", [reply_of(work, codec_of(text).name)], read))
    score = {"kind": "score", "n": 3, "correct": 1, "loss": 0.5}
    scores = [framed({"site": SITE, "answers": "5" * 16, **score}, b"")]

    def read_score(content: bytes) -> None:
        told = heard(iter([(SITE, content)]), Asked(), "score")
        if told.refused:
            raise FedbenchError(told.refused[SITE])
        assert 0 <= told.replies[SITE].header["correct"] <= told.replies[SITE].header["n"]

    return [*found, Reader("score", scores, read_score, weight=3)]


def messages(folder: Path) -> list[Reader]:
    """A site: messages to train, validate and personalise, under rules and codecs that differ."""
    found = []
    for number, values in enumerate(
        ({},
         {"codec_down": "delta+int8", "codec": "ef+int8"},
         {"rule": "scaffold", "optimizer": "sgd"},
         {"privacy": PRIVATE})
    ):  # fmt: skip
        config = bigram.config(**values)
        context = bigram.contexts(HELD, config, folder / str(number))[SITE]
        rule = rule_of(config.rule)
        told = rule.broadcast(rule.init(bigram.initial(), config), SITE)
        seeds = [
            asking(TRAIN, told, config.codec_down.removeprefix("delta+")),
            asking({**VALIDATE, "form": "change", "holds": 0}, told),
            asking({**TRAIN, "kind": "personalise", "local_passes": 1}, told),
        ]
        found.append(
            Reader(f"message, {values}", seeds, lambda content, c=context: handle(c, content),
                   weight=4)
        )  # fmt: skip
    return found


@contextmanager
def messages_with_ranks(folder: Path) -> Iterator[Reader]:
    """A site with LoRA, where factors have ranks, and deltas are folded into the backbone."""
    options = toys.options(folder / "toy")
    config = resolve(bigram.config(**{**options, "rule": "flora", "alpha": 2}))
    rule = rule_of("flora")
    with attached(config) as model:
        initial = trained_tensors(model)
        context = SiteContext(
            site=SITE, config=config, model=model, training=HELD[SITE],
            validation=[Tokenised((1,), ((2,), (6,)))], validation_gold=[0],
            length_normalised=False, initial=initial, folder=folder / "sites",
        )  # fmt: skip
        message = replace(rule.broadcast(rule.init(initial, config), SITE), delta=initial)
        seeds = [asking(VALIDATE, message), asking({**TRAIN, "local_passes": 0}, message)]
        yield Reader("message, LoRA", seeds, lambda content: handle(context, content))


def secure(folder: Path) -> list[Reader]:
    """Both ends of secure aggregation: keys, shares, masked vectors, and what a site keeps."""
    terms = terms_of(3, run="r", round_=0)
    scheme, vector = scheme_of(terms), encoded({"w": torch.ones(4)}, 1.0, scheme_of(terms))
    first = {site: advertise(terms, site) for site in terms.sites}
    keys = roster(terms, {site: body for site, (_, body) in first.items()})
    second = {site: share(private, keys) for site, (private, _) in first.items()}
    told = deliveries(terms, keys, {site: blocks for site, (_, blocks) in second.items()})
    third = {site: mask(second[site][0], told[site], vector) for site in terms.sites}
    collected = collect(
        terms, terms.sites, [(s, w.tobytes()) for s, (_, w) in third.items()], 5, scheme
    )
    asked = collected.reveal
    last = {site: unmask(third[site][0], asked)[1] for site in terms.sites}
    config = bigram.config(sites=3, secure={"bound": 4.0})
    context = bigram.contexts(HELD, config, folder)[SITE]
    place = folder / SITE / "secure"
    place.parent.mkdir(parents=True)
    message = rule_of("fedavg").broadcast(bigram.initial(), SITE)
    shares = {"senders": list(told[SITE].sites), "shares": told[SITE].body.hex()}

    def site(private: Private, *payloads: bytes) -> Reader:
        def read(content: bytes) -> None:
            place.write_bytes(framed({}, private.to_bytes()))
            handle(context, content)

        return Reader(f"secure message, {private.stage}", payloads, read, weight=2)

    def private(content: bytes) -> None:
        found = Private.from_bytes(content)
        for step in (
            lambda: share(found, keys),
            lambda: mask(found, told[SITE], vector),
            lambda: unmask(found, asked),
        ):
            try:
                step()
            except BadExchange:
                continue

    def answers(kind: str, n_bytes: int, check) -> Trial:
        def read(content: bytes) -> None:
            refused = bodies(iter([(SITE, content)]), Asked(), kind, n_bytes, check)[1].refused
            if refused:
                raise FedbenchError(refused[SITE])

        return read

    def vectors(content: bytes) -> None:
        form = in_words(third[SITE][1].nbytes)
        form.check(SITE, {}, memoryview(content))
        found = collect(
            terms, terms.sites,
            [(s, content if s == SITE else w.tobytes()) for s, (_, w) in third.items()], 5, scheme,
        )  # fmt: skip
        unmasked(terms, keys, found, last)

    def revealed(content: bytes) -> None:
        total = replace(collected, total=collected.total.copy())
        unmasked(terms, keys, total, last | {SITE: content})

    named = {"site": SITE, "answers": "5" * 16, "kind": "advertise"}
    return [
        site(first[SITE][0], framed({"kind": "share", **terms.named(), **keys.header()}, keys.body),
             framed({"kind": "advertise", **terms.header()}, b"")),
        site(second[SITE][0], asking(TRAIN | terms.named() | shares, message)),
        site(third[SITE][0], framed({"kind": "unmask", **terms.named(), **asked.header()}, b"")),
        Reader("what a site keeps of secrets", [p.to_bytes() for p, _ in second.values()], private,
               of_json, 2),
        Reader("keys", [framed(named, first[SITE][1])],
               answers("advertise", PUBLIC, lambda site, _, body: check_keys(site, body))),
        Reader("masked vector", [third[SITE][1].tobytes()], vectors, of_bytes),
        Reader("revealed shares", [last[SITE]], revealed, of_bytes),
    ]  # fmt: skip


def snapshots(folder: Path) -> list[Reader]:
    """What a server and sites write for themselves, and read when they go on."""
    state = rule_of("fedavgm").init(bigram.initial(), bigram.config())
    path = folder / "checkpoint"
    mark = appended(folder / "log.jsonl", Mark(), {"round": 0})
    keep(path, {"log": mark, "version": 1}, joined(state=state, held=bigram.initial()))
    snapshot = path.read_bytes()
    config = bigram.config(rule="scaffold", optimizer="sgd")
    context = bigram.contexts(HELD, config, folder / "sites")[SITE]
    rule = rule_of("scaffold")
    told = rule.broadcast(rule.init(bigram.initial(), config), SITE)
    handle(context, asking(TRAIN, told))
    going_on = asking({**TRAIN, "round": 1, "turn": 1, "accepted": 0, "version": 1}, told)
    held = folder / "sites" / SITE
    own, schemas = held / "00000.state", held / "schemas.json"
    kept_state, kept_schemas = own.read_bytes(), schemas.read_bytes()
    handle(context, asking({**TRAIN, "kind": "personalise", "local_passes": 1}, told))
    personal = personal_file(context.folder, SITE)

    def written_to(place: Path, read: Callable[[], object]) -> Trial:
        def trial(content: bytes) -> None:
            place.write_bytes(content)
            read()

        return trial

    def resumed() -> None:
        found, log, now, _ = _resume(folder, state)
        assert isinstance(log, list)
        assert found.keys()
        assert isinstance(now.version, int)

    def site_goes_on() -> None:
        schemas.write_bytes(kept_schemas)
        handle(context, going_on)

    def site_remembers() -> None:
        own.write_bytes(kept_state)
        handle(context, written({**going_on_header, "codec": "fp32"}, tensors_told))

    going_on_header, tensors_told = decode(going_on, {})
    going_on_header = {k: v for k, v in going_on_header.items() if k not in ("layout", "schema")}
    log = folder / "log.jsonl"
    return [
        Reader("snapshot", [snapshot], written_to(path, lambda: kept(path)), of_snapshot, 4),
        Reader("checkpoint", [snapshot], written_to(path, resumed), of_snapshot, 3),
        Reader("state of a site", [kept_state], written_to(own, site_goes_on), of_snapshot, 2),
        Reader("personal adapter", [personal.read_bytes()],
               written_to(personal, lambda: personal_adapter(context.folder, SITE)), of_snapshot),
        Reader("schemas of a site", [kept_schemas], written_to(schemas, site_remembers), of_json),
        Reader("log of a federation", [log.read_bytes()],
               written_to(log, lambda: read_log(log, mark)), of_json),
    ]  # fmt: skip


def plain(folder: Path) -> list[Reader]:
    """Payloads by themselves, and a site's reading of what it is told."""
    seeds = [written({"n": 1, "a": [1, "x"]}, TENSORS, text) for text in CODECS]
    known = {digest(SCHEMA): SCHEMA}
    told = folder / "told"
    told.mkdir()

    def received(content: bytes) -> None:
        header, body = opened(content)
        receiving.check(header, bigram.config())
        receiving.told(header, body, told, 1000)

    return [
        Reader("payload", seeds, lambda content: decode(content, known, 1000), weight=30),
        Reader("payload without limit", seeds[:1], opened, of_bytes, 2),
        Reader("what a site is told", [asking(TRAIN, rule_of("fedavg").broadcast(TENSORS, SITE))],
               received, weight=8),
    ]  # fmt: skip


def tried(readers: Sequence[Reader], inputs: int, random: Random) -> Outcome:
    """As many inputs, dealt to ``readers`` by weight."""
    outcome = Outcome()
    total = sum(reader.weight for reader in readers)
    for reader in readers:
        for _ in range(-(-inputs * reader.weight // total)):
            content, other = random.choice(reader.seeds), random.choice(reader.seeds)
            outcome.trial(reader.name, reader.read, reader.mutate(random, content, other))
    return outcome


@pytest.mark.timeout(3000)
@pytest.mark.filterwarnings("ignore")  # of libraries, about numbers that are not finite
def test_fuzzing_of_binary_readers(campaign, tmp_path, caplog):
    caplog.set_level("CRITICAL", "fedbench")
    (tmp_path / "spool").mkdir()
    with messages_with_ranks(tmp_path) as with_ranks:
        readers = [*plain(tmp_path), *updates(tmp_path / "spool"), *messages(tmp_path / "sites"),
                   *secure(tmp_path / "secure"), *snapshots(tmp_path), with_ranks]  # fmt: skip
        for reader in readers:  # good bytes are read
            for content in reader.seeds:
                reader.read(content)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        size = campaign.size(sample=1500, full=100_000)
        with little_memory(ROOM):
            outcome = tried(readers, size, Random(campaign.seed))
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024
    campaign.count(**outcome.counts)
    assert outcome.findings[:20] == []
    assert grown < GROWTH
    # It was really tried: some bytes say what they said before, and all kinds of others are told.
    assert outcome.taken > outcome.inputs // 50
    assert len(outcome.refused) > 80
