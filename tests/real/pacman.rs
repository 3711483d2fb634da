//! pacman.

use proxmaint::engine::port::Remote;
use proxmaint::inventory::PackageManager;

use crate::machine::{Machine, place};
use crate::scenario::Scenario;

const ARCH: &str = "ID=arch\nPRETTY_NAME=\"Arch Linux\"";

fn machine() -> Option<Machine> {
    let machine = Machine::with("the real pacman", &["pacman"], ARCH)?;
    machine.run("mkdir -p /var/lib/pacman /var/cache/pacman/pkg");
    machine.write("/etc/pacman.conf", "[options]\nArchitecture = auto\nSigLevel = Never\n[lab]\nServer = file:///repo");
    Some(machine)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_real_pacman_is_understood() {
    let Some(machine) = machine() else { return };
    let scenario = Scenario {
        manager: PackageManager::Pacman,
        repository: include_str!("sh/pacman.sh"),
        install: "pacman -S --noconfirm",
        refresh: "pacman -Sy --noconfirm",
        hold: "sed -i 's/^Architecture.*/&\\nIgnorePkg = lab-held/' /etc/pacman.conf",
        release: "-1",
        also: &["archlinux-keyring"],
        leftover: Some("/etc/lab-tool.conf.pacnew"),
    };
    scenario.play(&machine).await;
    // Its own lists are those of the upgrade, not those of the look after it.
    assert!(machine.run("pacman -Sl lab").contains("lab lab-tool 2.0-1 [installed]"));
}

#[tokio::test(flavor = "multi_thread")]
async fn looking_never_touches_the_machine_s_own_lists() {
    let Some(machine) = machine() else { return };
    machine.script(include_str!("sh/pacman.sh"), "1.0");
    machine.run("pacman -Sy --noconfirm && pacman -S --noconfirm lab-tool");
    let before = machine.run("sha256sum /var/lib/pacman/sync/lab.db");
    machine.script(include_str!("sh/pacman.sh"), "2.0");
    let facts = machine.adapter().inspect(&place(), true).await.expect("facts");
    assert_eq!(facts.pending.len(), 1);
    assert_eq!(machine.run("sha256sum /var/lib/pacman/sync/lab.db"), before);
    assert_eq!(machine.run("pacman -Qu || true"), "", "nothing can be installed by newer lists than the system's");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lock_that_was_left_is_told_from_one_that_is_held() {
    let Some(machine) = machine() else { return };
    machine.run("touch /var/lib/pacman/db.lck");
    let unclean = machine.adapter().packages_consistent(&place(), PackageManager::Pacman).await.expect("an answer");
    assert!(unclean.expect_err("left").contains("cut off"));
}
