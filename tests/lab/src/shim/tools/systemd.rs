//! `systemctl`, `systemd-run` and `reboot`.

use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;

use tokio::process::Command;

use super::not_simulated;
use super::user::exec_line;
use crate::shim::call::{Answer, Call, Streams};
use crate::shim::reap;
use crate::shim::script::real;
use crate::shim::stage::Stage;
use crate::shim::units::{Unit, UnitState};
use crate::world::{Asker, MachineId};

/// What a command line of systemd-run says.
#[derive(Debug, Default)]
struct Run {
    unit: Option<String>,
    collect: bool,
    quiet: bool,
    wait: bool,
    pipe: bool,
    kill_main_only: bool,
    env: Vec<(String, String)>,
    command: Vec<String>,
}

impl Run {
    /// Reads a command line; the option that is not simulated, where there is one.
    fn parse(call: &Call) -> Result<Self, String> {
        let mut run = Self::default();
        let mut args = call.args.iter().map(String::as_str);
        while let Some(arg) = args.next() {
            let (name, value) = match arg.strip_prefix("--").and_then(|long| long.split_once('=')) {
                Some((name, value)) => (format!("--{name}"), Some(value)),
                None => (arg.to_owned(), None),
            };
            let mut value = || value.or_else(|| args.next()).unwrap_or_default();
            match name.as_str() {
                "-u" | "--unit" => {
                    let unit = value();
                    run.unit = Some(unit.strip_suffix(".service").unwrap_or(unit).to_owned());
                }
                "-G" | "--collect" => run.collect = true,
                "-q" | "--quiet" => run.quiet = true,
                "--no-block" | "--no-ask-password" | "-r" | "--remain-after-exit" => {}
                "--wait" => run.wait = true,
                "-P" | "--pipe" => run.pipe = true,
                "-p" | "--property" => run.kill_main_only |= value() == "KillMode=process",
                "-E" | "--setenv" => {
                    let variable = value();
                    let inherited = || (variable, call.env.get(variable).map_or("", String::as_str));
                    let (name, value) = variable.split_once('=').unwrap_or_else(inherited);
                    run.env.push((name.to_owned(), value.to_owned()));
                }
                "--description" | "--slice" | "--nice" | "--working-directory" | "--service-type" => drop(value()),
                "--" => {
                    run.command = args.map(str::to_owned).collect();
                    break;
                }
                option if option.starts_with('-') => return Err(option.to_owned()),
                command => {
                    run.command = std::iter::once(command).chain(args).map(str::to_owned).collect();
                    break;
                }
            }
        }
        Ok(run)
    }
}

pub(super) async fn systemd_run(stage: &Arc<Stage>, call: &Call, streams: &mut Streams) -> Answer {
    let Ok(run) = Run::parse(call) else { return not_simulated(call, streams).await };
    if !call.is_root() {
        return streams.fail(1, "Failed to start transient service unit: Interactive authentication required.").await;
    }
    let root = match stage.root(&call.machine) {
        Ok(root) => root,
        Err(error) => return streams.fail(1, &format!("Failed to connect to bus: {error}")).await,
    };
    let Some(program) = run.command.first() else {
        return streams.fail(1, "Command line to execute required.").await;
    };
    if !is_there(stage, &root, program) {
        return streams.fail(1, &format!("Failed to find executable {program}: No such file or directory")).await;
    }
    let name = run.unit.clone().unwrap_or_else(|| stage.units().draw_name());
    let unit = Unit { description: run.command.join(" "), state: UnitState::Active, collect: run.collect, group: None };
    if !stage.units().load(&call.machine, &name, unit) {
        let why = format!("Unit {name}.service was already loaded or has a fragment file.");
        return streams.fail(1, &format!("Failed to start transient service unit: {why}")).await;
    }
    let mut env = stage.marks(&call.machine, &root);
    let own = [("LANG", "C.UTF-8"), ("LAB_USER", "root"), ("LAB_LOGIN", call.login()), ("LAB_UNIT", name.as_str())];
    env.extend(own.map(|(name, value)| (name.to_owned(), value.to_owned())));
    for (name, value) in &run.env {
        env.retain(|(known, _)| known != name);
        env.push((name.clone(), stage.localize(value, &root)));
    }
    if run.pipe {
        // The command takes over the caller's own streams; nobody else can ask for this unit meanwhile, so it is not listed.
        stage.units().ended(&call.machine, &name, Some(std::process::ExitStatus::default()));
        let command: Vec<&str> = run.command.iter().map(String::as_str).collect();
        return Answer::Exec(exec_line(stage, &root, &env, &command));
    }
    let child = match spawn(stage, &root, &env, &run.command) {
        Ok(child) => child,
        Err(error) => {
            stage.units().ended(&call.machine, &name, Some(std::process::ExitStatus::default()));
            return streams.fail(1, &format!("Failed to start transient service unit: {error}")).await;
        }
    };
    stage.units().started(&call.machine, &name, child.id().map(u32::cast_signed));
    if !run.quiet {
        streams.err(&format!("Running as unit: {name}.service\n")).await;
    }
    let service = tokio::spawn(attend(Arc::clone(stage), call.machine.clone(), name, run.kill_main_only, child));
    if !run.wait {
        return Answer::Exit(0);
    }
    let code = service.await.ok().flatten().unwrap_or(255);
    if !run.quiet {
        let (result, how) = if code == 0 { ("success", "0".to_owned()) } else { ("exit-code", code.to_string()) };
        let text =
            format!("Finished with result: {result}\nMain processes terminated with: code=exited/status={how}\n");
        streams.err(&text).await;
    }
    Answer::Exit(code)
}

/// Waits for a unit's main process, then ends the rest of the unit as systemd does, unless it is told to leave it alone.
async fn attend(
    stage: Arc<Stage>,
    machine: MachineId,
    name: String,
    kill_main_only: bool,
    mut child: tokio::process::Child,
) -> Option<i32> {
    let status = child.wait().await.ok();
    if !kill_main_only {
        let marks = vec![
            format!("LAB_ID={}", stage.id()),
            format!("LAB_MACHINE={}", Stage::name_of(&machine)),
            format!("LAB_UNIT={name}"),
        ];
        // What can't be killed is stuck in the kernel; the unit has ended for all that ask.
        let _ = tokio::task::spawn_blocking(move || reap::kill_marked(&marks)).await;
    }
    stage.units().ended(&machine, &name, status);
    status?.code()
}

fn is_there(stage: &Stage, root: &Path, program: &str) -> bool {
    match program.contains('/') {
        true => Path::new(&stage.localize(program, root)).exists(),
        false => root.join("usr/bin").join(program).exists(),
    }
}

fn spawn(
    stage: &Stage,
    root: &Path,
    env: &[(String, String)],
    command: &[String],
) -> std::io::Result<tokio::process::Child> {
    Command::new(real("setsid")?)
        .args(command.iter().map(|word| stage.localize(word, root)))
        .env_clear()
        .envs(env.iter().map(|(name, value)| (name, value)))
        .current_dir(root)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
}

/// What systemd says of a unit.
struct State {
    active: &'static str,
    sub: String,
    description: String,
}

fn state_of(stage: &Stage, machine: &MachineId, name: &str) -> Option<State> {
    let name = name.strip_suffix(".service").unwrap_or(name);
    if let Some(unit) = stage.units().get(machine, name) {
        let (active, sub) = match unit.state {
            UnitState::Active => ("active", "running"),
            UnitState::Failed => ("failed", "failed"),
        };
        return Some(State { active, sub: sub.to_owned(), description: unit.description });
    }
    let MachineId::Node(node) = machine else {
        let failed = stage.with(|world, now| world.machine(machine).map(|found| found.duties.failed_at(now)));
        if failed.is_some_and(|failed| failed.iter().any(|unit| unit.strip_suffix(".service").unwrap_or(unit) == name))
        {
            return Some(State { active: "failed", sub: "failed".to_owned(), description: name.to_owned() });
        }
        let usual = ["cron", "dbus", "ssh", "sshd", "systemd-journald"].contains(&name);
        return usual.then(|| State { active: "active", sub: "running".to_owned(), description: name.to_owned() });
    };
    stage.with(|world, _| {
        let service = world.nodes.get(node)?.services.iter().find(|s| s.name == name && s.unit != "not-found")?;
        let active = match service.active.as_str() {
            "active" => "active",
            "failed" => "failed",
            _ => "inactive",
        };
        Some(State { active, sub: service.state.clone(), description: service.desc.clone() })
    })
}

fn failed_units(stage: &Stage, machine: &MachineId) -> Vec<(String, String)> {
    let units = stage.units().of(machine).into_iter();
    let mut failed: Vec<(String, String)> = units
        .filter(|(_, unit)| unit.state == UnitState::Failed)
        .map(|(name, unit)| (name, unit.description))
        .collect();
    if let MachineId::Node(node) = machine {
        let services = stage.with(|world, _| world.nodes.get(node).map(|n| n.services.clone()).unwrap_or_default());
        failed.extend(services.into_iter().filter(|s| s.active == "failed").map(|s| (s.name, s.desc)));
    }
    let duties = stage.with(|world, now| world.machine(machine).map(|found| found.duties.failed_at(now)));
    let bare = |unit: String| unit.strip_suffix(".service").unwrap_or(&unit).to_owned();
    failed.extend(duties.unwrap_or_default().into_iter().map(|unit| (bare(unit), "of the lab".to_owned())));
    failed
}

/// `rc-status --crashed`: the services that crashed, one a line; 1 where there is none.
pub(super) async fn rc_status(stage: &Arc<Stage>, call: &Call, streams: &mut Streams) -> Answer {
    if !call.words().contains(&"--crashed") {
        return not_simulated(call, streams).await;
    }
    let crashed: String = failed_units(stage, &call.machine).iter().map(|(name, _)| format!("{name}\n")).collect();
    streams.out(&crashed).await;
    Answer::Exit(i32::from(crashed.is_empty()))
}

pub(super) async fn systemctl(stage: &Arc<Stage>, call: &Call, streams: &mut Streams) -> Answer {
    let flags: Vec<&str> = call.words().into_iter().filter(|word| word.starts_with('-')).collect();
    let words: Vec<&str> = call.words().into_iter().filter(|word| !word.starts_with('-')).collect();
    let quiet = flags.iter().any(|flag| ["-q", "--quiet"].contains(flag));
    let failed_only = flags.iter().any(|flag| ["--failed", "--state=failed"].contains(flag));
    match words.as_slice() {
        ["is-system-running"] => match failed_units(stage, &call.machine).is_empty() {
            true => streams.done("running\n").await,
            false => {
                streams.out("degraded\n").await;
                Answer::Exit(1)
            }
        },
        [verb @ ("is-active" | "is-failed"), names @ ..] if !names.is_empty() => {
            let wanted = if *verb == "is-active" { "active" } else { "failed" };
            let states: Vec<&str> = names
                .iter()
                .map(|name| state_of(stage, &call.machine, name).map_or("inactive", |state| state.active))
                .collect();
            if !quiet {
                streams.out(&states.iter().map(|state| format!("{state}\n")).collect::<String>()).await;
            }
            let any = states.contains(&wanted);
            Answer::Exit(match (any, *verb) {
                (true, _) => 0,
                (false, "is-active") => 3,
                (false, _) => 1,
            })
        }
        [] | ["list-units"] if failed_only => {
            let failed = failed_units(stage, &call.machine);
            let plain = flags.contains(&"--plain");
            let dot = if plain { "" } else { "● " };
            let line = |(name, text): &(String, String)| format!("{dot}{name}.service loaded failed failed {text}\n");
            let mut text: String = failed.iter().map(line).collect();
            if !flags.contains(&"--no-legend") {
                text = format!("  UNIT LOAD ACTIVE SUB DESCRIPTION\n{text}\n{} loaded units listed.\n", failed.len());
            }
            streams.done(&text).await
        }
        ["status", name] => match state_of(stage, &call.machine, name) {
            Some(State { active, sub, description }) => {
                let name = name.strip_suffix(".service").unwrap_or(name);
                let text =
                    format!("● {name}.service - {description}\n     Loaded: loaded\n     Active: {active} ({sub})\n");
                streams.out(&text).await;
                Answer::Exit(if active == "active" { 0 } else { 3 })
            }
            None => streams.fail(4, &format!("Unit {name}.service could not be found.")).await,
        },
        ["reset-failed", name] => {
            let bare = name.strip_suffix(".service").unwrap_or(name);
            match stage.units().reset_failed(&call.machine, bare) {
                true => Answer::Exit(0),
                false => {
                    streams
                        .fail(
                            1,
                            &format!(
                                "Failed to reset failed state of unit {bare}.service: Unit {bare}.service not loaded."
                            ),
                        )
                        .await
                }
            }
        }
        ["stop", name] => stop(stage, call, name, streams).await,
        ["daemon-reload"] => Answer::Exit(0),
        ["reboot"] => reboot(stage, call, streams).await,
        _ => not_simulated(call, streams).await,
    }
}

/// Stops a transient unit: all its processes are killed.
async fn stop(stage: &Arc<Stage>, call: &Call, name: &str, streams: &mut Streams) -> Answer {
    let name = name.strip_suffix(".service").unwrap_or(name);
    if stage.units().get(&call.machine, name).is_none() {
        return streams.fail(5, &format!("Failed to stop {name}.service: Unit {name}.service not loaded.")).await;
    }
    let marks = vec![
        format!("LAB_ID={}", stage.id()),
        format!("LAB_MACHINE={}", Stage::name_of(&call.machine)),
        format!("LAB_UNIT={name}"),
    ];
    match tokio::task::spawn_blocking(move || reap::kill_marked(&marks)).await {
        Ok(Ok(())) => Answer::Exit(0),
        Ok(Err(_)) | Err(_) => streams.fail(1, &format!("Job for {name}.service canceled.")).await,
    }
}

/// Reboots the machine: all its processes, the caller's among them, are killed by the stage.
pub(super) async fn reboot(stage: &Arc<Stage>, call: &Call, streams: &mut Streams) -> Answer {
    if !call.is_root() {
        return streams.fail(1, "Call to Reboot failed: Interactive authentication required.").await;
    }
    let asker = Asker::ssh(call.login());
    stage.with(|world, now| world.reboot_machine(now, &call.machine, &asker));
    Answer::Exit(0)
}
