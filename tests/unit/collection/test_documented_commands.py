# SPDX-License-Identifier: GPL-3.0-or-later
"""Commands and printed lines in the documentation are the product's own: playbooks, options, settings, files, formats."""

from __future__ import annotations

import re
import shlex
from datetime import datetime, timedelta, timezone
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from ansible.cli.playbook import PlaybookCLI
from ansible.plugins.loader import inventory_loader

from ansible_collections.multinode.inference.plugins.module_utils.core.fault import Findings
from ansible_collections.multinode.inference.plugins.module_utils.core.health.paused import kept_while_paused
from ansible_collections.multinode.inference.plugins.module_utils.core.recipe.parameters import RECIPE
from ansible_collections.multinode.inference.plugins.module_utils.core.recipe.settings import SETTINGS
from ansible_collections.multinode.inference.plugins.module_utils.core.recipe.values import read_known
from ansible_collections.multinode.inference.plugins.plugin_utils.lease.acquire import _held
from ansible_collections.multinode.inference.plugins.plugin_utils.reporting import pausing
from ansible_collections.multinode.inference.plugins.plugin_utils.reporting.status import status
from tests.unit.plugins.test_status import row

REPOSITORY = Path(__file__).parents[3]
PAGES = sorted([*(REPOSITORY / "docs").glob("*.md"), REPOSITORY / "README.md", REPOSITORY / "CONTRIBUTING.md"])
PROGRAMS = ("ansible-playbook", "curl", "make")
# Files that a reader has made by then; what the README says of them.
OF_THE_READER = {"recipe.json", "settings.yml", "old.json"}
# What a recipe of before may say, and is read as something else.
CONVERTED = {"recipe_mode"}
KNOWN = {parameter.name: parameter for parameter in (*RECIPE, *SETTINGS)}
PLAYBOOKS = {path.stem for path in (REPOSITORY / "playbooks").glob("*.yml")}
_FREE_WORDS = re.compile(r"[A-Za-z0-9_./:~*-]*\.\.\.")


def _commands() -> list[tuple[str, str]]:
    """Each command of a block of code, and of code in a sentence, with its page."""
    found = []
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        whole = re.sub(r"\\\n\s*", "", text)
        for line in whole.splitlines():
            words = line.strip()
            if line.startswith("    ") and words.startswith(tuple(f"{name} " for name in PROGRAMS)):
                found.append((page.name, words.partition("  #")[0].strip()))
        for code in re.findall(r"`([^`\n]+)`", whole):
            if code.startswith("ansible-playbook "):
                found.append((page.name, code))
    return found


COMMANDS = _commands()


def _of(program: str) -> list[tuple[str, str]]:
    return [(page, command) for page, command in COMMANDS if command.split()[0] == program]


def _wrong_with(given: dict[str, Any]) -> list[str]:
    """What the product says of extra variables."""
    findings = Findings()
    read_known(given, [KNOWN[name] for name in given if name in KNOWN], findings)
    return [fault.line() for fault in findings.faults]


def test_the_pages_have_commands() -> None:
    pages = {page for page, _command in COMMANDS}
    assert {"operations.md", "awx.md", "README.md", "endpoint.md"} <= pages and len(COMMANDS) > 25


@pytest.mark.parametrize(("page", "command"), _of("ansible-playbook"))
def test_a_playbook_with_its_options(page: str, command: str) -> None:
    cli = PlaybookCLI(["ansible-playbook"])
    cli.init_parser()
    words = shlex.split(command)
    options = cli.parser.parse_args(words[1:])
    # The parser makes paths of the files whole.
    extras = [word for before, word in zip(words, words[1:], strict=False) if before in ("-e", "--extra-vars")]
    assert len(extras) == len(options.extra_vars), page
    for playbook in options.args:
        name = playbook.removeprefix("multinode.inference.").removeprefix("playbooks/").removesuffix(".yml")
        assert name in PLAYBOOKS, page
        assert playbook in (f"multinode.inference.{name}", f"playbooks/{name}.yml"), page
    for extra in extras:
        if extra.startswith("@"):
            name = extra[1:]
            assert name in OF_THE_READER or (REPOSITORY / name).is_file(), (page, extra)
        elif not _FREE_WORDS.search(extra):
            name, _equals, value = extra.partition("=")
            assert name == "recipe_file" or _wrong_with({name: value}) == [], page
        else:
            assert extra.partition("=")[0] in KNOWN, page


@pytest.mark.parametrize(("page", "command"), _of("curl"))
def test_files_that_are_sent(page: str, command: str) -> None:
    for word in shlex.split(command):
        if word.startswith("@docs/"):
            assert (REPOSITORY / word[1:]).is_file(), page


@pytest.mark.parametrize(("page", "command"), _of("make"))
def test_a_target_of_make(page: str, command: str) -> None:
    targets = re.findall(r"^([a-z-]+):", (REPOSITORY / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    assert command.split()[1] in targets, page


def test_settings_in_sentences_are_settings() -> None:
    """`name: value` and `name=value` of code in a sentence, where the name begins as ours do."""
    wrong = []
    for page in PAGES:
        for code in re.findall(r"`((?:-e )?[a-z][a-z0-9_]+(?:: |=)[^`\n]+)`", page.read_text(encoding="utf-8")):
            name, value = re.split(r": |=", code.removeprefix("-e "), maxsplit=1)
            if name in KNOWN.keys() - CONVERTED and not re.search(r"\.\.\.|<|…", value):
                wrong += [f"{page.name}: {line}" for line in _wrong_with({name: yaml.safe_load(value)})]
    assert wrong == []


def _block(page: str, beginning: str) -> list[str]:
    """The lines of the block of code whose first line begins so."""
    lines = (REPOSITORY / "docs" / page).read_text(encoding="utf-8").splitlines()
    first = next(number for number, line in enumerate(lines) if line.startswith(f"    {beginning}"))
    block = []
    for line in lines[first:]:
        if not line.startswith("    "):
            break
        block.append(line[4:])
    return block


def test_what_status_prints() -> None:
    now = datetime.now(timezone.utc)
    cost = {"nodes": 160.0, "boot_volumes": 0.12, "load_balancer": 0.01, "total": 160.13}
    endpoint = {"tls": "self_signed", "until": (now + timedelta(days=80, hours=1)).isoformat()}
    part = {"name": "--max-model-len", "was": "(model's own)", "now": "1024"}
    change = {"field": "engine.args", "class": "restart", "parts": [part]}
    plan = {"deployment": {"name": "llama"}, "existing": {"changes": [change], "kept": []}, "memory": None}
    entry = row(cost=cost, endpoint=endpoint, age_seconds=3 * 86400 + 5)
    _details, lines = status({"status": {"deployments": [entry]}, "comparison": {"plan": plan}})
    assert _block("operations.md", "NAME ") == lines


def test_what_is_said_of_a_name_that_is_not_there() -> None:
    results = {"recipe": {"name": "lama"}, "status": {"deployments": [], "nearest": "llama"}}
    (fault,) = pausing.missing(results)
    line = f"{fault['where']}: {fault['found']}, expected {fault['expected']}; {fault['remedy']}"
    assert _block("operations.md", "deployment lama") == [line]


def test_what_pause_prints() -> None:
    kept = kept_while_paused({"spec": {}, "metadata": {}}, {"exposure": "load_balancer"})
    paused = {"since": "2026-11-30T20:00:00.123Z", "by": "alice@controller"}
    _details, lines = pausing.pause({"pause": {"name": "atnight", "paused": paused, "kept": kept}})
    assert _block("operations.md", "atnight is paused") == lines


def test_what_a_second_run_says() -> None:
    lease: Any = SimpleNamespace(name="llama", namespace="llama")
    words = "alice@controller (deploy, job 42) since 2026-11-30T20:00:00.123456Z"
    assert " ".join(_block("operations.md", "Lease llama")) == _held(lease, words).line()


def test_the_file_of_the_inventory_is_named_as_its_plugin_wants_it(tmp_path: Path) -> None:
    page = (REPOSITORY / "docs" / "awx.md").read_text(encoding="utf-8")
    (ending,) = re.findall(r"A file in a project of yours whose name ends in `([^`]+)`", page)
    source = tmp_path / f"llm.{ending}"
    source.write_text("plugin: multinode.inference.deployments\n")
    assert inventory_loader.get("multinode.inference.deployments").verify_file(str(source))
