//! `apk` of Alpine.

use std::sync::Arc;
use std::time::Duration;

use super::upgrade::Running;
use super::{no_machine, not_simulated};
use crate::shim::call::{Answer, Call, Streams};
use crate::shim::stage::Stage;
use crate::world::{Asker, Change, Machine, PackageError};

/// What apk exits with on an error.
const ERROR: i32 = 99;
/// How often apk looks again for a lock that it waits for.
const LOCK_POLL: Duration = Duration::from_millis(100);

/// What a command line of apk says.
#[derive(Debug, Default)]
struct Options<'a> {
    simulate: bool,
    refresh: bool,
    verbose: bool,
    upgradable: bool,
    wait: u64,
    limit: Option<&'a str>,
    words: Vec<&'a str>,
}

fn parse(args: &[String]) -> Options<'_> {
    let mut options = Options::default();
    let mut args = args.iter().map(String::as_str);
    while let Some(arg) = args.next() {
        match arg {
            "-s" | "--simulate" => options.simulate = true,
            "-U" | "--update-cache" | "--update" => options.refresh = true,
            "-v" | "--verbose" | "-vv" => options.verbose = true,
            "-u" | "--upgradable" | "--upgradeable" => options.upgradable = true,
            "--wait" => options.wait = args.next().and_then(|wait| wait.parse().ok()).unwrap_or(0),
            "-l" | "--limit" => options.limit = args.next(),
            long if long.starts_with("--wait=") => options.wait = long["--wait=".len()..].parse().unwrap_or(0),
            flag if flag.starts_with('-') => {}
            word => options.words.push(word),
        }
    }
    options
}

pub(super) async fn apk(stage: &Arc<Stage>, call: &Call, streams: &mut Streams) -> Answer {
    let options = parse(&call.args);
    let Some(machine) = look(stage, call) else { return no_machine(call, streams).await };
    let packages = &machine.packages;
    match options.words.as_slice() {
        ["update"] => match update(stage, call, options.wait, streams).await {
            Ok(()) => streams.done(&format!("OK: {} distinct packages available\n", packages.repository.len())).await,
            Err(answer) => answer,
        },
        ["upgrade"] => {
            if options.refresh
                && let Err(answer) = update(stage, call, options.wait, streams).await
            {
                return answer;
            }
            match options.simulate {
                true => match look(stage, call) {
                    Some(machine) => streams.done(&plan(&machine)).await,
                    None => no_machine(call, streams).await,
                },
                false => upgrade(stage, call, options.wait, streams).await,
            }
        }
        ["fix"] if options.simulate => streams.done(&closing(&machine)).await,
        ["version"] if options.limit == Some("<") => {
            let line = |c: &Change| format!("{:<41} < {}\n", format!("{}-{}", c.name, old(c)), c.new);
            let lines: String = packages.pending().iter().map(line).collect();
            streams.done(&format!("{:<42}{}\n{lines}", "Installed:", "Available:")).await
        }
        ["list"] if options.upgradable => {
            let line = |c: &Change| {
                let (name, new) = (&c.name, &c.new);
                format!("{name}-{new} x86_64 {{{name}}} (MIT) [upgradable from: {name}-{}]\n", old(c))
            };
            streams.done(&packages.pending().iter().map(line).collect::<String>()).await
        }
        ["info"] => {
            let line = |(name, version): (&String, &String)| match options.verbose {
                true => format!("{name}-{version}\n"),
                false => format!("{name}\n"),
            };
            streams.done(&packages.installed.iter().map(line).collect::<String>()).await
        }
        ["audit"] => Answer::Exit(0),
        _ => not_simulated(call, streams).await,
    }
}

fn look(stage: &Stage, call: &Call) -> Option<Machine> {
    stage.with(|world, _| world.machine(&call.machine).cloned())
}

/// Waits for the lock as long as `--wait` says.
async fn lock(stage: &Stage, call: &Call, wait: u64, streams: &mut Streams) -> Result<(), Answer> {
    if !call.is_root() {
        return Err(streams.fail(ERROR, "ERROR: Unable to open apk database: Permission denied").await);
    }
    streams.live().await;
    let begun = tokio::time::Instant::now();
    while look(stage, call).is_some_and(|machine| machine.packages.lock.is_some()) {
        if begun.elapsed() >= Duration::from_secs(wait) {
            let text = "ERROR: Unable to lock database: Resource temporarily unavailable\n\
                        ERROR: Failed to open apk database: Resource temporarily unavailable";
            return Err(streams.fail(ERROR, text).await);
        }
        tokio::time::sleep(LOCK_POLL).await;
    }
    Ok(())
}

async fn update(stage: &Arc<Stage>, call: &Call, wait: u64, streams: &mut Streams) -> Result<(), Answer> {
    lock(stage, call, wait, streams).await?;
    let index = "https://dl-cdn.alpinelinux.org/alpine/v3.22/main";
    streams.out(&format!("fetch {index}/x86_64/APKINDEX.tar.gz\n")).await;
    let asker = Asker::ssh(call.login());
    match stage.with(|world, now| world.refresh_lists(now, &call.machine, &asker)) {
        Ok(at) => {
            stage.until(at).await;
            streams.out(&format!("v3.22.2-47-g0000000 [{index}]\n")).await;
            Ok(())
        }
        Err(PackageError::RefreshFailed(exit)) => {
            let text = format!(
                "WARNING: updating {index}: temporary error (try again later)\n1 errors; 0 distinct packages available"
            );
            Err(streams.fail(exit, &text).await)
        }
        Err(why) => Err(streams.fail(ERROR, &format!("ERROR: {why}")).await),
    }
}

async fn upgrade(stage: &Arc<Stage>, call: &Call, wait: u64, streams: &mut Streams) -> Answer {
    if let Err(answer) = lock(stage, call, wait, streams).await {
        return answer;
    }
    let running = match Running::begin(stage, call) {
        Ok(running) => running,
        Err(PackageError::NothingPending) => {
            return match look(stage, call) {
                Some(machine) => streams.done(&closing(&machine)).await,
                None => no_machine(call, streams).await,
            };
        }
        Err(why) => return streams.fail(ERROR, &format!("ERROR: {why}")).await,
    };
    let changes = running.changes.clone();
    for (i, change) in changes.iter().enumerate() {
        running.reach(i, changes.len()).await;
        streams.out(&step(i, changes.len(), change)).await;
    }
    let Some(end) = running.end().await else { return no_machine(call, streams).await };
    let (exit, machine) = (end.exit.unwrap_or(137), look(stage, call));
    match (exit, machine) {
        (0, Some(machine)) => {
            streams.out("Executing busybox-1.37.0-r19.trigger\n").await;
            streams.done(&closing(&machine)).await
        }
        (_, Some(machine)) => {
            let name = changes.first().map_or("package", |change| change.name.as_str());
            let text = format!("ERROR: {name}: temporary error (try again later)\n1 error; {}", closing(&machine));
            streams.fail(exit, text.trim_end()).await
        }
        (_, None) => no_machine(call, streams).await,
    }
}

fn plan(machine: &Machine) -> String {
    let changes = machine.packages.pending();
    let steps: String = changes.iter().enumerate().map(|(i, change)| step(i, changes.len(), change)).collect();
    steps + &closing(machine)
}

fn step(i: usize, of: usize, change: &Change) -> String {
    let (n, name, new) = (i + 1, &change.name, &change.new);
    let width = of.to_string().len();
    match &change.old {
        Some(old) => format!("({n:>width$}/{of}) Upgrading {name} ({old} -> {new})\n"),
        None => format!("({n:>width$}/{of}) Installing {name} ({new})\n"),
    }
}

fn closing(machine: &Machine) -> String {
    let packages = machine.packages.installed.len();
    format!("OK: {} MiB in {packages} packages\n", packages * 2)
}

fn old(change: &Change) -> &str {
    change.old.as_deref().unwrap_or("0")
}
