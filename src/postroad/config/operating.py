"""Settings for those who run the server: the web listener, health, and room on the disk."""

from __future__ import annotations

from dataclasses import dataclass

from postroad.config.setting import setting


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpSection:
    """The web listener: metrics, health, unsubscribing. It has a process of its own."""

    enabled: bool = setting(True, "Whether there is one.")
    address: str = setting("127.0.0.1", "An IPv4 or IPv6 address.")
    port: int = setting(8025, "The TCP port; 0 takes a free one.", low=0, high=65_535)
    operators: tuple[str, ...] = setting(
        ("127.0.0.0/8", "::1/128"),
        "Networks that may read metrics and reasons of health; others only hear whether all is well.",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class DiskSection:
    """Room on the disk of the state directory."""

    least_free_octets: int = setting(
        100_000_000,
        "With less free space than this, mail is refused with 452 before anything is full.",
        low=0,
        high=1 << 60,
    )
