#!/usr/bin/busybox sh
# The guest's first and only process of ours: makes the machine usable, runs the job, leaves.
export PATH=/usr/bin HOME=/root TERM=linux LANG=C.UTF-8
# The two network cards on one wire, for what wants them.
export PKTJOURNEY_NICS=eth0,eth1
b=/usr/bin/busybox
$b mount -t proc proc /proc
$b mount -t sysfs sys /sys
$b mount -t devtmpfs dev /dev
exec </dev/console >/dev/console 2>&1
$b --install -s /usr/bin

while read -r module; do
  case $module in
    dummy.ko) set -- numdummies=0 ;;
    ifb.ko) set -- numifbs=0 ;;
    *) set -- ;;
  esac
  insmod "/modules/$module" "$@" || echo "vm: module $module does not load"
done </modules/order
mkdir -p /dev/pts /dev/shm /out
mount -t devpts pts /dev/pts
for dir in /dev/shm /tmp /run; do mount -t tmpfs tmpfs $dir; done
mount -t bpf bpf /sys/fs/bpf
mount -t tracefs trace /sys/kernel/tracing
mount -t debugfs debug /sys/kernel/debug
mount -t cgroup2 cgroup /sys/fs/cgroup
ulimit -l unlimited
ulimit -n 65536
hostname pktjourney
ip link set lo up
read -r up _ </proc/uptime
echo "vm: $(uname -r) up in $up s"

port() { # the device behind a named virtio port
  for p in /sys/class/virtio-ports/*; do
    [ "$(cat "$p/name")" = "$1" ] && echo "/dev/${p##*/}"
  done
}
cd /job
if [ -f /job/run.sh ]; then
  bash /job/run.sh </dev/null >"$(port out)" 2>"$(port err)"
  code=$?
else
  setsid -c bash -l
  code=$?
fi
[ -n "$(ls -A /out)" ] && tar -C /out -cf - . >"$(port files)"
read -r up _ </proc/uptime
echo "vm: left with $code at $up s"
echo $code >"$(port code)"
poweroff -f
