# Copyright: multinode.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Run by Python before a module where `kubernetes_strict_tls` is false: urllib3 then adds no strict verification to its contexts."""

from __future__ import annotations

import ssl

ssl.VERIFY_X509_STRICT = ssl.VerifyFlags(0)  # type: ignore[misc]  # libraries read it when they are imported
