//! `sudo` and `id`: who a command runs as.
//!
//! The lab has one real user, its own; who a command runs as is in its environment, and what only root may do is refused to others by
//! the tools that do it.

use std::sync::Arc;

use super::not_simulated;
use crate::shim::call::{Answer, Call, Streams};
use crate::shim::quote;
use crate::shim::stage::Stage;

pub(super) async fn sudo(stage: &Arc<Stage>, call: &Call, streams: &mut Streams) -> Answer {
    let (mut user, mut keep, mut given) = ("root".to_owned(), false, Vec::new());
    let mut args = call.args.iter().map(String::as_str).peekable();
    while let Some(arg) = args.next_if(|arg| arg.starts_with('-') || arg.contains('=')) {
        match arg {
            "--" => break,
            "-n" | "-H" | "-S" | "-k" | "-nH" | "-Hn" | "--non-interactive" | "--set-home" => {}
            "-E" | "-nE" | "-En" | "--preserve-env" => keep = true,
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
    let mut env = stage.environment(&call.machine, &root, &user);
    let set = |env: &mut Vec<(String, String)>, name: &str, value: &str| {
        env.retain(|(known, _)| known != name);
        env.push((name.to_owned(), value.to_owned()));
    };
    set(&mut env, "LAB_LOGIN", call.login());
    set(&mut env, "SUDO_USER", call.user());
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
