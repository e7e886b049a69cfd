# SPDX-License-Identifier: GPL-3.0-or-later
"""Names that nothing in the product calls, for vulture: each with who does."""

from __future__ import annotations

from typing import Any

_: Any = None

# Ansible finds these by their names.
_.ActionModule
_.InventoryModule
_.ModuleDocFragment
_.NAME
_.DOCUMENTATION
_.EXAMPLES
_.RETURN
_._requires_connection
_._supports_check_mode
_._supports_async

# The OCI SDK calls these of a retry strategy.
_.make_retrying_call
_.add_circuit_breaker_callback
_.callback

# The standard library reads these: http.server and socketserver, reprlib.
_.do_GET
_.log_message
_.handle_error
_.daemon_threads
_.request_queue_size
_.maxlong
_.maxother
_.maxstring

# The test of every supported ansible-core makes environments with it.
_.find_python

# Tests check these parts of a sum one by one.
_.bytes_per_weight
_.state_bytes_per_request

# vLLM loads it by its name (--middleware).
_.KeyGuard

# Keys of the plan, of its typed parts.
_.least_compute_capability
_.boot_volumes
_.model_volumes
_.price_date

# The standard library, tarfile and http.client read these.
_.default_port
_.mtime

# vLLM asks CUDA late where torch says that it is initialised late.
_._lazy_init
