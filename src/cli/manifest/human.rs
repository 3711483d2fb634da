//! What `manifest show` prints for people: a block a host.

use std::time::Duration;

use super::{count, destination};
use crate::choices::OnFailure;
use crate::choices::health::HealthCheck;
use crate::ids::GuestKind;
use crate::manifest::{ApiTrust, GuestEntry, GuestInventory, HostEntry, Keep, Manifest, SshOptions, Wanted};

/// Writes the manifest as a list, one block a host.
pub(super) fn text(manifest: &Manifest) -> String {
    let mut text = format!(
        "{}: {}, an unfinished run is gone on with for {}\n",
        manifest.path.display(),
        count(manifest.hosts.len(), "host"),
        humantime::format_duration(manifest.defaults.resume_within)
    );
    for host in &manifest.hosts {
        text.push('\n');
        host_block(&mut text, host);
    }
    text
}

fn host_block(text: &mut String, host: &HostEntry) {
    let dry_run = if host.dry_run { " (only ever planned for: dry_run)" } else { "" };
    text.push_str(&format!("{}{dry_run}\n", host.id));
    let mut line = |name: &str, value: &str| text.push_str(&format!("  {name:<14} {value}\n"));
    line("ssh", &destination(host));
    ssh_lines(&mut line, "", &host.ssh);
    let node = host.api.node.as_ref().map_or_else(String::new, |node| format!(", node {node}"));
    line("api", &format!("port {}{node}, {}", host.api.port, trust(host.api.trust())));
    line("token", &format!("${} and ${}", host.api.token_env, host.api.secret_env));
    line("guests", &format!("{} at a time, as {}", host.max_parallel, host.guest_ssh.login()));
    ssh_lines(&mut line, "guest ", &host.guest_ssh);
    wanted_lines(&mut line, host);
    for rule in &host.guests {
        line("rule", &rule_words(rule));
    }
    if let Some(inventory) = &host.inventory {
        line("inventory", &inventory_words(inventory));
    }
    if !host.unknown_keys.is_empty() {
        line("not known", &host.unknown_keys.join(", "));
    }
}

fn ssh_lines(line: &mut impl FnMut(&str, &str), prefix: &str, ssh: &SshOptions) {
    if let Some(file) = &ssh.identity_file {
        line(&format!("{prefix}key"), &file.display().to_string());
    }
    if let Some(variable) = &ssh.password_env {
        line(&format!("{prefix}password"), &format!("${variable}"));
    }
    if !ssh.extra_args.is_empty() {
        line(&format!("{prefix}args"), &shell_words::join(&ssh.extra_args));
    }
}

fn inventory_words(inventory: &GuestInventory) -> String {
    let kinds = [GuestKind::Ct, GuestKind::Vm].map(|kind| {
        let of_kind = inventory.entries.iter().filter(|entry| entry.kind == kind).count();
        count(of_kind, &kind.to_string())
    });
    let excluded = match inventory.entries.iter().filter(|entry| entry.is_excluded()).count() {
        0 => String::new(),
        n => format!(", {n} of them left alone"),
    };
    let updated = inventory.updated_at.as_ref().map_or_else(String::new, |at| format!(", as of {at}"));
    format!("{}{excluded}{updated}", kinds.join(", "))
}

fn trust(trust: ApiTrust<'_>) -> String {
    match trust {
        ApiTrust::Pinned(fingerprint) => format!("certificate {fingerprint}"),
        ApiTrust::CaFile(file) => format!("certificate by {}", file.display()),
        ApiTrust::SystemRoots => "certificate by the system's authorities".to_owned(),
        ApiTrust::Unverified => "certificate NOT verified".to_owned(),
    }
}

fn wanted_lines(line: &mut impl FnMut(&str, &str), host: &HostEntry) {
    let Wanted {
        include,
        exclude,
        via,
        stopped,
        protect,
        on_failure,
        guest_reboot,
        host_reboot,
        allow_quorum_loss,
        checks,
        lock_wait,
        backup,
        snapshots,
    } = &host.wanted;
    if !include.is_empty() {
        line("include", &list(include));
    }
    if !exclude.is_empty() {
        line("exclude", &list(exclude));
    }
    line("way in", &format!("{via}; not running: {stopped}; a lock is waited for {}", time(*lock_wait)));
    line("protection", &format!("{}, at most {} old", list(protect), time(host.protect_max_age)));
    if *on_failure != OnFailure::Keep {
        line("on failure", "a guest is rolled back to its snapshot");
    }
    line("snapshots", &kept(*snapshots));
    let storage = backup.storage.as_deref().unwrap_or("the storage with the most room");
    let how = format!("mode {}, {}, waits {} for others", backup.mode, backup.compress, time(backup.lock_wait));
    line("backups", &format!("to {storage}, {how}, {}", kept(backup.keep)));
    if !checks.is_empty() {
        line("checks", &list(checks));
    }
    let quorum =
        if *allow_quorum_loss { " (the other node of two may lose its quorum: allow_quorum_loss)" } else { "" };
    line("reboot", &format!("host {host_reboot}{quorum}, guests {guest_reboot}"));
}

fn kept(keep: Keep) -> String {
    let last = match keep.last {
        0 => String::new(),
        n => format!(" and the newest {n} of each guest"),
    };
    format!("kept for {}{last}", time(keep.time))
}

fn rule_words(rule: &GuestEntry) -> String {
    let GuestEntry {
        who,
        managed,
        via,
        stopped,
        protect,
        on_failure,
        reboot,
        checks,
        backup_storage,
        backup_mode,
        backup_compress,
        address,
        user,
        identity_file,
        password_env,
        unknown_keys,
    } = rule;
    let mut words = Vec::new();
    let mut say = |name: &str, value: Option<String>| words.extend(value.map(|value| format!("{name} {value}")));
    say("managed", managed.map(|managed| managed.to_string()));
    say("via", via.map(|via| via.to_string()));
    say("not running:", stopped.map(|stopped| stopped.to_string()));
    say("protection", protect.as_deref().map(list));
    say("on failure", on_failure.map(|on_failure| on_failure.to_string()));
    say("reboot", reboot.map(|reboot| reboot.to_string()));
    let listed = |checks: &[HealthCheck]| if checks.is_empty() { "none".to_owned() } else { list(checks) };
    say("checks:", checks.as_deref().map(listed));
    say("backup to", backup_storage.clone());
    say("backup mode", backup_mode.map(|mode| mode.to_string()));
    say("backup compression", backup_compress.map(|compress| compress.to_string()));
    say("at", address.clone());
    say("as", user.clone());
    say("key", identity_file.as_ref().map(|file| file.display().to_string()));
    say("password", password_env.as_ref().map(|variable| format!("${variable}")));
    say("not known:", Some(unknown_keys.join(", ")).filter(|keys| !keys.is_empty()));
    format!("{who}: {}", words.join("; "))
}

fn list<T: ToString>(items: &[T]) -> String {
    items.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

fn time(time: Duration) -> humantime::FormattedDuration {
    humantime::format_duration(time)
}
