"""Return addresses that name their message: read again by us alone, and by nobody made up."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from postroad.message.return_path import Returned, ReturnPaths
from postroad.smtp.address import Address

OURS = ReturnPaths("bounces.example.org", b"k" * 32)
_ids = st.integers(0, (1 << 63) - 1)


@given(_ids, st.none() | _ids)
def test_an_address_names_its_message_and_recipient_whatever_became_of_its_case(number: int, row: int | None) -> None:
    made = OURS.address(number, row)
    assert len(made.local) <= 64 and made.is_ascii
    assert OURS.read(made) == Returned(number, row)
    assert OURS.read(Address(made.local.upper(), made.domain)) == Returned(number, row)
    assert Address.parse(str(made)) == made


@given(_ids, st.none() | _ids, st.integers(0, 63), st.sampled_from("0123456789abcdefghjkmnpqrstvwxyz-."))
def test_an_address_that_was_changed_is_nobodys(number: int, row: int | None, place: int, letter: str) -> None:
    made = OURS.address(number, row)
    at = place % len(made.local)
    changed = made.local[:at] + letter + made.local[at + 1 :]
    if changed != made.local:
        assert OURS.read(Address(changed, made.domain)) is None


@given(st.text(max_size=64))
def test_whatever_stands_before_the_at_is_read_without_a_fault(local: str) -> None:
    assert OURS.read(Address(local, OURS.domain)) is None


def test_addresses_of_another_key_or_domain_are_not_ours() -> None:
    made = ReturnPaths("bounces.example.org", b"x" * 32).address(5)
    assert OURS.read(made) is None
    assert OURS.read(Address(OURS.address(5).local, "example.org")) is None
