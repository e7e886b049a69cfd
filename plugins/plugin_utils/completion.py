# Copyright: multinode.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Asking a served model for a completion, as its users will."""

from __future__ import annotations

import json

from ..module_utils.core.credentials import bearer
from ..module_utils.core.fault import Refused
from ..module_utils.core.text import plain, read_json
from ..module_utils.sources.http import TooLarge, Unreachable, ask

PROMPT = "The capital of France is"
# A first completion may still compile kernels.
SECONDS = 60
# Of the answer to a question for a few tokens.
MOST_BYTES = 1024 * 1024


def complete(url: str, model: str, api_key: str, tokens: int = 8, host: str = "") -> dict[str, str | None]:
    """Return {text, problem} of one completion through `url`: exactly one of them is None.

    host: the name that the endpoint is asked by, where `url` has its address
    """
    body = json.dumps({"model": model, "prompt": PROMPT, "max_tokens": tokens, "temperature": 0})
    try:
        headers = {
            "Content-Type": "application/json",
            "Authorization": bearer(api_key, "API key"),
            **({"Host": host} if host else {}),
        }
        answer = ask(f"{url}/v1/completions", MOST_BYTES, headers, SECONDS, body.encode())
    except Refused as refused:
        return {"text": None, "problem": refused.faults[0].line()}
    except (Unreachable, TooLarge) as error:
        return {"text": None, "problem": f"no answer ({error})" if isinstance(error, Unreachable) else str(error)}
    if answer.status != 200:
        return {"text": None, "problem": f"HTTP {answer.status}"}
    try:
        text = read_json(answer.body)["choices"][0]["text"]
    except (ValueError, LookupError, TypeError):
        return {"text": None, "problem": "an answer that is no completion"}
    if not text or not isinstance(text, str):
        return {"text": None, "problem": "a completion without a token"}
    return {"text": plain(text), "problem": None}
