"""Containers, pods and units cannot be run everywhere; what can be checked without them is."""

import json
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import kubernetes_validate
import pytest
import yaml
from aftercommit.cli.command_group import LazyCommand
from aftercommit.extensions.brokers.settings import BrokerSettings
from aftercommit.extensions.metrics.monitoring_server import NOT_FOUND
from aftercommit.extensions.smtp.settings import SmtpSettings
from aftercommit.extensions.smtp.smtp_url import SmtpServer
from aftercommit.extensions.web.settings import WebSettings
from click.testing import CliRunner

from allocation.config import Settings
from allocation.entrypoints.app import APP, cli
from tools.repository import ROOT

pytestmark = pytest.mark.check

DEPLOY = ROOT / "docs" / "deploy"
PAGE = "".join((ROOT / "docs" / f"{name}.md").read_text() for name in ("operations", "watch"))
UNITS = sorted((DEPLOY / "systemd").glob("*.service"))
PROXY = (DEPLOY / "nginx" / "allocation.conf").read_text()
API = (ROOT / "docs" / "web" / "openapi.json").read_text()
DOCKERFILE = (ROOT / "Dockerfile").read_text()
KUBERNETES = (DEPLOY / "kubernetes" / "allocation.yaml").read_text()
SINCE = "1.34"  # in which preStop can sleep for sure
TIDY_UP_SECONDS = 5
INSTANCE = "7"
METRICS_PORT = "ALLOCATION_METRICS_PORT"
SECRETS = {
    "database_url": "postgresql://allocation@database/allocation",
    "mail_url": "smtp://mail:25",
    "broker_urls": "amqp://broker",
    "operator_token": "a-token-of-some-length",
}

Manifest = dict[str, Any]
COMPOSE_FILE = (ROOT / "compose.yaml").read_text()
COMPOSE: Manifest = yaml.safe_load(COMPOSE_FILE)
SERVICES: dict[str, Manifest] = COMPOSE["services"]
MANIFESTS: list[Manifest] = [
    manifest
    for file in ("allocation.yaml", "upgrade.yaml")
    for manifest in yaml.safe_load_all((DEPLOY / "kubernetes" / file).read_text())
]
PODS: dict[str, Manifest] = {
    manifest["spec"]["template"]["spec"]["containers"][0]["name"]: manifest["spec"]["template"]
    for manifest in MANIFESTS
    if "template" in manifest.get("spec", ())
}


@dataclass(frozen=True)
class Process:
    """A process of the application, and what one way of deployment gives it."""

    name: str
    arguments: list[str]
    variables: Mapping[str, str]
    folder: str  # of the files with the secrets
    secrets: set[str]
    seconds: float  # from SIGTERM to SIGKILL


def containers() -> Iterator[Process]:
    """Yield the processes of compose.yaml."""
    for name, service in SERVICES.items():
        if "build" in service:
            seconds = float(service["stop_grace_period"].removesuffix("s"))
            given, folder = {*service["secrets"]}, "/run/secrets"
            yield Process(name, service["command"], service["environment"], folder, given, seconds)


def pods() -> Iterator[Process]:
    """Yield the processes of Kubernetes; a pause before the end is a part of its time."""
    shared = next(m["data"] for m in MANIFESTS if m["kind"] == "ConfigMap")
    made = set(re.findall(r"--from-file=(\w+)", KUBERNETES))
    for name, pod in PODS.items():
        spec, [container] = pod["spec"], pod["spec"]["containers"]
        pause = container.get("lifecycle", {"preStop": {"sleep": {"seconds": 0}}})
        seconds = (
            spec.get("terminationGracePeriodSeconds", 30) - pause["preStop"]["sleep"]["seconds"]
        )
        own = {each["name"]: each.get("value", "its pod") for each in container["env"]}
        variables = own | (shared if "envFrom" in container else {})
        mount, volume = container["volumeMounts"][0], spec["volumes"][0]
        assert (mount["name"], "allocation") == (volume["name"], volume["secret"]["secretName"])
        folder = mount["mountPath"]
        yield Process(f"pod {name}", container["args"], variables, folder, made, seconds)


def units() -> Iterator[Process]:
    """Yield the processes of systemd; of those that may be several, an instance."""
    for file in UNITS:
        found: dict[str, list[str]] = {}
        for name, value in re.findall(r"^(\w+)=(.*)$", file.read_text(), re.MULTILINE):
            found.setdefault(name, []).append(value.replace("%i", INSTANCE))
        [program, *arguments] = found["ExecStart"][0].split()
        assert program.endswith("/bin/allocation")
        variables = dict(each.split("=", 1) for each in found["Environment"])
        given = {each.partition(":")[0] for each in found["LoadCredential"]}
        seconds = float(found["TimeoutStopSec"][0])
        yield Process(file.name, arguments, variables, "%d", given, seconds)


PROCESSES = {process.name: process for process in (*containers(), *pods(), *units())}


def settings_of(process: Process, secrets: Mapping[str, str], folder: Path) -> Settings:
    """Read the settings as a process does which has these secrets in a folder."""
    for name in process.secrets & secrets.keys():
        (folder / name).write_text(secrets[name])
    variables = process.variables.items()
    given = {name: value.replace(process.folder, str(folder)) for name, value in variables}
    return APP.load({}, given)


@pytest.mark.parametrize("process", PROCESSES.values(), ids=PROCESSES)
def test_a_process_gets_settings_that_exist_and_secrets_that_it_is_given(
    process: Process, tmp_path: Path
) -> None:
    """A misspelled variable would be ignored; a file that is not mounted is found at the start."""
    kinds = (Settings, *APP.parts.settings())
    known = {Settings.variable(setting.name) for kind in kinds for setting in fields(kind)}

    assert {name.removesuffix("_FILE") for name in process.variables} <= known
    assert settings_of(process, SECRETS, tmp_path).database_url == SECRETS["database_url"]


@pytest.mark.parametrize("process", PROCESSES.values(), ids=PROCESSES)
def test_a_process_runs_a_command_that_exists_and_has_time_to_finish(process: Process) -> None:
    """What is killed while it works leaves its work to others, for as long as its lease lasts."""
    assert CliRunner().invoke(cli, [*process.arguments, "--help"]).exit_code == 0
    assert process.seconds > APP.load({}, {}).shutdown_grace_seconds + TIDY_UP_SECONDS


def test_the_page_for_operators_has_all_that_runs_and_only_commands_that_exist() -> None:
    """Anyone who deploys has to know all kinds of processes, and what each needs."""
    listed = [each for each in cli.commands.values() if isinstance(each, LazyCommand)]
    table = re.findall(r"^\| `allocation (\w+)` \|", PAGE, re.MULTILINE)
    named = re.findall(r"`allocation ([a-z][^`]*)`", PAGE)

    assert {*table} == {each.name for each in listed if each.group == "Run"}
    assert len(named) > 5
    for text in named:
        words = [word for word in text.split() if re.fullmatch("[a-z-]*[a-z]", word)]
        assert CliRunner().invoke(cli, [*words, "--help"]).exit_code == 0, text


RUNBOOK = (ROOT / "docs" / "runbook.md").read_text()


def test_commands_of_the_pages_read_what_every_deployment_sets() -> None:
    """An empty variable leads a program to another database, or to none."""
    read = {*re.findall(r"\$\{?(ALLOCATION_\w+)", PAGE + RUNBOOK)}
    of_database = "ALLOCATION_DATABASE_URL_FILE"
    given = [{*each.variables} for each in PROCESSES.values() if of_database in each.variables]

    assert len(given) > 5
    assert of_database in read
    assert read <= set.intersection(*given)


def test_a_shell_of_the_runbook_does_not_want_the_port_of_its_process() -> None:
    """A worker that cannot serve its metrics does not start, and the port is taken."""
    shells = re.findall(
        r"^\| (\w+) \| `(?:kubectl|docker compose) (exec .*) bash` \|$", RUNBOOK, re.M
    )

    assert [name for name, _ in shells] == ["Kubernetes", "Compose"]
    assert [name for name, line in shells if f"env -u {METRICS_PORT}" not in line] == []
    assert all(METRICS_PORT in PROCESSES[name].variables for name in ("worker", "pod worker"))


@pytest.fixture(scope="module")
def secrets(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What is in the files of `make secrets`, by the names that compose.yaml gives them."""
    folder = tmp_path_factory.mktemp("compose")
    shutil.copy(ROOT / "Makefile", folder)
    subprocess.run(["make", "secrets", f"PYTHON={sys.executable}"], cwd=folder, check=True)
    assert (folder / "secrets").stat().st_mode & 0o777 == 0o700
    files = {name: folder / secret["file"] for name, secret in COMPOSE["secrets"].items()}
    return {name: file.read_text().removesuffix("\n") for name, file in files.items()}


def test_the_urls_lead_to_services_of_the_file(secrets: dict[str, str], tmp_path: Path) -> None:
    """Names, passwords and ports are written in two places each."""
    settings = settings_of(PROCESSES["worker"], secrets, tmp_path)
    postgres = SERVICES["postgres"]["environment"]
    account = dict(line.split(" = ") for line in secrets["rabbitmq_account"].splitlines())

    assert settings.database_url == (
        f"postgresql://{postgres['POSTGRES_USER']}:{secrets['postgres_password']}"
        f"@postgres:5432/{postgres['POSTGRES_DB']}"
    )
    assert settings.of(BrokerSettings).broker_urls == (
        f"amqp://{account['default_user']}:{account['default_pass']}@rabbitmq:5672/"
    )
    assert SmtpServer.from_url(str(settings.of(SmtpSettings).mail_url)).host in SERVICES


def test_the_server_is_asked_where_it_listens(secrets: dict[str, str], tmp_path: Path) -> None:
    """By the port that is published, and by Docker, which wants to know how it is."""
    web = SERVICES["web"]
    settings = settings_of(PROCESSES["web"], secrets, tmp_path).of(WebSettings)
    host, asked, path = re.findall(r"http://([^:]+):(\d+)(/\w+)", str(web["healthcheck"]))[0]

    assert settings.operator_token == secrets["operator_token"]
    assert web["ports"] == [f"127.0.0.1:8000:{settings.http_port}"]
    assert int(asked) == settings.http_port
    assert host in settings.hosts
    assert f'"{path}": {{' in API
    assert web["command"] == ["serve", "--host", "0.0.0.0"]


def test_no_password_is_in_the_file_and_none_is_the_same_twice(secrets: dict[str, str]) -> None:
    """An example that is copied is an installation with a known password."""
    made = ["of PostgreSQL", "of RabbitMQ", "of the operator"]
    passwords = re.findall(r"[0-9a-f]{48}", " ".join(secrets.values()))

    assert not re.search(r"://\w+:\w+@|PASS(WORD)?: |TOKEN: ", COMPOSE_FILE)
    assert len(set(passwords)) == len(made)
    assert len(passwords) == len(made) + 2  # two are in a URL, too


@pytest.mark.parametrize("service", SERVICES.values(), ids=SERVICES)
def test_a_container_is_open_to_nobody_and_can_become_nobody_else(service: Manifest) -> None:
    """Docker opens a published port past the firewall; and a tag may be another image tomorrow."""
    whole = r"(postgres:\d+|.*:v?\d+\.\d+)\.\d+(-[a-z]+)?"  # PostgreSQL has two numbers

    assert service["security_opt"] == ["no-new-privileges:true"]
    assert [port for port in service.get("ports", ()) if not port.startswith("127.0.0.1:")] == []
    assert service["restart"] == "unless-stopped"  # a machine that restarts needs nobody
    assert {*service.get("depends_on", ())} <= SERVICES.keys()
    if "build" in service:
        assert (service["read_only"], service["cap_drop"]) == (True, ["ALL"])
    else:
        assert re.fullmatch(whole, service["image"])


@pytest.mark.parametrize("version", [SINCE, kubernetes_validate.latest_version()])
@pytest.mark.parametrize("manifest", MANIFESTS, ids=lambda m: f"{m['kind']} {m['metadata']}")
def test_kubernetes_knows_every_field(manifest: Manifest, version: str) -> None:
    """What is misspelled is refused, or ignored, when it is applied, and only then."""
    kubernetes_validate.validate(manifest, version, strict=True)


def test_selectors_find_pods_and_names_of_ports_exist() -> None:
    """A service that selects nothing is accepted."""
    labels = [pod["metadata"]["labels"] for pod in PODS.values()]
    selectors = [manifest.get("spec", {}).get("selector", {}) for manifest in MANIFESTS]
    ports = re.findall(r"name: (\w+), containerPort: (\d+)", KUBERNETES)
    used = re.findall(r"(?:targetPort|port): ([a-z]\w*)", KUBERNETES)

    wanted = [selector.get("matchLabels", selector) for selector in selectors]
    assert [each for each in wanted if each and each not in labels] == []
    assert set(used) <= dict(ports).keys()
    for name in ("pod web", "pod worker"):
        assert ("metrics", PROCESSES[name].variables[METRICS_PORT]) in ports
    worker = PROCESSES["allocation-worker@.service"]
    assert worker.variables[METRICS_PORT].endswith(INSTANCE)  # each has a port of its own


def test_probes_ask_for_what_is_answered() -> None:
    """One that gets 404 takes the process out of use, or ends it again and again."""

    def probe(name: str, kind: str) -> str:
        return str(PODS[name]["spec"]["containers"][0][kind]["httpGet"]["path"])

    assert f'"{probe("web", "readinessProbe")}": {{' in API
    assert f'"{probe("web", "livenessProbe")}": {{' in API
    assert probe("worker", "livenessProbe").encode() in NOT_FOUND


@pytest.mark.parametrize("pod", PODS.values(), ids=PODS)
def test_whoever_breaks_into_a_pod_finds_little(pod: Manifest) -> None:
    """It cannot write a program there, become somebody else, or call most of the kernel."""
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    user = re.findall(r"--uid (\d+) allocation", DOCKERFILE)  # a name tells Kubernetes nothing
    [container] = pod["spec"]["containers"]

    assert container["image"] == f"allocation:{version}"
    assert pod["spec"]["automountServiceAccountToken"] is False
    assert (
        pod["spec"]["securityContext"].items()
        >= {
            "runAsNonRoot": True,
            "runAsUser": int(user[0]),
            "seccompProfile": {"type": "RuntimeDefault"},
        }.items()
    )
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }


@pytest.mark.parametrize("name", ["web", "worker"])
def test_pods_are_spread_and_may_leave_their_stacks(name: str) -> None:
    """Both on one node go with it; and without a folder, nobody learns why one did not end."""
    pod, [container] = PODS[name], PODS[name]["spec"]["containers"]
    spread = pod["spec"]["topologySpreadConstraints"]
    folders = {volume["name"] for volume in pod["spec"]["volumes"] if "emptyDir" in volume}

    assert {each["topologyKey"] for each in spread} == {
        "kubernetes.io/hostname",
        "topology.kubernetes.io/zone",
    }
    assert all(s["labelSelector"]["matchLabels"] == pod["metadata"]["labels"] for s in spread)
    assert {m["mountPath"] for m in container["volumeMounts"] if m["name"] in folders} == {"/tmp"}


def test_each_pod_reaches_names_and_the_ports_of_its_urls_and_no_other() -> None:
    """A program that others have brought in would ask the cloud for its keys, or its neighbours."""
    policies = [each["spec"] for each in MANIFESTS if each["kind"] == "NetworkPolicy"]
    [policy] = [each for each in policies if each["policyTypes"] == ["Egress"]]
    [selected] = policy["podSelector"]["matchExpressions"]
    names, servers = policy["egress"]
    mail = (SmtpServer.from_url(f"{scheme}://mail").port for scheme in ("smtp", "smtps"))

    assert {pod["metadata"]["labels"]["app"] for pod in PODS.values()} == {*selected["values"]}
    assert [each["port"] for each in names["ports"]] == [53, 53]
    assert names["to"]
    assert {each["port"] for each in servers["ports"]} == {5432, *mail, 587, 5671, 5672, 9093}


@pytest.fixture(scope="session")
def systemd_analyze() -> str:
    """The program of systemd that checks units; it is where systemd is."""
    return shutil.which("systemd-analyze") or pytest.skip("systemd-analyze is not installed")


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_whoever_breaks_into_a_unit_finds_little(unit: Path, systemd_analyze: str) -> None:
    """The score of systemd itself, in tenths, goes from 0, for what may do nothing, to 100."""
    options = ["--offline=true", "--no-pager", "--threshold=39"]
    command = [systemd_analyze, "security", *options, str(unit)]

    told = subprocess.run(command, capture_output=True, text=True)

    assert told.returncode == 0, told.stdout[-100:]


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_systemd_knows_all_that_a_unit_says(
    unit: Path, systemd_analyze: str, tmp_path: Path
) -> None:
    """What it does not know, it ignores, and says so in a log that nobody reads."""
    copy = tmp_path / unit.name.replace("@", f"@{INSTANCE}")
    copy.write_text(re.sub("ExecStart=\\S+", f"ExecStart={sys.executable}", unit.read_text()))
    told = subprocess.run([systemd_analyze, "verify", copy], capture_output=True, text=True)

    assert told.stderr == ""


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_a_frozen_process_is_started_again(unit: Path) -> None:
    """By the watchdog, which only hears what the process is allowed to tell."""
    text = unit.read_text()
    [seconds] = re.findall(r"^WatchdogSec=(\d+)$", text, re.MULTILINE)

    assert "\nType=notify\n" in text
    assert "\nRestart=always\n" in text
    assert int(seconds) <= APP.load({}, {}).lease_seconds


def test_the_proxy_asks_by_the_name_that_is_answered_and_not_for_too_much() -> None:
    """Under another name nothing is answered; without a limit, systemd gives 1,024 descriptors."""
    unit = (DEPLOY / "systemd" / "allocation-web.service").read_text()
    [descriptors] = re.findall(r"LimitNOFILE=(\d+)", unit)
    [connections] = re.findall(r"max_conns=(\d+)", PROXY)

    name = PROCESSES["pod web"].variables["ALLOCATION_ALLOWED_HOSTS"]
    assert f"server_name {name};" in PROXY
    assert int(descriptors) > 2 * int(connections)


def test_the_image_is_made_of_what_was_tested_and_does_not_run_as_root() -> None:
    """Else a build of the same commit would have other programs tomorrow, unseen by anybody."""
    copied = re.findall(r"^COPY (?!--from)(.*) \S+$", DOCKERFILE, re.MULTILINE)
    bases = {*re.findall(r"^FROM (\S+)", DOCKERFILE, re.MULTILINE)}
    [base] = re.findall(r"^ARG PYTHON=(.*)$", DOCKERFILE, re.MULTILINE)
    text = DOCKERFILE.replace("\\\n", " ")
    others, ours = re.findall(r"pip [^&\n]*install [^&\n]*", text)
    [built] = re.findall(r"[^&\n]*pip wheel .*?(?=&)", text)

    assert [name for name in " ".join(copied).split() if not (ROOT / name).exists()] == []
    assert bases == {"${PYTHON}"}
    assert re.fullmatch(r"python:\d+\.\d+\.\d+-\S+@sha256:[0-9a-f]{64}", base)
    assert "--require-hashes --only-binary :all: -r requirements.txt" in others
    assert "--no-index --no-deps dist/*.whl" in ours
    assert "PIP_CONSTRAINT=constraints.txt PIP_BUILD_CONSTRAINT=constraints.txt " in built
    [user] = re.findall(r"--uid (\d+) allocation", DOCKERFILE)
    assert f"\nUSER {user}\n" in DOCKERFILE


@pytest.mark.parametrize(("status", "code"), [(200, 0), (503, 1)])
def test_the_image_asks_what_each_of_its_processes_answers(status: int, code: int) -> None:
    """A check of something else would restart what works, or leave what is blocked."""
    asked = list[str]()

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(status)
            self.end_headers()

    [line] = re.findall(r"^HEALTHCHECK [^[]*(\[.*\])$", DOCKERFILE, re.MULTILINE)
    [_, *arguments] = json.loads(line)
    with HTTPServer(("127.0.0.1", 0), Answer) as server:
        Thread(target=server.handle_request).start()
        environment = {METRICS_PORT: str(server.server_port)}
        told = subprocess.run([sys.executable, *arguments], env=environment, capture_output=True)

    assert told.returncode == code, told.stderr
    assert asked == ["/healthz"]
    assert asked[0].encode() in NOT_FOUND
    assert f"{METRICS_PORT}=" in DOCKERFILE


def test_containers_write_to_no_file_of_their_image() -> None:
    """Only to /tmp, which is memory: a process that does not stop leaves its stacks there."""
    ours = [service for service in SERVICES.values() if "build" in service]

    assert len(ours) > 1
    assert [each for each in ours if not each["read_only"] or each["tmpfs"] != ["/tmp"]] == []
