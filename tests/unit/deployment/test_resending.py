"""The same message has the same answer, whatever happens between, and a replay has none."""

from __future__ import annotations

import itertools
import multiprocessing
import os
import secrets
import signal
from dataclasses import replace
from functools import partial

import pytest

from fedbench.deployment.resending import MOST, answered_once
from fedbench.engines import Failure
from fedbench.engines.in_process import InProcess
from fedbench.errors import Damaged, FedbenchError
from fedbench.files import read_json
from fedbench.privacy.accounting import Releases, epsilon
from fedbench.privacy.chance import REAL, SIMULATED
from fedbench.privacy.ledger import LEDGER
from fedbench.rules import rule_of
from fedbench.site import handle
from fedbench.wire import BadPayload, framed
from tests import bigram
from tests.payloads import TRAIN, asking, header_of
from tests.unit.privacy.test_in_the_loop import EXAMPLES, SECURE, asked
from tests.unit.test_federation import HELD, Killed, killing, run, same

RUN, OTHER = "0123456789abcdef", "fedcba9876543210"


def message(round_=0, kind="train", run=RUN, body=b"", **told):
    return framed({"kind": kind, "run": run, "round": round_, **told}, body)


class Toy:
    """Answers never twice alike, and counts how often it was asked."""

    def __init__(self):
        self.calls = 0

    def __call__(self, payload):
        self.calls += 1
        return secrets.token_bytes(40)


@pytest.fixture
def toy():
    return Toy()


@pytest.fixture
def answer(tmp_path, toy):
    return partial(answered_once, tmp_path / "site", answer=toy)


def kept(folder):
    return sorted(path.name for path in folder.rglob("*.reply"))


def test_the_same_message_has_the_same_answer_and_is_worked_on_once(answer, toy):
    first = answer(message())
    assert [answer(message()) for _ in range(3)] == [first] * 3
    assert toy.calls == 1


def test_a_message_that_differs_in_one_byte_is_another(answer, toy):
    replies = {answer(message(body=bytes([n]))) for n in range(5)}
    assert len(replies) == toy.calls == 5


def test_an_answer_is_kept_where_only_its_owner_can_read_it_before_it_is_sent(tmp_path):
    seen = []

    def asking_about(payload):
        seen.append(kept(tmp_path))
        return b"reply"

    answered_once(tmp_path, message(), asking_about)
    (path,) = (tmp_path / RUN).glob("*.reply")
    assert seen == [[]]
    assert path.stat().st_mode & 0o777 == 0o600


def test_an_answer_that_the_disk_does_not_keep_is_not_sent(tmp_path, toy):
    (tmp_path / RUN).write_text("in the way")
    with pytest.raises(FedbenchError, match="could not be written"):
        answered_once(tmp_path, message(), toy)


def test_answers_of_the_latest_round_are_kept_and_no_others(tmp_path, answer):
    last = {kind: answer(message(4, kind)) for kind in ("advertise", "share", "train", "unmask")}
    assert len(kept(tmp_path)) == 4
    last["validate"] = answer(message(4, "validate"))
    assert last == {kind: answer(message(4, kind)) for kind in last}
    answer(message(5))
    assert [name[:10] for name in kept(tmp_path)] == ["000000005-"]


@pytest.mark.parametrize("before", ["train", "validate"])
@pytest.mark.parametrize("kind", ["train", "validate", "advertise", "never answered"])
def test_a_message_of_a_round_before_the_latest_is_refused(answer, toy, before, kind):
    for sent in ("train", "validate", "advertise"):
        answer(message(2, sent))
    answer(message(3, before))
    with pytest.raises(BadPayload, match=r"round 2 came after one of round 3 .* a replay"):
        answer(message(2, kind))
    assert toy.calls == 4


def test_a_message_of_a_later_round_that_is_not_answered_ends_no_round(tmp_path, answer, toy):
    def refusing(payload):
        raise BadPayload("It cannot be.")

    first = answer(message(2))
    with pytest.raises(BadPayload, match="It cannot be"):
        answered_once(tmp_path / "site", message(999), refusing)
    assert answer(message(2)) == first
    assert answer(message(2, "validate"))
    assert toy.calls == 2


def test_what_was_not_answered_is_worked_on_when_it_is_asked_again(answer, toy, tmp_path):
    def crashing(payload):
        raise RuntimeError

    with pytest.raises(RuntimeError):
        answered_once(tmp_path / "site", message(), crashing)
    assert answer(message()) == answer(message())
    assert toy.calls == 1


def test_a_server_that_begins_a_round_again_is_answered_in_any_order(answer):
    """It was killed after all had validated, before its checkpoint; its new cohort is another."""
    scored = answer(message(7, "validate"))
    trained = answer(message(7, "train"))
    assert answer(message(7, "validate", accepted=7)) != scored
    assert (answer(message(7, "train")), answer(message(7, "validate"))) == (trained, scored)


def test_a_new_attempt_at_a_masked_round_is_another_message(answer):
    kinds = ("advertise", "share", "train", "unmask")
    attempts = [[answer(message(1, kind, attempt=n)) for kind in kinds] for n in range(3)]
    again = [[answer(message(1, kind, attempt=n)) for kind in kinds] for n in range(3)]
    assert again == attempts


def test_a_personal_adapter_comes_after_the_last_round_and_is_scored_under_its_number(answer):
    answer(message(2, "validate", personal=False))
    trained = answer(message(3, "personalise"))
    scored = answer(message(2, "validate", personal=True))
    assert answer(message(3, "personalise")) == trained
    assert answer(message(2, "validate", personal=True)) == scored
    with pytest.raises(BadPayload, match="replay"):
        answer(message(2, "validate", personal=False))


def test_rounds_of_another_run_do_not_count(answer, toy):
    first = answer(message(9))
    other = answer(message(0, run=OTHER))
    assert (answer(message(9)), answer(message(0, run=OTHER))) == (first, other)
    assert toy.calls == 2


def test_of_one_round_so_many_messages_are_answered_and_no_more(answer, toy, monkeypatch):
    monkeypatch.setattr("fedbench.deployment.resending.MOST", 3)
    replies = [answer(message(attempt=n)) for n in range(3)]
    with pytest.raises(BadPayload, match="3 different messages of round 0 were answered"):
        answer(message(attempt=3))
    assert [answer(message(attempt=n)) for n in range(3)] == replies
    assert answer(message(1))
    assert MOST >= 100


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"garbage",
        message()[:-1] + b"x",
        framed({"kind": "train", "round": 0}, b""),
        message(run="../../../etc/cron.d"),
        message(run=RUN + "\n"),
        message(run=7),
        message(round_=-1),
        message(round_=10**9),
        message(round_=True),
        message(round_="0"),
        message(round_=None),
    ],
    ids=repr,
)
def test_what_is_no_message_of_a_run_and_round_is_refused_and_leaves_nothing(
    tmp_path, answer, toy, payload
):
    with pytest.raises(BadPayload):
        answer(payload)
    assert toy.calls == 0
    assert list(tmp_path.iterdir()) == []


HARM = {
    "cut": lambda content: content[:-1],
    "changed": lambda content: content[:-1] + bytes([content[-1] ^ 1]),
    "empty": lambda content: b"",
    "of another message": lambda content: framed({"answers": "0" * 64}, b"reply"),
}


@pytest.mark.parametrize("harm", HARM.values(), ids=HARM)
def test_an_answer_that_is_damaged_is_told_and_nothing_is_done_anew(tmp_path, answer, toy, harm):
    answer(message())
    (path,) = tmp_path.rglob("*.reply")
    path.write_bytes(harm(path.read_bytes()))
    with pytest.raises(Damaged, match=r"reply, which this site has answered in round 0, is dam"):
        answer(message())
    assert toy.calls == 1
    path.unlink()  # the remedy that is told
    assert answer(message()) == answer(message())


def in_child(folder, payload, dies_at):
    """Whether a process that answers gets so far as to send, killed before it changes the disk.

    ``dies_at`` counts the calls that change it, from 0.
    """

    calls = itertools.count()

    def dying(real, *args, **options):
        if next(calls) == dies_at:
            os.kill(os.getpid(), signal.SIGKILL)
        return real(*args, **options)

    def child(pipe):
        for name in ("open", "write", "fsync", "replace", "unlink", "mkdir", "ftruncate"):
            setattr(os, name, partial(dying, getattr(os, name)))
        pipe.send_bytes(answered_once(folder / "site", payload, partial(spending, folder)))

    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=child, args=(theirs,))
    process.start()
    theirs.close()
    try:
        reply = ours.recv_bytes()
    except EOFError:
        reply = None
    process.join()
    assert process.exitcode == (-signal.SIGKILL if reply is None else 0)
    return reply


def spending(folder, payload):
    """Written down before it is made, as a ledger is; never the same twice."""
    made = secrets.token_bytes(40)
    (folder / f"{made.hex()}.debit").touch()
    return made


def test_killed_anywhere_it_sends_nothing_that_is_not_kept_and_debited(tmp_path):
    sent, survived = [], 0
    for dies_at in itertools.count():
        folder = tmp_path / str(dies_at)
        first = answered_once(folder / "site", message(0), partial(spending, folder))
        reply = in_child(folder, message(1), dies_at)
        after = answered_once(folder / "site", message(1), partial(spending, folder))
        debits = {path.stem for path in folder.glob("*.debit")}
        assert {first.hex(), after.hex()} <= debits
        assert len(debits) <= 3
        assert kept(folder) == kept(folder / "site")
        assert reply in (None, after)
        if reply is not None:
            break
        survived += len(debits) == 2
        answered_once(folder / "site", message(2), partial(spending, folder))
        assert [name[:10] for name in kept(folder)] == ["000000002-"]
        assert list(folder.rglob(".*")) == []
        sent.append(dies_at)
    assert len(sent) > 5  # it was killed at so many places,
    assert 0 < survived < len(sent)  # with its answer kept and not


def test_two_processes_that_have_the_same_message_send_the_same_bytes(tmp_path):
    context = multiprocessing.get_context("fork")
    queue = context.SimpleQueue()

    def child():
        queue.put(answered_once(tmp_path / "site", message(), partial(spending, tmp_path)))

    processes = [context.Process(target=child) for _ in range(4)]
    for process in processes:
        process.start()
    replies = {queue.get() for _ in processes}
    for process in processes:
        process.join()
    assert len(replies) == 1
    assert len([*tmp_path.glob("*.debit")]) == 1


class Remembering(InProcess):
    """Sites that answer the same message with the same bytes."""

    def exchange(self, messages, deadline=None):
        for site, payload in messages.items():
            context = self.contexts[site]
            folder = context.folder / site / "replies"
            try:
                yield site, answered_once(folder, payload, partial(handle, context))
            except BadPayload as error:
                yield site, Failure(str(error))


def test_a_private_turn_under_real_noise_has_the_same_bytes_twice_and_is_debited_once(tmp_path):
    context = bigram.contexts(HELD, asked(EXAMPLES), tmp_path)["site-00"]
    context = replace(context, chance=REAL)
    payload = asking(TRAIN | {"run": RUN}, rule_of("fedavg").broadcast(bigram.initial(), "site-00"))
    once = partial(answered_once, tmp_path / "replies", answer=partial(handle, context))
    replies = [once(payload) for _ in range(3)]
    assert replies == [replies[0]] * 3
    assert len(read_json(tmp_path / "site-00" / LEDGER)) == 1
    assert handle(context, payload) != replies[0]  # without keeping it


def test_a_site_killed_between_debit_and_reply_has_spent_and_spends_once_more(tmp_path):
    context = bigram.contexts(HELD, asked(EXAMPLES), tmp_path)["site-00"]
    context = replace(context, chance=REAL)
    payload = asking(TRAIN | {"run": RUN}, rule_of("fedavg").broadcast(bigram.initial(), "site-00"))

    def dying(payload):
        handle(context, payload)
        raise Killed

    with pytest.raises(Killed):
        answered_once(tmp_path / "replies", payload, dying)
    reply = answered_once(tmp_path / "replies", payload, partial(handle, context))
    assert header_of(reply)["epsilon"] == epsilon([Releases(1.0, 0.5, 4)], 1e-5, "prv")
    assert len(read_json(tmp_path / "site-00" / LEDGER)) == 2


def debits(folder):
    """How many turns each site has paid for."""
    return {site: len(read_json(folder / "sites" / site / LEDGER)) for site in HELD}


@pytest.mark.parametrize("after", [0, 2])
@pytest.mark.parametrize("exchange", range(6))
def test_a_server_killed_anywhere_costs_no_site_a_turn_more(tmp_path, exchange, after):
    config = asked(EXAMPLES)
    with pytest.raises(Killed):
        run(config, tmp_path, engine=killing(exchange, after, Remembering), chance=REAL)
    log = run(config, tmp_path, engine=Remembering, chance=REAL).log
    expected = [epsilon([Releases(1.0, 2 / 3, 3 * n)], 1e-5, "prv") for n in (1, 2, 3)]
    assert [set(record["epsilon"].values()) for record in log] == [{e} for e in expected]
    assert not any({"refused", "unheard"} & record.keys() for record in log)
    assert debits(tmp_path) == dict.fromkeys(HELD, 3)


@pytest.mark.parametrize("exchange", range(8))
def test_a_server_killed_anywhere_in_a_masked_round_is_answered_with_one_turn_more_at_most(
    tmp_path, exchange
):
    config = asked(EXAMPLES, secure=SECURE, rounds=2)
    with pytest.raises(Killed):
        run(config, tmp_path, engine=killing(exchange, 2, Remembering), chance=REAL)
    log = run(config, tmp_path, engine=Remembering, chance=REAL).log
    assert len(log) == 2
    assert not any({"refused", "abandoned", "unheard"} & record.keys() for record in log)
    assert set(debits(tmp_path).values()) <= {2, 3}


@pytest.mark.parametrize("values", [{}, {"codec_down": "delta+int8", "codec": "top-k:share=0.5"}])
@pytest.mark.parametrize("exchange", range(6))
def test_kept_answers_change_no_result_of_a_simulation(tmp_path, exchange, values):
    config = bigram.config(sites=3, own_passes=2, **values)
    undisturbed = run(config, tmp_path / "whole")
    with pytest.raises(Killed):
        run(config, tmp_path / "cut", engine=killing(exchange, 2, Remembering))
    resumed = run(config, tmp_path / "cut", engine=Remembering)
    assert same(resumed.adapter, undisturbed.adapter)
    assert resumed.log == undisturbed.log


def test_a_replay_of_a_message_of_an_earlier_round_is_refused_in_a_federation(tmp_path):
    sent = []

    class Replaying(Remembering):
        def exchange(self, messages, deadline=None):
            for site in messages:
                sent.append((site, messages[site]))
            yield from super().exchange(messages, deadline)

    config = asked(EXAMPLES)
    run(config, tmp_path, engine=Replaying, chance=REAL)
    before = debits(tmp_path)
    contexts = bigram.contexts(HELD, config, tmp_path / "sites")
    for site, payload in sent:
        ((_, answer),) = Remembering(contexts).exchange({site: payload})
        latest = header_of(payload)["round"] == config.rounds - 1
        assert isinstance(answer, bytes) if latest else "replay" in answer.reason
    assert debits(tmp_path) == before
    assert all(context.chance is SIMULATED for context in contexts.values())
