// What was once sent or stored must stay readable: field numbers, types, enum values and method names stand in frozen_fields.txt, and
// this test fails when the schema differs. After a change that is meant (nothing renumbered, nothing reused), rewrite the file:
//   TRIBUTARY_UPDATE_FROZEN=1 build/release/tests/proto_test --gtest_filter='Frozen*'
#include <google/protobuf/descriptor.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "common/files.h"
#include "tributary/v1/admin.pb.h"
#include "tributary/v1/annotations.pb.h"
#include "tributary/v1/audit.pb.h"
#include "tributary/v1/config.pb.h"
#include "tributary/v1/enrolment.pb.h"
#include "tributary/v1/member.pb.h"
#include "tributary/v1/run.pb.h"
#include "tributary/v1/session.pb.h"
#include "tributary/v1/transfer.pb.h"

namespace tributary {
namespace {

using google::protobuf::Descriptor;
using google::protobuf::EnumDescriptor;
using google::protobuf::FieldDescriptor;
using google::protobuf::FileDescriptor;

constexpr char kFrozenFile[] = TRIBUTARY_FROZEN_FIELDS;

std::string TypeOf(const FieldDescriptor& field) {
  if (field.type() == FieldDescriptor::TYPE_MESSAGE) {
    return field.message_type()->full_name();
  }
  if (field.type() == FieldDescriptor::TYPE_ENUM) {
    return field.enum_type()->full_name();
  }
  return field.type_name();
}

void Describe(const EnumDescriptor& type, std::vector<std::string>* lines) {
  for (int i = 0; i < type.value_count(); ++i) {
    lines->push_back(absl::StrCat("enum ", type.full_name(), " ", type.value(i)->number(), " ", type.value(i)->name()));
  }
}

void Describe(const Descriptor& type, std::vector<std::string>* lines) {
  for (int i = 0; i < type.field_count(); ++i) {
    const FieldDescriptor& field = *type.field(i);
    std::string label = field.is_repeated() ? "repeated " : field.has_optional_keyword() ? "optional " : "";
    if (const auto* oneof = field.real_containing_oneof()) {
      label = absl::StrCat("oneof:", oneof->name(), " ");
    }
    lines->push_back(absl::StrCat("field ", type.full_name(), " ", field.number(), " ", field.name(), " ", label, TypeOf(field)));
  }
  for (int i = 0; i < type.nested_type_count(); ++i) {
    Describe(*type.nested_type(i), lines);
  }
  for (int i = 0; i < type.enum_type_count(); ++i) {
    Describe(*type.enum_type(i), lines);
  }
}

// One line for each thing that must not change, sorted.
std::vector<std::string> DescribeSchema() {
  const FileDescriptor* files[] = {
      v1::RunHistory::descriptor()->file(),  v1::FieldRule::descriptor()->file(),     v1::TlsConfig::descriptor()->file(),
      v1::RunSpec::descriptor()->file(),     v1::WorkerMessage::descriptor()->file(), v1::UploadId::descriptor()->file(),
      v1::AuditRecord::descriptor()->file(), v1::EnrolRequest::descriptor()->file(),  v1::OwnRun::descriptor()->file()};
  std::vector<std::string> lines;
  for (const FileDescriptor* file : files) {
    for (int i = 0; i < file->message_type_count(); ++i) {
      Describe(*file->message_type(i), &lines);
    }
    for (int i = 0; i < file->enum_type_count(); ++i) {
      Describe(*file->enum_type(i), &lines);
    }
    for (int i = 0; i < file->extension_count(); ++i) {
      lines.push_back(absl::StrCat("extension ", file->extension(i)->full_name(), " ", file->extension(i)->number()));
    }
    for (int i = 0; i < file->service_count(); ++i) {
      for (int j = 0; j < file->service(i)->method_count(); ++j) {
        const auto& method = *file->service(i)->method(j);
        lines.push_back(absl::StrCat("method ", method.full_name(), " ", method.client_streaming() ? "stream " : "",
                                     method.input_type()->full_name(), " ", method.server_streaming() ? "stream " : "",
                                     method.output_type()->full_name()));
      }
    }
  }
  std::sort(lines.begin(), lines.end());
  return lines;
}

TEST(FrozenSchemaTest, NumbersNamesAndTypesAreAsCommitted) {
  const std::vector<std::string> now = DescribeSchema();
  if (std::getenv("TRIBUTARY_UPDATE_FROZEN") != nullptr) {
    ASSERT_TRUE(WriteFileAtomically(kFrozenFile, absl::StrJoin(now, "\n") + "\n").ok());
    GTEST_SKIP() << kFrozenFile << " rewritten";
  }
  std::vector<std::string> frozen = absl::StrSplit(ReadFile(kFrozenFile, 1 << 20).value(), '\n', absl::SkipEmpty());
  std::sort(frozen.begin(), frozen.end());
  std::vector<std::string> gone;
  std::set_difference(frozen.begin(), frozen.end(), now.begin(), now.end(), std::back_inserter(gone));
  std::vector<std::string> added;
  std::set_difference(now.begin(), now.end(), frozen.begin(), frozen.end(), std::back_inserter(added));
  EXPECT_TRUE(gone.empty()) << "changed or removed (readers of old data and old peers would break):\n" << absl::StrJoin(gone, "\n");
  EXPECT_TRUE(added.empty()) << "new (if meant, rewrite the file as the top of this test says):\n" << absl::StrJoin(added, "\n");
}

}  // namespace
}  // namespace tributary
