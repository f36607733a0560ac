"""Ports for servers that are started now on this machine."""

import random
import socket

ADDRESS = "127.0.0.1"
# Below what the kernel gives to outgoing connections (32768 and up, on Linux): a port drawn from there may be taken
# by any client between drawing it and listening on it. Above those that Ray gives to its workers (10002-19999).
LOWEST, HIGHEST = 20_000, 32_767


def free_ports(count: int) -> list[int]:
    """*count* different ports that nobody listens on now.

    Raises:
        RuntimeError: hardly any port of the range is free.
    """
    drawn: list[int] = []
    # Drawn afresh in each process, whatever seed its work is done with.
    for port in random.SystemRandom().sample(range(LOWEST, HIGHEST + 1), HIGHEST + 1 - LOWEST):
        if len(drawn) == count:
            return drawn
        with socket.socket() as probe:
            try:
                probe.bind((ADDRESS, port))
            except OSError:
                continue
        drawn.append(port)
    raise RuntimeError(f"fewer than {count} ports from {LOWEST} to {HIGHEST} of {ADDRESS} are free")
