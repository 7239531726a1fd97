#include "worker/sent_history.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <system_error>
#include <utility>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "common/checksum.h"
#include "common/exit_codes.h"

namespace tributary::worker {
namespace {

constexpr char kTimeFormat[] = "%Y-%m-%dT%H:%M:%E3SZ";

std::string FileIn(const std::string& state_dir) {
  return absl::StrCat(state_dir, "/sent_history.jsonl");
}

std::string OlderFileIn(const std::string& state_dir) {
  return absl::StrCat(state_dir, "/sent_history.1.jsonl");
}

template <typename Value>
std::optional<Value> Get(const nlohmann::json& line, const char* key) {
  const auto it = line.find(key);
  if (it == line.end()) {
    return std::nullopt;
  }
  if constexpr (std::is_same_v<Value, std::string>) {
    return it->is_string() ? std::make_optional(it->get<std::string>()) : std::nullopt;
  } else if constexpr (std::is_same_v<Value, uint64_t>) {
    return it->is_number_unsigned() ? std::make_optional(it->get<uint64_t>()) : std::nullopt;
  } else {
    return it->is_number() ? std::make_optional(it->get<double>()) : std::nullopt;
  }
}

std::optional<Sent> Parse(const std::string& text) {
  const nlohmann::json line = nlohmann::json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (!line.is_object()) {
    return std::nullopt;
  }
  Sent sent;
  const auto at = Get<std::string>(line, "at"), run = Get<std::string>(line, "run");
  if (!at.has_value() || !run.has_value() || !absl::ParseTime(absl::RFC3339_full, *at, &sent.at, nullptr)) {
    return std::nullopt;
  }
  sent.run_id = *run;
  sent.to = Get<std::string>(line, "to").value_or("");
  sent.round = Get<uint64_t>(line, "round").value_or(0);
  sent.bytes = Get<uint64_t>(line, "bytes").value_or(0);
  sent.sha256 = absl::HexStringToBytes(Get<std::string>(line, "sha256").value_or(""));
  sent.sequence = Get<uint64_t>(line, "sequence").value_or(0);
  sent.train_loss = Get<double>(line, "train_loss");
  sent.val_loss = Get<double>(line, "val_loss");
  if (const auto metrics = line.find("metrics"); metrics != line.end() && metrics->is_object()) {
    for (const auto& [name, value] : metrics->items()) {
      if (value.is_number()) {
        sent.metrics[name] = value.get<double>();
      }
    }
  }
  return sent;
}

void ReadLines(const std::string& path, std::vector<Sent>* all) {
  std::ifstream file(path);
  std::string text;
  while (std::getline(file, text)) {
    if (std::optional<Sent> sent = Parse(text); sent.has_value()) {
      all->push_back(*std::move(sent));
    }
  }
}

// Of an UpdateReport or a StateReport.
template <typename Report>
void AddEvaluation(const Report& report, Sent* sent) {
  if (report.has_val_loss()) {
    sent->val_loss = report.val_loss();
  }
  for (const v1::Metric& metric : report.metrics()) {
    sent->metrics[metric.name()] = metric.value();
  }
}

void AddReport(const v1::UpdateReport& report, Sent* sent) {
  sent->train_loss = report.train_loss();
  AddEvaluation(report, sent);
}

}  // namespace

std::optional<Sent> SentIn(const v1::WorkerMessage& message) {
  Sent sent;
  if (message.has_update() && !message.update().payload().empty()) {
    const v1::Update& update = message.update();
    sent.run_id = update.run_id();
    sent.round = update.round();
    sent.bytes = update.payload().size();
    sent.sha256 = DigestBytes(Sha256(update.payload()));
    AddReport(update.report(), &sent);
    return sent;
  }
  if (message.has_state_report() && message.state_report().has_val_loss()) {
    const v1::StateReport& report = message.state_report();
    sent.run_id = report.run_id();
    sent.round = report.round();
    AddEvaluation(report, &sent);
    return sent;
  }
  return std::nullopt;
}

Sent SentIn(const v1::UploadHeader& header) {
  Sent sent;
  sent.run_id = header.id().run_id();
  sent.round = header.id().round();
  sent.bytes = header.total_bytes();
  sent.sha256 = header.id().sha256();
  AddReport(header.report(), &sent);
  return sent;
}

SentHistory::SentHistory(std::string state_dir, uint64_t max_bytes)
    : file_(FileIn(state_dir)), older_file_(OlderFileIn(state_dir)), state_dir_(std::move(state_dir)), max_bytes_(max_bytes) {}

uint64_t SentHistory::SequenceOf(const Sent& update) {
  if (!signed_.has_value()) {
    signed_.emplace();
    for (Sent& sent : ReadSentHistory(state_dir_)) {
      if (sent.sequence > 0) {
        (*signed_)[sent.run_id] = std::move(sent);
      }
    }
  }
  Sent& newest = (*signed_)[update.run_id];
  if (newest.sequence > 0 && newest.round == update.round && newest.sha256 == update.sha256) {
    return newest.sequence;
  }
  const uint64_t sequence = newest.sequence + 1;
  newest = update;
  newest.sequence = sequence;
  return sequence;
}

absl::Status SentHistory::Add(const Sent& sent) {
  const std::string update = absl::StrCat(sent.run_id, " ", sent.round, " ", sent.sha256);
  if (!sent.sha256.empty() && update == newest_update_) {
    return absl::OkStatus();
  }
  const auto failed = [this](const char* what) {
    return WithExitCode(absl::InternalError(absl::StrCat("cannot ", what, " ", file_, ", the record of what was sent: ", strerror(errno))),
                        ExitCode::kStorage);
  };
  std::error_code error;
  if (const auto size = std::filesystem::file_size(file_, error); !error && size >= max_bytes_) {
    if (std::rename(file_.c_str(), older_file_.c_str()) != 0) {
      return failed("put aside");
    }
  }
  const int descriptor = open(file_.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
  if (descriptor < 0) {
    return failed("open");
  }
  const absl::Cleanup closing = [descriptor] { close(descriptor); };
  // In one write, so that lines stay whole.
  const std::string line = absl::StrCat(SentJson(sent).dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace), "\n");
  if (write(descriptor, line.data(), line.size()) != static_cast<ssize_t>(line.size())) {
    return failed("write");
  }
  newest_update_ = sent.sha256.empty() ? newest_update_ : update;
  return absl::OkStatus();
}

std::vector<Sent> ReadSentHistory(const std::string& state_dir) {
  std::vector<Sent> all;
  ReadLines(OlderFileIn(state_dir), &all);
  ReadLines(FileIn(state_dir), &all);
  return all;
}

nlohmann::ordered_json SentJson(const Sent& sent) {
  nlohmann::ordered_json json = {{"at", absl::FormatTime(kTimeFormat, sent.at, absl::UTCTimeZone())},
                                 {"to", sent.to},
                                 {"run", sent.run_id},
                                 {"round", sent.round},
                                 {"bytes", sent.bytes}};
  if (!sent.sha256.empty()) {
    json["sha256"] = absl::BytesToHexString(sent.sha256);
  }
  if (sent.sequence > 0) {
    json["sequence"] = sent.sequence;
  }
  if (sent.train_loss.has_value() && std::isfinite(*sent.train_loss)) {
    json["train_loss"] = *sent.train_loss;
  }
  if (sent.val_loss.has_value() && std::isfinite(*sent.val_loss)) {
    json["val_loss"] = *sent.val_loss;
  }
  if (!sent.metrics.empty()) {
    json["metrics"] = sent.metrics;
  }
  return json;
}

}  // namespace tributary::worker
