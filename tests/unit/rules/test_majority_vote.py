"""The vote of a majority, by hand."""

from __future__ import annotations

import numpy as np
import torch

from fedbench.reduction import weighted_sum
from fedbench.rules import rule_of
from fedbench.rules.rule import Contribution, Message, Work
from fedbench.wire import body_of, packed, schema_of
from fedbench.wire.codecs import codec_of

RULE = rule_of("majority-vote")
START = {"w": torch.zeros(3)}
TRAINED = [torch.tensor(v) for v in ([1.0, -1, 1], [2.0, -2, -2], [-9.0, 6, 6])]


def sent(trained, examples=1):
    contribution, state = RULE.upload(
        Message(START, {}), {"w": trained}, {}, Work(examples, 1, 1.0)
    )
    assert state == {}
    return contribution


def test_every_number_moves_by_the_mean_size_to_where_most_sites_moved_it():
    after = RULE.server(START, weighted_sum(map(sent, TRAINED)))
    mean_size = (1 + 2 + 7) / 3
    torch.testing.assert_close(after["w"], mean_size * torch.tensor([1.0, -1, 1]))


def test_a_tie_moves_nothing():
    after = RULE.server(START, weighted_sum(map(sent, (TRAINED[0], -TRAINED[0]))))
    assert not after["w"].any()


def test_a_vote_survives_one_bit_a_number():
    contribution, codec = sent(TRAINED[1]), codec_of("sign")
    schema = schema_of(contribution.tensors)
    parts = codec.encode(contribution.tensors, np.random.default_rng(0))
    got = Contribution(body_of(packed(parts, codec, schema), codec, schema), 1.0)
    assert all(torch.equal(got.tensors[n], t) for n, t in contribution.tensors.items())
