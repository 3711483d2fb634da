//! dnf 4 and rpm.

use proxmaint::engine::port::Remote;
use proxmaint::inventory::PackageManager;

use crate::machine::{Machine, place};
use crate::scenario::Scenario;

const FEDORA: &str = "ID=fedora\nVERSION_ID=41\nPRETTY_NAME=\"Fedora Linux 41\"";
const REPOSITORY: &str = "[lab]\nname=lab\nbaseurl=file:///repo\nenabled=1\ngpgcheck=0\n";

fn machine() -> Option<Machine> {
    let machine = Machine::with("the real dnf", &["dnf", "rpmbuild", "createrepo_c"], FEDORA)?;
    machine.write("/etc/yum.repos.d/lab.repo", REPOSITORY);
    Some(machine)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_real_dnf_is_understood() {
    let Some(machine) = machine() else { return };
    let scenario = Scenario {
        manager: PackageManager::Dnf,
        repository: include_str!("sh/rpm.sh"),
        install: "dnf -y install",
        refresh: "dnf makecache",
        hold: "echo excludepkgs=lab-held >>/etc/dnf/dnf.conf",
        release: "-1",
        also: &[],
        leftover: Some("/etc/lab-tool.conf.rpmnew"),
    };
    scenario.play(&machine).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_release_fixed_at_another_one_is_refused() {
    let Some(machine) = machine() else { return };
    machine.script(include_str!("sh/rpm.sh"), "1.0");
    machine.run("dnf -y install lab-tool");
    machine.write("/etc/dnf/vars/releasever", "42");
    let facts = machine.adapter().inspect(&place(), false).await.expect("facts");
    assert!(facts.unfit.expect("refused").contains("42"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_that_was_cut_off_is_seen() {
    let Some(machine) = machine() else { return };
    machine.script(include_str!("sh/rpm.sh"), "1.0");
    machine.run("dnf -y install lab-tool");
    machine.script(include_str!("sh/rpm.sh"), "2.0");
    // What a transaction leaves that ended between the new package's installation and the old one's removal.
    machine.run("rpm --install --justdb --nodeps --force /repo/lab-tool-2.0.rpm");
    let unclean = machine.adapter().packages_consistent(&place(), PackageManager::Dnf).await.expect("an answer");
    let why = unclean.expect_err("two versions");
    assert!(why.contains("lab-tool.noarch") && why.contains("two versions"), "{why}");
}
