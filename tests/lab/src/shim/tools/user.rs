//! `sudo` and `id`: who a command runs as.
//!
//! Everybody may run everything as root by `sudo` on a machine without `/etc/sudoers.d`. Where a test makes that directory, its
//! files say who may, as in real life; of their language only `USER ALL=(..) [NOPASSWD:] COMMAND, ..` and `Defaults:USER
//! requiretty` are known. What sudo says is what 1.9.13 says in English.
//!
//! The lab has one real user, its own; who a command runs as is in its environment, and what only root may do is refused to others by
//! the tools that do it.

use std::sync::Arc;

use super::not_simulated;
use crate::shim::call::{Answer, Call, Streams};
use crate::shim::quote;
use crate::shim::stage::Stage;

pub(super) async fn sudo(stage: &Arc<Stage>, call: &Call, streams: &mut Streams) -> Answer {
    let (mut user, mut keep, mut ask, mut given) = ("root".to_owned(), false, true, Vec::new());
    let mut args = call.args.iter().map(String::as_str).peekable();
    while let Some(arg) = args.next_if(|arg| arg.starts_with('-') || arg.contains('=')) {
        match arg {
            "--" => break,
            "-n" | "-nH" | "-Hn" | "--non-interactive" => ask = false,
            "-H" | "-S" | "-k" | "--set-home" => {}
            "-E" | "--preserve-env" => keep = true,
            "-nE" | "-En" => (keep, ask) = (true, false),
            "-u" => args.next().unwrap_or("root").clone_into(&mut user),
            long if long.starts_with("--user=") => long["--user=".len()..].clone_into(&mut user),
            variable if !variable.starts_with('-') => given.extend(variable.split_once('=')),
            _ => return not_simulated(call, streams).await,
        }
    }
    let command: Vec<&str> = args.collect();
    if command.is_empty() {
        return streams.fail(1, "usage: sudo [-EHn] [-u user] [VAR=value] [command [arg ...]]").await;
    }
    let root = match stage.root(&call.machine) {
        Ok(root) => root,
        Err(error) => return streams.fail(1, &format!("sudo: {error}")).await,
    };
    match Rights::read(&root.join("etc/sudoers.d"), call.user(), command[0]) {
        Ok(Rights::All) => {}
        Ok(Rights::Terminal) => return streams.fail(1, "sudo: sorry, you must have a tty to run sudo").await,
        Ok(Rights::Password) if ask => {
            let how = "either use the -S option to read from standard input or configure an askpass helper";
            let text =
                format!("sudo: a terminal is required to read the password; {how}\nsudo: a password is required");
            return streams.fail(1, &text).await;
        }
        Ok(Rights::Password) => return streams.fail(1, "sudo: a password is required").await,
        Err(error) => return streams.fail(1, &format!("sudo: unable to open /etc/sudoers.d: {error}")).await,
    }
    let mut env = stage.environment(&call.machine, &root, &user);
    let set = |env: &mut Vec<(String, String)>, name: &str, value: &str| {
        env.retain(|(known, _)| known != name);
        env.push((name.to_owned(), value.to_owned()));
    };
    set(&mut env, "LAB_LOGIN", call.login());
    set(&mut env, "SUDO_USER", call.user());
    set(&mut env, "SUDO_UID", if call.is_root() { "0" } else { "1000" });
    if keep {
        for (name, value) in &call.env {
            if !env.iter().any(|(known, _)| known == name) {
                env.push((name.clone(), value.clone()));
            }
        }
    }
    for (name, value) in given {
        set(&mut env, name, &stage.localize(value, &root));
    }
    Answer::Exec(exec_line(stage, &root, &env, &command))
}

/// What sudo lets a user do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rights {
    /// Run the command without a password.
    All,
    /// Run it with a password, or not at all: without the password sudo does not say which.
    Password,
    /// Nothing without a terminal.
    Terminal,
}

impl Rights {
    fn read(dir: &std::path::Path, user: &str, command: &str) -> std::io::Result<Self> {
        if user == "root" || !dir.exists() {
            return Ok(Self::All);
        }
        let mut rights = Self::Password;
        for entry in std::fs::read_dir(dir)? {
            for line in std::fs::read_to_string(entry?.path())?.lines() {
                if line.trim() == format!("Defaults:{user} requiretty") {
                    return Ok(Self::Terminal);
                }
                let Some(("NOPASSWD", commands)) = line
                    .strip_prefix(&format!("{user} ALL=("))
                    .and_then(|rest| rest.split_once(") ")?.1.split_once(": "))
                else {
                    continue;
                };
                if commands.split(", ").any(|allowed| allowed == "ALL" || allowed == command) {
                    rights = Self::All;
                }
            }
        }
        Ok(rights)
    }
}

/// Writes the line of shell by which a shim becomes a command with an environment of its own.
pub(super) fn exec_line(stage: &Stage, root: &std::path::Path, env: &[(String, String)], command: &[&str]) -> String {
    let words = env.iter().map(|(name, value)| format!("{name}={value}"));
    let command = command.iter().map(|word| stage.localize(word, root));
    let words: Vec<String> = words.chain(command).map(|word| quote(&word)).collect();
    format!("exec /usr/bin/env -i {}", words.join(" "))
}

pub(super) async fn id(call: &Call, streams: &mut Streams) -> Answer {
    let (user, number) = (call.user(), if call.is_root() { 0 } else { 1000 });
    let text = match call.words().as_slice() {
        [] => format!("uid={number}({user}) gid={number}({user}) groups={number}({user})"),
        ["-u" | "-g" | "-G"] => number.to_string(),
        ["-un" | "-nu" | "-gn" | "-ng"] => user.to_owned(),
        _ => return not_simulated(call, streams).await,
    };
    streams.done(&format!("{text}\n")).await
}
