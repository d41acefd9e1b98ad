"""How much one client may do: told with the time to wait, counted with its neighbours, for all workers together."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from postroad.receive.caller import Caller, Role
from postroad.receive.guard.networks import Networks, parse_network
from postroad.receive.guard.rates import CLIENTS, RateLimits, Rates
from postroad.receive.guard.tally import Tally, table_octets
from postroad.smtp.address import NULL, Address
from postroad.smtp.extension import MailParameters, RcptParameters
from postroad.smtp.server_events import MailReceived, RcptReceived
from postroad.store.accounts import Account

MAIL = MailReceived(NULL, MailParameters())
RCPT = RcptReceived(Address("a", "us.test"), RcptParameters())


class Workers:
    """Several workers over one table, and a wall clock that moves when told to."""

    def __init__(self, limits: RateLimits, count: int = 1) -> None:
        self.now = 1_700_000_000.0
        buffer = bytearray(table_octets(10_000))
        self.all = [Rates(limits, Tally(buffer, secret=b"s", window_s=60), lambda: self.now) for _ in range(count)]


def caller(peer: str = "192.0.2.1", user: str = "") -> Caller:
    account = Account(name=user, password_hash="", identities=()) if user else None
    return Caller(peer, 1, Role.SUBMISSION if user else Role.MX, account=account)


def test_each_kind_is_refused_beyond_its_limit_in_its_own_words_and_taken_again_later() -> None:
    workers = Workers(RateLimits(connections=2, messages=3, recipients=4))
    (rates,) = workers.all
    peer = caller()
    assert [rates.connect(peer) for _ in range(2)] == [None, None]
    assert str(rates.connect(peer)) == "421 4.7.0 Too many connections from your address: try again in 30 seconds"
    assert [rates.mail(peer, MAIL) for _ in range(3)] == [None] * 3
    assert str(rates.mail(peer, MAIL)).startswith("450 4.7.0 Too many messages from your address")
    assert [rates.rcpt(peer, RCPT) for _ in range(4)] == [None] * 4
    assert str(rates.rcpt(peer, RCPT)).startswith("452 4.5.3 Too many recipients from your address")
    assert rates.connect(caller("192.0.2.2")) is None, "another address has its own"
    workers.now += 121
    assert rates.connect(peer) is None
    assert rates.mail(peer, MAIL) is None


def test_recipients_that_were_refused_count_against_who_guesses_them() -> None:
    (rates,) = Workers(RateLimits(failed_recipients=3)).all
    peer = caller()
    for _ in range(3):
        assert rates.rcpt(peer, RCPT) is None
        rates.recipient_failed(peer)
    assert str(rates.rcpt(peer, RCPT)).startswith("421 4.7.0 Too many unknown or refused recipients")
    assert rates.rcpt(caller("192.0.2.9"), RCPT) is None


def test_neighbours_share_a_larger_limit_and_an_ipv6_customer_is_his_64() -> None:
    (rates,) = Workers(RateLimits(connections=2, neighbours=2.0)).all
    assert [rates.connect(caller(f"192.0.2.{number}")) for number in range(4)] == [None] * 4
    assert str(rates.connect(caller("192.0.2.77"))).startswith("421 4.7.0 Too many connections from your network")
    assert rates.connect(caller("192.0.3.77")) is None
    assert [rates.connect(caller(f"2001:db8::{number}")) for number in range(2)] == [None] * 2
    assert rates.connect(caller("2001:db8::abcd")) is not None
    assert rates.connect(caller("2001:db8:0:1::1")) is None


def test_exempt_networks_and_limits_of_zero_refuse_nobody() -> None:
    exempt = Networks([parse_network("127.0.0.0/8")])
    (rates,) = Workers(RateLimits(connections=1, exempt=exempt)).all
    assert [rates.connect(caller("127.0.0.1")) for _ in range(100)] == [None] * 100
    assert [rates.mail(caller(), MAIL) for _ in range(100)] == [None] * 100


def test_a_user_is_counted_by_his_account_wherever_he_is_and_not_by_his_address() -> None:
    (rates,) = Workers(RateLimits(messages=1, user_messages=3)).all
    users = [caller(f"198.51.100.{number}", "ann@us.test") for number in range(4)]
    assert [rates.mail(one, MAIL) for one in users[:3]] == [None] * 3
    assert str(rates.mail(users[3], MAIL)).startswith("450 4.7.0 Too many messages from your account")
    assert rates.mail(caller("198.51.100.1", "bob@us.test"), MAIL) is None


def test_workers_count_together() -> None:
    workers = Workers(RateLimits(connections=10), count=4)
    peer = caller()
    taken = sum(workers.all[number % 4].connect(peer) is None for number in range(40))
    assert 10 <= taken <= 14, "each may be a second behind the others, not more"
    workers.now += 1.5
    assert all(rates.connect(peer) is not None for rates in workers.all)


@given(st.lists(st.integers(0, 3), max_size=200))
def test_whatever_the_order_no_more_than_the_limit_is_taken_by_one_worker(peers: list[int]) -> None:
    (rates,) = Workers(RateLimits(messages=7)).all
    taken = [number for number in peers if rates.mail(caller(f"192.0.{number}.1"), MAIL) is None]
    assert all(taken.count(number) == min(peers.count(number), 7) for number in range(4))


def test_h07_a_flood_of_clients_is_held_in_bounded_memory_and_frees_nobody() -> None:
    (rates,) = Workers(RateLimits(connections=3)).all
    barred = caller("203.0.113.9")
    while rates.connect(barred) is None:
        pass
    for number in range(CLIENTS + 500):
        rates.connect(caller(f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}"))
    assert len(rates._clients) <= CLIENTS
    assert rates.connect(barred) is not None
