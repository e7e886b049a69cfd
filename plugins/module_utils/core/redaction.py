# Copyright: multinode.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Secrets in what others are to read: known by their value, their form or the name that they stand under."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import quote

# What names a credential, anywhere in a name or as its last word; and what says where a secret is or how it is used, and is none.
_SECRET_NAME = re.compile(
    r"PASS(WORD|WD|PHRASE)|SECRET|API_?KEY|CREDENTIALS?(_|$)|(^|_)JWT|BEARER"
    r"|TOKEN\d*$|(^|_)(PASS|PWD|KEY|PAT|AUTH|CREDS?|DSN|COOKIE|SAS|PEM|CERT_KEY|PIN|OTP|SEED_PHRASE|MNEMONIC)\d*$"
    r"|CONNECTION_?STRING|(^|_)CONN_STR|WEBHOOK(_UR[LI])?$"
    r"|(^|_)(DATABASE|DB|REDIS|MONGO(DB)?|POSTGRES(QL)?|PG|MYSQL|MARIADB|AMQP|RABBITMQ|BROKER|CELERY_BROKER)_UR[LI]$",
    re.IGNORECASE,
)
_ABOUT_A_SECRET = re.compile(r"_(FILE|PATH|DIR|FOLDER|NAME|TYPE|LENGTH|LIMIT|TTL|TIMEOUT|ENABLED)$", re.IGNORECASE)
# What a value is by its form: credentials in a URL, private keys, tokens with the prefix of who issues them (GitHub, GitLab,
# Hugging Face, OpenAI, NVIDIA, AWS, Google, Slack), JSON Web Tokens, pre-authenticated and signed URLs.
SECRET_VALUE = re.compile(
    r"\b[a-z][a-z0-9+.-]{0,30}://[^\s/:@]*:[^\s/@]+@|-----BEGIN [A-Z ]*PRIVATE KEY|\bgh[pousr]_\w{20}|\bgithub_pat_\w{20}|\bglpat-[\w-]{16}"
    r"|\bhf_[A-Za-z0-9]{20}|\bsk-[\w-]{20}|\bnvapi-[\w-]{20}|\b(AKIA|ASIA)[0-9A-Z]{16}|\bAIza[\w-]{30}|\bxox[abeoprs]-[\w-]{10}"
    r"|\beyJ[\w-]{8,1024}\.eyJ[\w-]{8,1024}\.|/p/[\w-]{16,}/n/[^/\s]+/b/|[?&](sig|signature|x-amz-signature)=",
    re.IGNORECASE,
)
_PRIVATE_KEY = re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY.*?(-----END [A-Z ]*PRIVATE KEY-----|\Z)", re.DOTALL)
# In a log whatever stands between /p/ and /n/, or is cut off behind it, counts.
_REQUEST = re.compile(r"/p/[^/\s]+(?=/n/|[\"'\s]|$)")
_SIGNED_IN = re.compile(r"\b(Bearer|Basic)\s+[^\s\"',]{4,}", re.IGNORECASE)
_NAMED = re.compile(
    r"((?:api[-_]?key|passw(?:or)?d|secret|token)(?:=[\[\"']*|\\?[\"']\s*:\s*\[?\\?[\"'])|--(?:api-key|hf-token)\s+[\"']?)[^\s\"',)}\]]{6,}",
    re.IGNORECASE,
)
_ENDS = frozenset(" \t\r\n\"'<>`")
MASK = "***"
# A shorter value is a word that may stand anywhere, such as `true`.
_SHORTEST = 6
# Of metadata: who wrote which field, and a copy of the object, which for a Secret has its values.
_NOISE = ("managedFields", "kubectl.kubernetes.io/last-applied-configuration")


class Redaction:
    """Masks secrets in plain data."""

    def __init__(self, values: Iterable[str] = ()) -> None:
        """`values`: secrets that are known; each is masked wherever it stands, also in base64 or in a URL, line by line."""
        known = {part.strip() for value in values for part in (value, *value.splitlines())}
        known = {value for value in known if len(value) >= _SHORTEST}
        known |= {quote(value, safe="") for value in known} | {_base64(value) for value in known}
        self._known = sorted(known, key=len, reverse=True)

    def text(self, text: str) -> str:
        """Return the text with each secret as ***."""
        for value in self._known:
            text = text.replace(value, MASK)
        text = _REQUEST.sub(f"/p/{MASK}", _PRIVATE_KEY.sub(MASK, text))
        text = _NAMED.sub(rf"\1{MASK}", _SIGNED_IN.sub(rf"\1 {MASK}", text))
        return _without_forms(text)

    def data(self, value: Any) -> Any:
        """Return plain data with each secret as ***, and without what Kubernetes keeps for itself in metadata."""
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, Mapping):
            entry = value.get("name")
            if isinstance(entry, str) and isinstance(value.get("value"), str) and names_a_secret(entry):
                value = {**value, "value": MASK}
            return {
                self.text(str(key)): MASK
                if isinstance(inner, str) and str(key).isupper() and names_a_secret(str(key))
                else self.data(inner)
                for key, inner in value.items()
                if key not in _NOISE
            }
        return [self.data(inner) for inner in value] if isinstance(value, (list, tuple)) else value


def names_a_secret(name: str) -> bool:
    """Tell whether an environment variable of this name holds a credential."""
    return bool(_SECRET_NAME.search(name)) and not _ABOUT_A_SECRET.search(name)


def _without_forms(text: str) -> str:
    """Mask what has the form of a secret, with all that it is one word with."""
    parts, at = [], 0
    for match in SECRET_VALUE.finditer(text):
        first, last = match.span()
        if last <= at:
            continue
        while first > at and text[first - 1] not in _ENDS:
            first -= 1
        while last < len(text) and text[last] not in _ENDS:
            last += 1
        parts += [text[at : max(first, at)], MASK]
        at = last
    return "".join([*parts, text[at:]])


def _base64(value: str) -> str:
    """The value in base64 without the padding, which what follows it would change."""
    return base64.b64encode(value.encode(errors="replace")).decode().rstrip("=")
