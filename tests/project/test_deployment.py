"""What docs/deploy has cannot be run everywhere; what can be checked without a cluster is."""

import re
import tomllib
from collections.abc import Iterator, Mapping
from copy import deepcopy
from dataclasses import fields
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from aftercommit.extensions.metrics.metrics_server import NOT_FOUND
from aftercommit.process.cli.main import COMMANDS
from click.testing import CliRunner

from allocation.config import Settings, load
from allocation.entrypoints.cli import cli
from allocation.extension_list import EXTENSIONS

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "docs" / "deploy"
PAGE = (ROOT / "docs" / "operations.md").read_text()
SINCE = "1.34"  # in which preStop can sleep for sure

Manifest = dict[str, Any]
MANIFESTS: list[Manifest] = [
    manifest
    for file in ("allocation.yaml", "upgrade.yaml")
    for manifest in yaml.safe_load_all((DEPLOY / "kubernetes" / file).read_text())
]
WRITTEN = (DEPLOY / "kubernetes" / "allocation.yaml").read_text()
CONFIG: dict[str, str] = next(m["data"] for m in MANIFESTS if m["kind"] == "ConfigMap")
PODS = {
    manifest["spec"]["template"]["spec"]["containers"][0]["name"]: manifest["spec"]["template"]
    for manifest in MANIFESTS
    if "template" in manifest["spec" if "spec" in manifest else "data"]
}
UNITS = sorted((DEPLOY / "systemd").glob("*.service"))
SECRETS = {
    "database_url": "postgresql://allocation@database/allocation",
    "mail_url": "smtp://mail:25",
    "broker_urls": "amqp://broker",
    "operator_token": "a-token-of-some-length",
}
TIDY_UP_SECONDS = 5


def unit(file: Path) -> dict[str, list[str]]:
    """Return the settings of a unit; of systemd's, some may be there more than once."""
    found: dict[str, list[str]] = {}
    for name, value in re.findall(r"^(\w+)=(.*)$", file.read_text(), re.MULTILINE):
        found.setdefault(name, []).append(value)
    return found


def variables(name: str) -> Mapping[str, str]:
    """Return the environment of the container of this name."""
    container = PODS[name]["spec"]["containers"][0]
    own = {each["name"]: each.get("value", "its pod") for each in container["env"]}
    return own | (CONFIG if "envFrom" in container else {})


def environments() -> Iterator[tuple[str, Mapping[str, str]]]:
    """Yield the environment of each process, with the folder of secrets as a word of its own."""
    for name in PODS:
        yield f"pod {name}", variables(name)
    for file in UNITS:
        pairs = [each.partition("=") for each in unit(file)["Environment"]]
        yield file.name, {name: value.replace("%i", "1") for name, _, value in pairs}


@pytest.mark.parametrize("version", [SINCE, kubernetes_validate.latest_version()])
@pytest.mark.parametrize("manifest", MANIFESTS, ids=lambda m: f"{m['kind']} {m['metadata']}")
def test_kubernetes_knows_every_field(manifest: Manifest, version: str) -> None:
    """What is misspelled is refused, or ignored, when it is applied, and only then."""
    kubernetes_validate.validate(manifest, version, strict=True)

    wrong = deepcopy(manifest)
    wrong["metadata"]["nmae"] = "allocation"
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(wrong, version, strict=True)


@pytest.mark.parametrize("environment", [pytest.param(e, id=name) for name, e in environments()])
def test_every_process_gets_settings_that_exist_and_are_accepted(
    environment: Mapping[str, str], tmp_path: Path
) -> None:
    """A misspelled variable would be ignored without a word."""
    kinds = (Settings, *EXTENSIONS.settings())
    known = {Settings.variable(setting.name) for kind in kinds for setting in fields(kind)}
    for name, secret in SECRETS.items():
        (tmp_path / name).write_text(secret)

    assert {name.removesuffix("_FILE") for name in environment} <= known
    given = {
        n: re.sub("/run/secrets/allocation|%d", str(tmp_path), v) for n, v in environment.items()
    }
    assert load({}, given).database_url == SECRETS["database_url"]


def test_every_process_runs_a_command_that_exists() -> None:
    """A container whose arguments are wrong ends at once, again and again."""
    commands = [pod["spec"]["containers"][0]["args"] for pod in PODS.values()]
    for file in UNITS:
        [started] = unit(file)["ExecStart"]
        program, *arguments = started.split()
        assert program.endswith("/bin/allocation")
        commands.append(arguments)

    for arguments in commands:
        assert CliRunner().invoke(cli, [*arguments, "--help"]).exit_code == 0, arguments


def test_every_process_is_given_the_secrets_it_reads() -> None:
    """And they are those that the page says how to make."""
    made = set(re.findall(r"--from-file=(\w+)", WRITTEN))
    read = set(
        re.findall(r"/run/secrets/allocation/(\w+)", str([variables(name) for name in PODS]))
    )

    assert read == made == SECRETS.keys()
    for pod in PODS.values():
        [mount] = pod["spec"]["containers"][0]["volumeMounts"]
        [volume] = pod["spec"]["volumes"]
        assert (mount["mountPath"], mount["name"]) == ("/run/secrets/allocation", volume["name"])
        assert volume["secret"]["secretName"] == "allocation"
    for file in UNITS:
        given = {each.partition(":")[0] for each in unit(file)["LoadCredential"]}
        assert set(re.findall(r"%d/(\w+)", file.read_text())) == given


def test_every_process_has_time_to_finish() -> None:
    """What is killed while it works leaves its work to others, for as long as its lease lasts."""
    needed = load({}, {}).shutdown_grace_seconds + TIDY_UP_SECONDS

    for file in UNITS:
        assert float(unit(file)["TimeoutStopSec"][0]) > needed
    for name in ("web", "worker"):
        pod = PODS[name]["spec"]
        hooks = pod["containers"][0].get("lifecycle", {"preStop": {"sleep": {"seconds": 0}}})
        assert pod["terminationGracePeriodSeconds"] > needed + hooks["preStop"]["sleep"]["seconds"]


def test_selectors_find_pods_and_names_of_ports_exist() -> None:
    """A service that selects nothing is accepted."""
    labels = [pod["metadata"]["labels"] for pod in PODS.values()]
    ports = {
        port["name"]
        for pod in PODS.values()
        for port in pod["spec"]["containers"][0].get("ports", ())
    }
    for manifest in MANIFESTS:
        spec = manifest.get("spec", {})
        selector = spec.get("selector", {})
        if wanted := selector.get("matchLabels", selector):
            assert wanted in labels
    used = re.findall(r"port: ([a-z]\w*)|targetPort: (\w+)", WRITTEN)
    assert {first or second for first, second in used} <= ports
    assert CONFIG["ALLOCATION_METRICS_PORT"] == "9464"
    assert re.findall(r"name: metrics, containerPort: (\d+)", WRITTEN) == ["9464", "9464"]


def test_probes_ask_for_what_is_answered() -> None:
    """One that gets 404 takes the process out of use, or ends it again and again."""
    answered = (ROOT / "docs" / "web" / "openapi.json").read_text()

    assert f'"{probe("web", "readinessProbe")}": {{' in answered
    assert f'"{probe("web", "livenessProbe")}": {{' in answered
    assert probe("worker", "livenessProbe").encode() in NOT_FOUND


def probe(name: str, kind: str) -> str:
    return str(PODS[name]["spec"]["containers"][0][kind]["httpGet"]["path"])


def test_the_image_is_that_of_this_version_and_its_user_that_of_the_pods() -> None:
    """A name of a user tells Kubernetes nothing: it would not start the container."""
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    user = re.search(r"--uid (\d+) allocation", (ROOT / "Dockerfile").read_text())

    assert user
    for pod in PODS.values():
        assert pod["spec"]["containers"][0]["image"] == f"allocation:{version}"
        assert pod["spec"]["securityContext"]["runAsUser"] == int(user[1])


def test_whoever_breaks_into_a_pod_finds_little() -> None:
    """It cannot write a program there, become somebody else, or call most of the kernel."""
    for pod in PODS.values():
        assert pod["spec"]["securityContext"]["runAsNonRoot"]
        assert pod["spec"]["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert pod["spec"]["automountServiceAccountToken"] is False
        assert pod["spec"]["containers"][0]["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }


def test_the_pods_of_the_api_answer_only_to_its_name() -> None:
    """Requests under another name, as a page of somebody else can cause, get nothing."""
    assert variables("web")["ALLOCATION_ALLOWED_HOSTS"] == "api.example.com"
    proxy = (DEPLOY / "nginx" / "allocation.conf").read_text()
    assert f"server_name {variables('web')['ALLOCATION_ALLOWED_HOSTS']};" in proxy


def test_an_instance_of_a_unit_has_a_port_of_its_own() -> None:
    """Two workers on one machine answer at two."""
    [port] = [
        value.partition("=")[2]
        for value in unit(DEPLOY / "systemd" / "allocation-worker@.service")["Environment"]
        if value.startswith("ALLOCATION_METRICS_PORT=")
    ]

    assert port.endswith("%i")


def test_every_command_that_goes_on_running_is_in_the_table_of_processes() -> None:
    """Whoever deploys has to know all kinds of them, and what each needs."""
    groups = [COMMANDS, *(extension.commands for extension in EXTENSIONS)]

    table = set(re.findall(r"^\| `allocation (\w+)` \|", PAGE, re.MULTILINE))

    assert table == {name for group in groups for name in group.get("Run", ())}


def test_the_commands_that_the_page_names_exist() -> None:
    """Also those in the middle of a sentence."""
    named = re.findall(r"`allocation ([a-z][^`]*)`", PAGE)

    assert len(named) > 5
    for text in named:
        words = [word for word in text.split() if re.fullmatch("[a-z-]*[a-z]", word)]
        assert CliRunner().invoke(cli, [*words, "--help"]).exit_code == 0, text


def test_the_web_process_may_have_enough_descriptors() -> None:
    """More than the connections of the proxy; without a word in the unit, systemd gives 1,024."""
    [limit] = unit(DEPLOY / "systemd" / "allocation-web.service")["LimitNOFILE"]
    [connections] = re.findall(
        r"max_conns=(\d+)", (DEPLOY / "nginx" / "allocation.conf").read_text()
    )

    assert int(limit) > 2 * int(connections)
