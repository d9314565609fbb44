#!/bin/bash
# The demo workload: nginx under ab, redis-server under redis-benchmark, and a client of several
# threads that calls both. Everything is a child of this script, so that recording the script records
# all of it:
#
#   kindling-record -o demo.kndl -- /srv/kindling-demo/run.sh [SIZE]
#
# SIZE is `quick` (some hundred requests; the default) or `full`. Run it from where install.sh put it.
# All counts are exact and bounded, not timed. At the end counts.json, beside the script, says how many
# requests were sent (by the senders) and how many were served (by the servers themselves).
set -euo pipefail
PATH=$PATH:/usr/sbin
cd "$(dirname "${BASH_SOURCE[0]}")"

case ${1:-quick} in
quick) ab_requests=200 benchmark_requests=200 threads=3 rounds=48 ;;
full) ab_requests=2000 benchmark_requests=2000 threads=4 rounds=200 ;;
*)
    echo "run.sh: no size $1; there are quick and full" >&2
    exit 2
    ;;
esac
http_port=${KINDLING_DEMO_HTTP_PORT:-18080}
redis_port=${KINDLING_DEMO_REDIS_PORT:-16379}

for program in nginx redis-server redis-benchmark redis-cli ab; do
    command -v $program >/dev/null || {
        echo "run.sh: no $program; scripts/setup.sh installs it" >&2
        exit 1
    }
done

# Whether something listens on a port. It looks and does not connect: a connection would be recorded.
listens() {
    local address port_hex
    printf -v port_hex ':%04X' "$1"
    while read -r _ address _ state _; do
        if [[ $address == *$port_hex && $state == 0A ]]; then return 0; fi
    done </proc/net/tcp
    return 1
}

await() { # PORT NAME
    for _ in {1..100}; do
        if listens "$1"; then return 0; fi
        sleep 0.05
    done
    echo "run.sh: $2 does not listen on port $1" >&2
    exit 1
}

for port in "$http_port" "$redis_port"; do
    if listens "$port"; then
        echo "run.sh: port $port is taken; set KINDLING_DEMO_HTTP_PORT or KINDLING_DEMO_REDIS_PORT" >&2
        exit 1
    fi
done

stop() {
    if [ -n "$nginx" ]; then kill -QUIT "$nginx" 2>/dev/null || :; fi
    if [ -n "$redis" ]; then kill -TERM "$redis" 2>/dev/null || :; fi
    wait
}
nginx='' redis=''
trap stop EXIT

mkdir -p logs tmp
rm -f logs/* counts.json
sed "s/@PORT@/$http_port/" nginx.conf >nginx.run.conf
nginx -p "$PWD" -e logs/error.log -c nginx.run.conf &
nginx=$!
redis-server --port "$redis_port" --bind 127.0.0.1 --save '' --appendonly no --dir tmp \
    --logfile ../logs/redis.log &
redis=$!
await "$http_port" nginx
await "$redis_port" redis-server

./client "$http_port" "$redis_port" "$threads" "$rounds" >logs/client.json &
client=$!
ab -q -k -n "$ab_requests" -c 4 "http://127.0.0.1:$http_port/index.txt" >logs/ab.txt
redis-benchmark -q -p "$redis_port" -t set,get -n "$benchmark_requests" -c 4 >logs/benchmark.txt
wait "$client"

redis-cli -p "$redis_port" info commandstats >logs/commandstats.txt
stop
nginx='' redis=''

ab_sent=$(sed -n 's/^Complete requests: *//p' logs/ab.txt)
ab_failed=$(sed -n 's/^Failed requests: *//p' logs/ab.txt)
http_served=$(wc -l <logs/access.log)
# The INFO that asks for the counts does not count itself yet.
redis_served=$(awk -F'[=,]' '/^cmdstat_/ { sum += $2 } END { print sum + 1 }' logs/commandstats.txt)
# redis-benchmark first asks for settings, how often depends on its version: the server counts those.
asked=$(awk -F'[=,]' '/^cmdstat_/ && !/^cmdstat_(set|get|incr|eval):/ { sum += $2 } END { print sum + 0 }' logs/commandstats.txt)
benchmark_sent=$((2 * benchmark_requests + asked))
client_http=$(sed 's/.*"http_requests": \([0-9]*\).*/\1/' logs/client.json)
client_redis=$(sed 's/.*"redis_requests": \([0-9]*\).*/\1/' logs/client.json)
cat >counts.json <<EOF
{
  "http": {
    "sent": {"ab": $ab_sent, "client": $client_http},
    "failed": {"ab": $ab_failed},
    "served": {"nginx": $http_served}
  },
  "redis": {
    "sent": {"redis-benchmark": $benchmark_sent, "client": $client_redis, "redis-cli": 1},
    "served": {"redis-server": $redis_served}
  }
}
EOF
cat counts.json
if [ $((ab_sent + client_http)) != "$http_served" ]; then
    echo "run.sh: HTTP requests sent and served differ" >&2
    exit 1
fi
if [ $((benchmark_sent + client_redis + 1)) != "$redis_served" ]; then
    echo "run.sh: Redis requests sent and served differ" >&2
    exit 1
fi
