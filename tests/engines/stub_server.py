"""Stands for llama-server, llama_cpp.server and vLLM: loads for a moment, then serves.

Writes its arguments and what it was given as key to ``$STUB_REPORT``. With ``--stub-fail`` it ends
with a message; with ``--stub-child`` it starts a process of its own, as vLLM does.
"""

import http.server
import json
import os
import subprocess
import sys
import threading
import time

KEY_VARIABLES = ("LLAMA_API_KEY", "VLLM_API_KEY", "API_KEY")
LOADING_S = 0.4


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        is_ready = time.monotonic() - self.server.began_at > LOADING_S
        status = 200 if is_ready else 503
        if self.path != "/health" and self.headers["Authorization"] != f"Bearer {self.server.key}":
            status = 401
        body = json.dumps({"data": [{"id": "stub"}]}).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments: object) -> None:
        pass


def main() -> None:
    arguments = sys.argv[1:]
    if "--stub-fail" in arguments:
        sys.exit("CUDA error: out of memory")
    child = None
    if "--stub-child" in arguments:
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"]).pid
    given = {name: os.environ[name] for name in KEY_VARIABLES if name in os.environ}
    report = {"argv": arguments, "keys": given, "pid": os.getpid(), "child": child}
    with open(os.environ["STUB_REPORT"], "w", encoding="utf-8") as file:
        json.dump(report, file)
    print("a line of chatter on stdout", flush=True)
    port = int(arguments[arguments.index("--port") + 1])
    server = http.server.ThreadingHTTPServer(("127.0.0.1", port), Handler)
    server.key, server.began_at = next(iter(given.values()), ""), time.monotonic()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    time.sleep(120)


if __name__ == "__main__":
    main()
