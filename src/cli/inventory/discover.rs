//! Asks all hosts at once which guests they have.

use futures_util::{StreamExt, stream};

use super::guests::Host;
use crate::cli::connect::ManifestHosts;
use crate::cli::policy::host_policy;
use crate::engine::limits::Limits;
use crate::engine::perform::{Survey, survey};
use crate::engine::port::Hosts;
use crate::ids::HostId;
use crate::machine::fleet::Fleet;
use crate::machine::outcome::Fault;
use crate::manifest::{Credentials, HostEntry};
use crate::observe::words::count;

/// How many hosts are surveyed together: each is a few calls of its API, and a command a container.
const SURVEYORS: usize = 8;

/// A host whose guests are not known.
pub(super) struct Missing {
    /// The host.
    pub(super) host: HostId,
    /// Why.
    pub(super) fault: Fault,
}

/// What came of asking hosts.
#[derive(Default)]
pub(super) struct Found {
    /// Those that answered, in the manifest's order.
    pub(super) hosts: Vec<Host>,
    /// Those that did not.
    pub(super) missing: Vec<Missing>,
}

/// Asks these hosts. `index_of` tells which of the document's hosts one is; `tell` hears how far it is.
pub(super) async fn discover(
    entries: &[&HostEntry],
    ways: &ManifestHosts,
    credentials: &Credentials,
    index_of: impl Fn(&HostId) -> Option<usize>,
    tell: &dyn Fn(&str),
) -> Found {
    let done = std::cell::Cell::new(0);
    let ask = |entry: &HostEntry| {
        let id = entry.id.clone();
        let named = entry.api.node.clone();
        let done = &done;
        async move {
            let ports = ways.ports(&id);
            let answer = match ports {
                Ok(ports) => survey(&ports, named.as_ref(), Limits::default().lookers).await,
                Err(fault) => Err(fault),
            };
            done.set(done.get() + 1);
            tell(&format!("{} of {} asked", done.get(), count(entries.len(), "host")));
            answer
        }
    };
    let answers: Vec<Result<Survey, Fault>> =
        stream::iter(entries.iter().copied().map(ask)).buffered(SURVEYORS).collect().await;
    let mut found = Found::default();
    let mut fleet = Fleet::default();
    for (entry, answer) in entries.iter().copied().zip(answers) {
        let known = (index_of(&entry.id), credentials.host(&entry.id));
        let survey = answer.and_then(|survey| unclaimed(&mut fleet, entry, survey));
        match (survey, known) {
            (Ok(survey), (Some(index), Some(credentials))) => found.hosts.push(Host {
                index,
                entry: entry.clone(),
                credentials: credentials.clone(),
                policy: host_policy(entry),
                survey,
            }),
            (Err(fault), _) => found.missing.push(Missing { host: entry.id.clone(), fault }),
            (Ok(_), _) => {
                let fault = Fault::permanent("it is not in the manifest any more");
                found.missing.push(Missing { host: entry.id.clone(), fault });
            }
        }
    }
    found
}

/// Refuses a host that is the same node as one before it, as a run does.
fn unclaimed(fleet: &mut Fleet, entry: &HostEntry, survey: Survey) -> Result<Survey, Fault> {
    match fleet.claim(&survey.ca, &survey.node, &entry.id) {
        None => Ok(survey),
        Some(other) => {
            let what = format!("is the same node ({}) as the entry {other}", survey.node);
            Err(Fault::identity(what).hint("remove one of the two entries from the manifest"))
        }
    }
}
