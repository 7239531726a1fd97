// What the machine and the control groups around a process allow it: memory and cores.
#include <sched.h>
#include <sys/resource.h>

#include <filesystem>
#include <string>

#include "absl/strings/str_cat.h"
#include "common/control_group.h"
#include "common/cpu_limits.h"
#include "common/memory_limits.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/common/test_folder.h"

namespace tributary {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

// A root folder in which the kernel says what a test wants it to.
class Machine {
 public:
  Machine() { Write("proc/meminfo", "MemTotal:       16777216 kB\nMemFree:          100 kB\nMemAvailable:    8388608 kB\n"); }
  void Write(const std::string& name, absl::string_view text) {
    std::filesystem::create_directories(std::filesystem::path(folder_.File(name)).parent_path());
    folder_.Write(name, text);
  }
  // As systemd sets up a service, and as Kubernetes shows a pod its own group.
  void MountUnified(absl::string_view group, absl::string_view seen = "/") {
    Write("proc/self/cgroup", absl::StrCat("0::", group, "\n"));
    Write("proc/self/mountinfo", absl::StrCat("22 1 0:20 / /proc rw - proc proc rw\n"
                                              "30 23 0:26 ",
                                              seen, " /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate\n"));
  }
  void MountOld(absl::string_view group, absl::string_view seen = "/") {
    Write("proc/self/cgroup", absl::StrCat("4:memory:", group, "\n3:cpu,cpuacct:", group, "\n0::/\n"));
    Write("proc/self/mountinfo",
          absl::StrCat("32 31 0:30 ", seen, " /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n35 31 0:32 ", seen,
                       " /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory\n"));
  }
  const std::string& root() const { return folder_.path(); }

 private:
  const TestFolder folder_;
};

constexpr uint64_t kGiB = uint64_t{1} << 30;

TEST(MemoryLimits, WithoutControlGroupsAreTheMachines) {
  const Machine machine;
  const auto limits = ReadMemoryLimits(machine.root());
  ASSERT_TRUE(limits.ok()) << limits.status();
  EXPECT_EQ(limits->total, 16 * kGiB);
  EXPECT_EQ(limits->available, 8 * kGiB);
  EXPECT_EQ(limits->bound_by, "this machine");
}

TEST(MemoryLimits, OfAUnifiedGroupLeaveOutWhatTheKernelCanDrop) {
  Machine machine;
  machine.MountUnified("/system.slice/coordinator.service");
  const std::string group = "sys/fs/cgroup/system.slice/coordinator.service/";
  machine.Write(group + "memory.max", "2147483648\n");
  machine.Write(group + "memory.current", "1610612736\n");
  machine.Write(group + "memory.stat", "anon 100\ninactive_file 536870912\nactive_file 7\n");
  machine.Write("sys/fs/cgroup/system.slice/memory.max", "max\n");
  const auto limits = ReadMemoryLimits(machine.root());
  ASSERT_TRUE(limits.ok()) << limits.status();
  EXPECT_EQ(limits->total, 2 * kGiB);
  EXPECT_EQ(limits->available, kGiB);
  EXPECT_EQ(limits->bound_by, "control group /sys/fs/cgroup/system.slice/coordinator.service");
}

TEST(MemoryLimits, OfAGroupFurtherOutBindToo) {
  Machine machine;
  machine.MountUnified("/pod/container");
  machine.Write("sys/fs/cgroup/pod/container/memory.max", "max\n");
  machine.Write("sys/fs/cgroup/pod/memory.max", "1073741824\n");
  machine.Write("sys/fs/cgroup/pod/memory.current", "0\n");
  EXPECT_EQ(ReadMemoryLimits(machine.root())->bound_by, "control group /sys/fs/cgroup/pod");
}

TEST(MemoryLimits, OfAnOldGroupAreRead) {
  Machine machine;
  machine.MountOld("/docker/abc");
  machine.Write("sys/fs/cgroup/memory/docker/abc/memory.limit_in_bytes", "1073741824\n");
  machine.Write("sys/fs/cgroup/memory/docker/abc/memory.usage_in_bytes", "1073741824\n");
  machine.Write("sys/fs/cgroup/memory/docker/abc/memory.stat", "inactive_file 1\ntotal_inactive_file 268435456\n");
  // No limit, in the way of v1.
  machine.Write("sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n");
  machine.Write("sys/fs/cgroup/memory/memory.usage_in_bytes", "5\n");
  const auto limits = ReadMemoryLimits(machine.root());
  ASSERT_TRUE(limits.ok()) << limits.status();
  EXPECT_EQ(limits->total, kGiB);
  EXPECT_EQ(limits->available, kGiB / 4);
}

TEST(MemoryLimits, OfAMachineThatDoesNotSayAreAnError) {
  const TestFolder empty;
  EXPECT_TRUE(absl::IsUnavailable(ReadMemoryLimits(empty.path()).status()));
}

TEST(MemoryLimits, OfThisMachineAreRead) {
  const auto limits = ReadMemoryLimits();
  ASSERT_TRUE(limits.ok()) << limits.status();
  EXPECT_GT(limits->available, 0u);
  EXPECT_LE(limits->available, limits->total);
}

TEST(MemoryLimits, TheAddressSpaceBindsToo) {
#ifdef __SANITIZE_THREAD__
  GTEST_SKIP() << "ThreadSanitizer maps more than any limit that would be one";
#endif
  struct rlimit before;
  ASSERT_EQ(getrlimit(RLIMIT_AS, &before), 0);
  // More than sanitizers and LibTorch map.
  struct rlimit least = before;
  least.rlim_cur = uint64_t{1} << 46;
  ASSERT_EQ(setrlimit(RLIMIT_AS, &least), 0);
  Machine machine;
  machine.Write("proc/meminfo", "MemTotal: 999999999999999 kB\nMemAvailable: 999999999999999 kB\n");
  machine.Write("proc/self/statm", "16 1 1 1 0 1 0\n");
  const auto limits = ReadMemoryLimits(machine.root());
  ASSERT_EQ(setrlimit(RLIMIT_AS, &before), 0);
  EXPECT_EQ(limits->total, least.rlim_cur);
  EXPECT_LT(limits->available, least.rlim_cur);
  EXPECT_EQ(limits->bound_by, "ulimit -v");
}

TEST(ControlGroups, AreTheProcesssOwnAndThoseAroundIt) {
  Machine machine;
  machine.MountUnified("/a/b");
  EXPECT_THAT(ControlGroupsOf("memory", machine.root()).folders,
              ElementsAre(machine.root() + "/sys/fs/cgroup/a/b", machine.root() + "/sys/fs/cgroup/a", machine.root() + "/sys/fs/cgroup"));
}

TEST(ControlGroups, OfAContainerThatSeesItsOwnAsTheRootAreThere) {
  Machine machine;
  machine.MountOld("/docker/abc", /*seen=*/"/docker/abc");
  EXPECT_THAT(ControlGroupsOf("memory", machine.root()).folders, ElementsAre(machine.root() + "/sys/fs/cgroup/memory"));
  machine.MountUnified("/../../elsewhere");
  EXPECT_THAT(ControlGroupsOf("memory", machine.root()).folders, ElementsAre(machine.root() + "/sys/fs/cgroup"));
}

TEST(ControlGroups, OfASystemWithoutThemAreNone) {
  const Machine machine;
  EXPECT_THAT(ControlGroupsOf("memory", machine.root()).folders, IsEmpty());
}

TEST(UsableCores, AreNoMoreThanTheQuotaOfAUnifiedGroup) {
  Machine machine;
  machine.MountUnified("/pod");
  machine.Write("sys/fs/cgroup/pod/cpu.max", "50000 100000\n");
  EXPECT_EQ(UsableCores(machine.root()), 1);
}

TEST(UsableCores, AreNoMoreThanTheQuotaOfAnOldGroup) {
  Machine machine;
  machine.MountOld("/pod");
  machine.Write("sys/fs/cgroup/cpu,cpuacct/pod/cpu.cfs_quota_us", "100000\n");
  machine.Write("sys/fs/cgroup/cpu,cpuacct/pod/cpu.cfs_period_us", "100000\n");
  EXPECT_EQ(UsableCores(machine.root()), 1);
}

TEST(UsableCores, WithoutAQuotaAreThoseOfTheAffinity) {
  Machine machine;
  const int without = UsableCores(machine.root());
  machine.MountUnified("/pod");
  machine.Write("sys/fs/cgroup/pod/cpu.max", "max 100000\n");
  EXPECT_EQ(UsableCores(machine.root()), without);
  machine.MountOld("/pod");
  machine.Write("sys/fs/cgroup/cpu,cpuacct/pod/cpu.cfs_quota_us", "-1\n");
  machine.Write("sys/fs/cgroup/cpu,cpuacct/pod/cpu.cfs_period_us", "100000\n");
  EXPECT_EQ(UsableCores(machine.root()), without);
}

TEST(UsableCores, AreThoseOfTheAffinityOnly) {
  cpu_set_t before, one;
  ASSERT_EQ(sched_getaffinity(0, sizeof(before), &before), 0);
  CPU_ZERO(&one);
  for (int core = 0; core < CPU_SETSIZE; ++core) {
    if (CPU_ISSET(core, &before)) {
      CPU_SET(core, &one);
      break;
    }
  }
  ASSERT_EQ(sched_setaffinity(0, sizeof(one), &one), 0);
  EXPECT_EQ(UsableCores(), 1);
  ASSERT_EQ(sched_setaffinity(0, sizeof(before), &before), 0);
}

}  // namespace
}  // namespace tributary
