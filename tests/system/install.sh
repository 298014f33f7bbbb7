#!/usr/bin/env bash
# Debian packages that tests marked `system` need. Idempotent; needs root; starts no service.
set -euo pipefail

packages=(
    postgresql               # the ledger on PostgreSQL
    nginx-light              # the compose file's front door: its configuration is checked
    redis-server             # Redis with TLS: the Valkey of the wheel has none
)

missing=()
for package in "${packages[@]}"; do
    dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q 'install ok installed' || missing+=("$package")
done

if [ ${#missing[@]} -eq 0 ]; then
    echo "system packages: all present"
    exit 0
fi
if ! command -v apt-get >/dev/null; then
    echo "system packages: this is no Debian; install by hand: ${missing[*]}" >&2
    exit 1
fi
if [ "$(id -u)" -ne 0 ]; then
    echo "system packages: missing ${missing[*]}; run as root: apt-get install -y --no-install-recommends ${missing[*]}" >&2
    exit 1
fi

# Packages must not start their services: tests start what they need, on their own ports.
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
    printf '#!/bin/sh\nexit 101\n' >"$policy"
    chmod 755 "$policy"
    trap 'rm -f "$policy"' EXIT
fi
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq
apt-get install -y -qq --no-install-recommends "${missing[@]}"
