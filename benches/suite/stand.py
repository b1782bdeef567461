"""What stands around a measurement: the upstream, Tollhouse from `stand.yaml`, Redis."""

import json
import pathlib
import re
import subprocess
import time
import urllib.request

from . import need
from .process import OTHER_CORES, Process, free_port

OPERATOR = "an-operator-token-of-some-length"
# 32 bytes, for a store that lives as long as the measurement.
SEAL = "BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc="


def upstream():
    """The upstream and its address."""
    process = Process("upstream", [need.example("traffic"), "upstream", "127.0.0.1:0"], cores=OTHER_CORES)
    return process, process.line()


def tokens(home, count):
    """Tokens of `count` customers, and the key that they were signed with."""
    home.mkdir(parents=True, exist_ok=True)
    subprocess.run([need.example("traffic"), "tokens", home, str(count)], check=True)
    return home / "tokens"


def redis(home):
    """A Redis that forgets nothing that a second has passed over, as docs/redis.md has it."""
    port = free_port()
    words = [need.program("redis-server", "redis-server"), "--port", port, "--bind", "127.0.0.1", "--dir", home, "--save", "",
             "--appendonly", "yes", "--appendfsync", "everysec", "--maxmemory-policy", "noeviction"]
    process = Process("redis", words, cores=OTHER_CORES, log=home / "redis.log")
    process.wait_for(port)
    return process, f"127.0.0.1:{port}"


class Tollhouse(Process):
    """Tollhouse before `upstream`, on a store of its own."""

    def __init__(self, home, upstream, redis=None, change=lambda text: text, name="tollhouse"):
        home.mkdir(parents=True, exist_ok=True)
        keys = home.parent / "keys"
        for file in ("jwks.json",):
            (home / file).write_bytes((keys / file).read_bytes())
        (home / "ops-token").write_text(OPERATOR)
        (home / "vendor-key").write_text("sk_test_of_the_bench")
        (home / "seal.key").write_text(SEAL)
        store = f"{{ url: \"redis://{redis}/0\", encryption_key: file:seal.key }}" if redis else "embedded:store"
        text = (need.BENCHES / "stand.yaml").read_text().replace("STORE", store).replace("UPSTREAM", f"http://{upstream}")
        if redis:
            text = text.replace("version: 1", f"version: 1\nfleet: bench-{home.name}")
        (home / "tollhouse.yaml").write_text(change(text))
        words = [need.tollhouse(), "run", "--config", "tollhouse.yaml", "--init-store"]
        super().__init__(name, words, cwd=home, log=home / "log")
        self.at = re.sub("/.*", "", self.line("agents").split()[0].removeprefix("http://"))
        self.console = self.line("console").strip()
        self.ready_ms = (time.monotonic() - self.begun) * 1000

    def metrics(self):
        """What it counts of itself, by name and labels."""
        text = urllib.request.urlopen(f"{self.console}/metrics", timeout=10).read().decode()
        found = {}
        for line in text.splitlines():
            if line and not line.startswith("#"):
                name, value = line.rsplit(" ", 1)
                found[name] = float(value)
        return found


def stages(before, after):
    """Means in microseconds between two looks at the metrics: the store by operation, the upstream."""
    told = {}
    for name, value in after.items():
        match = re.match(r"tollhouse_(store|upstream)_duration_seconds_sum\{(.*)\}", name)
        if not match:
            continue
        count = name.replace("_sum{", "_count{")
        calls = after[count] - before.get(count, 0)
        if calls:
            label = re.search(r'(?:op|upstream)="([^"]+)"', match[2])
            told[f"{match[1]} {label[1]}"] = (value - before.get(name, 0)) / calls * 1e6
    return told


def fsync_us(home, times=200):
    """The median of one small append that is synced."""
    import os
    from .load import median
    path = pathlib.Path(home) / "synced"
    file = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_APPEND)
    spans = []
    for _ in range(times):
        begin = time.perf_counter()
        os.write(file, b"x" * 700)
        os.fdatasync(file)
        spans.append((time.perf_counter() - begin) * 1e6)
    os.close(file)
    path.unlink()
    return median(spans)


def versions():
    """Which of each was measured."""
    first = lambda words: (subprocess.run(words, capture_output=True, text=True).stdout
                           + subprocess.run(words, capture_output=True, text=True).stderr).strip().splitlines()[0]
    return {
        "nginx": first([need.program("nginx", "nginx"), "-v"]).split("/")[-1],
        "haproxy": first([need.program("haproxy", "haproxy"), "-v"]).split()[2],
        "envoy": need.ENVOY.split("==")[1],
        "pingora": re.search(r'name = "pingora"\nversion = "([^"]+)"', (need.ROOT / "Cargo.lock").read_text())[1],
        "rustc": first(["rustc", "--version"]).split()[1],
    }


def pretty(found):
    return json.dumps(found, indent=1)
