//! `proxmaint pause`, `continue` and `stop`: what the operator says of hosts of a run at work, over its control socket.

use std::io::{self, Write};

use super::args::{OrderArgs, Output, Places};
use super::diagnostics::Failure;
use super::exit_code::Exit;
use super::run::journal_failure;
use crate::ids::HostId;
use crate::journal::StateDir;
use crate::machine::order::Order;
use crate::observe::live::{LiveError, ask_order};
use crate::observe::order::OrderReply;
use crate::observe::sanitize::clean;

/// Says it to the run at work, and prints what came of it.
///
/// # Errors
/// No run is at work; it has no such host; it begins nothing more.
pub fn order(places: &Places, order: Order, args: &OrderArgs) -> Result<Exit, Failure> {
    let nobody = || {
        Failure::new(Exit::Usage, "no run is at work here").hint("`proxmaint status` shows how the latest run stands")
    };
    let Some(dir) = StateDir::open(&places.state_dir()).map_err(journal_failure)? else { return Err(nobody()) };
    let hosts: Vec<HostId> = args.hosts.iter().map(|name| HostId::new(name.as_str())).collect();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Failure::new(Exit::Bug, error))?;
    let replies = match runtime.block_on(ask_order(dir.root(), order, &hosts)) {
        Ok(replies) => replies,
        Err(LiveError::NobodyThere { .. }) => return Err(nobody()),
        Err(error @ LiveError::Refused(_)) => {
            return Err(Failure::new(Exit::Usage, error).hint("`proxmaint status` shows its hosts and how it stands"));
        }
        Err(error) => {
            return Err(Failure::new(Exit::Failed, error)
                .hint("it is not known whether that was taken: `proxmaint status` shows it"));
        }
    };
    let text = match args.output {
        Output::Human => human(&replies),
        Output::Json => json(&replies)?,
    };
    // Whoever closed the pipe has read enough.
    let _written = io::stdout().lock().write_all(text.as_bytes());
    Ok(if replies.iter().all(|reply| reply.done) { Exit::Clean } else { Exit::Failed })
}

fn human(replies: &[OrderReply]) -> String {
    match replies {
        [] => "no host is left that this could be said of\n".to_owned(),
        replies => replies.iter().map(|r| format!("{}: {}\n", clean(r.host.as_str()), clean(&r.what))).collect(),
    }
}

fn json(replies: &[OrderReply]) -> Result<String, Failure> {
    let mut text = String::new();
    for reply in replies {
        text.push_str(&serde_json::to_string(reply).map_err(|error| Failure::new(Exit::Bug, error))?);
        text.push('\n');
    }
    Ok(text)
}
