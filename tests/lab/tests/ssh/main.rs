//! The SSH side of the lab, seen by a real client.

#![allow(clippy::disallowed_methods, reason = "tests run programs and read the clock")]

mod client;
mod commands;
mod nodes;
mod packages;
mod server;

use proxmaint_lab::world::{Os, World, WorldBuilder};

/// One node that stands alone, a Debian and an Alpine container, a stopped one, two VMs.
fn small() -> WorldBuilder {
    World::builder()
        .standalone("edge1")
        .node("edge1", |node| node.pending(2))
        .ct("edge1", 101, |ct| ct.name("web").pending(3))
        .ct("edge1", 102, |ct| ct.name("dns").os(Os::Alpine322).pending(2))
        .ct("edge1", 103, |ct| ct.name("off").stopped())
        .ct("edge1", 104, |ct| ct.name("shell").ssh_users(&["root"]))
        .vm("edge1", 201, |vm| {
            vm.name("db").os(Os::Ubuntu2404).pending(2).ssh_users(&["root", "ops"]).password("secret")
        })
        .vm("edge1", 202, |vm| vm.name("mail"))
}
