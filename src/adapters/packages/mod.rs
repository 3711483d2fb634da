//! Package managers: which one a machine has, what is pending there, whether it is in a clean state, how it upgrades.
//!
//! What runs on the machine is shell (`*.sh`, beside this); what it prints is read here. Nothing is decided here.
//!
//! Both `apt-get dist-upgrade` and its simulation are spelled so everywhere: it is the documented upgrade of a Proxmox
//! VE node, and apt-get's own name for what apt(8) calls `full-upgrade`. One spelling for both makes the simulation say
//! what the upgrade will do.

mod apk;
mod apt;
mod dnf;
mod kernel;
mod os_release;
mod pacman;
mod releases;
mod rpm;
mod suites;
mod zypper;

use std::collections::BTreeSet;

use crate::adapters::remote::{Answer, fragment, harmless};
use crate::ids::BootId;
use crate::inventory::{OsFacts, PackageManager};
use crate::machine::outcome::Fault;
use crate::time::Timestamp;

use os_release::OsRelease;

/// The shell functions that gather facts; they need those of the remote adapter's prelude.
pub(crate) const FACTS: &str = concat!(
    include_str!("locks.sh"),
    include_str!("apt.sh"),
    include_str!("apk.sh"),
    include_str!("rpm.sh"),
    include_str!("dnf.sh"),
    include_str!("zypper.sh"),
    include_str!("pacman.sh"),
    include_str!("machine.sh"),
);

/// Returns the script that upgrades all packages without a question asked, to be run detached.
pub(crate) fn upgrade_script(manager: PackageManager) -> &'static str {
    match manager {
        PackageManager::Apt => include_str!("apt_upgrade.sh"),
        PackageManager::Apk => include_str!("apk_upgrade.sh"),
        PackageManager::Dnf => concat!(include_str!("locks.sh"), include_str!("dnf_upgrade.sh")),
        PackageManager::Zypper => concat!(include_str!("locks.sh"), include_str!("zypper_upgrade.sh")),
        PackageManager::Pacman => include_str!("pacman_upgrade.sh"),
    }
}

/// Returns the call (of [`FACTS`]) that asks whether a package manager is in a clean state.
pub(crate) fn consistency_script(manager: PackageManager) -> &'static str {
    match manager {
        PackageManager::Apt => "apt_consistent",
        PackageManager::Apk => "apk_consistent",
        PackageManager::Dnf | PackageManager::Zypper => "rpm_consistent",
        PackageManager::Pacman => "pacman_consistent",
    }
}

/// Chooses the package manager by `ID`, else by the first of `ID_LIKE` that is known. Ids are matched whole.
fn detect(release: &OsRelease) -> Option<PackageManager> {
    std::iter::once(release.id.as_str()).chain(release.id_like.iter().map(String::as_str)).find_map(|id| match id {
        "debian" | "ubuntu" => Some(PackageManager::Apt),
        "alpine" => Some(PackageManager::Apk),
        "fedora" | "rhel" | "centos" | "rocky" | "almalinux" | "ol" | "amzn" => Some(PackageManager::Dnf),
        "opensuse-leap" | "opensuse-tumbleweed" | "opensuse" | "sles" | "sled" | "sle-micro" | "suse" => {
            Some(PackageManager::Zypper)
        }
        "arch" | "archarm" | "manjaro" => Some(PackageManager::Pacman),
        _ => None,
    })
}

/// Reads the answer of the inspection script.
///
/// # Errors
///
/// A fault where package lists could not be refreshed, the package manager is missing, or its simulation failed.
pub(crate) fn os_facts(answer: &Answer) -> Result<OsFacts, Fault> {
    let release = OsRelease::parse(answer.lines("os_release"));
    let kernel = harmless(answer.value("kernel").unwrap_or_default());
    let boot_id = answer.value("boot_id").map(harmless).ok_or_else(|| Fault::permanent("it names no boot_id"))?;
    let manager = detect(&release);
    if let Some(program) = answer.value("missing") {
        return Err(Fault::permanent(format!("{} has no {}", release.name(), harmless(program))));
    }
    // The script makes the same choice, to save a round trip. Should the two ever differ, its facts are not about this
    // manager.
    let chosen = answer.value("manager").unwrap_or("none");
    if chosen != manager.map_or("none", PackageManager::name) {
        return Err(Fault::permanent(format!(
            "its os-release can't be read reliably: the machine chose {}, the reader {}",
            harmless(chosen),
            manager.map_or("none", PackageManager::name)
        )));
    }
    let unfit = unfit(answer, &release, manager);
    let (pending, held, lists_refreshed) = match manager {
        Some(PackageManager::Apt) => (apt::pending(answer), apt::held(answer), apt::lists_refreshed(answer)),
        Some(PackageManager::Apk) => (apk::pending(answer), apk::held(answer), apk::lists_refreshed(answer)),
        Some(PackageManager::Dnf) => (dnf::pending(answer), dnf::held(answer), dnf::lists_refreshed(answer)),
        Some(PackageManager::Zypper) => {
            (zypper::pending(answer), zypper::held(answer), zypper::lists_refreshed(answer))
        }
        Some(PackageManager::Pacman) => {
            (pacman::pending(answer), pacman::held(answer), pacman::lists_refreshed(answer))
        }
        None => (Ok(Vec::new()), Vec::new(), None),
    };
    // Sources that are half changed make a refresh or a simulation fail in many ways: the reason says more than those.
    let pending = match (pending, &unfit) {
        (Err(_), Some(_)) => Vec::new(),
        (pending, _) => pending?,
    };
    let kernel_next = kernel::next_boot(answer, manager, &kernel);
    Ok(OsFacts {
        pretty_name: release.name(),
        codename: release.codename,
        id: release.id,
        id_like: release.id_like,
        manager,
        pending,
        held,
        lists_refreshed: lists_refreshed.map(Timestamp::from_secs),
        reboot_wanted: reboot_wanted(answer, &kernel, kernel_next.as_deref()),
        kernel,
        boot_id: BootId::new(boot_id),
        kernel_next,
        unfit,
        leftovers: names(answer.lines("leftovers")),
        restart_needed: names(answer.lines("restart")),
    })
}

/// Says why a machine's packages must not be upgraded, where that is so.
fn unfit(answer: &Answer, release: &OsRelease, manager: Option<PackageManager>) -> Option<String> {
    if let Some(tool) = answer.value("image") {
        return Some(format!("it is made of images and upgraded by {}, which is not done here", harmless(tool)));
    }
    match manager? {
        PackageManager::Apt => suites::unfit(answer.lines("sources"), release),
        PackageManager::Apk => releases::alpine(answer.lines("repositories"), release),
        PackageManager::Dnf => releases::dnf(answer, release),
        PackageManager::Zypper => releases::suse(answer.lines("repositories"), release),
        // It has no releases: whatever the repositories hold is what it is upgraded to.
        PackageManager::Pacman => None,
    }
    .or_else(|| disorder(manager?, answer).map(|what| format!("its packages are not in order: {what}")))
}

/// Reads names, one a line, in order.
fn names(lines: &[String]) -> Vec<String> {
    let names = lines.iter().map(|line| harmless(line).trim().to_owned()).filter(|line| !line.is_empty());
    names.collect::<BTreeSet<_>>().into_iter().collect()
}

/// Reads the answer of [`consistency_script`]: `Err` says what is not clean.
///
/// # Errors
///
/// A fault where the package manager is missing.
pub(crate) fn consistent(manager: PackageManager, answer: &Answer) -> Result<Result<(), String>, Fault> {
    if let Some(program) = answer.value("missing") {
        return Err(Fault::permanent(format!("there is no {}", harmless(program))));
    }
    if let Some(locked) = answer.value("locked") {
        let (pid, file) = locked.split_once(' ').unwrap_or((locked, "its lock"));
        return Ok(Err(harmless(&format!("process {pid} holds {file}"))));
    }
    if answer.value("audit").is_none() {
        return Err(Fault::permanent("it does not say whether its packages are in order"));
    }
    Ok(disorder(manager, answer).map_or(Ok(()), Err))
}

/// Says what is not in order, where nothing works on it: what is at work looks like that as well, and an answer that was not
/// asked says nothing.
fn disorder(manager: PackageManager, answer: &Answer) -> Option<String> {
    let code = answer.value("audit")?;
    if answer.value("locked").is_some() {
        return None;
    }
    let twice = rpm::cut_off(answer);
    if !twice.is_empty() {
        return Some(format!(
            "installed in two versions, as a transaction that was cut off leaves it: {}",
            fragment(&twice)
        ));
    }
    let said: Vec<&String> = answer.lines("audit").iter().filter(|line| !line.trim().is_empty()).collect();
    if code == "0" && said.is_empty() {
        return None;
    }
    let what = match manager {
        PackageManager::Apt => "dpkg --audit",
        PackageManager::Apk => "apk fix --simulate",
        PackageManager::Dnf | PackageManager::Zypper => "rpm --query --all",
        PackageManager::Pacman => "pacman --database --check",
    };
    let said = fragment(&said);
    Some(match code {
        "0" => format!("{what}: {said}"),
        code => format!("{what} ended with {}: {said}", harmless(code)),
    })
}

/// Why a machine wants a reboot: because it says so (`/run/reboot-required` of Ubuntu and Debian's unattended-upgrades,
/// `/run/reboot-needed` of SUSE), or because another kernel would boot next. A stock node writes no such file.
fn reboot_wanted(answer: &Answer, running: &str, next: Option<&str>) -> Option<String> {
    if let Some(entry) = answer.get("reboot_required") {
        let flag = harmless(&entry.value);
        let packages: Vec<String> =
            entry.lines.iter().map(|line| harmless(line)).filter(|line| !line.trim().is_empty()).collect();
        return Some(if packages.is_empty() {
            format!("it says so ({flag})")
        } else {
            format!("it says so ({flag}: {})", fragment(&[packages.join(", ")]))
        });
    }
    let next = next?;
    (next != running).then(|| format!("kernel {running} runs, {next} would boot next"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn release(text: &str) -> OsRelease {
        OsRelease::parse(&text.lines().map(str::to_owned).collect::<Vec<_>>())
    }

    #[test]
    fn managers_are_chosen_by_id_then_by_likeness() {
        assert_eq!(detect(&release("ID=debian")), Some(PackageManager::Apt));
        assert_eq!(detect(&release("ID=linuxmint\nID_LIKE=\"ubuntu debian\"")), Some(PackageManager::Apt));
        assert_eq!(detect(&release("ID='postmarketos'\nID_LIKE='alpine'")), Some(PackageManager::Apk));
        assert_eq!(detect(&release("ID=fedora")), Some(PackageManager::Dnf));
        assert_eq!(detect(&release("ID=circle\nID_LIKE=\"rhel centos fedora\"")), Some(PackageManager::Dnf));
        assert_eq!(detect(&release("ID=sles_sap\nID_LIKE=\"suse\"")), Some(PackageManager::Zypper));
        assert_eq!(detect(&release("ID=endeavouros\nID_LIKE=arch")), Some(PackageManager::Pacman));
        assert_eq!(detect(&release("ID=void")), None);
    }

    #[test]
    fn the_machine_makes_the_same_choice_as_the_reader() {
        let script = include_str!("../remote/sh/inspect.sh");
        let mut ids = 0;
        for line in script.lines().filter(|line| line.contains(") manager=")) {
            let (patterns, manager) = line.trim().trim_end_matches(" ;;").split_once(") manager=").expect("a choice");
            for id in patterns.split(" | ") {
                let chosen = detect(&release(&format!("ID={id}"))).map_or("none", PackageManager::name);
                assert_eq!(chosen, manager, "{id}");
                ids += 1;
            }
        }
        assert_eq!(ids, 20, "the ids that the reader knows");
    }

    #[test]
    fn ids_are_matched_whole() {
        assert_eq!(detect(&release("ID=debianish")), None);
        assert_eq!(detect(&release("ID=x\nID_LIKE=notdebian")), None);
        assert_eq!(detect(&release("")), None);
    }

    #[test]
    fn an_upgrade_asks_nothing_and_waits_for_locks_with_a_bound() {
        let every = |manager, words: &[&str]| {
            let script = upgrade_script(manager);
            for word in words {
                assert!(script.contains(word), "{manager:?}: {word}");
            }
        };
        let apt = [
            "DEBIAN_FRONTEND=noninteractive",
            "APT_LISTCHANGES_FRONTEND=none",
            "NEEDRESTART_MODE=a",
            "export PATH DEBIAN_FRONTEND APT_LISTCHANGES_FRONTEND NEEDRESTART_MODE",
            "-o DPkg::Lock::Timeout=300",
            "-o Dpkg::Options::=--force-confdef",
            "-o Dpkg::Options::=--force-confold",
            "dist-upgrade",
        ];
        every(PackageManager::Apt, &apt);
        every(PackageManager::Apk, &["apk upgrade --wait 300"]);
        every(PackageManager::Dnf, &["dnf -y --setopt=exit_on_lock=True upgrade", "-lt 150"]);
        every(PackageManager::Zypper, &["zypper --non-interactive", "ZYPP_LOCK_TIMEOUT=300", "-lt 150"]);
        every(PackageManager::Pacman, &["--needed $keyrings", "pacman -Su --noconfirm", "-lt 150"]);
    }

    #[test]
    fn the_facts_stay_far_below_the_limit_of_one_argument() {
        use crate::adapters::remote::quote::quote;
        // Quoted for the shell, and once more for ssh and pct; the kernel allows 128 KiB.
        assert!(quote(&quote(FACTS)).len() < 64 * 1024, "{}", quote(&quote(FACTS)).len());
    }
}
