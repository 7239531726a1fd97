#!/usr/bin/env bash
# Builds the images of coordinator and worker from the programs in build/release, on a Debian made by debootstrap:
# localhost/tributary-coordinator:test and localhost/tributary-worker:test in buildah's store. Needs root and the network; keeps the
# Debian in build/package, and buildah keeps the layers below the programs, for the next time.
#
#   bash tests/package/build_images.sh
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/../.."
place=$PWD/build/package
mkdir -p "$place"

fail() {
  printf 'build_images: %s\n' "$*" >&2
  exit 1
}
[ "$(id -u)" -eq 0 ] || fail "needs root"
for program in buildah curl debootstrap; do
  command -v $program >/dev/null || fail "$program is missing: apt-get install $program"
done
for program in tributary tributary-coordinator tributary-worker; do
  [ -x build/release/bin/$program ] || fail "build/release/bin/$program is missing: cmake --build --preset release --target $program"
done

base=$place/bookworm-base
image=localhost/tributary-debian:12
if [ ! -e "$base/complete" ]; then
  rm -rf "$base"
  debootstrap --variant=minbase bookworm "$base" >"$place/bookworm.log" 2>&1 || fail "debootstrap failed; see $place/bookworm.log"
  touch "$base/complete"
fi
if ! buildah inspect --type image "$image" >/dev/null 2>&1; then
  container=$(buildah from scratch)
  cp -a "$base/." "$(buildah mount "$container")/"
  buildah commit --quiet --rm "$container" "$image" >/dev/null
fi

for party in coordinator worker; do
  buildah bud --quiet --isolation chroot --pull-never --layers --build-arg BASE=$image --build-arg PROGRAMS=prebuilt \
    --file deploy/$party.Dockerfile --tag localhost/tributary-$party:test . >"$place/$party-image.log" 2>&1 ||
    fail "building the image of the $party failed; see $place/$party-image.log"
  printf 'localhost/tributary-%s:test\n' "$party"
done
