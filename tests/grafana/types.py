"""Checks the dashboards against Grafana's own types: every key and value of dashboards, panels, options and field settings.

Needs npm and its registry, so it runs on demand: bash tests/run.sh --grafana, or python3 tests/grafana/types.py. Exits with 1 on findings.
"""

import json
import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
FOLDER = ROOT / "build" / "grafana-types"
PACKAGES = {"@grafana/schema": "11.6.16", "typescript": "5.9.3"}

# Panel type -> the name of its types, and whether they say what fieldConfig.defaults.custom is.
KINDS = {"bargauge": ("BarGauge", False), "stat": ("Stat", False), "state-timeline": ("StateTimeline", True), "table": ("Table", False),
         "timeseries": ("TimeSeries", True), "xychart": ("XYChart", True)}

# Enums of strings are strings in JSON.
HEAD = """import type {Dashboard, Panel, RowPanel} from '@grafana/schema/dist/esm/raw/dashboard/x/dashboard_types.gen';
import type {TableFieldOptions} from '@grafana/schema';
type Loose<T> = T extends string ? `${T}` : T extends number ? T : T extends (infer Item)[] ? Loose<Item>[]
  : T extends object ? {[Key in keyof T]: Loose<T[Key]>} : T;
export type Shell = Loose<Omit<Dashboard, 'panels'>>;
export type AnyPanel = Loose<Omit<Panel, 'options' | 'fieldConfig'>>;
export type Row = Loose<RowPanel>;
export type Field = Loose<Omit<NonNullable<Panel['fieldConfig']>['defaults'], 'custom'>>;
export type Override = Loose<NonNullable<Panel['fieldConfig']>['overrides'][number]>;
"""


def declarations(name, dashboard):
    """TypeScript that compiles if the dashboard is right: literals, because only these are refused a key too many."""
    def declare(suffix, kind, value):
        return f"// {name}: {suffix}\nexport const {name}_{suffix}: {kind} = {json.dumps(value, indent=1)};\n"

    yield declare("dashboard", "Shell", {key: value for key, value in dashboard.items() if key != "panels"})
    for panel in dashboard["panels"]:
        number = panel["id"]
        if panel["type"] == "row":
            yield declare(f"row_{number}", "Row", panel)
            continue
        kind, fields = KINDS[panel["type"]]
        defaults = dict(panel["fieldConfig"]["defaults"])
        custom = defaults.pop("custom")
        yield declare(f"panel_{number}", "AnyPanel", {key: value for key, value in panel.items() if key not in ("options", "fieldConfig")})
        yield declare(f"options_{number}", f"Loose<{kind}.Options>", panel["options"])
        yield declare(f"defaults_{number}", "Field", defaults)
        yield declare(f"overrides_{number}", "Override[]", panel["fieldConfig"]["overrides"])
        if fields:
            yield declare(f"custom_{number}", f"Loose<Partial<{kind}.FieldConfig>>", custom)
        elif kind == "Table":
            yield declare(f"custom_{number}", "Loose<Partial<TableFieldOptions>>", custom)


def main():
    FOLDER.mkdir(parents=True, exist_ok=True)
    (FOLDER / "package.json").write_text(json.dumps({"private": True, "dependencies": PACKAGES}), encoding="utf-8")
    subprocess.run(["npm", "install", "--no-audit", "--no-fund", "--silent"], cwd=FOLDER, check=True)
    lines = [HEAD]
    for kind, _ in KINDS.values():
        lines.append(f"import type * as {kind} from '@grafana/schema/dist/esm/raw/composable/{kind.lower()}/panelcfg/x/"
                     f"{kind}PanelCfg_types.gen';\n")
    paths = sorted((ROOT / "deploy" / "grafana" / "dashboards").glob("*.json"))
    for path in paths:
        lines.extend(declarations(path.stem, json.loads(path.read_text(encoding="utf-8"))))
    (FOLDER / "dashboards.ts").write_text("".join(lines), encoding="utf-8")
    result = subprocess.run(["npx", "tsc", "--noEmit", "--strict", "--skipLibCheck", "--target", "es2020", "--moduleResolution", "node",
                             "--module", "es2020", "dashboards.ts"], cwd=FOLDER, check=False)
    print(f"{len(paths)} dashboards, {'as' if result.returncode == 0 else 'not as'} Grafana's types say")
    return 1 if result.returncode or not paths else 0


if __name__ == "__main__":
    sys.exit(main())
