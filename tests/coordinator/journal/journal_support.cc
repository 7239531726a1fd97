#include "tests/coordinator/journal/journal_support.h"
#include "coordinator/journal/updates_of.h"

#include "absl/strings/str_cat.h"
#include "common/checksum.h"
#include "optim/commit.h"

namespace tributary::coordinator {

JournaledRun MakeRun(const std::string& id) {
  JournaledRun run;
  run.run_id = id;
  run.spec.set_name("bible");
  run.spec.set_rounds(100);
  run.state = v1::RUNNING;
  run.reason = "training";
  run.submitted_unix_ms = 1234;
  return run;
}

JournaledUpdate MakeUpdate(const std::string& site, const std::string& payload) {
  JournaledUpdate update;
  update.site = site;
  update.payload = payload;
  update.report.set_train_loss(1.5F);
  return update;
}

JournaledCommit MakeCommit(uint64_t round, const Digest& previous, const std::string& payload) {
  JournaledCommit commit;
  commit.record = optim::EncodeCommit({round, 0.1F, 2, payload});
  commit.chain_hash = optim::ChainHash(previous, commit.record);
  commit.state_hash.fill(static_cast<uint8_t>(round));
  commit.round_record.set_round(round);
  commit.round_record.set_bytes_up(17 * round);
  commit.included = {"berlin", "paris"};
  v1::SiteStatus site;
  site.set_site("berlin");
  site.set_updates_included(round);
  commit.site_totals = {site};
  commit.arrivals[0] = {absl::Seconds(round), absl::Milliseconds(1500)};
  return commit;
}

void AddCommits(Journal& journal, const std::string& run, uint64_t first, uint64_t last, const std::string& payload) {
  Digest previous{};
  if (first > 1) {
    previous = journal.Commit(run, first - 1)->chain_hash;
  }
  for (uint64_t round = first; round <= last; ++round) {
    const JournaledCommit commit = MakeCommit(round, previous, absl::StrCat(payload, round));
    ASSERT_TRUE(journal.AddCommit(run, round, commit).ok());
    previous = commit.chain_hash;
  }
}

absl::StatusOr<std::string> Describe(Journal& journal) {
  std::string text;
  const absl::StatusOr<std::vector<JournaledRun>> runs = journal.Runs();
  if (!runs.ok()) {
    return runs.status();
  }
  for (const JournaledRun& run : *runs) {
    absl::StrAppend(&text, run.run_id, " ", run.state, " ", run.reason, " ", run.spec.SerializeAsString(), " ", run.submitted_unix_ms, " ",
                    run.finished_unix_ms, "\n");
    const auto open = journal.OpenRound(run.run_id);
    if (!open.ok()) {
      return open.status();
    }
    if (open->has_value()) {
      absl::StrAppend(&text, " open ", (*open)->round);
      for (const std::string& member : (*open)->members) {
        absl::StrAppend(&text, " ", member);
      }
    }
    const auto last = journal.LastCommit(run.run_id);
    if (!last.ok()) {
      return last.status();
    }
    for (uint64_t round = 1; round <= *last + 1; ++round) {
      const auto updates = UpdatesOf(journal, run.run_id, round);
      if (!updates.ok()) {
        return updates.status();
      }
      for (const JournaledUpdate& update : *updates) {
        absl::StrAppend(&text, " update ", round, " ", update.site, " ", update.payload, " ", update.report.SerializeAsString());
      }
    }
    const auto pruned = journal.PrunedThrough(run.run_id);
    if (!pruned.ok()) {
      return pruned.status();
    }
    absl::StrAppend(&text, " pruned ", *pruned);
    const absl::Status visited = journal.VisitCommits(run.run_id, *pruned + 1, *last, [&](uint64_t round, const JournaledCommit& commit) {
      absl::StrAppend(&text, " commit ", round, " ", commit.record, std::string(commit.state_hash.begin(), commit.state_hash.end()),
                      commit.round_record.SerializeAsString());
      return absl::OkStatus();
    });
    if (!visited.ok()) {
      return visited;
    }
    const auto totals = journal.SiteTotals(run.run_id);
    if (!totals.ok()) {
      return totals.status();
    }
    for (const v1::SiteStatus& site : *totals) {
      absl::StrAppend(&text, " totals ", site.SerializeAsString());
    }
    const auto evaluations = journal.Evaluations(run.run_id);
    if (!evaluations.ok()) {
      return evaluations.status();
    }
    for (const auto& [round, evaluation] : *evaluations) {
      absl::StrAppend(&text, " loss ", round, " ", evaluation.loss);
      for (const auto& [name, value] : evaluation.metrics) {
        absl::StrAppend(&text, " ", name, " ", value);
      }
    }
    const auto arrivals = journal.LatestArrivals(run.run_id);
    if (!arrivals.ok()) {
      return arrivals.status();
    }
    for (const auto& kind : *arrivals) {
      absl::StrAppend(&text, " arrivals");
      for (const absl::Duration arrival : kind) {
        absl::StrAppend(&text, " ", absl::FormatDuration(arrival));
      }
    }
    const auto events = journal.Events(run.run_id);
    if (!events.ok()) {
      return events.status();
    }
    for (const JournaledEvent& event : *events) {
      absl::StrAppend(&text, " event ", event.unix_ms, " ", event.site, " ", event.kind, " ", event.round, " ", event.detail,
                      event.actor.empty() ? "" : " by ", event.actor);
    }
    const auto evidence = journal.Evidence(run.run_id);
    if (!evidence.ok()) {
      return evidence.status();
    }
    for (const JournaledEvidence& piece : *evidence) {
      absl::StrAppend(&text, " evidence ", piece.unix_ms, " ", piece.site, " ", piece.round, " ", piece.reported_hash, " ", piece.log_hash,
                      " ", piece.software_version);
    }
    const auto snapshots = journal.Snapshots(run.run_id);
    if (!snapshots.ok()) {
      return snapshots.status();
    }
    for (const JournaledSnapshot& snapshot : *snapshots) {
      absl::StrAppend(&text, " snapshot ", snapshot.round, " ", snapshot.file, " ", snapshot.aggregator_file, " ",
                      DigestHex(snapshot.aggregator_hash));
    }
  }
  if (AuditStore* const audit = journal.audit(); audit != nullptr) {
    const auto size = audit->Size();
    if (!size.ok()) {
      return size.status();
    }
    const absl::Status visited = audit->Visit(0, *size, [&text](absl::string_view record) {
      absl::StrAppend(&text, " audit ", record);
      return absl::OkStatus();
    });
    if (!visited.ok()) {
      return visited;
    }
    if (*size > 0) {
      absl::StrAppend(&text, " head ", audit->Head().value_or("damaged"));
    }
  }
  const absl::StatusOr<std::vector<v1::SiteRecord>> sites = journal.Sites();
  if (!sites.ok()) {
    return sites.status();
  }
  for (const v1::SiteRecord& site : *sites) {
    absl::StrAppend(&text, " site ", site.name(), " ", site.SerializeAsString());
  }
  return text;
}

}  // namespace tributary::coordinator
