# SPDX-License-Identifier: GPL-3.0-or-later
"""The rig's stand-in for Oracle Cloud: its REST services on one address, spoken to by the real `oci` SDK.

Written from what is known of the services, not from what our own client sends. Each module names the facts it imitates.
"""
