// What a site reads and may not believe: what a coordinator says, heads of its audit log, tokens, tables of data, images, and its own state
// folder.
#include <cmath>
#include <cstdint>
#include <deque>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "common/bytes.h"
#include "common/certificate_files.h"
#include "common/enrolment_token.h"
#include "common/exit_codes.h"
#include "common/files.h"
#include "common/overloaded.h"
#include "common/pki.h"
#include "google/protobuf/stubs/logging.h"
#include "optim/layout.h"
#include "optim/sealed_state.h"
#include "proto/audit/tree_head.h"
#include "proto/config/yaml.h"
#include "tests/common/test_folder.h"
#include "tests/fuzz/must.h"
#include "tests/fuzz/targets.h"
#include "worker/data/data_source.h"
#include "worker/data/describe_table.h"
#include "worker/data/idx.h"
#include "worker/data/image_file.h"
#include "worker/data/image_scale.h"
#include "worker/saved_state.h"
#include "worker/worker_engine.h"

namespace tributary::fuzz {
namespace {

using namespace ::tributary::worker;

// It says on standard error what it thinks of each string.
[[maybe_unused]] auto* const kQuiet = google::protobuf::SetLogHandler(nullptr);

// A token, as somebody pastes it.

void RunToken(absl::string_view input) {
  const absl::StatusOr<EnrolmentToken> token = ParseToken(input);
  if (!token.ok()) {
    Must(absl::IsInvalidArgument(token.status()), "an error of whoever pasted it");
    return;
  }
  Must(token->secret.size() == kTokenSecretBytes, "a secret of its length");
  const absl::StatusOr<EnrolmentToken> again = ParseToken(FormatToken(*token));
  Must(again.ok() && again->secret == token->secret && again->ca == token->ca, "what is read is written and read");
}

std::vector<std::string> TokenSeeds() {
  return {FormatToken({std::string(kTokenSecretBytes, 's'), {}}), absl::StrCat("  ", FormatToken(*MakeEnrolmentToken({})), "\n")};
}

// A head of the audit log with its proof, as a coordinator sends it, after one that this site holds.

constexpr char kFederation[] = "demo";

struct Signer {
  Signer() {
    Must(InitCa(folder.path(), kFederation, absl::Hours(24)).ok(), "a CA");
    Must(IssueCertificate(folder.path(), {.identity = {kFederation, Role::kCoordinator, ""}, .hosts = {"localhost"}}).ok(),
         "a certificate");
    pair = LoadCertificatePair({folder.File("ca.crt"), folder.File("coordinator.crt"), folder.File("coordinator.key")},
                               {kFederation, Role::kCoordinator, ""})
               .value();
    for (const uint64_t size : {1, 5}) {
      v1::TreeHead head;
      head.set_size(size);
      head.set_root_hash(std::string(32, static_cast<char>('a' + size)));
      head.set_unix_ms(absl::ToUnixMillis(pair.validity.begin) + 1);
      Must(SignTreeHead(pair, kFederation, head).ok(), "a signature");
      signed_texts.insert(TreeHeadText(head, kFederation));
      heads.push_back(std::move(head));
    }
  }
  const TestFolder folder;
  CertificatePair pair;
  std::vector<v1::TreeHead> heads;
  std::set<std::string> signed_texts;
};

const Signer& TheSigner() {
  static const Signer& signer = *new Signer;
  return signer;
}

void RunHead(absl::string_view input) {
  v1::TreeHeadUpdate update;
  if (!update.ParseFromArray(input.data(), static_cast<int>(input.size()))) {
    return;
  }
  const Signer& signer = TheSigner();
  const v1::TreeHead& head = update.head();
  if (VerifyTreeHead(head, kFederation, signer.pair.ca).ok()) {
    Must(signer.signed_texts.contains(TreeHeadText(head, kFederation)), "nobody believes a head that was not signed");
  }
  const absl::Status continues = VerifyContinues(signer.heads[0], head, update.consistency());
  Must(continues.ok() || absl::IsInvalidArgument(continues), "errors are of one kind");
  if (continues.ok() && head.size() == signer.heads[0].size()) {
    Must(head.root_hash() == signer.heads[0].root_hash(), "one log of this size");
  }
}

std::vector<std::string> HeadSeeds() {
  std::vector<std::string> seeds;
  for (const v1::TreeHead& head : TheSigner().heads) {
    v1::TreeHeadUpdate update;
    *update.mutable_head() = head;
    update.set_from_size(1);
    update.add_consistency(std::string(32, 'p'));
    seeds.push_back(update.SerializeAsString());
  }
  return seeds;
}

// The state that a worker saved, but for its checksum, which no fuzzer would find.

const optim::Layout& SomeLayout() {
  static const optim::Layout& layout = *new optim::Layout(*optim::Layout::Create({{.name = "a", .shape = {5}}}));
  return layout;
}

FileStore& StateFolder() {
  static const TestFolder& folder = *new TestFolder(TemporaryDirectory::Medium::kMemory);
  static FileStore& store = *OpenFolder(folder.path(), 0600).value().release();
  return store;
}

void RunSaved(absl::string_view input) {
  const StateOwner owner = {"run-1", "berlin", &SomeLayout()};
  FileStore& store = StateFolder();
  const std::string sealed = optim::SealState("worker", *owner.layout, input);
  Must(store.Write("run-1.state", sealed).ok(), "a file");
  const absl::StatusOr<SavedState> state = ReadSavedState(owner, store);
  if (!state.ok()) {
    Must(absl::IsDataLoss(state.status()), "what cannot be read is damaged");
    return;
  }
  Must(WriteSavedState(owner, *state, store).ok(), "what was read is written");
  const absl::StatusOr<SavedState> again = ReadSavedState(owner, store);
  Must(again.ok() && again->round == state->round && again->encoder == state->encoder && again->trainer == state->trainer &&
           again->pending.has_value() == state->pending.has_value(),
       "and read again");
}

std::vector<std::string> SavedSeeds() {
  const StateOwner owner = {"run-1", "berlin", &SomeLayout()};
  SavedState state;
  state.round = 7;
  state.encoder = "an encoder's";
  state.trainer = "a trainer's";
  std::vector<std::string> seeds;
  for (const bool pending : {false, true}) {
    if (pending) {
      PendingUpdate& update = state.pending.emplace();
      update.round = 7;
      update.base_hash = "a hash";
      update.update.payload = std::make_shared<const std::string>("a payload");
      update.update.sha256 = "a digest";
      update.update.report.set_train_loss(1.5F);
    }
    Must(WriteSavedState(owner, state, StateFolder()).ok(), "a file");
    const std::string sealed = StateFolder().Read("run-1.state", 1 << 20).value();
    seeds.emplace_back(*optim::OpenState("worker", *owner.layout, sealed));
  }
  return seeds;
}

// A site's data: a byte, even for a table, of which every second one has columns that the run names, and odd for text; then the file.

const TableOptions& NamedColumns() {
  static const TableOptions& table = *new TableOptions([] {
    TableSchema schema;
    schema.columns = {
        {.name = "a", .aliases = {"age"}, .missing = MissingPolicy::kFlag, .min = -1000, .max = 1000},
        {.name = "b", .kind = TableColumn::Kind::kCategory, .values = {"f", "m"}, .other = true, .missing = MissingPolicy::kDrop}};
    schema.label = {
        .name = "y", .classes = {{.name = "no", .values = {"0"}}, {.name = "yes", .weight = 2}}, .missing = MissingPolicy::kDrop};
    TableOptions options;
    options.schema = schema;
    return options;
  }());
  return table;
}

void RunData(absl::string_view input) {
  const uint8_t kind = TakeByte(input) % 4;
  const bool is_table = kind % 2 == 0;
  static const TestFolder& tables = *new TestFolder(TemporaryDirectory::Medium::kMemory);
  static const TestFolder& texts = *new TestFolder(TemporaryDirectory::Medium::kMemory);
  const TestFolder& folder = is_table ? tables : texts;
  folder.Write(is_table ? "t.csv" : "t.txt", input);
  const DataOptions options = {folder.path(), 0.25, 4, 3};
  const TableOptions table = kind == 2 ? NamedColumns() : TableOptions{.label_column = "y", .inputs = 2, .outputs = 3};
  if (is_table) {
    const absl::StatusOr<std::string> proposal = DescribeTable({folder.File("t.csv")}, {}, "");
    Must(proposal.ok() || ExitCodeOf(proposal.status()) == ExitCode::kData, "an error of the data");
  }
  const absl::StatusOr<std::unique_ptr<DataSource>> source =
      is_table ? MakeCsvSource(options, table) : MakeTextSource(options, /*context=*/4);
  if (!source.ok()) {
    Must(ExitCodeOf(source.status()) == ExitCode::kData, "an error of the data");
    return;
  }
  Must((*source)->training_samples() >= 1 && (*source)->validation_batches() >= 1, "both splits have something");
  if (const std::optional<TableReport> report = (*source)->Table(); report.has_value()) {
    Must(!TableReportText(*report).empty(), "what was read is told");
  }
  CounterRng rng("fuzz");
  const Batch trained = (*source)->DrawTraining(rng, 2);
  for (const Batch& batch : {trained, (*source)->Validation(0)}) {
    for (const int64_t target : batch.targets) {
      Must(target >= 0 && target < (is_table ? 3 : 256), "a target is in range");
    }
    for (const float feature : batch.features) {
      Must(std::isfinite(feature), "a feature is finite");
    }
  }
}

std::vector<std::string> DataSeeds() {
  const auto of = [](char kind, const char* text) { return absl::StrCat(std::string(1, kind), text); };
  return {of(0, "a,b,y\n1,2,0\n3,4.5,1\n-1e3,\"7\",2\n0,0,1\n5,6,0\n"), of(0, "sep=;\r\ny;a;b\r\n0;1;2\r\n\r\n1;3;4\r\n2;5;6\r\n0;7;8\r\n"),
          of(2, "y;b;a;id\n0;f;1,5;9\n1;\"m\";;8\nyes;x;2;7\n;f;3;6\n0;;4;5\n1;f;5;4\n"),
          of(2, "sep=|\nage|b|y\n-1e2|\"x\ny\"|0\n7|m|1.0\n1|1|0\n2|2|1\n"),
          of(1,
             "The quick brown fox jumps over the lazy dog. Gr\xc3\xbc\xc3\x9f"
             "e.\n")};
}

// A site's file of tokens: a byte, even for two bytes a token and odd for four, then the file.

void RunTokens(absl::string_view input) {
  const TokenOptions tokens = {.token_bytes = TakeByte(input) % 2 == 0 ? 2u : 4u, .context = 3, .vocabulary = 300};
  static const TestFolder& folder = *new TestFolder(TemporaryDirectory::Medium::kMemory);
  folder.Write("t.bin", input);
  const absl::StatusOr<std::unique_ptr<DataSource>> source = MakeTokenSource({folder.path(), 0.25, 4, 3}, tokens);
  if (!source.ok()) {
    Must(ExitCodeOf(source.status()) == ExitCode::kData, "an error of the data");
    return;
  }
  CounterRng rng("fuzz");
  for (const Batch& batch : {(*source)->DrawTraining(rng, 2), (*source)->Validation(0)}) {
    for (const std::vector<int64_t>* const numbers : {&batch.tokens, &batch.targets}) {
      for (const int64_t number : *numbers) {
        Must(number >= 0 && number < tokens.vocabulary, "the model knows the token");
      }
    }
  }
}

std::vector<std::string> TokensSeeds() {
  std::string shorts("\0", 1), ints("\1"), header("\0", 1);
  for (const int32_t value : {20240520, 1, 20}) {
    AppendLittleEndian(value, header);
  }
  header.resize(1 + 1024, '\0');
  for (uint16_t i = 0; i < 20; ++i) {
    AppendLittleEndian(static_cast<uint16_t>(i * 15), shorts);
    AppendLittleEndian(uint32_t{i} * 15, ints);
    AppendLittleEndian(static_cast<uint16_t>(i * 15), header);
  }
  return {shorts, ints, header};
}

// An image of a site: a byte that says whether it is a PNG or JPEG, or images or labels of the IDX format, then the file.

constexpr int64_t kFewPixels = 1 << 12;

void MustScale(const RasterView& image) {
  const ImageShape shape = {3, 5, 3};
  std::vector<uint8_t> pixels;
  AppendScaled(image, shape, pixels);
  Must(pixels.size() == static_cast<size_t>(shape.values()), "an image has the model's size");
}

void RunImage(absl::string_view input) {
  const uint8_t kind = TakeByte(input) % 3;
  if (kind == 0) {
    const absl::StatusOr<Raster> raster = DecodeImage(input, kFewPixels);
    if (!raster.ok()) {
      Must(absl::IsInvalidArgument(raster.status()), "an error of the file");
      return;
    }
    Must(raster->height * raster->width <= kFewPixels, "an image has no more pixels than it may");
    MustScale({raster->height, raster->width, raster->channels, raster->pixels});
    const absl::StatusOr<Raster> again = DecodeImage(EncodePng(*raster).value(), kFewPixels);
    Must(again.ok() && again->pixels == raster->pixels, "what is written as PNG is read as it was");
    return;
  }
  if (kind == 2) {
    Must(ParseIdxLabels(input).ok() || absl::IsInvalidArgument(ParseIdxLabels(input).status()), "an error of the file");
    return;
  }
  const absl::StatusOr<IdxImages> images = ParseIdxImages(input);
  if (!images.ok()) {
    Must(absl::IsInvalidArgument(images.status()), "an error of the file");
    return;
  }
  Must(static_cast<uint64_t>(images->count * images->height * images->width) == images->pixels.size(), "the pixels are there");
  MustScale({images->height, images->width, 1, images->pixels.subspan(0, static_cast<size_t>(images->height * images->width))});
}

std::vector<std::string> ImageSeeds() {
  const std::string file = std::string(1, '\0');
  const std::vector<uint8_t> pixels = {0, 10, 20, 30, 40, 50, 200, 220, 255, 1, 2, 3};
  return {file + EncodePng({2, 2, 3, pixels}).value(), file + EncodePng({3, 4, 1, pixels}).value(),
          std::string("\1\0\0\x08\3\0\0\0\2\0\0\0\1\0\0\0\2\1\2\3\4", 21), std::string("\2\0\0\x08\1\0\0\0\2\0\1", 11)};
}

// What a coordinator says to the engine of a worker. Each step is a byte: below 0x80 the length of a message that follows, in units of its
// own; from there on, what the driver does: the work that is first in its queue is done, time passes, the session ends.

// Does as the contract in worker_engine.h says.
class Driver {
 public:
  Driver() : engine_(Options()) { Feed(event::Tick{}); }

  bool over() const { return over_; }

  void Step(absl::string_view& input) {
    const uint8_t step = TakeByte(input);
    if (step < 0x80) {
      const absl::string_view bytes = input.substr(0, size_t{step} * 2);
      input.remove_prefix(bytes.size());
      v1::CoordinatorMessage message;
      if (session_ != 0 && message.ParseFromArray(bytes.data(), static_cast<int>(bytes.size()))) {
        Feed(event::MessageArrived{session_, std::move(message)});
      }
      return;
    }
    switch (step % 4) {
      case 0:
        return Work(/*well=*/true);
      case 1:
        return Work(/*well=*/false);
      case 2:
        now_ = std::min(engine_.NextWakeup(), now_ + absl::Hours(1));
        return Feed(event::Tick{});
      default:
        if (session_ != 0) {
          Feed(event::SessionClosed{std::exchange(session_, 0), absl::UnavailableError("cable cut")});
        }
    }
  }

 private:
  static WorkerEngineOptions Options() {
    WorkerEngineOptions options;
    options.consent.add_runs("*");
    options.consent.add_models("mlp");
    options.consent.set_max_parameters(1000);
    options.consent.set_max_rounds(100);
    options.consent.set_max_local_steps(4);
    options.consent.set_max_batch_size(65536);
    options.consent.set_max_evaluation_batches(1000);
    options.coordinator = "hub:1";
    options.random = [] { return 0.0; };
    return options;
  }

  void Feed(Event event) {
    for (Action& action : engine_.Handle(std::move(event), now_)) {
      Must(!over_, "nothing follows Exit");
      Carry(action);
    }
  }

  void Carry(Action& carried) {
    std::visit(
        Overloaded{
            [&](const action::OpenSession& open) { session_ = open.session; }, [&](const action::CloseSession&) { session_ = 0; },
            [&](const action::Send& send) { Must(send.session == session_, "what is sent is for the session that is open"); },
            [&](const action::ReleaseRun&) { queue_.clear(); }, [&](const action::CancelTransfer&) { transfers_.clear(); },
            [&](const action::PrepareRun&) { Queue(std::move(carried)); },
            [&](const action::InitializeState&) { Queue(std::move(carried)); },
            [&](const action::LoadSnapshot&) { Queue(std::move(carried)); },
            [&](const action::ApplyCommits&) { Queue(std::move(carried)); }, [&](const action::Train&) { Queue(std::move(carried)); },
            [&](const action::ComputeAhead&) { Queue(std::move(carried)); }, [&](const action::Evaluate&) { Queue(std::move(carried)); },
            [&](const action::Download&) { transfers_.push_back(std::move(carried)); },
            [&](const action::Upload&) { transfers_.push_back(std::move(carried)); }, [&](const action::Exit&) { over_ = true; },
            [](const auto&) {}},
        carried.what);
  }

  void Queue(Action action) { queue_.push_back(std::move(action)); }

  // What is first in a queue is done.
  void Work(bool well) {
    std::deque<Action>& queue = queue_.empty() ? transfers_ : queue_;
    if (queue.empty()) {
      return;
    }
    const Action done = std::move(queue.front());
    queue.pop_front();
    const absl::Status status = well ? absl::OkStatus() : absl::InvalidArgumentError("it cannot be done");
    std::visit(
        Overloaded{
            [&](const action::PrepareRun& it) {
              Feed(event::RunPrepared{it.work, status});
            },
            [&](const action::InitializeState& it) { Load(it.work, 0, status); },
            // The round is what the bytes say: any, for the coordinator made them.
            [&](const action::LoadSnapshot& it) { Load(it.work, it.bytes.size() % 8, status); },
            [&](const action::ApplyCommits& it) {
              held_ += well ? it.records.size() : 0;
              Feed(event::CommitsApplied{it.work, status, {held_, HashOf(held_)}});
            },
            [&](const action::Train& it) {
              if (well) {
                Feed(event::Trained{it.work, TrainedUpdate{std::make_shared<const std::string>("payload"), std::string(32, 'd'), {}}});
              } else {
                Feed(event::Trained{it.work, status});
              }
            },
            [&](const action::ComputeAhead& it) { Feed(event::ComputedAhead{it.work}); },
            [&](const action::Evaluate& it) {
              Feed(event::Evaluated{it.work, well ? absl::StatusOr<Evaluation>(Evaluation{1.5, {}}) : status});
            },
            [&](const action::Download& it) {
              Must(it.max_bytes <= uint64_t{1} << 40, "a download is bounded");
              const absl::StatusOr<std::string> bytes = std::string("some bytes");
              Feed(event::Downloaded{it.transfer, well ? bytes : absl::UnavailableError("cut"), 4});
            },
            [&](const action::Upload& it) {
              Feed(event::Uploaded{it.transfer, well ? absl::OkStatus() : absl::UnavailableError("cut"), 4});
            },
            [](const auto&) {}},
        done.what);
  }

  void Load(uint64_t work, uint64_t round, const absl::Status& status) {
    if (status.ok()) {
      held_ = round;
      Feed(event::SnapshotLoaded{work, ReplicaPosition{held_, HashOf(held_)}});
    } else {
      Feed(event::SnapshotLoaded{work, status});
    }
  }

  static std::string HashOf(uint64_t round) { return std::string(31, 'h') + static_cast<char>(round); }

  WorkerEngine engine_;
  absl::Time now_ = absl::UnixEpoch() + absl::Hours(1);
  uint64_t session_ = 0;
  uint64_t held_ = 0;
  bool over_ = false;
  std::deque<Action> queue_;
  std::deque<Action> transfers_;
};

void RunCoordinator(absl::string_view input) {
  Driver driver;
  while (!input.empty() && !driver.over()) {
    driver.Step(input);
  }
}

constexpr char kWorkDone[] = "\x80";

std::string Said(const v1::CoordinatorMessage& message) {
  std::string bytes = message.SerializeAsString();
  // A length in units of two: what is left is an unknown field without content.
  if (bytes.size() % 2 != 0) {
    v1::CoordinatorMessage padded = message;
    padded.GetReflection()->MutableUnknownFields(&padded)->AddLengthDelimited(100, "");
    bytes = padded.SerializeAsString();
  }
  Must(bytes.size() % 2 == 0 && bytes.size() < 256, "a seed of this format");
  return absl::StrCat(std::string(1, static_cast<char>(bytes.size() / 2)), bytes);
}

std::vector<std::string> CoordinatorSeeds() {
  v1::CoordinatorMessage welcome;
  welcome.mutable_welcome()->set_lease_ms(30'000);
  welcome.mutable_welcome()->set_max_inline_bytes(1000);
  v1::CoordinatorMessage offer;
  offer.mutable_run_offer()->set_run_id("run-1");
  Must(ParseYaml("name: a\nrounds: 9\nmodel: {mlp: {inputs: 2, hidden: [3], outputs: 2}}\ndata: {kind: csv, label_column: y}\n"
                 "optimizer: {mode: distro, learning_rate: {peak: 0.01}}\n",
                 "it", offer.mutable_run_offer()->mutable_spec())
           .ok(),
       "a run");
  v1::CoordinatorMessage plan;
  plan.mutable_sync_plan()->set_run_id("run-1");
  plan.mutable_sync_plan()->set_needs_snapshot(true);
  plan.mutable_sync_plan()->set_first_commit(1);
  v1::CoordinatorMessage start;
  start.mutable_round_start()->set_run_id("run-1");
  start.mutable_round_start()->set_round(1);
  start.mutable_round_start()->set_learning_rate(0.01F);
  start.mutable_round_start()->set_local_steps(1);
  start.mutable_round_start()->set_base_state_hash(std::string(31, 'h') + std::string(1, '\0'));
  v1::CoordinatorMessage receipt;
  receipt.mutable_receipt()->set_run_id("run-1");
  receipt.mutable_receipt()->set_round(1);
  receipt.mutable_receipt()->set_result(v1::Receipt::INCLUDED);
  v1::CoordinatorMessage commit;
  commit.mutable_commit()->set_run_id("run-1");
  commit.mutable_commit()->set_round(1);
  commit.mutable_commit()->set_record("a record");
  commit.mutable_commit()->set_report(true);
  v1::CoordinatorMessage end;
  end.mutable_run_end()->set_run_id("run-1");
  end.mutable_run_end()->set_state(v1::FINISHED);
  end.mutable_run_end()->set_round(1);
  const std::string joined = Said(welcome) + Said(offer) + kWorkDone + Said(plan) + kWorkDone;
  return {joined, joined + Said(start) + kWorkDone + Said(receipt) + Said(commit) + kWorkDone + kWorkDone + Said(end),
          joined + "\x83\x82" + Said(welcome) + Said(offer) + Said(plan) + kWorkDone};
}

}  // namespace

absl::Span<const Target> Targets() {
  static constexpr Target kTargets[] = {
      {"token", RunToken, TokenSeeds},
      {"head", RunHead, HeadSeeds},
      {"saved", RunSaved, SavedSeeds},
      {"data", RunData, DataSeeds},
      {"tokens", RunTokens, TokensSeeds},
      {"image", RunImage, ImageSeeds},
      {"coordinator", RunCoordinator, CoordinatorSeeds},
  };
  return kTargets;
}

}  // namespace tributary::fuzz
