"""The tables, as Markdown. Nothing in them is written by hand."""


def blocks(found):
    """Every generated part by its name."""
    made = {"reach": reach(found)}
    if "peers" in found:
        made |= {"short": short(found), "machine": machine(found["peers"]), "peers": peers(found["peers"]), "limit": limit(found["peers"])}
    if "added_latency" in found:
        made |= {"added": added(found["added_latency"]), "effects": effects(found["added_latency"]), "serial": serial(found["added_latency"])}
    if "admit" in found:
        made |= {"admit": admit(found["admit"]), "read": steps(read_stages(found)), "refund": steps(refund_stages(found))}
    if "scale" in found:
        made |= {"scale": scale(found["scale"]), "redis": redis(found)}
    if "soak" in found:
        made["soak"] = soak(found["soak"])
    made["faults"] = faults(found)
    return made


def table(head, rows):
    """Words left, numbers right."""
    aligned = [":--" if n == 0 else "--:" for n in range(len(head))]
    lines = [head, aligned, *rows]
    return "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in lines)


def number(value, digits=1):
    """Three digits or so; a thing that was not measured is a dash."""
    if value is None:
        return "–"
    return f"{value:,.0f}" if abs(value) >= 100 or digits == 0 else f"{value:.{digits}f}"


def of(spread, digits=1):
    return number(spread["median"], digits)


def machine(found):
    m, v = found["machine"], found["versions"]
    kind = "virtual machine" if m["virtual"] else "machine"
    return (f"{m['date']}: {m['cpu']}, {m['cores']} cores, {m['memory_gib']} GiB, {kind}, Linux {m['kernel']}, load {m['load_at_start']:.1f} before it began. "
            f"pingora {v['pingora']}, nginx {v['nginx']}, HAProxy {v['haproxy']}, Envoy {v['envoy']}, rustc {v['rustc']}.")


def reach(found):
    """What was to be reached, and what was."""
    rows = []

    def add(what, want, is_, ok):
        rows.append((what, want, is_, "yes" if ok else "**no**"))

    if "peers" in found:
        r = found["peers"]["ratios"]
        for name, want, label in (("cpu owned read / plain pattern", 1.25, "CPU, owned read of 1 KiB / plain pattern"),
                                  ("cpu public read / plain pattern", 1.15, "CPU, public read / plain pattern"),
                                  ("added p50 at 3,000 a second / bare pingora", 1.2, "added p50 at 3,000 a second / bare pingora's")):
            add(label, f"at most {want}", f"{r[name]:.2f}", r[name] <= want)
        ratio = r["saturated / Envoy with filters"]
        add("saturated throughput / Envoy with filters", "at least 1.8", f"{ratio:.2f}", ratio >= 1.8)
        resident = found["peers"]["results"]["at 3,000 a second"]["Tollhouse"]["resident_mib"]["median"]
        add("resident at 3,000 a second", "at most 32 MiB", f"{resident:.1f} MiB", resident <= 32)
    if "admit" in found:
        for name, part, want, label in (("owned read, 1 KiB", "admit", 6, "warm read admission, in process"),
                                        ("owned read, token not known", "admit", 60, "the same, token not known"),
                                        ("unknown action", "whole", 3, "refusal of an unknown action")):
            us = scenario(found["admit"], name, part)["us"]
            add(label, f"at most {want} µs", f"{us:.1f} µs", us <= want)
    if "added_latency" in found:
        ratio = found["added_latency"]["serial"]["ratio"]
        add("refund on Redis, p50 / the sum of its serial parts", "at most 1.3", f"{ratio:.2f}", ratio <= 1.3)
    if "soak" in found:
        run, memory = found["soak"]["run"], found["soak"]["memory"]
        bad = run["wrong"] + run["broken"] + run["unanswered"]
        minutes = found["soak"]["minutes"]
        add(f"{minutes:g} minutes at 80 %: errors; memory, last quarter against the second", "0; flat",
            f"{bad}; {memory['grew_mib']:+.1f} MiB", bad == 0 and memory["grew_mib"] <= 2 and minutes >= 10)
    return table(("", "to reach", "measured", "reached"), rows)


def short(found):
    """What a reader of the front page wants to know."""
    results, ratios, machine_ = found["peers"]["results"], found["peers"]["ratios"], found["peers"]["machine"]
    own, steady = results["saturated"]["Tollhouse"], results["at 3,000 a second"]
    added = steady["Tollhouse"]["p50"]["median"] - steady["direct"]["p50"]["median"]
    told = (f"On one core ({machine_['cpu']}, virtual): a judged read of 1 KiB, its owner checked in the answer, takes {of(own['cpu_us'])} µs of CPU, "
            f"{ratios['cpu owned read / plain pattern']:.2f} times the plain pattern of the proxy library with nothing in between, and "
            f"{of(own['per_second'], 0)} a second go through, {ratios['saturated / Envoy with filters']:.1f} times what Envoy with comparable filters does. "
            f"At 3,000 a second it adds {added:.0f} µs at the median and holds {of(steady['Tollhouse']['resident_mib'])} MiB.")
    if "added_latency" in found:
        serial_ = found["added_latency"]["serial"]
        told += f" A refund alone takes {number(serial_['refund_us'], 0)} µs on Redis, {number(serial_['refund_embedded_us'], 0)} µs on the embedded store."
    return told


def peers(found):
    results = found["results"]
    plain = results["saturated"]["plain pattern"]["cpu_us"]["median"]
    direct = results["at 3,000 a second"]["direct"]["p50"]["median"]
    rows = []
    for name, one in sorted(results["saturated"].items(), key=lambda pair: -pair[1]["per_second"]["median"]):
        steady = results["at 3,000 a second"][name]
        cpu = (of(one["cpu_us"]), f"{one['cpu_us']['median'] / plain:.2f}") if "cpu_us" in one else ("", "")
        added = "" if name == "direct" else number(steady["p50"]["median"] - direct, 0)
        resident = of(steady["resident_mib"]) if "resident_mib" in steady else ""
        label = f"**{name}**" if name == "Tollhouse" else name
        rows.append((label, of(one["per_second"], 0), *cpu, of(steady["p50"], 0), added, of(steady["p99"], 0), resident))
    head = ("owned read, 1 KiB", "requests/s", "CPU µs/request", "/ plain", "p50 µs at 3,000/s", "added", "p99 µs", "resident MiB")
    public = results["public, saturated"]
    plain = public["plain pattern"]["cpu_us"]["median"]
    more = [(f"**{name}**" if name == "Tollhouse" else name, of(one["per_second"], 0), of(one["cpu_us"]), f"{one['cpu_us']['median'] / plain:.2f}")
            for name, one in sorted(public.items(), key=lambda pair: pair[1]["cpu_us"]["median"])]
    ratios = table(("ratio, median of rounds", ""), [(name, f"{value:.2f}") for name, value in found["ratios"].items()])
    return "\n\n".join((table(head, rows), table(("public read, 1 KiB", "requests/s", "CPU µs/request", "/ plain"), more), ratios))


def limit(found):
    """How it is known that upstream and generator are not the limit."""
    saturated, steady = found["results"]["saturated"], found["results"]["at 3,000 a second"]
    fastest = max((one["per_second"]["median"], name) for name, one in saturated.items() if name != "direct")
    late = max(one["late_p99_us"] for one in steady.values())
    per_second, name = fastest
    one = saturated[name]
    busy = one["generator_busy"] + one["cpu_us_direct"]["median"] * per_second / 1e6
    return (f"Direct, the same load reaches {of(saturated['direct']['per_second'], 0)} requests a second on the core that upstream and generator share; "
            f"the fastest proxy, {name}, {number(per_second)}, and with it that core is {busy:.0%} busy. At 3,000 a second the generator itself was late "
            f"by {late:.0f} µs at its 99th percentile at worst.")


def added(found):
    rows = []
    whole = {(one["server"], one["kind"], one["at"]): one for one in found["results"]}
    for one in sorted(found["added"], key=by_rate):
        own = whole[(one["server"], one["kind"], one["at"])]
        rate = number(own["per_second"]["median"], 0) if one["at"] == "saturation" else f"{one['at']:,}"
        kept = "" if own.get("kept_up", True) else " (not kept up)"
        rows.append((one["kind"], f"{one['at']}: {rate}/s" if one["at"] == "saturation" else f"{rate}/s{kept}",
                     *(number(one[p], 0) for p in ("p50", "p90", "p99", "p999")), of(own["cpu_us"]), of(own["resident_mib"])))
    return table(("more than direct", "at", "p50 µs", "p90", "p99", "p99.9", "CPU µs/call", "resident MiB"), rows)


def by_rate(one):
    return one["kind"], one["server"], one["at"] if isinstance(one["at"], int) else 1 << 30


def effects(found):
    rows = []
    for one in sorted(found["results"], key=by_rate):
        if one["server"] == "direct" or one["kind"] not in ("write", "refund", "hold", "replay", "refusal"):
            continue
        rate = f"saturation: {of(one['per_second'], 0)}/s" if one["at"] == "saturation" else f"{one['at']:,}/s"
        kept = "" if one.get("kept_up", True) else " (not kept up)"
        rows.append((one["kind"], one["server"].replace("redis store", "Redis"), rate + kept,
                     *(of(one[p], 0) for p in ("p50", "p90", "p99", "p999")), of(one["cpu_us"])))
    return table(("the whole call", "store", "at", "p50 µs", "p90", "p99", "p99.9", "CPU µs/call"), rows)


def serial(found):
    told = found["serial"]
    rows = [(name, number(us, 0)) for name, us in told["parts_us"].items()]
    rows += [("sum", number(told["sum_us"], 0)), ("**a refund on Redis, p50**", number(told["refund_us"], 0)), ("ratio", f"{told['ratio']:.2f}"),
             ("a refund on the embedded store, p50", number(told["refund_embedded_us"], 0))]
    return table(("one at a time, each part measured alone", "µs"), rows)


def scenario(found, name, part):
    one = next(one for one in found["scenarios"] if one["name"] == name)
    return next(p for p in [*one["parts"], one["whole"]] if p["name"] == part)


def admit(found):
    rows = []
    for one in found["scenarios"]:
        parts = "; ".join(f"{p['name']} {p['us']:.1f}" for p in one["parts"] if p["name"] != "whole")
        whole = one["whole"]
        rows.append((one["name"], parts, f"{whole['us']:.1f}", f"{whole['us_p90']:.1f}", whole["allocations"], number(whole["bytes"], 0)))
    return table(("in process", "parts, µs", "µs", "p90", "allocations", "bytes"), rows)


def stage(found, name):
    return next(one for one in found["admit"]["stages"] if one["name"] == name)


def read_stages(found):
    """One warm read, stage by stage; what no stage explains is `the rest`."""
    names = ("evidence begun", "verify, token known", "classify", "contract", "frozen?", "three rates", "road open?", "resolve",
             "record", "disclose, 1 KiB")
    parts = [(name, stage(found, name)["us"]) for name in names]
    whole = scenario(found["admit"], "owned read, 1 KiB", "whole")["us"]
    rest = whole - sum(us for _, us in parts)
    return [*parts, ("the rest: the rules' remembered word, arming, telemetry, headers", max(rest, 0.0))]


def refund_stages(found):
    """One refund: in process what is ours, from a running Tollhouse what waits for store and disk."""
    names = (("verify", "verify, token known"), ("classify", "refund: classify"), ("facts, our part", "refund: facts, over a script"),
             ("resolve", "refund: resolve"), ("policy", "refund: policy"))
    parts = [(name, stage(found, key)["us"]) for name, key in names]
    if "added_latency" not in found:
        return parts
    later = found["added_latency"]
    rooms, alone = later["stages"].get("redis store", {}), later["serial"]["parts_us"]
    parts.append(("facts, the look-up", alone["facts"]))
    parts += [(f"{name} (Redis)", sorted(rooms[f"store {name}"])[len(rooms[f"store {name}"]) // 2])
              for name in ("recall", "reserve", "settle") if f"store {name}" in rooms]
    parts += [("on record: one fsync", alone["one fsync"]), ("the upstream", alone["the upstream"])]
    rest = later["serial"]["refund_us"] - sum(us for _, us in parts)
    return [*parts, ("the rest: socket, tasks, the second record", max(rest, 0.0))]


def steps(parts):
    whole = sum(us for _, us in parts)
    return table(("stage", "µs", "share"), [*((name, number(us, 2), f"{us / whole:.0%}") for name, us in parts), ("**all**", number(whole, 2), "")])


def scale(found):
    rows = []
    for name, points in found["results"].items():
        if name == "redis":
            continue
        first, last = points[0], points[-1]
        grew = found["growth"][name]
        pair = lambda key: f"{number(first[key])} → {number(last[key])}"
        rows.append((name, f"{first['x']:,} → {last['x']:,}", pair("cpu_us"), pair("resident_mib"), pair("ready_ms"),
                     f"{grew['cpu_us']:.2f}, {grew['resident_mib']:.2f}, {grew['ready_ms']:.2f}"))
    return table(("what grows", "from → to", "CPU µs/call", "resident MiB", "ready ms", "exponents"), rows)


def redis(found):
    one = found["scale"]["results"]["redis"]
    told = (f"One refund costs Redis {one['redis_cpu_us']:.0f} µs of its own CPU (recall, reserve and settle); measured through one Tollhouse: "
            f"{one['refunds_per_second_measured']:,} a second. One Redis core therefore carries some {one['refunds_per_second_of_one_core']:,} "
            f"refunds a second, and at 70 % of it {one['sidecars_at_10_a_second']:,} sidecars of ten refunds a second each: arithmetic, not measured.")
    if "added_latency" in found:
        more = found["added_latency"]["redis"]
        events = ", ".join(f"{n} at once {value:,}" for n, value in more["events_per_second"].items())
        told += f" Straight from the store: {events} events a second; {more['bytes_per_operation']:,} bytes of its memory an operation, a 1 KiB answer kept."
    return told


def soak(found):
    run, memory = found["run"], found["memory"]
    mix = ", ".join(f"{name} {share / 10:g} %" for name, share in found["mix_per_mille"].items())
    rows = [(one["name"], f"{one['answered']:,}", sum(one["wrong"].values()), *(number(one["us"][p], 0) for p in ("p50", "p99", "p999"))) for one in run["kinds"]]
    head = (f"{found['minutes']:g} minutes at {found['rate']:,} a second (saturation {found['saturation']:,}): {run['answered']:,} calls, {run['wrong']} wrong, "
            f"{run['broken']} broken, {run['unanswered']} unanswered, {run['unsent']} not sent. Resident {memory['second_quarter_mib']} MiB in the second quarter, "
            f"{memory['last_quarter_mib']} in the last. Mix: {mix}.")
    return head + "\n\n" + table(("", "calls", "wrong", "p50 µs", "p99", "p99.9"), rows)


def faults(found):
    """What went wrong in any run: the figures above stand beside it."""
    lines = [f"- {name}: {fault}" for name, part in found.items() for fault in part.get("faults", [])]
    return "\n".join(lines) if lines else "None: every answer of every run had the status it should have."
