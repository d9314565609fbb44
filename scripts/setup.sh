#!/bin/sh
# Makes a Debian or Ubuntu machine ready to build, run and test Kindling. Safe to run again: when
# everything is there it only looks.
#
#   scripts/setup.sh          check, and install what is missing (as root; else say what is missing)
#   scripts/setup.sh --check  check only
#
# Exits with 1 if the build cannot work: without Rust, a compiler, or a tool that the build calls.
set -eu
cd "$(dirname "$0")/.."
PATH=$PATH:/usr/sbin:/sbin
venv=${CARGO_TARGET_DIR:-target}/venv
check_only=${1:-}

say() { printf 'setup: %s\n' "$*"; }

# What is needed: why, how to see that it is there, and the package that has it.
# libbpf, libelf and zlib are built from the sources that libbpf-sys brings: hence the autotools.
needs() {
    cat <<'LIST'
build  has cc                                   gcc
build  test -e /usr/include/stdio.h             libc6-dev
build  has make                                 make
build  has clang                                clang
build  has pkg-config                           pkg-config
build  has autoreconf                           autoconf
build  has automake                             automake
build  has autopoint                            autopoint
build  has libtoolize                           libtool
build  has bison                                bison
build  has flex                                 flex
build  has gawk                                 gawk
demo   has nginx                                nginx-light
demo   has redis-server                         redis-server
demo   has redis-benchmark                      redis-tools
demo   has ab                                   apache2-utils
tests  has strace                               strace
tests  has unzip                                unzip
tests  has runc                                 runc
tests  has busybox                              busybox-static
tests  has openssl                              openssl
tests  has curl                                 curl
tests  has gnutls-cli                           gnutls-bin
tests  has go                                   golang-go
tests  python3 -c import\ ensurepip,venv        python3-venv
lint   has shellcheck                           shellcheck
LIST
}

has() { command -v "$1" >/dev/null 2>&1; }

# Prints "purpose package" for each need that is not met.
missing() {
    needs | while read -r purpose probe; do
        package=${probe##* }
        probe=${probe%"$package"}
        eval "$probe" >/dev/null 2>&1 </dev/null || echo "$purpose $package"
    done
}

# Installs packages without letting them start or enable their services: the demo and the tests run
# an nginx and a redis of their own, on other ports.
install_packages() {
    if [ ! -e /usr/sbin/policy-rc.d ]; then
        policy=/usr/sbin/policy-rc.d
        printf '#!/bin/sh\nexit 101\n' >"$policy"
        chmod +x "$policy"
    fi
    # The package lists may be absent or old: they are fetched only if it does not work without.
    apt_install "$@" || { apt-get update -q </dev/null >"$log" 2>&1 && apt_install "$@"; } || {
        tail -n 20 "$log" >&2
        say "apt-get install failed"
    }
    has systemctl || return 0
    for service in nginx redis-server; do
        case " $* " in *" $service"*) systemctl disable --quiet "$service" 2>/dev/null || : ;; esac
    done
}

apt_install() {
    DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "$@" </dev/null >"$log" 2>&1
}

packages() {
    # Elsewhere only the analyzer is built, and that takes Rust and a C compiler.
    [ "$(uname)" = Linux ] || return 0
    gone=$(missing)
    [ "$gone" ] || return 0
    list=$(echo "$gone" | cut -d' ' -f2 | sort -u | tr '\n' ' ')
    list=${list% }
    if [ "$check_only" ]; then
        :
    elif ! has apt-get; then
        say "this is no Debian or Ubuntu: install what has the same content as: $list"
    elif [ "$(id -u)" != 0 ]; then
        say "not root, so left out; as root: apt-get install --no-install-recommends $list"
    else
        say "installing $list"
        # shellcheck disable=SC2086 # a list of packages
        install_packages $list
    fi
    missing | while read -r purpose package; do say "missing: $package (for: $purpose)"; done
    if missing | grep -q '^build '; then
        say "the build needs them"
        exit 1
    fi
}

rust() {
    wanted=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml)
    how="get Rust $wanted or newer from https://rustup.rs, or: rustup update stable"
    if ! has cargo || ! has rustc; then
        say "no Rust: $how"
        exit 1
    fi
    found=$(rustc --version | cut -d' ' -f2)
    oldest=$(printf '%s\n%s\n' "$wanted" "${found%%-*}" | sort -V | head -n 1)
    if [ "$oldest" != "$wanted" ]; then
        say "Rust $found is too old: $how"
        exit 1
    fi
    cargo nextest --version >/dev/null 2>&1 ||
        say "cargo-nextest is not here; cargo test does it, slower (cargo install cargo-nextest --locked)"
}

# Python readers of Parquet. Nothing but tests of the file format needs them, and those report
# themselves as skipped without.
readers() {
    if cmp -s scripts/requirements.txt "$venv/requirements.txt"; then return 0; fi
    if [ "$check_only" ]; then
        say "missing: $venv (for: tests)"
        return 0
    fi
    python3 -c 'import ensurepip, venv' 2>/dev/null || return 0
    say "installing pyarrow and duckdb into $venv"
    if python3 -m venv "$venv" >"$log" 2>&1 &&
        "$venv/bin/pip" install -q -r scripts/requirements.txt </dev/null >"$log" 2>&1; then
        cp scripts/requirements.txt "$venv/requirements.txt"
    else
        tail -n 3 "$log" >&2
        say "no pyarrow and duckdb: tests that read captures with them will be skipped"
    fi
}

log=$(mktemp)
policy=
trap 'rm -f "$log" $policy' EXIT
rust
packages
readers
