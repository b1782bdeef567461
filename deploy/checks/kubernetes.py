#!/usr/bin/env python3
"""Would a cluster take the manifests, and Tollhouse the configurations in them? `kubernetes.py BINARY KUBECTL`, run by deploy/check.

Renders each overlay; then kubernetes-validate (--strict), checkov, what this project asks of every pod, and `tollhouse check` on each
configuration, laid out as the pod's mounts lay it out, with stub secrets. Never talks to a cluster."""
import base64
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

import yaml

here = pathlib.Path(__file__).resolve().parent
kubernetes = here.parent / "kubernetes"
binary, kubectl = sys.argv[1:3]
bin_dir = pathlib.Path(sys.executable).parent
faults = []


def fault(text):
    faults.append(text)
    print(f"kubernetes: {text}", file=sys.stderr)


def run(*args, **kw):
    return subprocess.run([str(a) for a in args], capture_output=True, text=True, **kw)


UID = 65532
CUSTOM = {"PodMonitor"}     # of the Prometheus operator: no schema here


def check_container(where, one, is_lock):
    security = one.get("securityContext", {})
    want = {"allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True}
    for key, value in want.items():
        if security.get(key) is not value:
            fault(f"{where}: {key} must be {value}")
    if security.get("capabilities", {}).get("drop") != ["ALL"] or (security["capabilities"].get("add") and not is_lock):
        fault(f"{where}: must drop ALL capabilities and add none")
    if "requests" not in one.get("resources", {}) or "memory" not in one["resources"].get("limits", {}):
        fault(f"{where}: needs requests and a limit of memory")
    if (security.get("runAsUser") == UID) != (one["name"] == "tollhouse"):
        fault(f"{where}: uid {UID} is Tollhouse's, and nobody else's")
    for mount in one.get("volumeMounts", []):
        if "subPath" in mount:
            fault(f"{where}: {mount['mountPath']} by subPath is never swapped")


def check_pod(where, spec):
    if spec.get("automountServiceAccountToken") is not False:
        fault(f"{where}: needs no token of the cluster")
    volumes = {v["name"]: v for v in spec["volumes"]}
    sidecar = [c for c in spec.get("initContainers", []) + spec["containers"] if c["name"] == "tollhouse"][0]
    for one in spec.get("initContainers", []) + spec["containers"]:
        check_container(f"{where}: {one['name']}", one, one["name"] == "egress-lock")
        if one["name"] == "tollhouse":
            continue
        for mount in one.get("volumeMounts", []):
            own = {m["name"] for m in sidecar["volumeMounts"]}
            if mount["name"] in own:
                fault(f"{where}: {one['name']} mounts `{mount['name']}`, which is Tollhouse's alone")
    for name, volume in volumes.items():
        if "secret" in volume and volume["secret"].get("defaultMode") != 0o400:
            fault(f"{where}: secret `{name}` needs defaultMode 0400")
    if "startupProbe" not in sidecar or sidecar["startupProbe"]["httpGet"]["path"] != "/readyz":
        fault(f"{where}: a startupProbe on /readyz gates the agent")
    if sidecar in spec.get("initContainers", []) and sidecar.get("restartPolicy") != "Always":
        fault(f"{where}: a native sidecar has restartPolicy Always")
    names = [c["name"] for c in spec.get("initContainers", [])]
    if "egress-lock" in names and names[0] != "egress-lock":
        fault(f"{where}: the lock must come first, got {names}")
    return sidecar, volumes


def seconds(text):
    return int(re.fullmatch(r"(\d+)s", text)[1])


def check_config(where, spec, sidecar, volumes, maps, claims):
    """Each mount becomes a folder, secrets are stubs; the configuration's absolute paths are led there."""
    with tempfile.TemporaryDirectory() as home:
        home = pathlib.Path(home)
        config, text = None, None
        for mount in sidecar["volumeMounts"]:
            at = home / mount["mountPath"].lstrip("/")
            at.mkdir(parents=True, exist_ok=True)
            volume = volumes.get(mount["name"])
            if volume is None and mount["name"] not in claims:
                fault(f"{where}: nothing is mounted at {mount['mountPath']}")
            for key, value in maps.get((volume or {}).get("configMap", {}).get("name"), {}).items():
                (at / key).write_text(value)
                if key == "tollhouse.yaml":
                    config, text = at / key, value
        if config is None:
            return fault(f"{where}: no tollhouse.yaml is mounted")
        if sidecar["args"][:3] != ["run", "--config", "/" + str(config.relative_to(home))]:
            fault(f"{where}: runs {sidecar['args']}, and the configuration is at /{config.relative_to(home)}")
        grace, drain = spec["terminationGracePeriodSeconds"], seconds(re.search(r"^drain: (\S+)", text, re.M)[1])
        if grace < drain + 10:
            fault(f"{where}: terminationGracePeriodSeconds {grace} leaves no room for drain {drain}")
        for path in re.findall(r"file:([^\s\"',}]+)", text):
            file = home / path.lstrip("/")
            if not any(path.startswith(m["mountPath"] + "/") for m in sidecar["volumeMounts"]):
                fault(f"{where}: {path} is under no mount")
            file.parent.mkdir(parents=True, exist_ok=True)
            if "/audit/" in path:
                run(binary, "audit", "key", file)
                continue
            file.write_text(base64.b64encode(b"k" * 32).decode() if "seal" in path else f"stub-secret-of-{file.parent.name}-{file.name}")
        for path in re.findall(r"(?:embedded:|dir: )([^\s\"',}]+)", text):
            if not any(path == m["mountPath"] and m["name"] in claims for m in sidecar["volumeMounts"]):
                fault(f"{where}: {path} is on no volume that outlives the pod")
        for path in re.findall(r"ca: (/\S+)", text):
            certificate = home / path.lstrip("/")
            done = run("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", "/CN=stub", "-days", "2",
                       "-keyout", home / "ca.key", "-out", certificate)
            if done.returncode:
                fault(f"{where}: openssl: {done.stderr}")
        config.write_text(re.sub(r"(file:|embedded:|dir: |unix:|ca: )/", rf"\g<1>{home}/", text))
        done = run(binary, "check", "--config", config)
        if done.returncode:
            fault(f"{where}: tollhouse check:\n{done.stdout}{done.stderr}".replace(str(home), ""))


overlays = sorted(p.parent for p in (kubernetes / "overlays").glob("*/kustomization.yaml"))
components = {p.name for p in (kubernetes / "components").iterdir()}
used = set()
rendered = pathlib.Path(tempfile.mkdtemp())
for overlay in overlays:
    used |= set(re.findall(r"components/([\w-]+)", (overlay / "kustomization.yaml").read_text()))
    done = run(kubectl, "kustomize", overlay)
    if done.returncode or "deprecated" in done.stderr:
        fault(f"{overlay.name}: kubectl kustomize:\n{done.stderr}")
        continue
    objects = [o for o in yaml.safe_load_all(done.stdout) if o]
    plain = [o for o in objects if o["kind"] not in CUSTOM]
    (rendered / f"{overlay.name}.yaml").write_text(yaml.safe_dump_all(plain))
    maps = {o["metadata"]["name"]: o["data"] for o in objects if o["kind"] == "ConfigMap"}
    pods = 0
    for one in objects:
        if one["metadata"].get("namespace") != "support-agent":
            fault(f"{overlay.name}: {one['kind']} {one['metadata']['name']} is in no namespace of its own")
        if one["kind"] not in ("StatefulSet", "Deployment"):
            continue
        pods += 1
        where, spec = f"{overlay.name}: {one['metadata']['name']}", one["spec"]["template"]["spec"]
        sidecar, volumes = check_pod(where, spec)
        claims = {c["metadata"]["name"] for c in one["spec"].get("volumeClaimTemplates", [])}
        claims |= {n for n, v in volumes.items() if "persistentVolumeClaim" in v}
        check_config(where, spec, sidecar, volumes, maps, claims)
        if any("embedded:" in maps[v["configMap"]["name"]].get("tollhouse.yaml", "") for v in volumes.values() if "configMap" in v and v["configMap"]["name"] in maps) \
                and one["spec"]["replicas"] != 1:
            fault(f"{where}: the embedded store is of one process")
    if not pods:
        fault(f"{overlay.name}: renders no pod")
if components - used:
    fault(f"components that no overlay uses, so nothing renders them: {sorted(components - used)}")

files = sorted(rendered.glob("*.yaml"))
done = run(bin_dir / "kubernetes-validate", "--strict", "-k", "1.35", *files)
if done.returncode:
    fault(f"kubernetes-validate:\n{done.stdout}{done.stderr}")
done = run(bin_dir / "checkov", "--config-file", here / "checkov.yaml", "-d", rendered)
if done.returncode:
    fault(f"checkov:\n{done.stdout[-6000:]}{done.stderr[-2000:]}")
# It must be able to find something: the same without one line.
broken = rendered / "broken"
broken.mkdir()
(broken / "broken.yaml").write_text((rendered / "embedded.yaml").read_text().replace("allowPrivilegeEscalation: false", "allowPrivilegeEscalation: true"))
if not run(bin_dir / "checkov", "--config-file", here / "checkov.yaml", "-d", broken).returncode:
    fault("checkov finds nothing in a manifest with privilege escalation")
shutil.rmtree(rendered)
pack = kubernetes / "overlays/upstreams/packs/orders.yaml"
if pack.read_bytes() != (kubernetes.parent.parent / "config/packs/orders.yaml").read_bytes():
    fault(f"{pack}: is no longer config/packs/orders.yaml; copy it again")
print(f"kubernetes: {len(overlays)} overlays rendered, valid and checked: {', '.join(o.name for o in overlays)}")
sys.exit(1 if faults else 0)
