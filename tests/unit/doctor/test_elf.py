"""The ELF reader against real shared objects, with nm as the oracle, and against damage."""

import shutil
import struct
import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qtool.doctor.probes.elf import ElfError, ElfFile
from qtool.doctor.probes.symbols import check_modules

pytestmark = pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler")

# Mangled names are plain C identifiers, so that a C compiler makes what a C++ one would.
EXPORTS = "int _ZN3c104cuda9SetDeviceEa(int x) { return x; }\nint _ZN2at4stayEv(void) { return 1; }"
MODULE = """
int _ZN3c104cuda9SetDeviceEi(int); int _ZN2at4stayEv(void);
int _ZN3c105maybeEv(void) __attribute__((weak));
int PyInit_module(void) {
    return _ZN3c104cuda9SetDeviceEi(1) + _ZN2at4stayEv() + (_ZN3c105maybeEv ? 1 : 0);
}
"""


def build(folder: Path, name: str, source: str, *flags: str) -> Path:
    path = folder / name
    folder.mkdir(parents=True, exist_ok=True)
    subprocess.run(
        ["cc", "-shared", "-fPIC", "-x", "c", "-o", path, "-", *flags],
        input=source.encode(),
        check=True,
    )
    return path


@pytest.fixture(scope="module")
def torch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site") / "torch"
    build(folder / "lib", "libc10.so", EXPORTS)
    return folder


@pytest.fixture(scope="module")
def module(torch: Path) -> Path:
    libraries = torch / "lib"
    return build(torch.parent, "module.so", MODULE, f"-L{libraries}", "-lc10", "-Wl,--no-as-needed")


def test_undefined_symbols_are_those_that_nm_sees(module: Path) -> None:
    listed = subprocess.run(["nm", "-D", module], capture_output=True, text=True, check=True)
    rows = [line.split() for line in listed.stdout.splitlines()]
    expected = {row[1].encode() for row in rows if row[0] == "U"}

    with ElfFile(module) as elf:
        found = set(elf.undefined(b""))

    assert {name for name in found if name.startswith(b"_ZN")} == {
        name for name in expected if name.startswith(b"_ZN")
    }
    assert b"_ZN3c105maybeEv" not in found


@pytest.mark.parametrize("style", ["gnu", "sysv", "both"])
def test_an_export_is_found_with_every_style_of_hash_table(tmp_path: Path, style: str) -> None:
    path = build(tmp_path, "lib.so", EXPORTS, f"-Wl,--hash-style={style}")

    with ElfFile(path) as elf:
        assert elf.defines(b"_ZN3c104cuda9SetDeviceEa")
        assert not elf.defines(b"_ZN3c104cuda9SetDeviceEi")


def test_the_symbol_that_torch_lost_is_named(module: Path, torch: Path) -> None:
    checked = check_modules({"module": module}, torch, [torch.parent], {})

    assert checked.missing_symbols == {"module": ("_ZN3c104cuda9SetDeviceEi",)}
    assert checked.missing_libraries == {}


def test_symbols_of_a_library_that_is_not_there_are_not_counted(tmp_path: Path) -> None:
    libraries = tmp_path / "torch/lib"
    cuda = build(libraries, "libc10_cuda.so", EXPORTS)
    source = (
        "int _ZN3c104cuda9SetDeviceEa(int); int f(void) { return _ZN3c104cuda9SetDeviceEa(1); }"
    )
    module = build(tmp_path, "module.so", source, f"-L{libraries}", "-lc10_cuda")
    cuda.unlink()

    checked = check_modules({"module": module}, tmp_path / "torch", [tmp_path], {})

    assert checked.missing_symbols == {"module": ()}
    assert checked.missing_libraries == {"module": ("libc10_cuda.so",)}


def test_a_damaged_module_is_unknown(module: Path, torch: Path, tmp_path: Path) -> None:
    damaged = tmp_path / "damaged.so"
    damaged.write_bytes(module.read_bytes()[:300])

    checked = check_modules({"damaged": damaged}, torch, [torch.parent], {})

    assert checked.missing_symbols == {}


def test_a_damaged_library_makes_no_module_guilty(module: Path, tmp_path: Path) -> None:
    library = tmp_path / "torch/lib/libc10.so"
    library.parent.mkdir(parents=True)
    library.write_bytes(b"\x7fELF\x02\x01 but no more")

    checked = check_modules({"module": module}, tmp_path / "torch", [tmp_path], {})

    assert checked.missing_symbols == {}


@pytest.mark.parametrize("content", [b"", b"\x7fELF", b"MZ" + b"\0" * 100, b"\x7fELF\x01\x01" * 99])
def test_what_is_no_elf_file_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "x.so"
    path.write_bytes(content)

    with pytest.raises(ElfError), ElfFile(path) as elf:
        elf.needed()


@settings(max_examples=150)
@given(changes=st.lists(st.tuples(st.integers(0, 4000), st.integers(0, 255)), max_size=12),
       length=st.integers(0, 20_000))  # fmt: skip
def test_damage_gives_an_elf_error_or_an_answer(
    module: Path, changes: list[tuple[int, int]], length: int
) -> None:
    data = bytearray(module.read_bytes()[:length])
    for offset, byte in changes:
        if offset < len(data):
            data[offset] = byte
    path = module.with_name("damaged.so")
    path.write_bytes(data)

    try:
        with ElfFile(path) as elf:
            elf.needed(), elf.search_path(), list(elf.undefined(b"_Z")), elf.defines(b"f")
    except ElfError:
        pass


def test_segments_far_beyond_the_file_are_refused(module: Path, tmp_path: Path) -> None:
    data = bytearray(module.read_bytes())
    (table,) = struct.unpack_from("<Q", data, 32)
    (count,) = struct.unpack_from("<H", data, 56)
    for header in range(table, table + 56 * count, 56):
        if struct.unpack_from("<I", data, header) == (1,):  # PT_LOAD: where in the file it begins
            struct.pack_into("<Q", data, header + 8, 2**63)
    path = tmp_path / "far.so"
    path.write_bytes(data)

    with pytest.raises(ElfError), ElfFile(path) as elf:
        elf.needed()
