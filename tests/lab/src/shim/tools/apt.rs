//! `apt-get`, `apt`, `apt-cache`, `apt-mark`.

use std::sync::Arc;
use std::time::Duration;

use super::upgrade::Running;
use super::{no_machine, not_simulated};
use crate::shim::call::{Answer, Call, Streams};
use crate::shim::stage::Stage;
use crate::world::{Asker, Change, LockHolder, Machine, PackageError};

/// What apt exits with on an error.
const ERROR: i32 = 100;
/// How often apt looks again for a lock that it waits for.
const LOCK_POLL: Duration = Duration::from_millis(100);
const READING: &str = "Reading package lists...\nBuilding dependency tree...\nReading state information...\n";
const BEWARE: &str = "N: Be aware that removing the lock file is not a solution and may break your system.\n";

/// What a command line of apt says.
#[derive(Debug, Default, PartialEq, Eq)]
struct Options {
    simulate: bool,
    yes: bool,
    /// `DPkg::Lock::Timeout`: seconds to wait for the lock; -1 is for ever.
    lock_timeout: i64,
    upgradable: bool,
    words: Vec<String>,
}

impl Options {
    fn parse(args: &[String]) -> Self {
        let mut options = Self::default();
        let mut args = args.iter();
        while let Some(arg) = args.next() {
            match arg.as_str() {
                "-o" | "--option" => options.set(args.next().map_or("", String::as_str)),
                "--simulate" | "--dry-run" | "--just-print" | "--recon" | "--no-act" => options.simulate = true,
                "--yes" | "--assume-yes" => options.yes = true,
                "--upgradable" => options.upgradable = true,
                long if long.starts_with("--option=") => options.set(&long["--option=".len()..]),
                long if long.starts_with("--") => {}
                short if short.starts_with("-o") => options.set(&short[2..]),
                short if short.starts_with('-') && short.len() > 1 => {
                    for flag in short.chars().skip(1) {
                        match flag {
                            's' => options.simulate = true,
                            'y' => options.yes = true,
                            _ => {}
                        }
                    }
                }
                word => options.words.push(word.to_owned()),
            }
        }
        options
    }

    fn set(&mut self, option: &str) {
        let Some((name, value)) = option.split_once('=') else { return };
        if name.eq_ignore_ascii_case("DPkg::Lock::Timeout") {
            self.lock_timeout = value.parse().unwrap_or(0);
        } else if name.eq_ignore_ascii_case("APT::Get::Assume-Yes") {
            self.yes = matches!(value, "1" | "true" | "yes");
        }
    }
}

pub(super) async fn apt_get(stage: &Arc<Stage>, call: &Call, streams: &mut Streams) -> Answer {
    let options = Options::parse(&call.args);
    let words: Vec<&str> = options.words.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["update"] => update(stage, call, streams).await,
        ["upgrade" | "dist-upgrade" | "full-upgrade"] if options.simulate => simulate(stage, call, streams).await,
        ["upgrade" | "dist-upgrade" | "full-upgrade"] => upgrade(stage, call, &options, streams).await,
        ["check"] => streams.done(READING).await,
        ["clean" | "autoclean"] => Answer::Exit(0),
        ["autoremove"] => {
            let text = "0 upgraded, 0 newly installed, 0 to remove and 0 not upgraded.\n";
            streams.done(&format!("{READING}{text}")).await
        }
        ["list"] if call.tool == "apt" && options.upgradable => list_upgradable(stage, call, streams).await,
        [] => streams.fail(ERROR, "E: No operation specified").await,
        _ => not_simulated(call, streams).await,
    }
}

async fn update(stage: &Arc<Stage>, call: &Call, streams: &mut Streams) -> Answer {
    if !call.is_root() {
        let text = "E: Could not open lock file /var/lib/apt/lists/lock - open (13: Permission denied)\n\
                    E: Unable to lock directory /var/lib/apt/lists/";
        return streams.fail(ERROR, text).await;
    }
    streams.live().await;
    let asker = Asker::ssh(call.login());
    let begun = stage.with(|world, now| {
        world.refresh_lists(now, &call.machine, &asker).map(|at| (at, world.machine(&call.machine).cloned()))
    });
    let suite = |machine: &Machine| machine.os.codename().unwrap_or("stable");
    match begun {
        Ok((at, Some(machine))) => {
            let (host, suite) = (mirror(&machine), suite(&machine));
            streams.out(&format!("Get:1 {host} {suite} InRelease [151 kB]\n")).await;
            streams.out(&format!("Hit:2 {host} {suite}-updates InRelease\n")).await;
            stage.until(at).await;
            streams.done("Fetched 151 kB in 0s (1,203 kB/s)\nReading package lists...\n").await
        }
        Ok((_, None)) | Err(PackageError::NotUp(_)) => no_machine(call, streams).await,
        Err(PackageError::Locked(holder)) => {
            let text = format!(
                "E: Could not get lock /var/lib/apt/lists/lock. It is held by process {} ({})\n{BEWARE}\
                 E: Unable to lock directory /var/lib/apt/lists/",
                std::process::id(),
                name_of(&holder)
            );
            streams.fail(ERROR, &text).await
        }
        Err(PackageError::RefreshFailed(exit)) => {
            let host = "http://deb.debian.org/debian";
            streams.out(&format!("Err:1 {host} stable InRelease\n  Could not connect to deb.debian.org:80\n")).await;
            let text = format!(
                "E: Failed to fetch {host}/dists/stable/InRelease  Could not connect to deb.debian.org:80\n\
                 E: Some index files failed to download. They have been ignored, or old ones used instead."
            );
            streams.fail(exit, &text).await
        }
        Err(why) => streams.fail(ERROR, &format!("E: {why}")).await,
    }
}

async fn simulate(stage: &Arc<Stage>, call: &Call, streams: &mut Streams) -> Answer {
    let looked = stage.with(|world, _| world.machine(&call.machine).cloned());
    let Some(machine) = looked else { return no_machine(call, streams).await };
    let changes = machine.packages.pending();
    let mut text = format!("{READING}Calculating upgrade...\n{}", summary(&machine, &changes));
    for change in &changes {
        let old = change.old.as_ref().map(|old| format!(" [{old}]")).unwrap_or_default();
        text.push_str(&format!("Inst {}{old} ({} {})\n", change.name, change.new, origin(&machine)));
    }
    let broken = machine.packages.half_configured.iter().filter_map(|name| {
        let version = machine.packages.installed.get(name)?;
        (!changes.iter().any(|change| change.name == *name)).then_some((name, version))
    });
    for (name, version) in changes.iter().map(|change| (&change.name, &change.new)).chain(broken) {
        text.push_str(&format!("Conf {name} ({version} {})\n", origin(&machine)));
    }
    streams.done(&text).await
}

async fn upgrade(stage: &Arc<Stage>, call: &Call, options: &Options, streams: &mut Streams) -> Answer {
    if !call.is_root() {
        let text = "E: Could not open lock file /var/lib/dpkg/lock-frontend - open (13: Permission denied)\n\
                    E: Unable to acquire the dpkg frontend lock (/var/lib/dpkg/lock-frontend), are you root?";
        return streams.fail(ERROR, text).await;
    }
    streams.live().await;
    let waited = tokio::time::Instant::now();
    let mut told = false;
    let machine = loop {
        let looked = stage.with(|world, _| world.machine(&call.machine).cloned());
        let Some(machine) = looked else { return no_machine(call, streams).await };
        let Some(holder) = machine.packages.lock.as_ref() else { break machine };
        let held = format!(
            "Could not get lock /var/lib/dpkg/lock-frontend. It is held by process {} ({})",
            std::process::id(),
            name_of(holder)
        );
        let patience = u64::try_from(options.lock_timeout).map_or(Duration::MAX, Duration::from_secs);
        if waited.elapsed() >= patience {
            let text = format!(
                "E: {held}\n{BEWARE}E: Unable to acquire the dpkg frontend lock (/var/lib/dpkg/lock-frontend), \
                 is another process using it?"
            );
            return streams.fail(ERROR, &text).await;
        }
        if !told {
            told = true;
            streams.out(&format!("Waiting for cache lock: {held}...\n")).await;
        }
        tokio::time::sleep(LOCK_POLL).await;
    };
    let changes = machine.packages.pending();
    if changes.is_empty() && machine.packages.half_configured.is_empty() {
        return streams.done(&format!("{READING}Calculating upgrade...\n{}", summary(&machine, &changes))).await;
    }
    if !options.yes && machine.packages.half_configured.is_empty() {
        streams.out(&format!("{READING}Calculating upgrade...\n{}", summary(&machine, &changes))).await;
        streams.out("Do you want to continue? [Y/n] Abort.\n").await;
        return Answer::Exit(1);
    }
    match Running::begin(stage, call) {
        Ok(running) => show(stage, call, &machine, running, streams).await,
        Err(PackageError::NotUp(_)) => no_machine(call, streams).await,
        Err(PackageError::Interrupted(_)) => {
            let text = "E: dpkg was interrupted, you must manually run 'dpkg --configure -a' to correct the problem. ";
            streams.fail(ERROR, text).await
        }
        Err(why) => streams.fail(ERROR, &format!("E: {why}")).await,
    }
}

/// Prints what apt prints while an upgrade runs, at the pace at which it runs.
async fn show(stage: &Arc<Stage>, call: &Call, machine: &Machine, running: Running, streams: &mut Streams) -> Answer {
    let changes = running.changes.clone();
    streams.out(&format!("{READING}Calculating upgrade...\n{}", summary(machine, &changes))).await;
    // Download, then each package twice: unpacked, set up.
    let steps = 1 + 2 * changes.len();
    for (i, change) in changes.iter().enumerate() {
        let suite = machine.os.codename().unwrap_or("stable");
        let (n, name, new) = (i + 1, &change.name, &change.new);
        streams.out(&format!("Get:{n} {} {suite}/main amd64 {name} amd64 {new} [96.4 kB]\n", mirror(machine))).await;
    }
    running.reach(1, steps).await;
    for (i, change) in changes.iter().enumerate() {
        let (name, new) = (&change.name, &change.new);
        streams.out(&format!("Preparing to unpack .../{i:02}-{name}_{new}_amd64.deb ...\n")).await;
        let over = change.old.as_ref().map(|old| format!(" over ({old})")).unwrap_or_default();
        streams.out(&format!("Unpacking {name} ({new}){over} ...\n")).await;
        running.reach(2 + i, steps).await;
    }
    for (i, change) in changes.iter().enumerate() {
        streams.out(&format!("Setting up {} ({}) ...\n", change.name, change.new)).await;
        if i + 1 < changes.len() {
            running.reach(2 + changes.len() + i, steps).await;
        }
    }
    let Some(end) = running.end().await else { return no_machine(call, streams).await };
    // A reboot that takes the machine down kills this process too: it only has to be first.
    let Some(exit) = end.exit else { return Answer::Exit(137) };
    stage.refresh(&call.machine);
    match (exit, end.half_configured) {
        (0, _) => streams.done("Processing triggers for man-db (2.13.1-1) ...\n").await,
        (_, Some(name)) => {
            let text = format!(
                "dpkg: error processing package {name} (--configure):\n \
                 installed {name} package post-installation script subprocess returned error exit status 1\n\
                 Errors were encountered while processing:\n {name}\n\
                 E: Sub-process /usr/bin/dpkg returned an error code (1)"
            );
            streams.fail(exit, &text).await
        }
        (_, None) => {
            let text = format!(
                "E: Failed to fetch {}/pool/main/x/{name}_{new}_amd64.deb  404  Not Found\n\
                 E: Unable to fetch some archives, maybe run apt-get update or try with --fix-missing?",
                mirror(machine),
                name = changes.first().map_or("package", |change| change.name.as_str()),
                new = changes.first().map_or("0", |change| change.new.as_str()),
            );
            streams.fail(exit, &text).await
        }
    }
}

async fn list_upgradable(stage: &Arc<Stage>, call: &Call, streams: &mut Streams) -> Answer {
    let looked = stage.with(|world, _| world.machine(&call.machine).cloned());
    let Some(machine) = looked else { return no_machine(call, streams).await };
    let suite = machine.os.codename().unwrap_or("stable");
    let line = |change: &Change| {
        let old = change.old.as_deref().unwrap_or("none");
        format!("{}/{suite} {} amd64 [upgradable from: {old}]\n", change.name, change.new)
    };
    let lines: String = machine.packages.pending().iter().map(line).collect();
    streams.done(&format!("Listing...\n{lines}")).await
}

pub(super) async fn apt_cache(stage: &Arc<Stage>, call: &Call, streams: &mut Streams) -> Answer {
    match call.words().as_slice() {
        ["policy", names @ ..] if !names.is_empty() => {
            let Some(machine) = stage.with(|world, _| world.machine(&call.machine).cloned()) else {
                return no_machine(call, streams).await;
            };
            for name in names {
                let version = |of: Option<&String>| of.map_or("(none)", String::as_str).to_owned();
                let installed = version(machine.packages.installed.get(*name));
                let candidate = version(machine.packages.lists.get(*name).or(machine.packages.installed.get(*name)));
                streams.out(&format!("{name}:\n  Installed: {installed}\n  Candidate: {candidate}\n")).await;
            }
            Answer::Exit(0)
        }
        _ => not_simulated(call, streams).await,
    }
}

pub(super) async fn apt_mark(stage: &Arc<Stage>, call: &Call, streams: &mut Streams) -> Answer {
    match call.words().as_slice() {
        ["showhold"] => {
            let held = stage.with(|world, _| world.machine(&call.machine).map(|m| m.packages.held.clone()));
            let text: String = held.unwrap_or_default().iter().map(|name| format!("{name}\n")).collect();
            streams.done(&text).await
        }
        _ => not_simulated(call, streams).await,
    }
}

/// Returns what apt says about an upgrade before it does it.
fn summary(machine: &Machine, changes: &[Change]) -> String {
    let packages = &machine.packages;
    let newer =
        |name: &&String| packages.lists.get(*name).is_some_and(|new| packages.installed.get(*name) != Some(new));
    let kept: Vec<&str> = packages.held.iter().filter(newer).map(String::as_str).collect();
    let mut text = String::new();
    let mut list = |head: &str, names: &[&str]| {
        if !names.is_empty() {
            text.push_str(&format!("{head}\n  {}\n", names.join(" ")));
        }
    };
    list("The following packages have been kept back:", &kept);
    let (old, new): (Vec<&Change>, Vec<&Change>) = changes.iter().partition(|change| change.old.is_some());
    let names = |of: &[&Change]| -> Vec<String> { of.iter().map(|change| change.name.clone()).collect() };
    let (old, new) = (names(&old), names(&new));
    list("The following NEW packages will be installed:", &new.iter().map(String::as_str).collect::<Vec<_>>());
    list("The following packages will be upgraded:", &old.iter().map(String::as_str).collect::<Vec<_>>());
    let (upgraded, installed, kept) = (old.len(), new.len(), kept.len());
    text.push_str(&format!("{upgraded} upgraded, {installed} newly installed, 0 to remove and {kept} not upgraded.\n"));
    let broken = packages.half_configured.len();
    if broken > 0 {
        text.push_str(&format!("{broken} not fully installed or removed.\n"));
    }
    text
}

fn origin(machine: &Machine) -> String {
    match machine.os.id() {
        "ubuntu" => {
            format!("Ubuntu:{}/{}-updates [amd64]", machine.os.version_id(), machine.os.codename().unwrap_or(""))
        }
        _ => format!("Debian:{}/stable [amd64]", machine.os.version_id()),
    }
}

fn mirror(machine: &Machine) -> &'static str {
    match machine.os.id() {
        "ubuntu" => "http://archive.ubuntu.com/ubuntu",
        _ => "http://deb.debian.org/debian",
    }
}

fn name_of(holder: &LockHolder) -> &str {
    match holder {
        LockHolder::Upgrade(_) | LockHolder::Refresh => "apt-get",
        LockHolder::Other(name) => name,
    }
}

#[cfg(test)]
mod tests {
    use super::Options;

    fn parse(line: &str) -> Options {
        Options::parse(&line.split(' ').map(str::to_owned).collect::<Vec<_>>())
    }

    #[test]
    fn options_are_read_as_apt_reads_them() {
        let options = parse("-yq -o DPkg::Lock::Timeout=60 -o Dpkg::Options::=--force-confdef dist-upgrade");
        assert!(options.yes && !options.simulate);
        assert_eq!((options.lock_timeout, options.words), (60, vec!["dist-upgrade".to_owned()]));
        assert!(parse("-s -oDebug::NoLocking=1 upgrade").simulate);
    }
}
