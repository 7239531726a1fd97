#include "worker/data/table_rows.h"

#include <cmath>

namespace tributary::worker {
namespace {

// Of every `stride`-th number from `first`.
Scale ScaleOf(const std::vector<float>& numbers, size_t first, size_t stride) {
  double sum = 0;
  uint64_t count = 0;
  for (size_t i = first; i < numbers.size(); i += stride) {
    if (!std::isnan(numbers[i])) {
      sum += numbers[i];
      ++count;
    }
  }
  if (count == 0) {
    return {};
  }
  const double mean = sum / static_cast<double>(count);
  double squares = 0;
  for (size_t i = first; i < numbers.size(); i += stride) {
    if (!std::isnan(numbers[i])) {
      const double centred = numbers[i] - mean;
      squares += centred * centred;
    }
  }
  const double deviation = std::sqrt(squares / static_cast<double>(count));
  return {.mean = mean, .deviation = deviation > 0 ? deviation : 1.0};
}

bool IsSites(const TableSchema& schema, const std::optional<Scale>& stated) {
  return !stated.has_value() && schema.standardise == Standardise::kSite;
}

}  // namespace

std::optional<TableStatistics> StatedStatistics(const TableSchema& schema) {
  TableStatistics statistics;
  for (const TableColumn& column : schema.columns) {
    if (column.kind == TableColumn::Kind::kNumber && IsSites(schema, column.scale)) {
      return std::nullopt;
    }
    statistics.columns.push_back(column.scale.value_or(Scale{}));
  }
  if (schema.label.classes.empty() && IsSites(schema, schema.label.scale)) {
    return std::nullopt;
  }
  statistics.label = schema.label.scale.value_or(Scale{});
  return statistics;
}

TableStatistics ComputeStatistics(const TableSchema& schema, const TableRows& training) {
  TableStatistics statistics;
  for (size_t c = 0; c < schema.columns.size(); ++c) {
    const TableColumn& column = schema.columns[c];
    const bool computed = column.kind == TableColumn::Kind::kNumber && IsSites(schema, column.scale);
    statistics.columns.push_back(computed ? ScaleOf(training.cells, c, schema.columns.size()) : column.scale.value_or(Scale{}));
  }
  const bool computed = !training.values.empty() && IsSites(schema, schema.label.scale);
  statistics.label = computed ? ScaleOf(training.values, 0, 1) : schema.label.scale.value_or(Scale{});
  return statistics;
}

float Standardised(float value, const Scale& scale) {
  // The reciprocal first: runs without `columns` have always been computed so.
  return static_cast<float>((value - scale.mean) * (1.0 / scale.deviation));
}

void AppendInputs(const TableSchema& schema, const TableStatistics& statistics, absl::Span<const float> cells, std::vector<float>& inputs) {
  for (size_t c = 0; c < cells.size(); ++c) {
    const TableColumn& column = schema.columns[c];
    const bool missing = std::isnan(cells[c]);
    if (column.kind == TableColumn::Kind::kNumber) {
      inputs.push_back(missing ? 0.0F : Standardised(cells[c], statistics.columns[c]));
    } else {
      const size_t first = inputs.size();
      inputs.resize(first + column.values.size() + (column.other ? 1 : 0), 0.0F);
      if (!missing) {
        inputs[first + static_cast<size_t>(cells[c])] = 1.0F;
      }
    }
    if (column.missing == MissingPolicy::kFlag) {
      inputs.push_back(missing ? 1.0F : 0.0F);
    }
  }
}

}  // namespace tributary::worker
