#!/bin/sh
# Holds the promise that the format and the analyzer run on laptops that are no Linux: nothing in
# their dependency trees for a Mac, and nothing in their own sources, is for Linux alone.
set -eu
cd "$(dirname "$0")/.."

linux_only='libbpf|vmlinux|blazesym|procfs|aya|perf-event|linux-raw-sys|inotify|io-uring|netlink|epoll|caps|kindling-record'
bad=0
for target in x86_64-apple-darwin aarch64-apple-darwin; do
    tree=$(cargo tree --locked -p kindling-format -p kindling-replay --target "$target" \
        -e normal,build --prefix none --format '{p}')
    found=$(printf '%s\n' "$tree" | cut -d' ' -f1 | sort -u | grep -E "^($linux_only)" || :)
    if [ "$found" ]; then
        echo "check-portable: for $target, kindling-format or kindling-replay depends on: $found" >&2
        bad=1
    fi
done
# Tests may look at Linux; what ships may not.
if grep -rnE 'std::os::linux|target_os = "linux"|libc::|"/(proc|sys)/' kindling-format/src kindling-replay/src; then
    echo "check-portable: these lines need Linux" >&2
    bad=1
fi
[ $bad = 0 ] && echo "check-portable: ok"
exit $bad
