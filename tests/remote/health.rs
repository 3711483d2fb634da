//! What a machine says of how it does: units, sockets, and the operator's commands.

use std::time::{Duration, Instant};

use proxmaint::engine::port::{GuestCommand, HealthLook, Remote};

use crate::world::{World, place, shells};

fn command(line: &str, timeout_ms: u64) -> GuestCommand {
    GuestCommand { line: line.to_owned(), exit: 0, timeout: Duration::from_millis(timeout_ms) }
}

async fn look(world: &World, commands: &[GuestCommand]) -> HealthLook {
    world.adapter().health(&place(), commands).await.expect("a look")
}

fn failed(look: &HealthLook) -> Option<Vec<&str>> {
    look.failed_units.as_ref().map(|units| units.iter().map(String::as_str).collect())
}

#[tokio::test(flavor = "multi_thread")]
async fn units_that_failed_are_told_by_systemd_and_by_openrc() {
    for shell in shells() {
        let world = World::new(&shell);
        assert_eq!(failed(&look(&world, &[]).await), None, "neither of them");

        world.file("root/run/openrc/softlevel", "default");
        world.shim("rc-status", "[ \"$*\" = '--nocolor --crashed' ] || exit 9\necho nginx\necho ' sshd'\nexit 0");
        assert_eq!(failed(&look(&world, &[]).await), Some(vec!["nginx", "sshd"]));
        world.shim("rc-status", "exit 1");
        assert_eq!(failed(&look(&world, &[]).await), Some(vec![]), "none crashed");

        world.file("root/run/systemd/system/x", "");
        world.shim(
            "systemctl",
            "[ \"$*\" = 'list-units --all --state=failed --plain --no-legend --no-pager' ] || exit 9\n\
             echo 'nginx.service loaded failed failed A high performance web server'\n\
             echo '● srv.mount   not-found failed failed /srv'\necho '@end'",
        );
        assert_eq!(failed(&look(&world, &[]).await), Some(vec!["end", "nginx.service", "srv.mount"]));
        world.shim(
            "systemctl",
            "i=0; while [ $i -lt 200 ]; do echo \"u$i.service loaded failed failed x\"; i=$((i + 1)); done",
        );
        assert_eq!(failed(&look(&world, &[]).await).map(|units| units.len()), Some(64), "no more are told");
        world.shim("systemctl", "echo 'Failed to connect to bus' >&2; exit 1");
        assert_eq!(failed(&look(&world, &[]).await), None, "it did not answer, which is not `none`");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sockets_that_wait_are_told_by_the_kernel() {
    const HEAD: &str =
        "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n";
    for shell in shells() {
        let world = World::new(&shell);
        assert_eq!(look(&world, &[]).await.listening, None, "there is no such table");
        let line = |address: &str, state: &str| {
            format!("   0: {address} 00000000:0000 {state} 00000000:00000000 00:00000000 00000000     0        0 1\n")
        };
        let tcp = [line("00000000:0016", "0A"), line("0100007F:1F90", "0A"), line("0100007F:0016", "01")].concat();
        world.file("root/proc/net/tcp", &format!("{HEAD}{tcp}"));
        world.file("root/proc/net/tcp6", &format!("{HEAD}{}", line("00000000000000000000000000000000:0050", "0A")));
        let udp = [line("00000000:0044", "07"), line("00000000:9C40", "07"), line("0100007F:0035", "01")].concat();
        world.file("root/proc/net/udp", &format!("{HEAD}{udp}"));
        let told = look(&world, &[]).await.listening.expect("told");
        let words: Vec<String> = told.iter().map(ToString::to_string).collect();
        assert_eq!(words, ["tcp 0.0.0.0:22", "tcp 127.0.0.1:8080", "tcp [::]:80", "udp 0.0.0.0:68"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn commands_end_as_they_end() {
    for shell in shells() {
        let world = World::new(&shell);
        let flood =
            "i=0; while [ $i -lt 5000 ]; do echo 'a line of output that is rather long'; i=$((i + 1)); done; echo last";
        let commands = [
            command("exit 0", 5_000),
            command("echo 'it''s fine'; echo; echo \"not \\033[1mactive\"; exit 3", 5_000),
            command(&format!("{flood}; false"), 20_000),
            GuestCommand { exit: 7, ..command("cat; exit 7", 5_000) },
            command("kill -9 $$", 5_000),
            command("echo '@end'; echo '@check.0 9' >&2; exit 1", 5_000),
        ];
        let ended = look(&world, &commands).await.commands;
        let why = |at: usize| ended[at].clone().unwrap_or_default();
        assert_eq!((&ended[0], &ended[3]), (&None, &None), "{ended:?}: nothing is to be read there");
        assert!(why(1).starts_with("ended with 3, expected was 0: not ") && why(1).ends_with("active"), "{}", why(1));
        assert!(!why(1).contains('\u{1b}'), "{}", why(1));
        assert_eq!(why(2), "ended with 1, expected was 0: last");
        assert_eq!(why(4), "ended with 137, expected was 0");
        assert_eq!(why(5), "ended with 1, expected was 0: @check.0 9", "output is no answer");
        world.quiet().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_end_is_killed_with_all_that_it_started() {
    for shell in shells() {
        let world = World::new(&shell);
        let began = Instant::now();
        let commands = [
            command("echo waiting; sleep 300 & sleep 301", 1_000),
            // What goes on in the background must not be waited for.
            command("sleep 302 & echo done", 30_000),
        ];
        let ended = look(&world, &commands).await.commands;
        assert_eq!(ended, [Some("did not end within 1 s and was killed: waiting".to_owned()), None]);
        assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
        world.quiet().await;
    }
}
