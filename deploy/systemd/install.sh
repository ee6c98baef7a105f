#!/bin/sh
# Install Sightline as a systemd service, or update it. Run it as root from anywhere inside the repository:
#   sudo deploy/systemd/install.sh
# It writes to /opt/sightline, /etc/sightline and /etc/systemd/system. It keeps an existing /etc/sightline/sightline.env
# and never touches /var/lib/sightline, where weights and collections are stored.
# DESTDIR=/some/root installs below that folder and does not start anything.
set -eu

root=${DESTDIR:-}
python=${PYTHON:-python3}
source_dir=$(cd -- "$(dirname -- "$0")/../.." > /dev/null && pwd)

fail() { echo "install.sh: $*" >&2; exit 1; }

[ -n "$root" ] || [ "$(id -u)" = 0 ] || fail "needs root; run: sudo $0"
command -v "$python" > /dev/null || fail "$python: not found; expected Python 3.11 or newer. Set PYTHON=/path/to/python3"
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
  || fail "$("$python" --version): too old; expected Python 3.11 or newer. Set PYTHON=/path/to/python3"
"$python" -c 'import venv, ensurepip' 2> /dev/null \
  || fail "the Python module venv is missing. Run: apt-get install python3-venv"

# The environment is built beside the running one, then takes its place: an interrupted update leaves the old one.
prefix=$root/opt/sightline
mkdir -p "$prefix/releases" "$root/etc/sightline" "$root/etc/systemd/system" "$root/opt/sightline/share"
release=$(date -u +%Y%m%dT%H%M%SZ)-$$
"$python" -m venv "$prefix/releases/$release"
"$prefix/releases/$release/bin/python" -m pip install --quiet --disable-pip-version-check \
  --require-hashes -r "$source_dir/requirements/base.txt"
"$prefix/releases/$release/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps "$source_dir"
cp "$source_dir/README.md" "$prefix/share/README.md"
ln -sfn "releases/$release/bin" "$prefix/bin.new"
mv -T "$prefix/bin.new" "$prefix/bin"

if [ ! -e "$root/etc/sightline/sightline.env" ]; then
  key=$("$python" -c 'import secrets; print(secrets.token_urlsafe(32))')
  (umask 077 && sed "s|^SIGHTLINE_API_KEYS=\$|SIGHTLINE_API_KEYS=$key|" "$source_dir/deploy/.env.example" \
    > "$root/etc/sightline/sightline.env")
  echo "Created an API key in $root/etc/sightline/sightline.env"
fi
install -m 0644 "$source_dir/deploy/systemd/sightline.service" "$root/etc/systemd/system/sightline.service"

if [ -z "$root" ]; then
  systemctl daemon-reload
  systemctl enable sightline
  systemctl restart sightline
fi

# The two newest releases stay, so that one step back is possible: ln -sfn releases/NAME/bin /opt/sightline/bin
find "$prefix/releases" -mindepth 1 -maxdepth 1 -type d | sort -r | tail -n +3 | while read -r old; do
  rm -rf "$old"
done

cat <<TEXT
Sightline is installed.
  status:   systemctl status sightline
  log:      journalctl -u sightline -f
  settings: /etc/sightline/sightline.env, then systemctl restart sightline
  weights:  each model is downloaded at its first request
TEXT
