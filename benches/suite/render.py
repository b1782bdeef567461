"""Results become tables and plots: the generated parts of three pages, and results/*.svg."""

import json
import re

from . import need, plot, tables

PAGES = (need.ROOT / "README.md", need.BENCHES / "README.md", need.ROOT / "docs/latency.md")


def write():
    """Writes what the committed results say into the pages."""
    found = read(need.RESULTS)
    for name, svg in plots(found).items():
        (need.RESULTS / f"{name}.svg").write_text(svg)
    blocks = tables.blocks(found)
    for page in PAGES:
        page.write_text(filled(page.read_text(), blocks))
        need.say(f"   {page.relative_to(need.ROOT)}")


def check(results):
    """Makes everything of other results, beside them, so that it is known to work."""
    found = read(results)
    for name, svg in plots(found).items():
        (results / f"{name}.svg").write_text(svg)
    blocks = tables.blocks(found)
    for page in PAGES:
        (results / f"quick-{str(page.relative_to(need.ROOT)).replace('/', '-')}").write_text(filled(page.read_text(), blocks))


def read(results):
    parts = ("admit", "peers", "added_latency", "scale", "soak")
    return {name: json.loads((results / f"{name}.json").read_text()) for name in parts if (results / f"{name}.json").exists()}


def filled(page, blocks):
    """The page with each generated part between its markers made anew."""
    for name, text in blocks.items():
        marks = re.compile(rf"(<!-- generated: {name} -->\n).*?(<!-- end -->)", re.S)
        page = marks.sub(lambda found: f"{found[1]}{text}\n{found[2]}", page)
    return page


def plots(found):
    made = {}
    if "peers" in found:
        made |= peers(found["peers"])
    if "added_latency" in found:
        made["added"] = added(found["added_latency"])
    if "admit" in found:
        made["stages"] = stages(found)
    if "scale" in found:
        made["scale"] = scale(found["scale"])
    if "soak" in found:
        made["soak"] = soak(found["soak"])
    return made


def under(found):
    machine = found["machine"]
    return f"{machine['cpu']}, {machine['cores']} cores{' of a virtual machine' if machine['virtual'] else ''}, one of them the server's; {machine['date']}"


def peers(found):
    results, source = found["results"], under(found)
    own = lambda name: name == "Tollhouse"
    spread = lambda one: (one["median"], one["lowest"], one["highest"])
    saturated = {name: one for name, one in results["saturated"].items() if name != "direct"}
    by = lambda key, fall: sorted(saturated.items(), key=lambda pair: pair[1][key]["median"], reverse=fall)
    steady = results["at 3,000 a second"]
    rows = [(name, {p: steady[name][p]["median"] for p in ("p50", "p90", "p99", "p999")}, own(name))
            for name in sorted(steady, key=lambda name: steady[name]["p50"]["median"])]
    memory = sorted(((name, one["resident_mib"]) for name, one in steady.items() if "resident_mib" in one), key=lambda pair: pair[1]["median"])
    return {
        "cpu": plot.bars("CPU of one owned read of 1 KiB", f"saturated, 32 connections, medians and range of {found['rounds']} rounds |{source}",
                         "µs of CPU a request, the whole process", [(name, *spread(one["cpu_us"]), own(name)) for name, one in by("cpu_us", False)]),
        "throughput": plot.bars("Requests a second at saturation", f"owned read of 1 KiB, 32 connections, one core |{source}", "requests a second",
                                [(name, *spread(one["per_second"]), own(name)) for name, one in by("per_second", True)]),
        "latency": plot.percentiles("Latency at 3,000 a second", f"owned read of 1 KiB, open loop, from when each was due |{source}", rows),
        "memory": plot.bars("Resident memory at 3,000 a second", f"owned read of 1 KiB |{source}", "MiB", [(name, *spread(one), own(name)) for name, one in memory]),
    }


def added(found):
    rows = [(f"{one['kind']}, {at(one['at'])}", {p: max(one[p], 1) for p in ("p50", "p90", "p99", "p999")}, False)
            for one in sorted(found["added"], key=tables.by_rate) if one["at"] != "saturation"]
    rows += [(f"{one['kind']}, {one['server'].replace('redis store', 'Redis')}, {at(one['at'])}", {p: one[p]["median"] for p in ("p50", "p90", "p99", "p999")}, False)
             for one in sorted(found["results"], key=tables.by_rate) if one["kind"] in ("write", "refund", "hold") and one["at"] == 1000]
    return plot.percentiles("Added latency", f"reads: more than direct; effects: the whole call, facts included |{under(found)}", rows, left=250)


def at(rate):
    return f"{rate:,}/s" if isinstance(rate, int) else rate


def stages(found):
    read, refund = tables.read_stages(found), tables.refund_stages(found)
    return plot.stacked("Where the time goes", f"the read in the process, warm; the refund alone, on Redis; medians |{under(found['admit'])}", [("one owned read", read), ("one refund", refund)])


def scale(found):
    labels = {"connections": "open connections, 3,000 calls a second", "actions": "actions in the pack", "contracts": "contracts, 10,000 actions",
              "policies": "policies of other actions, 10,000 actions", "callers": "callers in turn", "bodies": "bytes of body"}
    grid = []
    for name, label in labels.items():
        grid.append((name, label, "µs of CPU a call", [("cpu", [(one["x"], one["cpu_us"]) for one in found["results"][name]])], True))
    for name in ("connections", "actions", "policies"):
        grid.append((f"{name}: memory", labels[name], "MiB resident", [("MiB", [(one["x"], one["resident_mib"]) for one in found["results"][name]])], True))
    for name in ("actions", "contracts", "policies"):
        grid.append((f"{name}: start-up", labels[name], "ms to ready", [("ms", [(one["x"], one["ready_ms"]) for one in found["results"][name]])], True))
    return plot.panels("How it grows", f"CPU is Tollhouse's own, of a whole call; one thread |{under(found)}", grid)


def soak(found):
    samples = found["samples"]
    memory = [(one["s"] / 60, one["resident"]) for one in samples]
    cpu = [((b["s"] + a["s"]) / 120, (b["cpu_s"] - a["cpu_s"]) / max(b["s"] - a["s"], 0.01) * 100) for a, b in zip(samples, samples[1:])]
    grid = [("Resident memory", "minutes", "MiB", [("MiB", memory)], False), ("CPU", "minutes", "% of one core", [("CPU", cpu)], False)]
    title = f"{found['minutes']:g} minutes at {found['rate']:,} a second, every class mixed"
    return plot.panels(title, f"80 % of its saturation |{under(found)}", grid, columns=2)
