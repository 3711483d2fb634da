# How corosync counts the votes of the node's cluster, as `pvecm status` asks it. The tool's exit status says other things in
# other versions; what it prints does not.
say votes
corosync-quorumtool -siH 2>&1 | quoted
say end
