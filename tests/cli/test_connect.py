"""`connect` as scripts use it: through pipes, with options, by its exit status."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.client.scripted import Script, accepting, refusing, scripted, unix_listener
from tests.peer import PATIENCE, frame
from tests.running import ROOT, RunningServer, eventually, run_server
from tests.tls import make_certificate
from ws_middleware.cli import main

SERVICE = "tests.cli.talk_service:ws"


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Serve what is talked with; gives the URL of its root."""
    log = tmp_path_factory.mktemp("connect") / "log"
    with run_server(log, SERVICE, "--max-size", str(2**25)) as server:
        yield server.url


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "ws_middleware", "connect", *arguments]


def connect(*arguments: str, given: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    """Run the command to its end, with this as its input."""
    return subprocess.run(
        command(*arguments), cwd=ROOT, input=given, capture_output=True, timeout=2 * PATIENCE
    )


def check(
    done: subprocess.CompletedProcess[bytes], status: int, said: bytes | str = b"", told: str = ""
) -> str:
    """Check what a command printed, and its status; gives what it told beside messages."""
    error = done.stderr.decode()
    said = said.encode() if isinstance(said, str) else said
    assert (done.returncode, done.stdout) == (status, said), error
    assert "Traceback" not in error
    assert re.fullmatch(told, error.strip()) if told else not error, error
    return error


@contextlib.contextmanager
def silent() -> Iterator[Script]:
    """Listen, and answer nothing."""
    over = threading.Event()
    with scripted(lambda _: "" if over.wait(PATIENCE) else None) as script:
        try:
            yield script
        finally:
            over.set()


# --- input and output ---


def test_each_line_is_a_message_and_each_message_a_line(url: str) -> None:
    given = "first\n\nlast, without an end \u20ac".encode()
    check(connect(f"{url}/echo", given=given), 0, given + b"\n")


def test_lines_may_end_as_on_windows(url: str) -> None:
    check(connect(f"{url}/echo", given=b"a\r\nb\r\n"), 0, b"a\nb\n")


def test_many_lines_come_back_in_order_and_need_little_memory(url: str, tmp_path: Path) -> None:
    lines = tmp_path / "lines"
    lines.write_text("".join(f"line {number}\n" for number in range(100_000)))
    with (
        open(lines, "rb") as given,
        open(tmp_path / "out", "wb") as out,
        subprocess.Popen(
            command(f"{url}/echo", "--timeout", "200"), cwd=ROOT, stdin=given, stdout=out
        ) as process,
    ):
        most = 0
        watched = psutil.Process(process.pid)
        while process.poll() is None:
            with contextlib.suppress(psutil.Error):
                most = max(most, watched.memory_info().rss)
            time.sleep(0.05)
    assert process.returncode == 0
    assert (tmp_path / "out").read_bytes() == lines.read_bytes()
    assert most < 100 * 2**20


def test_binary_input_is_one_message_however_large(url: str) -> None:
    block = bytes(range(256)) * 4096
    done = connect(f"{url}/echo", "--binary", "--no-compression", given=block * 20)
    check(done, 0, block * 20)


@pytest.mark.parametrize(
    ("form", "given", "shown"),
    [("--hex", b"00 FF\n41\n", b"00ff\n41\n"), ("--base64", b"AP8=\nQQ==\n", b"AP8=\nQQ==\n")],
)
def test_binary_messages_may_be_written_as_text(
    url: str, form: str, given: bytes, shown: bytes
) -> None:
    check(connect(f"{url}/echo", form, given=given), 0, shown)


def test_json_is_indented_and_all_else_left_alone(url: str) -> None:
    expected = '{\n  "b": 1,\n  "a": [\n    "\u00e9"\n  ]\n}\nno JSON\n'
    check(connect(f"{url}/json", "--json"), 0, expected)


def test_messages_of_the_command_line_are_sent_instead_of_the_input(url: str) -> None:
    arguments = ["-x", "one", "-x", "two"]
    check(connect(f"{url}/echo", *arguments, given=b"not this\n"), 0, b"one\ntwo\n")


def test_one_message_is_enough(url: str) -> None:
    check(connect(f"{url}/late", "-1", "-x", "one", "-x", "two"), 0, b"one\n")


def test_wait_is_counted_from_the_last_message_sent(url: str) -> None:
    check(connect(f"{url}/late", "-x", "late", "--wait", "0"), 0)
    check(connect(f"{url}/late", "-x", "late", "-1", "--wait", "30"), 0, b"late\n")


def test_url_may_go_without_its_scheme(url: str) -> None:
    check(connect(f"{url.removeprefix('ws://')}/echo", "-1x", "hello"), 0, b"hello\n")


def test_reader_that_leaves_ends_it_quietly(url: str) -> None:
    with subprocess.Popen(
        command(f"{url}/echo", "--wait", "inf"),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=ROOT,
    ) as process:
        assert process.stdin
        assert process.stdout
        assert process.stderr
        process.stdin.write(b"one\n")
        process.stdin.flush()
        assert process.stdout.readline() == b"one\n"
        process.stdout.close()
        process.stdin.write(b"two\n")
        process.stdin.flush()
        assert process.wait(PATIENCE) == 0
        assert process.stderr.read() == b""


# --- exit status ---


@pytest.mark.parametrize(
    ("path", "status", "told"),
    [
        ("close/1000", 0, ""),
        ("close/1001", 0, ""),
        ("close/4003", 3, r"closed with 4003 \(as you wish\) by the peer; sent 0 messages .*"),
        ("close/1011", 3, r"closed with 1011 .*"),
    ],
)
def test_status_says_how_the_connection_ended(url: str, path: str, status: int, told: str) -> None:
    check(connect(f"{url}/{path}", "--wait", "inf"), status, b"last words\n", told)


def test_lost_connection_is_an_abnormal_end(url: str) -> None:
    check(connect(f"{url}/drop", "--wait", "inf"), 3, told="closed with 1006 .*")


def test_message_that_is_too_large_is_an_abnormal_end(url: str) -> None:
    done = connect(f"{url}/echo", "--max-size", "100", "-x", "x" * 101)
    check(done, 3, told=".*max_message_size=100 .*")


def test_close_has_the_code_and_reason_that_were_asked_for(url: str, tmp_path: Path) -> None:
    record = tmp_path / "record"
    done = connect(f"{url}/echo", "--close", "4001:bye", "--record", str(record), "--wait", "0")
    check(done, 0)
    last = json.loads(record.read_text().splitlines()[-1])
    assert (last["type"], last["code"], last["by_peer"]) == ("close", 4001, False)


def test_time_out(url: str) -> None:
    done = connect(f"{url}/echo", "--timeout", "1", "--wait", "inf")
    check(done, 124, told="the --timeout of 1 s is over")


def test_time_out_of_the_handshake() -> None:
    with silent() as script:
        check(connect(script.url, "--timeout", "1"), 124, told="the --timeout of 1 s is over")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signal_closes_politely(url: str, number: signal.Signals) -> None:
    with subprocess.Popen(
        command(f"{url}/room/{number.name}", "--wait", "inf"),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        cwd=ROOT,
    ) as process:
        assert process.stdout
        assert process.stdout.readline() == b"welcome\n"
        process.send_signal(number)
        assert process.wait(PATIENCE) == 0


def test_second_signal_does_not_wait_for_the_peer() -> None:
    welcome = frame(0x1, "welcome", key=None)
    with (
        scripted(accepting(), stays_open=True, behind=welcome) as script,
        subprocess.Popen(
            command(script.url, "--wait", "inf", "--frames"),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=ROOT,
        ) as process,
    ):
        assert process.stdout
        assert process.stderr
        assert process.stdout.readline() == b"welcome\n"
        process.send_signal(signal.SIGINT)
        told = iter(process.stderr.readline, b"")
        assert any(line.startswith(b"> frame: close") for line in told)
        process.send_signal(signal.SIGINT)
        assert process.wait(PATIENCE) == 3
        assert b"aborted by this side" in process.stderr.read()


def test_interrupt_while_there_is_no_connection() -> None:
    with (
        silent() as script,
        subprocess.Popen(command(script.url), stdin=subprocess.DEVNULL, cwd=ROOT) as process,
    ):
        eventually(lambda: script.asked)
        process.send_signal(signal.SIGINT)
        assert process.wait(PATIENCE) == 130


# --- no connection ---


def test_refusal_is_explained() -> None:
    challenge = 'WWW-Authenticate: Basic realm="garden"'
    with scripted(refusing(401, challenge, body="who\x1b[2J are you?")) as script:
        done = connect(script.url)
    told = (
        r"refused: .*: 401 No\n"
        r'  WWW-Authenticate: Basic realm="garden"\n'
        r"  who\\x1b\[2J are you\?\n"
        r"  hint: .* --auth USER .*"
    )
    check(done, 1, told=told)


def test_server_that_speaks_something_else() -> None:
    with scripted("220 mail.example\r\n\r\n") as script:
        check(connect(script.url), 1, told="cannot connect: .* is not the beginning of .*")


def test_nobody_listens() -> None:
    check(connect("ws://127.0.0.1:1"), 1, told="cannot connect: Connection refused")


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ([], "the following arguments are required: URL"),
        (["http://h"], ".* a WebSocket URI begins with ws:// or wss://"),
        (["h", "--hex", "-x", "zz"], "non-hexadecimal .*"),
        (["h", "--base64", "-x", "="], "this is not base64: .*"),
        (["h", "--hex", "--binary"], ".*not allowed with argument.*"),
        (["h", "--auth", "a:b", "--bearer", "c"], ".*not allowed with argument.*"),
        (["h", "--bearer", "a b"], ".*this is not a bearer token.*"),
        (["h", "-H", "Name"], ".* 'Name' is not NAME: VALUE"),
        (["h", "-H", "Upgrade: x"], ".* is no field for headers: the handshake sets it"),
        (["h", "--cookie", "a"], ".* 'a' is not NAME=VALUE"),
        (["h", "--subprotocol", "a b"], ".* is not a subprotocol name .*"),
        (["h", "--origin", "nowhere"], ".*nowhere.*"),
        (["h", "--insecure"], "--insecure and --cacert are for wss:// URLs"),
        (
            ["wss://h", "--cacert", "/none"],
            "--cacert: cannot read '/none': No such .*",
        ),
        (["wss://h", "--cacert", __file__], "--cacert: there is no certificate in .*"),
        (["h", "--proxy", "ftp://p"], ".*ftp.*"),
        (["h", "--uds", ""], "argument --uds: the path is empty"),
        (["h", "--timeout", "soon"], ".* 'soon' is not a number of seconds"),
        (["h", "--wait", "nan"], ".* 'nan' is not a number of seconds"),
        (["h", "--max-size", "0"], ".* '0' is not a positive number of bytes"),
        (["h", "--ping-interval", "x"], ".* 'x' is not a number of seconds; 0 sends no pings"),
        (["h", "--close", "x"], "argument --close: 'x' is not a close code"),
        (["h", "--close", "1006"], "argument --close: close code 1006 cannot be sent: .*"),
        (["h", "--record", "/none/x"], ".*No such file or directory.*"),
    ],
)
def test_wrong_usage(arguments: list[str], told: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        main(["connect", *arguments])
    assert left.value.code == 2
    error = capsys.readouterr().err
    assert re.fullmatch(rf"error: {told} \(--help lists the options\)\n", error), error


def test_input_that_cannot_be_sent(url: str) -> None:
    done = connect(f"{url}/echo", given=b"good\n\xff\n")
    assert done.returncode == 2
    assert b"error: line 2: this is not UTF-8: invalid start byte at byte 0" in done.stderr
    done = connect(f"{url}/echo", "--max-size", "10", given=b"x" * 11)
    check(done, 2, told="error: line 1 has more than --max-size=10 bytes; .*")


# --- options that show on the wire ---


def test_fields_of_the_handshake(url: str) -> None:
    arguments = ["-H", "X-One: 1", "-H", "X-Two: 2", "--cookie", "a=b", "--cookie", "c=d"]
    origin = url.replace("ws:", "http:")
    done = connect(f"{url}/headers", *arguments, "--origin", origin, "--subprotocol", "chat")
    lines = done.stdout.decode().splitlines()
    wanted = ["x-one: 1", "x-two: 2", "cookie: a=b; c=d", f"origin: {origin}"]
    assert {*wanted, "sec-websocket-protocol: chat"} <= set(lines)
    assert any(line.startswith("sec-websocket-extensions: ") for line in lines)


def test_no_compression(url: str) -> None:
    assert b"sec-websocket-extensions" not in connect(f"{url}/headers", "--no-compression").stdout


def test_bearer_token(url: str) -> None:
    assert b"authorization: Bearer abc\n" in connect(f"{url}/headers", "--bearer", "abc").stdout


def test_password_answers_a_challenge() -> None:
    challenge = 'WWW-Authenticate: Digest realm="r", nonce="n", qop="auth", algorithm=SHA-256'
    with scripted(refusing(401, challenge), accepting()) as script:
        connect(script.url, "--auth", "user:pass:word")
        answer = script.asked[1].field("authorization") or ""
    given = dict(re.findall(r'(\w+)="?([^",]*)"?', answer))

    def sha(text: str) -> str:
        return hashlib.sha256(text.encode()).hexdigest()

    middle = f"n:{given['nc']}:{given['cnonce']}:auth"
    assert given["response"] == sha(f"{sha('user:r:pass:word')}:{middle}:{sha('GET:/')}")


def test_verbose_shows_all_requests_and_answers_with_their_secrets() -> None:
    challenge = 'WWW-Authenticate: Basic realm="r"'
    closing = frame(0x8, b"\x03\xe8", key=None)
    with scripted(refusing(401, challenge), accepting(), behind=closing) as script:
        done = connect(script.url, "-v", "--auth", "user:secret")
    lines = done.stderr.decode().splitlines()
    assert lines[0] == f"* connect to 127.0.0.1:{script.port}"
    assert lines[1:3] == ["> GET / HTTP/1.1", f"> Host: 127.0.0.1:{script.port}"]
    assert "< HTTP/1.1 401 No" in lines
    assert f"< {challenge}" in lines
    secret = base64.b64encode(b"user:secret").decode()
    assert f"> Authorization: Basic {secret}" in lines
    assert "< HTTP/1.1 101 Switching Protocols" in lines
    assert done.returncode == 0


def test_frames_are_shown_and_pings_printed() -> None:
    behind = frame(0x9, b"hi", key=None) + frame(0x1, "a", fin=False, key=None)
    behind += frame(0x0, "b", key=None) + frame(0x8, b"\x03\xe8", key=None)
    with scripted(accepting(), behind=behind) as script:
        done = connect(script.url, "--frames", "--print-pings")
    key = ", masked with [0-9a-f]{8}"
    told = (
        rf"< frame: ping fin, 2 bytes\n< frame: text, 1 bytes\n"
        rf"< frame: continuation fin, 1 bytes\n< frame: close fin, 2 bytes\n"
        rf"(?s:.*)> frame: pong fin, 2 bytes{key}\n(?s:.*)< ping 68 69(?s:.*)"
    )
    check(done, 0, b"ab\n", told)


def test_pings_are_sent_and_their_pongs_printed(url: str) -> None:
    with subprocess.Popen(
        command(f"{url}/echo", "--ping-interval", "0.1", "--print-pings", "--wait", "inf"),
        stdin=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        cwd=ROOT,
    ) as process:
        assert process.stderr
        assert re.fullmatch(rb"< pong, [0-9.]+ ms\n", process.stderr.readline())
        process.terminate()
        assert process.wait(PATIENCE) == 0


def test_ping_interval_of_0_sends_none(url: str) -> None:
    check(connect(f"{url}/echo", "--ping-interval", "0", "--print-pings", "-x", "a"), 0, b"a\n")


def test_unix_socket(tmp_path: Path) -> None:
    listener = unix_listener(tmp_path / "socket")
    closing = frame(0x8, b"\x03\xe8", key=None)
    with scripted(accepting(), listener=listener, behind=closing) as script:
        check(connect("ws://name/path", "--uds", str(tmp_path / "socket")), 0)
        assert script.asked[0].line == "GET /path HTTP/1.1"


def test_proxy(url: str) -> None:
    with scripted(refusing(403)) as script:
        done = connect(f"{url}/echo", "--proxy", f"http://127.0.0.1:{script.port}")
        assert script.asked[0].line.startswith("CONNECT 127.0.0.1:")
    check(done, 1, told="(?s:refused: the proxy http://.* refused a tunnel: 403 No.*)")


def test_proxy_of_the_environment_can_be_ignored(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    monkeypatch.delenv("no_proxy", raising=False)
    check(connect(f"{url}/echo", "-1x", "a"), 1, told="cannot connect: the proxy .*")
    check(connect(f"{url}/echo", "-1x", "a", "--proxy", "none"), 0, b"a\n")


@pytest.fixture(scope="module")
def secure(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[tuple[RunningServer, Path]]:
    folder = tmp_path_factory.mktemp("secure")
    certificate = make_certificate(folder)
    with run_server(folder / "log", *certificate.arguments) as server:
        yield server, certificate.certfile


def test_certificates_are_verified(secure: tuple[RunningServer, Path]) -> None:
    server, certfile = secure
    url = f"wss://localhost:{server.port}/"
    told = r"cannot connect: the certificate is not trusted: .*\n  hint: --cacert FILE .*"
    check(connect(url, "-1x", "a"), 1, told=told)
    check(connect(url, "-1x", "a", "--cacert", str(certfile)), 0, b"a\n")
    check(connect(url, "-1x", "a", "--insecure"), 0, b"a\n")


# --- again ---


def test_lost_connection_is_followed_by_another_one() -> None:
    hello = frame(0x1, "hello", key=None).decode("latin-1")
    with scripted(accepting(), None, accepting() + hello) as script:
        done = connect(script.url, "--reconnect", "-1", "--wait", "inf")
    url = re.escape(f"{script.url}/")
    told = (
        rf"connected to {url}\nclosed with 1006 .*\n{url}: .*; the next attempt is in .* s\n"
        rf"connected to {url}\nclosed with .*"
    )
    assert done.stdout == b"hello\n"
    assert re.fullmatch(told, done.stderr.decode().strip())


def test_what_was_not_sent_is_sent_over_the_next_connection() -> None:
    wrong = frame(0x3, key=None).decode("latin-1")
    with (
        scripted(accepting() + wrong, accepting(), stays_open=True) as script,
        subprocess.Popen(
            command(script.url, "--reconnect", "--frames"),
            stdin=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=ROOT,
        ) as process,
    ):
        assert process.stdin
        assert process.stderr
        told = iter(process.stderr.readline, b"")
        assert any(line.startswith(b"closed with 1006 by this side") for line in told)
        process.stdin.write(b"after all\n")
        process.stdin.flush()
        assert any(line.startswith(b"> frame: text fin, 9 bytes") for line in told)
        process.send_signal(signal.SIGTERM)
        assert any(line.startswith(b"> frame: close") for line in told)
        process.kill()  # it would wait for the peer
    assert len(script.asked) == 2
    assert script.received[:2] == bytes([0x81, 0x80 | len("after all")])


def test_refusal_that_will_not_heal_ends_it() -> None:
    with scripted(refusing(403)) as script:
        check(connect(script.url, "--reconnect"), 1, told="(?s:refused: .*)")


# --- the record ---


def test_record_holds_everything_in_order(url: str, tmp_path: Path) -> None:
    record = tmp_path / "record"
    record.write_text("what was there\n")
    connect(f"{url}/echo", "--record", str(record), "-x", "\u20ac", "-1")
    before, *lines = record.read_text().splitlines()
    assert before == "what was there"
    entries = [json.loads(line) for line in lines]
    times = [entry.pop("time") for entry in entries]
    assert times == sorted(times)
    (extension,) = entries[0].pop("extensions")
    assert extension.startswith("permessage-deflate")
    assert entries == [
        {"type": "open", "url": f"{url}/echo", "subprotocol": None},
        {"type": "text", "direction": "sent", "text": "\u20ac"},
        {"type": "text", "direction": "received", "text": "\u20ac"},
        {"type": "close", "code": 1000, "reason": "", "by_peer": False},
    ]


def test_record_holds_fragments_and_binary(url: str, tmp_path: Path) -> None:
    record = tmp_path / "record"
    given = b"x" * 100_000
    connect(f"{url}/echo", "--record", str(record), "--binary", given=given)
    entries = [json.loads(line) for line in record.read_text().splitlines()]
    sent = [entry for entry in entries if entry.get("direction") == "sent"]
    assert [entry["fin"] for entry in sent] == [False] * (len(sent) - 1) + [True]
    assert b"".join(base64.b64decode(entry["base64"]) for entry in sent) == given
    (received,) = [entry for entry in entries if entry["type"] == "binary" and entry not in sent]
    assert base64.b64decode(received["base64"]) == given
    assert any(entry["type"] == "pong" for entry in entries)
