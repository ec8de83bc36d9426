"""One table of errors and codes, both ways."""

from __future__ import annotations

import grpc
import pytest
from google.rpc import error_details_pb2
from hypothesis import given
from hypothesis import strategies as st

from federation.core import errors
from federation.wire import errors as wire_errors

CLASSES = [*wire_errors.CODES]
TEXT = st.text(max_size=60).filter(str.strip)
KEYS = st.from_regex(r"[a-z_]{1,20}", fullmatch=True).filter(lambda key: key != wire_errors.HELP)


def infos(status) -> list[error_details_pb2.ErrorInfo]:
    """The ErrorInfos that a status carries."""
    found = []
    for detail in status.details:
        info = error_details_pb2.ErrorInfo()
        if detail.Unpack(info):
            found.append(info)
    return found


def test_every_error_of_the_family_has_its_code():
    """A new error class without a row would leave as its parent: the table is complete."""
    family = {each for each in vars(errors).values() if isinstance(each, type) and issubclass(each, Exception)}
    assert family - {errors.RateLimited} == set(CLASSES)  # which leaves as ResourceExhausted and is known by its reason


def test_no_two_errors_share_a_code():
    """So that a code leads back to one class."""
    assert len(set(wire_errors.CODES.values())) == len(CLASSES)


@given(
    st.sampled_from(CLASSES),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=60),
    st.dictionaries(KEYS, st.text(st.characters(exclude_categories=["Cs"]), max_size=20), max_size=3),
    st.dictionaries(KEYS, st.text(st.characters(exclude_categories=["Cs"]), max_size=20), max_size=3),
    st.sampled_from([None, 0.5, 30.0]),
)
def test_an_error_comes_back_as_it_left(cls, text, metadata, violations, retry):
    """Class, message, reason, help, metadata, violations and the time to wait survive the wire."""
    error = cls(text, reason="A_REASON", help=text, metadata=metadata, violations=violations, retry_seconds=retry)
    back = wire_errors.from_status(wire_errors.to_rich_status(error, "r-1"))
    assert type(back) is cls
    assert (back.message, back.reason, back.help) == (text, "A_REASON", text)
    assert (back.metadata, back.violations, back.retry_seconds) == (metadata, violations, retry)


@pytest.mark.parametrize("cls", CLASSES)
def test_a_status_carries_exactly_one_error_info_first(cls):
    """With the stable reason, in our domain."""
    status = wire_errors.to_rich_status(cls("no", metadata={"site": "eu-1"}, violations={"a": "b"}, help="do"), "r-1")
    (info,) = infos(status)
    assert status.details[0].Is(error_details_pb2.ErrorInfo.DESCRIPTOR)
    assert (info.reason, info.domain) == (cls.default_reason, "federation")


@given(st.text(max_size=5000), st.dictionaries(TEXT, st.text(max_size=3000), max_size=30))
def test_a_status_always_fits_into_trailers(text, many):
    """However long what it quotes: it is cut, and text that is no Unicode is replaced."""
    status = wire_errors.to_rich_status(errors.FailedPrecondition(text, help=text, metadata=many, violations=many), "r")
    assert status.ByteSize() < 48 * 1024


def test_what_nobody_meant_tells_nothing():
    """An unexpected failure leaves as INTERNAL with the request id and not a word of what it was."""
    status = wire_errors.internal("r-77")
    assert status.code == grpc.StatusCode.INTERNAL.value[0]
    assert "r-77" in status.message
    assert wire_errors.from_status(status).reason == "INTERNAL"


class ForeignError(grpc.RpcError):
    """What a proxy or gRPC itself answers: a code without our details."""

    def __init__(self, code: grpc.StatusCode) -> None:
        super().__init__()
        self._code = code

    def code(self) -> grpc.StatusCode:
        return self._code

    def details(self) -> str:
        return "said so"

    def trailing_metadata(self) -> tuple[tuple[str, str], ...]:
        return ()


@pytest.mark.parametrize("code", [code for code in grpc.StatusCode if code is not grpc.StatusCode.OK])
def test_every_code_of_a_foreign_side_becomes_an_error_of_ours(code):
    """Codes that we never send too (UNIMPLEMENTED, INTERNAL) are of the family, with the code as the reason."""
    with pytest.raises(errors.FederationError) as caught, wire_errors.translated():
        raise ForeignError(code)
    expected = next((cls for cls, known in wire_errors.CODES.items() if known is code), errors.FederationError)
    assert type(caught.value) is expected
    assert caught.value.reason in {code.name, expected.default_reason}


def test_a_failing_stream_fails_as_ours():
    """Also in the middle of its messages."""

    def stream():
        yield 1
        raise ForeignError(grpc.StatusCode.UNAVAILABLE)

    got = wire_errors.translated_stream(stream())
    assert next(got) == 1
    with pytest.raises(errors.Unavailable):
        next(got)


def test_what_keeps_a_message_from_being_sent_is_what_the_caller_hears():
    """gRPC itself would say only that something went wrong with the requests."""

    def messages():
        yield 1
        raise errors.FailedPrecondition("the disk is gone", reason="FILE_UNREADABLE")

    sent = wire_errors.Outgoing(messages())
    assert next(sent) == 1
    with pytest.raises(errors.FailedPrecondition):
        next(sent)
    with pytest.raises(errors.FailedPrecondition) as caught, wire_errors.translated(sent):
        raise ForeignError(grpc.StatusCode.UNKNOWN)
    assert caught.value.reason == "FILE_UNREADABLE"
