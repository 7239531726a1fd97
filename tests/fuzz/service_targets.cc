// The decoders of what reaches coordinator, worker and command before anybody is believed: HTTP/2, certificates and requests for them,
// configuration files, proofs of the audit log, rows of the journal.
#include <algorithm>
#include <array>
#include <atomic>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "common/csr.h"
#include "common/exit_codes.h"
#include "common/merkle_tree.h"
#include "common/pki.h"
#include "common/safetensors.h"
#include "common/tls.h"
#include "common/x509.h"
#include "coordinator/guard/http2_watch.h"
#include "coordinator/journal/column_codec.h"
#include "google/protobuf/stubs/logging.h"
#include "proto/config/yaml.h"
#include "tests/common/test_folder.h"
#include "tests/coordinator/guard/frames.h"
#include "tests/fuzz/must.h"
#include "tests/fuzz/targets.h"
#include "tributary/v1/audit.pb.h"
#include "tributary/v1/config.pb.h"
#include "tributary/v1/enrolment.pb.h"
#include "tributary/v1/run.pb.h"

namespace tributary::fuzz {
namespace {

using namespace ::tributary::coordinator;

absl::Span<const uint8_t> BytesIn(absl::string_view text) {
  return {reinterpret_cast<const uint8_t*>(text.data()), text.size()};
}

// HTTP/2: a byte for the size of the pieces, one for how much of it the server says, then the bytes of the client.

void RunHttp2(absl::string_view input) {
  constexpr uint64_t kMost = 20'000;
  const size_t piece = 1 + TakeByte(input);
  const size_t down = std::min<size_t>(input.size(), TakeByte(input));
  std::atomic<uint64_t> held{0};
  {
    Http2Watch watch(std::make_shared<MessageBudget>(&held, kMost));
    absl::Time now = absl::FromUnixSeconds(1);
    for (; !input.empty(); now += absl::Milliseconds(10)) {
      const absl::string_view bytes = input.substr(0, piece);
      const absl::Status status = watch.Look(BytesIn(bytes), now);
      Must(status.ok() || absl::IsInvalidArgument(status) || absl::IsResourceExhausted(status), "errors are of two kinds");
      Must(held <= kMost + piece, "no more is held than may be");
      if (!status.ok()) {
        break;
      }
      watch.LookAtTime(now).IgnoreError();  // any answer will do
      watch.LookDown(BytesIn(bytes.substr(0, down)));
      input.remove_prefix(bytes.size());
    }
  }
  Must(held == 0, "all is given back");
}

std::vector<std::string> Http2Seeds() {
  const std::string begin = std::string("\x20\x00", 2) + Preface() + MakeFrame(kSettings, 12, 0, 0);
  const std::string call = MakeFrame(kHeaders, 30, 0) + MakeFrame(kContinuation, 20, kEndHeaders) +
                           MakeData(MakeMessage(100).substr(0, 50)) + MakeData(MakeMessage(100).substr(50) + MakeMessage(0), kEndStream);
  return {begin + call, begin + call + MakeFrame(kHeaders, 30, kEndHeaders, 3) + MakeData(MakeMessage(9000).substr(0, 900), 0, 3) +
                            MakeFrame(kReset, 4, 0, 3) + MakeFrame(kPing, 8, 0, 0) + MakeFrame(kWindowUpdate, 4, 0, 0)};
}

// Certificates, requests for them, and the names in them.

void RunCertificate(absl::string_view input) {
  const absl::StatusOr<std::vector<X509Ptr>> certificates = ParseCertificates(input, "it");
  if (!certificates.ok()) {
    Must(ExitCodeOf(certificates.status()) == ExitCode::kCredentials, "an error of credentials");
    return;
  }
  for (const X509Ptr& certificate : *certificates) {
    const std::string text = DescribeCertificate(*certificate);
    Must(text.size() < 4096 && std::none_of(text.begin(), text.end(), [](char c) { return absl::ascii_iscntrl(c); }),
         "one line, bounded, for people");
    Must(FingerprintOf(*certificate).size() == 32, "a digest");
    for (const std::string& uri : UriNames(*certificate)) {
      ParseSpiffeId(uri).IgnoreError();  // any answer will do
    }
  }
}

// Keys are new in each process: a request or a certificate is short, and mutations of any other are as good.
std::vector<std::string> CertificateSeeds() {
  const TestFolder folder;
  Must(InitCa(folder.path(), "demo", absl::Hours(24)).ok(), "a CA");
  CertificateRequest request;
  request.identity = {"demo", Role::kCoordinator, ""};
  request.hosts = {"localhost", "127.0.0.1", "*.example.org"};
  Must(IssueCertificate(folder.path(), request).ok(), "a certificate");
  return {*ReadPem(folder.File("ca.crt")), *ReadPem(folder.File("coordinator.crt"))};
}

void RunRequest(absl::string_view input) {
  const absl::StatusOr<KeyPtr> key = KeyOfCsr(input);
  if (key.ok()) {
    Must(KeyFingerprint(**key)->size() == 64, "a key that is named by its digest");
  } else {
    Must(absl::IsInvalidArgument(key.status()), "what is wrong is with the request");
  }
}

std::vector<std::string> RequestSeeds() {
  return {*MakeCsr(*MakePrivateKey(), "it", {"demo", Role::kSite, "berlin"})};
}

void RunSpiffe(absl::string_view input) {
  const absl::StatusOr<Identity> identity = ParseSpiffeId(input);
  if (identity.ok()) {
    Must(SpiffeId(*identity) == input, "an id has one spelling");
  }
}

std::vector<std::string> SpiffeSeeds() {
  return {"spiffe://demo/coordinator", "spiffe://demo/site/berlin", "spiffe://demo/operator/alice"};
}

// Configuration: a byte for the kind of file, then the file.

void RunYaml(absl::string_view input) {
  std::unique_ptr<google::protobuf::Message> message;
  switch (TakeByte(input) % 4) {
    case 0:
      message = std::make_unique<v1::RunSpec>();
      break;
    case 1:
      message = std::make_unique<v1::CoordinatorConfig>();
      break;
    case 2:
      message = std::make_unique<v1::WorkerConfig>();
      break;
    default:
      message = std::make_unique<v1::OperatorConfig>();
  }
  const absl::Status status = ParseYaml(input, "it", message.get());
  Must(status.ok() || ExitCodeOf(status) == ExitCode::kUsage, "an error of usage");
}

std::vector<std::string> YamlSeeds() {
  const std::string spec =
      "name: demo\nrounds: 3\nmodel:\n  mlp: {inputs: 3, hidden: [4], outputs: 2}\ndata: {kind: csv, label_column: y}\n"
      "optimizer:\n  mode: distro\n  learning_rate: {peak: 1e-3}\n";
  const std::string tls = "tls: {ca: ca.crt, certificate: a.crt, key: a.key}\n";
  return {
      std::string(1, '\0') + spec,
      absl::StrCat("\x01", "federation: demo\ndata_dir: /tmp/x\nlisten: '[::1]:0'\nsites: [berlin]\noperators: [alice]\nlease: 30s\n", tls),
      absl::StrCat("\x02",
                   "federation: demo\nsite: berlin\ncoordinator: localhost:1\ndata: d\nstate_dir: s\nconsent: {runs: ['*'], models: "
                   "[mlp]}\nquiet_hours: ['08:00-18:30']\nbandwidth: {up: 1MiB}\n"),
      absl::StrCat("\x03", "federation: demo\ncoordinator: localhost:1\nname: &a alice\n")};
}

// Proofs: bytes for the sizes of two lists and for an index, then hashes.

void RunProof(absl::string_view input) {
  const auto record = [](uint64_t index) { return absl::StrCat("record ", index); };
  const uint64_t from = TakeByte(input) % 40;
  const uint64_t to = TakeByte(input) % 40;
  const uint64_t index = TakeByte(input);
  const bool altered = TakeByte(input) % 2 == 1;
  std::vector<Digest> proof;
  for (; input.size() >= sizeof(Digest); input.remove_prefix(sizeof(Digest))) {
    std::copy_n(input.begin(), sizeof(Digest), proof.emplace_back().begin());
  }
  // Of a list whose last record is another if `altered`.
  const auto root_of = [&](uint64_t size, bool alter) {
    MerkleFrontier list;
    for (uint64_t i = 0; i < size; ++i) {
      list.Append(MerkleLeaf(alter && i + 1 == size ? "another" : record(i)));
    }
    return list.Root();
  };
  const Digest root = root_of(to, false);
  if (VerifyInclusion(MerkleLeaf(altered ? "another" : record(index)), index, to, proof, root).ok()) {
    Must(index < to && !altered, "what is in the list, and nothing else, is proven to be in it");
  }
  if (VerifyConsistency(from, root_of(from, altered), to, root, proof).ok()) {
    Must(from <= to && (!altered || from == 0), "the beginning of a list, and nothing else, is proven to be its beginning");
  }
}

std::vector<std::string> ProofSeeds() {
  std::vector<std::array<Digest, 64>> levels(8);
  MerkleFrontier list;
  for (int i = 0; i < 40; ++i) {
    list.Append(MerkleLeaf(absl::StrCat("record ", i)),
                [&](int level, uint64_t index, const Digest& hash) { levels[static_cast<size_t>(level)][index] = hash; });
  }
  const auto nodes = [&](int level, uint64_t index) -> absl::StatusOr<Digest> { return levels[static_cast<size_t>(level)][index]; };
  const auto seed = [](uint8_t from, uint8_t to, uint8_t index, const std::vector<Digest>& proof) {
    std::string bytes = {static_cast<char>(from), static_cast<char>(to), static_cast<char>(index), '\0'};
    for (const Digest& hash : proof) {
      bytes.append(hash.begin(), hash.end());
    }
    return bytes;
  };
  return {seed(0, 37, 20, *InclusionProof(20, 37, nodes)), seed(17, 37, 200, *ConsistencyProof(17, 37, nodes)),
          seed(32, 33, 32, *InclusionProof(32, 33, nodes))};
}

// Columns of the journal: a byte for the type, then the bytes of the column.

template <typename Type>
void RunColumn(absl::string_view bytes) {
  Type value;
  if (Decode(Value(bytes), value)) {
    const Value encoded = Encode(value);
    Type again;
    Must(Decode(Value(std::string(BytesOf(encoded))), again), "what was decoded can be encoded and decoded");
  }
}

void RunColumns(absl::string_view input) {
  // It says on standard error what it thinks of each string.
  [[maybe_unused]] static auto* const handler = google::protobuf::SetLogHandler(nullptr);
  switch (TakeByte(input) % 7) {
    case 0:
      return RunColumn<std::vector<v1::SiteStatus>>(input);
    case 1:
      return RunColumn<std::vector<absl::Duration>>(input);
    case 2:
      return RunColumn<std::vector<std::string>>(input);
    case 3:
      return RunColumn<Digest>(input);
    case 4:
      return RunColumn<v1::SiteRecord>(input);
    case 5:
      return RunColumn<v1::AuditRecord>(input);
    default:
      return RunColumn<v1::RunSpec>(input);
  }
}

std::vector<std::string> ColumnSeeds() {
  v1::SiteStatus site;
  site.set_site("berlin");
  site.set_round(7);
  v1::SiteRecord record;
  record.set_name("berlin");
  record.set_standing(v1::SiteRecord::REVOKED);
  v1::AuditRecord act;
  act.mutable_registry_act()->set_subject("berlin");
  v1::RunSpec spec;
  spec.set_name("demo");
  spec.mutable_model()->mutable_mlp()->set_inputs(3);
  return {absl::StrCat(std::string(1, '\0'), BytesOf(Encode(std::vector<v1::SiteStatus>{site, site}))),
          absl::StrCat("\x01", BytesOf(Encode(std::vector<absl::Duration>{absl::Seconds(1), absl::Nanoseconds(1)}))),
          absl::StrCat("\x02", BytesOf(Encode(std::vector<std::string>{"berlin", "paris"}))),
          absl::StrCat("\x03", std::string(32, 'd')),
          absl::StrCat("\x04", BytesOf(Encode(record))),
          absl::StrCat("\x05", BytesOf(Encode(act))),
          absl::StrCat("\x06", BytesOf(Encode(spec)))};
}

}  // namespace

absl::Span<const Target> Targets() {
  static constexpr Target kTargets[] = {
      {"http2", RunHttp2, Http2Seeds},       {"certificate", RunCertificate, CertificateSeeds},
      {"request", RunRequest, RequestSeeds}, {"spiffe", RunSpiffe, SpiffeSeeds},
      {"yaml", RunYaml, YamlSeeds},          {"proof", RunProof, ProofSeeds},
      {"columns", RunColumns, ColumnSeeds},
  };
  return kTargets;
}

}  // namespace tributary::fuzz
