#!/usr/bin/env bash
# A Slurm of one node on this machine, to try `srun` with: munge, slurmctld and slurmd of Debian's packages, with their
# files in a directory of their own and no trace elsewhere. As root.
#   tools/slurm_one_node.sh start DIR     installs what is missing, starts, and prints what to put in the environment
#   tools/slurm_one_node.sh stop DIR      ends the three daemons that DIR names
set -euo pipefail
case "${1:-}" in
  -h | --help) sed -n '2,5s/^# \{0,1\}//p' "$0"; exit 0 ;;
  start | stop) ;;
  *) echo "error: the first argument is start or stop (see --help)" >&2; exit 2 ;;
esac
if [ $# -ne 2 ]; then
  echo "error: tools/slurm_one_node.sh needs $1 and a directory (see --help)" >&2
  exit 2
fi
action=$1
mkdir -p "$2"
dir=$(cd "$2" && pwd)

stop() {
  for daemon in slurmd slurmctld munged; do
    pid=$(cat "$dir/$daemon.pid" 2>/dev/null || true)
    if [ -n "$pid" ] && [ "$(cat "/proc/$pid/comm" 2>/dev/null || true)" = "$daemon" ]; then
      kill "$pid" 2>/dev/null || true
    fi
    rm -f "$dir/$daemon.pid"
  done
}

start() {
  if [ "$(id -u)" -ne 0 ]; then
    echo "error: slurmd starts steps as their users, so this must run as root" >&2
    exit 3
  fi
  if ! command -v slurmctld >/dev/null || ! command -v munged >/dev/null; then
    apt-get update -q >/dev/null
    DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends slurm-wlm munge >/dev/null
  fi
  chmod 755 "$dir"
  mkdir -p "$dir/munge" "$dir/state" "$dir/spool"
  chmod 755 "$dir/munge"
  (umask 077 && dd if=/dev/urandom of="$dir/munge/key" bs=128 count=1 status=none)
  # A key and a socket of its own: an installed munge is left alone.
  munged --force --key-file="$dir/munge/key" --socket="$dir/munge/socket" --log-file="$dir/munge/log" \
    --seed-file="$dir/munge/seed" --pid-file="$dir/munged.pid" 2>"$dir/munge/start.log"
  host=$(hostname -s)
  cores=$(nproc)
  memory=$(awk '/MemTotal/ {print int($2 / 1024 * 0.9)}' /proc/meminfo)
  cat >"$dir/slurm.conf" <<END
ClusterName=onenode
SlurmctldHost=$host(127.0.0.1)
SlurmctldPort=16817
SlurmdPort=16818
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket=$dir/munge/socket
CryptoType=crypto/munge
StateSaveLocation=$dir/state
SlurmdSpoolDir=$dir/spool
SlurmctldPidFile=$dir/slurmctld.pid
SlurmdPidFile=$dir/slurmd.pid
SlurmctldLogFile=$dir/slurmctld.log
SlurmdLogFile=$dir/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
MpiDefault=none
ReturnToService=2
KillWait=5
SlurmdParameters=config_overrides
NodeName=$host NodeAddr=127.0.0.1 CPUs=$cores RealMemory=$memory State=UNKNOWN
PartitionName=main Nodes=$host Default=YES MaxTime=INFINITE State=UP OverSubscribe=YES
END
  slurmctld -f "$dir/slurm.conf"
  slurmd -f "$dir/slurm.conf" -N "$host"
  export SLURM_CONF=$dir/slurm.conf
  for _ in $(seq 60); do
    state=$(sinfo -h -o %T 2>/dev/null || true)
    if [ "$state" = idle ]; then
      echo "export SLURM_CONF=$dir/slurm.conf"
      return 0
    fi
    sleep 0.5
  done
  echo "error: the node is not idle after 30 s (${state:-no answer}); see $dir/slurmctld.log and $dir/slurmd.log" >&2
  stop
  exit 3
}

case $action in
  start) start ;;
  stop) stop ;;
esac
