//! A network interface as it was told of, and which of its addresses can lead to its machine from elsewhere.

use std::net::{IpAddr, Ipv4Addr};

/// A network interface of a guest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interface {
    /// Its name there (`eth0`, `docker0`); empty where that was not told.
    pub name: String,
    /// Its MAC address in lower case, where it has one and that was told.
    pub mac: Option<String>,
    /// Its addresses, in the order in which they were told. Those that can't lead there from elsewhere are left out: loopback,
    /// link-local.
    pub addresses: Vec<IpAddr>,
}

impl Interface {
    /// Makes an interface of what was told of it. An address may have its prefix length with it (`192.0.2.5/24`); what is none, or
    /// leads nowhere, is left out.
    pub fn new<'a>(name: &str, mac: Option<&str>, told: impl IntoIterator<Item = &'a str>) -> Self {
        let mut addresses = Vec::new();
        for text in told {
            let bare = text.split_once('/').map_or(text, |(bare, _)| bare);
            match bare.parse() {
                Ok(address) if leads_there(name, address) && !addresses.contains(&address) => addresses.push(address),
                _ => {}
            }
        }
        let mac = mac.map(str::to_ascii_lowercase).filter(|mac| !mac.is_empty());
        Self { name: name.to_owned(), mac, addresses }
    }
}

/// Whether an address of an interface can be one to reach its machine under from elsewhere.
fn leads_there(interface: &str, address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => {
            // The rest of 127.0.0.0/8 is as good as any other where somebody gave it to an interface that leads outside.
            let outside = !matches!(interface, "" | "lo") && v4 != Ipv4Addr::LOCALHOST;
            (outside || !v4.is_loopback()) && !(v4.is_unspecified() || v4.is_multicast() || v4.is_link_local())
        }
        IpAddr::V6(v6) => !(v6.is_loopback() || v6.is_unspecified() || v6.is_multicast() || v6.is_unicast_link_local()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_addresses_that_lead_there_count() {
        let nowhere = [
            "127.0.0.1",
            "::1",
            "169.254.1.1",
            "fe80::1",
            "fe80::1%3",
            "0.0.0.0",
            "::",
            "224.0.0.1",
            "ff02::1",
            "x",
            "",
        ];
        assert!(Interface::new("eth0", None, nowhere).addresses.is_empty());
        let there = ["10.88.0.201", "192.168.1.5/24", "10.88.0.201/16", "2001:DB8::1/64", "fd00::5"];
        let interface = Interface::new("eth0", Some("BC:24:11:00:00:01"), there);
        let addresses: Vec<String> = interface.addresses.iter().map(IpAddr::to_string).collect();
        assert_eq!(addresses, ["10.88.0.201", "192.168.1.5", "2001:db8::1", "fd00::5"]);
        assert_eq!(interface.mac.as_deref(), Some("bc:24:11:00:00:01"));
        assert_eq!(Interface::new("tun0", Some(""), []).mac, None);
        let of = |name: &str| Interface::new(name, None, ["127.0.0.1/8", "127.10.0.1"]).addresses.len();
        assert_eq!((of("lo"), of(""), of("eth0")), (0, 0, 1), "what lies on the loopback interface is its own");
    }
}
