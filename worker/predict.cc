#include "worker/predict.h"

#include <algorithm>
#include <cmath>
#include <memory>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_replace.h"
#include "common/status_macros.h"
#include "worker/data/csv_reader.h"
#include "worker/data/folder.h"
#include "worker/data/table_coding.h"
#include "worker/data/table_file.h"
#include "worker/data/table_text.h"
#include "worker/models/batch.h"
#include "worker/models/model.h"

namespace tributary::worker {
namespace {

constexpr int64_t kRowsAtOnce = 1024;

std::string CsvField(absl::string_view text) {
  return text.find_first_of(",;\"\r\n") == absl::string_view::npos ? std::string(text)
                                                                   : absl::StrCat("\"", absl::StrReplaceAll(text, {{"\"", "\"\""}}), "\"");
}

class Predictor {
 public:
  Predictor(const PredictOptions& options, std::unique_ptr<Model> model, absl::Span<const float> theta, std::string file)
      : options_(options), model_(std::move(model)), theta_(theta), file_(std::move(file)) {
    predictions_.csv = "row,prediction";
    for (const TableClass& one : options_.schema.label.classes) {
      absl::StrAppend(&predictions_.csv, ",", CsvField(one.name));
    }
    absl::StrAppend(&predictions_.csv, "\n");
  }

  absl::StatusOr<Predictions> Read(TableFile& file) {
    TableRow row;
    while (true) {
      TRIBUTARY_ASSIGN_OR_RETURN(const bool more, file.Next(row));
      if (!more) {
        break;
      }
      TRIBUTARY_RETURN_IF_ERROR(row.problem);
      waiting_.push_back(row.left_out.empty() ? Row::kIn : Row::kLeftOut);
      if (row.left_out.empty()) {
        AppendInputs(options_.schema, options_.statistics, row.cells, batch_.features);
        ++batch_.rows;
      }
      if (static_cast<int64_t>(waiting_.size()) == kRowsAtOnce) {
        TRIBUTARY_RETURN_IF_ERROR(Flush());
      }
    }
    TRIBUTARY_RETURN_IF_ERROR(Flush());
    return std::move(predictions_);
  }

 private:
  enum class Row { kIn, kLeftOut };

  absl::Status Flush() {
    std::vector<float> outputs;
    if (batch_.rows > 0) {
      TRIBUTARY_ASSIGN_OR_RETURN(outputs, model_->Outputs(theta_, batch_));
    }
    const size_t classes = options_.schema.label.classes.size();
    const size_t width = std::max<size_t>(1, classes);
    absl::Span<const float> rest = outputs;
    for (const Row row : waiting_) {
      absl::StrAppend(&predictions_.csv, ++predictions_.rows, ",");
      const absl::Span<const float> own = rest.first(row == Row::kLeftOut ? 0 : width);
      if (!std::all_of(own.begin(), own.end(), [](float output) { return std::isfinite(output); })) {
        return DataError(absl::StrCat(file_, ": row ", predictions_.rows, ": the model gives no finite number for it: either its values ",
                                      "are far from those that the model was trained on, or its weights are damaged"));
      }
      if (row == Row::kLeftOut) {
        ++predictions_.left_out;
        predictions_.csv.append(classes, ',');
      } else if (classes == 0) {
        const Scale& scale = options_.statistics.label;
        absl::StrAppend(&predictions_.csv, absl::StrFormat("%.9g", own[0] * scale.deviation + scale.mean));
      } else {
        AppendClasses(own);
      }
      predictions_.csv.push_back('\n');
      rest.remove_prefix(own.size());
    }
    waiting_.clear();
    batch_ = {};
    return absl::OkStatus();
  }

  // The softmax of `logits`, each class divided by what it weighed in the loss, which the model has learned to multiply with.
  void AppendClasses(absl::Span<const float> logits) {
    const auto predicted = std::max_element(logits.begin(), logits.end());
    std::vector<double> weights;
    double sum = 0;
    const std::vector<TableClass>& classes = options_.schema.label.classes;
    for (size_t i = 0; i < logits.size(); ++i) {
      weights.push_back(std::exp(static_cast<double>(logits[i]) - *predicted) / classes[i].weight);
      sum += weights.back();
    }
    absl::StrAppend(&predictions_.csv, CsvField(classes[static_cast<size_t>(predicted - logits.begin())].name));
    for (const double weight : weights) {
      absl::StrAppendFormat(&predictions_.csv, ",%.6f", weight / sum);
    }
  }

  const PredictOptions& options_;
  const std::unique_ptr<Model> model_;
  const absl::Span<const float> theta_;
  const std::string file_;
  std::vector<Row> waiting_;
  Batch batch_;
  Predictions predictions_;
};

}  // namespace

absl::StatusOr<Predictions> Predict(const PredictOptions& options, absl::Span<const float> theta, const std::string& file) {
  TRIBUTARY_ASSIGN_OR_RETURN(const optim::Layout layout, optim::MakeLayout(options.model));
  TRIBUTARY_ASSIGN_OR_RETURN(std::unique_ptr<Model> model, Model::Create(options.model, layout, options.threads));
  const TableCoding coding = MakeCoding(options.schema, options.format);
  uint64_t budget = kMaxDataBytes;
  TRIBUTARY_ASSIGN_OR_RETURN(const DecodedText text, ReadTableText(file, options.format, Utf8::kChecked, budget));
  TRIBUTARY_ASSIGN_OR_RETURN(CsvReader reader,
                             CsvReader::Open(file, text.text, options.format.separator, CsvReader::QuotedBlanks::kStripped));
  TRIBUTARY_ASSIGN_OR_RETURN(TableFile table, TableFile::Open(std::move(reader), &coding, TableFile::Labels::kIgnored));
  return Predictor(options, std::move(model), theta, file).Read(table);
}

}  // namespace tributary::worker
