"""Machines of their own on one network, for tests that do what a tutorial says, literally.

There is one machine and no root, but Linux lets everybody make a user namespace, and in that one
network namespaces: each has its own addresses, ports and loopback, as a machine has, and can limit
what it sends. They share files and processor. All ends when the script does, also when that was
killed: nothing is left on the machine around it.
"""

from __future__ import annotations

import shlex
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from functools import lru_cache

#: machines by name, and their addresses; more than enough for a server and two sites
ADDRESSES: Mapping[str, str] = {
    "server": "10.0.0.1",
    "hospital-a": "10.0.0.2",
    "hospital-b": "10.0.0.3",
}
_TOOLS = ("unshare", "ip", "tc")
_OWN = ("unshare", "--user", "--map-root-user", "--net", "--mount", "--pid", "--fork")
#: what is in the world is its child, and the system ends it with the world
_ENDING = ("--mount-proc", "--kill-child")


def run_in_world(
    script: str,
    *,
    machines: Mapping[str, str] = ADDRESSES,
    rates: Mapping[str, str] | None = None,
    timeout: float = 120,
    env: Mapping[str, str] | None = None,
) -> subprocess.CompletedProcess[str]:
    """Run a bash script that sees these machines: ``on NAME COMMAND ...`` runs it on one of them.

    Each machine is known by its name (``/etc/hosts``). What ``on`` starts in the background, with
    ``&``, ends with the script at the latest. The script stops at the first command that fails.

    Args:
        script: for bash, in the folder of whoever calls.
        machines: their addresses within 10.0.0.0/24, by name.
        rates: what a machine may send at most, by its name, as ``tc`` says it: ``10mbit``.
        timeout: seconds until everything in the world is killed.
        env: the environment, if not that of whoever calls.

    Raises:
        subprocess.TimeoutExpired: it took longer.
    """
    world = f"{_prepared(machines, rates or {})}\n{script}\n"
    return subprocess.run(
        [*_OWN, *_ENDING, "bash", "-c", world],
        capture_output=True,
        text=True,
        timeout=timeout,
        env=env,
    )


@lru_cache(maxsize=1)
def why_not() -> str | None:
    """Why there can be no such world here, for the reason of a skipped test; None if there can."""
    if missing := [tool for tool in _TOOLS if shutil.which(tool) is None]:
        return f"there is no {missing[0]} here, which makes network namespaces"
    tried = run_in_world("on a true", machines={"a": "10.0.0.1"}, rates={"a": "10mbit"}, timeout=30)
    if tried.returncode:
        said = (tried.stderr.strip().splitlines() or ["it said nothing"])[-1]
        return f"network namespaces cannot be made here: {said}"
    return None


def _prepared(machines: Mapping[str, str], rates: Mapping[str, str]) -> str:
    """The lines of bash that make the world."""
    hosts = "".join(f"{address} {name}\n" for name, address in machines.items())
    lines = [
        "set -eu",
        # Of this world alone: where names of machines are kept, and what they are called.
        "mount -t tmpfs tmpfs /run",
        "mkdir /run/netns",
        f"printf %s {shlex.quote('127.0.0.1 localhost' + chr(10) + hosts)} > /run/hosts",
        "mount --bind /run/hosts /etc/hosts",
        "ip link add between type bridge",
        "ip link set between up",
        *(line for at, name in enumerate(machines) for line in _machine(at, name, machines[name])),
        *(_slowed(name, rate) for name, rate in rates.items()),
        'on() { ip netns exec "$@"; }',
    ]
    return "\n".join(lines)


def _machine(at: int, name: str, address: str) -> Sequence[str]:
    """A machine on the network; its own end of the cable is called eth0."""
    return [
        f"ip netns add {name}",
        f"ip link add cable{at} type veth peer name eth0 netns {name}",
        f"ip link set cable{at} master between up",
        f"ip -n {name} address add {address}/24 dev eth0",
        f"ip -n {name} link set eth0 up",
        f"ip -n {name} link set lo up",
    ]


def _slowed(name: str, rate: str) -> str:
    bucket = f"tbf rate {rate} burst 32kbit latency 400ms"
    return f"ip netns exec {name} tc qdisc add dev eth0 root {bucket}"
