#!/bin/sh
# The first process of a machine: makes it usable, gives it two terminals, and
# waits for processes that have lost their parent.
export PATH=/bin HOME=/ TERM=dumb
mkdir -p /dev /proc /sys /run /tmp
mount -t devtmpfs dev /dev
mount -t proc proc /proc
mount -t sysfs sys /sys
mkdir -p /dev/net
while read -r module; do
  insmod "/modules/$module.ko" && continue
  echo "init: the module $module cannot be loaded"
  poweroff -f
done </modules/order
ip link set lo up
for tty in ttyS1 ttyS2; do
  setsid -c /terminal <>/dev/$tty >&0 2>&1 &
done
while :; do wait; sleep 1; done
