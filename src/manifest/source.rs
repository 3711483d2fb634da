//! The text of a manifest: where an offset lies in it, and how a line of it may be shown.
