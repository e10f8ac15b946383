"""Any two configurations of a compression that agree can talk."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.core.pair import ConnectionPair
from tests.extensions.inflating import StrictInflater, far_repeats
from tests.properties.strategies import deflate_frames, messages, permessage_deflates
from ws_middleware.core.endpoint import Endpoint
from ws_middleware.core.extensions import Extension
from ws_middleware.core.messages import SharedMessage
from ws_middleware.extensions.contexts import Contexts
from ws_middleware.extensions.deflate import Deflater, Inflater
from ws_middleware.extensions.deflate_frame import DeflateFrame, XWebkitDeflateFrame
from ws_middleware.extensions.permessage_deflate import Agreed, PermessageDeflate

#: Messages that windows matter to, beside any others.
dialogues = st.lists(
    st.one_of(messages, st.sampled_from([far_repeats(8), far_repeats(9), "Hello" * 30])),
    max_size=6,
)


def talk(pair: ConnectionPair, sent: list[str | bytes], cut: int) -> None:
    """Send messages both ways, whole and in two fragments, and check what arrives."""

    def send(endpoint: Endpoint) -> None:
        for message in sent:
            endpoint.send_message(message)
            endpoint.send_fragment(message[:cut], final=False)
            endpoint.ping(b"?", pair.now)
            endpoint.send_fragment(message[cut:], final=True)

    send(pair.client)
    send(pair.server)
    pair.run()
    twice = [message for message in sent for _ in range(2)]
    assert pair.at_server == twice
    assert pair.at_client == twice


@given(permessage_deflates, permessage_deflates, dialogues, st.integers(0, 50), st.integers(0, 50))
@pytest.mark.row(158, 165, 167, 169, 171, 177, 180)
def test_permessage_deflate_of_any_two_configurations(
    client: PermessageDeflate,
    server: PermessageDeflate,
    sent: list[str | bytes],
    cut: int,
    chunk: int,
) -> None:
    pair = ConnectionPair(
        chunk=chunk and chunk * 37, client_extensions=[client], server_extensions=[server]
    )
    (accepted,), (confirmed,) = pair.accepted, pair.confirmed
    agreed, at_client = accepted.agreed, confirmed.agreed
    assert isinstance(agreed, Agreed)
    assert isinstance(at_client, Agreed)
    assert at_client.server_max_window_bits == agreed.server_max_window_bits
    assert at_client.server_no_context_takeover == agreed.server_no_context_takeover
    assert at_client.client_max_window_bits <= agreed.client_max_window_bits
    assert at_client.client_no_context_takeover >= agreed.client_no_context_takeover
    talk(pair, sent, cut)


@pytest.mark.parametrize("kind", [DeflateFrame, XWebkitDeflateFrame])
@given(st.data(), dialogues, st.integers(0, 50), st.integers(0, 50))
@pytest.mark.row(187, 188, 190)
def test_deflate_frame_of_any_two_configurations(
    kind: type[DeflateFrame],
    data: st.DataObject,
    sent: list[str | bytes],
    cut: int,
    chunk: int,
) -> None:
    client, server = data.draw(deflate_frames(kind)), data.draw(deflate_frames(kind))
    pair = ConnectionPair(
        chunk=chunk and chunk * 37, client_extensions=[client], server_extensions=[server]
    )
    assert len(pair.accepted) == len(pair.confirmed) == 1
    talk(pair, sent, cut)


@given(st.data(), dialogues)
@pytest.mark.row(158, 186)
def test_of_several_extensions_one_is_agreed_on(
    data: st.DataObject, sent: list[str | bytes]
) -> None:
    available: list[Extension] = [
        data.draw(permessage_deflates),
        data.draw(deflate_frames(DeflateFrame)),
        data.draw(deflate_frames(XWebkitDeflateFrame)),
    ]
    offered = data.draw(st.permutations(available))
    pair = ConnectionPair(client_extensions=offered, server_extensions=available)
    assert [one.extension.name for one in pair.accepted] == [offered[0].name]
    talk(pair, sent, 3)


@given(
    st.integers(8, 15),
    st.integers(0, 9),
    st.integers(1, 9),
    st.booleans(),
    st.booleans(),
    st.lists(st.tuples(st.binary(), st.booleans())),
)
@pytest.mark.row(170, 177, 185)
def test_any_decoder_with_the_agreed_window_reads_what_we_write(
    bits: int,
    level: int,
    memory: int,
    takeover: bool,
    crowded: bool,
    payloads: list[tuple[bytes, bool]],
) -> None:
    deflater = Deflater(bits, level, memory, takeover, Contexts(0 if crowded else 1))
    strict, inflater = StrictInflater(bits), Inflater(bits, takeover)
    for payload, shared in [*payloads, (far_repeats(8), False), *payloads]:
        if shared:
            compressed = deflater.deflate_shared(SharedMessage(payload))
        else:
            compressed = deflater.deflate(payload, True)
        assert strict.inflate(compressed) == payload
        assert inflater.inflate(compressed, True, len(payload)) == payload
