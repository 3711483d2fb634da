//! The network interfaces of a machine, asked within: for containers of which the API says nothing.

use std::net::Ipv6Addr;

use super::answer::Answer;
use crate::engine::port::Interface;

const PRELUDE: &str = include_str!("sh/prelude.sh");
const INTERFACES: &str = include_str!("sh/interfaces.sh");

/// What an address is marked with that is not there to stay (privacy extensions), or is not one yet.
const PASSING: [&str; 4] = ["temporary", "deprecated", "tentative", "dadfailed"];

/// Makes the script.
pub(super) fn script() -> String {
    Answer::envelope(&[PRELUDE, INTERFACES])
}

/// Reads the answer of [`script`]: interfaces that have an address, in the order in which their addresses were named.
pub(super) fn read(answer: &Answer) -> Vec<Interface> {
    let told: Vec<(&str, String)> = match answer.get("ip") {
        Some(ip) => ip.lines.iter().filter_map(|line| of_ip(line)).collect(),
        None => {
            let v4 = answer.lines("v4").iter().map(|line| ("", line.trim().to_owned()));
            v4.chain(answer.lines("v6").iter().filter_map(|line| of_kernel(line))).collect()
        }
    };
    let mut names: Vec<&str> = Vec::new();
    for (name, _) in &told {
        if !names.contains(name) {
            names.push(name);
        }
    }
    let links = answer.lines("links").iter().filter_map(|line| line.trim().split_once(' '));
    let mac = |name: &str| links.clone().find(|(link, _)| *link == name).map(|(_, mac)| mac);
    let interface = |name: &str| {
        let of_it = told.iter().filter(|(of, _)| *of == name).map(|(_, address)| address.as_str());
        Interface::new(name, mac(name), of_it)
    };
    names.into_iter().map(interface).filter(|interface| !interface.addresses.is_empty()).collect()
}

/// Reads a line of `ip -o addr`: `2: eth0    inet 192.0.2.5/24 brd 192.0.2.255 scope global eth0`; others are about links.
fn of_ip(line: &str) -> Option<(&str, String)> {
    let mut words = line.split_whitespace();
    let name = words.nth(1)?.trim_end_matches(':');
    let address = words.next().filter(|family| matches!(*family, "inet" | "inet6")).and(words.next())?;
    let passing = words.any(|word| PASSING.contains(&word));
    // A container's interface may be called by its other end as well: `eth0@if7`.
    let name = name.split('@').next().unwrap_or(name);
    (!passing).then(|| (name, address.to_owned()))
}

/// Reads a line of `/proc/net/if_inet6`: `20010db8000000000000000000000005 02 40 00 80 eth0`.
fn of_kernel(line: &str) -> Option<(&str, String)> {
    // The fifth word holds the address' flags: temporary, duplicate, deprecated, tentative.
    const PASSING_FLAGS: u32 = 0x01 | 0x08 | 0x20 | 0x40;
    let words: Vec<&str> = line.split_whitespace().collect();
    let [address, _, _, _, flags, name] = words.as_slice() else { return None };
    let address = u128::from_str_radix(address, 16).ok().filter(|_| address.len() == 32)?;
    let flags = u32::from_str_radix(flags, 16).ok()?;
    (flags & PASSING_FLAGS == 0).then(|| (*name, Ipv6Addr::from_bits(address).to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(text: &str) -> Vec<(String, Option<String>, Vec<String>)> {
        let shown = |interface: Interface| {
            let addresses = interface.addresses.iter().map(ToString::to_string).collect();
            (interface.name, interface.mac, addresses)
        };
        read(&Answer::of_text(text)).into_iter().map(shown).collect()
    }

    fn is(name: &str, mac: Option<&str>, addresses: &[&str]) -> (String, Option<String>, Vec<String>) {
        (name.to_owned(), mac.map(str::to_owned), addresses.iter().map(|address| (*address).to_owned()).collect())
    }

    const LINKS: &str =
        "@links\n|docker0 02:42:00:00:00:01\n|eth0 BC:24:11:00:00:01\n|lo 00:00:00:00:00:00\n|tun0 \n|\n";

    #[test]
    fn what_iproute2_prints() {
        let ip = "@ip
|1: lo    inet 127.0.0.1/8 scope host lo\\       valid_lft forever preferred_lft forever
|1: lo    inet6 ::1/128 scope host noprefixroute \\       valid_lft forever preferred_lft forever
|2: eth0    inet 192.0.2.5/24 brd 192.0.2.255 scope global eth0\\       valid_lft forever preferred_lft forever
|2: eth0    inet 192.0.2.80/32 scope global eth0\\       valid_lft forever preferred_lft forever
|2: eth0    inet6 2001:db8::abcd/64 scope global temporary dynamic \\       valid_lft 86000sec preferred_lft 14000sec
|2: eth0    inet6 2001:db8::5/64 scope global dynamic mngtmpaddr \\       valid_lft 86000sec preferred_lft 14000sec
|2: eth0    inet6 fe80::1/64 scope link \\       valid_lft forever preferred_lft forever
|3: docker0    inet 172.17.0.1/16 brd 172.17.255.255 scope global docker0\\       valid_lft forever
|4: tun0    inet 10.8.0.2 peer 10.8.0.1/32 scope global tun0\\       valid_lft forever preferred_lft forever
|";
        assert_eq!(
            told(&format!("{LINKS}{ip}")),
            [
                is("eth0", Some("bc:24:11:00:00:01"), &["192.0.2.5", "192.0.2.80", "2001:db8::5"]),
                is("docker0", Some("02:42:00:00:00:01"), &["172.17.0.1"]),
                is("tun0", None, &["10.8.0.2"]),
            ]
        );
    }

    #[test]
    fn what_busybox_prints() {
        let ip = "@ip
|1: lo: <LOOPBACK,UP,LOWER_UP> mtu 65536 qdisc noqueue state UNKNOWN qlen 1000\\    link/loopback 00:00:00:00:00:00
|1: lo    inet 127.0.0.1/8 scope host lo\\       valid_lft forever preferred_lft forever
|2: eth0@if7: <BROADCAST,MULTICAST,UP,LOWER_UP,M-DOWN> mtu 1500 qdisc noqueue state UP qlen 1000\\    link/ether bc:24
|2: eth0@if7    inet 192.0.2.5/24 brd 192.0.2.255 scope global eth0\\       valid_lft forever preferred_lft forever
|";
        assert_eq!(told(&format!("{LINKS}{ip}")), [is("eth0", Some("bc:24:11:00:00:01"), &["192.0.2.5"])]);
    }

    #[test]
    fn what_the_kernel_shows() {
        let kernel = "@v4\n|127.0.0.1\n|192.0.2.5\n|\n@v6
|20010db8000000000000000000000005 02 40 00 80     eth0
|20010db800000000000000000000abcd 02 40 00 01     eth0
|fe80000000000000be2411fffe000001 02 40 20 80     eth0
|00000000000000000000000000000001 01 80 10 80       lo
|nonsense
|";
        assert_eq!(
            told(&format!("{LINKS}{kernel}")),
            [is("", None, &["192.0.2.5"]), is("eth0", Some("bc:24:11:00:00:01"), &["2001:db8::5"])]
        );
    }

    #[test]
    fn nothing_is_made_of_nothing() {
        assert_eq!(told("@links\n@ip\n|"), []);
        assert_eq!(told("@ip\n|Usage: ip [OPTIONS]\n|2: eth0\n|2: eth0 inet\n|2: eth0 inet nonsense"), []);
    }
}
