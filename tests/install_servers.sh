#!/bin/sh
# Installs the Debian packages that the integration tests need, where that is possible.
# Elsewhere those tests are reported as skipped, each by name.
set -eu
missing=""
want() { command -v "$1" >/dev/null 2>&1 || PATH="$PATH:/usr/sbin" command -v "$1" >/dev/null 2>&1 || missing="$missing $2"; }
want mosquitto mosquitto
want mosquitto_ctrl mosquitto-clients
want influxd influxdb
want victoria-metrics victoria-metrics
want prometheus prometheus
want chromium chromium
want npm "nodejs npm"
want cc "gcc libc6-dev"
[ -n "$missing" ] || exit 0
if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null 2>&1; then
  echo "Not installed, so some integration tests will be skipped by name:$missing"
  exit 0
fi
echo "Installing for the integration tests:$missing"
# A package may not start its own server on this machine: the tests start theirs.
policy=/usr/sbin/policy-rc.d
[ -e "$policy" ] || { printf '#!/bin/sh\nexit 101\n' > "$policy"; chmod +x "$policy"; trap 'rm -f "$policy"' EXIT; }
apt-get update -qq
# shellcheck disable=SC2086 # a list of words
DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing >/dev/null
