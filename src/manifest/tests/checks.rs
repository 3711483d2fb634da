//! `checks`: what guests are asked before and after their upgrade.

use super::super::Manifest;
use super::{parse, valid};

const HOST: &str = "[[hosts]]\nhost = \"a\"\napi_token_env = \"T\"\napi_secret_env = \"S\"\n";

fn read(lines: &str) -> Manifest {
    valid(&format!("{HOST}{lines}\n"))
}

/// The checks of the host, as people are told of them.
fn told(checks: &str) -> Vec<String> {
    let manifest = read(&format!("checks = [{checks}]"));
    assert_eq!(manifest.warnings, [], "{checks}");
    manifest.hosts[0].wanted.checks.iter().map(ToString::to_string).collect()
}

/// What is wrong with a check, each problem with its first hint, and the line that it points at.
fn wrong(check: &str) -> String {
    let text = format!("{HOST}checks = [{check}]\n");
    let Err(error) = parse(&text) else { panic!("accepted: {text}") };
    let problems = error.problems().iter();
    let told =
        problems.map(|problem| format!("{}; {}", problem.message, problem.hints.first().map_or("", |hint| hint)));
    told.collect::<Vec<_>>().join("\n")
}

#[test]
fn each_kind_with_everything_that_it_may_say() {
    let all = [
        "{ tcp = 443 }",
        "{ tcp = \"53\", host = \"[2001:db8::1]\", name = \"dns\" }",
        "{ http = \"https://{address}:8443/x?y=1\" }",
        "{ http = \"http://shop.example/\", status = [200, 401], text = \"welcome\", redirects = 2, retries = 0 }",
        "{ http = \"https://[2001:db8::1]/\", status = 204, insecure = true, name = \"six\" }",
        "{ command = \"systemctl is-active nginx\" }",
        "{ command = \"exit 3\", exit = 3, name = \"three\", every = \"1s\", timeout = \"1m 30s\", retries = 10 }",
    ];
    assert_eq!(
        told(&all.join(", ")),
        [
            "tcp 443",
            "dns: tcp [2001:db8::1]:53",
            "http https://{address}:8443/x?y=1",
            "http http://shop.example/, status 200 or 401, with \"welcome\", up to 2 redirects, 0 retries",
            "six: http https://[2001:db8::1]/, status 204, any certificate",
            "command systemctl is-active nginx",
            "three: command exit 3, exit 3, 10 retries, every 1000 ms, timeout 90000 ms",
        ]
    );
    let needs: Vec<bool> = read(&format!("checks = [{}]", all.join(", "))).hosts[0]
        .wanted
        .checks
        .iter()
        .map(crate::choices::health::HealthCheck::needs_address)
        .collect();
    assert_eq!(needs, [true, false, true, false, false, false, false]);
}

#[test]
fn what_is_wrong_is_told_with_what_to_write() {
    for (check, expected) in [
        ("{ }", "a check asks nothing; each check has one of `tcp`, `http` and `command`"),
        ("{ tcp = 1, command = \"x\" }", "a check asks more than one thing; each check has one of"),
        ("{ tcp = 0 }", "`tcp` must be a port from 1 to 65535; a name or an address stands in `host`"),
        ("{ tcp = \"db:443\" }", "`tcp` must be a port from 1 to 65535; "),
        ("{ tcp = 1, host = \"https://x/\" }", "`host` is no host name or address; "),
        (
            "{ tcp = 1, status = 200 }",
            "`status` means nothing in a check with `tcp`; it belongs to a check with `http`",
        ),
        ("{ http = \"http://x/\", host = \"y\" }", "`host` means nothing in a check with `http`; "),
        ("{ http = \"x/\" }", "`http`: the address begins with neither http:// nor https://; "),
        ("{ http = \"\" }", "`http` is empty; "),
        ("{ http = \"https:///x\" }", "`http`: there is no host name or address in it; {address} stands for"),
        ("{ http = \"https://x:0/\" }", "`http`: its port is none; "),
        ("{ http = \"https://x/{address}\" }", "`http`: {address} stands only in the place of the host; "),
        (
            "{ http = \"https://x/a b\" }",
            "`http`: the address holds blanks or control characters; write a blank as %20",
        ),
        ("{ http = \"https://x/\", status = 20 }", "`status` must be a status from 100 to 599, or a list of such; "),
        ("{ http = \"https://x/\", status = [200, \"x\"] }", "`status` must be a status from 100 to 599, "),
        ("{ http = \"https://x/\", stauts = 200 }", "a check has no key `stauts`; did you mean `status`?"),
        ("{ command = \" \" }", "`command` is empty; "),
        ("{ command = \"x\", exit = 256 }", "`exit` must be from 0 to 255; "),
        ("{ command = \"x\", retries = 11 }", "`retries` must be from 0 to 10; "),
        ("{ command = \"x\", every = \"2m\" }", "`every` is longer than 1m; a service that needs longer"),
        ("{ command = \"x\", timeout = \"1h\" }", "`timeout` is longer than 2m; "),
        ("{ command = \"x\", timeout = \"soon\" }", "`timeout` is no duration: "),
        ("{ tcp = 1 }, { tcp = 1 }", "`checks`: two checks are called \"tcp 1\"; give one of them another `name`"),
        ("{ tcp = 1, name = \" x\" }", "`name` holds control characters, blanks at its ends, or more than"),
    ] {
        let found = wrong(check);
        assert!(found.starts_with(expected) && !found.contains('\n'), "{check}: {found}");
    }
    let many: Vec<String> = (1..=17).map(|port| format!("{{ tcp = {port} }}")).collect();
    assert!(wrong(&many.join(", ")).starts_with("`checks` has 17 checks; 16 are the most; "));
    let long = format!("{{ command = \"{}\" }}", "x".repeat(2049));
    assert!(wrong(&long).starts_with("`command` is longer than 2048 bytes; "));
}

#[test]
fn a_login_in_an_address_is_refused_and_not_shown() {
    let text = format!("{HOST}checks = [{{ http = \"https://admin:hunter2@x/\" }}]\n");
    let Err(error) = parse(&text) else { panic!("accepted") };
    let shown = format!("{error}\n{error:?}");
    assert!(shown.contains("a login in the address would be journaled"), "{shown}");
    assert!(!shown.contains("hunter2"), "{shown}");
}

#[test]
fn a_rule_goes_before_the_host_and_the_host_before_the_defaults() {
    let manifest = valid(&format!(
        "[defaults]\nchecks = [{{ tcp = 1 }}]\n{HOST}checks = [{{ tcp = 2 }}]\n\
         guests = [{{ id = 104, checks = [] }}, {{ id = 105, checks = [{{ tcp = 3 }}] }}, {{ id = 106, via = \"pct\" }}]\n"
    ));
    let host = &manifest.hosts[0];
    assert_eq!(host.wanted.checks.len(), 1);
    assert_eq!(host.wanted.checks[0].name, "tcp 2");
    let of_rules: Vec<Option<usize>> = host.guests.iter().map(|rule| rule.checks.as_ref().map(Vec::len)).collect();
    assert_eq!(of_rules, [Some(0), Some(1), None], "an empty list takes those of the host away");
}
