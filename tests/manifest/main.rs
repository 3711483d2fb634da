//! The manifest from the outside: files as an operator has them, and what `manifest show` and `manifest check` say.

mod show;
