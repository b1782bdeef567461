#!/usr/bin/env python3
"""Is the image what the Dockerfile says? `image.py BINARY`, run by deploy/check as root.

No registry is needed: what `.dockerignore` lets through is laid out in a clean folder, the Dockerfile's own RUN lines run there (all but
apt-get and cargo build, in whose place BINARY stands), the final stage is built by buildah from their result, looked at, and run as its
own user on a read-only root. Prints size and start-up time. Does not build Rust."""
import json
import os
import pathlib
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import tomllib
import urllib.request

from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

here = pathlib.Path(__file__).resolve().parent
root = here.parent.parent
binary = pathlib.Path(sys.argv[1]).resolve()
home = pathlib.Path(tempfile.mkdtemp())
buildah = ["buildah", "--root", home / "storage", "--runroot", home / "run", "--storage-driver", "vfs"]
faults = []


def fault(text):
    faults.append(text)
    print(f"image: {text}", file=sys.stderr)


def run(*args, **kw):
    done = subprocess.run([str(a) for a in args], capture_output=True, text=True, **kw)
    if done.returncode:
        sys.exit(f"image: {' '.join(map(str, args))}:\n{done.stdout}{done.stderr}")
    return done.stdout


def build(dockerfile, context, tag):
    (home / "Dockerfile").write_text(dockerfile)
    run(*buildah, "bud", "--isolation", "chroot", "--pull-never", "-f", home / "Dockerfile", "-t", tag, context)
    container = run(*buildah, "from", "--pull-never", tag).strip()
    return container, pathlib.Path(run(*buildah, "mount", container).strip())


def main():
    dockerfile = (root / "deploy/Dockerfile").read_text()
    stages = re.split(r"^FROM ", dockerfile, flags=re.M)
    first, last = stages[1], "FROM " + stages[-1]
    if not re.search(r"^ARG RUST=rust:\d+\.\d+\.\d+-bookworm$", dockerfile, re.M) or not first.startswith("${RUST} AS build"):
        fault("the builder must be pinned by version")
    wanted = tomllib.loads((root / "Cargo.toml").read_text())["package"]
    if f'image.version="{wanted["version"]}"' not in dockerfile:
        fault(f"the label must say version {wanted['version']}, as Cargo.toml does")

    # The clean folder, through .dockerignore, and in it the stage's own lines.
    _, mounted = build("FROM scratch\nCOPY . /src\n", root, "context")
    source = home / "src"
    shutil.copytree(mounted / "src", source, symlinks=True)
    for file in [*source.rglob("*.rs")]:
        for name in re.findall(r"include_(?:str|bytes)!\(\s*\"([^\"]+)\"", file.read_text()):
            if not (file.parent / name).exists():
                fault(f".dockerignore keeps {name} out, which {file.relative_to(source)} includes")
    if leaked := [p for p in source.rglob("*") if p.name in ("target", ".git", ".venv", "node_modules", ".tollhouse")]:
        fault(f".dockerignore lets through {leaked}")
    (source / "target/release").mkdir(parents=True)
    shutil.copy(binary, source / "target/release/tollhouse")
    run("strip", source / "target/release/tollhouse")
    image, lines = home / "context/image", re.findall(r"^RUN (.*)", first, re.M)
    image.parent.mkdir()
    left_out = [line for line in lines if line.startswith(("apt-get", "cargo build"))]
    if len(left_out) != 2 or "--locked --release --bin tollhouse" not in left_out[1]:
        fault(f"expected one line of apt-get and one of cargo build, got {left_out}")
    for line in lines:
        if line not in left_out:
            run("sh", "-ec", re.sub(r" /(image|state)\b", rf" {image.parent}/\1", line), cwd=source)
    # That Cargo.toml still reads there: every target that it names is let through.
    run("cargo", "metadata", "--locked", "--format-version", "1", "--no-deps", cwd=source)

    bom = (image / "usr/share/tollhouse/sbom.cdx.json").read_text()
    if error := JsonStrictValidator(SchemaVersion.V1_5).validate_str(bom):
        fault(f"the bill of materials is no CycloneDX 1.5: {error}")
    names = {c["name"] for c in json.loads(bom)["components"]}
    if missing := ({"pingora-core", "redb", "cedar-policy", "libc6", "ca-certificates"} | (set(wanted.get("dependencies", {})))) - names:
        fault(f"the bill of materials misses {missing}")

    # The final stage.
    container, mounted = build(re.sub(r"--from=build (--chown=\S+ )?/(image|state)/", r"\1\2", last), image.parent, "tollhouse")
    config = json.loads(run(*buildah, "inspect", "--type", "image", "tollhouse"))["OCIv1"]["config"]
    for key, value in {"User": "65532:65532", "StopSignal": "SIGTERM", "Entrypoint": ["/usr/bin/tollhouse"]}.items():
        if config.get(key) != value:
            fault(f"the image's {key} is {config.get(key)}, not {value}")
    programs = {str(p.relative_to(mounted)) for p in mounted.rglob("*") if p.is_file() and not p.is_symlink() and os.access(p, os.X_OK) and ".so" not in p.name}
    if programs != {"usr/bin/tollhouse"}:
        fault(f"the image has programs besides Tollhouse: {programs}")
    if loose := [p for p in mounted.rglob("*") if not p.is_symlink() and (p.stat().st_mode & 0o6000 or (p.stat().st_mode & 0o002 and p.name != "tmp")) or
             (p.stat().st_uid != 0 and "var/lib/tollhouse" not in str(p))]:
        fault(f"somebody but root may write, or gains by running: {loose}")
    version = run(*buildah, "run", "--isolation", "chroot", container, "--", "/usr/bin/tollhouse", "--version").strip()
    if version != f"tollhouse {wanted['version']}":
        fault(f"the image says it is `{version}`")
    for name in ("store", "audit"):
        if (owner := (mounted / "var/lib/tollhouse" / name).stat().st_uid) != 65532:
            fault(f"/var/lib/tollhouse/{name} is uid {owner}'s")
    size = sum(p.stat().st_size for p in mounted.rglob("*") if p.is_file() and not p.is_symlink())
    took = serve(mounted)
    print(f"image: {version}, {size / 2**20:.1f} MiB ({(mounted / 'usr/bin/tollhouse').stat().st_size / 2**20:.1f} of it the binary), "
          f"{len(names)} components in its bill; ready {' '.join(f'{t * 1000:.0f}' for t in took)} ms after its start")


CONFIG = """version: 1
listen: 127.0.0.1:{agents}
probes: {{ listen: 127.0.0.1:{probes} }}
operator: {{ listen: "unix:/run/tollhouse/operator.sock", tokens: [ {{ name: check, roles: [operator], token: file:/run/secrets/operator }} ] }}
store: {{ url: "embedded:/var/lib/tollhouse/store", encryption_key: "file:/run/secrets/seal" }}
audit: {{ dir: /var/lib/tollhouse/audit }}
identity: {{ issuers: [ {{ issuer: https://id.shop.example, audience: tollhouse, jwks: file:/etc/tollhouse/config/keys.json, algorithms: [ES256] }} ] }}
upstreams: {{ stripe: {{ url: https://api.stripe.com, pack: stripe, route: /, credentials: file:/run/secrets/stripe }} }}
"""
# A key of nobody's: Tollhouse is not ready without one.
KEYS = {"keys": [{"kty": "EC", "crv": "P-256", "alg": "ES256", "use": "sig", "kid": "check", "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
                  "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}]}


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def serve(mounted):
    """Three starts as the pod's: uid 65532, the root read-only, only the volumes to write to; stopped by the image's signal."""
    mounts = home / "mounts"
    ports = {"agents": free_port(), "probes": free_port()}
    files = {"etc/tollhouse/config/tollhouse.yaml": CONFIG.format(**ports), "etc/tollhouse/config/keys.json": json.dumps(KEYS),
             "run/secrets/operator": "operator-token-of-this-check", "run/secrets/seal": "a2tra2tra2tra2tra2tra2tra2tra2tra2tra2tra2s=", "run/secrets/stripe": "sk_test_nothing"}
    for name, text in files.items():
        (mounts / name).parent.mkdir(parents=True, exist_ok=True)
        (mounts / name).write_text(text)
    for name in ("var/lib/tollhouse/store", "var/lib/tollhouse/audit", "run/tollhouse"):
        (mounts / name).mkdir(parents=True)
        os.chown(mounts / name, 65532, 65532)
    script = f"""set -e
mount --bind {mounted} {mounted}
for dir in etc/tollhouse/config run/secrets var/lib/tollhouse/store var/lib/tollhouse/audit run/tollhouse; do
  mkdir -p {mounted}/$dir && mount --bind {mounts}/$dir {mounted}/$dir
done
mount -o remount,bind,ro {mounted}
chroot --userspec=65532:65532 --groups= {mounted} /usr/bin/tollhouse check --config /etc/tollhouse/config/tollhouse.yaml
if chroot --userspec=65532:65532 {mounted} /bin/sh -c true 2>/dev/null; then echo "there is a shell" >&2; exit 1; fi
echo begin
exec chroot --userspec=65532:65532 --groups= {mounted} /usr/bin/tollhouse run --config /etc/tollhouse/config/tollhouse.yaml
"""
    took = []
    for _ in range(3):
        with open(home / "log", "w") as log:
            process = subprocess.Popen(["unshare", "--mount", "sh", "-c", script], stdout=subprocess.PIPE, stderr=log, text=True)
            if not any(line == "begin\n" for line in process.stdout):
                fault("it does not start on a read-only root:\n" + (home / "log").read_text())
                return took
            began = time.monotonic()
            while time.monotonic() - began < 20:
                try:
                    urllib.request.urlopen(f"http://127.0.0.1:{ports['probes']}/readyz", timeout=1)
                    took.append(time.monotonic() - began)
                    break
                except OSError:
                    time.sleep(0.002)
            process.terminate()
            if process.wait(30) != 0:
                fault(f"it ended {process.returncode} at SIGTERM")
    if len(took) != 3:
        fault("it was not ready within 20 s:\n" + (home / "log").read_text())
    return took


try:
    main()
finally:
    subprocess.run([*map(str, buildah), "umount", "--all"], capture_output=True)
    shutil.rmtree(home, ignore_errors=True)
sys.exit(1 if faults else 0)
