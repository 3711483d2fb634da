//! The survey of a host for its inventory, on the lab: through the real API client, and the node's real SSH.

use std::sync::Arc;
use std::time::Duration;

use proxmaint::adapters::outside::FromHere;
use proxmaint::adapters::pve::client::Client;
use proxmaint::adapters::pve::http::{ApiEndpoint, HttpTransport, Limits};
use proxmaint::adapters::pve::tls::Trust;
use proxmaint::adapters::remote::Adapter;
use proxmaint::adapters::remote::over_ssh::SshExec;
use proxmaint::adapters::ssh::{Auth, SshTarget};
use proxmaint::engine::perform::{Sighting, Survey, survey};
use proxmaint::engine::port::HostPorts;
use proxmaint::ids::{GuestId, NodeName};
use proxmaint::inventory::Power;
use proxmaint::machine::outcome::{Fault, FaultClass};
use proxmaint_lab::Lab;
use proxmaint_lab::faults::{Fault as LabFault, RequestFault};
use proxmaint_lab::world::{Acl, Token, World, WorldBuilder};
use tempfile::TempDir;

const NODE: &str = "edge1";

fn builder() -> WorldBuilder {
    World::builder().standalone(NODE)
}

/// A lab, and what a client of it needs.
struct Site {
    lab: Lab,
    desk: TempDir,
}

impl Site {
    async fn start(builder: WorldBuilder) -> Self {
        let lab = Lab::start(builder.build()).await.unwrap();
        Self { lab, desk: tempfile::tempdir().unwrap() }
    }

    fn ports(&self, (name, secret): (String, String), ssh: &str) -> HostPorts {
        let limits = Limits { read: Duration::from_secs(20), change: Duration::from_secs(20), ..Limits::default() };
        let endpoint = ApiEndpoint {
            host: "127.0.0.1".to_owned(),
            port: self.lab.api_addr(NODE).port(),
            trust: Trust::Insecure,
            token: format!("{name}={secret}").into(),
        };
        let address = self.lab.ssh_addr(ssh);
        let mut target = SshTarget::new(address.ip().to_string(), "root", self.desk.path().join("known_hosts"));
        target.port = address.port();
        target.auth =
            Auth { identity_files: vec![self.lab.client_key_path().to_owned()], agent: false, ..Auth::default() };
        target.host_keys.user_known_hosts = Vec::new();
        target.host_keys.global_known_hosts = Vec::new();
        let guest = target.clone();
        HostPorts {
            outside: Arc::new(FromHere),
            pve: Arc::new(Client::new(HttpTransport::with_limits(&endpoint, limits).unwrap())),
            remote: Arc::new(Adapter::new(SshExec::new(target, Box::new(move |_, _| guest.clone())))),
            addresses: std::collections::BTreeMap::new(),
            ssh_known: Arc::new(|_| false),
        }
    }

    async fn survey(&self) -> Survey {
        survey(&self.ports(self.lab.token(NODE), NODE), None, 4).await.unwrap()
    }

    /// No call for the interfaces of containers is known, as before Proxmox VE had it.
    fn is_older(&self) {
        let effect = RequestFault::Status {
            code: 501,
            reason: Some("Method 'GET /nodes/edge1/lxc/101/interfaces' not implemented".to_owned()),
        };
        let fault = LabFault::request("GET", "/nodes/*/lxc/*/interfaces", effect).times(0);
        self.lab.with(|world, _| world.faults.plant(fault));
    }

    fn assert_untouched(&self) {
        let entries = self.lab.with(|world, _| world.ledger.entries().to_vec());
        assert!(entries.is_empty(), "a survey changes nothing: {entries:?}");
    }
}

fn of(survey: &Survey, id: u32) -> &Sighting {
    survey.guests.iter().find(|guest| guest.id == GuestId(id)).unwrap_or_else(|| panic!("no {id} in {survey:?}"))
}

/// What is known of where a guest is: its addresses, or why there are none.
fn place(survey: &Survey, id: u32) -> Result<Vec<&str>, &str> {
    let guest = of(survey, id);
    match &guest.unaddressed {
        None => Ok(guest.addresses.iter().map(String::as_str).collect()),
        Some(why) => {
            assert!(guest.addresses.is_empty(), "{guest:?}");
            Err(why)
        }
    }
}

#[tokio::test]
async fn guests_with_what_they_are_and_where() {
    let world = builder()
        .ct(NODE, 101, |ct| ct.name("web").tags(&["prod", "web"]).pool("north").docker())
        .ct(NODE, 102, |ct| ct.stopped())
        .ct(NODE, 103, |ct| ct.stopped().config("net0", "name=eth0,bridge=vmbr0,ip=dhcp,hwaddr=BC:24:11:00:00:03"))
        .ct(NODE, 104, |ct| ct.addresses(&[]).config("net0", "name=eth0,bridge=vmbr0,ip=dhcp,hwaddr=BC:24:11:00:00:04"))
        .vm(NODE, 201, |vm| vm.name("db").ssh_users(&[]).addresses(&["2001:db8::5", "192.0.2.5"]).docker())
        .vm(NODE, 202, |vm| vm.ssh_users(&[]).no_agent())
        .vm(NODE, 203, |vm| vm.ssh_users(&[]).silent_agent())
        .vm(NODE, 204, |vm| vm.ssh_users(&[]).addresses(&[]))
        .vm(NODE, 205, |vm| vm.ssh_users(&[]).no_agent().config("ipconfig0", "ip=192.0.2.7/24,gw=192.0.2.1"))
        .vm(NODE, 900, |vm| vm.template().config("ipconfig0", "ip=192.0.2.9/24"));
    let site = Site::start(world).await;
    let found = site.survey().await;
    assert_eq!((found.node.as_str(), &found.unseen), (NODE, &None));
    assert!(!found.ca.as_str().is_empty());
    let ids: Vec<u32> = found.guests.iter().map(|guest| guest.id.0).collect();
    assert_eq!(ids, [101, 102, 103, 104, 201, 202, 203, 204, 205, 900]);
    let web = of(&found, 101);
    assert_eq!((web.name.as_str(), web.power, web.template), ("web", Power::Running, false));
    assert_eq!((web.tags.join(" "), web.pool.as_deref()), ("prod web".to_owned(), Some("north")));
    assert!(web.identity.as_deref().is_some_and(|identity| identity.contains("subvol-101-disk-0")), "{web:?}");
    assert!(of(&found, 900).template);

    assert_eq!(place(&found, 101), Ok(vec!["10.88.0.102"]), "without docker's own networks");
    assert_eq!(place(&found, 102), Ok(vec!["10.88.0.103"]), "its config says where it will be");
    assert_eq!(place(&found, 103), Err("is off"));
    assert_eq!(place(&found, 104), Err("has no address yet"));
    assert_eq!(place(&found, 201), Ok(vec!["192.0.2.5", "2001:db8::5"]));
    assert_eq!(place(&found, 202), Err("its guest agent is not enabled"));
    let silent = place(&found, 203).unwrap_err();
    assert!(silent.starts_with("its guest agent does not answer"), "{silent}");
    assert_eq!(place(&found, 204), Err("its guest agent names no address yet"));
    assert_eq!(place(&found, 205), Ok(vec!["192.0.2.7"]), "what cloud-init was told");
    assert_eq!(place(&found, 900), Err("is a template"));
    site.assert_untouched();
}

#[tokio::test]
async fn an_older_version_is_asked_through_the_containers() {
    let world =
        builder()
            .ct(NODE, 101, |ct| ct.docker().addresses(&["192.0.2.5", "2001:db8::5"]))
            .ct(NODE, 102, |ct| ct.os(proxmaint_lab::world::Os::Alpine322).addresses(&["192.0.2.6"]));
    let site = Site::start(world).await;
    site.is_older();
    let found = site.survey().await;
    assert_eq!(place(&found, 101), Ok(vec!["192.0.2.5", "2001:db8::5"]));
    assert_eq!(place(&found, 102), Ok(vec!["192.0.2.6"]));
    site.assert_untouched();
}

#[tokio::test]
async fn a_container_of_another_node_is_not_asked() {
    let dhcp = "name=eth0,bridge=vmbr0,ip=dhcp,hwaddr=BC:24:11:00:00:01";
    let world = builder()
        .standalone("edge2")
        .ct(NODE, 101, |ct| ct.config("net0", dhcp))
        .ct("edge2", 101, |ct| ct.addresses(&["192.0.2.66"]));
    let site = Site::start(world).await;
    site.is_older();
    // SSH leads to edge2, where 101 is somebody else.
    let found = survey(&site.ports(site.lab.token(NODE), "edge2"), None, 4).await.unwrap();
    let why = place(&found, 101).unwrap_err();
    assert!(why.contains("not implemented") && why.contains("SSH leads to edge2"), "{why}");
}

#[tokio::test]
async fn a_node_that_is_another_one_than_named_is_refused() {
    let site = Site::start(builder()).await;
    let named = NodeName::new("edge7");
    let fault: Fault = survey(&site.ports(site.lab.token(NODE), NODE), Some(&named), 4).await.unwrap_err();
    assert_eq!(fault.class, FaultClass::Identity);
    assert!(fault.what.contains("edge7") && fault.what.contains(NODE), "{fault}");
}

#[tokio::test]
async fn what_a_token_may_not_is_told_by_its_name() {
    let token = |id: &str, acl: &[(&str, &[&str])]| Token {
        user: "looker@pve".to_owned(),
        id: id.to_owned(),
        secret: "00000000-0000-4000-8000-000000000001".to_owned(),
        acl: Some(Acl::of(acl)),
    };
    let sees = token("sees", &[("/", &["Sys.Audit", "VM.Audit"])]);
    let partly = token("partly", &[("/", &["Sys.Audit"]), ("/vms/101", &["VM.Audit"])]);
    let blind_to_one = token("blind", &[("/", &["Sys.Audit", "VM.Audit"]), ("/vms/101", &["VM.PowerMgmt"])]);
    let user = Acl::of(&[("/", &["Sys.Audit", "VM.Audit", "VM.PowerMgmt"])]);
    let world = builder()
        .user(NODE, "looker@pve", user)
        .token(NODE, sees.clone())
        .token(NODE, partly.clone())
        .token(NODE, blind_to_one.clone())
        .ct(NODE, 101, |ct| ct.addresses(&["192.0.2.5"]))
        .vm(NODE, 201, |vm| vm.ssh_users(&[]));
    let site = Site::start(world).await;
    let as_token = async |token: &Token| {
        let ports = site.ports((token.full_id(), token.secret.clone()), NODE);
        survey(&ports, None, 4).await.unwrap()
    };
    let found = as_token(&sees).await;
    assert_eq!((place(&found, 101), &found.unseen), (Ok(vec!["192.0.2.5"]), &None));
    let why = place(&found, 201).unwrap_err();
    assert!(why.contains("VM.GuestAgent.Audit") && why.contains("/vms/201"), "{why}");
    for (token, count) in [(&partly, 1), (&blind_to_one, 1)] {
        let found = as_token(token).await;
        assert_eq!(found.guests.len(), count, "{found:?}");
        assert!(found.unseen.as_deref().is_some_and(|why| why.contains("VM.Audit")), "{found:?}");
    }
}
