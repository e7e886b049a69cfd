# SPDX-License-Identifier: GPL-3.0-or-later
"""A credential is a header value, or is refused without being told; and where one does not belong it is found."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.multinode.inference.plugins.module_utils.core.credentials import bearer, header_value
from ansible_collections.multinode.inference.plugins.module_utils.core.fault import Refused
from ansible_collections.multinode.inference.plugins.module_utils.core.recipe.inputs import read_inputs

from .recipes import recipe

PAR = "https://objectstorage.us-ashburn-1.oraclecloud.com/p/canary/n/tenancy/b/models/o/"


def test_white_space_around_it_is_taken_off_unless_others_send_it_too() -> None:
    assert bearer(" token\r\n", "API key") == "Bearer token"
    assert header_value("token", "kubeconfig", exact=True) == "token"
    with pytest.raises(Refused) as refused:
        header_value("canary\n", "kubeconfig", exact=True)
    assert "canary" not in str(refused.value)


@pytest.mark.parametrize("credential", ["", "\n", "canary canary", "canary\ncanary", "canary\u00fc", "canary\x00"])
def test_what_is_no_header_value_is_not_told(credential: str) -> None:
    with pytest.raises(Refused) as refused:
        bearer(credential, "HF_TOKEN")
    (fault,) = refused.value.faults
    assert (fault.code, fault.where) == ("credential_malformed", "HF_TOKEN") and "canary" not in fault.line()


@pytest.mark.parametrize(
    "changes", [{"recipe_id": PAR}, {"service_annotations": {"a": f"see {PAR}"}}, {"include": [PAR]}]
)
def test_a_request_in_a_place_that_is_shown_is_refused(changes: dict[str, Any]) -> None:
    given = recipe()
    if "include" in changes:
        given["input_object_storage"][0].update(changes)
    else:
        given.update(changes)
    with pytest.raises(Refused) as refused:
        read_inputs(given)
    assert [fault.code for fault in refused.value.faults] == ["secret_misplaced"]
    assert "canary" not in str(refused.value)
