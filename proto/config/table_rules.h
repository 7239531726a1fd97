// What a run must say of its tables.
#ifndef TRIBUTARY_PROTO_CONFIG_TABLE_RULES_H_
#define TRIBUTARY_PROTO_CONFIG_TABLE_RULES_H_

#include <cstdint>

#include "absl/status/status.h"
#include "tributary/v1/run.pb.h"

namespace tributary {

// Inputs that the columns give a model: 1 for a number, one for each value of a category; and one more each for `other` and for a flag.
uint64_t InputsOf(const google::protobuf::RepeatedPtrField<v1::ColumnSpec>& columns);

// Of a run whose data are tables, or whose `data` has one of the keys of tables. InvalidArgument names the key: columns and label that
// contradict themselves, each other or the model.
absl::Status CheckTable(const v1::RunSpec& spec);

// Of a run whose data are something else. InvalidArgument: a key that only tables have. `kind` is its name.
absl::Status CheckNoTable(const v1::DataSpec& data, absl::string_view kind);

}  // namespace tributary

#endif  // TRIBUTARY_PROTO_CONFIG_TABLE_RULES_H_
