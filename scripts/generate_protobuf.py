"""Generate wire/gen from proto/ (run by `make proto`).

protoc writes imports that follow the .proto paths (`from gaugeway...`), which
would collide with the package `gaugeway`; they are rewritten to `wire.gen`.
"""

from __future__ import annotations

import re
import sys
from importlib.resources import files
from pathlib import Path

from grpc_tools import protoc

ROOT = Path(__file__).resolve().parent.parent
SOURCES = ROOT / "proto"


def generate(out: Path) -> None:
    """Write the Python modules and stubs of every .proto below proto/ into `out`."""
    out.mkdir(parents=True, exist_ok=True)
    well_known = str(files("grpc_tools") / "_proto")
    protos = sorted(str(path.relative_to(SOURCES)) for path in SOURCES.rglob("*.proto"))
    arguments = ["protoc", f"-I{SOURCES}", f"-I{well_known}", f"--python_out={out}", f"--pyi_out={out}"]
    if protoc.main([*arguments, *protos]) != 0:
        raise SystemExit("protoc failed: its message is above")
    for module in [*out.rglob("*_pb2.py"), *out.rglob("*_pb2.pyi")]:
        text = module.read_text()
        module.write_text(re.sub(r"^from gaugeway\.", "from wire.gen.gaugeway.", text, flags=re.MULTILINE))
    for folder in [out, *(path for path in out.rglob("*") if path.is_dir())]:
        if folder.name != "__pycache__":
            (folder / "__init__.py").touch()


if __name__ == "__main__":
    generate(Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "wire" / "gen")
