#include "cli/audit_file.h"

#include <google/protobuf/util/json_util.h>

#include <algorithm>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "cli/audit_signatures.h"
#include "common/exit_codes.h"
#include "common/merkle_tree.h"
#include "common/status_macros.h"
#include "proto/audit/tree_head.h"

namespace tributary::cli {
namespace {

constexpr char kLogKey[] = "tributary_audit_log";
constexpr char kProofKey[] = "tributary_audit_proof";

using Json = nlohmann::ordered_json;

Json AsJson(const google::protobuf::Message& message) {
  google::protobuf::util::JsonPrintOptions options;
  options.preserve_proto_field_names = true;
  std::string text;
  const bool printed = google::protobuf::util::MessageToJsonString(message, &text, options).ok();
  return printed ? Json::parse(text, nullptr, /*allow_exceptions=*/false) : Json();
}

// Of a later release's record, what this one knows.
Json Says(absl::string_view record) {
  v1::AuditRecord parsed;
  return parsed.ParseFromArray(record.data(), static_cast<int>(record.size())) ? AsJson(parsed) : Json();
}

std::string Line(const Json& json) {
  return json.dump(-1, ' ', false, Json::error_handler_t::replace) + "\n";
}

absl::Status Damaged(absl::string_view what) {
  return WithExitCode(absl::DataLossError(what), ExitCode::kDamaged);
}

std::string TextOf(const Json& json, const char* key) {
  const auto it = json.find(key);
  return it != json.end() && it->is_string() ? it->get<std::string>() : "";
}

std::optional<uint64_t> NumberOf(const Json& json, const char* key) {
  const auto it = json.find(key);
  return it != json.end() && it->is_number_unsigned() ? std::make_optional(it->get<uint64_t>()) : std::nullopt;
}

bool ReadHead(const Json& json, v1::TreeHead& head) {
  return json.is_object() && google::protobuf::util::JsonStringToMessage(json.dump(), &head).ok() && RootOf(head).ok();
}

bool ReadRecord(const Json& line, std::string& record) {
  return line.contains("record") && absl::Base64Unescape(TextOf(line, "record"), &record);
}

// Every node of the tree over the records.
class Tree {
 public:
  explicit Tree(const std::vector<std::string>& records) {
    for (const std::string& record : records) {
      frontier_.Append(MerkleLeaf(record), [this](int level, uint64_t index, const Digest& hash) { nodes_[{level, index}] = hash; });
    }
  }
  absl::StatusOr<Digest> operator()(int level, uint64_t index) const {
    const auto it = nodes_.find({level, index});
    return it != nodes_.end() ? absl::StatusOr<Digest>(it->second) : absl::InternalError("a node that is not there");
  }

 private:
  MerkleFrontier frontier_;
  std::map<std::pair<int, uint64_t>, Digest> nodes_;
};

}  // namespace

std::string AuditFileHeader(const v1::TreeHead& head, absl::string_view federation) {
  return Line({{kLogKey, 1}, {"federation", std::string(federation)}, {"head", AsJson(head)}});
}

std::string AuditFileRecord(uint64_t index, absl::string_view record) {
  return Line({{"index", index}, {"record", absl::Base64Escape(record)}, {"says", Says(record)}});
}

absl::StatusOr<AuditFile> ReadAuditFile(const std::string& path) {
  std::ifstream lines(path);
  if (!lines) {
    return WithExitCode(absl::NotFoundError(absl::StrCat("cannot read ", path)), ExitCode::kStorage);
  }
  std::string text;
  std::getline(lines, text);
  const Json first = Json::parse(text, nullptr, /*allow_exceptions=*/false);
  AuditFile file;
  const bool is_known = first.is_object() && (first.contains(kLogKey) || first.contains(kProofKey));
  if (!is_known || !first.contains("head") || !ReadHead(first["head"], file.head)) {
    return Damaged(absl::StrCat(path, " is neither an export of an audit log nor a proof of one"));
  }
  file.federation = TextOf(first, "federation");
  file.is_proof = first.contains(kProofKey);
  if (file.is_proof) {
    const std::optional<uint64_t> index = NumberOf(first, "index");
    const bool is_whole = index.has_value() && ReadRecord(first, file.records.emplace_back()) && first.contains("proof");
    if (!is_whole || !first["proof"].is_array()) {
      return Damaged(absl::StrCat(path, ": the proof is not whole"));
    }
    file.index = *index;
    for (const Json& hash : first["proof"]) {
      file.proof.push_back(absl::HexStringToBytes(hash.is_string() ? hash.get<std::string>() : ""));
    }
    for (const Json& certificate : first.value("certificates", Json::array())) {
      absl::Base64Unescape(certificate.is_string() ? certificate.get<std::string>() : "", &file.certificates.emplace_back());
    }
    return file;
  }
  for (uint64_t index = 0; std::getline(lines, text); ++index) {
    const Json line = Json::parse(text, nullptr, /*allow_exceptions=*/false);
    if (!line.is_object() || NumberOf(line, "index") != index || !ReadRecord(line, file.records.emplace_back())) {
      return Damaged(absl::StrCat(path, ", line ", index + 2, ": not record ", index));
    }
  }
  return file;
}

absl::Status CheckTree(const AuditFile& file) {
  TRIBUTARY_ASSIGN_OR_RETURN(const Digest root, RootOf(file.head));
  if (file.is_proof) {
    std::vector<Digest> hashes(file.proof.size());
    for (size_t i = 0; i < hashes.size(); ++i) {
      if (!ToDigest(file.proof[i], hashes[i])) {
        return Damaged("the proof holds something other than hashes");
      }
    }
    const absl::Status shown = VerifyInclusion(MerkleLeaf(file.records[0]), file.index, file.head.size(), hashes, root);
    return shown.ok() ? shown : Damaged(shown.message());
  }
  if (file.records.size() != file.head.size()) {
    return Damaged(absl::StrCat("the file has ", file.records.size(), " records, and its head counts ", file.head.size()));
  }
  return CheckKeptHeads(file, {file.head});
}

absl::Status CheckKeptHeads(const AuditFile& file, std::vector<v1::TreeHead> kept) {
  std::sort(kept.begin(), kept.end(), [](const auto& a, const auto& b) { return a.size() < b.size(); });
  MerkleFrontier frontier;
  for (const v1::TreeHead& head : kept) {
    TRIBUTARY_ASSIGN_OR_RETURN(const Digest root, RootOf(head));
    if (head.size() > file.records.size()) {
      return Damaged(absl::StrCat("a head counts ", head.size(), " records, and the file has ", file.records.size(),
                                  ": export it anew, or records are missing"));
    }
    while (frontier.size() < head.size()) {
      frontier.Append(MerkleLeaf(file.records[frontier.size()]));
    }
    if (frontier.Root() != root) {
      return Damaged(absl::StrCat("the first ", head.size(), " records are not those that a head of that size stands for"));
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<std::string> MakeAuditProof(const AuditFile& file, uint64_t index) {
  if (file.is_proof || index >= file.records.size()) {
    return absl::NotFoundError(absl::StrCat("there is no record ", index, " in it"));
  }
  const Tree tree(file.records);
  TRIBUTARY_ASSIGN_OR_RETURN(const std::vector<Digest> hashes, InclusionProof(index, file.head.size(), tree));
  Json proof = Json::array();
  for (const Digest& hash : hashes) {
    proof.push_back(DigestHex(hash));
  }
  Json certificates = Json::array();
  for (const std::string& certificate : CertificatesFor(file.records, index)) {
    certificates.push_back(absl::Base64Escape(certificate));
  }
  const std::string& record = file.records[index];
  return Line({{kProofKey, 1},
               {"federation", file.federation},
               {"head", AsJson(file.head)},
               {"index", index},
               {"record", absl::Base64Escape(record)},
               {"says", Says(record)},
               {"proof", std::move(proof)},
               {"certificates", std::move(certificates)}});
}

absl::StatusOr<std::vector<v1::TreeHead>> ReadKeptHeads(const std::string& path) {
  std::ifstream lines(path);
  if (!lines) {
    return WithExitCode(absl::NotFoundError(absl::StrCat("cannot read ", path)), ExitCode::kStorage);
  }
  std::vector<v1::TreeHead> heads;
  std::string text;
  while (std::getline(lines, text)) {
    v1::TreeHead head;
    if (ReadHead(Json::parse(text, nullptr, /*allow_exceptions=*/false), head)) {
      heads.push_back(std::move(head));
    }
  }
  return heads;
}

}  // namespace tributary::cli
