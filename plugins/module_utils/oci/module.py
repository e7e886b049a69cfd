# Copyright: multinode.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What the modules that speak to Oracle Cloud share: sign-in options, and how they end."""

from __future__ import annotations

from typing import Any

from ansible.module_utils.basic import AnsibleModule, env_fallback

from .client import AUTHENTICATION_TYPES, ENVIRONMENT, Connection, sign_in_by


def sign_in_argument_spec() -> dict[str, dict[str, Any]]:
    """The options of the documentation fragment `oci_authentication`, as users of oracle.oci know them."""
    spec: dict[str, dict[str, Any]] = {
        "auth_type": {"type": "str", "choices": list(AUTHENTICATION_TYPES), "default": "api_key"},
        "config_file_location": {"type": "path"},
        "config_profile_name": {"type": "str"},
        "api_user": {"type": "str"},
        "api_user_fingerprint": {"type": "str"},
        "api_user_key_file": {"type": "path", "no_log": False},
        "api_user_key_pass_phrase": {"type": "str", "no_log": True},
        "tenancy": {"type": "str"},
        "region": {"type": "str"},
        "cert_bundle": {"type": "path"},
        "oci_service_endpoint": {"type": "raw"},
    }
    for name, variable in ENVIRONMENT.items():
        spec[name]["fallback"] = (env_fallback, [variable])
    return spec


def connect(module: AnsibleModule, resource_ocid: str = "") -> Connection:
    """Sign in, with the region of `resource_ocid` where none is given."""
    return Connection(sign_in_by(module.params), resource_ocid)
