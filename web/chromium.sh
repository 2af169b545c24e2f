#!/usr/bin/env bash
# Sees that there is a Chromium for the walk through the page: the one of the system,
# or Debian's, which it installs where it may.
set -euo pipefail
for name in "${CHROMIUM:-chromium}" chromium chromium-browser google-chrome; do
    if command -v "$name" >/dev/null 2>&1; then exit 0; fi
done
if ! command -v apt-get >/dev/null 2>&1 || [ "$(id -u)" != 0 ]; then
    echo 'The walk needs a Chromium: install one, or name it in CHROMIUM.' >&2
    exit 1
fi
echo 'Installing chromium'
apt-get -o DPkg::Lock::Timeout=120 update -qq
DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=120 install -y -qq --no-install-recommends chromium fonts-dejavu-core >/dev/null
