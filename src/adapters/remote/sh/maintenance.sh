# Asks HA for maintenance mode of a node, or for its end. Set before: $want (enable, disable) and $node. There is no such call in
# the API.
if out=$(ha-manager crm-command node-maintenance "$want" "$node" 2>&1); then
    say maintenance asked
else
    say maintenance failed
    say why
    printf '%s\n' "$out" | quoted
fi
say end
