//! The ways to the other nodes of a cluster, for guests that moved there while a run was about them.
//!
//! The manifest's entries say how nodes are reached, not which nodes they are. What the journal knows of that says whom to ask
//! first, and no more: an entry may lead elsewhere by now. So each way is proven when it is needed, by its API and its SSH, and
//! none is ever guessed.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::{StreamExt, stream};

use super::perform::{local_node, same_machine};
use super::port::{HostPorts, Hosts, Place};
use crate::ids::{ClusterId, HostId, NodeName};
use crate::machine::outcome::Fault;

/// How many entries are asked together.
const ASKED_TOGETHER: usize = 8;
/// How long an entry may take to say which node it is: three questions, of which the last may have to log in first (10 s to
/// connect, 10 s to log in).
const ANSWER: Duration = Duration::from_secs(30);
/// How long all of them may take: 32 entries that are silent, eight at a time.
const ALL_ANSWERS: Duration = Duration::from_secs(120);

/// A node, by its cluster and its name there.
type Node = (ClusterId, NodeName);

/// Which entry of the manifest is which node, as far as is known.
pub struct Neighbours {
    hosts: Arc<dyn Hosts>,
    known: Mutex<BTreeMap<HostId, Node>>,
}

/// What is known of an entry that is asked.
enum Answer {
    /// It leads to the node.
    Is(Arc<HostPorts>),
    /// It leads to another one.
    Other,
    /// It can't be told.
    Silent(Fault),
}

impl Neighbours {
    /// Makes a directory of what is known beforehand.
    pub fn new(hosts: Arc<dyn Hosts>, known: impl IntoIterator<Item = (HostId, Node)>) -> Self {
        Self { hosts, known: Mutex::new(known.into_iter().collect()) }
    }

    /// Notes that an entry turned out to be a node.
    pub fn note(&self, host: &HostId, cluster: &ClusterId, node: &NodeName) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.insert(host.clone(), (cluster.clone(), node.clone()));
    }

    /// Finds the ways to a node of a cluster: those of an entry that says and shows, now, that it is that node. Entries that are
    /// known to be other nodes are not asked.
    ///
    /// # Errors
    /// No entry is. Where one should be and can't be asked, that is said.
    pub async fn ways_to(&self, cluster: &ClusterId, node: &NodeName) -> Result<Arc<HostPorts>, Fault> {
        let wanted = (cluster.clone(), node.clone());
        let (likely, others) = self.candidates(&wanted);
        let mut silent = None;
        let asked = async {
            for host in &likely {
                match self.ask(host, &wanted).await {
                    Answer::Is(ports) => return Some(ports),
                    Answer::Other => {}
                    Answer::Silent(fault) => silent = Some((host.clone(), fault)),
                }
            }
            let wanted = &wanted;
            let ask = |host: HostId| async move { self.ask(&host, wanted).await };
            let mut answers = stream::iter(others).map(ask).buffer_unordered(ASKED_TOGETHER);
            while let Some(answer) = answers.next().await {
                if let Answer::Is(ports) = answer {
                    return Some(ports);
                }
            }
            None
        };
        if let Ok(Some(ports)) = tokio::time::timeout(ALL_ANSWERS, asked).await {
            return Ok(ports);
        }
        Err(match silent {
            Some((host, fault)) => {
                Fault { what: format!("{host}, which should be that node, can't be asked: {}", fault.what), ..fault }
            }
            None => Fault::permanent("no entry of the manifest that is worked with is known to lead there by SSH")
                .hint(format!("add node {node} to the manifest, or move the guest back, then run again")),
        })
    }

    /// Returns the entries that may be a node: those that were it when they were last asked, or bear its name; and those of which
    /// nothing is known.
    fn candidates(&self, wanted: &Node) -> (Vec<HostId>, Vec<HostId>) {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let mut all = self.hosts.entries();
        all.retain(|host| known.get(host).is_none_or(|node| node == wanted));
        all.into_iter().partition(|host| known.contains_key(host) || host.as_str() == wanted.1.as_str())
    }

    /// Asks an entry which node it is. Its connections are not kept: a step that needs them holds them, and whoever works on
    /// that host connects anew.
    async fn ask(&self, host: &HostId, wanted: &Node) -> Answer {
        let ports = match self.hosts.ports(host) {
            Ok(ports) => ports,
            Err(fault) => return Answer::Silent(fault),
        };
        let told = tokio::time::timeout(ANSWER, who_is(&ports)).await;
        self.hosts.release(host);
        match told {
            Ok(Ok((cluster, node))) => {
                self.note(host, &cluster, &node);
                if (cluster, node) == *wanted { Answer::Is(ports) } else { Answer::Other }
            }
            Ok(Err(fault)) => Answer::Silent(fault),
            Err(_) => Answer::Silent(Fault::transient(format!("no answer within {ANSWER:?}"))),
        }
    }
}

/// Asks which node it is that API and SSH lead to.
async fn who_is(ports: &HostPorts) -> Result<Node, Fault> {
    let node = local_node(None, &ports.pve.cluster_status().await?)?;
    let cluster = ClusterId::new(ports.pve.ca_fingerprint(&node).await?);
    let found = ports.remote.identity(&Place::Node).await?;
    same_machine(&node, &found.hostname)?;
    Ok((cluster, node))
}
