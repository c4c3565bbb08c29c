"""Tiny wheels, made on the spot, and the variables that make pip and uv look nowhere else."""

import zipfile
from collections.abc import Mapping
from pathlib import Path

FAKE_XLLAMACPP = """
import http.server, threading, types
class CommonParams(types.SimpleNamespace):
    def __init__(self):
        super().__init__(model=types.SimpleNamespace(path=None))
class Handler(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        body = b'{"tokens_predicted": 8}'
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
class Server:
    def __init__(self, params):
        assert open(params.model.path, "rb").read(4) == b"GGUF"
        server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        self.listening_address = "http://127.0.0.1:%d" % server.server_port
"""
"""Answers the recipe's probe as llama.cpp's server would."""


def make_wheel(
    folder: Path,
    name: str,
    version: str,
    source: str = "",
    requires: tuple[str, ...] = (),
    package: Mapping[str, str] | None = None,
) -> Path:
    """Write a wheel with one module (or the files of a package) of that name; return its path."""
    folder.mkdir(parents=True, exist_ok=True)
    module = name.replace("-", "_")
    info = f"{module}-{version}.dist-info"
    metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
    metadata += "".join(f"Requires-Dist: {one}\n" for one in requires)
    tags = "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    files = {f"{module}/{one}": text for one, text in (package or {}).items()}
    files = files or {f"{module}.py": source}
    files |= {f"{info}/METADATA": metadata, f"{info}/WHEEL": tags}
    files[f"{info}/RECORD"] = "".join(f"{one},,\n" for one in (*files, f"{info}/RECORD"))
    path = folder / f"{module}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as wheel:
        for one, text in files.items():
            wheel.writestr(one, text)
    return path


def only_from(folder: Path) -> dict[str, str]:
    """Return the variables that make both installers look into ``folder`` and nowhere else."""
    return {
        "PIP_NO_INDEX": "1",
        "PIP_FIND_LINKS": str(folder),
        "PIP_CONFIG_FILE": "/dev/null",
        "UV_NO_INDEX": "1",
        "UV_FIND_LINKS": str(folder),
        "UV_OFFLINE": "1",
    }
