//! How a guest does: measured before its upgrade, and compared with that afterwards. Changes nothing.
//!
//! Units, ports and commands are asked within the guest, in one round trip; connections are made from here, side by side.

use std::time::Duration;

use futures_util::future::join_all;

use super::inside::address_of;
use super::{Context, guest_ref, place_of, right_machine, same_guest};
use crate::choices::health::{ADDRESS, Ask, HealthCheck};
use crate::engine::port::{GuestCommand, HealthLook, Outward, Place};
use crate::engine::wait::{Backoff, rest, retried};
use crate::inventory::Via;
use crate::inventory::health::{CheckResult, Health};
use crate::machine::outcome::{Detail, Fault, Outcome};
use crate::plan::GuestAddr;
use crate::plan::health::compare;

/// What a guest is held against after its upgrade.
pub(super) struct Before<'a> {
    /// How it did before; `None` where nobody looked.
    pub(super) baseline: Option<&'a Health>,
    /// The operator's checks.
    pub(super) checks: &'a [HealthCheck],
    /// How long it may take until it does as before.
    pub(super) limit: Duration,
}

/// Measures a guest before its upgrade.
pub(super) async fn measure(cx: &Context, guest: &GuestAddr, via: &Via, checks: &[HealthCheck]) -> Outcome {
    match measured(cx, guest, via, checks).await {
        Ok(health) => Outcome::Done(Detail::Measured(Box::new(health))),
        Err(fault) => Outcome::Failed(fault),
    }
}

async fn measured(cx: &Context, guest: &GuestAddr, via: &Via, checks: &[HealthCheck]) -> Result<Health, Fault> {
    same_guest(cx, guest).await?;
    let place = place_of(guest, via);
    right_machine(cx, guest, &place).await?;
    let address = address(cx, guest, via, checks).await?;
    if let Some(lost) = checks.iter().find(|check| check.needs_address() && address.is_none()) {
        return Err(Fault::permanent(format!(
            "its check `{}` can't be made: no address of the guest is known",
            lost.name
        ))
        .hint("give the guest an `address` in a [[hosts.guests]] rule, or the check a `host`"));
    }
    look(cx, &place, checks, address.as_deref()).await
}

/// Makes sure, within a limit, that a guest does as before; returns what is worth a look all the same.
///
/// Services may need a while to come back. A round of checks takes as long as the slowest of them with its retries, and the
/// last round begins before the limit is over: so this takes no longer than the limit and one round.
pub(super) async fn compared(
    cx: &Context,
    guest: &GuestAddr,
    via: &Via,
    before: &Before<'_>,
) -> Result<Vec<String>, Fault> {
    let Some(baseline) = before.baseline else {
        return Ok(vec!["how it did before its upgrade was not looked at, so nothing is compared".to_owned()]);
    };
    let place = place_of(guest, via);
    let mut backoff = Backoff::within(before.limit);
    loop {
        let address = address(cx, guest, via, before.checks).await?;
        let now = look(cx, &place, before.checks, address.as_deref()).await?;
        let found = compare(baseline, &now);
        if found.worse.is_empty() {
            return Ok(found.remarks);
        }
        if !backoff.pause().await {
            let what = format!("it does not do as before its upgrade: {}", found.worse.join("; "));
            return Err(Fault::permanent(what)
                .hint("look into it; what it can be brought back from is kept and named by `proxmaint status`"));
        }
    }
}

/// Returns the address for checks that need one; looks for none where nobody asks for it.
async fn address(cx: &Context, guest: &GuestAddr, via: &Via, checks: &[HealthCheck]) -> Result<Option<String>, Fault> {
    if !checks.iter().any(HealthCheck::needs_address) {
        return Ok(None);
    }
    let at = guest_ref(guest);
    let config = retried(|| cx.ports.pve.guest_config(&at)).await?;
    address_of(cx, &at, &config, Some(via)).await
}

/// Looks at everything once, with the retries of each check.
async fn look(cx: &Context, place: &Place, checks: &[HealthCheck], address: Option<&str>) -> Result<Health, Fault> {
    let outside = join_all(checks.iter().map(|check| from_outside(cx, check, address)));
    let (outside, inside) = tokio::join!(outside, from_within(cx, place, checks));
    let inside = inside?;
    let mut commands = inside.commands.into_iter();
    let results = checks.iter().zip(outside).map(|(check, outside)| CheckResult {
        name: check.name.clone(),
        failed: match outside {
            Some(result) => result.err(),
            None => commands.next().unwrap_or_else(|| Some("was not run".to_owned())),
        },
    });
    Ok(Health { checks: results.collect(), failed_units: inside.failed_units, listening: inside.listening })
}

/// Makes a check that connects, with its retries; `None` for a command.
async fn from_outside(cx: &Context, check: &HealthCheck, address: Option<&str>) -> Option<Result<(), String>> {
    let what = match outward(&check.ask, address) {
        Some(Ok(what)) => what,
        Some(Err(why)) => return Some(Err(why)),
        None => return None,
    };
    let within = Duration::from_millis(check.timeout_ms);
    let mut answer = cx.ports.outside.ask(&what, within).await;
    for _ in 0..check.retries {
        if answer.is_ok() {
            break;
        }
        rest(Duration::from_millis(check.every_ms)).await;
        answer = cx.ports.outside.ask(&what, within).await;
    }
    Some(answer)
}

/// Fills in the guest's address; `None` for what is no connection.
fn outward(ask: &Ask, address: Option<&str>) -> Option<Result<Outward, String>> {
    let unknown = || "no address of the guest is known".to_owned();
    Some(match ask {
        Ask::Tcp { port, host } => host
            .as_deref()
            .or(address)
            .ok_or_else(unknown)
            .map(|host| Outward::Tcp { host: host.to_owned(), port: *port }),
        Ask::Http { url, status, text, insecure, redirects } => match (url.contains(ADDRESS), address) {
            (true, None) => Err(unknown()),
            (_, address) => Ok(Outward::Http {
                url: url.replace(ADDRESS, &in_url(address.unwrap_or_default())),
                status: status.clone(),
                text: text.clone(),
                insecure: *insecure,
                redirects: *redirects,
            }),
        },
        Ask::Command { .. } => return None,
    })
}

/// Writes an address as URLs do: an IPv6 address in brackets.
fn in_url(address: &str) -> String {
    if address.contains(':') { format!("[{address}]") } else { address.to_owned() }
}

/// Asks within the guest, and again for the commands that failed as long as one of them has retries left.
async fn from_within(cx: &Context, place: &Place, checks: &[HealthCheck]) -> Result<HealthLook, Fault> {
    let commands: Vec<(&HealthCheck, GuestCommand)> = checks.iter().filter_map(command).collect();
    let all: Vec<GuestCommand> = commands.iter().map(|(_, command)| command.clone()).collect();
    let mut found = retried(|| cx.ports.remote.health(place, &all)).await?;
    // At most as often as a check has retries.
    for again in 1..=HealthCheck::MOST_RETRIES {
        let failed = |at: &usize| found.commands.get(*at).is_some_and(Option::is_some);
        let due: Vec<usize> =
            (0..commands.len()).filter(failed).filter(|at| commands[*at].0.retries >= again).collect();
        let Some(pause) = due.iter().map(|at| commands[*at].0.every_ms).max() else { break };
        rest(Duration::from_millis(pause)).await;
        let some: Vec<GuestCommand> = due.iter().map(|at| commands[*at].1.clone()).collect();
        let now = retried(|| cx.ports.remote.health(place, &some)).await?;
        for (at, result) in due.into_iter().zip(now.commands) {
            found.commands[at] = result;
        }
        (found.failed_units, found.listening) = (now.failed_units, now.listening);
    }
    Ok(found)
}

fn command(check: &HealthCheck) -> Option<(&HealthCheck, GuestCommand)> {
    match &check.ask {
        Ask::Command { line, exit } => {
            let timeout = Duration::from_millis(check.timeout_ms);
            Some((check, GuestCommand { line: line.clone(), exit: *exit, timeout }))
        }
        Ask::Tcp { .. } | Ask::Http { .. } => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tcp(host: Option<&str>) -> Ask {
        Ask::Tcp { port: 443, host: host.map(str::to_owned) }
    }

    fn http(url: &str) -> Ask {
        Ask::Http { url: url.to_owned(), status: vec![], text: None, insecure: false, redirects: 0 }
    }

    fn asked(ask: &Ask, address: Option<&str>) -> String {
        match outward(ask, address) {
            Some(Ok(Outward::Tcp { host, port })) => format!("{host} {port}"),
            Some(Ok(Outward::Http { url, .. })) => url,
            Some(Err(why)) => why,
            None => "no connection".to_owned(),
        }
    }

    #[test]
    fn the_guests_address_is_filled_in_where_the_check_names_none() {
        for (ask, address, is) in [
            (tcp(None), Some("192.0.2.5"), "192.0.2.5 443"),
            (tcp(None), Some("2001:db8::5"), "2001:db8::5 443"),
            (tcp(Some("db.example")), Some("192.0.2.5"), "db.example 443"),
            (tcp(Some("db.example")), None, "db.example 443"),
            (tcp(None), None, "no address of the guest is known"),
            (http("http://{address}:8080/x"), Some("192.0.2.5"), "http://192.0.2.5:8080/x"),
            (http("http://{address}/"), Some("2001:db8::5"), "http://[2001:db8::5]/"),
            (http("http://{address}/"), None, "no address of the guest is known"),
            (http("https://shop.example/"), None, "https://shop.example/"),
            (Ask::Command { line: "true".into(), exit: 0 }, None, "no connection"),
        ] {
            assert_eq!(asked(&ask, address), is, "{ask} {address:?}");
        }
    }
}
