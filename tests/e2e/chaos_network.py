"""Lines that are slow, lossy or cut, and a site that was away for long."""

import time

import harness
from harness import federation

import link
from chaos_kit import Mismatch, Skip, pause

SITES = ("alpha", "beta")
MEGABIT = 125_000  # bytes
FRAME = 256 * 1024  # of a transfer


def _over_a_line(chaos, worker_config=None, sites=SITES, **config):
    """(line, federation): coordinator and beta at one end of a line, alpha at the other; nothing has been submitted. Of the workers,
    `sites` are started."""
    reason = link.missing()
    if reason:
        raise Skip(reason)
    line = link.Link(chaos.seed)
    chaos.cleanups.append(line.close)
    listen = f"{link.HUB}:{harness.lasting_port()}"
    parties = chaos.make(*SITES, listen=listen, **config)
    parties.command_prefix = line.prefix(link.HUB)
    parties.start_coordinator(prefix=line.prefix(link.HUB))
    parties.write_operator_config()
    for site, end in (("alpha", link.SITE), ("beta", link.HUB)):
        parties.write_worker_config(site, parties.directory / "data" / site, **{"max_backoff": "1s", **(worker_config or {})})
        if site in sites:
            parties.start_worker(site, prefix=line.prefix(end))
    return line, parties


def slow_line(chaos):
    """200 ms, 5 % loss in each direction, 1 Mbit/s: the same model as over loopback."""
    spec = chaos.spec(SITES, rounds=100 if chaos.long else 5)
    expected = chaos.reference(SITES, spec)
    line, parties = _over_a_line(chaos)
    line.delay, line.loss, line.rate = 0.1, 0.05, MEGABIT
    started = time.monotonic()
    chaos.submit(parties, spec)
    chaos.compare(chaos.finish(parties, spec, timeout=300), expected, "over a slow line")
    return {"rounds": spec["rounds"], "seconds_a_round": round((time.monotonic() - started) / spec["rounds"], 2),
            "packets_lost": line.up.lost_packets + line.down.lost_packets}


def cut_line(chaos):
    """A line that is cut in the middle of a dense upload, and of the download of the commit: both go on where they were."""
    seconds = 60 if chaos.long else 3
    spec = chaos.spec(SITES, rounds=2, optimizer={"mode": "allreduce", "k": None, "learning_rate": {"peak": 0.001}},
                      model={"gpt": {"layers": 2, "heads": 4, "width": 192, "context": 16}})
    expected = chaos.reference(SITES, spec)
    line, parties = _over_a_line(chaos)
    line.delay, line.rate = 0.02, 8 * MEGABIT
    log = chaos.coordinator_log(parties)
    chaos.submit(parties, spec)
    payload = 4 * int(parties.status(harness.RUN)["parameters"])
    up = _cut(line, line.up, payload, seconds, lambda: log.wait("round 1 committed", 180))
    figures = {"payload_bytes": payload, "cut_seconds": seconds, "up": up}
    if chaos.long:
        figures["down"] = _cut(line, line.down, payload, seconds, lambda: log.wait("round 2 committed", 180))
    line.rate = None
    chaos.compare(chaos.finish(parties, spec, timeout=120), expected, "after a cut")
    return figures


def _cut(line, direction, payload, seconds, done):
    """Cuts the line when 40 % of `payload` have arrived; returns the figures once it is `done`, and all has arrived once."""
    before = direction.delivered
    federation.wait_until(lambda: direction.delivered - before > payload * 0.4, 60, "the transfer to be under way")
    line.cut = True
    at_cut = direction.delivered - before
    pause(seconds)
    line.cut = False
    restored = time.monotonic()
    done()
    arrived = direction.delivered - before
    # Framing costs a little over one percent; what the receiver did not yet hold as a whole frame is lost with the connection.
    bound = 1.03 * payload + FRAME
    if arrived > bound:
        raise Mismatch(f"{arrived} bytes arrived for a transfer of {payload}: more than {bound:.0f}, so something came twice")
    return {"arrived_before_the_cut": at_cut, "arrived_in_all": arrived, "seconds_after_the_cut": round(time.monotonic() - restored, 1)}


def cut_snapshot(chaos):
    """A site joins a run that goes on without it, over a line that is cut in the middle of the snapshot, until its session is lost. Many
    rounds and snapshots later it goes on where it was."""
    # Commits must be fewer bytes a second than the line carries, or nobody at its end can ever keep up.
    spec = chaos.spec(SITES, rounds=100_000, participation={"min_workers": 1, "quorum": 0.5}, optimizer={"k": 4, "commit_k": 4},
                      model={"gpt": {"layers": 2, "heads": 4, "width": 192, "context": 16}})
    line, parties = _over_a_line(chaos, sites=("beta",), lease="3s", snapshots={"every": 5, "keep": 1})
    line.delay, line.rate = 0.02, 4 * MEGABIT
    log = chaos.coordinator_log(parties)
    chaos.submit(parties, spec)
    log.wait("round 8 committed", 60)
    payload = 4 * int(parties.status(harness.RUN)["parameters"])
    before = line.down.delivered
    parties.start_worker("alpha", prefix=line.prefix(link.SITE))
    federation.wait_until(lambda: line.down.delivered - before > payload * 0.6, 60, "the snapshot to be under way")
    line.cut = True
    at_cut = line.down.delivered - before
    log.wait("nothing heard for 3s: the site has left site=alpha", 30)
    pause(5)
    line.cut = False
    ready = int(log.wait(r"ready at round (\d+) .*site=alpha", 60)[1][1])
    arrived = line.down.delivered - before
    commits = chaos.site_bytes(parties, "alpha", kind="commit")
    bound = 1.03 * (payload + commits) + 2 * FRAME
    if arrived > bound:
        raise Mismatch(f"{arrived} bytes arrived for a snapshot of {payload} and {commits:.0f} of commits: more than {bound:.0f}")
    log.wait(r"round \d+ committed: 2 of 2", 60)
    parties.operator("run", "stop", harness.RUN)
    log.wait(r"run \S+ stopped", 60)
    return {"payload_bytes": payload, "arrived_before_the_cut": at_cut, "arrived_in_all": arrived, "commit_bytes": int(commits),
            "ready_at_round": ready}


def rejoin(chaos):
    """A site comes back after many missed rounds: what it is sent, against what dense training of these rounds would have moved."""
    missed = 1000 if chaos.long else 200
    spec = chaos.spec(SITES, rounds=missed + 400, participation={"min_workers": 1, "quorum": 0.5})
    parties = chaos.make(*SITES, lease="3s")
    chaos.start(parties)
    log = chaos.coordinator_log(parties)
    chaos.submit(parties, spec)
    log.wait("round 5 committed", 60)
    parties.processes["worker-beta"].kill()
    chaos.figures["kills_worker"] += 1
    left = int(parties.status(harness.RUN)["round"])
    log.wait(f"round {left + missed} committed", 240)
    before = chaos.site_bytes(parties, "beta")
    log.mark()
    parties.start_worker("beta")
    at = int(log.wait(r"ready at round (\d+) .*site=beta", 60)[1][1])
    moved = chaos.site_bytes(parties, "beta") - before
    dense = 2 * 4 * int(parties.status(harness.RUN)["parameters"]) * (at - left)
    chaos.finish(parties, spec, timeout=240, complete=False)
    share = moved / dense
    if share >= 0.01:
        raise Mismatch(f"{moved:.0f} bytes moved when the site came back, {share:.2%} of the {dense} of dense training")
    return {"rounds_missed": at - left, "bytes_moved": int(moved), "dense_bytes": dense, "share": round(share, 6)}
