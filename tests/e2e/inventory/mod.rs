//! `proxmaint inventory`, against the lab's API and the SSH servers of its guests.

mod dialogue;
mod ends;
mod keys;
mod new_hosts;
mod print;
mod script;

use std::fs;
use std::path::PathBuf;

use proxmaint_lab::ssh::keys::openssh_line;
use proxmaint_lab::world::{MachineId, World, WorldBuilder};

use crate::support::Site;

fn edge(vmid: u32) -> MachineId {
    MachineId::guest("edge1", vmid)
}

/// A node with a web server and a cache in containers, a database in a VM, and a template.
fn world() -> WorldBuilder {
    World::builder()
        .standalone("edge1")
        .ct("edge1", 101, |ct| ct.name("web").ssh_users(&["root"]).pending(1))
        .ct("edge1", 102, |ct| ct.name("cache").stopped())
        .vm("edge1", 201, |vm| vm.name("db").pending(1))
        .vm("edge1", 299, |vm| vm.name("golden").template())
}

/// A lab whose manifest knows of no guest.
fn bare(world: World) -> Site {
    let site = Site::new(world);
    forget_guests(&site);
    site
}

/// Takes all inventories out of the manifest.
fn forget_guests(site: &Site) {
    let mut kept = String::new();
    let mut of_inventory = false;
    for line in text(site).split_inclusive('\n') {
        match line.trim() {
            "[[hosts]]" => of_inventory = false,
            line if line.starts_with("[hosts.guest_inventory]") => of_inventory = true,
            _ => {}
        }
        if !of_inventory {
            kept.push_str(line);
        }
    }
    fs::write(&site.manifest.path, kept).expect("the manifest is written");
}

/// The manifest as it is on disk.
fn text(site: &Site) -> String {
    fs::read_to_string(&site.manifest.path).expect("the manifest")
}

/// What the manifest says of a guest, as `manifest show --output json` understands it.
fn entry(site: &Site, host: &str, vmid: u32) -> serde_json::Value {
    let shown = site.run(&["manifest", "show", "--output", "json"]).expect(0).json();
    let host = shown["hosts"].as_array().expect("hosts").iter().find(|entry| entry["name"] == host).cloned();
    let entries = host.expect("the host")["guest_inventory"]["entries"].clone();
    let id = vmid.to_string();
    let found = entries.as_array().and_then(|all| all.iter().find(|entry| entry["id"] == id).cloned());
    found.unwrap_or_else(|| panic!("no entry for {vmid} in:\n{}", text(site)))
}

/// How often somebody connected to a guest's SSH server.
fn connections(site: &Site, id: &MachineId) -> usize {
    site.lab().ssh.server(id).expect("a server").stats().connections
}

/// Puts the public half of the lab's key beside the private one, and returns where it is.
fn public_key(site: &Site) -> PathBuf {
    let path = site.fleet().join("id_ed25519.pub");
    let line = openssh_line(site.lab().ssh.client_public()).expect("a key");
    fs::write(&path, format!("{line} ops@desk\n")).expect("a file");
    path
}
