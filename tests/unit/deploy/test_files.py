"""What lies in ``deploy`` and in ``docs`` speaks of things that exist."""

from __future__ import annotations

import json
import re
import subprocess
from dataclasses import replace
from pathlib import Path
from shutil import which
from typing import Any

import pytest
from aiohttp import ClientSession
from prometheus_client.parser import text_string_to_metric_families
from ruamel.yaml import YAML

from coordinator.cli.user_data import user_data
from coordinator.install.line import install_line
from tests.fakes.reader import gpu, host
from tests.fakes.site import AUTHORIZED, Site
from tests.support import missing
from tests.unit.web.test_http import visit

ROOT = Path(__file__).parents[3]
DEPLOY, DOCS = ROOT / "deploy", ROOT / "docs"
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted(DOCS.rglob("*.md"))]


def expressions(node: Any) -> list[str]:
    """All that a dashboard asks Prometheus for."""
    if isinstance(node, list):
        return [found for each in node for found in expressions(each)]
    if not isinstance(node, dict):
        return []
    own = [node[key] for key in ("expr", "query") if isinstance(node.get(key), str)]
    return own + [found for each in node.values() for found in expressions(each)]


def test_the_dashboard_asks_for_metrics_and_labels_that_there_are(tmp_path: Path) -> None:
    dashboard = json.loads((DEPLOY / "grafana" / "rallypoint.json").read_text())
    asked = expressions(dashboard)
    assert len(asked) > 15
    labels: dict[str, set[str]] = {}

    async def use(site: Site, client: ClientSession) -> None:
        await site.reader.put_host(replace(host(1, gpus=(gpu(0),)), round_trip=0.25))
        async with client.get("/metrics", headers=AUTHORIZED) as answer:
            for family in text_string_to_metric_families(await answer.text()):
                for sample in family.samples:
                    labels.setdefault(sample.name, set()).update(sample.labels)

    visit(tmp_path, use)
    for expression in asked:
        for name, chosen in re.findall(r"(rallypoint_\w+)(?:\{([^}]*)\})?", expression):
            assert name in labels, f"no metric {name}: {expression}"
            assert set(re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", chosen)) <= labels[name], expression


def test_panels_do_not_overlap() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in json.loads((DEPLOY / "grafana" / "rallypoint.json").read_text())["panels"]:
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert not cells & taken, panel["title"]
        assert at["x"] + at["w"] <= 24
        taken |= cells


def test_what_the_compose_file_names_is_defined_in_it() -> None:
    compose = YAML(typ="safe").load((DEPLOY / "compose.yaml").read_text())
    for name, service in compose["services"].items():
        build = service.get("build")
        if build is not None:
            containerfile = (DEPLOY / build["context"] / build["dockerfile"]).read_text()
            assert f"AS {build['target']}\n" in containerfile, name
        for secret in service.get("secrets", ()):
            assert (secret if isinstance(secret, str) else secret["source"]) in compose["secrets"], name
        for volume in service.get("volumes", ()):
            assert volume.partition(":")[0] in compose["volumes"], name
        assert set(service.get("networks", ())) <= set(compose["networks"]), name
        assert set(service.get("depends_on", ())) <= set(compose["services"]), name


def shellcheck(*scripts: Path) -> None:
    if which("shellcheck") is None:
        missing("shellcheck", "apt install shellcheck")
    done = subprocess.run(["shellcheck", *scripts], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


def test_shell_scripts_are_clean() -> None:
    scripts = list(DEPLOY.rglob("*.sh"))
    assert scripts
    shellcheck(*scripts)


def test_user_data_is_what_the_command_prints_and_cloud_init_takes_it(tmp_path: Path) -> None:
    if which("cloud-init") is None:
        missing("cloud-init", "apt install cloud-init")
    assert (DEPLOY / "cloud-init" / "user-data.yaml").read_text() == user_data("LINE", "TOKEN")
    line = install_line("gpu.example.org:7445", b"the CA")
    filled = tmp_path / "user-data.yaml"
    filled.write_text(user_data(line, "rpj-token"))
    done = subprocess.run(
        ["cloud-init", "schema", "--config-file", filled], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    token, script = YAML(typ="safe").load(filled.read_text())["write_files"]
    assert (token["content"], token["permissions"]) == ("rpj-token", "0600")
    assert f"  if {line} --token-file {token['path']} " in script["content"]
    (tmp_path / "install.sh").write_text(script["content"])
    shellcheck(tmp_path / "install.sh")


def anchors(page: Path) -> set[str]:
    """What can stand behind a ``#`` in a link to the page: its headings, as they are shown on the usual hosts."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
    plain = (re.sub(r"[^\w\- ]", "", re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", heading)) for heading in headings)
    return {text.strip().lower().replace(" ", "-") for text in plain}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_between_pages_lead_somewhere(page: Path) -> None:
    text = re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        there = (page.parent / path).resolve() if path else page
        assert there.exists(), f"{target} leads nowhere"
        if anchor and there.suffix == ".md":
            assert anchor in anchors(there), f"{target}: no such heading"
