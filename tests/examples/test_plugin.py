"""The plugin of the guide does what the guide says."""

from __future__ import annotations

import asyncio
import importlib.util
from pathlib import Path

from postroad.hook.plugin import call
from postroad.hook.vocabulary import Amend, Arrived, Client, Hold
from postroad.smtp.address import NULL

FILE = Path(__file__).parents[2] / "examples" / "hold_invoices.py"


def test_a_strangers_invoice_waits_and_other_mail_is_marked() -> None:
    spec = importlib.util.spec_from_file_location("hold_invoices", FILE)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    plugin = module.HoldInvoices({"word": "Invoice"})

    def asked(text: bytes, user: str | None = None) -> object:
        client = Client(address="192.0.2.1", port=1, listener="mx", user=user)
        arrived = Arrived(client=client, sender=NULL, recipients=(), octets=text, hostname="mx.example.org")
        return asyncio.run(call(plugin, "message", arrived))

    assert asked(b"\r\nyour INVOICE\r\n") == Hold("a stranger's invoice")
    assert isinstance(asked(b"\r\nyour invoice\r\n", "ann"), Amend)
    assert isinstance(asked(b"\r\nhello\r\n"), Amend)
