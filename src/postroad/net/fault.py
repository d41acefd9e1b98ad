"""Faults of sockets and of TLS, in a few plain words that a log, a report or a DSN can carry."""

from __future__ import annotations

import ssl


def explain_fault(error: BaseException) -> str:
    """A network or TLS error in a few plain words."""
    match error:
        case ssl.SSLCertVerificationError():
            return f"certificate not trusted: {error.verify_message}"
        case ssl.SSLError():
            return f"TLS failed: {(error.reason or str(error)).lower().replace('_', ' ')}"
        case TimeoutError():
            return "timed out"
        case ConnectionRefusedError():
            return "connection refused"
        case ConnectionResetError() | BrokenPipeError():
            return "connection reset"
        case OSError() if error.strerror:
            return error.strerror.lower()
        case _:
            return str(error) or type(error).__name__


_HOSTNAME_MISMATCH = 62
_EXPIRED = frozenset({9, 10})
"""Not yet valid, or not any more."""


def tls_result(error: BaseException) -> str:
    """What failed of TLS, as reports name it (RFC 8460 §4.3)."""
    if not isinstance(error, ssl.SSLCertVerificationError):
        return "validation-failure"
    if error.verify_code == _HOSTNAME_MISMATCH:
        return "certificate-host-mismatch"
    return "certificate-expired" if error.verify_code in _EXPIRED else "certificate-not-trusted"
