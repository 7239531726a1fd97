#!/usr/bin/env bash
# Gets what the chart's tests need and Debian does not have, into build/tools; does nothing, quickly, when it is there. helm and kubeconform
# are built from the Go registry (needs Go 1.24 or later; about five minutes of processor time), schemas come from it and from the Python
# index.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/../.."
tools=$PWD/build/tools
schemas=$tools/chart-schemas
cache=${KUBEONE_CACHE:-$HOME/.cache/kubeone}/bin
export GOBIN=$tools/usr/bin GOTOOLCHAIN=local CGO_ENABLED=0

say() { printf 'chart tools: %s\n' "$*"; }
here() { [ -x "$GOBIN/$1" ] || [ -x "$cache/$1" ] || command -v "$1" >/dev/null; }

if here helm && here kubeconform && [ -e "$schemas/statefulset-apps-v1.json" ]; then
  say "all there"
  exit 0
fi
command -v go >/dev/null || {
  say "needs Go: https://go.dev/dl, or golang of a newer Debian" >&2
  exit 1
}
mkdir -p "$GOBIN"
here helm || { say "building helm" && nice go install helm.sh/helm/v3/cmd/helm@v3.19.0; }
here kubeconform || { say "building kubeconform" && nice go install github.com/yannh/kubeconform/cmd/kubeconform@v0.7.0; }

# The folder of a module's source.
module() { (cd / && go mod download -json "$1") | python3 -c 'import json, sys; print(json.load(sys.stdin)["Dir"])'; }

say "schemas"
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
python3 -m pip download --quiet --disable-pip-version-check --no-deps --dest "$scratch" kubernetes-validate==1.37.0
operator=$(module github.com/prometheus-operator/prometheus-operator@v0.85.0)/example/prometheus-operator-crd
gateway=$(module sigs.k8s.io/gateway-api@v1.5.0)/config/crd/standard
manager=$(module github.com/cert-manager/cert-manager@v1.19.1)/deploy/crds
python3 tests/chart/schemas.py "$schemas" "$scratch"/kubernetes_validate-*.whl \
  "$operator"/monitoring.coreos.com_{servicemonitors,prometheusrules}.yaml \
  "$gateway"/gateway.networking.k8s.io_tlsroutes.yaml "$manager"/cert-manager.io_certificates.yaml
