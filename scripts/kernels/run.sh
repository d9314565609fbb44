#!/bin/sh
# Boots other kernels in an emulator and records there: programs whose calls are known, a disk, an
# io_uring. What a kernel does not have is left out with a line; what it has must be right.
#
#   scripts/kernels/run.sh [PACKAGE…]     packages with a kernel; default: see KERNELS
#
# Needs qemu-system-x86_64, busybox, cpio and a Debian mirror. A kernel takes half a minute.
set -eu
cd "$(dirname "$0")/../.."
KERNELS='linux-image-6.1.*-cloud-amd64 linux-image-6.12.*-cloud-amd64'
bin=${CARGO_TARGET_DIR:-target}/release
kept=${CARGO_TARGET_DIR:-target}/kernels
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

for tool in qemu-system-x86_64 busybox cpio apt-get dpkg-deb cc; do
    command -v "$tool" >/dev/null || { echo "kernels: skipped, not installed: $tool"; exit 0; }
done

# The newest package that a pattern names.
newest() {
    apt-cache pkgnames linux-image- | grep -x "$(printf '%s' "$1" | sed 's/\./\\./g; s/\*/.*/g')" |
        sort -V | tail -1
}

# Unpacks the kernel of a package, once; prints where it is.
kernel_of() {
    if ! ls "$kept/$1/boot"/vmlinuz-* >/dev/null 2>&1; then
        mkdir -p "$kept"
        (cd "$kept" && apt-get download -qq "$1" >/dev/null 2>&1 && dpkg-deb -x "$1"_*.deb "$1" &&
            rm -f "$1"_*.deb)
    fi
    ls "$kept/$1/boot"/vmlinuz-*
}

# A file system with the programs and the libraries that they need.
make_root() {
    root=$work/root
    mkdir -p "$root/bin" "$root/proc" "$root/sys" "$root/dev" "$root/tmp" "$root/etc"
    cp "$(command -v busybox)" "$root/bin/busybox"
    for program in kindling-record kindling-replay; do
        strip -o "$root/bin/$program" "$bin/$program"
    done
    for program in storm io_uring tls; do
        cc -std=gnu11 -O2 -pthread -static -o "$root/bin/$program" \
            "kindling-record/tests/ground_truth/$program.c"
    done
    cp "$(command -v dd)" "$root/bin/dd"
    for program in "$root"/bin/kindling-* "$root/bin/dd"; do
        ldd "$program" | grep -o '/[^ ]*'
    done | sort -u | while read -r library; do
        mkdir -p "$root$(dirname "$library")"
        cp -L "$library" "$root$library"
    done
    cp scripts/kernels/inside.sh "$root/init"
    chmod +x "$root/init"
    (cd "$root" && find . | cpio -o -H newc --quiet) | gzip -1 >"$work/root.gz"
}

# Boots a kernel and prints what its checks say; fails if one did.
boot() {
    truncate -s 16M "$work/disk"
    timeout "${KERNEL_SECONDS:-300}" qemu-system-x86_64 -accel tcg,thread=multi -smp 2 -m 1G \
        -kernel "$1" -initrd "$work/root.gz" -append 'console=ttyS0 quiet panic=-1' \
        -drive "file=$work/disk,format=raw,if=none,id=disk" -device nvme,drive=disk,serial=disk \
        -nographic -no-reboot </dev/null >"$work/log" 2>&1 || true
    tr -d '\r' <"$work/log" | sed -n '/^kernel /,$p' | grep -v '^\[' | sed 's/^/  /'
    grep -q '^passed' "$work/log"
}

make_root
failed=0
for pattern in ${*:-$KERNELS}; do
    package=$(newest "$pattern")
    if [ -z "$package" ]; then
        echo "kernels: skipped, no package $pattern"
        continue
    fi
    echo "$package"
    boot "$(kernel_of "$package")" || failed=1
done
exit $failed
