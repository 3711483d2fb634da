//! Commands that the API gave to a VM's agent (`agent/exec`): run here as the agent runs them, as root, and their end told to the world.

use std::os::unix::process::ExitStatusExt as _;
use std::process::Stdio;
use std::sync::Arc;

use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use super::reap;
use super::stage::Stage;
use crate::world::{ExecResult, MachineId};

/// Starts every command that waits; each runs on its own and is killed with its machine.
pub(super) fn run_commands(stage: &Arc<Stage>) {
    while let Some((id, exec)) = stage.with(|world, _| world.take_agent_exec()) {
        let stage = Arc::clone(stage);
        tokio::spawn(async move {
            let result = match run(&stage, &id, &exec.command, exec.input.as_deref()).await {
                Ok(output) => ExecResult {
                    exit: output.status.code().unwrap_or(255),
                    signal: output.status.signal(),
                    out: String::from_utf8_lossy(&output.stdout).into_owned(),
                    err: String::from_utf8_lossy(&output.stderr).into_owned(),
                },
                Err(error) => ExecResult { exit: 127, out: String::new(), err: error.to_string(), signal: None },
            };
            stage.with(|world, _| world.finish_agent_exec(&id, exec.pid, result));
        });
    }
}

/// What marks the processes that an agent started: those that end with it, where it runs as a service of systemd.
pub const MARK: (&str, &str) = ("LAB_AGENT", "1");

/// Kills what a VM's agent has started, as a restart of its service does: a service of systemd ends with all that is in its
/// control group. What was handed over to systemd lives on.
///
/// # Errors
/// Returns the processes that would not go.
pub fn kill_children(stage: &Stage, id: &MachineId) -> Result<(), Vec<i32>> {
    let machine = format!("LAB_MACHINE={}", Stage::name_of(id));
    reap::kill_marked(&[format!("LAB_ID={}", stage.id()), machine, format!("{}={}", MARK.0, MARK.1)])
}

/// Runs a command within a VM as its agent does: as root, with nothing but `PATH` in its environment.
pub(super) async fn run(
    stage: &Stage,
    id: &MachineId,
    command: &[impl AsRef<str>],
    input: Option<&str>,
) -> std::io::Result<std::process::Output> {
    let root = stage.root(id)?;
    let words: Vec<String> = command.iter().map(|word| stage.localize(word.as_ref(), &root)).collect();
    let (program, args) = words.split_first().ok_or(std::io::ErrorKind::InvalidInput)?;
    let program = if program.contains('/') { program.into() } else { root.join("usr/bin").join(program) };
    let mut child = Command::new(program)
        .args(args)
        .env_clear()
        .envs(stage.marks(id, &root))
        .env(MARK.0, MARK.1)
        .current_dir(&root)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    if let Some(mut stdin) = child.stdin.take() {
        // A command that does not read its input is no error.
        let _ = stdin.write_all(input.unwrap_or_default().as_bytes()).await;
    }
    child.wait_with_output().await
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use crate::Lab;
    use crate::world::{MachineId, World};

    #[tokio::test]
    async fn commands_of_the_agent_run_within_their_vm() {
        let world = World::builder().standalone("edge1").vm("edge1", 201, |vm| vm.name("db")).build();
        let lab = Lab::start(world).await.unwrap();
        let id = MachineId::guest("edge1", 201);
        let command = ["/bin/sh", "-c", "hostname; cat; exit 3"].map(str::to_owned).to_vec();
        let pid = lab.with(|world, now| world.agent_exec(now, &id, command, Some("input".into()), "root@pam!lab"));
        for _ in 0..1000 {
            let execs = lab.with(|world, _| world.guest(&id).unwrap().agent_execs.clone());
            let exec = execs.into_iter().find(|exec| exec.pid == pid).unwrap();
            if let Some(result) = exec.result {
                assert_eq!((result.exit, result.out.as_str(), result.err.as_str()), (3, "db\ninput", ""));
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("the command did not end within 10 s");
    }
}
