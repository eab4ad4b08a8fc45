"""Hooks in the file: what is taken, what is refused, and that no secret is ever shown."""

import pathlib
from dataclasses import fields

import pytest
from tests.config_examples import EXAMPLE_YAML

from vpnagent.config.load import load
from vpnagent.config.values import Hook, HookLanguage, HookType, Mailbox, MailSecurity
from vpnagent.daemon.patrol import without_secrets
from vpnagent.errors import ConfigError
from vpnagent.secret import Secret

TOKEN = "token-Hush-55aa"
ADDRESS = "https://hooks.example.com/Hush-77bb"


@pytest.fixture
def folder(tmp_path: pathlib.Path) -> pathlib.Path:
    (tmp_path / "psk").mkdir()
    for name, content in (
        ("psk/primary", "one"),
        ("psk/backup", "two"),
        ("token", TOKEN + "\n"),
        ("address", ADDRESS),
        ("nonsense", "ftp://Hush-88cc"),
    ):
        (tmp_path / name).touch(mode=0o600)
        (tmp_path / name).write_text(content)
    (tmp_path / "open").touch(mode=0o644)
    return tmp_path


def hooks(folder: pathlib.Path, *rows: str) -> tuple[Hook, ...]:
    path = folder / "vpnagent.yaml"
    path.write_text(f"{EXAMPLE_YAML}hooks:\n" + "".join(f"  - {{{row}}}\n" for row in rows))
    return load(path).hooks


def refusal(folder: pathlib.Path, *rows: str) -> str:
    with pytest.raises(ConfigError) as refused:
        hooks(folder, *rows)
    return str(refused.value)


def test_a_command_with_every_default(folder: pathlib.Path) -> None:
    [hook] = hooks(folder, "name: mail, command: [/usr/bin/mail, root]")
    assert hook == Hook(
        name="mail",
        type=HookType.COMMAND,
        command=("/usr/bin/mail", "root"),
        url=None,
        token=None,
        events=("info",),
        timeout=5.0,
        retries=3,
    )


def test_a_webhook_with_its_secrets_in_files(folder: pathlib.Path) -> None:
    [hook] = hooks(folder, "name: pager, url_file: address, token_file: token, events: [critical]")
    assert (hook.url, hook.token) == (Secret(ADDRESS.encode()), Secret(TOKEN.encode()))


def test_a_robot_and_a_mailbox_with_their_secrets_in_files(folder: pathlib.Path) -> None:
    robot, mail = hooks(
        folder,
        "name: group, type: dingtalk, url_file: address, secret_file: token, language: zh",
        "name: mail, email: {server: mx.example.com, sender: a@b.cn, recipients: [c@d.cn], username: u, "
        "password_file: token}",
    )
    assert (robot.type, robot.secret, robot.language) == (
        HookType.DINGTALK,
        Secret(TOKEN.encode()),
        HookLanguage.CHINESE,
    )
    assert mail.type is HookType.EMAIL
    assert mail.email == Mailbox(
        server="mx.example.com",
        port=587,
        security=MailSecurity.STARTTLS,
        username="u",
        password=Secret(TOKEN.encode()),
        sender="a@b.cn",
        recipients=("c@d.cn",),
    )


def test_nothing_that_may_be_secret_is_shown_or_leaves_the_process(folder: pathlib.Path) -> None:
    path = folder / "vpnagent.yaml"
    hooks(folder, "name: a, url_file: address, token_file: token", f"name: b, url: '{ADDRESS}'")
    config = load(path)
    assert "Hush" not in repr(config)
    assert without_secrets(config).hooks == ()


def test_the_secrets_are_not_opened_on_a_laptop(folder: pathlib.Path) -> None:
    path = folder / "vpnagent.yaml"
    path.write_text(f"{EXAMPLE_YAML}hooks: [{{name: a, url_file: nowhere}}]\n")
    [hook] = load(path, read_secrets=False).hooks
    assert hook.url is None


@pytest.mark.parametrize(
    ("row", "text"),
    [
        ("name: a", "hooks[0]: exactly one of command, url, url_file and email is required, not none"),
        (
            "name: a, command: [/x], url: 'http://h/'",
            "hooks[0]: exactly one of command, url, url_file and email is required, not command and url",
        ),
        ("name: a, command: [logger]", "hooks[0].command[0]: must be the absolute path of a program"),
        ("name: a, command: [/x], token_file: token", "hooks[0].token_file: has no meaning with command"),
        ("name: a, url: 'ftp://Hush'", "hooks[0].url: must be the address of a webhook"),
        ("name: a, url: 'https://user:Hush@h/'", "hooks[0].url: must be the address of a webhook"),
        ("name: a, url_file: nonsense", "hooks[0].url_file: the file's content must be the address"),
        ("name: a, url_file: open", "hooks[0].url_file: must have mode 0600"),
        ("name: a, url: 'http://h/', token_file: token", "hooks[0].token_file: needs https"),
        ("name: a, type: slack, command: [/x]", "hooks[0].type: needs url or url_file, not command"),
        ("name: a, type: email, url: 'http://h/'", "hooks[0].type: needs email, not url"),
        (
            "name: a, type: slack, url: 'http://h/', token_file: token",
            "token_file: has no meaning",
        ),
        ("name: a, type: wecom, url: 'http://h/', secret_file: token", "secret_file: has no meaning with"),
        ("name: a, type: pager, url: 'http://h/'", "hooks[0].type: must be"),
        ("name: a, email: {server: m, sender: a, recipients: [c@d]}", "hooks[0].email.sender: must be"),
        (
            "name: a, email: {server: m, sender: a@b, recipients: [c@d], username: u}",
            "hooks[0].email.username: needs password_file",
        ),
        (
            "name: a, email: {server: m, sender: a@b, recipients: [c@d], username: u, password_file: token, "
            "security: none}",
            "hooks[0].email.security: must be starttls or tls with a password",
        ),
        ("name: a, command: [/x], events: []", "hooks[0].events: must not be an empty list"),
        ("name: a, command: [/x], events: [Failover, Nonsense]", "hooks[0].events[1]: must be"),
        ("name: a, command: [/x], timeout: 0", "hooks[0].timeout: must be a duration"),
        ("name: a, command: [/x], retrys: 1", "hooks[0]: unknown key: did you mean retries?"),
    ],
)
def test_what_is_wrong_is_told_with_its_place_and_without_secrets(
    folder: pathlib.Path, row: str, text: str
) -> None:
    told = refusal(folder, row)
    assert text in told
    assert "Hush" not in told
    line = EXAMPLE_YAML.count("\n") + 2
    assert told.startswith(f"{folder / 'vpnagent.yaml'}:{line}:")


def test_a_token_may_go_to_this_machine_in_clear(folder: pathlib.Path) -> None:
    assert hooks(folder, "name: a, url: 'http://127.0.0.1:8080/', token_file: token")


def test_names_are_unique(folder: pathlib.Path) -> None:
    assert "another hook is named a" in refusal(folder, "name: a, command: [/x]", "name: a, command: [/y]")


def test_a_broken_connection_hides_no_broken_hook(folder: pathlib.Path) -> None:
    path = folder / "vpnagent.yaml"
    path.write_text(EXAMPLE_YAML.replace("if_id: 1", "if_id: 0") + "hooks: [{name: a, command: [logger]}]\n")
    with pytest.raises(ConfigError) as refused:
        load(path)
    assert len(refused.value.problems) == 2


def test_every_field_of_a_hook_is_documented_as_a_key() -> None:
    page = (pathlib.Path(__file__).parents[2] / "docs" / "configuration.md").read_text(encoding="utf-8")
    table = page.partition("## `hooks[]`")[2]
    for field in fields(Hook):
        assert f"| `{field.name}" in table
