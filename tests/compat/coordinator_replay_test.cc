// This coordinator is told what the workers of another release told theirs, and must say what that one said.
#include <gtest/gtest.h>

#include <map>
#include <memory>

#include "sim/sim_coordinator.h"
#include "tests/compat/recording_reader.h"

namespace tributary::sim {
namespace {

// What a release may say in its own way.
const std::vector<std::string> kDiffering = {"welcome.software_version", "welcome.protocol_version", "welcome.capabilities"};

class CoordinatorReplay : public ::testing::TestWithParam<std::string> {
 protected:
  struct Sink final : coordinator::SessionSink {
    Sink(CoordinatorReplay* replay, std::string name) : replay(replay), name(std::move(name)) {}
    void Send(std::shared_ptr<const v1::CoordinatorMessage> message) override {
      replay->said_.push_back(absl::StrCat(name, " says ", Comparable(*message, kDiffering)));
    }
    void Close(const absl::Status& status) override { replay->said_.push_back(absl::StrCat(name, " closes ", CodeName(status))); }
    CoordinatorReplay* replay;
    std::string name;
  };

  // What this line of the record tells the coordinator; a line that is what it did is what is expected.
  void Play(const RecordedLine& line) {
    const std::string site = line.stream.substr(0, line.stream.find('/'));
    if (line.verb == "says") {
      expected_.push_back(absl::StrCat(line.stream, " says ", Comparable(FromJson<v1::CoordinatorMessage>(line.json), kDiffering)));
    } else if (line.verb == "closes" || line.verb == "answers") {
      expected_.push_back(absl::StrCat(line.stream, " ", line.verb, " ", absl::StrJoin(line.words, " ")));
    } else {
      world_.After(line.at - world_.Elapsed(), "recorded", -1, [this, line, site] {
        coordinator_.Call([&](coordinator::Coordinator& coordinator) { Tell(coordinator, line, site); });
      });
    }
  }

  void Tell(coordinator::Coordinator& coordinator, const RecordedLine& line, const std::string& site) {
    const auto answer = [&](const absl::Status& status, absl::string_view bytes = "") {
      said_.push_back(absl::StrCat(site, " answers ", CodeName(status), bytes.empty() ? "" : " ", absl::Base64Escape(bytes)));
    };
    if (line.verb == "submits") {
      const absl::StatusOr<v1::RunStatus> run = coordinator.SubmitRun(FromJson<v1::RunSpec>(line.json), "anna");
      ASSERT_TRUE(run.ok()) << run.status();
      run_id_ = run->run_id();
    } else if (line.verb == "opens") {
      sinks_.push_back(std::make_unique<Sink>(this, line.stream));
      sessions_[line.stream] = sinks_.back().get();
      // The recorded release let the newest session of a site in, whoever opened it.
      coordinator.SessionOpened(site, sessions_[line.stream], {line.stream, site});
    } else if (line.verb == "hears") {
      coordinator.MessageReceived(site, sessions_.at(line.stream), FromJson<v1::WorkerMessage>(line.json), line.json.size());
    } else if (line.verb == "ended") {
      coordinator.SessionClosed(site, sessions_.at(line.stream));
    } else if (line.verb == "checks") {
      answer(coordinator.CheckUpload(site, FromJson<v1::UploadHeader>(line.json)).status());
    } else if (line.verb == "takes") {
      answer(coordinator.UploadCompleted(site, FromJson<v1::UploadHeader>(line.json), {FromBase64(line.words.at(0)), ""}));
    } else if (line.verb == "serves") {
      const absl::StatusOr<SharedBytes> bytes = coordinator.OpenDownload(FromJson<v1::DownloadRequest>(line.json), site);
      answer(bytes.status(), bytes.ok() ? *ReadAll(**bytes) : "");
    } else {
      FAIL() << "the record says '" << line.verb << "'";
    }
  }

  const Recording recording_ = ReadRecording(GetParam() + "/coordinator.conversation");
  const v1::CoordinatorConfig config_ = FromJson<v1::CoordinatorConfig>(recording_.config);
  World world_{1};
  Witness witness_{&world_};
  SimDisk disk_{&world_, absl::StrCat("replay ", GetParam())};
  SimCoordinator coordinator_{&world_, &disk_, &witness_, config_, absl::ZeroDuration()};
  std::vector<std::unique_ptr<Sink>> sinks_;
  std::map<std::string, Sink*> sessions_;  // the newest of this name
  std::vector<std::string> expected_;
  std::vector<std::string> said_;
  std::string run_id_;
};

TEST_P(CoordinatorReplay, SaysWhatTheOtherReleaseSaid) {
  witness_.snapshots = config_.snapshots();
  world_.After(absl::ZeroDuration(), "start", -1, [this] { coordinator_.Start(); });
  for (const RecordedLine& line : recording_.lines) {
    Play(line);
  }
  while (world_.Elapsed() < recording_.lines.back().at && world_.Step()) {
  }
  for (size_t i = 0; i < std::min(expected_.size(), said_.size()); ++i) {
    ASSERT_EQ(said_[i], expected_[i]) << "message " << i;
  }
  EXPECT_EQ(said_.size(), expected_.size());
  EXPECT_FALSE(world_.violation().has_value()) << world_.violation()->detail;
  const absl::StatusOr<v1::RunStatus> run = coordinator_.get()->GetRun(run_id_);
  ASSERT_TRUE(run.ok()) << run.status();
  EXPECT_EQ(run->state(), v1::FINISHED);
  EXPECT_EQ(absl::BytesToHexString(run->state_hash()), recording_.hash);
}

INSTANTIATE_TEST_SUITE_P(Of, CoordinatorReplay, ::testing::ValuesIn(Recordings()), NameOfRecording);

}  // namespace
}  // namespace tributary::sim
