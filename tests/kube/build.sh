#!/usr/bin/env bash
# Builds the programs that cluster.sh and the chart's tests need: kubeone (etcd, control plane, kubelet, kube-proxy and kubectl of one
# Kubernetes release in one program), coredns and helm. Needs Go 1.26 or later; with cold caches a quarter of an hour on
# two cores and 6 GB of disk. Does nothing where the programs are there.
#
#   bash tests/kube/build.sh [--apt]
#
#   --apt   also installs Debian's container runtime and image tools; no service of theirs is started
#
# KUBEONE_CACHE: the folder whose bin/ gets them (default: ~/.cache/kubeone).
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cache=${KUBEONE_CACHE:-$HOME/.cache/kubeone}
kubernetes=v1.36.3
helm=v3.19.0

if [ "${1:-}" = --apt ]; then
  # Debian starts services when it installs them, unless this says no.
  printf '#!/bin/sh\nexit 101\n' >/usr/sbin/policy-rc.d
  chmod +x /usr/sbin/policy-rc.d
  trap 'rm -f /usr/sbin/policy-rc.d' EXIT
  DEBIAN_FRONTEND=noninteractive apt-get -q -y install --no-install-recommends buildah conntrack containerd containernetworking-plugins \
    curl debootstrap gcc iproute2 iptables nftables openssl runc >/dev/null
fi

if [ -x "$cache/bin/kubeone" ] && [ -x "$cache/bin/coredns" ] && [ -x "$cache/bin/helm" ]; then exit 0; fi
command -v go >/dev/null || {
  printf 'build: needs Go 1.26 or later: https://go.dev/dl\n' >&2
  exit 1
}
export GOBIN=$cache/bin GOFLAGS="-modcacherw -buildvcs=false" CGO_ENABLED=0
mkdir -p "$GOBIN"
build() { # build FOLDER [LINKER_FLAGS]
  local program=$1
  if [ -x "$GOBIN/$program" ]; then return; fi
  printf 'building %s\n' "$program"
  (cd "$here/$program" && nice go build -trimpath -ldflags "-s -w ${2:-}" -o "$GOBIN/$program" .)
}

# What the programs say of themselves; clients and servers compare it.
flags=
for package in k8s.io/component-base/version k8s.io/client-go/pkg/version; do
  flags="$flags -X $package.gitVersion=$kubernetes -X $package.gitMajor=1 -X $package.gitMinor=36 -X $package.gitTreeState=clean"
  flags="$flags -X $package.gitCommit=module -X $package.buildDate=1970-01-01T00:00:00Z"
done
build kubeone "$flags"
build coredns
if [ ! -x "$GOBIN/helm" ]; then
  printf 'building helm\n'
  nice go install "helm.sh/helm/v3/cmd/helm@$helm"
fi
