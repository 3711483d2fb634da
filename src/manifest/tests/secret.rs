//! Credentials from an environment that is a table.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;

use secrecy::ExposeSecret;

use crate::ids::{GuestId, GuestKind, HostId};

use super::super::{CredentialErrors, Credentials};
use super::valid;

const MANIFEST: &str = r#"
[[hosts]]
host = "pve1"
api.token_env = "T1"
api.secret_env = "S1"
guest_inventory.entries = [
    { kind = "vm", id = "201", password_env = "P201", password = "unused" },
    { kind = "vm", id = "202", password = "from-the-manifest" },
    { kind = "vm", id = "203", managed = false, password_env = "P203" },
    { kind = "ct", id = "204" },
]

[[hosts]]
host = "pve2"
api.token_env = "T2"
api.secret_env = "S2"
"#;

fn resolve(env: &[(&str, &str)]) -> Result<Credentials, CredentialErrors> {
    let env: BTreeMap<&str, OsString> = env.iter().map(|(name, value)| (*name, value.into())).collect();
    Credentials::resolve(&valid(MANIFEST).hosts, &|name| env.get(name).cloned())
}

const GOOD: [(&str, &str); 5] =
    [("T1", "root@pam!maint"), ("S1", "s-1"), ("P201", " p 201 "), ("T2", "x@y@pve!t"), ("S2", "s-2\n")];

/// The good environment with one variable set differently, or taken away.
fn but(name: &str, value: Option<&str>) -> Result<Credentials, CredentialErrors> {
    let others = GOOD.into_iter().filter(|(other, _)| *other != name);
    resolve(&others.chain(value.map(|value| (name, value))).collect::<Vec<_>>())
}

fn header(credentials: &Credentials, host: &str) -> String {
    credentials.host(&HostId::new(host)).unwrap().api.header().expose_secret().to_owned()
}

#[test]
fn tokens_and_passwords_are_found() {
    let credentials = resolve(&GOOD).unwrap();
    assert_eq!(header(&credentials, "pve1"), "PVEAPIToken=root@pam!maint=s-1");
    assert_eq!(header(&credentials, "pve2"), "PVEAPIToken=x@y@pve!t=s-2");
    let pve1 = credentials.host(&HostId::new("pve1")).unwrap();
    assert_eq!(pve1.api.id(), "root@pam!maint");
    let passwords: Vec<_> = pve1.guest_passwords.iter().map(|(guest, p)| (*guest, p.expose_secret())).collect();
    let vm = |id| (GuestKind::Vm, GuestId(id));
    assert_eq!(passwords, [(vm(201), " p 201 "), (vm(202), "from-the-manifest")]);
    assert!(credentials.host(&HostId::new("pve3")).is_none());
}

#[test]
fn a_token_may_hold_its_secret() {
    for token in ["root@pam!maint=u-u", "PVEAPIToken=root@pam!maint=u-u", " root@pam!maint=u-u\n"] {
        let both = but("T1", Some(token)).unwrap();
        assert_eq!(header(&both, "pve1"), "PVEAPIToken=root@pam!maint=s-1", "the variable of the secret goes first");
        let env: Vec<_> =
            GOOD.into_iter().filter(|(name, _)| !["T1", "S1"].contains(name)).chain([("T1", token)]).collect();
        assert_eq!(header(&resolve(&env).unwrap(), "pve1"), "PVEAPIToken=root@pam!maint=u-u");
    }
}

#[test]
fn everything_that_is_missing_is_told_at_once() {
    insta::assert_snapshot!(resolve(&[("T1", ""), ("S2", "  ")]).unwrap_err(), @"
    pve1: environment variable T1 is empty (named by api.token_env: USER@REALM!TOKENID)
    pve1: environment variable S1 is not set (named by api.secret_env: the token's secret)
    pve1: environment variable P201 is not set (named by password_env of VM 201)
    pve2: environment variable T2 is not set (named by api.token_env: USER@REALM!TOKENID)
    pve2: environment variable S2 is empty (named by api.secret_env: the token's secret)
    ");
}

#[test]
fn only_the_hosts_of_the_run_are_asked_for() {
    let manifest = valid(MANIFEST);
    let env = |name: &str| GOOD.iter().skip(3).find(|(n, _)| *n == name).map(|(_, value)| value.into());
    let credentials = Credentials::resolve(manifest.hosts.iter().filter(|host| host.host == "pve2"), &env).unwrap();
    assert!(credentials.host(&HostId::new("pve1")).is_none());
}

#[test]
fn what_is_no_token_is_refused_and_not_shown() {
    for (name, value) in [
        ("T1", "hidden"),
        ("T1", "root!hidden"),
        ("T1", "root@pam!"),
        ("T1", "@pam!hidden"),
        ("T1", "root@!hidden"),
        ("T1", "root@pam!hid den"),
        ("T1", "root@pam!maint="),
        ("T1", "root@pam!maint\r\nX-Header: hidden"),
        ("S1", "hidden\r\nX-Header: hidden"),
        ("S1", "hidd\u{e9}n"),
    ] {
        let error = but(name, Some(value)).unwrap_err();
        let text = error.to_string();
        assert!(text.contains(&format!("{name} does not hold what it should")), "{value:?}: {text}");
        assert!(!format!("{text}{error:?}").contains("hid"), "{text}");
    }
    let manifest = valid(MANIFEST);
    let not_text = |_: &str| Some(OsString::from_vec(vec![0xff, 0xfe]));
    let error = Credentials::resolve(&manifest.hosts, &not_text).unwrap_err();
    assert!(error.to_string().starts_with("pve1: environment variable T1 is not UTF-8 text"), "{error}");
}

#[test]
fn debug_output_holds_no_secret() {
    let text = format!("{:?} {:?}", resolve(&GOOD).unwrap(), valid(MANIFEST));
    for secret in ["s-1", "s-2", "p 201", "from-the-manifest", "unused"] {
        assert!(!text.contains(secret), "{secret}");
    }
}
