#!/bin/bash
# The workload that the sizes in docs/FORMAT.md are of: redis-benchmark SET, GET and LPUSH of REQUESTS
# (60,000) each, nginx under wrk (or ab) for SECONDS_OF_HTTP (3) seconds, and five compilations.
# What is not installed is left out with a line. Usage: kindling-record -o FILE -- scripts/reference-workload.sh
set -euo pipefail
PATH=$PATH:/usr/sbin
requests=${REQUESTS:-60000}
http_s=${SECONDS_OF_HTTP:-3}
redis_port=${KINDLING_DEMO_REDIS_PORT:-16379}
http_port=${KINDLING_DEMO_HTTP_PORT:-18080}
here=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"; kill $(jobs -p) 2>/dev/null || :' EXIT

has() { command -v "$1" >/dev/null 2>&1; }
without() { echo "reference workload: without $1" >&2; }

if has redis-server && has redis-benchmark; then
    redis-server --port "$redis_port" --bind 127.0.0.1 --save '' --appendonly no >/dev/null &
    until redis-cli -p "$redis_port" ping >/dev/null 2>&1; do sleep 0.05; done
    redis-benchmark -p "$redis_port" -t set,get,lpush -n "$requests" -c 50 -q >/dev/null
    redis-cli -p "$redis_port" shutdown nosave >/dev/null 2>&1 || :
    wait
else
    without redis
fi

if has nginx && { has wrk || has ab; }; then
    mkdir -p "$work/web"/{logs,tmp,www}
    head -c 4096 /dev/zero | tr '\0' x >"$work/web/www/index.txt"
    sed "s/@PORT@/$http_port/" "$here/samples/demo/nginx.conf" >"$work/web/nginx.conf"
    nginx -p "$work/web" -c nginx.conf 2>/dev/null &
    until (exec 3<>"/dev/tcp/127.0.0.1/$http_port") 2>/dev/null; do sleep 0.05; done
    if has wrk; then
        wrk -t 1 -c 16 -d "${http_s}s" "http://127.0.0.1:$http_port/index.txt" >/dev/null
    else
        ab -q -k -c 16 -t "$http_s" "http://127.0.0.1:$http_port/index.txt" >/dev/null 2>&1
    fi
    kill %%
    wait
else
    without nginx
fi

if has cc; then
    for n in 1 2 3 4 5; do
        cc -std=gnu11 -O2 -pthread -o "$work/out$n" "$here/kindling-record/tests/ground_truth/waits.c" 2>/dev/null
    done
else
    without cc
fi
