//! What help texts end with: examples, and what the exit codes mean.

use crate::cli::exit_code::Exit;

/// Ends a help text: examples, then what the exit codes mean.
pub(super) fn help_end(examples: &str) -> String {
    let mut text = String::from(examples);
    if !examples.is_empty() {
        text.push_str("\n\n");
    }
    text.push_str("Exit codes:");
    for exit in Exit::ALL {
        text.push_str(&format!("\n  {:>2}  {}", exit.code(), exit.meaning()));
    }
    text
}

pub(super) const EXAMPLES: &str = "\
Examples:
  proxmaint run --dry-run        show what would be done; changes nothing
  proxmaint run                  upgrade everything that the manifest names
  proxmaint status               show how the latest run stands";

pub(super) const RUN_EXAMPLES: &str = "\
Each host is looked at first; guests with pending updates are protected by a snapshot or a backup, upgraded and \
checked; then the node itself is upgraded and everything is verified. No machine is rebooted unless you say so \
(`--reboot`, or `host.reboot` and `guest.reboot` in the manifest). Interrupt it whenever you like \
(Ctrl-C, kill, power cut): `proxmaint run` goes on from that very step, with the guests, hosts and reboots that it was \
begun for.

Examples:
  proxmaint run --dry-run                    show the plan; changes nothing
  proxmaint run --plan monday.plan           what `proxmaint plan --out monday.plan` saved, and nothing else
  proxmaint run --host pve1 --host pve2      these hosts only
  proxmaint run --guest 104 --guest tag:web  these guests only
  proxmaint run --hosts-only --reboot        nodes only; reboot them where it is needed
  proxmaint run --yes --parallel-hosts 4     ask nothing, four hosts at a time
  proxmaint run --output json                one JSON event a line, for programs";

pub(super) const PLAN_EXAMPLES: &str = "\
Looks as `proxmaint run --dry-run` does. A run by a saved plan looks at each host anew just before its turn, with fresh \
package lists, and refuses a host that is not as it was planned, whole and untouched: a package with another version, a \
guest that is new, gone or another one, another way in or protection. The others are worked on. With `--refresh` the plan \
knows what such a run will find.

Examples:
  proxmaint plan                                 as `run --dry-run`
  proxmaint plan --refresh --out monday.plan     save it
  proxmaint run --plan monday.plan               do that, and nothing else
  proxmaint run --plan monday.plan --host pve1   on this host only";

pub(super) const DOCTOR_EXAMPLES: &str = "\
Looks at everything that must be right before a guest is touched: certificate, host key, privileges of the token, root, \
cluster, repositories, room, packages. The package lists of nodes and guests are refreshed, as a run does: whether a \
repository answers is found out only by asking it. Nothing else is changed. A run makes the same checks; what fails here \
keeps it from touching the host.

Examples:
  proxmaint doctor                           every host of the manifest
  proxmaint doctor --host pve1               this host only
  proxmaint doctor --output json             one JSON object, for programs";

pub(super) const STATUS_EXAMPLES: &str = "\
Examples:
  proxmaint status                           the latest run
  proxmaint status --all                     every run
  proxmaint status 20261122 --host pve1      each step of one host, and the packages that changed
  proxmaint status --events                  what happened, one line an event";

pub(super) const ORDER_EXAMPLES: &str = "\
Said to a run at work, and kept in its journal before it is answered. What has begun on a host comes to its end: a guest \
that is being upgraded is checked, one that was started is stopped again. A host that is paused keeps its cluster's turn, \
and the run waits for it, for a day at most; one that is stopped is not waited for, and the next `proxmaint run` goes on \
with it.

Examples:
  proxmaint pause pve1          nothing new begins on pve1
  proxmaint continue pve1       it goes on
  proxmaint stop pve1 pve2      these are left for the next run
  proxmaint pause --all         nothing new begins anywhere";

pub(super) const SET_EXAMPLES: &str = "\
Everything else in the file stays as it is, comments and spacing included. The previous file is kept as FILE.bak.

Examples:
  proxmaint manifest set max_parallel 4                     for all hosts that say nothing else
  proxmaint manifest set api.port 443 --host pve1           for one host
  proxmaint manifest set protect '[\"backup\"]' --host pve1   a list, as in the file
  proxmaint manifest set managed false --host pve1 --guest 104
  proxmaint manifest set ssh.extra_args --host pve1 -- '-p 2222'";

pub(super) const ADD_HOST_EXAMPLES: &str = "\
Examples:
  proxmaint manifest add-host pve3.example.org --name pve3
  proxmaint manifest add-host 192.0.2.13 api.node=pve3 max_parallel=4 --dry-run";

pub(super) const WIZARD_EXAMPLES: &str = "\
Everything that is not edited stays as it is, comments and spacing included; nothing is saved before you have seen the \
difference. The previous file is kept as FILE.bak. For scripts there is `proxmaint manifest set`.

Examples:
  proxmaint wizard                           make a manifest, or edit the one that is there
  proxmaint wizard --host pve1               begin at this host";

pub(super) const INVENTORY_EXAMPLES: &str = "\
Looks which guests there are, asks which to manage and how to log in, tries that, and writes `guest_inventory`. Notes \
and what else was written by hand stay; guests that are gone are marked. Nothing is changed in a guest but for a public \
key, where you ask for it. A login that fails is noted and is no failure; a host that does not answer is one (exit code 3), \
and the others are saved.

Examples:
  proxmaint inventory                                       every host of the manifest
  proxmaint inventory --host pve1 --skip-ssh-checks         one host, and no login tried
  proxmaint inventory --yes --user root --manage running    ask nothing
  proxmaint inventory --output ansible > hosts.yml          for Ansible; changes nothing";

pub(super) const RESOLVE_EXAMPLES: &str = "\
`proxmaint status` names what is held and why. Look at the guest or node first, then decide: \
the decision is recorded, and the next `proxmaint run` goes on from there.

Examples:
  proxmaint resolve 20261122 pve1 104 --done     the upgrade of guest 104 was complete
  proxmaint resolve 20261122 pve1 104 --retry    it was not done: try it anew
  proxmaint resolve 20261122 pve1 --skip         leave the node pve1 alone in this run";

pub(super) const ROLLBACK_EXAMPLES: &str = "\
Shows what would be lost, and asks. The guest is stopped hard, its old config and disks come back, and it is started again
where it ran, and checked. It is not upgraded again before you say so (`proxmaint resolve RUN HOST GUEST --retry`).

Examples:
  proxmaint rollback 20261122 pve1 101         ask first
  proxmaint rollback 20261122 pve1 101 --yes   do not ask";

pub(super) const RESTORE_EXAMPLES: &str = "\
A run that ends, fails or is killed may owe something: a guest that it started is to be stopped again, guests that it \
shut down are to run again. `proxmaint status` shows it, and the next `proxmaint run` gives it back before anything \
else. This does only that.

Examples:
  proxmaint restore 20261122                 everything that the run owes
  proxmaint restore 20261122 --host pve1     what it owes on pve1";

pub(super) const PRUNE_EXAMPLES: &str = "\
Only what the journal knows to be made by proxmaint is removed, from the very guest that it was made of, and never what \
a guest that failed or is held could be brought back from. It asks first; where there is nobody to ask, it takes --yes.

Examples:
  proxmaint snapshots prune --dry-run              show what would be removed
  proxmaint snapshots prune --older-than 3days     whatever the manifest says about age
  proxmaint snapshots prune --keep-last 1 --yes    ask nothing, keep one of each guest";
