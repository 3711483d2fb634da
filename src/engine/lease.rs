//! The leases of the clusters that a session works on: one orchestrator at a time, wherever it runs.
//!
//! A lease is taken when a host is discovered, before anything of it is changed, renewed while the session works on any host of
//! the cluster, and given back afterwards. It runs out by itself where nobody can give it back. Before each unsafe step it is
//! looked whether it was renewed of late; where it was lost, nothing more is begun. What is under way goes on, and what is owed
//! is given back: to stop there would do more harm than a second orchestrator that waits.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex as Slot, PoisonError};
use std::time::Duration;

use tokio::sync::Mutex;
use tokio::time::Instant;

use super::port::{Clock, HostPorts, LeaseAnswer, LeaseAsk, LeaseHolder};
use super::wait::{rest, retried};
use crate::ids::{ClusterId, HostId, RunId};
use crate::machine::outcome::Fault;
use crate::time::Timestamp;

/// A lease holds for so long unless it is renewed: longer than Proxmox's own lock may stand in the way of a renewal (120 s), and
/// than a node's file system may be read-only while corosync counts anew.
const SPAN: Duration = Duration::from_secs(300);
/// How often leases are renewed.
const BEAT: Duration = Duration::from_secs(30);
/// A lease that was renewed so lately is not asked for before a step.
const FRESH: Duration = Duration::from_secs(90);
/// Within so long of its end, a lease that can't be renewed counts as lost already: the step that it is for has to begin first.
const MARGIN: Duration = Duration::from_secs(60);

/// The leases of a session.
pub struct Leases {
    run: RunId,
    who: String,
    clock: Arc<dyn Clock>,
    leases: Slot<BTreeMap<ClusterId, Arc<Mutex<Lease>>>>,
}

/// Why a lease is not had.
#[derive(Debug)]
pub enum NoLease {
    /// Somebody else has it, or had it in between.
    Taken(Fault),
    /// It could not be asked for.
    NotAsked(Fault),
}

impl From<NoLease> for Fault {
    fn from(why: NoLease) -> Self {
        match why {
            NoLease::Taken(fault) | NoLease::NotAsked(fault) => fault,
        }
    }
}

/// The lease of one cluster.
#[derive(Default)]
struct Lease {
    /// The ways to the hosts that are worked on: it may be renewed over each of them.
    ways: BTreeMap<HostId, Arc<HostPorts>>,
    /// When it was last had, and for how long.
    had: Option<Had>,
    /// For how long it is asked for while a node is down.
    stretched: Option<Duration>,
    /// Who has it, where it was lost.
    lost: Option<Fault>,
}

/// A lease that was had. Tokio's clock stands still while this machine sleeps, and the other one may be set: both must agree.
#[derive(Clone, Copy)]
struct Had {
    at: Instant,
    by_clock: Timestamp,
    span: Duration,
}

impl Had {
    fn younger_than(&self, age: Duration, now: Timestamp) -> bool {
        let by_clock = if now >= self.by_clock { now.since(self.by_clock) } else { self.by_clock.since(now) };
        self.at.elapsed() < age && by_clock < age
    }
}

impl Leases {
    /// Makes the leases of a session that has none yet; `who` is told to those who are refused.
    pub fn new(run: RunId, who: String, clock: Arc<dyn Clock>) -> Self {
        Self { run, who, clock, leases: Slot::default() }
    }

    fn of(&self, cluster: &ClusterId) -> Arc<Mutex<Lease>> {
        let mut leases = self.leases.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(leases.entry(cluster.clone()).or_default())
    }

    fn all(&self) -> Vec<Arc<Mutex<Lease>>> {
        self.leases.lock().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    /// Renews the leases for ever, one beat after another.
    pub async fn keep(self: Arc<Self>) {
        loop {
            rest(BEAT).await;
            futures_util::future::join_all(self.all().iter().map(|lease| self.beat(lease))).await;
        }
    }

    async fn beat(&self, lease: &Mutex<Lease>) {
        let mut lease = lease.lock().await;
        if lease.ways.is_empty() || lease.lost.is_some() {
            return;
        }
        if let Err(NoLease::Taken(fault) | NoLease::NotAsked(fault)) = self.renew(&mut lease, None).await {
            tracing::warn!(%fault, "a lease can't be renewed");
        }
    }

    /// Asks for a lease, over the way to one host with patience, then over the others. One that can't be asked for is still had for
    /// as long as it holds.
    async fn renew(&self, lease: &mut Lease, first: Option<&HostId>) -> Result<(), NoLease> {
        let span = lease.stretched.map_or(SPAN, |down| SPAN + down);
        let ask = LeaseAsk { run: self.run.clone(), who: self.who.clone(), span };
        let asked = Had { at: Instant::now(), by_clock: self.clock.now(), span };
        let patient = first.and_then(|host| lease.ways.get(host)).cloned();
        let others = lease.ways.iter().filter(|(host, _)| Some(*host) != first);
        let others: Vec<Arc<HostPorts>> = others.map(|(_, ports)| Arc::clone(ports)).collect();
        let mut answer = match &patient {
            Some(ports) => retried(|| ports.remote.hold_lease(&ask)).await,
            None => Err(Fault::transient("no host of the cluster is worked on")),
        };
        for ports in others {
            if answer.is_err() {
                answer = ports.remote.hold_lease(&ask).await;
            }
        }
        let lost = match answer {
            Ok(LeaseAnswer::Taken) if lease.had.is_some() => Fault::transient(
                "the lease ran out and somebody else may have worked there meanwhile: the plan is not trusted any more",
            )
            .hint("`proxmaint run` looks anew"),
            Ok(LeaseAnswer::Taken | LeaseAnswer::Renewed) => {
                lease.had = Some(asked);
                return Ok(());
            }
            Ok(LeaseAnswer::Other(holder)) => refused(&holder),
            Err(fault) if self.holds(lease) => {
                tracing::debug!(%fault, "a lease could not be renewed, and still holds");
                return Ok(());
            }
            Err(fault) => return Err(NoLease::NotAsked(fault)),
        };
        lease.had = None;
        lease.lost = Some(lost.clone());
        Err(NoLease::Taken(lost))
    }

    fn fresh(&self, lease: &Lease) -> bool {
        lease.had.is_some_and(|had| had.younger_than(FRESH, self.clock.now()))
    }

    fn holds(&self, lease: &Lease) -> bool {
        lease.had.is_some_and(|had| had.younger_than(had.span.saturating_sub(MARGIN), self.clock.now()))
    }

    /// Says that nothing more is done on a host. The lease of its cluster is given back where that was the last one.
    pub async fn leave(&self, host: &HostId) {
        for lease in self.all() {
            let mut lease = lease.lock().await;
            let Some(ports) = lease.ways.remove(host) else { continue };
            if !lease.ways.is_empty() {
                continue;
            }
            (lease.had, lease.stretched, lease.lost) = (None, None, None);
            if let Err(fault) = retried(|| ports.remote.release_lease(&self.run)).await {
                tracing::warn!(%host, %fault, "the lease is not given back, and runs out by itself");
            }
        }
    }

    /// Gives every lease back.
    pub async fn leave_all(&self) {
        let mut hosts: Vec<HostId> = Vec::new();
        for lease in self.all() {
            hosts.extend(lease.lock().await.ways.keys().cloned());
        }
        futures_util::future::join_all(hosts.iter().map(|host| self.leave(host))).await;
    }
}

/// Says who has a lease.
fn refused(holder: &LeaseHolder) -> Fault {
    let LeaseHolder { run, who, held, renewed, left } = holder;
    // Transient: it goes away by itself, and until then it stands in the way of whatever else might be tried.
    Fault::transient(format!(
        "{who} works here with run {run}, for {} s, last heard of {} s ago; if that run is dead, its lease runs out in {} s",
        held.as_secs(),
        renewed.as_secs(),
        left.as_secs()
    ))
    .hint("wait until that run is over")
}

/// The lease of one host's cluster, as those see it who work on the host.
#[derive(Clone)]
pub struct HostLease {
    leases: Arc<Leases>,
    host: HostId,
    ports: Arc<HostPorts>,
    /// The cluster, where it is known already.
    cluster: Option<ClusterId>,
}

impl HostLease {
    /// Makes it.
    pub fn new(leases: Arc<Leases>, host: HostId, ports: Arc<HostPorts>, cluster: Option<ClusterId>) -> Self {
        Self { leases, host, ports, cluster }
    }

    /// Takes the lease of the cluster that was discovered: everything about it is known afresh.
    ///
    /// # Errors
    /// Somebody else has it, or it can't be asked for.
    pub async fn take(&self, cluster: &ClusterId) -> Result<(), NoLease> {
        let lease = self.leases.of(cluster);
        let mut lease = lease.lock().await;
        lease.ways.insert(self.host.clone(), Arc::clone(&self.ports));
        lease.lost = None;
        if self.leases.fresh(&lease) {
            return Ok(());
        }
        // Where no answer came it may be ours all the same: it is given back like any other.
        self.leases.renew(&mut lease, Some(&self.host)).await
    }

    /// Makes sure that the lease is had, before an unsafe step.
    ///
    /// # Errors
    /// It was lost, or it can't be told any more whether it is had.
    pub async fn confirm(&self) -> Result<(), Fault> {
        let lease = self.lease()?;
        let mut lease = lease.lock().await;
        lease.ways.insert(self.host.clone(), Arc::clone(&self.ports));
        match &lease.lost {
            Some(lost) => Err(lost.clone()),
            None if self.leases.fresh(&lease) => Ok(()),
            None => Ok(self.leases.renew(&mut lease, Some(&self.host)).await?),
        }
    }

    /// Makes the lease hold for the time that the node is down as well, when nobody may be there to renew it.
    ///
    /// # Errors
    /// As [`Self::confirm`]; and here it must have been renewed now.
    pub async fn stretch(&self, down: Duration) -> Result<(), Fault> {
        let lease = self.lease()?;
        let mut lease = lease.lock().await;
        lease.ways.insert(self.host.clone(), Arc::clone(&self.ports));
        if let Some(lost) = &lease.lost {
            return Err(lost.clone());
        }
        lease.stretched = Some(down);
        let renewed = self.leases.renew(&mut lease, Some(&self.host)).await;
        let long = lease.had.is_some_and(|had| had.span > down);
        if renewed.is_ok() && long {
            return Ok(());
        }
        lease.stretched = None;
        let why = renewed.err().map(Fault::from);
        Err(why.unwrap_or_else(|| Fault::transient("the lease can't be renewed for the time of the reboot")))
    }

    /// Says that the node is there again: from the next renewal on the lease holds as long as usual.
    pub async fn relax(&self) {
        if let Ok(lease) = self.lease() {
            lease.lock().await.stretched = None;
        }
    }

    /// Lets the lease be renewed for what is under way or owed; nothing depends on it.
    pub async fn join(&self) {
        if let Ok(lease) = self.lease() {
            lease.lock().await.ways.insert(self.host.clone(), Arc::clone(&self.ports));
        }
    }

    fn lease(&self) -> Result<Arc<Mutex<Lease>>, Fault> {
        let unknown = || Fault::permanent("the host's cluster is not known yet");
        Ok(self.leases.of(self.cluster.as_ref().ok_or_else(unknown)?))
    }
}
