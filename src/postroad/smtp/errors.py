"""The faults of the protocol core, told apart by whose fault it is.

A refusal is a value (`Reply`); only faults are exceptions. `LocalProtocolError` is a bug of the
caller in this process and must surface; `RemoteProtocolError` ends the one peer that caused it.
"""

from __future__ import annotations


class ProtocolError(Exception):
    """Base of both."""


class LocalProtocolError(ProtocolError):
    """This side tried something the state or the grammar forbids (for instance CR LF inside a command)."""


class RemoteProtocolError(ProtocolError):
    """The other side sent something no SMTP peer may send; the connection is of no further use."""
