# SPDX-License-Identifier: GPL-3.0-or-later
"""A drafter is divided like the model that it drafts for."""

from __future__ import annotations

from dataclasses import replace

from ansible_collections.multinode.inference.plugins.module_utils.core.fault import Findings
from ansible_collections.multinode.inference.plugins.module_utils.core.model.model import read_model
from ansible_collections.multinode.inference.plugins.module_utils.core.model.tensors import Weight
from ansible_collections.multinode.inference.plugins.module_utils.core.sizing.division import check_division
from ansible_collections.multinode.inference.plugins.module_utils.core.sizing.options import MemoryOptions
from tests.unit.core.configurations import llama


def test_a_drafter_that_the_gpus_do_not_divide_is_refused_where_it_drafts() -> None:
    model = read_model(llama())
    odd = Weight("mtp.mlp.up_proj.weight", 4097, 4096, "rows")
    model = replace(model, inventory=replace(model.inventory, extra=(odd,)))
    for drafts, codes in ((0, []), (1, ["part_not_divisible"])):
        findings = Findings()
        check_division(model, 8, MemoryOptions(draft_layers=drafts), findings)
        assert [fault.code for fault in findings.faults] == codes
