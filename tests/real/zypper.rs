//! zypper and rpm.

use proxmaint::engine::port::Remote;
use proxmaint::inventory::PackageManager;

use crate::machine::{Machine, place};
use crate::scenario::Scenario;

const LEAP: &str =
    "ID=opensuse-leap\nID_LIKE=\"suse opensuse\"\nVERSION_ID=\"15.6\"\nPRETTY_NAME=\"openSUSE Leap 15.6\"";
const REPOSITORY: &str = "[lab]\nname=lab\nbaseurl=dir:///repo\nenabled=1\ngpgcheck=0\n";

fn machine(os_release: &str) -> Option<Machine> {
    let machine = Machine::with("the real zypper", &["zypper", "rpmbuild", "createrepo_c"], os_release)?;
    machine.write("/etc/zypp/repos.d/lab.repo", REPOSITORY);
    Some(machine)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_real_zypper_is_understood() {
    let Some(machine) = machine(LEAP) else { return };
    let scenario = Scenario {
        manager: PackageManager::Zypper,
        repository: include_str!("sh/rpm.sh"),
        install: "zypper --non-interactive --no-refresh install",
        refresh: "zypper --non-interactive refresh",
        hold: "zypper --non-interactive addlock lab-held",
        release: "-1",
        also: &[],
        leftover: Some("/etc/lab-tool.conf.rpmnew"),
    };
    scenario.play(&machine).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tumbleweed_is_refused() {
    let tumbleweed = "ID=opensuse-tumbleweed\nID_LIKE=\"opensuse suse\"\nVERSION_ID=\"20261122\"";
    let Some(machine) = machine(tumbleweed) else { return };
    machine.script(include_str!("sh/rpm.sh"), "1.0");
    let facts = machine.adapter().inspect(&place(), true).await.expect("facts");
    assert!(facts.unfit.expect("refused").contains("zypper dup"));
}
