//! apt and dpkg.

use proxmaint::engine::port::Remote;
use proxmaint::inventory::PackageManager;

use crate::machine::{Machine, place};
use crate::scenario::Scenario;

const BOOKWORM: &str =
    "ID=debian\nVERSION_ID=\"12\"\nVERSION_CODENAME=bookworm\nPRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"";

fn machine() -> Option<Machine> {
    let machine = Machine::with("the real apt", &["apt-get", "dpkg-deb"], BOOKWORM)?;
    machine.run("mkdir -p /var/lib/dpkg/info /var/lib/dpkg/updates /var/lib/apt/lists; touch /var/lib/dpkg/status");
    machine.write("/etc/apt/sources.list", "deb [trusted=yes] copy:/repo bookworm main");
    Some(machine)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_real_apt_is_understood() {
    let Some(machine) = machine() else { return };
    let scenario = Scenario {
        manager: PackageManager::Apt,
        repository: include_str!("sh/apt.sh"),
        install: "DEBIAN_FRONTEND=noninteractive apt-get -y install",
        refresh: "apt-get update",
        hold: "apt-mark hold lab-held",
        release: "",
        also: &[],
        leftover: Some("/etc/lab-tool.conf.dpkg-dist"),
    };
    scenario.play(&machine).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn suites_of_another_release_are_refused() {
    let Some(machine) = machine() else { return };
    machine.script(include_str!("sh/apt.sh"), "1.0");
    machine.run("apt-get update");
    machine.write(
        "/etc/apt/sources.list.d/debian.sources",
        "Types: deb\nURIs: http://deb.debian.org/debian\nSuites: trixie\nComponents: main\nEnabled: no",
    );
    let facts = machine.adapter().inspect(&place(), false).await.expect("facts");
    assert_eq!((facts.unfit, facts.codename.as_deref()), (None, Some("bookworm")));
    machine.run("sed -i /Enabled/d /etc/apt/sources.list.d/debian.sources");
    let facts = machine.adapter().inspect(&place(), false).await.expect("facts");
    assert!(facts.unfit.expect("refused").contains("trixie"));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_kernel_that_would_boot_next_is_told() {
    let Some(machine) = machine() else { return };
    let running = machine.run("uname -r").trim().to_owned();
    machine.run(&format!("touch /boot/vmlinuz-{running} /boot/vmlinuz-99.0.0-1-lab"));
    let look = || async { machine.adapter().inspect(&place(), false).await.expect("facts") };
    let facts = look().await;
    assert_eq!(facts.kernel_next.as_deref(), Some("99.0.0-1-lab"));
    assert!(facts.reboot_wanted.expect("wanted").contains("99.0.0-1-lab would boot next"));
    machine.write("/etc/default/grub", "GRUB_DEFAULT=2");
    let facts = look().await;
    assert_eq!((facts.kernel_next, facts.reboot_wanted), (None, None));
    machine.run("rm /etc/default/grub; mkdir -p /run/systemd; echo lxc >/run/systemd/container");
    let facts = look().await;
    assert_eq!((facts.kernel_next, facts.reboot_wanted), (None, None), "a container has no kernel");
}
