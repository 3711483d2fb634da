//! The ways to a host and its guests, as one.

use async_trait::async_trait;

use super::exec::{Exec, ExecLimit, ExecOutput};
use crate::engine::port::Place;
use crate::machine::outcome::Fault;

/// Sends each script the way that its place is reached by.
#[derive(Debug)]
pub struct Ways<S, A> {
    /// To the node, its containers, and the guests with a login over SSH.
    pub ssh: S,
    /// To the VMs that are reached by their guest agent.
    pub agent: A,
}

#[async_trait]
impl<S: Exec, A: Exec> Exec for Ways<S, A> {
    async fn exec(&self, place: &Place, script: &str, limit: ExecLimit) -> Result<ExecOutput, Fault> {
        match place {
            Place::Agent(..) => self.agent.exec(place, script, limit).await,
            Place::Node | Place::Ct(_) | Place::Ssh(..) => self.ssh.exec(place, script, limit).await,
        }
    }
}
