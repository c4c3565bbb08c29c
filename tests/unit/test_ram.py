import os
from pathlib import Path

from qtool.ram import Ram, read_ram

MIB = 2**20


def meminfo(folder: Path, total_mib: int = 8192, available_mib: int = 6000) -> Path:
    path = folder / "meminfo"
    lines = f"MemTotal:  {total_mib * 1024} kB\nMemAvailable:    {available_mib * 1024} kB\n"
    path.write_text(lines)
    return path


def cgroup(folder: Path, **numbers: object) -> Path:
    for name, value in numbers.items():
        (folder / name.replace("_", ".")).write_text(f"{value}\n")
    return folder


def test_memory_is_what_the_kernel_says(tmp_path: Path):
    ram = read_ram(meminfo(tmp_path), tmp_path / "none")
    assert ram == Ram(8192 * MIB, 6000 * MIB)


def test_limit_of_a_container_counts_without_its_file_cache(tmp_path: Path):
    group = cgroup(
        tmp_path,
        memory_max=1000 * MIB,
        memory_current=700 * MIB,
        memory_stat=f"anon 1\ninactive_file {200 * MIB}",
    )
    assert read_ram(meminfo(tmp_path), group) == Ram(1000 * MIB, 500 * MIB)


def test_limit_of_a_container_beyond_the_machine_does_not_count(tmp_path: Path):
    assert read_ram(meminfo(tmp_path), cgroup(tmp_path, memory_max="max")).total_bytes == 8192 * MIB
    group = cgroup(tmp_path, memory_max=2**62)
    assert read_ram(meminfo(tmp_path), group) == Ram(8192 * MIB, 6000 * MIB)


def test_machine_without_meminfo_still_has_a_size(tmp_path: Path):
    physical = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    assert read_ram(tmp_path / "none", tmp_path) == Ram(physical, None)


def test_this_machine_has_memory():
    ram = read_ram()
    assert ram.total_bytes is not None
    assert ram.available_bytes is not None
    assert 0 < ram.available_bytes <= ram.total_bytes
