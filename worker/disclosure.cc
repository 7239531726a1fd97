#include "worker/disclosure.h"

#include <algorithm>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/status_macros.h"
#include "optim/modes.h"
#include "optim/options.h"
#include "proto/config/run_options.h"

namespace tributary::worker {
namespace {

std::string PartOf(const optim::OptimizerOptions& options) {
  switch (optim::TraitsOf(options.mode).family) {
    case optim::Family::kValues:
      return "every value of ";
    case optim::Family::kSigns:
      return "the sign of every value of ";
    case optim::Family::kFloatComponents:
      return absl::StrCat("the ", options.k, " largest components of each chunk of what has gathered of ");
    case optim::Family::kLevels:
      return absl::StrCat("the ", options.k, " largest of every ", optim::kChunkSize, " components, in few bits, of what has gathered of ");
  }
  return "";
}

}  // namespace

absl::StatusOr<std::string> Disclosure(const v1::RunSpec& spec, Reported reported) {
  TRIBUTARY_ASSIGN_OR_RETURN(const optim::OptimizerOptions options, OptimizerOptionsOf(spec));
  const uint32_t batch = spec.data().batch_size();
  const std::string samples = absl::StrCat(batch, batch == 1 ? " sample" : " samples");
  const std::string clipped = options.clip_norm > 0 ? absl::StrCat("clipped to a norm of ", options.clip_norm) : "not clipped";
  std::string text = absl::StrCat("each round ", PartOf(options));
  if (options.local_steps > 1) {
    absl::StrAppend(&text, "what ", optim::StepsAreTimed(options) ? "at least " : "", options.local_steps, " steps on ", samples,
                    " each have changed in the model, their gradients ", clipped);
  } else {
    absl::StrAppend(&text, "the gradient of ", samples, ", ", clipped);
  }
  if (reported == Reported::kAll) {
    std::vector<std::string> measured = {"a validation loss"};
    measured.insert(measured.end(), spec.evaluation().metrics().begin(), spec.evaluation().metrics().end());
    const std::string last = measured.size() > 1 ? absl::StrCat(" and ", measured.back()) : "";
    measured.resize(std::max<size_t>(1, measured.size() - 1));
    absl::StrAppend(&text, "; its training loss, and every ", spec.evaluation().every(), " rounds ", absl::StrJoin(measured, ", "), last);
  }
  absl::StrAppend(&text, "; how long it computed", optim::StepsAreTimed(options) ? ", and how many steps it took" : "");
  if (options.weighting == optim::Weighting::kSamples) {
    absl::StrAppend(&text, "; how many samples this site trains on");
  }
  if (spec.data().kind() == v1::DataSpec::CSV) {
    absl::StrAppend(&text, "; once a digest of its columns' names");
  }
  return text;
}

std::string ConsentText(const v1::RunOffer& offer, Reported reported) {
  return absl::StrCat("run ", offer.spec().name(), " (", offer.run_id(), ") is within this site's consent. It discloses ",
                      Disclosure(offer.spec(), reported).value_or("nothing that is known"));
}

}  // namespace tributary::worker
