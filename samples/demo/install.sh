#!/bin/sh
# Builds and copies the demo workload into a directory of its own, so that a capture of it holds
# neutral paths, and prints that directory.
#
#   install.sh [DIR]    DIR: default /srv/kindling-demo, or a temporary one if that is not writable
set -eu
here=$(cd "$(dirname "$0")" && pwd)

if [ $# -gt 0 ]; then
    dir=$1
    mkdir -p "$dir"
elif mkdir -p /srv/kindling-demo 2>/dev/null && [ -w /srv/kindling-demo ]; then
    dir=/srv/kindling-demo
else
    dir=$(mktemp -d)
fi
# nginx's workers, if started by root, are not root.
chmod 755 "$dir"

# Run from there, so that the binary's debug information has no other path in it.
cp "$here/client.c" "$here/nginx.conf" "$here/run.sh" "$dir/"
(cd "$dir" && ${CC:-cc} -std=gnu11 -Wall -Wextra -O2 -g -fno-omit-frame-pointer -pthread -o client client.c)

mkdir -p "$dir/www"
yes 'A page that nginx serves.' | head -n 40 >"$dir/www/index.txt"
yes 'A report, long enough that it takes more than one segment to send.' | head -n 2000 >"$dir/www/report.txt"
echo "$dir"
