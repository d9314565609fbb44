#!/bin/busybox sh
# The first process of an emulated machine: records programs whose calls are known, and counts.
/bin/busybox --install -s /bin
export PATH=/bin
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
mount -t tracefs tracefs /sys/kernel/tracing
mount -t tmpfs tmp /tmp
ip link set lo up
failed=0

# expect NAME FOUND WANTED
expect() {
    if [ "$2" = "$3" ]; then
        echo "ok      $1: $2"
    else
        echo "FAILED  $1: found $2, expected $3"
        failed=1
    fi
}

has() { grep -q "^$1 *ok" /tmp/doctor; }
# count TABLE CONDITION PATTERN: events of the recording whose lines match.
count() { kindling-replay events /tmp/it.kndl --tables "$1" --where "$2" | grep -c "$3"; }
# record OPTIONS… -- COMMAND…: into /tmp/it.kndl, which must be complete.
record() {
    kindling-record -o /tmp/it.kndl "$@" >/tmp/out 2>/tmp/err
    expect "exit code of the recorder" $? 0
    kindling-replay check /tmp/it.kndl >/tmp/check || cat /tmp/check /tmp/err
    expect "losses" "$(kindling-replay info /tmp/it.kndl | sed -n 's/^lost *//p')" nothing
}

echo
echo "kernel $(uname -r)"
kindling-record doctor >/tmp/doctor
sed -n 's/^\([a-z_]*\) *missing */without \1: /p' /tmp/doctor

for needed in processes tasks syscalls switches wakeups samples tcp; do
    has $needed
    expect "$needed can be recorded" $? 0
done

record -- storm 5000
expect "getppid" "$(count syscalls 'syscall.name == getppid' ' = ')" 5000
record -- storm 3000 read
expect "reads of a file" "$(count syscalls 'file.path == /dev/zero' 'read(')" 3000

record -- sh -c '(nc -l -p 8080 </dev/null >/tmp/got & sleep 1; echo hello | nc 127.0.0.1 8080; wait)'
expect "bytes through a connection" "$(cat /tmp/got)" hello
expect "payloads at both ends" "$(count payloads 'payload.size == 6 and net.port == 8080' hello)" 2

# Three calls that send 10, 20 and 8192 bytes, and 131 that receive as many in small pieces.
has tls
expect "plaintext can be recorded" $? 0
record --payload-bytes 4000 -- tls
expect "calls that moved plaintext" "$(count payloads 'payload.tls != no' .)" 134

if has io_uring; then
    record -- io_uring 1000 300 0
    all='event.kind == io_uring'
    expect "operations taken by an io_uring" "$(count io_uring "$all" takes)" 1300
    expect "operations given back" "$(count io_uring "$all" gives)" 1300
    expect "reads of 100 bytes" "$(count io_uring "$all" 'gives read = 100')" 300
fi

if has block; then
    record --events +block -- dd if=/dev/zero of=/dev/nvme0n1 bs=4k count=25 oflag=direct
    expect "writes to a disk" "$(count block 'block.operation == write and block.size == 4096' .)" 25
fi

[ $failed = 0 ] && echo passed
poweroff -f
