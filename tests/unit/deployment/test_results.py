"""What a federation has learned, as a site takes it: all of it fits the model, or none is taken."""

from __future__ import annotations

import pytest

pytest.importorskip("flwr")

import torch

from fedbench.deployment.own_data import own_context, own_test
from fedbench.deployment.proposing import KEPT
from fedbench.deployment.results import acknowledged, learned, readme, told, worth
from fedbench.federation import Federated
from fedbench.models.attached import attached
from fedbench.wire import BadPayload, opened, seal
from tests.payloads import written


@pytest.fixture
def context(world, config, housed, tmp_path):
    with attached(config) as model:
        yield own_context(config, "site-00", housed().task, model, tmp_path)


def tensors(context, change=lambda tensor: tensor):
    return {f"adapter/{name}": change(tensor) for name, tensor in context.initial.items()}


def test_what_a_server_tells_is_what_a_site_learns(context, config):
    adapter = {name: tensor + 1 for name, tensor in context.initial.items()}
    result = Federated.__new__(Federated)
    object.__setattr__(result, "adapter", adapter)
    object.__setattr__(result, "delta", {})
    payloads = told(config, ["site-00", "site-01"], result)
    found, delta = learned(context, payloads["site-00"])
    assert all(torch.equal(found[name], adapter[name]) for name in adapter)
    assert delta == {}
    header, _ = opened(acknowledged(KEPT, "site-00", payloads["site-00"]))
    assert header["answers"] == payloads.seal("site-01") == seal(payloads["site-00"])


@pytest.mark.parametrize(
    "change",
    [
        lambda sent: {name: tensor * float("nan") for name, tensor in sent.items()},
        lambda sent: {name: tensor / 0 for name, tensor in sent.items()},
        lambda sent: {**sent, "extra/x": torch.ones(1)},
        lambda sent: {**sent, "adapter/x": torch.ones(1)},
        lambda sent: {name: tensor[:1] for name, tensor in sent.items()},
        lambda sent: {**sent, "delta/x.lora_A.default.weight": torch.ones(2, 2)},
        lambda sent: {**sent, "adapter/large": torch.ones(2_000_000)},
        lambda sent: {},
    ],
    ids=["nan", "infinite", "extra", "more", "cut", "delta", "large", "nothing"],
)
def test_what_this_model_cannot_have_learned_is_refused(context, config, change):
    header = {"kind": "result", "run": config.id, "round": 2}
    with pytest.raises(BadPayload):
        learned(context, written(header, change(tensors(context))))


def test_what_it_is_worth_is_counted_on_the_sites_own_test_items(context, config, housed):
    items = own_test(config, housed().task)
    assert items
    same = dict(context.initial)
    before, after = worth(context, items, same, {})
    assert before == after
    assert 0 <= before <= len(items)
    # Whatever it is made of, a count comes of it.
    wild = {name: tensor * 1e30 for name, tensor in same.items()}
    assert 0 <= worth(context, items, wild, {})[1] <= len(items)


def test_its_readme_says_what_was_promised(config):
    assert "none promised" in readme(config)
    assert config.id in readme(config)
