"""Ports of servers that tests and drills start."""

import socket

import pytest

from cluster import ports
from tests.s3_server import S3Server


def test_drawn_ports_differ_and_can_be_listened_on():
    drawn = ports.free_ports(50)
    assert len(set(drawn)) == 50
    assert all(ports.LOWEST <= port <= ports.HIGHEST for port in drawn)
    with socket.socket() as server:
        server.bind((ports.ADDRESS, drawn[0]))


def test_a_port_that_is_listened_on_is_never_drawn(monkeypatch):
    (taken,) = ports.free_ports(1)
    with socket.socket() as server:
        server.bind((ports.ADDRESS, taken))
        server.listen()
        monkeypatch.setattr(ports, "LOWEST", taken)
        monkeypatch.setattr(ports, "HIGHEST", taken)
        with pytest.raises(RuntimeError, match=f"fewer than 1 ports from {taken} to {taken}"):
            ports.free_ports(1)


def test_a_server_draws_again_when_another_took_its_port_meanwhile(tmp_path):
    server = S3Server(tmp_path / "s3")
    master = server.ports[2]
    with socket.socket() as other:
        other.bind((ports.ADDRESS, master))
        other.listen()
        server.start()
    try:
        assert master not in server.ports
        server.client().put_object(Bucket="tests", Key="after", Body=b"it")
    finally:
        server.kill()
