"""Draws a dashboard as one picture, from a real Prometheus' answers: what Grafana would show, near enough for the docs. Needs
matplotlib."""

import math
import re

import matplotlib
import matplotlib.pyplot as plt
import matplotlib.ticker
import numpy as np
from PIL import Image

import scrape

matplotlib.use("agg")

BACKGROUND, CARD, GRID, TEXT, DIM = "#111217", "#181b1f", "#2c3036", "#d5d7df", "#8e93a0"
PALETTE = ("#73bf69", "#f2cc0c", "#8ab8ff", "#ff780a", "#f2495c", "#5794f2", "#b877d9", "#5d9cab", "#c8f2c2", "#ffb357")
NAMED = {"green": "#73bf69", "yellow": "#f2cc0c", "red": "#f2495c", "blue": "#5794f2", "orange": "#ff780a"}
UNIT_PIXELS = 50, 30  # of Grafana's grid
DPI = 100


def colour(name):
    return NAMED.get(name, name)


def number(value, unit, decimals=None):
    """The value as Grafana writes it."""
    if not math.isfinite(value):
        return "-"
    if unit in ("bytes", "decbytes", "Bps"):
        base, names = (1024, ("B", "KiB", "MiB", "GiB", "TiB")) if unit == "bytes" else (1000, ("B", "kB", "MB", "GB", "TB"))
        power = min(4, max(0, int(math.log(abs(value), base) + 1e-9))) if abs(value) >= 1 else 0
        return f"{value / base ** power:.3g} {names[power]}{'/s' if unit == 'Bps' else ''}"
    if unit == "s":
        for size, name in ((86400, "days"), (3600, "hours"), (60, "min"), (1, "s"), (0.001, "ms")):
            if abs(value) >= size:
                return f"{value / size:.3g} {name}"
        return f"{value * 1e6:.3g} µs" if value else "0 s"
    if unit == "percentunit":
        return f"{100 * value:.3g} %"
    text = f"{value:,.{decimals}f}" if decimals is not None else f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
    return text + (unit.removeprefix("suffix:") if unit.startswith("suffix:") else "")


class Board:
    """One dashboard over [start, end] (seconds since the epoch); `variables` as in scrape.filled."""

    def __init__(self, prometheus, dashboard, variables, start, end):
        self.prometheus, self.dashboard, self.variables = prometheus, dashboard, variables
        self.start, self.end = start, end
        self.step = max(1, round((end - start) / 120))

    def series(self, panel, target):
        """[(legend, times, values)] of the time range."""
        found = []
        for labels, points in self.prometheus.query_range(scrape.filled(target["expr"], self.variables), self.start, self.end, self.step):
            pattern = target["legendFormat"]
            name = re.sub(r"\{\{(\w+)\}\}", lambda label, labels=labels: labels.get(label[1], ""), pattern) if pattern else panel["title"]
            times, values = [], []
            for time, value in points:
                if times and time - times[-1] > 1.5 * self.step:  # a gap, not a line over it
                    times.append(times[-1] + self.step)
                    values.append(math.nan)
                times.append(time)
                values.append(value)
            found.append((name, times, values))
        return sorted(found)

    def all_series(self, panel):
        return [entry for target in panel["targets"] for entry in self.series(panel, target)]

    def draw(self, path):
        panels = self.dashboard["panels"]
        rows = max(panel["gridPos"]["y"] + panel["gridPos"]["h"] for panel in panels)
        width, height = 24 * UNIT_PIXELS[0], rows * UNIT_PIXELS[1]
        self.figure = plt.figure(figsize=(width / DPI, height / DPI), dpi=DPI, facecolor=BACKGROUND)
        plt.rcParams.update({"font.family": "DejaVu Sans", "font.size": 7, "text.color": TEXT, "axes.edgecolor": GRID,
                             "axes.labelcolor": DIM, "xtick.color": DIM, "ytick.color": DIM})
        for panel in panels:
            place = panel["gridPos"]
            gap = 3
            box = ((place["x"] * UNIT_PIXELS[0] + gap) / width, 1 - ((place["y"] + place["h"]) * UNIT_PIXELS[1] - gap) / height,
                   (place["w"] * UNIT_PIXELS[0] - 2 * gap) / width, (place["h"] * UNIT_PIXELS[1] - 2 * gap) / height)
            if panel["type"] == "row":
                self.figure.text(box[0], box[1] + box[3] / 2, panel["title"], size=9, weight="bold", va="center")
                continue
            card = self.figure.add_axes(box, facecolor=CARD)
            card.set(xticks=[], yticks=[], xlim=(0, 1), ylim=(0, 1))
            pixels = place["w"] * UNIT_PIXELS[0], place["h"] * UNIT_PIXELS[1]
            card.text(8 / pixels[0], 1 - 14 / pixels[1], panel["title"], size=7.5, weight="bold", va="center")
            getattr(self, panel["type"].replace("-", "_"))(panel, card, box, pixels)
        self.figure.savefig(path, facecolor=BACKGROUND)
        plt.close(self.figure)
        # A picture of few colours: a third of the bytes.
        Image.open(path).convert("RGB").quantize(160, dither=Image.Dither.NONE).save(path, optimize=True)

    def plot_area(self, box, pixels, left=58, right=12, top=30, bottom=46):
        """Axes within a card, margins in pixels."""
        area = self.figure.add_axes((box[0] + left / pixels[0] * box[2], box[1] + bottom / pixels[1] * box[3],
                                     box[2] * (1 - (left + right) / pixels[0]), box[3] * (1 - (top + bottom) / pixels[1])), facecolor=CARD)
        area.tick_params(length=0, labelsize=6.5)
        area.grid(color=GRID, linewidth=0.6)
        area.set_axisbelow(True)
        for side in area.spines.values():
            side.set_visible(False)
        return area

    def time_axis(self, area):
        area.set_xlim(self.start, self.end)
        area.xaxis.set_major_locator(matplotlib.ticker.MaxNLocator(5))
        area.xaxis.set_major_formatter(lambda value, _: f"{int(value - self.start) // 60}:{int(value - self.start) % 60:02d}")

    def shade(self, panel, value):
        """The colour of the highest threshold reached."""
        reached = [step["color"] for step in panel["fieldConfig"]["defaults"]["thresholds"]["steps"]
                   if step["value"] is None or value >= step["value"]]
        return colour(reached[-1])

    def fixed_colours(self, panel, names):
        """{name: (colour, dashed)}."""
        chosen = {name: (PALETTE[index % len(PALETTE)], False) for index, name in enumerate(names)}
        for override in panel["fieldConfig"]["overrides"]:
            if override["matcher"]["id"] == "byRegexp":
                chosen.update({name: (colour(override["properties"][0]["value"]["fixedColor"]), True) for name in names
                               if re.fullmatch(override["matcher"]["options"], name)})
        return chosen

    def stat(self, panel, card, box, pixels):
        found = self.all_series(panel)
        defaults = panel["fieldConfig"]["defaults"]
        if panel["options"]["textMode"] == "name":
            # Which of the series is there at the end.
            newest = max(found, key=lambda entry: entry[1][-1])
            card.text(0.5, 0.42, newest[0], size=13, weight="bold", ha="center", va="center", color=NAMED["green"])
            return
        for index, (name, times, values) in enumerate(found):
            middle = (index + 0.5) / len(found)
            text, shade = number(values[-1], defaults["unit"], defaults.get("decimals")), self.shade(panel, values[-1])
            for mapping in defaults["mappings"]:
                if (known := mapping["options"].get(f"{values[-1]:.0f}")) is not None:
                    text, shade = known["text"], colour(known["color"])
            card.text(middle, 0.46, text, size=17, weight="bold", ha="center", va="center", color=shade, zorder=3)
            if len(found) > 1:
                card.text(middle, 0.14, name, size=7, ha="center", va="center", color=DIM)
            if panel["options"]["graphMode"] == "area" and len(values) > 1 and len(found) == 1:
                area = self.plot_area(box, pixels, left=2, right=2, top=84, bottom=2)
                area.axis("off")
                area.fill_between(times, values, min(value for value in values if value == value), color=shade, alpha=0.25, linewidth=0)
                area.plot(times, values, color=shade, linewidth=1)
                area.margins(0, 0.05)

    def timeseries(self, panel, card, box, pixels):
        defaults = panel["fieldConfig"]["defaults"]
        custom = defaults["custom"]
        found = self.all_series(panel)
        shades = self.fixed_colours(panel, [name for name, _, _ in found])
        beside = panel["options"]["legend"]["placement"] == "right"
        area = self.plot_area(box, pixels, right=200 if beside else 12)
        if custom["stacking"]["mode"] == "normal":
            times = sorted({time for _, stamps, _ in found for time in stamps})
            layers = [[dict(zip(stamps, values)).get(time, 0) for time in times] for _, stamps, values in found]
            area.stackplot(times, np.nan_to_num(layers), colors=[shades[name][0] for name, _, _ in found], alpha=0.75, linewidth=0)
        else:
            for name, times, values in found:
                area.plot(times, values, color=shades[name][0], linewidth=1.4, linestyle="--" if shades[name][1] else "-")
        if custom["scaleDistribution"]["type"] == "log":
            area.set_yscale("log")
            area.yaxis.set_minor_formatter(matplotlib.ticker.NullFormatter())
            area.tick_params(which="minor", length=0)
        elif defaults.get("min") is not None:
            area.set_ylim(bottom=defaults["min"], top=defaults.get("max") or max(1e-9, area.get_ylim()[1]))
        area.yaxis.set_major_formatter(lambda value, _: number(value, defaults["unit"]))
        self.time_axis(area)
        self.legend(card, panel, found, shades, pixels, beside)

    def legend(self, card, panel, found, shades, pixels, beside):
        defaults = panel["fieldConfig"]["defaults"]
        left, line = 58, 0
        for index, (name, _, values) in enumerate(found):
            across, up = (pixels[0] - 180, pixels[1] - 46 - 17 * index) if beside else (left, 20 - 12 * line)
            across, up = across / pixels[0], up / pixels[1]
            card.plot([across, across + 12 / pixels[0]], [up, up], color=shades[name][0], linewidth=2.5)
            card.text(across + 17 / pixels[0], up, name, size=6.5, va="center")
            if beside:
                card.text(1 - 14 / pixels[0], up, number(values[-1], defaults["unit"]), size=6.5, va="center", ha="right")
            left += 34 + 5.6 * len(name)
            if index + 1 < len(found) and left + 20 + 5.6 * len(found[index + 1][0]) > pixels[0]:
                left, line = 58, line + 1

    def bargauge(self, panel, card, box, pixels):
        defaults = panel["fieldConfig"]["defaults"]
        found = self.all_series(panel)
        area = self.plot_area(box, pixels, left=110, right=76, bottom=12)
        area.grid(False)
        largest = max([values[-1] for _, _, values in found] + [1e-9])
        for index, (name, _, values) in enumerate(found):
            shade = self.shade(panel, values[-1])
            area.barh(-index, largest, color=GRID, height=0.7)
            area.barh(-index, values[-1], color=shade, height=0.7)
            area.text(largest * 1.02, -index, number(values[-1], defaults["unit"], defaults.get("decimals")), va="center", size=7.5,
                      color=shade)
        area.set(xlim=(0, largest), xticks=[], yticks=[-index for index in range(len(found))])
        area.set_yticklabels([name for name, _, _ in found], color=TEXT)

    def state_timeline(self, panel, card, box, pixels):
        states = {int(key): value for key, value in panel["fieldConfig"]["defaults"]["mappings"][0]["options"].items()}
        found = self.all_series(panel)
        area = self.plot_area(box, pixels, left=70)
        for index, (_, times, values) in enumerate(found):
            for time, value in ((time, value) for time, value in zip(times, values) if value == value):
                area.barh(-index, self.step, left=time, color=colour(states[round(value)]["color"]), height=0.7, linewidth=0)
        area.set(ylim=(-len(found) + 0.5, 0.5), yticks=[-index for index in range(len(found))])
        area.set_yticklabels([name for name, _, _ in found], color=TEXT)
        self.time_axis(area)
        seen = sorted({round(value) for _, _, values in found for value in values if value == value})
        shades = {states[state]["text"]: (colour(states[state]["color"]), False) for state in seen}
        self.legend(card, panel, [(name, [], [0]) for name in shades], shades, pixels, beside=False)

    def table(self, panel, card, box, pixels):
        label = panel["transformations"][0]["options"]["byField"]
        names = panel["transformations"][1]["options"]["renameByName"]
        units = {override["matcher"]["options"]: override["properties"][0]["value"] for override in panel["fieldConfig"]["overrides"]}
        columns = {}
        for target in panel["targets"]:
            title = names[f"Value #{target['refId']}"]
            columns[title] = {labels[label]: value for labels, value in
                              self.prometheus.query(scrape.filled(target["expr"], self.variables))}
        lines = sorted({key for column in columns.values() for key in column})
        for index, title in enumerate([names[label], *columns]):
            across = 0.04 + index * 0.94 / (len(columns) + 1)
            card.text(across, 1 - 44 / pixels[1], title, size=7, color=NAMED["blue"], va="center")
            for line, key in enumerate(lines):
                text = key if index == 0 else number(columns[title].get(key, math.nan), units[title])
                card.text(across, 1 - (70 + 24 * line) / pixels[1], text, size=7.5, va="center")
        for line in range(len(lines)):
            card.plot([0.02, 0.98], [1 - (57 + 24 * line) / pixels[1]] * 2, color=GRID, linewidth=0.7)

    def xychart(self, panel, card, box, pixels):
        known = {name: dict(zip(times, values)) for name, times, values in self.all_series(panel)}
        area = self.plot_area(box, pixels)
        shades = {}
        for index, entry in enumerate(panel["options"]["series"]):
            x, y = known[entry["x"]["matcher"]["options"]], known[entry["y"]["matcher"]["options"]]
            times = sorted(x.keys() & y.keys())
            shades[entry["name"]["fixed"]] = (PALETTE[index], False)
            area.plot([x[time] for time in times], [y[time] for time in times], color=PALETTE[index], marker="o", markersize=2, linewidth=1)
        area.set_xscale("log")
        area.xaxis.set_major_formatter(lambda value, _: number(value, "decbytes"))
        area.xaxis.set_minor_formatter(matplotlib.ticker.NullFormatter())
        area.tick_params(which="minor", length=0)
        self.legend(card, panel, [(name, [], [0]) for name in shades], shades, pixels, beside=False)
