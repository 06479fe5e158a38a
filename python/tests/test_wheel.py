"""The wheel: what it holds, by pip's own rules. scripts/test-python.sh installs the real one."""

from __future__ import annotations

import base64
import csv
import email
import hashlib
import stat
import zipfile
from pathlib import Path

import build_backend
import pytest


def fake_elf(symbols: list[bytes], machine: int = 62) -> bytes:
    return b"\x7fELF".ljust(18, b"\0") + machine.to_bytes(2, "little") + b"\0" + b"\0".join([*symbols, b""])


@pytest.fixture(params=["carries fgserve", "pure"])
def wheel(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> zipfile.ZipFile:
    monkeypatch.setattr(build_backend, "EXECUTABLE", tmp_path / "fgserve")
    if request.param != "pure":
        content = fake_elf([b"GLIBC_2.2.5", b"GLIBC_2.34", b"GLIBC_2.9", b"GLIBCXX_3.4.99"])
        (tmp_path / "fgserve").write_bytes(content)
    name = build_backend.build_wheel(str(tmp_path))
    tag = "any" if request.param == "pure" else "manylinux_2_34_x86_64"
    assert name.startswith("fastgen-") and name.endswith(f"-py3-none-{tag}.whl")
    return zipfile.ZipFile(tmp_path / name)


def test_the_record_has_every_file_with_its_hash(wheel: zipfile.ZipFile) -> None:
    (record,) = (name for name in wheel.namelist() if name.endswith("/RECORD"))
    rows = {name: (digest, size) for name, digest, size in csv.reader(wheel.read(record).decode().splitlines())}
    assert sorted(rows) == sorted(wheel.namelist())
    assert rows.pop(record) == ("", "")
    for name, row in rows.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(wheel.read(name)).digest()).rstrip(b"=").decode()
        assert row == (f"sha256={digest}", str(len(wheel.read(name))))


def test_it_has_the_package_its_licences_and_its_metadata(wheel: zipfile.ZipFile) -> None:
    names = set(wheel.namelist())
    sources = {f"fastgen/{file.name}" for file in (build_backend.HERE / "fastgen").glob("*.py")}
    assert sources | {"fastgen/py.typed"} <= names
    (info,) = (name for name in names if name.endswith("/METADATA"))
    metadata = email.message_from_bytes(wheel.read(info))
    assert (metadata["Name"], metadata["License-Expression"]) == ("fastgen", "BSD-3-Clause")
    assert metadata.get_all("Requires-Dist") == ["httpx>=0.27", "ray[data,serve]>=2.60; extra == 'ray'"]
    assert metadata.get_all("Provides-Extra") == ["ray"]
    folder = info.removesuffix("METADATA")
    for path in metadata.get_all("License-File") or pytest.fail("no licences"):
        assert len(wheel.read(f"{folder}licenses/{path}")) > 500


def test_only_a_wheel_with_fgserve_has_its_commands(wheel: zipfile.ZipFile) -> None:
    names = wheel.namelist()
    commands = [name for name in names if name.endswith("/entry_points.txt")]
    (tag,) = (name for name in names if name.endswith("/WHEEL"))
    if "fastgen/bin/fgserve" in names:
        assert stat.S_IMODE(wheel.getinfo("fastgen/bin/fgserve").external_attr >> 16) == 0o755
        assert b"\nfgserve = fastgen.executable:run_tool\nfgchat = fastgen" in wheel.read(commands[0])
        assert b"Root-Is-Purelib: false\nTag: py3-none-manylinux_2_34_x86_64\n" in wheel.read(tag)
    else:
        # A command without a file of its own would find itself in the PATH.
        assert commands == []
        assert b"Root-Is-Purelib: true\nTag: py3-none-any\n" in wheel.read(tag)


def test_equal_files_make_equal_wheels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build_backend, "EXECUTABLE", tmp_path / "none")
    folders = [tmp_path / "a", tmp_path / "b"]
    for folder in folders:
        folder.mkdir()
    one, other = ((folder / build_backend.build_wheel(str(folder))).read_bytes() for folder in folders)
    assert one == other


def test_an_executable_of_another_machine_is_refused(tmp_path: Path) -> None:
    arm = tmp_path / "fgserve"
    arm.write_bytes(fake_elf([b"GLIBC_2.34"], machine=183))
    with pytest.raises(AssertionError, match="x86-64"):
        build_backend.platform_tag(arm)
