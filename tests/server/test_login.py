"""Token, passwords, cookies and the wait after failed tries, without the page."""

from __future__ import annotations

import re
import stat

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from starlette.testclient import TestClient

from asr_app import cli, config, login
from asr_app.door import Door
from asr_app.errors import UserError
from asr_app.login import Account, Login, Throttle, read_accounts, read_key
from asr_app.web import address

KEY = bytes(32)
AT = "http://127.0.0.1:6006"


def behind(key: bytes = KEY, *accounts: Account) -> tuple[TestClient, Login]:
    async def page(request: Request) -> PlainTextResponse:
        return PlainTextResponse(f"in {request.url.query}")

    app = Starlette(routes=[Route("/", page), Route("/config", page)])
    found = Login(key, accounts)
    return TestClient(Door(app, "127.0.0.1", (), found), base_url=AT, follow_redirects=False), found


@pytest.fixture
def quick(monkeypatch):
    """Hashes that take no time."""
    monkeypatch.setattr(login, "_scrypt", lambda password, salt: (password.encode() + salt).ljust(64)[:64])


def test_without_the_token_the_page_says_where_to_find_it():
    client, _ = behind()
    response = client.get("/")
    assert response.status_code == 401
    assert "?token=" in response.text
    assert "终端" in response.text
    assert "default-src 'none'" in response.headers["content-security-policy"]
    assert response.headers["cache-control"] == "no-store"


def test_a_program_sends_a_key_and_is_answered_in_json(tmp_path):
    async def models(_: Request) -> PlainTextResponse:
        return PlainTextResponse("models")

    (tmp_path / "keys").write_text("# of the subtitle editor\nsecond-key-of-16-characters\n\n")
    keys = login.read_api_keys("first-key-of-16-characters", tmp_path / "keys")
    found = Login(KEY, (), keys)
    app = Starlette(routes=[Route(path, models) for path in ("/v1/models", "/asr", "/detect-language", "/")])
    client = TestClient(Door(app, "127.0.0.1", (), found), base_url=AT)
    for key in (*keys, found.token):
        assert client.get("/v1/models", headers={"Authorization": f"Bearer {key}"}).status_code == 200
        assert client.get("/asr", auth=("any", key)).status_code == 200  # as in http://any:KEY@host
    for headers in (
        {}, {"Authorization": "Bearer wrong"}, {"Authorization": "Bearer "}, {"Authorization": keys[0]},
        {"Authorization": "Basic ?"}, {"Authorization": "Basic /w=="}, {"Authorization": "Basic Og=="},
    ):  # fmt: skip
        for path in ("/v1/models", "/asr", "/detect-language"):
            response = client.get(path, headers=headers)
            assert response.status_code == 401
            assert response.json()["error"]["code"] == "invalid_api_key"
    # A page of another site cannot send the header, but its requests would carry the cookie.
    client.get(f"/?token={found.token}")
    assert client.get("/v1/models").status_code == client.get("/asr").status_code == 401


@pytest.mark.parametrize(("given", "lines"), [("short", ""), ("", "short\n"), ("\u5bc6" * 20, "")])
def test_a_weak_key_is_refused(tmp_path, given, lines):
    (tmp_path / "keys").write_text(lines)
    with pytest.raises(UserError, match="too short"):
        login.read_api_keys(given, tmp_path / "keys")
    with pytest.raises(UserError, match="cannot be read"):
        login.read_api_keys("", tmp_path / "none")


def test_the_token_gives_a_cookie_and_goes_no_further():
    client, found = behind()
    assert client.get("/?token=wrong").status_code == 403
    assert client.get("/?token=é").status_code == 403
    assert client.get("/").status_code == 401
    response = client.get(f"/?a=1&token={found.token}&b=2")
    assert response.status_code == 200
    assert response.text == "in a=1&b=2"
    assert re.fullmatch(
        r"asr-[0-9a-f]{8}=[0-9a-f]{64}; HttpOnly; SameSite=Strict; Path=/; Max-Age=2592000",
        response.headers["set-cookie"],
    )
    assert client.get("/").status_code == 200
    assert client.get("/config").status_code == 200


def test_behind_tls_the_cookie_is_for_tls_only():
    client, found = behind()
    response = client.get(f"https://127.0.0.1:6006/?token={found.token}")
    assert response.headers["set-cookie"].endswith("; Secure")


def test_a_cookie_is_good_after_a_restart_and_no_longer_with_another_key():
    client, found = behind()
    client.get(f"/?token={found.token}")
    again, _ = behind()
    again.cookies = client.cookies
    assert again.get("/").status_code == 200
    other, another = behind(bytes(31) + b"x")
    other.cookies = client.cookies
    assert other.get("/").status_code == 401
    assert another.token != found.token


def test_the_key_is_made_once_and_only_its_owner_reads_it(tmp_path, caplog):
    path = tmp_path / "door.key"
    key = read_key(path)
    assert len(key) == 32
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    path.chmod(0o644)
    assert read_key(path) == key
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    path.write_bytes(b"half")
    assert read_key(path) not in (key, b"half")
    assert "damaged" in caplog.text


def test_a_password_lets_in(quick):
    client, found = behind(KEY, Account.of("ana", "pässword"), Account.of("bo", "other"))
    assert found.token == ""
    for request in (client.get("/"), client.get("/?token="), client.get("/login")):
        assert request.status_code == 401
        assert '<form method="post" action="login">' in request.text
    for name, password in (("ana", "other"), ("ana", ""), ("nobody", "other"), ("", "")):
        response = client.post("/login", data={"name": name, "password": password})
        assert response.status_code == 403
        assert "set-cookie" not in response.headers
    response = client.post("/login", data={"name": "ana", "password": "pässword"}, headers={"Origin": AT})
    assert response.status_code == 303
    assert response.headers["location"] == "./"
    assert client.get("/").status_code == 200
    assert client.get("/login").status_code == 303


def test_another_password_ends_the_cookie(quick):
    client, _ = behind(KEY, Account.of("ana", "one"))
    client.post("/login", data={"name": "ana", "password": "one"})
    after, _ = behind(KEY, Account.of("ana", "two"))
    after.cookies = client.cookies
    assert after.get("/").status_code == 401


def test_a_foreign_page_cannot_log_in(quick):
    client, _ = behind(KEY, Account.of("ana", "one"))
    response = client.post("/login", data={"name": "ana", "password": "one"}, headers={"Origin": "http://evil.example"})
    assert response.status_code == 403
    assert "set-cookie" not in response.headers


def test_a_form_of_megabytes_is_not_read(quick):
    client, _ = behind(KEY, Account.of("ana", "one"))
    form = {"name": "ana", "password": "one", "more": "x" * 2**20}
    assert client.post("/login", data=form).status_code == 403


def test_after_a_few_failures_even_the_right_password_waits(quick):
    client, _ = behind(KEY, Account.of("ana", "one"))
    for _ in range(6):
        assert client.post("/login", data={"name": "ana", "password": "x"}).status_code in (403, 429)
    response = client.post("/login", data={"name": "ana", "password": "one"})
    assert response.status_code == 429
    assert response.headers["retry-after"] in ("1", "2")
    assert "Wait" in response.text


def test_each_failure_doubles_the_wait_up_to_a_minute(monkeypatch):
    now = 100.0
    monkeypatch.setattr("time.monotonic", lambda: now)
    throttle = Throttle()
    waits = []
    for _ in range(13):
        throttle.failed("a")
        waits.append(throttle.wait_s("a"))
    assert waits == [0, 0, 0, 0, 1, 2, 4, 8, 16, 32, 60, 60, 60]
    assert throttle.wait_s("b") == 0
    now += 60
    assert throttle.wait_s("a") == 0
    throttle.succeeded("a")
    throttle.failed("a")
    assert throttle.wait_s("a") == 0


def test_the_throttle_does_not_grow(monkeypatch):
    throttle = Throttle()
    for n in range(3000):
        throttle.failed(str(n))
    assert len(throttle._failures) == 1000


# --- flags


def test_a_password_file_keeps_no_password(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("getpass.getpass", lambda *_: "pässword:with:colons")
    assert cli.main(["password", "ana"]) == 0
    line = capsys.readouterr().out
    assert "pässword" not in line
    (tmp_path / "file").write_text(line + "\n" + Account.of("bo", "other").line + "\n")
    ana, bo = read_accounts(str(tmp_path / "file"), KEY)
    assert (ana.name, bo.name) == ("ana", "bo")
    assert ana.has("pässword:with:colons")
    assert not ana.has("other")
    assert bo.has("other")


def test_user_and_password_on_the_command_line_are_the_same_account_at_each_start():
    (account,) = read_accounts("ana:one:two", KEY)
    assert account.has("one:two")
    assert read_accounts("ana:one:two", KEY) == [account]


@pytest.mark.parametrize("given", ["ana", "ana:", ":one", "", "no/such/file"])
def test_auth_that_is_neither_is_refused(given):
    with pytest.raises(UserError, match="user:password"):
        read_accounts(given, KEY)


@pytest.mark.parametrize("content", ["", "ana:one\n", "ana:scrypt:00:11\n", "ana:md5:00:" + "00" * 64])
def test_a_file_that_holds_something_else_is_refused(tmp_path, content):
    (tmp_path / "file").write_text(content)
    with pytest.raises(UserError, match="no file of passwords"):
        read_accounts(str(tmp_path / "file"), KEY)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.5", "box.example"])  # noqa: S104
def test_other_machines_are_not_let_in_without_token_or_password(host):
    with pytest.raises(UserError, match="--insecure"):
        config.parse(["--host", host, "--no-token"])
    for flags in ([], ["--no-token", "--auth", "a:b"], ["--no-token", "--insecure"]):
        assert config.parse(["--host", host, *flags]).host == host


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1", "127.0.0.2"])
def test_on_loopback_one_may_do_without(host):
    assert config.parse(["--host", host, "--no-token"]).token is False


@pytest.mark.parametrize("name", ["https://asr.example", "", "a/b", "*", "asr.example:port"])
def test_a_name_that_no_browser_sends_is_refused(name):
    with pytest.raises(UserError, match="--allow-host"):
        config.parse(["--allow-host", name])


@pytest.mark.parametrize(
    ("host", "url"),
    [("127.0.0.1", "http://127.0.0.1:6006/?token=t"), ("0.0.0.0", "http://127.0.0.1:6006/?token=t"),  # noqa: S104
     ("::1", "http://[::1]:6006/?token=t"), ("[::]", "http://[::1]:6006/?token=t")],
)  # fmt: skip
def test_the_printed_address_can_be_opened(host, url):
    assert address(host, 6006, "", "t") == url
    assert address(host, 6006, "", "") == url.partition("?")[0]
    assert address(host, 6006, "/asr", "") == url.partition("?")[0] + "asr/"
