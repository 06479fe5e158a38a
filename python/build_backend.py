"""Builds the package, as pip asks for it (PEP 517), with nothing but Python itself.

Where fgserve has been built, the wheel carries it, and its platform is the one that fgserve needs. Where it has not been, the
wheel is pure Python and finds an fgserve elsewhere. `python3 build_backend.py FOLDER` builds a wheel with fgserve into FOLDER.
"""

from __future__ import annotations

import base64
import hashlib
import json
import mmap
import re
import sys
import zipfile
from pathlib import Path
from typing import Any, Iterator

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
EXECUTABLE = ROOT / "fgserve"

#: What the executable is made of, by whom, and how it may be used.
LICENSES = {"LICENSE": ROOT / "LICENSE", "llguidance/LICENSE": ROOT / "llguidance" / "LICENSE"}
LICENSES["llguidance/LICENSES.md"] = ROOT / "llguidance" / "LICENSES.md"

#: zip knows no time before 1980; one time for all files makes equal wheels of equal files.
EPOCH = (1980, 1, 1, 0, 0, 0)


def build_wheel(wheel_directory: str, config_settings: Any = None, metadata_directory: Any = None) -> str:
    """PEP 517: writes the wheel into a folder and returns its name."""
    carries = EXECUTABLE.exists()
    version = json.loads((ROOT / "package.json").read_text())["version"]
    tag = f"py3-none-{platform_tag(EXECUTABLE)}" if carries else "py3-none-any"
    name = f"fastgen-{version}-{tag}.whl"
    info = f"fastgen-{version}.dist-info"
    record: list[str] = []
    with zipfile.ZipFile(Path(wheel_directory, name), "w", zipfile.ZIP_DEFLATED, compresslevel=6) as wheel:
        for path, content, mode in files(carries, info, version, tag):
            entry = zipfile.ZipInfo(path, EPOCH)
            entry.external_attr = (0o100000 | mode) << 16
            entry.compress_type = zipfile.ZIP_DEFLATED
            wheel.writestr(entry, content)
            digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
            record.append(f"{path},sha256={digest},{len(content)}\n")
        record.append(f"{info}/RECORD,,\n")
        wheel.writestr(zipfile.ZipInfo(f"{info}/RECORD", EPOCH), "".join(record))
    return name


def files(carries: bool, info: str, version: str, tag: str) -> Iterator[tuple[str, bytes, int]]:
    """The wheel's files but the last: path, content and mode."""
    for file in sorted((HERE / "fastgen").iterdir()):
        if file.is_file():
            yield f"fastgen/{file.name}", file.read_bytes(), 0o644
    if carries:
        yield "fastgen/bin/fgserve", EXECUTABLE.read_bytes(), 0o755
        # One file under several names: each command runs it by its own.
        lines = "".join(f"{command} = fastgen.executable:run_tool\n" for command in commands())
        yield f"{info}/entry_points.txt", f"[console_scripts]\n{lines}".encode(), 0o644
    for path, file in LICENSES.items():
        yield f"{info}/licenses/{path}", file.read_bytes(), 0o644
    yield f"{info}/METADATA", metadata(version).encode(), 0o644
    wheel = f"Wheel-Version: 1.0\nGenerator: fastgen\nRoot-Is-Purelib: {str(not carries).lower()}\nTag: {tag}\n"
    yield f"{info}/WHEEL", wheel.encode(), 0o644


def commands() -> list[str]:
    """The executable's names, as the set-up links them."""
    found = re.search(r"^const executables = (\[.*\]);$", (ROOT / "scripts" / "setup.mjs").read_text(), re.MULTILINE)
    assert found is not None, "scripts/setup.mjs: executables must be a list on one line"
    names: list[str] = json.loads(found[1])
    return names


def metadata(version: str) -> str:
    """METADATA, of what pyproject.toml says in a form that this can read."""
    project = (HERE / "pyproject.toml").read_text()

    def said(key: str) -> str:
        found = re.search(rf'^{key} = "(.*)"$', project, re.MULTILINE)
        assert found is not None, f"pyproject.toml: {key} must be one text on one line"
        return found[1]

    def listed(key: str) -> list[str]:
        found = re.search(rf"^{key} = (\[.*\])$", project, re.MULTILINE)
        assert found is not None, f"pyproject.toml: {key} must be a list on one line"
        names: list[str] = json.loads(found[1])
        return names

    lines = [
        "Metadata-Version: 2.4",
        "Name: fastgen",
        f"Version: {version}",
        f"Summary: {said('description')}",
        f"License-Expression: {said('license')}",
        *(f"License-File: {path}" for path in LICENSES),
        f"Requires-Python: {said('requires-python')}",
        *(f"Requires-Dist: {dependency}" for dependency in listed("dependencies")),
        "Provides-Extra: ray",
        *(f"Requires-Dist: {dependency}; extra == 'ray'" for dependency in listed("ray")),
        "Description-Content-Type: text/markdown",
    ]
    return "\n".join(lines) + "\n\n" + (HERE / "README.md").read_text()


def platform_tag(executable: Path) -> str:
    """manylinux of the newest glibc symbol that the executable, or a library that it carries, asks for."""
    with executable.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        machine = int.from_bytes(content[18:20], "little")
        minors = [int(found[1]) for found in re.finditer(rb"\0GLIBC_2\.(\d+)(?:\.\d+)?(?=\0)", content)]
    assert machine == 62 and minors, f"{executable} is no Linux executable for x86-64"
    return f"manylinux_2_{max(minors)}_x86_64"


if __name__ == "__main__":
    if not EXECUTABLE.exists():
        sys.exit("error: there is no ./fgserve to carry: run npm run build first")
    target = Path(sys.argv[1] if len(sys.argv) > 1 else ".")
    target.mkdir(parents=True, exist_ok=True)
    print(target / build_wheel(str(target)))
