"""`qtool repack` on damaged checkpoints and full disks: said clearly, and no file left."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from qtool.engines.repack.plan import plan_repack
from qtool.engines.repack.write import write_gguf
from qtool.errors import ResourceError
from qtool.models.formats import inspect_model
from tests.conftest import Run
from tests.download.small_disk import MountRefused, SmallDisk
from tests.unit.engines.repack.checkpoints import Model

UP = "model.layers.1.mlp.up_proj"
SHARD = "model-00002-of-00002.safetensors"


def nothing(model: Model) -> None:
    """Leave the model as it is."""


def set_scale_to_nan(model: Model) -> None:
    model.tensors[f"{UP}.scales"][1, 5] = np.nan


def drop_scales(model: Model) -> None:
    del model.tensors[f"{UP}.scales"]


def narrow_zeros(model: Model) -> None:
    model.tensors[f"{UP}.qzeros"] = np.ascontiguousarray(model.tensors[f"{UP}.qzeros"][:, 1:])


def truncate(shard: Path) -> None:
    shard.write_bytes(shard.read_bytes()[:-100])


def garble(shard: Path) -> None:
    shard.write_bytes(shard.read_bytes().replace(b'"dtype"', b'"dtypo"', 1))


def keep(shard: Path) -> None:
    """Leave the file as it is."""


@pytest.mark.parametrize(
    ("change", "damage", "exit_code", "message"),
    [
        (set_scale_to_nan, keep, 7, "up_proj: some scales are not finite"),
        (drop_scales, keep, 6, "no tensor model.layers.1.mlp.up_proj.scales"),
        (narrow_zeros, keep, 6, "qzeros has the shape"),
        (nothing, truncate, 6, f"{SHARD} is truncated: 100"),
        (nothing, garble, 6, SHARD),
        (nothing, Path.unlink, 6, "incomplete"),
    ],
)
def test_damage_is_named_and_leaves_no_file(
    tmp_path: Path,
    own_settings: Path,
    run_qtool: Run,
    change: Callable[[Model], None],
    damage: Callable[[Path], None],
    exit_code: int,
    message: str,
) -> None:
    model = Model()
    change(model)
    folder = model.write(tmp_path / "m", n_shards=2)
    damage(folder / SHARD)
    done = run_qtool("repack", str(folder))
    assert (done.returncode, done.stdout) == (exit_code, "")
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert list((own_settings / "cache").rglob("*.gguf*")) == []


def test_a_disk_that_fills_up_meanwhile_keeps_nothing(tmp_path: Path) -> None:
    plan = plan_repack(inspect_model(Model().write(tmp_path / "m")))
    (tmp_path / "disk").mkdir()
    try:
        with SmallDisk(tmp_path / "disk", 80 * 2**20) as disk:
            target = disk.path / "m.gguf"
            with pytest.raises(ResourceError, match="ran full"):
                write_gguf(plan, target, on_bytes=lambda n_bytes: disk.fill())
            assert [path.name for path in disk.path.iterdir()] == ["ballast"]
    except MountRefused as exc:
        pytest.skip(str(exc))
