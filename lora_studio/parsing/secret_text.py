"""Secrets left out of texts that others may read: logs, reports, messages of services."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping

HIDDEN = "…"
SHORTEST = 4
"""Characters of a secret; fewer are part of too many words."""
SECRET_NAME = re.compile(
    r"TOKEN|SECRET|PASSWORD|PASSPHRASE|CREDENTIAL|WEBHOOK|API_?KEY|_KEY\Z", re.IGNORECASE
)
"""Names of environment variables whose values are secrets."""
ACCOUNT_KEY = re.compile(
    r"(?<!\w)((?:hf_|sk-|sb_|ghp_|github_pat_|glpat-|xox[a-z]-|AKIA|ak-|as-)[\w-]{16,200}+)"
)
"""Keys to accounts in the forms that services give them."""
WEB_TOKEN = re.compile(r"(?<![\w-])(eyJ[\w-]{10,2000}+\.[\w-]{10,4000}+(?:\.[\w-]{1,1000}+)?)")
"""A token of three parts (RFC 7519)."""
IN_ADDRESS = re.compile(r"(?<=://)[^\s/?#\"']{1,200}(?=@)")
"""User name and password of an address; the password may hold an @ itself."""
HOOK = re.compile(r"(?<=/webhooks/|/services/)([^\s\"'<>]{8,300}+)")
"""The part of an address of Discord or Slack that whoever knows may write with."""
NAMED = re.compile(
    r"((?:(?<![A-Za-z0-9])(?:token|secret|pass(?:word|wd|phrase)|api[_-]?key|authorization)[\"']?\s{0,3}[:=]"
    r"|[?&](?:invite|view|sig|signature|access_token|key)=|(?<!\w)bearer(?=\s))"
    r"\s{0,3})(?:\"[^\"\n]{4,500}+\"|'[^'\n]{4,500}+'"
    r"|[\"']?(?:(?:bearer|basic|token)\s)?[^\s\"',;&<>]{4,500}+)",
    re.IGNORECASE,
)
"""A value behind the name of a secret, as in `password=x`, `"token": "x"`, `Bearer x` and `?invite=x`."""


def known_secrets(
    environment: Mapping[str, str] | None = None, others: Iterable[str] = ()
) -> tuple[str, ...]:
    """The secrets in this process's environment, and `others`; longest first, since one may hold another."""
    env = os.environ if environment is None else environment
    found = {value.strip() for name, value in env.items() if SECRET_NAME.search(name)} | {*others}
    return tuple(sorted((one for one in found if len(one) >= SHORTEST), key=len, reverse=True))


def without_secrets(text: str, secrets: Iterable[str] = ()) -> str:
    """The text with a mark in the place of each of `secrets`, and of whatever looks like one."""
    for secret in secrets:
        if len(secret) >= SHORTEST:
            text = text.replace(secret, HIDDEN)
    for pattern in (ACCOUNT_KEY, WEB_TOKEN, IN_ADDRESS, HOOK):
        text = pattern.sub(HIDDEN, text)
    return NAMED.sub(rf"\1{HIDDEN}", text)
