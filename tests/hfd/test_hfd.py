"""What hfd.sh does when all goes well: names, choices, what is asked and what is kept."""

import hashlib
import json
import os
import shutil
import stat
import subprocess
from pathlib import Path

import pexpect
import pytest

from tests.hfd.conftest import SCRIPT, files_in, files_of
from tests.hub import Generated, HubStyle, Repo
from tests.hub.responses import Response

KIB, MIB = 1 << 10, 1 << 20

NAMES = [
    "config.json",
    "a b#c%d+e&f=g?.txt",
    "中文/模型 é.safetensors",
    "quote\"s' $HOME `id` *.bin",
    "-x.bin",
    " leading and trailing ",
    "emoji😀.json",
    "tilde~/under_score-.txt",
    ".gitattributes",
]


def sha256_of(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


@pytest.fixture
def names_repo() -> Repo:
    files = {name: b"content of " + name.encode() for name in NAMES}
    return Repo(
        "org/name", files | {"empty": b"", "empty.bin": b"", "two.bin": b"content of -x.bin"}
    )


def test_every_name_and_size_arrives(hfd, hub_factory, names_repo, tool):
    done = hfd(hub_factory([names_repo]), "org/name", "--tool", tool)
    assert done.returncode == 0, done.stderr
    assert files_in(Path("name")) == files_of(names_repo)
    assert "12 files" in done.stdout and "verified" in done.stdout


def test_names_are_the_same_when_the_hub_escapes_them(hfd, hub_factory, names_repo, monkeypatch):
    def in_ascii(document, status=200, headers=None):
        body = json.dumps(document, ensure_ascii=True, indent=1).replace("/", "\\/")
        head = [("Content-Type", "application/json"), *(headers or [])]
        return Response(status, head, body.encode())

    monkeypatch.setattr("tests.hub.api.json_response", in_ascii)
    monkeypatch.setattr("tests.hub.site.json_response", in_ascii)
    done = hfd(hub_factory([names_repo]), "org/name")
    assert done.returncode == 0, done.stderr
    assert files_in(Path("name")) == files_of(names_repo)


def test_mirror_that_serves_files_itself(hfd, hub_factory, names_repo, tool):
    hub = hub_factory([names_repo], style=HubStyle.OLAH)
    done = hfd(hub, "org/name", "--tool", tool)
    assert done.returncode == 0, done.stderr
    assert files_in(Path("name")) == files_of(names_repo)


def test_https_with_a_certificate_of_ones_own(hfd, hub_factory, names_repo, tool, hub_authority):
    hub = hub_factory([names_repo], tls=True)
    assert hfd(hub, "org/name", "--tool", tool).returncode == 5
    done = hfd(hub, "org/name", "--tool", tool, SSL_CERT_FILE=str(hub_authority.ca_file))
    assert done.returncode == 0, done.stderr
    assert files_in(Path("name")) == files_of(names_repo)


def test_nothing_to_do_takes_two_questions(hfd, hub_factory, names_repo):
    hub = hub_factory([names_repo])
    hfd(hub, "org/name")
    hub.reset()
    done = hfd(hub, "org/name")
    assert "nothing to do" in done.stdout
    assert len(hub.requests) == 2


def test_large_file_takes_one_question_to_the_hub(hfd, hub_factory, tool):
    hub = hub_factory([Repo("org/name", {"m.gguf": Generated(8 * MIB)})])
    assert hfd(hub, "org/name", "--tool", tool).returncode == 0
    assert [r.role for r in hub.requests if r.path == "m.gguf"].count("hub") == 1


def test_small_files_share_connections(hfd, hub_factory):
    repo = Repo("org/name", {f"f{number:03}.json": b"%d" % number for number in range(200)})
    hub = hub_factory([repo])
    assert hfd(hub, "org/name").returncode == 0
    assert files_in(Path("name")) == files_of(repo)
    assert hub.connections("hub")[2] <= 20


def test_listing_in_pages(hfd, hub_factory):
    repo = Repo("org/name", {f"d{n % 3}/f{n}.json": b"%d" % n for n in range(50)})
    assert hfd(hub_factory([repo], page_size=7), "org/name").returncode == 0
    assert files_in(Path("name")) == files_of(repo)


def test_same_content_is_fetched_once(hfd, hub_factory):
    files = {f"part{number}.bin": Generated(2 * MIB) for number in range(3)}
    repo = Repo("org/name", files)
    hub = hub_factory([repo])
    assert hfd(hub, "org/name", "--tool", "curl").returncode == 0
    assert files_in(Path("name")) == files_of(repo)
    assert hub.bytes_sent(role="cdn") == 2 * MIB


def test_file_of_other_origin_is_verified_instead_of_fetched(hfd, hub_factory):
    repo = Repo("org/name", {"m.bin": Generated(MIB), "n.bin": Generated(MIB, 1)})
    hub = hub_factory([repo])
    hfd(hub, "org/name")
    shutil.rmtree("name/.hfd")
    Path("name/n.bin").write_bytes(bytes(MIB))
    hub.reset()
    assert hfd(hub, "org/name").returncode == 0
    assert files_in(Path("name")) == files_of(repo)
    assert hub.bytes_sent("m.bin") == 0


def test_changed_file_is_noticed_on_disk_and_on_the_hub(hfd, hub_factory):
    repo = Repo("org/name", {"a.json": b"1", "b.json": b"2", "c.json": b"3"})
    hub = hub_factory([repo])
    hfd(hub, "org/name")
    Path("name/a.json").write_bytes(b"x")
    os.utime("name/a.json", (1, 1))
    hub.commit("org/name", {"b.json": b"22"})
    hub.reset()
    assert hfd(hub, "org/name").returncode == 0
    assert files_in(Path("name")) == {**files_of(repo), "a.json.edited": sha256_of(b"x")}
    assert {request.path for request in hub.requests} == {None, "a.json", "b.json"}


def test_changed_text_is_kept_under_a_second_name_and_that_is_said(hfd, hub_factory):
    hub = hub_factory([Repo("org/name", {"a.json": b"1", "m.bin": b"\0weights"})])
    for content in (b"mine", b"mine", b"other"):
        hfd(hub, "org/name")
        Path("name/a.json").write_bytes(content)
        Path("name/m.bin").write_bytes(b"\0damaged")
    done = hfd(hub, "org/name")
    assert "a.json was not as the hub has it" in done.stderr
    expected = {"a.json": b"1", "m.bin": b"\0weights"}
    expected |= {"a.json.edited": b"mine", "a.json.edited-2": b"other"}
    assert {path.name: path.read_bytes() for path in Path("name").glob("[am].*")} == expected


def test_pointer_of_a_git_clone_is_nobodys_work(hfd, hub_factory):
    hub = hub_factory([Repo("org/name", {"m.bin": b"\0weights"})])
    Path("name").mkdir()
    Path("name/m.bin").write_bytes(b"version https://git-lfs.github.com/spec/v1\nsize 8\n")
    hfd(hub, "org/name")
    assert files_in(Path("name")) == {"m.bin": sha256_of(b"\0weights")}


def test_missing_curl_is_named_with_the_way_to_have_it(hfd, hub_factory, tmp_path, monkeypatch):
    programs = tmp_path / "bin"
    programs.mkdir()
    for name in ("bash", "awk", "wget"):
        if (found := shutil.which(name)) is not None:
            (programs / name).symlink_to(found)
    hub = hub_factory([])
    monkeypatch.setenv("PATH", str(programs))
    done = hfd(hub, "org/name")
    assert (done.returncode, "apt-get install curl" in done.stderr) == (7, True)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--include", "*.json"], ["a.json", "sub/b.json"]),
        (["--include", "*.json", "w.bin"], ["a.json", "sub/b.json", "w.bin"]),
        (["--include", "*.json", "--include", "w.bin"], ["a.json", "sub/b.json", "w.bin"]),
        (["--include=*.json", "--exclude", "sub/*", "*.txt"], ["a.json"]),
        (["--exclude", "sub/", "*.txt"], ["a.json", "w.bin"]),
        (["--exclude", "[aw]*"], ["sub/b.json", "sub/c.txt"]),
    ],
    ids=" ".join,
)
def test_include_and_exclude(hfd, hub_factory, arguments, expected):
    Path("a.json").touch()  # the shell must not expand the globs here
    repo = Repo("org/name", dict.fromkeys(["a.json", "sub/b.json", "sub/c.txt", "w.bin"], b"x"))
    done = hfd(hub_factory([repo]), "org/name", *arguments)
    assert done.returncode == 0, done.stderr
    assert sorted(files_in(Path("name"))) == expected


def test_dataset_and_local_dir(hfd, hub_factory):
    repo = Repo("org/data", {"train/0.parquet": Generated(9 * KIB)}, repo_type="dataset")
    hub = hub_factory([repo])
    assert hfd(hub, "org/data").returncode == 3
    done = hfd(hub, "org/data", "--dataset", "--local-dir", "some where/数据")
    assert done.returncode == 0, done.stderr
    assert files_in(Path("some where/数据")) == files_of(repo)


def test_revision_with_a_slash(hfd, hub_factory):
    repo = Repo("org/name", {"a.json": b"old"})
    repo.tag("refs/pr/1")
    repo.commit({"a.json": b"new"})
    hub = hub_factory([repo])
    assert hfd(hub, "org/name", "--revision", "refs/pr/1").returncode == 0
    assert Path("name/a.json").read_bytes() == b"old"
    assert hfd(hub, "org/name").returncode == 0
    assert Path("name/a.json").read_bytes() == b"new"


@pytest.fixture
def fake_qtool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A qtool on PATH that prints its arguments."""
    program = tmp_path / "bin" / "qtool"
    program.parent.mkdir()
    program.write_text(
        '#!/bin/sh\n[ "$1" = --version ] && echo "qtool 1.0" && exit\n'
        'printf "%s\\n" "$@" "token $HF_TOKEN"\nexit 42\n'
    )
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    monkeypatch.delenv("HFD_NO_QTOOL")


@pytest.mark.usefixtures("fake_qtool")
def test_qtool_takes_over_with_all_options(hfd, hub_factory):
    options = ["--include", "*.json", "*.txt", "--exclude", "b*", "-x", "16", "-j", "2"]
    done = hfd(
        hub_factory(), "org/d", "--dataset", *options, "--hf_token", "hf_x", "--revision", "v"
    )
    assert done.returncode == 42
    assert done.stdout.splitlines() == [
        *("download", "org/d", "--revision", "v", "--local-dir", "./d"),
        *("--include", "*.json", "--include", "*.txt", "--exclude", "b*"),
        *("--dataset", "-x", "16", "-j", "2", "token hf_x"),
    ]
    assert "HFD_NO_QTOOL" in done.stderr


@pytest.mark.usefixtures("fake_qtool")
def test_qtool_that_takes_over_fetches_what_this_script_would(hfd, hub_factory):
    done = hfd(hub_factory(), "org/name", "--exclude", "*.bin")
    assert done.stdout.splitlines()[6:] == ["--include", "*", "--exclude", "*.bin", "token "]


@pytest.mark.usefixtures("fake_qtool")
def test_qtool_does_not_take_over_what_this_script_shall_do(hfd, hub_factory):
    hub = hub_factory([Repo("org/name", {"a.json": b"1"})])
    assert hfd(hub, "org/name", HFD_NO_QTOOL="1").returncode == 0
    assert hfd(hub, "org/name").returncode == 0  # its own state is in the folder
    assert hfd(hub, "org/name", "--tool", "curl", "--local-dir", "other").returncode == 0


def test_quantization_behind_the_name_is_answered_with_a_glob(hfd, hub_factory):
    done = hfd(hub_factory(), "org/tiny-GGUF:Q2_K")
    assert done.returncode == 2
    assert done.stderr.endswith("hint: hfd.sh org/tiny-GGUF --include '*Q2_K*'\n")


@pytest.mark.parametrize(("is_there", "left"), [(False, []), (True, ["name"])])
def test_failure_before_the_first_byte_leaves_no_folder(hfd, hub_factory, is_there, left):
    if is_there:
        Path("name").mkdir()
    repo = Repo("org/name", {"a.json": b"1"}, gated="manual")
    assert hfd(hub_factory([repo]), "org/name").returncode == 4
    assert hfd(hub_factory(), "org/name").returncode == 3
    assert [path.as_posix() for path in Path().rglob("*")] == left


def test_hub_that_does_not_answer_is_not_recommended(hfd, hub_factory):
    done = hfd(hub_factory(), "org/name", HF_ENDPOINT="http://127.0.0.1:9")
    assert done.returncode == 5
    assert done.stderr.endswith("HF_ENDPOINT=https://huggingface.co\n")


def test_lines_on_a_terminal_do_not_run_into_the_progress(hub_factory):
    hub = hub_factory(
        [Repo("org/name", {"m.bin": Generated(6_000_000)})], rate_bytes_per_s=3_000_000
    )
    child = pexpect.spawn(
        str(SCRIPT), ["org/name", "--tool", "curl"],
        env={**os.environ, "HF_ENDPOINT": hub.url}, encoding="utf-8", timeout=60,
    )  # fmt: skip
    child.expect_exact("MB/s")
    child.expect(pexpect.EOF)
    assert "\r\x1b[Km.bin (6.0 MB)" in child.before
    assert "1 file, 6.0 MB, verified" in child.before


def test_help_names_every_option():
    said = subprocess.run([SCRIPT, "--help"], capture_output=True, text=True, check=True).stdout
    known = (
        "--include --exclude --hf_username --hf_token --tool -x -j --dataset --local-dir --revision"
    )
    assert all(option in said for option in known.split())


@pytest.mark.skipif(shutil.which("shellcheck") is None, reason="there is no shellcheck here")
def test_shellcheck_has_nothing_to_say():
    done = subprocess.run(["shellcheck", SCRIPT], capture_output=True, text=True, check=False)
    assert done.stdout == ""
