//! The remote adapter against real shells: its scripts run under `/bin/sh`, and under busybox's where that is
//! installed, with shims of the package managers first on PATH and every absolute path moved below a temporary
//! directory.

mod crashes;
mod detached;
mod inspect;
mod world;
