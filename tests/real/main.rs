//! The real apt, dnf, zypper and pacman against repositories of a few packages, by the scripts as they are shipped. Run by
//! `make real`, as root.
//!
//! Each test has a machine of its own: this machine's files below an overlay that is kept in memory, in namespaces of their own,
//! without what its package managers know (`sh/stage.sh`). Whatever a manager does there is gone with the test; nothing of it
//! happens to this machine. `make real` installs the managers; what is not there is named in a line `not run: ..`.

#![allow(clippy::disallowed_methods, reason = "tests run programs and read the clock")]

mod apt;
mod dnf;
mod machine;
mod pacman;
mod scenario;
mod zypper;
