//! `dpkg` and `dpkg-query`.

use std::sync::Arc;

use super::{no_machine, not_simulated};
use crate::shim::call::{Answer, Call, Streams};
use crate::shim::stage::Stage;
use crate::world::{Asker, Machine, Packages};

pub(super) async fn dpkg(stage: &Arc<Stage>, call: &Call, streams: &mut Streams) -> Answer {
    let looked = stage.with(|world, _| world.machine(&call.machine).cloned());
    let Some(machine) = looked else { return no_machine(call, streams).await };
    match call.words().as_slice() {
        ["--audit" | "-C"] => streams.done(&audit(&machine.packages)).await,
        ["--configure", "-a" | "--pending"] | ["-a" | "--pending", "--configure"] => {
            let asker = Asker::ssh(call.login());
            match stage.with(|world, now| world.configure_packages(now, &call.machine, &asker)) {
                Ok(names) => {
                    let version = |name: &String| machine.packages.installed.get(name).cloned().unwrap_or_default();
                    let line = |name: &String| format!("Setting up {name} ({}) ...\n", version(name));
                    streams.done(&names.iter().map(line).collect::<String>()).await
                }
                Err(why) => streams.fail(2, &format!("dpkg: error: {why}")).await,
            }
        }
        ["--print-architecture"] => streams.done("amd64\n").await,
        ["--version"] => streams.done("Debian 'dpkg' package management program version 1.22.21 (amd64).\n").await,
        ["-l" | "--list", names @ ..] => {
            let text = format(&machine, "${db:Status-Abbrev} ${binary:Package;-24} ${Version;-24} amd64\\n", names);
            tell(text, "dpkg-query", streams).await
        }
        ["-s" | "--status", name] => {
            let text = format(&machine, "Package: ${Package}\\nStatus: ${Status}\\nVersion: ${Version}\\n", &[name]);
            tell(text, "dpkg-query", streams).await
        }
        _ => not_simulated(call, streams).await,
    }
}

pub(super) async fn query(stage: &Arc<Stage>, call: &Call, streams: &mut Streams) -> Answer {
    let looked = stage.with(|world, _| world.machine(&call.machine).cloned());
    let Some(machine) = looked else { return no_machine(call, streams).await };
    let (mut show, mut pattern, mut names) = (false, "${binary:Package}\\t${Version}\\n".to_owned(), Vec::new());
    let mut args = call.args.iter().map(String::as_str);
    while let Some(arg) = args.next() {
        match arg {
            "-W" | "--show" => show = true,
            "-f" | "--showformat" => args.next().unwrap_or_default().clone_into(&mut pattern),
            long if long.starts_with("--showformat=") => long["--showformat=".len()..].clone_into(&mut pattern),
            short if short.starts_with("-f=") => short[3..].clone_into(&mut pattern),
            short if short.starts_with("-f") => short[2..].clone_into(&mut pattern),
            short if short.starts_with("-Wf") => {
                show = true;
                match &short[3..] {
                    "" => args.next().unwrap_or_default().clone_into(&mut pattern),
                    rest => rest.trim_start_matches('=').clone_into(&mut pattern),
                }
            }
            option if option.starts_with('-') => return not_simulated(call, streams).await,
            name => names.push(name),
        }
    }
    if !show {
        return not_simulated(call, streams).await;
    }
    tell(format(&machine, &pattern, &names), "dpkg-query", streams).await
}

async fn tell(found: (String, Vec<String>), tool: &str, streams: &mut Streams) -> Answer {
    let (text, missing) = found;
    streams.out(&text).await;
    for name in &missing {
        streams.err(&format!("{tool}: no packages found matching {name}\n")).await;
    }
    Answer::Exit(i32::from(!missing.is_empty()))
}

/// What `dpkg --audit` says: nothing where all is well.
fn audit(packages: &Packages) -> String {
    if packages.half_configured.is_empty() {
        return String::new();
    }
    let lines: String =
        packages.half_configured.iter().map(|name| format!(" {name:<20} package of the lab\n")).collect();
    format!(
        "The following packages are only half configured, probably due to problems\n\
         configuring them the first time.  The configuration should be retried using\n\
         dpkg --configure <package> or the configure menu option in dselect:\n{lines}\n"
    )
}

/// Formats the packages that are called by names or patterns (all, where none is given); also returns names that match nothing.
fn format(machine: &Machine, pattern: &str, names: &[&str]) -> (String, Vec<String>) {
    let packages = &machine.packages;
    let called = |name: &String| names.is_empty() || names.iter().any(|n| crate::faults::matches(n, name));
    let text =
        packages.installed.keys().filter(|name| called(name)).map(|name| line(packages, pattern, name)).collect();
    let known = |pattern: &str| packages.installed.keys().any(|name| crate::faults::matches(pattern, name));
    (text, names.iter().filter(|name| !known(name)).map(|name| (*name).to_owned()).collect())
}

/// Fills a pattern of `dpkg-query` in: `${field}`, `${field;width}`, `\n`, `\t`, `\\`.
fn line(packages: &Packages, pattern: &str, name: &str) -> String {
    let mut out = String::new();
    let mut rest = pattern;
    while let Some(c) = rest.chars().next() {
        let escaped = [("\\n", "\n"), ("\\t", "\t"), ("\\r", "\r"), ("\\\\", "\\")];
        if let Some((from, to)) = escaped.iter().find(|(from, _)| rest.starts_with(from)) {
            out.push_str(to);
            rest = &rest[from.len()..];
        } else if let Some((inner, after)) = rest.strip_prefix("${").and_then(|field| field.split_once('}')) {
            let (name_of, width) = inner.split_once(';').unwrap_or((inner, "0"));
            let (text, width) = (field(packages, name_of, name), width.parse::<i64>().unwrap_or(0));
            let size = usize::try_from(width.unsigned_abs()).unwrap_or(0);
            out.push_str(&if width < 0 { format!("{text:<size$}") } else { format!("{text:>size$}") });
            rest = after;
        } else {
            out.push(c);
            rest = &rest[c.len_utf8()..];
        }
    }
    out
}

fn field(packages: &Packages, field: &str, name: &str) -> String {
    let (held, half) = (packages.held.contains(name), packages.half_configured.contains(name));
    let want = if held { "hold" } else { "install" };
    let status = if half { "half-configured" } else { "installed" };
    match field {
        "Package" | "binary:Package" | "source:Package" => name.to_owned(),
        "Version" | "source:Version" => packages.installed.get(name).cloned().unwrap_or_default(),
        "Architecture" => "amd64".to_owned(),
        "Status" => format!("{want} ok {status}"),
        "db:Status-Want" => want.to_owned(),
        "db:Status-Status" => status.to_owned(),
        "db:Status-Eflag" => "ok".to_owned(),
        "db:Status-Abbrev" => format!("{}{} ", if held { 'h' } else { 'i' }, if half { 'F' } else { 'i' }),
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_are_filled_in() {
        let mut packages = Packages::default();
        packages.installed.insert("lab-hello".into(), "1.0".into());
        packages.half_configured.insert("lab-hello".into());
        let filled = line(&packages, "${Package}\\t${Version;6}|${db:Status-Abbrev}|${Status}\\n", "lab-hello");
        assert_eq!(filled, "lab-hello\t   1.0|iF |install ok half-configured\n");
        assert!(audit(&packages).contains("lab-hello"));
        assert_eq!(audit(&Packages::default()), "");
    }
}
