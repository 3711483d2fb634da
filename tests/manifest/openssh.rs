//! The arguments of `ssh` against OpenSSH itself, where it is installed: `ssh -G` prints what it made of them.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use proxmaint::manifest::{HostKeyPolicy, SshArgs};

/// What `ssh -G` says, by keyword; several values are joined. `None` where it refuses the arguments.
fn openssh(words: &[String]) -> Option<BTreeMap<String, String>> {
    // Without configuration files, so that only the arguments count.
    let output = Command::new("ssh").args(["-G", "-F", "none"]).args(words).arg("h").output().ok()?;
    let mut said: BTreeMap<String, String> = BTreeMap::new();
    for line in String::from_utf8_lossy(&output.stdout).lines() {
        let (keyword, value) = line.split_once(' ').unwrap_or((line, ""));
        said.entry(keyword.to_owned()).and_modify(|all| *all = format!("{all} {value}")).or_insert(value.to_owned());
    }
    output.status.success().then_some(said)
}

fn is_installed() -> bool {
    let version = Command::new("ssh").arg("-V").stdout(Stdio::null()).stderr(Stdio::null()).status();
    version.is_ok_and(|status| status.success())
}

#[test]
fn arguments_mean_what_openssh_takes_them_for() {
    if !is_installed() {
        writeln!(std::io::stderr(), "not run: there is no ssh on this machine to compare with")
            .expect("stderr is open");
        return;
    }
    // Files that exist: OpenSSH leaves others out of what it prints for -i.
    let directory = tempfile::tempdir().unwrap();
    for name in ["a", "b", "c"] {
        std::fs::write(directory.path().join(name), "").unwrap();
    }
    for line in [
        "-p 2222 -p 3333",
        "-p2222 -o Port=3333",
        "-o Port=3333 -p 2222",
        "-oport=24",
        "-o 'PORT 25'",
        "-o ' Port = 26'",
        "-o 'Port \"29\"' -o ''",
        "-l alice -o User=bob",
        "-o user=bob -lalice",
        "-i DIR/a -i DIR/b -o IdentityFile=DIR/c -i DIR/a",
        "-o IdentityFile=DIR/c -iDIR/a",
        "-J a,b@c:1",
        "-J a -o ProxyJump=b",
        "-o ProxyJump=none -o ProxyJump=b",
        "-o StrictHostKeyChecking=no -o StrictHostKeyChecking=yes",
        "-o StrictHostKeyChecking=accept-new",
        "-o StrictHostKeyChecking=ask",
        "-o ConnectTimeout=1m30 -o ServerAliveInterval=1h",
        "-o 'UserKnownHostsFile DIR/a DIR/b' -o UserKnownHostsFile=DIR/c",
        // Refused by both.
        "-p 0",
        "-p x",
        "-o Port",
        "-o 'Port 1 2'",
        "-J a -J b",
        "-J a,,b",
        "-o StrictHostKeyChecking=maybe",
        "-o ConnectTimeout=-1",
        "-o 'UserKnownHostsFile none b'",
    ] {
        let line = line.replace("DIR", directory.path().to_str().unwrap());
        let words = shell_words::split(&line).unwrap();
        let ours = SshArgs::parse(&words, directory.path(), None);
        match (ours, openssh(&words)) {
            (Ok(ours), Some(theirs)) => compare(&line, &ours, &theirs),
            (Err(_), None) => {}
            (ours, theirs) => panic!("{line}: we take it for {ours:?}, OpenSSH for {theirs:?}"),
        }
    }
}

fn compare(line: &str, ours: &SshArgs, theirs: &BTreeMap<String, String>) {
    let said = |keyword: &str| theirs.get(keyword).map(String::as_str);
    let paths = |files: &[std::path::PathBuf]| {
        files.iter().map(|file: &std::path::PathBuf| Path::display(file).to_string()).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(ours.port.unwrap_or(22).to_string(), said("port").unwrap(), "{line}");
    if let Some(user) = &ours.user {
        assert_eq!(Some(user.as_str()), said("user"), "{line}");
    }
    if !ours.identity_files.is_empty() {
        assert_eq!(paths(&ours.identity_files), said("identityfile").unwrap(), "{line}");
    }
    let hops: Vec<_> = ours
        .jumps
        .iter()
        .map(|hop| {
            let user = hop.user.as_ref().map_or_else(String::new, |user| format!("{user}@"));
            let port = hop.port.map_or_else(String::new, |port| format!(":{port}"));
            format!("{user}{}{port}", hop.host)
        })
        .collect();
    assert_eq!(hops.join(","), said("proxyjump").unwrap_or_default(), "{line}");
    let policy = match said("stricthostkeychecking").unwrap() {
        "true" | "ask" => HostKeyPolicy::Strict,
        "false" => HostKeyPolicy::Off,
        _ => HostKeyPolicy::AcceptNew,
    };
    assert_eq!(ours.host_keys.unwrap_or(HostKeyPolicy::Strict), policy, "{line}");
    if let Some(time) = ours.connect_timeout {
        assert_eq!(time.as_secs().to_string(), said("connecttimeout").unwrap(), "{line}");
    }
    let alive = ours.server_alive_interval.unwrap_or_default().as_secs();
    assert_eq!(alive.to_string(), said("serveraliveinterval").unwrap(), "{line}");
    if let Some(files) = &ours.known_hosts_files {
        assert_eq!(paths(files), said("userknownhostsfile").unwrap(), "{line}");
    }
}
