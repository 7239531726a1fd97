// `tributary audit`: the coordinator's audit log, exported and checked.
#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdint>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <ostream>
#include <string>
#include <vector>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "cli/audit_file.h"
#include "cli/audit_signatures.h"
#include "cli/commands.h"
#include "common/checksum.h"
#include "common/exit_codes.h"
#include "common/files.h"
#include "common/status_macros.h"
#include "coordinator/journal_tool.h"
#include "proto/audit/tree_head.h"

namespace tributary::cli {
namespace {

constexpr uint64_t kMaxPem = 1 << 20;

struct AuditOptions {
  std::string file;
  std::string output;
  std::string data_dir;
  std::string ca;
  std::string site_ca;
  std::string federation;
  std::vector<std::string> heads;
  std::optional<uint64_t> record;
  std::string run;
  std::string site;
  uint64_t round = 0;
};

// Of a coordinator's folder, or a copy of one.
absl::StatusOr<std::string> ExportOf(const AuditOptions& options, v1::TreeHead& head) {
  TRIBUTARY_ASSIGN_OR_RETURN(const std::unique_ptr<coordinator::Journal> journal, coordinator::InspectJournal(options.data_dir));
  coordinator::AuditStore* const log = journal->audit();
  TRIBUTARY_ASSIGN_OR_RETURN(const std::string bytes, log == nullptr ? std::string() : log->Head());
  if (bytes.empty() || !head.ParseFromString(bytes)) {
    return absl::NotFoundError(absl::StrCat(options.data_dir, " has no head of an audit log: none was published yet"));
  }
  std::string federation = options.federation;
  std::string text;
  uint64_t index = 0;
  TRIBUTARY_RETURN_IF_ERROR(log->Visit(0, head.size(), [&](absl::string_view bytes) {
    v1::AuditRecord record;
    if (index == 0 && federation.empty() && record.ParseFromArray(bytes.data(), static_cast<int>(bytes.size()))) {
      federation = record.log_begun().federation();
    }
    absl::StrAppend(&text, AuditFileRecord(index++, bytes));
    return absl::OkStatus();
  }));
  return AuditFileHeader(head, federation) + text;
}

absl::StatusOr<std::string> ExportOf(const Session& session, v1::TreeHead& head) {
  TRIBUTARY_ASSIGN_OR_RETURN(Client client, Connect(session));
  TRIBUTARY_ASSIGN_OR_RETURN(v1::ReadAuditResponse page, client.ReadAudit(0));
  head = page.head();
  std::string text = AuditFileHeader(head, page.federation());
  for (uint64_t index = 0; index < head.size();) {
    if (index > 0) {
      TRIBUTARY_ASSIGN_OR_RETURN(page, client.ReadAudit(index));
    }
    if (page.records().empty()) {
      return absl::DataLossError(absl::StrCat("the coordinator has no record ", index, " of ", head.size()));
    }
    for (int i = 0; i < page.records_size() && index < head.size(); ++i) {
      absl::StrAppend(&text, AuditFileRecord(index++, page.records(i)));
    }
  }
  return text;
}

absl::Status Export(const Session& session, const AuditOptions& options) {
  v1::TreeHead head;
  TRIBUTARY_ASSIGN_OR_RETURN(const std::string text, options.data_dir.empty() ? ExportOf(session, head) : ExportOf(options, head));
  TRIBUTARY_RETURN_IF_ERROR(WriteOutput(options.output, text, *session.environment.out));
  std::ostream& out = IsStandardOutput(options.output) ? *session.environment.err : *session.environment.out;
  if (session.json()) {
    out << nlohmann::ordered_json({{"output", options.output}, {"records", head.size()}, {"signed", !head.signature().empty()}}).dump()
        << "\n";
  } else {
    out << options.output << ": " << head.size() << " records" << (head.signature().empty() ? ", unsigned (--insecure)" : "") << "\n";
  }
  return absl::OkStatus();
}

absl::StatusOr<AuditSignatures> CheckSignatures(const AuditFile& file, const std::string& federation, const std::string& ca) {
  AuditSignatures signatures(federation, ca);
  for (uint64_t index = 0; index < file.records.size(); ++index) {
    v1::AuditRecord record;
    if (!record.ParseFromString(file.records[index])) {
      continue;  // of a later release
    }
    if (!file.certificates.empty()) {
      v1::AuditRecord certificate;
      certificate.set_unix_ms(record.unix_ms());
      certificate.mutable_site_certificate()->set_site(record.has_accepted_update() ? record.accepted_update().site()
                                                                                    : record.site_event().site());
      *certificate.mutable_site_certificate()->mutable_certificates() = {file.certificates.begin(), file.certificates.end()};
      TRIBUTARY_RETURN_IF_ERROR(signatures.Check(certificate));
    }
    TRIBUTARY_RETURN_IF_ERROR(Annotate(signatures.Check(record), absl::StrCat("record ", file.is_proof ? file.index : index)));
  }
  return signatures;
}

absl::Status Verify(const Session& session, const AuditOptions& options) {
  TRIBUTARY_ASSIGN_OR_RETURN(const AuditFile file, ReadAuditFile(options.file));
  TRIBUTARY_RETURN_IF_ERROR(CheckTree(file));
  const std::string federation = options.federation.empty() ? file.federation : options.federation;
  if (!options.ca.empty()) {
    TRIBUTARY_ASSIGN_OR_RETURN(const std::string ca, ReadFile(options.ca, kMaxPem));
    TRIBUTARY_RETURN_IF_ERROR(VerifyTreeHead(file.head, federation, ca));
  }
  std::optional<AuditSignatures> signatures;
  if (const std::string& path = options.site_ca.empty() ? options.ca : options.site_ca; !path.empty()) {
    TRIBUTARY_ASSIGN_OR_RETURN(const std::string ca, ReadFile(path, kMaxPem));
    TRIBUTARY_ASSIGN_OR_RETURN(signatures, CheckSignatures(file, federation, ca));
  }
  size_t kept = 0;
  for (const std::string& path : options.heads) {
    TRIBUTARY_ASSIGN_OR_RETURN(const std::vector<v1::TreeHead> heads, ReadKeptHeads(path));
    if (file.is_proof) {
      return WithExitCode(absl::InvalidArgumentError("--heads: heads are compared with an export, not with the proof of one record"),
                          ExitCode::kUsage);
    }
    TRIBUTARY_RETURN_IF_ERROR(Annotate(CheckKeptHeads(file, heads), path));
    kept += heads.size();
  }
  std::ostream& out = *session.environment.out;
  const std::string at = absl::FormatTime("%Y-%m-%d %H:%M:%S UTC", absl::FromUnixMillis(file.head.unix_ms()), absl::UTCTimeZone());
  const std::string root = absl::BytesToHexString(file.head.root_hash());
  if (session.json()) {
    nlohmann::ordered_json json = {{"records", file.head.size()},
                                   {"root_hash", root},
                                   {"unix_ms", file.head.unix_ms()},
                                   {"federation", federation},
                                   {"signature_checked", !options.ca.empty()},
                                   {"kept_heads_compared", kept}};
    if (signatures.has_value()) {
      json["updates_signed"] = signatures->good();
      json["updates_unsigned"] = signatures->without();
      json["updates_conflicting"] = signatures->conflicting();
    }
    if (file.is_proof) {
      json["proven_record"] = file.index;
    }
    out << json.dump() << "\n";
    return absl::OkStatus();
  }
  if (file.is_proof) {
    out << "record " << file.index << " is in the log of " << file.head.size() << " records\n";
  } else {
    out << file.head.size() << " records make the head " << root << "\n";
  }
  if (options.ca.empty()) {
    out << "the signature was not checked: name the federation's CA by --ca\n";
  } else {
    out << "signed by the coordinator of " << federation << " at " << at << "\n";
  }
  if (signatures.has_value()) {
    out << "updates signed by their sites: " << signatures->good() << ", unsigned: " << signatures->without() << "\n";
  }
  if (signatures.has_value() && signatures->conflicting() > 0) {
    out << "updates that a site signed besides the one that counts: " << signatures->conflicting() << "\n";
  }
  if (kept > 0) {
    out << "it continues the " << kept << " heads that workers kept\n";
  }
  return absl::OkStatus();
}

bool IsWanted(const v1::AuditRecord& record, const AuditOptions& options) {
  const v1::AuditRecord::AcceptedUpdate& update = record.accepted_update();
  return record.has_accepted_update() && update.site() == options.site && update.round() == options.round && update.run_id() == options.run;
}

absl::StatusOr<uint64_t> FindRecord(const AuditFile& file, const AuditOptions& options) {
  if (options.record.has_value()) {
    return *options.record;
  }
  for (uint64_t index = 0; index < file.records.size(); ++index) {
    v1::AuditRecord record;
    if (record.ParseFromString(file.records[index]) && IsWanted(record, options)) {
      return index;
    }
  }
  return absl::NotFoundError(
      absl::StrCat("no update of site ", options.site, " was accepted in round ", options.round, " of run ", options.run));
}

absl::Status Prove(const Session& session, const AuditOptions& options) {
  TRIBUTARY_ASSIGN_OR_RETURN(const AuditFile file, ReadAuditFile(options.file));
  TRIBUTARY_RETURN_IF_ERROR(CheckTree(file));
  TRIBUTARY_ASSIGN_OR_RETURN(const uint64_t index, FindRecord(file, options));
  TRIBUTARY_ASSIGN_OR_RETURN(const std::string proof, MakeAuditProof(file, index));
  return WriteOutput(options.output, proof, *session.environment.out);
}

}  // namespace

void AddAuditCommands(CLI::App* app, Session* session) {
  CLI::App* audit = app->add_subcommand("audit", "Export the coordinator's audit log, and check it offline");
  audit->require_subcommand(1);
  const auto add = [&](const char* name, const char* what, auto action) {
    CLI::App* const command = audit->add_subcommand(name, what);
    auto options = std::make_shared<AuditOptions>();
    command->callback([session, options, action] { session->action = [session, options, action] { return action(*session, *options); }; });
    return std::make_pair(command, options);
  };

  const auto [export_command, export_options] = add("export", "Write the whole log with a signed head as JSON lines", Export);
  export_command->add_option("--output,-o", export_options->output, "file to write; - is standard output")->required();

  export_command->add_option("--data-dir", export_options->data_dir,
                             "a coordinator's data folder, or a backup of it, instead of asking one");

  const auto [verify, verify_options] = add("verify", "Check an export, or the proof of one record, without the coordinator", Verify);
  verify->add_option("FILE", verify_options->file, "what `audit export` or `audit prove` wrote")->required();
  verify->add_option("--ca", verify_options->ca, "the federation's CA, to check the signature");
  verify->add_option("--site-ca", verify_options->site_ca,
                     "the CAs of the sites, to check what they signed, in one file (default: those of --ca)");
  verify->add_option("--federation", verify_options->federation, "whose coordinator must have signed (default: as the file says)");
  verify->add_option("--heads", verify_options->heads, "heads that a worker kept: heads.jsonl of its state folder; may be repeated");

  const auto [prove, prove_options] = add("prove", "Take the proof of one record out of an export", Prove);
  prove->add_option("FILE", prove_options->file, "what `audit export` wrote")->required();
  prove->add_option("--record", prove_options->record, "index of the record; or else the update of");
  prove->add_option("--run", prove_options->run, "run id");
  prove->add_option("--site", prove_options->site, "site");
  prove->add_option("--round", prove_options->round, "round");
  prove->add_option("--output,-o", prove_options->output, "file to write; - is standard output")->required();
}

}  // namespace tributary::cli
