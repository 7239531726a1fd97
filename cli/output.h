// How results are shown: JSON for programs, lines and tables for people. Pure.
#ifndef TRIBUTARY_CLI_OUTPUT_H_
#define TRIBUTARY_CLI_OUTPUT_H_

#include <cstdint>
#include <string>
#include <vector>

#include "google/protobuf/message.h"
#include "google/protobuf/repeated_ptr_field.h"
#include "tributary/v1/admin.pb.h"

namespace tributary::cli {

// One line of JSON: keys are field names, numbers are numbers, enum values lower case as in YAML, bytes hexadecimal, durations in
// seconds; absent fields are left out, and so are numbers that JSON cannot hold (NaN, infinity). Metrics are an object, by name. A run's
// spec.optimizer is shown as it applies (RunStatus.optimizer_in_force): without what its mode does not read, and with a budget only if
// there is one.
std::string ToJson(const google::protobuf::Message& message);

// "running".
std::string FormatState(v1::RunState state);

// A round's bytes for one worker and one local step, and what dense fp32 would have moved; 0 where nothing was measured.
struct StepBytes {
  double up = 0;
  double down = 0;
  double dense_per_direction = 0;
  double reduction = 0;  // dense both ways / actual both ways
};
StepBytes StepBytesOf(const v1::RoundRecord& round);

// "bible  running  round 12/200  loss 2.314  val 2.402  sites 4  up 1.20 KiB  down 2.30 KiB per step  857x less". What matters least is
// left out until the rest fits into `columns` characters; the losses stay longest.
std::string FormatStatusLine(const v1::RunStatus& status, size_t columns);

// What a run came to: "bible finished at round 200 of 200, val 2.402; 12.30 MiB up and 20.10 MiB down, 857x less than dense gradients".
// `history`: of all its rounds.
std::string FormatOutcome(const v1::RunStatus& status, const v1::RunHistory& history);

// How a run is optimised, with what its file leaves to the defaults: "distro, k 32 of 4096, local steps 1, pipeline 0".
std::string FormatMethod(const v1::RunSpec& spec);
// "berlin, oslo and 3 more": the sites that the run names, at most `most` of them or how many more there are; "all" if it names none.
std::string FormatSites(const v1::RunSpec& spec, int most);

// All there is to say about a run, in lines of at most `columns` characters.
std::string FormatStatus(const v1::RunStatus& status, size_t columns);

// Of a table: a column for each metric that the run asks for, and its cells; "-": not known.
std::vector<std::string> MetricHeadings(const v1::RunSpec& spec);
std::vector<std::string> MetricCells(const google::protobuf::RepeatedPtrField<v1::Metric>& metrics, const v1::RunSpec& spec);

// A heading with the field names of RoundRecord and the run's metrics, then one line a round; absent values are empty.
std::string FormatHistoryCsv(const v1::RunSpec& spec, const v1::RunHistory& history);

}  // namespace tributary::cli

#endif  // TRIBUTARY_CLI_OUTPUT_H_
