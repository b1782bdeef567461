"""A real Tollhouse in quick mode before a small shop, with some calls behind it: what its /metrics has, what its commands say."""
import http.server
import json
import os
import pathlib
import shutil
import subprocess
import tempfile
import threading
import time
import urllib.request

ORDER = {"id": "A-17", "customer_ref": "ann", "status": "paid", "placed_at": "2026-01-01T00:00:00Z", "email": "ann@shop.example",
         "total": {"value": "600.00", "currency": "USD"}, "refunded": {"value": "0.00", "currency": "USD"}, "disputed": False}


class Shop(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def answer(self, body):
        body = json.dumps(body).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        self.answer(ORDER)

    def do_POST(self):
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.answer({"id": "r-1", "order": "A-17", "status": "succeeded"})

    def log_message(self, *_):
        pass


def free_port():
    import socket
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


class Tollhouse:
    """`with Tollhouse(binary, pack) as t:` runs it, makes calls, and ends it."""

    def __init__(self, binary, pack):
        self.binary, self.pack = str(binary), str(pack)

    def __enter__(self):
        self.home = pathlib.Path(tempfile.mkdtemp())
        self.shop = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Shop)
        threading.Thread(target=self.shop.serve_forever, daemon=True).start()
        state, self.log = self.home / "state", open(self.home / "log", "w")
        self.port = free_port()
        contracts = self.home / "contracts.yaml"
        contracts.write_text("orders.refund.create: { cap: { auto: 100.00 USD, hard: 1000.00 USD }, duplicates: { alike: allow },"
                             " budget: { per: customer, within: 24h, amount: 300.00 USD, over: hold, alert: 10% } }\n")
        self.process = subprocess.Popen(
            [self.binary, "run", "--pack", self.pack, "--upstream", f"http://127.0.0.1:{self.shop.server_port}", "--secret", "env:SHOP_SECRET",
             "--contracts", str(contracts), "--listen", f"127.0.0.1:{self.port}", "--operator", "127.0.0.1:0", "--state", str(state)],
            env={**os.environ, "SHOP_SECRET": "x" * 20}, stdout=self.log, stderr=self.log)
        for _ in range(200):
            if (state / "operator.json").exists() and self.answers():
                break
            if self.process.poll() is not None:
                raise SystemExit("Tollhouse did not start:\n" + (self.home / "log").read_text())
            time.sleep(0.05)
        self.operator = json.loads((state / "operator.json").read_text())
        self.token = subprocess.run([self.binary, "token", "--agent", "support-bot", "--customer", "ann", "--state", str(state)],
                                    check=True, capture_output=True, text=True).stdout.strip()
        return self

    def answers(self):
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{self.port}/", timeout=1)
        except urllib.error.HTTPError:
            return True
        except OSError:
            return False
        return True

    def call(self, method, path, body=None, key=None):
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}{path}", method=method, data=body and json.dumps(body).encode(),
                                         headers={"Authorization": f"Bearer {self.token}", "Content-Type": "application/json", **({"Idempotency-Key": key} if key else {})})
        try:
            return urllib.request.urlopen(request, timeout=10).status
        except urllib.error.HTTPError as error:
            return error.code

    def metrics(self):
        return urllib.request.urlopen(self.operator["url"] + "/metrics", timeout=5).read().decode()

    def command(self, *args):
        env = {**os.environ, "TOLLHOUSE_OPERATOR": self.operator["url"], "TOLLHOUSE_OPERATOR_TOKEN": self.operator["token"]}
        return subprocess.run([self.binary, *args], env=env, capture_output=True, text=True, stdin=subprocess.DEVNULL)

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait(30)
        self.shop.shutdown()
        self.log.close()
        shutil.rmtree(self.home)
