#!/usr/bin/env bash
# Tries what is handed out on fresh systems: the worker's tarball on Debian 11, whose C library is older than the one it was built with,
# and the packages on Debian 12. Needs root and the network; keeps the fresh systems in build/package for the next time.
#
#   bash tests/package/distributions.sh [BUILD_DIR]
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/../.."
build_dir=$(realpath "${1:-build/release}")
place=$PWD/build/package
mkdir -p "$place"

fail() {
  printf 'distributions: %s\n' "$*" >&2
  exit 1
}
[ "$(id -u)" -eq 0 ] || fail "needs root, for debootstrap and chroot"
command -v debootstrap >/dev/null || fail "debootstrap is missing: apt-get install debootstrap"

# fresh SUITE: a copy of a minimal system, at $place/SUITE.
fresh() {
  local base=$place/$1-base
  if [ ! -e "$base/complete" ]; then
    rm -rf "$base"
    debootstrap --variant=minbase "$1" "$base" >"$place/$1.log" 2>&1 || fail "debootstrap $1 failed; see $place/$1.log"
    touch "$base/complete"
  fi
  rm -rf "${place:?}/$1"
  cp -a "$base" "$place/$1"
}
# In namespaces of its own: its /proc, and processes that end with it.
inside() {
  local root=$1
  shift
  unshare --fork --pid --mount --mount-proc="$root/proc" chroot "$root" env -i PATH=/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin "$@"
}

printf 'The tarball on Debian 11\n'
fresh bullseye
root=$place/bullseye
python3 deploy/package/worker_tarball.py "$build_dir" "$place"
tar -xzf "$place"/tributary-worker-*-linux-*.tar.gz -C "$root/opt"
mv "$root"/opt/tributary-worker-* "$root/opt/tributary-worker"
ln -s /opt/tributary-worker/bin/tributary-worker "$root/usr/local/bin/tributary-worker"
inside "$root" tributary-worker --version

# A coordinator with a name that only the fresh system's own resolver knows, over TLS. Its machine is this one.
python3 tests/package/reach_from.py "$build_dir/bin" "$root"

if [ -e "$build_dir/CPackConfig.cmake" ]; then
  printf 'The packages on Debian 12\n'
  fresh bookworm
  root=$place/bookworm
  rm -f "$place"/*.deb
  (cd "$place" && cpack --config "$build_dir/CPackConfig.cmake" -G DEB -B "$place" >"$place/cpack.log") ||
    fail "cpack failed; see $place/cpack.log"
  cp "$place"/*.deb "$root/tmp/"
  cp /etc/resolv.conf "$root/etc/resolv.conf"
  # shellcheck disable=SC2016  # for the shell inside
  inside "$root" sh -ec '
    apt-get -q update >/dev/null
    DEBIAN_FRONTEND=noninteractive apt-get -q -y -o Dpkg::Use-Pty=0 install --no-install-recommends /tmp/*.deb >/tmp/install.log 2>&1 ||
      { tail -n 20 /tmp/install.log; exit 1; }
    for program in tributary tributary-coordinator tributary-worker; do $program --version; done
    for user in tributary-coordinator tributary-worker; do getent passwd $user; done
    for service in tributary-coordinator tributary-worker; do test -L /etc/systemd/system/multi-user.target.wants/$service.service; done
    DEBIAN_FRONTEND=noninteractive apt-get -q -y purge tributary-worker tributary-coordinator >/tmp/purge.log 2>&1
    test ! -e /usr/bin/tributary-worker'
fi
printf 'distributions: all passed\n'
