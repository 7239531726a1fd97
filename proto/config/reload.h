// What a program that is told to read its configuration again needs to know of it.
#ifndef TRIBUTARY_PROTO_CONFIG_RELOAD_H_
#define TRIBUTARY_PROTO_CONFIG_RELOAD_H_

#include <string>
#include <vector>

#include "common/log.h"
#include "google/protobuf/message.h"
#include "tributary/v1/config.pb.h"

namespace tributary {

// Keys as in the file, of nested messages the outermost.
struct Reloaded {
  std::vector<std::string> taken;
  std::vector<std::string> left;  // changed in the file, and not in force before a restart

  bool Took(const std::string& key) const;
  // For the log.
  std::string Text() const;
};

// Takes over from `read`, which was read again, the values of `keys` that differ from `in_force`, a message of the same type.
Reloaded TakeOver(const google::protobuf::Message& read, const std::vector<std::string>& keys, google::protobuf::Message* in_force);

LogLevel LogLevelOf(v1::Logging::Level level);
LogFormat LogFormatOf(v1::Logging::Format format);

}  // namespace tributary

#endif  // TRIBUTARY_PROTO_CONFIG_RELOAD_H_
