#!/usr/bin/env bash
# Installs the Debian 12 packages that Tributary needs: to build and run, and with --tests also to test.
# Does nothing, quickly, when all are there. Works as root and through sudo.
#
#   bash deploy/install-deps.sh [--tests] [--check]
#
#   --tests   also what tests/run.sh needs
#   --check   install nothing; print what is missing and exit 1 if anything is
set -euo pipefail

build_packages=(
  # tools
  ca-certificates ccache cmake g++ git ninja-build pkg-config protobuf-compiler protobuf-compiler-grpc python3
  # libraries; an optimised BLAS, because LibTorch alone would pull the slow reference one
  libabsl-dev libcli11-dev libcpp-httplib-dev libgoogle-perftools-dev libgrpc++-dev libopenblas0-openmp libpng-dev libprotobuf-dev
  libsqlite3-dev libssl-dev libtorch-dev libturbojpeg0-dev libyaml-cpp-dev nlohmann-json3-dev prometheus-cpp-dev
  # the Python package
  pybind11-dev python3-dev python3-numpy
  # the test programs are part of the default build
  libbenchmark-dev libgmock-dev libgtest-dev
  # the demo's text
  bible-kjv
)
test_packages=(
  clang-format-14 clang-tidy-14 dpkg-dev file help2man iproute2 mypy python3-jsonschema python3-torch python3-yaml
  shellcheck yamllint
)

say() { printf 'install-deps: %s\n' "$*"; }
fail() {
  printf 'install-deps: %s\n' "$*" >&2
  exit 1
}

with_tests=no
check_only=no
for argument in "$@"; do
  case "$argument" in
    --tests) with_tests=yes ;;
    --check) check_only=yes ;;
    -h | --help)
      sed -n '2,8s/^# \{0,1\}//p' "$0"
      exit 0
      ;;
    *)
      printf 'install-deps: unknown argument %s (see --help)\n' "$argument" >&2
      exit 2
      ;;
  esac
done

root_dir=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
tools_dir=$root_dir/build/tools

if ! command -v apt-get >/dev/null || ! command -v dpkg-query >/dev/null; then
  fail "this script needs Debian's apt; on another system install the equivalents of: ${build_packages[*]}"
fi

packages=("${build_packages[@]}")
[ "$with_tests" = no ] || packages+=("${test_packages[@]}")

# One query for all: prints what is not in state "installed".
missing_packages() {
  local installed
  # dpkg-query fails when it knows nothing of a package; what it printed still counts.
  installed=$(dpkg-query -W -f='${db:Status-Status} ${Package}\n' "$@" 2>/dev/null | sed -n 's/^installed //p' || true)
  comm -23 <(printf '%s\n' "$@" | sort -u) <(printf '%s\n' "$installed" | sort -u)
}

# The tests scrape with a real Prometheus. Debian's package would also enable a service on port 9090, so unless it is there already
# only its programs are unpacked, below build/.
prometheus_missing() {
  [ "$with_tests" = yes ] || return
  for program in prometheus promtool; do
    if ! command -v $program >/dev/null && [ ! -x "$tools_dir/usr/bin/$program" ]; then return 0; fi
  done
  return 1
}

# And they train on scikit-learn's digits, one file of its package.
digits=usr/lib/python3/dist-packages/sklearn/datasets/data/digits.csv.gz
digits_missing() {
  [ "$with_tests" = yes ] && [ ! -e "/$digits" ] && [ ! -e "$tools_dir/$digits" ]
}

# unpack PACKAGE PATH...: of the package, without installing it.
unpack() {
  local scratch
  scratch=$(mktemp -d)
  if ! (cd "$scratch" && apt-get -q -o Acquire::Retries=3 -o APT::Sandbox::User=root download "$1" && dpkg -x "$1"_*.deb unpacked); then
    rm -rf "$scratch"
    fail "could not fetch the package $1"
  fi
  (cd "$scratch/unpacked" && cp -r --parents "${@:2}" "$tools_dir")
  rm -rf "$scratch"
}

mapfile -t missing < <(missing_packages "${packages[@]}")
unpack_prometheus=no
if prometheus_missing; then unpack_prometheus=yes; fi
unpack_digits=no
if digits_missing; then unpack_digits=yes; fi

if [ ${#missing[@]} -eq 0 ] && [ $unpack_prometheus = no ] && [ $unpack_digits = no ]; then
  say "all ${#packages[@]} packages are installed"
  exit 0
fi
if [ $check_only = yes ]; then
  say "missing: ${missing[*]}$([ $unpack_prometheus = no ] || printf ' prometheus (programs only)')$(
    [ $unpack_digits = no ] || printf ' python3-sklearn (its digits only)')"
  exit 1
fi

as_root=()
if [ "$(id -u)" -ne 0 ]; then
  command -v sudo >/dev/null || fail "not root, and sudo is not installed; run as root: bash deploy/install-deps.sh"
  as_root=(sudo)
fi
apt() {
  "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -q -y -o Acquire::Retries=3 -o DPkg::Lock::Timeout=600 \
    -o Dpkg::Use-Pty=0 "$@"
}

say "updating the package lists"
apt update >/dev/null || fail "apt-get update failed; is there a network, and is /etc/apt/sources.list right?"
if [ ${#missing[@]} -gt 0 ]; then
  say "installing ${#missing[@]} of ${#packages[@]} packages: ${missing[*]}"
  apt install --no-install-recommends "${missing[@]}" </dev/null || fail "apt-get install failed; its output above says why"
fi
if [ $unpack_prometheus = yes ]; then
  say "unpacking the prometheus programs into ${tools_dir#"$root_dir"/}"
  mkdir -p "$tools_dir"
  unpack prometheus usr/bin/prometheus usr/bin/promtool
fi
if [ $unpack_digits = yes ]; then
  say "unpacking the digits of python3-sklearn into ${tools_dir#"$root_dir"/}"
  mkdir -p "$tools_dir"
  unpack python3-sklearn "$digits"
fi
say "done"
