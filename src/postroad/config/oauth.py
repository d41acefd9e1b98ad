"""Settings of users who come with a token of an authorization server."""

from __future__ import annotations

from dataclasses import dataclass

from postroad.config.setting import setting


@dataclass(frozen=True, slots=True, kw_only=True)
class OauthSection:
    """Tokens instead of passwords (OAUTHBEARER, RFC 7628, and XOAUTH2, its forerunner); offered where `url` is set."""

    url: str = setting(
        "", "Where the authorization server tells of tokens (introspection, RFC 7662), an https address."
    )
    client_id: str = setting("", "As whom we ask it.")
    client_secret_file: str = setting("", "File whose first line is our secret there.")
    claims: tuple[str, ...] = setting(
        ("username", "email", "sub"), "What in its answer names the user, any of them: the account's name."
    )
    scope: str = setting("", "What a token must be good for; empty for anything.")
