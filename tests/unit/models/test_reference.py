"""References: what users type and paste."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from qtool.errors import UsageError
from qtool.models.reference import Reference, ReferenceKind, parse_reference

REPO, FILE, FOLDER = ReferenceKind.REPO, ReferenceKind.FILE, ReferenceKind.FOLDER
HF = "https://huggingface.co"


@pytest.fixture(autouse=True)
def empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def repo(repo_id: str = "org/name", **fields: Any) -> dict[str, Any]:
    return {"repo_id": repo_id, **fields}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("org/name", repo()),
        ("gpt2", repo("gpt2")),
        ("org/name/", repo()),
        ("org/name:Q4_K_M", repo(quant="Q4_K_M")),
        ("org/name:ud-q4_k_xl", repo(quant="ud-q4_k_xl")),
        ("org/name@v1.0", repo(revision="v1.0")),
        ("org/name@refs/pr/1", repo(revision="refs/pr/1")),
        ("org/name@refs/pr/1:Q8_0", repo(revision="refs/pr/1", quant="Q8_0")),
        ("org/name:Q8_0@main", repo(revision="main", quant="Q8_0")),
        ("gpt2:Q8_0", repo("gpt2", quant="Q8_0")),
        ("org/name:Name-Q4.gguf", repo(quant="Name-Q4.gguf")),
        ("hf://org/name", repo()),
        ("HF://org/name/", repo()),
        ("hf://gpt2", repo("gpt2")),
        ("hf://org/name:Q4_0", repo(quant="Q4_0")),
        ("hf://org/name/a/b.gguf", repo(filename="a/b.gguf")),
        ("hf://org/name@dev/b.gguf", repo(filename="b.gguf", revision="dev")),
        ("hf://org/name@refs/pr/1/b.gguf", repo(filename="b.gguf", revision="refs/pr/1")),
        ("hf://org/name@refs%2Fpr%2F1", repo(revision="refs/pr/1")),
        ("hf://datasets/org/name/x.csv", repo(filename="x.csv", repo_type="dataset")),
        ("hf://datasets/squad", repo("squad", repo_type="dataset")),
        ("hf.co/org/name:Q4_K_M", repo(quant="Q4_K_M", endpoint=HF)),
        ("https://hf.co/org/name", repo(endpoint=HF)),
        ("huggingface.co/gpt2", repo("gpt2", endpoint=HF)),
    ],
)
def test_name_is_taken_apart(text: str, expected: dict[str, Any]) -> None:
    assert parse_reference(text) == Reference(REPO, text, **expected)


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/org/name", repo()),
        ("/org/name/", repo()),
        ("/gpt2", repo("gpt2")),
        ("/gpt2/tree/main", repo("gpt2", revision="main")),
        ("/org/name/tree/main", repo(revision="main")),
        ("/org/name/tree/refs%2Fpr%2F1", repo(revision="refs/pr/1")),
        ("/org/name/tree/refs/pr/1", repo(revision="refs/pr/1")),
        ("/org/name/tree/main/UD-Q4_K_XL", repo(revision="main", quant="UD-Q4_K_XL")),
        ("/org/name/blob/main/a%20b/c%23.gguf", repo(revision="main", filename="a b/c#.gguf")),
        ("/org/name/blob/main/%E6%A8%A1.gguf", repo(revision="main", filename="模.gguf")),
        ("/org/name/resolve/v1/x.gguf?download=true", repo(revision="v1", filename="x.gguf")),
        ("/org/name/raw/main/config.json", repo(revision="main", filename="config.json")),
        ("/org/name/commits/main", repo(revision="main")),
        ("/org/name/discussions/3", repo()),
        ("/org/name?show_file_info=x-Q4_0.gguf", repo(filename="x-Q4_0.gguf")),
        ("/org/name#how-to", repo()),
        ("/datasets/org/name", repo(repo_type="dataset")),
        ("/datasets/squad/tree/main", repo("squad", revision="main", repo_type="dataset")),
        ("/models/org/name", repo()),
        ("/models/org/name/summary", repo()),
        ("/models/org/name/files", repo()),
        (
            "/models/org/name/file/view/master/config.json?status=1",
            repo(revision="master", filename="config.json"),
        ),
        ("/api/models/org/name", repo()),
        ("/api/models/org/name/revision/main", repo(revision="main")),
    ],
)
@pytest.mark.parametrize(
    "host", [HF, "https://hf-mirror.com", "http://127.0.0.1:8000", "http://[::1]:8000"]
)
def test_address_is_taken_apart_on_any_host(host: str, path: str, expected: dict[str, Any]) -> None:
    text = host + path
    assert parse_reference(text) == Reference(REPO, text, **expected, endpoint=host)


def test_host_is_lower_case_in_endpoint() -> None:
    assert parse_reference("HTTPS://HuggingFace.co/Org/Name").endpoint == HF


def test_default_repo_type_applies_to_names_but_not_to_addresses() -> None:
    assert parse_reference("org/name", default_repo_type="dataset").repo_type == "dataset"
    assert parse_reference("hf://org/name", default_repo_type="dataset").repo_type == "dataset"
    assert parse_reference(f"{HF}/org/name", default_repo_type="dataset").repo_type == "model"


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("./x", FOLDER),
        ("../x", FOLDER),
        ("/x/y z", FOLDER),
        (".", FOLDER),
        ("./x.gguf", FILE),
        ("x.gguf", FILE),
        ("X.GGUF", FILE),
        ("a/b/model.safetensors", FILE),
        ("a b.gguf", FILE),
        ("C:\\x.gguf", FILE),
        ("C:/models/x.gguf", FILE),
        ("D:\\models\\mistral", FOLDER),
        ("\\\\server\\x.gguf", FILE),
    ],
)
def test_path_is_one_even_if_nothing_is_there(text: str, kind: ReferenceKind) -> None:
    assert parse_reference(text) == Reference(kind, text, path=Path(text))


def test_home_is_expanded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/ada")
    assert parse_reference("~/m.gguf").path == Path("/home/ada/m.gguf")


def test_folder_of_a_repositorys_name_wins_when_it_holds_a_model(empty_folder: Path) -> None:
    folder = empty_folder / "org" / "name"
    folder.mkdir(parents=True)
    assert parse_reference("org/name").kind is REPO
    (folder / "notes.txt").touch()
    assert parse_reference("org/name").kind is REPO
    (folder / "model.gguf").touch()
    assert parse_reference("org/name") == Reference(FOLDER, "org/name", path=Path("org/name"))


def test_file_of_a_repositorys_name_wins_when_it_is_gguf(empty_folder: Path) -> None:
    (empty_folder / "gpt2").write_bytes(b"not a model")
    assert parse_reference("gpt2").kind is REPO
    (empty_folder / "gpt2").write_bytes(b"GGUF....")
    assert parse_reference("gpt2").kind is FILE


def test_file_with_a_colon_wins_over_a_quantisation_when_it_exists(empty_folder: Path) -> None:
    (empty_folder / "name:x.gguf").touch()
    assert parse_reference("name:x.gguf").kind is FILE


def test_local_paths_are_not_looked_at_when_a_repository_is_wanted(empty_folder: Path) -> None:
    (empty_folder / "gpt2").mkdir()
    (empty_folder / "gpt2" / "config.json").touch()
    assert parse_reference("gpt2").kind is FOLDER
    assert parse_reference("gpt2", allow_local=False).kind is REPO
    with pytest.raises(UsageError, match="is a path"):
        parse_reference("./gpt2", allow_local=False)


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "a/b/c",
        "a/../b",
        "..a",
        "org/na..me",
        "org/na--me",
        "-org/name",
        "org/name.",
        "org/name.git",
        "org name",
        " org/name",
        "org/name ",
        "org/na\u202eme",
        "org/name\n",
        "org/name\x00",
        "org/name\u200b",
        "org/näme",
        "文件夹",
        "x" * 97,
        "x" * 100_000,
        "org/name:",
        "org/name@",
        "org/name:Q4:Q8",
        "org/name@a@b",
        "org/name:Q4@a:Q8",
        "org/name:Q4/K",
        "org/name:../x",
        "org/name@../x",
        ":Q4_0",
        "@main",
        "hf://",
        "hf://org/name/../x",
        "hf://org/name//x",
        "hf://org/name/a\\b",
        "hf://spaces/org/name",
        "ftp://host/org/name",
        "file:///etc/passwd",
        "https://",
        "https:///org/name",
        "https://host",
        "https://host/",
        "https://host:99999/org/name",
        "https://host:x/org/name",
        "https://[::1/org/name",
        "https://ho st/org/name",
        "https://-host/org/name",
        f"{HF}/org/name/resolve/main/../../x",
        f"{HF}/org/name/resolve/main/..%2F..%2Fetc%2Fpasswd",
        f"{HF}/org/name/resolve/main/%00",
        f"{HF}/org/name/resolve/main/a%0Ab",
        f"{HF}/org/name/resolve/..%2Fmain/x",
        f"{HF}/org//name",
        f"{HF}/org/name/tree/main/onnx",
        f"{HF}/org/name/settings",
        f"{HF}/org/name@v1/tree/main",
        f"{HF}/spaces/org/name",
        f"{HF}/papers/2401.1",
        f"{HF}/org/name?show_file_info=../x",
        "~no-such-user-here/x",
    ],
)
def test_nonsense_is_refused_on_one_line(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_reference(text)
    assert caught.value.message.isprintable()
    assert len(caught.value.message) < 400


@pytest.mark.parametrize("userinfo", ["ada:hf_secret", "hf_secret"])
def test_credentials_in_an_address_are_refused_and_not_repeated(userinfo: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_reference(f"https://{userinfo}@huggingface.co/org/name")
    assert "hf_secret" not in f"{caught.value.message}{caught.value.hint}"
    assert "HF_TOKEN" in str(caught.value.hint)


def test_query_is_not_repeated_in_errors() -> None:
    with pytest.raises(UsageError) as caught:
        parse_reference(f"{HF}/a/b/c/d?token=hf_secret")
    assert "hf_secret" not in caught.value.message


@given(st.text(max_size=40))
@example("hf://a@/b")
@example("https://huggingface.co/api")
@example("hf.co/%2e%2e/%2e%2e")
def test_any_text_gives_a_sound_reference_or_usage_error(text: str) -> None:
    try:
        reference = parse_reference(text)
    except UsageError:
        return
    assert (reference.repo_id is None) == (reference.path is not None)
    assert reference.text == text
    for part in (reference.filename, reference.revision, reference.repo_id):
        assert part is None or ".." not in part.split("/")


@given(st.from_regex(r"(https?://h/|hf://)[a-z/:@%.2eF]{0,30}", fullmatch=True))
def test_any_address_gives_a_sound_repository_or_usage_error(text: str) -> None:
    try:
        reference = parse_reference(text)
    except UsageError:
        return
    assert reference.kind is REPO
    parts = (reference.filename or "x").split("/")
    assert not {"", ".", ".."} & set(parts)


def test_variant_in_a_folder_can_be_named_behind_its_path(tmp_path, monkeypatch):
    (tmp_path / "m-GGUF").mkdir()
    monkeypatch.chdir(tmp_path)
    reference = parse_reference("./m-GGUF:Q8_0")
    assert (reference.kind, reference.path, reference.quant) == (
        ReferenceKind.FOLDER,
        Path("m-GGUF"),
        "Q8_0",
    )
    assert parse_reference("./other:Q8_0").path == Path("other:Q8_0")


def test_folder_with_a_colon_in_its_name_is_itself(tmp_path, monkeypatch):
    (tmp_path / "m").mkdir()
    (tmp_path / "m:Q8_0").mkdir()
    monkeypatch.chdir(tmp_path)
    assert parse_reference("./m:Q8_0").quant is None
