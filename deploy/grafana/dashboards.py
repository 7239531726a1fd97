"""The Grafana dashboards of a federation, from which deploy/grafana/dashboards/*.json are made.

    python3 deploy/grafana/dashboards.py [--docs URL] [--output FOLDER]

Change this file, never the JSON, and run it. `--docs` is where you serve the folder docs/ of this repository: links lead there.
Standard library only.
"""

import argparse
import json
import pathlib

from panels import (GREEN, RED, SITE_STATES, YELLOW, bars, dashboard, dashed, lines, query_variable, scatter, stat, table, target, timeline,
                    value_map)

DAY = 86400

FEDERATION = query_variable("job", "Federation", 'label_values(tributary_build_info{program="tributary-coordinator"}, job)')
RUN = query_variable("run", "Run", 'label_values(tributary_run_info{job="$job"}, run)')
SITE = query_variable("site", "Site", 'label_values(tributary_site_up{job="$job"}, site)')
WORKER = query_variable("worker", "Worker", 'label_values(tributary_worker_build_info{site="$site"}, instance)', hidden=True)

# One local step of one member; no value where none was made.
STEPS = '(sum(rate(tributary_steps_total{job="$job"}[$window])) > 0)'


def of_run(time):
    """Of what is counted by site, what the sites of the run have."""
    return f'and on (job, site) max_over_time(tributary_run_site{{job="$job",run="$run"}}[{time}])'


def reduction(width, height):
    return lines("Reduction against dense", """How many times fewer bytes than fp32 gradients of the same steps would have moved: both
                 directions, all traffic counted.""",
                 target("""(sum(rate(tributary_dense_equivalent_bytes_total{job="$job"}[$window])) > 0)
                           / sum(rate(tributary_bytes_total{job="$job"}[$window]))""", "reduction"),
                 unit="suffix:×", width=width, height=height, decimals=0)


def site_numbers(selector):
    """The state of each site as its index in SITE_STATES."""
    return " + ".join(f'{index} * max by (site) (tributary_site_state{{{selector},state="{state}"}})'
                      for index, (state, _) in enumerate(SITE_STATES) if index > 0)


def quantiles(metric):
    return [target(f'histogram_quantile({quantile}, sum by (le) (rate({metric}_bucket{{job="$job"}}[$window])))', name)
            for quantile, name in ((0.5, "median"), (0.99, "99 %"))]


def mean_by(label, metric, selector):
    return target(f"""sum by ({label}) (rate({metric}_sum{{{selector}}}[$window]))
                      / (sum by ({label}) (rate({metric}_count{{{selector}}}[$window])) > 0)""", f"{{{{{label}}}}}")


def federation():
    glance = [
        stat("Reduction against dense", "How many times fewer bytes than fp32 gradients of the same steps, over the time range.",
             target("""sum(increase(tributary_dense_equivalent_bytes_total{job="$job"}[$__range]))
                       / sum(increase(tributary_bytes_total{job="$job"}[$__range]))"""), unit="suffix:×", decimals=0, sparkline=False),
        stat("Newest run", "Name and state of the newest run that has begun, also after it ended.",
             target('tributary_run_info{job="$job"}', "{{run}}: {{state}}"), text_mode="name", sparkline=False,
             runbook="TributaryRunWaits"),
        stat("Last round", "Last committed round of each run.", target('tributary_round{job="$job"}', "{{run}}"), decimals=0),
        stat("Sites", "Sites that take part now, and sites on the coordinator's list.",
             target('sum(tributary_sessions{job="$job",state="ready"})', "ready"),
             target('count(tributary_site_up{job="$job"})', "on the list"), decimals=0, runbook="TributarySiteAway", sparkline=False),
        stat("Rounds per minute", "Committed rounds, averaged over the window.",
             target('60 * sum(rate(tributary_rounds_total{job="$job",outcome!="failed"}[$window]))'), decimals=1),
        stat("Alerts", "Alerts of Tributary that fire now. The alerts page of Prometheus or Grafana names them.",
             target('count(ALERTS{alertname=~"Tributary.*",alertstate="firing"}) or vector(0)'), decimals=0,
             steps=[(None, GREEN), (1, RED)], sparkline=False),
    ]
    wire = [
        lines("Bytes per step", """What one local step of one site costs on the wire, by direction and kind, framing included; up is towards
              the coordinator. Dashed: what fp32 gradients would cost. The axis is logarithmic.""",
              target(f"""(sum by (direction, kind) (rate(tributary_bytes_total{{job="$job"}}[$window])) > 0)
                         / on () group_left () {STEPS}""", "{{direction}} {{kind}}"),
              target(f"""sum by (direction) (rate(tributary_dense_equivalent_bytes_total{{job="$job"}}[$window]))
                         / on () group_left () {STEPS}""", "{{direction}} dense"),
              unit="decbytes", width=16, height=9, logarithmic=True, table=True, overrides=[dashed(".* dense")]),
        reduction(8, 9),
        lines("Traffic of each site", "Bytes on the wire, both directions and all kinds.",
              target('sum by (site) (rate(tributary_bytes_total{job="$job"}[$__rate_interval]))', "{{site}}"), unit="Bps", stacked=True),
        bars("Bytes in this time range", "Everything that moved between coordinator and sites, by direction and kind.",
             target('sum by (direction, kind) (increase(tributary_bytes_total{job="$job"}[$__range])) > 0', "{{direction}} {{kind}}"),
             unit="decbytes", width=12),
    ]
    progress = [
        lines("Rounds per minute, by outcome", """committed: with every member's update. partial: without some. empty: without any.
              failed: the run ended while the round was open.""",
              target('60 * sum by (outcome) (rate(tributary_rounds_total{job="$job"}[$window]))', "{{outcome}}"), stacked=True,
              runbook="TributaryRunWaits"),
        lines("Duration of a round", "Start of a round to its commit.", *quantiles("tributary_round_duration_seconds"), unit="s"),
    ]
    who = [
        timeline("State of each site", """ready: takes part. syncing: fetches the state that it lacks. connected: no run, or not asked yet.
                 refused: declined the run. quarantined: its replica differs from the log.""",
                 target(site_numbers('job="$job"'), "{{site}}"), states=SITE_STATES, width=14, runbook="TributarySiteAway"),
        table("Sites", "Updates are counted over the time range.", "site", [
            ("Heard from", "s", 'time() - max by (site) (tributary_site_last_seen_timestamp_seconds{job="$job"})'),
            ("Included", "none", 'round(sum by (site) (increase(tributary_updates_total{job="$job",result="included"}[$__range])))'),
            ("Late", "none", 'round(sum by (site) (increase(tributary_updates_total{job="$job",result="late"}[$__range])))'),
            ("Rejected", "none", 'round(sum by (site) (increase(tributary_updates_total{job="$job",result="rejected"}[$__range])))'),
        ], width=10),
    ]
    health = [
        stat("Replicas that differed", "Any in the time range needs attention.",
             target('round(sum(increase(tributary_replica_hash_mismatches_total{job="$job"}[$__range])))'), decimals=0,
             steps=[(None, GREEN), (1, RED)], runbook="TributaryReplicaDiffers", width=6, sparkline=False),
        stat("Runs that failed", "In the time range.",
             target('round(sum(increase(tributary_runs_total{job="$job",outcome="failed"}[$__range])))'), decimals=0,
             steps=[(None, GREEN), (1, RED)], runbook="TributaryRunFailed", width=6, sparkline=False),
        stat("Certificate files", "1 while the coordinator's certificate files are not good and the ones before are in use.",
             target('max(tributary_certificate_files_refused{job="$job"})'), steps=[(None, GREEN), (1, RED)], width=6, sparkline=False,
             mappings=[value_map([("good", GREEN), ("not good", RED)])], runbook="TributaryCertificateFilesRefused"),
        stat("Age of the newest snapshot", "A restart replays the rounds since then.",
             target('time() - max(tributary_snapshot_timestamp_seconds{job="$job"})'), unit="s", width=6, decimals=0, sparkline=False),
        lines("Updates rejected, by check", "Per minute. None of them is in the model. The runbook says what each check means.",
              target('60 * sum by (reason) (rate(tributary_update_rejections_total{job="$job"}[$window]))', "{{reason}}"), width=8,
              runbook="TributaryUpdatesRejected"),
        lines("Connections turned away", """Per minute, by reason. The coordinator's log says who. Many of them without a certificate
              (handshake) are a scan or an attack: the guard bounds what they cost.""",
              target('60 * sum by (reason) (rate(tributary_connections_refused_total{job="$job"}[$window]))', "{{reason}}"), width=8),
        lines("Durable writes", "What every accepted update and every commit waits for.", *quantiles("tributary_journal_fsync_seconds"),
              unit="s", width=8, runbook="TributarySlowDisk"),
        bars("Certificates", "Time until each party's certificate ends; a site's as it connected last.",
             target('max by (party) (tributary_certificate_expiry_timestamp_seconds{job="$job"}) - time()', "{{party}}"), unit="s",
             steps=[(None, RED), (3 * DAY, YELLOW), (10 * DAY, GREEN)], runbook="TributaryCertificateExpires"),
        lines("Disk", "Free where the coordinator keeps its data, and the most that the run in progress may still add.",
              target('min(tributary_disk_free_bytes{job="$job"})', "free"),
              target('max(tributary_disk_forecast_bytes{job="$job"})', "forecast"),
              unit="bytes", width=12, overrides=[dashed("forecast")], runbook="TributaryDiskForecast"),
        lines("Memory", "Of the coordinator, and what it may have.",
              target('max(tributary_memory_resident_bytes{job="$job"})', "in use"),
              target('max(tributary_memory_limit_bytes{job="$job"})', "limit"), unit="bytes", width=12, overrides=[dashed("limit")],
              runbook="TributaryMemoryLow"),
    ]
    return dashboard("tributary-federation", "Tributary / Federation",
                     "Is it progressing, who is here, what does the wire cost, is it healthy.", [FEDERATION],
                     [("At a glance", glance), ("What does the wire cost", wire), ("Is it progressing", progress), ("Who is here", who),
                      ("Is it healthy", health)])


def run():
    glance = [
        stat("State", "Until another run begins after its end.", target('tributary_run_info{job="$job",run="$run"}', "{{state}}"),
             text_mode="name", runbook="TributaryRunWaits", sparkline=False),
        stat("Last round", "Last committed round.", target(f'tributary_round{{job="$job",run="$run"}}'), decimals=0),
        stat("Training loss", "Mean over the sites, newest round, nats.", target(f'tributary_loss{{job="$job",run="$run",split="train"}}'),
             decimals=3),
        stat("Validation loss", "Mean over the sites that evaluated last, nats.",
             target(f'tributary_loss{{job="$job",run="$run",split="validation"}}'), decimals=3),
        stat("Reduction, newest round", "Dense bytes over bytes moved, both directions.",
             target(f'tributary_compression_ratio{{job="$job",run="$run"}}'), unit="suffix:×", decimals=0),
        stat("Duration of a round", "Mean over the window.",
             target("""sum(rate(tributary_round_duration_seconds_sum{job="$job"}[$window]))
                       / (sum(rate(tributary_round_duration_seconds_count{job="$job"}[$window])) > 0)"""), unit="s", decimals=2),
    ]
    learning = [
        lines("Loss", "Mean over the sites, nats.", target(f'tributary_loss{{job="$job",run="$run"}}', "{{split}}"), width=12, height=9,
              decimals=2, minimum=None),
        lines("Metrics", "Of the model on the validation splits, mean over the sites: those that the run asks for.",
              target(f'tributary_validation_metric{{job="$job",run="$run"}}', "{{metric}}"), width=12, height=9, decimals=3),
        scatter("Bytes to loss", """The loss over the bytes that were moved to reach it, and over those that fp32 gradients of the same
                steps would have taken. Bytes count from the coordinator's start; `tributary report` draws a whole run.""",
                target(f'max(tributary_loss{{job="$job",run="$run",split="train"}})', "training loss"),
                target('sum(tributary_bytes_total{job="$job"}) > 0', "bytes moved"),
                target('sum(tributary_dense_equivalent_bytes_total{job="$job"}) > 0', "dense bytes"),
                x_names=("bytes moved", "dense bytes"), y_names=("training loss",), x_unit="decbytes"),
    ]
    wire = [
        lines("Bytes per step, up", "Of a round, per member and local step: all kinds, towards the coordinator.",
              mean_by("direction", "tributary_bytes_per_step", 'job="$job",direction="up"'),
              target(f'sum(rate(tributary_dense_equivalent_bytes_total{{job="$job",direction="up"}}[$window])) / {STEPS}', "dense"),
              unit="decbytes", width=8, logarithmic=True, overrides=[dashed("dense")]),
        lines("Bytes per step, down", "Of a round, per member and local step: all kinds, towards the sites.",
              mean_by("direction", "tributary_bytes_per_step", 'job="$job",direction="down"'),
              target(f'sum(rate(tributary_dense_equivalent_bytes_total{{job="$job",direction="down"}}[$window])) / {STEPS}', "dense"),
              unit="decbytes", width=8, logarithmic=True, overrides=[dashed("dense")]),
        reduction(8, 8),
    ]
    time = [
        lines("Time of a round, by phase", """Mean. wait: until the last update that counts is in, which is training and upload at the
              sites. aggregate, apply, journal, broadcast: the coordinator's own work.""",
              mean_by("phase", "tributary_round_phase_seconds", 'job="$job",phase!~"compute|encode"'), unit="s", stacked=True,
              runbook="TributarySlowDisk"),
        lines("Time at the sites", """Mean over the sites, as they report it. What is left of the round's wait is the way to the coordinator
              and waiting for the slowest.""",
              mean_by("phase", "tributary_round_phase_seconds", 'job="$job",phase=~"compute|encode"'), unit="s", stacked=True),
    ]
    arrivals = [
        lines("Arrival of updates", """Start of a round until the site's update was accepted, mean. The topmost site is the one that the
              others wait for.""",
              target(f"""sum by (site) (rate(tributary_update_arrival_seconds_sum{{job="$job"}}[$window]) {of_run("$window")})
                         / (sum by (site) (rate(tributary_update_arrival_seconds_count{{job="$job"}}[$window]) {of_run("$window")}) > 0)""",
                     "{{site}}"), unit="s"),
        lines("Updates per minute, by result", """late: after the round's deadline; nothing is lost, it travels later. skipped: the site
              said that it will not take part in the round.""",
              target(f'60 * sum by (result) (rate(tributary_updates_total{{job="$job"}}[$window]) {of_run("$window")})', "{{result}}"),
              stacked=True, runbook="TributaryUpdatesRejected"),
        bars("Stragglers", "Updates of each site that were late or skipped in the time range.",
             target(f"""round(sum by (site) (increase(tributary_updates_total{{job="$job",result=~"late|skipped"}}[$__range])
                        {of_run("$__range")}))""", "{{site}}"),
             unit="none", width=12, decimals=0, steps=[(None, GREEN), (1, YELLOW)]),
        lines("Rounds without some or all updates", "Share of the rounds that were committed at the deadline.",
              target("""sum(rate(tributary_rounds_total{job="$job",outcome=~"partial|empty"}[$window]))
                        / (sum(rate(tributary_rounds_total{job="$job",outcome!="failed"}[$window])) > 0)""", "share"),
              unit="percentunit", maximum=1),
    ]
    return dashboard("tributary-run", "Tributary / Run",
                     """Does it learn, for how many bytes, where does the time go, whom do the others wait for. Of one run, until another
                     begins after its end. What is not counted by run or site (bytes per step, durations, phases) is of all runs in
                     progress.""",
                     [FEDERATION, RUN],
                     [("At a glance", glance), ("Does it learn", learning), ("What does it cost", wire), ("Where does the time go", time),
                      ("Arrivals and stragglers", arrivals)])


def site():
    of_site = 'job="$job",site="$site"'
    at_site = 'instance="$worker"'
    of_its_run = f'and on (job, run) tributary_run_site{{{of_site}}}'
    glance = [
        stat("State", "As the coordinator sees it.", target(site_numbers(of_site)), mappings=[value_map(SITE_STATES)], sparkline=False,
             runbook="TributarySiteAway"),
        stat("Heard from", "Time since the coordinator last heard from the site.",
             target(f"time() - max(tributary_site_last_seen_timestamp_seconds{{{of_site}}})"), unit="s", decimals=0, sparkline=False,
             runbook="TributarySiteAway"),
        stat("Rounds behind its run", "Last committed round less the round of the state at the site.",
             target(f'clamp_min(max(tributary_round{{job="$job"}} {of_its_run}) - max(tributary_worker_round{{{at_site}}}), 0)'),
             decimals=0),
        stat("Reduction against dense", "Of this site's bytes, over the time range: dense bytes of a site's share over bytes moved.",
             target(f"""sum(increase(tributary_dense_equivalent_bytes_total{{job="$job"}}[$__range]))
                        * sum(increase(tributary_updates_total{{{of_site},result="included"}}[$__range]))
                        / sum(increase(tributary_updates_total{{job="$job",result="included"}}[$__range]))
                        / sum(increase(tributary_bytes_total{{{of_site}}}[$__range]))"""), unit="suffix:×", decimals=0, sparkline=False),
        stat("Replica differed", "Any in the time range needs attention.",
             target(f"round(sum(increase(tributary_worker_replica_hash_mismatches_total{{{at_site}}}[$__range])))"), decimals=0,
             steps=[(None, GREEN), (1, RED)], sparkline=False, runbook="TributaryReplicaDiffers"),
        stat("Certificate ends in", "The certificate with which the site connected last.",
             target('max(tributary_certificate_expiry_timestamp_seconds{job="$job",party="site/$site"}) - time()'), unit="s", decimals=0,
             steps=[(None, RED), (3 * DAY, YELLOW), (10 * DAY, GREEN)], sparkline=False, runbook="TributaryCertificateExpires"),
    ]
    seen = [
        timeline("State", "As the coordinator sees it.", target(site_numbers(of_site), "{{site}}"), states=SITE_STATES, width=24, height=4,
                 runbook="TributarySiteAway"),
        lines("Traffic", "Bytes on the wire by direction and kind; up is towards the coordinator.",
              target(f"sum by (direction, kind) (rate(tributary_bytes_total{{{of_site}}}[$__rate_interval])) > 0",
                     "{{direction}} {{kind}}"),
              unit="Bps", stacked=True, width=8),
        lines("Updates per minute, by result", "What became of this site's updates.",
              target(f"60 * sum by (result) (rate(tributary_updates_total{{{of_site}}}[$window]))", "{{result}}"), stacked=True, width=8,
              runbook="TributaryUpdatesRejected"),
        lines("Arrival of its updates", "Start of a round until the update was accepted, and the mean over all sites.",
              mean_by("site", "tributary_update_arrival_seconds", of_site),
              target("""sum(rate(tributary_update_arrival_seconds_sum{job="$job"}[$window]))
                        / (sum(rate(tributary_update_arrival_seconds_count{job="$job"}[$window])) > 0)""", "all sites"),
              unit="s", width=8, overrides=[dashed("all sites")]),
    ]
    inside = [
        lines("Time of a round, by phase", """Mean. compute: local steps. persist: writing what a restart needs. All of them:
              docs/reference/metrics.md.""",
              mean_by("phase", "tributary_worker_step_seconds", at_site), unit="s", stacked=True),
        lines("Loss", "At this site, and over all sites of its run, nats.", target(f"tributary_worker_loss{{{at_site}}}", "{{split}}"),
              target(f'tributary_loss{{job="$job"}} {of_its_run}', "all sites, {{run}}, {{split}}"), decimals=2, minimum=None,
              overrides=[dashed("all sites.*")]),
        lines("Samples per second", "Samples trained on.",
              target(f"sum(rate(tributary_worker_samples_total{{{at_site}}}[$__rate_interval]))", "samples"), width=8),
        lines("Not sent yet", "L2 norm of the residual: what was learned and waits to be sent. Level is good; growth without end is not.",
              target(f"tributary_worker_residual_norm{{{at_site}}}", "residual"), width=8, decimals=2),
        lines("Bytes as the site counts them", "To compare with the coordinator's count.",
              target(f"sum by (direction) (rate(tributary_worker_bytes_total{{{at_site}}}[$__rate_interval]))", "{{direction}}"),
              unit="Bps", width=8),
        lines("Memory", "Of the worker, and what it may have.",
              target(f"max(tributary_worker_memory_resident_bytes{{{at_site}}})", "in use"),
              target(f"max(tributary_worker_memory_limit_bytes{{{at_site}}})", "limit"), unit="bytes", overrides=[dashed("limit")],
              runbook="TributaryMemoryLow"),
        lines("Disk", "Free where the worker keeps its state.", target(f"min(tributary_worker_disk_free_bytes{{{at_site}}})", "free"),
              unit="bytes", runbook="TributaryDiskLow"),
    ]
    return dashboard("tributary-site", "Tributary / Site",
                     """One site as the coordinator sees it, and from within: the lower half needs the worker's metrics_listen, and a
                     Prometheus that scrapes it.""",
                     [FEDERATION, SITE, WORKER],
                     [("At a glance", glance), ("As the coordinator sees it", seen), ("At the site", inside)])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--docs", default="docs", metavar="URL", help="where the folder docs/ is served (default: its path here)")
    parser.add_argument("--output", default=pathlib.Path(__file__).resolve().parent / "dashboards", type=pathlib.Path, metavar="FOLDER")
    arguments = parser.parse_args()
    arguments.output.mkdir(parents=True, exist_ok=True)
    for make in (federation, run, site):
        text = json.dumps(make(), indent=1, ensure_ascii=False).replace('"url": "docs/', f'"url": "{arguments.docs.rstrip("/")}/')
        (arguments.output / f"{make.__name__}.json").write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
