//! Detached jobs, with nothing going wrong but what a test makes go wrong.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{PermissionsExt, symlink};

use futures_util::future::join_all;
use proxmaint::engine::port::{Job, JobStart, JobState, Remote};
use proxmaint::machine::outcome::FaultClass;

use crate::world::{JOB, World, exists, job, kill, over, place, shells};

#[tokio::test(flavor = "multi_thread")]
async fn a_job_is_started_attached_to_and_collected() {
    for shell in shells() {
        let world = World::new(&shell);
        world.upgrade_waits();
        let adapter = world.adapter();
        assert_eq!(adapter.job(&place(), JOB).await, Ok(JobState::Absent));
        assert!(!exists(world.path("root/var/lib/proxmaint")), "asking leaves nothing behind");
        assert_eq!(adapter.start_job(&place(), &job()).await, Ok(JobStart::Started));
        let state = world.until(|state| matches!(state, JobState::Running { log_bytes: 6.. })).await;
        assert_eq!(state, JobState::Running { log_bytes: 6 });
        assert_eq!(adapter.start_job(&place(), &job()).await, Ok(JobStart::AlreadyThere));
        let busy = adapter.collect_job(&place(), JOB).await.expect_err("it works");
        assert_eq!(busy.class, FaultClass::Transient);
        world.go();
        let state = world.until(over).await;
        assert_eq!(state, JobState::Finished { exit: 0, log_tail: vec!["begun".into(), "ended".into()] });
        assert_eq!(adapter.start_job(&place(), &job()).await, Ok(JobStart::AlreadyThere));
        assert_eq!(world.runs(), 1);
        let mode = |path| fs::metadata(path).expect("there").permissions().mode() & 0o777;
        assert_eq!(mode(world.path("root/var/lib/proxmaint")), 0o700);
        assert_eq!(mode(world.path("root/var/lib/proxmaint/jobs")), 0o700);
        assert_eq!(mode(world.job_path("")), 0o700);
        assert_eq!(adapter.collect_job(&place(), JOB).await, Ok(()));
        assert_eq!(adapter.job(&place(), JOB).await, Ok(JobState::Absent));
        assert_eq!(adapter.collect_job(&place(), JOB).await, Ok(()));
        let left: Vec<_> = fs::read_dir(world.path("root/var/lib/proxmaint/jobs")).expect("the base").collect();
        assert!(left.is_empty(), "{left:?}");
        world.quiet().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_work_gets_the_surroundings_of_an_unattended_upgrade() {
    for shell in shells() {
        let world = World::new(&shell);
        world.file("upgrade.sh", "env >\"$W/env\"\numask >\"$W/umask\"\npwd >\"$W/pwd\"\nreadlink /proc/self/fd/0\n");
        assert_eq!(world.adapter().start_job(&place(), &job()).await, Ok(JobStart::Started));
        let state = world.until(over).await;
        assert_eq!(state, JobState::Finished { exit: 0, log_tail: vec!["/dev/null".into()] });
        let env = world.read("env");
        for wanted in [
            format!("PROXMAINT_JOB={JOB}"),
            "DEBIAN_FRONTEND=noninteractive".into(),
            "APT_LISTCHANGES_FRONTEND=none".into(),
            "NEEDRESTART_MODE=a".into(),
        ] {
            assert!(env.lines().any(|line| line == wanted), "{wanted} in {env}");
        }
        assert!(!env.contains("LC_ALL="), "{env}");
        assert_eq!(world.read("umask").trim().trim_start_matches('0'), "22");
        assert_eq!(world.read("pwd").trim(), "/");
        let call = world.read("calls");
        assert!(call.contains("-y ") && call.contains("--force-confdef") && call.contains("--force-confold"), "{call}");
        assert!(call.trim_end().ends_with("dist-upgrade"), "{call}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn exit_statuses_come_back() {
    for shell in shells() {
        for (text, exit) in [("exit 7", 7), ("exit 255", 255), ("kill -9 $$", 137), ("kill -15 $$", 143)] {
            let world = World::new(&shell);
            world.file("upgrade.sh", text);
            assert_eq!(world.adapter().start_job(&place(), &job()).await, Ok(JobStart::Started));
            assert!(matches!(world.until(over).await, JobState::Finished { exit: got, .. } if got == exit), "{text}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_runner_is_lost_once_its_work_is_gone() {
    for shell in shells() {
        let world = World::new(&shell);
        world.upgrade_waits();
        let adapter = world.adapter();
        assert_eq!(adapter.start_job(&place(), &job()).await, Ok(JobStart::Started));
        world.until(|state| matches!(state, JobState::Running { log_bytes: 6.. })).await;
        kill(world.claim(1, 2).parse().expect("a pid"));
        // The upgrade itself goes on: saying that it is lost would invite a second one beside it.
        assert_eq!(adapter.job(&place(), JOB).await, Ok(JobState::Running { log_bytes: 6 }));
        world.go();
        let state = world.until(over).await;
        assert_eq!(state, JobState::Lost { log_tail: vec!["begun".into(), "ended".into()] });
        assert_eq!(adapter.start_job(&place(), &job()).await, Ok(JobStart::AlreadyThere));
        assert_eq!(world.runs(), 1);
        assert_eq!(adapter.collect_job(&place(), JOB).await, Ok(()));
        assert_eq!(adapter.job(&place(), JOB).await, Ok(JobState::Absent));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_was_killed_with_all_its_processes_is_lost() {
    for shell in shells() {
        let world = World::new(&shell);
        world.upgrade_waits();
        assert_eq!(world.adapter().start_job(&place(), &job()).await, Ok(JobStart::Started));
        world.until(|state| matches!(state, JobState::Running { log_bytes: 6.. })).await;
        for pid in world.processes() {
            kill(pid);
        }
        assert_eq!(world.until(over).await, JobState::Lost { log_tail: vec!["begun".into()] });
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pid_alone_proves_nothing() {
    for shell in shells() {
        let world = World::new(&shell);
        world.upgrade_waits();
        assert_eq!(world.adapter().start_job(&place(), &job()).await, Ok(JobStart::Started));
        world.until(|state| matches!(state, JobState::Running { log_bytes: 6.. })).await;
        let claim = fs::read_to_string(world.job_path("slot.1")).expect("a claim");
        let fields: Vec<&str> = claim.split_whitespace().collect();
        // After a restart of the machine another process may have that pid, and even that start time.
        let boot = fields[5].chars().rev().collect::<String>();
        fs::write(world.job_path("slot.1"), claim.replace(fields[5], &boot)).expect("a claim");
        assert!(matches!(world.until(|_| true).await, JobState::Lost { .. }), "another boot");
        // After a restart of a container, which shares the boot id of its node: this test's own pid, which lives, at
        // another time.
        let own = format!("run {} {} 1 1 {}\n", fields[1], std::process::id(), fields[5]);
        fs::write(world.job_path("slot.1"), own).expect("a claim");
        assert!(matches!(world.until(|_| true).await, JobState::Lost { .. }), "another start time");
        fs::write(world.job_path("slot.1"), &claim).expect("a claim");
        assert!(matches!(world.until(|_| true).await, JobState::Running { .. }), "the claim as it was");
        world.go();
        world.until(over).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_starts_at_once_exactly_one_runs() {
    for shell in shells() {
        for crowd in [2, 20] {
            let world = World::new(&shell);
            let adapter = world.adapter();
            let (place, job) = (place(), job());
            let starts = join_all((0..crowd).map(|_| adapter.start_job(&place, &job))).await;
            let count = |wanted| starts.iter().filter(|start| **start == Ok(wanted)).count();
            assert_eq!((count(JobStart::Started), count(JobStart::AlreadyThere)), (1, crowd - 1), "{starts:?}");
            assert!(matches!(world.until(over).await, JobState::Finished { exit: 0, .. }));
            world.quiet().await;
            assert_eq!(world.runs(), 1);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_end_of_the_log_is_bounded_and_harmless() {
    for shell in shells() {
        let world = World::new(&shell);
        world.file(
            "upgrade.sh",
            "n=0\nwhile [ $n -lt 500 ]; do n=$((n + 1)); echo \"line $n of a long log\"; done\n\
             printf '\\033[31mred\\033[0m \\000\\007bell\\n 1%%\\r99%%\\r\\n@job absent\\n@end\\n|bar\\nlast, no newline'\n",
        );
        assert_eq!(world.adapter().start_job(&place(), &job()).await, Ok(JobStart::Started));
        let JobState::Finished { exit: 0, log_tail } = world.until(over).await else { panic!("it ends well") };
        assert_eq!(log_tail.len(), 20);
        assert_eq!(log_tail[0], "line 487 of a long log");
        assert_eq!(log_tail[14..], ["red \u{fffd}bell", "99%", "@job absent", "@end", "|bar", "last, no newline"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn output_comes_back_byte_for_byte_from_any_offset() {
    for shell in shells() {
        let world = World::new(&shell);
        let adapter = world.adapter();
        assert_eq!(adapter.job_output(&place(), JOB, 0).await, Ok(Vec::new()), "a job that was never started");
        assert!(!exists(world.path("root/var/lib/proxmaint")), "asking leaves nothing behind");
        // Every byte there is, and what would be a line of the protocol.
        let mut text: Vec<u8> = (0..=255).collect();
        text.extend_from_slice(b"\n@end\n|x\n@output 1\nlast, no newline");
        fs::write(world.path("text"), &text).expect("a file");
        world.file("upgrade.sh", "cat \"$W/text\"\n");
        assert_eq!(adapter.start_job(&place(), &job()).await, Ok(JobStart::Started));
        world.until(over).await;
        for from in [0, 1, 15, 16, 17, 100, text.len() - 1, text.len(), text.len() + 1, 1 << 40, usize::MAX] {
            let wanted = text.get(from..).unwrap_or_default();
            assert_eq!(adapter.job_output(&place(), JOB, from as u64).await.as_deref(), Ok(wanted), "from {from}");
        }
        assert_eq!(adapter.job_output(&place(), JOB, u64::MAX).await, Ok(Vec::new()));
        fs::remove_file(world.job_path("log")).expect("removed");
        assert_eq!(adapter.job_output(&place(), JOB, 0).await, Ok(Vec::new()));
        assert_eq!(adapter.collect_job(&place(), JOB).await, Ok(()));
        assert_eq!(adapter.job_output(&place(), JOB, 0).await, Ok(Vec::new()), "a job that is gone");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn long_output_comes_in_pieces_while_the_job_works() {
    const PIECE: usize = 256 * 1024;
    for shell in shells() {
        let world = World::new(&shell);
        let text: Vec<u8> = (0..PIECE + 1000).map(|n| (n % 251) as u8).collect();
        fs::write(world.path("text"), &text).expect("a file");
        world.file(
            "upgrade.sh",
            "cat \"$W/text\"\nn=0\nwhile [ ! -e \"$W/go\" ] && [ $n -lt 1500 ]; do n=$((n + 1)); sleep 0.02; done\nprintf end\n",
        );
        let adapter = world.adapter();
        assert_eq!(adapter.start_job(&place(), &job()).await, Ok(JobStart::Started));
        let all = text.len() as u64;
        world.until(|state| *state == JobState::Running { log_bytes: all }).await;
        let first = adapter.job_output(&place(), JOB, 0).await.expect("a piece");
        assert_eq!((first.len(), first == text[..PIECE]), (PIECE, true));
        let second = adapter.job_output(&place(), JOB, PIECE as u64).await.expect("the rest");
        assert_eq!(second, text[PIECE..]);
        assert_eq!(adapter.job_output(&place(), JOB, all).await, Ok(Vec::new()), "nothing new");
        world.go();
        world.until(over).await;
        assert_eq!(adapter.job_output(&place(), JOB, all).await, Ok(b"end".to_vec()));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn output_that_can_not_be_read_is_a_fault() {
    // busybox has an od of its own, which no shim comes before.
    let world = World::new(&shells()[0]);
    assert_eq!(world.adapter().start_job(&place(), &job()).await, Ok(JobStart::Started));
    world.until(over).await;
    world.shim("od", "echo 'od: not here' >&2; exit 1");
    let fault = world.adapter().job_output(&place(), JOB, 0).await.expect_err("no od");
    assert_eq!(fault.class, FaultClass::Transient);
    assert!(fault.what.contains("were announced"), "{fault:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn hostile_names_never_reach_a_shell() {
    let world = World::new(&shells()[0]);
    for name in ["../../etc", "a/b", "$(touch x)", "a;b", "-rf", ".", "", "a\nb", "'"] {
        let hostile = Job { name: name.to_owned(), ..job() };
        let fault = world.adapter().start_job(&place(), &hostile).await.expect_err("refused");
        assert_eq!(fault.class, FaultClass::Permanent);
        assert!(world.adapter().job(&place(), name).await.is_err());
        assert!(world.adapter().collect_job(&place(), name).await.is_err());
        assert!(world.adapter().job_output(&place(), name, 0).await.is_err());
    }
    assert!(!exists(world.path("root/var/lib/proxmaint")));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unsafe_directory_is_refused() {
    for shell in shells() {
        for part in ["root/var/lib/proxmaint", "root/var/lib/proxmaint/jobs"] {
            for mode in [0o770, 0o707, 0o777] {
                let world = World::new(&shell);
                fs::create_dir_all(world.path(part)).expect("a directory");
                fs::set_permissions(world.path(part), fs::Permissions::from_mode(mode)).expect("a mode");
                refused(&world, "can be written by others").await;
            }
            let world = World::new(&shell);
            fs::create_dir_all(world.path(part)).expect("a directory");
            fs::remove_dir(world.path(part)).expect("removed");
            fs::create_dir(world.path("elsewhere")).expect("a directory");
            symlink(world.path("elsewhere"), world.path(part)).expect("a link");
            refused(&world, "is a symbolic link").await;

            let world = World::new(&shell);
            fs::create_dir_all(world.path(part)).expect("a directory");
            match std::os::unix::fs::chown(world.path(part), Some(65534), None) {
                Ok(()) => refused(&world, "belongs to uid 65534").await,
                Err(error) => writeln!(std::io::stderr(), "not run: a base directory of another user ({error})")
                    .expect("stderr is open"),
            }
        }
    }
}

/// Asserts that nothing is started, looked at or removed in an unsafe directory.
async fn refused(world: &World, why: &str) {
    let adapter = world.adapter();
    let start = adapter.start_job(&place(), &job()).await.expect_err("refused");
    assert_eq!(start.class, FaultClass::Permanent);
    assert!(start.what.contains(why) && start.hint.is_some(), "{start:?}");
    assert!(adapter.job(&place(), JOB).await.expect_err("refused").what.contains(why));
    assert!(adapter.collect_job(&place(), JOB).await.expect_err("refused").what.contains(why));
    assert!(adapter.job_output(&place(), JOB, 0).await.expect_err("refused").what.contains(why));
    assert_eq!(world.runs(), 0);
}

/// A `systemd-run` that notes its arguments and runs the command in a session of its own.
const SYSTEMD_RUN: &str = r#"for word in "$@"; do echo "$word"; done >>"$W/units"
if [ -e "$W/no-bus" ]; then echo "Failed to connect to bus: No such file or directory" >&2; exit 1; fi
while [ $# -gt 0 ]; do
    case $1 in
    -p) shift 2 ;;
    -*) shift ;;
    *) break ;;
    esac
done
setsid "$@" </dev/null >/dev/null 2>&1 &"#;

#[tokio::test(flavor = "multi_thread")]
async fn under_systemd_a_job_is_a_unit_of_its_own() {
    for shell in shells() {
        let world = World::new(&shell);
        fs::create_dir_all(world.path("root/run/systemd/system")).expect("a directory");
        world.shim("systemd-run", SYSTEMD_RUN);
        assert_eq!(world.adapter().start_job(&place(), &job()).await, Ok(JobStart::Started));
        assert!(matches!(world.until(over).await, JobState::Finished { exit: 0, .. }));
        let words = world.read("units");
        let words: Vec<&str> = words.lines().collect();
        for wanted in [&format!("--unit={JOB}"), "--collect", "--quiet", "KillMode=process", "SendSIGKILL=no"] {
            assert!(words.contains(&wanted), "{wanted} in {words:?}");
        }
        // Asked to restart that unit, systemd runs the same command again.
        let again = words[words.len() - 4..].join(" ");
        let run = world.command(&format!("{} {again}", words[words.len() - 5])).status().expect("a shell");
        assert!(run.success(), "{words:?}");
        assert_eq!(world.runs(), 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn where_systemd_can_not_be_asked_a_session_does() {
    for shell in shells() {
        let mut world = World::new(&shell);
        world.edit("await \"$next\" 20;", "await \"$next\" 2;");
        fs::create_dir_all(world.path("root/run/systemd/system")).expect("a directory");
        world.shim("systemd-run", SYSTEMD_RUN);
        world.file("no-bus", "");
        assert_eq!(world.adapter().start_job(&place(), &job()).await, Ok(JobStart::Started));
        assert!(matches!(world.until(over).await, JobState::Finished { exit: 0, .. }));
        assert_eq!(world.runs(), 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_container_that_is_off_is_no_exit_status() {
    let world = World::new(&shells()[0]);
    world.file("pct", "echo \"container '$2' not running!\" >&2; exit 255");
    let fault = world.adapter().job(&place(), JOB).await.expect_err("off");
    assert!(fault.what.contains("CT 101") && fault.what.contains("not running"), "{fault:?}");
    world.file("pct", "echo \"Configuration file 'nodes/n/lxc/$2.conf' does not exist\" >&2; exit 2");
    let fault = world.adapter().start_job(&place(), &job()).await.expect_err("unknown");
    assert!(fault.what.contains("no such container"), "{fault:?}");
    assert_ne!(fault.class, FaultClass::Ambiguous, "nothing was run");
}
