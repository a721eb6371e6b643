#!/usr/bin/env bash
# Make the image that the Dockerfile's FROM line names, for places without a registry: a Debian root
# made with debootstrap, slimmed as Debian's own `-slim` images are. Needs root, buildah, and
# debootstrap (or a ready root).
#
#   docker/base-image.sh
#
#   BASE_IMAGE   the name to give (default: the Dockerfile's)
#   ROOTFS       a root that debootstrap already made (default: a new one)
#   MIRROR       a Debian mirror (default: debootstrap's own)
#   BUILDAH      the buildah command (default: buildah)
set -euo pipefail
cd "$(dirname "$0")/.."

suite=bookworm
image=${BASE_IMAGE:-$(sed -n 's/^ARG BASE_IMAGE=//p' Dockerfile)}
read -ra buildah <<<"${BUILDAH:-buildah}"
work=$(mktemp -d)
container=
clean() {
  [[ -z $container ]] || "${buildah[@]}" rm "$container" >/dev/null
  rm -rf "$work"
}
trap clean EXIT

root=${ROOTFS:-}
if [[ -z $root ]]; then
  root=$work/rootfs
  debootstrap --variant=minbase "$suite" "$root" ${MIRROR:+"$MIRROR"}
fi
[[ -x $root/usr/bin/dpkg ]] || { echo "$root is no Debian root" >&2; exit 1; }

# debootstrap leaves one line, for the release alone: add its updates and security fixes.
mkdir "$work/etc"
awk -v suite="$suite" '$1 == "deb" && $3 == suite {
  security = $2
  sub(/\/debian\/?$/, "/debian-security", security)
  print $1, $2, suite, "main"
  print $1, $2, suite "-updates", "main"
  if (security != $2) print $1, security, suite "-security", "main"
}' "$root/etc/apt/sources.list" >"$work/etc/sources.list"
[[ -s $work/etc/sources.list ]] || { echo "no $suite line in $root's sources.list" >&2; exit 1; }
# What is left out of the base stays out of what is installed on it. The licences stay.
cat >"$work/etc/slim" <<'SLIM'
path-exclude /usr/share/doc/*
path-include /usr/share/doc/*/copyright
path-exclude /usr/share/info/*
path-exclude /usr/share/locale/*
path-exclude /usr/share/man/*
SLIM

# The root is not changed: what is not wanted is left out of the archive.
tar --create --file="$work/root.tar" --directory="$root" --numeric-owner --one-file-system \
  --anchored --exclude='./dev/*' --exclude='./proc/*' --exclude='./sys/*' --exclude='./tmp/*' \
  --exclude='./run/*' --exclude='./etc/resolv.conf' --exclude='./etc/hostname' \
  --exclude='./var/cache/apt/*' --exclude='./var/lib/apt/lists/*' --exclude='./var/log/*' \
  --exclude='./usr/share/info/*' --exclude='./usr/share/locale/*' --exclude='./usr/share/man/*' .
tar --list --file="$work/root.tar" |
  grep '^\./usr/share/doc/.*[^/]$' | grep -v '/copyright$' >"$work/docs" || true
tar --delete --file="$work/root.tar" --files-from="$work/docs"

container=$("${buildah[@]}" from scratch)
"${buildah[@]}" add --quiet "$container" "$work/root.tar" / >/dev/null
"${buildah[@]}" copy --quiet "$container" "$work/etc/sources.list" /etc/apt/sources.list >/dev/null
"${buildah[@]}" copy --quiet "$container" "$work/etc/slim" /etc/dpkg/dpkg.cfg.d/slim >/dev/null
"${buildah[@]}" config --cmd bash --env PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin "$container"
"${buildah[@]}" commit --quiet "$container" "$image"
"${buildah[@]}" images "$image"
