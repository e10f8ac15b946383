"""Listening sockets: where they listen, and what is told where they cannot."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

import pytest

from ws_middleware.listening import ListenError, bind


def test_socket_listens_at_once() -> None:
    with bind(port=0) as sock, socket.create_connection(sock.getsockname()) as client:
        assert client.getpeername() == sock.getsockname()
        assert sock.get_inheritable(), "workers inherit it"


def test_port_that_is_taken_is_told() -> None:
    with bind(port=0) as sock:
        port = sock.getsockname()[1]
        with pytest.raises(ListenError, match=rf"^cannot listen on 127\.0\.0\.1:{port}: .*in use"):
            bind(port=port)


def test_port_may_be_taken_again_at_once() -> None:
    with bind(port=0) as sock:
        port = sock.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port)):
            accepted, _ = sock.accept()
            accepted.close()  # first, so that this end stays in TIME_WAIT
    with bind(port=port):
        pass


@pytest.mark.parametrize(
    ("host", "where"), [("nowhere.invalid", r"nowhere\.invalid:80"), ("::zz", r"\[::zz\]:80")]
)
def test_host_that_does_not_exist_is_told(host: str, where: str) -> None:
    with pytest.raises(ListenError, match=f"^cannot listen on {where}: "):
        bind(host, 80)


@pytest.mark.parametrize("port", [-1, 65536, "http"])
def test_what_is_no_port_is_told(port: Any) -> None:
    with pytest.raises(ListenError, match=f":{port}: a port is a number from 0 to 65535"):
        bind(port=port)


def test_port_may_be_a_text_as_it_comes_from_the_environment() -> None:
    text: Any = "0"
    with bind(port=text) as sock:
        assert sock.getsockname()[1] > 0


def test_unix_socket(tmp_path: Path) -> None:
    path = tmp_path / "socket"
    with bind(uds=str(path)):
        assert path.is_socket()


def test_unix_socket_that_was_left_behind_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "socket"
    for _ in range(2):
        with bind(uds=str(path)):
            pass
        assert path.is_socket()


def test_file_in_the_place_of_a_unix_socket_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("precious")
    with pytest.raises(ListenError, match=f"^cannot listen on {path}: "):
        bind(uds=str(path))
    assert path.read_text() == "precious"


def test_unix_socket_in_no_folder_is_told(tmp_path: Path) -> None:
    with pytest.raises(ListenError, match="No such file or directory"):
        bind(uds=str(tmp_path / "missing" / "socket"))
