#!/usr/bin/env python3
"""What does a judged read cost? CPU per request of Tollhouse beside the bare body-first pingora app.

usage: benches/read_cost.py [--rounds 8] [--seconds 2]

Needs `cargo build --release --bin tollhouse --example bare`, and nginx and wrk from Debian. Both
servers stand before the same nginx, which answers 1 KiB of JSON; rounds are interleaved, CPU is each
process's own accounting (/proc/PID/stat), medians are compared. Prints a table, and one JSON line.
"""

import argparse
import json
import os
import pathlib
import re
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
RELEASE = ROOT / "target/release"
TICK = os.sysconf("SC_CLK_TCK")


def need(program, package):
    path = shutil.which(program) or shutil.which(program, path="/usr/sbin")
    if not path:
        sys.exit(f"{program} is missing: apt-get install {package}")
    return path


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def wait_for(port):
    end = time.time() + 20
    while True:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
            return
        except OSError:
            if time.time() > end:
                sys.exit(f"nothing listens on port {port}")
            time.sleep(0.02)


def cpu_seconds(pid):
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICK


def resident_mib(pid):
    status = pathlib.Path(f"/proc/{pid}/status").read_text()
    return int(re.search(r"VmRSS:\s+(\d+)", status)[1]) / 1024


def upstream(home):
    port = free_port()
    body = json.dumps({"id": "ch_1", "object": "charge", "customer": "cus_1", "amount": 5000, "fill": "x" * 930})
    conf = home / "nginx.conf"
    conf.write_text(
        f"daemon off; worker_processes 1; pid {home}/nginx.pid; error_log /dev/null;\n"
        "events { worker_connections 4096; }\n"
        "http { access_log off; keepalive_requests 10000000; server { "
        f"listen 127.0.0.1:{port} backlog=4096; default_type application/json; location / {{ return 200 '{body}'; }} }} }}\n"
    )
    process = subprocess.Popen([need("nginx", "nginx"), "-p", str(home), "-c", str(conf)])
    wait_for(port)
    return process, port


def start_tollhouse(home, port):
    state = home / "state"
    env = {**os.environ, "VENDOR_KEY": "sk_test_bench"}
    words = ["run", "--pack", "stripe", "--upstream", f"http://127.0.0.1:{port}", "--secret", "env:VENDOR_KEY"]
    words += ["--listen", "127.0.0.1:0", "--operator", "127.0.0.1:0", "--state", str(state)]
    begin = time.time()
    process = subprocess.Popen([RELEASE / "tollhouse", *words], env=env, stdout=subprocess.PIPE, text=True)
    for line in process.stdout:
        if line.startswith("agents"):
            url = line.split()[1]
            break
    ready_ms = (time.time() - begin) * 1000
    token = subprocess.run(
        [RELEASE / "tollhouse", "token", "--agent", "bench", "--customer", "u", "--account", "cus_1", "--state", state],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()
    return process, url, token, ready_ms


def load(url, token, seconds):
    words = [need("wrk", "wrk"), "-t1", "-c32", f"-d{seconds}s", "--latency", "-H", f"Authorization: Bearer {token}", url]
    text = subprocess.run(words, capture_output=True, text=True, check=True).stdout
    if "Non-2xx" in text:
        sys.exit(f"not every answer was 200:\n{text}")
    return int(re.search(r"(\d+) requests in", text)[1])


def open_connections(url, token, count):
    host, port = url.removeprefix("http://").split(":")
    opened = []
    for _ in range(count):
        s = socket.create_connection((host, int(port)))
        s.sendall(f"GET /v1/charges/ch_1 HTTP/1.1\r\nHost: {host}:{port}\r\nAuthorization: Bearer {token}\r\n\r\n".encode())
        opened.append(s)
    for s in opened:
        s.recv(4096)
    return opened


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--seconds", type=int, default=2)
    args = parser.parse_args()
    processes = []
    with tempfile.TemporaryDirectory() as home:
        home = pathlib.Path(home)
        try:
            nginx, port = upstream(home)
            processes.append(nginx)
            toll, toll_url, token, ready_ms = start_tollhouse(home, port)
            processes.append(toll)
            idle = resident_mib(toll.pid)
            bare = subprocess.Popen(
                [RELEASE / "examples/bare", "127.0.0.1:0", f"http://127.0.0.1:{port}"], stdout=subprocess.PIPE, text=True
            )
            processes.append(bare)
            bare_url = bare.stdout.readline().split()[-1]
            if not bare_url.startswith("http"):
                bare_url = f"http://{bare_url}"
            opened = open_connections(toll_url, token, 1000)
            busy = resident_mib(toll.pid)
            for s in opened:
                s.close()
            cost = {"bare": [], "tollhouse": []}
            for _ in range(args.rounds):
                for name, process, url in (("bare", bare, bare_url), ("tollhouse", toll, toll_url)):
                    before = cpu_seconds(process.pid)
                    requests = load(f"{url}/v1/charges/ch_1", token, args.seconds)
                    cost[name].append((cpu_seconds(process.pid) - before) / requests * 1e6)
            median = {name: statistics.median(values) for name, values in cost.items()}
            ratio = statistics.median(t / b for t, b in zip(cost["tollhouse"], cost["bare"]))
            print(f"{'':<12}{'CPU us/request':>16}{'lowest':>10}{'highest':>10}")
            for name, values in cost.items():
                print(f"{name:<12}{median[name]:>16.1f}{min(values):>10.1f}{max(values):>10.1f}")
            print(f"ratio {ratio:.2f} (owned read, 1 KiB, 32 connections, {args.rounds} rounds of {args.seconds} s)")
            print(f"resident: idle {idle:.1f} MiB, 1,000 connections {busy:.1f} MiB; start to ready {ready_ms:.0f} ms")
            print(json.dumps({"median_us": median, "ratio": ratio, "idle_mib": idle, "busy_mib": busy, "ready_ms": ready_ms}))
        finally:
            for process in reversed(processes):
                process.terminate()
                process.wait()


main()
