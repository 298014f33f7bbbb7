#!/usr/bin/env bash
# Builds the real Dockerfile where there is no container engine, and runs what came out: buildah with chroot isolation, on
# a base that debootstrap makes in place of BASE_IMAGE. Slow, apart from the tests, needs root: make images-check
#   TARGETS="monitor api"   stages to build      WORK=/var/tmp/images   kept between runs (base and images)
#   TORCH_INDEX=URL         where torch is       WHEELS=/dir            wheels that the index lacks, mounted for the build
set -euo pipefail
cd "$(dirname "$0")/../.."

targets=${TARGETS:-monitor}
work=${WORK:-/var/tmp/trimtab-images}
export STORAGE_DRIVER=vfs BUILDAH_ISOLATION=chroot
buildah=(buildah --root "$work/storage" --runroot "$work/run")
build=(build --format docker --file docker/Dockerfile --ignorefile docker/Dockerfile.dockerignore --build-arg "BASE_IMAGE=localhost/base")
[ -z "${TORCH_INDEX:-}" ] || build+=(--build-arg "TORCH_INDEX=$TORCH_INDEX")

name_wheels() {
    printf '[global]\nfind-links = %s\n' "$WHEELS" >"$work/pip.conf"
    build+=(--volume "$WHEELS:$WHEELS:ro" --volume "$work/pip.conf:/root/.config/pip/pip.conf:ro")
}

make_base() {
    local root="$work/base"
    debootstrap --variant=minbase --include=python3,python3-venv,ca-certificates bookworm "$root" >"$work/debootstrap.log"
    ln -s python3 "$root/usr/bin/python"   # as the python images have it
    # A company's own authority and index hold in the build as they do outside.
    cp /etc/ssl/certs/ca-certificates.crt "$root/etc/ssl/certs/ca-certificates.crt"
    [ ! -e /etc/pip.conf ] || cp /etc/pip.conf "$root/etc/pip.conf"
    tar -C "$root" -cf "$work/base.tar" .
    rm -rf "$root"
}

in_image() {   # TARGET COMMAND...: by the image's own user, environment and home
    local target=$1 container
    shift
    container=$("${buildah[@]}" from "trimtab-$target:check")
    "${buildah[@]}" run "$container" -- "$@" || { "${buildah[@]}" rm "$container" >/dev/null; return 1; }
    "${buildah[@]}" rm "$container" >/dev/null
}

starts() {   # TARGET: the image's own command until its own health check is content; it needs no Redis for that
    local target=$1 command health
    command=$("${buildah[@]}" inspect --type image --format '{{index .Docker.Config.Cmd 0}}' "trimtab-$target:check")
    health=$("${buildah[@]}" inspect --type image --format '{{index .Docker.Config.Healthcheck.Test 3}}' "trimtab-$target:check")
    # shellcheck disable=SC2016  # for the shell in the image
    in_image "$target" sh -c '
        trimtab migrate --create-keys >/dev/null
        TRIMTAB_SERVER__HOST=127.0.0.1 trimtab "$1" >/tmp/log 2>&1 & started=$!
        for _ in $(seq 120); do
            if python -c "$2" 2>/dev/null; then kill "$started"; wait "$started"; exit 0; fi
            kill -0 "$started" || break
            sleep 1
        done
        cat /tmp/log; exit 1' sh "$command" "$health"
}

check_image() {
    local target=$1
    in_image "$target" python -c 'import os, sys; sys.exit(os.getuid() != 10001 or os.getgid() != 10001)'
    in_image "$target" sh -c 'test ! -e /src && ! touch /opt/trimtab/written 2>/dev/null'
    in_image "$target" sh -c 'trimtab migrate --create-keys && trimtab keys add check --roles read && trimtab status'
    in_image "$target" pip check
    case $target in
        monitor) in_image "$target" python -c 'import importlib.util as u, sys; sys.exit(any(map(u.find_spec, ("torch", "fastapi"))))' ;;
        *) in_image "$target" python -c 'import torch, service.app' ;;
    esac
    starts "$target"
    echo "image $target: built, runs as 10001, migrates, makes a key, starts and is healthy"
}

mkdir -p "$work"
[ -z "${WHEELS:-}" ] || name_wheels
[ -e "$work/base.tar" ] || make_base
printf 'FROM scratch\nADD base.tar /\n' | "${buildah[@]}" build --tag localhost/base --file - "$work" >/dev/null
for target in $targets; do
    "${buildah[@]}" "${build[@]}" --target "$target" --tag "trimtab-$target:check" . >"$work/$target.log" 2>&1 \
        || { tail -n 30 "$work/$target.log"; exit 1; }
    check_image "$target"
done
