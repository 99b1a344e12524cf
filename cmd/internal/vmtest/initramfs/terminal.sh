#!/bin/sh
# One terminal of a machine. Reads lines of a number and a command, runs the
# command as a user would who typed it, and ends its output with a line of the
# mark, the number and the exit code. A Ctrl-C reaches the command; the trap
# keeps this script from dying of it.
stty -echo -opost -ixon
trap : INT
echo "=== 0 0"
while read -r number command; do
  eval "$command"
  printf '\n=== %s %s\n' "$number" "$?"
done
