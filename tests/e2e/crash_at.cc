// Kills a program at its n-th change to the files below one folder. Preloaded (LD_PRELOAD) by tests/e2e/chaos*.py; no product code knows
// it.
//
//   CRASH_FOLDER=PATH   the folder; calls on other files pass and do not count
//   CRASH_AT=N          the call at which to die, from 1; 0 or absent: never
//   CRASH_HOW=before    (default) the call does not happen
//             torn      a write puts half of its bytes into the file first; calls that are not writes: as `before`
//   CRASH_LOG=FILE      one line for each call that counts: its number, its name, how many bytes, and the path below the folder
//
// `before` call n leaves what `after` call n-1 would. What was written but not synced stays in the file, as it does when a process is
// killed.
#include <dlfcn.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <unistd.h>

#include <atomic>

namespace {

struct Plan {
  const char* folder = getenv("CRASH_FOLDER");
  size_t folder_length = folder == nullptr ? 0 : strlen(folder);
  long at = getenv("CRASH_AT") == nullptr ? 0 : atol(getenv("CRASH_AT"));
  bool torn = getenv("CRASH_HOW") != nullptr && strcmp(getenv("CRASH_HOW"), "torn") == 0;
  // Not through the functions below.
  int log = getenv("CRASH_LOG") == nullptr
                ? -1
                : static_cast<int>(syscall(SYS_openat, AT_FDCWD, getenv("CRASH_LOG"), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644));
};

const Plan& ThePlan() {
  static const Plan plan;
  return plan;
}

std::atomic<long> calls{0};

template <typename Function>
Function* Real(const char* name) {
  return reinterpret_cast<Function*>(dlsym(RTLD_NEXT, name));
}

void Die() {
  syscall(SYS_kill, getpid(), SIGKILL);
}

// What lies below the folder, or null.
const char* Below(const char* path) {
  const Plan& plan = ThePlan();
  if (plan.folder == nullptr || path == nullptr || strncmp(path, plan.folder, plan.folder_length) != 0) {
    return nullptr;
  }
  return path[plan.folder_length] == '/' ? path + plan.folder_length + 1 : nullptr;
}

// Whether this call is the one to die at.
bool Count(const char* call, const char* below, long bytes) {
  const Plan& plan = ThePlan();
  const long number = ++calls;
  if (plan.log >= 0) {
    char line[PATH_MAX + 100];
    const int length = snprintf(line, sizeof(line), "%ld %s %ld %s\n", number, call, bytes, below);
    syscall(SYS_write, plan.log, line, static_cast<size_t>(length));
  }
  return number == plan.at;
}

void AtPath(const char* call, const char* path) {
  const char* const below = Below(path);
  if (below != nullptr && Count(call, below, 0)) {
    Die();
  }
}

// True: die at this call, on a file below the folder.
bool AtFile(const char* call, int fd, long bytes) {
  char link[64];
  char path[PATH_MAX];
  snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
  const ssize_t length = readlink(link, path, sizeof(path) - 1);
  if (length <= 0) {
    return false;
  }
  path[length] = '\0';
  const char* const below = Below(path);
  return below != nullptr && Count(call, below, bytes);
}

}  // namespace

extern "C" {

ssize_t write(int fd, const void* bytes, size_t size) {
  static auto* const real = Real<ssize_t(int, const void*, size_t)>("write");
  if (AtFile("write", fd, static_cast<long>(size))) {
    if (ThePlan().torn) {
      real(fd, bytes, size / 2);
    }
    Die();
  }
  return real(fd, bytes, size);
}

ssize_t pwrite64(int fd, const void* bytes, size_t size, off64_t offset) {
  static auto* const real = Real<ssize_t(int, const void*, size_t, off64_t)>("pwrite64");
  if (AtFile("pwrite", fd, static_cast<long>(size))) {
    if (ThePlan().torn) {
      real(fd, bytes, size / 2, offset);
    }
    Die();
  }
  return real(fd, bytes, size, offset);
}

ssize_t pwrite(int fd, const void* bytes, size_t size, off_t offset) {
  return pwrite64(fd, bytes, size, offset);
}

int fsync(int fd) {
  static auto* const real = Real<int(int)>("fsync");
  if (AtFile("fsync", fd, 0)) {
    Die();
  }
  return real(fd);
}

int fdatasync(int fd) {
  static auto* const real = Real<int(int)>("fdatasync");
  if (AtFile("fdatasync", fd, 0)) {
    Die();
  }
  return real(fd);
}

int ftruncate64(int fd, off64_t size) noexcept {
  static auto* const real = Real<int(int, off64_t)>("ftruncate64");
  if (AtFile("ftruncate", fd, static_cast<long>(size))) {
    Die();
  }
  return real(fd, size);
}

int ftruncate(int fd, off_t size) noexcept {
  return ftruncate64(fd, size);
}

int rename(const char* from, const char* to) noexcept {
  static auto* const real = Real<int(const char*, const char*)>("rename");
  AtPath("rename", to);
  return real(from, to);
}

int link(const char* from, const char* to) noexcept {
  static auto* const real = Real<int(const char*, const char*)>("link");
  AtPath("link", to);
  return real(from, to);
}

int unlink(const char* path) noexcept {
  static auto* const real = Real<int(const char*)>("unlink");
  AtPath("unlink", path);
  return real(path);
}

int mkdir(const char* path, mode_t mode) noexcept {
  static auto* const real = Real<int(const char*, mode_t)>("mkdir");
  AtPath("mkdir", path);
  return real(path, mode);
}

// Only the opening that may make a file counts.
int open64(const char* path, int flags, ...) {
  static auto* const real = Real<int(const char*, int, ...)>("open64");
  va_list rest;
  va_start(rest, flags);
  const mode_t mode = (flags & O_CREAT) != 0 ? va_arg(rest, mode_t) : 0;
  va_end(rest);
  if ((flags & O_CREAT) != 0 && syscall(SYS_faccessat, AT_FDCWD, path, F_OK) != 0) {
    AtPath("create", path);
  }
  return real(path, flags, mode);
}

int open(const char* path, int flags, ...) {
  va_list rest;
  va_start(rest, flags);
  const mode_t mode = (flags & O_CREAT) != 0 ? va_arg(rest, mode_t) : 0;
  va_end(rest);
  return open64(path, flags, mode);
}

}  // extern "C"
