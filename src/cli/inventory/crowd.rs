//! Does something with many guests at a time, within what their hosts bear.

use std::cell::Cell;
use std::collections::BTreeMap;

use futures_util::future::join_all;
use tokio::sync::Semaphore;

use super::subject::Subject;
use crate::ids::HostId;

/// How many guests of one host are worked with together: they may share a jump host, whose sshd starts to drop connections at
/// ten unauthenticated ones (MaxStartups 10:30:100).
const OF_A_HOST: usize = 8;
/// How many guests are worked with together.
const TOGETHER: usize = 32;

/// Does something with each of these guests; the results stand in the same order. `tell` hears of how many it is done.
pub(super) async fn with_each<T>(
    subjects: &[&Subject<'_>],
    work: impl AsyncFn(&Subject<'_>) -> T,
    tell: &dyn Fn(usize),
) -> Vec<T> {
    let together = Semaphore::new(TOGETHER);
    let hosts: BTreeMap<&HostId, Semaphore> =
        subjects.iter().map(|subject| (subject.host(), Semaphore::new(OF_A_HOST))).collect();
    let done = Cell::new(0);
    let one = async |subject: &&Subject<'_>| {
        // Neither is ever closed, which would be the one reason for there to be no permit. The host's comes first: who waits
        // for it keeps no other host's guests waiting.
        let _of_host = match hosts.get(subject.host()) {
            Some(semaphore) => semaphore.acquire().await.ok(),
            None => None,
        };
        let _together = together.acquire().await.ok();
        let result = work(subject).await;
        done.set(done.get() + 1);
        tell(done.get());
        result
    };
    join_all(subjects.iter().map(one)).await
}
