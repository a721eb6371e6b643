#!/usr/bin/env bash
# Build the images with buildah: no container engine, no daemon. Needs root, and the base image
# (pulled from a registry, or made by base-image.sh).
#
#   docker/build-images.sh [api] [encoder] [encoder-cuda]        (default: the first two)
#
#   TAG               tag of the images (default: local)
#   TORCH_INDEX_URL   where torch comes from (see the Dockerfile)
#   PIP_CONF_FILE     a pip.conf for the build alone: it stays in no layer
#   EXTRA_BUILD_ARGS  more words for `buildah bud`, such as --volume /wheels:/wheels:ro
#   BUILDAH           the buildah command (default: buildah)
#   SOURCE_DATE_EPOCH the images' time (default: now)
set -euo pipefail
cd "$(dirname "$0")/.."

read -ra buildah <<<"${BUILDAH:-buildah}"
read -ra extra <<<"${EXTRA_BUILD_ARGS:-}"
targets=("$@")
[[ ${#targets[@]} -gt 0 ]] || targets=(api encoder)

for target in "${targets[@]}"; do
  case $target in
    api | encoder | encoder-cuda) ;;
    *) echo "unknown target $target: api, encoder or encoder-cuda" >&2 && exit 2 ;;
  esac
done

# The docker format keeps HEALTHCHECK; OCI's has no place for it.
arguments=(
  --isolation chroot --format docker --layers --file Dockerfile
  --build-arg "REVISION=$(git rev-parse --verify HEAD 2>/dev/null || echo unknown)"
  --build-arg "TORCH_INDEX_URL=${TORCH_INDEX_URL:-}"
)
[[ -z ${PIP_CONF_FILE:-} ]] || arguments+=(--secret "id=pip_conf,src=$PIP_CONF_FILE")
[[ -z ${SOURCE_DATE_EPOCH:-} ]] || arguments+=(--timestamp "$SOURCE_DATE_EPOCH")

for target in "${targets[@]}"; do
  image=polyhead-$target:${TAG:-local}
  SECONDS=0
  "${buildah[@]}" bud "${arguments[@]}" "${extra[@]}" --target "$target" --tag "$image" .
  echo "$image built in $SECONDS s"
done
"${buildah[@]}" images --filter "reference=*polyhead-*"
