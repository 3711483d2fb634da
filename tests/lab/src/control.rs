//! The control socket of a lab that runs as a program: one JSON object a line each way.
//!
//! `{"do": "ledger"}`, `{"do": "check"}`, `{"do": "machines"}`, `{"do": "ssh"}`, `{"do": "fault", "fault": {..}}`,
//! `{"do": "clear-faults"}`, `{"do": "stop"}`; the answer is `{"ok": ..}` or `{"error": ".."}`.

use std::io;
use std::path::Path;
use std::sync::Arc;

use serde::Deserialize;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::Lab;
use crate::check::check;
use crate::faults::Fault;

/// The name of the socket in the program's directory.
pub const SOCKET: &str = "control.sock";

/// What can be asked for.
#[derive(Debug, Deserialize)]
#[serde(tag = "do", rename_all = "kebab-case")]
enum Request {
    Ledger,
    Check,
    Machines,
    Ssh,
    Fault { fault: Fault },
    ClearFaults,
    Stop,
}

/// Listens on the control socket until the lab is to stop, which `stop` tells.
///
/// # Errors
/// Where the socket can't be made.
pub async fn serve(lab: Arc<Lab>, dir: &Path, stop: watch::Sender<bool>) -> io::Result<()> {
    let listener = UnixListener::bind(dir.join(SOCKET))?;
    let mut clients = JoinSet::new();
    let mut stopped = stop.subscribe();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let (client, _) = accepted?;
                clients.spawn(talk(Arc::clone(&lab), client, stop.clone()));
            }
            Some(_) = clients.join_next() => {}
            _ = stopped.wait_for(|stopped| *stopped) => break,
        }
    }
    // Whoever asked for the stop gets its answer.
    while clients.join_next().await.is_some() {}
    Ok(())
}

async fn talk(lab: Arc<Lab>, client: UnixStream, stop: watch::Sender<bool>) {
    let (read, mut write) = client.into_split();
    let mut lines = BufReader::new(read).lines();
    let mut stopped = stop.subscribe();
    loop {
        let line = tokio::select! {
            line = lines.next_line() => line,
            _ = stopped.wait_for(|stopped| *stopped) => return,
        };
        let Ok(Some(line)) = line else { return };
        let (answer, ends) = match serde_json::from_str(&line) {
            Ok(request) => (answer(&lab, request), line.contains("\"stop\"")),
            Err(error) => (json!({ "error": error.to_string() }), false),
        };
        if write.write_all(format!("{answer}\n").as_bytes()).await.is_err() {
            return;
        }
        if ends {
            stop.send_replace(true);
            return;
        }
    }
}

fn answer(lab: &Lab, request: Request) -> Value {
    let done = match request {
        Request::Ledger => lab.with(|world, _| serde_json::to_value(&world.ledger)),
        Request::Check => lab.with(|world, _| serde_json::to_value(check(world))),
        Request::Machines => Ok(machines(lab)),
        Request::Ssh => Ok(ssh(lab)),
        Request::Fault { fault } => {
            lab.with(|world, _| world.plant(fault));
            Ok(Value::Null)
        }
        Request::ClearFaults => {
            lab.with(|world, _| world.faults.clear());
            Ok(Value::Null)
        }
        Request::Stop => Ok(Value::Null),
    };
    match done {
        Ok(value) => json!({ "ok": value }),
        Err(error) => json!({ "error": error.to_string() }),
    }
}

/// One line a machine: what it is, whether it is up, what is pending, what runs.
fn machines(lab: &Lab) -> Value {
    lab.with(|world, _| {
        let one = |id: crate::world::MachineId| {
            let machine = world.machine(&id)?;
            Some(json!({
                "machine": id.to_string(),
                "name": machine.hostname,
                "node": world.node_of(&id),
                "up": world.is_up(&id),
                "os": machine.os.pretty_name(),
                "pending": machine.packages.pending().len(),
                "upgrading": machine.packages.running.as_ref().map(|running| running.key.clone().unwrap_or_default()),
            }))
        };
        world.machines().into_iter().filter_map(one).collect()
    })
}

fn ssh(lab: &Lab) -> Value {
    let one = |(id, server): (&crate::world::MachineId, &crate::ssh::SshServer)| {
        let stats = server.stats();
        json!({
            "machine": id.to_string(),
            "address": server.addr().to_string(),
            "connections": stats.connections,
            "peak_startups": stats.peak_startups,
            "dropped_startups": stats.dropped_startups,
            "peak_sessions": stats.peak_sessions,
            "refused_sessions": stats.refused_sessions,
            "commands": stats.commands.len(),
        })
    };
    lab.ssh.servers().map(one).collect()
}

/// Asks a running lab for something and returns its answer.
///
/// # Errors
/// No lab runs there, or it refuses: its words.
pub async fn ask(dir: &Path, request: &Value) -> io::Result<Value> {
    let socket = dir.join(SOCKET);
    let stream = UnixStream::connect(&socket).await;
    let stream = stream
        .map_err(|error| io::Error::new(error.kind(), format!("asking the lab at {}: {error}", dir.display())))?;
    let (read, mut write) = stream.into_split();
    write.write_all(format!("{request}\n").as_bytes()).await?;
    let line = BufReader::new(read).lines().next_line().await?;
    let line = line.ok_or_else(|| io::Error::other("the lab hung up without an answer"))?;
    let mut answer: Value = serde_json::from_str(&line)?;
    match answer.get("error").and_then(Value::as_str) {
        Some(error) => Err(io::Error::other(error.to_owned())),
        None => Ok(answer["ok"].take()),
    }
}
