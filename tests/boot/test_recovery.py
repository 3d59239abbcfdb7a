from __future__ import annotations

import base64

from hypothesis import given
from hypothesis import strategies as st

from bootwright.boot.recovery import _decode_leniently, decode_base64


@given(
    st.binary(max_size=96).map(base64.b64encode) | st.text("ABab+/=\r\n -", max_size=40).map(str.encode),
    st.sampled_from([b"", b"\n", b"\r\n"]),
    st.integers(0, 100),
)
def test_the_quick_way_decodes_as_the_exact_one_does(text: bytes, ending: bytes, room: int) -> None:
    assert decode_base64(text + ending, room) == _decode_leniently(text + ending, room)
