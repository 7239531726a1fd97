"""The words in which dashboards.py says its panels: each function returns a part of Grafana's JSON. Standard library only."""

RUNBOOK = "docs/how-to/runbook.md"
SOURCE = {"type": "prometheus", "uid": "${datasource}"}
WIDTH = 24
GREEN, YELLOW, RED, BLUE, GREY, PURPLE, ORANGE = "green", "yellow", "red", "blue", "#8e8e8e", "purple", "orange"

# A site's state as a number, because a timeline wants one series a site.
SITE_STATES = (("away", GREY), ("connected", BLUE), ("syncing", YELLOW), ("ready", GREEN), ("refused", ORANGE), ("quarantined", RED))


def link(title, url, **settings):
    return {"type": "link", "title": title, "url": url, "icon": "doc", "tooltip": "What to do when an alert fires", "tags": [],
            "targetBlank": True, "asDropdown": False, "includeVars": False, "keepTime": False, **settings}


def target(expression, legend="", instant=False, table=False):
    """One query of a panel."""
    return {"expr": " ".join(expression.split()), "legendFormat": legend, "instant": instant, "range": not instant,
            "format": "table" if table else "time_series"}


def panel(kind, title, description, targets, unit, width, height, *, options, custom=None, decimals=None, steps=None, mappings=None,
          maximum=None, minimum=None, overrides=(), transformations=(), colour=None, runbook=None):
    """A panel; `steps` are thresholds as (from, colour), the first from None. `runbook`: the alert on whose page its trouble is."""
    defaults = {"unit": unit, "custom": custom or {}, "mappings": mappings or [], "color": colour or {"mode": "palette-classic"},
                "thresholds": {"mode": "absolute", "steps": [{"value": value, "color": name} for value, name in steps or [(None, GREEN)]]}}
    defaults.update({name: value for name, value in (("decimals", decimals), ("max", maximum), ("min", minimum)) if value is not None})
    for index, entry in enumerate(targets):
        entry.update(refId=chr(ord("A") + index), datasource=SOURCE)
    links = [link(f"Runbook: {runbook}", f"{RUNBOOK}#{runbook.lower()}")] if runbook else []
    return {"type": kind, "title": title, "description": " ".join(description.split()), "datasource": SOURCE, "targets": targets,
            "gridPos": {"w": width, "h": height, "x": 0, "y": 0}, "links": links, "options": options,
            "fieldConfig": {"defaults": defaults, "overrides": list(overrides)}, "transformations": list(transformations)}


def stat(title, description, *targets, unit="short", width=4, steps=None, mappings=None, decimals=None, text_mode="auto", runbook=None,
         sparkline=True):
    return panel("stat", title, description, list(targets), unit, width, 4, steps=steps, mappings=mappings, decimals=decimals,
                 runbook=runbook, colour={"mode": "thresholds"},
                 options={"colorMode": "value", "graphMode": "area" if sparkline else "none", "justifyMode": "auto", "orientation": "auto",
                          "textMode": text_mode, "wideLayout": True, "showPercentChange": False, "percentChangeColorMode": "standard",
                          "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False}})


def lines(title, description, *targets, unit="short", width=12, height=8, stacked=False, logarithmic=False, table=False, decimals=None,
          minimum=0, maximum=None, overrides=(), runbook=None):
    """Lines over time; `table`: the legend is a table with the last values."""
    custom = {"drawStyle": "line", "lineInterpolation": "linear", "lineWidth": 1 if stacked else 2, "fillOpacity": 35 if stacked else 0,
              "showPoints": "never", "spanNulls": False, "stacking": {"mode": "normal" if stacked else "none", "group": "A"},
              "scaleDistribution": {"type": "log", "log": 10} if logarithmic else {"type": "linear"}}
    return panel("timeseries", title, description, list(targets), unit, width, height, custom=custom, decimals=decimals,
                 overrides=overrides, minimum=None if logarithmic else minimum, maximum=maximum, runbook=runbook,
                 options={"legend": {"displayMode": "table" if table else "list", "placement": "right" if table else "bottom",
                                     "showLegend": True, "calcs": ["lastNotNull"] if table else []},
                          "tooltip": {"mode": "multi", "sort": "desc"}})


def bars(title, description, *targets, unit, width=8, height=8, steps=None, decimals=None, runbook=None):
    """One bar for each series' last value."""
    return panel("bargauge", title, description, list(targets), unit, width, height, steps=steps, decimals=decimals, minimum=0,
                 runbook=runbook, colour={"mode": "thresholds"},
                 options={"displayMode": "basic", "orientation": "horizontal", "showUnfilled": True, "valueMode": "color",
                          "namePlacement": "left", "sizing": "auto", "minVizWidth": 8, "minVizHeight": 16, "maxVizHeight": 40,
                          "legend": {"displayMode": "list", "placement": "bottom", "showLegend": False, "calcs": []},
                          "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False}})


def timeline(title, description, *targets, states, width=12, height=8, runbook=None):
    """The state of each series over time; `states` are (text, colour) in the order of their numbers."""
    return panel("state-timeline", title, description, list(targets), "none", width, height, runbook=runbook, mappings=[value_map(states)],
                 custom={"fillOpacity": 75, "lineWidth": 0}, colour={"mode": "thresholds"},
                 options={"showValue": "never", "mergeValues": True, "rowHeight": 0.85, "alignValue": "left", "perPage": 40,
                          "legend": {"displayMode": "list", "placement": "bottom", "showLegend": True, "calcs": []},
                          "tooltip": {"mode": "single", "sort": "none"}})


def scatter(title, description, *targets, x_names, y_names, x_unit, width=12, height=9):
    """Every y over every x, for ranges that share their times."""
    def matcher(name):
        return {"matcher": {"id": "byName", "options": name}}
    series = [{"name": {"fixed": f"{y}, {x}"}, "frame": {"matcher": {"id": "byIndex", "options": 0}}, "x": matcher(x), "y": matcher(y)}
              for y in y_names for x in x_names]
    overrides = [{"matcher": {"id": "byName", "options": name},
                  "properties": [{"id": "unit", "value": x_unit}, {"id": "custom.scaleDistribution", "value": {"type": "log", "log": 10}}]}
                 for name in x_names]
    return panel("xychart", title, description, list(targets), "short", width, height, overrides=overrides, decimals=2,
                 transformations=[{"id": "joinByField", "options": {"byField": "Time", "mode": "outer"}}],
                 custom={"show": "points+lines", "pointSize": {"fixed": 3}, "lineWidth": 1},
                 options={"mapping": "manual", "series": series, "tooltip": {"mode": "single", "sort": "none"},
                          "legend": {"displayMode": "list", "placement": "bottom", "showLegend": True, "calcs": []}})


def table(title, description, by, columns, *, width=12, height=8):
    """One line for each value of the label `by`; `columns` are (title, unit, expression)."""
    targets = [target(expression, instant=True, table=True) for _, _, expression in columns]
    names = {f"Value #{chr(ord('A') + index)}": name for index, (name, _, _) in enumerate(columns)}
    overrides = [{"matcher": {"id": "byName", "options": name}, "properties": [{"id": "unit", "value": unit}]} for name, unit, _ in columns]
    hidden = {f"Time {index + 1}": True for index in range(len(columns))}
    return panel("table", title, description, targets, "short", width, height, overrides=overrides, custom={"align": "auto"},
                 options={"frameIndex": 0, "showHeader": True, "cellHeight": "sm",
                          "footer": {"show": False, "reducer": ["sum"], "countRows": False}},
                 transformations=[{"id": "joinByField", "options": {"byField": by, "mode": "outer"}},
                                  {"id": "organize", "options": {"excludeByName": {"Time": True, **hidden}, "indexByName": {},
                                                                 "renameByName": {by: by.capitalize(), **names}}}])


def value_map(states):
    return {"type": "value", "options": {str(index): {"text": text, "color": colour, "index": index}
                                         for index, (text, colour) in enumerate(states)}}


def dashed(name):
    """An override: the reference to compare with."""
    return {"matcher": {"id": "byRegexp", "options": name},
            "properties": [{"id": "color", "value": {"mode": "fixed", "fixedColor": GREY}},
                           {"id": "custom.lineStyle", "value": {"fill": "dash", "dash": [8, 6]}}]}


def query_variable(name, label, query, hidden=False):
    return {"type": "query", "name": name, "label": label, "datasource": SOURCE, "query": {"query": query, "refId": name}, "refresh": 2,
            "sort": 1, "multi": False, "includeAll": False, "hide": 2 if hidden else 0, "options": []}


def dashboard(uid, title, description, variables, rows):
    """`rows` are (title, panels); panels are laid from left to right, and wrapped."""
    windows = ("1m", "5m", "15m", "1h", "6h", "1d")
    common = [{"type": "datasource", "name": "datasource", "label": "Data source", "query": "prometheus", "refresh": 1, "hide": 0,
               "multi": False, "includeAll": False, "options": [], "regex": ""}]
    window = {"type": "interval", "name": "window", "label": "Averaged over", "query": ",".join(windows), "hide": 0, "refresh": 2,
              "current": {"text": "15m", "value": "15m", "selected": True},
              "options": [{"text": value, "value": value, "selected": value == "15m"} for value in windows]}
    panels = []
    top = 0
    for row_title, row in rows:
        panels.append({"type": "row", "title": row_title, "collapsed": False, "panels": [],
                       "gridPos": {"x": 0, "y": top, "w": WIDTH, "h": 1}})
        top += 1
        left = height = 0
        for entry in row:
            place = entry["gridPos"]
            if left + place["w"] > WIDTH:
                left, top, height = 0, top + height, 0
            place.update(x=left, y=top)
            left += place["w"]
            height = max(height, place["h"])
            panels.append(entry)
        top += height
    for index, entry in enumerate(panels):
        entry["id"] = index + 1
    links = [link("Tributary", "", type="dashboards", tags=["tributary"], asDropdown=True, includeVars=True, keepTime=True,
                  icon="external link", tooltip="The other dashboards", targetBlank=False),
             link("Runbook", RUNBOOK)]
    return {"uid": uid, "title": title, "description": " ".join(description.split()), "tags": ["tributary"], "schemaVersion": 39,
            "version": 1, "editable": True, "graphTooltip": 1, "refresh": "30s", "time": {"from": "now-6h", "to": "now"},
            "timezone": "browser", "links": links, "templating": {"list": [*common, *variables, window]}, "annotations": {"list": []},
            "panels": panels}
