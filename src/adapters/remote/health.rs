//! How a machine does: units that failed, sockets that wait for others, commands of the operator's.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use super::answer::Answer;
use super::exec::ExecLimit;
use super::quote::quote;
use super::text::{fragment, harmless};
use crate::engine::port::{GuestCommand, HealthLook};
use crate::inventory::health::{Listener, Protocol};
use crate::machine::outcome::Fault;

const PRELUDE: &str = include_str!("sh/prelude.sh");
const HEALTH: &str = include_str!("sh/health.sh");

/// Where the kernel takes the ports of outgoing connections from, unless the machine says otherwise.
const EPHEMERAL: (u16, u16) = (32_768, 60_999);

/// Makes the script.
pub(super) fn script(commands: &[GuestCommand]) -> String {
    let checks: String = commands
        .iter()
        .enumerate()
        .map(|(at, command)| format!("check {at} {} {}\n", seconds(command.timeout), quote(&command.line)))
        .collect();
    Answer::envelope(&[PRELUDE, HEALTH, &checks, "say end"])
}

/// Whole seconds, since that is all that every `sleep` knows.
fn seconds(time: Duration) -> u64 {
    time.as_secs() + u64::from(time.subsec_nanos() > 0)
}

/// What the script takes: units and sockets within 30 s, as other looks do; each command its time, and 3 s to be killed and read.
pub(super) fn limit(commands: &[GuestCommand]) -> ExecLimit {
    let all: u64 = commands.iter().map(|command| seconds(command.timeout) + 3).sum();
    ExecLimit { timeout: Duration::from_secs(30 + all), max_output: 512 * 1024 }
}

/// Reads the answer of [`script`].
pub(super) fn read(doing: &str, commands: &[GuestCommand], answer: &Answer) -> Result<HealthLook, Fault> {
    let failed_units = answer.get("failed").map(|entry| {
        let names = entry.lines.iter().map(|line| harmless(line.trim()));
        names.filter(|name| !name.is_empty()).collect()
    });
    let ended = commands.iter().enumerate().map(|(at, command)| ended(doing, at, command, answer));
    Ok(HealthLook { failed_units, listening: listening(answer), commands: ended.collect::<Result<_, _>>()? })
}

/// Says how a command ended, where that is not as it should be.
fn ended(doing: &str, at: usize, command: &GuestCommand, answer: &Answer) -> Result<Option<String>, Fault> {
    let key = format!("check.{at}");
    let last = fragment(answer.lines(&key));
    let said = if last.is_empty() { String::new() } else { format!(": {last}") };
    Ok(match answer.value(&key) {
        Some("late") => Some(format!("did not end within {} s and was killed{said}", seconds(command.timeout))),
        Some("none") => Some("could not be run: no temporary file can be made in the guest".to_owned()),
        Some(status) if status == command.exit.to_string() => None,
        Some(status) if status.bytes().all(|digit| digit.is_ascii_digit()) => {
            Some(format!("ended with {status}, expected was {}{said}", command.exit))
        }
        Some(_) | None => return Err(Fault::transient(format!("{doing}: the end of a command is not told"))),
    })
}

/// Returns who listens. UDP has no listening: a socket without another side waits for whatever comes, and so does one that asks
/// and awaits an answer. Those that ask get their ports from the ephemeral range, so these ports are left out; a service
/// that is to be found has a port of its own.
fn listening(answer: &Answer) -> Option<BTreeSet<Listener>> {
    answer.get("tcp")?;
    let (first, last) = answer.value("ephemeral").and_then(range).unwrap_or(EPHEMERAL);
    let mut found = BTreeSet::new();
    for (key, protocol) in
        [("tcp", Protocol::Tcp), ("tcp6", Protocol::Tcp), ("udp", Protocol::Udp), ("udp6", Protocol::Udp)]
    {
        let sockets = answer.lines(key).iter().filter_map(|line| socket(line.trim()));
        let told = sockets.map(|(address, port)| Listener { protocol, address, port });
        found.extend(told.filter(|told| protocol == Protocol::Tcp || !(first..=last).contains(&told.port)));
    }
    Some(found)
}

fn range(text: &str) -> Option<(u16, u16)> {
    let (first, last) = text.split_once(char::is_whitespace)?;
    Some((first.trim().parse().ok()?, last.trim().parse().ok()?))
}

/// Reads `0100007F:1F90`: the address in words of 32 bits as the machine's processor has them (little-endian on all that
/// Proxmox VE runs on), the port in hexadecimal digits.
fn socket(text: &str) -> Option<(IpAddr, u16)> {
    let (address, port) = text.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    let word = |at: usize| u32::from_str_radix(address.get(at..at + 8)?, 16).ok().map(u32::swap_bytes);
    let address = match address.len() {
        8 => IpAddr::V4(Ipv4Addr::from_bits(word(0)?)),
        32 => {
            let words = [word(0)?, word(8)?, word(16)?, word(24)?];
            IpAddr::V6(Ipv6Addr::from_bits(words.iter().fold(0, |all, word| all << 32 | u128::from(*word))))
        }
        _ => return None,
    };
    Some((address, port))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_of(commands: &[GuestCommand], text: &str) -> Result<HealthLook, Fault> {
        read("looking", commands, &Answer::of_text(text))
    }

    fn command(exit: u8) -> GuestCommand {
        GuestCommand { line: "x".to_owned(), exit, timeout: Duration::from_millis(1_500) }
    }

    #[test]
    fn sockets_are_read_as_the_kernel_writes_them() {
        let text = "@tcp\n|0100007F:1F90\n|00000000:0016\n|nonsense\n|\n@tcp6\n|00000000000000000000000001000000:0050\n\
                    |B80D0120000000000000000005000000:01BB\n@udp\n|00000000:0044\n|00000000:9C40\n@udp6\n@ephemeral 32768\t60999";
        let found = read_of(&[], text).unwrap().listening.unwrap();
        let words: Vec<String> = found.iter().map(ToString::to_string).collect();
        assert_eq!(
            words,
            ["tcp 0.0.0.0:22", "tcp 127.0.0.1:8080", "tcp [::1]:80", "tcp [2001:db8::5]:443", "udp 0.0.0.0:68"],
            "udp port 40000 is ephemeral"
        );
        let narrow = "@tcp\n@udp\n|00000000:9C40\n@ephemeral 50000 60000";
        assert_eq!(read_of(&[], narrow).unwrap().listening.unwrap().len(), 1);
        assert_eq!(read_of(&[], "@failed").unwrap().listening, None);
    }

    #[test]
    fn units_that_can_not_be_asked_for_are_not_none() {
        assert_eq!(read_of(&[], "@tcp").unwrap().failed_units, None);
        assert_eq!(read_of(&[], "@failed\n|\n").unwrap().failed_units, Some(BTreeSet::new()));
        let two = read_of(&[], "@failed\n|nginx.service\n|a\u{1b}[31mb.mount\n").unwrap().failed_units.unwrap();
        assert_eq!(two.into_iter().collect::<Vec<_>>(), ["ab.mount", "nginx.service"]);
    }

    #[test]
    fn how_commands_end() {
        let commands = [command(0), command(3), command(0), command(0), command(0)];
        let text = "@check.0 0\n|fine\n@check.1 3\n@check.2 3\n|not \u{1b}[1mactive\n@check.3 late\n@check.4 none";
        let ended = read_of(&commands, text).unwrap().commands;
        assert_eq!(
            ended,
            [
                None,
                None,
                Some("ended with 3, expected was 0: not active".to_owned()),
                Some("did not end within 2 s and was killed".to_owned()),
                Some("could not be run: no temporary file can be made in the guest".to_owned()),
            ]
        );
        assert!(read_of(&commands, "@check.0 0").is_err(), "cut off");
    }
}
