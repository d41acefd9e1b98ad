"""Where mail for a local address goes: aliases, catch-all, details; circles end, and nothing is done twice."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postroad.message.envelope import Notify, Recipient
from postroad.receive.directory import MAX_DEPTH, MAX_TARGETS, Directory, DomainRules, canonical
from postroad.smtp.address import NULL, Address
from postroad.smtp.reply import Reply, reply

FORGED = reply(550, "This return address is not one of ours", "5.1.1")


def at(text: str) -> Address:
    return Address.parse(text, smtputf8=True)


def made(
    aliases: dict[str, list[str]] | None = None,
    *,
    mailboxes: set[str] | None = None,
    catch_all: tuple[str, ...] = (),
    separator: str = "+",
) -> Directory:
    known = {name: tuple(map(at, targets)) for name, targets in (aliases or {}).items()}
    boxes = {"ann@us.test", "ben@us.test"} if mailboxes is None else mailboxes
    rules = DomainRules(mailboxes=boxes.__contains__, separator=separator, catch_all=tuple(map(at, catch_all)))
    return Directory(
        domains={"us.test": rules, "also.test": DomainRules(same_as="us.test"), "open.test": DomainRules()},
        main="us.test",
        literals=frozenset({"[192.0.2.1]"}),
        aliases=lambda name: known.get(name, ()),
        has_aliases=lambda: bool(known),
        returned=lambda address: (
            None if not address.local.startswith("SRS") else at("x@far.test") if "good" in address.local else FORGED
        ),
    )


def goes(directory: Directory, text: str) -> list[str] | str:
    found = directory.resolve(at(text) if "@" in text else Address(text, ""))
    return str(found.refusal.enhanced) if found.refusal is not None else [str(one) for one in found.addresses]


def test_a_mailbox_is_itself_and_what_is_none_is_refused() -> None:
    directory = made()
    assert goes(directory, "ann@us.test") == ["ann@us.test"]
    assert goes(directory, "ANN+tag@us.test") == ["ANN+tag@us.test"]
    assert goes(directory, "nobody@us.test") == "5.1.1"
    assert goes(made(separator=""), "ann+tag@us.test") == "5.1.1"
    assert goes(directory, "any.body@open.test") == ["any.body@open.test"]


def test_an_alias_leads_to_several_here_and_elsewhere() -> None:
    directory = made({"sales@us.test": ["ann@us.test", "Carl@far.test"]})
    assert goes(directory, "sales@us.test") == ["ann@us.test", "Carl@far.test"]
    assert goes(directory, "Sales+x@us.test") == ["ann@us.test", "Carl@far.test"]
    assert goes(made({"sales+x@us.test": ["ben@us.test"]}), "sales+x@us.test") == ["ben@us.test"]


def test_aliases_of_aliases_are_followed_and_each_mailbox_counts_once() -> None:
    directory = made(
        {"all@us.test": ["sales@us.test", "ann@us.test"], "sales@us.test": ["Ann@us.test", "c@far.test", "c@far.test"]}
    )
    assert goes(directory, "all@us.test") == ["Ann@us.test", "c@far.test"]


def test_an_alias_that_names_itself_keeps_a_copy() -> None:
    directory = made({"ann@us.test": ["ann@us.test", "ann@far.test"]})
    assert goes(directory, "ann@us.test") == ["ann@us.test", "ann@far.test"]
    assert goes(directory, "ann+tag@us.test") == ["ann@us.test", "ann@far.test"]


def test_h14_aliases_in_a_circle_lead_nowhere_and_end() -> None:
    circle = {"a@us.test": ["b@us.test"], "b@us.test": ["a@us.test"]}
    assert goes(made(circle), "a@us.test") == "5.4.6"
    assert goes(made({**circle, "b@us.test": ["a@us.test", "ann@us.test"]}), "a@us.test") == ["ann@us.test"]
    assert goes(made({"me@us.test": ["me@us.test"]}), "me@us.test") == "5.1.1"


def test_a_long_chain_ends() -> None:
    chain = {f"a{n}@us.test": [f"a{n + 1}@us.test"] for n in range(MAX_DEPTH + 5)}
    assert goes(made(chain), "a0@us.test") == "5.4.6"
    assert goes(made({**chain, "a9@us.test": ["ann@us.test"]}), "a0@us.test") == ["ann@us.test"]


def test_an_address_leads_to_so_many_and_no_more() -> None:
    crowd = [f"u{n}@far.test" for n in range(MAX_TARGETS + 1)]
    assert goes(made({"all@us.test": crowd}), "all@us.test") == "5.4.6"
    assert len(goes(made({"all@us.test": crowd[:-1]}), "all@us.test")) == MAX_TARGETS


def test_an_alias_to_nowhere_is_refused_and_one_lost_target_is_told() -> None:
    assert goes(made({"x@us.test": ["gone@us.test"]}), "x@us.test") == "5.1.1"
    found = made({"x@us.test": ["gone@us.test", "ann@us.test"]}).resolve(at("x@us.test"))
    assert [str(one) for one in found.addresses] == ["ann@us.test"]
    assert [str(one) for one in found.astray] == ["gone@us.test"]


def test_the_catch_all_takes_what_nobody_has() -> None:
    directory = made({"sales@us.test": ["ben@us.test"]}, catch_all=("ann@us.test",))
    assert goes(directory, "who.ever@us.test") == ["ann@us.test"]
    assert goes(directory, "sales@us.test") == ["ben@us.test"]
    assert goes(directory, "ben@us.test") == ["ben@us.test"]
    assert goes(made(catch_all=("gone@us.test",)), "who@us.test") == "5.4.6"


def test_s08_postmaster_is_always_deliverable_and_abuse_reaches_him() -> None:
    directory = made()
    for address in ("postmaster", "PostMaster@us.test", "postmaster@[192.0.2.1]", "postmaster@also.test"):
        assert goes(directory, address)[0].lower() in ("postmaster@us.test",)
    assert goes(directory, "abuse@us.test") == ["postmaster@us.test"]
    assert goes(directory, "abuse@open.test") == ["postmaster@open.test"]
    assert goes(made(mailboxes={"abuse@us.test"}), "abuse@us.test") == ["abuse@us.test"]
    assert goes(made({"postmaster@us.test": ["ann@us.test"]}), "abuse@us.test") == ["ann@us.test"]
    assert goes(made(catch_all=("ben@us.test",)), "postmaster@us.test") == ["postmaster@us.test"]


def test_a_domain_may_be_the_same_as_another() -> None:
    directory = made({"sales@us.test": ["ben@us.test"]})
    assert goes(directory, "ann@also.test") == ["ann@us.test"]
    assert goes(directory, "sales@also.test") == ["ben@us.test"]
    assert goes(directory, "nobody@also.test") == "5.1.1"


def test_s32_a_return_address_of_forwarded_mail_takes_bounces_alone_and_a_forged_one_nothing() -> None:
    directory = made()
    assert directory.refusal(at("SRS0=good@us.test"), NULL) is None
    assert goes(directory, "SRS0=good@us.test") == ["x@far.test"]
    said = directory.refusal(at("SRS0=good@us.test"), at("spammer@far.test"))
    assert isinstance(said, Reply) and said.code == 550
    assert directory.refusal(at("SRS0=bad@us.test"), NULL) == FORGED


def test_what_was_asked_about_notifications_goes_on_with_the_address_that_the_sender_knows() -> None:
    directory = made({"sales@us.test": ["ann@us.test", "c@far.test"]})
    wishes = frozenset({Notify.SUCCESS})
    kept, _ = directory.expand([Recipient(at("sales@us.test"), wishes)]) or ((), ())
    assert [(str(one.address), one.notify, one.original) for one in kept] == [
        ("ann@us.test", wishes, "rfc822;sales@us.test"),
        ("c@far.test", wishes, "rfc822;sales@us.test"),
    ]
    kept, _ = directory.expand([Recipient(at("sales@us.test"), None, "rfc822;first@far.test")]) or ((), ())
    assert {one.original for one in kept} == {"rfc822;first@far.test"}
    kept, _ = directory.expand([Recipient(at("ann@us.test"), wishes)]) or ((), ())
    assert kept == (Recipient(at("ann@us.test"), wishes),)


def test_nobody_gets_a_message_twice() -> None:
    directory = made({"sales@us.test": ["ann@us.test", "c@far.test"]})
    asked = ["ann@us.test", "sales@us.test", "ANN@us.test", "c@far.test", "C@far.test", "c@far.test"]
    kept, _ = directory.expand([Recipient(at(one)) for one in asked]) or ((), ())
    assert [str(one.address) for one in kept] == ["ann@us.test", "c@far.test", "C@far.test"]
    kept, _ = made().expand([Recipient(at("ann@us.test")), Recipient(at("Ann@us.test"))]) or ((), ())
    assert len(kept) == 1


def test_a_message_that_leads_to_too_many_is_not_kept() -> None:
    crowds = {f"all{n}@us.test": [f"u{n}.{m}@far.test" for m in range(MAX_TARGETS)] for n in range(25)}
    assert made(crowds).expand([Recipient(at(name)) for name in crowds]) is None


NAMES = [f"{letter}@us.test" for letter in "abcdefgh"]
GRAPHS = st.dictionaries(
    st.sampled_from(NAMES), st.lists(st.sampled_from([*NAMES, "ann@us.test", "x@far.test"]), min_size=1, max_size=4)
)


@given(GRAPHS, st.sampled_from(NAMES), st.sampled_from([(), ("ann@us.test",), ("a@us.test",)]))
@pytest.mark.parametrize("mailboxes", [{"ann@us.test"}, set(NAMES[:3])])
def test_whatever_the_aliases_it_ends_at_mailboxes_and_hosts_elsewhere(
    mailboxes: set[str], graph: dict[str, list[str]], start: str, catch_all: tuple[str, ...]
) -> None:
    found = made(graph, mailboxes=mailboxes, catch_all=catch_all).resolve(at(start))
    assert bool(found.addresses) is (found.refusal is None)
    names = [canonical(one) for one in found.addresses]
    assert len(set(names)) == len(names)
    assert set(names) <= mailboxes | {"x@far.test"}


def test_what_goes_on_to_a_host_elsewhere_is_known_before_it_does() -> None:
    directory = made(
        {"out@us.test": ["c@far.test"], "in@us.test": ["ann@us.test"], "both@us.test": ["ann@us.test", "c@far.test"]}
    )
    assert directory.leads_elsewhere(at("out@us.test")) and directory.leads_elsewhere(at("both@us.test"))
    for address in ("in@us.test", "ann@us.test", "nobody@us.test", "x@far.test", "SRS0=good@us.test"):
        assert not directory.leads_elsewhere(at(address))
