#!/usr/bin/env bash
# What a clean clone does on a machine that has python3, python3-venv, git, make and ca-certificates, and nothing else:
# a Debian made by debootstrap, in namespaces of its own, so that no process and no mount outlives this script.
#   bare_machine.sh COMMAND...     runs COMMAND in a clone of what is committed; its status is this script's
# The machine's pip configuration goes along, with the folders and files that it names; so do PIP_*, TORCH, OPENBLAS_* and proxies.
# BARE_ROOT names a folder that is kept and used again; else all is removed. DEBIAN_MIRROR and DEBIAN_SUITE choose mirror and release.
# Needs root and debootstrap; says what is missing and ends with 3.
set -euo pipefail

source=$(cd "$(dirname "$0")/../.." && pwd)
lacking() { echo "bare_machine.sh: $1" >&2; exit 3; }
[ $# -gt 0 ] || lacking "name a command, such as: make test"

if [ "${INSIDE:-}" != yes ]; then
  [ "$(id -u)" = 0 ] || lacking "debootstrap needs root"
  DEBOOTSTRAP=$(cd "$source" && python3 -m tests.rig.programs debootstrap) || exit 3
  unshare --mount --pid --fork true || lacking "no namespaces can be made here"
  if [ -n "${BARE_ROOT:-}" ]; then
    mkdir -p "$BARE_ROOT"
  else
    BARE_ROOT=$(mktemp -d)
    trap 'rm -rf --one-file-system "$BARE_ROOT"' EXIT
  fi
  export DEBOOTSTRAP BARE_ROOT
  INSIDE=yes unshare --mount --pid --fork --kill-child "$0" "$@"
  exit
fi

root=$BARE_ROOT/root
if [ ! -e "$BARE_ROOT/made" ]; then
  rm -rf --one-file-system "$root"
  "$DEBOOTSTRAP" --variant=minbase --include=python3,python3-venv,git,make,ca-certificates \
    "${DEBIAN_SUITE:-bookworm}" "$root" ${DEBIAN_MIRROR:+"$DEBIAN_MIRROR"} >"$BARE_ROOT/debootstrap.log" 2>&1 ||
    { tail -n 5 "$BARE_ROOT/debootstrap.log" >&2; lacking "debootstrap failed"; }
  touch "$BARE_ROOT/made"
fi
mount -t proc proc "$root/proc"
mount --rbind /dev "$root/dev"
mount -t tmpfs tmpfs "$root/run"
cp -L /etc/resolv.conf /etc/hosts "$root/etc/"

# What pip is told here, and what that names; of an index also the files beside its pages.
bring() {  # a file is copied, a folder bound
  if [ -d "$1" ]; then
    mkdir -p "$root$1"
    mount --rbind -o ro "$1" "$root$1"
  elif [ -e "$1" ]; then
    mkdir -p "$root$(dirname "$1")"
    cp -L "$1" "$root$1"
  fi
}
for path in /etc/pip.conf /etc/xdg/pip/pip.conf ~/.config/pip/pip.conf ~/.pip/pip.conf; do bring "$path"; done
told=$({ python3 -m pip config list; env | grep '^PIP_'; } 2>/dev/null || true)
for path in $(tr "'= " '\n' <<<"$told" | sed -n 's,^file:///,/,; s,/simple/*$,,; /^\/./p' | sort -u); do bring "$path"; done
environment=(HOME="$HOME" PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin)
for name in $(compgen -e | grep -E '^(PIP_.*|TORCH|OPENBLAS_.*|https?_proxy|no_proxy)$'); do environment+=("$name=${!name}"); done

rm -rf "$root/crosscloud"
git -c safe.directory='*' clone --quiet --no-local "$source" "$root/crosscloud"
# Not `exec`: the first process of a namespace has orphans to reap, and that a shell does.
chroot "$root" env -i "${environment[@]}" bash -c 'mkdir -p "$HOME" && cd /crosscloud && "$@"; exit $?' bash "$@"
