//! The lab: a simulated Proxmox VE world with its HTTPS API and SSH, for tests and for the demo.
//!
//! It is an independent judge: it shares no code with the tool that it tests. [`world`] is the model, synchronous and without a
//! clock; [`api`] answers requests to it; [`Lab`] puts it into real time behind real sockets on loopback.
//!
//! ```no_run
//! # async fn demo() -> std::io::Result<()> {
//! use proxmaint_lab::{Lab, world::World};
//!
//! let world = World::builder().cluster("lab", ["pve1", "pve2"]).ct("pve1", 101, |ct| ct.pending(3)).build();
//! let lab = Lab::start(world).await?;
//! println!("https://{}", lab.api_addr("pve1"));
//! # Ok(())
//! # }
//! ```
#![allow(clippy::disallowed_methods, reason = "the lab is the outside world: it has a clock and runs programs")]

pub mod access;
pub mod api;
pub mod check;
pub mod control;
pub mod executable;
pub mod faults;
pub mod fleet;
pub mod ledger;
pub mod live;
pub mod services;
pub mod shim;
pub mod ssh;
pub mod tls;
pub mod world;

use std::io;
use std::net::SocketAddr;

use api::ApiServers;
use live::Live;
use services::Services;
use shim::{Shims, Stage};
use ssh::SshHosts;
use world::{Time, World};

/// A running lab. When it is dropped its servers stop, the processes of its machines are killed, and its directory is removed.
#[derive(Debug)]
pub struct Lab {
    /// The world in real time.
    pub live: Live,
    /// The API servers.
    pub api: ApiServers,
    /// The SSH servers.
    pub ssh: SshHosts,
    /// What guests do for others.
    pub services: Services,
    /// The machines' processes and files.
    pub shims: Shims,
    // Last: what is in it is in use until the others are gone.
    dir: tempfile::TempDir,
}

impl Lab {
    /// Starts the servers of a world.
    ///
    /// # Errors
    /// A socket or a certificate that cannot be had.
    pub async fn start(mut world: World) -> io::Result<Self> {
        let configs = tls::issue(&mut world)?;
        ssh::hosts::assign_addresses(&mut world);
        let live = Live::new(world);
        let dir = tempfile::Builder::new().prefix("proxmaint-lab-").tempdir()?;
        let id = dir.path().file_name().unwrap_or_default().to_string_lossy().into_owned();
        let services = Services::start(&live).await?;
        let shims = Shims::start(Stage::new(dir.path(), &id, live.clone())?)?;
        let ssh = SshHosts::start(shims.stage()).await?;
        let api = ApiServers::start(&live, configs).await?;
        Ok(Self { live, api, ssh, services, shims, dir })
    }

    /// Returns the lab's own directory: machines' files, the client's key.
    pub fn dir(&self) -> &std::path::Path {
        self.dir.path()
    }

    /// Looks at the world, or changes it, at the present time.
    pub fn with<T>(&self, f: impl FnOnce(&mut World, Time) -> T) -> T {
        self.live.with(f)
    }

    /// Returns a copy of the world as it is now.
    pub fn world(&self) -> World {
        self.with(|world, _| world.clone())
    }

    /// Returns where the API of a node is.
    ///
    /// # Panics
    /// A node that is not there is a mistake of the test.
    pub fn api_addr(&self, node: &str) -> SocketAddr {
        self.api.addr(node).unwrap_or_else(|| panic!("the lab has no node {node}"))
    }

    /// Returns the certificate of the CA of a cluster or of a node's realm, as PEM.
    ///
    /// # Panics
    /// A cluster or node that is not there is a mistake of the test.
    pub fn ca_pem(&self, cluster_or_node: &str) -> String {
        let found = self.with(|world, _| {
            let realm = world.realms.get(cluster_or_node).or_else(|| world.realm_of(cluster_or_node));
            realm.map(|r| r.ca.pem.clone())
        });
        found.unwrap_or_else(|| panic!("the lab has no cluster or node {cluster_or_node}"))
    }

    /// Returns the SHA-256 fingerprint of a node's certificate, upper case with colons.
    ///
    /// # Panics
    /// A node that is not there is a mistake of the test.
    pub fn fingerprint(&self, node: &str) -> String {
        let found = self.with(|world, _| world.nodes.get(node).map(|n| n.cert.fingerprint.clone()));
        found.unwrap_or_else(|| panic!("the lab has no node {node}"))
    }

    /// Returns the name (`root@pam!lab`) and the secret of the token that may do everything on a node, as a manifest's
    /// environment variables hold them.
    ///
    /// # Panics
    /// A node that is not there is a mistake of the test.
    pub fn token(&self, node: &str) -> (String, String) {
        let found = self.with(|world, _| {
            let token = world.realm_of(node)?.tokens.first()?;
            Some((token.full_id(), token.secret.clone()))
        });
        found.unwrap_or_else(|| panic!("the lab has no node {node}"))
    }
}
