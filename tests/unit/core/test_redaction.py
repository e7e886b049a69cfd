# SPDX-License-Identifier: GPL-3.0-or-later
"""No secret is left in what others read, and what is none stays readable."""

from __future__ import annotations

import base64

import pytest

from ansible_collections.multinode.inference.plugins.module_utils.core.redaction import Redaction

CANARY = "cAnArY0123456789abcd"


@pytest.mark.parametrize(
    "text",
    [
        f"GET https://objectstorage.us-ashburn-1.oraclecloud.com/p/{CANARY}/n/ns/b/models/o/x.safetensors",
        f"cut off behind it: /p/{CANARY}",
        f"Authorization: Bearer {CANARY}",
        f"authorization: basic {CANARY}",
        f"token hf_{CANARY} refused",
        f"https://user:{CANARY}@registry.example/v2",
        f"-----BEGIN RSA PRIVATE KEY-----\n{CANARY}\n-----END RSA PRIVATE KEY-----",
        f"-----BEGIN PRIVATE KEY-----\n{CANARY}",
        f"non-default args: {{'api_key': ['{CANARY}']}} api_key=['{CANARY}']",
        f'{{"password": "{CANARY}"}}',
        f'"{{\\"token\\": \\"{CANARY}\\"}}"',
        f"vllm serve --api-key {CANARY} --port 8000",
        f"eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJ4In0.{CANARY}",
        f"https://host/o/x?sig={CANARY}&se=1",
    ],
)
def test_a_secret_is_known_by_its_form(text: str) -> None:
    assert CANARY not in Redaction().text(text)


@pytest.mark.parametrize("form", ["{}", "x{}x", "a {} b"])
def test_a_known_value_is_masked_in_every_spelling(form: str) -> None:
    value = "plain/words with spaces"
    redaction = Redaction([value, "first line\nsecond line\n"])
    for spelling in (value, base64.b64encode(value.encode()).decode(), "plain%2Fwords%20with%20spaces", "second line"):
        assert spelling.rstrip("=") not in redaction.text(form.format(spelling))


def test_by_name_where_a_variable_is_given_and_in_copies_of_an_object() -> None:
    pod = {
        "metadata": {"annotations": {"kubectl.kubernetes.io/last-applied-configuration": CANARY}, "managedFields": []},
        "env": [{"name": "MY_TOKEN", "value": CANARY}, {"name": "HF_TOKEN_PATH", "value": "/t"}],
        "environment": {"DB_PASSWORD": CANARY, "NCCL_DEBUG": "INFO"},
        "volumes": ({"secret": {"secretName": "llama-api-key"}},),
    }
    assert Redaction().data(pod) == {
        "metadata": {"annotations": {}},
        "env": [{"name": "MY_TOKEN", "value": "***"}, {"name": "HF_TOKEN_PATH", "value": "/t"}],
        "environment": {"DB_PASSWORD": "***", "NCCL_DEBUG": "INFO"},
        "volumes": [{"secret": {"secretName": "llama-api-key"}}],
    }


@pytest.mark.parametrize(
    "text",
    [
        'MountVolume.SetUp failed for volume "api-keys": secret "llama-api-key" not found',
        "Token authentication: 401 of token: waiting",
        "max_num_batched_tokens=2048, opc-request-id 0A1B2C/3D",
        "true and short stay",
    ],
)
def test_what_is_no_secret_stays(text: str) -> None:
    assert Redaction(["true", ""]).text(text) == text
