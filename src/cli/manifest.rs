//! `proxmaint manifest show` and `proxmaint manifest check`; what edits the manifest is in [`edit`].
//!
//! Both take the two streams to write to: data goes to `out`, everything else to `err`. They return the exit code: 0, or 1
//! where the manifest can't be used.

pub mod edit;

use std::error::Error;
use std::io::{self, Write};
use std::path::Path;

use serde::Serialize;

use crate::ids::GuestKind;
use crate::manifest::{
    ApiTrust, Env, GuestInventory, HostEntry, InventoryEntry, Manifest, ManifestError, Problem, Severity, SshOptions,
};

/// The exit code for a manifest that is in order.
const VALID: u8 = 0;
/// The exit code for a manifest that can't be used.
const INVALID: u8 = 1;
/// How many errors are printed; with more than that one cause is behind most of them.
const MOST_ERRORS: usize = 50;

/// How `manifest show` prints.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ShowFormat {
    /// For people.
    Human,
    /// One JSON object, see [`show`].
    Json,
}

/// Prints the manifest with every default filled in.
///
/// As JSON it is `{"hosts": [{"name", "host", "user", "identity_file", "ssh_extra_args", ..}]}`: `null` for what is not set,
/// the arguments as the words that `ssh` gets, no password. A later version may add keys; it takes none away.
///
/// # Errors
/// Writing failed.
pub fn show(
    path: &Path,
    format: ShowFormat,
    env: &Env<'_>,
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> io::Result<u8> {
    let manifest = match Manifest::load(path, env) {
        Ok(manifest) => manifest,
        Err(error) => {
            write_error(&error, err)?;
            return Ok(INVALID);
        }
    };
    write_problems(&manifest.warnings, err)?;
    match format {
        ShowFormat::Human => out.write_all(human(&manifest).as_bytes())?,
        ShowFormat::Json => {
            serde_json::to_writer_pretty(&mut *out, &ManifestView::new(&manifest))?;
            writeln!(out)?;
        }
    }
    Ok(VALID)
}

/// Says of each host that it is in order, or prints everything that is wrong.
///
/// # Errors
/// Writing failed.
pub fn check(path: &Path, env: &Env<'_>, out: &mut dyn Write, err: &mut dyn Write) -> io::Result<u8> {
    let manifest = match Manifest::load(path, env) {
        Ok(manifest) => manifest,
        Err(error) => {
            write_error(&error, err)?;
            return Ok(INVALID);
        }
    };
    write_problems(&manifest.warnings, err)?;
    for host in &manifest.hosts {
        write!(out, "ok {} ({})", host.id, destination(host))?;
        if !host.unknown_keys.is_empty() {
            write!(out, ", not known here: {}", host.unknown_keys.join(", "))?;
        }
        writeln!(out)?;
    }
    let warnings = match manifest.warnings.len() {
        0 => String::new(),
        n => format!(", {}", count(n, "warning")),
    };
    writeln!(out, "ok {}: {}{warnings}", path.display(), count(manifest.hosts.len(), "host"))?;
    Ok(VALID)
}

/// Writes why a manifest can't be used: each error with its place and hints, and how many there are.
///
/// # Errors
/// Writing failed.
pub fn write_error(error: &ManifestError, err: &mut dyn Write) -> io::Result<()> {
    let problems = error.problems();
    if problems.is_empty() {
        write!(err, "error: {error}")?;
        let mut cause = error.source();
        while let Some(why) = cause {
            write!(err, ": {why}")?;
            cause = why.source();
        }
        writeln!(err)?;
        if let Some(hint) = error.hint() {
            writeln!(err, "hint: {hint}")?;
        }
        return Ok(());
    }
    write_problems(problems, err)?;
    let errors = problems.iter().filter(|problem| problem.severity == Severity::Error).count();
    let file = problems.first().map(|problem| problem.file.display().to_string()).unwrap_or_default();
    writeln!(err, "{file}: {}", count(errors, "error"))
}

fn write_problems(problems: &[Problem], err: &mut dyn Write) -> io::Result<()> {
    for problem in problems.iter().take(MOST_ERRORS) {
        writeln!(err, "{problem}")?;
    }
    match problems.len().saturating_sub(MOST_ERRORS) {
        0 => Ok(()),
        more => writeln!(err, "and {more} more like these\n"),
    }
}

fn count(n: usize, what: &str) -> String {
    let plural = if n == 1 { "" } else { "s" };
    format!("{n} {what}{plural}")
}

/// Returns `user@host:port`, as it is connected to.
fn destination(host: &HostEntry) -> String {
    let address = if host.host.contains(':') { format!("[{}]", host.host) } else { host.host.clone() };
    format!("{}@{address}:{}", host.ssh.login(), host.ssh.port())
}

/// Writes the manifest as a list, one block a host.
fn human(manifest: &Manifest) -> String {
    let mut text = format!(
        "{}: {}, an unfinished run is gone on with for {}\n",
        manifest.path.display(),
        count(manifest.hosts.len(), "host"),
        humantime::format_duration(manifest.defaults.resume_within)
    );
    for host in &manifest.hosts {
        text.push('\n');
        human_host(&mut text, host);
    }
    text
}

fn human_host(text: &mut String, host: &HostEntry) {
    let dry_run = if host.dry_run { " (only ever planned for: dry_run)" } else { "" };
    text.push_str(&format!("{}{dry_run}\n", host.id));
    let mut line = |name: &str, value: &str| text.push_str(&format!("  {name:<11} {value}\n"));
    line("ssh", &destination(host));
    human_ssh(&mut line, "", &host.ssh);
    let node = host.api.node.as_ref().map_or_else(String::new, |node| format!(", node {node}"));
    line("api", &format!("port {}{node}, {}", host.api.port, trust(host.api.trust())));
    line("token", &format!("${} and ${}", host.api.token_env, host.api.secret_env));
    line("guests", &format!("{} at a time, as {}", host.max_parallel, host.guest_ssh.login()));
    human_ssh(&mut line, "guest ", &host.guest_ssh);
    line("protection", &format!("at most {} old", humantime::format_duration(host.protect_max_age)));
    if let Some(inventory) = &host.inventory {
        line("inventory", &human_inventory(inventory));
    }
    if !host.unknown_keys.is_empty() {
        line("not known", &host.unknown_keys.join(", "));
    }
}

fn human_ssh(line: &mut impl FnMut(&str, &str), prefix: &str, ssh: &SshOptions) {
    if let Some(file) = &ssh.identity_file {
        line(&format!("{prefix}key"), &file.display().to_string());
    }
    if !ssh.extra_args.is_empty() {
        line(&format!("{prefix}args"), &shell_words::join(&ssh.extra_args));
    }
}

fn human_inventory(inventory: &GuestInventory) -> String {
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

/// What `manifest show --output json` prints.
#[derive(Debug, Serialize)]
struct ManifestView<'a> {
    hosts: Vec<HostView<'a>>,
}

impl<'a> ManifestView<'a> {
    fn new(manifest: &'a Manifest) -> Self {
        Self { hosts: manifest.hosts.iter().map(HostView::new).collect() }
    }
}

/// One host of it. The first fifteen keys are an interface that other programs rely on.
#[derive(Debug, Serialize)]
struct HostView<'a> {
    name: &'a str,
    host: &'a str,
    user: &'a str,
    identity_file: Option<String>,
    ssh_extra_args: &'a [String],
    guest_user: &'a str,
    guest_identity_file: Option<String>,
    guest_ssh_extra_args: &'a [String],
    api_node: Option<&'a str>,
    api_port: u16,
    api_insecure: bool,
    api_token_env: &'a str,
    api_secret_env: &'a str,
    max_parallel: u32,
    dry_run: bool,
    api_ca_file: Option<String>,
    api_fingerprint: Option<String>,
    protect_max_age_seconds: u64,
    guest_inventory: Option<InventoryView<'a>>,
    unknown_keys: &'a [String],
}

impl<'a> HostView<'a> {
    fn new(host: &'a HostEntry) -> Self {
        let shown = |path: &std::path::PathBuf| path.display().to_string();
        Self {
            name: host.id.as_str(),
            host: &host.host,
            user: &host.ssh.user,
            identity_file: host.ssh.identity_file.as_ref().map(shown),
            ssh_extra_args: &host.ssh.extra_args,
            guest_user: &host.guest_ssh.user,
            guest_identity_file: host.guest_ssh.identity_file.as_ref().map(shown),
            guest_ssh_extra_args: &host.guest_ssh.extra_args,
            api_node: host.api.node.as_ref().map(|node| node.as_str()),
            api_port: host.api.port,
            api_insecure: host.api.insecure,
            api_token_env: &host.api.token_env,
            api_secret_env: &host.api.secret_env,
            max_parallel: host.max_parallel.get(),
            dry_run: host.dry_run,
            api_ca_file: host.api.ca_file.as_ref().map(shown),
            api_fingerprint: host.api.fingerprint.map(|fingerprint| fingerprint.to_string()),
            protect_max_age_seconds: host.protect_max_age.as_secs(),
            guest_inventory: host.inventory.as_ref().map(InventoryView::new),
            unknown_keys: &host.unknown_keys,
        }
    }
}

/// A host's inventory: everything but passwords.
#[derive(Debug, Serialize)]
struct InventoryView<'a> {
    version: u32,
    ssh_public_key: Option<&'a str>,
    updated_at: Option<&'a str>,
    entries: Vec<EntryView<'a>>,
}

impl<'a> InventoryView<'a> {
    fn new(inventory: &'a GuestInventory) -> Self {
        Self {
            version: inventory.version,
            ssh_public_key: inventory.ssh_public_key.as_deref(),
            updated_at: inventory.updated_at.as_deref(),
            entries: inventory.entries.iter().map(EntryView::new).collect(),
        }
    }
}

/// One guest of it. Of a `password` it tells only that there is one.
#[derive(Debug, Serialize)]
struct EntryView<'a> {
    kind: GuestKind,
    id: String,
    name: Option<&'a str>,
    status: Option<&'a str>,
    ip: Option<&'a str>,
    user: Option<&'a str>,
    managed: Option<bool>,
    ssh_verified: Option<bool>,
    ssh_key_path: Option<String>,
    last_checked: Option<&'a str>,
    password_env: Option<&'a str>,
    has_password: bool,
    notes: Option<&'a str>,
}

impl<'a> EntryView<'a> {
    fn new(entry: &'a InventoryEntry) -> Self {
        Self {
            kind: entry.kind,
            id: entry.id.to_string(),
            name: entry.name.as_deref(),
            status: entry.status.as_deref(),
            ip: entry.ip.as_deref(),
            user: entry.user.as_deref(),
            managed: entry.managed,
            ssh_verified: entry.ssh_verified,
            ssh_key_path: entry.ssh_key_path.as_ref().map(|path| path.display().to_string()),
            last_checked: entry.last_checked.as_deref(),
            password_env: entry.password_env.as_deref(),
            has_password: entry.password.is_some(),
            notes: entry.notes.as_deref(),
        }
    }
}
