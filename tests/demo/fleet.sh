#!/bin/sh
# The demo: a simulated fleet is maintained, proxmaint is killed in the middle of it, and goes on from the very step
# where it stopped. Everything runs on loopback in a temporary directory, and nothing is left behind.
set -eu
fleet=demo
. "$(dirname "$0")/common.sh"

say "A fleet comes up: a cluster of three nodes and two that stand alone, with 20 guests"
begin

# One guest of the fleet is locked for good: ten minutes, as one would wait on a real node, are long for a demonstration.
sed -i 's/^\[defaults\]$/[defaults]\nlock_wait = "2s"/' proxmox-hosts.toml

say "What would be done? A dry run changes nothing, not even package lists"
ends_with 3 proxmaint run --dry-run

say "The maintenance begins, two hosts at a time. It will be killed in the middle of an upgrade"
echo '$ proxmaint run --parallel-hosts 2'
"$proxmaint" run --parallel-hosts 2 </dev/null 2>&1 &
run_pid=$!
await '"act":"upgrade"' "an upgrade to begin"
kill_run

say "Where did it stand? The journal knows, and says what is in doubt"
show proxmaint status

say "The same command goes on: it looks at what was in doubt, and attaches to upgrades that went on without it"
ends_with 3 proxmaint run --parallel-hosts 2

say "What changed on one of the hosts, package by package"
show proxmaint status --host edge1

say "The fleet kept a ledger of every change that it was asked for. Was anything done twice, or left out?"
echo "$ proxmaint-lab ledger --check"
"$lab" ledger --dir "$dir" --check

say "And once more: is there anything left to do?"
ends_with 3 proxmaint run --dry-run

say "That was it: killed at the worst moment, and nothing was done twice and nothing forgotten"
echo "Two guests of pve2 were left alone on purpose: one can't be protected without being suspended, one is locked."
