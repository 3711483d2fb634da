//! Which of a guest's addresses are worth a try, and in which order.
//!
//! A guest has more addresses than lead to it. Those of the interfaces that its config gives it come first, `net0` before `net1`:
//! a MAC address tells which these are, and a bridge within the guest bears that of its port. Then come interfaces of which
//! nothing is known, and last tunnels, which lead there only from within. Of an interface IPv4 comes before IPv6, since not
//! every way has IPv6; else the order is that of the guest, which names its primary address first. Private addresses are not
//! told from public ones: which of them is reached depends on where one stands.
//!
//! Networks that the guest makes for containers and VMs of its own are left out. Their addresses (`172.17.0.1`) are the same on
//! every machine with docker, so a login there would go to a stranger, or to the very machine that this program runs on.

use std::collections::BTreeMap;

use crate::engine::port::{GuestConfig, Interface};

/// What the names of interfaces begin with behind which are a machine's own containers and VMs.
const INNER: [&str; 17] = [
    "docker",
    "veth",
    "podman",
    "lxcbr",
    "lxdbr",
    "incusbr",
    "virbr",
    "hassio",
    "cni",
    "flannel",
    "cali",
    "cilium",
    "kube",
    "nodelocaldns",
    "vxlan",
    "weave",
    "tap",
];
/// What the names of tunnels begin with.
const TUNNELS: [&str; 7] = ["tailscale", "wg", "tun", "zt", "ppp", "nebula", "ipsec"];

/// How likely an interface leads to the guest, the likeliest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Rank {
    /// It is the one of this `netN` of the config.
    Own(usize),
    Unknown,
    Tunnel,
}

/// Returns the addresses by which a guest may be reached, the likeliest first.
pub(super) fn likeliest(interfaces: &[Interface], config: &GuestConfig) -> Vec<String> {
    let macs = macs(config);
    let ranked = interfaces.iter().filter_map(|interface| Some((rank(interface, &macs)?, interface)));
    let mut all: Vec<_> = ranked
        .flat_map(|(rank, interface)| interface.addresses.iter().map(move |address| (rank, address.is_ipv6(), address)))
        .collect();
    // Stable: what is alike stays in the order of the guest.
    all.sort_by_key(|(rank, is_v6, _)| (*rank, *is_v6));
    let mut found: Vec<String> = Vec::new();
    for (_, _, address) in all {
        let text = address.to_string();
        if !found.contains(&text) {
            found.push(text);
        }
    }
    found
}

/// Ranks an interface; `None` where it does not lead to the guest.
fn rank(interface: &Interface, macs: &[String]) -> Option<Rank> {
    let begins = |all: &[&str]| all.iter().any(|start| interface.name.starts_with(start));
    let own = interface.mac.as_ref().and_then(|mac| macs.iter().position(|own| own == mac));
    match own {
        Some(net) => Some(Rank::Own(net)),
        None if begins(&INNER) || is_docker_bridge(&interface.name) => None,
        None if begins(&TUNNELS) => Some(Rank::Tunnel),
        None => Some(Rank::Unknown),
    }
}

/// Whether it is a bridge that docker named after a network's number: `br-` and twelve digits.
fn is_docker_bridge(name: &str) -> bool {
    name.strip_prefix("br-").is_some_and(|id| id.len() == 12 && id.bytes().all(|digit| digit.is_ascii_hexdigit()))
}

/// Returns the values of the keys that are a prefix and a number, in order of the number: `net2` comes before `net10`.
fn numbered<'c>(config: &'c GuestConfig, prefix: &str) -> Vec<&'c str> {
    let number = |key: &str| key.strip_prefix(prefix)?.parse::<u32>().ok();
    let found = config.0.iter().filter_map(|(key, value)| Some((number(key)?, value.as_str())));
    found.collect::<BTreeMap<u32, &str>>().into_values().collect()
}

/// Returns the MAC addresses that a config gives a guest (`hwaddr=` of a CT, `virtio=` and the like of a VM), in lower case.
fn macs(config: &GuestConfig) -> Vec<String> {
    let is_mac = |value: &str| {
        let parts: Vec<&str> = value.split(':').collect();
        parts.len() == 6 && parts.iter().all(|part| part.len() == 2 && part.bytes().all(|d| d.is_ascii_hexdigit()))
    };
    let values = numbered(config, "net").into_iter().filter_map(|net| {
        let mut values = net.split(',').filter_map(|part| Some(part.split_once('=')?.1.trim()));
        values.find(|value| is_mac(value))
    });
    values.map(str::to_ascii_lowercase).collect()
}

/// Returns the addresses that a config fixes: of a CT in `netN` (`ip=192.0.2.5/24`), of a VM for cloud-init in `ipconfigN`. `dhcp`,
/// `auto` and `manual` say nothing.
pub(super) fn fixed(config: &GuestConfig) -> Vec<String> {
    let keys = [numbered(config, "net"), numbered(config, "ipconfig")].concat();
    let parts = keys.iter().flat_map(|value| value.split(',')).map(str::trim);
    let told: Vec<&str> = parts.filter_map(|part| part.strip_prefix("ip=").or(part.strip_prefix("ip6="))).collect();
    Interface::new("", None, told).addresses.iter().map(ToString::to_string).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(pairs: &[(&str, &str)]) -> GuestConfig {
        GuestConfig(pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect())
    }

    fn own() -> GuestConfig {
        config(&[
            ("net0", "virtio=BC:24:11:00:00:01,bridge=vmbr0,firewall=1"),
            ("net1", "model=e1000,macaddr=BC:24:11:00:00:02,bridge=vmbr1"),
            ("net10", "virtio=BC:24:11:00:00:10,bridge=vmbr1"),
            ("network", "virtio=BC:24:11:00:00:99"),
        ])
    }

    fn interface(name: &str, mac: &str, addresses: &[&str]) -> Interface {
        Interface::new(name, Some(mac), addresses.iter().copied())
    }

    #[test]
    fn the_interfaces_of_the_config_come_first_and_ipv4_before_ipv6() {
        let all = [
            interface("tailscale0", "", &["100.64.0.7"]),
            interface("ens20", "bc:24:11:00:00:10", &["10.0.10.5"]),
            interface("ens19", "bc:24:11:00:00:02", &["10.0.1.5"]),
            interface("dummy0", "9a:00:00:00:00:01", &["10.9.9.9", "10.0.1.5"]),
            interface("ens18", "bc:24:11:00:00:01", &["2001:db8::5", "192.0.2.5", "192.0.2.80"]),
            interface("vmbr0", "bc:24:11:00:00:01", &["192.0.2.6"]),
        ];
        assert_eq!(
            likeliest(&all, &own()),
            ["192.0.2.5", "192.0.2.80", "192.0.2.6", "2001:db8::5", "10.0.1.5", "10.0.10.5", "10.9.9.9", "100.64.0.7"]
        );
    }

    #[test]
    fn networks_of_containers_of_its_own_are_left_out() {
        let name = |name: &str| likeliest(&[interface(name, "02:42:00:00:00:01", &["172.17.0.1"])], &own());
        for inner in [
            "docker0",
            "docker_gwbridge",
            "br-0123456789ab",
            "veth12ab@if3",
            "virbr0",
            "lxdbr0",
            "cni0",
            "flannel.1",
            "hassio",
        ] {
            assert_eq!(name(inner), [] as [&str; 0], "{inner}");
        }
        for other in ["br0", "br-lan", "br-0123456789xy", "bond0", "eth0", "ens18.20", ""] {
            assert_eq!(name(other), ["172.17.0.1"], "{other}");
        }
        // Whatever its name: the config says that it is the guest's.
        assert_eq!(likeliest(&[interface("veth0", "bc:24:11:00:00:01", &["192.0.2.5"])], &own()), ["192.0.2.5"]);
    }

    #[test]
    fn only_addresses_are_taken_for_addresses() {
        let nets = config(&[
            ("net0", "name=eth0,bridge=vmbr0,ip=192.0.2.5/24,ip6=auto"),
            ("net10", "name=eth10,ip=192.0.2.10/24"),
            ("net2", "name=eth2,ip=dhcp,ip6=2001:db8::5/64"),
            ("ipconfig0", "gw=192.0.2.1,ip=192.0.2.7/24"),
            ("network", "ip=192.0.2.9"),
            ("net3", "ip=nonsense"),
        ]);
        assert_eq!(fixed(&nets), ["192.0.2.5", "2001:db8::5", "192.0.2.10", "192.0.2.7"]);
    }
}
