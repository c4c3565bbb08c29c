"""What leaves the machine names nobody, however people and folders are called."""

import json
import os
import platform
import unicodedata
from pathlib import Path
from urllib.parse import quote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qtool.doctor import sharing
from qtool.doctor.redact import GENERIC_NAMES, Identity, redact, without_names
from qtool.doctor.sharing import for_sharing, who_and_where

HOSTILE = [
    "zoe",
    "Zoë",
    "o'brien",
    "a.b+c",
    "x[1]",
    "jo ann",
    "dollar$ign",
    "(paren",
    "名字很长",
    "back\\slash",
    "DOMAIN-zoe.smith",
]


def texts(name: str, home: str) -> list[str]:
    """Return a home folder and a user's name in every place where they have been seen."""
    return [
        home,
        f"{home}/env/bin/python",
        f"OSError: {home}/lib/libx.so: cannot open shared object file",
        f"({home}/a, '{home}/b'):{home}",
        f'File "{home}/site-packages/x.py", line 3',
        f"file://{quote(home)}/wheels",
        f"/scratch/{name}/cache",
        f"/tmp/{name}_cache/pip-{name}",
        f"ssh {name}@box7.example.org",
        f"cannot read {home}.",
        json.dumps(f"{home}/x", ensure_ascii=False).strip('"'),
    ]


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.parametrize("parent", ["/home", "/data/people", "/Users"])
def test_no_text_names_a_person(name: str, parent: str) -> None:
    home = f"{parent}/{name}"

    found = redact(texts(name, home), home=home, host="box7.example.org", user=name)

    for text in found:
        assert name.lower() not in text.lower()
        assert quote(name).lower() not in text.lower()
        assert "box7" not in text


@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_accents_are_known_however_they_are_stored(form: str) -> None:
    name = unicodedata.normalize(form, "Zoë")
    found = redact(["/Volumes/Zoë/x", f"/Volumes/{name}/x"], home="/h/Zoë", host="", user="Zoë")

    assert found == ["/Volumes/<user>/x"] * 2


def test_home_folders_of_windows_are_known_in_every_spelling() -> None:
    home = "C:\\Users\\Zoe Smith"
    values = [
        home,
        "c:\\users\\zoe smith\\x",
        "C:\\\\Users\\\\Zoe Smith\\\\x",
        "C:/Users/Zoe Smith/x",
    ]

    found = redact(values, home=home, host="", user="zsmith")

    assert found == ["~", "~\\x", "~\\\\x", "~/x"]


def test_a_folder_that_only_begins_like_home_is_another_ones() -> None:
    found = redact(["/srv/zoe-old/x", "/srv/zoe.bak"], home="/srv/zoe", host="", user="")

    assert found == ["/srv/zoe-old/x", "/srv/zoe.bak"]


@pytest.mark.parametrize("name", sorted(GENERIC_NAMES))
def test_a_name_that_says_nothing_destroys_no_snapshot(name: str) -> None:
    value = {
        name: f"/opt/my-{name}/bin/python3",
        "torch": "2.2.2",
        "why": "the first python3 on PATH",
    }

    assert redact(value, home=f"/home/{name}", host="localhost", user=name) == value


def test_fields_and_packages_keep_their_names() -> None:
    value = {"gpus": [], "dists": {"zoe": "1.0", "gpus": "2.0"}, "/data/zoe/cuda": "12.4"}

    found = redact(value, home="/h", host="gpus", user="zoe")

    assert found == {
        "gpus": [],
        "dists": {"zoe": "1.0", "gpus": "2.0"},
        "/data/<user>/cuda": "12.4",
    }


def test_a_short_name_is_taken_out_of_paths_only() -> None:
    found = redact(["/scratch/al/x", "install al"], home="/home/al", host="", user="al")

    assert found == ["/scratch/<user>/x", "install al"]


def test_words_that_hold_a_name_stay_whole() -> None:
    assert redact("canada", home="/home/ada", host="can", user="ada") == "canada"


@given(st.text(max_size=40), st.text(max_size=12), st.text(max_size=12))
def test_any_names_and_texts_are_taken(text: str, name: str, host: str) -> None:
    home = f"/home/{name}"

    found = redact({"a": [text, f"{home}/x"]}, home=home, host=host, user=name)

    assert set(found) == {"a"}
    if len(name) > 3 and name.isascii() and name.isalpha() and name.lower() not in GENERIC_NAMES:
        assert name not in found["a"][1].replace("<user>", "").replace("<host>", "")


def test_nothing_is_changed_where_nothing_is_known() -> None:
    assert without_names({"a": "b /c"}, Identity()) == {"a": "b /c"}


# --- this machine ---------------------------------------------------------------------------


def test_the_machine_goes_by_its_short_and_its_long_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "node", lambda: "box7.lab.example.org")

    assert for_sharing("at box7, or Box7.lab.example.org") == "at <host>, or <host>"


def test_a_home_folder_behind_a_link_is_known_by_both_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "disk7/zoefolder").mkdir(parents=True)
    (tmp_path / "people").symlink_to(tmp_path / "disk7/zoefolder")
    monkeypatch.setenv("HOME", str(tmp_path / "people"))

    real = os.path.realpath(tmp_path / "people")

    assert for_sharing([f"{tmp_path}/people/x", f"{real}/x"]) == ["~/x", "~/x"]


def test_who_called_sudo_is_no_secret_either(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SUDO_USER", "zoesmith")

    assert for_sharing("/scratch/zoesmith/x") == "/scratch/<user>/x"


def test_a_user_without_a_name_is_no_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    def nobody() -> str:
        raise KeyError("getpwuid(): uid not found: 12345")

    monkeypatch.setattr("getpass.getuser", nobody)
    monkeypatch.setattr(sharing.Path, "home", lambda: Path("/home/someone"))

    assert "/home/someone" in who_and_where().homes


@pytest.mark.parametrize(
    ("text", "shared"),
    [
        ("https://huggingface.co/org/name", "https://huggingface.co/org/name"),
        ("https://hf-mirror.com", "https://hf-mirror.com"),
        ("https://www.modelscope.cn/models", "https://www.modelscope.cn/models"),
        ("https://download.pytorch.org/whl/cpu", "https://download.pytorch.org/whl/cpu"),
        ("http://127.0.0.1:8080/v1", "http://127.0.0.1:8080/v1"),
        ("https://hub.acme.example:8443/x", "https://<host>:8443/x"),
        ("pip --index-url http://***@nexus.acme.example/a", "pip --index-url http://***@<host>/a"),
        ("https://huggingface.co.acme.example/x", "https://<host>/x"),
        ("http://[fd00::7]:3128", "http://<host>:3128"),
        ('"HTTP_PROXY": "proxy.acme.example:3128"', '"HTTP_PROXY": "<host>:3128"'),
        ("HF_ENDPOINT=hub.acme.example", "HF_ENDPOINT=<host>"),
        ("QTOOL_TORCH_INDEX=URL qtool doctor", "QTOOL_TORCH_INDEX=URL qtool doctor"),
    ],
)
def test_only_public_servers_are_named(text: str, shared: str) -> None:
    assert without_names(text, Identity()) == shared


def test_servers_without_a_scheme_are_found_by_their_variable() -> None:
    before = {
        "HF_ENDPOINT": "hub.acme.example,https://hf-mirror.com",
        "http_proxy": "intranet:3128",
        "HTTPS_PROXY": "http://***@px.acme.example:3128",
        "NO_PROXY": "localhost,.acme.example,10.1.0.0/16,*",
        "UV_DEFAULT_INDEX": "/wheels/simple",
        "HF_HUB_OFFLINE": "1",
    }

    assert without_names(before, Identity()) == {
        "HF_ENDPOINT": "<host>,https://hf-mirror.com",
        "http_proxy": "<host>:3128",
        "HTTPS_PROXY": "http://***@<host>:3128",
        "NO_PROXY": "localhost,<host>,<host>/16,*",
        "UV_DEFAULT_INDEX": "/wheels/simple",
        "HF_HUB_OFFLINE": "1",
    }


def test_environments_outside_the_home_folder_name_no_user() -> None:
    identity = Identity(("/home/zoe",), (), ("zoe",), ("bob",))
    before = ["/data/zoe/v/bin/python", "/opt/envs/bob/bin", "/scratch/carol/v", "bob 1.0 is here"]

    assert without_names(before, identity) == [
        "/data/<user>/v/bin/python", "/opt/envs/<user>/bin", "/scratch/<user>/v", "bob 1.0 is here",
    ]  # fmt: skip


def test_people_with_an_account_here_are_neighbours() -> None:
    pwd = pytest.importorskip("pwd")
    people = {one.pw_name for one in pwd.getpwall() if 1000 <= one.pw_uid < 65534}

    assert set(who_and_where().neighbours) == people


# --- secrets --------------------------------------------------------------------------------

SAFE = st.text("abcXYZ019%._~-", min_size=6, max_size=20)
FIELDS = [
    *("python", "driver", "requires", "imports", "import_results", "conda", "env_vars", "reasons"),
    *("kernel_runs", "other_interpreters"),
]


@settings(max_examples=100, deadline=None)
@given(
    field=st.sampled_from(FIELDS),
    scheme=st.sampled_from(["https", "git+https", "socks5h", "ftp"]),
    user=SAFE | st.just(""),
    password=SAFE,
    before=st.sampled_from(["", "pkg @ ", "OSError: no answer from ", "'", "--index-url="]),
    after=st.sampled_from(["", "/a/b.whl", "/simple for torch", "'", ":8080/x@v1.0"]),
)
def test_no_text_holds_a_password(
    field: str, scheme: str, user: str, password: str, before: str, after: str
) -> None:
    secret = f"Pw{password}"
    text = f"{before}{scheme}://{user}:{secret}@index.example{after}"

    found = redact({field: {"x": [text, {"detail": text}]}}, home="", host="", user="")

    assert secret not in json.dumps(found)


@pytest.mark.parametrize(
    "token", ["hf_" + "aB3" * 11, "api_org_" + "x" * 34, "ghp_" + "q1" * 18, "sk-" + "w" * 40]
)
@pytest.mark.parametrize(
    "text", ["{}", "401 for token {}: denied", "HF_TOKEN={}", "https://{}@h/x"]
)
def test_no_text_holds_a_token(token: str, text: str) -> None:
    assert token not in redact(text.format(token), home="", host="", user="")


@pytest.mark.parametrize(
    "text", ["hf_transfer>=0.1.8", "pkg @ git+https://github.com/a/b@v1", "sk-learn", "a@b"]
)
def test_what_only_looks_like_a_secret_stays(text: str) -> None:
    assert redact(text, home="", host="", user="") == text
