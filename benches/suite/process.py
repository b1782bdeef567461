"""One process that is measured: where it runs, what it spends, what it holds."""

import os
import pathlib
import re
import select
import signal
import socket
import subprocess
import sys
import time

TICK = os.sysconf("SC_CLK_TCK")
CORES = sorted(os.sched_getaffinity(0))
# Whatever is measured has the first core to itself; load, upstream and Redis share the others.
SERVER_CORES = CORES[:1]
OTHER_CORES = CORES[1:] or CORES
RUNNING = []


class TooSlow(Exception):
    """A process that was not ready in time."""


class Process:
    """A child that ends with us."""

    def __init__(self, name, words, cores=None, env=None, cwd=None, log=None):
        self.name = name
        self.log = log
        cores = SERVER_CORES if cores is None else cores
        err = open(log, "ab") if log else subprocess.DEVNULL
        begun = time.monotonic()
        self.child = subprocess.Popen(
            [str(word) for word in words], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=err, text=True,
            env={**os.environ, **(env or {})}, cwd=cwd, preexec_fn=lambda: os.sched_setaffinity(0, cores))
        self.begun = begun
        self.lines = []
        RUNNING.append(self)

    @property
    def pid(self):
        return self.child.pid

    def line(self, start="", patience=60):
        """What follows `start` on the first line of its output that begins so."""
        end = time.monotonic() + patience
        while True:
            # One line is one write of ours: nothing stays behind in a buffer.
            if not self.lines and not select.select([self.child.stdout], [], [], max(0, end - time.monotonic()))[0]:
                raise TooSlow(f"{self.name} did not say `{start}` within {patience} s")
            text = self.child.stdout.readline()
            if not text:
                sys.exit(f"{self.name} ended before it said `{start}`{self.why()}")
            self.lines.append(text.strip())
            if text.startswith(start):
                return text[len(start):].strip()

    def why(self):
        if not self.log:
            return ""
        return ":\n" + pathlib.Path(self.log).read_text(errors="replace")[-2000:]

    def wait_for(self, port, patience=20):
        end = time.monotonic() + patience
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
                return
            except OSError:
                if self.child.poll() is not None or time.monotonic() > end:
                    sys.exit(f"{self.name} does not listen on port {port}{self.why()}")
                time.sleep(0.01)

    def cpu_ns(self):
        """CPU time of all its threads, by the scheduler's own clock."""
        spent = 0
        for task in pathlib.Path(f"/proc/{self.pid}/task").iterdir():
            try:
                spent += int((task / "schedstat").read_text().split()[0])
            except (FileNotFoundError, ProcessLookupError):
                pass
        return spent

    def memory_mib(self):
        status = pathlib.Path(f"/proc/{self.pid}/status").read_text()
        of = lambda name: int(re.search(rf"{name}:\s+(\d+)", status)[1]) / 1024
        return {"resident": of("VmRSS"), "peak": of("VmHWM")}

    def pause(self):
        self.child.send_signal(signal.SIGSTOP)

    def go_on(self):
        self.child.send_signal(signal.SIGCONT)

    def stop(self, patience=10):
        if self in RUNNING:
            RUNNING.remove(self)
        if self.child.poll() is None:
            self.go_on()
            self.child.terminate()
            try:
                self.child.wait(patience)
            except subprocess.TimeoutExpired:
                self.child.kill()
                self.child.wait()
        self.child.stdout.close()


def stop_all():
    for process in reversed(list(RUNNING)):
        process.stop(patience=3)


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def machine():
    """What this ran on: no name of it, no path on it."""
    cpu = pathlib.Path("/proc/cpuinfo").read_text()
    model = re.search(r"model name\s*:\s*(.+)", cpu)
    memory = re.search(r"MemTotal:\s+(\d+)", pathlib.Path("/proc/meminfo").read_text())
    flags = re.search(r"flags\s*:\s*(.+)", cpu)
    virtual = bool(flags and " hypervisor" in f" {flags[1]}")
    return {
        "cpu": model[1].strip() if model else "unknown", "cores": len(CORES), "virtual": virtual,
        "kernel": ".".join(os.uname().release.split(".")[:2]), "memory_gib": round(int(memory[1]) / 1024**2, 1),
        "load_at_start": os.getloadavg()[0], "date": time.strftime("%Y-%m-%d"),
    }
