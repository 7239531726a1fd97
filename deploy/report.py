"""Turns a run's summary.json and rounds.csv into report.html: one file, no external resources, light and dark.

Usage: python3 deploy/report.py WORK_DIR
"""

import csv
import html
import json
import math
import pathlib
import sys

_STYLE = """
:root{color-scheme:light dark;--page:#f7f7f5;--card:#fff;--ink:#1b1d21;--soft:#5d636e;--line:#e2e2de;--grid:#ececea;
--a:#2558c4;--b:#c2570c;--c:#15803d;--d:#7e3bb5;--band:#2558c41f;--good:#15803d;--bad:#b91c1c}
@media (prefers-color-scheme:dark){:root{--page:#14161a;--card:#1c1f25;--ink:#e9eaec;--soft:#a0a6b1;--line:#30343c;--grid:#282c33;
--a:#7aa5ff;--b:#fb9a55;--c:#58c983;--d:#c494f2;--band:#7aa5ff26;--good:#58c983;--bad:#f87171}}
*{box-sizing:border-box}
body{margin:0;background:var(--page);color:var(--ink);font:15px/1.5 system-ui,"Segoe UI",Roboto,"Helvetica Neue",Arial,sans-serif;
font-variant-numeric:tabular-nums}
main{max-width:1080px;margin:0 auto;padding:36px 24px 56px}
h1{font-size:27px;line-height:1.25;margin:0 0 4px;letter-spacing:-.01em}
h2{font-size:16px;margin:0 0 2px}
p{margin:0}
.lead,.note,figcaption{color:var(--soft)}
.note,figcaption{font-size:13px}
.tiles{display:grid;grid-template-columns:repeat(4,1fr);gap:14px;margin:24px 0 14px}
.card{background:var(--card);border:1px solid var(--line);border-radius:12px;padding:18px 20px;margin:0}
.tile b{display:block;font-size:28px;line-height:1.2;font-weight:650;letter-spacing:-.02em}
.tile span{color:var(--soft);font-size:13px}
.pair{display:grid;grid-template-columns:1fr 1fr;gap:14px;margin-bottom:14px}
.wide{margin-bottom:14px}
svg{display:block;width:100%;height:auto;margin-top:10px;overflow:visible}
svg text{font:12px system-ui,"Segoe UI",Roboto,Arial,sans-serif;fill:var(--soft);font-variant-numeric:tabular-nums}
svg .label{fill:var(--ink);font-weight:600}
table{border-collapse:collapse;width:100%;margin-top:10px;font-size:14px}
th{font-weight:500;color:var(--soft);text-align:left}
th,td{padding:6px 12px 6px 0;border-bottom:1px solid var(--line);vertical-align:top}
tr:last-child>*{border-bottom:0}
td.n,th.n{text-align:right;padding-right:0;padding-left:12px}
code,pre{font:13px/1.5 ui-monospace,"SF Mono",Menlo,Consolas,"DejaVu Sans Mono",monospace}
pre{white-space:pre-wrap;overflow-wrap:anywhere;margin:10px 0 0}
.good{color:var(--good)}.bad{color:var(--bad)}
@media (max-width:820px){.tiles{grid-template-columns:1fr 1fr}.pair{grid-template-columns:1fr}}
"""


def human_bytes(count):
    """1234567 -> "1.23 MB" (powers of ten, three digits)."""
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if abs(count) < 999.5 or unit == "TB":
            return f"{count:.0f} B" if unit == "B" else f"{count:.3g} {unit}"
        count /= 1000
    raise AssertionError("unreachable")


def human_count(value):
    """1234.5 -> "1,234"; small values keep three digits."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def human_seconds(seconds):
    """Three digits of the unit that reads best."""
    if seconds < 1:
        return f"{seconds * 1000:.3g} ms"
    if seconds < 120:
        return f"{seconds:.3g} s"
    return f"{int(seconds // 60)} min {int(seconds % 60):02d} s"


def read_rounds(path):
    """Rows of rounds.csv; numbers as float, empty fields as None."""
    with open(path, newline="", encoding="utf-8") as file:
        return [{key: float(value) if value != "" else None for key, value in row.items()} for row in csv.DictReader(file)]


def _linear_ticks(low, high, wanted=5):
    span = high - low or 1.0
    step = 10 ** math.floor(math.log10(span / wanted))
    for factor in (1, 2, 2.5, 5, 10):
        if span / (step * factor) <= wanted:
            step *= factor
            break
    first = math.ceil(low / step - 1e-9)
    return [index * step for index in range(first, math.floor(high / step + 1e-9) + 1)]


class _Axis:
    """Maps values to pixels; linear or logarithmic."""

    def __init__(self, low, high, start, end, log=False):
        self.log = log
        self.low, self.high, self.start, self.end = low, high, start, end

    def __call__(self, value):
        if self.log:
            share = (math.log10(value) - math.log10(self.low)) / ((math.log10(self.high) - math.log10(self.low)) or 1)
        else:
            share = (value - self.low) / ((self.high - self.low) or 1)
        return self.start + share * (self.end - self.start)

    def ticks(self):
        if not self.log:
            return _linear_ticks(self.low, self.high)
        first, last = math.floor(math.log10(self.low)), math.ceil(math.log10(self.high))
        every = max(1, (last - first) // 6)
        decades = [10.0**exponent for exponent in range(first, last + 1, every)]
        values = decades if last - first > 2 else sorted(decades + [3 * decade for decade in decades])
        return [value for value in values if self.low * 0.999 <= value <= self.high * 1.001]


def _line(points, x, y, colour, width=2.0, opacity=1.0):
    path = " ".join(f"{x(a):.1f},{y(b):.1f}" for a, b in points)
    return (f'<polyline points="{path}" fill="none" stroke="var({colour})" stroke-width="{width}" stroke-opacity="{opacity}" '
            'stroke-linejoin="round" stroke-linecap="round"/>')


def _dots(points, x, y, colour, title):
    return "".join(f'<circle cx="{x(a):.1f}" cy="{y(b):.1f}" r="3" fill="var({colour})"><title>{html.escape(title(a, b))}</title></circle>'
                   for a, b in points)


def _spread(labels, low, high, gap=15):
    """Moves label heights apart until none overlap: [(y, text, colour)] -> the same, sorted by y."""
    placed = []
    for y, text, colour in sorted(labels):
        placed.append([max(y, placed[-1][0] + gap) if placed else max(y, low), text, colour])
    limit = high
    for label in reversed(placed):
        label[0] = min(label[0], limit)
        limit = label[0] - gap
    return placed


class _Chart:
    """Frame, grid and axis labels of one chart; series are added on top."""

    width, left, top, bottom = 500, 46, 12, 40

    def __init__(self, x_range, y_range, x_title, x_format, y_format, log_x=False, log_y=False, right=112, height=300):
        self.right, self.height = right, height
        self.x = _Axis(*x_range, self.left, self.width - self.right, log_x)
        self.y = _Axis(*y_range, self.height - self.bottom, self.top, log_y)
        self.parts = []
        self.labels = []
        for tick in self.y.ticks():
            height = self.y(tick)
            self.parts.append(f'<line x1="{self.left}" x2="{self.width - self.right}" y1="{height:.1f}" y2="{height:.1f}" '
                              'stroke="var(--grid)"/>'
                              f'<text x="{self.left - 8}" y="{height + 4:.1f}" text-anchor="end">{y_format(tick)}</text>')
        floor = self.height - self.bottom
        self.parts.append(f'<line x1="{self.left}" x2="{self.width - self.right}" y1="{floor}" y2="{floor}" stroke="var(--line)"/>')
        for tick in self.x.ticks():
            place = self.x(tick)
            self.parts.append(f'<line x1="{place:.1f}" x2="{place:.1f}" y1="{floor}" y2="{floor + 4}" stroke="var(--line)"/>'
                              f'<text x="{place:.1f}" y="{floor + 18}" text-anchor="middle">{x_format(tick)}</text>')
        middle = (self.left + self.width - self.right) / 2
        self.parts.append(f'<text x="{middle:.1f}" y="{self.height - 4}" text-anchor="middle">{html.escape(x_title)}</text>')

    def series(self, points, colour, name, width=2.0, opacity=1.0, dots=None):
        if not points:
            return
        self.parts.append(_line(points, self.x, self.y, colour, width, opacity))
        if dots:
            self.parts.append(_dots(points, self.x, self.y, colour, dots))
        if name:
            self.labels.append((self.y(points[-1][1]) + 4, name, colour))

    def level(self, value, colour, name):
        """A horizontal reference with its name at the right."""
        height = self.y(value)
        self.parts.append(f'<line x1="{self.left}" x2="{self.width - self.right}" y1="{height:.1f}" y2="{height:.1f}" '
                          f'stroke="var({colour})" stroke-width="1.5" stroke-dasharray="5 4"/>')
        self.labels.append((height + 4, name, colour))

    def svg(self, description):
        edge = self.width - self.right + 8
        labels = "".join(f'<text class="label" x="{edge}" y="{y:.1f}" style="fill:var({colour})">{html.escape(text)}</text>'
                         for y, text, colour in _spread(self.labels, self.top + 4, self.height - self.bottom))
        return (f'<svg viewBox="0 0 {self.width} {self.height}" role="img" aria-label="{html.escape(description)}">'
                + "".join(self.parts) + labels + "</svg>")


def _smooth(points, window):
    """Centred running mean, so that a noisy curve can be read."""
    smoothed = []
    for index, (x, _) in enumerate(points):
        part = points[max(0, index - window):index + window + 1]
        smoothed.append((x, sum(y for _, y in part) / len(part)))
    return smoothed


def _loss_range(summary, rows):
    values = [row[key] for row in rows for key in ("train_loss", "val_loss") if row[key] is not None]
    values += [summary[key] for key in ("unigram_val_loss", "solo_val_loss", "val_loss_first") if summary.get(key) is not None]
    # The untrained model's loss (ln 256 = 5.5) would flatten everything that matters; the curve may leave at the top.
    top = max(summary.get("unigram_val_loss") or 0, summary.get("solo_val_loss") or 0, 0.1) * 1.22
    return max(0.0, min(values) * 0.93), min(max(values), max(top, min(values) * 1.6))


def _clip(points, high):
    """Cuts a falling curve where it enters the chart, with the crossing point interpolated."""
    shown = []
    for (x0, y0), (x1, y1) in zip(points, points[1:]):
        if y0 > high >= y1:
            share = (y0 - high) / (y0 - y1)
            shown.append((x0 + share * (x1 - x0), high))
        if y1 <= high:
            if y0 <= high and not shown:
                shown.append((x0, y0))
            shown.append((x1, y1))
    return shown or [(x, min(y, high)) for x, y in points]


def _loss_by_round(summary, rows):
    low, high = _loss_range(summary, rows)
    chart = _Chart((0, max(row["round"] for row in rows)), (low, high), "round", human_count, lambda value: f"{value:.3g}")
    train = [(row["round"], row["train_loss"]) for row in rows if row["train_loss"] is not None]
    val = [(row["round"], row["val_loss"]) for row in rows if row["val_loss"] is not None]
    chart.series(_clip(train, high), "--a", "", width=1.0, opacity=0.3)
    chart.series(_clip(_smooth(train, max(2, len(train) // 40)), high), "--a", "training", width=2)
    chart.series(_clip(val, high), "--b", "validation", width=2.5, dots=lambda x, y: f"round {x:.0f}: {y:.4f}")
    if summary.get("unigram_val_loss"):
        chart.level(summary["unigram_val_loss"], "--soft", f"unigram {summary['unigram_val_loss']:.2f}")
    if summary.get("solo_val_loss"):
        chart.level(summary["solo_val_loss"], "--d", f"alone {summary['solo_val_loss']:.2f}")
    return chart.svg("training and validation loss by round")


def _loss_by_bytes(summary, rows):
    low, high = _loss_range(summary, rows)
    moved, total = {}, 0.0
    for row in rows:
        total += (row["bytes_up"] + row["bytes_down"]) / max(row["members"] or summary["workers"], 1)
        moved[row["round"]] = max(total, 1.0)
    val = [(row["round"], row["val_loss"]) for row in rows if row["val_loss"] is not None and row["round"] in moved and row["round"] > 0]
    ours = [(moved[number], loss) for number, loss in val]
    dense = [(number * summary["local_steps"] * summary["dense_bytes_per_step"], loss) for number, loss in val]
    if not ours:
        return ""
    x_range = (min(point[0] for point in ours) * 0.7, max(point[0] for point in dense) * 1.4)
    chart = _Chart(x_range, (low, high), "bytes moved by one worker, up and down (logarithmic)", human_bytes,
                   lambda value: f"{value:.3g}", log_x=True, right=24)
    chart.series(_clip(ours, high), "--b", "", width=2.5, dots=lambda x, y: f"{human_bytes(x)}: {y:.4f}")
    chart.series(_clip(dense, high), "--soft", "", width=2, dots=lambda x, y: f"{human_bytes(x)}: {y:.4f}")
    chart.parts.append(f'<text class="label" x="{chart.x(ours[-1][0]) - 8:.1f}" y="{chart.y(ours[-1][1]) + 16:.1f}" text-anchor="end" '
                       'style="fill:var(--b)">as sent</text>'
                       f'<text class="label" x="{chart.x(dense[-1][0]) - 8:.1f}" y="{chart.y(dense[-1][1]) + 16:.1f}" text-anchor="end">'
                       'if sent dense</text>')
    return chart.svg("validation loss by bytes moved")


def _bytes_per_step(summary, rows):
    steps = summary["local_steps"]
    curves = []
    for key, colour, name in (("bytes_up", "--a", "up"), ("bytes_down", "--c", "down")):
        points = [(row["round"], max(row[key] / max(row["members"] or summary["workers"], 1) / steps, 1.0))
                  for row in rows if row["round"] > 0]
        curves.append((points, colour, name))
    dense = summary["dense_bytes_per_step"] / 2
    lowest = min(value for points, _, _ in curves for _, value in points)
    highest = max([dense] + [value for points, _, _ in curves for _, value in points])
    chart = _Chart((0, max(row["round"] for row in rows)), (lowest * 0.5, highest * 2), "round", human_count, human_bytes, log_y=True,
                   height=410)
    chart.level(dense, "--soft", "dense fp32")
    for points, colour, name in curves:
        chart.series(points, colour, name, width=1.75)
    return chart.svg("bytes per step and worker, against dense fp32, by round")


def _phases(summary):
    phases = [(name, seconds) for name, seconds in summary["round_seconds"].items() if seconds > 0]
    total = sum(seconds for _, seconds in phases) or 1.0
    colours = ("--a", "--c", "--b", "--d", "--soft")
    bar, legend, at = [], [], 0.0
    width, gap = 1020.0, 2.0
    for index, (name, seconds) in enumerate(phases):
        share = seconds / total
        colour = colours[index % len(colours)]
        bar.append(f'<rect x="{at:.1f}" y="4" width="{max(share * width - gap, 1):.1f}" height="26" rx="4" fill="var({colour})">'
                   f'<title>{html.escape(name)}: {human_seconds(seconds)}</title></rect>')
        at += share * width
        place = index * width / len(phases)
        legend.append(f'<rect x="{place:.1f}" y="46" width="12" height="12" rx="3" fill="var({colour})"/>'
                      f'<text x="{place + 18:.1f}" y="56">{html.escape(name)} <tspan class="label">{human_seconds(seconds)}</tspan>'
                      f' · {100 * share:.0f} %</text>')
    return (f'<svg viewBox="0 0 {width:.0f} 62" role="img" aria-label="mean seconds of a round by phase">'
            + "".join(bar + legend) + "</svg>")


def _tile(value, text):
    return f'<div class="card tile"><b>{html.escape(value)}</b><span>{text}</span></div>'


def _figure(title, caption, drawing):
    return f'<figure class="card"><h2>{title}</h2><figcaption>{caption}</figcaption>{drawing}</figure>'


def _rows(pairs):
    return "".join(f"<tr><th>{name}</th><td class=n>{value}</td></tr>" for name, value in pairs)


def _sites_table(summary):
    lines = ["<tr><th>site</th><th class=n>rounds included</th><th class=n>late</th><th class=n>missed</th>"
             "<th class=n>up</th><th class=n>down</th></tr>"]
    for site in summary["sites"]:
        lines.append(f"<tr><td>{html.escape(site['site'])}</td><td class=n>{site['included']}</td><td class=n>{site['late']}</td>"
                     f"<td class=n>{site['missed']}</td><td class=n>{human_bytes(site['bytes_up'])}</td>"
                     f"<td class=n>{human_bytes(site['bytes_down'])}</td></tr>")
    return "<table>" + "".join(lines) + "</table>"


def render(summary, rows):
    """The page, as text."""
    up, down, dense = summary["bytes_up_per_step"], summary["bytes_down_per_step"], summary["dense_bytes_per_step"]
    equal = summary["hashes_equal"]
    verdict = (f'<span class="good">all {len(summary["hashes"])} hashes equal</span>' if equal
               else '<span class="bad">the hashes differ</span>')
    hashes = "".join(f"<tr><td>{html.escape(name)}</td><td><code>{html.escape(value)}</code></td></tr>"
                     for name, value in summary["hashes"].items())
    alone = f"{summary['solo_val_loss']:.2f}" if summary.get("solo_val_loss") is not None else "-"
    facts = _rows([
        ("validation loss, first", f"{summary['val_loss_first']:.3f}"),
        ("validation loss, last", f"<b>{summary['val_loss_last']:.3f}</b>"),
        ("one worker alone, same steps", f"{summary['solo_val_loss']:.3f}" if summary.get("solo_val_loss") is not None else "-"),
        ("unigram model", f"{summary['unigram_val_loss']:.3f}"),
        ("rounds × local steps", f"{summary['rounds']} × {summary['local_steps']}"),
        ("stragglers", f"{summary['stragglers']}"),
    ])
    traffic = _rows([
        ("up, per step and worker", human_bytes(up)),
        ("down, per step and worker", human_bytes(down)),
        ("including joining the run", human_bytes(summary["bytes_joining_per_step"])),
        ("dense fp32, up and down", human_bytes(dense)),
        ("reduction, all bytes counted", f"<b>{human_count(summary['reduction'])} ×</b>"),
        ("training time", human_seconds(summary["training_seconds"])),
    ])
    sample = html.escape(summary.get("sample") or "")
    return f"""<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>Tributary: {html.escape(summary['run'])}</title><style>{_STYLE}</style></head><body><main>
<h1>One model, {summary['workers']} sites, no shared data</h1>
<p class="lead">Run <code>{html.escape(summary['run'])}</code>: {human_count(summary['parameters'])} parameters, optimiser
<code>{html.escape(summary['optimizer'])}</code>, {summary['rounds']} rounds; {verdict}.</p>
<div class="tiles">
{_tile(f"{human_count(summary['reduction'])} ×", "fewer bytes than dense fp32, both ways together")}
{_tile(human_bytes(up + down), f"per step and worker, instead of {human_bytes(dense)}")}
{_tile(f"{summary['val_loss_last']:.2f}", f"validation loss, from {summary['val_loss_first']:.2f} (nats per byte)")}
{_tile(alone, "what one site reaches alone in the same steps")}
</div>
<div class="pair">
{_figure("Loss by round", "Mean over the sites, nats per byte. Dashed: references.", _loss_by_round(summary, rows))}
{_figure("Loss by bytes", "Validation loss against the bytes one worker had moved by then.", _loss_by_bytes(summary, rows))}
</div>
<div class="pair">
{_figure("Bytes per step and worker", "Each direction, every message with its framing.", _bytes_per_step(summary, rows))}
<section class="card"><h2>In figures</h2><table>{facts}</table><table>{traffic}</table></section>
</div>
<div class="wide">{_figure("Where a round's time goes", "Means over all rounds.", _phases(summary))}</div>
<section class="card wide"><h2>Sites</h2>{_sites_table(summary)}</section>
<section class="card wide"><h2>State hash of every process after the last round</h2><table>{hashes}</table></section>
<section class="card"><h2>Text from the exported model</h2>
<p class="note">Sampled by <code>tributary-worker sample</code>.</p><pre>{sample}</pre></section>
</main></body></html>
"""


def write_report(work_dir):
    """Reads summary.json and rounds.csv in `work_dir` and writes report.html there. Returns its path."""
    work_dir = pathlib.Path(work_dir)
    summary = json.loads((work_dir / "summary.json").read_text(encoding="utf-8"))
    path = work_dir / "report.html"
    path.write_text(render(summary, read_rounds(work_dir / "rounds.csv")), encoding="utf-8")
    return path


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python3 deploy/report.py WORK_DIR")
    print(write_report(sys.argv[1]))
