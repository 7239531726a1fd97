#include "proto/config/capabilities.h"

#include <algorithm>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "google/protobuf/descriptor.h"

namespace tributary {
namespace {

using google::protobuf::EnumDescriptor;
using google::protobuf::OneofDescriptor;

constexpr char kPipeline[] = "pipeline";
// Of a run that names its sites, and of one whose schedule is not as long as the run.
constexpr char kSites[] = "participation:sites";
constexpr char kScheduledRounds[] = "learning_rate:rounds";
// Of a run that asks for metrics.
constexpr char kMetrics[] = "evaluation:metrics";
// Of tables whose columns the run names, and of a perceptron that predicts a number.
constexpr char kColumns[] = "data:columns";
constexpr char kValues[] = "mlp:values";
// Sites count their local steps by time.
constexpr char kTimedSteps[] = "local_steps:auto";

// What release 0.1.0 could do, the last that did not tell. It never changes.
constexpr const char* kUntold[] = {"data:csv",    "data:text",   "mode:allreduce",   "mode:demo",    "mode:diloco",
                                   "mode:distro", "mode:fedavg", "mode:local",       "mode:signsgd", "model:gpt",
                                   "model:mlp",   kPipeline,     "weighting:samples"};

// "mode:distro": the subject, and the value as run.yaml writes it.
std::string Word(absl::string_view subject, const EnumDescriptor& type, int number) {
  const auto* const value = type.FindValueByNumber(number);
  return absl::StrCat(subject, ":", value == nullptr ? absl::StrCat(number) : absl::AsciiStrToLower(value->name()));
}

void AddAll(absl::string_view subject, const EnumDescriptor& type, Capabilities& words) {
  for (int i = 0; i < type.value_count(); ++i) {
    if (type.value(i)->number() != 0) {
      words.insert(Word(subject, type, type.value(i)->number()));
    }
  }
}

std::string ModelWord(const google::protobuf::FieldDescriptor& kind) {
  return absl::StrCat("model:", kind.name());
}

const OneofDescriptor& ModelKinds() {
  return *v1::ModelSpec::descriptor()->FindOneofByName("kind");
}

// Weighting every update the same needs nothing of a site.
std::string WeightingWord(v1::Weighting weighting) {
  return Word("weighting", *v1::Weighting_descriptor(), weighting);
}

// Each site's own statistics are what there always was.
std::string StandardiseWord(v1::Standardise standardise) {
  return Word("standardise", *v1::Standardise_descriptor(), standardise);
}

}  // namespace

const Capabilities& OwnCapabilities() {
  // All that run.yaml can say: a mode, model or kind of data that a part of the program does not know does not compile.
  static const Capabilities& words = *[] {
    auto* const made = new Capabilities{kPipeline, kSites, kScheduledRounds, kMetrics, kTimedSteps, kSignsUpdates, kColumns, kValues};
    AddAll("mode", *v1::OptimizerSpec::Mode_descriptor(), *made);
    AddAll("data", *v1::DataSpec::Kind_descriptor(), *made);
    AddAll("weighting", *v1::Weighting_descriptor(), *made);
    made->erase(WeightingWord(v1::UNIFORM));
    AddAll("standardise", *v1::Standardise_descriptor(), *made);
    made->erase(StandardiseWord(v1::SITE));
    for (int i = 0; i < ModelKinds().field_count(); ++i) {
      made->insert(ModelWord(*ModelKinds().field(i)));
    }
    return made;
  }();
  return words;
}

Capabilities CapabilitiesOf(const google::protobuf::RepeatedPtrField<std::string>& told) {
  if (told.empty()) {
    return Capabilities(std::begin(kUntold), std::end(kUntold));
  }
  Capabilities words;
  for (int i = 0; i < std::min(told.size(), kMaxCapabilities); ++i) {
    if (told[i].size() <= kMaxCapabilityBytes) {
      words.insert(told[i]);
    }
  }
  return words;
}

Capabilities RequiredCapabilities(const v1::RunSpec& run) {
  Capabilities words = {Word("mode", *v1::OptimizerSpec::Mode_descriptor(), run.optimizer().mode()),
                        Word("data", *v1::DataSpec::Kind_descriptor(), run.data().kind())};
  if (const auto* const kind = run.model().GetReflection()->GetOneofFieldDescriptor(run.model(), &ModelKinds()); kind != nullptr) {
    words.insert(ModelWord(*kind));
  }
  if (run.optimizer().weighting() > v1::UNIFORM) {
    words.insert(WeightingWord(run.optimizer().weighting()));
  }
  if (run.data().columns_size() > 0) {
    words.insert(kColumns);
  }
  if (run.data().standardise() > v1::SITE) {
    words.insert(StandardiseWord(run.data().standardise()));
  }
  if (run.model().mlp().task() == v1::MlpSpec::VALUES) {
    words.insert(kValues);
  }
  if (run.pipeline() > 0) {
    words.insert(kPipeline);
  }
  if (!run.participation().sites().empty()) {
    words.insert(kSites);
  }
  if (run.optimizer().learning_rate().rounds() > 0) {
    words.insert(kScheduledRounds);
  }
  if (!run.evaluation().metrics().empty()) {
    words.insert(kMetrics);
  }
  if (run.optimizer().has_local_time()) {
    words.insert(kTimedSteps);
  }
  return words;
}

v1::RunSpec WithoutNewDefaults(v1::RunSpec run) {
  if (run.data().standardise() == v1::SITE) {
    run.mutable_data()->clear_standardise();
  }
  if (run.model().mlp().task() == v1::MlpSpec::CLASSES) {
    run.mutable_model()->mutable_mlp()->clear_task();
  }
  return run;
}

}  // namespace tributary
