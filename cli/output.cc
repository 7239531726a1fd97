#include "cli/output.h"

#include <algorithm>
#include <cmath>
#include <iterator>
#include <nlohmann/json.hpp>

#include "absl/algorithm/container.h"
#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "absl/time/time.h"
#include "cli/table.h"
#include "common/excerpt.h"
#include "common/format_bytes.h"
#include "google/protobuf/descriptor.h"
#include "google/protobuf/duration.pb.h"
#include "optim/encoder.h"
#include "optim/modes.h"
#include "proto/config/run_options.h"
#include "proto/durations.h"
#include "proto/run_curves.h"

namespace tributary::cli {
namespace {

using Json = nlohmann::ordered_json;
using google::protobuf::Descriptor;
using google::protobuf::FieldDescriptor;
using google::protobuf::Message;
using google::protobuf::Reflection;

Json MessageToJson(const Message& message);
Json StatusToJson(const v1::RunStatus& status);

// Field `field` of `message`, element `index` if it is repeated (-1 otherwise); null for a number that JSON cannot hold.
Json ValueToJson(const Message& message, const FieldDescriptor& field, int index) {
  const Reflection& reflection = *message.GetReflection();
  const bool single = index < 0;
  const auto number = [](double value) { return std::isfinite(value) ? Json(value) : Json(); };
  switch (field.cpp_type()) {
    case FieldDescriptor::CPPTYPE_UINT32:
      return single ? reflection.GetUInt32(message, &field) : reflection.GetRepeatedUInt32(message, &field, index);
    case FieldDescriptor::CPPTYPE_UINT64:
      return single ? reflection.GetUInt64(message, &field) : reflection.GetRepeatedUInt64(message, &field, index);
    case FieldDescriptor::CPPTYPE_INT32:
      return single ? reflection.GetInt32(message, &field) : reflection.GetRepeatedInt32(message, &field, index);
    case FieldDescriptor::CPPTYPE_INT64:
      return single ? reflection.GetInt64(message, &field) : reflection.GetRepeatedInt64(message, &field, index);
    case FieldDescriptor::CPPTYPE_DOUBLE:
      return number(single ? reflection.GetDouble(message, &field) : reflection.GetRepeatedDouble(message, &field, index));
    case FieldDescriptor::CPPTYPE_FLOAT:
      return number(single ? reflection.GetFloat(message, &field) : reflection.GetRepeatedFloat(message, &field, index));
    case FieldDescriptor::CPPTYPE_BOOL:
      return single ? reflection.GetBool(message, &field) : reflection.GetRepeatedBool(message, &field, index);
    case FieldDescriptor::CPPTYPE_ENUM: {
      const int value = single ? reflection.GetEnumValue(message, &field) : reflection.GetRepeatedEnumValue(message, &field, index);
      const auto* known = field.enum_type()->FindValueByNumber(value);
      return known != nullptr ? Json(absl::AsciiStrToLower(known->name())) : Json(value);
    }
    case FieldDescriptor::CPPTYPE_STRING: {
      const std::string value = single ? reflection.GetString(message, &field) : reflection.GetRepeatedString(message, &field, index);
      return field.type() == FieldDescriptor::TYPE_BYTES ? absl::BytesToHexString(value) : value;
    }
    case FieldDescriptor::CPPTYPE_MESSAGE:
      return MessageToJson(single ? reflection.GetMessage(message, &field) : reflection.GetRepeatedMessage(message, &field, index));
  }
  return Json();
}

Json FieldsToJson(const Message& message) {
  const Descriptor& type = *message.GetDescriptor();
  const Reflection& reflection = *message.GetReflection();
  Json json = Json::object();
  for (int i = 0; i < type.field_count(); ++i) {
    const FieldDescriptor& field = *type.field(i);
    if (field.is_repeated() && field.message_type() == v1::Metric::descriptor()) {
      Json& metrics = json[field.name()] = Json::object();
      for (int j = 0; j < reflection.FieldSize(message, &field); ++j) {
        const Json metric = ValueToJson(message, field, j);
        metrics[metric.value("name", "")] = metric.value("value", Json());
      }
      continue;
    }
    if (field.is_repeated()) {
      Json list = Json::array();
      for (int j = 0; j < reflection.FieldSize(message, &field); ++j) {
        list.push_back(ValueToJson(message, field, j));
      }
      json[field.name()] = std::move(list);
      continue;
    }
    if (field.has_presence() && !reflection.HasField(message, &field)) {
      continue;
    }
    // An enumeration's zero is what nobody has said.
    if (field.cpp_type() == FieldDescriptor::CPPTYPE_ENUM && reflection.GetEnumValue(message, &field) == 0) {
      continue;
    }
    Json value = ValueToJson(message, field, -1);
    if (!value.is_null()) {
      json[field.name()] = std::move(value);
    }
  }
  return json;
}

Json MessageToJson(const Message& message) {
  const Descriptor& type = *message.GetDescriptor();
  if (&type == google::protobuf::Duration::descriptor()) {
    google::protobuf::Duration duration;
    duration.CopyFrom(message);
    return absl::ToDoubleSeconds(DurationOf(duration));
  }
  if (const auto* const status = dynamic_cast<const v1::RunStatus*>(&message); status != nullptr && status->spec().has_optimizer()) {
    return StatusToJson(*status);
  }
  return FieldsToJson(message);
}

// As it applies, where the coordinator says it or the run's file tells.
Json OptimizerToJson(const v1::RunStatus& status) {
  v1::OptimizerSpec in_force = status.optimizer_in_force();
  if (!status.has_optimizer_in_force()) {
    in_force = OptimizerInForce(status.spec()).value_or(status.spec().optimizer());
  }
  Json json = MessageToJson(in_force);
  if (in_force.has_local_time()) {
    json["local_steps"] = "auto";
  }
  // These fields cannot be absent.
  if (in_force.budget() == 0) {
    json.erase("budget");
  }
  if (in_force.norm_bound() == 0) {
    json.erase("norm_bound");
  }
  const std::string mode = absl::AsciiStrToLower(v1::OptimizerSpec::Mode_Name(in_force.mode()));
  const auto traits = absl::c_find_if(optim::kModes, [&](const optim::ModeTraits& known) { return known.name == mode; });
  if (traits != optim::kModes.end() && !traits->keys.Has(optim::Key::kAdam)) {
    for (const char* key : {"adam_beta1", "adam_beta2", "adam_epsilon"}) {
      json.erase(key);
    }
  }
  return json;
}

Json StatusToJson(const v1::RunStatus& status) {
  Json json = FieldsToJson(status);
  json["spec"]["optimizer"] = OptimizerToJson(status);
  json.erase("optimizer_in_force");
  return json;
}

// "peak learning rate 0.001 (cosine), clip norm 1.0, weight decay 0.0, ...": but for what FormatMethod and FormatBudget say.
std::string FormatSettings(const v1::RunStatus& status) {
  const Json optimizer = OptimizerToJson(status);
  const Json rate = optimizer.value("learning_rate", Json::object());
  const uint64_t rounds = status.spec().optimizer().learning_rate().rounds();
  std::string text = absl::StrCat("peak learning rate ", rate.value("peak", 0.0), " (", rate.value("kind", ""),
                                  rounds == 0 ? "" : absl::StrCat(" over ", rounds, " rounds"), ")");
  for (const auto& [key, value] : optimizer.items()) {
    if (!value.is_object() && key != "mode" && key != "k" && key != "local_steps" && key != "local_time" && key != "budget") {
      absl::StrAppend(&text, ", ", absl::StrReplaceAll(key, {{"_", " "}}), " ",
                      value.is_string() ? value.get<std::string>() : value.dump());
    }
  }
  return text;
}

std::string FormatTime(int64_t unix_ms) {
  return unix_ms == 0 ? "-" : absl::FormatTime("%Y-%m-%d %H:%M:%S UTC", absl::FromUnixMillis(unix_ms), absl::UTCTimeZone());
}

std::string ShortHash(const std::string& hash) {
  return hash.empty() ? "-" : absl::BytesToHexString(hash.substr(0, 6));
}

// Of a line that is too long for the terminal.
constexpr size_t kLeastName = 8;
constexpr size_t kLeastReason = 16;

std::string FormatMetrics(const v1::RunStatus& status) {
  std::string text;
  for (const v1::Metric& metric : status.metrics()) {
    absl::StrAppend(&text, "  ", metric.name(), " ", FormatMetric(metric.value()));
  }
  return text;
}

std::string FormatLosses(const v1::RunStatus& status) {
  std::string text;
  if (status.has_train_loss()) {
    absl::StrAppendFormat(&text, "  loss %.3f", status.train_loss());
  }
  if (status.has_val_loss()) {
    absl::StrAppendFormat(&text, "  val %.3f", status.val_loss());
  }
  return absl::StrCat(text, FormatMetrics(status));
}

std::string FormatBest(const v1::RunStatus& status) {
  const std::string name = status.best().name() == kLossName ? "val" : status.best().name();
  return status.has_best_round() ? absl::StrCat("round ", status.best_round(), ": ", name, " ", FormatMetric(status.best().value())) : "";
}

}  // namespace

std::string ToJson(const Message& message) {
  return MessageToJson(message).dump(/*indent=*/-1, ' ', /*ensure_ascii=*/true, Json::error_handler_t::replace);
}

std::vector<std::string> MetricHeadings(const v1::RunSpec& spec) {
  std::vector<std::string> headings;
  for (const std::string& name : spec.evaluation().metrics()) {
    headings.push_back(absl::AsciiStrToUpper(name));
  }
  return headings;
}

std::vector<std::string> MetricCells(const google::protobuf::RepeatedPtrField<v1::Metric>& metrics, const v1::RunSpec& spec) {
  std::vector<std::string> cells;
  for (const std::string& name : spec.evaluation().metrics()) {
    cells.push_back(FormatMetric(MetricIn(metrics, name)));
  }
  return cells;
}

std::string FormatState(v1::RunState state) {
  return absl::AsciiStrToLower(v1::RunState_Name(state));
}

StepBytes StepBytesOf(const v1::RoundRecord& round) {
  StepBytes bytes;
  const double steps = static_cast<double>(round.members()) * std::max<uint32_t>(round.local_steps(), 1);
  if (steps == 0) {
    return bytes;
  }
  bytes.up = static_cast<double>(round.bytes_up()) / steps;
  bytes.down = static_cast<double>(round.bytes_down()) / steps;
  bytes.dense_per_direction = static_cast<double>(round.dense_bytes_per_direction()) / steps;
  if (bytes.up + bytes.down > 0) {
    bytes.reduction = 2 * bytes.dense_per_direction / (bytes.up + bytes.down);
  }
  return bytes;
}

std::string FormatStatusLine(const v1::RunStatus& status, size_t columns) {
  const auto connected = std::count_if(status.sites().begin(), status.sites().end(), [](const auto& site) { return site.connected(); });
  std::string train, val, bytes, reduction, reason;
  std::string metrics = Escaped(FormatMetrics(status));
  std::string sites = absl::StrCat("  sites ", connected);
  if (status.has_train_loss()) {
    train = absl::StrFormat("  loss %.3f", status.train_loss());
  }
  if (status.has_val_loss()) {
    val = absl::StrFormat("  val %.3f", status.val_loss());
  }
  if (status.has_last_round()) {
    const StepBytes step = StepBytesOf(status.last_round());
    bytes = absl::StrCat("  up ", FormatBytes(step.up), "  down ", FormatBytes(step.down), " per step");
    if (step.reduction > 0) {
      reduction = absl::StrFormat("  %.0fx less", step.reduction);
    }
  }
  if (!status.reason().empty() && status.state() != v1::RUNNING) {
    reason = absl::StrCat("  (", Escaped(status.reason()), ")");
  }
  std::string name = Escaped(status.spec().name());
  const std::string rest = absl::StrCat("  ", FormatState(status.state()), "  round ", status.round(), "/", status.spec().rounds());
  const auto line = [&] { return absl::StrCat(name, rest, train, val, metrics, sites, bytes, reduction, reason); };
  const auto excess = [&] { return WidthOf(line()) - std::min(WidthOf(line()), columns); };
  for (std::string* part : {&bytes, &reduction, &sites, &metrics}) {
    if (excess() > 0) {
      part->clear();
    }
  }
  const std::string whole_reason = reason;
  const auto shorten_reason = [&] {
    reason = whole_reason;
    if (const size_t over = excess(); over > 0 && WidthOf(reason) >= over + kLeastReason) {
      reason = Shorten(reason, WidthOf(reason) - over);
    }
  };
  shorten_reason();
  // The losses stay longest, but for the reason of a run that does not go on.
  for (std::string* part : {val.empty() ? nullptr : &train, reason.empty() ? nullptr : &train, reason.empty() ? nullptr : &val}) {
    if (part != nullptr && excess() > 0) {
      part->clear();
      shorten_reason();
    }
  }
  if (const size_t over = excess(); over > 0) {
    name = Shorten(name, std::max(kLeastName, WidthOf(name) - std::min(WidthOf(name), over)));
  }
  return Shorten(line(), columns);
}

std::string FormatOutcome(const v1::RunStatus& status, const v1::RunHistory& history) {
  std::string text = absl::StrCat(Escaped(status.spec().name()), " ", FormatState(status.state()), " at round ", status.round(), " of ",
                                  status.spec().rounds());
  if (status.has_val_loss()) {
    absl::StrAppendFormat(&text, ", val %.3f", status.val_loss());
  }
  for (const v1::Metric& metric : status.metrics()) {
    absl::StrAppend(&text, ", ", Escaped(metric.name()), " ", FormatMetric(metric.value()));
  }
  const double up = static_cast<double>(status.bytes_up_total()), down = static_cast<double>(status.bytes_down_total());
  if (up + down == 0) {
    return text;
  }
  absl::StrAppend(&text, "; ", FormatBytes(up), " up and ", FormatBytes(down), " down");
  double dense = 0;
  for (const v1::RoundRecord& round : history.rounds()) {
    dense += 2 * static_cast<double>(round.dense_bytes_per_direction());
  }
  // Of a mode that sends about as much, "1x less" would tell nothing.
  if (dense >= 1.5 * (up + down)) {
    absl::StrAppendFormat(&text, ", %.0fx less than dense gradients", dense / (up + down));
  }
  return text;
}

std::string FormatMethod(const v1::RunSpec& spec) {
  const absl::StatusOr<optim::OptimizerOptions> options = OptimizerOptionsOf(spec);
  if (!options.ok()) {
    return "-";  // a run of a coordinator with another version
  }
  std::string text(optim::ModeName(options->mode));
  const optim::ModeTraits& mode = optim::TraitsOf(options->mode);
  if (mode.keys.Has(optim::Key::kK)) {
    const bool of_a_chunk = mode.family == optim::Family::kFloatComponents;
    absl::StrAppend(&text, ", k ", options->k, of_a_chunk ? " of a chunk" : absl::StrCat(" of ", optim::kChunkSize));
  }
  const std::string steps = optim::StepsAreTimed(*options)
                                ? absl::StrCat("as many local steps as fit into ", absl::FormatDuration(options->local_time))
                                : absl::StrCat("local steps ", options->local_steps);
  return absl::StrCat(text, ", ", steps, ", pipeline ", spec.pipeline());
}

std::string FormatSites(const v1::RunSpec& spec, int most) {
  const auto& sites = spec.participation().sites();
  if (sites.empty()) {
    return "all";
  }
  const int shown = sites.size() <= most ? sites.size() : most - 1;
  const std::string names = absl::StrJoin(sites.begin(), sites.begin() + shown, ", ");
  return shown == sites.size() ? names : absl::StrCat(names, " and ", sites.size() - shown, " more");
}

namespace {

// What the run's budget has chosen, and the bytes that it then takes at most; empty without a budget.
std::string FormatBudget(const v1::RunSpec& spec) {
  if (spec.optimizer().budget() == 0) {
    return "";
  }
  const absl::StatusOr<optim::OptimizerOptions> options = OptimizerOptionsOf(spec);
  const absl::StatusOr<optim::ModelSpec> model = ModelSpecOf(spec);
  const absl::StatusOr<optim::Layout> layout = model.ok() ? optim::MakeLayout(*model) : model.status();
  if (!options.ok() || !layout.ok()) {
    return "-";  // a run of a coordinator with another version
  }
  const optim::PayloadBounds bounds = optim::MaxPayloadBytes(*options, *layout);
  const optim::BudgetChoice choice = optim::TraitsOf(options->mode).budget;
  const bool chooses_k = choice == optim::BudgetChoice::kK || choice == optim::BudgetChoice::kLocalStepsThenK;
  const double steps = options->local_steps;
  return absl::StrCat(FormatBytes(static_cast<double>(spec.optimizer().budget())),
                      " a step: ", chooses_k ? absl::StrCat("k ", options->k, ", ") : "", "local steps ", options->local_steps,
                      ", at most ", FormatBytes(static_cast<double>(bounds.update) / steps), " up and ",
                      FormatBytes(static_cast<double>(bounds.commit) / steps), " down");
}

}  // namespace

std::string FormatStatus(const v1::RunStatus& status, size_t columns) {
  std::vector<std::vector<std::string>> rows = {
      {"run", absl::StrCat(status.spec().name(), " (", status.run_id(), ")")},
      {"state", absl::StrCat(FormatState(status.state()), status.reason().empty() ? "" : ": ", status.reason())},
      {"round", absl::StrCat(status.round(), " of ", status.spec().rounds())},
      {"state hash", status.state_hash().empty() ? "-" : absl::BytesToHexString(status.state_hash())},
      {"parameters", absl::StrCat(status.parameters())},
      {"method", FormatMethod(status.spec())},
      {"settings", FormatSettings(status)},
      {"losses", FormatLosses(status).empty() ? "-" : std::string(absl::StripLeadingAsciiWhitespace(FormatLosses(status)))},
      {"bytes", absl::StrCat("up ", FormatBytes(static_cast<double>(status.bytes_up_total())), ", down ",
                             FormatBytes(static_cast<double>(status.bytes_down_total())), " in total")},
      {"submitted", FormatTime(status.submitted_unix_ms())},
      {"finished", FormatTime(status.finished_unix_ms())},
  };
  if (const std::string budget = FormatBudget(status.spec()); !budget.empty()) {
    rows.push_back({"budget", budget});
  }
  if (!status.spec().participation().sites().empty()) {
    rows.push_back({"its sites", FormatSites(status.spec(), status.spec().participation().sites_size())});
  }
  if (const std::string best = FormatBest(status); !best.empty()) {
    rows.push_back({"best", best});
  }
  std::string text = FormatTable(rows, {columns, {}});
  if (status.sites().empty()) {
    return text;
  }
  rows = {{"SITE", "CONNECTED", "DOING", "ROUND", "HASH", "INCLUDED", "LATE", "REJECTED", "MISSED", "UP", "DOWN"}};
  const bool evaluated = absl::c_any_of(status.sites(), [](const v1::SiteStatus& site) { return site.has_val_loss(); });
  std::vector<std::string> evaluation = evaluated ? MetricHeadings(status.spec()) : std::vector<std::string>();
  if (evaluated) {
    evaluation.insert(evaluation.begin(), "VAL");
  }
  absl::c_copy(evaluation, std::back_inserter(rows[0]));
  for (const v1::SiteStatus& site : status.sites()) {
    rows.push_back({site.site(), site.connected() ? "yes" : "no", site.activity().empty() ? "-" : site.activity(),
                    absl::StrCat(site.round()), ShortHash(site.state_hash()), absl::StrCat(site.updates_included()),
                    absl::StrCat(site.updates_late()), absl::StrCat(site.updates_rejected()), absl::StrCat(site.rounds_missed()),
                    FormatBytes(static_cast<double>(site.bytes_up())), FormatBytes(static_cast<double>(site.bytes_down()))});
    if (evaluated) {
      rows.back().push_back(site.has_val_loss() ? absl::StrFormat("%.4f", site.val_loss()) : "-");
      absl::c_copy(MetricCells(site.metrics(), status.spec()), std::back_inserter(rows.back()));
    }
  }
  std::vector<std::string> droppable = {"HASH", "REJECTED", "LATE", "INCLUDED", "ROUND", "DOWN", "UP", "MISSED"};
  droppable.insert(droppable.end(), evaluation.rbegin(), evaluation.rend());
  return absl::StrCat(text, "\n", FormatTable(rows, {columns, {droppable.begin(), droppable.end()}}));
}

std::string FormatHistoryCsv(const v1::RunSpec& spec, const v1::RunHistory& history) {
  std::vector<const FieldDescriptor*> fields;
  std::vector<std::string> cells;
  for (int i = 0; i < v1::RoundRecord::descriptor()->field_count(); ++i) {
    const FieldDescriptor* const field = v1::RoundRecord::descriptor()->field(i);
    if (!field->is_repeated()) {
      fields.push_back(field);
      cells.push_back(field->name());
    }
  }
  // A column each, last.
  cells.insert(cells.end(), spec.evaluation().metrics().begin(), spec.evaluation().metrics().end());
  std::string csv = absl::StrCat(absl::StrJoin(cells, ","), "\n");
  for (const v1::RoundRecord& round : history.rounds()) {
    cells.clear();
    for (const FieldDescriptor* const field : fields) {
      const bool absent = field->has_presence() && !round.GetReflection()->HasField(round, field);
      const Json value = absent ? Json() : ValueToJson(round, *field, -1);
      cells.push_back(value.is_null() ? "" : value.dump());
    }
    for (const std::string& metric : spec.evaluation().metrics()) {
      const std::optional<double> value = MetricIn(round.metrics(), metric);
      cells.push_back(value.has_value() ? Json(*value).dump() : "");
    }
    absl::StrAppend(&csv, absl::StrJoin(cells, ","), "\n");
  }
  return csv;
}

}  // namespace tributary::cli
