//! `manifest set`, `unset`, `add-host` and `remove-host`, through the program.
