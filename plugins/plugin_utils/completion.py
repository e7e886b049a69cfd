# Copyright: multinode.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Asking a served model for a completion, as its users will."""

from __future__ import annotations

import json
from urllib.error import HTTPError

from ansible.module_utils.urls import open_url

PROMPT = "The capital of France is"
# A first completion may still compile kernels.
SECONDS = 60


def complete(url: str, model: str, api_key: str, tokens: int = 8, host: str = "") -> dict[str, str | None]:
    """Return {text, problem} of one completion through `url`: exactly one of them is None.

    host: the name that the endpoint is asked by, where `url` has its address
    """
    body = json.dumps({"model": model, "prompt": PROMPT, "max_tokens": tokens, "temperature": 0})
    try:
        answer = open_url(
            f"{url}/v1/completions",
            method="POST",
            data=body,
            headers={
                "Content-Type": "application/json",
                "Authorization": f"Bearer {api_key}",
                **({"Host": host} if host else {}),
            },
            timeout=SECONDS,
            http_agent="multinode.inference",
        )
        text = json.loads(answer.read())["choices"][0]["text"]
    except HTTPError as error:
        return {"text": None, "problem": f"HTTP {error.code} {error.reason}"}
    except (OSError, ValueError, KeyError, IndexError, TypeError) as error:
        return {"text": None, "problem": f"{type(error).__name__}: {error}"}
    if not text:
        return {"text": None, "problem": "a completion without a token"}
    return {"text": text, "problem": None}
