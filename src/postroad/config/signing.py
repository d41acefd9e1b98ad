"""Settings of signing (DKIM)."""

from __future__ import annotations

from dataclasses import dataclass

from postroad.config.setting import setting


@dataclass(frozen=True, slots=True, kw_only=True)
class DkimSection:
    """Signatures on mail that users submit and on our own notices, by the keys of `postroad domain`."""

    enabled: bool = setting(True, "Whether mail is signed; a domain without keys is never signed.")
    required: bool = setting(
        False, "Whether a message that should be signed and cannot be is deferred (451), instead of leaving unsigned."
    )
    lifetime_s: float = setting(0.0, "For how long a signature holds (x=); 0 for no end.", low=0, high=31_536_000)
    threads: int = setting(2, "Threads that sign, for each worker; a change needs a restart.", low=1, high=64)


@dataclass(frozen=True, slots=True, kw_only=True)
class DkimKeySettings:
    """A key that is kept elsewhere, such as that of an earlier server; it signs at once, beside the others."""

    domain: str = setting("", "The domain that it signs for, subdomains included.")
    selector: str = setting("", "The selector at which its public half is published.")
    file: str = setting("", "PEM file with the private key, RSA or Ed25519, without a password.")
