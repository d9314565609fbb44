#!/bin/sh
# Prints numbers.rs: the syscall numbers of each architecture, from the kernel's UAPI headers of
# this machine (Debian: linux-libc-dev). Numbers never change; rerun it to learn of new calls:
#   sh kindling-format/src/syscalls/generate.sh > kindling-format/src/syscalls/numbers.rs
set -eu

# Reads `cpp -dM` output; keeps the newest calls in line with headers older than this table.
rows() {
    awk '
        $1 == "#define" && $2 ~ /^__NR(3264)?_/ { value[$2] = $3 }
        END {
            for (name in value) {
                number = value[name]
                if (number ~ /^__NR/) number = value[number]
                if (name ~ /^__NR3264_|_syscalls$|arch_specific/ || number !~ /^[0-9]+$/) continue
                sub(/^__NR_/, "", name)
                print number, name
            }
            split("cachestat fchmodat2 map_shadow_stack futex_wake futex_wait futex_requeue " \
                "statmount listmount lsm_get_self_attr lsm_set_self_attr lsm_list_modules mseal " \
                "setxattrat getxattrat listxattrat removexattrat open_tree_attr file_getattr " \
                "file_setattr", newer, " ")
            for (i = 1; i in newer; i++)
                if (!("__NR_" newer[i] in value)) print 450 + i, newer[i]
        }' | sort -n | awk '{ printf "    (%s, \"%s\"),\n", $1, $2 }'
}

table() {
    printf '\n/// %s.\npub(super) const %s: &[(u16, &str)] = &[\n' "$1" "$2"
    rows
    printf '];\n'
}

printf '//! Syscall numbers and names: written by `generate.sh`, do not edit.\n'
# What code that the kernel puts into a program calls, where it is probed (Linux 6.11 and 6.18).
cpp -dM - <<'C' | table 'x86_64, without the x32 ABI' X86_64
#include <asm/unistd_64.h>
#define __NR_uretprobe 335
#define __NR_uprobe 336
C
echo '#include <asm/unistd_32.h>' | cpp -dM - | table 'i386, which 32-bit programs on x86_64 use' I386
# What arm64 asks of the generic list (arch/arm64/include/uapi/asm/unistd.h).
cpp -dM - <<'C' | table 'aarch64, 64-bit' AARCH64
#define __ARCH_WANT_RENAMEAT
#define __ARCH_WANT_NEW_STAT
#define __ARCH_WANT_SET_GET_RLIMIT
#define __ARCH_WANT_SYS_CLONE3
#define __ARCH_WANT_MEMFD_SECRET
#include <asm-generic/unistd.h>
C
