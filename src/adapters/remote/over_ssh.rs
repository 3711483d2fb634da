//! Carries scripts over SSH: to the node, through it into containers, and to VMs by connections of their own.

use std::collections::HashMap;
use std::sync::Arc;

use async_trait::async_trait;
use tokio::sync::Mutex;

use super::exec::{Exec, ExecLimit, ExecOutput, command_line, sudo_line};
use crate::adapters::ssh::pool::Connection;
use crate::adapters::ssh::{ExecLimits, SshTarget};
use crate::engine::port::Place;
use crate::ids::GuestId;
use crate::machine::outcome::Fault;

/// How many connections to VMs are kept for one host: more addresses than this are never tried for its guests at a time.
const MOST_VMS: usize = 1024;

/// Makes the SSH target of a VM from its vmid and address.
pub type VmTargets = Box<dyn Fn(GuestId, &str) -> SshTarget + Send + Sync>;

/// The way to one host and its guests over SSH.
pub struct SshExec {
    node: Connection,
    vm_targets: VmTargets,
    vms: Mutex<HashMap<(GuestId, String), Arc<Connection>>>,
}

impl SshExec {
    /// Makes the way; nothing is connected yet.
    pub fn new(node: SshTarget, vm_targets: VmTargets) -> Self {
        Self { node: Connection::new(node), vm_targets, vms: Mutex::default() }
    }

    async fn vm(&self, id: GuestId, address: &str) -> Arc<Connection> {
        let mut vms = self.vms.lock().await;
        if vms.len() >= MOST_VMS {
            vms.clear();
        }
        let key = (id, address.to_owned());
        let connection = vms.entry(key).or_insert_with(|| Arc::new(Connection::new((self.vm_targets)(id, address))));
        Arc::clone(connection)
    }
}

#[async_trait]
impl Exec for SshExec {
    async fn exec(&self, place: &Place, script: &str, limit: ExecLimit) -> Result<ExecOutput, Fault> {
        let limits = ExecLimits { timeout: limit.timeout, max_output: limit.max_output };
        let vm;
        let connection = match place {
            Place::Agent(..) => return Err(Fault::permanent("the guest agent is no way of SSH")),
            Place::Node | Place::Ct(_) => &self.node,
            Place::Ssh(id, address) => {
                vm = self.vm(*id, address).await;
                &*vm
            }
        };
        // What is asked here needs root; another login must be allowed to become it without a password.
        let line = match (place, connection.target().user.as_str()) {
            (_, "root") => command_line(place, script),
            (Place::Ssh(..), _) => sudo_line(script),
            (Place::Node | Place::Ct(_) | Place::Agent(..), _) => format!("sudo -n -- {}", command_line(place, script)),
        };
        let output = connection.exec(&line, limits).await.map_err(Fault::from)?;
        Ok(ExecOutput {
            exit: output.exit,
            truncated: !output.is_complete(),
            stdout: output.stdout,
            stderr: output.stderr,
        })
    }
}
