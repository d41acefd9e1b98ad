"""A Postfix that receives on port 25 of a host of its own, with DNS that leads to it: to try Postroad against.

    sudo make sink

Makes a network namespace with a Postfix in it (users alice, bob and carol at postfix.test, everyone else refused)
and a DNS server on 127.0.0.1:5300 whose MX record for postfix.test names that host. Prints the commands to try, and
then each message as it arrives. Ctrl-C takes everything away again. Needs root, Postfix, and the test libraries.
"""

from __future__ import annotations

import signal
import sys
import time
from contextlib import suppress
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from peers.internet import mail_host

DNS_PORT = 5300

COMMANDS = f"""\
Postfix listens on {{address}}:25, DNS on 127.0.0.1:{DNS_PORT}. In a second shell, the server:

    POSTROAD_DNS__NAMESERVER=127.0.0.1:{DNS_PORT} POSTROAD_DELIVERY__ALLOW_PRIVATE=true make serve

It prints the administrator's name and password. In a third shell, with them in MAIL_USER and PASSWORD:

    swaks --server 127.0.0.1:2587 --tls --auth-user "$MAIL_USER" --auth-password "$PASSWORD" \\
          --from "$MAIL_USER" --to alice@postfix.test --header "Subject: by swaks"
    printf 'From: %s\\r\\nSubject: by curl\\r\\n\\r\\nhello\\r\\n' "$MAIL_USER" |
        curl --insecure --url smtps://127.0.0.1:2465 --user "$MAIL_USER:$PASSWORD" \\
             --mail-from "$MAIL_USER" --mail-rcpt bob@postfix.test --upload-file -
    .venv/bin/postroad verify examples/list.csv --resolver 127.0.0.1:{DNS_PORT} --allow-private

Messages as they arrive (Ctrl-C ends):
"""


def main() -> None:
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    seen: set[Path] = set()
    with mail_host(dns_port=DNS_PORT) as host:
        print(COMMANDS.format(address=host.postfix.address), flush=True)
        with suppress(KeyboardInterrupt):
            while True:
                for user in ("alice", "bob", "carol"):
                    for path in host.postfix.mailbox(user):
                        if path not in seen:
                            seen.add(path)
                            print(f"--- for {user}@postfix.test\n{path.read_text(errors='replace')}", flush=True)
                time.sleep(0.2)


if __name__ == "__main__":
    main()
