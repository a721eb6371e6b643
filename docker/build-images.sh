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
#   SYFT              the syft command (default: syft); with it, each image's bill of materials is
#                     written to SBOM_DIR (default: build/sbom) as CycloneDX
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

# What is in them: Debian's packages, Python's, and their versions.
read -ra syft <<<"${SYFT:-syft}"
if command -v "${syft[0]}" >/dev/null; then
  bills=${SBOM_DIR:-build/sbom} work=$(mktemp -d)
  trap 'rm -rf "$work"' EXIT
  mkdir -p "$bills"
  for target in "${targets[@]}"; do
    "${buildah[@]}" push --quiet "polyhead-$target:${TAG:-local}" "oci-archive:$work/$target.tar"
    "${syft[@]}" scan --quiet "oci-archive:$work/$target.tar" \
      --output "cyclonedx-json=$bills/polyhead-$target.cdx.json"
    rm "$work/$target.tar"
    echo "$bills/polyhead-$target.cdx.json: $(grep -c '"purl"' "$bills/polyhead-$target.cdx.json") packages"
  done
else
  echo "no ${syft[0]} here: no bill of materials is written" >&2
fi
"${buildah[@]}" images --filter "reference=*polyhead-*"
