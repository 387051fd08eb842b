"""What is different about Flower's own programs here."""

from __future__ import annotations

import pytest

pytest.importorskip("flwr", reason="Flower is not installed: make env EXTRAS=dev,flower")

from flwr.common.constant import HEARTBEAT_DEFAULT_INTERVAL, NOOP_ACCOUNT_NAME, NOOP_FLWR_AID
from flwr.server.superlink.linkstate import LinkStateFactory
from flwr.supercore.object_store import ObjectStoreFactory
from flwr.superlink.federation import NoOpFederationManager

from fedbench.deployment.children import let_back

pytestmark = pytest.mark.filterwarnings("ignore:No path_separator:DeprecationWarning:alembic")


@pytest.fixture
def state(tmp_path):
    database = str(tmp_path / "state.db")
    stores = ObjectStoreFactory(database)
    return LinkStateFactory(database, NoOpFederationManager(), stores).state()


def test_a_site_that_was_killed_connects_again_at_once(state):
    let_back(state)
    node = state.create_node(NOOP_FLWR_AID, NOOP_ACCOUNT_NAME, b"key", HEARTBEAT_DEFAULT_INTERVAL)
    assert state.activate_node(node, HEARTBEAT_DEFAULT_INTERVAL)
    (before,) = state.get_node_info(node_ids=[node])

    assert state.activate_node(node, HEARTBEAT_DEFAULT_INTERVAL)

    (after,) = state.get_node_info(node_ids=[node])
    assert after.status == "online"
    assert after.last_activated_at > before.last_activated_at


def test_a_node_that_nobody_knows_is_not_let_in(state):
    let_back(state)
    assert not state.activate_node(1, HEARTBEAT_DEFAULT_INTERVAL)
