#!/usr/bin/env bash
# Stand-ins for the images that deploy/ builds on, for machines that can pull none: made from Debian's own packages.
# Names of their own: what a machine has pulled under the real names is left alone. What is there is kept.
#   crosscloud-test/python      for python:3.11-slim-bookworm
#   crosscloud-test/redis       for redis:7-alpine      (the same user 999:1000, its folder /data)
#   crosscloud-test/prometheus  for prom/prometheus     (the same user 65534, its folder /prometheus)
# Needs root, debootstrap and a Docker engine; says what is missing and ends with 3. DEBIAN_MIRROR chooses another mirror.
set -euo pipefail

lacking() { echo "base_images.sh: $1" >&2; exit 3; }
program() { (cd "$(dirname "$0")/../.." && python3 -m tests.rig.programs "$1"); }
there() { "$docker" image inspect "$1" >/dev/null 2>&1; }
build() { DOCKER_BUILDKIT=0 "$docker" build --quiet --network=host --tag "$1" - >/dev/null; }

docker=$(program docker) || exit 3
"$docker" version >/dev/null 2>&1 || lacking "no Docker engine answers: install docker.io and start dockerd"

if ! there crosscloud-test/python; then
  [ "$(id -u)" = 0 ] || lacking "debootstrap needs root"
  debootstrap=$(program debootstrap) || exit 3
  root=$(mktemp -d)
  trap 'rm -rf "$root"' EXIT
  "$debootstrap" --variant=minbase --include=python3,python3-venv bookworm "$root" ${DEBIAN_MIRROR:+"$DEBIAN_MIRROR"} >"$root.log" 2>&1 ||
    { tail -n 5 "$root.log" >&2; lacking "debootstrap failed; all of it is in $root.log"; }
  rm -rf "$root.log" "$root"/var/cache/apt/archives/*.deb "$root"/var/lib/apt/lists/*
  tar -C "$root" -c . | "$docker" import --change 'CMD ["python3"]' - crosscloud-test/python >/dev/null
fi

there crosscloud-test/redis || build crosscloud-test/redis <<'DOCKERFILE'
FROM crosscloud-test/python
RUN apt-get update -q && apt-get install -y -q --no-install-recommends redis-server \
 && rm -rf /var/lib/apt/lists/* && mkdir /data && chown 999:1000 /data
WORKDIR /data
CMD ["redis-server"]
DOCKERFILE

there crosscloud-test/prometheus || build crosscloud-test/prometheus <<'DOCKERFILE'
FROM crosscloud-test/python
RUN apt-get update -q && apt-get install -y -q --no-install-recommends prometheus wget \
 && rm -rf /var/lib/apt/lists/* && mkdir /prometheus && chown 65534:65534 /prometheus
USER 65534
WORKDIR /prometheus
ENTRYPOINT ["/bin/prometheus"]
DOCKERFILE
