"""Who is told of failed runs, of which, and what: by real mail, web servers and commands of this computer."""

import datetime
import os
import re
import shlex
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from typer.testing import CliRunner

from astra_orchestration.alerts import adapters as ways
from astra_orchestration.alerts import alert_settings, outbox
from astra_orchestration.automation.failure_alerts import failure_alert_sensor
from astra_orchestration.cli.main import app
from astra_orchestration.definitions import defs
from tests.astra_orchestration.alert_servers import HookServer, MailServer, served
from tests.launched import open_runs

pytestmark = pytest.mark.long_on_each

CHECKOUT = Path(__file__).parents[2]
SECRET = "swordfish-of-the-database"
STATUS = dg.DagsterRunStatus


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.local_temp(str(tmp_path)) as made:
        yield made


@pytest.fixture(autouse=True)
def nothing_configured(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith("ASTRA_ALERT") or name == "ASTRA_UI_ADDRESS":
            monkeypatch.delenv(name)
    monkeypatch.setenv("ASTRA_TEST_PASSWORD", SECRET)


@pytest.fixture
def mail(monkeypatch: pytest.MonkeyPatch) -> Iterator[MailServer]:
    with served(MailServer()) as server:
        monkeypatch.setenv("ASTRA_ALERT_MAIL_TO", "night@example.org, other@example.org")
        monkeypatch.setenv("ASTRA_ALERT_MAIL_FROM", "astra@example.org")
        monkeypatch.setenv("ASTRA_ALERT_SMTP_HOST", "127.0.0.1")
        monkeypatch.setenv("ASTRA_ALERT_SMTP_PORT", str(server.port))
        yield server


@pytest.fixture
def hook(monkeypatch: pytest.MonkeyPatch) -> Iterator[HookServer]:
    with served(HookServer()) as server:
        monkeypatch.setenv("ASTRA_ALERT_WEBHOOK", server.address)
        yield server


class Watch:
    """The sensor, evaluated as the daemon does: with the cursor of the time before."""

    def __init__(self, instance: dg.DagsterInstance):
        self.instance = instance
        self.cursor: str | None = None

    def tick(self) -> str:
        with dg.build_sensor_context(self.instance, cursor=self.cursor) as context:
            data: Any = failure_alert_sensor(context)
        if isinstance(data, dg.SkipReason):
            return data.skip_message or ""
        self.cursor = data.cursor
        return data.skip_reason.skip_message


@pytest.fixture
def watch(instance: dg.DagsterInstance) -> Watch:
    return Watch(instance)


def fail(instance: dg.DagsterInstance, message: str = "no template reaches 40000 K", name: str = "corv") -> str:
    @dg.asset(name=name)
    def pipeline() -> None:
        raise ValueError(message)

    return dg.materialize([pipeline], instance=instance, raise_on_error=False).run_id


def text_of(message: Any) -> str:
    return message.get_content()


def test_it_is_on_and_says_how_to_configure_it(watch: Watch) -> None:
    sensor = defs.resolve_sensor_def("failure_alert_sensor")
    assert sensor.default_status == dg.DefaultSensorStatus.RUNNING
    fail(watch.instance)
    said = watch.tick()
    for variable in ("ASTRA_ALERT_MAIL_TO", "ASTRA_ALERT_SMTP_HOST", "ASTRA_ALERT_WEBHOOK", "ASTRA_ALERT_COMMAND"):
        assert variable in said


def test_what_failed_before_it_was_configured_is_told_when_it_is(watch: Watch, request: pytest.FixtureRequest) -> None:
    fail(watch.instance)
    watch.tick()
    hook = request.getfixturevalue("hook")
    watch.tick()
    assert [told["subject"] for told in hook.got] == ["Astra: corv failed"]


def test_a_failed_step_is_told_by_each_adapter_once(
    watch: Watch, mail: MailServer, hook: HookServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "told by a command.txt"
    monkeypatch.setenv("ASTRA_ALERT_COMMAND", f"{sys.executable} -c {shlex.quote(APPENDS)} {shlex.quote(str(out))}")
    monkeypatch.setenv("ASTRA_UI_ADDRESS", "https://astra.example.org/astra/")
    run_id = fail(watch.instance)
    assert watch.tick() == "1 new failures, 3 alerts delivered"
    assert watch.tick() == "0 new failures, 0 alerts delivered"
    [message], [told] = mail.got, hook.got
    assert (message["subject"], message["from"]) == ("Astra: corv failed", "astra@example.org")
    assert mail.recipients == ["night@example.org", "other@example.org"]
    assert text_of(message).splitlines() == told["text"].splitlines() == out.read_text().splitlines()
    lines = told["text"].splitlines()
    assert lines[0] == "Astra: corv failed"
    assert "Pipeline: corv" in lines
    assert "Why:      corv: ValueError: no template reaches 40000 K" in lines
    assert f"Run:      https://astra.example.org/astra/runs/{run_id}" in lines
    assert any(line.startswith("To do:") for line in lines)
    assert (told["kind"], told["run_id"], told["pipelines"]) == ("step_failed", run_id, ["corv"])
    assert hook.headers[0]["Content-Type"] == "application/json"


APPENDS = "import sys; open(sys.argv[1], 'a').write(sys.stdin.read())"


def test_a_run_of_which_only_a_check_failed_is_told_so(watch: Watch, hook: HookServer) -> None:
    spec = dg.AssetCheckSpec("coverage", asset="corv", blocking=True)

    @dg.asset(check_specs=[spec])
    def corv() -> Iterator[Any]:
        yield dg.Output(None)
        yield dg.AssetCheckResult(passed=False, check_name="coverage", description="10 of 90 are done: run it again")

    dg.materialize([corv], instance=watch.instance, raise_on_error=False)
    watch.tick()
    [told] = hook.got
    assert told["kind"] == "check_failed"
    assert told["subject"] == "Astra: corv: only a check failed (coverage)"
    assert "the rows are stored" in told["what"]
    assert told["why"] == "coverage: 10 of 90 are done: run it again"


def test_runs_that_succeed_or_are_cancelled_are_not_told(watch: Watch, hook: HookServer) -> None:
    @dg.asset
    def rocket() -> None:
        pass

    dg.materialize([rocket], instance=watch.instance)
    cancelled = watch.instance.create_run_for_job(dg.GraphDefinition("stopped").to_job())
    watch.instance.report_run_canceled(cancelled)
    assert watch.tick() == "0 new failures, 0 alerts delivered"


def test_a_run_whose_process_died_is_told(tmp_path: Path, hook: HookServer) -> None:
    (tmp_path / "dagster.yaml").write_text((CHECKOUT / "dagster.yaml").read_text())
    with open_runs(tmp_path) as runs:
        run_id = runs.launch("dying")
        until = time.monotonic() + 120
        while runs.status(run_id) != STATUS.FAILURE and time.monotonic() < until:
            runs.look_after()
            time.sleep(0.5)
        Watch(runs.instance).tick()
    [told] = hook.got
    assert (told["kind"], told["run_id"]) == ("run_died", run_id)
    assert told["subject"] == "Astra: a run of dying died"
    # Our look after runs says it, or the code server: whoever sees it first.
    assert re.search("ended before the run did|unexpectedly exited with code 3", told["why"])
    assert told["what_to_do"].startswith("Dagster takes it up again by itself, once")


@pytest.mark.parametrize(
    "leak",
    [
        f"connection to server failed: password={SECRET}",
        f"could not connect to postgresql://astra:{SECRET}@db.example.org/sdss5db",
        f"the server said {SECRET}",
    ],
)
def test_no_secret_leaves(watch: Watch, mail: MailServer, hook: HookServer, leak: str) -> None:
    fail(watch.instance, leak)
    watch.tick()
    [told], [message] = hook.got, mail.got
    assert SECRET not in str(told) + text_of(message)
    assert "[hidden]" in told["why"]


def test_what_an_error_says_is_one_line_and_no_header(watch: Watch, mail: MailServer) -> None:
    fail(watch.instance, "first\r\nBcc: all@example.org\r\n\x1b[31m" + "x" * 10_000, name="corv")
    watch.tick()
    [message] = mail.got
    assert message["bcc"] is None
    assert "\x1b" not in text_of(message)
    assert len(text_of(message)) < 2_000


def test_a_server_that_is_down_gets_it_later_and_holds_nobody_up(
    watch: Watch, hook: HookServer, mail: MailServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    hook.status = 503
    for _ in range(3):
        fail(watch.instance)
    said = watch.tick()
    assert len(mail.got) == 3
    assert "webhook at 127.0.0.1: it answers 503; 3 alerts wait, and are tried again at the next tick" in said
    assert "a-key-of-the-hook" not in said
    watch.tick()
    hook.status = 200
    watch.tick()
    assert len(hook.got) == 3
    watch.tick()
    assert (len(hook.got), len(mail.got)) == (3, 3)


def test_an_alert_that_is_refused_does_not_block_those_behind_it(watch: Watch, mail: MailServer) -> None:
    mail.refused = "poison"
    fail(watch.instance, "poison")
    assert "554" in watch.tick()
    fail(watch.instance, "harmless", name="rocket")
    watch.tick()
    assert [message["subject"] for message in mail.got] == ["Astra: rocket failed"]


def test_after_three_days_it_is_given_up_aloud(watch: Watch, hook: HookServer, monkeypatch: pytest.MonkeyPatch) -> None:
    hook.status = 500
    fail(watch.instance)
    watch.tick()
    monkeypatch.setattr(outbox, "KEPT_SECONDS", 0.0)
    assert "webhook: 1 alerts are given up" in watch.tick()
    assert '"waiting":{}' in (watch.cursor or "")


def test_a_silent_server_delays_a_tick_for_a_bounded_time(
    watch: Watch, hook: HookServer, mail: MailServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outbox, "SECONDS_AT_ONCE", 1.0)
    mail.silent = True
    fail(watch.instance)
    began = time.monotonic()
    said = watch.tick()
    assert time.monotonic() - began < 5
    assert "mail: nothing came of it within 1 s" in said
    assert len(hook.got) == 1
    mail.silent = False


def test_a_redirect_is_no_delivery(watch: Watch, hook: HookServer) -> None:
    hook.status = 302
    fail(watch.instance)
    assert "it answers 302" in watch.tick()


def test_a_command_that_fails_or_does_not_end_is_tried_again(
    watch: Watch, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ways, "SECONDS", 0.5)
    fail(watch.instance)
    for command, said in (
        ("/nowhere/pager", "command /nowhere/pager: FileNotFoundError"),
        ("sh -c 'echo no network >&2; exit 7'", "command sh: it ended with 7: no network"),
        ("sh -c 'sleep 60'", "command sh: it didn't end within"),
    ):
        monkeypatch.setenv("ASTRA_ALERT_COMMAND", command)
        assert said in watch.tick()
    told = tmp_path / "told"
    monkeypatch.setenv("ASTRA_ALERT_COMMAND", f"{sys.executable} -c {shlex.quote(APPENDS)} {told}")
    watch.tick()
    assert told.read_text().startswith("Astra: corv failed\n")


@pytest.fixture
def certificate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give a certificate for 127.0.0.1 that this process trusts."""
    import ipaddress

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path / "mail.pem"
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path.write_bytes(private + made.public_bytes(serialization.Encoding.PEM))
    monkeypatch.setenv("SSL_CERT_FILE", str(path))
    return path


def test_a_login_is_made_over_an_encrypted_connection(
    watch: Watch, certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with served(MailServer(certificate)) as server:
        for name, value in {
            "MAIL_TO": "night@example.org",
            "SMTP_HOST": "127.0.0.1",
            "SMTP_PORT": str(server.port),
            "SMTP_SECURITY": "starttls",
            "SMTP_USER": "astra",
            "SMTP_PASSWORD_ENV": "ASTRA_MAIL_PASSWORD",
        }.items():
            monkeypatch.setenv(f"ASTRA_ALERT_{name}", value)
        monkeypatch.setenv("ASTRA_MAIL_PASSWORD", "wrong-as-wrong-can-be")
        fail(watch.instance)
        said = watch.tick()
        assert "it answers 535" in said
        assert "wrong-as-wrong-can-be" not in said
        monkeypatch.setenv("ASTRA_MAIL_PASSWORD", "right")
        watch.tick()
        assert server.logins == ["astra", "astra"]
        assert len(server.got) == 1


def test_a_recipient_who_is_refused_costs_the_others_nothing(watch: Watch, mail: MailServer) -> None:
    mail.unknown = {"other@example.org"}
    fail(watch.instance)
    watch.tick()
    assert (len(mail.got), mail.recipients) == (1, ["night@example.org"])


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"MAIL_TO": "night"}, "ASTRA_ALERT_MAIL_TO has to be mail addresses"),
        ({"MAIL_TO": "a@b.c"}, "ASTRA_ALERT_SMTP_HOST isn't"),
        ({"MAIL_TO": "a@b.c", "SMTP_HOST": "mail", "SMTP_PORT": "http"}, "ASTRA_ALERT_SMTP_PORT has to be a number"),
        ({"MAIL_TO": "a@b.c", "SMTP_HOST": "mail", "SMTP_SECURITY": "ssl"}, "one of starttls, tls, none"),
        ({"MAIL_TO": "a@b.c", "SMTP_HOST": "mail", "SMTP_USER": "u"}, "there is no password"),
        (
            {"MAIL_TO": "a@b.c", "SMTP_HOST": "mail", "SMTP_USER": "u", "SMTP_SECURITY": "none"},
            "readable by everybody",
        ),
        ({"WEBHOOK": "ftp://chat.example.org"}, "ASTRA_ALERT_WEBHOOK has to be an address"),
        ({"COMMAND": "mail 'x"}, "ASTRA_ALERT_COMMAND has to be a program"),
    ],
)
def test_a_wrong_setting_is_named_and_switches_off_no_other(given: dict[str, str], said: str) -> None:
    environment = {f"ASTRA_ALERT_{name}": value for name, value in given.items()}
    good = {"ASTRA_ALERT_WEBHOOK": "https://x.org/h"} if "WEBHOOK" not in given else {"ASTRA_ALERT_COMMAND": "true"}
    settings = alert_settings(environment | good)
    assert len(settings.adapters) == 1
    assert len(settings.problems) == 1
    assert said in settings.problems[0]
    wanted = alert_settings(environment).why_nobody_is_told() or ""
    assert said in wanted
    assert "nobody is told" in wanted


def test_many_failures_at_once_are_all_told(watch: Watch, hook: HookServer) -> None:
    for _ in range(outbox.MOST_AT_ONCE + 5):
        run = watch.instance.create_run_for_job(dg.GraphDefinition("nightly").to_job())
        watch.instance.report_run_failed(run, "killed")
    watch.tick()
    watch.tick()
    assert len({told["run_id"] for told in hook.got}) == len(hook.got) == outbox.MOST_AT_ONCE + 5


def test_a_deleted_run_is_still_told(watch: Watch, hook: HookServer) -> None:
    hook.status = 500
    run_id = fail(watch.instance)
    watch.tick()
    watch.instance.delete_run(run_id)
    hook.status = 200
    watch.tick()
    assert [told["why"] for told in hook.got] == ["its records are deleted"]


def test_alerts_can_be_tried_from_the_terminal(hook: HookServer) -> None:
    tried = CliRunner().invoke(app, ["alerts", "--test"])
    assert (tried.exit_code, tried.output) == (0, "webhook: delivered\n")
    assert hook.got[0]["kind"] == "test"
    hook.status = 500
    assert CliRunner().invoke(app, ["alerts", "--test"]).exit_code == 1


def test_the_terminal_says_that_nobody_is_told() -> None:
    tried = CliRunner().invoke(app, ["alerts"])
    assert tried.exit_code == 1
    assert "nobody is told" in tried.output
