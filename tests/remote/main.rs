//! The remote adapter against real shells: its scripts run under `/bin/sh`, and under busybox's where that is
//! installed, with shims of the package managers first on PATH and every absolute path moved below a temporary
//! directory; and over real SSH to the machines of the lab (`ways`).

#![allow(clippy::disallowed_methods, reason = "tests run programs and read the clock")]

mod access;
mod crashes;
mod detached;
mod health;
mod inspect;
mod install_key;
mod lease;
mod openssh;
mod ways;
mod world;
