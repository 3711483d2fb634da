#!/bin/sh
# The demo of a cluster: each of its nodes is emptied, upgraded, rebooted and filled again while its guests run on elsewhere, and
# a guest whose upgrade breaks it is brought back. Everything runs on loopback, and nothing is left behind.
set -eu
fleet=cluster
. "$(dirname "$0")/common.sh"

say "A cluster comes up: three nodes with Ceph, containers and VMs on it, two of them managed by HA"
begin
sed -i 's/^\[defaults\]$/[defaults]\nhost_reboot = "if-needed"\nevacuate = "migrate"\non_failure = "rollback"/' proxmox-hosts.toml
sed -n '/^\[defaults\]/,/^$/p' proxmox-hosts.toml

say "Where everything is, before"
"$lab" machines --dir "$dir" | sort | tee before

say "What would be done? The nodes are rebooted, and their guests go elsewhere meanwhile"
ends_with 0 proxmaint run --dry-run

say "The maintenance begins. It will be killed while the first node is being emptied"
echo '$ proxmaint run'
"$proxmaint" run </dev/null 2>&1 &
run_pid=$!
await '"act":"migrate"' "a guest to be moved"
kill_run

say "Where did it stand? What is borrowed is owed, and the journal says so"
show proxmaint status

say "The same command goes on: one node after the other; the guest whose upgrade breaks it is rolled back"
ends_with 3 proxmaint run

say "What became of each host"
show proxmaint status | tee status
grep -q 'rolled back' status || { echo "the demo wanted a guest that is rolled back" >&2; exit 1; }

say "Every guest is where it was, Ceph's flag is given back, and nothing was done twice"
"$lab" machines --dir "$dir" | sort >after
echo "$ proxmaint-lab ledger --check"
"$lab" ledger --dir "$dir" --check
