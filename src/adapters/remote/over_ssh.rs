//! Carries scripts over SSH: to the node, through it into containers, and to guests by connections of their own.

use std::collections::HashMap;
use std::sync::Arc;

use async_trait::async_trait;
use tokio::sync::Mutex;

use super::exec::{Exec, ExecLimit, ExecOutput, command_line, sudo_line};
use super::sudo;
use crate::adapters::ssh::pool::Connection;
use crate::adapters::ssh::{ExecLimits, SshTarget};
use crate::engine::port::Place;
use crate::ids::GuestId;
use crate::machine::outcome::Fault;

/// How many connections to guests are kept for one host: more addresses than this are never tried for its guests at a time.
const MOST_GUESTS: usize = 1024;

/// Makes the SSH target of a guest from its vmid and address.
pub type GuestTargets = Box<dyn Fn(GuestId, &str) -> SshTarget + Send + Sync>;

/// The way to one host and its guests over SSH.
pub struct SshExec {
    node: Connection,
    guest_targets: GuestTargets,
    guests: Mutex<HashMap<(GuestId, String), Arc<Connection>>>,
}

impl SshExec {
    /// Makes the way; nothing is connected yet.
    pub fn new(node: SshTarget, guest_targets: GuestTargets) -> Self {
        Self { node: Connection::new(node), guest_targets, guests: Mutex::default() }
    }

    async fn guest(&self, id: GuestId, address: &str) -> Arc<Connection> {
        let mut guests = self.guests.lock().await;
        if guests.len() >= MOST_GUESTS {
            guests.clear();
        }
        let key = (id, address.to_owned());
        let connection =
            guests.entry(key).or_insert_with(|| Arc::new(Connection::new((self.guest_targets)(id, address))));
        Arc::clone(connection)
    }
}

#[async_trait]
impl Exec for SshExec {
    async fn exec(&self, place: &Place, script: &str, limit: ExecLimit) -> Result<ExecOutput, Fault> {
        let guest;
        let connection = match place {
            Place::Agent(..) => return Err(Fault::permanent("the guest agent is no way of SSH")),
            Place::Node | Place::Ct(_) => &self.node,
            Place::Ssh(id, address) => {
                guest = self.guest(*id, address).await;
                &*guest
            }
        };
        as_root(connection, place, script, limit).await
    }
}

/// Runs a script over a connection with root's rights: another login must be allowed to become root without a password.
pub(super) async fn as_root(
    connection: &Connection,
    place: &Place,
    script: &str,
    limit: ExecLimit,
) -> Result<ExecOutput, Fault> {
    let user = connection.target().user.as_str();
    if user == "root" {
        return run(connection, &command_line(place, script), limit).await;
    }
    let output = run(connection, &sudo_line(place, script), limit).await?;
    sudo::refusal(place, user, &connection.target().address(), &output).map_or(Ok(output), Err)
}

/// Runs a script over a connection as the user that logs in.
pub(super) async fn as_login(
    connection: &Connection,
    place: &Place,
    script: &str,
    limit: ExecLimit,
) -> Result<ExecOutput, Fault> {
    run(connection, &command_line(place, script), limit).await
}

async fn run(connection: &Connection, line: &str, limit: ExecLimit) -> Result<ExecOutput, Fault> {
    let limits = ExecLimits { timeout: limit.timeout, max_output: limit.max_output };
    let output = connection.exec(line, limits).await?;
    Ok(ExecOutput { exit: output.exit, truncated: !output.is_complete(), stdout: output.stdout, stderr: output.stderr })
}
