from hypothesis import given
from hypothesis import strategies as st

from bootwright.wire import slip


@given(st.lists(st.binary(min_size=1, max_size=200), max_size=8), st.integers(1, 64))
def test_packets_survive_any_cutting_of_the_stream(packets: list[bytes], step: int) -> None:
    stream = b"".join(slip.encode(packet) for packet in packets)
    decoder = slip.Decoder()
    found = [packet for at in range(0, len(stream), step) for packet in decoder.feed(stream[at : at + step])]
    assert found == packets


def test_a_packet_after_noise_is_understood() -> None:
    assert slip.Decoder().feed(b"noise" + slip.encode(b"packet"))[-1] == b"packet"


def test_a_wrong_escape_drops_its_packet_only() -> None:
    assert slip.Decoder().feed(b"\xc0a\xdbbc\xc0" + slip.encode(b"next")) == [b"next"]


def test_an_endless_packet_takes_no_memory_and_is_dropped() -> None:
    decoder = slip.Decoder(limit=100)
    for _ in range(50):
        assert decoder.feed(b"x" * 100) == []
    assert decoder.feed(b"\xc0" + slip.encode(b"next")) == [b"next"]
