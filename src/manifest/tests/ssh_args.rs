//! The arguments of `ssh`, as OpenSSH's client takes them (seen with `ssh -G`).

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::super::{HostKeyPolicy, JumpHost, SshArgs, SshArgsError};
use super::{parse as parse_manifest, valid};

fn parse(line: &str) -> Result<SshArgs, Vec<SshArgsError>> {
    let words = shell_words::split(line).unwrap();
    SshArgs::parse(&words, Path::new("/etc/fleet"), Some(Path::new("/home/op")))
}

fn args(line: &str) -> SshArgs {
    parse(line).unwrap_or_else(|errors| panic!("{line}: {errors:?}"))
}

fn hop(user: Option<&str>, host: &str, port: Option<u16>) -> JumpHost {
    JumpHost { user: user.map(str::to_owned), host: host.to_owned(), port }
}

#[test]
fn the_first_port_wins() {
    for (line, port) in [
        ("", None),
        ("-p 2222", Some(2222)),
        ("-p2222", Some(2222)),
        ("-p 2222 -p 3333", Some(2222)),
        ("-p 2222 -o Port=3333", Some(2222)),
        ("-o Port=3333 -p 2222", Some(3333)),
        ("-oPort=22", Some(22)),
        ("-oport=24", Some(24)),
        ("-o 'PORT 25'", Some(25)),
        ("-o ' Port = 26'", Some(26)),
        ("-o 'Port \"29\"'", Some(29)),
        ("-o 'Port\t31'", Some(31)),
        ("-o Port=023", Some(23)),
        ("-p ' 2222'", Some(2222)),
        ("-o 'Port=22 #x'", Some(22)),
        ("-o '' -o '# nothing' -p 1", Some(1)),
    ] {
        assert_eq!(args(line), SshArgs { port, ..SshArgs::default() }, "{line}");
    }
}

#[test]
fn the_first_user_wins() {
    for (line, user) in [
        ("-l alice", "alice"),
        ("-lalice -l bob", "alice"),
        ("-o User=bob -l alice", "bob"),
        ("-l alice -o User=bob", "alice"),
        ("-o uSER=bob", "bob"),
    ] {
        assert_eq!(args(line).user.as_deref(), Some(user), "{line}");
    }
}

#[test]
fn a_user_among_the_arguments_goes_before_the_key() {
    let manifest = |args: &str| {
        valid(&format!(
            "[[hosts]]\nhost = \"a\"\nuser = \"carol\"\napi_token_env = \"T\"\napi_secret_env = \"S\"\nssh_extra_args = [{args}]"
        ))
    };
    assert_eq!(manifest("").hosts[0].ssh.login(), "carol");
    let with_args = manifest("\"-l alice\", \"-p 2222\"");
    assert_eq!((with_args.hosts[0].ssh.login(), with_args.hosts[0].ssh.port()), ("alice", 2222));
    assert_eq!(with_args.hosts[0].ssh.user, "carol");
}

#[test]
fn identity_files_add_up() {
    let files = |line: &str| -> Vec<String> {
        args(line).identity_files.iter().map(|file| file.display().to_string()).collect()
    };
    assert_eq!(files("-i a -i /b -o IdentityFile=c -i a"), ["/etc/fleet/a", "/b", "/etc/fleet/c"]);
    assert_eq!(files("-o IdentityFile=c -ia"), ["/etc/fleet/c", "/etc/fleet/a"]);
    assert_eq!(
        files("-o 'IdentityFile=\"k a\"' -i ~/x -i '~' -i %d/y -i 100%%"),
        ["/etc/fleet/k a", "/home/op/x", "/home/op", "/home/op/y", "/etc/fleet/100%"]
    );
    // `none` is a word of the keyword alone.
    assert_eq!(files("-i none"), ["/etc/fleet/none"]);
    let none = args("-o IdentityFile=none -i a");
    assert_eq!((none.no_default_identities, none.identity_files.len()), (true, 1));
}

#[test]
fn the_key_of_the_manifest_comes_first() {
    let manifest = valid(
        "[[hosts]]\nhost = \"a\"\nidentity_file = \"k\"\napi_token_env = \"T\"\napi_secret_env = \"S\"\n\
         ssh_extra_args = \"-i other -i k\"\nguest_ssh_extra_args = \"-o IdentityFile=none\"",
    );
    let host = &manifest.hosts[0];
    assert_eq!(host.ssh.identity_files(), [Path::new("/etc/fleet/k"), Path::new("/etc/fleet/other")]);
    assert!(!host.ssh.offers_default_identities());
    assert!(host.guest_ssh.identity_files().is_empty() && !host.guest_ssh.offers_default_identities());
}

#[test]
fn jump_hosts_are_chains() {
    let a = || hop(None, "a", None);
    for (line, jumps) in [
        ("-J a", vec![a()]),
        ("-Ja,b", vec![a(), hop(None, "b", None)]),
        ("-J a -o ProxyJump=b", vec![a()]),
        ("-o ProxyJump=a -o ProxyJump=b", vec![a()]),
        ("-o ProxyJump=none -o ProxyJump=b", vec![]),
        ("-J none", vec![]),
        ("-J NONE", vec![]),
        ("-o 'ProxyJump a # x'", vec![a()]),
        ("-J u@[::1]:22,ssh://x@y:23/", vec![hop(Some("u"), "::1", Some(22)), hop(Some("x"), "y", Some(23))]),
        ("-J b@c@d:1", vec![hop(Some("b@c"), "d", Some(1))]),
        ("-J a:", vec![a()]),
        ("-J u%40x@a", vec![hop(Some("u%40x"), "a", None)]),
        ("-J ssh://u%40x@a", vec![hop(Some("u@x"), "a", None)]),
        ("-J 'ssh://u;fingerprint=x@a'", vec![hop(Some("u"), "a", None)]),
        ("-J SSH://[fe80::1%25eth0]:33", vec![hop(None, "fe80::1%25eth0", Some(33))]),
    ] {
        assert_eq!(args(line).jumps, jumps, "{line}");
    }
}

#[test]
fn host_keys_and_times() {
    use HostKeyPolicy::{AcceptNew, Off, Strict};
    for (value, policy) in [
        ("yes", Strict),
        ("ask", Strict),
        ("TRUE", Strict),
        ("Accept-New", AcceptNew),
        ("no", Off),
        ("off", Off),
        ("false", Off),
    ] {
        let line = format!("-o StrictHostKeyChecking={value} -o StrictHostKeyChecking=yes");
        assert_eq!(args(&line).host_keys, Some(policy), "{value}");
    }
    for (value, seconds) in
        [("5", 5), ("5s", 5), ("1m", 60), ("1M30", 90), ("1h", 3600), ("1w2d", 777_600), ("2147483647", 2_147_483_647)]
    {
        let parsed = args(&format!("-o ConnectTimeout={value} -o 'ServerAliveInterval {value}'"));
        assert_eq!(parsed.connect_timeout, Some(Duration::from_secs(seconds)), "{value}");
        assert_eq!(parsed.server_alive_interval, Some(Duration::from_secs(seconds)), "{value}");
    }
    let off = args("-o ConnectTimeout=none -o ConnectTimeout=5 -o ServerAliveInterval=0 -o ServerAliveInterval=5");
    assert_eq!((off.connect_timeout, off.server_alive_interval), (None, Some(Duration::ZERO)));
}

#[test]
fn known_hosts_files_are_a_list() {
    let files = |line: &str| args(line).known_hosts_files;
    let paths = |paths: &[&str]| Some(paths.iter().map(PathBuf::from).collect::<Vec<_>>());
    assert_eq!(files("-p 1"), None);
    assert_eq!(files("-o UserKnownHostsFile=/dev/null"), paths(&["/dev/null"]));
    assert_eq!(files("-o 'UserKnownHostsFile a ~/b' -o UserKnownHostsFile=c"), paths(&["/etc/fleet/a", "/home/op/b"]));
    assert_eq!(files("-o 'UserKnownHostsFile=\"a b\" c'"), paths(&["/etc/fleet/a b", "/etc/fleet/c"]));
    assert_eq!(files("-o UserKnownHostsFile=none"), paths(&[]));
}

#[test]
fn what_openssh_refuses_is_refused() {
    for line in [
        "-p 0",
        "-p 65536",
        "-p ''",
        "-p 22x",
        "-p",
        "-o Port",
        "-o Port=",
        "-o Port==3",
        "-o 'Port=27 28'",
        "-o",
        "-J ''",
        "-J a,,b",
        "-J a,",
        "-J u@::1",
        "-J ::1:22",
        "-J h:99999",
        "-J ssh://u@h:0",
        "-J [::1",
        "-J [::1]x",
        "-J ssh://a/path",
        "-J @a",
        "-J a -J b",
        "-o ProxyJump=a -J b",
        "-J none -J b",
        "-o StrictHostKeyChecking=maybe",
        "-o ConnectTimeout=-1",
        "-o ConnectTimeout=x",
        "-o 'ConnectTimeout 5 6'",
        "-o ServerAliveInterval=1y",
        "-o ConnectTimeout=2147483648",
        "-o ConnectTimeout=99999999999999999999",
        "-o 'User a b'",
        "-o UserKnownHostsFile=",
        "-o 'UserKnownHostsFile none b'",
        "-o 'IdentityFile a b'",
    ] {
        assert_eq!(parse(line).map_err(|errors| errors.len()), Err(1), "{line}");
    }
}

#[test]
fn what_would_silently_do_nothing_is_refused() {
    for (line, error) in [
        ("-v", "ssh option `-v` is not supported"),
        ("-4p 22", "ssh option `-4p` is not supported"),
        ("-o ForwardAgent=yes", "ssh option `-o ForwardAgent` is not supported"),
        ("-oooPort=1", "ssh option `-o ooPort` is not supported"),
        ("pve1", "`pve1` is no ssh option"),
        ("--", "ssh option `--` is not supported"),
        ("-", "`-` is no ssh option"),
        ("''", "`` is no ssh option"),
        ("-i ~bob/key", "the file of `-i` can't be told: the home directory of another user (`~bob`) is not looked up"),
        ("-i %h", "the file of `-i` can't be told: `%h` is not expanded here"),
        ("-o 'IdentityFile=${KEYS}/a'", "the file of `-o IdentityFile` can't be told: `${KEYS}` is not expanded here"),
        ("-J a,none", "the jump host of `-J` can't be told: `none` must stand alone"),
        ("-J a,b,c,d,e,f,g,h,i", "the jump host of `-J` can't be told: 9 hosts are more than the 8 that are followed"),
    ] {
        let errors = parse(line).unwrap_err();
        // After `-4p` its value is a stray word of its own.
        assert_eq!(errors[0].to_string(), error, "{line}");
    }
    let without_home = SshArgs::parse(&["-i~/key".to_owned()], Path::new("/etc/fleet"), None).unwrap_err();
    assert_eq!(without_home[0].to_string(), "the file of `-i` can't be told: `~` can't be expanded: HOME is not set");
}

#[test]
fn every_bad_word_is_told_with_its_item() {
    let text = "[[hosts]]\nhost = \"a\"\napi_token_env = \"T\"\napi_secret_env = \"S\"\n\
                ssh_extra_args = [\"-p 22\", \"-v -p x\", \"-J a\", \"-o\"]";
    let error = parse_manifest(text).unwrap_err();
    let places: Vec<_> = error.problems().iter().map(|p| (p.place.line, p.place.column)).collect();
    assert_eq!(places, [(5, 28), (5, 28), (5, 47)], "{error}");
}
