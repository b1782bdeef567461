"""Plots as SVG, by hand: bars, lines, percentiles. Each is one picture with its title, unit and source."""

import html
import math

INK, SOFT, GRID, PAPER = "#1c2733", "#66727f", "#e4e8ec", "#ffffff"
OURS, OTHERS, THIRD, FOURTH = "#0b6e4f", "#9aa7b4", "#c8553d", "#3f6fb5"
FONT = "font-family='system-ui, -apple-system, Segoe UI, DejaVu Sans, sans-serif'"
SERIES = (OURS, FOURTH, THIRD, OTHERS)


def text(x, y, words, size=12, fill=INK, anchor="start", weight="normal"):
    return (f"<text x='{x:.1f}' y='{y:.1f}' font-size='{size}' fill='{fill}' text-anchor='{anchor}' font-weight='{weight}'>"
            f"{html.escape(str(words))}</text>")


def page(width, height, title, subtitle, parts):
    """A picture; of `subtitle`, what stands behind a `|` goes to the foot."""
    subtitle, _, source = subtitle.partition("|")
    height += 18
    head = [f"<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {width} {height}' width='{width}' height='{height}' {FONT} role='img'>",
            f"<title>{html.escape(title)}</title>", f"<rect width='{width}' height='{height}' rx='6' fill='{PAPER}'/>",
            text(24, 34, title, 17, weight="600"), text(24, 54, subtitle.strip(), 12, SOFT), text(24, height - 14, source.strip(), 10, SOFT)]
    return "\n".join([*head, *parts, "</svg>"]) + "\n"


def number(value):
    """As short as it can be told apart."""
    if value == 0:
        return "0"
    if abs(value) >= 1_000_000:
        return f"{value / 1e6:g} M"
    if abs(value) >= 10_000:
        return f"{value / 1000:.0f} k"
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"


def ticks(top, count=5):
    """Round steps up to `top`."""
    step = 10 ** math.floor(math.log10(max(top, 1e-9) / count))
    step *= next(factor for factor in (1, 2, 2.5, 5, 10) if step * factor * count >= top)
    return [step * n for n in range(int(top / step + 1e-9) + 1)]


def bars(title, subtitle, unit, rows, width=760, left=190):
    """`rows`: (label, value, lowest, highest, whether it is ours)."""
    top = max(high for *_, high, _ in rows) * 1.02
    room, y, out = width - left - 90, 84, []
    scale = lambda value: left + value / top * room
    bottom = y + len(rows) * 30
    for tick in ticks(top):
        out += [f"<line x1='{scale(tick):.1f}' y1='{y - 8}' x2='{scale(tick):.1f}' y2='{bottom}' stroke='{GRID}'/>",
                text(scale(tick), bottom + 18, number(tick), 11, SOFT, "middle")]
    out.append(text(left + room, bottom + 36, unit, 11, SOFT, "end"))
    for label, value, low, high, own in rows:
        out += [text(left - 12, y + 15, label, 13, INK, "end", "600" if own else "normal"),
                f"<rect x='{left}' y='{y + 2}' width='{max(scale(value) - left, 1):.1f}' height='18' rx='2' fill='{OURS if own else OTHERS}'/>",
                f"<line x1='{scale(low):.1f}' y1='{y + 11}' x2='{scale(high):.1f}' y2='{y + 11}' stroke='{INK}' stroke-width='1.2'/>",
                text(scale(max(value, high)) + 8, y + 15, number(value), 12, INK, weight="600" if own else "normal")]
        y += 30
    return page(width, bottom + 52, title, subtitle, out)


def stacked(title, subtitle, rows, width=760):
    """`rows`: (label, [(part, value)]): where the time of each goes, each row on its own whole."""
    out, y = [], 84
    for label, parts in rows:
        whole = sum(value for _, value in parts)
        out.append(text(24, y, f"{label}: {number(whole)} µs", 13, weight="600"))
        x, room = 24.0, width - 48
        for n, (name, value) in enumerate(parts):
            wide = value / whole * room
            fill = part_fill(n, name)
            out.append(f"<rect x='{x:.1f}' y='{y + 10}' width='{max(wide - 1, 0.5):.1f}' height='24' {fill}>"
                       f"<title>{html.escape(name)} {value:.2f} µs</title></rect>")
            x += wide
        y += 54
        columns = 2
        for n, (name, value) in enumerate(parts):
            fill = part_fill(n, name)
            cx, cy = 24 + (n % columns) * (room / columns), y + (n // columns) * 19
            out += [f"<rect x='{cx:.1f}' y='{cy - 9}' width='10' height='10' {fill}/>",
                    text(cx + 16, cy, f"{name}  {number(value)}", 11, INK)]
        y += math.ceil(len(parts) / columns) * 19 + 26
    return page(width, y, title, subtitle, out)


def part_fill(n, name):
    """Neighbours differ; what is not explained is grey."""
    if name.startswith("the rest"):
        return f"fill='{OTHERS}'"
    return f"fill='{OURS}' fill-opacity='{0.35 + 0.65 * ((n * 3) % 7) / 6:.2f}'"


def percentiles(title, subtitle, rows, width=760, left=190):
    """`rows`: (label, {percentile: microseconds}, whether it is ours), on a logarithmic axis."""
    names = ("p50", "p90", "p99", "p999")
    values = [row[1][name] for row in rows for name in names]
    low, high = 10 ** math.floor(math.log10(min(values))), 10 ** math.ceil(math.log10(max(values)))
    room, y, out = width - left - 40, 104, []
    scale = lambda value: left + (math.log10(value) - math.log10(low)) / (math.log10(high) - math.log10(low)) * room
    bottom = y + len(rows) * 30
    for n, name in enumerate(names):
        x = left + n * 90
        out += [f"<circle cx='{x}' cy='78' r='5' fill='{SERIES[n]}'/>", text(x + 10, 82, name.replace("p999", "p99.9"), 12, SOFT)]
    tick = low
    while tick <= high:
        # Over many tens only the tens are written: the rest would not fit.
        for factor in (1, 2, 5) if high / low <= 10_000 else (1,):
            if tick * factor <= high:
                x = scale(tick * factor)
                out += [f"<line x1='{x:.1f}' y1='{y - 8}' x2='{x:.1f}' y2='{bottom}' stroke='{GRID}'/>",
                        text(x, bottom + 18, number(tick * factor), 11, SOFT, "middle")]
        tick *= 10
    out.append(text(left + room, bottom + 36, "µs", 11, SOFT, "end"))
    for label, of, own in rows:
        out += [text(left - 12, y + 15, label, 13, INK, "end", "600" if own else "normal"),
                f"<line x1='{scale(of['p50']):.1f}' y1='{y + 11}' x2='{scale(of['p999']):.1f}' y2='{y + 11}' stroke='{OTHERS}' stroke-width='2'/>"]
        out += [f"<circle cx='{scale(of[name]):.1f}' cy='{y + 11}' r='5' fill='{SERIES[n]}'/>" for n, name in enumerate(names)]
        y += 30
    return page(width, bottom + 52, title, subtitle, out)


def panels(title, subtitle, grid, width=980, columns=3):
    """`grid`: (title, x label, y label, [(name, [(x, y)])], whether x is logarithmic), a small plot each."""
    across, tall = (width - 48) / columns, 236
    out = []
    for n, one in enumerate(grid):
        out += panel(24 + (n % columns) * across, 76 + (n // columns) * tall, across - 20, tall - 20, one)
    return page(width, 76 + math.ceil(len(grid) / columns) * tall + 8, title, subtitle, out)


def panel(x, y, wide, tall, one):
    title, x_label, y_label, series, logarithmic = one
    left, right, above, below = x + 46, x + wide - 8, y + 30, y + tall - 36
    points = [point for _, line in series for point in line]
    xs, top = sorted({px for px, _ in points}), max(py for _, py in points) * 1.12 or 1
    # A zero on a logarithmic axis has its place a step before the first.
    place = (lambda v: math.log10(max(v, min([p for p in xs if p > 0]) / 10))) if logarithmic else (lambda v: v)
    begin, end = place(xs[0]), place(xs[-1])
    sx = lambda v: left + (place(v) - begin) / ((end - begin) or 1) * (right - left)
    sy = lambda v: below - v / top * (below - above)
    out = [text(x + 4, y + 12, title, 13, weight="600")]
    for tick in ticks(top, 4):
        if tick <= top:
            out += [f"<line x1='{left}' y1='{sy(tick):.1f}' x2='{right}' y2='{sy(tick):.1f}' stroke='{GRID}'/>",
                    text(left - 6, sy(tick) + 4, number(tick), 10, SOFT, "end")]
    shown = xs if logarithmic else ticks(xs[-1], 4)
    out += [text(sx(tick), below + 15, number(tick), 10, SOFT, "middle") for tick in shown if tick >= xs[0]]
    out += [text(right, below + 30, x_label, 10, SOFT, "end"), text(left, y + 26, y_label, 10, SOFT)]
    for n, (name, line) in enumerate(series):
        color = SERIES[n]
        path = " ".join(f"{'M' if m == 0 else 'L'}{sx(px):.1f},{sy(py):.1f}" for m, (px, py) in enumerate(line))
        out.append(f"<path d='{path}' fill='none' stroke='{color}' stroke-width='2'/>")
        if len(line) < 20:
            out += [f"<circle cx='{sx(px):.1f}' cy='{sy(py):.1f}' r='3.2' fill='{color}'/>" for px, py in line]
        if len(series) > 1:
            out.append(text(right, y + 12 + n * 13, name, 11, color, "end"))
    return out
