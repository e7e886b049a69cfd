# SPDX-License-Identifier: GPL-3.0-or-later
"""Secrets are named and never given; a protection that is switched off is warned of, with what follows from it."""

from __future__ import annotations

import time
from typing import Any

import pytest

from ansible_collections.multinode.inference.plugins.module_utils.core.fault import Fault, Refused
from ansible_collections.multinode.inference.plugins.module_utils.core.recipe.inputs import read_inputs

from ...recipes import recipe


def variable(name: str, value: str = "canary-5df7") -> dict[str, Any]:
    return recipe(recipe_container_env=[{"key": name, "value": value}])


def faults_of(variables: dict[str, Any]) -> list[Fault]:
    try:
        read_inputs(variables)
    except Refused as refused:
        assert "canary" not in str(refused)
        return refused.faults
    return []


@pytest.mark.parametrize(
    "name",
    [
        *(
            "DB_PASS",
            "DB_PASSWORD",
            "PGPASSWORD",
            "MYSQL_PWD",
            "PASSPHRASE",
            "KEY_PASSPHRASE",
            "openai_key",
            "OPENAI_KEY",
        ),
        *(
            "OPENAI_API_KEY",
            "OPENAI_APIKEY",
            "GITHUB_PAT",
            "JWT",
            "SESSION_JWT",
            "DATABASE_URL",
            "REDIS_URI",
            "HFTOKEN",
        ),
        *(
            "HF_TOKEN",
            "SLACK_TOKEN2",
            "AWS_SECRET_ACCESS_KEY",
            "AWS_ACCESS_KEY_ID_SECRET",
            "SECRET_KEY_BASE",
            "API_AUTH",
        ),
        *("PRIVATE_KEY", "TLS_KEY", "SENTRY_DSN", "AZURE_STORAGE_CONNECTION_STRING", "SAS", "MY_CREDS", "CREDENTIALS"),
        *("BEARER", "SLACK_WEBHOOK_URL", "WEBHOOK", "COOKIE", "MONGODB_URI", "OTP"),
    ],
)
def test_a_variable_that_is_a_secret_by_its_name_is_refused(name: str) -> None:
    assert [fault.code for fault in faults_of(variable(name))] == ["secret_in_the_clear"]


@pytest.mark.parametrize(
    "value",
    [
        "https://user:canary@example.com/x",
        "postgres://:canary@db:5432/x",
        "see redis://u:canary@host",
        "hf_" + "a" * 34,
        "ghp_" + "a" * 36,
        "github_pat_" + "a" * 40,
        "glpat-" + "a" * 20,
        "sk-" + "a" * 40,
        "AKIA" + "A" * 16,
        "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.x",
        "-----BEGIN RSA PRIVATE KEY-----\ncanary",
        "https://objectstorage.us-ashburn-1.oraclecloud.com/p/" + "a" * 40 + "/n/x/b/y/o/",
        "https://example.com/x?sig=canary",
        "https://example.com/x?a=b&X-Amz-Signature=canary",
    ],
)
def test_a_value_that_is_a_secret_by_its_form_is_refused(value: str) -> None:
    assert [fault.code for fault in faults_of(variable("SETTING", value))] == ["secret_in_the_clear"]
    arguments = ["--hf-overrides", value]
    faults = faults_of(recipe(recipe_container_command_args=arguments))
    assert [fault.code for fault in faults] == ["secret_in_the_clear"]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("TOKENIZERS_PARALLELISM", "false"), ("MAX_TOKENS", "4096"), ("NCCL_DEBUG", "INFO"), ("VLLM_USE_AUTH", "0")),
        *(("SSL_KEY_FILE", "/etc/tls/key.pem"), ("TOKEN_LIMIT", "9"), ("KEYBOARD", "us"), ("COMPASS", "north")),
        *(
            ("HTTPS_PROXY", "http://proxy.example.com:3128"),
            ("PATH", "/usr/bin"),
            ("HF_HOME", "/tmp/hf"),
            ("AUTHOR", "me"),
        ),
    ],
)
def test_what_is_no_secret_is_taken(name: str, value: str) -> None:
    assert faults_of(variable(name, value)) == []


def warnings_of(variables: dict[str, Any]) -> list[tuple[str, str, str]]:
    return [(fault.code, fault.where, fault.found) for fault in read_inputs(variables).warnings]


@pytest.mark.parametrize(
    ("name", "on", "off"),
    [
        ("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1", "0"),
        ("VLLM_ALLOW_INSECURE_SERIALIZATION", "1", "0"),
        ("VLLM_ALLOW_RUNTIME_LORA_UPDATING", "True", "False"),
        ("VLLM_SERVER_DEV_MODE", "1", "0"),
        ("HF_HUB_OFFLINE", "0", "1"),
    ],
)
def test_a_variable_that_switches_a_protection_off_is_warned_of(name: str, on: str, off: str) -> None:
    ((code, where, found),) = warnings_of(variable(name, on))
    assert (code, where) == ("protection_off", "recipe_container_env[0].key")
    assert found.startswith(f"{name}: ") and len(found) > len(name) + 20
    assert warnings_of(variable(name, off)) == []


def test_one_whose_value_is_in_a_secret_may_switch_it_off() -> None:
    entry = {"envvar_name": "VLLM_ALLOW_INSECURE_SERIALIZATION", "secret_name": "s", "secret_key": "k"}
    assert [code for code, *_ in warnings_of(recipe(recipe_environment_secrets=[entry]))] == ["protection_off"]


def test_code_of_the_model_is_warned_of() -> None:
    assert [entry[:2] for entry in warnings_of(recipe(recipe_trust_remote_code=True))] == [
        ("protection_off", "recipe_trust_remote_code")
    ]


@pytest.mark.parametrize("option", ["--allowed-local-media-path", "--worker_extension_cls", "--tool-parser-plugin"])
def test_an_option_that_runs_or_shows_more_is_warned_of(option: str) -> None:
    found = warnings_of(recipe(recipe_container_command_args=[option, "/x"]))
    assert ("protection_off", "recipe_container_command_args") in [entry[:2] for entry in found]


@pytest.mark.parametrize(
    ("words", "key"),
    [
        (
            ["--kv-transfer-config", '{"kv_connector": "X", "kv_connector_module_path": "a.b"}'],
            "kv_connector_module_path",
        ),
        (["--kv-transfer-config.kv_connector_module_path", "a.b"], "kv_connector_module_path"),
        (["--kv_transfer_config.kv_connector_module_path=a.b"], "kv_connector_module_path"),
        (['--ec-transfer-config={"ec_connector_module_path": "a"}'], "ec_connector_module_path"),
        (["--structured-outputs-config", '{"reasoning_parser_plugin": "/x.py"}'], "reasoning_parser_plugin"),
        (["--compilation-config", '{"backend": "a.b.c"}'], "backend"),
        (["--compilation-config.inductor_passes", '{"post_grad": "a.b"}'], "inductor_passes"),
        (["--compilation-config", '{"a": [{"inductor_passes": {}}]}'], "inductor_passes"),
        (["--compilation-config", '{"backend": "inductor"}'], None),
        (["--kv-transfer-config", '{"kv_connector": "LMCacheConnectorV1"}'], None),
        (["--structured-outputs-config.backend", "xgrammar"], None),
    ],
)
def test_code_that_an_option_in_json_names_is_warned_of(words: list[str], key: str | None) -> None:
    found = [
        entry[2] for entry in warnings_of(recipe(recipe_container_command_args=words)) if entry[0] == "protection_off"
    ]
    assert [words.split(":")[0].split(" with ")[1] for words in found] == ([key] if key else [])


def hub(endpoint: str, **more: Any) -> dict[str, Any]:
    entry = {"repository": "org/model", "mount_location": "/models", "volume_size_in_gbs": 50, **more}
    return recipe(input_object_storage=None, input_hugging_face=entry, hugging_face_endpoint=endpoint)


def test_a_mirror_without_tls_gets_no_token() -> None:
    assert faults_of(hub("http://mirror.example.com")) == []
    assert [fault.code for fault in faults_of(hub("HTTP://mirror.example.com", token_secret_name="hub"))] == ["url"]
    assert [fault.code for fault in faults_of(hub("http://mirror.example.com", token_secret_name="hub"))] == [
        "endpoint"
    ]


@pytest.mark.parametrize(
    "piece", ["x", "a.", "eyJ-", "://", "a:", "@", "/p/", "-----BEGIN ", "?sig", "_KEY", "http://a:b"]
)
def test_a_long_value_is_read_in_time(piece: str) -> None:
    began = time.process_time()
    faults_of(variable("SETTING", (piece * 32_000)[:32_000]))
    assert time.process_time() - began < 3
