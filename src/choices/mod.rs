//! The words by which an operator chooses: which guests, by which way, with which protection, and what may be restarted.
//!
//! They are written in the manifest and on the command line, frozen in the policy of a run, and decided by in the plan;
//! so they belong to none of these.

pub mod health;
mod selector;

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

pub use selector::{Selector, SelectorError, Traits, selects};

/// A word that is none of those that a key takes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{given}` is none of {}", known.join(", "))]
pub struct UnknownWord {
    /// What was written.
    pub given: String,
    /// What could have been.
    pub known: &'static [&'static str],
}

macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident = $word:literal,)+ }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(rename_all = "kebab-case")]
        pub enum $name {
            $($(#[$vdoc])* $variant,)+
        }

        impl $name {
            /// All of them, as they are written.
            pub const WORDS: &'static [&'static str] = &[$($word),+];

            /// Returns it as it is written.
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $word,)+
                }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(self.as_str())
            }
        }

        impl FromStr for $name {
            type Err = UnknownWord;

            fn from_str(text: &str) -> Result<Self, UnknownWord> {
                match text {
                    $($word => Ok(Self::$variant),)+
                    _ => Err(UnknownWord { given: text.to_owned(), known: Self::WORDS }),
                }
            }
        }
    };
}

words! {
    /// What is done about a guest that does not run.
    Stopped {
        /// It is left alone.
        Skip = "skip",
        /// It is started, upgraded, and stopped again.
        Start = "start",
    }
}

words! {
    /// Whether a node is rebooted after its upgrade.
    HostReboot {
        /// Never: a pending reboot is reported.
        Never = "never",
        /// Where another kernel would boot next, or the node says so.
        IfNeeded = "if-needed",
        /// Always, once everything else is done.
        Always = "always",
    }
}

words! {
    /// Whether a VM is rebooted after its upgrade. Containers have no kernel of their own.
    GuestReboot {
        /// Never: a pending reboot is reported.
        Never = "never",
        /// Where it runs another kernel than it would boot next.
        IfNeeded = "if-needed",
    }
}

words! {
    /// What is done about a guest whose upgrade failed, or the check after it.
    OnFailure {
        /// It is left as it is, with the snapshot that it was protected by.
        Keep = "keep",
        /// It is rolled back to the snapshot that it was protected by.
        Rollback = "rollback",
    }
}

words! {
    /// The way into a guest.
    ViaChoice {
        /// A CT by `pct`, then SSH; a VM by SSH where a login is known, else by its guest agent.
        Auto = "auto",
        /// `pct exec` on the node; containers only.
        Pct = "pct",
        /// SSH to an address of the guest.
        Ssh = "ssh",
        /// The QEMU guest agent; VMs only.
        Agent = "agent",
    }
}

words! {
    /// A way to protect a guest.
    ProtectChoice {
        /// A snapshot.
        Snapshot = "snapshot",
        /// A backup by vzdump.
        Backup = "backup",
        /// None at all: the guest can't be brought back.
        None = "none",
    }
}

words! {
    /// How vzdump treats a guest while it copies it (`mode` of `POST /nodes/{node}/vzdump`).
    BackupMode {
        /// Without downtime. For a CT whose storage has no snapshots vzdump would suspend it: then it is not done.
        Snapshot = "snapshot",
        /// The guest is frozen for a while.
        Suspend = "suspend",
        /// The guest is shut down and started again.
        Stop = "stop",
    }
}

words! {
    /// How vzdump compresses (`compress` of `POST /nodes/{node}/vzdump`).
    Compression {
        /// Quick and small.
        Zstd = "zstd",
        /// Smaller than LZO, slow.
        Gzip = "gzip",
        /// Very quick.
        Lzo = "lzo",
        /// None (`0`).
        None = "none",
    }
}

impl Compression {
    /// Returns the API's word.
    pub fn api_name(self) -> &'static str {
        match self {
            Self::None => "0",
            Self::Zstd | Self::Gzip | Self::Lzo => self.as_str(),
        }
    }
}

words! {
    /// Which part of the work a run is about.
    Scope {
        /// Guests and nodes.
        All = "all",
        /// Guests only: nodes are neither upgraded nor rebooted.
        GuestsOnly = "guests-only",
        /// Nodes only: no guest is upgraded.
        HostsOnly = "hosts-only",
        /// Nothing but snapshots and backups of earlier runs, which are removed.
        PruneOnly = "prune-only",
    }
}
