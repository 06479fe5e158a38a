"""Where fgserve is."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

from .errors import StartError

#: The copy that a wheel carries.
CARRIED = Path(__file__).parent / "bin" / "fgserve"


def find_executable(given: str | os.PathLike[str] | None = None) -> str:
    """The path of fgserve: `given`, $FASTGEN_EXECUTABLE, the wheel's own copy, or the one in the PATH.

    Raises StartError if there is none, or if the file that was named cannot be run.
    """
    named = {"executable": given, "FASTGEN_EXECUTABLE": os.environ.get("FASTGEN_EXECUTABLE")}
    for source, path in named.items():
        if path:
            found = os.path.abspath(os.path.expanduser(path))
            if os.path.isfile(found) and os.access(found, os.X_OK):
                return found
            raise StartError(f"{source}: '{os.fspath(path)}' is no file that can be run; name the file fgserve")
    if os.access(CARRIED, os.X_OK):
        return str(CARRIED)
    in_path = shutil.which("fgserve")
    if in_path:
        return in_path
    raise StartError(
        "there is no fgserve: this installation of fastgen carries none, and none is in the PATH. Install a wheel made by "
        "`npm run wheel`, or set FASTGEN_EXECUTABLE to the file fgserve of a checkout"
    )


def run_tool() -> None:
    """The commands of a wheel, such as fgserve: its one file, called by the name of the command."""
    name = os.path.basename(sys.argv[0])
    os.execv(CARRIED, [name, *sys.argv[1:]])
